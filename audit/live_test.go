package audit_test

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

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher"
)

// The customers of the tests say what becomes of their orders.
const (
	pays     = "pays"     // done
	declined = "declined" // done
	rejected = "rejected" // dead at once
	later    = "later"    // waits
	hangs    = "hangs"    // runs until it is released
	shaky    = "shaky"    // fails twice
)

// shop is a broker, and a payment group on it when it is open.
type shop struct {
	t       *testing.T
	server  *brokertest.Server
	conn    *broker.Conn
	desk    *deadletter.Desk
	release chan struct{}

	mu       sync.Mutex
	attempts map[string]int
	mended   bool // rejected orders pay
}

func newShop(t *testing.T) *shop {
	server := brokertest.Start(t)
	s := &shop{t: t, server: server, conn: server.Connect(), release: make(chan struct{}), attempts: make(map[string]int)}
	brokertest.Provision(t, s.conn, brokertest.Plan())
	s.desk = deadletter.New(s.conn, "tester")
	return s
}

func (s *shop) Handle(_ context.Context, o order.Order) (order.Outcome, error) {
	s.mu.Lock()
	s.attempts[o.ID]++
	n, mended := s.attempts[o.ID], s.mended
	s.mu.Unlock()
	switch {
	case o.Customer == declined:
		return order.Outcome{Result: order.Refused}, nil
	case o.Customer == rejected && !mended:
		return order.Outcome{}, order.Reject(errors.New("no such card"))
	case o.Customer == later:
		return order.Outcome{}, order.RetryAfter(time.Minute, errors.New("come back"))
	case o.Customer == shaky && n%3 != 0:
		return order.Outcome{}, errors.New("line noise")
	case o.Customer == hangs:
		<-s.release
	}
	return order.Outcome{Result: order.Authorized}, nil
}

// open starts the group; its stop waits.
func (s *shop) open(retry []time.Duration) (stop func()) {
	s.t.Helper()
	b, err := bulkhead.New(bulkhead.Config{Name: "payment", Slots: 4, Timeout: 5 * time.Second})
	if err != nil {
		s.t.Fatal(err)
	}
	g, err := consumer.New(s.conn, consumer.Config{Service: order.Payment, Handler: s, Policy: consumer.Policy{Retry: retry}, Bulkhead: b})
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
		b.Close()
	})
	s.t.Cleanup(stop)
	return stop
}

// place stores an order of a customer and returns its id.
func (s *shop) place(customer string) string {
	s.t.Helper()
	o := order.Order{
		ID: order.NewID(), Customer: customer, Currency: "EUR",
		Lines: []order.Line{{SKU: "MUG-RED", Quantity: 2, UnitPrice: 1299}},
	}
	if _, err := publisher.New(s.conn).Place(context.Background(), o); err != nil {
		s.t.Fatal(err)
	}
	return o.ID
}

// store stores something about an order, as an outsider may.
func (s *shop) store(subject string, hop broker.Hop, extra ...string) uint64 {
	s.t.Helper()
	h := hop.Header(nil)
	for i := 0; i < len(extra); i += 2 {
		h[extra[i]] = []string{extra[i+1]}
	}
	ack, err := s.conn.JetStream().PublishMsg(context.Background(), &nats.Msg{Subject: subject, Header: h})
	if err != nil {
		s.t.Fatal(err)
	}
	return ack.Sequence
}

// of is the hop of an order.
func of(seq uint64, generation int) broker.Hop {
	return broker.Hop{Origin: broker.Origin{Stream: broker.StreamOrders, Seq: seq}, Generation: generation}
}

// letter is the sequence of the oldest letter.
func (s *shop) letter() uint64 {
	s.t.Helper()
	for l, err := range s.desk.All(context.Background(), deadletter.Filter{}) {
		if err != nil {
			s.t.Fatal(err)
		}
		return l.Seq
	}
	s.t.Fatal("there is no letter")
	return 0
}

func (s *shop) audit() audit.Account {
	s.t.Helper()
	r, err := audit.Run(context.Background(), s.conn, []order.Service{order.Payment})
	if err != nil {
		s.t.Fatal(err)
	}
	return r.Services[0]
}

