package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/order"
)

// work is what is to be done: n orders of a service, each handled without an error.
type work struct {
	conn    *broker.Conn
	service order.Service
	n       int
	handle  func(order.Order) error
}

// contestant does work. It returns when all of it is done and acknowledged.
type contestant struct {
	name string
	run  func(context.Context, work) error
}

// All have 100 slots, where they have any.
const (
	slots   = 100
	timeout = 2 * time.Second
)

var (
	bare   = contestant{"Consume, Ack in its goroutine", consume}
	byHand = contestant{"Consume, slices of 32 to 100 goroutines, Ack", workersOf(32)}
	oneBy  = contestant{"Consume, one by one to 100 goroutines, Ack", workersOf(1)}
	ours   = contestant{"**a group: decode, judge, outcome stored, Ack**", group}
	theirs = contestant{"Watermill, 100 subscriptions, AckAsync", watermillAsync}
)

// tier is how long a retry waits.
const tier = time.Second

// consume is what the others are compared with.
func consume(ctx context.Context, w work) error {
	c, err := w.conn.JetStream().Consumer(ctx, broker.StreamOrders, broker.Durable(w.service))
	if err != nil {
		return err
	}
	var handled int
	done := make(chan error, w.n)
	cc, err := c.Consume(func(m jetstream.Msg) {
		if err := w.handle(order.Order{}); err != nil {
			done <- err
		}
		if err := m.Ack(); err != nil {
			done <- err
		}
		if handled++; handled == w.n {
			done <- nil
		}
	})
	if err != nil {
		return err
	}
	defer cc.Stop()
	return errors.Join(<-done, w.conn.NATS().Flush())
}

// workersOf is what a good engineer writes by hand, with slices of that size.
func workersOf(size int) func(context.Context, work) error {
	return func(ctx context.Context, w work) error { return workers(ctx, w, size) }
}

func workers(ctx context.Context, w work, size int) error {
	c, err := w.conn.JetStream().Consumer(ctx, broker.StreamOrders, broker.Durable(w.service))
	if err != nil {
		return err
	}
	jobs := make(chan []jetstream.Msg, slots)
	var (
		handled atomic.Int64
		wg      sync.WaitGroup
	)
	done := make(chan error, w.n)
	for range slots {
		wg.Go(func() {
			for batch := range jobs {
				for _, m := range batch {
					if err := errors.Join(w.handle(order.Order{}), m.Ack()); err != nil {
						done <- err
					}
					if handled.Add(1) == int64(w.n) {
						done <- nil
					}
				}
			}
		})
	}
	var (
		batch    []jetstream.Msg
		received int
	)
	cc, err := c.Consume(func(m jetstream.Msg) {
		batch = append(batch, m)
		if received++; len(batch) == size || received == w.n {
			jobs <- batch
			batch = nil
		}
	})
	if err != nil {
		return err
	}
	err = <-done
	cc.Stop()
	<-cc.Closed() // the last callback has returned
	close(jobs)
	wg.Wait()
	return errors.Join(err, w.conn.NATS().Flush())
}

// group is the whole protocol, as a service runs it.
func group(ctx context.Context, w work) error { return groupOf(ctx, w, []time.Duration{tier}) }

func groupOf(ctx context.Context, w work, retry []time.Duration) error {
	pool, err := bulkhead.New(bulkhead.Config{Name: string(w.service), Slots: slots, Timeout: timeout})
	if err != nil {
		return err
	}
	defer pool.Close()
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	var handled atomic.Int64
	g, err := consumer.New(w.conn, consumer.Config{
		Service: w.service, Bulkhead: pool, Policy: consumer.Policy{Retry: retry},
		Handler: handlerFunc(func(o order.Order) (order.Outcome, error) {
			if err := w.handle(o); err != nil {
				return order.Outcome{}, err
			}
			if handled.Add(1) == int64(w.n) {
				enough() // it drains: what is handled is settled first
			}
			return order.Outcome{Result: order.Authorized, Ref: "auth-1"}, nil
		}),
	})
	if err != nil {
		return err
	}
	return g.Run(ctx)
}

type handlerFunc func(order.Order) (order.Outcome, error)

func (h handlerFunc) Handle(_ context.Context, o order.Order) (order.Outcome, error) { return h(o) }
