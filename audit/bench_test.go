package audit_test

import (
	"context"
	"errors"
	"flag"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

var benchOrders = flag.Int("orders", 20_000, "how many orders BenchmarkRun audits")

// BenchmarkRun audits three services on a file store. Of each hundred orders 90
// are done, 7 wait in a retry and 3 lie dead. For the figure of the package's
// documentation: -bench Run -benchtime 1x -orders 1000000.
func BenchmarkRun(b *testing.B) {
	conn := brokertest.Start(b).Connect()
	plan := brokertest.Plan()
	plan.OrderBytes = 8 << 30
	brokertest.Provision(b, conn, plan)
	fill(b, conn, *benchOrders)
	b.ResetTimer()
	before := processor(b)
	for b.Loop() {
		r, err := audit.Run(b.Context(), conn, order.Services())
		if err != nil {
			b.Fatal(err)
		}
		for _, a := range r.Services {
			if a.Accepted != *benchOrders || a.Done != a.Accepted/100*90 || a.Dead != a.Accepted/100*3 || a.Lost != 0 || a.Double != 0 {
				b.Fatalf("account: %+v", a)
			}
		}
	}
	orders := float64(*benchOrders) * float64(b.N)
	b.ReportMetric(orders/b.Elapsed().Seconds(), "orders/s")
	b.ReportMetric(float64((processor(b)-before).Nanoseconds())/orders, "cpu-ns/order")
}

// processor is the processor time that the process has taken, the server's
// included: it says more than the clock while others use the machine.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fill stores n orders and what three services made of them, and acknowledges
// them.
func fill(b *testing.B, conn *broker.Conn, n int) {
	b.Helper()
	places := make(chan struct{}, broker.MaxAsync)
	var (
		mu     sync.Mutex
		failed error
	)
	store := func(m broker.Message) {
		places <- struct{}{}
		conn.StoreAsync(m, func(_ broker.Receipt, err error) {
			mu.Lock()
			failed = errors.Join(failed, err)
			mu.Unlock()
			<-places
		})
	}
	body := make([]byte, 300)
	for i := range n {
		id := order.NewID()
		store(broker.Message{Subject: broker.SubjectCreated, ID: id, Header: broker.Hop{OrderID: id, EventType: "created", Schema: order.Schema, IdempotencyKey: id}.Header(nil), Data: body})
		for _, s := range order.Services() {
			hop := broker.Hop{
				OrderID: id, EventType: "created", Schema: order.Schema, IdempotencyKey: id, FirstSeen: time.Now(),
				Origin: broker.Origin{Stream: broker.StreamOrders, Seq: uint64(i) + 1, Subject: broker.SubjectCreated},
			}
			m := broker.Message{Subject: broker.OutcomeSubject(s, order.Sent), ID: broker.DoneID(s, hop.Origin, 0), Data: []byte(`{"result":"sent","ref":"ref-12345678"}`)}
			switch {
			case i%100 >= 97:
				m = broker.Message{Subject: broker.DeadSubject(s, string(deadletter.Exhausted)), ID: broker.DeadID(s, hop.Origin, 0), Data: body}
			case i%100 >= 90:
				hop.RetryDelay = time.Hour
				m = broker.Message{Subject: broker.RetrySubject(s, broker.Tier(4)), ID: broker.RetryID(s, hop.Origin, 0, 1), Data: body}
			}
			m.Header = hop.Header(nil)
			store(m)
		}
	}
	for range cap(places) {
		places <- struct{}{}
	}
	if failed != nil {
		b.Fatal(failed)
	}
	for _, s := range order.Services() {
		settle(b, conn, s, n)
	}
}

// settle acknowledges the first n orders for a service.
func settle(tb testing.TB, conn *broker.Conn, s order.Service, n int) {
	tb.Helper()
	c, err := conn.JetStream().Consumer(context.Background(), broker.StreamOrders, broker.Durable(s))
	if err != nil {
		tb.Fatal(err)
	}
	for n > 0 {
		batch, err := c.Fetch(min(n, 500), jetstream.FetchMaxWait(time.Second))
		if err != nil {
			tb.Fatal(err)
		}
		for m := range batch.Messages() {
			ack := m.Ack
			if n--; n == 0 { // they are taken in their order
				ack = func() error { return m.DoubleAck(context.Background()) }
			}
			if err := ack(); err != nil {
				tb.Fatal(err)
			}
		}
		if err := batch.Error(); err != nil {
			tb.Fatal(err)
		}
	}
}
