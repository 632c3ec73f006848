package bulkhead_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/bulkhead"
)

// When several things speak against a call, the first in the order is told.
func TestChecks_HaveAnOrder(t *testing.T) {
	canceled, cancel := context.WithCancelCause(context.Background())
	cancel(errBoom)
	tests := map[string]struct {
		closed, open, full bool
		ctx                context.Context
		want               error
	}{
		"closed comes first":            {closed: true, ctx: canceled, open: true, full: true, want: bulkhead.ErrClosed},
		"then the context":              {ctx: canceled, open: true, full: true, want: errBoom},
		"then the breaker":              {ctx: context.Background(), open: true, full: true, want: bulkhead.ErrOpen},
		"then the slot":                 {ctx: context.Background(), full: true, want: bulkhead.ErrFull},
		"then the rate":                 {ctx: context.Background(), want: bulkhead.ErrRate},
		"a done context before a token": {ctx: canceled, want: errBoom},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := bulkhead.Config{Slots: 2, RatePerSecond: 1, Breaker: &bulkhead.BreakerConfig{}}
			inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
				credits := b.Take(nil, 1) // the only token
				if test.full {
					time.Sleep(time.Second)
					credits = b.Take(credits, 1)
				}
				if test.open {
					b.Force(bulkhead.Open)
				}
				if test.closed {
					b.Close()
				}
				wantErr(t, "Do", do(test.ctx, b, func(context.Context) error { t.Error("it ran"); return nil }), test.want)
				for _, c := range credits {
					c.Release()
				}
			})
		})
	}
}

// A ghost has nobody left to tell: its panic must not end the program.
func TestGhost_PanicIsContained(t *testing.T) {
	panics := func(context.Context) error { time.Sleep(time.Minute); panic("kaboom") }
	isPanic := func(t *testing.T, what string, err error) {
		t.Helper()
		var p *bulkhead.PanicError
		if !errors.As(err, &p) || p.Value != "kaboom" {
			t.Errorf("%s: got %v, want the *PanicError", what, err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		late := make(chan error, 9)
		b := open(t, bulkhead.Config{Slots: 1, Timeout: time.Second, Hooks: bulkhead.Hooks{
			GhostEnded: func(_ time.Duration, err error) { late <- err },
		}})
		wantErr(t, "Do", do(t.Context(), b, panics), bulkhead.ErrTimeout)
		isPanic(t, "GhostEnded", <-late)
		synctest.Wait()
		for _, hand := range hands {
			j := newJob(panics)
			hand(t, b, j)
			wantErr(t, "Done", <-j.done, bulkhead.ErrTimeout)
			isPanic(t, "Late", <-j.late)
			isPanic(t, "GhostEnded", <-late)
			synctest.Wait()
		}
	})
}
