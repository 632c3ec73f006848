//go:build unix

package load_test

import (
	"context"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher/load"
)

// cpu is how much processor time the process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// enough passes orders on until it has had its fill.
type enough struct {
	load.Broker
	left atomic.Int64
	stop context.CancelFunc
}

func (e *enough) StoreAsync(m broker.Message, answer func(broker.Receipt, error)) {
	if e.left.Add(-1) <= 0 {
		e.stop()
	}
	e.Broker.StoreAsync(m, answer)
}

// instant answers at once.
type instant struct{ seq uint64 }

func (i *instant) StoreAsync(_ broker.Message, answer func(broker.Receipt, error)) {
	i.seq++
	answer(broker.Receipt{Stream: broker.StreamOrders, Seq: i.seq}, nil)
}

// measure sends b.N orders at a rate.
func measure(b *testing.B, to load.Broker, rate float64) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	e := &enough{Broker: to, stop: cancel}
	e.left.Store(int64(b.N))
	j := load.NewJournal(order.Services()...)
	b.ReportAllocs()
	b.ResetTimer()
	before, begin := cpu(b), time.Now()
	if err := load.Run(ctx, e, j, load.Config{Profile: load.Steady(rate), Orders: load.Orders{Malformed: 0.005}}); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
	late := j.Lateness(load.Phase{From: begin, To: time.Now()})
	b.ReportMetric(float64(late.P99)/1e6, "p99-late-ms")
	if c := j.Counts(); c.Stored != c.Sent {
		b.Errorf("counts = %+v, want all stored", c)
	}
}

func BenchmarkOrders_Message(b *testing.B) {
	g, i := load.Orders{Malformed: 0.005}, 0
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := g.Message(i, noon); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// What the generator itself costs.
func BenchmarkRun_Engine(b *testing.B) { measure(b, &instant{}, 1e6) }

// With a real broker; the processor time is of client and server together.
func BenchmarkRun_Broker300(b *testing.B)   { measure(b, large(b), 300) }
func BenchmarkRun_Broker20000(b *testing.B) { measure(b, large(b), 20_000) }

// large returns a broker that a benchmark doesn't fill.
func large(b *testing.B) *broker.Conn {
	c := brokertest.Start(b).Connect()
	plan := brokertest.Plan()
	plan.OrderBytes = 4 << 30
	brokertest.Provision(b, c, plan)
	return c
}

func BenchmarkJournal_Stats(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	e := &enough{Broker: &instant{}, stop: cancel}
	e.left.Store(10_000)
	j := load.NewJournal(order.Services()...)
	begin := time.Now()
	if err := load.Run(ctx, e, j, load.Config{Profile: load.Steady(1e6)}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if got := j.Stats(load.Phase{From: begin, To: begin.Add(time.Second)}); got[0].Samples < 10_000 {
			b.Fatalf("%d samples, want 10,000", got[0].Samples)
		}
	}
}
