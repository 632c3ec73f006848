package consumer

import (
	"context"
	"time"

	"github.com/watertight-go/watertight/broker"
)

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
	c, err := g.conn.JetStream().Consumer(asking, broker.StreamOrders, broker.Durable(g.cfg.Service))
	if err != nil {
		return // the lanes notice it too, and say so
	}
	var now *time.Time
	if info := c.CachedInfo(); info.Paused {
		now = info.Config.PauseUntil
	}
	switch was := g.paused.Swap(now); {
	case was == nil && now != nil:
		g.cfg.Log.Warn().Str("event", "service.paused").Time("until", *now).Msg("paused by an operator: the broker gives no orders")
	case was != nil && now == nil:
		g.cfg.Log.Info().Str("event", "service.resumed").Msg("the pause is over")
	}
}
