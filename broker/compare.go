package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Missing is what Compare says of what Provision would create.
const Missing Action = "missing"

// Survey is what a broker holds of a plan's topology.
type Survey struct {
	Streams  []*jetstream.StreamInfo   // those that are there, in the plan's order
	Durables []*jetstream.ConsumerInfo // likewise
	Changes  []Change                  // what Compare returns
}

// Compare returns what Provision would do about the plan's topology, and does
// nothing: what is Missing, and what has Drifted. Nothing returned means that all
// is there and as planned.
func (c *Conn) Compare(ctx context.Context, p Plan) ([]Change, error) {
	s, err := c.Survey(ctx, p)
	return s.Changes, err
}

// Survey looks at each stream and each durable of the plan's topology, and of the
// tiers that the broker has beyond it, and changes nothing. It costs a question for
// each, to that one's leader, however much is stored. When it fails, it returns what it
// has seen until then.
func (c *Conn) Survey(ctx context.Context, p Plan) (Survey, error) {
	var seen Survey
	t, err := c.topology(ctx, p)
	if err != nil {
		return seen, err
	}
	note := func(kind, name string, fields []string, err error) error {
		change := Change{Kind: kind, Name: name, Action: Drifted, Fields: fields}
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound):
			change.Action = Missing
		case err != nil:
			return fmt.Errorf("look at %s %s: %w", kind, name, err)
		case len(fields) == 0:
			return nil
		}
		seen.Changes = append(seen.Changes, change)
		return nil
	}
	for _, want := range t.Streams {
		var fields []string
		s, err := c.js.Stream(ctx, want.Name)
		if err == nil {
			info := s.CachedInfo()
			fields = diffStream(info.Config, want)
			seen.Streams = append(seen.Streams, info)
		}
		if err := note("stream", want.Name, fields, err); err != nil {
			return seen, err
		}
	}
	for _, want := range t.Durables {
		var fields []string
		d, err := c.js.Consumer(ctx, want.Stream, want.Durable)
		if err == nil {
			info := d.CachedInfo()
			fields = diffDurable(info.Config, want.ConsumerConfig)
			seen.Durables = append(seen.Durables, info)
		}
		if err := note("durable", want.Stream+"/"+want.Durable, fields, err); err != nil {
			return seen, err
		}
	}
	return seen, nil
}
