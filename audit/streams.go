package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// streams reads from a broker.
type streams struct{ conn *broker.Conn }

// settling is how long after its creation a durable that begins with new orders
// may have begun.
const settling = 5 * time.Second

func (s *streams) Durables(ctx context.Context, service order.Service) (durables, error) {
	js := s.conn.JetStream()
	d := durables{At: time.Now(), Tiers: make(map[string]uint64)}
	main, err := js.Consumer(ctx, broker.StreamOrders, broker.Durable(service))
	if err != nil {
		return d, missing("durable "+broker.Durable(service)+" of "+broker.StreamOrders, err)
	}
	info := main.CachedInfo()
	d.Floor, d.Delivered = info.AckFloor.Stream, info.Delivered.Stream
	d.Filters = filters(info.Config)
	if info.Config.DeliverPolicy != jetstream.DeliverAllPolicy {
		d.Began = info.Created.Add(settling)
	}
	retries, err := js.Stream(ctx, broker.RetryStream(service))
	if err != nil {
		return d, missing("stream "+broker.RetryStream(service), err)
	}
	list := retries.ListConsumers(ctx)
	for tier := range list.Info() {
		for _, subject := range filters(tier.Config) {
			d.Tiers[subject] = tier.Delivered.Stream
		}
	}
	if err := list.Err(); err != nil {
		return d, fmt.Errorf("list durables of %s: %w", broker.RetryStream(service), err)
	}
	return d, nil
}

func filters(c jetstream.ConsumerConfig) []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return c.FilterSubjects
}

func missing(what string, err error) error {
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%s: %w: %w", what, ErrNotProvisioned, err)
	}
	return fmt.Errorf("look at %s: %w", what, err)
}

// Span asks the leader.
func (s *streams) Span(ctx context.Context, stream string) (span, error) {
	st, err := s.conn.JetStream().Stream(ctx, stream)
	if err != nil {
		return span{}, missing("stream "+stream, err)
	}
	state := st.CachedInfo().State
	if state.Msgs == 0 {
		return span{First: state.LastSeq + 1, Last: state.LastSeq, Since: state.LastTime}, nil
	}
	return span{First: state.FirstSeq, Last: state.LastSeq, Since: state.FirstTime}, nil
}

// Read reads pages from whichever replica is near. It is the leader that says when
// nothing follows: a replica lags, and might say so too early.
func (s *streams) Read(ctx context.Context, stream string, after, last uint64, take func(entry)) (uint64, error) {
	if after >= last {
		return after, nil
	}
	p, err := s.open(ctx, stream, after+1)
	if err != nil {
		return after, fmt.Errorf("read %s after %d: %w", stream, after, err)
	}
	defer p.close(ctx)
	for {
		n, err := p.turn(ctx, func(e entry) {
			if e.Seq > after && e.Seq <= last { // else the leader told it before, or nobody asked
				after = e.Seq
				take(e)
			}
		})
		if err != nil {
			return after, fmt.Errorf("read %s after %d: %w", stream, after, err)
		}
		if after == last {
			return after, nil
		}
		if n > 0 {
			continue
		}
		e, found, err := s.next(ctx, stream, after+1, ">")
		if err != nil {
			return after, fmt.Errorf("read %s after %d: %w", stream, after, err)
		}
		if !found || e.Seq > last {
			return after, nil
		}
		after = e.Seq
		take(e)
	}
}

// Find reads one message.
func (s *streams) Find(ctx context.Context, stream string, seq uint64, take func(entry)) error {
	e, found, err := s.next(ctx, stream, seq, ">")
	if err != nil {
		return fmt.Errorf("find message %d of %s: %w", seq, stream, err)
	}
	if found && e.Seq == seq {
		take(e)
	}
	return nil
}

// next asks the leader for the first message of a subject at a sequence or after
// it.
func (s *streams) next(ctx context.Context, stream string, seq uint64, subject string) (entry, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	question := fmt.Appendf(nil, `{"seq":%d,"next_by_subj":%q}`, seq, subject)
	m, err := s.conn.NATS().RequestWithContext(ctx, jetstream.DefaultAPIPrefix+"STREAM.MSG.GET."+stream, question)
	if err != nil {
		return entry{}, false, err
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return entry{}, false, fmt.Errorf("decode answer: %w", err)
	}
	if answer.Error != nil {
		if errors.Is(answer.Error, jetstream.ErrMsgNotFound) {
			return entry{}, false, nil
		}
		return entry{}, false, answer.Error
	}
	e := entry{Seq: answer.Message.Seq, Subject: answer.Message.Subject, At: answer.Message.Time, Data: answer.Message.Data}
	if len(answer.Message.Header) > 0 {
		if e.Header, err = nats.DecodeHeadersMsg(answer.Message.Header); err != nil {
			return entry{}, false, fmt.Errorf("decode headers of message %d: %w", e.Seq, err)
		}
	}
	return e, true, nil
}
