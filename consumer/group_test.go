package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
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

func TestMain(m *testing.M) {
	if url := os.Getenv(workerURL); url != "" {
		os.Exit(worker(url)) // see exit_test.go
	}
	brokertest.Main(m)
}

// ladder is the retry policy of the tests' groups.
var ladder = []time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute}

// handle is a Handler made of a function.
type handle func(context.Context, order.Order) (order.Outcome, error)

func (h handle) Handle(ctx context.Context, o order.Order) (order.Outcome, error) { return h(ctx, o) }

var authorized = order.Outcome{Result: order.Authorized, Ref: "auth-1"}

// settles is a handler that says yes.
func settles(context.Context, order.Order) (order.Outcome, error) { return authorized, nil }

// shop is a broker and the groups that run on it.
type shop struct {
	t    *testing.T
	conn *broker.Conn
	desk *deadletter.Desk
}

func newShop(t *testing.T) *shop { return shopOn(t, brokertest.Start(t)) }

// shopOn is a shop on a broker that the test stops and starts.
func shopOn(t *testing.T, server *brokertest.Server) *shop {
	conn := server.Connect()
	brokertest.Provision(t, conn, planOf(order.Payment))
	return &shop{t: t, conn: conn, desk: deadletter.New(conn, "tester")}
}

// planOf is brokertest's plan of one service: the files of all take longer than most
// tests.
func planOf(s order.Service) broker.Plan {
	p := brokertest.Plan()
	p.Services = slices.DeleteFunc(p.Services, func(other broker.Service) bool { return other.Name != s })
	return p
}

// group starts a group of 4 slots and 2 s timeout with what the test changes of
// it, and returns its stop, which waits.
func (s *shop) group(h consumer.Handler, change func(*consumer.Config, *bulkhead.Config)) (g *consumer.Group, stop func()) {
	s.t.Helper()
	cfg := consumer.Config{Service: order.Payment, Handler: h, Policy: consumer.Policy{Retry: ladder}}
	size := bulkhead.Config{Name: "payment", Slots: 4, Timeout: 2 * time.Second}
	if change != nil {
		change(&cfg, &size)
	}
	if cfg.Bulkhead == nil {
		var err error
		if cfg.Bulkhead, err = bulkhead.New(size); err != nil {
			s.t.Fatal(err)
		}
	}
	g, err := consumer.New(s.conn, cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("Run: %v", err)
		}
		cfg.Bulkhead.Close()
	})
	s.t.Cleanup(stop)
	return g, stop
}

// placed is an order in its JSON form.
func placed(t *testing.T) (order.Order, []byte) {
	t.Helper()
	o := order.Order{
		ID: order.NewID(), Customer: "c-1", Currency: "EUR",
		Lines: []order.Line{{SKU: "MUG-RED", Quantity: 2, UnitPrice: 1299}},
	}
	body, err := o.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return o, body
}

