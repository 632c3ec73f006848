package consumer

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/bulkhead"
)

// What is in hand beyond the slots waits for one of them, so that a slot need not wait
// for the broker. It is what the slots do in windowTime, and maxWindow at most; for
// handlers that take long it is nothing. What a handler that hangs keeps waiting is
// handed back.
//
// Or it has been handled and is being stored, at most maxWindow too; but only if
// handlers are quick, quicker than anything that another machine is asked for. A killed
// process has what others do done again: one a slot, and no more.
const (
	windowTime = 2500 * time.Microsecond
	maxWindow  = 256
	quick      = 100 * time.Microsecond
)

// fresh carries new orders, as many at a time as there are free slots and a window more,
// until the stream is empty; then it waits for one, without a slot.
func (l *lane) fresh(ctx context.Context) error {
	g := l.group
	var (
		batch   []*nats.Msg
		credits []bulkhead.Credit
		ramped  bool
		err     error
	)
	for g.trouble.Load() == nil {
		if credits, ramped, err = l.credits(ctx, credits[:0], g.slots); err != nil {
			return err
		}
		if g.trouble.Load() != nil { // it came while all slots were taken
			l.unused(credits, ramped)
			return nil
		}
		ask := len(credits)
		if g.ramp.over() {
			ask += g.ahead()
		}
		batch, err = l.pull.fetch(ctx, batch[:0], ask)
		g.share.fresh(len(batch) >= len(credits))
		work := make([]*delivery, len(batch))
		for i, m := range batch {
			work[i] = l.delivery(m)
		}
		if closed := l.handOut(ctx, time.Now().Add(l.wait), credits, ramped, work...); closed != nil {
			return closed
		}
		if err != nil {
			return err
		}
		if len(batch) == 0 {
			return l.idle(ctx)
		}
	}
	return nil
}

// idle waits for a new order and carries it, and the next, as long as they come one at
// a time and find a free slot.
func (l *lane) idle(ctx context.Context) error {
	for alone := true; alone && ctx.Err() == nil; {
		m, err := l.next(ctx)
		if m == nil {
			return err
		}
		d := l.delivery(m)
		alone = d.behind == 0
		l.group.share.fresh(!alone)
		if closed := l.handOut(ctx, time.Now().Add(l.wait), nil, false, d); closed != nil {
			return closed
		}
		alone = alone && l.vacant()
	}
	return nil
}

// vacant reports whether an order could begin now.
func (l *lane) vacant() bool {
	if l.group.recovering() {
		return false
	}
	some := l.group.cfg.Bulkhead.Take(nil, 1)
	l.unused(some, false)
	return len(some) > 0
}

// next waits for one message. It returns nil, having handed it back, when trouble
// came first.
func (l *lane) next(ctx context.Context) (*nats.Msg, error) {
	m, err := l.pull.next(ctx)
	if err == nil && l.group.trouble.Load() != nil {
		l.group.handBack(m, probePause)
		return nil, nil
	}
	return m, err
}

// handOut begins what is in hand: the first of it with the credits that there are, the
// others as slots come free. What has no slot in time is put off, and so is all when
// the breaker opens or there is trouble. It returns an error only when the bulkhead
// was closed.
func (l *lane) handOut(ctx context.Context, until time.Time, credits []bulkhead.Credit, ramped bool, work ...*delivery) error {
	g := l.group
	work = l.start(ctx, until, credits, ramped, work)
	if len(work) == 0 {
		return nil
	}
	waiting, cancel := g.inHand(ctx, until)
	defer cancel()
	for len(work) > 0 {
		var err error
		pause, why := probePause, refusal{}
		if g.trouble.Load() != nil {
			err = errPutOff
		} else if credits, ramped, err = l.credits(waiting, credits[:0], len(work)); err != nil {
			pause, why = g.lacking(err)
		} else if g.trouble.Load() != nil { // it came while all slots were taken
			l.unused(credits, ramped)
			err = errPutOff
		}
		if err != nil {
			for _, d := range work {
				l.refuse(ctx, d, pause, why)
			}
			return ifClosed(err)
		}
		work = l.start(ctx, until, credits, ramped, work)
	}
	return nil
}

// start begins what there are credits for, and returns the rest.
func (l *lane) start(ctx context.Context, until time.Time, credits []bulkhead.Credit, ramped bool, work []*delivery) []*delivery {
	n := min(len(credits), len(work))
	for i, d := range work[:n] {
		d.ramped = ramped
		l.begin(ctx, until, credits[i], d)
	}
	l.unused(credits[n:], ramped)
	return work[n:]
}

// Why what is in hand has no slot.
var (
	errPutOff = errors.New("put off")
	errOpened = errors.New("the breaker is open")
)

// inHand returns the context in which a message in hand waits: until a time, and not
// for an open breaker, whose cause is errOpened.
func (g *Group) inHand(ctx context.Context, until time.Time) (context.Context, context.CancelFunc) {
	ctx, opened := context.WithCancelCause(ctx)
	waiting, cancel := context.WithDeadline(ctx, until)
	go func() {
		select {
		case <-g.cfg.Bulkhead.Opened():
		case <-waiting.Done():
		}
		opened(errOpened)
	}()
	return waiting, cancel
}

// credits appends to dst one slot, for which it waits, and up to n-1 more that are
// free now. While the breaker is open it waits too, without asking the broker for
// anything; half-open there are as many credits as probes, and when it has closed
// the ramp bounds them.
func (l *lane) credits(ctx context.Context, dst []bulkhead.Credit, n int) (_ []bulkhead.Credit, ramped bool, err error) {
	b, r := l.group.cfg.Bulkhead, l.group.ramp
	for {
		room := n
		if ramped = !l.group.recovering(); ramped {
			if room, err = r.take(ctx, n); err != nil {
				return dst, false, err
			}
		}
		c, err := b.Acquire(ctx)
		changed := err == nil && ramped == l.group.recovering()
		if ramped && (err != nil || changed) {
			r.unused(room)
		}
		switch {
		case err != nil:
			return dst, false, err
		case changed && !ramped: // it has closed while we waited: now the ramp counts
			c.Release()
			continue
		}
		ramped = ramped && !changed
		dst = b.Take(append(dst, c), room-1)
		if ramped {
			r.unused(room - len(dst))
		}
		return dst, ramped, nil
	}
}

// unused gives back credits for which there was no message.
func (l *lane) unused(credits []bulkhead.Credit, ramped bool) {
	for _, c := range credits {
		c.Release()
	}
	if ramped {
		l.group.ramp.unused(len(credits))
	}
}

// recovering reports whether the breaker isn't closed; then the ramp begins anew.
func (g *Group) recovering() bool {
	if g.cfg.Bulkhead.State() == bulkhead.Closed {
		return false
	}
	g.ramp.restart()
	return true
}

// pace is how long handlers take, as a mean that forgets: of the last 16 or so.
type pace struct{ mean atomic.Int64 }

func (p *pace) note(took time.Duration) {
	mean := p.mean.Load()
	p.mean.Store(mean + (int64(took)-mean)/16) // losing one to another slot does no harm
}

// ahead is how many orders may wait for a slot: what the slots handle in windowTime.
func (g *Group) ahead() int {
	mean := max(1, g.pace.mean.Load())
	return int(min(maxWindow, (int64(g.slots)*int64(windowTime)+mean/2)/mean))
}

// behind is how many orders may be handled and not on record without having a slot.
func (g *Group) behind() int {
	if g.pace.mean.Load() < int64(quick) {
		return maxWindow
	}
	return 0
}
