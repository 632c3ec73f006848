package audit_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/order"
)

// onlyPayment is brokertest.Plan with one service.
func onlyPayment() broker.Plan {
	p := brokertest.Plan()
	p.Services = p.Services[:1]
	return p
}

// watch begins to watch; told stops it and returns what it told.
func (s *shop) watch(p broker.Plan) (told func() []string) {
	s.t.Helper()
	heard := &story{begin: time.Now(), now: time.Now}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- audit.Watch(ctx, s.conn, p, heard) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("Watch: %v", err)
		}
	})
	s.t.Cleanup(stop)
	return func() []string {
		stop()
		return heard.lines
	}
}

// tells fails the test unless that was told.
func tells(t *testing.T, told func() []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, told()); diff != "" {
		t.Errorf("alarms (-want +got):\n%s", diff)
	}
}

// hand takes one message of a durable, as somebody does who isn't a group.
func (s *shop) hand(stream, durable string) jetstream.Msg {
	s.t.Helper()
	c, err := s.conn.JetStream().Consumer(context.Background(), stream, durable)
	if err != nil {
		s.t.Fatal(err)
	}
	batch, err := c.Fetch(1)
	if err != nil {
		s.t.Fatal(err)
	}
	m := <-batch.Messages()
	if m == nil {
		s.t.Fatalf("%s/%s has no message: %v", stream, durable, batch.Error())
	}
	return m
}

// The ack wait is 30 s.
func TestWatch_TellsOfOrdersThatNobodyTakes(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		plan := brokertest.Plan()
		plan.Services = []broker.Service{plan.Services[0], plan.Services[1]}
		told := s.watch(plan)
		pass(20 * time.Second)
		s.place(pays)
		for range 10 { // another service takes them, and has one left
			s.place(pays)
			if err := s.hand(broker.StreamOrders, "inventory").Ack(); err != nil {
				t.Fatal(err)
			}
			pass(30 * time.Second)
		}
		s.open(fourTiers)
		pass(time.Minute)
		tells(t, told, "2m0s raised stranded ORDERS/payment", "5m30s cleared stranded ORDERS/payment, since 30s")
	})
}

func TestWatch_TellsOfAnOrderThatIsKept(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		s.place(pays)
		m := s.hand(broker.StreamOrders, "payment")
		s.open(fourTiers)
		told := s.watch(onlyPayment())
		for range 30 { // others are settled meanwhile
			pass(10 * time.Second)
			s.place(pays)
			if err := m.InProgress(); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Ack(); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		tells(t, told, "1m30s raised stranded ORDERS/payment", "5m15s cleared stranded ORDERS/payment, since 0s")
	})
}

func TestWatch_TellsOfOverdueRetries(t *testing.T) {
	for name, tiers := range map[string]int{
		"of a tier of the plan":                               len(fourTiers),
		"of one that a former plan had, and nobody works off": 1,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *shop) {
				hop := of(1, 0)
				hop.RetryDelay = time.Hour
				s.store(broker.RetrySubject(order.Payment, "t1"), hop) // not due
				hop.RetryDelay = 10 * time.Minute
				s.store(broker.RetrySubject(order.Payment, "t4"), hop)
				plan := onlyPayment()
				plan.Services[0].Tiers = tiers
				told := s.watch(plan)
				pass(20 * time.Minute)
				if err := s.hand("RETRY_PAYMENT", "payment-t4").DoubleAck(t.Context()); err != nil {
					t.Fatal(err)
				}
				pass(time.Minute)
				tells(t, told, "11m30s raised overdue RETRY_PAYMENT/payment-t4", "20m15s cleared overdue RETRY_PAYMENT/payment-t4, since 10m0s")
			})
		})
	}
}

func TestWatch_TellsOfDrift(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		told := s.watch(onlyPayment())
		pass(time.Second)
		js := s.conn.JetStream()
		d, err := js.Consumer(t.Context(), broker.StreamOrders, "payment")
		if err != nil {
			t.Fatal(err)
		}
		cfg := d.CachedInfo().Config
		cfg.AckWait = time.Second
		if _, err := js.UpdateConsumer(t.Context(), broker.StreamOrders, cfg); err != nil {
			t.Fatal(err)
		}
		if err := js.DeleteConsumer(t.Context(), "RETRY_PAYMENT", "payment-now"); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if _, err := s.conn.Provision(t.Context(), onlyPayment(), true); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		tells(t, told,
			"15s raised drifted", "15s raised missing RETRY_PAYMENT/payment-now",
			"1m15s cleared drifted, since 15s", "1m15s cleared missing RETRY_PAYMENT/payment-now, since 15s")
	})
}

