package bulkhead_test

import (
	"context"
	"testing"
	"time"

	"github.com/watertight-go/watertight/bulkhead"
)

// What a bulkhead costs, beside the bare channel it is made of. Absolute
// figures differ between machines and days: compare within one run.

func answer(context.Context) (int, error) { return 42, nil }

func BenchmarkBareChannel(b *testing.B) {
	slots := make(chan struct{}, 1)
	b.ReportAllocs()
	for b.Loop() {
		select {
		case slots <- struct{}{}:
			_, _ = answer(context.Background())
			<-slots
		default:
		}
	}
}

// By hand: a channel and a context with a timeout, in the caller's goroutine.
func BenchmarkBareChannelWithTimeout(b *testing.B) {
	slots := make(chan struct{}, 1)
	b.ReportAllocs()
	for b.Loop() {
		select {
		case slots <- struct{}{}:
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			_, _ = answer(ctx)
			cancel()
			<-slots
		default:
		}
	}
}

// By hand, but returning at the timeout: a goroutine a call.
func BenchmarkGoroutineACallWithTimeout(b *testing.B) {
	slots := make(chan struct{}, 1)
	b.ReportAllocs()
	for b.Loop() {
		slots <- struct{}{}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		reply := make(chan int, 1)
		go func() {
			v, _ := answer(ctx)
			<-slots
			reply <- v
		}()
		select {
		case <-reply:
		case <-ctx.Done():
		}
		cancel()
	}
}

func benchmark(b *testing.B, cfg bulkhead.Config, use func(*bulkhead.Bulkhead)) {
	b.Helper()
	bh, err := bulkhead.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer bh.Close()
	b.ReportAllocs()
	for b.Loop() {
		use(bh)
	}
}

func call(bh *bulkhead.Bulkhead) { _, _ = bulkhead.Do(context.Background(), bh, answer) }

func BenchmarkDo(b *testing.B) {
	benchmark(b, bulkhead.Config{Slots: 1}, call)
}

func BenchmarkDoWithTimeout(b *testing.B) {
	benchmark(b, bulkhead.Config{Slots: 1, Timeout: time.Minute}, call)
}

func BenchmarkDoCooperative(b *testing.B) {
	benchmark(b, bulkhead.Config{Slots: 1, Timeout: time.Minute, Cooperative: true}, call)
}

func BenchmarkDoWithBreakerAndRate(b *testing.B) {
	cfg := bulkhead.Config{Slots: 1, RatePerSecond: 1e9, Burst: 1e9, Breaker: &bulkhead.BreakerConfig{}}
	benchmark(b, cfg, call)
}

func BenchmarkRefused(b *testing.B) {
	bh, err := bulkhead.New(bulkhead.Config{Slots: 1})
	if err != nil {
		b.Fatal(err)
	}
	bh.Take(nil, 1)
	b.ReportAllocs()
	for b.Loop() {
		call(bh)
	}
}

func BenchmarkOpenFallback(b *testing.B) {
	bh, err := bulkhead.New(bulkhead.Config{Slots: 1, Breaker: &bulkhead.BreakerConfig{OpenFor: time.Hour, MinCalls: 1}})
	if err != nil {
		b.Fatal(err)
	}
	_, _ = bulkhead.Do(context.Background(), bh, func(context.Context) (int, error) { return 0, errBoom })
	fallback := func(context.Context, error) (int, error) { return 41, nil }
	b.ReportAllocs()
	for b.Loop() {
		_, _ = bulkhead.DoOr(context.Background(), bh, answer, fallback)
	}
}

func BenchmarkCreditRun(b *testing.B) {
	var credits [1]bulkhead.Credit
	benchmark(b, bulkhead.Config{Slots: 1}, func(bh *bulkhead.Bulkhead) {
		bh.Take(credits[:0], 1)
		credits[0].Run(settled{})
	})
}

func BenchmarkCreditRunWithTimeout(b *testing.B) {
	var credits [1]bulkhead.Credit
	benchmark(b, bulkhead.Config{Slots: 1, Timeout: time.Minute}, func(bh *bulkhead.Bulkhead) {
		bh.Take(credits[:0], 1)
		credits[0].Run(settled{})
	})
}

// The next credit is there when the last task is done.
func BenchmarkCreditGoWithTimeout(b *testing.B) {
	benchmark(b, bulkhead.Config{Slots: 1, Timeout: time.Minute}, func(bh *bulkhead.Bulkhead) {
		c, _ := bh.Acquire(context.Background())
		c.Go(settled{})
	})
}
