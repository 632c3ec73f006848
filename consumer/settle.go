package consumer

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
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
	ctx, cancel := context.WithTimeout(context.Background(), g.cfg.Settle)
	defer cancel()

	v := g.cfg.Policy.Judge(d.bounds(time.Now()), err)
	var (
		out    order.Outcome
		fallen bool
	)
	if err == nil {
		out = d.outcome // after a timeout the handler may be writing it still
	}
	if v.Fate == Retry || v.Reason == deadletter.Exhausted {
		if answer, ok := g.fallback(ctx, d, err); ok {
			out, fallen = answer, true
			if out.Result.Final() {
				v = Verdict{Fate: Done}
			}
		}
	}

	store := func(ctx context.Context) error { return g.store(ctx, d, v, out, fallen, attempt, err) }
	stored := store(ctx)
	if stored != nil {
		g.alarm(stored)
		stored = g.insist(d, stored, store)
	}
	if stored != nil {
		g.giveBack(d)
		return
	}
	if d.probe {
		g.resume()
	}
	if lost := ack(g.conn.NATS(), d.msg); lost != nil {
		g.cfg.Log.Warn().Err(lost).Str("event", "order.ack_failed").Str("order_id", d.hop.OrderID).Msg("order settled, its acknowledgement didn't go out; it comes again")
	}
	g.report(d, v, out, attempt, err)
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
func (g *Group) fallback(ctx context.Context, d *delivery, cause error) (out order.Outcome, ok bool) {
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
	ctx, cancel := context.WithTimeout(ctx, g.cfg.Settle/2)
	defer cancel()
	out, err := g.fall.Fallback(ctx, *o, cause)
	if err == nil && !out.Result.Valid() {
		err = fmt.Errorf("fallback of %s answered %q, which is no result", g.cfg.Service, out.Result)
	}
	if err != nil {
		g.cfg.Log.Warn().Err(err).Str("event", "fallback.failed").Str("order_id", o.ID).Msg("fallback failed; the verdict stands")
		return order.Outcome{}, false
	}
	return out, true
}

// store stores what becomes of the order, trying again until ctx ends.
func (g *Group) store(ctx context.Context, d *delivery, v Verdict, out order.Outcome, fallen bool, attempt deadletter.Attempt, cause error) error {
	switch v.Fate {
	case Done:
		id := broker.DoneID(g.cfg.Service, d.hop.Origin, d.hop.Generation)
		return g.storeOutcome(ctx, d, out, id)
	case Retry:
		if fallen && d.hop.Waits == 0 {
			id := broker.PendingID(g.cfg.Service, d.hop.Origin, d.hop.Generation)
			if err := g.storeOutcome(ctx, d, out, id); err != nil {
				return err
			}
		}
		return g.again(ctx, func(ctx context.Context) error {
			_, err := g.conn.Store(ctx, g.retry(d, v, attempt))
			return err
		})
	default:
		letter := g.letter(d, v, attempt, cause)
		return g.again(ctx, func(ctx context.Context) error { return g.desk.Post(ctx, letter) })
	}
}

func (g *Group) storeOutcome(ctx context.Context, d *delivery, out order.Outcome, id string) error {
	body, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("encode outcome: %w", err)
	}
	hop := d.name()
	hop.RetryDelay, hop.Timeline = 0, ""
	m := broker.Message{
		Subject: broker.OutcomeSubject(g.cfg.Service, out.Result),
		ID:      id,
		Header:  hop.Header(nil),
		Data:    body,
	}
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
	m := g.cfg.Metrics
	m.delivered(g.cfg.Service, v.Fate.String())
	m.handled(g.cfg.Service, attempt.Took)

	var e *zerolog.Event
	switch v.Fate {
	case Done:
		if !d.hop.FirstSeen.IsZero() {
			m.ended(g.cfg.Service, time.Since(d.hop.FirstSeen))
		}
		e = g.done.Debug().Str("event", "order.done").Str("result", string(out.Result))
	case Retry:
		m.retried(g.cfg.Service, attempt.Reason)
		e = g.cfg.Log.Info().Str("event", "order.retried").Dur("delay_ms", v.Delay).Str("reason", attempt.Reason)
	default:
		m.died(g.cfg.Service, v.Reason)
		e = g.cfg.Log.Warn().Str("event", "order.dead_lettered").Str("reason", string(v.Reason))
	}
	if cause != nil {
		e = e.Str("error", deadletter.Line(cause.Error(), 300))
	}
	e.Str("order_id", d.name().OrderID).Str("verdict", v.Fate.String()).Int("attempt", d.hop.Attempt).
		Str("stream", d.hop.Origin.Stream).Uint64("stream_seq", d.hop.Origin.Seq).
		Dur("duration_ms", attempt.Took).Msg("")
}
