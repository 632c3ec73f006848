package bulkhead_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/watertight-go/watertight/bulkhead"
)

func fails(context.Context) error { return errBoom }

// state checks the state of the breaker.
func state(t *testing.T, b *bulkhead.Bulkhead, when string, want bulkhead.State) {
	t.Helper()
	if got := b.Stats().State; got != want {
		t.Errorf("%s: the breaker is %v, want %v", when, got, want)
	}
}

func TestBreaker_OpensAtItsShareOfFailures(t *testing.T) {
	tests := map[string]struct {
		good, bad int
		want      bulkhead.State
	}{
		"below MinCalls nothing is decided": {bad: 9, want: bulkhead.Closed},
		"below the share it stays closed":   {good: 6, bad: 4, want: bulkhead.Closed},
		"at the share it opens":             {good: 5, bad: 5, want: bulkhead.Open},
		"above the share it opens":          {bad: 10, want: bulkhead.Open},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := bulkhead.Config{Slots: 1, Breaker: &bulkhead.BreakerConfig{MinCalls: 10}}
			inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
				for range test.good {
					_ = do(t.Context(), b, nothing)
				}
				for range test.bad {
					_ = do(t.Context(), b, fails)
				}
				state(t, b, "afterwards", test.want)
			})
		})
	}
}

func TestBreaker_ForgetsWhatIsOlderThanItsWindow(t *testing.T) {
	cfg := bulkhead.Config{Slots: 1, Breaker: &bulkhead.BreakerConfig{MinCalls: 2, Window: 10 * time.Second}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		_ = do(t.Context(), b, fails)
		time.Sleep(10 * time.Second)
		_ = do(t.Context(), b, fails)
		state(t, b, "two failures a window apart", bulkhead.Closed)
		time.Sleep(8 * time.Second)
		_ = do(t.Context(), b, fails)
		state(t, b, "two failures within a window", bulkhead.Open)
	})
}

func TestBreaker_TellsItsChangesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		type change struct {
			From, To string
			At       time.Duration
		}
		var got []change
		b := open(t, bulkhead.Config{Slots: 1, Breaker: &bulkhead.BreakerConfig{MinCalls: 1, OpenFor: time.Minute}, Hooks: bulkhead.Hooks{
			StateChanged: func(from, to bulkhead.State) {
				got = append(got, change{from.String(), to.String(), time.Since(start)})
			},
		}})
		_ = do(t.Context(), b, fails)
		time.Sleep(time.Minute)
		_ = do(t.Context(), b, fails)
		time.Sleep(time.Minute)
		_ = do(t.Context(), b, nothing)
		want := []change{
			{"closed", "open", 0},
			{"open", "half-open", time.Minute},
			{"half-open", "open", time.Minute},
			{"open", "half-open", 2 * time.Minute},
			{"half-open", "closed", 2 * time.Minute},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
	})
}

func TestBreaker_HalfOpenAdmitsNoMoreThanItsProbes(t *testing.T) {
	cfg := bulkhead.Config{Slots: 50, Breaker: &bulkhead.BreakerConfig{MinCalls: 1, OpenFor: time.Second, Probes: 3}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		_ = do(t.Context(), b, fails)
		time.Sleep(time.Second)
		var ran, refused atomic.Int32
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				err := do(t.Context(), b, func(context.Context) error { ran.Add(1); time.Sleep(time.Second); return nil })
				if errors.Is(err, bulkhead.ErrOpen) {
					refused.Add(1)
				}
			})
		}
		wg.Wait()
		if ran.Load() != 3 || refused.Load() != 47 {
			t.Errorf("of 50 at once %d ran and %d were refused, want 3 and 47", ran.Load(), refused.Load())
		}
		state(t, b, "after three good probes", bulkhead.Closed)
	})
}

