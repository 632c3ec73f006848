package consumer

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

// settle judges an attempt and carries the verdict out: it stores what becomes of
// the order, and acknowledges only then. What can't be stored in time is handed
// back.
func (g *Group) settle(d *delivery, err error) {
	attempt := d.attempt(err)
	g.pace.note(attempt.Took)
	until := time.Now().Add(g.cfg.Settle)

	v := g.cfg.Policy.Judge(d.bounds(time.Now()), err)
	var (
		out    order.Outcome
		fallen bool
	)
	if err == nil {
		out = d.outcome // after a timeout the handler may be writing it still
	}
	if v.Fate == Retry || v.Reason == deadletter.Exhausted {
		if answer, ok := g.fallback(d, err); ok {
			out, fallen = answer, true
			if out.Result.Final() {
				v = Verdict{Fate: Done}
			}
		}
	}

	carryOut := func(until time.Time) error { return g.carryOut(until, d, v, out, fallen, attempt, err) }
	failed := carryOut(until)
	if failed != nil {
		g.alarm(failed)
		failed = g.insist(d, failed, carryOut)
	}
	if failed != nil {
		g.giveBack(d)
		return
	}
	if d.probe {
		g.resume()
	}
	g.report(d, v, out, attempt, err)
}

// ack says that an order is settled: what became of it is stored.
func (g *Group) ack(d *delivery) {
	if lost := ack(g.conn.NATS(), d.msg); lost != nil {
		g.cfg.Log.Warn().Err(lost).Str("event", "order.ack_failed").Str("order_id", d.hop.OrderID).Msg("order settled, its acknowledgement didn't go out; it comes again")
	}
}

// bounds is what Judge has to know.
func (d *delivery) bounds(now time.Time) Attempt {
	a := Attempt{N: d.hop.Attempt}
	if deadline := d.name().Deadline; !deadline.IsZero() {
		a.Bounded, a.Left = true, deadline.Sub(now)
	}
	return a
}

// fallback asks the handler for an answer in place of a failed attempt's.
func (g *Group) fallback(d *delivery, cause error) (out order.Outcome, ok bool) {
	o := d.order.Load()
	if g.fall == nil || o == nil {
		return order.Outcome{}, false
	}
	defer func() {
		if r := recover(); r != nil {
			g.cfg.Log.Error().Str("event", "fallback.panicked").Str("order_id", o.ID).Interface("panic", r).Msg("fallback panicked; the verdict stands")
			out, ok = order.Outcome{}, false
		}
	}()
	// The fallback may take half of the time to settle; the rest is the store's.
	ctx, cancel := context.WithTimeout(context.Background(), g.cfg.Settle/2)
	defer cancel()
	out, err := g.fall.Fallback(ctx, *o, cause)
	if err == nil {
		err = out.Validate()
	}
	if err != nil {
		g.cfg.Log.Warn().Err(err).Str("event", "fallback.failed").Str("order_id", o.ID).Msg("fallback failed; the verdict stands")
		return order.Outcome{}, false
	}
	return out, true
}

// carryOut stores what becomes of the order, trying again until its time is over, and
// then acknowledges it.
func (g *Group) carryOut(until time.Time, d *delivery, v Verdict, out order.Outcome, fallen bool, attempt deadletter.Attempt, cause error) error {
	if v.Fate == Done {
		return g.outbox.put(until, d, out)
	}
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	var err error
	if v.Fate == Retry {
		if fallen && d.hop.Waits == 0 {
			err = g.storePending(ctx, &broker.Settled{Hop: d.name(), Outcome: out})
		}
		if err == nil {
			err = g.storeMessage(ctx, g.retry(d, v, attempt))
		}
	} else {
		letter := g.letter(d, v, attempt, cause)
		err = g.again(ctx, func(ctx context.Context) error { return g.desk.Post(ctx, letter) })
	}
	if err == nil {
		g.ack(d)
	}
	return err
}

