package bulkhead

import (
	"sync/atomic"
	"time"
)

// slot is the right to run one function. Whoever received it from
// Bulkhead.free, or got it handed on, owns it, and only the owner touches the
// fields that are not atomic. It comes back through Bulkhead.release.
//
// Slots go round between processors. What each run touches comes first and
// fits a cache line, and the size is a multiple of one.
type slot struct {
	begun, done, failed atomic.Uint64
	credit              atomic.Uint64       // generation<<1, +1 while the credit is unspent
	run                 atomic.Pointer[run] // what Stats, Drain and the alarm see; nil: nothing with a context of ours
	pass                pass                // the breaker's, for the run to come
	waited              time.Duration       // by whoever owns the slot, for Hooks.Admitted
	armed               atomic.Bool         // the alarm will ring, or is ringing and will look at run
	resident            bool                // there is a goroutine

	b     *Bulkhead
	index uint32
	work  chan worker // to the resident goroutine
	reply chan bool   // of a Do; see call.reply
	alarm *time.Timer // made at the first run with a timeout
	_     [24]byte
}

// worker is what a resident goroutine works off.
type worker interface{ work(*slot) }

func (s *slot) init(b *Bulkhead, index int) {
	s.b, s.index = b, uint32(index)
	s.work, s.reply = make(chan worker, 1), make(chan bool, 1)
}

// start hands w to the slot's own goroutine, and the slot with it.
func (s *slot) start(w worker) {
	if !s.resident {
		s.resident = true
		s.b.alive.Add(1)
		go s.reside()
	}
	s.work <- w // never blocks: one slot, one owner, one piece of work
}

// reside works until the slot is withdrawn, or until something it runs ends
// the goroutine; that one says so by resident = false while it owns the slot.
func (s *slot) reside() {
	defer s.b.leave()
	for w := range s.work {
		w.work(s)
	}
}

// dismiss ends the slot's goroutine and silences its timer.
func (s *slot) dismiss() {
	if s.resident {
		close(s.work) // as the owner: nobody else can send
		s.resident, s.work = false, make(chan worker, 1)
	}
	if s.alarm != nil {
		s.alarm.Stop()
		s.armed.Store(false)
	}
}

// trySlot returns a free slot, or nil.
func (b *Bulkhead) trySlot() *slot {
	select {
	case s := <-b.free:
		return s
	default:
		return nil
	}
}

// release gives a slot back: to who waits, each way in at its turn.
func (b *Bulkhead) release(s *slot) {
	if b.watch.Load() > 0 {
		b.releaseTo(s)
		return
	}
	b.free <- s
	// Publish, then look: who raises watch does it the other way round, so
	// that one of the two sides sees the other.
	if b.watch.Load() > 0 {
		b.match()
	}
}

// releaseTo is release when there may be somebody to give the slot to.
func (b *Bulkhead) releaseTo(s *slot) {
	if b.withdraw(s) || b.handOn(s) {
		return
	}
	b.free <- s
	b.match()
}

// handOn gives the slot to the way in whose turn it is, or to the next one at
// which somebody waits. A caller who isn't seen here will be when the slot is
// free: he waits for that too.
func (b *Bulkhead) handOn(s *slot) bool {
	for range 3 {
		switch b.turns.Add(1) % 3 {
		case 0:
			if b.dispatch(s) {
				return true
			}
		case 1:
			select {
			case b.toCaller <- s:
				return true
			default:
			}
		case 2:
			select {
			case b.toCredit <- s:
				return true
			default:
			}
		}
	}
	return false
}

// match brings free slots together with Resize and Close, to which some are
// owed, and with queued tasks.
func (b *Bulkhead) match() {
	for b.owed.Load() > 0 || len(b.tasks) > 0 {
		s := b.trySlot()
		if s == nil {
			return // its owner will come by release
		}
		if !b.withdraw(s) && !b.dispatch(s) {
			b.free <- s
		}
	}
}

// dispatch starts the next queued task in s, if there is one.
func (b *Bulkhead) dispatch(s *slot) bool {
	a := b.dequeue()
	if a == nil {
		return false
	}
	s.start(a)
	return true
}

// dequeue returns the first queued task, or nil.
func (b *Bulkhead) dequeue() *assignment {
	select {
	case a := <-b.tasks:
		b.watch.Add(-1)
		<-b.room
		return a
	default:
		return nil
	}
}

// leave is said by everything that alive counts, when it ends.
func (b *Bulkhead) leave() {
	if b.alive.Add(-1) == 0 {
		b.once.Do(func() { close(b.gone) })
	}
}

// arm makes sure that the alarm rings after that time at the latest. It must
// follow the Store of slot.run.
//
// The alarm is not set and stopped for each run: all have the same timeout, so
// one that was set for an earlier run comes too soon and is set again for what
// is left. It belongs to the slot, not to a run, and looks for itself what runs
// there when it rings; so it can't come late and find the wrong one.
func (s *slot) arm(after int64) {
	switch {
	case s.armed.Load() || !s.armed.CompareAndSwap(false, true):
	case s.alarm == nil:
		s.alarm = time.AfterFunc(time.Duration(after), s.ring)
	default:
		s.alarm.Reset(time.Duration(after))
	}
}

// ring is the alarm going off.
func (s *slot) ring() {
	s.armed.Store(false)
	// Publish, then look: run.begin does it the other way round.
	r := s.run.Load()
	if r == nil {
		return
	}
	if left := r.deadline() - s.b.now(); left > 0 {
		s.arm(left)
	} else {
		r.timeOut(nil)
	}
}
