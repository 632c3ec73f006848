package payment_test

import (
	"testing"

	"github.com/watertight-go/watertight/consumer/payment"
	"github.com/watertight-go/watertight/internal/sim"
	"github.com/watertight-go/watertight/order"
)

// One charge over loopback; the simulated gateway's share is in it.
func BenchmarkHandle(b *testing.B) {
	w, err := sim.Start(b.Context(), sim.Config{MaxLatency: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	gateway, err := payment.NewHTTP(w.PaymentURL(), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer gateway.Close()
	s := payment.Service{Gateway: gateway}
	b.ReportAllocs()
	for b.Loop() {
		o := anOrder()
		o.ID = order.NewID()
		if _, err := s.Handle(b.Context(), o); err != nil {
			b.Fatal(err)
		}
	}
}