// storePending stores, beside the first retry, that nothing is decided yet.
func (g *Group) storePending(ctx context.Context, s *broker.Settled) error {
	m, err := broker.OutcomeMessage(g.cfg.Service, s)
	if err != nil {
		return err
	}
	m.ID = broker.PendingID(g.cfg.Service, s.Hop.Origin, s.Hop.Generation)
	return g.storeMessage(ctx, m)
}

// storeMessage stores a message, trying again until ctx ends.
func (g *Group) storeMessage(ctx context.Context, m broker.Message) error {
	return g.again(ctx, func(ctx context.Context) error {
		_, err := g.conn.Store(ctx, m)
		return err
	})
}

// retry is the message that waits in a tier.
func (g *Group) retry(d *delivery, v Verdict, attempt deadletter.Attempt) broker.Message {
	hop := d.name()
	hop.Attempt = v.Next
	hop.Waits++
	hop.RetryDelay = v.Delay
	hop.Timeline = deadletter.EncodeTimeline(deadletter.Note(deadletter.DecodeTimeline(hop.Timeline), attempt))
	return broker.Message{
		Subject: broker.RetrySubject(g.cfg.Service, broker.Tier(v.Tier)),
		ID:      broker.RetryID(g.cfg.Service, hop.Origin, hop.Generation, hop.Waits),
		Header:  hop.Header(d.msg.Header),
		Data:    d.msg.Data,
	}
}

// letter is the dead letter of a delivery.
func (g *Group) letter(d *delivery, v Verdict, attempt deadletter.Attempt, cause error) deadletter.Letter {
	l := deadletter.Letter{
		Service:   g.cfg.Service,
		Reason:    v.Reason,
		ErrorType: fmt.Sprintf("%T", cause),
		At:        time.Now(),
		Instance:  g.cfg.Instance,
		Version:   g.cfg.Version,
		Timeline:  deadletter.Note(deadletter.DecodeTimeline(d.hop.Timeline), attempt),
		Hop:       d.name(),
		Header:    d.msg.Header,
		Data:      d.msg.Data,
	}
	if cause != nil {
		l.Error = cause.Error()
	}
	return l
}

// again calls do until it succeeds or ctx ends, and returns the last error. The
// ids of what is stored make a repetition harmless.
func (g *Group) again(ctx context.Context, do func(context.Context) error) error {
	pause := 50 * time.Millisecond
	for {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		err := do(attempt)
		cancel()
		if err == nil || ctx.Err() != nil || !sleep(ctx, pause) {
			return err
		}
		pause = min(2*pause, time.Second)
	}
}

// sleep waits for d and reports whether it did so before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 { // also since a timer in the past ends a synctest bubble under the race detector
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// report logs and counts a settled delivery.
func (g *Group) report(d *delivery, v Verdict, out order.Outcome, attempt deadletter.Attempt, cause error) {
	g.tally.delivered[v.Fate].Inc()
	g.tally.handler.Observe(attempt.Took.Seconds())

	var e *zerolog.Event
	switch v.Fate {
	case Done:
		if !d.hop.FirstSeen.IsZero() {
			g.tally.endToEnd.Observe(time.Since(d.hop.FirstSeen).Seconds())
		}
		e = g.done.Debug().Str("event", "order.done").Str("result", string(out.Result))
	case Retry:
		g.tally.retried(attempt.Reason)
		e = g.cfg.Log.Info().Str("event", "order.retried").Dur("delay_ms", v.Delay).Str("reason", attempt.Reason)
	default:
		g.tally.died(v.Reason)
		g.givenUp(d, v.Reason, cause)
		e = g.cfg.Log.Warn().Str("event", "order.dead_lettered").Str("reason", string(v.Reason))
	}
	if cause != nil {
		e = e.Str("error", deadletter.Line(cause.Error(), 300))
	}
	e.Str("order_id", d.name().OrderID).Str("verdict", v.Fate.String()).Int("attempt", d.hop.Attempt).
		Str("stream", d.hop.Origin.Stream).Uint64("stream_seq", d.hop.Origin.Seq).
		Dur("duration_ms", attempt.Took).Msg("")
}
