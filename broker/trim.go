package broker

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// StreamOrders and StreamOutcomes refuse what is new when they are full, and
// neither forgets by age. So settled orders have to be taken away, or sales
// would stop with nothing to wait for:
//
//	 first        lowest ack floor            last
//	   │ settled by all │ somebody's backlog   │
//	   ├────────────────┼──────────────────────┤
//	   └── may go ──────┘ stays, whatever it costs

// TrimConfig says what Trim may take away.
type TrimConfig struct {
	// Keep is how long orders that all services settled, and what became of
	// them, stay while there is room. Defaults to 72 h.
	Keep time.Duration
}

// Trimmed is what a pass of Trim did.
type Trimmed struct {
	Orders   uint64 // messages taken from StreamOrders
	Outcomes uint64 // messages taken from StreamOutcomes

	// HeldBy is the durable whose backlog kept what was to go:
	// "ORDERS/payment". Empty when none did.
	HeldBy string
}

const (
	// defaultKeep is a long weekend: what an operator may want to look at.
	defaultKeep = 72 * time.Hour

	// trimStep is how many messages go at a time when room is needed, before
	// the stream is looked at again: sizes differ, and no more is to go than
	// has to.
	trimStep = 10_000

	// clockSkew is how far the clocks of two servers may be apart.
	clockSkew = 2 * time.Second
)

// Trim takes settled orders away: those older than cfg.Keep, and, while
// StreamOrders or StreamOutcomes is fuller than four fifths, the oldest ones
// until it isn't. It may be run by any number of programs at once. Its cost
// doesn't depend on how much is stored: when nothing is to go, it asks the
// broker twice.
//
// What is never taken is an order that anybody is still owed: whoever
// acknowledges counts, known to this program or not, paused, lagging or without
// a running instance. What doesn't count are readers that don't acknowledge and
// aren't durable, such as a viewer. While nobody at all reads StreamOrders,
// nothing goes. A durable added while Trim runs, or later, finds what is there
// then: from the next order on, that is all of them; from the start, the backlog
// of the slowest and what is younger than Keep.
//
// An outcome goes only after its order, and when it is itself older than
// cfg.Keep or its room is needed, and when every durable of StreamOutcomes has
// acknowledged it.
func (c *Conn) Trim(ctx context.Context, cfg TrimConfig) (Trimmed, error) {
	var sum Trimmed
	cutoff := time.Now().Add(-cmp.Or(cfg.Keep, defaultKeep))
	for {
		step, err := c.trimOnce(ctx, cutoff)
		sum.Orders += step.Orders
		sum.Outcomes += step.Outcomes
		sum.HeldBy = step.HeldBy
		if err != nil {
			return sum, fmt.Errorf("trim settled orders: %w", err)
		}
		if step.Orders+step.Outcomes == 0 {
			return sum, nil
		}
	}
}

// KeepTrimmed calls Trim at once and then every so often, until ctx ends; then
// it returns nil. A fifth of a stream has to outlast the time between two
// passes. Report, which may be nil, is told of each pass that took something
// away, was held or failed; after a failure the next pass tries again.
func (c *Conn) KeepTrimmed(ctx context.Context, every time.Duration, cfg TrimConfig, report func(Trimmed, error)) error {
	if every <= 0 {
		return fmt.Errorf("keep orders trimmed: the time between two passes must be positive, got %v", every)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		t, err := c.Trim(ctx, cfg)
		if ctx.Err() != nil {
			return nil // stopping: what was not taken now goes next time
		}
		if report != nil && (err != nil || t != Trimmed{}) {
			report(t, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// trimOnce is one step of Trim.
func (c *Conn) trimOnce(ctx context.Context, cutoff time.Time) (Trimmed, error) {
	var t Trimmed
	// The outcomes are looked at first: one that comes later, for an order
	// that comes later, isn't touched.
	outcomes, err := c.level(ctx, StreamOutcomes)
	if err != nil {
		return t, err
	}
	orders, err := c.level(ctx, StreamOrders)
	if err != nil {
		return t, err
	}
	want, err := c.excess(ctx, orders, cutoff)
	if err != nil {
		return t, err
	}
	forRoom, err := c.ordersOf(ctx, outcomes)
	if err != nil {
		return t, err
	}
	if t.Orders, t.HeldBy, err = c.take(ctx, orders, max(want, forRoom)); err != nil {
		return t, err
	}

	if want, err = c.excess(ctx, outcomes, cutoff); err != nil || want <= outcomes.First {
		return t, err
	}
	if orders, err = c.level(ctx, StreamOrders); err != nil {
		return t, err
	}
	if orders.Msgs > 0 {
		// What was stored before the oldest order that is left belongs to
		// an older one, which is gone: an outcome comes after its order.
		gone, err := c.firstSince(ctx, StreamOutcomes, orders.FirstTime.Add(-clockSkew))
		if err != nil {
			return t, err
		}
		want = min(want, gone)
	}
	n, heldBy, err := c.take(ctx, outcomes, want)
	t.Outcomes, t.HeldBy = n, cmp.Or(t.HeldBy, heldBy)
	return t, err
}

// excess is the sequence before which a stream's messages are too old, or too
// many.
func (c *Conn) excess(ctx context.Context, l level, cutoff time.Time) (uint64, error) {
	want := l.relief()
	if l.Msgs == 0 || !l.FirstTime.Before(cutoff) {
		return want, nil
	}
	young, err := c.firstSince(ctx, l.Stream, cutoff)
	return max(want, young), err
}

// ordersOf is the sequence before which orders have to go so that outcomes can,
// which go only after their orders; zero when the outcomes have room.
func (c *Conn) ordersOf(ctx context.Context, outcomes level) (uint64, error) {
	relief := outcomes.relief()
	if relief == outcomes.First {
		return 0, nil
	}
	at, err := c.storedAt(ctx, StreamOutcomes, relief-1)
	if err != nil {
		return 0, err
	}
	return c.firstSince(ctx, StreamOrders, at.Add(clockSkew+1))
}

// take purges a stream before want, as far as nobody is owed what goes, and
// returns how much went and who kept the rest. Of the orders nothing goes while
// nobody reads them: they wait for whoever will.
func (c *Conn) take(ctx context.Context, l level, want uint64) (purged uint64, heldBy string, err error) {
	if want = min(want, l.Last+1); want <= l.First {
		return 0, "", nil
	}
	floors, err := c.floors(ctx, l.Stream, want)
	if err != nil || (len(floors) == 0 && l.Stream == StreamOrders) {
		return 0, "", err
	}
	to, heldBy := lowest(want, floors)
	if heldBy != "" {
		heldBy = l.Stream + "/" + heldBy
	}
	if to <= l.First {
		return 0, heldBy, nil
	}
	purged, err = c.purge(ctx, l.Stream, to)
	return purged, heldBy, err
}

// level is how full a stream is.
type level struct {
	Stream               string
	First, Last          uint64 // Last+1 is First when there is nothing
	Msgs, Bytes, Maximum uint64 // Maximum zero: no limit
	FirstTime            time.Time
}

// relief is the sequence before which messages have to go, as a next step, so
// that the stream gets to four fifths of its limit; First when it is there.
func (l level) relief() uint64 {
	limit := l.Maximum / 5 * 4
	if l.Maximum == 0 || l.Bytes <= limit || l.Msgs == 0 {
		return l.First
	}
	each := max(1, l.Bytes/l.Msgs)
	n := (l.Bytes - limit + each - 1) / each
	return l.First + min(n, l.Msgs, trimStep)
}
