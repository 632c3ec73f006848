package inventory_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/consumer/inventory"
	"github.com/watertight-go/watertight/order"
)

// large returns a broker that a benchmark doesn't fill.
func large(b *testing.B) *brokertest.Server {
	s := brokertest.Start(b)
	plan := brokertest.Plan()
	plan.OrderBytes = 4 << 30
	brokertest.Provision(b, s.Connect(), plan)
	return s
}

// ofTwo wants one each of two of 100 articles.
func ofTwo(n int) inventory.Reservation {
	return inventory.Reservation{
		OrderID: uuid.MustParse(order.NewID()),
		Items:   []inventory.Item{{SKU: fmt.Sprintf("ARTICLE-%02d", n%50), Quantity: 1}, {SKU: fmt.Sprintf("ARTICLE-%02d", 50+n%50), Quantity: 1}},
	}
}

func plenty() []inventory.Item {
	articles := make([]inventory.Item, 100)
	for i := range articles {
		articles[i] = inventory.Item{SKU: fmt.Sprintf("ARTICLE-%02d", i), Quantity: 1 << 40}
	}
	return articles
}

// A decision each, by so many callers on so many instances; client and server
// in one process. With one caller each decision is an entry of its own.
func BenchmarkReserve(b *testing.B) {
	for _, shape := range []struct{ instances, callers int }{{1, 1}, {1, 16}, {1, 256}, {3, 16}, {3, 256}} {
		b.Run(fmt.Sprintf("instances=%d/callers=%d", shape.instances, shape.callers), func(b *testing.B) {
			s := large(b)
			instances := make([]*instance, shape.instances)
			for i := range instances {
				instances[i] = start(b, s.Connect())
				instances[i].add(b, plenty()...)
			}
			todo := make([]inventory.Reservation, b.N)
			for i := range todo {
				todo[i] = ofTwo(i)
			}
			var next atomic.Int64
			took := make([]time.Duration, b.N)
			share := make([]atomic.Int64, shape.instances)
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for caller := range shape.instances * shape.callers {
				wg.Go(func() {
					in := caller % shape.instances
					for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
						began := time.Now()
						if _, err := instances[in].log.Reserve(b.Context(), todo[i]); err != nil {
							b.Error(err)
							return
						}
						took[i] = time.Since(began)
						share[in].Add(1)
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)-1].Microseconds()), "max-µs")
			least := int64(b.N)
			for i := range share {
				least = min(least, share[i].Load())
			}
			b.ReportMetric(float64(least)/float64(b.N)*float64(shape.instances), "least-share")
			last, err := instances[0].conn.LastSeq(b.Context(), broker.StreamStock, broker.StockSubject(0))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/float64(last), "orders/entry")
		})
	}
}

// Reading the log at the start, and what an instance keeps of it.
func BenchmarkStart(b *testing.B) {
	for _, callers := range []int{1, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			const orders = 100_000
			s := large(b)
			writer := start(b, s.Connect())
			writer.add(b, plenty()...)
			var wg sync.WaitGroup
			for caller := range callers {
				wg.Go(func() {
					for i := caller; i < orders; i += callers {
						if _, err := writer.log.Reserve(b.Context(), ofTwo(i)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			js, err := writer.conn.JetStream().Stream(b.Context(), broker.StreamStock)
			if err != nil {
				b.Fatal(err)
			}
			if err := writer.end(); err != nil {
				b.Fatal(err)
			}
			heap := func() float64 {
				var m runtime.MemStats
				runtime.GC()
				runtime.GC()
				runtime.ReadMemStats(&m)
				return float64(m.HeapAlloc)
			}
			before := heap()
			var kept []*instance
			for b.Loop() {
				in := start(b, s.Connect())
				if _, err := in.log.Stock(b.Context()); err != nil {
					b.Fatal(err)
				}
				kept = append(kept, in)
			}
			b.ReportMetric(float64(b.N*orders)/b.Elapsed().Seconds(), "orders/s")
			b.ReportMetric((heap()-before)/float64(b.N*orders), "B-kept/order")
			b.ReportMetric(float64(js.CachedInfo().State.Bytes)/orders, "B-stored/order")
			runtime.KeepAlive(kept)
		})
	}
}
