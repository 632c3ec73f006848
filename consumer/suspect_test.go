package consumer_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

// processes is a shop whose groups run in processes that can be killed.
type processes struct {
	*shop
	server *brokertest.Server
	end    chan struct{} // lets handlers of dead processes return
	worker *shop         // with permissions of its own: see newGuarded
	denied string        // the subject that it may not publish to
}

func newProcesses(t *testing.T) *processes {
	server := brokertest.Start(t)
	s := &shop{t: t, conn: server.Connect()}
	s.desk = deadletter.New(s.conn, "tester")
	brokertest.Provision(t, s.conn, planOf(order.Payment))
	p := &processes{shop: s, server: server, end: make(chan struct{})}
	t.Cleanup(func() {
		close(p.end)
		pass(time.Second) // for what they do then
	})
	return p
}

// start runs a process of one group. Kill ends it the way SIGKILL does: nothing
// gets out of it any more.
func (p *processes) start(h consumer.Handler, change func(*consumer.Config, *bulkhead.Config)) (kill, stop func()) {
	p.t.Helper()
	one := &shop{t: p.t, conn: p.server.Connect()}
	_, stop = one.group(h, change)
	return one.conn.NATS().Close, stop
}

// marks lists the crash marks.
func (s *shop) marks() []string {
	s.t.Helper()
	kv, err := s.conn.JetStream().KeyValue(context.Background(), "suspects")
	if err != nil {
		s.t.Fatal(err)
	}
	keys, err := kv.Keys(context.Background())
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		s.t.Fatal(err)
	}
	return keys
}

// nak has the oldest order of payment delivered and handed back.
func (s *shop) nak() {
	s.t.Helper()
	c, err := s.conn.JetStream().Consumer(context.Background(), broker.StreamOrders, "payment")
	if err != nil {
		s.t.Fatal(err)
	}
	m, err := c.Next()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := m.Nak(); err != nil {
		s.t.Fatal(err)
	}
}

// suspect has the only order delivered twice, so that its third delivery makes it
// a suspect, and sets its mark.
func (s *shop) suspect(crashes int) {
	s.t.Helper()
	for range 2 {
		s.nak()
		pass(10 * time.Millisecond)
	}
	marks, err := s.conn.Suspects(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	if crashes > 0 {
		if err := marks.Raise(context.Background(), "payment.ORDERS.1", crashes); err != nil {
			s.t.Fatal(err)
		}
	}
}

func TestSuspect_WhatKillsItsProcessCostsOneOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcesses(t)
		var (
			poison  string
			crashes int
			beside  []int32 // how many ran beside the poison, each time
			killed  = make(chan int32, 1)
		)
		for i := range 30 {
			o := p.placeOne()
			if i == 7 {
				poison = o.ID
			}
		}
		for {
			var running atomic.Int32
			kill, _ := p.start(handle(func(_ context.Context, o order.Order) (order.Outcome, error) {
				others := running.Add(1) - 1
				defer running.Add(-1)
				if o.ID == poison {
					killed <- others
					<-p.end
				}
				time.Sleep(200 * time.Millisecond)
				return authorized, nil
			}), nil)
			select {
			case others := <-killed:
				kill()
				crashes++
				beside = append(beside, others)
				continue
			case <-time.After(10 * time.Minute):
			}
			break
		}
		equal(t, "crashes", crashes, 5)
		letters := p.letters()
		if len(letters) != 1 || letters[0].Hop.OrderID != poison {
			t.Fatalf("letters = %+v, want just that of the poison", letters)
		}
		equal(t, "reason", letters[0].Reason, deadletter.Poison)
		equal(t, "the last attempt", letters[0].Timeline[len(letters[0].Timeline)-1].Reason, "crash")
		// One whose acknowledgement a killed process kept back may be stored twice.
		account := p.account()
		equal(t, "done and dead", []int{account.Done, account.Dead, account.Lost}, []int{29, 1, 0})
		equal(t, "others beside it when it was known", beside[3:], []int32{0, 0})
		p.settled()
	})
}

