package bulkhead_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/bulkhead"
)

func TestCredit_SecondUseIsACountedNoOp(t *testing.T) {
	uses := map[string]func(bulkhead.Credit, bulkhead.Task){
		"Release": func(c bulkhead.Credit, _ bulkhead.Task) { c.Release() },
		"Go":      func(c bulkhead.Credit, j bulkhead.Task) { c.Go(j) },
		"Run":     func(c bulkhead.Credit, j bulkhead.Task) { c.Run(j) },
	}
	for first, spend := range uses {
		for second, again := range uses {
			t.Run(second+" after "+first, func(t *testing.T) {
				inBubble(t, bulkhead.Config{Slots: 1}, func(t *testing.T, b *bulkhead.Bulkhead) {
					c := acquire(t, b)
					spend(c, newJob(nothing))
					synctest.Wait()
					other := acquire(t, b) // the same slot
					j := newJob(nothing)
					again(c, j)
					synctest.Wait()
					if len(j.done) != 0 {
						t.Error("Done was called under a spent credit")
					}
					if s := b.Stats(); s.InUse != 1 || s.Misuse != 1 {
						t.Errorf("got %d in use, %d misuses; want 1, 1", s.InUse, s.Misuse)
					}
					if extra := b.Take(nil, 2); len(extra) != 0 {
						t.Errorf("a spent credit let %d more in", len(extra))
					}
					other.Release()
				})
			})
		}
	}
	var zero bulkhead.Credit
	zero.Release()
	zero.Go(nil)
	zero.Run(nil)
}

func TestCredit_CopiesSpentTogetherCountOnce(t *testing.T) {
	b := open(t, bulkhead.Config{Slots: 1})
	for range 200 {
		c := acquire(t, b)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(c.Release)
		}
		wg.Wait()
	}
	if got := b.Stats().Misuse; got != 600 {
		t.Errorf("got %d misuses, want 600", got)
	}
	free := b.Take(nil, 9)
	if len(free) != 1 {
		t.Errorf("took %d credits of 1 slot", len(free))
	}
	for _, c := range free {
		c.Release()
	}
}

func TestTake_NeverWaitsAndTakesWhatIsFree(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 3}, func(t *testing.T, b *bulkhead.Bulkhead) {
		first := b.Take(nil, 2)
		both := b.Take(first, 2)
		if len(first) != 2 || len(both) != 3 {
			t.Errorf("took %d and then %d of 3 slots, want 2 and 3", len(first), len(both))
		}
		if got := b.Take(nil, 1); len(got) != 0 {
			t.Errorf("took %d of no slots", len(got))
		}
		for _, c := range both {
			c.Release()
		}
		if got := b.Take(nil, -1); got != nil {
			t.Errorf("took %v of -1", got)
		}
	})
}

func TestAcquire_ServesInOrder(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 1, RatePerSecond: 10}, func(t *testing.T, b *bulkhead.Bulkhead) {
		c := acquire(t, b)
		var order []int
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				c := acquire(t, b)
				order = append(order, i)
				c.Run(newJob(nothing))
			})
			synctest.Wait()
		}
		c.Release()
		wg.Wait()
		if len(order) != 10 || !slices.IsSorted(order) {
			t.Errorf("served in the order %v", order)
		}
	})
}

func TestAcquire_ServesInOrderWhenTheBreakerCloses(t *testing.T) {
	cfg := bulkhead.Config{Slots: 1, Breaker: &bulkhead.BreakerConfig{}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		for range 20 {
			b.Force(bulkhead.Open)
			var order []int
			var wg sync.WaitGroup
			for i := range 10 {
				wg.Go(func() {
					c := acquire(t, b)
					order = append(order, i)
					c.Release()
				})
				synctest.Wait()
			}
			b.Force(bulkhead.Auto)
			wg.Wait()
			if len(order) != 10 || !slices.IsSorted(order) {
				t.Fatalf("served in the order %v", order)
			}
		}
	})
}

func TestAcquire_WaitsForABreakerUntilItProbes(t *testing.T) {
	cfg := bulkhead.Config{Slots: 3, Breaker: &bulkhead.BreakerConfig{MinCalls: 1, OpenFor: time.Minute, Probes: 2}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		wantErr(t, "Do", do(t.Context(), b, func(context.Context) error { return errBoom }), errBoom)
		wantErr(t, "Do when open", do(t.Context(), b, nothing), bulkhead.ErrOpen)
		if got := b.Take(nil, 1); len(got) != 0 {
			t.Errorf("took %d credits from an open breaker", len(got))
		}
		if at, probes := b.ReadyAt(); !at.Equal(time.Now().Add(time.Minute)) || probes != 2 {
			t.Errorf("ReadyAt: got %v, %d; want in a minute, 2", at, probes)
		}

		start := time.Now()
		first := acquire(t, b)
		if got := time.Since(start); got != time.Minute {
			t.Errorf("Acquire waited %v, want 1m", got)
		}
		probes := b.Take([]bulkhead.Credit{first}, 3)
		if len(probes) != 2 {
			t.Errorf("half-open: got %d credits, want the 2 probes", len(probes))
		}

		// A third waits until the probes have closed the breaker.
		var third bulkhead.Credit
		var wg sync.WaitGroup
		wg.Go(func() { third = acquire(t, b) })
		synctest.Wait()
		for _, c := range probes {
			c.Go(newJob(nothing))
		}
		wg.Wait()
		if s := b.Stats(); s.State != bulkhead.Closed {
			t.Errorf("got %v, want closed", s.State)
		}
		third.Release()
	})
}

func TestAcquire_TakesOverAProbeThatWasGivenBack(t *testing.T) {
	cfg := bulkhead.Config{Slots: 2, Breaker: &bulkhead.BreakerConfig{OpenFor: time.Minute}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		b.Force(bulkhead.HalfOpen)
		c := acquire(t, b)
		var wg sync.WaitGroup
		wg.Go(func() { acquire(t, b).Run(newJob(nothing)) })
		synctest.Wait()
		start := time.Now()
		c.Release()
		wg.Wait()
		if s := b.Stats(); s.State != bulkhead.Closed || time.Since(start) != 0 {
			t.Errorf("got %v after %v, want closed at once", s.State, time.Since(start))
		}
	})
}

func TestAcquire_IsRefusedAfterClose(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 1}, func(t *testing.T, b *bulkhead.Bulkhead) {
		c := acquire(t, b)
		got := make(chan error, 2)
		for range 2 { // one at the head, one behind
			go func() { _, err := b.Acquire(t.Context()); got <- err }()
		}
		synctest.Wait()
		b.Close()
		wantErr(t, "waiting", <-got, bulkhead.ErrClosed)
		wantErr(t, "waiting", <-got, bulkhead.ErrClosed)
		_, err := b.Acquire(t.Context())
		wantErr(t, "afterwards", err, bulkhead.ErrClosed)
		c.Release()
		if got := b.Take(nil, 1); len(got) != 0 {
			t.Errorf("took %d credits after Close", len(got))
		}
	})
}
