package integration_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/consumer/inventory"
	"github.com/watertight-go/watertight/consumer/notification"
	"github.com/watertight-go/watertight/consumer/payment"
	"github.com/watertight-go/watertight/internal/sim"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher/load"
)

// What the shops of these tests have in common.
const (
	slots   = 16
	timeout = time.Second
	settle  = 2 * time.Second // shorter than by default, and than any election, so that trouble shows
	from    = "shop@example.com"
)

// shopConfig says what is special about a shop.
type shopConfig struct {
	urls     []string
	replicas int
	retry    []time.Duration // by default some that outlast an outage
}

// shop is the services of this process against a broker elsewhere, and an
// observer that sees what they store. The test's end stops it.
type shop struct {
	t       *testing.T
	conn    *broker.Conn // of the services
	outside *broker.Conn // of the publisher and the observer
	world   *sim.World
	ledger  *inventory.StockLog
	journal *load.Journal
	acks    *acks
	checks  []func() error // what makes a process ready
}

func openShop(t *testing.T, cfg shopConfig) *shop {
	t.Helper()
	if cfg.retry == nil {
		cfg.retry = []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}
	}
	s := &shop{t: t, journal: load.NewJournal(order.Services()...)}
	s.conn = provisioned(t, cfg)
	s.outside = connect(t, cfg.urls)
	s.acks = &acks{broker: s.outside}

	// An order is in somebody's hands at any time: that is when trouble counts.
	var err error
	if s.world, err = sim.Start(t.Context(), sim.Config{MinLatency: 50 * time.Millisecond, MaxLatency: 100 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.world.Close)

	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	t.Cleanup(func() { stop(); running.Wait() })
	run := func(what string, f func(context.Context) error) {
		running.Go(func() {
			if err := f(ctx); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	s.ledger = inventory.NewStockLog(s.conn)
	run("stock log", s.ledger.Run)
	s.checks = []func() error{s.conn.Check, s.ledger.Check}
	stock, err := inventory.ParseStock(strings.NewReader(load.StockCSV()), "catalogue")
	if err == nil {
		err = s.ledger.Add(t.Context(), stock)
	}
	if err != nil {
		t.Fatal(err)
	}
	for service, handler := range s.handlers() {
		pool, err := bulkhead.New(bulkhead.Config{Name: string(service), Slots: slots, Timeout: timeout})
		if err != nil {
			t.Fatal(err)
		}
		g, err := consumer.New(s.conn, consumer.Config{
			Service: service, Handler: handler, Policy: consumer.Policy{Retry: cfg.retry}, Bulkhead: pool, Settle: settle,
		})
		if err != nil {
			t.Fatal(err)
		}
		s.checks = append(s.checks, g.Check)
		run(string(service), g.Run)
	}
	start, err := load.Now(t.Context(), s.outside)
	if err != nil {
		t.Fatal(err)
	}
	run("observer", func(ctx context.Context) error { return load.Follow(ctx, s.outside, s.journal, start) })
	return s
}

// handlers are the services' own, against the pretended world.
func (s *shop) handlers() map[order.Service]consumer.Handler {
	s.t.Helper()
	gateway, err := payment.NewHTTP(s.world.PaymentURL(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	mailer, err := notification.NewSMTP(s.world.MailAddr(), notification.SMTPConfig{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(gateway.Close)
	s.t.Cleanup(mailer.Close)
	return map[order.Service]consumer.Handler{
		order.Payment:      &payment.Service{Gateway: gateway},
		order.Inventory:    &inventory.Service{Ledger: s.ledger},
		order.Notification: &notification.Service{Mailer: mailer, From: from},
	}
}

// provisioned waits until the broker takes the topology.
func provisioned(t *testing.T, cfg shopConfig) *broker.Conn {
	t.Helper()
	plan := broker.Plan{Replicas: cfg.replicas, OrderBytes: 64 << 20}
	for _, s := range order.Services() {
		plan.Services = append(plan.Services, broker.Service{Name: s, Tiers: len(cfg.retry), AckWait: consumer.AckWait(timeout, settle), FromStart: true})
	}
	var conn *broker.Conn
	var err error
	await(t, patience, "a provisioned broker", func() bool {
		if conn != nil {
			conn.Close()
		}
		if conn, err = broker.Connect(t.Context(), broker.Config{URL: strings.Join(cfg.urls, ","), Name: t.Name()}); err == nil {
			_, err = conn.Provision(t.Context(), plan, false)
		}
		return err == nil
	}, func() any { return err })
	t.Cleanup(conn.Close)
	return conn
}

func connect(t *testing.T, urls []string) *broker.Conn {
	t.Helper()
	conn, err := broker.Connect(t.Context(), broker.Config{URL: strings.Join(urls, ","), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// await looks until it holds, and fails the test when that takes longer than
// within. Why says what was seen last.
func await(t *testing.T, within time.Duration, what string, holds func() bool, why func() any) {
	t.Helper()
	limit := time.NewTimer(within)
	defer limit.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-limit.C:
			t.Fatalf("no %s within %v: %v", what, within, why())
		}
	}
}

// acks is a broker that notes when it acknowledged.
type acks struct {
	broker *broker.Conn

	mu    sync.Mutex
	times []time.Time
}

// StoreAsync implements load.Broker.
func (a *acks) StoreAsync(m broker.Message, answer func(broker.Receipt, error)) {
	a.broker.StoreAsync(m, func(r broker.Receipt, err error) {
		if err == nil {
			a.mu.Lock()
			a.times = append(a.times, time.Now())
			a.mu.Unlock()
		}
		answer(r, err)
	})
}

// since is how many acks came at a time or later.
func (a *acks) since(at time.Time) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, ack := range a.times {
		if !ack.Before(at) {
			n++
		}
	}
	return n
}

// gap is the longest time between two acks.
func (a *acks) gap() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	var longest time.Duration
	for i := range a.times[1:] {
		longest = max(longest, a.times[i+1].Sub(a.times[i]))
	}
	return longest
}

// sell places orders at a rate until the returned function is called, which waits
// for the last answers.
func (s *shop) sell(rate float64) (stop func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- load.Run(ctx, s.acks, s.journal, load.Config{Profile: load.Steady(rate)}) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Logf("some orders were never answered: %v", err)
		}
	})
	s.t.Cleanup(stop)
	return stop
}

// ready is what /readyz asks.
func (s *shop) ready() error {
	var errs []error
	for _, check := range s.checks {
		errs = append(errs, check())
	}
	return errors.Join(errs...)
}

func (s *shop) awaitReady(within time.Duration) {
	s.t.Helper()
	await(s.t, within, "readiness", func() bool { return s.ready() == nil }, func() any { return s.ready() })
}

func (s *shop) awaitNotReady(within time.Duration) {
	s.t.Helper()
	await(s.t, within, "word that it isn't ready", func() bool { return s.ready() != nil }, func() any { return "all checks pass" })
}

// notReadyFor fails the test when the shop becomes ready in this time.
func (s *shop) notReadyFor(d time.Duration) {
	s.t.Helper()
	until := time.NewTimer(d)
	defer until.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-until.C:
			return
		case <-look.C:
			if s.ready() == nil {
				s.t.Fatal("it says that it is ready and isn't")
			}
		}
	}
}

// awaitSales waits until this many orders have been acknowledged since a time.
func (s *shop) awaitSales(n int, since time.Time, within time.Duration) time.Duration {
	s.t.Helper()
	await(s.t, within, fmt.Sprintf("%d orders acknowledged", n), func() bool { return s.acks.since(since) >= n }, func() any { return s.acks.since(since) })
	return time.Since(since)
}

// books waits until the services have settled all that is stored, and looks
// whether the books agree: nothing lost, each order charged once and reserved
// once, and a mail for each; at most so many more, as an order whose outcome
// couldn't be stored is handed out again.
func (s *shop) books(moreMails int) {
	s.t.Helper()
	stored := s.settled()
	if stored == 0 {
		s.t.Fatal("no order was stored, so this shows nothing")
	}
	counts := s.journal.Counts()
	s.t.Logf("orders: %+v; longest time without an ack: %v", counts, s.acks.gap().Round(time.Millisecond))
	for _, a := range s.journal.Accounts() {
		s.t.Logf("%+v", a)
		if a.Stored != stored || a.Done != stored {
			s.t.Errorf("%s: %d of %d orders are done, %d are dead letters and %d lost", a.Service, a.Done, stored, a.Dead, stored-a.Done-a.Dead)
		}
	}

	var want, charged int64
	for r := range s.journal.All() {
		if r.State != load.Stored {
			continue
		}
		for _, l := range (load.Orders{}).Order(r.Index, r.Sent).Lines {
			want += l.Quantity
		}
		for _, c := range s.world.Charges(r.ID()) {
			if !c.Declined {
				charged++
			}
		}
		if s.world.Mails(r.ID()+"."+notification.Event+"@example.com") == 0 {
			s.t.Errorf("order %s: no mail", r.ID())
		}
	}
	c := s.world.Counts()
	if charged != int64(stored) || c.Payment.Charges != stored || c.Payment.DoubledByOrder != 0 {
		s.t.Errorf("charges of %d orders: got %d, and %+v", stored, charged, c.Payment)
	}
	s.t.Logf("mails: %+v", c.Mail)
	if c.Mail.Mails-stored > moreMails {
		s.t.Errorf("mails of %d orders: got %d, want at most %d more", stored, c.Mail.Mails, moreMails)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	levels, err := s.ledger.Stock(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	var reserved int64
	for _, l := range levels {
		reserved += l.Reserved
	}
	if reserved != want {
		s.t.Errorf("articles reserved: got %d, want %d", reserved, want)
	}
}

// settled waits until every order of the stream is known and settled, and returns
// how many there are. Orders whose store was never confirmed count when they are
// there.
func (s *shop) settled() int {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*patience) // what was handed back comes after half a minute
	defer cancel()
	if err := s.journal.Wait(ctx, order.Services()...); err != nil {
		s.t.Fatalf("%v; what is acknowledged isn't all settled: %+v", err, s.journal.Accounts())
	}
	var stored int
	await(s.t, patience, "account of every stored order", func() bool {
		stored = int(s.level(broker.StreamOrders).Msgs)
		return s.journal.Counts().Stored == stored
	}, func() any { return fmt.Sprintf("%d in the stream, %+v", stored, s.journal.Counts()) })
	if err := s.journal.Wait(ctx, order.Services()...); err != nil {
		s.t.Fatalf("%v; what is stored isn't all settled: %+v", err, s.journal.Accounts())
	}
	return stored
}

// level is the state of a stream, as its leader sees it.
func (s *shop) level(stream string) jetstream.StreamState {
	s.t.Helper()
	return s.stream(stream).State
}

func (s *shop) stream(name string) *jetstream.StreamInfo {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	stream, err := s.outside.JetStream().Stream(ctx, name)
	if err != nil {
		s.t.Fatalf("look at %s: %v", name, err)
	}
	return stream.CachedInfo()
}
