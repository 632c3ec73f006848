package bulkhead_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/bulkhead"
)

func TestRunContext(t *testing.T) {
	type key struct{}
	tests := map[string]func(*testing.T, context.Context){
		"has the run's deadline": func(t *testing.T, ctx context.Context) {
			at, ok := ctx.Deadline()
			if want := time.Now().Add(time.Second); !ok || !at.Equal(want) {
				t.Errorf("got %v, %v; want %v", at, ok, want)
			}
		},
		"has its caller's values": func(t *testing.T, ctx context.Context) {
			if got := ctx.Value(key{}); got != "value" {
				t.Errorf("before Done: got %v", got)
			}
			_ = ctx.Done()
			if got := ctx.Value(key{}); got != "value" {
				t.Errorf("after Done: got %v", got)
			}
		},
		"is canceled at the timeout, with its cause": func(t *testing.T, ctx context.Context) {
			<-ctx.Done()
			wantErr(t, "Err", ctx.Err(), context.DeadlineExceeded)
			wantErr(t, "Cause", context.Cause(ctx), bulkhead.ErrTimeout)
		},
		"also if nobody asks for Done": func(t *testing.T, ctx context.Context) {
			time.Sleep(time.Second - 1)
			wantErr(t, "Err before", ctx.Err(), nil)
			wantErr(t, "Cause before", context.Cause(ctx), nil)
			time.Sleep(1)
			wantErr(t, "Err", ctx.Err(), context.DeadlineExceeded)
			wantErr(t, "Cause", context.Cause(ctx), bulkhead.ErrTimeout)
		},
		"cancels its children, with its cause": func(t *testing.T, ctx context.Context) {
			child, cancel := context.WithCancel(ctx)
			defer cancel()
			<-child.Done()
			wantErr(t, "Err", child.Err(), context.DeadlineExceeded)
			wantErr(t, "Cause", context.Cause(child), bulkhead.ErrTimeout)
		},
	}
	for name, test := range tests {
		for mode, cooperative := range modes {
			t.Run(name+", "+mode, func(t *testing.T) {
				cfg := bulkhead.Config{Slots: 1, Timeout: time.Second, Cooperative: cooperative}
				inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
					ctx := context.WithValue(t.Context(), key{}, "value")
					_ = do(ctx, b, func(ctx context.Context) error { test(t, ctx); return nil })
					time.Sleep(time.Second)
				})
			})
		}
	}
}

// The ways in which a function of Do's runs with a timeout.
var modes = map[string]bool{"hard": false, "cooperative": true}

func TestRunContext_IsOverWhenTheRunIs(t *testing.T) {
	type key struct{}
	for mode, cooperative := range modes {
		for _, asked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, asked before: %v", mode, asked), func(t *testing.T) {
				cfg := bulkhead.Config{Slots: 1, Timeout: time.Second, Cooperative: cooperative}
				inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
					var kept context.Context
					parent, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
					_ = do(parent, b, func(ctx context.Context) error {
						kept = ctx
						if asked {
							_ = ctx.Done()
						}
						return nil
					})
					wantErr(t, "Err", kept.Err(), context.Canceled)
					cancel(errBoom) // too late to be the cause
					<-kept.Done()
					wantErr(t, "Err", kept.Err(), context.Canceled)
					wantErr(t, "Cause", context.Cause(kept), context.Canceled)
					if got := kept.Value(key{}); got != "value" {
						t.Errorf("got value %v, want its caller's", got)
					}
				})
			})
		}
	}
}

func TestRunContext_EndsWithItsCallers(t *testing.T) {
	for mode, cooperative := range modes {
		t.Run(mode, func(t *testing.T) {
			cfg := bulkhead.Config{Slots: 1, Timeout: time.Hour, Cooperative: cooperative}
			inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errBoom)
				defer cancel()
				over := make(chan error, 2)
				_ = do(ctx, b, func(ctx context.Context) error {
					at, _ := ctx.Deadline()
					if want := time.Now().Add(time.Minute); !at.Equal(want) {
						t.Errorf("got deadline %v, want the caller's %v", at, want)
					}
					child, cancel := context.WithCancel(ctx)
					defer cancel()
					<-child.Done()
					over <- context.Cause(ctx)
					over <- context.Cause(child)
					wantErr(t, "Err", ctx.Err(), context.DeadlineExceeded)
					return nil
				})
				wantErr(t, "Cause", <-over, errBoom)
				wantErr(t, "Cause of a child", <-over, errBoom)
			})
		})
	}
}

