package consumer_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/order"
)

// Orders are taken beyond the slots as many as these handle in 2.5 ms, and 256 at
// most; of quick handlers 256 more may be on their way to the record. One before them needn't ever be there: a
// slot that comes free beside another is filled with what was meant to wait.
func TestGroup_TakesBeyondItsSlotsWhatTheyHandleInAMoment(t *testing.T) {
	for name, c := range map[string]struct {
		took time.Duration
		most int // of them 4 in slots
	}{
		"10 µs":  {10 * time.Microsecond, 4 + 2*256},
		"500 µs": {500 * time.Microsecond, 4 + 20},
		"5 ms":   {5 * time.Millisecond, 4 + 2},
		"25 ms":  {25 * time.Millisecond, 4},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *shop) {
				const orders = 600
				for range orders {
					s.placeOne()
				}
				s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
					time.Sleep(c.took)
					return authorized, nil
				}), nil)
				most := 0
				for left := uint64(orders); left > 0; {
					pass(c.took / 3)
					unacked, pending := s.inHand(broker.StreamOrders, "payment")
					most, left = max(most, unacked), pending+uint64(unacked)
				}
				if most > c.most || most < min(5, c.most) {
					t.Errorf("at most %d in hand, want more than 4 and at most %d", most, c.most)
				}
				equal(t, "account", s.account(), audit.Account{Service: order.Payment, Accepted: orders, Done: orders})
			})
		})
	}
}

// What hanging handlers keep from a slot is handed back after half of the ack wait,
// so that another instance can have it.
func TestGroup_TheWindowIsHandedBackWhenHandlersHang(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		for range 1200 {
			s.placeOne()
		}
		var (
			handled atomic.Int64
			hang    atomic.Bool
			stuck   = make(chan struct{})
		)
		t.Cleanup(func() { close(stuck) })
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			handled.Add(1)
			time.Sleep(10 * time.Microsecond)
			if hang.Load() {
				<-stuck // deaf to its context
			}
			return authorized, nil
		}), nil)
		for unacked := 0; unacked < 100; {
			pass(3 * time.Microsecond)
			unacked, _ = s.inHand(broker.StreamOrders, "payment")
		}
		hang.Store(true)
		pass(time.Second)
		begun := handled.Load()
		if unacked, _ := s.inHand(broker.StreamOrders, "payment"); unacked < 50 {
			t.Fatalf("%d orders in hand, want many that wait for a slot", unacked)
		}
		s.group(handle(settles), nil) // another instance
		pass(brokertest.AckWait/2 - 2*time.Second)
		equal(t, "begun here", handled.Load(), begun)
		if a := s.account(); a.Done == 1200 {
			t.Fatal("all orders are done, want some that still wait in the window")
		}
		pass(4 * time.Second)
		s.settled()
		if a := s.account(); a.Done < 1196 || a.Lost > 0 { // the four that hang are retries now
			t.Errorf("%+v, want at least 1196 done", a)
		}
	})
}

// An idle service asks the broker once an order.
func TestGroup_AsksOnceForAnOrderThatComesAlone(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		var asked atomic.Int64
		_, err := s.conn.NATS().Subscribe(s.conn.NextSubject(broker.StreamOrders, "payment"), func(*nats.Msg) { asked.Add(1) })
		if err != nil {
			t.Fatal(err)
		}
		s.group(handle(settles), nil)
		pass(time.Second)
		asked.Store(0)
		for range 10 {
			s.placeOne()
			pass(100 * time.Millisecond)
		}
		s.settled()
		equal(t, "requests for 10 orders", asked.Load(), 10)
	})
}

// fillWindow has a group know its four handlers as brisk, then tells them by slow not to
// answer any more, and places orders: in the slots, and some that wait for one.
func (s *shop) fillWindow(slow *atomic.Bool) {
	s.t.Helper()
	for range 300 {
		s.placeOne()
	}
	pass(time.Minute)
	slow.Store(true)
	for _, n := range []int{4, 100} { // the slots, and what comes when one is free
		for range n {
			s.placeOne()
		}
		synctest.Wait() // no time passes: they are still brisk
	}
}