// place stores an order the way an outsider does, with any headers.
func (s *shop) place(id string, body []byte, headers ...string) broker.Receipt {
	s.t.Helper()
	h := nats.Header{broker.HeaderOrderID: {id}}
	for i := 0; i < len(headers); i += 2 {
		h[headers[i]] = append(h[headers[i]], headers[i+1])
	}
	m := broker.Message{Subject: broker.SubjectCreated, ID: id, Header: h, Data: body}
	r, err := s.conn.Store(context.Background(), m)
	if errors.Is(err, broker.ErrNotStored) { // written to a broker that was just restarted
		r, err = s.conn.Store(context.Background(), m)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *shop) placeOne() order.Order {
	s.t.Helper()
	o, body := placed(s.t)
	s.place(o.ID, body)
	return o
}

// subjects counts what a stream holds, by subject; of a pack, each outcome in it.
func (s *shop) subjects(stream string) map[string]uint64 {
	s.t.Helper()
	counts := make(map[string]uint64)
	s.read(stream, func(subject string, all []broker.Settled) { counts[subject] += uint64(len(all)) })
	return counts
}

// read shows what a stream holds; of a pack, all that is in it.
func (s *shop) read(stream string, show func(subject string, all []broker.Settled)) {
	s.t.Helper()
	st, err := s.conn.JetStream().Stream(context.Background(), stream)
	if err != nil {
		s.t.Fatal(err)
	}
	state := st.CachedInfo().State
	for seq := max(1, state.FirstSeq); seq <= state.LastSeq; seq++ {
		m, err := st.GetMsg(context.Background(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			s.t.Fatal(err)
		}
		all, err := broker.Outcomes(m.Header, m.Data)
		if err != nil {
			s.t.Fatal(err)
		}
		show(m.Subject, all)
	}
}

// letters returns what the desk holds.
func (s *shop) letters() []deadletter.Letter {
	s.t.Helper()
	var all []deadletter.Letter
	for l, err := range s.desk.All(context.Background(), deadletter.Filter{}) {
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

// inHand is how many messages of a durable are delivered and not acknowledged.
func (s *shop) inHand(stream, durable string) (unacked int, pending uint64) {
	s.t.Helper()
	c, err := s.conn.JetStream().Consumer(context.Background(), stream, durable)
	if err != nil {
		s.t.Fatal(err)
	}
	info := c.CachedInfo()
	return info.NumAckPending, info.NumPending
}

// settled fails the test unless the main durable of payment has nothing left.
func (s *shop) settled() {
	s.t.Helper()
	if unacked, pending := s.inHand(broker.StreamOrders, "payment"); unacked != 0 || pending != 0 {
		s.t.Errorf("payment has %d orders unacknowledged and %d pending, want none", unacked, pending)
	}
}

func bubble(t *testing.T, f func(t *testing.T, s *shop)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newShop(t)) })
}

// pass lets time pass in the bubble, until all that was to happen has happened.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: -want +got\n%s", what, diff)
	}
}

func TestGroup_StoresTheOutcomeThenAcknowledges(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		s.group(handle(settles), nil)
		o := s.placeOne()
		pass(time.Second)

		st, err := s.conn.JetStream().Stream(context.Background(), broker.StreamOutcomes)
		if err != nil {
			t.Fatal(err)
		}
		m, err := st.GetMsg(context.Background(), 1)
		if err != nil {
			t.Fatal(err)
		}
		hop := broker.ParseHop(m.Header)
		equal(t, "subject", m.Subject, "outcomes.payment.authorized")
		equal(t, "body", string(m.Data), `{"result":"authorized","ref":"auth-1"}`)
		equal(t, "order id", hop.OrderID, o.ID)
		equal(t, "origin", hop.Origin, broker.Origin{Stream: "ORDERS", Seq: 1, Subject: "orders.created"})
		s.settled()
	})
}

func TestGroup_ClimbsTheLadderToTheInstantThenGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		var at []time.Duration
		begin := time.Now()
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			at = append(at, time.Since(begin))
			return order.Outcome{}, fmt.Errorf("gateway answered 503 at try %d", len(at))
		}), nil)
		o := s.placeOne()
		pass(time.Hour)

		want := []time.Duration{0, time.Second, 11 * time.Second, 71 * time.Second, 671 * time.Second}
		if len(at) != len(want) {
			t.Fatalf("attempts at %v, want about %v", at, want)
		}
		for i, w := range want {
			// Nothing takes time in the bubble but waiting: the tolerance is
			// for the broker's own pauses.
			if late := at[i] - w; late < 0 || late > 20*time.Millisecond {
				t.Errorf("attempt %d at %v, want %v or at most 20 ms later", i+1, at[i], w)
			}
		}
		letters := s.letters()
		if len(letters) != 1 {
			t.Fatalf("%d letters, want 1", len(letters))
		}
		l := letters[0]
		equal(t, "reason", l.Reason, deadletter.Exhausted)
		equal(t, "error", l.Error, "gateway answered 503 at try 5")
		equal(t, "order", l.Hop.OrderID, o.ID)
		equal(t, "attempts in the timeline", len(l.Timeline), 5)
		equal(t, "waiting retries", len(s.subjects("RETRY_PAYMENT")), 0)
		s.settled()
	})
}