func TestWatch_TellsOfAStreamThatIsNearlyFull(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		plan := onlyPayment()
		plan.OrderBytes = 1 << 20
		if _, err := s.conn.Provision(t.Context(), plan, true); err != nil {
			t.Fatal(err)
		}
		told := s.watch(plan)
		pass(time.Second)
		body := make([]byte, 100_000)
		for range 9 { // 86 %; the rejections are a ring, and full
			if _, err := s.conn.JetStream().Publish(t.Context(), broker.DeadSubject(order.Payment, "invalid"), body); err != nil {
				t.Fatal(err)
			}
			if _, err := s.conn.JetStream().Publish(t.Context(), "rejections.frontdoor.full", body[:10_000]); err != nil {
				t.Fatal(err)
			}
		}
		pass(time.Minute)
		letters, err := s.conn.JetStream().Stream(t.Context(), broker.StreamDeadLetters)
		if err != nil {
			t.Fatal(err)
		}
		for seq := range uint64(2) {
			if err := letters.DeleteMsg(t.Context(), seq+1); err != nil {
				t.Fatal(err)
			}
		}
		pass(time.Minute)
		tells(t, told, "15s raised full DLQ", "1m15s cleared full DLQ, since 15s")
	})
}

func TestWatch_TellsOfASilentBroker(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		told := s.watch(onlyPayment())
		pass(time.Second)
		s.server.Stop()
		pass(10 * time.Minute)
		s.server.Restart()
		pass(10 * time.Second) // the question is sent again when the connection is back
		lines := told()
		if len(lines) != 2 || lines[0] != "1m0s raised silent" || !strings.HasSuffix(lines[1], " cleared silent, since 0s") {
			t.Errorf("alarms: got %q, want silent after a minute, and the end of it", lines)
		}
	})
}

// fourTiers are as many as the plan has.
var fourTiers = []time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute}

// A day of a shop: orders come, fail and come back, an operator pauses the service
// for an hour, the broker and the service are restarted.
func TestWatch_RaisesNoFalseAlarm(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		// Few lanes: it is their heartbeats that take the time of this test.
		plan, ladder := onlyPayment(), []time.Duration{10 * time.Minute}
		plan.Services[0].Tiers = len(ladder)
		told := s.watch(plan)
		stop := s.open(ladder)
		hours := func(n int) {
			for i := range n * 4 {
				s.place([]string{pays, shaky, rejected, declined}[i%4])
				pass(15 * time.Minute)
			}
		}
		hours(2)
		pass(2 * time.Hour) // nothing happens
		until := time.Now().Add(time.Hour)
		if _, err := s.conn.Pause(t.Context(), order.Payment, until); err != nil {
			t.Fatal(err)
		}
		hours(2)
		s.server.Restart()
		hours(1)
		stop()
		pass(time.Minute)
		s.open(ladder)
		hours(2)
		tells(t, told)
	})
}

// A service whose other side fails in the slowest way: its few slots, or the probes
// of its open breaker, go to one lane after the other, and a lane may wait long for
// its turn.
func TestWatch_AServiceThatStrugglesIsNoAlarm(t *testing.T) {
	for name, size := range map[string]bulkhead.Config{
		"with a breaker":    {Slots: 16, Breaker: &bulkhead.BreakerConfig{}},
		"without a breaker": {Slots: 4},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *shop) {
				size.Name, size.Timeout = "payment", 9*time.Second // the ack wait allows for no more
				pool, err := bulkhead.New(size)
				if err != nil {
					t.Fatal(err)
				}
				defer pool.Close()
				down := handle(func(ctx context.Context, _ order.Order) (order.Outcome, error) {
					<-ctx.Done()
					return order.Outcome{}, ctx.Err()
				})
				g, err := consumer.New(s.conn, consumer.Config{Service: order.Payment, Handler: down, Policy: consumer.Policy{Retry: fourTiers}, Bulkhead: pool})
				if err != nil {
					t.Fatal(err)
				}
				for range 1000 {
					s.place(pays)
				}
				ctx, cancel := context.WithCancel(context.Background())
				ended := make(chan error, 1)
				go func() { ended <- g.Run(ctx) }()
				told := s.watch(onlyPayment())
				pass(time.Hour)
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if a := s.audit(); a.Waiting < 500 {
					t.Errorf("account: %+v, want that most still wait", a)
				}
				tells(t, told)
			})
		})
	}
}

type handle func(context.Context, order.Order) (order.Outcome, error)

func (h handle) Handle(ctx context.Context, o order.Order) (order.Outcome, error) { return h(ctx, o) }

func TestWatch_RefusesAPlanThatIsNotOne(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		p := onlyPayment()
		p.Services[0].AckWait = 0
		if err := audit.Watch(t.Context(), s.conn, p, &story{}); err == nil {
			t.Error("got nil, want an error")
		}
	})
}
