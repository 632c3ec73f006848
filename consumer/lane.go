package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/bulkhead"
)

// lane carries the messages of one durable to the slots. While there is work it
// takes the free slots first and asks for as many messages; when there is none it
// waits for one message and holds no slot, so that an idle lane costs the others
// nothing.
type lane struct {
	group   *Group
	pull    *puller
	stream  string
	durable string
	retries bool          // of a retry tier: messages have their time and a share of the slots
	slots   int           // of the bulkhead
	wait    time.Duration // for a slot, with a message in hand
	mute    bool          // the broker doesn't answer; of the goroutine that pulls
}

// Retry lanes.
const (
	// early is how long before its time a waiting retry is held by the lane;
	// one that is earlier is handed back until a moment before.
	early = 500 * time.Millisecond

	// margin is that moment.
	margin = 50 * time.Millisecond

	// slotPause is how long a message is put off that waited too long for a
	// slot.
	slotPause = time.Second

	// errorPause is the wait after the broker refused a pull, and between two
	// orders while nothing can be stored.
	errorPause = time.Second
)

// lanes opens one lane for each durable of the service, having checked that the
// durables are there and fit the group's timing.
func (g *Group) lanes(ctx context.Context) (lanes []*lane, err error) {
	need := AckWait(g.cfg.Bulkhead.Timeout(), g.cfg.Settle)
	slots := g.cfg.Bulkhead.Stats().Slots
	defer func() {
		if err != nil {
			for _, l := range lanes {
				err = errors.Join(err, l.close())
			}
		}
	}()
	open := func(stream, durable string, most int, retries bool) error {
		c, err := g.conn.JetStream().Consumer(ctx, stream, durable)
		if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("run group %s: durable %s of %s is missing on the broker: provision it first", g.cfg.Service, durable, stream)
		}
		if err != nil {
			return fmt.Errorf("run group %s: look at durable %s of %s: %w", g.cfg.Service, durable, stream, err)
		}
		have := c.CachedInfo().Config.AckWait
		if have < need {
			return fmt.Errorf("run group %s: durable %s of %s waits %v for an acknowledgement, and a timeout of %v needs %v (2 × (timeout + %v to settle + %v)): provision it anew or choose a shorter timeout",
				g.cfg.Service, durable, stream, have, g.cfg.Bulkhead.Timeout(), need, g.cfg.Settle, grace)
		}
		l := &lane{group: g, stream: stream, durable: durable, retries: retries, slots: slots, wait: have / 2}
		if l.pull, err = newPuller(g.conn, stream, durable, most, l.heard); err != nil {
			return fmt.Errorf("run group %s: %w", g.cfg.Service, err)
		}
		lanes = append(lanes, l)
		return nil
	}
	if err := open(broker.StreamOrders, broker.Durable(g.cfg.Service), slots, false); err != nil {
		return lanes, err
	}
	for i := range len(g.cfg.Policy.Retry) + 1 {
		tier := broker.TierNow
		if i > 0 {
			tier = broker.Tier(i)
		}
		if err := open(broker.RetryStream(g.cfg.Service), broker.TierDurable(g.cfg.Service, tier), g.cfg.RetryShare, true); err != nil {
			return lanes, err
		}
	}
	return lanes, nil
}

// run works until ctx ends, then hands back what it holds.
func (l *lane) run(ctx context.Context) error {
	work := l.fresh
	if l.retries {
		work = l.due
	}
	for ctx.Err() == nil {
		do := work
		if l.group.trouble.Load() != nil {
			do = l.probe
		}
		err := do(ctx)
		if errors.Is(err, bulkhead.ErrClosed) {
			return errors.Join(fmt.Errorf("run lane %s: %w", l.durable, err), l.close())
		}
		if err != nil && ctx.Err() == nil {
			l.unheard(err)
			sleep(ctx, errorPause)
		}
	}
	if err := l.close(); err != nil {
		// The broker is away. What it has sent comes again after the ack wait.
		l.group.cfg.Log.Warn().Err(err).Str("event", "pull.not_ended").Str("consumer", l.durable).Msg("stopped without the broker's word")
	}
	return nil
}