func TestGroup_RetryAfterBeyondTheLadderIsNotLostToDeduplication(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		tries := 0
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			if tries++; tries <= 4 {
				return order.Outcome{}, order.RetryAfter(time.Hour, errors.New("throttled"))
			}
			return authorized, nil
		}), func(c *consumer.Config, _ *bulkhead.Config) {
			// All waits fall into the broker's two-minute window.
			c.Policy.Retry = []time.Duration{time.Second}
		})
		s.placeOne()
		pass(time.Minute)
		equal(t, "tries", tries, 5)
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 1})
		s.settled()
	})
}

func TestGroup_WhatCanNeverWorkIsDeadAfterOneAttempt(t *testing.T) {
	o := order.Order{ID: order.NewID(), Customer: "c", Currency: "EUR", Lines: []order.Line{{SKU: "A", Quantity: 1, UnitPrice: 1}}}
	good, err := o.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		body    string
		headers []string
		err     error
		want    deadletter.Reason
		handled int
	}{
		"truncated":         {body: string(good[:20]), want: deadletter.Invalid},
		"empty":             {body: "", want: deadletter.Invalid},
		"unknown field":     {body: strings.Replace(string(good), `{"id"`, `{"gift":true,"id"`, 1), want: deadletter.Invalid},
		"wrong case":        {body: strings.Replace(string(good), `"customer"`, `"Customer"`, 1), want: deadletter.Invalid},
		"duplicate key":     {body: strings.Replace(string(good), `{"id"`, `{"currency":"USD","id"`, 1), want: deadletter.Invalid},
		"negative quantity": {body: strings.Replace(string(good), `"quantity":1`, `"quantity":-1`, 1), want: deadletter.Invalid},
		"1e308":             {body: strings.Replace(string(good), `"quantity":1`, `"quantity":1e308`, 1), want: deadletter.Invalid},
		"invalid UTF-8":     {body: strings.Replace(string(good), `"customer":"c"`, "\"customer\":\"\xff\"", 1), want: deadletter.Invalid},
		"1 MiB":             {body: strings.Repeat("x", 1<<20), want: deadletter.Invalid},
		"unknown schema":    {body: string(good), headers: []string{broker.HeaderSchema, "order/99"}, want: deadletter.Schema},
		"deadline passed": {
			body:    string(good),
			headers: []string{broker.HeaderDeadline, "2000-01-01T00:00:00Z"},
			err:     nil, want: deadletter.Expired,
		},
		"rejected": {body: string(good), err: order.Reject(errors.New("unknown SKU A")), want: deadletter.Rejected, handled: 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *shop) {
				handled := 0
				s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
					handled++
					return authorized, tt.err
				}), nil)
				s.place(o.ID, []byte(tt.body), tt.headers...)
				pass(time.Minute)

				letters := s.letters()
				if len(letters) != 1 {
					t.Fatalf("%d letters, want 1", len(letters))
				}
				equal(t, "reason", letters[0].Reason, tt.want)
				equal(t, "times handled", handled, tt.handled)
				equal(t, "attempts", len(letters[0].Timeline), 1)
				if string(letters[0].Data) != tt.body {
					t.Errorf("the letter has %d other bytes than the %d received", len(letters[0].Data), len(tt.body))
				}
				s.settled()
			})
		})
	}
}

func TestGroup_PanicIsAFailureWithItsText(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) { panic("nil map") }),
			func(c *consumer.Config, _ *bulkhead.Config) { c.Policy.Retry = nil })
		s.placeOne()
		pass(time.Minute)
		letters := s.letters()
		if len(letters) != 1 || !strings.Contains(letters[0].Error, "nil map") || letters[0].Timeline[0].Reason != "panic" {
			t.Errorf("letters = %+v, want one that tells of the panic", letters)
		}
	})
}

