package main

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"github.com/watertight-go/watertight/broker"
)

// trimEvery is how often settled orders are looked for. What is free of a stream
// then, a fifth, has to last until the next time; a look that finds nothing costs
// two questions.
const trimEvery = 5 * time.Second

// keepTrimmed takes settled orders away until ctx ends, and says so.
func keepTrimmed(ctx context.Context, conn *broker.Conn, log zerolog.Logger) error {
	var heldBy string // at the last look
	return conn.KeepTrimmed(ctx, trimEvery, broker.TrimConfig{}, func(t broker.Trimmed, err error) {
		if err != nil {
			log.Error().Err(err).Str("event", "trim.failed").Msg("settled orders were not taken away; trying again")
			return
		}
		if t.HeldBy != "" && t.HeldBy != heldBy {
			log.Warn().Str("event", "trim.held").Str("consumer", t.HeldBy).Msg("settled orders stay, as this durable is behind; when the stream is full, new orders are refused")
		}
		heldBy = t.HeldBy
		if t.Orders+t.Outcomes > 0 {
			log.Info().Str("event", "trim.done").Uint64("orders", t.Orders).Uint64("outcomes", t.Outcomes).Msg("settled orders were taken away")
		}
	})
}
