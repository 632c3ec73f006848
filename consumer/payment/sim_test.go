package payment_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/consumer/payment"
	"github.com/watertight-go/watertight/internal/sim"
	"github.com/watertight-go/watertight/order"
)

// What happens between the handler and a gateway in trouble, judged by what the
// gateway did. The clock is the bubble's, so hours cost nothing and are exact.

type shop struct {
	*payment.Service
	world *sim.World
}

// inBubble runs f with a handler and the simulated gateway it asks.
func inBubble(t *testing.T, f func(t *testing.T, s shop)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var network sim.Network
		w, err := sim.Start(t.Context(), sim.Config{MaxLatency: -1, Listen: network.Listen})
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{DialContext: network.DialContext}
		gateway, err := payment.NewHTTP(w.PaymentURL(), &http.Client{Transport: transport})
		if err != nil {
			t.Fatal(err)
		}
		f(t, shop{Service: &payment.Service{Gateway: gateway}, world: w})
		gateway.Close()
		w.Close()
	})
}

// set puts the gateway under a fault line.
func (s shop) set(t *testing.T, line string) {
	t.Helper()
	fs, err := sim.ParseFaults(line)
	if err == nil {
		err = s.world.Set(sim.Payment, fs)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// within handles the order once and gives up after d, as a bulkhead's timeout
// does. It returns how long the attempt took.
func within(t *testing.T, d time.Duration, h sim.Handler, o order.Order) (order.Outcome, error, time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	start := time.Now()
	out, err := h.Handle(ctx, o)
	return out, err, time.Since(start)
}

func anOrder() order.Order {
	return order.Order{
		ID: "019b2f6e-0000-7000-8000-000000000001", Customer: "c-1", Currency: "EUR",
		Lines: []order.Line{{SKU: "BIKE", Quantity: 2, UnitPrice: 64950}},
	}
}

func wantCharges(t *testing.T, w *sim.World, want int) {
	t.Helper()
	if got := w.Counts().Payment.Charges; got != want {
		t.Errorf("charges: got %d, want %d", got, want)
	}
}

func TestHandle_Authorizes(t *testing.T) {
	inBubble(t, func(t *testing.T, s shop) {
		out, err, _ := within(t, time.Second, s, anOrder())
		if err != nil || out.Result != order.Authorized || out.Ref == "" {
			t.Fatalf("Handle: got %+v, %v, want authorized with a reference", out, err)
		}
		got := s.world.Charges(anOrder().ID)
		want := sim.Charge{Key: anOrder().ID + "/authorize", ID: out.Ref, Amount: 129900, Currency: "EUR"}
		if len(got) != 1 || got[0] != want {
			t.Errorf("charges: got %+v, want %+v", got, want)
		}
	})
}
