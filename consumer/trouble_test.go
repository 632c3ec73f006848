package consumer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

// events counts what is logged, by its stable name.
type events struct {
	mu     sync.Mutex
	counts map[string]int
}

func (e *events) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for line := range bytes.Lines(p) {
		var l struct {
			Event string `json:"event"`
		}
		if err := json.Unmarshal(line, &l); err != nil {
			return 0, err
		}
		if e.counts == nil {
			e.counts = make(map[string]int)
		}
		e.counts[l.Event]++
	}
	return len(p), nil
}

func (e *events) count(event string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts[event]
}

// alter changes a stream's configuration.
func (s *shop) alter(stream string, change func(*jetstream.StreamConfig)) {
	s.t.Helper()
	st, err := s.conn.JetStream().Stream(context.Background(), stream)
	if err != nil {
		s.t.Fatal(err)
	}
	cfg := st.CachedInfo().Config
	change(&cfg)
	if _, err := s.conn.JetStream().UpdateStream(context.Background(), cfg); err != nil {
		s.t.Fatal(err)
	}
}

// fate is a kind of verdict, and what the broker stores for it.
type fate struct {
	err    error
	stream string
	stored string // subject
}

func fates() map[string]fate {
	return map[string]fate{
		"outcome": {nil, broker.StreamOutcomes, "outcomes.payment.authorized"},
		"retry":   {errors.New("no answer"), "RETRY_PAYMENT", "retry.payment.t1"},
		"letter":  {order.Reject(errors.New("unknown SKU")), broker.StreamDeadLetters, "dlq.payment.rejected"},
	}
}

// Whatever can't be stored for whatever reason: nothing is acknowledged, nothing
// more is pulled, readiness says why, there is one alarm, and all goes on by itself.
func TestTrouble_NothingIsLostWhileNothingCanBeStored(t *testing.T) {
	type blow struct {
		strike, mend func(p *processes, f fate)
		away         int // orders that the broker takes back from us
	}
	blows := map[string]blow{
		"the stream is full": {
			func(p *processes, f fate) {
				p.alter(f.stream, func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 })
				if _, err := p.conn.Store(context.Background(), broker.Message{Subject: f.stored, ID: "filler", Header: nats.Header{"Retry-Delay": {"100h"}}}); err != nil {
					p.t.Fatal(err)
				}
			},
			func(p *processes, f fate) { p.alter(f.stream, func(c *jetstream.StreamConfig) { c.MaxMsgs = -1 }) },
			0,
		},
		"nobody takes the subject": {
			func(p *processes, f fate) {
				p.alter(f.stream, func(c *jetstream.StreamConfig) { c.Subjects = []string{"elsewhere." + c.Name} })
			},
			func(p *processes, f fate) {
				first, _, _ := strings.Cut(f.stored, ".")
				p.alter(f.stream, func(c *jetstream.StreamConfig) {
					if c.Subjects = []string{first + ".*.*"}; first == "retry" {
						c.Subjects = []string{"retry.payment.*"}
					}
				})
			},
			0,
		},
		"the permission is revoked": {
			func(p *processes, f fate) { p.deny(f.stored) },
			func(p *processes, f fate) { p.deny("nothing") },
			0,
		},
		"the broker is away": {
			func(p *processes, f fate) { p.server.Stop() },
			func(p *processes, f fate) { p.server.Restart() },
			1,
		},
	}
	for blowName, b := range blows {
		for fateName, f := range fates() {
			t.Run(blowName+", "+fateName, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { trouble(t, b.strike, b.mend, f, b.away) })
			})
		}
	}
}

func trouble(t *testing.T, strike, mend func(*processes, fate), f fate, away int) {
	p := newGuarded(t)
	var (
		log   events
		calls = make(map[string]int)
		mu    sync.Mutex
		hold  = make(chan struct{})
	)
	g, _ := p.worker.group(handle(func(_ context.Context, o order.Order) (order.Outcome, error) {
		mu.Lock()
		calls[o.ID]++
		mu.Unlock()
		<-hold
		return authorized, f.err
	}), func(c *consumer.Config, b *bulkhead.Config) {
		c.Log = zerolog.New(&log)
		c.Policy.Retry = []time.Duration{100 * time.Hour, 100 * time.Hour, 100 * time.Hour, 100 * time.Hour}
		b.Timeout = 5 * time.Second
	})
	for range 12 {
		p.placeOne()
	}
	pass(time.Second)
	// Four are in hand when it strikes.
	strike(p, f)
	close(hold)
	pass(20 * time.Second)
	if err := g.Check(); err == nil || !strings.Contains(err.Error(), "nothing can be settled since") {
		t.Errorf("Check() = %v, want why nothing can be settled", err)
	}
	mu.Lock()
	equal(t, "orders handled when it struck", len(calls), 4)
	mu.Unlock()
	pass(5 * time.Minute) // longer than the broker remembers ids
	mend(p, f)
	pass(2 * time.Minute)
	if err := g.Check(); err != nil {
		t.Errorf("Check() = %v when it is over, want nil", err)
	}
	if f.stream == broker.StreamOutcomes {
		// One that shared a message may be there twice: the message was under way
		// when the broker went, and the order has come again since.
		equal(t, "done", p.account().Done, 12)
	} else {
		got := p.subjects(f.stream)[f.stored]
		if got == 13 {
			got-- // the filler
		}
		equal(t, "stored", got, 12)
	}
	equal(t, "alarms", log.count("egress.failed"), 1)
	equal(t, "all clear", log.count("egress.resumed"), 1)
	if n := log.count("pull.failed"); n > 2*6 {
		t.Errorf("%d warnings that no orders come, want at most one a lane and time that the broker went", n)
	}
	total := 0
	for _, n := range calls {
		total += n
	}
	// Three of the four in hand were handed back. The fourth was kept, unless
	// the broker was away too long to hear that.
	if total > 12+3+away {
		t.Errorf("the handler was called %d times for 12 orders, want at most %d", total, 12+3+away)
	}
	p.settled()
}

