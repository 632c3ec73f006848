package bulkhead

import "context"

// Task is work handed over, through Submit or under a [Credit].
type Task interface {
	// Run does the work, in a slot, once. Its context has the deadline of
	// Config.Timeout; it is canceled with the *TimeoutError as its cause at
	// the timeout, with ErrDrainTimeout when Drain gives up, and when Run has
	// returned. A panic or runtime.Goexit counts as a *PanicError returned.
	Run(ctx context.Context) error

	// Done is called exactly once for every task that was accepted, with what
	// became of it:
	//
	//   - after Run, with what Run returned: on the goroutine that ran it,
	//     and the slot is given back only when Done has returned, so that
	//     work can't run ahead of its settling;
	//   - at the timeout, with the *TimeoutError: on a timer's goroutine while
	//     Run is still running, or on Run's own if it returned on seeing its
	//     deadline. The slot is not held for this Done if Run ends first;
	//   - without Run, with a *Rejection: when the task can't be run any more
	//     as its turn comes (ErrWaited, ErrOpen, ErrRate, ErrLate), or is
	//     handed back by Close or Drain (ErrClosed).
	//
	// A panic in Done is a bug in the caller's bookkeeping: see
	// Hooks.Panicked.
	Done(err error)
}

// LateTask is a Task that wants to know what its ghost came to.
type LateTask interface {
	Task

	// Late is called once, after Done was called with the *TimeoutError and
	// has returned and Run has returned too, with what Run returned. It is
	// called on the goroutine that ran the task, before the slot is given
	// back; only if Done is still busy when Run ends, on Done's goroutine
	// right after it, and the slot isn't held for that.
	Late(err error)
}

// TrySubmit hands t over and doesn't wait: t runs in a slot of its own
// goroutine now, or later if the queue has room. Nil means that t.Done will be
// called; an error, always a [*Rejection], that neither of t's methods will.
//
// When the task's turn comes in the queue it is looked at once more: one that
// has waited longer than [Config.MaxWait] isn't run, nor one that meets an open
// breaker. Done is told.
func (b *Bulkhead) TrySubmit(t Task) error {
	if err := b.greet(context.Background()); err != nil {
		return err
	}
	a := b.assign(t)
	if s := b.trySlot(); s != nil {
		if b.meter != nil && !b.meter.take() {
			if b.cfg.Queue == 0 {
				b.release(s)
				return b.reject(RateLimited)
			}
			a.enqueued()
			s.start(a) // it waits for the rate in its slot
			return nil
		}
		return b.launch(s, a)
	}
	select {
	case b.room <- struct{}{}:
		b.enqueue(a)
		return nil
	default:
		return b.reject(Full)
	}
}

// Submit is [Bulkhead.TrySubmit] that waits for room, for as long as ctx and
// [Config.MaxWait] allow: for a place in the queue, or without a queue for a
// slot and the rate. It returns ctx's cause when ctx ends first. What becomes
// of ctx afterwards doesn't matter to t, which runs under the bulkhead's own;
// but with a [Config.Admission] ctx's deadline is t's, and a t that couldn't
// meet it any more as its turn comes isn't run.
func (b *Bulkhead) Submit(ctx context.Context, t Task) error {
	if err := b.greet(ctx); err != nil {
		return err
	}
	a := b.assign(t)
	a.by = b.deadline(ctx)
	var w wait
	defer w.stop()
	s := b.trySlot()
	if s == nil && b.cfg.Queue > 0 {
		if b.hopeless(a.by) {
			return b.reject(WouldBeLate)
		}
		if err := b.awaitRoom(ctx, &w); err != nil {
			return err
		}
		a.start = w.since
		b.enqueue(a)
		return nil
	}
	if s == nil {
		var err error
		if b.hopeless(a.by) {
			return b.reject(WouldBeLate)
		}
		if s, err = b.receiveSlot(ctx, b.toCaller, w.start(b)); err != nil {
			return err
		}
	}
	if b.meter != nil && !b.meter.take() {
		if err := b.awaitToken(ctx, &w); err != nil {
			b.release(s)
			return err
		}
	}
	s.waited = w.soFar(b)
	return b.launch(s, a)
}

// awaitRoom waits for a place in the queue and takes it.
func (b *Bulkhead) awaitRoom(ctx context.Context, w *wait) error {
	select {
	case b.room <- struct{}{}:
		return nil
	default:
	}
	select {
	case b.room <- struct{}{}:
		if err := b.stop(ctx); err != nil {
			<-b.room
			return err
		}
		return nil
	case <-w.start(b):
		return b.reject(WaitedTooLong)
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-b.closing:
		return b.reject(ShutDown)
	}
}

// launch starts a task that has all it needs but the last checks.
func (b *Bulkhead) launch(s *slot, a *assignment) error {
	if err := b.permit(s, a.by); err != nil {
		return err
	}
	a.pass = s.pass
	s.start(a)
	return nil
}

// enqueue puts a task that has its place in the room into the queue.
func (b *Bulkhead) enqueue(a *assignment) {
	a.enqueued()
	b.watch.Add(1)
	b.tasks <- a // never blocks: there is a place for each in the room
	// Publish, then look: release and Close do it the other way round.
	if b.closed.Load() {
		b.handBack()
	} else {
		b.match()
	}
}

// enqueued begins the task's wait, unless Submit's has begun it.
func (a *assignment) enqueued() {
	a.queued = true
	if a.start == 0 {
		a.start = a.b.now()
	}
}

// admit makes, in its slot, the checks of a task that comes from the queue.
// The error is what Done is to be told.
func (a *assignment) admit(s *slot) error {
	b, ctx := a.b, context.Background()
	w := wait{begun: true, since: a.start, limit: b.cfg.MaxWait}
	defer w.stop()
	if left, limited := w.left(b); limited && left < 0 {
		return b.reject(WaitedTooLong)
	}
	if err := b.greet(ctx); err != nil {
		return a.handed(err)
	}
	if b.meter != nil && !b.meter.take() {
		if err := b.awaitToken(ctx, &w); err != nil {
			return a.handed(err)
		}
	}
	p, err := b.passes(a.by)
	if err != nil {
		b.returnToken()
		return err
	}
	a.pass = p
	s.waited = w.soFar(b)
	return nil
}
