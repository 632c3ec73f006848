package main

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/consumer"
)

func TestWatchdog_TellsInTheLogAndAsAMetric(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	var log strings.Builder
	w := newWatchdog(reg, zerolog.New(&log))
	alarms := func(want ...string) {
		t.Helper()
		text := `# HELP watertight_watchdog_alarms Alarms that stand about what the broker holds; each process that serves sees the same.
# TYPE watertight_watchdog_alarms gauge
watertight_watchdog_alarms{kind="drifted"} 0
watertight_watchdog_alarms{kind="full"} 0
watertight_watchdog_alarms{kind="missing"} 0
watertight_watchdog_alarms{kind="overdue"} 0
watertight_watchdog_alarms{kind="silent"} 0
watertight_watchdog_alarms{kind="stranded"} 0
`
		for _, line := range want {
			series, _, _ := strings.Cut(line, " ")
			text = strings.ReplaceAll(text, series+" 0", line)
		}
		if err := testutil.GatherAndCompare(reg, strings.NewReader(text)); err != nil {
			t.Error(err)
		}
	}
	alarms()
	payment := audit.Alarm{Kind: audit.Stranded, Name: "ORDERS/payment", Since: time.Now(), Says: "ORDERS/payment: why"}
	inventory := audit.Alarm{Kind: audit.Stranded, Name: "ORDERS/inventory"}
	w.Raised(payment)
	w.Raised(inventory)
	w.Raised(audit.Alarm{Kind: audit.Silent})
	alarms(`watertight_watchdog_alarms{kind="stranded"} 2`, `watertight_watchdog_alarms{kind="silent"} 1`)
	w.Cleared(inventory)
	alarms(`watertight_watchdog_alarms{kind="stranded"} 1`, `watertight_watchdog_alarms{kind="silent"} 1`)

	for i, want := range []string{
		`{"level":"warn","stream":"ORDERS","consumer":"payment","event":"watchdog.stranded","since":"`,
		`{"level":"warn","stream":"ORDERS","consumer":"inventory","event":"watchdog.stranded","since":"`,
		`{"level":"warn","event":"watchdog.silent","since":"`,
		`{"level":"info","stream":"ORDERS","consumer":"inventory","event":"watchdog.cleared","kind":"stranded","duration_ms":`,
	} {
		if got := strings.Split(log.String(), "\n")[i]; !strings.HasPrefix(got, want) {
			t.Errorf("line %d: got %s, want %s…", i+1, got, want)
		}
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// What a process with another timeout has left behind is told in the first moments.
func TestServe_WatchesWhatTheBrokerHolds(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	server := startServer(t, serverConfig{})
	other := shape{timeout: time.Minute, retry: consumer.DefaultRetry(), replicas: 1}
	if _, err := connect(t, server.url).Provision(t.Context(), other.plan(false), true); err != nil {
		t.Fatal(err)
	}
	p := start(t, "serve", "notification", "-s", server.url, "--mail", s.world.MailAddr(), "--replicas", "1", "--listen", "127.0.0.1:0")
	http := text(t, p.await("serve.started"), "http")
	p.await("watchdog.drifted")
	if status, body := get(t, http+"/readyz"); status != 200 {
		t.Errorf("GET /readyz with an alarm: got %d %s, want 200", status, body)
	}
}
