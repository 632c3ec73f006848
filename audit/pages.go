package audit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
)

// pages reads a stream, many messages at a time.
//
// Headers alone come from a consumer that acknowledges nothing and is gone
// afterwards: at half the cost of direct gets, for which the server writes six
// headers into each message. A RETRY stream refuses a second consumer, whatever
// it is, so it is read by direct gets. The library's Fetch starts anew for each
// page, and the batch get of orbit.go ends without an error when the answer is
// cut, by a timeout, say: orders would be missing from the account and nobody
// told.
type pages struct {
	conn    *broker.Conn
	sub     *nats.Subscription
	arrived chan *nats.Msg
	stream  string

	consumer  string // empty: direct gets
	delivered uint64 // by the consumer, by its own count
	next      uint64 // sequence of the stream from which a direct get reads on
}

// Sizes and times of a read.
const (
	pageMessages = 2048
	pageBytes    = 4 << 20 // of direct gets, which carry bodies

	// patience is how long the broker may take for a page.
	patience = 30 * time.Second

	// forget is when the broker removes a consumer that nobody uses.
	forget = time.Minute
)

var (
	errNoAnswer = errors.New("no answer from the broker")
	errNoDirect = errors.New("the broker serves no direct gets for this stream (allow_direct is off); `watertight provision` mends it")
	errCut      = errors.New("a message was sent and didn't arrive")
)

// open begins to read a stream from a sequence on.
func (s *streams) open(ctx context.Context, stream string, from uint64) (*pages, error) {
	p := &pages{
		conn:    s.conn,
		stream:  stream,
		next:    from,
		arrived: make(chan *nats.Msg, pageMessages+64), // a whole page and its end: nothing is dropped
	}
	st, err := s.conn.JetStream().Stream(ctx, stream)
	if err != nil {
		return nil, missing("stream "+stream, err)
	}
	if st.CachedInfo().Config.Retention != jetstream.WorkQueuePolicy {
		c, err := st.CreateConsumer(ctx, jetstream.ConsumerConfig{
			DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
			OptStartSeq:       from,
			AckPolicy:         jetstream.AckNonePolicy,
			HeadersOnly:       stream != broker.StreamOutcomes, // there, several share a message
			MemoryStorage:     true,
			Replicas:          1,
			InactiveThreshold: forget,
		})
		if err != nil {
			return nil, fmt.Errorf("make a consumer: %w", err)
		}
		p.consumer = c.CachedInfo().Name
	}
	p.sub, err = s.conn.NATS().ChanSubscribe(s.conn.NATS().NewInbox(), p.arrived)
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return p, nil
}

// close gives back what open took. Failing, it leaves a consumer for the broker to
// forget, and a subscription that is as closed as its connection.
func (p *pages) close(ctx context.Context) {
	_ = p.sub.Unsubscribe()
	if p.consumer != "" {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = p.conn.JetStream().DeleteConsumer(ctx, p.stream, p.consumer)
	}
}

// turn takes the messages of the next page and returns how many they were; none
// when the replica has no more. Without an error the page is whole.
func (p *pages) turn(ctx context.Context, take func(entry)) (int, error) {
	subject, request := p.ask()
	if err := p.conn.NATS().PublishRequest(subject, p.sub.Subject, request); err != nil {
		return 0, err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for n, end := 0, uint64(0); ; n++ {
		if p.consumer != "" && n == pageMessages {
			return n, nil
		}
		var m *nats.Msg
		select {
		case <-ctx.Done():
			return n, context.Cause(ctx)
		case <-timer.C:
			return n, fmt.Errorf("%w within %v", errNoAnswer, patience)
		case m = <-p.arrived:
		}
		var (
			e    entry
			last bool
			err  error
		)
		if p.consumer != "" {
			e, last, err = p.delivery(m)
		} else {
			e, last, err = direct(m.Header, end)
		}
		if last || err != nil {
			return n, err
		}
		end, p.next = e.Seq, e.Seq+1
		take(e)
	}
}

// ask returns the request for a page.
func (p *pages) ask() (subject string, body []byte) {
	if p.consumer != "" {
		return p.conn.NextSubject(p.stream, p.consumer), fmt.Appendf(nil, `{"batch":%d,"no_wait":true}`, pageMessages)
	}
	return jetstream.DefaultAPIPrefix + "DIRECT.GET." + p.stream, fmt.Appendf(nil, `{"seq":%d,"batch":%d,"max_bytes":%d}`, p.next, pageMessages, pageBytes)
}

// delivery reads what came from the consumer: a message, or the end of the page,
// which has nowhere to send an acknowledgement.
func (p *pages) delivery(m *nats.Msg) (e entry, last bool, _ error) {
	if m.Reply == "" {
		switch status := m.Header.Get("Status"); status {
		case "404", "408":
			return e, true, nil
		default:
			return e, true, fmt.Errorf("%s %s", status, m.Header.Get("Description"))
		}
	}
	meta, err := m.Metadata()
	if err != nil {
		return e, true, err
	}
	if p.delivered++; meta.Sequence.Consumer != p.delivered {
		return e, true, errCut
	}
	return entry{Seq: meta.Sequence.Stream, Subject: m.Subject, At: meta.Timestamp, Header: m.Header, Data: m.Data}, false, nil
}

// previous is the header of a direct get that names the message before in the
// page, by its sequence; 0 is none.
const previous = "Nats-Last-Sequence"

// direct reads what came of a direct get after a sequence of the page: a message,
// or the end of the page.
func direct(h nats.Header, after uint64) (e entry, last bool, err error) {
	if value(h, jetstream.SequenceHeader) == "" {
		return e, true, ended(h, after)
	}
	if value(h, previous) != strconv.FormatUint(after, 10) {
		return e, true, errCut
	}
	e = entry{Subject: value(h, jetstream.SubjectHeader), Header: h}
	if e.Seq, err = strconv.ParseUint(value(h, jetstream.SequenceHeader), 10, 64); err != nil {
		return e, true, fmt.Errorf("sequence of a message: %w", err)
	}
	if e.At, err = time.Parse(time.RFC3339Nano, value(h, jetstream.TimeStampHeaer)); err != nil {
		return e, true, fmt.Errorf("time of message %d: %w", e.Seq, err)
	}
	return e, false, nil
}

// ended is what the broker says at the end of a page of direct gets.
func ended(h nats.Header, after uint64) error {
	switch status := h.Get("Status"); {
	case status == "204" && value(h, previous) == strconv.FormatUint(after, 10):
		return nil
	case status == "404" && after == 0:
		return nil
	case status == "204", status == "404":
		return errCut
	case status == "503":
		return errNoDirect
	default:
		return fmt.Errorf("%s %s", status, h.Get("Description"))
	}
}

// value is the broker's word: the last value of a header. What a publisher wrote
// into one of that name comes before it.
func value(h nats.Header, key string) string {
	vs := h[key]
	if len(vs) == 0 {
		return ""
	}
	return vs[len(vs)-1]
}