// is fails the test unless the account is what is wanted.
func (s *shop) is(want audit.Account) {
	s.t.Helper()
	want.Service = order.Payment
	if diff := cmp.Diff(want, s.audit()); diff != "" {
		s.t.Errorf("account: -want +got\n%s", diff)
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

func TestRun_EveryFate(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		s.is(audit.Account{})
		for _, customer := range []string{pays, declined, rejected, rejected, rejected, later, hangs} {
			s.place(customer)
		}
		s.is(audit.Account{Accepted: 7, Waiting: 7})

		s.open([]time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute})
		pass(time.Second)
		s.is(audit.Account{Accepted: 7, Done: 2, Dead: 3, Waiting: 1, Running: 1})

		if err := s.desk.Discard(t.Context(), s.letter()); err != nil {
			t.Fatal(err)
		}
		if err := s.desk.Replay(t.Context(), s.letter()); err != nil { // dies again
			t.Fatal(err)
		}
		pass(time.Second)
		s.is(audit.Account{Accepted: 7, Done: 2, Dead: 2, Discarded: 1, Waiting: 1, Running: 1})

		s.mu.Lock()
		s.mended = true
		s.mu.Unlock()
		for range 2 {
			if err := s.desk.Replay(t.Context(), s.letter()); err != nil {
				t.Fatal(err)
			}
		}
		close(s.release)
		pass(time.Second)
		s.is(audit.Account{Accepted: 7, Done: 5, Discarded: 1, Waiting: 1})
	})
}

func TestRun_CountsARetryThatIsInHandAsRunning(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		s.place(rejected)
		s.open([]time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute})
		pass(time.Second)
		l, err := s.desk.Get(t.Context(), s.letter())
		if err != nil {
			t.Fatal(err)
		}
		hop := l.Hop
		hop.Generation, hop.Attempt = 1, 1
		hung := order.Order{ID: l.Hop.OrderID, Customer: hangs, Currency: "EUR", Lines: []order.Line{{SKU: "MUG-RED", Quantity: 2, UnitPrice: 1299}}}
		body, err := hung.Encode()
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.conn.Store(t.Context(), broker.Message{Subject: broker.RetrySubject(order.Payment, broker.TierNow), ID: "by hand", Header: hop.Header(nil), Data: body})
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		s.is(audit.Account{Accepted: 1, Running: 1})
		close(s.release)
		pass(time.Second)
		s.is(audit.Account{Accepted: 1, Done: 1})
	})
}

// Orders fail, come back, die, are replayed and discarded, and new ones come, while
// one audit after the other runs, with every retry due within moments: none may
// call an order lost.
func TestRun_NeverCallsAnOrderLostWhileServicesWork(t *testing.T) {
	s := newShop(t)
	s.open([]time.Duration{time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond})
	const orders = 1000
	ctx, cancel := context.WithCancel(t.Context())
	var shopkeepers sync.WaitGroup
	defer shopkeepers.Wait()
	defer cancel()
	shopkeepers.Go(func() {
		for i := range orders {
			s.place([]string{pays, shaky, rejected, shaky}[i%4])
		}
	})
	shopkeepers.Go(func() { // the operator
		for i := 0; ctx.Err() == nil; i++ {
			var letters []uint64
			for l, err := range s.desk.All(ctx, deadletter.Filter{}) {
				if err != nil {
					break
				}
				letters = append(letters, l.Seq)
			}
			for _, seq := range letters {
				act := s.desk.Replay
				if i++; i%5 == 0 {
					act = s.desk.Discard
				}
				if err := act(ctx, seq); err != nil && ctx.Err() == nil {
					t.Errorf("act on letter %d: %v", seq, err)
				}
			}
		}
	})
	audits := 0
	for {
		a := s.audit()
		audits++
		if sum := a.Done + a.Waiting + a.Running + a.Dead + a.Discarded + a.Lost; a.Lost > 0 || sum != a.Accepted {
			t.Fatalf("audit %d: %+v", audits, a)
		}
		if a.Accepted == orders && a.Done+a.Discarded == orders {
			break
		}
		if a.Accepted == orders { // enough: let the rest come to an end
			s.mu.Lock()
			s.mended = true
			s.mu.Unlock()
		}
	}
	t.Logf("%d audits", audits)
}

func TestRun_SaysWhichOrderIsLost(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		s.place(pays)
		id := s.place(pays)
		s.store(broker.OutcomeSubject(order.Payment, order.Authorized), of(1, 0))
		settle(t, s.conn, order.Payment, 2)
		s.is(audit.Account{Accepted: 2, Done: 1, Lost: 1, Findings: []audit.Finding{{Kind: audit.Lost, Seq: 2, OrderID: id}}})

		r, err := audit.Run(t.Context(), s.conn, order.Services())
		if err != nil {
			t.Fatal(err)
		}
		if r.Lost() != 1 || r.First != 1 || r.Last != 2 || len(r.Services) != 3 || r.Services[1].Waiting != 2 {
			t.Errorf("report of all services: %+v, want one order lost, by payment, and 2 waiting for inventory", r)
		}
	})
}