// Six rolling restarts: what runs is handed back each time, and comes first the
// next time. None of it is to blame.
func TestSuspect_RollingRestartsBuryNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcesses(t)
		for range 200 {
			p.placeOne()
		}
		var most atomic.Int32
		for restart := range 7 {
			long := 3 * time.Second
			if restart == 6 {
				long = 10 * time.Millisecond
			}
			_, stop := p.start(handle(func(ctx context.Context, _ order.Order) (order.Outcome, error) {
				select {
				case <-time.After(long):
				case <-p.end:
				}
				return authorized, nil
			}), func(c *consumer.Config, b *bulkhead.Config) {
				b.Slots, b.Timeout, c.Drain = 16, 5*time.Second, 100*time.Millisecond
			})
			pass(time.Second)
			most.Store(max(most.Load(), int32(p.mostDelivered())))
			if restart < 6 {
				stop()
			}
		}
		pass(time.Minute)
		if most.Load() < 3 {
			t.Errorf("no order was delivered more than %d times: the test shows nothing", most.Load())
		}
		equal(t, "letters", len(p.letters()), 0)
		equal(t, "outcomes", p.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 200})
		equal(t, "marks that stay", len(p.marks()), 0)
		p.settled()
	})
}

// mostDelivered is how many more deliveries than messages the durable made.
func (s *shop) mostDelivered() int {
	s.t.Helper()
	c, err := s.conn.JetStream().Consumer(context.Background(), broker.StreamOrders, "payment")
	if err != nil {
		s.t.Fatal(err)
	}
	info := c.CachedInfo()
	return int(info.Delivered.Consumer) / max(1, int(info.Delivered.Stream)) // all of one batch come again together
}

// A flooded service hands its retries back for want of a slot, again and again.
// That makes suspects of them, and must not cost a neighbour in the same process
// anything.
func TestSuspect_HandBacksOfAFloodedServiceCostItsNeighbourNothing(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		brokertest.Provision(t, s.conn, planOf(order.Notification))
		gate := consumer.NewGate()
		s.group(handle(func(ctx context.Context, _ order.Order) (order.Outcome, error) {
			<-ctx.Done()
			return order.Outcome{}, context.Cause(ctx)
		}), func(c *consumer.Config, b *bulkhead.Config) {
			b.Slots, b.Timeout, c.Gate = 1, 10*time.Second, gate
			c.Settle = time.Second
			c.Policy.Retry = []time.Duration{time.Second, time.Second, time.Second, time.Second}
		})
		var slow atomic.Int32
		var mails atomic.Int32
		s.group(handle(func(_ context.Context, o order.Order) (order.Outcome, error) {
			mails.Add(1)
			if at, err := time.Parse(time.RFC3339Nano, o.Note); err != nil || time.Since(at) > 50*time.Millisecond {
				slow.Add(1)
			}
			return order.Outcome{Result: order.Sent}, nil
		}), func(c *consumer.Config, b *bulkhead.Config) {
			c.Service, b.Name, c.Gate = order.Notification, "notification", gate
		})
		for range 300 {
			o, _ := placed(t)
			o.Note = time.Now().Format(time.RFC3339Nano)
			body, err := o.Encode()
			if err != nil {
				t.Fatal(err)
			}
			s.place(o.ID, body)
			pass(time.Second)
		}
		suspects := 0
		kv, err := s.conn.JetStream().KeyValue(context.Background(), "suspects")
		if err != nil {
			t.Fatal(err)
		}
		if st, err := kv.Status(context.Background()); err == nil {
			suspects = int(st.Values())
		}
		if suspects == 0 {
			t.Error("no order became a suspect: the test shows nothing")
		}
		equal(t, "mails", mails.Load(), 300)
		equal(t, "mails later than 50 ms", slow.Load(), 0)
	})
}

func TestSuspect_OnlyAMarkOfThreeBuriesUnrun(t *testing.T) {
	for name, tt := range map[string]struct {
		crashes int
		runs    int
	}{
		"delivered often, no mark": {0, 1},
		"a process ended once":     {1, 1},
		"twice":                    {2, 1},
		"three times":              {3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *shop) {
				s.placeOne()
				s.suspect(tt.crashes)
				runs := 0
				s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
					runs++
					equal(t, "marks while it runs", s.marks(), []string{"payment.ORDERS.1"})
					return authorized, nil
				}), nil)
				pass(time.Minute)
				equal(t, "runs", runs, tt.runs)
				equal(t, "letters", len(s.letters()), 1-tt.runs)
				if tt.runs == 1 {
					equal(t, "marks afterwards", len(s.marks()), 0)
				}
				s.settled()
			})
		})
	}
}

