package sim_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/internal/sim"
	"github.com/watertight-go/watertight/order"
)

func TestDeaf_BlocksBeyondItsContextAndActsLate(t *testing.T) {
	for name, tt := range map[string]struct {
		fault string
		end   func(t *testing.T, w *sim.World)
		after time.Duration
	}{
		"until its time is over":    {"deaf:1h", func(*testing.T, *sim.World) {}, time.Hour},
		"until it is switched off":  {"deaf", func(_ *testing.T, w *sim.World) { w.Clear(sim.Payment) }, time.Minute},
		"until something else is":   {"deaf", func(t *testing.T, w *sim.World) { mustSet(t, w, sim.Payment, "latency:1ns") }, time.Minute + 1},
		"until its share is of age": {"deaf:2h:100%", func(*testing.T, *sim.World) {}, 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c client) {
				h := c.Deaf(sim.Payment, charging{t, c})
				mustSet(t, c.World, sim.Payment, tt.fault)
				start := time.Now()
				done := make(chan error)
				go func() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					_, err := h.Handle(ctx, order.Order{ID: "o1"})
					done <- err
				}()
				time.Sleep(time.Minute)
				if got := c.Counts(); got.Deaf[sim.Payment] != 1 || got.Payment.Requests != 0 {
					t.Errorf("counts: got %+v, want one deaf", got)
				}
				tt.end(t, c.World)
				if err := <-done; err != nil {
					t.Errorf("Handle: got %v, want a late success", err)
				}
				if took := time.Since(start); took != tt.after {
					t.Errorf("Handle took %v, want %v", took, tt.after)
				}
				if got := c.Counts(); got.Deaf[sim.Payment] != 0 || got.Payment.Charges != 1 {
					t.Errorf("counts: got %+v, want nobody deaf and one charge", got)
				}
			})
		})
	}
}

func TestDeaf_IsReleasedWhenTheWorldEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, c client) {
		h := c.Deaf(sim.Inventory, charging{t, c})
		mustSet(t, c.World, sim.Inventory, "deaf")
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = h.Handle(t.Context(), order.Order{ID: "o1"})
		}()
		synctest.Wait()
		c.Close()
		<-done
	})
}

// Half hangs and half is deaf: nothing passes, at whichever attempt.
func TestDeaf_SharesTheDieWithTheGateway(t *testing.T) {
	inBubble(t, func(t *testing.T, c client) {
		h := c.Deaf(sim.Payment, charging{t, c})
		mustSet(t, c.World, sim.Payment, "errors:50%+deaf:50%")
		const orders, attempts = 100, 3
		var all sync.WaitGroup
		for range attempts {
			for i := range orders {
				all.Go(func() { _, _ = h.Handle(t.Context(), order.Order{ID: fmt.Sprint("o", i)}) })
			}
			synctest.Wait()
		}
		got := c.Counts()
		if n := got.Deaf[sim.Payment] + got.Payment.Requests; n != orders*attempts || got.Payment.Charges != 0 {
			t.Errorf("counts: got %+v, want %d deaf or in error, none charged", got, orders*attempts)
		}
		if n := got.Deaf[sim.Payment]; n < 120 || n > 180 {
			t.Errorf("deaf: got %d, want about 150", n)
		}
		c.Clear(sim.Payment)
		all.Wait()
	})
}

func TestDeaf_ForwardsTheFallbackItHas(t *testing.T) {
	inBubble(t, func(t *testing.T, c client) {
		type fallbacker interface {
			Fallback(context.Context, order.Order, error) (order.Outcome, error)
		}
		if _, ok := c.Deaf(sim.Payment, charging{t, c}).(fallbacker); ok {
			t.Error("a handler without Fallback got one")
		}
		h, ok := c.Deaf(sim.Payment, withFallback{charging{t, c}}).(fallbacker)
		if !ok {
			t.Fatal("the handler lost its Fallback")
		}
		mustSet(t, c.World, sim.Payment, "deaf")
		if out, err := h.Fallback(t.Context(), order.Order{}, nil); err != nil || out.Result != order.Pending {
			t.Errorf("Fallback: got %+v, %v, want pending at once", out, err)
		}
	})
}

func TestSet_NobodyIsThereToBeDeaf(t *testing.T) {
	inBubble(t, func(t *testing.T, c client) {
		if err := c.Set(sim.Mail, sim.Faults{{Kind: sim.Deaf}}); !errors.Is(err, sim.ErrNoHandler) {
			t.Errorf("got %v, want %v", err, sim.ErrNoHandler)
		}
	})
}
