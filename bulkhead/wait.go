package bulkhead

import (
	"context"
	"time"
)

// enter waits for all that a call needs to run and returns its slot, ready.
func (b *Bulkhead) enter(ctx context.Context) (*slot, error) {
	if b.closed.Load() || b.breaker != nil || ctx.Err() != nil {
		if err := b.greet(ctx); err != nil {
			return nil, err
		}
	}
	s := b.trySlot()
	if s == nil || b.meter != nil && !b.meter.take() {
		return b.enterLater(ctx, s)
	}
	s.waited = 0
	if !b.learns {
		return s, nil
	}
	return s, b.permit(s, b.deadline(ctx))
}

// enterLater is enter for who must wait: for a slot, if s is nil, and for the
// rate.
func (b *Bulkhead) enterLater(ctx context.Context, s *slot) (_ *slot, err error) {
	if s == nil && b.cfg.Queue == 0 {
		return nil, b.reject(Full)
	}
	var w wait
	defer w.stop()
	if s == nil {
		if s, err = b.awaitSlot(ctx, &w); err != nil {
			return nil, err
		}
		if b.meter == nil || b.meter.take() {
			s.waited = w.soFar(b)
			return s, b.permit(s, b.deadline(ctx))
		}
	}
	if b.cfg.Queue == 0 {
		err = b.reject(RateLimited)
	} else {
		err = b.awaitToken(ctx, &w)
	}
	if err != nil {
		b.release(s)
		return nil, err
	}
	s.waited = w.soFar(b)
	return s, b.permit(s, b.deadline(ctx))
}

// greet makes the checks that need no slot.
func (b *Bulkhead) greet(ctx context.Context) error {
	if b.closed.Load() {
		return b.reject(ShutDown)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if b.breaker != nil && !b.breaker.inviting() {
		return b.reject(BreakerOpen)
	}
	return nil
}

// permit makes the last checks, now that the run could start, and gives back
// what was taken if they fail.
func (b *Bulkhead) permit(s *slot, by int64) (err error) {
	if s.pass, err = b.passes(by); err != nil {
		b.returnToken()
		b.release(s)
	}
	return err
}

// passes asks the admission and the breaker about a run that is to be over by
// a time; 0: whenever.
func (b *Bulkhead) passes(by int64) (p pass, err error) {
	if by != 0 && !b.forecast.fits(b.now(), by) {
		return p, b.reject(WouldBeLate)
	}
	if b.breaker != nil {
		var ok bool
		if p, ok = b.breaker.begin(true); !ok {
			return p, b.reject(BreakerOpen)
		}
	}
	return p, nil
}

// stop is why somebody who has waited must not go on: ctx's cause or closing.
func (b *Bulkhead) stop(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if b.closed.Load() {
		return b.reject(ShutDown)
	}
	return nil
}

// awaitSlot waits in the waiting room.
func (b *Bulkhead) awaitSlot(ctx context.Context, w *wait) (*slot, error) {
	if b.hopeless(b.deadline(ctx)) {
		return nil, b.reject(WouldBeLate)
	}
	select {
	case b.room <- struct{}{}:
	default:
		return nil, b.reject(Full)
	}
	defer func() { <-b.room }()
	return b.receiveSlot(ctx, b.toCaller, w.start(b))
}

// receiveSlot waits for a slot to come free, or to be handed on to this way
// in. A select picks at random from what is ready: what should have won is
// looked at again.
func (b *Bulkhead) receiveSlot(ctx context.Context, handed <-chan *slot, expired <-chan time.Time) (s *slot, err error) {
	select {
	case s = <-b.free:
	case s = <-handed:
	case <-expired:
		return nil, b.reject(WaitedTooLong)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-b.closing:
		return nil, b.reject(ShutDown)
	}
	if err := b.stop(ctx); err != nil {
		b.release(s)
		return nil, err
	}
	return s, nil
}

// awaitToken waits for a token, and refuses at once when it would come after
// w's limit.
func (b *Bulkhead) awaitToken(ctx context.Context, w *wait) error {
	m := b.meter
	expired := w.start(b)
	n := m.waiting.Add(1)
	defer m.waiting.Add(-1)
	if left, limited := w.left(b); limited && m.until(n) > left {
		return b.reject(RateLimited)
	}

	select {
	case m.head <- struct{}{}:
	case <-expired:
		return b.reject(RateLimited)
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-b.closing:
		return b.reject(ShutDown)
	}
	defer func() { <-m.head }()

	due := time.NewTimer(m.until(1))
	defer due.Stop()
	for {
		if err := b.stop(ctx); err != nil {
			return err
		}
		if m.allow() {
			return nil
		}
		due.Reset(max(1, m.until(1)))
		select {
		case <-due.C:
		case <-m.back:
		case <-expired:
			return b.reject(RateLimited)
		case <-ctx.Done():
		case <-b.closing:
		}
	}
}

// awaitBreaker waits until the breaker is closed or has a probe left.
func (b *Bulkhead) awaitBreaker(ctx context.Context) error {
	for {
		ok, wake, at := b.breaker.next()
		if ok {
			return nil
		}
		var due <-chan time.Time
		if at != forever {
			t := time.NewTimer(time.Duration(at - b.now()))
			defer t.Stop()
			due = t.C
		}
		select {
		case <-wake:
		case <-due:
		case <-ctx.Done():
		case <-b.closing:
		}
		if err := b.stop(ctx); err != nil {
			return err
		}
	}
}

// wait is the time somebody spends waiting, against Config.MaxWait. The zero
// value has not begun.
type wait struct {
	begun bool
	since int64
	limit time.Duration // 0: none
	timer *time.Timer
}

// start begins the wait, if it hasn't, and returns what tells its end: nil if
// nothing does. It must be followed by stop.
func (w *wait) start(b *Bulkhead) <-chan time.Time {
	if !w.begun {
		*w = wait{begun: true, since: b.now(), limit: b.cfg.MaxWait}
	}
	if w.timer == nil && w.limit > 0 {
		left, _ := w.left(b)
		w.timer = time.NewTimer(left)
	}
	if w.timer == nil {
		return nil
	}
	return w.timer.C
}

// left is what is left of the wait, if it is limited.
func (w *wait) left(b *Bulkhead) (time.Duration, bool) {
	return w.limit - time.Duration(b.now()-w.since), w.limit > 0
}

// soFar is how long the wait has lasted, 0 if there was none.
func (w *wait) soFar(b *Bulkhead) time.Duration {
	if !w.begun {
		return 0
	}
	return time.Duration(b.now() - w.since)
}

// stop ends the wait.
func (w *wait) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}