func TestRunContext_EndsWhenDrainGivesUp(t *testing.T) {
	for mode, cooperative := range modes {
		for _, asks := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, asks for Done: %v", mode, asks), func(t *testing.T) {
				cfg := bulkhead.Config{Slots: 1, Timeout: time.Hour, Cooperative: cooperative}
				inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
					over := make(chan error, 2)
					go func() {
						_ = do(t.Context(), b, func(ctx context.Context) error {
							child := ctx
							if asks {
								var cancel context.CancelFunc
								child, cancel = context.WithTimeout(ctx, time.Minute)
								defer cancel()
								<-child.Done()
							} else {
								time.Sleep(2 * time.Second)
							}
							wantErr(t, "Err", ctx.Err(), context.Canceled)
							over <- context.Cause(ctx)
							over <- context.Cause(child)
							return nil
						})
					}()
					synctest.Wait()
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					b.Drain(ctx)
					wantErr(t, "Cause", <-over, bulkhead.ErrDrainTimeout)
					wantErr(t, "Cause of a child", <-over, bulkhead.ErrDrainTimeout)
				})
			})
		}
	}
}

// A context that the standard library doesn't know as its own costs a goroutine
// for each context made from it.
func TestRunContext_ChildrenCostNoGoroutine(t *testing.T) {
	for mode, cooperative := range modes {
		t.Run(mode, func(t *testing.T) {
			cfg := bulkhead.Config{Slots: 1, Timeout: time.Hour, Cooperative: cooperative}
			inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
				_ = do(t.Context(), b, func(ctx context.Context) error {
					before := runtime.NumGoroutine()
					for range 50 {
						_, cancel := context.WithCancel(ctx)
						defer cancel()
					}
					if got := runtime.NumGoroutine() - before; got > 0 {
						t.Errorf("50 contexts cost %d goroutines", got)
					}
					return nil
				})
			})
		})
	}
}

func TestRunContext_AfterFuncIsCalledAtTheTimeout(t *testing.T) {
	for mode, cooperative := range modes {
		t.Run(mode, func(t *testing.T) {
			cfg := bulkhead.Config{Slots: 1, Timeout: time.Second, Cooperative: cooperative}
			inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
				start := time.Now()
				after := make(chan time.Duration, 2)
				call := func() { after <- time.Since(start) }
				_ = do(t.Context(), b, func(ctx context.Context) error {
					context.AfterFunc(ctx, call)
					ctx.(interface{ AfterFunc(f func()) func() bool }).AfterFunc(call)
					if stop := context.AfterFunc(ctx, func() { t.Error("called though stopped") }); !stop() {
						t.Error("couldn't be stopped")
					}
					time.Sleep(time.Minute)
					return nil
				})
				for range 2 {
					if got := <-after; got != time.Second {
						t.Errorf("called after %v, want 1s", got)
					}
				}
			})
		})
	}
}

// Whoever asks first, and whatever happens meanwhile.
func TestRunContext_AskedByManyWhileItEnds(t *testing.T) {
	for mode, cooperative := range modes {
		t.Run(mode, func(t *testing.T) {
			b := open(t, bulkhead.Config{Slots: 4, Queue: 9, Timeout: time.Microsecond, Cooperative: cooperative})
			for range 300 {
				parent, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				wg.Add(1)
				_ = do(parent, b, func(ctx context.Context) error {
					defer wg.Done()
					for range 3 {
						wg.Go(func() {
							child, cancel := context.WithCancel(ctx)
							defer cancel()
							<-child.Done()
							if ctx.Err() == nil {
								t.Error("a child is over before its parent")
							}
						})
					}
					wg.Go(cancel)
					return nil
				})
				wg.Wait() // every one of them sees the end
				cancel()
			}
		})
	}
}
