package bulkhead_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/bulkhead"
)

func TestDo_ReturnsWhatFnReturns(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"without a timeout": 0, "with a timeout": time.Second} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, bulkhead.Config{Slots: 1, Timeout: timeout}, func(t *testing.T, b *bulkhead.Bulkhead) {
				// One slot and no queue: a slot that came back late would refuse.
				for range 100 {
					v, err := bulkhead.Do(t.Context(), b, func(context.Context) (string, error) { return "half", errBoom })
					if v != "half" || !errors.Is(err, errBoom) {
						t.Fatalf("got %q, %v; want fn's own %q, %v", v, err, "half", errBoom)
					}
				}
			})
		})
	}
}

func TestDo_WaitersAreBoundedByTheQueue(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 2, Queue: 3}, func(t *testing.T, b *bulkhead.Bulkhead) {
		var full atomic.Int32
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				if err := do(t.Context(), b, lasts(time.Second)); errors.Is(err, bulkhead.ErrFull) {
					full.Add(1)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if s := b.Stats(); s.InUse != 2 || s.Waiting != 3 {
			t.Errorf("got %d in use and %d waiting, want 2 and 3", s.InUse, s.Waiting)
		}
		wg.Wait()
		if got := full.Load(); got != 35 {
			t.Errorf("%d of 40 were refused, want 35", got)
		}
	})
}

func TestDo_ServesWaitersInTheirOrder(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 1, Queue: 20}, func(t *testing.T, b *bulkhead.Bulkhead) {
		c := acquire(t, b)
		var order []int
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				_ = do(t.Context(), b, func(context.Context) error { order = append(order, i); return nil })
			})
			synctest.Wait()
		}
		c.Release()
		wg.Wait()
		if !slices.IsSorted(order) || len(order) != 20 {
			t.Errorf("served in the order %v", order)
		}
	})
}

func TestDo_NeverAdmitsADoneContext(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 1, Queue: 1}, func(t *testing.T, b *bulkhead.Bulkhead) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errBoom)
		ran := false
		wantErr(t, "with a free slot", do(ctx, b, func(context.Context) error { ran = true; return nil }), errBoom)
		if ran {
			t.Error("fn ran under a context that was done")
		}
	})
}

// ambush is a context that, when it is asked for Done the nth time, lets
// something happen and is canceled: a select then finds both ways ready, and
// takes either.
type ambush struct {
	context.Context
	cancel context.CancelFunc
	n      int
	spring func()
}

func (a *ambush) Done() <-chan struct{} {
	if a.n--; a.n == 0 {
		a.spring()
		a.cancel()
	}
	return a.Context.Done()
}

// Without a second look half of these would be admitted.
func TestWaiting_CancellationWinsWhenBothAreReady(t *testing.T) {
	submit := func(ctx context.Context, b *bulkhead.Bulkhead) error { return b.Submit(ctx, newJob(nothing)) }
	tests := map[string]struct {
		queue int
		fill  bool // the queue
		nth   int
		enter func(context.Context, *bulkhead.Bulkhead) error
	}{
		"Do, a slot":     {queue: 1, nth: 1, enter: func(ctx context.Context, b *bulkhead.Bulkhead) error { return do(ctx, b, nothing) }},
		"Submit, a slot": {nth: 1, enter: submit},
		"Submit, room":   {queue: 1, fill: true, nth: 1, enter: submit},
		"Acquire, a slot": {nth: 2, enter: func(ctx context.Context, b *bulkhead.Bulkhead) error {
			c, err := b.Acquire(ctx)
			c.Release()
			return err
		}},
		"Acquire, its turn": {nth: 1, enter: func(ctx context.Context, b *bulkhead.Bulkhead) error {
			c, err := b.Acquire(ctx)
			c.Release()
			return err
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, bulkhead.Config{Slots: 1, Queue: test.queue}, func(t *testing.T, b *bulkhead.Bulkhead) {
				for range 50 {
					c := acquire(t, b)
					if test.fill {
						wantErr(t, "TrySubmit", b.TrySubmit(newJob(nothing)), nil)
					}
					ctx, cancel := context.WithCancel(t.Context())
					err := test.enter(&ambush{ctx, cancel, test.nth, c.Release}, b)
					if !errors.Is(err, context.Canceled) {
						t.Fatalf("got %v from a canceled wait, want context.Canceled", err)
					}
					synctest.Wait()
				}
				if s := b.Stats(); s.Misuse != 0 {
					t.Fatalf("%d misuses: the trap was sprung too late", s.Misuse)
				}
			})
		})
	}
}

func TestDo_WaitEndsWithItsContext(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 1, Queue: 1, MaxWait: time.Minute}, func(t *testing.T, b *bulkhead.Bulkhead) {
		c := acquire(t, b)
		defer c.Release()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errBoom)
		defer cancel()
		start := time.Now()
		wantErr(t, "at the deadline", do(ctx, b, nothing), errBoom)
		if got := time.Since(start); got != time.Second {
			t.Errorf("waited %v, want 1s", got)
		}
		if s := b.Stats(); s.Waiting != 0 {
			t.Errorf("%d still wait", s.Waiting)
		}
	})
}

