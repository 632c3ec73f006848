package broker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/order"
)

// A bubble's hours cost real time (the broker's own clocks tick through them),
// so that these tests keep orders for an hour, or a minute.
var hour = broker.TrimConfig{Keep: time.Hour}

// shop is a broker with small streams and one service, payment.
type shop struct {
	t    *testing.T
	b    *broker.Conn
	next int
}

func newShop(t *testing.T) *shop { return shopOn(t, brokertest.Start(t).Connect()) }

func shopOn(t *testing.T, b *broker.Conn) *shop {
	t.Helper()
	brokertest.Provision(t, b, broker.Plan{
		OrderBytes: 1 << 20,
		Services:   []broker.Service{{Name: order.Payment, AckWait: 30 * time.Second, FromStart: true}},
	})
	return &shop{t: t, b: b}
}

func (s *shop) store(subject string, bytes int) error {
	s.next++
	_, err := s.b.Store(context.Background(), broker.Message{Subject: subject, ID: fmt.Sprint(s.next), Data: make([]byte, bytes)})
	return err
}

func (s *shop) publish(subject string, n int) {
	s.t.Helper()
	for range n {
		if err := s.store(subject, 100); err != nil {
			s.t.Fatal(err)
		}
	}
}

// fill stores until the stream refuses, and returns how many it took.
func (s *shop) fill(subject string, bytes int) (n int) {
	s.t.Helper()
	for {
		err := s.store(subject, bytes)
		if errors.Is(err, broker.ErrFull) {
			return n
		}
		if err != nil {
			s.t.Fatal(err)
		}
		n++
	}
}

// settle acknowledges the next n messages of a durable.
func (s *shop) settle(stream, durable string, n int) {
	s.t.Helper()
	c, err := s.b.JetStream().Consumer(context.Background(), stream, durable)
	if err != nil {
		s.t.Fatal(err)
	}
	for n > 0 {
		batch, err := c.Fetch(min(n, 500), jetstream.FetchMaxWait(2*time.Second))
		if err != nil {
			s.t.Fatal(err)
		}
		got := 0
		for m := range batch.Messages() {
			if err := m.DoubleAck(context.Background()); err != nil {
				s.t.Fatal(err)
			}
			got++
		}
		if got == 0 {
			s.t.Fatalf("%s/%s has %d messages fewer than were to be settled", stream, durable, n)
		}
		n -= got
	}
}

func (s *shop) durable(stream string, cfg jetstream.ConsumerConfig) {
	s.t.Helper()
	if _, err := s.b.JetStream().CreateOrUpdateConsumer(context.Background(), stream, cfg); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) wantTrim(cfg broker.TrimConfig, want broker.Trimmed) {
	s.t.Helper()
	got, err := s.b.Trim(context.Background(), cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("Trim: -want +got\n%s", diff)
	}
}

func (s *shop) wantFirst(stream string, want uint64) {
	s.t.Helper()
	if got := state(s.t, s.b, stream).FirstSeq; got != want {
		s.t.Errorf("%s begins with %d, want %d", stream, got, want)
	}
}

func TestTrim_TakesWhatIsSettledAndOldEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		s.publish(broker.SubjectCreated, 5)
		time.Sleep(30 * time.Minute)
		s.publish(broker.SubjectCreated, 5)
		s.settle(broker.StreamOrders, "payment", 10)

		s.wantTrim(hour, broker.Trimmed{}) // none is old
		time.Sleep(30*time.Minute + time.Second)
		s.wantTrim(broker.TrimConfig{}, broker.Trimmed{}) // 72 h
		s.wantTrim(hour, broker.Trimmed{Orders: 5})
		s.wantFirst(broker.StreamOrders, 6)
		s.wantTrim(hour, broker.Trimmed{})
		time.Sleep(30 * time.Minute)
		s.wantTrim(hour, broker.Trimmed{Orders: 5})
		s.wantTrim(hour, broker.Trimmed{})

		s.publish(broker.SubjectCreated, 1)
		s.wantFirst(broker.StreamOrders, 11)
		s.settle(broker.StreamOrders, "payment", 1)
	})
}

