package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/rejections"
)

// takingDown is a log of rejections at work, and all that it says.
type takingDown struct {
	*rejections.Log
	shop *shop
	reg  *prometheus.Registry
	said *events
}

func (s *shop) takeDown() *takingDown {
	s.t.Helper()
	d := &takingDown{shop: s, reg: prometheus.NewPedanticRegistry(), said: &events{}}
	d.Log = rejections.New(s.conn, rejections.Config{Log: zerolog.New(d.said), Metrics: rejections.NewMetrics(d.reg)})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("Run: %v", err)
		}
	})
	return d
}

// wants fails the test unless just this was turned away, each with a record, a count
// and an event, and returns what the records say besides.
func (d *takingDown) wants(want map[rejections.Kind]int) (details []string) {
	d.shop.t.Helper()
	got := make(map[rejections.Kind]int)
	said := make(map[string]bool)
	for r, err := range d.Read(context.Background(), time.Time{}) {
		if err != nil {
			d.shop.t.Fatal(err)
		}
		got[rejections.Kind{Service: r.Service, Where: r.Where, Reason: r.Reason}]++
		if !said[r.Detail] {
			said[r.Detail] = true
			details = append(details, r.Detail)
		}
		if r.OrderID == "" {
			d.shop.t.Errorf("%+v doesn't say which order", r)
		}
	}
	equal(d.shop.t, "records", got, want)
	counts := "# HELP watertight_rejected_total Work that was turned away, recorded or not.\n# TYPE watertight_rejected_total counter\n"
	for k, n := range want {
		counts += fmt.Sprintf("watertight_rejected_total{reason=%q,service=%q,where=%q} %d\n", k.Reason, k.Service, k.Where, n)
		if d.said.count(string(k.Where)+".rejected") == 0 {
			d.shop.t.Errorf("there was no event %s.rejected", k.Where)
		}
	}
	if len(want) == 0 {
		counts = ""
	}
	if err := testutil.GatherAndCompare(d.reg, strings.NewReader(counts), "watertight_rejected_total"); err != nil {
		d.shop.t.Error(err)
	}
	slices.Sort(details)
	return details
}

func refused(w rejections.Where, r rejections.Reason, n int) map[rejections.Kind]int {
	return map[rejections.Kind]int{{Service: order.Payment, Where: w, Reason: r}: n}
}

// idle starts a group that waits for an order, without a slot, on the pool.
func (s *shop) idle(size bulkhead.Config) (d *takingDown, pool *bulkhead.Bulkhead, stop func()) {
	s.t.Helper()
	size.Name, size.Slots, size.Timeout = "payment", 4, 2*time.Second
	pool, err := bulkhead.New(size)
	if err != nil {
		s.t.Fatal(err)
	}
	d = s.takeDown()
	_, stop = s.group(handle(settles), func(c *consumer.Config, _ *bulkhead.Config) { c.Bulkhead, c.Rejections = pool, d.Log })
	pass(time.Second)
	return d, pool, stop
}

// An order in hand that finds no slot goes back to the broker: once, since nothing
// more is taken before there is one.
func TestRejections_OfAnOrderInHand(t *testing.T) {
	for name, tt := range map[string]struct {
		size   bulkhead.Config
		strike func(t *testing.T, pool *bulkhead.Bulkhead) (mend func())
		later  func(pool *bulkhead.Bulkhead) // while the order waits
		want   map[rejections.Kind]int
		detail string
	}{
		"every slot is taken": {
			strike: func(_ *testing.T, pool *bulkhead.Bulkhead) func() {
				taken := pool.Take(nil, 4)
				return func() {
					for _, c := range taken {
						c.Release()
					}
				}
			},
			want: refused(rejections.Bulkhead, rejections.Full, 1), detail: "payment: no slot in time",
		},
		"the breaker is open": {
			size: bulkhead.Config{Breaker: &bulkhead.BreakerConfig{}},
			strike: func(_ *testing.T, pool *bulkhead.Bulkhead) func() {
				pool.Force(bulkhead.Open)
				return func() { pool.Force(bulkhead.Auto) }
			},
			want: refused(rejections.Bulkhead, rejections.Breaker, 1), detail: "payment: the breaker isn't closed",
		},
		"the breaker opens while it waits": {
			size: bulkhead.Config{Breaker: &bulkhead.BreakerConfig{}},
			strike: func(_ *testing.T, pool *bulkhead.Bulkhead) func() {
				taken := pool.Take(nil, 4)
				return func() {
					pool.Force(bulkhead.Auto)
					for _, c := range taken {
						c.Release()
					}
				}
			},
			later: func(pool *bulkhead.Bulkhead) { pool.Force(bulkhead.Open) },
			want:  refused(rejections.Bulkhead, rejections.Breaker, 1), detail: "payment: the breaker isn't closed",
		},
		"the rate is spent": {
			size: bulkhead.Config{RatePerSecond: 0.05},
			strike: func(t *testing.T, pool *bulkhead.Bulkhead) func() {
				if _, err := bulkhead.Do(t.Context(), pool, func(context.Context) (int, error) { return 0, nil }); err != nil {
					t.Fatal(err)
				}
				return func() {}
			},
			want: refused(rejections.Bulkhead, rejections.Rate, 1), detail: "payment: slots are free, and no start was allowed in time",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *shop) {
				d, pool, _ := s.idle(tt.size)
				mend := tt.strike(t, pool)
				s.placeOne()
				pass(time.Second)
				if tt.later != nil {
					tt.later(pool)
				}
				pass(10 * time.Minute)
				equal(t, "details", d.wants(tt.want), []string{tt.detail})
				mend()
				pass(time.Minute)
				s.settled()
			})
		})
	}
}

