//go:build unix

package publisher_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher"
)

// cpu is how much processor time the process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// large returns a broker that a benchmark doesn't fill, and orders for it.
func large(b *testing.B) (*broker.Conn, []order.Order) {
	c := brokertest.Start(b).Connect()
	plan := brokertest.Plan()
	plan.OrderBytes = 4 << 30
	brokertest.Provision(b, c, plan)
	orders := make([]order.Order, b.N)
	for i := range orders {
		orders[i] = mugs()
	}
	return c, orders
}

func BenchmarkMessage(b *testing.B) {
	o := mugs()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := publisher.Message(o); err != nil {
			b.Fatal(err)
		}
	}
}

// The processor time of the two below is of client and server together.

func BenchmarkPlace(b *testing.B) {
	c, orders := large(b)
	p := publisher.New(c)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	for _, o := range orders {
		if _, err := p.Place(context.Background(), o); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
}

func BenchmarkPipeline(b *testing.B) {
	c, orders := large(b)
	l := publisher.New(c).Pipeline(0)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	for _, o := range orders {
		err := l.Place(context.Background(), o, func(_ broker.Receipt, err error) {
			if err != nil {
				b.Error(err)
			}
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
}
