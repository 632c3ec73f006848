package consumer_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/order"
)

// tries notes when orders are tried, and lets the first attempt of each fail.
type tries struct {
	mu    sync.Mutex
	begin time.Time
	at    map[string][]time.Duration
}

func newTries() *tries { return &tries{begin: time.Now(), at: make(map[string][]time.Duration)} }

func (r *tries) handle(_ context.Context, o order.Order) (order.Outcome, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at[o.ID] = append(r.at[o.ID], time.Since(r.begin))
	if len(r.at[o.ID]) == 1 {
		return order.Outcome{}, errBusy
	}
	return authorized, nil
}

// What comes into a tier later, and is due later, delays nothing that is due before.
func TestTier_OrdersApartAreEachOnTime(t *testing.T) {
	for name, tt := range map[string]struct{ delay, apart time.Duration }{
		"more than a lane has seen": {10 * time.Second, 600 * time.Millisecond},
		"far":                       {10 * time.Minute, 47 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newTrial(t, story{}, order.Payment)
				x.retry = []time.Duration{tt.delay, tt.delay}
				r := newTries()
				x.handler = func(order.Service, *life) consumer.Handler { return handle(r.handle) }
				x.live(forEver)
				var orders []order.Order
				for range 30 {
					orders = append(orders, x.placeOne())
					pass(tt.apart)
				}
				pass(2 * tt.delay)
				for i, o := range orders {
					begun := time.Duration(i) * tt.apart
					on(t, "order "+o.ID, r.at[o.ID], []time.Duration{begun, begun + tt.delay})
				}
				x.stop()
			})
		})
	}
}

// A process may go while what it has put off waits. Another one, which waits for
// something later, takes it.
func TestTier_WhatAProcessThatIsGoneHasPutOffIsOnTime(t *testing.T) {
	for name, goes := range map[string]func(*trial){
		"stopped": func(x *trial) { x.stop() },
		"killed":  func(x *trial) { x.kill() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newTrial(t, story{}, order.Payment)
				x.retry = []time.Duration{10 * time.Minute, 10 * time.Minute}
				r := newTries()
				x.handler = func(order.Service, *life) consumer.Handler { return handle(r.handle) }
				x.live(forEver)
				first := x.placeOne()
				pass(5 * time.Minute)
				gone := *x
				x.stops = nil
				x.live(forEver)
				second := x.placeOne()
				pass(time.Second)
				goes(&gone)
				pass(20 * time.Minute)
				for o, begun := range map[string]time.Duration{first.ID: 0, second.ID: 5 * time.Minute} {
					at := r.at[o]
					if len(at) != 2 || at[1] < begun+10*time.Minute || at[1] > begun+10*time.Minute+2*time.Second {
						t.Errorf("attempts at %v, want a second one within 2 s (half the ack wait and a bit) after %v", at, begun+10*time.Minute)
					}
				}
				x.stop()
				gone.stop()
			})
		})
	}
}
