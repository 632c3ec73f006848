package deadletter_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

func TestNewMetrics_TellsWhatIsThereWhenScraped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := brokertest.Start(t)
		b := srv.Connect()
		brokertest.Provision(t, b, brokertest.Plan())
		d := deadletter.New(b, "anna")
		reg := prometheus.NewPedanticRegistry()
		deadletter.NewMetrics(reg, d, order.Services())
		want := func(text string) {
			t.Helper()
			if err := testutil.GatherAndCompare(reg, strings.NewReader(text)); err != nil {
				t.Error(err)
			}
		}
		const letters = "# HELP watertight_dead_letters Dead letters that wait for an operator.\n# TYPE watertight_dead_letters gauge\n"
		want(letters + `watertight_dead_letters{service="inventory"} 0
watertight_dead_letters{service="notification"} 0
watertight_dead_letters{service="payment"} 0
`)
		rejected := letter(2)
		rejected.Reason = deadletter.Rejected
		post(t, d, letter(1))
		oldest, found, err := d.Oldest(t.Context(), order.Payment)
		if err != nil || !found {
			t.Fatal(found, err)
		}
		time.Sleep(time.Hour)
		post(t, d, rejected)
		want(letters + `watertight_dead_letters{service="inventory"} 0
watertight_dead_letters{service="notification"} 0
watertight_dead_letters{service="payment"} 2
# HELP watertight_dead_letter_oldest_timestamp_seconds When the oldest dead letter was stored, in Unix time; absent when there is none.
# TYPE watertight_dead_letter_oldest_timestamp_seconds gauge
watertight_dead_letter_oldest_timestamp_seconds{service="payment"} ` + fmt.Sprint(float64(oldest.UnixMilli())/1000) + "\n")
		if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
			t.Errorf("lint: %v, %v", problems, err)
		}

		srv.Stop() // nothing rather than a wrong number, and soon
		begin := time.Now()
		want("")
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("a scrape without a broker took %v, want at most 2 s and a little", took)
		}
	})
}