func TestTrim_LeavesWhatADurableIsOwed(t *testing.T) {
	explicit := jetstream.ConsumerConfig{Durable: "accounting", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute}
	for name, tc := range map[string]struct {
		prepare func(*shop)
		first   uint64 // of 10 orders that payment has settled
		heldBy  string
	}{
		"one that lags": {func(s *shop) {
			s.durable(broker.StreamOrders, explicit)
			s.settle(broker.StreamOrders, "accounting", 6)
		}, 7, "ORDERS/accounting"},
		"one that is paused and has never read": {func(s *shop) {
			until := time.Now().Add(24 * time.Hour)
			c := explicit
			c.PauseUntil = &until
			s.durable(broker.StreamOrders, c)
		}, 1, "ORDERS/accounting"},
		"one without a running instance, which a program before us made: push": {func(s *shop) {
			c := explicit
			c.DeliverSubject = "accounting.orders"
			if _, err := s.b.JetStream().CreatePushConsumer(context.Background(), broker.StreamOrders, c); err != nil {
				s.t.Fatal(err)
			}
		}, 1, "ORDERS/accounting"},
		"one that acknowledges and isn't durable": {func(s *shop) {
			c := explicit
			c.Durable, c.Name, c.InactiveThreshold = "", "migration", 240*time.Hour
			s.durable(broker.StreamOrders, c)
		}, 1, "ORDERS/migration"},
		"one that has taken an early one and not settled it": {func(s *shop) {
			s.durable(broker.StreamOrders, explicit)
			c, err := s.b.JetStream().Consumer(context.Background(), broker.StreamOrders, "accounting")
			if err != nil {
				s.t.Fatal(err)
			}
			batch, err := c.Fetch(10, jetstream.FetchMaxWait(time.Second))
			if err != nil {
				s.t.Fatal(err)
			}
			n := 0
			for m := range batch.Messages() {
				if n++; n == 4 {
					continue
				}
				if err := m.DoubleAck(context.Background()); err != nil {
					s.t.Fatal(err)
				}
			}
		}, 4, "ORDERS/accounting"},
		"not one that reads a rare subject and has nothing to read": {func(s *shop) {
			c := explicit
			c.FilterSubjects = []string{"orders.canceled", "orders.confirmed"}
			s.durable(broker.StreamOrders, c)
		}, 11, ""},
		"not a viewer": {func(s *shop) {
			c, err := s.b.JetStream().OrderedConsumer(context.Background(), broker.StreamOrders, jetstream.OrderedConsumerConfig{})
			if err != nil {
				s.t.Fatal(err)
			}
			if _, err := c.Next(jetstream.FetchMaxWait(time.Second)); err != nil {
				s.t.Fatal(err)
			}
		}, 11, ""},
		"not one that begins with the next order": {func(s *shop) {
			c := explicit
			c.DeliverPolicy = jetstream.DeliverNewPolicy
			s.durable(broker.StreamOrders, c)
		}, 11, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t)
				s.publish(broker.SubjectCreated, 10)
				s.settle(broker.StreamOrders, "payment", 10)
				tc.prepare(s)
				time.Sleep(2 * time.Minute)
				s.wantTrim(broker.TrimConfig{Keep: time.Minute}, broker.Trimmed{Orders: tc.first - 1, HeldBy: tc.heldBy})
				s.wantFirst(broker.StreamOrders, tc.first)
			})
		})
	}
}

func TestTrim_ARareSubjectIsOwedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		s.durable(broker.StreamOrders, jetstream.ConsumerConfig{
			Durable: "refunds", FilterSubject: "orders.canceled", AckPolicy: jetstream.AckExplicitPolicy,
		})
		s.publish(broker.SubjectCreated, 3)
		s.publish("orders.canceled", 1)
		s.publish(broker.SubjectCreated, 3)
		s.settle(broker.StreamOrders, "payment", 6)
		time.Sleep(2 * time.Minute)
		s.wantTrim(broker.TrimConfig{Keep: time.Minute}, broker.Trimmed{Orders: 3, HeldBy: "ORDERS/refunds"})
		s.settle(broker.StreamOrders, "refunds", 1)
		s.wantTrim(broker.TrimConfig{Keep: time.Minute}, broker.Trimmed{Orders: 4})
	})
}

