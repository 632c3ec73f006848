package bulkhead_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/bulkhead"
)

var cooperative = bulkhead.Config{Slots: 1, Timeout: time.Second, Cooperative: true}

func TestCooperative_EndsWithItsContext(t *testing.T) {
	heed := map[string]func(context.Context) error{
		"Done and Err":   func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"Done and Cause": func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) },
		"Err alone": func(ctx context.Context) error {
			for ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			return ctx.Err()
		},
	}
	for name, fn := range heed {
		t.Run(name, func(t *testing.T) {
			inBubble(t, cooperative, func(t *testing.T, b *bulkhead.Bulkhead) {
				for range 20 {
					start := time.Now()
					wantErr(t, "Do", do(t.Context(), b, fn), bulkhead.ErrTimeout)
					if got := time.Since(start); got != time.Second {
						t.Errorf("Do took %v, want 1s", got)
					}
				}
				if s := b.Stats(); s.TimedOut != 20 || s.Late != 20 || s.InUse != 0 {
					t.Errorf("got %+v, want 20 timed out and late, nothing in use", s)
				}
			})
		})
	}
}

// A function that doesn't heed its context is waited for, and is seen.
func TestCooperative_OverrunIsCountedAndItsResultIsKept(t *testing.T) {
	for name, late := range map[string]error{"a result": nil, "an error": errBoom} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var timedOut, age time.Duration
				var ended error
				start := time.Now()
				cfg := cooperative
				cfg.Breaker = &bulkhead.BreakerConfig{MinCalls: 1}
				cfg.Hooks = bulkhead.Hooks{
					TimedOut:   func(time.Duration) { timedOut = time.Since(start) },
					GhostEnded: func(d time.Duration, err error) { age, ended = d, err },
				}
				b := open(t, cfg)
				time.AfterFunc(2*time.Second, func() {
					want := bulkhead.Stats{
						Slots: 1, Target: 1, InUse: 1, Ghosts: 1, OldestGhost: time.Second, Flooded: true,
						State: bulkhead.Open, Admitted: 1, TimedOut: 1,
					}
					if got := b.Stats(); got != want {
						t.Errorf("a second after the timeout:\ngot  %+v\nwant %+v", got, want)
					}
				})
				v, err := bulkhead.Do(t.Context(), b, func(context.Context) (int, error) {
					time.Sleep(3 * time.Second)
					return 42, late
				})
				if v != 42 || !errors.Is(err, late) {
					t.Errorf("got %d, %v; want what fn returned: 42, %v", v, err, late)
				}
				if timedOut != time.Second || age != 2*time.Second || !errors.Is(ended, late) {
					t.Errorf("TimedOut was called after %v, GhostEnded with %v, %v; want 1s and 2s, %v", timedOut, age, ended, late)
				}
				if s := b.Stats(); s.Late != 1 || s.Done != 0 || s.Failed != 0 {
					t.Errorf("got %+v, want one late", s)
				}
			})
		})
	}
}

func TestCooperative_RunsInItsCallersGoroutine(t *testing.T) {
	inBubble(t, cooperative, func(t *testing.T, b *bulkhead.Bulkhead) {
		over := make(chan bool)
		go func() {
			returned := false
			defer func() { over <- returned }()
			_ = do(t.Context(), b, func(context.Context) error { runtime.Goexit(); return nil })
			returned = true
		}()
		if <-over {
			t.Error("Goexit ended another goroutine than the caller's")
		}
		wantErr(t, "afterwards", do(t.Context(), b, nothing), nil)

		var p *bulkhead.PanicError
		if err := do(t.Context(), b, func(context.Context) error { panic("kaboom") }); !errors.As(err, &p) {
			t.Errorf("got %v, want a *PanicError", err)
		}
		wantErr(t, "afterwards", do(t.Context(), b, nothing), nil)
	})
}

func TestCooperative_TasksAreToldAtTheirTimeout(t *testing.T) {
	for name, hand := range hands {
		t.Run(name, func(t *testing.T) {
			inBubble(t, cooperative, func(t *testing.T, b *bulkhead.Bulkhead) {
				start := time.Now()
				j := newJob(lasts(time.Minute))
				hand(t, b, j)
				wantErr(t, "Done", <-j.done, bulkhead.ErrTimeout)
				if got := time.Since(start); got != time.Second {
					t.Errorf("Done was called after %v, want 1s", got)
				}
			})
		})
	}
}

func TestCooperative_AllocatesOnceAndSixTimesIfDoneIsAsked(t *testing.T) {
	b := open(t, bulkhead.Config{Slots: 1, Timeout: time.Hour, Cooperative: true})
	for want, fn := range map[float64]func(context.Context) (int, error){
		1: func(context.Context) (int, error) { return 1, nil },
		6: func(ctx context.Context) (int, error) { _ = ctx.Done(); return 1, nil },
	} {
		got := testing.AllocsPerRun(100, func() { _, _ = bulkhead.Do(context.Background(), b, fn) })
		if got > want {
			t.Errorf("%v allocations a run, want at most %v", got, want)
		}
	}
}
