package main

import (
	"context"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/internal/sim"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher"
	"github.com/watertight-go/watertight/publisher/load"
)

// fleet is a shop as it is deployed: a broker, an outside world, and a process a
// service.
type fleet struct {
	*shop
	store, port string
	broker      *process
	services    map[order.Service]*process
	killed      map[order.Service]int
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{
		shop: newShop(t), store: t.TempDir(), port: freePort(t),
		services: make(map[order.Service]*process), killed: make(map[order.Service]int),
	}
	f.broker = startBroker(t, f.store, f.port)
	for _, s := range order.Services() {
		f.start(s)
	}
	return f
}

func (f *fleet) url() string { return "nats://127.0.0.1:" + f.port }

// start starts a service, or starts it again.
func (f *fleet) start(s order.Service) {
	f.t.Helper()
	args := []string{"serve", string(s), "-s", f.url(), "--replicas", "1", "--listen", "127.0.0.1:0", "--timeout", "2s", "--retry", "200ms,400ms,1s"}
	switch s {
	case order.Payment:
		args = append(args, "--gateway", f.world.PaymentURL())
	case order.Notification:
		args = append(args, "--mail", f.world.MailAddr())
	default:
		args = append(args, "--stock", f.stock)
	}
	f.services[s] = start(f.t, args...)
	f.services[s].await("serve.started")
}

// kill is kill -9, and a start.
func (f *fleet) kill(s order.Service) {
	f.t.Helper()
	f.services[s].kill()
	f.killed[s]++
	f.start(s)
}

// sell places orders until ctx ends and returns those that are stored. One whose
// ack was lost is placed again.
func (f *fleet) sell(ctx context.Context, conn *broker.Conn, every time.Duration) []order.Order {
	pipeline := publisher.New(conn).Pipeline(256)
	var (
		mu     sync.Mutex
		stored []order.Order
		tick   = time.NewTicker(every)
	)
	defer tick.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		o := load.Orders{Seed: 8}.Order(i, time.Now())
		err := pipeline.Place(f.t.Context(), o, func(_ broker.Receipt, err error) {
			if err != nil {
				f.t.Errorf("order %d: %v", i, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			stored = append(stored, o)
		})
		if err != nil {
			f.t.Error(err)
			break
		}
		<-tick.C
	}
	if err := pipeline.Close(f.t.Context()); err != nil {
		f.t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	return stored
}

// kills is how many services are killed; every tenth kill takes the broker as well.
// `make kills` asks for 200.
var kills = flag.Int("kills", 20, "how many services the test of kills under load kills")

func TestServe_KillsUnderLoad(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))

	ctx, enough := context.WithCancel(t.Context())
	sold, conn := make(chan []order.Order), connect(t, f.url())
	go func() { sold <- f.sell(ctx, conn, 5*time.Millisecond) }()
	brokers := 0
	for i := range *kills {
		f.awaitWork(1 + dice.IntN(60))
		if i%10 == 9 {
			f.killBroker()
			brokers++
		}
		f.kill(order.Services()[dice.IntN(len(order.Services()))])
	}
	enough()
	all := <-sold
	settled(t, f.url(), all)
	f.nothingLost(f.url(), len(all), (f.killed[order.Notification]+brokers)*slotsOfServe)
	if got := f.reserved(); got != len(all) {
		t.Errorf("the stock log has %d reservations, want one for each of %d orders", got, len(all))
	}
	t.Logf("%d orders, killed %v and the broker %d times, mails repeated %d", len(all), f.killed, brokers, f.world.Counts().Mail.Repeated)
}

// slotsOfServe is how many handlers of a service run at a time.
const slotsOfServe = 16

// awaitWork waits until so much more was done in the world.
func (f *fleet) awaitWork(more int) {
	f.t.Helper()
	before := f.world.Counts()
	wait, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	err := f.world.Await(wait, func(now sim.Counts) bool {
		return now.Payment.Charges-before.Payment.Charges >= more || now.Mail.Mails-before.Mail.Mails >= more
	})
	if err != nil {
		f.t.Fatalf("nothing was done any more: %v", err)
	}
}

func (f *fleet) killBroker() {
	f.t.Helper()
	f.broker.kill()
	f.broker = startBroker(f.t, f.store, f.port)
}

// reserved counts the orders in the stock log, and fails the test when one is there
// twice.
func (f *fleet) reserved() int {
	f.t.Helper()
	conn := connect(f.t, f.url())
	s, err := conn.JetStream().Stream(f.t.Context(), broker.StreamStock)
	if err != nil {
		f.t.Fatal(err)
	}
	next := follow(f.t, conn, broker.StreamStock)
	seen := make(map[string]bool)
	for range s.CachedInfo().State.Msgs {
		var entry struct {
			Orders []struct {
				ID string `json:"id"`
			} `json:"orders"`
		}
		if err := json.Unmarshal(next().Data(), &entry); err != nil {
			f.t.Fatal(err)
		}
		for _, o := range entry.Orders {
			if seen[o.ID] {
				f.t.Errorf("order %s is reserved twice", o.ID)
			}
			seen[o.ID] = true
		}
	}
	return len(seen)
}

func TestServe_TheBrokerIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	const times = 5
	f := newFleet(t)
	ctx, enough := context.WithCancel(t.Context())
	sold, conn := make(chan []order.Order), connect(t, f.url())
	go func() { sold <- f.sell(ctx, conn, 5*time.Millisecond) }()
	for range times {
		f.awaitWork(40)
		f.killBroker()
	}
	enough()
	all := <-sold
	settled(t, f.url(), all)
	// A broker that is killed forgets which orders were acknowledged last. Those that a
	// service remembers aren't handled again; those in a slot just then may be.
	f.nothingLost(f.url(), len(all), times*slotsOfServe)
	t.Logf("%d orders, mails repeated %d", len(all), f.world.Counts().Mail.Repeated)
	for s, p := range f.services {
		select {
		case <-p.ended:
			t.Errorf("%s has ended", s)
		default:
		}
	}
}
