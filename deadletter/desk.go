package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// ErrNotFound is returned for a letter that isn't in the DLQ: it never was, or
// somebody replayed or discarded it.
var ErrNotFound = errors.New("no such dead letter")

// Desk is where letters are posted, read, sent back and buried.
type Desk struct {
	conn *broker.Conn
	who  string
}

// New returns the desk of a broker. Who is put on record with what is replayed
// or discarded: "anna@ops-1".
func New(conn *broker.Conn, who string) *Desk { return &Desk{conn: conn, who: who} }

// Post stores a letter; nil means stored. Posting it again (the same service,
// origin and generation) within two minutes stores it once.
func (d *Desk) Post(ctx context.Context, l Letter) error {
	if _, err := d.conn.Store(ctx, l.message()); err != nil {
		return fmt.Errorf("post letter of %s: %w", l.Service, err)
	}
	return nil
}

// Get returns one letter, or ErrNotFound.
func (d *Desk) Get(ctx context.Context, seq uint64) (Letter, error) {
	s, err := d.conn.JetStream().Stream(ctx, broker.StreamDeadLetters)
	if err != nil {
		return Letter{}, fmt.Errorf("get letter %d: %w", seq, err)
	}
	m, err := s.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Letter{}, fmt.Errorf("get letter %d: %w", seq, ErrNotFound)
	}
	if err != nil {
		return Letter{}, fmt.Errorf("get letter %d: %w", seq, err)
	}
	if _, _, ok := broker.SplitDead(m.Subject); !ok {
		return Letter{}, fmt.Errorf("get letter %d: %w", seq, ErrNotFound) // a record of the desk's own
	}
	return read(m.Subject, seq, m.Time, m.Header, m.Data)
}

// Replay sends a letter back to the service that gave it up, as a first attempt,
// and removes it once the broker has stored that. It returns ErrNotFound when
// the letter isn't there. When it is cut in between, the letter is still there
// and replaying it again is safe: the service may run the order once more, with
// the same idempotency key.
func (d *Desk) Replay(ctx context.Context, seq uint64) error {
	l, err := d.Get(ctx, seq)
	if err != nil {
		return err
	}
	hop := l.Hop
	hop.Attempt, hop.Waits, hop.RetryDelay = 1, 0, 0
	hop.Generation++
	hop.Timeline = ""
	header := hop.Header(l.Header)
	for _, key := range []string{
		broker.HeaderDeadReason, broker.HeaderDeadError, broker.HeaderDeadErrorType, broker.HeaderDeadFingerprint,
		broker.HeaderDeadAt, broker.HeaderDeadInstance, broker.HeaderDeadVersion,
	} {
		delete(header, key)
	}
	_, err = d.conn.Store(ctx, broker.Message{
		Subject: broker.RetrySubject(l.Service, broker.TierNow),
		ID:      broker.ReplayID(seq),
		Header:  header,
		Data:    l.Data,
	})
	if err != nil {
		return fmt.Errorf("replay letter %d: %w", seq, err)
	}
	return d.remove(ctx, l, broker.DeskReplayed)
}

// Discard buries a letter: the order will not be processed by that service. A
// record of it stays. It returns ErrNotFound when the letter isn't there.
func (d *Desk) Discard(ctx context.Context, seq uint64) error {
	l, err := d.Get(ctx, seq)
	if err != nil {
		return err
	}
	return d.remove(ctx, l, broker.DeskDiscarded)
}

// remove puts on record what is done with a letter, then deletes it. In a full
// stream it deletes first, to make room for the record.
func (d *Desk) remove(ctx context.Context, l Letter, action string) error {
	recorded := d.record(ctx, l, action)
	if recorded != nil && !errors.Is(recorded, broker.ErrFull) {
		return recorded
	}
	s, err := d.conn.JetStream().Stream(ctx, broker.StreamDeadLetters)
	if err == nil {
		err = s.DeleteMsg(ctx, l.Seq)
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		if _, gone := d.Get(ctx, l.Seq); errors.Is(gone, ErrNotFound) {
			err = nil // somebody else was faster
		}
	}
	if err != nil {
		return fmt.Errorf("remove letter %d (%s): %w", l.Seq, action, errors.Join(err, recorded))
	}
	if recorded != nil {
		recorded = d.record(ctx, l, action)
	}
	return recorded
}

func (d *Desk) record(ctx context.Context, l Letter, action string) error {
	header := broker.Hop{OrderID: l.Hop.OrderID, Origin: l.Hop.Origin, Generation: l.Hop.Generation, FirstSeen: l.Hop.FirstSeen}.Header(nil)
	header[broker.HeaderDeadReason] = []string{string(l.Reason)}
	header[broker.HeaderDeskWho] = []string{Line(d.who, 128)}
	header[broker.HeaderDeskSeq] = []string{strconv.FormatUint(l.Seq, 10)}
	_, err := d.conn.Store(ctx, broker.Message{
		Subject: broker.DeskSubject(l.Service, action),
		ID:      broker.DeskID(action, l.Seq),
		Header:  header,
	})
	if err != nil {
		return fmt.Errorf("record letter %d as %s: %w", l.Seq, action, err)
	}
	return nil
}

// Count is how many letters a service has for a reason.
type Count struct {
	Service order.Service
	Reason  Reason
	Letters int
}

// Counts returns how many letters there are, by service and reason, in that
// order; without reading one.
func (d *Desk) Counts(ctx context.Context) ([]Count, error) {
	s, err := d.conn.JetStream().Stream(ctx, broker.StreamDeadLetters)
	if err != nil {
		return nil, fmt.Errorf("count dead letters: %w", err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(broker.DeadSubject("*", "*")))
	if err != nil {
		return nil, fmt.Errorf("count dead letters: %w", err)
	}
	counts := make([]Count, 0, len(info.State.Subjects))
	for subject, n := range info.State.Subjects {
		if service, reason, ok := broker.SplitDead(subject); ok {
			counts = append(counts, Count{service, Reason(reason), int(n)})
		}
	}
	slices.SortFunc(counts, func(a, b Count) int {
		if a.Service != b.Service {
			return cmp.Compare(a.Service, b.Service)
		}
		return cmp.Compare(a.Reason, b.Reason)
	})
	return counts, nil
}

// Oldest returns when the oldest letter of a service was stored, and false when
// it has none.
func (d *Desk) Oldest(ctx context.Context, service order.Service) (time.Time, bool, error) {
	s, err := d.conn.JetStream().Stream(ctx, broker.StreamDeadLetters)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("find the oldest letter of %s: %w", service, err)
	}
	m, err := s.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(broker.DeadSubject(service, "*")))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return time.Time{}, false, nil
	}
	if err != nil {
		return time.Time{}, false, fmt.Errorf("find the oldest letter of %s: %w", service, err)
	}
	return m.Time, true, nil
}
