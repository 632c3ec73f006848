package consumer_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
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

// However busy the tiers are, each of them, and what an operator sends now, has its
// turn of the share; also when turns take so long that what waits for one is put off
// meanwhile.
func TestShare_TiersTakeTurns(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		tiers := []string{broker.TierNow, broker.Tier(1), broker.Tier(2), broker.Tier(3), broker.Tier(4)}
		turns := 8 * len(tiers)
		var (
			mu   sync.Mutex
			tier = make(map[string]string) // of an order; empty: it is fresh
			ran  []string                  // tiers
		)
		for _, name := range tiers {
			for range turns {
				o, body := placed(t)
				tier[o.ID] = name
				m := broker.Message{Subject: broker.RetrySubject(order.Payment, name), ID: o.ID, Data: body}
				if _, err := s.conn.Store(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range 1500 { // some always wait
			s.placeOne()
		}
		d := s.takeDown()
		s.group(handle(func(_ context.Context, o order.Order) (order.Outcome, error) {
			mu.Lock()
			name := tier[o.ID]
			if name != "" {
				ran = append(ran, name)
			}
			mu.Unlock()
			if name == "" {
				time.Sleep(500 * time.Millisecond)
			} else {
				time.Sleep(4 * time.Second)
			}
			return authorized, nil
		}), func(c *consumer.Config, b *bulkhead.Config) {
			c.RetryShare, c.Rejections, b.Timeout = 1, d.Log, 5*time.Second
		})
		pass(time.Duration(turns) * 4 * time.Second)
		if d.said.count("consumer.rejected") == 0 {
			t.Error("none was put off: the test shows nothing")
		}
		mu.Lock()
		defer mu.Unlock()
		if len(ran) < turns/2 {
			t.Fatalf("%d turns: the test shows nothing", len(ran))
		}
		for i := 2 * len(tiers); i <= len(ran); i++ { // from when all have begun
			if lately := ran[i-len(tiers) : i]; len(slices.Compact(slices.Sorted(slices.Values(lately)))) < len(tiers) {
				t.Fatalf("turn %d: some have had none while others had two: %v", i, ran[:i])
			}
		}
	})
}
