// Package bulkhead keeps one service's overload from sinking its neighbours:
// it bounds how many functions run at once, how many callers wait for their
// turn, and how long anybody waits.
//
//	Do ───────┐                    ┌─ slot ─▶ fn(ctx) ──▶ result
//	Submit ───┼──▶ [ queue ░░▒▒ ] ─┼─ slot ─▶ fn(ctx) ──▶ timeout ─▶ *TimeoutError, at once
//	          │         │ full     └─ slot ─▶ fn(ctx)        └─ ghost: keeps its slot until fn returns
//	Acquire ──┘         └──▶ *Rejection
//
// A free slot is an entry in a buffered channel, and so is a place in the
// waiting room. There are three ways in, with one accounting behind them:
//
//   - [Do] calls a function in a slot and returns its result.
//   - [Bulkhead.Submit] and [Bulkhead.TrySubmit] hand a [Task] over.
//   - [Bulkhead.Acquire] and [Bulkhead.Take] give a [Credit], a slot taken in
//     advance, to callers who fetch their work from elsewhere and want to
//     fetch no more than they can start.
//
// In each of them who came first is served first, and when several wait, each
// way in is served at its turn.
//
// # Timeouts and ghosts
//
// [Config.Timeout] bounds one run, not the wait for a slot. At the timeout the
// caller is told and goes on, but the function may still be running, as
// nothing in Go can stop it. Such a function is a ghost: its slot stays taken
// until it really returns, so that what the bulkhead says it bounds is
// bounded. [Stats] counts ghosts; a bulkhead with nothing else is Flooded.
//
// There are three ways to run under a timeout:
//
//   - [Do], as it is: in the slot's own goroutine. It returns at the timeout,
//     whatever the function does, and costs two switches of goroutines.
//   - [Do], with [Config.Cooperative]: in the caller's goroutine. It returns
//     when the function does, so the function must heed its context. It costs
//     a third of context.WithTimeout.
//   - a [Task] under a [Credit]: in the worker's goroutine. Done is called at
//     the timeout, whatever Run does, and it costs no switch.
//
// The context of a run under a timeout is as good as one made by
// context.WithTimeout, and costs next to nothing until somebody asks it for
// Done.
//
// # Order of the checks
//
// Closed, context, breaker, and if it must wait, its deadline; then a slot, the
// rate, and now that it could start, deadline and breaker again. A context that
// is already done is never admitted, and when a slot and a cancellation come
// together, the cancellation wins. Nothing that was refused has run, and what
// it had taken by then it has given back.
//
// # Errors
//
// A refusal is a [*Rejection], one of [ErrFull], [ErrWaited], [ErrOpen],
// [ErrRate], [ErrLate], [ErrClosed] to errors.Is. A timeout is a
// [*TimeoutError], a panic or runtime.Goexit a [*PanicError]. A caller whose
// context ends gets the context's cause. Everything else is what the function
// returned.
//
// # Stopping
//
// [Bulkhead.Drain] stops admitting, hands back what is queued and waits for
// what runs. A bulkhead that starts goroutines, one a slot and only when a
// slot first needs one, keeps them until it is drained or closed.
package bulkhead

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Bulkhead is a compartment: a number of slots, a waiting room, and what
// guards them. Its methods may be called together by any number of
// goroutines. It must be made by [New] and not be copied.
type Bulkhead struct {
	cfg   Config // defaults filled in
	epoch time.Time

	slots              []slot
	free               chan *slot       // who takes one out owns it
	toCaller, toCredit chan *slot       // from one who gives a slot back to one who waits
	room               chan struct{}    // a place a waiter: callers of Do, tasks in the queue
	tasks              chan *assignment // the queue of tasks; each has its place in room
	turn               chan struct{}    // who holds it is at the head of Acquire's waiters

	watch    atomic.Int64  // reasons for a slot that comes back not to be just free: tasks, a credit's taker, owed ones
	turns    atomic.Uint32 // whose turn is the next slot: tasks', callers' or credits'
	breaker  *breaker      // nil: none
	meter    *meter        // nil: no rate
	forecast *forecast     // nil: no admission by deadlines
	plain    bool          // a free slot is all that is needed
	clocked  bool          // a run's start matters
	curious  bool          // how long a run took matters
	learns   bool          // there is a breaker or a forecast

	sizing        sync.Mutex   // guards what changes the number of slots
	spare         []*slot      // not in use for now
	target, total atomic.Int64 // slots there are to be; slots there are
	owed          atomic.Int64 // of total, to be withdrawn when they come back

	base     context.Context // parent of every task's context
	cancel   context.CancelCauseFunc
	timedOut *TimeoutError
	ended    context.Context // canceled
	expired  context.Context // canceled by its deadline
	never    chan struct{}   // is never closed
	refused  [reasons]Rejection

	closed  atomic.Bool
	closing chan struct{}
	gone    chan struct{} // closed when nothing that the bulkhead owns is left
	once    sync.Once     // closes gone
	alive   atomic.Int64  // slots not gone for good, their goroutines, settlings of timers

	endedAtClose uint64 // runs that had ended by then; set before closing is closed
	counts       counters
}

