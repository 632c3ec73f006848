package payment_test

import (
	"context"
	"errors"
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
func within(t *testing.T, d time.Duration, h sim.Handler, o order.Order) (order.Outcome, time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	start := time.Now()
	out, err := h.Handle(ctx, o)
	return out, time.Since(start), err
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
		out, _, err := within(t, time.Second, s, anOrder())
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

func TestHandle_DeclinedIsAnAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, s shop) {
		s.set(t, "declines")
		for range 2 {
			out, _, err := within(t, time.Second, s, anOrder())
			if err != nil || out.Result != order.Refused || out.Reason != "insufficient funds" {
				t.Fatalf("Handle: got %+v, %v, want refused for insufficient funds", out, err)
			}
		}
		s.world.Clear(sim.Payment)
		if out, _, _ := within(t, time.Second, s, anOrder()); out.Result != order.Refused {
			t.Errorf("asked again with the same key: got %+v, want the saved refusal", out)
		}
		wantCharges(t, s.world, 0)
	})
}

// However an attempt ends, the order is tried again and paid once.
func TestHandle_FailsUnderFaultsAndIsPaidOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		fault   string
		took    time.Duration // of an attempt that is given 2 s
		charges int           // after the failed attempt
		after   time.Duration // asked for by order.RetryAfter
		timeout bool
	}{
		"a hang ends with the attempt":               {fault: "hang", took: 2 * time.Second, timeout: true},
		"a charge may come before a late answer":     {fault: "late:5s", took: 2 * time.Second, charges: 1, timeout: true},
		"a drip keeps nobody beyond the attempt":     {fault: "drip", took: 2 * time.Second, charges: 1, timeout: true},
		"latency beyond the attempt charges unheard": {fault: "latency:3s", took: 2 * time.Second, timeout: true},
		"a cut connection leaves it open":            {fault: "cut", charges: 1},
		"an error is the gateway's trouble":          {fault: "errors"},
		"throttling says when to come back":          {fault: "throttle:7s", after: 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s shop) {
				s.set(t, tt.fault)
				out, took, err := within(t, 2*time.Second, s, anOrder())
				if err == nil || order.IsRejected(err) || out != (order.Outcome{}) {
					t.Fatalf("Handle: got %+v, %v, want an error that is tried again", out, err)
				}
				if got := errors.Is(err, context.DeadlineExceeded); got != tt.timeout {
					t.Errorf("Handle: got %v, is it the deadline? want %t", err, tt.timeout)
				}
				if took != tt.took {
					t.Errorf("attempt took %v, want %v", took, tt.took)
				}
				if after, _ := order.AfterOf(err); after != tt.after {
					t.Errorf("retry after: got %v, want %v", after, tt.after)
				}
				wantCharges(t, s.world, tt.charges)

				synctest.Wait() // the server has seen the client go
				s.world.Clear(sim.Payment)
				out, _, err = within(t, time.Second, s, anOrder())
				if err != nil || out.Result != order.Authorized {
					t.Errorf("retry: got %+v, %v, want authorized", out, err)
				}
				time.Sleep(time.Minute) // what went on unheard has ended by now
				wantCharges(t, s.world, 1)
				if c := s.world.Counts().Payment; c.DoubledByOrder != 0 || c.Held != 0 {
					t.Errorf("counts: got %+v, want nothing doubled or held", c)
				}
			})
		})
	}
}

func TestHandle_EndsLateWithinItsTime(t *testing.T) {
	for fault, want := range map[string]time.Duration{
		"latency:200ms": 200 * time.Millisecond,
		"hang:5s":       5 * time.Second,
		"late":          3 * time.Second,
		"drip:10ms":     490 * time.Millisecond, // 50 bytes, {"id":"auth_0123456789abc","status":"authorized"} and a newline
	} {
		t.Run(fault, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s shop) {
				s.set(t, fault)
				out, took, err := within(t, time.Hour, s, anOrder())
				if err != nil || out.Result != order.Authorized || took != want {
					t.Errorf("got %+v, %v after %v, want authorized after %v", out, err, took, want)
				}
				wantCharges(t, s.world, 1)
			})
		})
	}
}

func TestHandle_GoesOnWhenTheHangIsCleared(t *testing.T) {
	inBubble(t, func(t *testing.T, s shop) {
		s.set(t, "hang")
		done := make(chan order.Outcome)
		start := time.Now()
		go func() {
			out, _, _ := within(t, time.Hour, s, anOrder())
			done <- out
		}()
		synctest.Wait()
		if got := s.world.Counts().Payment.Held; got != 1 {
			t.Fatalf("held: got %d, want 1", got)
		}
		s.world.Clear(sim.Payment)
		if out := <-done; out.Result != order.Authorized || time.Since(start) != 0 {
			t.Errorf("got %+v after %v, want authorized at once", out, time.Since(start))
		}
	})
}

// A handler that ignored its timeout wakes when another attempt has long paid.
func TestHandle_AGhostsLateChargeIsTheSameCharge(t *testing.T) {
	inBubble(t, func(t *testing.T, s shop) {
		deaf := s.world.Deaf(sim.Payment, s)
		s.set(t, "deaf")
		ghost := make(chan order.Outcome)
		go func() {
			out, _, err := within(t, time.Second, deaf, anOrder())
			if err != nil {
				t.Errorf("ghost: got %v, want a late success", err)
			}
			ghost <- out
		}()
		time.Sleep(time.Minute)
		if got := s.world.Counts().Deaf[sim.Payment]; got != 1 {
			t.Fatalf("deaf: got %d, want 1", got)
		}
		retried, _, err := within(t, time.Second, s, anOrder())
		if err != nil {
			t.Fatal(err)
		}
		s.world.Clear(sim.Payment)
		if late := <-ghost; late != retried {
			t.Errorf("ghost: got %+v, want what the retry got: %+v", late, retried)
		}
		wantCharges(t, s.world, 1)
		if got := s.world.Counts().Payment.Requests; got != 2 {
			t.Errorf("requests: got %d, want 2", got)
		}
	})
}

func TestHandle_SameKeyForAnotherAmountIsRejected(t *testing.T) {
	inBubble(t, func(t *testing.T, s shop) {
		if _, _, err := within(t, time.Second, s, anOrder()); err != nil {
			t.Fatal(err)
		}
		changed := anOrder()
		changed.Lines[0].Quantity++
		if _, _, err := within(t, time.Second, s, changed); !order.IsRejected(err) {
			t.Errorf("Handle: got %v, want a rejection", err)
		}
		wantCharges(t, s.world, 1)
	})
}