// unheard notes that the broker doesn't answer, heard that it does.
func (l *lane) unheard(err error) {
	if l.mute {
		return
	}
	l.mute = true
	l.group.cfg.Log.Warn().Err(err).Str("event", "pull.failed").Str("consumer", l.durable).Msg("no orders from the broker; asking again until they come")
	l.group.mu.Lock()
	defer l.group.mu.Unlock()
	l.group.mute[l.durable] = trouble{time.Now(), err}
}

func (l *lane) heard() {
	if !l.mute {
		return
	}
	l.mute = false
	l.group.cfg.Log.Info().Str("event", "pull.resumed").Str("consumer", l.durable).Msg("the broker answers again")
	l.group.mu.Lock()
	defer l.group.mu.Unlock()
	delete(l.group.mute, l.durable)
}

func (l *lane) close() error {
	return l.pull.close(func(m *nats.Msg) { l.group.handBack(m, 0) })
}

// fresh carries new orders, as many at a time as there are free slots, until the
// stream is empty; then it waits for one, without a slot.
func (l *lane) fresh(ctx context.Context) error {
	g := l.group
	var (
		batch   []*nats.Msg
		credits []bulkhead.Credit
		ramped  bool
		err     error
	)
	for g.trouble.Load() == nil {
		if credits, ramped, err = l.credits(ctx, credits[:0], l.slots); err != nil {
			return err
		}
		if g.trouble.Load() != nil { // it came while all slots were taken
			l.unused(credits, ramped)
			return nil
		}
		batch, err = l.pull.fetch(ctx, batch[:0], len(credits))
		g.share.fresh(len(batch) == len(credits))
		until := time.Now().Add(l.wait)
		for i, m := range batch {
			d := l.delivery(m)
			d.ramped = ramped
			l.begin(ctx, until, credits[i], d)
		}
		l.unused(credits[len(batch):], ramped)
		if err != nil {
			return err
		}
		if len(batch) == 0 {
			return l.idle(ctx)
		}
	}
	return nil
}

// idle waits for a new order and carries it.
func (l *lane) idle(ctx context.Context) error {
	m, err := l.next(ctx)
	if m == nil {
		return err
	}
	until := time.Now().Add(l.wait)
	waiting, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	l.group.share.fresh(true)
	return ifClosed(l.carry(ctx, waiting, l.delivery(m)))
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
	if g.cfg.Bulkhead.Stats().State == bulkhead.Closed {
		return false
	}
	g.ramp.restart()
	return true
}

// due carries waiting retries: each of them when its time has come.
func (l *lane) due(ctx context.Context) error {
	if l.group.recovering() {
		return l.dueOne(ctx)
	}
	first, err := l.next(ctx)
	if first == nil {
		return err
	}
	// What is in hand from here on may wait for a slot, but not so long that
	// its ack deadline could pass before it is settled.
	waiting, cancel := context.WithTimeout(ctx, l.wait)
	defer cancel()
	batch := []*nats.Msg{first}
	if room := l.group.share.room() - 1; room > 0 && !l.early(first) {
		batch, err = l.pull.fetch(ctx, batch, room)
	}
	var wake time.Time
	for _, m := range batch {
		if at := l.putOffEarly(m); !at.IsZero() {
			if wake.IsZero() || at.Before(wake) {
				wake = at
			}
			continue
		}
		if closed := l.carryRetry(ctx, waiting, m); closed != nil {
			return closed
		}
	}
	if !wake.IsZero() {
		// A tier is first in, first out: nothing in it is due before its head.
		sleep(ctx, time.Until(wake))
	}
	return err
}

// dueOne carries one retry while the breaker isn't closed: it asks for it only when
// it has a probe for it.
func (l *lane) dueOne(ctx context.Context) error {
	credits, ramped, err := l.credits(ctx, nil, 1)
	if err != nil {
		return err
	}
	batch, err := l.pull.fetch(ctx, nil, 1)
	if len(batch) == 0 {
		l.unused(credits, ramped)
		sleep(ctx, errorPause)
		return err
	}
	until, m := time.Now().Add(l.wait), batch[0]
	if at := l.putOffEarly(m); !at.IsZero() {
		l.unused(credits, ramped)
		sleep(ctx, time.Until(at))
		return err
	}
	waiting, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	if !sleep(waiting, time.Until(l.dueAt(m))) || !l.group.share.take(waiting) {
		l.unused(credits, ramped)
		l.putOff(ctx, m)
		return err
	}
	d := l.delivery(m)
	d.token, d.ramped = true, ramped
	l.begin(ctx, until, credits[0], d)
	return err
}

