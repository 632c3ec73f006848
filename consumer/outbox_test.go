package consumer_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

// packs lists the messages of OUTCOMES: their results, and how many outcomes are in
// each.
func (s *shop) packs() map[string][]int {
	s.t.Helper()
	st, err := s.conn.JetStream().Stream(context.Background(), broker.StreamOutcomes)
	if err != nil {
		s.t.Fatal(err)
	}
	sizes := make(map[string][]int)
	for seq := uint64(1); seq <= st.CachedInfo().State.LastSeq; seq++ {
		m, err := st.GetMsg(context.Background(), seq)
		if err != nil {
			s.t.Fatal(err)
		}
		all, err := broker.Outcomes(m.Header, m.Data)
		if err != nil {
			s.t.Fatal(err)
		}
		_, result, _ := broker.SplitOutcome(m.Subject)
		sizes[string(result)] = append(sizes[string(result)], len(all))
	}
	return sizes
}

// account audits payment.
func (s *shop) account() audit.Account {
	s.t.Helper()
	report, err := audit.Run(context.Background(), s.conn, []order.Service{order.Payment})
	if err != nil {
		s.t.Fatal(err)
	}
	return report.Services[0]
}

// While an outcome is being stored, those of other slots gather, by result.
func TestGroup_OutcomesThatWaitGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := brokertest.Start(t)
		conn := server.Connect()
		brokertest.Provision(t, conn, brokertest.Plan())
		s := &shop{t: t, conn: conn, desk: deadletter.New(conn, "tester")}
		var handled atomic.Int64
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			n := handled.Add(1)
			time.Sleep(time.Second + time.Duration(n)*time.Millisecond)
			if n > 1 && n%2 == 1 {
				return order.Outcome{Result: order.Refused, Reason: "card declined"}, nil
			}
			return authorized, nil
		}), func(c *consumer.Config, b *bulkhead.Config) { b.Slots = 9 })
		for range 9 {
			s.placeOne()
		}
		pass(100 * time.Millisecond)
		server.Stop()
		pass(2 * time.Second)
		server.Restart()
		pass(time.Minute)

		equal(t, "messages", s.packs(), map[string][]int{"authorized": {1, 4}, "refused": {4}})
		equal(t, "account", s.account(), audit.Account{Service: order.Payment, Accepted: 9, Done: 9})
		equal(t, "handled", handled.Load(), 9)
		s.settled()
	})
}

// What is handled and not on record is one order a slot; only quick handlers go on, for a
// bounded number of orders.
func TestGroup_HandlesNoMoreThanIsBoundedBeyondWhatIsStored(t *testing.T) {
	for name, c := range map[string]struct {
		took time.Duration
		most int64
	}{
		"10 µs": {10 * time.Microsecond, 4 + 256},
		"1 ms":  {time.Millisecond, 4},
		"50 ms": {50 * time.Millisecond, 4},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *shop) {
				for range 700 {
					s.placeOne()
				}
				var handled atomic.Int64
				s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
					time.Sleep(c.took)
					handled.Add(1)
					return authorized, nil
				}), nil)
				pass(75*c.took + c.took/2)
				s.alter(broker.StreamOutcomes, func(c *jetstream.StreamConfig) { c.Subjects = []string{"elsewhere"} })
				before := handled.Load()
				pass(4 * time.Second) // it hasn't given up yet
				if more := handled.Load() - before; before < 290 || more > c.most || more < c.most-1 {
					t.Errorf("%d orders handled, then %d more while nothing could be stored; want 300 and at most %d", before, more, c.most)
				}
				s.alter(broker.StreamOutcomes, func(c *jetstream.StreamConfig) { c.Subjects = []string{"outcomes.*.*"} })
				pass(10 * time.Minute)
				equal(t, "account", s.account(), audit.Account{Service: order.Payment, Accepted: 700, Done: 700})
			})
		})
	}
}

// An order that two attempts settle at once, of a retry that runs and was also sent now,
// is one outcome.
func TestGroup_TheSameOrderTwiceIsOneOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := brokertest.Start(t)
		s := shopOn(t, server)
		origin := nats.Header{"Origin-Stream": {broker.StreamOrders}, "Origin-Seq": {"7"}, "Origin-Subject": {broker.SubjectCreated}}
		var handled atomic.Int64
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			time.Sleep(time.Second + time.Duration(handled.Add(1))*time.Millisecond)
			return authorized, nil
		}), func(c *consumer.Config, _ *bulkhead.Config) { c.RetryShare = 2 })
		s.placeOne() // its outcome is under way when the others come
		pass(10 * time.Millisecond)
		_, body := placed(t)
		for _, tier := range []string{"t1", broker.TierNow} {
			m := &nats.Msg{Subject: broker.RetrySubject(order.Payment, tier), Header: origin, Data: body}
			if _, err := s.conn.JetStream().PublishMsg(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		pass(100 * time.Millisecond)
		server.Stop()
		pass(2 * time.Second)
		server.Restart()
		pass(time.Minute)

		equal(t, "handled", handled.Load(), 3)
		equal(t, "messages", s.packs(), map[string][]int{"authorized": {1, 1}})
		s.nothingHeld("t1")
		s.nothingHeld(broker.TierNow)
	})
}

// A handler that answers what can't be stored has failed; the others' are stored.
func TestGroup_AnOutcomeThatCannotBeStoredIsAFailure(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		bad := map[string]order.Outcome{ // by what is said of them
			"the reference is not UTF-8":      {Result: order.Authorized, Ref: "\xff"},
			"the reason is not UTF-8":         {Result: order.Refused, Reason: "\xff"},
			"the reason has 1025 bytes":       {Result: order.Refused, Reason: strings.Repeat("x", 1025)},
			"the reference has 257 bytes":     {Result: order.Authorized, Ref: strings.Repeat("x", 257)},
			`"blessed" is no result`:          {Result: "blessed"},
			`"" is no result`:                 {},
			`"pending" is not a final result`: {Result: order.Pending},
		}
		says := make(map[string]string) // by order
		for text := range bad {
			says[s.placeOne().ID] = text
		}
		good := s.placeOne()
		g, _ := s.group(handle(func(_ context.Context, o order.Order) (order.Outcome, error) {
			if o.ID != good.ID {
				return bad[says[o.ID]], nil
			}
			return authorized, nil
		}), nil)
		pass(time.Hour)
		letters := s.letters()
		equal(t, "letters", len(letters), len(bad))
		for _, l := range letters {
			if want := says[l.Hop.OrderID]; l.Reason != deadletter.Exhausted || !strings.Contains(l.Error, want) {
				t.Errorf("%s: %s; want exhausted: %s", l.Reason, l.Error, want)
			}
		}
		equal(t, "stored", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 1})
		if err := g.Check(); err != nil {
			t.Errorf("Check() = %v, want nil", err)
		}
	})
}
