package bulkhead

import (
	"context"
	"time"
)

// A run is the context of its function. It is lazy: as long as nobody asks for
// Done it is a deadline and a parent, no more, and its end is looked up when
// somebody asks for Err. Asked for Done it makes a context of the standard
// library's, once, so that contexts made from it are attached to that one as
// they are to any other. That one has no timer and needs none: whoever ends
// the run (the slot's timer, a caller that gives up, Drain) cancels it, through
// source.
var _ context.Context = (*run)(nil)

// Why a run's context is over while its function still runs.
const (
	notOver  uint32 = iota
	expired         // its deadline
	drained         // Drain gave up
	deserted        // its caller's context
)

// Deadline is the run's timeout, or its caller's deadline if that is sooner.
func (r *run) Deadline() (time.Time, bool) {
	at, ok := r.parent.Deadline()
	if r.b.cfg.Timeout == 0 {
		return at, ok
	}
	if own := r.b.at(r.deadline()); !ok || own.Before(at) {
		return own, true
	}
	return at, true
}

// Done is closed at the deadline, when the caller's context ends, when Drain
// gives up, and when the run is over.
func (r *run) Done() <-chan struct{} { return r.real().Done() }

// Err is nil until Done is closed.
func (r *run) Err() error {
	if r.made.Load() {
		return r.std.Err()
	}
	return (*source)(r).Err()
}

// Value is the caller's, or, for a context made from this one, the context to
// be attached to.
func (r *run) Value(key any) any {
	if r.made.Load() {
		return r.std.Value(key)
	}
	return (*source)(r).Value(key)
}

// AfterFunc is how a context is attached that Value leads to nowhere.
func (r *run) AfterFunc(f func()) (stop func() bool) { return context.AfterFunc(r.real(), f) }

// real returns the context that a standard one would have been, made at the
// first call.
func (r *run) real() context.Context {
	if r.made.Load() {
		return r.std
	}
	r.making.Lock()
	defer r.making.Unlock()
	if r.made.Load() {
		return r.std
	}
	var stop context.CancelFunc
	r.std, stop = context.WithCancel((*source)(r)) // sets r.cancel
	_ = stop                                       // says less than cancel, which ends it too
	if r.owner == nil && r.parent.Done() != nil {
		// Nobody else watches the caller's context while he is busy with fn.
		unhook := context.AfterFunc(r.parent, func() { r.interrupt(deserted) })
		cancel := r.cancel
		r.cancel = func() { unhook(); cancel() }
	}
	r.made.Store(true)

	// Publish, then look: interrupt and over do it the other way round.
	switch err := (*source)(r).Err(); {
	case r.state.Load() == settled:
		r.over()
	case err != nil:
		r.cancel()
	}
	return r.std
}

// interrupt ends the context of a function that still runs.
func (r *run) interrupt(why uint32) {
	r.why.CompareAndSwap(notOver, why)
	if r.made.Load() {
		r.cancel()
	}
}

// over ends the context, if somebody has asked for it, when the function has
// returned. Who asks afterwards finds out by himself.
func (r *run) over() {
	if r.made.Load() {
		r.cancel()
	}
}

// source is a run as the parent of its own standard context: it says how that
// one ends, and takes in the function that ends it.
type source run

func (s *source) Deadline() (time.Time, bool) { return (*run)(s).Deadline() }

// Done is never closed: cancellation comes by AfterFunc.
func (s *source) Done() <-chan struct{} { return s.b.never }

// AfterFunc is called once, by context.WithCancel.
func (s *source) AfterFunc(f func()) (stop func() bool) {
	s.cancel = f
	return keeps
}

func keeps() bool { return false }

// Err looks whether the run is over and, if it is, remembers why.
func (s *source) Err() error {
	if s.why.Load() == notOver {
		switch {
		case s.state.Load() == settled:
			return context.Canceled
		case s.parent.Err() != nil && s.parent != s.b.base:
			s.why.CompareAndSwap(notOver, deserted)
		case s.b.base.Err() != nil:
			s.why.CompareAndSwap(notOver, drained)
		case s.b.cfg.Timeout > 0 && s.b.now() >= (*run)(s).deadline():
			s.why.CompareAndSwap(notOver, expired)
		case s.state.Load() == running:
			return nil
		default: // abandoned by a timer that was quicker to know
			s.why.CompareAndSwap(notOver, expired)
		}
	}
	switch s.why.Load() {
	case expired:
		return context.DeadlineExceeded
	case deserted:
		return s.parent.Err()
	default:
		return context.Canceled
	}
}

// Value leads context.Cause to a context that was canceled for the same reason.
func (s *source) Value(key any) any {
	var by context.Context
	switch s.why.Load() {
	case expired:
		by = s.b.expired
	case drained:
		by = s.b.base
	case notOver:
		if s.state.Load() == settled {
			by = s.b.ended
		}
	}
	if by != nil {
		if v := by.Value(key); v != nil {
			return v
		}
	}
	return s.parent.Value(key)
}

// endedContexts returns what source's Value leads to: a context that was
// canceled, and one that was by its deadline, with timedOut as the cause.
func endedContexts(timedOut *TimeoutError) (ended, expired context.Context) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	expired, cancel = context.WithDeadlineCause(context.Background(), time.Unix(0, 0), timedOut)
	cancel()
	return ended, expired
}