func TestGroup_TimeoutKeepsTheSlotAndTheRetryRunsBesideTheGhost(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		release := make(chan struct{})
		var tries atomic.Int32
		late := make(chan order.Outcome, 1)
		var pool *bulkhead.Bulkhead
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			if tries.Add(1) == 1 {
				<-release // deaf: it ignores its context
				return order.Outcome{Result: order.Authorized, Ref: "late"}, nil
			}
			return authorized, nil
		}), func(c *consumer.Config, b *bulkhead.Config) {
			pool, _ = bulkhead.New(*b)
			c.Bulkhead = pool
			c.Late = func(_ order.Order, out order.Outcome, _ error) { late <- out }
		})
		s.placeOne()
		pass(10 * time.Second)
		equal(t, "tries", tries.Load(), 2)
		equal(t, "ghosts", pool.Stats().Ghosts, 1)
		equal(t, "slots in use", pool.Stats().InUse, 1)
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 1})

		close(release)
		equal(t, "late result", (<-late).Ref, "late")
		synctest.Wait()
		equal(t, "ghosts after the end", pool.Stats().Ghosts, 0)
		equal(t, "outcomes after the end", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 1})
		s.settled()
	})
}

func TestGroup_NeverHoldsMoreThanItsSlotsAndOneALane(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		var now, most atomic.Int32
		s.group(handle(func(ctx context.Context, _ order.Order) (order.Outcome, error) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			time.Sleep(100 * time.Millisecond)
			return authorized, nil
		}), nil)
		for range 40 {
			s.placeOne()
		}
		for range 10 {
			pass(50 * time.Millisecond)
			synctest.Wait()
			if unacked, _ := s.inHand(broker.StreamOrders, "payment"); unacked > 5 {
				t.Errorf("%d orders in hand, want at most 4 slots and one", unacked)
			}
		}
		pass(10 * time.Second)
		equal(t, "most at once", most.Load(), 4)
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 40})
		s.settled()
	})
}

func TestGroup_AHungServiceCostsItsNeighbourNothing(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		brokertest.Provision(t, s.conn, planOf(order.Notification))
		s.group(handle(func(ctx context.Context, _ order.Order) (order.Outcome, error) {
			<-ctx.Done()
			return order.Outcome{}, context.Cause(ctx)
		}), nil)
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			return order.Outcome{Result: order.Sent}, nil
		}), func(c *consumer.Config, b *bulkhead.Config) { c.Service, b.Name = order.Notification, "notification" })
		for range 100 {
			s.placeOne()
		}
		pass(time.Second)
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.notification.sent": 100})
	})
}

// teller is a handler with a fallback.
type teller struct {
	handle
	fallback func(cause error) (order.Outcome, error)
}

func (f teller) Fallback(_ context.Context, _ order.Order, cause error) (order.Outcome, error) {
	return f.fallback(cause)
}

func TestGroup_FallbackPendingIsStoredOnceBesideTheFirstRetry(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		tries := 0
		s.group(teller{
			func(context.Context, order.Order) (order.Outcome, error) {
				if tries++; tries < 4 {
					return order.Outcome{}, errors.New("no answer")
				}
				return authorized, nil
			},
			func(error) (order.Outcome, error) { return order.Outcome{Result: order.Pending}, nil },
		}, func(c *consumer.Config, _ *bulkhead.Config) {
			// Longer than the broker takes a repetition for one.
			c.Policy.Retry = []time.Duration{3 * time.Minute, 3 * time.Minute, 3 * time.Minute, 3 * time.Minute}
		})
		s.placeOne()
		pass(10 * time.Minute)
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes),
			map[string]uint64{"outcomes.payment.pending": 1, "outcomes.payment.authorized": 1})
	})
}

func TestGroup_FinalFallbackSettles(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		var causes []string
		s.group(teller{
			func(context.Context, order.Order) (order.Outcome, error) {
				return order.Outcome{}, errors.New("no answer")
			},
			func(cause error) (order.Outcome, error) {
				causes = append(causes, cause.Error())
				return order.Outcome{Result: order.Refused, Reason: "small amounts only"}, nil
			},
		}, nil)
		s.placeOne()
		pass(time.Hour)
		equal(t, "causes", causes, []string{"no answer"})
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.refused": 1})
		equal(t, "waiting retries", len(s.subjects("RETRY_PAYMENT")), 0)
		s.settled()
	})
}