// When the breaker opens, each order of the window goes back, and is on record.
func TestRejections_OfAWholeWindow(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		pool, err := bulkhead.New(bulkhead.Config{Name: "payment", Slots: 4, Timeout: 2 * time.Second, Breaker: &bulkhead.BreakerConfig{MinCalls: 8, OpenFor: time.Hour}})
		if err != nil {
			t.Fatal(err)
		}
		var (
			d     = s.takeDown()
			calls atomic.Int64
			fails atomic.Bool
			ready = make(chan struct{})
		)
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			calls.Add(1)
			if fails.Load() {
				<-ready
				return order.Outcome{}, errNo
			}
			return authorized, nil
		}), func(c *consumer.Config, _ *bulkhead.Config) {
			c.Bulkhead, c.Rejections = pool, d.Log
			c.Policy.Retry = []time.Duration{time.Hour, time.Hour, time.Hour, time.Hour}
		})
		s.fillWindow(&fails)
		close(ready)
		pass(20 * time.Second)
		c, err := s.conn.JetStream().Consumer(t.Context(), broker.StreamOrders, "payment")
		if err != nil {
			t.Fatal(err)
		}
		back := int(c.CachedInfo().Delivered.Consumer) - int(calls.Load())
		if back < 50 {
			t.Fatalf("%d orders were in hand when the breaker opened: the test shows nothing", back)
		}
		d.wants(refused(rejections.Bulkhead, rejections.Breaker, back))
	})
}

// A group that stops refuses nothing: another may have the order at once.
func TestRejections_StoppingIsNone(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		d, pool, stop := s.idle(bulkhead.Config{})
		pool.Take(nil, 4)
		s.placeOne()
		pass(time.Second)
		stop()
		d.wants(map[rejections.Kind]int{})
	})
}

func TestRejections_AClosedBulkheadIsNone(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		pool, err := bulkhead.New(bulkhead.Config{Name: "payment", Slots: 1, Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		d := s.takeDown()
		g, err := consumer.New(s.conn, consumer.Config{
			Service: order.Payment, Handler: handle(settles), Bulkhead: pool, Policy: consumer.Policy{Retry: ladder}, Rejections: d.Log,
		})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- g.Run(t.Context()) }()
		pass(time.Second)
		pool.Take(nil, 1)
		s.placeOne()
		pass(time.Second)
		pool.Close()
		if err := <-ended; !errors.Is(err, bulkhead.ErrClosed) {
			t.Errorf("Run = %v, want ErrClosed", err)
		}
		pass(time.Second)
		d.wants(map[rejections.Kind]int{})
	})
}

// What is handed back because the broker is in trouble has an alarm, and is no refusal
// of ours.
func TestRejections_TroubleIsNone(t *testing.T) {
	t.Run("crash marks can't be kept", func(t *testing.T) {
		bubble(t, func(t *testing.T, s *shop) {
			d := s.takeDown()
			s.placeOne()
			s.suspect(0)
			s.alter(broker.StreamSuspects, func(c *jetstream.StreamConfig) { c.Subjects = []string{"$KV.suspects.none"} })
			var log events
			s.group(handle(settles), func(c *consumer.Config, _ *bulkhead.Config) { c.Log, c.Rejections = zerolog.New(&log), d.Log })
			pass(time.Minute)
			if log.count("suspect.failed") == 0 {
				t.Fatal("all marks were kept: the test shows nothing")
			}
			d.wants(map[rejections.Kind]int{})
		})
	})
	t.Run("outcomes can't be stored", func(t *testing.T) {
		bubble(t, func(t *testing.T, s *shop) {
			d, pool, _ := s.idle(bulkhead.Config{})
			s.alter(broker.StreamOutcomes, func(c *jetstream.StreamConfig) { c.Subjects = []string{"elsewhere"} })
			taken := pool.Take(nil, 3)
			s.placeOne() // it is kept
			o, body := placed(t)
			if _, err := s.conn.Store(t.Context(), broker.Message{Subject: broker.RetrySubject(order.Payment, broker.TierNow), ID: o.ID, Data: body}); err != nil {
				t.Fatal(err)
			}
			pass(6 * time.Second)
			if unacked, _ := s.inHand("RETRY_PAYMENT", "payment-now"); unacked != 1 {
				t.Fatalf("%d retries in hand when the trouble begins, want 1: the test shows nothing", unacked)
			}
			for _, c := range taken {
				c.Release()
			}
			pass(time.Minute)
			d.wants(map[rejections.Kind]int{})
		})
	})
}

