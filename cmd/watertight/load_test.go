package main

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"github.com/watertight-go/watertight/internal/sim"
	"github.com/watertight-go/watertight/order"
)

// loaded reads what load -o json printed.
func loaded(t *testing.T, r ran) loadReport {
	t.Helper()
	var report loadReport
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		t.Fatalf("load: %v\n%s\n%s", err, r.stdout, r.stderr)
	}
	return report
}

func TestLoad_AccountsForEveryOrder(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	_, url, _ := s.serve()
	r := program(t, "", "load", "-s", url, "--rate", "200", "--duration", "2s", "--malformed", "0.1", "-o", "json")
	report := loaded(t, r)
	// On a busy machine the generator may be late: that is said, and judged by
	// nobody.
	if want := map[string]int{"ok": exitOK, "inconclusive": exitPartly}; r.code != want[report.Verdict] || report.Verdict == "" {
		t.Errorf("verdict %q with exit code %d", report.Verdict, r.code)
	}
	if o := report.Sent; o.Due != 400 || o.Sent != 400 || o.Stored != 400 || o.Failed != 0 || o.Unknown != 0 || o.Malformed < 20 || o.Malformed > 60 {
		t.Errorf("orders: got %+v, want 400, all stored, about 40 of them malformed", o)
	}
	if a := report.Acks; a.P50 <= 0 || a.P99 < a.P50 || a.Max < a.P99 {
		t.Errorf("acks: got %+v, want times that grow", a)
	}
	if len(report.Services) != len(order.Services()) {
		t.Fatalf("got %d services, want %d", len(report.Services), len(order.Services()))
	}
	for _, a := range report.Services {
		if a.Stored != 400 || a.Dead != report.Sent.Malformed || a.Done != 400-a.Dead || a.Open != 0 || a.Twice != 0 {
			t.Errorf("account: got %+v, want each malformed order dead and every other done", a)
		}
	}
}

func TestLoad_JudgesThresholds(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	_, url, _ := s.serve()
	for range 20 { // until the machine lets it judge
		r := program(t, "", "load", "-s", url, "--rate", "50", "--duration", "1s", "--profile", "spike",
			"--threshold", "notification.finished>=0%", "--threshold", "payment.p50<1ns")
		if r.code == exitPartly && strings.Contains(r.stdout, "INCONCLUSIVE") {
			continue
		}
		r.want(t, exitThreshold, "Verdict: THRESHOLD CROSSED.", "ok    notification.finished>=0%", "FAIL  payment.p50<1ns", "ACCOUNTING 70 due, 70 sent = 70 stored", "The broker acknowledged orders after p50 ")
		return
	}
	t.Fatal("20 runs were inconclusive")
}

func TestLoad_SwitchesFaults(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.args = append(s.args, "--timeout", "1m") // a machine that stalls is no fault of notification
	_, url, _ := s.serve()
	admin := s.world.AdminURL()
	r := program(t, "", "load", "-s", url, "--rate", "50", "--duration", "4s", "--sim-admin", admin, "--fault", "payment=errors@1s+1s", "-o", "json")
	report := loaded(t, r)
	for _, a := range report.Services {
		if a.Done != a.Stored {
			t.Errorf("account: got %+v, want all done: the fault was over", a)
		}
		if (a.Service == string(order.Payment)) != (a.Pending > 0) {
			t.Errorf("fallbacks of %s: got %d, want some of payment's alone", a.Service, a.Pending)
		}
	}
	if got := s.world.Faults()[sim.Payment]; len(got) != 0 {
		t.Errorf("afterwards payment has the fault %v", got)
	}

	program(t, "", "load", "-s", url, "--duration", "4s", "--sim-admin", "http://127.0.0.1:1", "--fault", "payment=errors@1s+1s").want(t, exitFailure, "ask the simulator")
	program(t, "", "load", "-s", url, "--duration", "2s", "--rate", "1", "--sim-admin", admin, "--fault", "payment=deaf@1s+1s").want(t, exitFailure,
		"Verdict: INCONCLUSIVE.", "because it failed: the simulator refused", "the simulator refused PUT /faults/payment: 422", "no handler of this process can be deaf")
}

// Also by SIGTERM, which is a graceful stop, but no load that has passed.
func TestLoad_InterruptedJudgesNothingAndLeavesNoFault(t *testing.T) {
	for by, want := range map[syscall.Signal]int{syscall.SIGINT: exitInterrupted, syscall.SIGTERM: exitPartly} {
		t.Run(by.String(), func(t *testing.T) {
			t.Parallel()
			interruptLoad(t, by, want)
		})
	}
}

func interruptLoad(t *testing.T, by syscall.Signal, want int) {
	t.Helper()
	s := newShop(t)
	_, url, _ := s.serve()
	p := start(t, "load", "-s", url, "--rate", "50", "--duration", "1m", "--sim-admin", s.world.AdminURL(), "--fault", "payment=hang@0s+1m",
		"--threshold", "payment.finished>=0%", "--threshold", "payment.p50<1ns")
	p.await(" s  load")
	p.await(" s  load")
	if got := s.world.Faults()[sim.Payment]; len(got) != 1 {
		t.Errorf("during the load payment has the fault %v, want one", got)
	}
	p.signal(by)
	if code := p.wait(); code != want {
		t.Errorf("exit code: got %d, want %d", code, want)
	}
	if got := s.world.Faults()[sim.Payment]; len(got) != 0 {
		t.Errorf("afterwards payment has the fault %v", got)
	}
	var said []string
	for len(p.lines) > 0 {
		said = append(said, <-p.lines)
	}
	text := strings.Join(said, "\n")
	for _, want := range []string{"Verdict: INCONCLUSIVE.", "because it was interrupted", "ACCOUNTING", "not judged  payment.finished>=0%", "not judged  payment.p50<1ns"} {
		if !strings.Contains(text, want) {
			t.Errorf("it didn't say %q", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}