// Under load, several outcomes share a message.
func TestRun_ReadsWhatIsInAPack(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		var (
			pack  []broker.Settled
			first string
		)
		for seq := range uint64(5) {
			if id := s.place(pays); first == "" {
				first = id
			}
			pack = append(pack, broker.Settled{Origin: of(seq+1, 0).Origin, Attempt: 1, Outcome: order.Outcome{Result: order.Authorized}})
		}
		m, err := broker.OutcomeMessage(nil, order.Payment, pack[1:4]...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.conn.Store(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		settle(t, s.conn, order.Payment, 4)
		s.is(audit.Account{Accepted: 5, Done: 3, Waiting: 1, Lost: 1, Findings: []audit.Finding{{Kind: audit.Lost, Seq: 1, OrderID: first}}})
	})
}

// A broker in which each step of the protocol was cut, one order each.
func TestRun_FindsWhatACrashLeaves(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		for range 5 {
			s.place(pays)
		}
		retry, dead := broker.RetrySubject(order.Payment, broker.TierNow), broker.DeadSubject(order.Payment, "exhausted")
		s.store(broker.OutcomeSubject(order.Payment, order.Sent), of(1, 0)) // outcome stored, not acknowledged
		s.store(retry, of(2, 0))                                            // retry stored, not acknowledged
		s.store(dead, of(3, 0))                                             // replay: retry stored, no record
		s.store(retry, of(3, 1))
		s.store(dead, of(4, 0)) // discard: record stored, letter still there
		s.store(broker.DeskSubject(order.Payment, broker.DeskDiscarded), of(4, 0))
		s.store(dead, of(5, 0)) // replay: record stored, letter still there, and done since
		s.store(broker.DeskSubject(order.Payment, broker.DeskReplayed), of(5, 0))
		s.store(broker.OutcomeSubject(order.Payment, order.Sent), of(5, 1))
		s.is(audit.Account{Accepted: 5, Done: 2, Waiting: 2, Dead: 1})
		settle(t, s.conn, order.Payment, 5)
		s.is(audit.Account{Accepted: 5, Done: 2, Waiting: 2, Dead: 1})
	})
}

func TestRun_CoversWhatIsNotTrimmed(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		for range 3 {
			s.place(pays)
		}
		s.store(broker.DeadSubject(order.Payment, "exhausted"), of(1, 0))
		s.store(broker.OutcomeSubject(order.Payment, order.Sent), of(2, 0))
		s.store(broker.OutcomeSubject(order.Payment, order.Sent), of(3, 0))
		for _, service := range order.Services() {
			settle(t, s.conn, service, 3)
		}
		time.Sleep(time.Minute)
		s.place(pays)
		if _, err := s.conn.Trim(t.Context(), broker.TrimConfig{Keep: 30 * time.Second}); err != nil {
			t.Fatal(err)
		}
		r, err := audit.Run(t.Context(), s.conn, []order.Service{order.Payment})
		if err != nil {
			t.Fatal(err)
		}
		if r.First != 4 || r.Last != 4 {
			t.Fatalf("the audit covers orders %d to %d, want only the fourth: were the others trimmed?", r.First, r.Last)
		}
		s.is(audit.Account{Accepted: 2, Dead: 1, Waiting: 1})
	})
}

func TestRun_AServiceBeginsWithItsFirstOrder(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		s.place(pays)
		time.Sleep(time.Minute)
		plan := brokertest.Plan()
		plan.Services = []broker.Service{{Name: "loyalty", Tiers: 1, AckWait: brokertest.AckWait}}
		brokertest.Provision(t, s.conn, plan)
		time.Sleep(time.Second)
		s.place(pays) // perhaps not the service's: it may have begun after it
		time.Sleep(9 * time.Second)
		s.place(pays)
		settle(t, s.conn, "loyalty", 2)
		s.place(pays)
		r, err := audit.Run(t.Context(), s.conn, []order.Service{"loyalty"})
		if err != nil {
			t.Fatal(err)
		}
		if a := r.Services[0]; a.Accepted != 2 || a.Lost != 1 || a.Waiting != 1 {
			t.Errorf("account: %+v, want the third order lost and the fourth waiting", a)
		}
	})
}