// A retry whose time has come, and that finds all slots taken that retries may have
// while fresh orders wait, is put off.
func TestRejections_OfARetryBeyondTheShare(t *testing.T) {
	for name, tt := range map[string]struct {
		strike func(pool *bulkhead.Bulkhead) // while the retry waits
		want   map[rejections.Kind]int
		detail string
	}{
		"no slot comes free": {
			strike: func(*bulkhead.Bulkhead) { pass(15 * time.Second) },
			want:   refused(rejections.Consumer, rejections.Full, 1), detail: "payment-t1: no slot of those that retries may have in time",
		},
		"the breaker opens": {
			strike: func(pool *bulkhead.Bulkhead) { pool.Force(bulkhead.Open) },
			want:   refused(rejections.Bulkhead, rejections.Breaker, 1), detail: "payment-t1: the breaker isn't closed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *shop) {
				pool, err := bulkhead.New(bulkhead.Config{Name: "payment", Slots: 4, Timeout: 2 * time.Second, Breaker: &bulkhead.BreakerConfig{}})
				if err != nil {
					t.Fatal(err)
				}
				d := s.takeDown()
				hung := make(chan struct{})
				t.Cleanup(func() { close(hung) })
				var (
					mu    sync.Mutex
					calls = make(map[string]int) // of the two that fail first
				)
				s.group(handle(func(_ context.Context, o order.Order) (order.Outcome, error) {
					mu.Lock()
					fails := len(calls) < 2
					if _, again := calls[o.ID]; fails || again {
						calls[o.ID]++
					}
					retry := calls[o.ID] > 1
					mu.Unlock()
					switch {
					case fails:
						return order.Outcome{}, errNo
					case retry:
						<-hung // a ghost
					default:
						time.Sleep(time.Second)
					}
					return authorized, nil
				}), func(c *consumer.Config, _ *bulkhead.Config) {
					c.Bulkhead, c.RetryShare, c.Rejections = pool, 1, d.Log
					c.Policy.Retry = []time.Duration{time.Second, time.Hour, time.Hour, time.Hour}
				})
				for range 100 {
					s.placeOne()
				}
				pass(3 * time.Second)
				tt.strike(pool)
				pass(100 * time.Millisecond)
				equal(t, "details", d.wants(tt.want), []string{tt.detail})
			})
		})
	}
}

func TestRejections_OfAnOrderTooLate(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		d := s.takeDown()
		for _, left := range []time.Duration{time.Second, time.Minute, time.Hour} {
			o, _ := placed(t)
			o.Deadline = time.Now().Add(left)
			body, err := o.Encode()
			if err != nil {
				t.Fatal(err)
			}
			s.place(o.ID, body)
		}
		pass(2 * time.Second)
		// One is too late, one would be for its retry; the third is just given up.
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) { return order.Outcome{}, errNo }),
			func(c *consumer.Config, _ *bulkhead.Config) {
				c.Rejections = d.Log
				c.Policy.Retry = []time.Duration{5 * time.Minute, 5 * time.Minute, 5 * time.Minute, 5 * time.Minute}
			})
		pass(30 * time.Minute)
		equal(t, "letters", len(s.letters()), 3)
		equal(t, "details", d.wants(refused(rejections.Consumer, rejections.Deadline, 2)), []string{errNo.Error(), "the order's deadline has passed"})
	})
}

func TestRejections_OfAPoison(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		d := s.takeDown()
		s.placeOne()
		s.suspect(3)
		s.group(handle(settles), func(c *consumer.Config, _ *bulkhead.Config) { c.Rejections = d.Log })
		pass(time.Minute)
		equal(t, "details", d.wants(refused(rejections.Consumer, rejections.Poison, 1)), []string{"the process ended 3 times while the order's handler ran"})
	})
}

