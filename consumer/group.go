// Package consumer is the work: it takes orders from the broker, runs a
// service's handler on them inside a bulkhead, and settles each of them in a
// way that can't lose one.
//
//	ORDERS ──pull──▶ slot ─▶ Handler ─▶ Policy.Judge ─▶ Done  : outcomes.<service>.<result>, then ack
//	RETRY_… ─pull──▶  ▲                              ├▶ Retry : retry.<service>.<tier>,      then ack
//	   ▲              │ free slots are               └▶ Dead  : dlq.<service>.<reason>,      then ack
//	   └──────────────┼─────────────────────────────────┘
//	                  └ how many messages are asked for
//
// Everything may happen twice and nothing may happen zero times: what a delivery
// leads to is stored first and acknowledged then. A handler must therefore be
// idempotent by the order's ID.
package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/rejections"
)

// Handler does a service's work on one order. It steers what happens next by the
// error it returns: nil settles the order with the outcome, which must be final;
// order.Reject gives it up; order.RetryAfter asks for a later time; any other
// error is tried again by the policy. The same order may come more than once, and
// beside an attempt of its own that outlived its timeout.
type Handler interface {
	Handle(ctx context.Context, o order.Order) (order.Outcome, error)
}

// Fallbacker is a Handler that has an answer when an attempt fails. It is asked
// after each failed or timed-out attempt that would be tried again or is the
// last, not after order.Reject. A final outcome settles the order in place of the
// verdict; order.Pending is stored once, beside the first retry, so that the
// customer learns that nothing is decided; an error changes nothing.
type Fallbacker interface {
	Fallback(ctx context.Context, o order.Order, cause error) (order.Outcome, error)
}

// Config of a Group.
type Config struct {
	// Service names the group: its durables, its subjects, its metrics. All
	// processes with the same name share the work. Required.
	Service order.Service

	// Handler does the work. Required.
	Handler Handler

	// Policy says when a failed attempt is tried again. The provisioned topology
	// must have as many tiers; what waits in those that it has beyond is tried
	// as well.
	Policy Policy

	// Bulkhead bounds how many handlers run at a time, and each of them by its
	// Timeout, which must be set. Groups may share one. Required; the caller
	// drains it after Run has returned.
	Bulkhead *bulkhead.Bulkhead

	// RetryShare is how many slots returning retries may take at most, so that
	// a storm of them can't starve fresh orders. Defaults to a quarter of the
	// bulkhead's slots, at least one.
	RetryShare int

	// Settle is how long storing what became of an attempt may take, retried
	// meanwhile, before the order is handed back unsettled and pulling stops
	// until the broker stores again. Defaults to 5 s.
	Settle time.Duration

	// Drain is how long running handlers may go on after Run's context has
	// ended. Defaults to the bulkhead's Timeout and Settle.
	Drain time.Duration

	// Gate lets an order under which a process has ended run alone. All groups
	// of a process must share one. Nil means that this is the only group.
	Gate *Gate

	// Late is told what an attempt returned after its timeout had settled it.
	// It is too late to count: Late can only observe. Nil means it is logged.
	Late func(o order.Order, out order.Outcome, err error)

	// Rejections takes down what the group turns away: for want of a slot, by
	// the breaker or the rate, after the order's deadline. The caller runs it,
	// for longer than the group. Nil means that nothing is taken down.
	Rejections *rejections.Log

	// Log gets one line a verdict, "done" sampled under load. The zero value
	// logs nothing.
	Log zerolog.Logger

	// Metrics counts. Nil counts nothing.
	Metrics *Metrics

	// Instance and Version stand in dead letters.
	Instance, Version string
}

const defaultSettle = 5 * time.Second

// grace is what AckWait allows for scheduling, clocks and the network.
const grace = time.Second

// AckWait is how long the broker has to wait for the acknowledgement of a group
// with this timeout of a handler and time to settle: half of it a message may
// wait for a slot, in the other half it runs and is settled. Zero settle means
// the default.
func AckWait(timeout, settle time.Duration) time.Duration {
	if settle == 0 {
		settle = defaultSettle
	}
	return 2 * (timeout + settle + grace)
}

// Group is one service's subscriber group in this process.
type Group struct {
	cfg    Config
	conn   *broker.Conn
	desk   *deadletter.Desk
	done   zerolog.Logger // sampled
	fall   Fallbacker     // nil: none
	slots  int            // of the bulkhead
	share  *share         // of retries
	ramp   *ramp          // after the breaker has closed
	marks  *broker.Suspects
	outbox outbox
	recent recent
	tally  *tally
	pace   pace

	mu      sync.Mutex
	open    map[*delivery]struct{} // begun and not settled
	mute    map[string]trouble     // durables for which the broker doesn't answer
	running sync.WaitGroup         // one a delivery, until it is settled or handed back
	flood   flood
	paused  atomic.Pointer[time.Time] // until when, by an operator

	trouble  atomic.Pointer[trouble]
	probing  atomic.Bool   // an order is the probe of the trouble
	keep     time.Duration // how long an order is ours without the broker's word
	stopping chan struct{} // closed when no more is taken
}