func TestGroup_HeadersFromOutsideAreNotBelieved(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		tries := 0
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			if tries++; tries < 2 {
				return order.Outcome{}, errors.New("no")
			}
			return authorized, nil
		}), nil)
		o, body := placed(t)
		// Published past our own door: copied to the retry, these would make
		// the broker drop or refuse it.
		h := nats.Header{
			"Nats-Msg-Id":    {"retry/payment/ORDERS/1/0/1"},
			"nats-ttl":       {"1s"},
			"Attempt":        {"77", "1"},
			"attempt":        {"5"},
			"Origin-Stream":  {"DLQ"},
			"Origin-Seq":     {"999"},
			"Generation":     {"7"},
			"Retry-Delay":    {"10h"},
			"Order-Id":       {"somebody-else", "again"},
			"Status":         {"404"},
			"X-Trace":        {"kept"},
			"Dlq-Timeline":   {"[{]"},
			"First-Seen":     {"yesterday"},
			"Schema":         {order.Schema},
			"Idempotency-No": {""},
		}
		if _, err := s.conn.JetStream().PublishMsg(context.Background(), &nats.Msg{Subject: broker.SubjectCreated, Header: h, Data: body}); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		equal(t, "tries", tries, 2)
		st, err := s.conn.JetStream().Stream(context.Background(), broker.StreamOutcomes)
		if err != nil {
			t.Fatal(err)
		}
		m, err := st.GetMsg(context.Background(), 1)
		if err != nil {
			t.Fatal(err)
		}
		hop := broker.ParseHop(m.Header)
		equal(t, "origin", hop.Origin, broker.Origin{Stream: "ORDERS", Seq: 1, Subject: "orders.created"})
		equal(t, "order id", hop.OrderID, o.ID)
		equal(t, "generation", hop.Generation, 0)
		s.settled()
	})
}

func TestGroup_ReplayGoesOnlyToTheServiceThatFailed(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		brokertest.Provision(t, s.conn, planOf(order.Notification))
		broken := true
		payments, mails := 0, 0
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			payments++
			if broken {
				return order.Outcome{}, order.Reject(errors.New("unknown merchant"))
			}
			return authorized, nil
		}), nil)
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			mails++
			return order.Outcome{Result: order.Sent}, nil
		}), func(c *consumer.Config, b *bulkhead.Config) { c.Service, b.Name = order.Notification, "notification" })
		s.placeOne()
		pass(time.Second)

		// A replay that fails again inside the dedupe window is a letter again.
		for generation := 1; generation <= 2; generation++ {
			letters := s.letters()
			if len(letters) != 1 {
				t.Fatalf("%d letters before replay %d, want 1", len(letters), generation)
			}
			broken = generation < 2
			if err := s.desk.Replay(context.Background(), letters[0].Seq); err != nil {
				t.Fatal(err)
			}
			pass(time.Second)
		}
		equal(t, "letters after the replays", len(s.letters()), 0)
		equal(t, "payments", payments, 3)
		equal(t, "mails", mails, 1)
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes),
			map[string]uint64{"outcomes.notification.sent": 1, "outcomes.payment.authorized": 1})
	})
}

