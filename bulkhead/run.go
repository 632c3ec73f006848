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
	task   Task // nil: a Do
	pass   pass

	// reply tells a Do what became of its call: true, the function has
	// returned and the slot is yours; false, it timed out and the slot isn't.
	// The verdict travels in the reply, as the slot may be another's already.
	reply chan bool

	start int64 // of the run; of its wait until then, 0 if that has not begun
	by    int64 // deadline of Submit's context, for the admission; 0: none

	state       atomic.Uint32
	queued      bool // has come through the queue: not admitted yet
	cooperative bool // runs in its caller's goroutine, who waits for it

	abandonedAt atomic.Int64
	late        error // a ghost's result, for whoever calls Late

	// The context.
	why    atomic.Uint32 // it is over though the function still runs
	made   atomic.Bool   // it is a real one
	making sync.Mutex
	std    context.Context
	stop   context.CancelFunc
	cancel func()      // for why
	unhook func() bool // from the caller's context; may be nil
}

const (
	running uint32 = iota
	settled
	abandoned
	told
	ended
)

func (b *Bulkhead) newRun(t Task) *run { return &run{b: b, parent: b.base, task: t} }

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
	if r.cooperative {
		return // nobody to tell: its caller is busy with it
	}
	if r.reply != nil {
		r.reply <- false
		return
	}
	defer func() {
		if !r.state.CompareAndSwap(abandoned, told) {
			b.tellLate(resident, r)
		}
	}()
	b.tellDone(resident, r.task, b.timedOut)
}

// outOfTime reports whether the function may have seen its deadline pass,
// though the slot's own timer has not fired yet.
func (r *run) outOfTime() bool { return r.why.Load() == expired }

// work runs a task on its slot's own goroutine.
func (r *run) work(s *slot) {
	if r.queued {
		if err := r.admit(s); err != nil {
			defer r.b.release(s)
			r.b.tellDone(s, r.task, err)
			return
		}
	}
	r.execute(s, s)
}

// execute runs a task in s. The goroutine is resident's own, or with nil that
// of somebody who called Credit.Run.
func (r *run) execute(s, resident *slot) {
	var err error
	returned := false
	defer func() {
		if !returned {
			err = died(resident, recover())
		}
		r.end(s, resident, err)
	}()
	r.begin(s)
	err = r.task.Run(r)
	returned = true
}

// died is the error of a function that didn't return. If it was Goexit that
// ended it, the slot's goroutine won't be there for the next one.
func died(resident *slot, value any) *PanicError {
	if value == nil && resident != nil {
		resident.resident = false
	}
	return caught(value)
}

// end tells what became of a task whose Run has returned, and gives its slot
// back.
func (r *run) end(s, resident *slot, err error) {
	defer r.leave(s) // whatever Done and Late do
	defer r.settle(s, resident, err)
	if r.outOfTime() {
		r.timeOut(resident)
	}
}

// leave gives the slot back.
func (r *run) leave(s *slot) {
	s.run.Store(nil)
	r.b.release(s)
}

// settle tells the task, unless its timeout did, or else buries the ghost.
func (r *run) settle(s, resident *slot, err error) {
	b := r.b
	if r.state.CompareAndSwap(running, settled) {
		r.over()
		s.count(err)
		b.learn(b.base, r.pass, err, b.took(r.start))
		b.tellDone(resident, r.task, err)
		return
	}
	r.late = err
	defer r.bury(s, err)
	if !r.state.CompareAndSwap(abandoned, ended) { // told
		b.tellLate(resident, r)
	}
}

// bury is the end of a ghost.
func (r *run) bury(s *slot, err error) {
	if r.reply != nil {
		s.reply = make(chan bool, 1) // the old one may still be on its way to the caller
	}
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

// tellDone calls Done. Resident is the slot on whose own goroutine that
// happens, if it is one.
func (b *Bulkhead) tellDone(resident *slot, t Task, err error) {
	returned := false
	defer b.contain(resident, &returned)
	t.Done(err)
	returned = true
}

// tellLate calls Late, if the task has it.
func (b *Bulkhead) tellLate(resident *slot, r *run) {
	t, ok := r.task.(LateTask)
	if !ok {
		return
	}
	returned := false
	defer b.contain(resident, &returned)
	t.Late(r.late)
	returned = true
}

// contain is deferred around Done and Late.
func (b *Bulkhead) contain(resident *slot, returned *bool) {
	if *returned {
		return
	}
	value := recover()
	err := died(resident, value)
	b.counts.panics.Add(1)
	if h := b.cfg.Hooks.Panicked; h != nil {
		h(err)
	} else if value != nil {
		panic(value)
	}
}
