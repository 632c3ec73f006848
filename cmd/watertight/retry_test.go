package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/internal/sim"
	"github.com/watertight-go/watertight/order"
)

// waitingRetries is what `retry ls -o json` prints.
func waitingRetries(t *testing.T, url string, args ...string) (all []waitingView) {
	t.Helper()
	r := program(t, "", append([]string{"retry", "ls", "-o", "json", "-s", url}, args...)...)
	r.want(t, exitOK)
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil {
		t.Fatalf("retry ls: %v\n%s", err, r.stdout)
	}
	return all
}

func TestRetry_SeesAndSteersWhatWaits(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for i, arg := range s.args {
		if arg == "--retry" {
			s.args[i+1] = "1h,2h"
		}
	}
	faults, err := sim.ParseFaults("errors")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.world.Set(sim.Payment, faults); err != nil {
		t.Fatal(err)
	}
	p, url, _ := s.serve()
	all := orders(11, 4)
	if rest := place(t, url, all, func() {}); len(rest) > 0 {
		t.Fatalf("%d orders could not be placed", len(rest))
	}
	for range all {
		p.await("order.retried")
	}

	program(t, "", "retry", "ls", "-s", url).want(t, exitOK, "SERVICE", "payment  ", "t1", "in 59m", "4 waiting retries", "retry now payment 1` sends one now")
	waiting := waitingRetries(t, url, "--service", "payment")
	if len(waiting) != len(all) {
		t.Fatalf("got %d waiting retries, want %d", len(waiting), len(all))
	}
	byOrder := map[string]waitingView{}
	for _, w := range waiting {
		byOrder[w.OrderID] = w
		if w.Service != order.Payment || w.Tier != "t1" || w.Attempt != 2 || w.Due.Sub(w.Since).String() != "1h0m0s" || w.Error == "" {
			t.Errorf("got %+v, want attempt 2 of payment in t1, due after 1h, and why", w)
		}
	}
	one := fmt.Sprint(byOrder[all[0].ID].Seq)
	for name, tt := range map[string]struct {
		args []string
		want int
	}{
		"all":                {nil, 4},
		"of another service": {[]string{"--service", "inventory"}, 0},
		"of an order":        {[]string{"--order", all[1].ID}, 1},
		"of a tier":          {[]string{"--tier", "t1"}, 4},
		"of another tier":    {[]string{"--tier", "t2"}, 0},
		"due":                {[]string{"--due-within", "0s"}, 0},
		"due in two hours":   {[]string{"--due-within", "2h"}, 4},
		"at most two":        {[]string{"--limit", "2"}, 2},
	} {
		if got := len(waitingRetries(t, url, tt.args...)); got != tt.want {
			t.Errorf("%s: got %d, want %d", name, got, tt.want)
		}
	}
	lines := program(t, "", "retry", "ls", "-s", url, "-o", "ndjson")
	lines.want(t, exitOK)
	if n := strings.Count(lines.stdout, "\n"); n != len(all) {
		t.Errorf("ndjson: got %d lines, want %d", n, len(all))
	}
	program(t, "", "retry", "ls", "-s", url, "--service", "inventory").want(t, exitOK, "no waiting retries")
	program(t, "", "retry", "ls", "-s", url, "--service", "shipping").want(t, exitFailure, `unknown service "shipping"`)

	// What is only tried changes nothing.
	program(t, "", "retry", "cancel", "-s", url, "--all", "--dry-run", "-o", "json").want(t, exitOK, `"status": "would be canceled"`, `"service": "payment"`)
	if got := len(waitingRetries(t, url)); got != len(all) {
		t.Fatalf("after the dry run %d retries wait, want %d", got, len(all))
	}

	// One is given up, and the rest is sent when the gateway is well again.
	program(t, "", "retry", "cancel", "-s", url, "payment", one).want(t, exitOK, "payment  "+one+"  canceled", "dlq ls --reason canceled` lists the letters")
	program(t, "", "retry", "cancel", "-s", url, "payment", one).want(t, exitNothing, "payment  "+one+"  not waiting", "no such waiting retries")
	s.world.Clear(sim.Payment)
	program(t, "", "retry", "now", "-s", url, "payment", one, fmt.Sprint(byOrder[all[1].ID].Seq)).want(t, exitPartly, "  sent", "  not waiting", "1 of 2 retries sent", "may run twice")
	program(t, "", "retry", "now", "-s", url, "--service", "payment").want(t, exitOK, "  sent")
	canceled := letters(t, url, "--reason", "canceled")
	if len(canceled) != 1 || canceled[0].OrderID != all[0].ID || canceled[0].Attempts != 1 {
		t.Fatalf("letters: got %+v, want the one of order %s with its attempt", canceled, all[0].ID)
	}
	program(t, "", "dlq", "replay", "-s", url, fmt.Sprint(canceled[0].Seq)).want(t, exitOK, "replayed")
	settled(t, url, all)
	s.nothingLost(url, len(all), 0)
	program(t, "", "retry", "now", "-s", url, "--all").want(t, exitNothing, "no such waiting retries")
}

// A broker of one service alone is no broken one.
func TestRetry_OfTheServicesThatAreThere(t *testing.T) {
	t.Parallel()
	url := startServer(t, serverConfig{lax: true}).url
	plan := brokertest.Plan()
	plan.Services = plan.Services[:1]
	conn := connect(t, url)
	brokertest.Provision(t, conn, plan)
	hop := broker.Hop{OrderID: "o-1", Attempt: 3}
	if _, err := conn.Store(t.Context(), broker.Message{Subject: broker.RetrySubject(order.Payment, "t2"), ID: "1", Header: hop.Header(nil)}); err != nil {
		t.Fatal(err)
	}
	program(t, "", "retry", "ls", "-s", url).want(t, exitOK, "0s ago", "1 waiting retry;")
	program(t, "", "retry", "now", "-s", url, "--all").want(t, exitOK, "payment  1  sent")
	program(t, "", "retry", "now", "-s", url, "--all").want(t, exitNothing, "no such waiting retries") // it waits for nothing but its service
	program(t, "", "retry", "now", "-s", url, "shipping", "1").want(t, exitFailure, `unknown service "shipping"`, "none of 1 retry sent")
}