func TestGroup_AcknowledgesNothingThatIsNotStored(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		js := s.conn.JetStream()
		outcomes, err := js.Stream(context.Background(), broker.StreamOutcomes)
		if err != nil {
			t.Fatal(err)
		}
		full := outcomes.CachedInfo().Config
		full.MaxMsgs, full.Discard = 1, jetstream.DiscardNew
		if _, err := js.UpdateStream(context.Background(), full); err != nil {
			t.Fatal(err)
		}
		g, _ := s.group(handle(settles), nil)
		s.placeOne()
		pass(time.Second) // so that they don't share a message
		s.placeOne()
		pass(20 * time.Second)
		if unacked, _ := s.inHand(broker.StreamOrders, "payment"); unacked != 1 {
			t.Errorf("%d orders unacknowledged, want the one whose outcome isn't stored", unacked)
		}
		if err := g.Check(); err == nil || !strings.Contains(err.Error(), "nothing can be settled") {
			t.Errorf("Check() = %v, want that nothing can be settled", err)
		}
		full.MaxMsgs = -1
		if _, err := js.UpdateStream(context.Background(), full); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Minute)
		if err := g.Check(); err != nil {
			t.Errorf("Check() = %v after the stream has room again, want nil", err)
		}
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 2})
		s.settled()
	})
}

func TestRun_StopLetsWorkFinishAndTakesNothingMore(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		var begun atomic.Int32
		_, stop := s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			begun.Add(1)
			time.Sleep(time.Second)
			return authorized, nil
		}), nil)
		for range 20 {
			s.placeOne()
		}
		pass(500 * time.Millisecond)
		stop()
		synctest.Wait() // the broker has counted the acknowledgements
		equal(t, "begun", begun.Load(), 4)
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 4})
		synctest.Wait() // the broker has read the acknowledgements, and may not have booked them
		if unacked, pending := s.inHand(broker.StreamOrders, "payment"); pending+uint64(unacked) != 16 {
			t.Errorf("%d orders pending and %d handed back, want 16 in all", pending, unacked)
		}
		// What was handed back is not waited for: another instance has it now.
		before := time.Now()
		s.group(handle(settles), nil)
		pass(time.Second)
		s.settled()
		if took := time.Since(before); took > time.Second {
			t.Errorf("the next instance needed %v", took)
		}
	})
}

func TestRun_StopHandsBackWhatOutlivesTheDrain(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		release := make(chan struct{})
		t.Cleanup(func() { close(release) })
		_, stop := s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			<-release
			return authorized, nil
		}), func(c *consumer.Config, _ *bulkhead.Config) { c.Drain = time.Second })
		s.placeOne()
		pass(500 * time.Millisecond)
		begin := time.Now()
		stop()
		if took := time.Since(begin); took > 1500*time.Millisecond {
			t.Errorf("stopping took %v, want about the drain time of 1 s", took)
		}
		s.group(handle(settles), nil)
		pass(100 * time.Millisecond)
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 1})
	})
}

func TestRun_StoppedBeforeItHasBegunIsNoFailure(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		_, stop := s.group(handle(settles), nil) // stop fails the test when Run returns an error
		stop()
	})
}

func TestRun_RefusesABrokerThatCannotHoldItsTiming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := brokertest.Start(t).Connect()
		pool, err := bulkhead.New(bulkhead.Config{Name: "payment", Slots: 1, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		g, err := consumer.New(conn, consumer.Config{Service: order.Payment, Handler: handle(settles), Bulkhead: pool})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "provision it first") {
			t.Errorf("Run without streams = %v, want to be told to provision", err)
		}
		brokertest.Provision(t, conn, planOf(order.Payment))
		if err := g.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "needs 2m12s") {
			t.Errorf("Run with an ack wait of 30 s and a timeout of 1 m = %v, want the numbers", err)
		}
	})
}

// What was acknowledged in its last moments, a broker may have forgotten.
func TestGroup_RestartOfTheBrokerLosesAndRepeatsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := brokertest.Start(t)
		s := shopOn(t, server)
		var handled atomic.Int64
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			time.Sleep(300 * time.Millisecond)
			handled.Add(1)
			return authorized, nil
		}), nil)
		for range 30 {
			s.placeOne()
		}
		pass(time.Second)
		server.Restart()
		pass(5 * time.Minute)
		s.settled()
		equal(t, "handled", handled.Load(), 30)
		report, err := audit.Run(t.Context(), s.conn, []order.Service{order.Payment})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "done", report.Services[0].Done, 30)
	})
}
