package consumer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/bulkhead"
)

const (
	// early is how long before its time a waiting retry is held by the lane;
	// one that is earlier is handed back until a moment before.
	early = 500 * time.Millisecond

	// margin is that moment. The broker has it back a margin earlier, so that it
	// is there when the lane asks: else the lane would get one that is due later.
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
	waiting, cancel := l.group.inHand(ctx, time.Now().Add(l.wait))
	defer cancel()
	batch := []*nats.Msg{first}
	if room := l.group.share.room() - 1; room > 0 && !l.early(first) {
		batch, err = l.pull.fetch(ctx, batch, room)
	}
	early := false
	for _, m := range batch {
		if l.putOffEarly(m) {
			early = true
			continue
		}
		if closed := l.carryRetry(ctx, waiting, m); closed != nil {
			return closed
		}
	}
	if early {
		l.idleUntilDue(ctx)
	}
	return err
}

// idleUntilDue waits until the first of what the lane has put off is nearly due. A
// tier is first in, first out: nothing in it is due before, but what another process
// has put off and isn't there any more to take; so the wait is bounded.
func (l *lane) idleUntilDue(ctx context.Context) {
	pause := l.wait
	for _, at := range l.later {
		if left := time.Until(at); left > 0 {
			pause = min(pause, left)
		}
	}
	sleep(ctx, pause)
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
	if l.putOffEarly(m) {
		l.unused(credits, ramped)
		l.idleUntilDue(ctx)
		return err
	}
	waiting, cancel := l.group.inHand(ctx, until)
	defer cancel()
	if !sleep(waiting, time.Until(l.dueAt(m))) || !l.group.share.take(waiting, &l.turn) {
		l.unused(credits, ramped)
		l.putOff(ctx, waiting, m)
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
	if !sleep(waiting, time.Until(l.dueAt(m))) || !l.group.share.take(waiting, &l.turn) {
		l.putOff(ctx, waiting, m)
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

// putOff hands back a message that waited too long for its place in the share, or
// until the breaker opened, or, when the group stops, at once.
func (l *lane) putOff(ctx, waiting context.Context, m *nats.Msg) {
	pause, why := slotPause, shareTaken
	if err := context.Cause(waiting); errors.Is(err, errOpened) {
		pause, why = l.group.lacking(err)
	}
	if ctx.Err() != nil {
		pause = 0
	}
	l.refused(ctx, m, why)
	l.group.handBack(m, pause)
}

// putOffEarly hands back a retry whose time is far off, until a moment before, and
// reports whether it did; the lane is to look for it then.
func (l *lane) putOffEarly(m *nats.Msg) bool {
	if !l.early(m) {
		return false
	}
	at := l.dueAt(m).Add(-margin)
	l.group.handBack(m, time.Until(at)-margin)
	past := func(at time.Time) bool { return time.Until(at) <= 0 }
	l.later = append(slices.DeleteFunc(l.later, past), at)
	return true
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
