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

// ending is what becomes of a delivery.
type ending struct {
	verdict Verdict
	outcome order.Outcome
	fallen  bool // the outcome is a fallback's
	attempt deadletter.Attempt
	cause   error
}

// settle judges an attempt and carries the verdict out: it stores what becomes of
// the order, and acknowledges only then. What can't be stored in time is handed
// back.
func (g *Group) settle(d *delivery, err error) {
	e := ending{attempt: d.attempt(err), cause: err}
	until := time.Now().Add(g.cfg.Settle)

	e.verdict = g.cfg.Policy.Judge(d.bounds(time.Now()), err)
	if err == nil {
		e.outcome = d.outcome // after a timeout the handler may be writing it still
	}
	if e.verdict.Fate == Retry || e.verdict.Reason == deadletter.Exhausted {
		if answer, ok := g.fallback(d, err); ok {
			e.outcome, e.fallen = answer, true
			if answer.Result.Final() {
				e.verdict = Verdict{Fate: Done}
			}
		}
	}
	if e.verdict.Fate == Done {
		g.outbox.put(until, d, e)
		return
	}
	g.end(d, e, g.carryOut(until, d, e))
}

// end is the end of a delivery whose verdict was carried out, or if not, why not.
func (g *Group) end(d *delivery, e ending, failed error) {
	defer g.forget(d)
	if failed != nil {
		g.alarm(failed)
		failed = g.insist(d, e, failed)
	}
	if failed != nil {
		g.giveBack(d)
		return
	}
	if e.verdict.Fate == Done {
		g.recent.add(d.message, e.outcome)
	}
	if d.probe {
		g.resume()
	}
	g.report(d, e)
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
func (g *Group) carryOut(until time.Time, d *delivery, e ending) error {
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	var err error
	switch e.verdict.Fate {
	case Done:
		err = g.storeOutcome(ctx, d, e.outcome)
	case Retry:
		if e.fallen && d.hop.Waits == 0 {
			err = g.storeOutcome(ctx, d, e.outcome) // beside the first retry: nothing is decided yet
		}
		if err == nil {
			err = g.storeMessage(ctx, g.retry(d, e.verdict, e.attempt))
		}
	default:
		letter := g.letter(d, e)
		err = g.again(ctx, func(ctx context.Context) error { return g.desk.Post(ctx, letter) })
	}
	if err == nil {
		g.ack(d)
	}
	return err
}

// storeOutcome stores one outcome by itself.
func (g *Group) storeOutcome(ctx context.Context, d *delivery, out order.Outcome) error {
	m, err := broker.OutcomeMessage(nil, g.cfg.Service, d.name().Settled(out))
	if err != nil {
		return err
	}
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
func (g *Group) letter(d *delivery, e ending) deadletter.Letter {
	l := deadletter.Letter{
		Service:   g.cfg.Service,
		Reason:    e.verdict.Reason,
		ErrorType: fmt.Sprintf("%T", e.cause),
		At:        time.Now(),
		Instance:  g.cfg.Instance,
		Version:   g.cfg.Version,
		Timeline:  deadletter.Note(deadletter.DecodeTimeline(d.hop.Timeline), e.attempt),
		Hop:       d.name(),
		Header:    d.msg.Header,
		Data:      d.msg.Data,
	}
	if e.cause != nil {
		l.Error = e.cause.Error()
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
func (g *Group) report(d *delivery, e ending) {
	g.tally.delivered[e.verdict.Fate].Inc()
	g.tally.handler.Observe(e.attempt.Took.Seconds())

	var line *zerolog.Event
	switch e.verdict.Fate {
	case Done:
		if !d.hop.FirstSeen.IsZero() {
			g.tally.endToEnd.Observe(time.Since(d.hop.FirstSeen).Seconds())
		}
		line = g.done.Debug().Str("event", "order.done").Str("result", string(e.outcome.Result))
	case Retry:
		g.tally.retried(e.attempt.Reason)
		line = g.cfg.Log.Info().Str("event", "order.retried").Dur("delay_ms", e.verdict.Delay).Str("reason", e.attempt.Reason)
	default:
		g.tally.died(e.verdict.Reason)
		g.givenUp(d, e.verdict.Reason, e.cause)
		line = g.cfg.Log.Warn().Str("event", "order.dead_lettered").Str("reason", string(e.verdict.Reason))
	}
	if line == nil {
		return // it isn't logged
	}
	if e.cause != nil {
		line = line.Str("error", deadletter.Line(e.cause.Error(), 300))
	}
	line.Str("order_id", d.name().OrderID).Str("verdict", e.verdict.Fate.String()).Int("attempt", d.hop.Attempt).
		Str("stream", d.hop.Origin.Stream).Uint64("stream_seq", d.hop.Origin.Seq).
		Dur("duration_ms", e.attempt.Took).Msg("")
}
