package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/order"
)

// Action is what Provision did about one thing.
type Action string

// What Provision does.
const (
	Created Action = "created" // it was missing
	Drifted Action = "drifted" // it differs and was left as it is
	Updated Action = "updated" // it differed and was changed
)

// Change is one thing that was missing or different.
type Change struct {
	Kind   string // "stream" or "durable"
	Name   string // "ORDERS", "ORDERS/payment"
	Action Action
	Fields []string // what differs: "max_bytes: 1024, want 2048"
}

// String reads well in a log.
func (c Change) String() string {
	s := c.Kind + " " + c.Name + " " + string(c.Action)
	for i, f := range c.Fields {
		if i == 0 {
			s += ": "
		} else {
			s += "; "
		}
		s += f
	}
	return s
}

// Provision creates what is missing of the plan's topology and returns what it
// did, nothing when all was there. What exists and differs is only reported, as
// Drifted, so that two versions of a program don't fight over it; with update it
// is changed. Tiers that the broker has beyond the plan are treated as if they were
// in it: retries may wait there. Provision may be run by any number of programs at
// once.
func (c *Conn) Provision(ctx context.Context, p Plan, update bool) ([]Change, error) {
	t, err := c.topology(ctx, p)
	if err != nil {
		return nil, err
	}
	var changes []Change
	for _, want := range t.Streams {
		change, err := c.provisionStream(ctx, want, update)
		if err != nil {
			return changes, fmt.Errorf("provision stream %s: %w", want.Name, err)
		}
		changes = append(changes, change...)
	}
	for _, want := range t.Durables {
		change, err := c.provisionDurable(ctx, want, update)
		if err != nil {
			return changes, fmt.Errorf("provision durable %s of %s: %w", want.Durable, want.Stream, err)
		}
		changes = append(changes, change...)
	}
	return changes, nil
}

// topology is the plan's, with the tiers that the broker has beyond it.
func (c *Conn) topology(ctx context.Context, p Plan) (Topology, error) {
	if p.MaxPayload == 0 {
		p.MaxPayload = c.MaxPayload()
	}
	if err := p.Validate(); err != nil {
		return Topology{}, err
	}
	p.Services = slices.Clone(p.Services)
	for i, s := range p.Services {
		var err error
		if p.Services[i].Tiers, err = c.Tiers(ctx, s.Name, s.Tiers); err != nil {
			return Topology{}, err
		}
	}
	return p.Topology(), nil
}

// Tiers is how many retry tiers a service has: those of its plan, and those that
// follow them on the broker, from a plan that had more.
func (c *Conn) Tiers(ctx context.Context, s order.Service, planned int) (int, error) {
	for n := planned; ; n++ {
		next := TierDurable(s, Tier(n+1))
		_, err := c.js.Consumer(ctx, RetryStream(s), next)
		if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			return n, nil
		}
		if err != nil {
			return 0, fmt.Errorf("look for durable %s of %s: %w", next, RetryStream(s), err)
		}
	}
}

func (c *Conn) provisionStream(ctx context.Context, want jetstream.StreamConfig, update bool) ([]Change, error) {
	change := Change{Kind: "stream", Name: want.Name, Action: Created}
	s, err := c.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if _, err = c.js.CreateStream(ctx, want); err == nil {
			return []Change{change}, nil
		}
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return nil, err
		}
		s, err = c.js.Stream(ctx, want.Name) // somebody else was faster
	}
	if err != nil {
		return nil, err
	}
	if change.Fields = diffStream(s.CachedInfo().Config, want); len(change.Fields) == 0 {
		return nil, nil
	}
	change.Action = Drifted
	if update {
		if _, err := c.js.UpdateStream(ctx, adoptStream(s.CachedInfo().Config, want)); err != nil {
			return nil, err
		}
		change.Action = Updated
	}
	return []Change{change}, nil
}