// New makes a bulkhead. It starts no goroutine. The error, if cfg can't be
// used, names the field.
func New(cfg Config) (*Bulkhead, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	b := &Bulkhead{
		cfg:      cfg,
		epoch:    time.Now().Add(-1), // so that now is never 0
		slots:    make([]slot, cfg.MaxSlots),
		free:     make(chan *slot, cfg.MaxSlots),
		toCaller: make(chan *slot),
		toCredit: make(chan *slot),
		room:     make(chan struct{}, cfg.Queue),
		tasks:    make(chan *assignment, cfg.Queue),
		turn:     make(chan struct{}, 1),
		timedOut: &TimeoutError{Bulkhead: cfg.Name, After: cfg.Timeout},
		closing:  make(chan struct{}),
		gone:     make(chan struct{}),
		never:    make(chan struct{}),
	}
	b.base, b.cancel = context.WithCancelCause(context.Background())
	b.ended, b.expired = endedContexts(b.timedOut)
	for i := range b.refused {
		b.refused[i] = Rejection{Bulkhead: cfg.Name, Reason: Reason(i), b: b}
	}
	if cfg.Breaker != nil {
		b.breaker = newBreaker(*cfg.Breaker, b.now, cfg.Hooks.StateChanged)
	}
	if cfg.RatePerSecond > 0 {
		b.meter = newMeter(cfg.RatePerSecond, cfg.Burst, func() time.Time { return b.at(b.now()) })
	}
	if cfg.Admission != nil {
		b.forecast = &forecast{deviations: cfg.Admission.Deviations}
	}
	b.learns = b.breaker != nil || b.forecast != nil
	b.curious = b.forecast != nil || b.breaker != nil && cfg.Breaker.SlowAfter > 0
	b.plain = !b.learns && b.meter == nil && cfg.Hooks.Admitted == nil
	b.clocked = b.curious || cfg.Timeout > 0

	b.alive.Store(int64(cfg.MaxSlots))
	b.total.Store(int64(cfg.Slots))
	b.target.Store(int64(cfg.Slots))
	for i := range b.slots {
		s := &b.slots[i]
		if s.init(b, i); i < cfg.Slots {
			b.free <- s
		} else {
			b.spare = append(b.spare, s)
		}
	}
	return b, nil
}

// Timeout is [Config.Timeout], from which a consumer computes how long a
// message may stay unacknowledged. Zero means that runs are not bounded.
func (b *Bulkhead) Timeout() time.Duration { return b.cfg.Timeout }

// Force puts the breaker into a state for an operator: [Open] refuses and
// [Closed] admits, whatever the counts say, until Force(Auto) gives control
// back, with the breaker closed and its window empty. [HalfOpen] ends an open
// breaker's wait: it probes now and decides from there by itself. Without a
// breaker Force does nothing.
func (b *Bulkhead) Force(s State) {
	if b.breaker != nil {
		b.breaker.force(s)
	}
}

// ReadyAt says when to come back, and for how many credits: the zero time
// means now, and a closed breaker has room for every slot. An open breaker
// answers with the end of its wait and [BreakerConfig.Probes]. No probes at
// all means that time alone won't tell, as while every probe is still out or
// an operator forced the breaker open; Acquire waits for that too.
func (b *Bulkhead) ReadyAt() (at time.Time, probes int) {
	if b.breaker == nil {
		return time.Time{}, int(b.target.Load())
	}
	until, probes := b.breaker.readyAt()
	if probes == math.MaxInt {
		probes = int(b.target.Load())
	}
	if until == 0 {
		return time.Time{}, probes
	}
	return b.at(until), probes
}

// Opened returns a channel that is closed when the breaker opens, and is closed
// already while it is open. It is for those who would rather give up than wait in
// Acquire until the breaker probes. Without a breaker it is nil.
func (b *Bulkhead) Opened() (opened <-chan struct{}) {
	if b.breaker != nil {
		b.breaker.look(func(int64) { opened = b.breaker.opened })
	}
	return opened
}

// now is the monotonic time since the bulkhead was made, in nanoseconds.
func (b *Bulkhead) now() int64 { return int64(time.Since(b.epoch)) }

// at is the time that now was.
func (b *Bulkhead) at(now int64) time.Time { return b.epoch.Add(time.Duration(now)) }

// reject counts a refusal and returns the one value there is for it.
func (b *Bulkhead) reject(why Reason) error {
	b.counts.rejected[why].Add(1)
	r := &b.refused[why]
	if h := b.cfg.Hooks.Rejected; h != nil {
		h(r)
	}
	return r
}
