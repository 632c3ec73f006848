package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/order"
)

func (s *shop) retries() *consumer.Retries { return consumer.NewRetries(s.conn, "anna@ops-1", "v9") }

// waiting lists the retries of payment.
func (s *shop) waiting(f consumer.WaitingFilter) []consumer.Waiting {
	s.t.Helper()
	all := []consumer.Waiting{}
	for w, err := range s.retries().All(context.Background(), order.Payment, f) {
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, w)
	}
	return all
}

// onlyWaiting is the one retry of payment that waits.
func (s *shop) onlyWaiting() consumer.Waiting {
	s.t.Helper()
	all := s.waiting(consumer.WaitingFilter{})
	if len(all) != 1 {
		s.t.Fatalf("%d retries wait, want 1: %+v", len(all), all)
	}
	return all[0]
}

// fails is a handler that fails so many times and says when it was called.
type fails struct {
	times int32
	calls atomic.Int32
	last  atomic.Pointer[time.Time]
}

func (f *fails) Handle(context.Context, order.Order) (order.Outcome, error) {
	now := time.Now()
	f.last.Store(&now)
	if n := f.calls.Add(1); n <= f.times {
		return order.Outcome{}, fmt.Errorf("gateway is down (%d)", n)
	}
	return authorized, nil
}

// nothingHeld fails the test when a tier's durable has something in hand: what an
// operator takes away must not take its place from others.
func (s *shop) nothingHeld(tier string) {
	s.t.Helper()
	if unacked, pending := s.inHand(broker.RetryStream(order.Payment), broker.TierDurable(order.Payment, tier)); unacked != 0 || pending != 0 {
		s.t.Errorf("tier %s: %d in hand and %d pending, want none", tier, unacked, pending)
	}
}

func TestRetries_AreListedWithTheInstantTheyAreDue(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		h := &fails{times: 2}
		s.group(h, nil)
		o := s.placeOne()
		began := time.Now()
		pass(1500 * time.Millisecond) // the second attempt was after 1 s

		w := s.onlyWaiting()
		equal(t, "service", w.Service, order.Payment)
		equal(t, "tier", w.Tier, "t2")
		equal(t, "order", w.Hop.OrderID, o.ID)
		equal(t, "attempt", w.Hop.Attempt, 3)
		equal(t, "first seen", w.Hop.FirstSeen.Sub(began), 0)
		equal(t, "error", w.Error, "gateway is down (2)")
		equal(t, "attempts so far", len(w.Timeline), 2)
		equal(t, "waits for", w.Due.Sub(w.Since), 10*time.Second)
		equal(t, "begun", w.Since.Sub(began).Round(time.Millisecond), time.Second)
		if _, body := placed(t); len(w.Data) != len(body) || w.Header.Get("Nats-Msg-Id") != "" || w.Header.Get(broker.HeaderOrderID) != o.ID {
			t.Errorf("got %d bytes with %v, want %d and no header of the broker's", len(w.Data), w.Header, len(body))
		}
		alone, err := s.retries().Get(t.Context(), order.Payment, w.Seq)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the same alone", alone, w)

		pass(time.Minute)
		equal(t, "it came late by", h.last.Load().Sub(w.Due), 0)
		equal(t, "waiting then", len(s.waiting(consumer.WaitingFilter{})), 0)
	})
}

func TestRetries_AreListedByFilter(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		begin := time.Now()
		for i, hop := range []broker.Hop{
			{OrderID: "a", RetryDelay: time.Second},
			{OrderID: "b", RetryDelay: 10 * time.Second},
			{OrderID: "a", RetryDelay: 10 * time.Second},
			{OrderID: "c"},
		} {
			s.wait([]string{"t1", "t2", "t2", "now"}[i], hop.Header(nil))
		}
		for _, tt := range []struct {
			f    consumer.WaitingFilter
			want []uint64
		}{
			{consumer.WaitingFilter{}, []uint64{1, 2, 3, 4}},
			{consumer.WaitingFilter{Tier: "t2"}, []uint64{2, 3}},
			{consumer.WaitingFilter{Tier: "t3"}, []uint64{}},
			{consumer.WaitingFilter{Tier: "t"}, []uint64{}},
			{consumer.WaitingFilter{Tier: "*"}, []uint64{}},
			{consumer.WaitingFilter{OrderID: "a"}, []uint64{1, 3}},
			{consumer.WaitingFilter{OrderID: "a", Tier: "t1"}, []uint64{1}},
			{consumer.WaitingFilter{Due: begin.Add(time.Second)}, []uint64{1, 4}},
			{consumer.WaitingFilter{Due: begin.Add(time.Second - 1)}, []uint64{4}},
		} {
			got := []uint64{}
			for _, w := range s.waiting(tt.f) {
				got = append(got, w.Seq)
			}
			equal(t, fmt.Sprintf("All(%+v)", tt.f), got, tt.want)
		}
	})
}

