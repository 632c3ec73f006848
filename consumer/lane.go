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
		if l.group.trouble.Load() != nil && !sleep(ctx, errorPause) {
			break
		}
		err := work(ctx)
		if errors.Is(err, bulkhead.ErrClosed) {
			return errors.Join(fmt.Errorf("run lane %s: %w", l.durable, err), l.close())
		}
		if err != nil && ctx.Err() == nil {
			l.unheard(err)
			l.group.cfg.Log.Warn().Err(err).Str("event", "pull.failed").Str("consumer", l.durable).Msg("no orders from the broker; asking again")
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
	l.group.mu.Lock()
	defer l.group.mu.Unlock()
	l.group.mute[l.durable] = trouble{time.Now(), err}
}

func (l *lane) heard() {
	if !l.mute {
		return
	}
	l.mute = false
	l.group.mu.Lock()
	defer l.group.mu.Unlock()
	delete(l.group.mute, l.durable)
}

func (l *lane) close() error {
	return l.pull.close(func(m *nats.Msg) { l.group.handBack(m, 0) })
}

// fresh carries new orders: it waits for one, then goes on with as many as there
// are free slots until the stream is empty. While nothing can be stored it
// carries just the one, to see whether that is over.
func (l *lane) fresh(ctx context.Context) error {
	first, err := l.pull.next(ctx)
	if err != nil {
		return err
	}
	until := time.Now().Add(l.wait)
	waiting, cancel := context.WithDeadline(ctx, until)
	c, err := l.group.cfg.Bulkhead.Acquire(waiting)
	cancel()
	if err != nil {
		l.putOff(ctx, first)
	} else {
		l.begin(ctx, until, c, first, false)
	}
	var (
		credits []bulkhead.Credit
		batch   []*nats.Msg
	)
	for l.group.trouble.Load() == nil {
		c, err := l.group.cfg.Bulkhead.Acquire(ctx)
		if err != nil {
			return err
		}
		credits = l.group.cfg.Bulkhead.Take(append(credits[:0], c), l.slots-1)
		batch, err = l.pull.fetch(ctx, batch[:0], len(credits))
		until := time.Now().Add(l.wait)
		for i, m := range batch {
			l.begin(ctx, until, credits[i], m, false)
		}
		for _, unused := range credits[len(batch):] {
			unused.Release()
		}
		if err != nil || len(batch) == 0 {
			return err
		}
	}
	return nil
}

// due carries waiting retries: each of them when its time has come, and never
// more at once than the retries' share of the slots.
func (l *lane) due(ctx context.Context) error {
	first, err := l.pull.next(ctx)
	if err != nil {
		return err
	}
	// What is in hand from here on may wait for a slot, but not so long that
	// its ack deadline could pass before it is settled.
	until := time.Now().Add(l.wait)
	waiting, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	batch := []*nats.Msg{first}
	if room := cap(l.group.share) - len(l.group.share) - 1; room > 0 && !l.early(first) {
		batch, err = l.pull.fetch(ctx, batch, room)
	}
	var wake time.Time
	for _, m := range batch {
		if !l.early(m) {
			l.carry(ctx, waiting, until, m)
			continue
		}
		at := l.dueAt(m).Add(-margin)
		l.group.handBack(m, time.Until(at))
		if wake.IsZero() || at.Before(wake) {
			wake = at
		}
	}
	if !wake.IsZero() {
		// A tier is first in, first out: nothing in it is due before its head.
		sleep(ctx, time.Until(wake))
	}
	return err
}

// carry begins a retry when it is due, has its place in the share and a slot; if
// that isn't so by the end of waiting, it puts it off.
func (l *lane) carry(ctx, waiting context.Context, until time.Time, m *nats.Msg) {
	if !sleep(waiting, time.Until(l.dueAt(m))) {
		l.putOff(ctx, m)
		return
	}
	select {
	case l.group.share <- struct{}{}:
	case <-waiting.Done():
		l.putOff(ctx, m)
		return
	}
	c, err := l.group.cfg.Bulkhead.Acquire(waiting)
	if err != nil {
		<-l.group.share
		l.putOff(ctx, m)
		return
	}
	l.begin(ctx, until, c, m, true)
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
