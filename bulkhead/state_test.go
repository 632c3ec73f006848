package bulkhead_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/bulkhead"
)

func TestForce(t *testing.T) {
	cfg := bulkhead.Config{Slots: 2, Breaker: &bulkhead.BreakerConfig{MinCalls: 1, OpenFor: time.Second}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		b.Force(bulkhead.Open)
		time.Sleep(time.Hour)
		wantErr(t, "forced open", do(t.Context(), b, nothing), bulkhead.ErrOpen)
		if at, probes := b.ReadyAt(); !at.IsZero() || probes != 0 {
			t.Errorf("forced open: ReadyAt is %v, %d; want no time and no probes", at, probes)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := b.Acquire(ctx)
		wantErr(t, "Acquire from a breaker forced open", err, context.DeadlineExceeded)

		var wg sync.WaitGroup
		wg.Go(func() { acquire(t, b).Release() })
		synctest.Wait()
		b.Force(bulkhead.Closed) // wakes Acquire
		wg.Wait()
		for range 3 {
			wantErr(t, "forced closed", do(t.Context(), b, fails), errBoom)
		}
		if at, probes := b.ReadyAt(); !at.IsZero() || probes != 2 {
			t.Errorf("closed: ReadyAt is %v, %d; want now, every slot", at, probes)
		}

		b.Force(bulkhead.Auto)
		state(t, b, "the window begins anew", bulkhead.Closed)
		_ = do(t.Context(), b, fails)
		state(t, b, "it decides by itself", bulkhead.Open)
		b.Force(bulkhead.Auto)
		state(t, b, "which is no operator's doing", bulkhead.Open)
		b.Force(bulkhead.HalfOpen)
		_ = do(t.Context(), b, nothing)
		state(t, b, "after a probe before its time", bulkhead.Closed)
	})
	inBubble(t, bulkhead.Config{Slots: 2}, func(t *testing.T, b *bulkhead.Bulkhead) {
		b.Force(bulkhead.Open)
		wantErr(t, "without a breaker", do(t.Context(), b, nothing), nil)
		if at, probes := b.ReadyAt(); !at.IsZero() || probes != 2 {
			t.Errorf("without a breaker: ReadyAt is %v, %d; want now, every slot", at, probes)
		}
	})
}

func TestOpened(t *testing.T) {
	cfg := bulkhead.Config{Slots: 1, Breaker: &bulkhead.BreakerConfig{MinCalls: 1, OpenFor: time.Second}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		opened := func() bool {
			select {
			case <-b.Opened():
				return true
			default:
				return false
			}
		}
		want := func(when string, want bool) {
			t.Helper()
			if got := opened(); got != want {
				t.Errorf("%s: Opened is closed: %v, want %v", when, got, want)
			}
		}
		want("at first", false)
		before := b.Opened()
		_ = do(t.Context(), b, fails)
		<-before
		want("open", true)
		b.Force(bulkhead.Open)
		want("forced open as well", true)
		b.Force(bulkhead.Auto)
		want("closed by an operator", false)
		_ = do(t.Context(), b, fails)
		time.Sleep(time.Second)
		want("time to probe", false)
		probing := b.Opened()
		_ = do(t.Context(), b, fails)
		<-probing
		want("open again", true)
		time.Sleep(time.Second)
		_ = do(t.Context(), b, nothing)
		want("recovered", false)
	})
	inBubble(t, bulkhead.Config{Slots: 1}, func(t *testing.T, b *bulkhead.Bulkhead) {
		if b.Opened() != nil {
			t.Error("without a breaker: Opened is a channel, want nil")
		}
	})
}
