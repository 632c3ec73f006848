package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/order"
)

// ErrUnknownService is returned for a service of which the broker has no durable.
var ErrUnknownService = errors.New("unknown service")

// Paused is one durable of a service, and until when it is paused.
type Paused struct {
	Durable string    // "ORDERS/payment"
	Until   time.Time // zero: it isn't
}

// Pause stops the deliveries of a service until a time: on its main durable and on
// that of every retry tier. It is the broker that pauses, so that all instances
// see it, and new ones, and it survives their restart and the broker's. What is
// being worked on goes on and is acknowledged; what waits loses nothing, and no
// attempt is spent. It returns ErrUnknownService for a service without a durable.
//
// When it fails, some of the durables may be paused; pausing again goes on.
func (c *Conn) Pause(ctx context.Context, s order.Service, until time.Time) ([]Paused, error) {
	return c.pause(ctx, s, func(d jetstream.Consumer, stream string) error {
		_, err := c.js.PauseConsumer(ctx, stream, d.CachedInfo().Name, until)
		return err
	})
}

// Resume ends a pause.
func (c *Conn) Resume(ctx context.Context, s order.Service) ([]Paused, error) {
	return c.pause(ctx, s, func(d jetstream.Consumer, stream string) error {
		_, err := c.js.ResumeConsumer(ctx, stream, d.CachedInfo().Name)
		return err
	})
}

// Pauses returns the durables of a service and whether they are paused.
func (c *Conn) Pauses(ctx context.Context, s order.Service) ([]Paused, error) {
	return c.pause(ctx, s, func(jetstream.Consumer, string) error { return nil })
}

// pause does something to each durable of a service and returns how they are then.
func (c *Conn) pause(ctx context.Context, s order.Service, do func(jetstream.Consumer, string) error) ([]Paused, error) {
	names, err := c.durables(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("find the durables of %s: %w", s, err)
	}
	all := make([]Paused, 0, len(names))
	for _, n := range names {
		p, err := c.pauseOne(ctx, n.stream, n.durable, do)
		if err != nil {
			return all, fmt.Errorf("pause or resume %s/%s: %w", n.stream, n.durable, err)
		}
		all = append(all, p)
	}
	return all, nil
}

func (c *Conn) pauseOne(ctx context.Context, stream, durable string, do func(jetstream.Consumer, string) error) (Paused, error) {
	p := Paused{Durable: stream + "/" + durable}
	d, err := c.js.Consumer(ctx, stream, durable)
	if err != nil {
		return p, err
	}
	if err := do(d, stream); err != nil {
		return p, err
	}
	info, err := d.Info(ctx)
	if err != nil {
		return p, err
	}
	if info.Paused && info.Config.PauseUntil != nil {
		p.Until = *info.Config.PauseUntil
	}
	return p, nil
}

type streamDurable struct{ stream, durable string }

// durables lists the main durable of a service and those of its tiers.
func (c *Conn) durables(ctx context.Context, s order.Service) ([]streamDurable, error) {
	if _, err := c.js.Consumer(ctx, StreamOrders, Durable(s)); errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("%w %q", ErrUnknownService, s)
	} else if err != nil {
		return nil, err
	}
	all := []streamDurable{{StreamOrders, Durable(s)}}
	retries, err := c.js.Stream(ctx, RetryStream(s))
	if err != nil {
		return nil, err
	}
	list := retries.ConsumerNames(ctx)
	for name := range list.Name() {
		all = append(all, streamDurable{RetryStream(s), name})
	}
	return all, list.Err()
}