// carryRetry begins a retry when it is due, has its place in the share and a slot;
// if that isn't so by the end of waiting, it puts it off.
func (l *lane) carryRetry(ctx, waiting context.Context, m *nats.Msg) error {
	if !sleep(waiting, time.Until(l.dueAt(m))) || !l.group.share.take(waiting) {
		l.putOff(ctx, m)
		return nil
	}
	d := l.delivery(m)
	d.token = true
	return ifClosed(l.carry(ctx, waiting, d))
}

// carry begins a message that is in hand when there is a slot for it; if there is
// none by the end of waiting, it puts it off. An open breaker isn't waited for.
func (l *lane) carry(ctx, waiting context.Context, d *delivery) error {
	g := l.group
	if g.cfg.Bulkhead.Stats().State == bulkhead.Open {
		at, _ := g.cfg.Bulkhead.ReadyAt()
		l.refuse(ctx, d, max(time.Until(at), slotPause))
		return nil
	}
	credits, ramped, err := l.credits(waiting, nil, 1)
	if err != nil {
		l.refuse(ctx, d, slotPause)
		return err
	}
	if g.trouble.Load() != nil {
		l.unused(credits, ramped)
		l.refuse(ctx, d, probePause)
		return nil
	}
	d.ramped = ramped
	until, _ := waiting.Deadline()
	l.begin(ctx, until, credits[0], d)
	return nil
}

// ifClosed lets through only that the bulkhead was closed.
func ifClosed(err error) error {
	if errors.Is(err, bulkhead.ErrClosed) {
		return err
	}
	return nil
}

// putOff hands back a message that waited too long for a slot, or, when the group
// stops, at once.
func (l *lane) putOff(ctx context.Context, m *nats.Msg) {
	if ctx.Err() != nil {
		l.group.handBack(m, 0)
		return
	}
	l.group.handBack(m, slotPause)
}

// putOffEarly hands back a retry whose time is far off, until a moment before, and
// returns that moment; zero when the time is near.
func (l *lane) putOffEarly(m *nats.Msg) time.Time {
	if !l.early(m) {
		return time.Time{}
	}
	at := l.dueAt(m).Add(-margin)
	l.group.handBack(m, time.Until(at))
	return at
}

// early reports whether a message's time is too far off to hold it.
func (l *lane) early(m *nats.Msg) bool { return time.Until(l.dueAt(m)) > early }

// dueAt is when a waiting retry's time comes: its delay after the broker stored
// it.
func (l *lane) dueAt(m *nats.Msg) time.Time {
	meta, err := m.Metadata()
	if err != nil {
		return time.Time{} // not from a durable: it is due
	}
	return meta.Timestamp.Add(broker.ParseHop(m.Header).RetryDelay)
}

// delivery reads what the headers and the broker say of a message. On the main
// stream an order begins: what the headers claim of its past is not believed.
func (l *lane) delivery(m *nats.Msg) *delivery {
	d := &delivery{group: l.group, msg: m, passage: passage{gate: l.group.cfg.Gate}}
	hop := broker.ParseHop(m.Header)
	meta, err := m.Metadata()
	if err == nil {
		d.key = suspectKey(l.group.cfg.Service, meta)
	}
	if err == nil && (!l.retries || hop.Origin.Seq == 0) {
		hop.Origin = broker.Origin{Stream: meta.Stream, Seq: meta.Sequence.Stream, Subject: m.Subject}
		hop.FirstSeen = meta.Timestamp
		if !l.retries {
			hop.Attempt, hop.Waits, hop.Generation, hop.RetryDelay, hop.Timeline = 1, 0, 0, 0, ""
		}
	}
	d.hop = hop
	return d
}
