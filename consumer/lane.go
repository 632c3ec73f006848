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
	wait    time.Duration // for a slot, with a message in hand
	mute    bool          // the broker doesn't answer; of the goroutine that pulls
	later   []time.Time   // when what was put off is nearly due; of that goroutine too
	turn    turn          // of the retries' share
}

const (
	// slotPause is how long a message is put off that waited too long for a
	// slot.
	slotPause = time.Second

	// errorPause is the wait after the broker refused a pull, and between two
	// orders while nothing can be stored.
	errorPause = time.Second
)

// lanes opens one lane for each durable of the service, having checked that the
// durables are there and fit the group's timing. Retries may also wait in tiers that
// the policy, with fewer delays than one before, doesn't name.
func (g *Group) lanes(ctx context.Context) (lanes []*lane, err error) {
	need := AckWait(g.cfg.Bulkhead.Timeout(), g.cfg.Settle)
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
		l := &lane{group: g, stream: stream, durable: durable, retries: retries, wait: have / 2}
		if l.pull, err = newPuller(g.conn, stream, durable, most, l.heard); err != nil {
			return fmt.Errorf("run group %s: %w", g.cfg.Service, err)
		}
		lanes = append(lanes, l)
		return nil
	}
	if err := open(broker.StreamOrders, broker.Durable(g.cfg.Service), g.slots+maxWindow, false); err != nil {
		return lanes, err
	}
	tiers, err := g.conn.Tiers(ctx, g.cfg.Service, len(g.cfg.Policy.Retry))
	if err != nil {
		return lanes, fmt.Errorf("run group %s: %w", g.cfg.Service, err)
	}
	if named := len(g.cfg.Policy.Retry); tiers > named {
		g.cfg.Log.Info().Str("event", "tiers.beyond").Int("tiers", tiers).Int("named", named).
			Msg("the broker has more retry tiers than the policy names; what waits in the others comes when it is due")
	}
	for i := range tiers + 1 {
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

// delivery reads what the headers and the broker say of a message. On the main
// stream an order begins: what the headers claim of its past is not believed.
func (l *lane) delivery(m *nats.Msg) *delivery {
	d := &delivery{group: l.group, msg: m, passage: passage{gate: l.group.cfg.Gate}}
	hop := broker.ParseHop(m.Header)
	meta, err := m.Metadata()
	if err == nil {
		d.key = suspectKey(l.group.cfg.Service, meta)
		d.message, d.behind = l.key(meta), meta.NumPending
	}
	if err == nil && (!l.retries || hop.Origin.Seq == 0) {
		begins(&hop, broker.Origin{Stream: meta.Stream, Seq: meta.Sequence.Stream, Subject: m.Subject}, meta.Timestamp)
		if !l.retries {
			hop.Attempt, hop.Waits, hop.Generation, hop.RetryDelay, hop.Timeline = 1, 0, 0, 0, ""
		}
	}
	d.hop = hop
	return d
}

// begins makes a hop the first of an order.
func begins(hop *broker.Hop, o broker.Origin, stored time.Time) {
	hop.Origin, hop.FirstSeen = o, stored
}