func TestDo_ReturnsAtTheTimeoutWhateverFnDoes(t *testing.T) {
	inBubble(t, bulkhead.Config{Name: "mail", Slots: 1, Timeout: 10 * time.Millisecond}, func(t *testing.T, b *bulkhead.Bulkhead) {
		start := time.Now()
		err := do(t.Context(), b, lasts(200*time.Millisecond))
		if got := time.Since(start); got != 10*time.Millisecond {
			t.Errorf("Do returned after %v, want 10ms", got)
		}
		wantErr(t, "Do", err, bulkhead.ErrTimeout)
		wantErr(t, "Do", err, context.DeadlineExceeded)
		if got, want := err.Error(), "bulkhead mail: timed out after 10ms"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestDo_WithATimeoutReturnsWhenItsCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		b := open(t, bulkhead.Config{Slots: 1, Timeout: time.Minute, Hooks: bulkhead.Hooks{
			GhostEnded: func(age time.Duration, late error) {
				if age != 2*time.Second {
					t.Errorf("the ghost was %v old, want 2s", age)
				}
				ended <- late
			},
		}})
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errBoom)
		defer cancel()
		start := time.Now()
		err := do(ctx, b, func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(2 * time.Second)
			return context.Cause(ctx)
		})
		wantErr(t, "Do", err, errBoom)
		if got := time.Since(start); got != time.Second {
			t.Errorf("Do returned after %v, want 1s", got)
		}
		if s := b.Stats(); s.Ghosts != 1 || s.Abandoned != 1 || s.TimedOut != 0 {
			t.Errorf("got %+v, want one ghost, abandoned", s)
		}
		wantErr(t, "GhostEnded", <-ended, errBoom)
	})
}

func TestPanic_ComesBackWithItsStackAndGivesTheSlotBack(t *testing.T) {
	panics := func(context.Context) error { blowUp(); return nil }
	goexits := func(context.Context) error { runtime.Goexit(); return nil }
	type way func(*bulkhead.Bulkhead, func(context.Context) error) error
	// byTask runs enter where a Goexit ends another goroutine than the test's.
	byTask := func(enter func(*bulkhead.Bulkhead, bulkhead.Task)) way {
		return func(b *bulkhead.Bulkhead, fn func(context.Context) error) error {
			j := newJob(fn)
			go enter(b, j)
			err := <-j.done
			synctest.Wait()
			return err
		}
	}
	ways := map[string]way{
		"Do": func(b *bulkhead.Bulkhead, fn func(context.Context) error) error {
			got := make(chan error, 1)
			go func() {
				err := bulkhead.ErrGoexit // without a timeout, of this goroutine
				defer func() { got <- err }()
				err = do(context.Background(), b, fn)
			}()
			return <-got
		},
		"TrySubmit": byTask(func(b *bulkhead.Bulkhead, t bulkhead.Task) { _ = b.TrySubmit(t) }),
		"Credit.Go": byTask(func(b *bulkhead.Bulkhead, t bulkhead.Task) {
			c, _ := b.Acquire(context.Background())
			c.Go(t)
		}),
		"Credit.Run": byTask(func(b *bulkhead.Bulkhead, t bulkhead.Task) {
			c, _ := b.Acquire(context.Background())
			c.Run(t)
		}),
	}
	for name, enter := range ways {
		for _, timeout := range []time.Duration{0, time.Second} {
			t.Run(name+" with timeout "+timeout.String(), func(t *testing.T) {
				inBubble(t, bulkhead.Config{Slots: 1, Timeout: timeout}, func(t *testing.T, b *bulkhead.Bulkhead) {
					for range 3 { // the goroutine of a slot must survive its Goexit
						err := enter(b, panics)
						var p *bulkhead.PanicError
						if !errors.As(err, &p) || p.Value != "kaboom" {
							t.Fatalf("got %v, want a *PanicError with kaboom", err)
						}
						if !strings.Contains(string(p.Stack), "blowUp") {
							t.Errorf("the stack doesn't show where it panicked:\n%s", p.Stack)
						}
						wantErr(t, "Goexit", enter(b, goexits), bulkhead.ErrGoexit)
						wantErr(t, "afterwards", enter(b, nothing), nil)
					}
				})
			})
		}
	}
}

func blowUp() { panic("kaboom") }

func TestDoOr_FallsBackOutsideTheSlot(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 1}, func(t *testing.T, b *bulkhead.Bulkhead) {
		v, err := bulkhead.DoOr(t.Context(), b,
			func(context.Context) (int, error) { return 1, errBoom },
			func(_ context.Context, why error) (int, error) {
				wantErr(t, "told why", why, errBoom)
				if s := b.Stats(); s.InUse != 0 {
					t.Error("the fallback runs in a slot")
				}
				return 2, nil
			})
		if v != 2 || err != nil {
			t.Errorf("got %d, %v; want the fallback's 2, nil", v, err)
		}
	})
}
