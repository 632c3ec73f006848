package consumer

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/order"
)

// A handler that ends its process, by os.Exit, by a fatal error, by eating memory
// until it is killed, leaves nothing but a message that comes again. How often it
// came doesn't tell: a message is also delivered again after each hand-back, pause
// and lost acknowledgement, which happen to innocents in any restart. So:
//
//	delivered for the 3rd time ─▶ its crash mark is raised before it runs, and
//	                              cleared when the handler returned, timed out,
//	                              or the message was handed back
//	has a mark already ─────────▶ a process has ended under it: it runs alone
//	has a mark of 3 ────────────▶ dead, poison, without being run
//
// Only running alone stops others, and only an order under which a process did end
// runs alone: a flooded service, whose retries are handed back for want of a slot
// again and again, doesn't stop its neighbours.
const (
	// suspectFrom is the delivery from which on a message is marked.
	suspectFrom = 3

	// poisonFrom is the mark at which a message isn't run any more.
	poisonFrom = 3

	// alonePause is how long a message is put off that can't run alone now.
	alonePause = 5 * time.Second
)

// errPoison is the error of an order that took its process down again and again.
var errPoison = fmt.Errorf("the process ended %d times while the order's handler ran", poisonFrom)

// begin lets a delivery into its slot. Until then it may wait at the gate, or be put
// off.
func (l *lane) begin(ctx context.Context, until time.Time, c bulkhead.Credit, d *delivery) {
	g := l.group
	if d.key != "" {
		g.hold(d)
		g.running.Go(func() { l.examine(ctx, until, c, d) })
		return
	}
	if !d.passage.tryEnter() {
		waiting, cancel := context.WithDeadline(ctx, until)
		defer cancel()
		if !d.passage.enter(waiting) {
			c.Release()
			g.part(d)
			l.refuse(ctx, d, slotPause, gateClosed)
			return
		}
	}
	g.hold(d)
	g.run(c, d)
}

// refuse hands back a delivery that was not begun.
func (l *lane) refuse(ctx context.Context, d *delivery, pause time.Duration, why refusal) {
	if d.token {
		l.group.share.put()
	}
	if ctx.Err() != nil {
		pause = 0 // the group stops: another instance may have it at once
	}
	l.refused(ctx, d.msg, why)
	l.group.handBack(d.msg, pause)
}

// examine begins a suspect: alone if a process has ended under it, and not at all
// if that happened too often. Trouble with the marks is no crash: the message is
// handed back, without a mark.
func (l *lane) examine(ctx context.Context, until time.Time, c bulkhead.Credit, d *delivery) {
	g := l.group
	waiting, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	crashes, err := g.marks.Crashes(waiting, d.key)
	if err == nil && crashes >= poisonFrom {
		l.bury(c, d)
		return
	}
	pause, why := alonePause, gateClosed
	if err == nil && l.enter(waiting, d, crashes) {
		err = g.raise(waiting, d, crashes+1)
		if err == nil && !d.claimed.Load() {
			g.run(c, d)
			return
		}
		d.passage.leave()
	}
	if err != nil {
		g.cfg.Log.Warn().Err(err).Str("event", "suspect.failed").Str("mark", d.key).
			Msg("an order that came often isn't run, as its crash mark can't be kept; it comes again")
		g.tally.unsettled.Inc()
		pause, why = unsettledDelay(), refusal{}
	}
	c.Release()
	g.clear(d, crashes)
	if d.claim() { // else the drain has handed it back
		l.refuse(ctx, d, pause, why)
		g.forget(d)
	}
}

// bury gives up an order unrun.
func (l *lane) bury(c bulkhead.Credit, d *delivery) {
	defer c.Release()
	if !d.claim() {
		return // the drain has handed it back
	}
	if d.token {
		defer l.group.share.put()
	}
	d.begun = time.Now()
	l.group.settle(d, errPoison)
}

// enter waits at the gate.
func (l *lane) enter(waiting context.Context, d *delivery, crashes int) bool {
	if crashes == 0 {
		return d.passage.enter(waiting)
	}
	l.group.cfg.Log.Warn().Str("event", "order.suspected").Str("mark", d.key).Int("crashes", crashes).
		Msg("a process ended while this order's handler ran: now it runs with no other")
	return d.passage.enterAlone(waiting)
}

// raise sets the mark of a delivery. After an error it may be raised, or will be
// when the broker is back.
func (g *Group) raise(ctx context.Context, d *delivery, crashes int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	d.marked.Store(true)
	return g.marks.Raise(ctx, d.key, crashes)
}

// clear sets the mark of a delivery that was raised back to what it was, or to
// nothing when the order has run and the process with it.
func (g *Group) clear(d *delivery, crashes int) {
	if !d.marked.Swap(false) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), g.cfg.Settle)
	defer cancel()
	err := g.again(ctx, func(ctx context.Context) error {
		if crashes == 0 {
			return g.marks.Clear(ctx, d.key)
		}
		return g.marks.Raise(ctx, d.key, crashes)
	})
	if err != nil {
		g.cfg.Log.Warn().Err(err).Str("event", "suspect.not_cleared").Str("mark", d.key).Msg("a crash mark stays for which there was no crash")
	}
}

// suspectKey names the mark of a message that came often, and is empty for any
// other.
func suspectKey(s order.Service, meta *nats.MsgMetadata) string {
	if meta.NumDelivered < suspectFrom {
		return ""
	}
	return broker.SuspectKey(s, meta.Stream, meta.Sequence.Stream)
}
