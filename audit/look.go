package audit

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// entry is a message of a stream.
type entry struct {
	Seq     uint64
	Subject string
	At      time.Time // when it was stored
	Header  nats.Header
	Data    []byte // of OUTCOMES only
}

// span is what a stream holds.
type span struct {
	First, Last uint64    // First is Last + 1 when it holds nothing
	Since       time.Time // when the oldest was stored that is there; if none is, the last that was
}

// durables are the state of a service's durables at one time.
type durables struct {
	At               time.Time
	Floor, Delivered uint64            // of the main durable, in sequences of ORDERS
	Filters          []string          // the subjects of ORDERS that it reads; none: all
	Began            time.Time         // it may have begun with an order stored then; zero: with the first
	Tiers            map[string]uint64 // how far each retry subject was delivered
}

// reads reports whether the main durable reads a subject.
func (d durables) reads(subject string) bool {
	for _, f := range d.Filters {
		if matches(f, subject) {
			return true
		}
	}
	return len(d.Filters) == 0
}

// matches reports whether a filter, in which "*" stands for a token and a last ">"
// for the rest, covers a subject.
func matches(filter, subject string) bool {
	for filter != "" && subject != "" {
		var f, s string
		f, filter, _ = strings.Cut(filter, ".")
		s, subject, _ = strings.Cut(subject, ".")
		if f == ">" {
			return true
		}
		if f != "*" && f != s {
			return false
		}
	}
	return filter == "" && subject == ""
}

// source is what an audit reads.
type source interface {
	// Durables returns the state of a service's durables, or ErrNotProvisioned.
	Durables(ctx context.Context, s order.Service) (durables, error)

	// Span returns what a stream holds.
	Span(ctx context.Context, stream string) (span, error)

	// Read calls take for the messages of a stream after a sequence, up to last,
	// in their order, and returns the last sequence read. It ends when at some
	// time of its run there is no further one up to last: every message that was
	// there then has been taken. Entries are valid during the call.
	Read(ctx context.Context, stream string, after, last uint64, take func(entry)) (uint64, error)

	// Find calls take for one message, if it is there.
	Find(ctx context.Context, stream string, seq uint64, take func(entry)) error
}

// everything as last means that Read goes on until it has caught up.
const everything = math.MaxUint64

// auditor is an audit on its way.
type auditor struct {
	source
	books    map[order.Service]*book
	services []order.Service
	letters  uint64 // read so far
	outcomes uint64
}

func run(ctx context.Context, src source, services []order.Service) (Report, error) {
	a := &auditor{source: src, books: make(map[order.Service]*book), services: services}
	state := make(map[order.Service]durables)
	for _, s := range services {
		d, err := a.Durables(ctx, s)
		if err != nil {
			return Report{}, fmt.Errorf("audit %s: %w", s, err)
		}
		state[s] = d
	}
	r := Report{At: time.Now()}
	orders, err := a.Span(ctx, broker.StreamOrders)
	if err != nil {
		return r, fmt.Errorf("audit: %w", err)
	}
	r.First, r.Last = orders.First, orders.Last
	for s, d := range state {
		a.books[s] = newBook(s, d, orders)
	}
	if _, err := a.Read(ctx, broker.StreamOrders, orders.First-1, orders.Last, a.order); err != nil {
		return r, fmt.Errorf("audit: %w", err)
	}
	for look, again := int32(1), true; again; look++ {
		if err := a.look(ctx, look); err != nil {
			return r, fmt.Errorf("audit: %w", err)
		}
		again = false
		r.Services = r.Services[:0]
		for _, s := range services {
			sum, more := a.books[s].account()
			r.Services = append(r.Services, sum)
			again = again || more
		}
	}
	return r, a.name(ctx, r)
}

// look reads downstream: what waits, what lies dead, what is done.
func (a *auditor) look(ctx context.Context, n int32) (err error) {
	if err := a.horizon(ctx, n); err != nil {
		return err
	}
	for s, b := range a.books {
		take := func(e entry) {
			hop := broker.ParseHop(e.Header)
			if seq, ok := origin(hop.Origin, hop.Generation); ok {
				b.retry(e, seq, hop)
			}
		}
		if _, err := a.Read(ctx, broker.RetryStream(s), 0, everything, take); err != nil {
			return err
		}
	}
	if a.letters, err = a.Read(ctx, broker.StreamDeadLetters, a.letters, everything, a.dead); err != nil {
		return err
	}
	outcomes, err := a.Span(ctx, broker.StreamOutcomes)
	if err != nil {
		return err
	}
	if a.outcomes, err = a.Read(ctx, broker.StreamOutcomes, a.outcomes, outcomes.Last, a.outcome); err != nil {
		return err
	}
	return a.horizon(ctx, n)
}

// horizon learns which orders are there and since when the outcomes of trimmed ones
// are. It is needed before the records of the desk are read, so as not to keep
// those that are history, and after, since trimming goes on.
func (a *auditor) horizon(ctx context.Context, look int32) error {
	outcomes, err := a.Span(ctx, broker.StreamOutcomes)
	if err != nil {
		return err
	}
	orders, err := a.Span(ctx, broker.StreamOrders)
	if err != nil {
		return err
	}
	for _, b := range a.books {
		b.look, b.oldest = look, orders.First
		if outcomes.First > 1 {
			b.kept = outcomes.Since.Add(dedupe)
		}
	}
	return nil
}

// order takes a message of ORDERS.
func (a *auditor) order(e entry) {
	for _, b := range a.books {
		b.order(e)
	}
}

// dead takes a message of DLQ: a letter or a record of the desk.
func (a *auditor) dead(e entry) {
	s, action, recorded := broker.SplitDesk(e.Subject)
	if !recorded {
		var ok bool
		if s, _, ok = broker.SplitDead(e.Subject); !ok {
			return
		}
	}
	b := a.books[s]
	if b == nil {
		return
	}
	hop := broker.ParseHop(e.Header)
	seq, ok := origin(hop.Origin, hop.Generation)
	switch {
	case !ok:
	case recorded:
		b.record(e, action, seq, hop.Generation)
	default:
		b.letter(seq, hop.Generation)
	}
}

// outcome takes a message of OUTCOMES. What can't be read of it, nobody of ours has
// written.
func (a *auditor) outcome(e entry) {
	s, result, ok := broker.SplitOutcome(e.Subject)
	b := a.books[s]
	if !ok || !result.Final() || b == nil {
		return
	}
	settled, _ := broker.Outcomes(e.Header, e.Data)
	for _, one := range settled {
		if seq, ok := origin(one.Origin, one.Generation); ok {
			b.outcome(seq, one.Generation)
		}
	}
}

// name finds the ids of the orders in the findings.
func (a *auditor) name(ctx context.Context, r Report) error {
	for _, sum := range r.Services {
		for i := range sum.Findings {
			f := &sum.Findings[i]
			take := func(e entry) { f.OrderID = broker.ParseHop(e.Header).OrderID }
			if err := a.Find(ctx, broker.StreamOrders, f.Seq, take); err != nil {
				return fmt.Errorf("audit: name order %d: %w", f.Seq, err)
			}
		}
	}
	return nil
}