func TestBreaker_CallBegunBeforeTheOutageDecidesNothing(t *testing.T) {
	cfg := bulkhead.Config{Slots: 4, Breaker: &bulkhead.BreakerConfig{MinCalls: 1, OpenFor: time.Second, Probes: 2}}
	for name, outcome := range map[string]error{"successful": nil, "failed": errBoom} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
				finish := make(chan struct{})
				var wg sync.WaitGroup
				for range 2 {
					wg.Go(func() {
						_ = do(t.Context(), b, func(context.Context) error { <-finish; return outcome })
					})
				}
				synctest.Wait()
				_ = do(t.Context(), b, fails) // the outage
				time.Sleep(time.Second)
				state(t, b, "after OpenFor", bulkhead.HalfOpen)
				close(finish)
				wg.Wait()
				state(t, b, "after calls of before the outage", bulkhead.HalfOpen)

				b.Force(bulkhead.Closed)
				b.Force(bulkhead.Auto)
				wantErr(t, "Do", do(t.Context(), b, nothing), nil)
				state(t, b, "in the end", bulkhead.Closed)
			})
		})
	}
}

func TestBreaker_HungProbeCountsAsFailedAtItsLease(t *testing.T) {
	cfg := bulkhead.Config{Slots: 2, Breaker: &bulkhead.BreakerConfig{MinCalls: 1, OpenFor: time.Second, Lease: time.Minute}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		_ = do(t.Context(), b, fails)
		time.Sleep(time.Second)
		wantErr(t, "TrySubmit", b.TrySubmit(newJob(lasts(time.Hour))), nil)
		time.Sleep(time.Minute - 1)
		state(t, b, "within the lease", bulkhead.HalfOpen)
		wantErr(t, "Do", do(t.Context(), b, nothing), bulkhead.ErrOpen)
		time.Sleep(1)
		state(t, b, "at the end of the lease", bulkhead.Open)
		time.Sleep(time.Second)
		wantErr(t, "the next probe", do(t.Context(), b, nothing), nil)
		state(t, b, "after a good probe", bulkhead.Closed)
	})
}

func TestBreaker_AcquireOutwaitsAHungProbe(t *testing.T) {
	cfg := bulkhead.Config{Slots: 2, Breaker: &bulkhead.BreakerConfig{OpenFor: time.Second, Lease: time.Minute}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		b.Force(bulkhead.HalfOpen)
		acquire(t, b).Go(newJob(lasts(time.Hour)))
		start := time.Now()
		acquire(t, b).Release()
		if got, want := time.Since(start), time.Minute+time.Second; got != want {
			t.Errorf("Acquire waited %v, want %v", got, want)
		}
	})
}

func TestBreaker_UnspentProbePassesOnAtItsLease(t *testing.T) {
	cfg := bulkhead.Config{Slots: 2, Breaker: &bulkhead.BreakerConfig{Lease: time.Minute}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		b.Force(bulkhead.HalfOpen)
		idle := acquire(t, b)
		start := time.Now()
		next := acquire(t, b)
		if got := time.Since(start); got != time.Minute {
			t.Errorf("Acquire waited %v, want 1m", got)
		}
		state(t, b, "nothing has failed", bulkhead.HalfOpen)
		idle.Run(newJob(fails))
		state(t, b, "after a run that lost its probe", bulkhead.HalfOpen)
		next.Run(newJob(nothing))
		state(t, b, "after the probe", bulkhead.Closed)
	})
}

func TestBreaker_LeaseBeginsAnewWithTheRun(t *testing.T) {
	cfg := bulkhead.Config{Slots: 1, Breaker: &bulkhead.BreakerConfig{Lease: time.Minute}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		b.Force(bulkhead.HalfOpen)
		c := acquire(t, b)
		time.Sleep(50 * time.Second)
		c.Run(newJob(lasts(50 * time.Second)))
		state(t, b, "a probe of 50 s with a lease of 60 s", bulkhead.Closed)
	})
}

func TestBreaker_ProbeThatDiesIsNotLost(t *testing.T) {
	deaths := map[string]func(context.Context) error{
		"panic":   func(context.Context) error { panic("kaboom") },
		"Goexit":  func(context.Context) error { runtime.Goexit(); return nil },
		"timeout": func(ctx context.Context) error { <-ctx.Done(); return nil },
	}
	for name, death := range deaths {
		t.Run(name, func(t *testing.T) {
			cfg := bulkhead.Config{Slots: 1, Timeout: time.Second, Breaker: &bulkhead.BreakerConfig{OpenFor: time.Minute, Lease: time.Hour}}
			inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
				b.Force(bulkhead.HalfOpen)
				if do(t.Context(), b, death) == nil {
					t.Error("Do: got no error")
				}
				state(t, b, "after the probe", bulkhead.Open)
				time.Sleep(time.Minute)
				wantErr(t, "the next probe", do(t.Context(), b, nothing), nil)
				state(t, b, "after a good probe", bulkhead.Closed)
			})
		})
	}
}

