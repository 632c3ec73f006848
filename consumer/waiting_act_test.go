package consumer_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

func TestRetries_NowRunsAtOnceAsTheAttemptItWas(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		h := &fails{times: 3}
		s.group(h, nil)
		s.placeOne()
		pass(1500 * time.Millisecond)
		w := s.onlyWaiting() // in the second tier

		if err := s.retries().Now(t.Context(), order.Payment, w.Seq); err != nil {
			t.Fatal(err)
		}
		sent := time.Now()
		pass(100 * time.Millisecond)
		equal(t, "attempts", h.calls.Load(), 3)
		equal(t, "later by", h.last.Load().Sub(sent), 0)

		// It failed again: as the third attempt, and so in the third tier.
		then := s.onlyWaiting()
		equal(t, "tier after it", then.Tier, "t3")
		equal(t, "attempt to come", then.Hop.Attempt, 4)
		equal(t, "waits", then.Hop.Waits, 3)
		equal(t, "origin", then.Hop.Origin, w.Hop.Origin)
		var numbers []int
		for _, a := range then.Timeline {
			numbers = append(numbers, a.N)
		}
		equal(t, "attempts so far", numbers, []int{1, 2, 3})

		if err := s.retries().Now(t.Context(), order.Payment, w.Seq); !errors.Is(err, consumer.ErrNotWaiting) {
			t.Errorf("Now of what is gone = %v, want %v", err, consumer.ErrNotWaiting)
		}
		pass(time.Hour)
		equal(t, "attempts in the end", h.calls.Load(), 4)
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 1})
		equal(t, "retries", s.subjects(broker.RetryStream(order.Payment)), map[string]uint64{})
		s.nothingHeld("t2")
		s.nothingHeld(broker.TierNow)
	})
}

// Cut between storing and deleting, and done again: it runs once.
func TestRetries_NowIsSafeToRepeat(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		w := s.wait("t3", broker.Hop{OrderID: "o-1", Attempt: 3, RetryDelay: time.Minute}.Header(nil))
		hop := w.Hop
		hop.RetryDelay = 0
		if _, err := s.conn.Store(t.Context(), broker.Message{
			Subject: broker.RetrySubject(order.Payment, broker.TierNow), ID: broker.NowID(w.Seq), Header: hop.Header(w.Header), Data: w.Data,
		}); err != nil {
			t.Fatal(err)
		}
		if err := s.retries().Now(t.Context(), order.Payment, w.Seq); err != nil {
			t.Fatal(err)
		}
		once := s.onlyWaiting()
		equal(t, "tier", once.Tier, broker.TierNow)

		// And what is at the door already stays there.
		if err := s.retries().Now(t.Context(), order.Payment, once.Seq); err != nil {
			t.Fatal(err)
		}
		equal(t, "place", s.onlyWaiting().Seq, once.Seq)
		h := &fails{}
		s.group(h, nil)
		pass(time.Hour)
		equal(t, "attempts", h.calls.Load(), 1)
	})
}

func TestRetries_CancelMakesALetter(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		h := &fails{times: 2}
		s.group(h, nil)
		o, body := placed(t)
		s.place(o.ID, body, "traceparent", "00-1")
		pass(1500 * time.Millisecond)
		w := s.onlyWaiting()
		if err := s.retries().Cancel(t.Context(), order.Payment, w.Seq); err != nil {
			t.Fatal(err)
		}
		if err := s.retries().Cancel(t.Context(), order.Payment, w.Seq); !errors.Is(err, consumer.ErrNotWaiting) {
			t.Errorf("Cancel of what is gone = %v, want %v", err, consumer.ErrNotWaiting)
		}
		pass(time.Hour)
		equal(t, "attempts", h.calls.Load(), 2)
		equal(t, "retries", s.subjects(broker.RetryStream(order.Payment)), map[string]uint64{})
		s.nothingHeld("t2")

		letters := s.letters()
		if len(letters) != 1 {
			t.Fatalf("letters: got %d, want 1", len(letters))
		}
		l := letters[0]
		equal(t, "reason", l.Reason, deadletter.Canceled)
		equal(t, "error", l.Error, "gateway is down (2)")
		equal(t, "given up by", l.Instance+" "+l.Version, "anna@ops-1 v9")
		equal(t, "timeline", l.Timeline, w.Timeline)
		equal(t, "body", string(l.Data), string(body))
		equal(t, "header", l.Header.Get("traceparent"), "00-1")
		equal(t, "origin", l.Hop.Origin, broker.Origin{Stream: "ORDERS", Seq: 1, Subject: "orders.created"})

		if err := s.desk.Replay(t.Context(), l.Seq); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		equal(t, "attempts after the replay", h.calls.Load(), 3)
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 1})
	})
}

