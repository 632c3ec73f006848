package consumer_test

import (
	"context"
	"testing"
	"time"

	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/order"
)

// Nobody asks the group meanwhile: it remembers by itself since when it is flooded.
func TestGroup_SaysSinceWhenItIsFlooded(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		release := make(chan struct{})
		deaf := handle(func(context.Context, order.Order) (order.Outcome, error) {
			<-release
			return authorized, nil
		})
		g, stop := s.group(deaf, func(_ *consumer.Config, b *bulkhead.Config) { b.Slots = 2 })
		defer stop()
		defer close(release)
		flooded := func(want bool, since time.Time) {
			t.Helper()
			if got, ok := g.Flooded(); ok != want || (ok && !got.Equal(since)) {
				t.Errorf("Flooded after %v: got %v, %v; want %v, %v", time.Since(since), got, ok, since, want)
			}
		}

		begin := time.Now()
		flooded(false, begin)
		s.placeOne()
		pass(time.Second)
		s.placeOne()
		pass(1500 * time.Millisecond) // the first has timed out, its retry waits
		flooded(false, begin)
		pass(time.Hour)
		second := begin.Add(3 * time.Second)
		flooded(true, second)

		// A ghost returns; its slot goes to the next order, and is lost again.
		release <- struct{}{}
		back := time.Now()
		pass(time.Hour)
		flooded(true, back.Add(2*time.Second))
	})
}
