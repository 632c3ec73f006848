package deadletter

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// Filter says which letters. The zero value means all.
type Filter struct {
	Service     order.Service // empty: all
	Reason      Reason        // empty: all
	OrderID     string        // empty: all
	Fingerprint string        // empty: all
	Since       time.Time     // given up then or later; zero: all
}

func (f Filter) subject() string {
	service, reason := "*", "*"
	if f.Service != "" {
		service = string(f.Service)
	}
	if f.Reason != "" {
		reason = string(f.Reason)
	}
	return broker.DeadSubject(order.Service(service), reason)
}

func (f Filter) match(l Letter) bool {
	return (f.OrderID == "" || f.OrderID == l.Hop.OrderID) &&
		(f.Fingerprint == "" || f.Fingerprint == l.Fingerprint) &&
		!l.At.Before(f.Since)
}

// All yields the letters that are there now, oldest first. An error ends it.
func (d *Desk) All(ctx context.Context, f Filter) iter.Seq2[Letter, error] {
	return func(yield func(Letter, error) bool) {
		last, err := d.last(ctx)
		next := uint64(1)
		again := err == nil
		for again && err == nil {
			again = false
			err = d.read(ctx, f, next, last, func(l Letter) bool {
				next = l.Seq + 1
				return yield(l, nil)
			})
			if errors.Is(err, errLate) { // it is there and doesn't come: ask anew
				again, err = true, nil
			}
		}
		if err != nil {
			yield(Letter{}, fmt.Errorf("read dead letters: %w", err))
		}
	}
}

// Watch yields the letters that come from now on, until ctx ends. An error ends
// it; ctx's end doesn't count as one. While the broker is away it waits, and goes
// on with what came meanwhile.
func (d *Desk) Watch(ctx context.Context, f Filter) iter.Seq2[Letter, error] {
	return func(yield func(Letter, error) bool) {
		last, err := d.last(ctx)
		if err == nil {
			err = d.read(ctx, f, last+1, forever, func(l Letter) bool { return yield(l, nil) })
		}
		if err != nil && ctx.Err() == nil {
			yield(Letter{}, fmt.Errorf("watch dead letters: %w", err))
		}
	}
}

// forever is a sequence that isn't reached.
const forever = math.MaxUint64

// last is the sequence of what was stored last.
func (d *Desk) last(ctx context.Context) (uint64, error) {
	s, err := d.conn.JetStream().Stream(ctx, broker.StreamDeadLetters)
	if err != nil {
		return 0, err
	}
	return s.CachedInfo().State.LastSeq, nil
}

// patience is how long All waits for a letter before it looks whether there is
// one: others may have taken away what it waits for.
const patience = time.Second

// read gives the letters of a range of sequences, until yield returns false. It
// returns errLate when there are more and they don't come. It
// begins at a sequence and not with "new": the library makes its consumer anew
// when the broker was away, and would begin with what is new then.
func (d *Desk) read(ctx context.Context, f Filter, from, to uint64, yield func(Letter) bool) error {
	if from > to {
		return nil
	}
	consumer, err := d.conn.JetStream().OrderedConsumer(ctx, broker.StreamDeadLetters, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{f.subject()},
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:    from,
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	pending := consumer.CachedInfo().NumPending
	for next := from; to == forever || (pending > 0 && next <= to); {
		m, err := d.next(ctx, messages, to)
		if errors.Is(err, errLate) {
			// A letter that is there and doesn't come never will, when the
			// broker has lost the consumer: the library notices that by
			// heartbeats, but only within one long call of Next.
			there, looked := d.isThere(ctx, f, next, to)
			if looked == nil && there {
				return errLate
			}
			return looked
		}
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Stream > to {
			return nil
		}
		l, err := read(m.Subject(), meta.Sequence.Stream, meta.Timestamp, m.Headers(), m.Data())
		if err != nil {
			return err
		}
		if f.match(l) && !yield(l) {
			return nil
		}
		next, pending = meta.Sequence.Stream+1, meta.NumPending
	}
	return nil
}

// errLate: no letter came within patience.
var errLate = errors.New("no letter yet")

// next waits for a message; errLate is for All only.
func (d *Desk) next(ctx context.Context, messages jetstream.MessagesContext, to uint64) (jetstream.Msg, error) {
	if to == forever {
		return messages.Next(jetstream.NextContext(ctx))
	}
	waiting, cancel := context.WithTimeoutCause(ctx, patience, errLate)
	defer cancel()
	m, err := messages.Next(jetstream.NextContext(waiting))
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(waiting), errLate) {
		return nil, errLate
	}
	return m, err
}

// isThere reports whether a letter has a sequence of the range.
func (d *Desk) isThere(ctx context.Context, f Filter, from, to uint64) (bool, error) {
	s, err := d.conn.JetStream().Stream(ctx, broker.StreamDeadLetters)
	if err != nil {
		return false, err
	}
	m, err := s.GetMsg(ctx, from, jetstream.WithGetMsgSubject(f.subject()))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	return err == nil && m.Sequence <= to, err
}
