package bulkhead_test

import (
	"context"
	"errors"
	"testing"
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
		t.Run(name, func(t *testing.T) {
			inBubble(t, bulkhead.Config{Slots: 1, Timeout: time.Second}, func(t *testing.T, b *bulkhead.Bulkhead) {
				ctx := context.WithValue(t.Context(), key{}, "value")
				_ = do(ctx, b, func(ctx context.Context) error { test(t, ctx); return nil })
				time.Sleep(time.Second)
			})
		})
	}

	t.Run("is over when the run is", func(t *testing.T) {
		for _, asked := range []bool{false, true} {
			inBubble(t, bulkhead.Config{Slots: 1, Timeout: time.Second}, func(t *testing.T, b *bulkhead.Bulkhead) {
				var kept context.Context
				_ = do(context.WithValue(t.Context(), key{}, "value"), b, func(ctx context.Context) error {
					kept = ctx
					if asked {
						_ = ctx.Done()
					}
					return nil
				})
				<-kept.Done()
				if !errors.Is(kept.Err(), context.Canceled) || kept.Value(key{}) != "value" {
					t.Errorf("asked %v: got %v, value %v; want context canceled and its value", asked, kept.Err(), kept.Value(key{}))
				}
			})
		}
	})

	t.Run("ends with its caller's", func(t *testing.T) {
		inBubble(t, bulkhead.Config{Slots: 1, Timeout: time.Hour}, func(t *testing.T, b *bulkhead.Bulkhead) {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errBoom)
			defer cancel()
			over := make(chan error, 1)
			_ = do(ctx, b, func(ctx context.Context) error {
				at, _ := ctx.Deadline()
				if want := time.Now().Add(time.Minute); !at.Equal(want) {
					t.Errorf("got deadline %v, want the caller's %v", at, want)
				}
				<-ctx.Done()
				over <- context.Cause(ctx)
				return nil
			})
			wantErr(t, "Cause", <-over, errBoom)
		})
	})
}
