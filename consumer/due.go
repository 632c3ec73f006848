package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/bulkhead"
)

const (
	// early is how long before its time a waiting retry is held by the lane;
	// one that is earlier is handed back until a moment before.
	early = 500 * time.Millisecond

	// margin is that moment.
	margin = 50 * time.Millisecond
)

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
	until, _ := waiting.Deadline()
	return l.handOut(ctx, until, nil, false, d)
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
