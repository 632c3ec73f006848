package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
)

// Position is up to where OUTCOMES and DLQ hold what was there before a run.
type Position struct {
	Outcomes    uint64
	DeadLetters uint64
}

// Now returns the position at which the streams end just now.
func Now(ctx context.Context, b *broker.Conn) (Position, error) {
	var p Position
	for stream, seq := range map[string]*uint64{
		broker.StreamOutcomes:    &p.Outcomes,
		broker.StreamDeadLetters: &p.DeadLetters,
	} {
		s, err := b.JetStream().Stream(ctx, stream)
		if err != nil {
			return Position{}, fmt.Errorf("look up the end of %s: %w", stream, err)
		}
		*seq = s.CachedInfo().State.LastSeq
	}
	return p, nil
}

// Follow tells the journal what the services store after a position, until ctx
// ends; then it returns nil. An order is settled at the time that the broker put
// on its outcome or letter, so that an observer that is slow, or away while the
// broker restarts, distorts nothing; the broker's clock has to agree with the
// journal's, as it does on one machine. A stream that doesn't exist is an error.
//
// Follow keeps one ephemeral consumer a stream, which
// the broker forgets half a minute after.
func Follow(ctx context.Context, b *broker.Conn, j *Journal, from Position) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	readers := []*reader{
		{stream: broker.StreamOutcomes, filter: broker.OutcomeSubject("*", "*"), last: from.Outcomes, take: outcome},
		{stream: broker.StreamDeadLetters, filter: broker.DeadSubject("*", "*"), last: from.DeadLetters, take: letter},
	}
	errs := make([]error, len(readers))
	var wg sync.WaitGroup
	for i, r := range readers {
		r.js, r.journal = b.JetStream(), j
		wg.Go(func() {
			if err := r.run(ctx); err != nil {
				errs[i] = fmt.Errorf("follow %s: %w", r.stream, err)
				stop()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// outcome reads the endings that a message of OUTCOMES tells of. What can't be read
// of it, nobody of ours has written.
func outcome(m jetstream.Msg) []ending {
	service, result, ok := broker.SplitOutcome(m.Subject())
	if !ok {
		return nil
	}
	settled, _ := broker.Outcomes(m.Headers(), m.Data())
	all := make([]ending, 0, len(settled))
	for _, s := range settled {
		all = append(all, ending{origin: s.Origin, id: s.OrderID, generation: s.Generation, service: service, how: string(result)})
	}
	return all
}

// letter reads the ending that a message of DLQ is.
func letter(m jetstream.Msg) []ending {
	service, reason, ok := broker.SplitDead(m.Subject())
	if !ok {
		return nil
	}
	hop := broker.ParseHop(m.Headers())
	return []ending{{origin: hop.Origin, id: hop.OrderID, generation: hop.Generation, service: service, how: reason, dead: true}}
}

// reader reads one stream to its end and on. It does what jetstream's ordered
// consumer does, but ends with its context also while the broker is away.
type reader struct {
	js      jetstream.JetStream
	journal *Journal
	stream  string
	filter  string
	last    uint64 // stream sequence of the last message taken
	begun   bool   // there was a consumer
	take    func(jetstream.Msg) []ending
}

// Times of a reader.
const (
	pullTime  = 5 * time.Second        // one pull request
	heartbeat = time.Second            // of the broker during one; two missing mean it is away
	pause     = 250 * time.Millisecond // before another consumer is made
	forget    = 30 * time.Second       // after which the broker removes an unused one
	pullBatch = 500
)

// run reads until ctx ends.
func (r *reader) run(ctx context.Context) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		err := r.session(ctx)
		if !r.begun && errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
	}
}

var errGap = errors.New("a message was missed")

// session makes a consumer that begins after the last message taken, and reads
// from it until something is amiss.
func (r *reader) session(ctx context.Context) error {
	c, err := r.js.CreateConsumer(ctx, r.stream, jetstream.ConsumerConfig{
		FilterSubject:     r.filter,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       r.last + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		HeadersOnly:       r.stream != broker.StreamOutcomes, // there, several share a message
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: forget,
	})
	if err != nil {
		return err
	}
	r.begun = true
	for delivered := uint64(0); ; {
		if err := r.pull(ctx, c, &delivered); err != nil {
			return err
		}
	}
}

// pull takes what one request brings. delivered is the consumer's own count,
// which tells a message that was sent and didn't arrive.
func (r *reader) pull(ctx context.Context, c jetstream.Consumer, delivered *uint64) error {
	request, cancel := context.WithTimeout(ctx, pullTime)
	defer cancel()
	batch, err := c.Fetch(pullBatch, jetstream.FetchContext(request), jetstream.FetchHeartbeat(heartbeat))
	if err != nil {
		return err
	}
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if *delivered++; meta.Sequence.Consumer != *delivered {
			return errGap
		}
		r.last = meta.Sequence.Stream
		for _, e := range r.take(m) {
			e.at = meta.Timestamp
			r.journal.settle(e)
		}
	}
	if err := batch.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return ctx.Err()
}
