package broker_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

var drawService = rapid.Custom(func(rt *rapid.T) order.Service {
	return order.Service(rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?`).Draw(rt, "service"))
})

func TestSubjects_SplitIsTheInverse(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := drawService.Draw(rt, "service")
		if !broker.ValidService(s) {
			rt.Fatalf("ValidService(%q) = false", s)
		}
		word := rapid.StringMatching(`[a-z]{1,12}`).Draw(rt, "word")
		if got, reason, ok := broker.SplitDead(broker.DeadSubject(s, word)); got != s || reason != word || !ok {
			rt.Errorf("SplitDead(%q) = %q, %q, %v", broker.DeadSubject(s, word), got, reason, ok)
		}
		if got, tier, ok := broker.SplitRetry(broker.RetrySubject(s, word)); got != s || tier != word || !ok {
			rt.Errorf("SplitRetry(%q) = %q, %q, %v", broker.RetrySubject(s, word), got, tier, ok)
		}
		if where, reason, ok := broker.SplitRejection(broker.RejectionSubject(string(s), word)); where != string(s) || reason != word || !ok {
			rt.Errorf("SplitRejection(%q) = %q, %q, %v", broker.RejectionSubject(string(s), word), where, reason, ok)
		}
		if got, action, ok := broker.SplitDesk(broker.DeskSubject(s, word)); got != s || action != word || !ok {
			rt.Errorf("SplitDesk(%q) = %q, %q, %v", broker.DeskSubject(s, word), got, action, ok)
		}
		for _, r := range []order.Result{
			order.Authorized, order.Captured, order.Voided, order.Reserved, order.Committed, order.Released,
			order.Sent, order.Refused, order.Pending,
		} {
			if got, result, ok := broker.SplitOutcome(broker.OutcomeSubject(s, r)); got != s || result != r || !ok {
				rt.Errorf("SplitOutcome(%q) = %q, %q, %v", broker.OutcomeSubject(s, r), got, result, ok)
			}
		}
	})
}

func TestSubjects_SplitRefusesOthers(t *testing.T) {
	for _, subject := range []string{
		"", ".", "..", "dlq", "dlq.", "dlq..", "dlq.payment", "dlq.payment.", "dlq..exhausted", "DLQ.payment.exhausted",
		"dlq.payment.exhausted.more", "orders.created", "outcomes.payment.authorized.more", "outcomes.payment.blessed",
		"desk.payment", "desk.payment.replayed.more", "desk..replayed", "outcomes..authorized", " dlq.payment.exhausted",
		"retry", "retry.payment", "retry..t1", "retry.payment.", "retry.payment.t1.more",
		"rejections", "rejections.bulkhead", "rejections..full", "rejections.bulkhead.", "rejections.bulkhead.full.more",
	} {
		if s, r, ok := broker.SplitDead(subject); ok {
			t.Errorf("SplitDead(%q) = %q, %q", subject, s, r)
		}
		if s, r, ok := broker.SplitRetry(subject); ok {
			t.Errorf("SplitRetry(%q) = %q, %q", subject, s, r)
		}
		if s, r, ok := broker.SplitDesk(subject); ok {
			t.Errorf("SplitDesk(%q) = %q, %q", subject, s, r)
		}
		if where, r, ok := broker.SplitRejection(subject); ok {
			t.Errorf("SplitRejection(%q) = %q, %q", subject, where, r)
		}
		if s, r, ok := broker.SplitOutcome(subject); ok {
			t.Errorf("SplitOutcome(%q) = %q, %q", subject, s, r)
		}
	}
}

func TestValidService_RefusesWhatCanNotBeAName(t *testing.T) {
	for _, s := range []order.Service{
		"", "-", "a-", "-a", "A", "a.b", "a b", "a*", "a>", "a_b", "é", "a\n", "a/b", order.Service(strings.Repeat("a", 33)),
	} {
		if broker.ValidService(s) {
			t.Errorf("ValidService(%q) = true", s)
		}
	}
}

// Two services share nothing: a name made from one can't be made from another.
func TestNames_AreOneServices(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a, b := drawService.Draw(rt, "a"), drawService.Draw(rt, "b")
		if a == b {
			return
		}
		if broker.RetryStream(a) == broker.RetryStream(b) {
			rt.Errorf("%s and %s share the stream %s", a, b, broker.RetryStream(a))
		}
		o := broker.Origin{Stream: broker.StreamOrders, Seq: 7}
		for name, id := range map[string]func(order.Service) string{
			"done":    func(s order.Service) string { return broker.DoneID(s, o, 1) },
			"pending": func(s order.Service) string { return broker.PendingID(s, o, 1) },
			"dead":    func(s order.Service) string { return broker.DeadID(s, o, 1) },
			"retry":   func(s order.Service) string { return broker.RetryID(s, o, 1, 2) },
		} {
			if id(a) == id(b) {
				rt.Errorf("%s and %s share the %s id %s", a, b, name, id(a))
			}
		}
	})
}

// What is stored is for ever: so are names and ids.
func TestNames_StayAsTheyAre(t *testing.T) {
	o := broker.Origin{Stream: "ORDERS", Seq: 42}
	for want, got := range map[string]string{
		"orders.created":             broker.SubjectCreated,
		"outcomes.payment.refused":   broker.OutcomeSubject(order.Payment, order.Refused),
		"retry.payment.t2":           broker.RetrySubject(order.Payment, broker.Tier(2)),
		"retry.payment.now":          broker.RetrySubject(order.Payment, broker.TierNow),
		"dlq.payment.exhausted":      broker.DeadSubject(order.Payment, "exhausted"),
		"desk.payment.discarded":     broker.DeskSubject(order.Payment, broker.DeskDiscarded),
		"rejections.bulkhead.full":   broker.RejectionSubject("bulkhead", "full"),
		"stock.0":                    broker.StockSubject(0),
		"RETRY_GIFT_WRAP":            broker.RetryStream("gift-wrap"),
		"payment":                    broker.Durable(order.Payment),
		"payment-t1":                 broker.TierDurable(order.Payment, "t1"),
		"done/payment/ORDERS/42/1":   broker.DoneID(order.Payment, o, 1),
		"pending/payment/ORDERS/42/": strings.TrimSuffix(broker.PendingID(order.Payment, o, 0), "0"),
		"dlq/payment/ORDERS/42/0":    broker.DeadID(order.Payment, o, 0),
		"retry/payment/ORDERS/42/0/": strings.TrimSuffix(broker.RetryID(order.Payment, o, 0, 3), "3"),
		"replay/17":                  broker.ReplayID(17),
		"now/17":                     broker.NowID(17),
		"desk/replayed/17":           broker.DeskID(broker.DeskReplayed, 17),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
