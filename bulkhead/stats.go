package bulkhead

import (
	"sync/atomic"
	"time"
)

// Stats is a bulkhead at one moment. Every figure is exact; as work goes on
// while they are read, sums of several may be out by what happened meanwhile.
// At rest Admitted = Done + Failed + TimedOut + Abandoned, and TimedOut +
// Abandoned = Late + Ghosts.
type Stats struct {
	Slots   int // that there are
	Target  int // that there are to be: fewer, while a Resize waits for some to come back
	InUse   int // slots taken: running, ghosts, and unspent credits
	Ghosts  int // of these, runs that outlived their timeout or their caller
	Waiting int // callers and tasks in the queue
	Queue   int // Config.Queue

	OldestGhost time.Duration // since it became one; 0: none
	Flooded     bool          // every slot is a ghost's: nothing can run
	State       State         // of the breaker: Closed, Open or HalfOpen

	Admitted  uint64 // runs begun
	Done      uint64 // returned in time, without an error
	Failed    uint64 // returned in time with an error, or panicked
	TimedOut  uint64 // became ghosts at their timeout
	Abandoned uint64 // became ghosts when their caller's context ended
	Late      uint64 // ghosts that have returned

	HandedBack uint64 // tasks not run because of Close or Drain
	Misuse     uint64 // credits used more than once
	Panics     uint64 // of Done and Late; those of functions are in Failed

	Rejected [7]uint64 // refusals by Reason, the tasks handed back included
}

// counters are those that no slot keeps.
type counters struct {
	timedOut, abandoned, late  atomic.Uint64
	handedBack, misuse, panics atomic.Uint64
	rejected                   [reasons]atomic.Uint64
}

// State is that of the breaker: Closed when there is none. It is cheaper than Stats.
func (b *Bulkhead) State() State {
	if b.breaker == nil {
		return Closed
	}
	return b.breaker.state()
}

// Stats looks at every slot, without stopping any; only the breaker, if there
// is one, is locked for a moment. It may be called at any time, from hooks too.
func (b *Bulkhead) Stats() Stats {
	size := b.size()
	s := Stats{
		Slots:      size,
		Target:     int(b.target.Load()),
		InUse:      max(0, size-len(b.free)),
		Waiting:    len(b.room),
		Queue:      b.cfg.Queue,
		State:      b.State(),
		TimedOut:   b.counts.timedOut.Load(),
		Abandoned:  b.counts.abandoned.Load(),
		Late:       b.counts.late.Load(),
		HandedBack: b.counts.handedBack.Load(),
		Misuse:     b.counts.misuse.Load(),
		Panics:     b.counts.panics.Load(),
	}
	for i := range b.slots {
		sl := &b.slots[i]
		s.Admitted += sl.begun.Load()
		s.Done += sl.done.Load()
		s.Failed += sl.failed.Load()
		if r := sl.run.Load(); r != nil {
			if age, ok := r.isGhost(); ok {
				s.Ghosts++
				s.OldestGhost = max(s.OldestGhost, age)
			}
		}
	}
	s.Flooded = s.Ghosts >= s.Slots
	for i := range s.Rejected {
		s.Rejected[i] = b.counts.rejected[i].Load()
	}
	return s
}