func TestTrim_NothingGoesWhileNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.Start(t).Connect()
		brokertest.Provision(t, b, broker.Plan{OrderBytes: 1 << 20})
		s := &shop{t: t, b: b}
		s.fill(broker.SubjectCreated, 10<<10)
		time.Sleep(2 * time.Minute)
		s.wantTrim(broker.TrimConfig{Keep: time.Minute}, broker.Trimmed{})
		s.wantFirst(broker.StreamOrders, 1)
	})
}

func TestTrim_AFullStreamHasRoomAgainAndNoMoreThanThat(t *testing.T) {
	s := newShop(t)
	n := s.fill(broker.SubjectCreated, 1000)
	s.wantTrim(broker.TrimConfig{}, broker.Trimmed{HeldBy: "ORDERS/payment"}) // a backlog: nothing to free
	if err := s.store(broker.SubjectCreated, 1000); !errors.Is(err, broker.ErrFull) {
		t.Fatalf("Store into a stream full of backlog = %v, want %v", err, broker.ErrFull)
	}

	s.settle(broker.StreamOrders, "payment", n)
	got, err := s.b.Trim(t.Context(), broker.TrimConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if fifth := uint64(n / 5); got.Orders < fifth || got.Orders > fifth+2 {
		t.Errorf("Trim took %d of %d orders, want a fifth: %d", got.Orders, n, fifth)
	}
	for range n / 5 {
		if err := s.store(broker.SubjectCreated, 1000); err != nil {
			t.Fatalf("Store into a trimmed stream: %v", err)
		}
	}
}

func TestTrim_TakesOutcomesAfterTheirOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		authorized := broker.OutcomeSubject(order.Payment, order.Authorized)
		s.publish(broker.SubjectCreated, 4)
		time.Sleep(10 * time.Second)
		s.publish(authorized, 3) // the fourth order is sent to a retry
		s.settle(broker.StreamOrders, "payment", 4)
		time.Sleep(30 * time.Minute)
		s.publish(broker.SubjectCreated, 2)
		time.Sleep(10 * time.Second)
		s.publish(authorized, 1) // late
		time.Sleep(30 * time.Minute)
		s.settle(broker.StreamOrders, "payment", 1)

		s.wantTrim(hour, broker.Trimmed{Orders: 4, Outcomes: 3})
		time.Sleep(2 * time.Hour)
		// The late outcome is old enough; orders of its time are still there.
		s.wantTrim(hour, broker.Trimmed{Orders: 1, HeldBy: "ORDERS/payment"})
		s.wantFirst(broker.StreamOutcomes, 4)
		s.settle(broker.StreamOrders, "payment", 1)
		s.wantTrim(hour, broker.Trimmed{Orders: 1, Outcomes: 1})
	})
}

func TestTrim_LeavesOutcomesThatAReaderIsOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		s.durable(broker.StreamOutcomes, jetstream.ConsumerConfig{Durable: "tracker", AckPolicy: jetstream.AckExplicitPolicy})
		s.publish(broker.SubjectCreated, 4)
		s.publish(broker.OutcomeSubject(order.Payment, order.Refused), 4)
		s.settle(broker.StreamOrders, "payment", 4)
		s.settle(broker.StreamOutcomes, "tracker", 1)
		time.Sleep(2 * time.Minute)
		s.wantTrim(broker.TrimConfig{Keep: time.Minute}, broker.Trimmed{Orders: 4, Outcomes: 1, HeldBy: "OUTCOMES/tracker"})
		s.settle(broker.StreamOutcomes, "tracker", 3)
		s.wantTrim(broker.TrimConfig{Keep: time.Minute}, broker.Trimmed{Outcomes: 3})
	})
}

// The orders have room; their outcomes haven't, and can go only after them.
func TestTrim_FullOutcomesTakeTheirOrdersWithThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		authorized := broker.OutcomeSubject(order.Payment, order.Authorized)
		n := 0
		for ; ; n++ {
			if err := s.store(broker.SubjectCreated, 100); err != nil {
				t.Fatal(err)
			}
			s.settle(broker.StreamOrders, "payment", 1)
			if err := s.store(authorized, 20<<10); errors.Is(err, broker.ErrFull) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
		}
		got, err := s.b.Trim(t.Context(), broker.TrimConfig{})
		if err != nil {
			t.Fatal(err)
		}
		if fifth := uint64(n / 5); got.Outcomes < fifth || got.Outcomes > fifth+2 || got.Orders < got.Outcomes || got.Orders > got.Outcomes+1 {
			t.Errorf("Trim = %+v of %d, want a fifth of the outcomes (%d), and their orders", got, n, fifth)
		}
		if err := s.store(authorized, 20<<10); err != nil {
			t.Errorf("Store of an outcome after Trim: %v", err)
		}
	})
}

