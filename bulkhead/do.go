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
//   - ctx's cause when ctx ended before fn was run, or with a Timeout, before
//     it returned,
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
// Without a Timeout, fn runs in the caller's goroutine and gets ctx itself,
// and Do returns when fn does. A runtime.Goexit of fn then ends the caller's
// goroutine, as it does everywhere; with a Timeout it comes back as a
// [*PanicError]. The slot comes back in both cases.
func Do[T any](ctx context.Context, b *Bulkhead, fn func(context.Context) (T, error)) (T, error) {
	s, err := b.enter(ctx)
	if err != nil {
		var zero T
		return zero, err
	}
	if b.cfg.Timeout > 0 {
		return doApart(ctx, b, s, fn)
	}
	return doHere(ctx, b, s, fn)
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

// doHere runs fn in the caller's goroutine.
func doHere[T any](ctx context.Context, b *Bulkhead, s *slot, fn func(context.Context) (T, error)) (v T, err error) {
	returned := false
	defer func() {
		if !returned {
			err = died(nil, recover())
		}
		b.finish(ctx, s, s.pass, err)
	}()
	s.begun.Add(1)
	if h := b.cfg.Hooks.Admitted; h != nil {
		h(s.waited)
	}
	v, err = fn(ctx)
	returned = true
	return v, err
}

// finish counts the result of a call, and gives its slot back.
func (b *Bulkhead) finish(ctx context.Context, s *slot, p pass, err error) {
	s.count(err)
	if b.breaker == nil {
		b.release(s)
		return
	}
	defer b.release(s) // even if Classify or a hook panics
	b.judge(ctx, p, err)
}

// doApart runs fn in the slot's goroutine.
func doApart[T any](ctx context.Context, b *Bulkhead, s *slot, fn func(context.Context) (T, error)) (T, error) {
	c := &call[T]{fn: fn}
	c.b, c.parent, c.pass, c.reply = b, ctx, s.pass, s.reply
	s.start(c) // s is ours again only when the reply says so

	var mine bool
	select {
	case mine = <-c.reply:
	case <-ctx.Done():
		if c.abandon() {
			b.counts.abandoned.Add(1)
			b.judge(ctx, c.pass, ctx.Err())
			var zero T
			return zero, context.Cause(ctx)
		}
		mine = <-c.reply
	}
	if !mine {
		var zero T
		return zero, b.timedOut
	}
	b.finish(ctx, s, c.pass, c.err)
	return c.v, c.err
}

// call is a run of Do's in a slot's goroutine.
type call[T any] struct {
	run
	fn  func(context.Context) (T, error)
	v   T     // of a run that was settled
	err error // the same
}

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
			c.bury(s, err)
			return
		}
		s.disarm()
		c.over(c.b.ended)
		s.run.Store(nil)
		c.v, c.err = v, err
		c.reply <- true
	}()
	c.begin(s)
	v, err = c.fn(&c.run)
	returned = true
}

// classify is Config.Breaker.Classify or its default.
func (b *Bulkhead) classify(ctx context.Context, err error) Outcome {
	if f := b.cfg.Breaker.Classify; f != nil {
		return f(err)
	}
	if err == nil {
		return Success
	}
	var r *Rejection
	if errors.As(err, &r) {
		return Neutral
	}
	var timeout *TimeoutError
	if errors.As(err, &timeout) {
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
