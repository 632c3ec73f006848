package consumer_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/rejections"
)

var errNo = errors.New("no answer")

// While the breaker is open nothing is taken from the stream, half-open just as
// many orders as there are probes, and then 1, 2, 4, …; no attempt is spent.
func TestBreaker_OpenStopsThePullingProbesAndRamps(t *testing.T) {
	const slots, probes = 16, 3
	bubble(t, func(t *testing.T, s *shop) {
		var (
			mu      sync.Mutex
			healthy bool
			begun   []time.Duration // since it is healthy
			now     int
			most    int
			since   time.Time
		)
		for range 100 {
			s.placeOne()
		}
		pool, err := bulkhead.New(bulkhead.Config{Name: "payment", Slots: slots, Timeout: 5 * time.Second, Breaker: &bulkhead.BreakerConfig{
			MinCalls: 8, OpenFor: 20 * time.Second, Probes: probes,
		}})
		if err != nil {
			t.Fatal(err)
		}
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			mu.Lock()
			ok := healthy
			if ok {
				begun = append(begun, time.Since(since))
				now++
				most = max(most, now)
			}
			mu.Unlock()
			if !ok {
				return order.Outcome{}, errNo
			}
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return authorized, nil
		}), func(c *consumer.Config, _ *bulkhead.Config) {
			c.Bulkhead = pool
			c.Policy.Retry = []time.Duration{time.Hour, time.Hour, time.Hour, time.Hour}
		})
		pass(time.Second)
		if st := pool.Stats().State; st != bulkhead.Open {
			t.Fatalf("the breaker is %v, want open: the test shows nothing", st)
		}
		failed := s.subjects("RETRY_PAYMENT")["retry.payment.t1"]
		mu.Lock()
		healthy, since = true, time.Now()
		mu.Unlock()
		for range 18 {
			pass(time.Second)
			if unacked, _ := s.inHand(broker.StreamOrders, "payment"); unacked > 0 {
				t.Fatalf("%d orders in hand while the breaker is open, want none", unacked)
			}
		}
		pass(1500 * time.Millisecond)
		if st := pool.Stats().State; st != bulkhead.HalfOpen {
			t.Fatalf("the breaker is %v, want half-open: the test shows nothing", st)
		}
		unacked, _ := s.inHand(broker.StreamOrders, "payment")
		equal(t, "orders in hand while it is half-open", unacked, probes)
		pass(time.Minute)

		perSecond := make([]int, 8)
		for _, at := range begun {
			if i := int((at - 19*time.Second) / time.Second); i >= 0 && i < len(perSecond) {
				perSecond[i]++
			}
		}
		equal(t, "orders begun second by second", perSecond, []int{probes, 1, 2, 4, 8, 16, 16, 16})
		equal(t, "most at a time", most, slots)
		equal(t, "attempts spent since it opened", s.subjects("RETRY_PAYMENT")["retry.payment.t1"], failed)
		s.settled()
	})
}

// Retries too wait in the stream while the breaker is open.
func TestBreaker_OpenHoldsRetriesBackWithoutSpendingThem(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		var healthy atomic.Bool
		var calls atomic.Int32
		pool, err := bulkhead.New(bulkhead.Config{Name: "payment", Slots: 4, Timeout: time.Second, Breaker: &bulkhead.BreakerConfig{
			MinCalls: 10, OpenFor: 30 * time.Second,
		}})
		if err != nil {
			t.Fatal(err)
		}
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			calls.Add(1)
			if healthy.Load() {
				return authorized, nil
			}
			return order.Outcome{}, errNo
		}), func(c *consumer.Config, _ *bulkhead.Config) { c.Bulkhead = pool })
		for range 10 {
			s.placeOne()
		}
		pass(500 * time.Millisecond)
		equal(t, "calls before it opens", calls.Load(), 10)
		pass(20 * time.Second)
		equal(t, "calls while it is open", calls.Load(), 10)
		// One came to the pull that was open when the breaker opened.
		if unacked, pending := s.inHand("RETRY_PAYMENT", "payment-t1"); unacked > 1 || unacked+int(pending) != 10 {
			t.Errorf("%d retries were taken and %d wait while the breaker is open, want at most 1 of 10", unacked, pending)
		}
		healthy.Store(true)
		pass(time.Minute)
		equal(t, "calls in all", calls.Load(), 20)
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 10})
		equal(t, "letters", len(s.letters()), 0)
	})
}

