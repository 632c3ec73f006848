package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/internal/sim"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher"
	"github.com/watertight-go/watertight/publisher/load"
)

// shop is a store and an outside world that outlive the processes that serve.
type shop struct {
	t     *testing.T
	world *sim.World
	stock string // file
	args  []string
}

func newShop(t *testing.T) *shop {
	t.Helper()
	world, err := sim.Start(context.Background(), sim.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	stock := filepath.Join(t.TempDir(), "stock.csv")
	if err := os.WriteFile(stock, []byte(load.StockCSV()), 0o600); err != nil {
		t.Fatal(err)
	}
	return &shop{t: t, world: world, stock: stock, args: []string{
		"serve", "--store", t.TempDir(), "--port", freePort(t), "--gateway", world.PaymentURL(), "--mail", world.MailAddr(), "--stock", stock,
		"--listen", "127.0.0.1:0", "--timeout", "2s", "--retry", "200ms,400ms,1s",
	}}
}

// freePort returns a port for the broker that it keeps over restarts. On the
// default port, a client of a killed broker would go on with whoever gets the port
// next: the broker of another test. It is none of those that the system gives to
// clients, or one of theirs might be faster.
func freePort(t *testing.T) string {
	t.Helper()
	for range 1000 {
		port := strconv.Itoa(20_000 + (os.Getpid()*97+int(ports.Add(1)))%10_000)
		l, err := net.Listen("tcp", "127.0.0.1:"+port) //nolint:noctx // a listener on loopback
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatal("no port is free")
	return ""
}

// ports counts those that were given away.
var ports atomic.Int64

// serve starts a process on the store and returns where its server is, and where
// it answers about itself.
func (s *shop) serve() (p *process, nats, http string) {
	s.t.Helper()
	p = start(s.t, s.args...)
	e := p.await("serve.started")
	return p, text(s.t, e, "nats"), text(s.t, e, "http")
}

// orders returns well-formed orders, the same for the same seed but for their ids.
func orders(seed uint64, n int) []order.Order {
	all := make([]order.Order, 0, n)
	for i := range n {
		all = append(all, load.Orders{Seed: seed}.Order(i, time.Now()))
	}
	return all
}

// place places orders, several at a time, until all are stored or the server is
// gone; it returns those that it has no ack of. Stored is told of every ack.
func place(t *testing.T, url string, all []order.Order, stored func()) (rest []order.Order) {
	t.Helper()
	conn := connect(t, url)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	pipeline := publisher.New(conn).Pipeline(64)
	var mu sync.Mutex
	for _, o := range all {
		err := pipeline.Place(ctx, o, func(_ broker.Receipt, err error) {
			if err == nil {
				stored()
				return
			}
			mu.Lock()
			defer mu.Unlock()
			rest = append(rest, o)
			cancel() // the server is gone: what follows would only wait
		})
		if err != nil {
			mu.Lock()
			rest = append(rest, o)
			mu.Unlock()
		}
	}
	if err := pipeline.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return rest
}

// settled waits until every service has a final outcome of every order.
func settled(t *testing.T, url string, all []order.Order) {
	t.Helper()
	conn := connect(t, url)
	open := make(map[string]bool)
	for _, s := range order.Services() {
		for _, o := range all {
			open[string(s)+" "+o.ID] = true
		}
	}
	next := followOutcomes(t, conn)
	for len(open) > 0 {
		for _, o := range next() {
			if o.result.Final() {
				delete(open, string(o.service)+" "+o.orderID)
			}
		}
	}
}

// outcome is what a service decided about an order.
type outcome struct {
	service order.Service
	orderID string
	result  order.Result
}

// followOutcomes reads OUTCOMES from its start and on, those of a message a call.
func followOutcomes(t *testing.T, conn *broker.Conn) (next func() []outcome) {
	t.Helper()
	message := follow(t, conn, broker.StreamOutcomes)
	return func() []outcome {
		t.Helper()
		m := message()
		s, r, _ := broker.SplitOutcome(m.Subject())
		settled, err := broker.Outcomes(m.Headers(), m.Data())
		if err != nil {
			t.Fatal(err)
		}
		var all []outcome
		for _, one := range settled {
			all = append(all, outcome{s, one.OrderID, r})
		}
		return all
	}
}

// follow reads a stream from its start and on, a message a call.
func follow(t *testing.T, conn *broker.Conn, stream string) (next func() jetstream.Msg) {
	t.Helper()
	c, err := conn.JetStream().OrderedConsumer(t.Context(), stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := c.Messages()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(messages.Stop)
	return func() jetstream.Msg {
		t.Helper()
		m, err := messages.Next(jetstream.NextMaxWait(patience))
		if err != nil {
			t.Fatalf("nothing more came in %s: %v", stream, err)
		}
		return m
	}
}

// nothingLost runs the audit and looks at what was done outside.
func (s *shop) nothingLost(url string, accepted, repeats int) {
	s.t.Helper()
	for _, a := range audited(s.t, url) {
		if a.Accepted != accepted || a.Done != accepted {
			s.t.Errorf("audit: got %+v, want all of %d done", a, accepted)
		}
	}
	c := s.world.Counts()
	if c.Payment.OrdersCharged != accepted || c.Payment.DoubledByOrder != 0 || c.Payment.DoubledByKey != 0 {
		s.t.Errorf("gateway: got %+v, want %d orders charged once", c.Payment, accepted)
	}
	if c.Mail.Mails-c.Mail.Repeated != accepted || c.Mail.Repeated > repeats {
		s.t.Errorf("mail: got %+v, want %d mails and at most %d repeated", c.Mail, accepted, repeats)
	}
}

func TestServe_LosesNothingHoweverItEnds(t *testing.T) {
	const n = 1500
	for name, tt := range map[string]struct {
		signal  syscall.Signal
		code    int
		repeats int // mails, at most
	}{
		// The broker dies as well, and forgets the acknowledgements of its last
		// moments: those orders are handled again, however many they are.
		"kill -9": {syscall.SIGKILL, -1, n},
		"Ctrl-C":  {syscall.SIGINT, exitInterrupted, 0},
		"SIGTERM": {syscall.SIGTERM, exitByTermSignal, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			all := orders(1, n)

			first, url, _ := s.serve()
			var acks atomic.Int32
			rest := place(t, url, all, func() {
				if acks.Add(1) == n/2 {
					first.signal(tt.signal)
				}
			})
			if code := first.wait(); code != tt.code {
				t.Errorf("exit code: got %d, want %d", code, tt.code)
			}

			second, url, http := s.serve()
			if left := place(t, url, rest, func() {}); len(left) > 0 {
				t.Fatalf("%d orders could not be placed after the restart", len(left))
			}
			settled(t, url, all)
			s.nothingLost(url, n, tt.repeats)
			for _, service := range order.Services() {
				if _, metrics := get(t, http+"/metrics"); !strings.Contains(metrics, fmt.Sprintf(`watertight_deliveries_total{service=%q,verdict="done"}`, service)) {
					t.Errorf("%s had nothing left to do after the restart: the signal struck nothing", service)
				}
			}
			second.signal(syscall.SIGTERM)
			if code := second.wait(); code != exitByTermSignal {
				t.Errorf("exit code of a graceful stop: got %d, want %d", code, exitByTermSignal)
			}
		})
	}
}

func TestServe_TellsAboutItself(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p, url, http := s.serve()
	all := orders(2, 20)
	if rest := place(t, url, all, func() {}); len(rest) > 0 {
		t.Fatalf("%d orders could not be placed", len(rest))
	}
	settled(t, url, all)

	for _, path := range []string{"/livez", "/readyz"} {
		if status, body := get(t, http+path); status != 200 || !strings.Contains(body, `"status":"ok"`) {
			t.Errorf("GET %s: got %d %s, want 200 ok", path, status, body)
		}
	}
	if status, _ := get(t, http+"/nothing"); status != 404 {
		t.Errorf("GET /nothing: got %d, want 404", status)
	}

	// An outcome is stored before it is counted.
	metrics, missing := "", []string{}
	for deadline := time.Now().Add(patience); ; {
		if _, metrics = get(t, http+"/metrics"); time.Now().After(deadline) {
			t.Fatalf("/metrics has no %q:\n%s", missing, metrics)
		}
		missing = slices.DeleteFunc([]string{
			`watertight_deliveries_total{service="payment",verdict="done"} 20`,
			`watertight_deliveries_total{service="notification",verdict="done"} 20`,
			`watertight_bulkhead_slots{service="inventory"} 16`,
			`watertight_bulkhead_in_use{service="inventory"} 0`,
			`watertight_bulkhead_ghosts{service="payment"} 0`,
			`watertight_breaker_state{service="payment"} 0`,
			`watertight_dead_letters{service="payment"} 0`,
			`watertight_watchdog_alarms{kind="stranded"} 0`,
			`watertight_end_to_end_duration_seconds_count{service="payment"} 20`,
			`watertight_build_info{`,
			`go_goroutines`,
			`process_open_fds`,
		}, func(want string) bool { return strings.Contains(metrics, want) })
		if len(missing) == 0 {
			break
		}
	}
	problems, err := promlint.New(strings.NewReader(metrics)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		if strings.HasPrefix(problem.Metric, "watertight_") {
			t.Errorf("metric %s: %s", problem.Metric, problem.Text)
		}
	}

	p.signal(syscall.SIGTERM)
	p.await("serve.stopped")
	if code := p.wait(); code != exitByTermSignal {
		t.Errorf("exit code: got %d, want %d", code, exitByTermSignal)
	}
}

func TestServe_AHungGatewayCostsNobodyElse(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.args = append(s.args, "--slots", "2")
	faults, err := sim.ParseFaults("hang")
	if err != nil {
		t.Fatal(err)
	}
	p, url, http := s.serve()
	if err := s.world.Set(sim.Payment, faults); err != nil {
		t.Fatal(err)
	}
	all := orders(3, 8)
	if rest := place(t, url, all, func() {}); len(rest) > 0 {
		t.Fatalf("%d orders could not be placed", len(rest))
	}
	// The others go on: two outcomes an order come, and payment's don't.
	p.await("order.retried")
	if status, body := get(t, http+"/livez"); status != 200 {
		t.Errorf("GET /livez: got %d %s, want 200", status, body)
	}
	s.world.Clear(sim.Payment)
	settled(t, url, all)
	s.nothingLost(url, len(all), 0)
}

func TestServe_TwoOnOneStore(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.serve()
	program(t, "", s.args...).want(t, exitUsage, "store is in use by another process: stop it, or choose another folder with --store")
}

func TestServe_AProcessAService(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	shopArgs := s.args
	s.args = append(append([]string{}, shopArgs...), "inventory")
	_, url, _ := s.serve()
	all := orders(4, 10)
	if rest := place(t, url, all, func() {}); len(rest) > 0 {
		t.Fatalf("%d orders could not be placed", len(rest))
	}
	for _, args := range [][]string{
		{"serve", "payment", "-s", url, "--gateway", s.world.PaymentURL(), "--replicas", "1", "--timeout", "2s", "--retry", "200ms,400ms,1s", "--listen", "127.0.0.1:0"},
		{"serve", "notification", "-s", url, "--mail", s.world.MailAddr(), "--replicas", "1", "--timeout", "2s", "--retry", "200ms,400ms,1s", "--listen", "127.0.0.1:0"},
	} {
		start(t, args...).await("serve.started")
	}
	settled(t, url, all)
	s.nothingLost(url, len(all), 0)
}

// auditJSON is what `audit -o json` prints of a service.
type auditJSON struct {
	Service   order.Service `json:"service"`
	Accepted  int           `json:"accepted"`
	Done      int           `json:"done"`
	Waiting   int           `json:"waiting"`
	Running   int           `json:"running"`
	Dead      int           `json:"dead"`
	Discarded int           `json:"discarded"`
	Lost      int           `json:"lost"`
	Double    int           `json:"double"`
}

// audited runs the audit, which fails when an order is lost.
func audited(t *testing.T, url string) []auditJSON {
	t.Helper()
	r := program(t, "", "audit", "-s", url, "-o", "json")
	r.want(t, exitOK)
	var report struct {
		Services []auditJSON `json:"services"`
	}
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		t.Fatalf("audit: %v\n%s", err, r.stdout)
	}
	if len(report.Services) != len(order.Services()) {
		t.Fatalf("audit: got %d services, want %d\n%s", len(report.Services), len(order.Services()), r.stdout)
	}
	return report.Services
}

// drained waits until nothing is on its way any more: every order is done or dead
// in each service.
func drained(t *testing.T, url string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		open := 0
		all := audited(t, url)
		for _, a := range all {
			if a.Accepted == 0 || a.Lost != 0 {
				t.Fatalf("audit: got %+v, want orders, none of them lost", a)
			}
			open += a.Waiting + a.Running
		}
		if open == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v there are still orders on their way: %+v", patience, all)
		}
	}
}
