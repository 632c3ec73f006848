package consumer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// trouble says that the broker doesn't store what becomes of attempts: a stream is
// full, a permission was taken away, the broker is gone. While there is trouble the
// group takes no more orders and acknowledges nothing. One order, the probe, stays
// in hand with what became of it, and that is stored again and again; the others
// are handed back for half a minute, so that another instance can have them. When
// the probe's fate is stored, the trouble is over.
//
//	storing fails for Settle ─▶ alarm ─▶ probe: keep, store every second ──stored──▶ resume
//	                                └──▶ others: hand back
type trouble struct {
	since time.Time
	err   error
}

// probePause is the time between two tries to store the probe's fate.
const probePause = time.Second

// alarm notes that storing failed.
func (g *Group) alarm(err error) {
	if g.trouble.CompareAndSwap(nil, &trouble{time.Now(), err}) {
		g.cfg.Log.Error().Err(err).Str("event", "egress.failed").Msg("what becomes of orders can't be stored: no more are taken, nothing is acknowledged")
	}
}

// resume notes that it succeeded again. Only the probe can tell: another order's
// fate may go to another stream.
func (g *Group) resume() {
	if t := g.trouble.Swap(nil); t != nil {
		g.cfg.Log.Info().Str("event", "egress.resumed").Dur("duration_ms", time.Since(t.since)).Msg("what becomes of orders is stored again: taking orders")
	}
}

// insist tries to store the fate of the probe until it is stored, and returns the
// last error when the group stops, or when the broker has been out of reach for so
// long that the order isn't ours any more.
func (g *Group) insist(d *delivery, e ending, err error) error {
	if !d.probe && !g.probing.CompareAndSwap(false, true) {
		return err // there is a probe
	}
	d.probe = true // until it is forgotten
	for kept := time.Now(); time.Since(kept) < g.keep; {
		if nak := inProgress(g.conn.NATS(), d.msg); nak == nil {
			kept = time.Now()
		}
		if err = g.carryOut(time.Now().Add(2*time.Second), d, e); err == nil {
			return nil
		}
		select {
		case <-time.After(probePause):
		case <-g.stopping:
			return err
		}
	}
	d.lost = true
	return err
}

// inProgress has the broker wait for another ack wait, and returns nil when it has
// read that.
func inProgress(nc *nats.Conn, m *nats.Msg) error {
	if err := nc.Publish(m.Reply, []byte("+WPI")); err != nil {
		return err
	}
	return nc.FlushTimeout(time.Second)
}

// giveBack hands back an order whose fate couldn't be stored.
func (g *Group) giveBack(d *delivery) {
	g.tally.unsettled.Inc()
	if d.lost {
		return // it comes, or has come, by itself
	}
	pause := unsettledDelay()
	select {
	case <-g.stopping:
		pause = 0
	default:
	}
	g.handBack(d.msg, pause)
}

// probe takes one order while nothing can be stored and none is in hand, to see
// whether that is over.
func (l *lane) probe(ctx context.Context) error {
	if !sleep(ctx, probePause) || !l.group.probing.CompareAndSwap(false, true) {
		return nil
	}
	begun := false
	defer func() {
		if !begun {
			l.group.probing.Store(false)
		}
	}()
	waiting, cancel := context.WithTimeout(ctx, l.wait)
	defer cancel()
	c, err := l.group.cfg.Bulkhead.Acquire(waiting)
	if err != nil {
		return ifClosed(err)
	}
	batch, err := l.pull.fetch(ctx, nil, 1)
	if len(batch) == 0 || (l.retries && l.putOffEarly(batch[0])) {
		c.Release()
		return err
	}
	if l.retries {
		sleep(waiting, time.Until(l.dueAt(batch[0])))
	}
	d := l.delivery(batch[0])
	d.probe, begun = true, true
	l.begin(ctx, time.Now().Add(l.wait), c, d)
	return err
}

// Check returns nil when the group can work, or why it can't: the broker doesn't
// store, an operator has paused the service (noticed within seconds), the broker
// doesn't answer for one of the durables, or every slot is held by a handler that
// outlived its timeout. It is for readiness, and may be called at any time.
func (g *Group) Check() error {
	if t := g.trouble.Load(); t != nil {
		return fmt.Errorf("%s: nothing can be settled since %s: %w", g.cfg.Service, t.since.UTC().Format(time.RFC3339), t.err)
	}
	if until := g.paused.Load(); until != nil && time.Now().Before(*until) {
		return fmt.Errorf("%s: paused by an operator until %s", g.cfg.Service, until.UTC().Format(time.RFC3339))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for durable, t := range g.mute {
		return fmt.Errorf("%s: no orders come from %s since %s: %w", g.cfg.Service, durable, t.since.UTC().Format(time.RFC3339), t.err)
	}
	if s := g.cfg.Bulkhead.Stats(); s.Flooded {
		return fmt.Errorf("%s: flooded: all %d slots are held by handlers that outlived their timeout, the oldest for %v",
			g.cfg.Service, s.Slots, s.OldestGhost.Round(time.Millisecond))
	}
	return nil
}

// flood remembers since when a group has been flooded.
type flood struct {
	mu    sync.Mutex
	since time.Time // zero: it isn't
	late  uint64    // ghosts that had returned by then
}

// Flooded says since when the group can do nothing, as every slot is held by a
// handler that outlived its timeout; ok is false when that isn't so. It is for
// liveness: only another process helps when that lasts.
func (g *Group) Flooded() (since time.Time, ok bool) {
	s := g.cfg.Bulkhead.Stats()
	f := &g.flood
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !s.Flooded:
		f.since = time.Time{}
	case f.since.IsZero() || f.late != s.Late: // a slot came back, and was lost again
		f.since, f.late = time.Now(), s.Late
	}
	return f.since, s.Flooded
}
