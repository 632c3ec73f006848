package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

// ErrNotWaiting is returned for a retry that doesn't wait: it never did, or the
// service, or somebody else, was faster.
var ErrNotWaiting = errors.New("no such waiting retry")

// Waiting is a retry that waits in the broker for its time, or beyond it for its
// service.
type Waiting struct {
	Service order.Service
	Seq     uint64    // in the service's stream of retries
	Tier    string    // broker.TierNow, broker.Tier(1), …
	Since   time.Time // when it was stored
	Due     time.Time // when its time comes: Since and its delay

	Error    string               // of the last attempt; empty when there was none, as after a replay
	Timeline []deadletter.Attempt // so far, at most the last 20
	Hop      broker.Hop           // its Attempt is the one to come
	Header   nats.Header          // as stored, but the broker's own
	Data     []byte               // as received
}

// WaitingFilter says which retries. The zero value means all.
type WaitingFilter struct {
	Tier    string    // empty: all
	OrderID string    // empty: all
	Due     time.Time // due then or earlier; zero: all
}

func (f WaitingFilter) match(w Waiting) bool {
	return (f.Tier == "" || f.Tier == w.Tier) &&
		(f.OrderID == "" || f.OrderID == w.Hop.OrderID) &&
		(f.Due.IsZero() || !w.Due.After(f.Due))
}

// Retries are the waiting retries of all services, for an operator. Its methods
// return broker.ErrUnknownService for a service that has no stream of retries.
//
// A retry that a service has in hand waits as well, until it is settled: what an
// operator does with it then doesn't stop the attempt.
type Retries struct {
	conn         *broker.Conn
	desk         *deadletter.Desk
	who, version string
}

// NewRetries returns the waiting retries of a broker. Who and version stand in the
// letters of what is canceled: "anna@ops-1", and the program's.
func NewRetries(conn *broker.Conn, who, version string) *Retries {
	return &Retries{conn, deadletter.New(conn, who), who, version}
}

// All yields the retries of a service that wait now, in the order in which they
// began to; some of them may have been settled when they come. An error ends it.
// It holds a few megabytes of them at a time, however many they are.
func (r *Retries) All(ctx context.Context, s order.Service, f WaitingFilter) iter.Seq2[Waiting, error] {
	return func(yield func(Waiting, error) bool) {
		stream, subject := broker.RetryStream(s), broker.RetrySubject(s, cmp.Or(f.Tier, "*"))
		var last uint64
		err := known(s)
		if err == nil {
			last, err = r.conn.LastSeq(ctx, stream, subject)
		}
		if err != nil {
			yield(Waiting{}, fmt.Errorf("list retries of %s: %w", s, unknown(s, err)))
			return
		}
		for m, err := range r.conn.ReadAfter(ctx, stream, subject, 0) {
			if err != nil {
				yield(Waiting{}, fmt.Errorf("list retries of %s: %w", s, err))
				return
			}
			if m.Seq > last {
				return
			}
			if w := waiting(s, m); f.match(w) && !yield(w, nil) {
				return
			}
		}
	}
}

// Get returns one retry, or ErrNotWaiting.
func (r *Retries) Get(ctx context.Context, s order.Service, seq uint64) (Waiting, error) {
	var (
		m     broker.Stored
		found bool
		err   = known(s)
	)
	if err == nil {
		m, found, err = r.conn.Get(ctx, broker.RetryStream(s), seq)
	}
	switch {
	case err != nil:
		return Waiting{}, fmt.Errorf("get retry %d of %s: %w", seq, s, unknown(s, err))
	case !found:
		return Waiting{}, fmt.Errorf("get retry %d of %s: %w", seq, s, ErrNotWaiting)
	}
	return waiting(s, m), nil
}

// Now lets a retry wait no longer: it comes as the attempt that it was to be, as
// soon as the service has a slot for it. One that waits for nothing else already is
// left as it is. It returns ErrNotWaiting when the retry isn't there.
//
// When it is cut in between, the retry still waits and doing it again is safe. If
// that, or the service that has the retry in hand, makes the attempt happen twice,
// the order's id makes both one effect.
func (r *Retries) Now(ctx context.Context, s order.Service, seq uint64) error {
	w, err := r.Get(ctx, s, seq)
	if err != nil {
		return err
	}
	if w.Tier == broker.TierNow && w.Hop.RetryDelay == 0 {
		return nil
	}
	hop := w.Hop
	hop.RetryDelay = 0
	_, err = r.conn.Store(ctx, broker.Message{
		Subject: broker.RetrySubject(s, broker.TierNow),
		ID:      broker.NowID(seq),
		Header:  hop.Header(w.Header),
		Data:    w.Data,
	})
	if err == nil {
		err = r.conn.Delete(ctx, broker.RetryStream(s), seq)
	}
	if err != nil {
		return fmt.Errorf("send retry %d of %s now: %w", seq, s, err)
	}
	return nil
}

// Cancel gives a retry up: it becomes a dead letter, deadletter.Canceled, from which
// it can be replayed. It returns ErrNotWaiting when the retry isn't there.
//
// When it is cut in between, the retry still waits and doing it again is safe. An
// attempt that the service has in hand goes on: then there may be both an outcome
// and a letter.
func (r *Retries) Cancel(ctx context.Context, s order.Service, seq uint64) error {
	w, err := r.Get(ctx, s, seq)
	if err != nil {
		return err
	}
	letter := deadletter.Letter{
		Service:  s,
		Reason:   deadletter.Canceled,
		Error:    w.Error,
		At:       time.Now(),
		Instance: r.who,
		Version:  r.version,
		Timeline: w.Timeline,
		Hop:      w.Hop,
		Header:   w.Header,
		Data:     w.Data,
	}
	err = r.desk.Post(ctx, letter)
	if err == nil {
		err = r.conn.Delete(ctx, broker.RetryStream(s), seq)
	}
	if err != nil {
		return fmt.Errorf("cancel retry %d of %s: %w", seq, s, err)
	}
	return nil
}

// waiting reads a message of a service's stream of retries. It accepts any
// header, as the service does.
func waiting(s order.Service, m broker.Stored) Waiting {
	_, tier, _ := broker.SplitRetry(m.Subject)
	hop := broker.ParseHop(m.Header)
	if hop.Origin.Seq == 0 {
		begins(&hop, broker.Origin{Stream: broker.RetryStream(s), Seq: m.Seq, Subject: m.Subject}, m.At)
	}
	w := Waiting{
		Service: s, Seq: m.Seq, Tier: tier, Since: m.At, Due: m.At.Add(hop.RetryDelay),
		Timeline: deadletter.DecodeTimeline(hop.Timeline), Hop: hop, Header: m.Header, Data: m.Data,
	}
	maps.DeleteFunc(w.Header, func(key string, _ []string) bool { return broker.IsReserved(key) })
	if n := len(w.Timeline); n > 0 {
		w.Error = w.Timeline[n-1].Error
	}
	return w
}

// known returns an error for what can't be the name of a service, and so not be
// part of a subject.
func known(s order.Service) error {
	if !broker.ValidService(s) {
		return fmt.Errorf("%w %q", broker.ErrUnknownService, s)
	}
	return nil
}

// unknown makes of a missing stream a service that isn't known.
func unknown(s order.Service, err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%w %q", broker.ErrUnknownService, s)
	}
	return err
}
