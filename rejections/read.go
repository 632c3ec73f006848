package rejections

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
)

// Read yields what was put on record at a time or later and is there now, oldest
// first; the zero time means all. An error ends it. It holds one page of records
// at a time.
func (l *Log) Read(ctx context.Context, since time.Time) iter.Seq2[Rejection, error] {
	return func(yield func(Rejection, error) bool) {
		err := l.read(ctx, since, func(r Rejection) bool { return yield(r, nil) })
		if err != nil {
			yield(Rejection{}, fmt.Errorf("read rejections: %w", err))
		}
	}
}

// Of a read.
const (
	page      = 500
	pageTime  = 5 * time.Second
	heartbeat = time.Second      // two missing mean that the broker is away
	forget    = 30 * time.Second // after which the broker removes a consumer that nobody uses
)

// errGap: what follows would not be all there is.
var errGap = errors.New("a record was sent and didn't arrive")

// read gives the records until yield returns false. The stream forgets the oldest
// all the while, so that fewer may come than there were.
func (l *Log) read(ctx context.Context, since time.Time, yield func(Rejection) bool) error {
	cfg := jetstream.ConsumerConfig{
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: forget,
	}
	if !since.IsZero() {
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	c, err := l.conn.JetStream().CreateConsumer(ctx, broker.StreamRejections, cfg)
	if err != nil {
		return err
	}
	delivered := uint64(0) // by the consumer's own count
	for left := c.CachedInfo().NumPending; left > 0; {
		n, err := turn(ctx, c, int(min(page, left)), &delivered, yield)
		if n == 0 || err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// turn gives the records of one page and returns how many they were: none when
// there are no more, or when yield has returned false.
func turn(ctx context.Context, c jetstream.Consumer, most int, delivered *uint64, yield func(Rejection) bool) (n uint64, err error) {
	waiting, cancel := context.WithTimeout(ctx, pageTime)
	defer cancel()
	batch, err := c.Fetch(most, jetstream.FetchContext(waiting), jetstream.FetchHeartbeat(heartbeat))
	if err != nil {
		return 0, err
	}
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return n, err
		}
		if *delivered++; meta.Sequence.Consumer != *delivered {
			return n, errGap
		}
		n++
		if r, ok := parse(m.Subject(), meta.Timestamp, m.Data()); ok && !yield(r) {
			return 0, nil
		}
	}
	if err := batch.Error(); err != nil && waiting.Err() == nil {
		return n, err
	}
	return n, context.Cause(ctx)
}