// What comes while they are read isn't waited for. These are more than are read at
// a time.
func TestRetries_AreThoseThatWaitNow(t *testing.T) {
	const n = 8
	bubble(t, func(t *testing.T, s *shop) {
		large := func() {
			m := &nats.Msg{Subject: broker.RetrySubject(order.Payment, "t1"), Data: make([]byte, 1<<20)}
			if _, err := s.conn.JetStream().PublishMsg(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		for range n {
			large()
		}
		listed := 0
		for _, err := range s.retries().All(t.Context(), order.Payment, consumer.WaitingFilter{}) {
			if err != nil {
				t.Fatal(err)
			}
			if listed++; listed <= 4 {
				large()
			}
		}
		equal(t, "listed", listed, n)
		for _, err := range s.retries().All(t.Context(), order.Payment, consumer.WaitingFilter{}) {
			if err != nil {
				t.Error(err)
			}
			break // stopping early is fine
		}
	})
}

// wait stores a retry of payment as anybody can, and returns it.
func (s *shop) wait(tier string, h nats.Header) consumer.Waiting {
	s.t.Helper()
	_, body := placed(s.t)
	r, err := s.conn.JetStream().PublishMsg(context.Background(), &nats.Msg{Subject: broker.RetrySubject(order.Payment, tier), Header: h, Data: body})
	if err != nil {
		s.t.Fatal(err)
	}
	w, err := s.retries().Get(context.Background(), order.Payment, r.Sequence)
	if err != nil {
		s.t.Fatal(err)
	}
	return w
}

// Whatever headers a retry has, it shows, runs and can be given up.
func TestRetries_BearAnyHeaders(t *testing.T) {
	for name, h := range map[string]nats.Header{
		"none": nil,
		"all twice": {
			"Order-Id": {"o-1", "o-2"}, "Attempt": {"2", "9"}, "Retry-Delay": {"1m0s", "1h0m0s"}, "Origin-Stream": {"ORDERS", "DLQ"}, "Origin-Seq": {"7", "8"},
			"Origin-Subject": {"orders.created", "x"}, "Dlq-Timeline": {"[]", "["}, "Generation": {"0", "5"},
		},
		"nonsense": {
			"Attempt": {"-7"}, "Retry-Delay": {"soon"}, "Origin-Seq": {"many"}, "First-Seen": {"never"}, "Dlq-Timeline": {"["}, "Deadline": {"-"},
			"Order-Id": {strings.Repeat("x", 5000)}, "Generation": {"-1"},
		},
		"the broker's": {
			"Nats-Expected-Stream": {broker.RetryStream(order.Payment)}, "Nats-Msg-Id": {"x"}, "nats-ttl": {"soon"}, "Nats-Sequence": {"99"}, "Nats-Subject": {"x"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *shop) {
				sent := s.wait("t4", h)
				delete(h, "Nats-Msg-Id") // or it would be the same one
				canceled := s.wait("t4", h)
				equal(t, "waiting", len(s.waiting(consumer.WaitingFilter{})), 2)
				if err := s.retries().Now(t.Context(), order.Payment, sent.Seq); err != nil {
					t.Fatal(err)
				}
				if err := s.retries().Cancel(t.Context(), order.Payment, canceled.Seq); err != nil {
					t.Fatal(err)
				}
				letters := s.letters()
				if len(letters) != 1 || string(letters[0].Data) != string(canceled.Data) {
					t.Fatalf("letters: got %+v, want one with the bytes", letters)
				}
				equal(t, "origin of the letter", letters[0].Hop.Origin, canceled.Hop.Origin)
				equal(t, "origin of what runs", s.onlyWaiting().Hop.Origin, sent.Hop.Origin)
				h := &fails{}
				s.group(h, nil)
				pass(time.Second)
				equal(t, "attempts", h.calls.Load(), 1)
				equal(t, "waiting", len(s.waiting(consumer.WaitingFilter{})), 0)
			})
		})
	}
}

func TestRetries_OfAnUnknownService(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		for _, service := range []order.Service{"shipping", "", "a.b", "*", "Payment"} {
			var listed error
			for _, err := range s.retries().All(t.Context(), service, consumer.WaitingFilter{}) {
				listed = err
			}
			_, got := s.retries().Get(t.Context(), service, 1)
			for what, err := range map[string]error{
				"All": listed, "Get": got,
				"Now": s.retries().Now(t.Context(), service, 1), "Cancel": s.retries().Cancel(t.Context(), service, 1),
			} {
				if !errors.Is(err, broker.ErrUnknownService) {
					t.Errorf("%s of %q = %v, want %v", what, service, err, broker.ErrUnknownService)
				}
			}
		}
		if _, err := s.retries().Get(t.Context(), order.Payment, 1); !errors.Is(err, consumer.ErrNotWaiting) {
			t.Errorf("Get of nothing = %v, want %v", err, consumer.ErrNotWaiting)
		}
	})
}
