package sim_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/watertight-go/watertight/internal/sim"
	"github.com/watertight-go/watertight/order"
)

// struck returns which of n orders get an error at each of their attempts.
func struck(t *testing.T, c client, n, attempts int) (times []int) {
	t.Helper()
	times = make([]int, n)
	for range attempts {
		for i := range n {
			status, _ := c.charge(t, fmt.Sprint("k", i), fmt.Sprint("o", i), 1)
			if status == http.StatusInternalServerError {
				times[i]++
			}
		}
	}
	return times
}

func TestDie_StrikesAShareAnewEachAttempt(t *testing.T) {
	inBubble(t, func(t *testing.T, c client) {
		mustSet(t, c.World, sim.Payment, "errors:30%")
		var byTimes [3]int
		for _, n := range struck(t, c, 500, 2) {
			byTimes[n]++
		}
		// 49 %, 42 % and 9 % if the two throws are independent.
		for times, want := range []int{245, 210, 45} {
			if got := byTimes[times]; got < want-45 || got > want+45 {
				t.Errorf("orders struck %d times of 2: got %d, want about %d", times, got, want)
			}
		}
	})
}

func TestDie_FallsTheSameForTheSameSeed(t *testing.T) {
	runs := map[string]int{}
	for range 2 {
		inBubble(t, func(t *testing.T, c client) {
			mustSet(t, c.World, sim.Payment, "errors:50%")
			runs[fmt.Sprint(struck(t, c, 100, 3))]++
		})
	}
	if len(runs) != 1 {
		t.Errorf("got %d different runs of 2, want them the same", len(runs))
	}
}

func TestDie_AllIsStruckWhenSharesAddUp(t *testing.T) {
	inBubble(t, func(t *testing.T, c client) {
		mustSet(t, c.World, sim.Payment, "errors:60%+throttle:40%")
		byStatus := map[int]int{}
		for i := range 500 {
			status, _ := c.charge(t, fmt.Sprint("k", i), fmt.Sprint("o", i), 1)
			byStatus[status]++
		}
		if byStatus[500]+byStatus[429] != 500 || byStatus[500] < 250 || byStatus[500] > 350 {
			t.Errorf("got %v, want 500 requests struck, about 300 of them by 500", byStatus)
		}
	})
}

func TestDie_DeclinesStayAndStandBesideOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, c client) {
		mustSet(t, c.World, sim.Payment, "declines:10%+errors:50%")
		const n = 300
		for round := range 3 {
			if round == 2 {
				mustSet(t, c.World, sim.Payment, "declines:10%") // each is decided in the end
			}
			for i := range n {
				_, _ = c.charge(t, fmt.Sprint("k", i), fmt.Sprint("o", i), 1)
			}
		}
		got := c.Counts().Payment
		if got.Declines+got.Charges != n || got.Declines < 15 || got.Declines > 45 {
			t.Errorf("counts: got %+v, want %d decisions, about 30 of them declined", got, n)
		}
	})
}

// charging is a handler that asks the gateway.
type charging struct {
	t *testing.T
	c client
}

func (h charging) Handle(ctx context.Context, o order.Order) (order.Outcome, error) {
	if ctx.Err() != nil {
		return order.Outcome{}, ctx.Err()
	}
	_, _ = h.c.charge(h.t, o.ID+"/authorize", o.ID, 1) //nolint:contextcheck // ctx was looked at: that it lives is all a late call promises
	return order.Outcome{Result: order.Authorized}, nil
}

type withFallback struct{ charging }

func (withFallback) Fallback(context.Context, order.Order, error) (order.Outcome, error) {
	return order.Outcome{Result: order.Pending}, nil
}
