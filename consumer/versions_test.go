package consumer_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

// newerPlan is what a later version of the program might want: more of everything,
// and a service that the older one doesn't know.
func newerPlan() broker.Plan {
	p := brokertest.Plan()
	p.OrderBytes *= 2
	for i := range p.Services {
		p.Services[i].AckWait *= 2
		p.Services[i].Tiers += 2
	}
	p.Services = append(p.Services, broker.Service{Name: "loyalty", AckWait: time.Minute, FromStart: true})
	return p
}

// topology is all that is configured on the broker, by name.
func (s *shop) topology() map[string]any {
	s.t.Helper()
	all := make(map[string]any)
	names := s.conn.JetStream().StreamNames(s.t.Context())
	for name := range names.Name() {
		st, err := s.conn.JetStream().Stream(s.t.Context(), name)
		if err != nil {
			s.t.Fatal(err)
		}
		all[name] = st.CachedInfo().Config
		for c := range st.ListConsumers(s.t.Context()).Info() {
			all[name+"/"+c.Name] = c.Config
		}
	}
	if err := names.Err(); err != nil {
		s.t.Fatal(err)
	}
	return all
}

// An older program that starts beside a newer one, or after a rollback, reports
// what differs, changes none of it, and works.
func TestVersions_AnOlderProgramLeavesANewerTopologyAndWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := brokertest.Start(t).Connect()
		s := &shop{t: t, conn: conn, desk: deadletter.New(conn, "tester")}
		brokertest.Provision(t, conn, newerPlan())
		// What no version decides, and an operator has.
		s.alter(broker.StreamOrders, func(c *jetstream.StreamConfig) { c.Description, c.Metadata = "ours", map[string]string{"owner": "ops"} })
		before := s.topology()

		changes, err := conn.Provision(t.Context(), brokertest.Plan(), false)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			equal(t, "what is done about "+c.Name, c.Action, broker.Drifted)
		}
		if len(changes) == 0 {
			t.Error("no drift reported: the test shows nothing")
		}
		equal(t, "topology", s.topology(), before)

		calls := make(map[string]int)
		s.group(handle(func(_ context.Context, o order.Order) (order.Outcome, error) {
			if calls[o.ID]++; calls[o.ID] <= len(ladder) {
				return order.Outcome{}, errBusy
			}
			return authorized, nil
		}), func(_ *consumer.Config, b *bulkhead.Config) { b.Slots = 1 })
		for range 4 {
			s.placeOne()
		}
		pass(12 * time.Minute) // the whole ladder
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 4})
		s.settled()
	})
}

// Both versions take orders and each other's retries, whose times are those of the
// one that stored them, also those in a tier that the older one doesn't have.
func TestVersions_SideBySideKeepEachOthersTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := brokertest.Start(t).Connect()
		s := &shop{t: t, conn: conn, desk: deadletter.New(conn, "tester")}
		plan := newerPlan()
		brokertest.Provision(t, conn, plan)
		newerLadder := []time.Duration{20 * time.Second, 30 * time.Second, time.Minute, time.Minute, time.Minute, 2 * time.Minute}
		newer := func(c *consumer.Config, b *bulkhead.Config) {
			c.Policy.Retry, c.Version = newerLadder, "newer"
		}
		const failures = 4
		var (
			mu    sync.Mutex
			due   = make(map[string]time.Time)
			calls = make(map[string]int)
			kinds = make(map[string]int)
		)
		work := func(version string, ladder []time.Duration) handle {
			return func(_ context.Context, o order.Order) (order.Outcome, error) {
				mu.Lock()
				defer mu.Unlock()
				kinds[version]++
				if early := time.Until(due[o.ID]); early > 0 {
					t.Errorf("%s ran an order %v before its time", version, early)
				}
				if calls[o.ID]++; calls[o.ID] > failures {
					return authorized, nil
				}
				due[o.ID] = time.Now().Add(ladder[calls[o.ID]-1])
				return order.Outcome{}, errBusy
			}
		}
		_, stopOlder := s.group(work("older", ladder), nil)
		_, stopNewer := s.group(work("newer", newerLadder), newer)
		for range 40 {
			s.placeOne()
		}
		pass(15 * time.Minute)
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 40})
		if kinds["older"] < 20 || kinds["newer"] < 20 {
			t.Errorf("runs %v: the test shows nothing", kinds)
		}

		// A tier that the older version doesn't have, and a rollback.
		stopOlder()
		stopNewer()
		busy := handle(func(context.Context, order.Order) (order.Outcome, error) { return order.Outcome{}, errBusy })
		_, stopNewer = s.group(busy, newer)
		s.placeOne()
		pass(3 * time.Minute)
		stopNewer()
		waiting := map[string]uint64{"retry.payment.t5": 1}
		equal(t, "waiting retries", s.subjects("RETRY_PAYMENT"), waiting)
		s.group(handle(settles), nil)
		pass(2 * time.Minute)
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 41})
		equal(t, "letters", len(s.letters()), 0)
		s.settled()
	})
}