func (c *Conn) provisionDurable(ctx context.Context, want DurableConfig, update bool) ([]Change, error) {
	change := Change{Kind: "durable", Name: want.Stream + "/" + want.Durable, Action: Created}
	d, err := c.js.Consumer(ctx, want.Stream, want.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		if _, err = c.js.CreateConsumer(ctx, want.Stream, want.ConsumerConfig); err == nil {
			return []Change{change}, nil
		}
		if !errors.Is(err, jetstream.ErrConsumerExists) {
			return nil, err
		}
		d, err = c.js.Consumer(ctx, want.Stream, want.Durable)
	}
	if err != nil {
		return nil, err
	}
	have := d.CachedInfo().Config
	if change.Fields = diffDurable(have, want.ConsumerConfig); len(change.Fields) == 0 {
		return nil, nil
	}
	change.Action = Drifted
	if update {
		if _, err := c.js.UpdateConsumer(ctx, want.Stream, adoptDurable(have, want.ConsumerConfig)); err != nil {
			return nil, err
		}
		change.Action = Updated
	}
	return []Change{change}, nil
}

// diffStream lists the fields we decide on that differ.
func diffStream(have, want jetstream.StreamConfig) []string {
	var d diff
	d.compare("subjects", slices.Sorted(slices.Values(have.Subjects)), slices.Sorted(slices.Values(want.Subjects)))
	d.compare("retention", have.Retention, want.Retention)
	d.compare("storage", have.Storage, want.Storage)
	d.compare("discard", have.Discard, want.Discard)
	d.compare("max_bytes", have.MaxBytes, want.MaxBytes)
	d.compare("max_age", have.MaxAge, want.MaxAge)
	d.compare("max_msgs", max(0, have.MaxMsgs), max(0, want.MaxMsgs))
	d.compare("max_msg_size", max(0, have.MaxMsgSize), max(0, want.MaxMsgSize))
	d.compare("duplicate_window", have.Duplicates, want.Duplicates)
	d.compare("num_replicas", have.Replicas, want.Replicas)
	d.compare("deny_delete", have.DenyDelete, want.DenyDelete)
	d.compare("deny_purge", have.DenyPurge, want.DenyPurge)
	d.compare("allow_direct", have.AllowDirect, want.AllowDirect)
	return d
}

// adoptStream is have with the fields of diffStream as wanted. The others, such
// as where the stream lives and whether it is compressed, are the operator's.
func adoptStream(have, want jetstream.StreamConfig) jetstream.StreamConfig {
	have.Description = want.Description
	have.Subjects, have.Retention, have.Storage, have.Discard = want.Subjects, want.Retention, want.Storage, want.Discard
	have.MaxBytes, have.MaxAge, have.MaxMsgs, have.MaxMsgSize = want.MaxBytes, want.MaxAge, want.MaxMsgs, want.MaxMsgSize
	have.Duplicates, have.Replicas = want.Duplicates, want.Replicas
	have.DenyDelete, have.DenyPurge, have.AllowDirect = want.DenyDelete, want.DenyPurge, want.AllowDirect
	return have
}

// diffDurable lists those of a durable.
func diffDurable(have, want jetstream.ConsumerConfig) []string {
	filters := func(c jetstream.ConsumerConfig) []string {
		if c.FilterSubject != "" {
			return []string{c.FilterSubject}
		}
		return slices.Sorted(slices.Values(c.FilterSubjects))
	}
	var d diff
	d.compare("filter_subjects", filters(have), filters(want))
	d.compare("ack_policy", have.AckPolicy, want.AckPolicy)
	d.compare("ack_wait", have.AckWait, want.AckWait)
	d.compare("max_deliver", have.MaxDeliver, want.MaxDeliver)
	d.compare("max_ack_pending", have.MaxAckPending, want.MaxAckPending)
	d.compare("backoff", have.BackOff, want.BackOff)
	return d
}

// adoptDurable does the same for a durable. Where it began can't be changed, and
// doesn't matter any more.
func adoptDurable(have, want jetstream.ConsumerConfig) jetstream.ConsumerConfig {
	have.FilterSubject, have.FilterSubjects = want.FilterSubject, want.FilterSubjects
	have.AckPolicy, have.AckWait, have.MaxDeliver = want.AckPolicy, want.AckWait, want.MaxDeliver
	have.MaxAckPending, have.BackOff = want.MaxAckPending, want.BackOff
	return have
}

type diff []string

func (d *diff) compare(field string, have, want any) {
	if h, w := fmt.Sprint(have), fmt.Sprint(want); h != w {
		*d = append(*d, fmt.Sprintf("%s: %s, want %s", field, h, w))
	}
}
