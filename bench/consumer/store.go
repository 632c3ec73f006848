package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// place stores n orders, so that contestants find them there.
func place(ctx context.Context, conn *broker.Conn, n int) error {
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		failed error
	)
	window := make(chan struct{}, 1000)
	for i := range n {
		body, err := (order.Order{
			ID: order.NewID(), Customer: fmt.Sprintf("c-%d", i%1000), Currency: "EUR",
			Lines: []order.Line{{SKU: "MUG-RED", Quantity: 2, UnitPrice: 1299}, {SKU: "TEA-GREEN", Quantity: 1, UnitPrice: 499}},
		}).Encode()
		if err != nil {
			return err
		}
		window <- struct{}{}
		wg.Add(1)
		m := broker.Message{Subject: broker.SubjectCreated, ID: fmt.Sprintf("bench/%d/%d", time.Now().UnixNano(), i), Data: body}
		conn.StoreAsync(m, func(_ broker.Receipt, err error) {
			defer wg.Done()
			if err != nil {
				mu.Lock()
				failed = err
				mu.Unlock()
			}
			<-window
		})
	}
	wg.Wait()
	return failed
}

// provision makes the durables of services that begin with the first order.
func provision(ctx context.Context, conn *broker.Conn, tiers int, wait time.Duration, services ...order.Service) error {
	plan := broker.Plan{OrderBytes: 4 << 30}
	for _, s := range services {
		plan.Services = append(plan.Services, broker.Service{Name: s, Tiers: tiers, AckWait: wait, FromStart: true})
	}
	_, err := conn.Provision(ctx, plan, false)
	return err
}

// forget takes services and what they stored away again.
func forget(ctx context.Context, conn *broker.Conn, services ...order.Service) error {
	js := conn.JetStream()
	for _, s := range services {
		if err := js.DeleteConsumer(ctx, broker.StreamOrders, broker.Durable(s)); err != nil {
			return err
		}
		if err := js.DeleteStream(ctx, broker.RetryStream(s)); err != nil {
			return err
		}
	}
	outcomes, err := js.Stream(ctx, broker.StreamOutcomes)
	if err != nil {
		return err
	}
	return outcomes.Purge(ctx)
}

// stored is how many messages and bytes a stream holds.
func stored(ctx context.Context, conn *broker.Conn, stream string) (jetstream.StreamState, error) {
	s, err := conn.JetStream().Stream(ctx, stream)
	if err != nil {
		return jetstream.StreamState{}, err
	}
	return s.CachedInfo().State, nil
}