// More than a page of each stream, with holes in RETRY and DLQ.
func TestRun_ReadsPageByPage(t *testing.T) {
	s := newShop(t)
	const orders = 5000
	var holes []uint64
	for i := range uint64(orders) {
		s.async(broker.SubjectCreated, of(0, 0))
		hop := of(i+1, 0)
		hop.RetryDelay = time.Hour
		s.async(broker.RetrySubject(order.Payment, "t1"), hop)
		s.async(broker.DeadSubject(order.Inventory, "invalid"), of(i+1, 0))
		s.async(broker.OutcomeSubject(order.Notification, order.Sent), of(i+1, 0))
		if i%1000 == 999 {
			holes = append(holes, i+1)
		}
	}
	select {
	case <-s.conn.JetStream().PublishAsyncComplete():
	case <-time.After(time.Minute):
		t.Fatal("not stored within a minute")
	}
	for _, service := range order.Services() {
		settle(t, s.conn, service, orders)
	}
	for _, stream := range []string{broker.RetryStream(order.Payment), broker.StreamDeadLetters} {
		st, err := s.conn.JetStream().Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		for _, seq := range holes { // the last message is one of them
			if err := st.DeleteMsg(t.Context(), seq); err != nil {
				t.Fatal(err)
			}
		}
	}
	r, err := audit.Run(t.Context(), s.conn, order.Services())
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.Services {
		r.Services[i].Findings = nil
	}
	want := []audit.Account{
		{Service: order.Payment, Accepted: orders, Waiting: orders - len(holes), Lost: len(holes)},
		{Service: order.Inventory, Accepted: orders, Dead: orders - len(holes), Lost: len(holes)},
		{Service: order.Notification, Accepted: orders, Done: orders},
	}
	if diff := cmp.Diff(want, r.Services); diff != "" {
		t.Errorf("accounts: -want +got\n%s", diff)
	}
	s.onlyDurables()
}

// async stores without waiting.
func (s *shop) async(subject string, hop broker.Hop) {
	s.t.Helper()
	if _, err := s.conn.JetStream().PublishMsgAsync(&nats.Msg{Subject: subject, Header: hop.Header(nil)}); err != nil {
		s.t.Fatal(err)
	}
}

// onlyDurables fails the test when an audit left a consumer behind.
func (s *shop) onlyDurables() {
	s.t.Helper()
	for _, stream := range []string{broker.StreamOrders, broker.StreamOutcomes, broker.StreamDeadLetters} {
		st, err := s.conn.JetStream().Stream(s.t.Context(), stream)
		if err != nil {
			s.t.Fatal(err)
		}
		for c := range st.ListConsumers(s.t.Context()).Info() {
			if c.Config.Durable == "" {
				s.t.Errorf("%s has a consumer %s left", stream, c.Name)
			}
		}
	}
}

// An outsider's headers look like those by which the broker marks a message of a
// page, or like its word that there are no more.
func TestRun_IsNotMisledByHeaders(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		for range 3 {
			s.place(pays)
		}
		forged := []string{
			"Nats-Sequence", "9", "Nats-Last-Sequence", "9", "Nats-Subject", "retry.payment.t4",
			"Nats-Time-Stamp", "soon", "Nats-Num-Pending", "0", "Status", "503",
		}
		hop := of(1, 0)
		hop.RetryDelay = time.Hour
		s.store(broker.RetrySubject(order.Payment, "t1"), hop, forged...)
		hop = of(2, 0)
		hop.RetryDelay = time.Hour
		s.store(broker.RetrySubject(order.Payment, "t1"), hop)
		s.store(broker.OutcomeSubject(order.Payment, order.Sent), of(3, 0), forged...)
		settle(t, s.conn, order.Payment, 3)
		s.is(audit.Account{Accepted: 3, Done: 1, Waiting: 2})
	})
}

func TestRun_SaysWhatIsMissing(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		_, err := audit.Run(t.Context(), s.conn, []order.Service{"loyalty"})
		if !errors.Is(err, audit.ErrNotProvisioned) || !strings.Contains(fmt.Sprint(err), "loyalty") {
			t.Errorf("an unknown service: got %v, want ErrNotProvisioned", err)
		}
		if _, err := audit.Run(t.Context(), s.conn, []order.Service{"no.service"}); err == nil {
			t.Error("a name that is no service: got no error")
		}
		if err := s.conn.JetStream().DeleteStream(t.Context(), broker.RetryStream(order.Payment)); err != nil {
			t.Fatal(err)
		}
		if _, err := audit.Run(t.Context(), s.conn, []order.Service{order.Payment}); !errors.Is(err, audit.ErrNotProvisioned) {
			t.Errorf("no stream for retries: got %v, want ErrNotProvisioned", err)
		}
	})
}

func TestRun_RefusesToGuess(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		s.place(pays)
		js := s.conn.JetStream()
		st, err := js.Stream(t.Context(), broker.RetryStream(order.Payment))
		if err != nil {
			t.Fatal(err)
		}
		cfg := st.CachedInfo().Config
		cfg.AllowDirect = false
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if _, err := audit.Run(t.Context(), s.conn, []order.Service{order.Payment}); err == nil || !strings.Contains(err.Error(), "allow_direct") {
			t.Errorf("RETRY can't be read: got %v, want an error that says allow_direct", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := audit.Run(ctx, s.conn, []order.Service{order.Inventory}); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: got %v, want context.Canceled", err)
		}
		s.server.Stop()
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := audit.Run(ctx, s.conn, []order.Service{order.Inventory}); err == nil {
			t.Error("the broker is away: got no error")
		}
	})
}
