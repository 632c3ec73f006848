package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

// delivery is one message on its way through a slot. The bulkhead calls Run, and
// Done once: after Run, or from the timer while Run still runs. What Run writes,
// Done reads only after Run.
type delivery struct {
	group *Group
	msg   *nats.Msg
	hop   broker.Hop
	begun time.Time
	token bool // it holds a place of the retries' share

	ramped bool // it counts for the ramp
	probe  bool // of trouble
	lost   bool // the broker has taken it back

	message messageKey
	behind  uint64 // how many messages are not delivered yet

	passage passage     // through the process's gate
	key     string      // of its crash mark; empty: it isn't suspected
	marked  atomic.Bool // the mark is raised

	decoded order.Order                 // Run's
	order   atomic.Pointer[order.Order] // to decoded, when it is; a fallback needs it while Run runs
	outcome order.Outcome
	ran     atomic.Bool
	claimed atomic.Bool
}

// claim reports whether the caller is the one who settles the delivery: the slot,
// its timer or the drain.
func (d *delivery) claim() bool { return d.claimed.CompareAndSwap(false, true) }

// Run decodes the order and runs the handler on it.
func (d *delivery) Run(ctx context.Context) (err error) {
	defer d.passage.leave()
	d.ran.Store(true)
	if d.token {
		defer d.group.share.put()
	}
	if err := d.decode(); err != nil {
		return err
	}
	d.order.Store(&d.decoded)
	if out, settled := d.group.recent.get(d.message); settled {
		d.outcome = out
		return nil
	}
	if deadline := d.name().Deadline; !deadline.IsZero() && !time.Now().Before(deadline) {
		return errExpired
	}
	begun := time.Now()
	out, err := d.group.cfg.Handler.Handle(ctx, d.decoded)
	d.group.pace.note(time.Since(begun))
	d.outcome = out
	if err != nil {
		return err
	}
	if err := out.Validate(); err != nil {
		return fmt.Errorf("outcome of %s's handler: %w", d.group.cfg.Service, err)
	}
	if !out.Result.Final() {
		return fmt.Errorf("outcome of %s's handler: %q is not a final result", d.group.cfg.Service, out.Result)
	}
	return nil
}

func (d *delivery) decode() error {
	if err := order.CheckSchema(d.hop.Schema); err != nil {
		return err
	}
	return order.ParseInto(&d.decoded, d.msg.Data)
}

// name returns the hop with what the order itself says in place of what a header
// claims.
func (d *delivery) name() broker.Hop {
	hop := d.hop
	if o := d.order.Load(); o != nil {
		hop.OrderID, hop.Schema = o.ID, order.Schema
		if !o.Deadline.IsZero() {
			hop.Deadline = o.Deadline
		}
	}
	return hop
}

// Done settles the delivery.
func (d *delivery) Done(err error) {
	if errors.Is(err, bulkhead.ErrTimeout) {
		d.passage.haunt() // if it still runs
		d.group.pace.note(d.group.cfg.Bulkhead.Timeout())
		d.group.Flooded()
	} else {
		d.passage.leave()
	}
	if !d.claim() {
		return // the drain has handed it back
	}
	if !d.ran.Load() { // the bulkhead was closed before its turn
		if d.token {
			d.group.share.put()
		}
		d.group.release(d)
		d.group.forget(d)
		return
	}
	d.group.clear(d, 0)
	d.group.settle(d, err)
}

// Late is called when a handler returns that outlived its timeout.
func (d *delivery) Late(err error) {
	g := d.group
	g.tally.late()
	var o order.Order
	if p := d.order.Load(); p != nil {
		o = *p
	}
	if g.cfg.Late != nil {
		g.cfg.Late(o, d.outcome, err)
		return
	}
	g.cfg.Log.Warn().Err(err).Str("event", "order.late_result").Str("order_id", o.ID).
		Str("result", string(d.outcome.Result)).Int("attempt", d.hop.Attempt).
		Dur("duration_ms", time.Since(d.begun)).Msg("a handler returned after its timeout; its result doesn't count")
}

// attempt is this delivery as it stands in a timeline.
func (d *delivery) attempt(err error) deadletter.Attempt {
	a := deadletter.Attempt{N: d.hop.Attempt, Started: d.begun, Took: time.Since(d.begun), Reason: "failed"}
	if err == nil {
		return a
	}
	a.Error = err.Error()
	var panicked *bulkhead.PanicError
	_, asked := order.AfterOf(err)
	switch {
	case errors.Is(err, bulkhead.ErrTimeout):
		a.Reason = "timeout"
	case errors.As(err, &panicked):
		a.Reason = "panic"
	case asked:
		a.Reason = "asked"
	case errors.Is(err, errPoison):
		a.Reason = "crash"
	}
	return a
}
