package consumer_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/order"
)

// BenchmarkGroup is the whole way of an order through a group whose handler does
// nothing: pull, decode, judge, store the outcome, acknowledge; 100 slots, broker
// and group in one process.
func BenchmarkGroup(b *testing.B) {
	conn := brokertest.New(b)
	var n atomic.Int64
	done := make(chan struct{})
	pool, err := bulkhead.New(bulkhead.Config{Name: "payment", Slots: 100, Timeout: 2 * time.Second})
	if err != nil {
		b.Fatal(err)
	}
	defer pool.Close()
	total := int64(b.N)
	g, err := consumer.New(conn, consumer.Config{Service: order.Payment, Bulkhead: pool, Policy: consumer.Policy{Retry: ladder}, Handler: handle(func(context.Context, order.Order) (order.Outcome, error) {
		if n.Add(1) == total {
			close(done)
		}
		return authorized, nil
	})})
	if err != nil {
		b.Fatal(err)
	}
	o := order.Order{Customer: "c-1", Currency: "EUR", Lines: []order.Line{{SKU: "MUG-RED", Quantity: 2, UnitPrice: 1299}}}
	answered := make(chan struct{}, 1000)
	for range b.N {
		o.ID = order.NewID()
		body, err := o.Encode()
		if err != nil {
			b.Fatal(err)
		}
		answered <- struct{}{}
		conn.StoreAsync(broker.Message{Subject: broker.SubjectCreated, ID: o.ID, Data: body}, func(_ broker.Receipt, err error) {
			if err != nil {
				b.Error(err)
			}
			<-answered
		})
	}
	for range cap(answered) {
		answered <- struct{}{}
	}
	b.ResetTimer()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	<-done
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}
