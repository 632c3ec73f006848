package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/order"
)

// bench is a broker with orders on it.
type bench struct {
	server *server
	conn   *broker.Conn
	orders int // stored
	turns  int // services so far
}

// sample is one measurement.
type sample struct {
	took         time.Duration
	here, broker time.Duration // CPU time, of this process and of the broker's
	inHand       int           // most messages delivered and not acknowledged, of a service
	allocs, heap uint64        // allocations here, and their bytes
	outcomes     uint64        // messages stored in OUTCOMES
	bytes        uint64        // of these
}

// measure has a contestant do the same work for some services at once, each with its
// own connection and durable.
func (b *bench) measure(ctx context.Context, run func(context.Context, work) error, n, services int, handle func() func(order.Order) error) (s sample, err error) {
	if n > b.orders {
		if err := place(ctx, b.conn, n-b.orders); err != nil {
			return s, err
		}
		b.orders = n
	}
	var names []order.Service
	for range services {
		b.turns++
		names = append(names, order.Service("bench-"+strconv.Itoa(b.turns)))
	}
	if err := provision(ctx, b.conn, 1, consumer.AckWait(timeout, 0), names...); err != nil {
		return s, err
	}
	var all []work
	for _, name := range names {
		conn, err := b.server.connect(ctx)
		if err != nil {
			return s, err
		}
		defer conn.Close()
		all = append(all, work{conn, name, n, handle()})
	}
	busy, err := b.server.cpuTime()
	if err != nil {
		return s, err
	}
	watched := b.watch(ctx, names[0])
	var m0, m1 runtime.MemStats
	runtime.ReadMemStats(&m0)
	here, begin := cpuTime(), time.Now()
	ended := make(chan error, len(all))
	for _, w := range all {
		go func() { ended <- run(ctx, w) }()
	}
	for range all {
		if err := <-ended; err != nil {
			return s, err
		}
	}
	s.took, s.here = time.Since(begin), cpuTime()-here
	runtime.ReadMemStats(&m1)
	s.allocs, s.heap = m1.Mallocs-m0.Mallocs, m1.TotalAlloc-m0.TotalAlloc
	s.inHand = watched()
	after, err := b.server.cpuTime()
	if err != nil {
		return s, err
	}
	s.broker = after - busy
	state, err := stored(ctx, b.conn, broker.StreamOutcomes)
	if err != nil {
		return s, err
	}
	s.outcomes, s.bytes = state.Msgs, state.Bytes
	return s, forget(ctx, b.conn, names...)
}

// watch looks ten times a second how much a service has in hand, until it is asked.
func (b *bench) watch(ctx context.Context, s order.Service) (most func() int) {
	stop, said := make(chan struct{}), make(chan int, 1)
	go func() {
		most := 0
		defer func() { said <- most }()
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
			if c, err := b.conn.JetStream().Consumer(ctx, broker.StreamOrders, broker.Durable(s)); err == nil {
				most = max(most, c.CachedInfo().NumAckPending)
			}
		}
	}()
	return func() int {
		close(stop)
		return <-said
	}
}

// rounds measures contestants in turns, so that a slow minute hits them all, and
// returns the samples of each.
func (b *bench) rounds(ctx context.Context, rounds, n, services int, handle func() func(order.Order) error, all ...contestant) ([][]sample, error) {
	samples := make([][]sample, len(all))
	for range rounds {
		for i, c := range all {
			s, err := b.measure(ctx, c.run, n, services, handle)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			samples[i] = append(samples[i], s)
		}
	}
	return samples, nil
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // no figure without it
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// median of what is asked of each index.
func median(n int, of func(i int) float64) float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = of(i)
	}
	slices.Sort(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
