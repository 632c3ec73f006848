package consumer_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// A storm of slow retries has its share of the slots, and no more, while fresh orders
// wait.
func TestShare_RetriesLeaveTheOtherSlotsToFreshOrders(t *testing.T) {
	const slots = 4
	bubble(t, func(t *testing.T, s *shop) {
		var (
			mu                 sync.Mutex
			storm              = make(map[string]int)
			running            int // retries
			most               int // of these, while fresh orders waited
			fresh, begun, done int
		)
		s.group(handle(func(_ context.Context, o order.Order) (order.Outcome, error) {
			mu.Lock()
			_, stormy := storm[o.ID]
			if stormy {
				if storm[o.ID]++; storm[o.ID] == 1 {
					mu.Unlock()
					return order.Outcome{}, errBusy
				}
				if running++; begun < fresh-slots { // the last ones don't wait any more
					most = max(most, running)
				}
				mu.Unlock()
				time.Sleep(500 * time.Millisecond)
				mu.Lock()
				defer mu.Unlock()
				running--
				return authorized, nil
			}
			begun++
			mu.Unlock()
			time.Sleep(50 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			done++
			return authorized, nil
		}), nil)
		for range 12 {
			o, body := placed(t)
			mu.Lock()
			storm[o.ID] = 0
			mu.Unlock()
			s.place(o.ID, body)
		}
		pass(500 * time.Millisecond)
		mu.Lock()
		fresh = 200
		mu.Unlock()
		for range fresh {
			s.placeOne()
		}
		pass(4 * time.Second)
		mu.Lock()
		equal(t, "retries at a time while fresh orders wait", most, 1)
		// Three slots, or four, for 50 ms each.
		if done < 190 {
			t.Errorf("%d fresh orders of %d are done after 4 s", done, fresh)
		}
		mu.Unlock()
		pass(time.Minute)
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 212})
		s.settled()
	})
}
