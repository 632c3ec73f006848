package bulkhead_test

import (
	"errors"
	"testing"
	"time"

	"github.com/watertight-go/watertight/bulkhead"
)

// A service that answers, but takes its time, drags others down as well.
func TestBreaker_OpensAtItsShareOfSlowCalls(t *testing.T) {
	tests := map[string]struct {
		fast, slow int
		share      float64
		want       bulkhead.State
	}{
		"below MinCalls nothing is decided": {slow: 9, want: bulkhead.Closed},
		"below the share it stays closed":   {fast: 6, slow: 4, want: bulkhead.Closed},
		"at the share it opens":             {fast: 5, slow: 5, want: bulkhead.Open},
		"at another share, too":             {fast: 8, slow: 2, share: 0.2, want: bulkhead.Open},
	}
	for name, test := range tests {
		for mode, timeout := range map[string]time.Duration{"without a timeout": 0, "with a timeout": time.Minute} {
			for _, cooperative := range []bool{false, timeout > 0} {
				t.Run(name+", "+mode, func(t *testing.T) {
					cfg := bulkhead.Config{Slots: 1, Timeout: timeout, Cooperative: cooperative, Breaker: &bulkhead.BreakerConfig{
						MinCalls: 10, SlowAfter: time.Second, SlowShare: test.share, Window: time.Minute,
					}}
					inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
						for range test.fast {
							_ = do(t.Context(), b, lasts(time.Second-1))
						}
						for i := range test.slow {
							if i%2 == 0 {
								_ = do(t.Context(), b, lasts(time.Second))
							} else {
								acquire(t, b).Run(newJob(lasts(time.Second)))
							}
						}
						state(t, b, "afterwards", test.want)
					})
				})
			}
		}
	}
}

func TestBreaker_SlowProbeDoesNotCloseIt(t *testing.T) {
	cfg := bulkhead.Config{Slots: 1, Breaker: &bulkhead.BreakerConfig{SlowAfter: time.Second}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		b.Force(bulkhead.HalfOpen)
		wantErr(t, "Do", do(t.Context(), b, lasts(time.Second)), nil)
		state(t, b, "after a slow probe", bulkhead.Open)
		b.Force(bulkhead.HalfOpen)
		wantErr(t, "Do", do(t.Context(), b, lasts(time.Second-1)), nil)
		state(t, b, "after a fast one", bulkhead.Closed)
	})
}

// Refusing reads no clock until shortly before the wait is over.
func TestBreaker_OpenEndsAtItsTime(t *testing.T) {
	cfg := bulkhead.Config{Slots: 1, Breaker: &bulkhead.BreakerConfig{MinCalls: 1, OpenFor: time.Minute}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		for range 3 {
			_ = do(t.Context(), b, fails)
			opened := time.Now()
			for errors.Is(do(t.Context(), b, nothing), bulkhead.ErrOpen) {
				time.Sleep(time.Second / 4)
			}
			if got := time.Since(opened); got != time.Minute {
				t.Errorf("open for %v, want 1m", got)
			}
			b.Force(bulkhead.Open)
			time.Sleep(time.Hour)
			wantErr(t, "forced open", do(t.Context(), b, nothing), bulkhead.ErrOpen)
			b.Force(bulkhead.Auto)
		}
	})
}
