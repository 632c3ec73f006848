package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/watertight-go/watertight/order"
)

func nothing() func(order.Order) error { return func(order.Order) error { return nil } }

const (
	slow = 10 * time.Millisecond

	// window is how much a group may have in hand beyond its slots.
	window = 256
)

func slowly() func(order.Order) error { return asleep(new(atomic.Int64)) }

// asleep is a handler that adds how long it took, which is more than it was to sleep.
func asleep(took *atomic.Int64) func(order.Order) error {
	return func(order.Order) error {
		begin := time.Now()
		time.Sleep(slow)
		took.Add(int64(time.Since(begin)))
		return nil
	}
}

// throughput: handlers that do nothing, so that all that is left is the protocol.
func throughput(ctx context.Context, b *bench, t *table, rounds, n int) error {
	all := []contestant{bare, byHand, ours, theirs}
	samples, err := b.rounds(ctx, rounds, n, 1, nothing, all...)
	if err != nil {
		return err
	}
	t.head("Handlers that do nothing", "", "orders/s", "ratio", "CPU µs here", "CPU µs broker", "ratio of CPU", "aim", "allocations", "bytes")
	cpu := func(s sample) float64 { return (s.here + s.broker).Seconds() }
	for i, c := range all {
		of := func(f func(s sample) float64) float64 {
			return median(rounds, func(r int) float64 { return f(samples[i][r]) })
		}
		micros := func(d time.Duration) float64 { return d.Seconds() * 1e6 / float64(n) }
		ratio := median(rounds, func(r int) float64 { return samples[0][r].took.Seconds() / samples[i][r].took.Seconds() })
		byCPU := median(rounds, func(r int) float64 { return cpu(samples[0][r]) / cpu(samples[i][r]) })
		aim := ""
		if i == 2 {
			aim = t.least("throughput, CPU of "+c.name, byCPU, 0.6)
		}
		t.row(c.name, count(of(func(s sample) float64 { return float64(n) / s.took.Seconds() })), fraction(ratio),
			fmt.Sprintf("%.1f", of(func(s sample) float64 { return micros(s.here) })),
			fmt.Sprintf("%.1f", of(func(s sample) float64 { return micros(s.broker) })), fraction(byCPU), aim,
			fmt.Sprintf("%.1f", of(func(s sample) float64 { return float64(s.allocs) / float64(n) })),
			count(of(func(s sample) float64 { return float64(s.heap) / float64(n) })))
	}
	s := samples[2][rounds-1]
	fmt.Fprintf(t.w, "\nAn order of a group costs one delivery, one acknowledgement, %.3f messages of OUTCOMES (%.0f outcomes a message) and %.0f bytes there.\n",
		float64(s.outcomes)/float64(n), float64(n)/float64(s.outcomes), float64(s.bytes)/float64(n))
	return nil
}

// slowHandlers: what of the slots' time handlers use, and how much is in hand for that.
func slowHandlers(ctx context.Context, b *bench, t *table, rounds, _ int) error {
	const n = 20_000
	t.head("Handlers of 10 ms, 100 at a time", "", "the slots' time in use", "aim", "most in hand", "aim")
	for _, c := range []contestant{oneBy, ours, theirs} {
		var shares []float64
		hand := 0
		for range rounds {
			var took atomic.Int64
			s, err := b.measure(ctx, c.run, n, 1, func() func(order.Order) error { return asleep(&took) })
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			shares = append(shares, time.Duration(took.Load()).Seconds()/slots/s.took.Seconds())
			hand = max(hand, s.inHand)
		}
		share := median(rounds, func(r int) float64 { return shares[r] })
		aim, bound := "", ""
		if c.name == ours.name {
			aim = t.least("10 ms handlers, the slots' time in use by "+c.name, share, 0.99)
			bound = t.most("10 ms handlers, in hand of "+c.name, float64(hand), slots+window)
		}
		t.row(c.name, fmt.Sprintf("%.3f", share), aim, fmt.Sprint(hand), bound)
	}
	return nil
}

// fanOut: three services at once, each with all orders.
func fanOut(ctx context.Context, b *bench, t *table, rounds, _ int) error {
	const n = 20_000
	all := []contestant{oneBy, ours}
	samples, err := b.rounds(ctx, rounds, n, 3, slowly, all...)
	if err != nil {
		return err
	}
	t.head("Three services, handlers of 10 ms", "", "handled/s", "ratio", "aim")
	for i, c := range all {
		rate := median(rounds, func(r int) float64 { return 3 * n / samples[i][r].took.Seconds() })
		ratio := median(rounds, func(r int) float64 { return samples[0][r].took.Seconds() / samples[i][r].took.Seconds() })
		aim := ""
		if i == 1 {
			aim = t.least("fan-out of "+c.name, ratio, 0.95)
		}
		t.row(c.name, count(rate), fraction(ratio), aim)
	}
	return nil
}

var errOnce = errors.New("not the first time")

// failures: one order in ten fails once, and comes again after 100 ms.
func failures(ctx context.Context, b *bench, t *table, rounds, _ int) error {
	const n = 50_000
	failing := func() func(order.Order) error {
		var (
			mu    sync.Mutex
			calls int
			seen  = make(map[string]bool)
		)
		return func(o order.Order) error {
			time.Sleep(slow)
			mu.Lock()
			defer mu.Unlock()
			if seen[o.ID] {
				return nil
			}
			if calls++; calls%10 == 0 {
				seen[o.ID] = true
				return errOnce
			}
			return nil
		}
	}
	soon := func(ctx context.Context, w work) error {
		return groupOf(ctx, w, []time.Duration{100 * time.Millisecond})
	}
	var ratios []float64
	var clean, failed float64
	for range rounds {
		without, err := b.measure(ctx, soon, n, 1, slowly)
		if err != nil {
			return err
		}
		with, err := b.measure(ctx, soon, n, 1, failing)
		if err != nil {
			return err
		}
		clean, failed = n/without.took.Seconds(), n/with.took.Seconds()
		ratios = append(ratios, failed/clean)
	}
	ratio := median(len(ratios), func(i int) float64 { return ratios[i] })
	t.head("One order in ten fails once, handlers of 10 ms", "", "orders/s", "ratio", "aim")
	t.row("none fails", count(clean), "1.00", "")
	t.row("**one in ten; with 1.1 attempts an order the ideal is 0.91**", count(failed), fraction(ratio), t.least("failures", ratio, 0.9))
	return nil
}
