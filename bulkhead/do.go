package bulkhead

import (
	"context"
	"errors"
)

// Do runs fn in a slot of b and returns fn's result. It waits for the slot, if
// the queue has room, for as long as ctx and [Config.MaxWait] allow. With a
// RatePerSecond and a Queue it also waits for the rate, in its slot.
//
// The error is fn's own, or
//
//   - a [*Rejection] when fn was not run,
//   - ctx's cause when ctx ended before fn was run, or in the slot's goroutine
//     before it returned,
//   - a [*TimeoutError] when fn didn't return within [Config.Timeout],
//   - a [*PanicError] when fn panicked.
//
// With a Timeout, fn runs in the slot's own goroutine and Do returns at the
// timeout, or as soon as ctx ends, whatever fn does; if that leaves fn running
// it is a ghost, and what it returns goes to [Hooks.GhostEnded]. The context
// that fn gets is ctx with the run's deadline; it is canceled with the
// [*TimeoutError] as its cause at the timeout, with [ErrDrainTimeout] when
// Drain gives up, and when fn has returned.
//
// With [Config.Cooperative] fn gets the same context, but runs in the caller's
// goroutine, and Do returns when fn does. A result that comes after the timeout
// is returned all the same, and so is an error, but for the one that only says
// so: [context.DeadlineExceeded] comes as the [*TimeoutError].
//
// Without a Timeout, fn runs in the caller's goroutine too, and gets ctx
// itself. In the caller's goroutine a runtime.Goexit of fn ends that one, as it
// does everywhere; in the slot's it comes back as a [*PanicError]. The slot
// comes back in all cases.
func Do[T any](ctx context.Context, b *Bulkhead, fn func(context.Context) (T, error)) (v T, err error) {
	var s *slot
	if b.plain && !b.closed.Load() && ctx.Err() == nil { // enter, in short
		if s = b.trySlot(); s == nil {
			s, err = b.enterLater(ctx, nil)
		}
	} else {
		s, err = b.enter(ctx)
	}
	if err != nil {
		return v, err
	}
	if b.cfg.Timeout > 0 {
		if b.cfg.Cooperative {
			return doTogether(ctx, b, s, fn)
		}
		return doApart(ctx, b, s, fn)
	}

	// Without a timeout, in the caller's goroutine.
	var start int64
	returned := false
	defer func() {
		if !returned {
			err = died(nil, recover())
			b.finish(ctx, s, err, start)
		}
	}()
	s.begun.Add(1)
	if b.curious {
		start = b.now()
	}
	if h := b.cfg.Hooks.Admitted; h != nil {
		h(s.waited)
	}
	v, err = fn(ctx)
	returned = true
	if b.learns {
		b.finish(ctx, s, err, start)
	} else { // finish, in short
		s.count(err)
		b.release(s)
	}
	return v, err
}

// DoOr is [Do], and when that returns an error, any error, it returns what
// fallback makes of it. The fallback runs in the caller's goroutine under
// ctx, when Do is over: it holds no slot and no timeout bounds it.
func DoOr[T any](ctx context.Context, b *Bulkhead, fn func(context.Context) (T, error),
	fallback func(context.Context, error) (T, error),
) (T, error) {
	v, err := Do(ctx, b, fn)
	if err != nil {
		return fallback(ctx, err)
	}
	return v, nil
}

// finish counts the result of a call, and gives its slot back.
func (b *Bulkhead) finish(ctx context.Context, s *slot, err error, start int64) {
	defer b.release(s) // even if Classify or a hook panics
	s.count(err)
	if b.learns {
		b.learn(ctx, s.pass, err, b.took(start))
	}
}

// doTogether runs fn in the caller's goroutine, with a timeout that fn is
// trusted to heed.
func doTogether[T any](ctx context.Context, b *Bulkhead, s *slot, fn func(context.Context) (T, error)) (v T, err error) {
	r := &run{b: b, parent: ctx, pass: s.pass}
	returned := false
	defer func() {
		if !returned {
			err = died(nil, recover())
		}
		err = r.part(s, err)
	}()
	r.begin(s)
	v, err = fn(r)
	returned = true
	return v, err
}

