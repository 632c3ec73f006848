package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/order"
)

// stream is orders stored at a rate, each of which knows its number.
type stream struct {
	conn   *broker.Conn
	n      int
	rate   int // a second
	sent   []time.Time
	failed error
}

// send stores the orders, each at its time; message makes one of a number and a body.
func (s *stream) send(message func(i int, o order.Order, body []byte) broker.Message) error {
	s.sent = make([]time.Time, s.n)
	var (
		wg sync.WaitGroup
		mu sync.Mutex
	)
	begin := time.Now()
	for i := range s.n {
		o := order.Order{ID: order.NewID(), Customer: strconv.Itoa(i), Currency: "EUR", Lines: []order.Line{{SKU: "MUG-RED", Quantity: 2, UnitPrice: 1299}}}
		body, err := o.Encode()
		if err != nil {
			return err
		}
		time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(s.rate))))
		m := message(i, o, body)
		wg.Add(1)
		s.sent[i] = time.Now()
		s.conn.StoreAsync(m, func(_ broker.Receipt, err error) {
			defer wg.Done()
			if err != nil {
				mu.Lock()
				s.failed = err
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return s.failed
}

// quantiles in milliseconds.
func quantiles(all []time.Duration) (p50, p99 float64) {
	slices.Sort(all)
	at := func(q float64) float64 { return all[int(q*float64(len(all)-1))].Seconds() * 1e3 }
	return at(.5), at(.99)
}

// retries: 50,000 of them become due at 5,000 a second.
func retries(ctx context.Context, b *bench, t *table, rounds, _ int) error {
	const n, rate = 50_000, 5_000
	var p50s, p99s, deliveries []float64
	for range max(1, rounds/2) {
		b.turns++
		name := order.Service("bench-" + strconv.Itoa(b.turns))
		plan := broker.Plan{OrderBytes: 4 << 30, Services: []broker.Service{{Name: name, Tiers: 1, AckWait: consumer.AckWait(timeout, 0)}}} // none of the orders that are there
		if _, err := b.conn.Provision(ctx, plan, false); err != nil {
			return err
		}
		conn, err := b.server.connect(ctx)
		if err != nil {
			return err
		}
		s := &stream{conn: conn, n: n, rate: rate}
		came := make([]time.Time, n)
		ended := make(chan error, 1)
		go func() {
			ended <- group(ctx, work{conn, name, n, func(o order.Order) error {
				i, err := strconv.Atoi(o.Customer)
				came[i] = time.Now()
				return err
			}})
		}()
		err = s.send(func(i int, o order.Order, body []byte) broker.Message {
			hop := broker.Hop{OrderID: o.ID, Attempt: 2, Waits: 1, RetryDelay: tier, Origin: broker.Origin{Stream: "BENCH", Seq: uint64(i + 1)}}
			return broker.Message{Subject: broker.RetrySubject(name, broker.Tier(1)), ID: o.ID, Header: hop.Header(nil), Data: body}
		})
		if err != nil {
			return err
		}
		c, err := conn.JetStream().Consumer(ctx, broker.RetryStream(name), broker.TierDurable(name, broker.Tier(1)))
		if err != nil {
			return err
		}
		if err := <-ended; err != nil {
			return err
		}
		info, err := c.Info(ctx)
		if err != nil {
			return err
		}
		late := make([]time.Duration, n)
		for i := range late {
			late[i] = came[i].Sub(s.sent[i]) - tier
		}
		p50, p99 := quantiles(late)
		p50s, p99s, deliveries = append(p50s, p50), append(p99s, p99), append(deliveries, float64(info.Delivered.Consumer)/n)
		conn.Close()
		if err := forget(ctx, b.conn, name); err != nil {
			return err
		}
	}
	middle := func(v []float64) float64 { return median(len(v), func(i int) float64 { return v[i] }) }
	t.head("50,000 retries, due at 5,000 a second", "", "", "aim")
	t.row("later than a second after they were sent, p50", fmt.Sprintf("%.2f ms", middle(p50s)), "")
	t.row("p99", fmt.Sprintf("%.2f ms", middle(p99s)), t.most("retries, p99 lateness in ms", middle(p99s), 10)+" ms")
	t.row("deliveries each", fmt.Sprintf("%.3f", middle(deliveries)), t.most("retries, deliveries each", middle(deliveries), 1.02))
	return nil
}

// latency: from the moment an order is sent until its handler has it, at 1,000 a second.
func latency(ctx context.Context, b *bench, t *table, rounds, _ int) error {
	const n, rate = 5_000, 1_000
	all := []contestant{{bare.name + ", decoding", consumeDecoding}, ours}
	p50s, p99s := make([][]float64, len(all)), make([][]float64, len(all))
	for range rounds {
		for i, c := range all {
			p50, p99, err := b.latency(ctx, c, n, rate)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			p50s[i], p99s[i] = append(p50s[i], p50), append(p99s[i], p99)
		}
	}
	t.head("From sending to the handler, 1,000 orders a second", "", "p50 ms", "p99 ms", "ratio of p50", "aim")
	for i, c := range all {
		ratio := median(rounds, func(r int) float64 { return p50s[i][r] / p50s[0][r] })
		aim := ""
		if i == 1 {
			aim = t.most("latency of "+c.name, ratio, 1.2)
		}
		t.row(c.name, fmt.Sprintf("%.2f", median(rounds, func(r int) float64 { return p50s[i][r] })),
			fmt.Sprintf("%.2f", median(rounds, func(r int) float64 { return p99s[i][r] })), fraction(ratio), aim)
	}
	return nil
}

func (b *bench) latency(ctx context.Context, c contestant, n, rate int) (p50, p99 float64, err error) {
	b.turns++
	name := order.Service("bench-" + strconv.Itoa(b.turns))
	plan := broker.Plan{OrderBytes: 4 << 30, Services: []broker.Service{{Name: name, Tiers: 1, AckWait: consumer.AckWait(timeout, 0)}}}
	if _, err := b.conn.Provision(ctx, plan, false); err != nil {
		return 0, 0, err
	}
	conn, err := b.server.connect(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	s := &stream{conn: b.conn, n: n, rate: rate}
	came := make([]time.Time, n)
	ended := make(chan error, 1)
	go func() {
		ended <- c.run(ctx, work{conn, name, n, func(o order.Order) error {
			now := time.Now()
			i, err := strconv.Atoi(o.Customer)
			came[i] = now
			return err
		}})
	}()
	time.Sleep(100 * time.Millisecond) // it has begun to wait
	err = s.send(func(_ int, o order.Order, body []byte) broker.Message {
		return broker.Message{Subject: broker.SubjectCreated, ID: o.ID, Data: body}
	})
	if err != nil {
		return 0, 0, err
	}
	if err := <-ended; err != nil {
		return 0, 0, err
	}
	b.orders += n
	took := make([]time.Duration, n)
	for i := range took {
		took[i] = came[i].Sub(s.sent[i])
	}
	p50, p99 = quantiles(took)
	return p50, p99, forget(ctx, b.conn, name)
}

// consumeDecoding is consume with the order decoded, which says when it was sent.
func consumeDecoding(ctx context.Context, w work) error {
	c, err := w.conn.JetStream().Consumer(ctx, broker.StreamOrders, broker.Durable(w.service))
	if err != nil {
		return err
	}
	done := make(chan error, w.n)
	handled := 0
	cc, err := c.Consume(func(m jetstream.Msg) {
		o, err := order.Parse(m.Data())
		if err == nil {
			err = w.handle(o)
		}
		if err == nil {
			err = m.Ack()
		}
		if handled++; err != nil || handled == w.n {
			done <- err
		}
	})
	if err != nil {
		return err
	}
	defer cc.Stop()
	return <-done
}
