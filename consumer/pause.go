package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// Pause has the broker give a service no more orders until a time, neither fresh
// ones nor retries, whichever instance asks. What is in hand is finished. The pause
// outlives restarts of the service and of the broker. After an error some of the
// service's durables may be paused; pausing again is safe.
func Pause(ctx context.Context, conn *broker.Conn, s order.Service, until time.Time) error {
	err := eachDurable(ctx, conn, s, func(stream, durable string) error {
		_, err := conn.JetStream().PauseConsumer(ctx, stream, durable, until)
		return err
	})
	if err != nil {
		return fmt.Errorf("pause %s: %w", s, err)
	}
	return nil
}

// Resume ends a pause. A service that isn't paused stays so.
func Resume(ctx context.Context, conn *broker.Conn, s order.Service) error {
	err := eachDurable(ctx, conn, s, func(stream, durable string) error {
		_, err := conn.JetStream().ResumeConsumer(ctx, stream, durable)
		return err
	})
	if err != nil {
		return fmt.Errorf("resume %s: %w", s, err)
	}
	return nil
}

// Paused returns until when a service is paused; the zero time when it isn't.
func Paused(ctx context.Context, conn *broker.Conn, s order.Service) (until time.Time, err error) {
	c, err := conn.JetStream().Consumer(ctx, broker.StreamOrders, broker.Durable(s))
	if err != nil {
		return time.Time{}, fmt.Errorf("ask whether %s is paused: %w", s, err)
	}
	info := c.CachedInfo()
	if at := info.Config.PauseUntil; info.Paused && at != nil {
		return *at, nil
	}
	return time.Time{}, nil
}

// eachDurable calls do for every durable of a service, those of tiers included that
// only another version of the program knows.
func eachDurable(ctx context.Context, conn *broker.Conn, s order.Service, do func(stream, durable string) error) error {
	if !broker.ValidService(s) {
		return fmt.Errorf("%q is not the name of a service", s)
	}
	stream, err := conn.JetStream().Stream(ctx, broker.RetryStream(s))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("there is no service %s on this broker", s)
	}
	if err != nil {
		return err
	}
	errs := []error{do(broker.StreamOrders, broker.Durable(s))}
	names := stream.ConsumerNames(ctx)
	for name := range names.Name() {
		errs = append(errs, do(broker.RetryStream(s), name))
	}
	return errors.Join(append(errs, names.Err())...)
}

// pauseWatch is how often a group asks whether it is paused. The lanes needn't
// know: a paused durable answers that there is nothing.
const pauseWatch = 5 * time.Second

// watchPause notes a pause, for readiness, until ctx ends.
func (g *Group) watchPause(ctx context.Context) {
	tick := time.NewTicker(pauseWatch)
	defer tick.Stop()
	for {
		g.notePause(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (g *Group) notePause(ctx context.Context) {
	asking, cancel := context.WithTimeout(ctx, pauseWatch)
	defer cancel()
	until, err := Paused(asking, g.conn, g.cfg.Service)
	if err != nil {
		return // the lanes notice it too, and say so
	}
	var now *time.Time
	if !until.IsZero() {
		now = &until
	}
	switch was := g.paused.Swap(now); {
	case was == nil && now != nil:
		g.cfg.Log.Warn().Str("event", "service.paused").Time("until", until).Msg("paused by an operator: the broker gives no orders")
	case was != nil && now == nil:
		g.cfg.Log.Info().Str("event", "service.resumed").Msg("the pause is over")
	}
}
