package bulkhead

import (
	"sync/atomic"
	"time"
)

// slot is the right to run one function. Whoever received it from
// Bulkhead.free, or got it handed on, owns it, and only the owner touches the
// fields that are not atomic. It comes back through Bulkhead.release.
type slot struct {
	b     *Bulkhead
	index uint32

	credit atomic.Uint64       // generation<<1, +1 while the credit is unspent
	run    atomic.Pointer[run] // what Stats and Drain see; nil: nothing with a timeout

	pass     pass          // the breaker's, for the run to come
	waited   time.Duration // by whoever owns the slot, for Hooks.Admitted
	work     chan worker   // to the resident goroutine
	resident bool          // it exists
	reply    chan bool     // of a Do; see run.reply
	alarm    *alarm        // nil: made at the next use

	begun, done, failed atomic.Uint64
}

// worker is what a resident goroutine works off.
type worker interface{ work(*slot) }

func newSlot(b *Bulkhead, index uint32) *slot {
	return &slot{b: b, index: index, work: make(chan worker, 1), reply: make(chan bool, 1)}
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

// reside works until the slot is retired, or until something it runs ends
// the goroutine; that one says so by resident = false while it owns the slot.
func (s *slot) reside() {
	defer s.b.leave()
	for w := range s.work {
		w.work(s)
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

// release gives a slot back: every second time to a queued task, else to
// whoever waits, else to a task after all.
func (b *Bulkhead) release(s *slot) {
	if len(b.tasks) > 0 && b.turns.Add(1)%2 == 0 && b.dispatch(s) {
		return
	}
	b.free <- s
	// Publish, then look: Close and enqueue do it the other way round, so
	// that one of the two sides sees the other.
	if b.closed.Load() {
		b.sweep()
	} else if len(b.tasks) > 0 {
		b.match()
	}
}

// match brings free slots and queued tasks together.
func (b *Bulkhead) match() {
	for len(b.tasks) > 0 {
		s := b.trySlot()
		if s == nil {
			return // its owner will call match
		}
		if b.dispatch(s) {
			continue
		}
		b.free <- s
		if b.closed.Load() {
			b.sweep()
		}
	}
}

// dispatch starts the next queued task in s, if there is one.
func (b *Bulkhead) dispatch(s *slot) bool {
	select {
	case r := <-b.tasks:
		<-b.room
		s.start(r)
		return true
	default:
		return false
	}
}

// sweep retires the slots that are free after Close.
func (b *Bulkhead) sweep() {
	for {
		s := b.trySlot()
		if s == nil {
			return
		}
		if s.resident {
			close(s.work) // as the owner: nobody else can send
		}
		b.retired.Add(1)
		b.leave()
	}
}

// leave is said by everything that alive counts, when it ends.
func (b *Bulkhead) leave() {
	if b.alive.Add(-1) == 0 {
		b.once.Do(func() { close(b.gone) })
	}
}

// alarm is a slot's timer. It is used again and again, until it fires: as a
// timer that couldn't be stopped may still be on its way, it must not find the
// next run, so the slot then gets a new one.
type alarm struct {
	timer *time.Timer
	run   atomic.Pointer[run]
}

func (s *slot) arm(r *run, after time.Duration) {
	if s.alarm != nil {
		s.alarm.run.Store(r)
		s.alarm.timer.Reset(after)
		return
	}
	a := &alarm{}
	a.run.Store(r)
	s.alarm = a
	a.timer = time.AfterFunc(after, func() { a.run.Load().timeOut(nil) })
}

func (s *slot) disarm() {
	if s.alarm != nil && !s.alarm.timer.Stop() {
		s.alarm = nil
	}
}

// renew cuts the slot off from a ghost's timer and caller, both of which may
// still hold the old ones.
func (s *slot) renew() {
	s.disarm()
	s.alarm = nil
	s.reply = make(chan bool, 1)
}
