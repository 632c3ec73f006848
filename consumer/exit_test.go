package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

// What the environment tells a worker, which is this test binary run again.
const (
	workerURL    = "WATERTIGHT_TEST_WORKER_URL"
	workerPoison = "WATERTIGHT_TEST_WORKER_POISON" // id of the order that ends it
)

// died is how a worker's process ends at the poison.
const died = 3

// Of a worker's group: longer than any machine stalls, as nothing waits for it.
const (
	workerTimeout = 30 * time.Second
	workerSettle  = 30 * time.Second
)

// worker is a process of one group, until its standard input ends.
func worker(url string) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	conn, err := broker.Connect(ctx, broker.Config{URL: url})
	if err != nil {
		return fail(err)
	}
	defer conn.Close()
	pool, err := bulkhead.New(bulkhead.Config{Name: "payment", Slots: 4, Timeout: workerTimeout})
	if err != nil {
		return fail(err)
	}
	defer pool.Close()
	g, err := consumer.New(conn, consumer.Config{
		Service: order.Payment, Bulkhead: pool, Policy: consumer.Policy{Retry: ladder}, Settle: workerSettle,
		Handler: handle(func(_ context.Context, o order.Order) (order.Outcome, error) {
			if o.ID == os.Getenv(workerPoison) {
				os.Exit(died)
			}
			return authorized, nil
		}),
	})
	if err != nil {
		return fail(err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := g.Run(ctx); err != nil {
		return fail(err)
	}
	return 0
}

// A handler that calls os.Exit, in processes that really end.
func TestSuspect_OsExitCostsOneOrder(t *testing.T) {
	server := brokertest.StartListening(t, nil)
	conn := server.Connect()
	plan := planOf(order.Payment)
	ackWait := consumer.AckWait(workerTimeout, workerSettle)
	for i := range plan.Services {
		plan.Services[i].AckWait = ackWait
	}
	brokertest.Provision(t, conn, plan)
	s := &shop{t: t, conn: conn, desk: deadletter.New(conn, "tester")}
	for range 5 {
		s.placeOne()
	}
	poison := s.placeOne().ID
	for range 5 {
		s.placeOne()
	}

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	written := make(chan deadletter.Letter, 1)
	go func() {
		for l, err := range s.desk.Watch(ctx, deadletter.Filter{}) {
			if err == nil {
				written <- l
			}
			return
		}
	}()
	crashes := 0
	for {
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), workerURL+"="+server.URL(), workerPoison+"="+poison)
		cmd.Stderr = os.Stderr
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != died {
				t.Fatalf("the worker ended with %v after %d crashes, want exit status %d", err, crashes, died)
			}
			crashes++
			s.expire(ctx, ackWait)
			continue
		case l := <-written:
			equal(t, "order of the letter", l.Hop.OrderID, poison)
			equal(t, "its reason", l.Reason, deadletter.Poison)
			s.awaitSettled(ctx)
			if err := stdin.Close(); err != nil {
				t.Error(err)
			}
			if err := <-ended; err != nil {
				t.Errorf("the worker ended with %v when it was told to stop", err)
			}
		}
		break
	}
	// Two unmarked and three marked; one less, as expire delivers too.
	if crashes != 4 && crashes != 5 {
		t.Errorf("%d crashes, want 4 or 5", crashes)
	}
	equal(t, "letters", len(s.letters()), 1)
	// Each of them once: a process that ends before its acknowledgements leave it
	// has an outcome stored again.
	done := make(map[string]bool)
	s.read(broker.StreamOutcomes, func(_ string, all []broker.Settled) {
		for _, o := range all {
			done[o.OrderID] = true
		}
	})
	equal(t, "orders that are done", len(done), 10)
	equal(t, "the poison among them", done[poison], false)
}

// awaitSettled waits until payment has nothing left.
func (s *shop) awaitSettled(ctx context.Context) {
	s.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		unacked, pending := s.inHand(broker.StreamOrders, "payment")
		if unacked == 0 && pending == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("payment has %d orders unacknowledged and %d pending, want none", unacked, pending)
		}
	}
}

// expire ends the wait for acknowledgements that a dead worker left behind, so
// that the test needn't wait for it: while the ack wait is short, all of them are
// delivered, to us, and handed back.
func (s *shop) expire(ctx context.Context, ackWait time.Duration) {
	s.t.Helper()
	set := func(wait time.Duration) jetstream.Consumer {
		c, err := s.conn.JetStream().Consumer(ctx, broker.StreamOrders, "payment")
		if err != nil {
			s.t.Fatal(err)
		}
		cfg := c.CachedInfo().Config
		cfg.AckWait = wait
		if c, err = s.conn.JetStream().UpdateConsumer(ctx, broker.StreamOrders, cfg); err != nil {
			s.t.Fatal(err)
		}
		return c
	}
	c := set(time.Millisecond)
	held := make(map[uint64]jetstream.Msg)
	for {
		// The worker's last acknowledgements may be on their way: what is unacknowledged
		// is asked again and again.
		unacked, _ := s.inHand(broker.StreamOrders, "payment")
		if len(held) >= unacked {
			break
		}
		m, err := c.Next(jetstream.FetchMaxWait(100 * time.Millisecond))
		if errors.Is(err, nats.ErrTimeout) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			s.t.Fatalf("%d of %d unacknowledged orders had: %v", len(held), unacked, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			s.t.Fatal(err)
		}
		held[meta.Sequence.Stream] = m
	}
	set(ackWait)
	for _, m := range held {
		if err := m.Nak(); err != nil {
			s.t.Fatal(err)
		}
	}
}