// New returns a group that is not running yet, or what is wrong with its
// configuration.
func New(conn *broker.Conn, cfg Config) (*Group, error) {
	switch {
	case !broker.ValidService(cfg.Service):
		return nil, fmt.Errorf("new group: service %q: 1 to 32 lower-case letters, digits and inner dashes", cfg.Service)
	case cfg.Handler == nil:
		return nil, fmt.Errorf("new group %s: no handler", cfg.Service)
	case cfg.Bulkhead == nil:
		return nil, fmt.Errorf("new group %s: no bulkhead", cfg.Service)
	case cfg.Bulkhead.Timeout() <= 0:
		return nil, fmt.Errorf("new group %s: its bulkhead has no timeout, so no ack deadline can hold", cfg.Service)
	}
	if cfg.Settle <= 0 {
		cfg.Settle = defaultSettle
	}
	if cfg.Drain <= 0 {
		cfg.Drain = cfg.Bulkhead.Timeout() + cfg.Settle
	}
	slots := cfg.Bulkhead.Stats().Slots
	if cfg.RetryShare <= 0 {
		cfg.RetryShare = max(1, slots/4)
	}
	if cfg.Gate == nil {
		cfg.Gate = NewGate()
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	cfg.Log = cfg.Log.With().Str("service", string(cfg.Service)).Logger()
	g := &Group{
		cfg:   cfg,
		conn:  conn,
		desk:  deadletter.New(conn, string(cfg.Service)),
		done:  cfg.Log.Sample(&zerolog.BurstSampler{Burst: 5, Period: time.Second}),
		slots: slots,
		share: newShare(cfg.RetryShare),
		ramp:  newRamp(slots),
		open:  make(map[*delivery]struct{}),
		mute:  make(map[string]trouble),

		keep:     AckWait(cfg.Bulkhead.Timeout(), cfg.Settle) / 2,
		stopping: make(chan struct{}),
	}
	g.fall, _ = cfg.Handler.(Fallbacker)
	g.outbox.group = g
	g.pace.mean.Store(int64(cfg.Bulkhead.Timeout())) // until it is measured
	g.tally = cfg.Metrics.of(cfg.Service)
	cfg.Metrics.watch(cfg.Service, cfg.Bulkhead)
	return g, nil
}

// Run works until ctx ends, then stops in two steps and returns nil: it asks for
// no more, hands back what has not begun, and lets running handlers finish for
// the drain time; what is unsettled then is handed back too. A handler that still
// runs keeps its slot of the bulkhead, and what it does later is not counted.
//
// Run returns an error, having taken nothing, when the broker's durables are
// missing or can't hold the group's timing; and, having stopped as above, when the
// bulkhead was closed under it.
func (g *Group) Run(ctx context.Context) error {
	var err error
	if g.marks, err = g.conn.Suspects(ctx); err != nil {
		return unlessStopped(ctx, fmt.Errorf("run group %s: %w", g.cfg.Service, err))
	}
	lanes, err := g.lanes(ctx)
	if err != nil {
		return unlessStopped(ctx, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := make([]error, len(lanes))
	var wg sync.WaitGroup
	wg.Go(func() { g.watchPause(ctx) })
	for i, l := range lanes {
		wg.Go(func() {
			defer cancel() // one lane alone is no group
			stopped[i] = l.run(ctx)
		})
	}
	wg.Wait()
	g.drain()
	return errors.Join(stopped...)
}

// unlessStopped is err, or nil when ctx has ended: then nothing was to begin.
func unlessStopped(ctx context.Context, err error) error {
	select {
	case <-ctx.Done():
		return nil
	default:
		return err
	}
}

// drain waits for what runs, for the drain time; then hands it back.
func (g *Group) drain() {
	close(g.stopping)
	settled := make(chan struct{})
	go func() {
		g.running.Wait()
		close(settled)
	}()
	timer := time.NewTimer(g.cfg.Drain)
	defer timer.Stop()
	select {
	case <-settled:
	case <-timer.C:
		for _, d := range g.unsettled() {
			if d.claim() {
				g.release(d)
				g.forget(d)
			}
		}
		<-settled // what is being settled just now is bounded by Settle
	}
	if err := g.conn.NATS().FlushTimeout(flushLimit); err != nil {
		g.cfg.Log.Warn().Err(err).Str("event", "group.flush_failed").Msg("the last acknowledgements may not have arrived; their orders come again")
	}
}

// hold begins a delivery: from now on the drain looks after it.
func (g *Group) hold(d *delivery) {
	g.running.Add(1)
	g.mu.Lock()
	g.open[d] = struct{}{}
	g.mu.Unlock()
}

// run hands a delivery to its slot.
func (g *Group) run(c bulkhead.Credit, d *delivery) {
	d.begun = time.Now()
	c.Go(d)
}

// forget ends what hold began. Whoever claimed the delivery calls it, once.
func (g *Group) forget(d *delivery) {
	g.mu.Lock()
	delete(g.open, d)
	g.mu.Unlock()
	g.part(d)
	g.running.Done()
}

// part gives back what a delivery holds of the group's.
func (g *Group) part(d *delivery) {
	if d.ramped {
		g.ramp.end()
	}
	if d.probe {
		g.probing.Store(false)
	}
}

func (g *Group) unsettled() []*delivery {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]*delivery, 0, len(g.open))
	for d := range g.open {
		all = append(all, d)
	}
	return all
}

// release hands back a delivery that was begun: its process is alive.
func (g *Group) release(d *delivery) {
	g.clear(d, 0)
	g.handBack(d.msg, 0)
}

// handBack gives a message back to the broker, unsettled.
func (g *Group) handBack(m *nats.Msg, delay time.Duration) {
	if err := nak(g.conn.NATS(), m, delay); err != nil {
		// It comes again after the ack wait.
		g.cfg.Log.Warn().Err(err).Str("event", "order.hand_back_failed").Msg("order not handed back")
	}
}
