package bulkhead_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/time/rate"

	"github.com/watertight-go/watertight/bulkhead"
)

func TestRate_SpacesTheStarts(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 9, Queue: 9, RatePerSecond: 10, Burst: 2}, func(t *testing.T, b *bulkhead.Bulkhead) {
		start := time.Now()
		var mu sync.Mutex
		var got []time.Duration
		run := func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, time.Since(start).Round(time.Millisecond))
			return nil
		}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { _ = do(t.Context(), b, run) })
			wg.Go(func() { wantErr(t, "TrySubmit", b.TrySubmit(newJob(run)), nil) })
			wg.Go(func() { wantErr(t, "Submit", b.Submit(t.Context(), newJob(run)), nil) })
			wg.Go(func() { acquire(t, b).Run(newJob(run)) })
		}
		wg.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		var want []time.Duration
		for i := range 8 {
			want = append(want, time.Duration(max(0, i-1))*100*time.Millisecond)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("starts (-want +got):\n%s", diff)
		}
	})
}

func TestRate_RefusesWhatCannotWait(t *testing.T) {
	tests := map[string]bulkhead.Config{
		"without a queue":           {Slots: 9, RatePerSecond: 1},
		"when MaxWait is too short": {Slots: 9, Queue: 9, MaxWait: time.Second / 2, RatePerSecond: 1},
	}
	for name, cfg := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
				wantErr(t, "the first", do(t.Context(), b, nothing), nil)
				start := time.Now()
				err := do(t.Context(), b, nothing)
				wantErr(t, "the second", err, bulkhead.ErrRate)
				if cfg.Queue == 0 {
					wantErr(t, "TrySubmit", b.TrySubmit(newJob(nothing)), bulkhead.ErrRate)
				} else {
					j := newJob(nothing)
					wantErr(t, "TrySubmit", b.TrySubmit(j), nil)
					wantErr(t, "Done", <-j.done, bulkhead.ErrRate)
				}
				if got := time.Since(start); got != 0 {
					t.Errorf("refused after %v, want at once", got)
				}
				var r *bulkhead.Rejection
				if !errors.As(err, &r) || r.RetryAfter().Round(time.Millisecond) != time.Second {
					t.Errorf("got %v to be retried after %v, want 1s", err, r.RetryAfter())
				}
				if got := b.Take(nil, 1); len(got) != 0 {
					t.Errorf("took %d credits without a token", len(got))
				}
				time.Sleep(r.RetryAfter())
				if r.RetryAfter() != 0 {
					t.Errorf("a second later: retry after %v, want 0", r.RetryAfter())
				}
				wantErr(t, "a second later", do(t.Context(), b, nothing), nil)
			})
		})
	}
}

func TestRate_CanceledWaitCostsNoToken(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 99, Queue: 99, RatePerSecond: 1}, func(t *testing.T, b *bulkhead.Bulkhead) {
		wantErr(t, "the first", do(t.Context(), b, nothing), nil)
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { wantErr(t, "canceled", do(ctx, b, nothing), context.Canceled) })
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		wantErr(t, "the next", do(t.Context(), b, nothing), nil)
		if got := time.Since(start).Round(time.Millisecond); got != time.Second {
			t.Errorf("waited %v behind 50 who had gone, want 1s", got)
		}
	})
}

func TestRate_ReleasedCreditHandsItsTokenBack(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 9, Queue: 9, RatePerSecond: 0.001}, func(t *testing.T, b *bulkhead.Bulkhead) {
		for range 100 {
			c := acquire(t, b)
			c.Release()
		}
		c := acquire(t, b)
		start := time.Now()
		got := make(chan error)
		go func() { got <- do(t.Context(), b, nothing) }() // asleep until its token is due
		synctest.Wait()
		c.Release()
		wantErr(t, "Do", <-got, nil)
		if waited := time.Since(start); waited != 0 {
			t.Errorf("the token that was given back was taken after %v, want at once", waited)
		}
	})
}

func TestRate_RunRefusedByTheBreakerHandsItsTokenBack(t *testing.T) {
	cfg := bulkhead.Config{Slots: 2, Queue: 2, RatePerSecond: 1, Breaker: &bulkhead.BreakerConfig{}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		wantErr(t, "the first", do(t.Context(), b, nothing), nil)
		got := make(chan error)
		go func() { got <- do(t.Context(), b, nothing) }()
		synctest.Wait()
		b.Force(bulkhead.Open)
		wantErr(t, "waited for the rate", <-got, bulkhead.ErrOpen)
		b.Force(bulkhead.Auto)
		start := time.Now()
		wantErr(t, "the next", do(t.Context(), b, nothing), nil)
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v for the token of a run that was refused, want 0", waited)
		}
	})
}

// The bulkhead gives tokens back by taking a negative number of them, which
// the limiter allows but doesn't promise.
func TestRate_LimiterTakesBackATokenGrantedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := rate.NewLimiter(1, 2)
		for range 5 {
			if !l.AllowN(time.Now(), 2) {
				t.Fatal("tokens that were given back are not there")
			}
			l.AllowN(time.Now(), -1)
			l.AllowN(time.Now(), -1)
		}
		l.AllowN(time.Now(), -5)
		if got := l.TokensAt(time.Now().Add(time.Nanosecond)); got != 2 {
			t.Errorf("got %v tokens, want no more than the burst of 2", got)
		}
	})
}
