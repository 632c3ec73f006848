package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/rejections"
)

// poolConfig is one service's compartment.
func poolConfig(name order.Service, slots int, timeout time.Duration, log zerolog.Logger, rejected *rejections.Log) bulkhead.Config {
	log = log.With().Str("service", string(name)).Logger()
	return bulkhead.Config{
		Name:    string(name),
		Slots:   slots,
		Timeout: timeout,
		Breaker: &bulkhead.BreakerConfig{Classify: classify},
		Hooks: bulkhead.Hooks{
			Rejected: noteRejected(rejected, name),
			GhostEnded: func(age time.Duration, _ error) {
				log.Info().Str("event", "bulkhead.ghost_ended").Dur("duration_ms", age).Msg("a handler that outlived its timeout has returned its slot")
			},
			StateChanged: func(from, to bulkhead.State) {
				log.Warn().Str("event", "breaker."+strings.ReplaceAll(to.String(), "-", "_")).Stringer("from", from).Msgf("the breaker is %s", to)
			},
		},
	}
}

// classify says what an attempt tells of the other side's health: an order that
// can't be processed says nothing.
func classify(err error) bulkhead.Outcome {
	switch {
	case err == nil:
		return bulkhead.Success
	case order.IsRejected(err), errors.Is(err, order.ErrInvalid), errors.Is(err, order.ErrSchema), errors.Is(err, order.ErrTooLarge),
		errors.Is(err, bulkhead.ErrDrainTimeout):
		return bulkhead.Neutral
	default:
		return bulkhead.Failure
	}
}

// drainPool ends a compartment whose group has ended. What still runs then are
// handlers that nothing stops; they get a moment.
func drainPool(pool *bulkhead.Bulkhead, log zerolog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if r := pool.Drain(ctx); r.Running+r.Ghosts > 0 {
		log.Warn().Str("event", "bulkhead.abandoned").Int("running", r.Running).Int("ghosts", r.Ghosts).
			Msg("handlers that ignore their context are left behind; their orders were handed back")
	}
}