// However an attempt ends, when the process has survived it there was no crash.
func TestSuspect_AnEndThatIsNoCrashClearsTheMark(t *testing.T) {
	release := func(t *testing.T) chan struct{} {
		c := make(chan struct{})
		t.Cleanup(func() { close(c) })
		return c
	}
	for name, handler := range map[string]func(t *testing.T) handle{
		"an error": func(*testing.T) handle {
			return func(context.Context, order.Order) (order.Outcome, error) { return order.Outcome{}, errors.New("no") }
		},
		"a panic": func(*testing.T) handle {
			return func(context.Context, order.Order) (order.Outcome, error) { panic("no") }
		},
		"a timeout, and a ghost": func(t *testing.T) handle {
			end := release(t)
			return func(context.Context, order.Order) (order.Outcome, error) { <-end; return authorized, nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *shop) {
				s.placeOne()
				s.suspect(1)
				s.group(handler(t), func(c *consumer.Config, _ *bulkhead.Config) { c.Policy.Retry = nil })
				pass(time.Minute)
				equal(t, "marks", len(s.marks()), 0)
				letters := s.letters()
				if len(letters) != 1 || letters[0].Reason != deadletter.Exhausted {
					t.Errorf("letters = %+v, want one, exhausted", letters)
				}
			})
		})
	}
	t.Run("handed back by a restart", func(t *testing.T) {
		bubble(t, func(t *testing.T, s *shop) {
			s.placeOne()
			s.suspect(2)
			end := release(t)
			_, stop := s.group(handle(func(context.Context, order.Order) (order.Outcome, error) { <-end; return authorized, nil }),
				func(c *consumer.Config, _ *bulkhead.Config) { c.Drain = 100 * time.Millisecond })
			pass(time.Second)
			stop()
			equal(t, "marks", len(s.marks()), 0)
			s.group(handle(settles), nil)
			pass(time.Second)
			s.settled()
		})
	})
}

// A mark that can't be kept is no reason to run a suspect unmarked, nor to bury it.
func TestSuspect_WithoutItsMarkIsNotRunAndNotBuried(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		s.placeOne()
		s.suspect(0)
		js := s.conn.JetStream()
		marks, err := js.Stream(t.Context(), broker.StreamSuspects)
		if err != nil {
			t.Fatal(err)
		}
		cfg := marks.CachedInfo().Config
		cfg.Subjects = []string{"$KV.suspects.none"}
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		runs := 0
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			runs++
			return authorized, nil
		}), nil)
		pass(10 * time.Minute)
		equal(t, "runs while the mark can't be kept", runs, 0)
		equal(t, "letters", len(s.letters()), 0)
		cfg.Subjects = []string{"$KV.suspects.>"}
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Minute)
		equal(t, "runs afterwards", runs, 1)
		s.settled()
	})
}

// A suspect waits for a neighbour's ghost, which may be what takes the process
// down; but not for ever.
func TestSuspect_WaitsAMinuteForAGhost(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		brokertest.Provision(t, s.conn, planOf(order.Notification))
		brokertest.Provision(t, s.conn, planOf(order.Inventory))
		gate, end := consumer.NewGate(), make(chan struct{})
		t.Cleanup(func() { close(end) })
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) { <-end; return authorized, nil }),
			func(c *consumer.Config, b *bulkhead.Config) {
				c.Service, b.Name, c.Gate = order.Inventory, "inventory", gate
				c.Policy.Retry = nil
			})
		var mails atomic.Int32
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			mails.Add(1)
			return order.Outcome{Result: order.Sent}, nil
		}), func(c *consumer.Config, b *bulkhead.Config) {
			c.Service, b.Name, c.Gate = order.Notification, "notification", gate
		})
		s.placeOne()
		s.suspect(1)
		pass(3 * time.Second) // the ghost is one
		begin := time.Now()
		var waited time.Duration
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			waited = time.Since(begin)
			return authorized, nil
		}), func(c *consumer.Config, _ *bulkhead.Config) { c.Gate = gate })
		for n := range int32(3) {
			equal(t, "mails, meanwhile at once", mails.Load(), n+1)
			s.placeOne()
			pass(100 * time.Millisecond)
		}
		pass(3 * time.Minute)
		if waited < 50*time.Second || waited > 80*time.Second {
			t.Errorf("the suspect ran after %v, want a minute after the ghost began", waited)
		}
		s.settled()
	})
}

func TestRun_RefusesABrokerWithoutAPlaceForMarks(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		if err := s.conn.JetStream().DeleteStream(t.Context(), broker.StreamSuspects); err != nil {
			t.Fatal(err)
		}
		pool, err := bulkhead.New(bulkhead.Config{Name: "payment", Slots: 1, Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		g, err := consumer.New(s.conn, consumer.Config{Service: order.Payment, Handler: handle(settles), Bulkhead: pool})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "provision it first") {
			t.Errorf("Run = %v, want to be told to provision", err)
		}
	})
}