// A durable whose leader doesn't answer may be owed anything.
func TestTrim_TakesNothingWhenADurableDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := brokertest.StartUsers(t, map[string][]string{"all": nil, "deaf": {"$JS.API.CONSUMER.INFO.ORDERS.payment"}})
		s := shopOn(t, srv.Connect(nats.UserInfo("all", "all")))
		s.durable(broker.StreamOrders, jetstream.ConsumerConfig{Durable: "accounting", AckPolicy: jetstream.AckExplicitPolicy})
		s.publish(broker.SubjectCreated, 4)
		s.settle(broker.StreamOrders, "accounting", 4)
		time.Sleep(2 * time.Minute)

		got, err := srv.Connect(nats.UserInfo("deaf", "deaf")).Trim(t.Context(), broker.TrimConfig{Keep: time.Minute})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(fmt.Sprint(err), "ORDERS/payment") {
			t.Errorf("Trim = %v, want %v that names ORDERS/payment", err, context.DeadlineExceeded)
		}
		if got != (broker.Trimmed{}) {
			t.Errorf("Trim = %+v, want nothing taken", got)
		}
		s.wantFirst(broker.StreamOrders, 1)
	})
}

func TestTrim_SeveralAtOnceTakeItOnce(t *testing.T) {
	s := newShop(t)
	n := s.fill(broker.SubjectCreated, 1000)
	s.settle(broker.StreamOrders, "payment", n)
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex
		sum uint64
	)
	for range 4 {
		wg.Go(func() {
			got, err := s.b.Trim(context.Background(), broker.TrimConfig{})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			sum += got.Orders
		})
	}
	wg.Wait()
	if first := state(t, s.b, broker.StreamOrders).FirstSeq; first != sum+1 {
		t.Errorf("%d orders were reported as taken, and the stream begins with %d", sum, first)
	}
	if fifth := uint64(n / 5); sum < fifth || sum > fifth+2 {
		t.Errorf("four programs took %d of %d orders, want a fifth: %d", sum, n, fifth)
	}
}

func TestTrim_SaysThatAStreamIsMissing(t *testing.T) {
	b := brokertest.Start(t).Connect()
	if _, err := b.Trim(t.Context(), broker.TrimConfig{}); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("Trim on an empty broker = %v, want %v", err, jetstream.ErrStreamNotFound)
	}
}

func TestKeepTrimmed_GoesOnAfterTheBrokerWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := brokertest.Start(t)
		s := shopOn(t, srv.Connect())
		s.publish(broker.SubjectCreated, 3)
		s.settle(broker.StreamOrders, "payment", 3)
		time.Sleep(2 * time.Minute)

		type report struct {
			Orders uint64
			Failed bool
		}
		var reports []report
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- s.b.KeepTrimmed(ctx, time.Minute, broker.TrimConfig{Keep: time.Minute}, func(t broker.Trimmed, err error) {
				reports = append(reports, report{t.Orders, err != nil})
			})
		}()
		time.Sleep(30 * time.Second)
		srv.Stop()
		time.Sleep(time.Minute)
		srv.Restart()
		time.Sleep(2 * time.Second)
		s.publish(broker.SubjectCreated, 2)
		s.settle(broker.StreamOrders, "payment", 2)
		time.Sleep(4 * time.Minute)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("KeepTrimmed = %v after its context ended, want nil", err)
		}
		want := []report{{3, false}, {0, true}, {2, false}}
		if diff := cmp.Diff(want, reports); diff != "" {
			t.Errorf("reports: -want +got\n%s", diff)
		}
	})
}

func TestKeepTrimmed_RefusesNoTimeBetweenPasses(t *testing.T) {
	b := brokertest.Start(t).Connect()
	if err := b.KeepTrimmed(t.Context(), 0, broker.TrimConfig{}, nil); err == nil {
		t.Error("KeepTrimmed every 0 s = nil, want an error")
	}
}
