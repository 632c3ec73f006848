package bulkhead_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/bulkhead"
)

// within is a context with a deadline that far away.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestAdmission_RefusesAtOnceWhatCannotBeInTime(t *testing.T) {
	cfg := bulkhead.Config{Slots: 2, Queue: 9, Admission: &bulkhead.AdmissionConfig{}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		wantErr(t, "when nothing is known", do(within(t, time.Millisecond), b, nothing), nil)
		for range 60 { // the deviation fades away
			_ = do(t.Context(), b, lasts(100*time.Millisecond))
		}
		wantErr(t, "with just enough time", do(within(t, 110*time.Millisecond), b, nothing), nil)
		ran := false
		err := do(within(t, 90*time.Millisecond), b, func(context.Context) error { ran = true; return nil })
		wantErr(t, "with too little time", err, bulkhead.ErrLate)
		if ran {
			t.Error("what was refused ran")
		}
		wantErr(t, "without a deadline", do(t.Context(), b, nothing), nil)

		// Behind others it takes longer.
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() { wantErr(t, "Do", do(t.Context(), b, lasts(100*time.Millisecond)), nil) })
		}
		synctest.Wait()
		start := time.Now()
		err = do(within(t, 200*time.Millisecond), b, nothing)
		wantErr(t, "behind two running and four waiting", err, bulkhead.ErrLate)
		var r *bulkhead.Rejection
		if !errors.As(err, &r) || r.RetryAfter() < 150*time.Millisecond || r.RetryAfter() > 300*time.Millisecond {
			t.Errorf("got %v, to be retried after %v; want about what the queue takes", err, r.RetryAfter())
		}
		wantErr(t, "Submit", b.Submit(within(t, 200*time.Millisecond), newJob(nothing)), bulkhead.ErrLate)
		if got := time.Since(start); got != 0 {
			t.Errorf("refused after %v, want at once", got)
		}
		wg.Wait()
	})
}

func TestAdmission_LooksAgainWhenTheTurnHasCome(t *testing.T) {
	cfg := bulkhead.Config{Slots: 1, Queue: 9, Admission: &bulkhead.AdmissionConfig{}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		for range 60 {
			_ = do(t.Context(), b, lasts(10*time.Millisecond))
		}
		// The one before takes much longer than expected.
		wantErr(t, "TrySubmit", b.TrySubmit(newJob(lasts(95*time.Millisecond))), nil)
		never := func(context.Context) error { t.Error("run too late"); return nil }
		j := newJob(never)
		wantErr(t, "Submit", b.Submit(within(t, 100*time.Millisecond), j), nil)
		synctest.Wait()
		wantErr(t, "Do", do(within(t, 100*time.Millisecond), b, never), bulkhead.ErrLate)
		wantErr(t, "Done", <-j.done, bulkhead.ErrLate)
	})
}

// A forecast that refuses everybody would never learn that it is wrong.
func TestAdmission_TriesWhenNothingHasBeenHeard(t *testing.T) {
	cfg := bulkhead.Config{Slots: 1, Admission: &bulkhead.AdmissionConfig{}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		_ = do(t.Context(), b, lasts(10*time.Second)) // was slow once
		tries, refused := 0, 0
		for range 1000 {
			time.Sleep(20 * time.Millisecond)
			switch err := do(within(t, 100*time.Millisecond), b, lasts(10*time.Millisecond)); {
			case err == nil:
				tries++
			case errors.Is(err, bulkhead.ErrLate):
				refused++
			}
		}
		wantErr(t, "in the end", do(within(t, 100*time.Millisecond), b, lasts(10*time.Millisecond)), nil)
		if refused < 10 || tries < 800 {
			t.Errorf("%d refused and %d tried of 1000; want some refused, and soon enough tried to learn", refused, tries)
		}
	})
}

func TestAdmission_FailuresDoNotShortenTheForecast(t *testing.T) {
	cfg := bulkhead.Config{Slots: 1, Admission: &bulkhead.AdmissionConfig{}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		for range 60 {
			_ = do(t.Context(), b, lasts(100*time.Millisecond))
		}
		for range 100 {
			_ = do(t.Context(), b, fails) // at once
		}
		wantErr(t, "with too little time", do(within(t, 50*time.Millisecond), b, nothing), bulkhead.ErrLate)
	})
}

// Under twice the load that it can carry, and with a queue that is far too
// long, a bulkhead must not be busy with what is too late anyway.
func TestAdmission_GoodputUnderOverload(t *testing.T) {
	tests := map[string]struct {
		slower    int // the downstream becomes, after a while
		admission bool
		least     float64 // share of what the slots can do
		most      float64
	}{
		"without, nearly all is late":        {slower: 1, least: 0, most: 0.2},
		"with, nearly nothing is":            {slower: 1, admission: true, least: 0.95, most: 1},
		"with, and four times slower":        {slower: 4, admission: true, least: 0.90, most: 1},
		"with, and four times faster before": {slower: -4, admission: true, least: 0.90, most: 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := goodput(t, test.admission, test.slower); got < test.least || got > test.most {
				t.Errorf("goodput is %.1f %% of capacity, want %.0f to %.0f", 100*got, 100*test.least, 100*test.most)
			} else {
				t.Logf("goodput is %.1f %% of capacity", 100*got)
			}
		})
	}
}

// goodput is the share of a bulkhead's capacity that goes into calls which are
// over within their 100 ms. The downstream takes 10 ms give or take a third,
// and after a while some times as much; negative: it did so before.
func goodput(t *testing.T, admission bool, slower int) float64 {
	const (
		slots    = 10
		deadline = 100 * time.Millisecond
		half     = 4 * time.Second
	)
	var inTime, capacity atomic.Int64 // nanoseconds of work
	synctest.Test(t, func(t *testing.T) {
		cfg := bulkhead.Config{Slots: slots, Queue: 1000}
		if admission {
			cfg.Admission = &bulkhead.AdmissionConfig{}
		}
		b := open(t, cfg)
		rnd := rand.New(rand.NewPCG(1, 2))
		start := time.Now()
		var wg sync.WaitGroup
		for time.Since(start) < 2*half {
			mean := 10 * time.Millisecond
			if late := time.Since(start) > half; late && slower > 1 || !late && slower < -1 {
				mean *= time.Duration(max(slower, -slower))
			}
			took := time.Duration(float64(mean) * (2 + 2*rnd.Float64()) / 3)
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				err := do(ctx, b, func(context.Context) error { time.Sleep(took); return nil })
				if err == nil && ctx.Err() == nil {
					inTime.Add(int64(took))
				}
			})
			// Twice what the slots can do, at random.
			time.Sleep(time.Duration(rnd.ExpFloat64() * float64(mean) / slots / 2))
		}
		wg.Wait()
		capacity.Store(int64(slots) * int64(time.Since(start)))
	})
	return float64(inTime.Load()) / float64(capacity.Load())
}