// part ends a run whose caller has waited for it, and says what to tell him.
func (r *run) part(s *slot, err error) error {
	if r.outOfTime() || !r.state.CompareAndSwap(running, settled) {
		return r.overrun(s, err)
	}
	r.over()
	s.run.Store(nil)
	if r.b.learns {
		r.b.finish(r.parent, s, err, r.start)
	} else { // finish, in short
		s.count(err)
		r.b.release(s)
	}
	return err
}

// overrun is part for a ghost. What came late is still what its caller waited
// for; only of an error that says no more than that he is told so in our words.
func (r *run) overrun(s *slot, err error) error {
	defer r.leave(s)
	r.timeOut(nil) // unless the alarm was quicker
	r.bury(err)
	if errors.Is(err, context.DeadlineExceeded) {
		return r.b.timedOut
	}
	return err
}

// doApart runs fn in the slot's goroutine.
func doApart[T any](ctx context.Context, b *Bulkhead, s *slot, fn func(context.Context) (T, error)) (T, error) {
	c := &call[T]{fn: fn, reply: s.reply}
	c.b, c.parent, c.owner, c.pass = b, ctx, c, s.pass
	var from int64
	if b.curious {
		from = b.now()
	}
	s.start(c) // s is ours again only when the reply says so

	var mine bool
	select {
	case mine = <-c.reply:
	case <-ctx.Done():
		if c.abandon() {
			c.interrupt(deserted)
			b.counts.abandoned.Add(1)
			b.learn(ctx, c.pass, ctx.Err(), b.took(from))
			var zero T
			return zero, context.Cause(ctx)
		}
		mine = <-c.reply
	}
	if !mine {
		var zero T
		return zero, b.timedOut
	}
	b.finish(ctx, s, c.err, c.start)
	return c.v, c.err
}

// call is a run of Do's in a slot's goroutine.
type call[T any] struct {
	run
	fn  func(context.Context) (T, error)
	v   T     // of a run that was settled
	err error // the same

	// reply tells Do what became of its call: true, the function has returned
	// and the slot is yours; false, it timed out and the slot isn't. The
	// verdict travels in the reply, as the slot may be another's already.
	reply chan bool
}

func (c *call[T]) timedOut(*slot) { c.reply <- false }

func (c *call[T]) work(s *slot) {
	var v T
	var err error
	returned := false
	defer func() {
		if !returned {
			err = died(s, recover())
		}
		if c.outOfTime() {
			c.timeOut(s)
		}
		if !c.state.CompareAndSwap(running, settled) {
			defer c.leave(s)
			s.reply = make(chan bool, 1) // the old one may still be on its way to Do
			c.bury(err)
			return
		}
		c.over()
		s.run.Store(nil)
		c.v, c.err = v, err
		c.reply <- true
	}()
	c.begin(s)
	v, err = c.fn(&c.run)
	returned = true
}

// learn tells the breaker and the admission what became of a run under ctx,
// the caller's.
func (b *Bulkhead) learn(ctx context.Context, p pass, err error, took int64) {
	if b.forecast != nil {
		b.forecast.observe(b.now(), took, err == nil)
	}
	if b.breaker != nil {
		b.breaker.end(p, b.classify(ctx, err), took)
	}
}

// classify is Config.Breaker.Classify or its default.
func (b *Bulkhead) classify(ctx context.Context, err error) Outcome {
	if f := b.cfg.Breaker.Classify; f != nil {
		return f(err)
	}
	if err == nil {
		return Success
	}
	if _, ok := errors.AsType[*Rejection](err); ok {
		return Neutral
	}
	if _, ok := errors.AsType[*TimeoutError](err); ok {
		return Failure
	}
	for _, by := range [...]context.Context{ctx, b.base} {
		if errors.Is(by.Err(), context.Canceled) &&
			(errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(by))) {
			return Neutral
		}
	}
	return Failure
}
