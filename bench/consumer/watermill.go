package main

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill"
	wmjs "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/jetstream"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// watermillAsync is Watermill's JetStream subscriber at its quickest: asynchronous
// acknowledgements, which is not its default, and a subscription for each slot, since one
// has one message at a time. It has no outcomes, no timeout and no dead letters here.
func watermillAsync(ctx context.Context, w work) error {
	sub, err := wmjs.NewSubscriber(wmjs.SubscriberConfig{
		Conn: w.conn.NATS(), AckAsync: true, Logger: watermill.NopLogger{},
		ConsumeOptions: []jetstream.PullConsumeOpt{jetstream.PullMaxMessages(10)},
		ResourceInitializer: wmjs.ExistingConsumer(func(string, string) jetstream.ConsumerConfig {
			return jetstream.ConsumerConfig{Name: broker.Durable(w.service)}
		}, ""),
	})
	if err != nil {
		return err
	}
	var (
		handled atomic.Int64
		wg      sync.WaitGroup
	)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	for range slots {
		messages, err := sub.Subscribe(ctx, broker.StreamOrders)
		if err != nil {
			return err
		}
		wg.Go(func() {
			for m := range messages {
				if w.handle(order.Order{}) != nil {
					m.Nack()
					continue
				}
				m.Ack()
				if handled.Add(1) == int64(w.n) {
					close(done)
				}
			}
		})
	}
	<-done
	if err := w.conn.NATS().Flush(); err != nil {
		return err
	}
	err = sub.Close()
	cancel()
	wg.Wait()
	return err
}