// An order in a schema that only the newer version knows: the older one gives it up
// whole, and what an operator sends back is byte for byte what was placed.
func TestVersions_AnUnknownSchemaIsALetterThatTheNewerVersionCanRead(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		body := []byte(`{"id":"o-2","loyalty":{"points":"\u00e9"},  "lines":[]}` + "\r\n\x00")
		_, stop := s.group(handle(settles), func(c *consumer.Config, _ *bulkhead.Config) { c.Version = "1" })
		s.place("o-2", body, broker.HeaderSchema, "order/2", "traceparent", "00-1", "Loyalty", "gold")
		pass(time.Second)
		for generation := range 2 {
			letters := s.letters()
			if len(letters) != 1 {
				t.Fatalf("%d letters in generation %d, want 1", len(letters), generation)
			}
			l := letters[0]
			equal(t, "reason", l.Reason, deadletter.Schema)
			equal(t, "who gave it up", l.Version, "1")
			equal(t, "schema", l.Hop.Schema, "order/2")
			equal(t, "generation", l.Hop.Generation, generation)
			if !bytes.Equal(l.Data, body) {
				t.Errorf("letter has %q, want %q", l.Data, body)
			}
			if generation == 1 {
				stop() // the newer version takes over
			}
			if err := s.desk.Replay(t.Context(), l.Seq); err != nil {
				t.Fatal(err)
			}
			pass(time.Second) // while the older version runs, it is a letter again
		}

		c, err := s.conn.JetStream().Consumer(t.Context(), broker.RetryStream(order.Payment), broker.TierDurable(order.Payment, broker.TierNow))
		if err != nil {
			t.Fatal(err)
		}
		m, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		hop := broker.ParseHop(m.Headers())
		equal(t, "schema of what comes back", hop.Schema, "order/2")
		equal(t, "its generation", hop.Generation, 2)
		equal(t, "its origin", hop.Origin, broker.Origin{Stream: broker.StreamOrders, Seq: 1, Subject: broker.SubjectCreated})
		equal(t, "a header of its own", m.Headers().Get("Loyalty"), "gold")
		equal(t, "its trace", m.Headers().Get("traceparent"), "00-1")
		if !bytes.Equal(m.Data(), body) {
			t.Errorf("what comes back is %q, want %q", m.Data(), body)
		}
		// Settled as the newer version would, it is done for everybody.
		_, err = s.conn.Store(t.Context(), broker.Message{
			Subject: broker.OutcomeSubject(order.Payment, order.Authorized),
			ID:      broker.DoneID(order.Payment, hop.Origin, hop.Generation), Header: hop.Header(nil), Data: []byte(`{"result":"authorized"}`),
		})
		if err := errors.Join(err, m.Ack()); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		report, err := audit.Run(t.Context(), s.conn, []order.Service{order.Payment})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "account", report.Services[0], audit.Account{Service: order.Payment, Accepted: 1, Done: 1})
	})
}
