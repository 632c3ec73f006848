package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Missing is what Compare says of what Provision would create.
const Missing Action = "missing"

// Compare returns what Provision would do about the plan's topology, and does
// nothing: what is Missing, and what has Drifted. Nothing returned means that all
// is there and as planned.
func (c *Conn) Compare(ctx context.Context, p Plan) ([]Change, error) {
	if p.MaxPayload == 0 {
		p.MaxPayload = c.MaxPayload()
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	t := p.Topology()
	var changes []Change
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
		changes = append(changes, change)
		return nil
	}
	for _, want := range t.Streams {
		var fields []string
		s, err := c.js.Stream(ctx, want.Name)
		if err == nil {
			fields = diffStream(s.CachedInfo().Config, want)
		}
		if err := note("stream", want.Name, fields, err); err != nil {
			return changes, err
		}
	}
	for _, want := range t.Durables {
		var fields []string
		d, err := c.js.Consumer(ctx, want.Stream, want.Durable)
		if err == nil {
			fields = diffDurable(d.CachedInfo().Config, want.ConsumerConfig)
		}
		if err := note("durable", want.Stream+"/"+want.Durable, fields, err); err != nil {
			return changes, err
		}
	}
	return changes, nil
}