// newGuarded returns a shop whose worker's permissions can be changed.
func newGuarded(t *testing.T) *processes {
	p := &processes{end: make(chan struct{}), denied: "nothing"}
	p.server = brokertest.StartWith(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "operator", Password: "o"},
			{Username: "worker", Password: "w", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Deny: []string{p.denied}},
			}},
		}
	})
	p.shop = &shop{t: t, conn: p.server.Connect(nats.UserInfo("operator", "o"))}
	p.desk = deadletter.New(p.conn, "tester")
	brokertest.Provision(t, p.conn, planOf(order.Payment))
	p.worker = &shop{t: t, conn: p.server.Connect(nats.UserInfo("worker", "w"))}
	return p
}

// deny takes a worker's permission for a subject away, and gives it back all
// others; the broker is restarted for it.
func (p *processes) deny(subject string) {
	p.denied = subject
	p.server.Restart()
}

// While letters can't be stored, outcomes can: that tells nothing of letters, and
// must not have the group take orders by turns.
func TestTrouble_AnotherFateThatIsStoredDoesNotEndIt(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		s.alter(broker.StreamDeadLetters, func(c *jetstream.StreamConfig) { c.Subjects = []string{"elsewhere"} })
		var (
			log   events
			mu    sync.Mutex
			calls int
		)
		g, _ := s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			mu.Lock()
			calls++
			n := calls
			mu.Unlock()
			if n == 1 {
				return order.Outcome{}, order.Reject(errors.New("unknown SKU"))
			}
			time.Sleep(time.Duration(min(n, 4)) * 3 * time.Second) // it ends in the trouble
			return authorized, nil
		}), func(c *consumer.Config, b *bulkhead.Config) {
			c.Log, b.Timeout, c.Drain = zerolog.New(&log), 13*time.Second, time.Minute
			c.Settle = time.Second
		})
		for range 12 {
			s.placeOne()
		}
		pass(10 * time.Minute)
		mu.Lock()
		equal(t, "orders handled", calls, 4)
		mu.Unlock()
		equal(t, "alarms", log.count("egress.failed"), 1)
		equal(t, "all clear", log.count("egress.resumed"), 0)
		if g.Check() == nil {
			t.Error("Check() = nil while letters can't be stored")
		}
		s.alter(broker.StreamDeadLetters, func(c *jetstream.StreamConfig) { c.Subjects = []string{"dlq.*.*"} })
		pass(10 * time.Minute)
		equal(t, "letters", len(s.letters()), 1)
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 11})
		s.settled()
	})
}

// What is kept as the probe is handed back when the group stops.
func TestTrouble_StopHandsTheProbeBack(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		s.alter(broker.StreamOutcomes, func(c *jetstream.StreamConfig) { c.Subjects = []string{"elsewhere"} })
		_, stop := s.group(handle(settles), nil)
		s.placeOne()
		pass(time.Minute)
		begin := time.Now()
		stop()
		if took := time.Since(begin); took > 4*time.Second {
			t.Errorf("stopping took %v, want no more than a try to store", took)
		}
		s.alter(broker.StreamOutcomes, func(c *jetstream.StreamConfig) { c.Subjects = []string{"outcomes.*.*"} })
		s.group(handle(settles), nil)
		pass(time.Second)
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 1})
		s.settled()
	})
}

// Another instance that can store does the work meanwhile, but for the order that
// this one keeps: that is settled once, here, however long it takes.
func TestTrouble_TheProbeIsNotDoneTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newGuarded(t)
		g, _ := p.worker.group(handle(settles), nil)
		pass(time.Second)
		p.deny("outcomes.payment.authorized")
		p.placeOne()
		pass(20 * time.Second)
		if g.Check() == nil {
			t.Fatal("Check() = nil, want trouble: the test shows nothing")
		}
		p.group(handle(settles), nil) // the other instance
		for range 11 {
			p.placeOne()
		}
		pass(10 * time.Minute)
		equal(t, "outcomes meanwhile", p.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 11})
		p.deny("nothing")
		pass(10 * time.Minute)
		equal(t, "outcomes", p.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 12})
		p.settled()
	})
}
