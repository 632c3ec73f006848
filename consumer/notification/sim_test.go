package notification_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/consumer/notification"
	"github.com/watertight-go/watertight/internal/sim"
	"github.com/watertight-go/watertight/order"
)

// What happens between the handler and a mail server in trouble, judged by the
// mails that arrived. The clock is the bubble's.

type shop struct {
	*notification.Service
	world *sim.World
}

const from = "orders@shop.example"

// inBubble runs f with a handler and the simulated mail server it writes to.
func inBubble(t *testing.T, cfg notification.SMTPConfig, f func(t *testing.T, s shop)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var network sim.Network
		w, err := sim.Start(t.Context(), sim.Config{MaxLatency: -1, Listen: network.Listen})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Dial = network.DialContext
		mailer, err := notification.NewSMTP(w.MailAddr(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		f(t, shop{Service: &notification.Service{Mailer: mailer, From: from}, world: w})
		mailer.Close()
		w.Close()
	})
}

// set puts the mail server under a fault line.
func (s shop) set(t *testing.T, line string) {
	t.Helper()
	fs, err := sim.ParseFaults(line)
	if err == nil {
		err = s.world.Set(sim.Mail, fs)
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
		ID: "019b2f6e-0000-7000-8000-000000000001", Customer: "c-1", Currency: "EUR", Email: "ann@example.org",
		Lines: []order.Line{{SKU: "BIKE", Quantity: 2, UnitPrice: 64950}, {SKU: "BELL", Quantity: 1, UnitPrice: 5}},
	}
}

const messageID = "019b2f6e-0000-7000-8000-000000000001.created@shop.example"

func wantMails(t *testing.T, w *sim.World, want int) {
	t.Helper()
	if got := w.Mails(messageID); got != want {
		t.Errorf("mails %s: got %d, want %d", messageID, got, want)
	}
}

func TestHandle_SendsOneMail(t *testing.T) {
	inBubble(t, notification.SMTPConfig{}, func(t *testing.T, s shop) {
		out, err, _ := within(t, time.Second, s, anOrder())
		if want := (order.Outcome{Result: order.Sent, Ref: messageID}); err != nil || out != want {
			t.Fatalf("Handle: got %+v, %v, want %+v", out, err, want)
		}
		wantMails(t, s.world, 1)
	})
}
