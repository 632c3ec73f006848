package notification_test

import (
	"testing"

	"github.com/watertight-go/watertight/consumer/notification"
	"github.com/watertight-go/watertight/internal/sim"
	"github.com/watertight-go/watertight/order"
)

// One mail over loopback; the simulated server's share is in it.
func BenchmarkHandle(b *testing.B) {
	w, err := sim.Start(b.Context(), sim.Config{MaxLatency: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	mailer, err := notification.NewSMTP(w.MailAddr(), notification.SMTPConfig{Encryption: notification.Plain})
	if err != nil {
		b.Fatal(err)
	}
	defer mailer.Close()
	s := notification.Service{Mailer: mailer, From: from}
	b.ReportAllocs()
	for b.Loop() {
		o := anOrder()
		o.ID = order.NewID()
		if _, err := s.Handle(b.Context(), o); err != nil {
			b.Fatal(err)
		}
	}
}
