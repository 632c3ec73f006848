package demo_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/watertight-go/watertight/internal/demo"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher/load"
)

var update = flag.Bool("update", false, "write the golden files anew")

// result is a demonstration as it may end.
func result(change func(*demo.Measured)) demo.Result {
	p := demo.DefaultPlan()
	p.Fault = "hang:50%+deaf:50%"
	m := good(change)
	start := time.Date(2026, 11, 27, 20, 0, 0, 0, time.UTC)
	phase := func(name string, from, to int, pick func(demo.Isolation) load.Stats) demo.Phase {
		ph := demo.Phase{Name: name, Window: load.Phase{From: start.Add(time.Duration(from) * time.Second), To: start.Add(time.Duration(to) * time.Second)}}
		if pick != nil {
			ph.Lateness = load.Delay{Orders: 300 * (to - from), P99: ms}
			for _, i := range m.Isolation {
				ph.Stats = append(ph.Stats, pick(i))
			}
		}
		return ph
	}
	r := demo.Result{
		Plan: p,
		Phases: []demo.Phase{
			phase("warm-up", 0, 2, nil),
			phase("baseline", 2, 11, func(i demo.Isolation) load.Stats { return i.Baseline }),
			phase("fault", 11, 21, func(i demo.Isolation) load.Stats { return i.Struck }),
			phase("control", 21, 28, func(i demo.Isolation) load.Stats { return i.Control }),
			phase("recovery", 28, 30, nil),
		},
		Measured: m,
		Verdict:  demo.Judge(p, m),
		Accounts: []demo.Account{
			{Service: order.Payment, Sent: 8550, Done: 8512, Dead: 38, Pending: 89, Ghosts: 47},
			{Service: order.Inventory, Sent: 8550, Done: 8513, Dead: 37},
			{Service: order.Notification, Sent: 8550, Done: 8500, Dead: 37, Waiting: 13},
		},
		Groups: []demo.Group{
			{Service: order.Payment, Reason: "exhausted", Error: "bulkhead payment: timed out after 1s", Count: 1, Seq: 79},
			{Service: order.Payment, Reason: "invalid", Error: "invalid order: lines[0].quantity (byte 123): want a whole number of at most 64 bits", Count: 37, Seq: 3},
		},
		Effects: demo.Effects{Charged: 8428, Mails: 8513},
		Command: func(args string) string { return "watertight " + args },
	}
	return r
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: -want +got (go test ./internal/demo -update writes it anew)\n%s", path, diff)
	}
}

func TestResult_Text(t *testing.T) {
	for name, change := range map[string]func(*demo.Measured){
		"proven.txt":       nil,
		"inconclusive.txt": func(m *demo.Measured) { m.Lateness = 61 * ms },
	} {
		var b strings.Builder
		if err := result(change).WriteText(&b); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.String())
	}
}

func TestResult_Document(t *testing.T) {
	b, err := json.MarshalIndent(result(nil).Document(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "proven.json", string(b)+"\n")
}

func TestLine(t *testing.T) {
	s := stats(1, 6*ms, 10*ms)
	s.Service = order.Inventory
	sunk := stats(0.02, 9*ms, 10*ms)
	sunk.Service = order.Payment
	l := demo.Line{Elapsed: 12, Phase: "fault", Sent: 3586, Services: []load.Stats{sunk, s, {Service: order.Notification}}, Ghosts: 8, Slots: 16}
	const want = " 12 s  fault       3,586 sent  payment 2 %  inventory 6.0 ms 100 %  notification -  ghosts 8/16"
	if got := l.String(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