// With nothing to probe with but retries, they probe.
func TestBreaker_RetriesProbeWhenNothingElseIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		var healthy atomic.Bool
		pool, err := bulkhead.New(bulkhead.Config{Name: "payment", Slots: 4, Timeout: time.Second, Breaker: &bulkhead.BreakerConfig{
			MinCalls: 4, OpenFor: 5 * time.Second,
		}})
		if err != nil {
			t.Fatal(err)
		}
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			if healthy.Load() {
				return authorized, nil
			}
			return order.Outcome{}, errNo
		}), func(c *consumer.Config, _ *bulkhead.Config) {
			c.Bulkhead = pool
			c.Policy.Retry = []time.Duration{10 * time.Second, 10 * time.Second, 10 * time.Second, 10 * time.Second}
		})
		for range 4 {
			s.placeOne()
		}
		pass(time.Second)
		healthy.Store(true)
		pass(20 * time.Second)
		equal(t, "breaker", pool.Stats().State, bulkhead.Closed)
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 4})
	})
}

// What waits for a slot when the breaker opens isn't held on to: it is put off until
// the breaker probes.
func TestBreaker_OpeningPutsOffWhatWaitsForASlot(t *testing.T) {
	const openFor = 20 * time.Second
	bubble(t, func(t *testing.T, s *shop) {
		pool, err := bulkhead.New(bulkhead.Config{Name: "payment", Slots: 4, Timeout: 2 * time.Second, Breaker: &bulkhead.BreakerConfig{MinCalls: 2, OpenFor: openFor}})
		if err != nil {
			t.Fatal(err)
		}
		var (
			d       = s.takeDown()
			calls   atomic.Int64
			hang    atomic.Bool
			answers = make(chan error)
		)
		s.group(handle(func(ctx context.Context, _ order.Order) (order.Outcome, error) {
			calls.Add(1)
			if !hang.Load() {
				return authorized, nil
			}
			select {
			case err := <-answers:
				return authorized, err
			case <-ctx.Done():
				return order.Outcome{}, errNo
			}
		}), func(c *consumer.Config, _ *bulkhead.Config) {
			c.Bulkhead, c.Rejections = pool, d.Log
			c.Policy.Retry = []time.Duration{time.Hour, time.Hour, time.Hour, time.Hour}
		})
		durable, err := s.conn.JetStream().Consumer(t.Context(), broker.StreamOrders, "payment")
		if err != nil {
			t.Fatal(err)
		}
		delivered := func() int {
			info, err := durable.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return int(info.Delivered.Consumer)
		}
		s.fillWindow(&hang)
		answers <- nil
		synctest.Wait()
		waiting := delivered() - int(calls.Load())
		if waiting < 50 || pool.Stats().InUse != 4 {
			t.Fatalf("%d orders wait for a slot: the test shows nothing", waiting)
		}
		answers <- errNo
		pass(100 * time.Millisecond)
		equal(t, "breaker", pool.State(), bulkhead.Open)
		d.wants(refused(rejections.Bulkhead, rejections.Breaker, waiting))

		hang.Store(false)
		pass(openFor - 200*time.Millisecond)
		early, err := durable.FetchNoWait(100)
		if err != nil {
			t.Fatal(err)
		}
		for m := range early.Messages() {
			t.Errorf("%s comes before the breaker probes", m.Headers().Get(broker.HeaderOrderID))
		}
		pass(time.Second)
		equal(t, "breaker", pool.State(), bulkhead.Closed)
		pass(time.Second)
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 400})
		s.settled()
	})
}
