package payment_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/watertight-go/watertight/consumer/payment"
	"github.com/watertight-go/watertight/order"
)

// gatewayFunc is a Gateway in one func.
type gatewayFunc func(payment.Request) (payment.Authorization, error)

func (f gatewayFunc) Authorize(_ context.Context, r payment.Request) (payment.Authorization, error) {
	return f(r)
}

func TestHandle_AsksForTheTotalWithOneKey(t *testing.T) {
	var asked []payment.Request
	s := payment.Service{Gateway: gatewayFunc(func(r payment.Request) (payment.Authorization, error) {
		asked = append(asked, r)
		return payment.Authorization{ID: "a-1", Status: payment.StatusAuthorized}, nil
	})}
	for range 2 {
		if _, err := s.Handle(t.Context(), anOrder()); err != nil {
			t.Fatal(err)
		}
	}
	one := payment.Request{
		Key: anOrder().ID + "/authorize", OrderID: anOrder().ID,
		Amount: order.Money{Amount: 129900, Currency: "EUR"},
	}
	if diff := cmp.Diff([]payment.Request{one, one}, asked); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestHandle_AsksNothingAboutNothing(t *testing.T) {
	s := payment.Service{Gateway: gatewayFunc(func(payment.Request) (payment.Authorization, error) {
		t.Error("the gateway was asked")
		return payment.Authorization{}, nil
	})}
	free, huge := anOrder(), anOrder()
	free.Lines[0].UnitPrice = 0
	huge.Lines[0].UnitPrice = math.MaxInt64

	out, err := s.Handle(t.Context(), free)
	if want := (order.Outcome{Result: order.Authorized, Reason: "nothing to pay"}); err != nil || out != want {
		t.Errorf("free order: got %+v, %v, want %+v", out, err, want)
	}
	if _, err := s.Handle(t.Context(), huge); !order.IsRejected(err) || !errors.Is(err, order.ErrOverflow) {
		t.Errorf("overflow: got %v, want it rejected", err)
	}
}

func TestHandle_GuessesNothing(t *testing.T) {
	for name, a := range map[string]payment.Authorization{
		"no status":           {},
		"a status of its own": {ID: "a-1", Status: "pending"},
	} {
		t.Run(name, func(t *testing.T) {
			s := payment.Service{Gateway: gatewayFunc(func(payment.Request) (payment.Authorization, error) { return a, nil })}
			out, err := s.Handle(t.Context(), anOrder())
			if !errors.Is(err, payment.ErrUndecided) || order.IsRejected(err) || out != (order.Outcome{}) {
				t.Errorf("got %+v, %v, want an error that is tried again", out, err)
			}
		})
	}
}

func ExampleService_Handle() {
	declined := gatewayFunc(func(r payment.Request) (payment.Authorization, error) {
		fmt.Println("asked for", r.Amount)
		return payment.Authorization{ID: "auth_1", Status: payment.StatusDeclined, Reason: "card expired"}, nil
	})
	s := payment.Service{Gateway: declined}
	out, err := s.Handle(context.Background(), anOrder())
	fmt.Println(out.Result, out.Reason, err)
	// Output:
	// asked for 129900 EUR
	// refused card expired <nil>
}

func ExampleService_Fallback() {
	s := payment.Service{}
	out, _ := s.Fallback(context.Background(), anOrder(), context.DeadlineExceeded)
	fmt.Printf("%s: %s\n", out.Result, out.Reason)
	// Output:
	// pending: the payment provider has not answered yet
}
