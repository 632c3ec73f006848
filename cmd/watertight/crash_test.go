package main

import (
	"context"
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

func TestServe_TwentyKillsUnderLoad(t *testing.T) {
	t.Parallel()
	const kills = 20
	f := newFleet(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))

	ctx, enough := context.WithCancel(t.Context())
	sold, conn := make(chan []order.Order), connect(t, f.url())
	go func() { sold <- f.sell(ctx, conn, 5*time.Millisecond) }()
	for i := range kills {
		// The next kill comes when something was done since the last: the world
		// says when.
		before := f.world.Counts()
		want := 1 + dice.IntN(60)
		wait, cancel := context.WithTimeout(t.Context(), patience)
		err := f.world.Await(wait, moved(before, want))
		cancel()
		if err != nil {
			t.Fatalf("before kill %d nothing was done any more: %v", i+1, err)
		}
		f.kill(order.Services()[dice.IntN(len(order.Services()))])
	}
	enough()
	all := <-sold
	settled(t, f.url(), all)
	f.nothingLost(f.url(), len(all), f.killed[order.Notification]*16)
	t.Logf("%d orders, killed %v, mails repeated %d", len(all), f.killed, f.world.Counts().Mail.Repeated)
}

func TestServe_TheBrokerIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	const kills = 5
	f := newFleet(t)
	ctx, enough := context.WithCancel(t.Context())
	sold, conn := make(chan []order.Order), connect(t, f.url())
	go func() { sold <- f.sell(ctx, conn, 5*time.Millisecond) }()
	for range kills {
		before := f.world.Counts()
		wait, cancel := context.WithTimeout(t.Context(), patience)
		err := f.world.Await(wait, moved(before, 40))
		cancel()
		if err != nil {
			t.Fatalf("nothing was done any more: %v", err)
		}
		f.broker.kill()
		f.broker = startBroker(t, f.store, f.port)
	}
	enough()
	all := <-sold
	settled(t, f.url(), all)
	// A broker that is killed forgets which orders were acknowledged last. Those that a
	// service remembers aren't handled again; those in a slot just then may be.
	f.nothingLost(f.url(), len(all), kills*16)
	t.Logf("%d orders, mails repeated %d", len(all), f.world.Counts().Mail.Repeated)
	for s, p := range f.services {
		select {
		case <-p.ended:
			t.Errorf("%s has ended", s)
		default:
		}
	}
}

// moved tells when the world was asked for so much more than before.
func moved(before sim.Counts, by int) func(sim.Counts) bool {
	return func(now sim.Counts) bool {
		return now.Payment.Charges-before.Payment.Charges >= by || now.Mail.Mails-before.Mail.Mails >= by
	}
}
