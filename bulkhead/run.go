package bulkhead

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// run is one run of a function that may be abandoned: by the slot's timer or,
// in Do, by a caller whose context ends. One compare-and-swap on state decides
// who tells what became of it. It is made anew for each run and is never
// reused, so whoever holds an old one can do no harm.
//
//	running ──▶ settled                       returned in time
//	        └─▶ abandoned ──▶ told ─▶ ended   a ghost; Done has returned before it
//	                      └─▶ ended ─▶ told   a ghost; Done is still busy
//
// Nobody is told of a cooperative one: it stays abandoned.
type run struct {
	b      *Bulkhead
	parent context.Context
	owner  owner // is told of a timeout; nil: its caller is busy with it
	pass   pass
	start  int64 // of the run; of its wait until then, 0 if that has not begun

	state       atomic.Uint32
	why         atomic.Uint32 // the context is over though the function still runs
	abandonedAt atomic.Int64

	// The context, when it is a real one.
	made   atomic.Bool
	making sync.Mutex
	std    context.Context
	cancel func()
}

// owner is what a run is part of: a call of Do's or an assignment.
type owner interface {
	// timedOut tells whoever waits that the run has been abandoned. It is
	// called once at most, on resident's own goroutine or on nobody's.
	timedOut(resident *slot)
}

const (
	running uint32 = iota
	settled
	abandoned
	told
	ended
)

// begin starts the clock of a run. It is called where a panic of the hook is
// caught.
func (r *run) begin(s *slot) {
	s.begun.Add(1)
	if r.b.clocked {
		r.start = r.b.now()
	}
	s.run.Store(r)
	if d := r.b.cfg.Timeout; d > 0 {
		s.arm(int64(d))
	}
	if h := r.b.cfg.Hooks.Admitted; h != nil {
		h(s.waited)
	}
}

// deadline is when a run that has begun times out, if there is a timeout.
func (r *run) deadline() int64 { return r.start + int64(r.b.cfg.Timeout) }

// took is how long a run has lasted, if somebody wants to know.
func (b *Bulkhead) took(start int64) int64 {
	if !b.curious {
		return 0
	}
	return b.now() - start
}

// abandon makes the run a ghost, unless it is over.
func (r *run) abandon() bool {
	if r.state.Load() != running {
		return false // and leave abandonedAt alone
	}
	r.abandonedAt.Store(r.b.now())
	return r.state.CompareAndSwap(running, abandoned)
}

// isGhost reports whether the run has been abandoned, and for how long.
func (r *run) isGhost() (age time.Duration, ok bool) {
	if r.state.Load() < abandoned {
		return 0, false
	}
	return time.Duration(max(0, r.b.now()-r.abandonedAt.Load())), true
}

// timeOut abandons a run at its timeout and tells so. It is called by the
// slot's timer, or by a function's goroutine that was quicker to notice; it is
// resident's own then, or nobody's.
func (r *run) timeOut(resident *slot) {
	b := r.b
	b.alive.Add(1) // Drain waits for Done here as it does for a slot
	defer b.leave()
	if !r.abandon() {
		return
	}
	r.interrupt(expired)
	b.counts.timedOut.Add(1)
	b.learn(r.parent, r.pass, b.timedOut, int64(b.cfg.Timeout))
	if h := b.cfg.Hooks.TimedOut; h != nil {
		h(b.cfg.Timeout)
	}
	if r.owner != nil {
		r.owner.timedOut(resident)
	}
}

// outOfTime reports whether the function may have seen its deadline pass,
// though the slot's own timer has not fired yet.
func (r *run) outOfTime() bool { return r.why.Load() == expired }

// died is the error of a function that didn't return. If it was Goexit that
// ended it, the slot's goroutine won't be there for the next one.
func died(resident *slot, value any) *PanicError {
	if value == nil && resident != nil {
		resident.resident = false
	}
	return caught(value)
}

// leave gives the slot back.
func (r *run) leave(s *slot) {
	s.run.Store(nil)
	r.b.release(s)
}

// bury is the end of a ghost.
func (r *run) bury(err error) {
	r.over()
	r.b.counts.late.Add(1)
	if h := r.b.cfg.Hooks.GhostEnded; h != nil {
		age, _ := r.isGhost()
		h(age, err)
	}
}

// count counts the result of a run that was not abandoned.
func (s *slot) count(err error) {
	if err == nil {
		s.done.Add(1)
	} else {
		s.failed.Add(1)
	}
}
