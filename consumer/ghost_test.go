package consumer_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/order"
)

// counter reads a counter of payment's.
func counter(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue()
		}
	}
	return sum
}

// A handler that outlives its timeout is a ghost: its order is retried beside it,
// and however it ends, that is logged, counted, and nothing else.
func TestGhost_HoweverItEndsTheOrderEndsOnce(t *testing.T) {
	for name, end := range map[string]func() (order.Outcome, error){
		"done":   func() (order.Outcome, error) { return order.Outcome{Result: order.Authorized, Ref: "late"}, nil },
		"failed": func() (order.Outcome, error) { return order.Outcome{}, errors.New("late") },
		"final":  func() (order.Outcome, error) { return order.Outcome{}, order.Reject(errors.New("late")) },
		"panic":  func() (order.Outcome, error) { panic("late") },
		"exit":   func() (order.Outcome, error) { runtime.Goexit(); panic("unreachable") },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *shop) {
				var (
					log     events
					mu      sync.Mutex
					calls   = make(map[string]int)
					release = make(chan struct{})
					reg     = prometheus.NewRegistry()
					pool    *bulkhead.Bulkhead
				)
				s.group(handle(func(_ context.Context, o order.Order) (order.Outcome, error) {
					mu.Lock()
					calls[o.ID]++
					n, orders := calls[o.ID], len(calls)
					mu.Unlock()
					if n == 1 && orders == 1 {
						<-release // deaf: it doesn't look at its context
						return end()
					}
					time.Sleep(time.Second)
					return authorized, nil
				}), func(c *consumer.Config, b *bulkhead.Config) {
					pool, _ = bulkhead.New(*b)
					c.Bulkhead, c.Log, c.Metrics = pool, zerolog.New(&log), consumer.NewMetrics(reg)
				})
				o := s.placeOne()
				pass(10 * time.Second)
				equal(t, "calls while the first is a ghost", calls[o.ID], 2)
				equal(t, "ghosts", pool.Stats().Ghosts, 1)
				stored := map[string]uint64{"outcomes.payment.authorized": 1}
				equal(t, "outcomes", s.subjects(broker.StreamOutcomes), stored)

				close(release)
				synctest.Wait()
				equal(t, "ghosts when it has returned", pool.Stats().Ghosts, 0)
				equal(t, "slots in use", pool.Stats().InUse, 0)
				equal(t, "late results logged", log.count("order.late_result"), 1)
				equal(t, "late results counted", counter(t, reg, "watertight_late_results_total"), 1)
				pass(2 * time.Minute)
				equal(t, "calls in the end", calls[o.ID], 2)
				equal(t, "outcomes in the end", s.subjects(broker.StreamOutcomes), stored)
				equal(t, "letters", len(s.letters()), 0)
				equal(t, "deliveries counted", counter(t, reg, "watertight_deliveries_total"), 2)

				// The process lives, and its slot is back: four run at a time.
				for range 4 {
					s.placeOne()
				}
				pass(1100 * time.Millisecond)
				equal(t, "outcomes of four more in their second", s.subjects(broker.StreamOutcomes)["outcomes.payment.authorized"], 5)
				s.settled()
			})
		})
	}
}

// Ghosts that all return at once, each beside its own retry, while the group stops.
func TestGhost_ThatReturnsWhileTheGroupStopsChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		var log events
		release := make(chan struct{})
		var mu sync.Mutex
		calls := make(map[string]int)
		g, stop := s.group(handle(func(_ context.Context, o order.Order) (order.Outcome, error) {
			mu.Lock()
			calls[o.ID]++
			mu.Unlock()
			<-release
			return authorized, nil
		}), func(c *consumer.Config, _ *bulkhead.Config) { c.Log = zerolog.New(&log) })
		for range 4 {
			s.placeOne()
		}
		pass(10 * time.Second)
		if err := g.Check(); err == nil {
			t.Error("Check() = nil while every slot is a ghost's, want flooded")
		}
		equal(t, "waiting retries", s.subjects("RETRY_PAYMENT"), map[string]uint64{"retry.payment.t1": 4})
		time.AfterFunc(0, func() { close(release) })
		stop()
		synctest.Wait()
		equal(t, "late results", log.count("order.late_result"), 4)

		s.group(handle(settles), nil)
		pass(time.Minute)
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 4})
		equal(t, "waiting retries in the end", len(s.subjects("RETRY_PAYMENT")), 0)
		s.settled()
	})
}
