package load_test

import (
	"strings"
	"testing"
	"time"

	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher/load"
)

func TestThreshold_Holds(t *testing.T) {
	ms := time.Millisecond
	stats := []load.Stats{
		{Service: order.Payment, Finished: 0.99},
		{Service: order.Notification, Finished: 1, P50: 7 * ms, P99: 50 * ms, W50: 6 * ms, W99: 40 * ms, Max: 2 * time.Second},
	}
	for s, want := range map[string]bool{
		"notification.p99<50ms":       false,
		"notification.p99<=50ms":      true,
		"notification.p99 < 51ms":     true,
		"notification.p50<7ms":        false,
		"notification.p50>=7ms":       true,
		"notification.w50<=6ms":       true,
		"notification.w99<=39ms":      false,
		"notification.max<=2s":        true,
		"notification.max<2s":         false,
		"notification.p50>7ms":        false,
		"payment.finished>=99%":       true,
		"payment.finished>99%":        false,
		"payment.finished<100%":       true,
		"notification.finished>99.9%": true,
		"inventory.p50<1h":            false, // nothing was measured of it
	} {
		th, err := load.ParseThreshold(s, order.Services())
		if err != nil {
			t.Fatal(err)
		}
		if got := th.Holds(stats); got != want {
			t.Errorf("%s: got %t, want %t", s, got, want)
		}
		if th.String() != s {
			t.Errorf("String: got %q, want %q", th, s)
		}
	}
}

func TestParseThreshold_SaysWhatIsWrong(t *testing.T) {
	for s, want := range map[string]string{
		"":                       "want SERVICE.FIGURE<VALUE, such as notification.p99<50ms",
		"p99<50ms":               "want SERVICE.FIGURE<VALUE",
		"notification.p99=50ms":  "want SERVICE.FIGURE<VALUE",
		"shipping.p99<50ms":      `unknown service "shipping": one of [payment inventory notification]`,
		"notification.p95<50ms":  `unknown figure "p95": one of p50, p99, w50, w99, max, finished`,
		"notification.p99<50":    `"50" is not a time such as 50ms`,
		"notification.p99<-50ms": `"-50ms" is not a time such as 50ms`,
		"payment.finished>0.99":  `"0.99" is not a share such as 99%`,
		"payment.finished>101%":  `"101%" is not a share such as 99%`,
		"payment.finished>=NaN%": `"NaN%" is not a share such as 99%`,
	} {
		if _, err := load.ParseThreshold(s, order.Services()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", s, err, want)
		}
	}
}