// Cut between storing and deleting, and done again: it is one letter.
func TestRetries_CancelIsSafeToRepeat(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		w := s.wait("t3", broker.Hop{OrderID: "o-1", Origin: broker.Origin{Stream: "ORDERS", Seq: 7}, RetryDelay: time.Minute}.Header(nil))
		if err := s.desk.Post(t.Context(), deadletter.Letter{Service: order.Payment, Reason: deadletter.Canceled, Hop: w.Hop, Data: w.Data}); err != nil {
			t.Fatal(err)
		}
		if err := s.retries().Cancel(t.Context(), order.Payment, w.Seq); err != nil {
			t.Fatal(err)
		}
		equal(t, "letters", len(s.letters()), 1)
		equal(t, "waiting", len(s.waiting(consumer.WaitingFilter{})), 0)
	})
}

// Retries of two services have the same numbers, and are not the same.
func TestRetries_CancelKeepsServicesApart(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		hop := broker.Hop{OrderID: "o-1", Origin: broker.Origin{Stream: "ORDERS", Seq: 7}}
		brokertest.Provision(t, s.conn, planOf(order.Inventory))
		both := []order.Service{order.Payment, order.Inventory}
		for _, service := range both {
			m := broker.Message{Subject: broker.RetrySubject(service, "t4"), ID: "1", Header: hop.Header(nil), Data: []byte(service)}
			if _, err := s.conn.Store(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		for _, service := range both {
			if err := s.retries().Cancel(t.Context(), service, 1); err != nil {
				t.Fatal(err)
			}
		}
		got := map[order.Service]string{}
		for _, l := range s.letters() {
			got[l.Service] = string(l.Data)
		}
		equal(t, "letters", got, map[order.Service]string{order.Payment: "payment", order.Inventory: "inventory"})
	})
}

// Two retries that say nothing of where they come from are two letters.
func TestRetries_CancelKeepsOrdersApart(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		for range 2 {
			w := s.wait("t4", nil)
			if err := s.retries().Cancel(t.Context(), order.Payment, w.Seq); err != nil {
				t.Fatal(err)
			}
		}
		equal(t, "letters", s.subjects(broker.StreamDeadLetters), map[string]uint64{"dlq.payment.canceled": 2})
	})
}

// What can't be stored isn't deleted.
func TestRetries_NothingIsDeletedThatIsNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := brokertest.StartUsers(t, map[string][]string{"clerk": {"dlq.>", "retry.>"}, "shop": {}})
		s := &shop{t: t, conn: server.Connect(nats.UserInfo("shop", "shop"))}
		brokertest.Provision(t, s.conn, brokertest.Plan())
		w := s.wait("t4", nil)
		clerk := consumer.NewRetries(server.Connect(nats.UserInfo("clerk", "clerk")), "clerk", "")
		if err := clerk.Now(t.Context(), order.Payment, w.Seq); !errors.Is(err, broker.ErrNotStored) {
			t.Errorf("Now = %v, want %v", err, broker.ErrNotStored)
		}
		if err := clerk.Cancel(t.Context(), order.Payment, w.Seq); !errors.Is(err, broker.ErrNotStored) {
			t.Errorf("Cancel = %v, want %v", err, broker.ErrNotStored)
		}
		equal(t, "what waits", s.onlyWaiting(), w)
	})
}

// An attempt that is under way is not stopped, and whatever comes of it beside what
// an operator did is one outcome.
func TestRetries_WhatIsInHandGoesOn(t *testing.T) {
	for name, tt := range map[string]struct {
		act      func(*consumer.Retries, context.Context, order.Service, uint64) error
		attempts int32
		letters  map[string]uint64
	}{
		"canceled": {(*consumer.Retries).Cancel, 2, map[string]uint64{"dlq.payment.canceled": 1}},
		"sent now": {(*consumer.Retries).Now, 3, map[string]uint64{}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *shop) {
				release := make(chan struct{})
				var calls atomic.Int32
				s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
					if calls.Add(1) == 1 {
						return order.Outcome{}, errors.New("not yet")
					}
					<-release
					return authorized, nil
				}), func(cfg *consumer.Config, _ *bulkhead.Config) { cfg.RetryShare = 2 })
				s.placeOne()
				pass(1500 * time.Millisecond) // the second attempt runs
				if err := tt.act(s.retries(), t.Context(), order.Payment, s.onlyWaiting().Seq); err != nil {
					t.Fatal(err)
				}
				pass(100 * time.Millisecond)
				close(release)
				pass(time.Hour)
				equal(t, "attempts", calls.Load(), tt.attempts)
				equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 1})
				equal(t, "letters", s.subjects(broker.StreamDeadLetters), tt.letters)
				equal(t, "retries", s.subjects(broker.RetryStream(order.Payment)), map[string]uint64{})
				s.nothingHeld("t1")
				s.nothingHeld(broker.TierNow)
			})
		})
	}
}
