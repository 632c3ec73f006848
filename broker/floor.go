package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// floor is how far a durable has settled a stream: it owes nothing before Next.
type floor struct {
	Durable string
	Next    uint64
}

// lowest returns how far, up to want, all have settled, and who keeps it from
// being want.
func lowest(want uint64, floors []floor) (to uint64, heldBy string) {
	to = want
	for _, f := range floors {
		if f.Next < to {
			to, heldBy = f.Next, f.Durable
		}
	}
	return to, heldBy
}

// floors asks for the ack floor of everybody who is owed a stream's messages.
// Each is asked for alone: in a cluster the broker's list leaves out whose leader
// didn't answer in time, and the library doesn't tell.
func (c *Conn) floors(ctx context.Context, stream string, want uint64) ([]floor, error) {
	s, err := c.js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("list consumers of %s: %w", stream, err)
	}
	list := s.ConsumerNames(ctx)
	var names []string
	for name := range list.Name() {
		names = append(names, name)
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list consumers of %s: %w", stream, err)
	}
	if n := s.CachedInfo().State.Consumers; len(names) < n {
		return nil, fmt.Errorf("list consumers of %s: got %d of %d", stream, len(names), n)
	}
	var floors []floor
	for _, name := range names {
		var d jetstream.ConsumerInfo
		err := c.api(ctx, "CONSUMER.INFO."+stream+"."+name, nil, &d)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			continue // removed just now
		}
		if err != nil {
			return nil, fmt.Errorf("ask for the ack floor of %s/%s: %w", stream, name, err)
		}
		if d.Config.Durable == "" && d.Config.AckPolicy == jetstream.AckNonePolicy {
			continue // a viewer
		}
		next, err := c.nextOwed(ctx, stream, d, want)
		if err != nil {
			return nil, err
		}
		floors = append(floors, floor{name, next})
	}
	return floors, nil
}

// nextOwed is the first message, before want, that a durable has yet to settle;
// want when there is none. An ack floor rises with what is acknowledged: that of
// a durable for a rare subject would hold all others for ever, so what it
// doesn't read is passed over.
func (c *Conn) nextOwed(ctx context.Context, stream string, d jetstream.ConsumerInfo, want uint64) (uint64, error) {
	after := d.AckFloor.Stream + 1
	if after >= want {
		return want, nil
	}
	filters := d.Config.FilterSubjects
	if len(filters) == 0 {
		filters = []string{cmp.Or(d.Config.FilterSubject, ">")}
	}
	next := want
	for _, filter := range filters {
		m, found, err := c.find(ctx, stream, search{Seq: after, Subject: filter})
		if err != nil {
			return 0, err
		}
		if found {
			next = min(next, m.Seq)
		}
	}
	return next, nil
}