func TestBreaker_CountsNeitherRejectionsNorTheCallersCancellation(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"without a timeout": 0, "with a timeout": time.Hour} {
		t.Run(name, func(t *testing.T) {
			cfg := bulkhead.Config{Slots: 1, Timeout: timeout, Breaker: &bulkhead.BreakerConfig{MinCalls: 1}}
			inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
				c := acquire(t, b)
				wantErr(t, "when full", do(t.Context(), b, nothing), bulkhead.ErrFull)
				c.Release()
				state(t, b, "after a rejection", bulkhead.Closed)

				_ = do(t.Context(), b, func(context.Context) error { return &bulkhead.Rejection{Reason: bulkhead.Full} })
				state(t, b, "after another bulkhead's rejection", bulkhead.Closed)

				for _, cause := range []error{nil, errBoom} {
					ctx, cancel := context.WithCancelCause(t.Context())
					time.AfterFunc(time.Second, func() { cancel(cause) })
					_ = do(ctx, b, func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
					synctest.Wait()
					state(t, b, "after the caller's cancellation", bulkhead.Closed)
				}

				_ = do(t.Context(), b, func(context.Context) error { return context.Canceled })
				state(t, b, "after a cancellation that was not the caller's", bulkhead.Open)
			})
		})
	}
}

func TestBreaker_CountsTimeoutsPanicsAndTheCallersDeadline(t *testing.T) {
	tests := map[string]func(context.Context) error{
		"timeout": lasts(time.Hour),
		"panic":   func(context.Context) error { panic("kaboom") },
	}
	for name, fn := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := bulkhead.Config{Slots: 1, Timeout: time.Minute, Breaker: &bulkhead.BreakerConfig{MinCalls: 1, OpenFor: time.Hour}}
			inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
				_ = do(t.Context(), b, fn)
				state(t, b, "afterwards", bulkhead.Open)
			})
		})
	}
	t.Run("deadline", func(t *testing.T) {
		cfg := bulkhead.Config{Slots: 1, Timeout: time.Minute, Breaker: &bulkhead.BreakerConfig{MinCalls: 1, OpenFor: time.Hour}}
		inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			wantErr(t, "Do", do(ctx, b, lasts(time.Minute-1)), context.DeadlineExceeded)
			state(t, b, "afterwards", bulkhead.Open)
		})
	})
}

func TestBreaker_ClassifyDecides(t *testing.T) {
	cfg := bulkhead.Config{Slots: 1, Breaker: &bulkhead.BreakerConfig{
		MinCalls: 1,
		Classify: func(err error) bulkhead.Outcome {
			if errors.Is(err, errBoom) {
				return bulkhead.Success
			}
			return bulkhead.Failure
		},
	}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		_ = do(t.Context(), b, fails)
		state(t, b, "after what counts as success", bulkhead.Closed)
		_ = do(t.Context(), b, func(context.Context) error { return errors.ErrUnsupported })
		state(t, b, "after what counts as failure", bulkhead.Open)
	})
}

func TestBreaker_RetryAfterAnswersForTheMoment(t *testing.T) {
	cfg := bulkhead.Config{Slots: 1, Breaker: &bulkhead.BreakerConfig{MinCalls: 1, OpenFor: time.Minute}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		_ = do(t.Context(), b, fails)
		var r *bulkhead.Rejection
		if err := do(t.Context(), b, nothing); !errors.As(err, &r) {
			t.Fatalf("got %v, want a *Rejection", err)
		}
		for _, want := range []time.Duration{time.Minute, 40 * time.Second, 20 * time.Second, 0, 0} {
			if got := r.RetryAfter(); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
			time.Sleep(20 * time.Second)
		}
	})
}
