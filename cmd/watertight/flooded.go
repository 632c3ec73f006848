package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
)

// floodable is what can say that it can do nothing, and since when: a group.
type floodable interface {
	Flooded() (since time.Time, ok bool)
}

// flooded returns why only another process helps a group: for so long every slot
// has been held by a handler that outlived its timeout. Zero means never.
func flooded(g floodable, limit time.Duration) error {
	since, ok := g.Flooded()
	if !ok || limit == 0 || time.Since(since) < limit {
		return nil
	}
	return fmt.Errorf("flooded since %s: every slot is held by a handler that outlived its timeout", since.UTC().Format(time.RFC3339))
}

// floodWatch is how often a process looks whether its services are flooded.
const floodWatch = time.Second

// errFlooded ends a process that can do nothing any more.
var errFlooded = errors.New("every service of this process is flooded")

// outlive says which services live no longer, and returns errFlooded when none
// does; nil when ctx ends. As long as one of them works, the process stays: a
// flooded service must cost nobody else.
func (h *health) outlive(ctx context.Context, log zerolog.Logger) error {
	tick := time.NewTicker(floodWatch)
	defer tick.Stop()
	var before map[string]string
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := reasons(h.live)
		for service, reason := range now {
			if _, said := before[service]; !said {
				log.Error().Str("event", "service.flooded").Str("service", service).Msg(reason + "; /livez fails until one returns")
			}
		}
		if len(now) == len(h.live) {
			return errFlooded
		}
		before = now
	}
}
