package bulkhead

import (
	"context"
	"time"
)

// A run is the context of its function. It is lazy: as long as nobody asks
// for Done it is a deadline and a parent, no more. Then it becomes one of the
// standard library's, so that contexts made from it are attached to that one
// as they are to any other.
var _ context.Context = (*run)(nil)

// deadlineContext is what a run's context becomes.
type deadlineContext struct {
	context.Context
	stop   context.CancelFunc      // nil: was over from the beginning
	cancel context.CancelCauseFunc // nil: Drain cancels the parent
}

// endedContexts returns what becomes of the contexts of which Done is asked
// for only when the run is over.
func endedContexts(timedOut *TimeoutError) (ended, expired *deadlineContext) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	ended = &deadlineContext{Context: ctx}

	ctx, cancel = context.WithDeadlineCause(context.Background(), time.Unix(0, 0), timedOut)
	cancel()
	return ended, &deadlineContext{Context: ctx}
}

// Deadline is the run's timeout, or its caller's deadline if that is sooner.
func (r *run) Deadline() (time.Time, bool) {
	at, ok := r.parent.Deadline()
	if r.deadline.IsZero() || ok && at.Before(r.deadline) {
		return at, ok
	}
	return r.deadline, true
}

// Done is closed at the deadline, when the caller's context ends, when Drain
// gives up, and when the run is over.
func (r *run) Done() <-chan struct{} { return r.real().Done() }

// Err is nil until Done is closed.
func (r *run) Err() error {
	if c := r.context.Load(); c != nil {
		return c.Err()
	}
	if r.parent.Err() == nil && r.b.base.Err() == nil &&
		(r.deadline.IsZero() || time.Now().Before(r.deadline)) {
		return nil
	}
	return r.real().Err()
}

// Value is the caller's, or, for a context made from this one, the context to
// be attached to.
func (r *run) Value(key any) any {
	if c := r.context.Load(); c != nil {
		if v := c.Value(key); v != nil {
			return v
		}
	}
	return r.parent.Value(key)
}

// real returns the context that a standard one would have been, made at the
// first call.
func (r *run) real() context.Context {
	if c := r.context.Load(); c != nil {
		return c
	}
	c := &deadlineContext{}
	parent := r.parent
	if parent != r.b.base {
		parent, c.cancel = context.WithCancelCause(parent)
	}
	if r.deadline.IsZero() {
		c.Context, c.stop = context.WithCancel(parent)
	} else {
		c.Context, c.stop = context.WithDeadlineCause(parent, r.deadline, r.b.timedOut)
	}
	if !r.context.CompareAndSwap(nil, c) {
		c.close()
		return r.context.Load()
	}
	if r.b.base.Err() != nil {
		r.drain() // Drain may have looked before there was something to cancel
	}
	return c
}

// close ends what was made by real.
func (c *deadlineContext) close() {
	if c.cancel != nil {
		c.cancel(nil)
	}
	if c.stop != nil {
		c.stop()
	}
}

// drain cancels a run whose parent is its caller's context.
func (r *run) drain() {
	if c := r.context.Load(); c != nil && c.cancel != nil {
		c.cancel(ErrDrainTimeout)
	}
}

// over ends the context when the function has returned.
func (r *run) over(as *deadlineContext) {
	if !r.context.CompareAndSwap(nil, as) {
		r.context.Load().close()
	}
}

// outOfTime reports whether the function may have seen its deadline pass,
// though the slot's own timer has not fired yet.
func (r *run) outOfTime() bool {
	c := r.context.Load()
	return c != nil && context.Cause(c) == error(r.b.timedOut)
}
