package consumer_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

// The timing of groups that are killed: the broker waits three seconds for them.
const (
	crashTimeout = 100 * time.Millisecond
	crashSettle  = 400 * time.Millisecond
)

// victims are who is killed at a chance.
type victims struct{ process, broker bool }

// quiet is when all that can happen afterwards has happened: redelivery, and where
// a process outlives its broker, what it hands back because it can't store.
func (v victims) quiet() time.Duration {
	if v.process {
		return 6 * time.Second
	}
	return 40 * time.Second
}

// trial is a shop whose process or broker is killed and succeeded by another one.
type trial struct {
	*shop
	world    *outside
	at       int // orders that come at a time
	services []order.Service
	retry    []time.Duration
	handler  func(order.Service, *life) consumer.Handler
	server   *brokertest.Server
	life     *life
	kill     func()   // ends the newest process
	stops    []func() // of all
}

func newTrial(t *testing.T, st story, services ...order.Service) *trial {
	t.Helper()
	x := &trial{
		world: &outside{story: st, requests: make(map[string]int)}, at: 1, services: services,
		retry: []time.Duration{time.Second, time.Second}, server: brokertest.Start(t),
	}
	x.handler = x.world.handler
	x.shop = &shop{t: t, conn: x.server.Connect()}
	x.desk = deadletter.New(x.conn, "operator")
	plan := broker.Plan{OrderBytes: 64 << 20}
	for _, s := range services {
		plan.Services = append(plan.Services, broker.Service{
			Name: s, Tiers: len(x.retry), AckWait: consumer.AckWait(crashTimeout, crashSettle), FromStart: true,
		})
	}
	brokertest.Provision(t, x.conn, plan)
	return x
}

// live starts a process with so many chances, and returns when it waits for orders.
func (x *trial) live(chances int64) {
	x.t.Helper()
	l := newLife(x.server, chances)
	one := &shop{t: x.t, conn: l.connect()}
	gate := consumer.NewGate()
	for _, service := range x.services {
		_, stop := one.group(x.handler(service, l), func(c *consumer.Config, b *bulkhead.Config) {
			c.Service, c.Settle, c.Gate = service, crashSettle, gate
			c.Policy.Retry = x.retry
			b.Name, b.Timeout = string(service), crashTimeout
		})
		x.stops = append(x.stops, stop)
	}
	x.life, x.kill = l, one.conn.NATS().Close
	synctest.Wait()
}

// stop ends all processes there were.
func (x *trial) stop() {
	for _, stop := range x.stops {
		stop()
	}
	x.stops = nil
}

// rest lets pass what is to happen, and has the killed succeeded at once.
func (x *trial) rest(kill victims) {
	x.t.Helper()
	select {
	case <-x.life.ended:
		if kill.process {
			x.kill()
		}
		if kill.broker {
			x.killBroker()
		}
		if kill.process {
			x.live(forEver)
		} else {
			x.life.revive()
		}
		time.Sleep(kill.quiet())
	case <-time.After(kill.quiet()):
	}
	synctest.Wait()
}

// killBroker starts the broker with what it has on its disk just now: the disk is
// taken away first, so that nothing that it writes while it stops is kept.
func (x *trial) killBroker() {
	x.t.Helper()
	synctest.Wait()
	store := x.server.Store()
	err := os.Rename(store, store+".kept")
	x.server.Stop()
	if err := errors.Join(err, os.RemoveAll(store), os.Rename(store+".kept", store)); err != nil {
		x.t.Fatal(err)
	}
	x.server.Restart()
}

// each kills at a process's first chance, at the next one's second, and so on, with
// new orders each, until one has passed all its chances. It returns how many processes
// that took.
func (x *trial) each(kill victims) int {
	x.t.Helper()
	for n := 1; ; n++ {
		x.world.mend(false)
		x.begin(n)
		first := x.life
		x.rest(kill)
		if x.world.replay {
			x.world.mend(true)
			for _, l := range x.letters() {
				if err := x.desk.Replay(context.Background(), l.Seq); err != nil {
					x.t.Errorf("replay at chance %d: %v", n, err)
				}
			}
			x.rest(kill)
		}
		x.stop()
		select {
		case <-first.ended:
		default:
			return n
		}
	}
}

// begin starts a process that is killed at its n-th chance, for new orders.
func (x *trial) begin(n int) {
	x.t.Helper()
	if !x.world.suspect {
		x.live(int64(n))
		for range x.at {
			x.placeOne()
		}
		return
	}
	x.placeOne()
	for range 2 {
		x.nak()
		pass(10 * time.Millisecond)
	}
	x.live(int64(n))
}

// verify checks that the orders of n processes have ended once in each service.
func (x *trial) verify(n int) {
	x.t.Helper()
	n *= x.at
	report, err := audit.Run(context.Background(), x.conn, x.services)
	if err != nil {
		x.t.Fatal(err)
	}
	for _, got := range report.Services {
		if x.at > 1 { // of a pack, what is stored again is there twice
			got.Double, got.Findings = 0, nil
		}
		want := audit.Account{Service: got.Service, Accepted: n, Done: n}
		if x.world.dead {
			want.Done, want.Dead = 0, n
		}
		equal(x.t, "account of "+string(got.Service)+", where a seq is the chance", got, want)
		equal(x.t, "waiting retries", len(x.subjects(broker.RetryStream(got.Service))), 0)
	}
	equal(x.t, "keys with which the world was asked", len(x.world.requests), n*len(x.services))
	for key, asked := range x.world.requests {
		// Once more for the one that was cut.
		if asked < x.world.asks || asked > x.world.asks+1 {
			x.t.Errorf("the world was asked %d times for %s, want %d or once more", asked, key, x.world.asks)
		}
	}
	letters := 0
	if x.world.dead {
		letters = n * len(x.services)
	}
	equal(x.t, "letters", len(x.letters()), letters)
}