// One that must run alone and can't is put off, and so is one that waited for it in
// vain.
func TestRejections_OfWhatCanNotRunBecauseOfASuspect(t *testing.T) {
	t.Run("the suspect, beside a ghost", func(t *testing.T) {
		bubble(t, func(t *testing.T, s *shop) {
			d := s.takeDown()
			brokertest.Provision(t, s.conn, planOf(order.Inventory))
			gate, end := consumer.NewGate(), make(chan struct{})
			t.Cleanup(func() { close(end) })
			s.group(handle(func(context.Context, order.Order) (order.Outcome, error) { <-end; return authorized, nil }),
				func(c *consumer.Config, b *bulkhead.Config) {
					c.Service, b.Name, c.Gate = order.Inventory, "inventory", gate
					c.Policy.Retry = nil
				})
			s.placeOne()
			s.suspect(1)
			pass(3 * time.Second)
			s.group(handle(settles), func(c *consumer.Config, _ *bulkhead.Config) { c.Gate, c.Rejections = gate, d.Log })
			pass(7 * time.Second) // now, and in 5 s
			d.wants(refused(rejections.Consumer, rejections.Alone, 2))
		})
	})
	t.Run("the one behind it", func(t *testing.T) {
		bubble(t, func(t *testing.T, s *shop) {
			d := s.takeDown()
			s.placeOne()
			s.suspect(1)
			s.placeOne()
			s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
				time.Sleep(8900 * time.Millisecond)
				return authorized, nil
			}), func(c *consumer.Config, b *bulkhead.Config) { b.Timeout, c.Rejections = 9*time.Second, d.Log })
			pass(100 * time.Millisecond)
			s.placeOne()
			pass(time.Minute)
			d.wants(refused(rejections.Consumer, rejections.Alone, 1))
			s.settled()
		})
	})
}

// A broker that keeps no records costs no order anything: each is handled at the
// very moment at which it is without a log.
func TestRejections_NeverDelayAnOrder(t *testing.T) {
	// play has every second of 40 orders come too late to a service of one slot.
	play := func(t *testing.T, open func(s *shop) *rejections.Log, check func(s *shop)) (handled []time.Duration) {
		bubble(t, func(t *testing.T, s *shop) {
			for i := range 40 {
				o, _ := placed(t)
				if i%2 == 0 {
					o.Deadline = time.Now().Add(time.Second)
				}
				body, err := o.Encode()
				if err != nil {
					t.Fatal(err)
				}
				s.place(o.ID, body)
			}
			pass(2 * time.Second)
			log, begin := open(s), time.Now()
			var mu sync.Mutex
			s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
				mu.Lock()
				handled = append(handled, time.Since(begin))
				mu.Unlock()
				time.Sleep(10 * time.Millisecond)
				return authorized, nil
			}), func(c *consumer.Config, b *bulkhead.Config) { b.Slots, c.Rejections = 1, log })
			pass(time.Minute)
			equal(t, "letters", len(s.letters()), 20)
			s.settled()
			check(s)
		})
		return handled
	}
	without := play(t, func(*shop) *rejections.Log { return nil }, func(*shop) {})
	equal(t, "orders handled without a log", len(without), 20)

	var d *takingDown
	for name, tt := range map[string]struct {
		open    func(s *shop) *rejections.Log
		dropped int
	}{
		"all is well": {func(s *shop) *rejections.Log { d = s.takeDown(); return d.Log }, 0},
		"the stream is gone": {func(s *shop) *rejections.Log {
			d = s.takeDown()
			if err := s.conn.JetStream().DeleteStream(context.Background(), broker.StreamRejections); err != nil {
				t.Fatal(err)
			}
			return d.Log
		}, 20},
		"nobody takes the subject": {func(s *shop) *rejections.Log {
			d = s.takeDown()
			s.alter(broker.StreamRejections, func(c *jetstream.StreamConfig) { c.Subjects = []string{"elsewhere"} })
			return d.Log
		}, 20},
		"the queue is full": {func(s *shop) *rejections.Log {
			d = &takingDown{shop: s, reg: prometheus.NewPedanticRegistry(), said: &events{}}
			d.Log = rejections.New(s.conn, rejections.Config{Log: zerolog.New(d.said), Metrics: rejections.NewMetrics(d.reg)}) // and nobody runs it
			for range 4096 {
				d.Note(rejections.Rejection{Where: rejections.Publisher, Reason: rejections.Full})
			}
			return d.Log
		}, 20},
	} {
		t.Run(name, func(t *testing.T) {
			handled := play(t, tt.open, func(s *shop) {
				want := fmt.Sprintf("# HELP watertight_rejections_dropped_total Rejections that are not on record, as they could not be stored in time.\n"+
					"# TYPE watertight_rejections_dropped_total counter\nwatertight_rejections_dropped_total %d\n", tt.dropped)
				if err := testutil.GatherAndCompare(d.reg, strings.NewReader(want), "watertight_rejections_dropped_total"); err != nil {
					t.Error(err)
				}
				if got := d.said.count("rejections.dropped"); (got > 0) != (tt.dropped > 0) || got > 2 {
					t.Errorf("events of dropped records: got %d of %d", got, tt.dropped)
				}
			})
			equal(t, "when orders were handled", handled, without)
		})
	}
}
