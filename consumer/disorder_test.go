package consumer_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

// disorder is a trial in which anything happens, by a seed.
type disorder struct {
	*trial
	mu     sync.Mutex
	rand   *rand.Rand
	placed int             // messages
	orders map[string]bool // ids; true: the world has done what it was asked
}

func newDisorder(t *testing.T, seed uint64) *disorder {
	t.Helper()
	d := &disorder{rand: rand.New(rand.NewPCG(seed, 0)), orders: make(map[string]bool)}
	d.trial = newTrial(t, story{}, order.Payment)
	d.handler = func(order.Service, *life) consumer.Handler { return handle(d.handle) }
	return d
}

func (d *disorder) n(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rand.IntN(n)
}

func (d *disorder) upTo(limit time.Duration) time.Duration {
	return time.Duration(d.n(int(limit)))
}

// handle does what comes to its mind, in time or late.
func (d *disorder) handle(ctx context.Context, o order.Order) (order.Outcome, error) {
	switch d.n(4) {
	case 0:
		time.Sleep(d.upTo(10 * time.Second)) // deaf
	case 1:
		select {
		case <-time.After(d.upTo(crashTimeout)):
		case <-ctx.Done():
			return order.Outcome{}, context.Cause(ctx)
		}
	}
	switch d.n(8) {
	case 0:
		return order.Outcome{}, errBusy
	case 1:
		return order.Outcome{}, order.RetryAfter(d.upTo(time.Minute), errBusy)
	case 2:
		return order.Outcome{}, errUnknown
	case 3:
		panic("out of order")
	default:
		d.mu.Lock()
		defer d.mu.Unlock()
		d.orders[o.ID] = true
		return authorized, nil
	}
}

// placeAny places an order, perhaps more than once, and perhaps so that the broker
// can't tell.
func (d *disorder) placeAny() {
	o, body := placed(d.t)
	d.mu.Lock()
	d.orders[o.ID] = false
	d.mu.Unlock()
	d.shop.place(o.ID, body)
	d.placed++
	switch d.n(4) {
	case 0:
		d.shop.place(o.ID, body)
	case 1:
		d.shop.place(o.ID+"/again", body)
		d.placed++
	}
}

// steal has messages delivered to somebody who keeps them, or hands them back when
// it likes.
func (d *disorder) steal() {
	stream, durable := broker.StreamOrders, "payment"
	if d.n(2) == 0 {
		stream, durable = "RETRY_PAYMENT", broker.TierDurable(order.Payment, []string{broker.TierNow, "t1", "t2"}[d.n(3)])
	}
	c, err := d.conn.JetStream().Consumer(context.Background(), stream, durable)
	if err != nil {
		return // the broker is just back
	}
	batch, err := c.FetchNoWait(1 + d.n(3))
	if err != nil {
		return
	}
	for m := range batch.Messages() {
		if d.n(2) == 0 {
			_ = m.NakWithDelay(d.upTo(5 * time.Second))
		}
	}
}

// double stores a message again that is there: a publisher that didn't hear.
func (d *disorder) double() {
	stream := []string{broker.StreamOutcomes, broker.StreamDeadLetters, "RETRY_PAYMENT"}[d.n(3)]
	s, err := d.conn.JetStream().Stream(context.Background(), stream)
	if err != nil {
		return
	}
	first, last := s.CachedInfo().State.FirstSeq, s.CachedInfo().State.LastSeq
	if last < first || last == 0 {
		return
	}
	m, err := s.GetMsg(context.Background(), first+uint64(d.n(int(last-first+1))))
	if err != nil {
		return // it is gone
	}
	_, _ = d.conn.Store(context.Background(), broker.Message{
		Subject: m.Subject, ID: m.Header.Get("Nats-Msg-Id"), Header: m.Header, Data: m.Data,
	})
}

func (d *disorder) replayAny() {
	for l, err := range d.desk.All(context.Background(), deadletter.Filter{}) {
		if err == nil && d.n(2) == 0 {
			_ = d.desk.Replay(context.Background(), l.Seq) // whatever came of it, it may be repeated
		}
	}
}

// step is one thing that happens.
func (d *disorder) step() {
	switch d.n(10) {
	case 0, 1, 2, 3:
		d.placeAny()
	case 4:
		d.steal()
	case 5:
		d.double()
	case 6:
		d.replayAny()
	case 7:
		d.stop() // in good order
		d.live(forEver)
	case 8:
		d.kill()
		d.live(int64(1 + d.n(40)))
	case 9:
		if d.n(2) == 0 {
			d.server.Restart()
		} else {
			d.killBroker()
		}
		for d.conn.Check() != nil {
			time.Sleep(time.Millisecond)
		}
	}
}

// Whatever comes late, doubled, out of order or not at all, every message that was
// accepted ends as done or dead, and nothing is said to be done that wasn't. (Of 200
// seeds all passed; ten are what a test may take.)
func TestDisorder_EveryOrderEnds(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDisorder(t, seed)
				d.live(int64(1 + d.n(40)))
				for range 25 {
					d.step()
					select {
					case <-d.life.ended:
						d.kill()
						d.live(int64(1 + d.n(40)))
					case <-time.After(d.upTo(2 * time.Second)):
					}
				}
				d.stop()
				d.live(forEver)
				pass(5 * time.Minute)
				d.check()
				d.stop()
			})
		})
	}
}

func (d *disorder) check() {
	d.t.Helper()
	report, err := audit.Run(context.Background(), d.conn, d.services)
	if err != nil {
		d.t.Fatal(err)
	}
	got := report.Services[0]
	if ended := got.Done + got.Dead; got.Accepted != d.placed || ended != d.placed {
		d.t.Errorf("of %d messages %d ended: %+v", d.placed, ended, got)
	}
	equal(d.t, "waiting retries", len(d.subjects("RETRY_PAYMENT")), 0)
	d.settled()

	d.read(broker.StreamOutcomes, func(subject string, all []broker.Settled) {
		for _, o := range all {
			if !d.orders[o.OrderID] {
				d.t.Errorf("%s of %s, for which nothing was done", subject, o.OrderID)
			}
		}
	})
}
