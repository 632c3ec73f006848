package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/order"
)

// A crash mark says of a stored message how many processes ended, without a
// word, while they ran a handler on it. The marks are the keys of a KV bucket,
// "<service>.<stream>.<seq>", with the count as their value: `nats kv ls
// suspects` lists them.
const (
	bucketSuspects = "suspects"

	// StreamSuspects is the stream behind the bucket.
	StreamSuspects = "KV_" + bucketSuspects

	// suspectAge is how long a mark is remembered: longer than an order takes
	// to come back, however often it is handed back, and not for ever, as
	// nobody takes away the mark of a message that became a letter.
	suspectAge = 7 * 24 * time.Hour
)

// suspects is the bucket's stream, with the fields that a KV bucket has.
func suspects(bytes int64, replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              StreamSuspects,
		Description:       "crash marks: messages whose handler took its process down",
		Subjects:          []string{suspectSubject(">")},
		Storage:           jetstream.FileStorage,
		Discard:           jetstream.DiscardNew,
		MaxBytes:          bytes,
		MaxAge:            suspectAge,
		MaxMsgsPerSubject: 1,
		Duplicates:        dedupeWindow,
		Replicas:          replicas,
		AllowDirect:       true,
		AllowRollup:       true,
		DenyDelete:        true,
	}
}

func suspectSubject(key string) string { return "$KV." + bucketSuspects + "." + key }

// SuspectKey names the mark of a message that a service is given:
// "payment.ORDERS.17".
func SuspectKey(s order.Service, stream string, seq uint64) string {
	return string(s) + "." + stream + "." + strconv.FormatUint(seq, 10)
}

// Suspects are the crash marks of a broker.
type Suspects struct{ kv jetstream.KeyValue }

// Suspects returns the broker's crash marks, or an error when it has no place
// for them: Provision makes it.
func (c *Conn) Suspects(ctx context.Context) (*Suspects, error) {
	kv, err := c.js.KeyValue(ctx, bucketSuspects)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("open crash marks: bucket %s is missing on the broker: provision it first", bucketSuspects)
	}
	if err != nil {
		return nil, fmt.Errorf("open crash marks: %w", err)
	}
	return &Suspects{kv}, nil
}

// Crashes returns a mark's count, zero when there is no mark. A value that isn't
// a count reads as one: somebody wrote it, and it buries nobody.
func (s *Suspects) Crashes(ctx context.Context, key string) (int, error) {
	e, err := s.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read crash mark %s: %w", key, err)
	}
	n, err := strconv.Atoi(string(e.Value()))
	if err != nil || n < 1 {
		return 1, nil //nolint:nilerr // what it says instead doesn't matter
	}
	return n, nil
}

// Raise sets a mark to a count and waits until that is stored.
func (s *Suspects) Raise(ctx context.Context, key string, crashes int) error {
	if _, err := s.kv.PutString(ctx, key, strconv.Itoa(crashes)); err != nil {
		return fmt.Errorf("raise crash mark %s: %w", key, err)
	}
	return nil
}

// Clear takes a mark away and waits until that is stored.
func (s *Suspects) Clear(ctx context.Context, key string) error {
	if err := s.kv.Delete(ctx, key); err != nil {
		return fmt.Errorf("clear crash mark %s: %w", key, err)
	}
	return nil
}
