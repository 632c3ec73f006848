package consumer_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher"
)

// giftWrap is a service of its own: it handles every order, beside the others.
type giftWrap struct{ wrapped chan string }

func (g giftWrap) Handle(_ context.Context, o order.Order) (order.Outcome, error) {
	g.wrapped <- o.ID
	return order.Outcome{Result: order.Committed}, nil
}

// Your own service: a handler, a bulkhead, a group. The test shows it at work on a
// broker of its own, in virtual time.
func TestGroup_YourOwnService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := brokertest.New(t)
		plan := brokertest.Plan()
		plan.Services = append(plan.Services, broker.Service{
			Name: "gift-wrap", Tiers: 2, AckWait: consumer.AckWait(2*time.Second, 0),
		})
		brokertest.Provision(t, conn, plan)

		// ── from here on it is the twenty lines of the README ──
		wrap := giftWrap{wrapped: make(chan string, 1)}
		slots, err := bulkhead.New(bulkhead.Config{Name: "gift-wrap", Slots: 8, Timeout: 2 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer slots.Close()
		group, err := consumer.New(conn, consumer.Config{
			Service:  "gift-wrap",
			Handler:  wrap,
			Bulkhead: slots,
			Policy:   consumer.Policy{Retry: []time.Duration{time.Second, time.Minute}},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- group.Run(ctx) }()
		// ──

		o := order.Order{
			ID: order.NewID(), Customer: "c-17", Currency: "EUR",
			Lines: []order.Line{{SKU: "MUG-RED", Quantity: 2, UnitPrice: 1299}},
		}
		if _, err := publisher.New(conn).Place(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if got := <-wrap.wrapped; got != o.ID {
			t.Errorf("wrapped %s, want %s", got, o.ID)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// A policy decides without a clock or a broker.
func ExamplePolicy_Judge() {
	p := consumer.Policy{Retry: []time.Duration{time.Second, 10 * time.Second}}
	v := p.Judge(consumer.Attempt{N: 2}, fmt.Errorf("gateway answered 503"))
	fmt.Println(v.Fate, "in tier", v.Tier, "after", v.Delay)
	v = p.Judge(consumer.Attempt{N: 3}, fmt.Errorf("gateway answered 503"))
	fmt.Println(v.Fate, v.Reason)
	// Output:
	// retry in tier 2 after 10s
	// dead exhausted
}
