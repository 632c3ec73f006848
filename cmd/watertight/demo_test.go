package main

import (
	"encoding/json"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/internal/demo"
	"github.com/watertight-go/watertight/internal/sim"
	"github.com/watertight-go/watertight/order"
)

// The whole demonstration in virtual time: no machine is restless there, so that
// its verdict is exact.
func TestDemo_HoldsAndProves(t *testing.T) {
	// nats.go keeps timers for the whole process: none may pass into the bubble or
	// out of it. Two collections empty a sync.Pool.
	forget := func() { runtime.GC(); runtime.GC() }
	forget()
	defer forget()
	synctest.Test(t, func(t *testing.T) {
		var stdout strings.Builder
		var stderr sharedText // lines a second, beside the rest
		a := &app{stdout: &stdout, stderr: &stderr, output: formJSON}
		cfg := demoConfig{plan: demo.DefaultPlan(), fault: "payment=hang:50%+deaf:50%", store: t.TempDir(), network: new(sim.Network)}
		// As short as can be judged.
		p := &cfg.plan
		p.Rate, p.Slots, p.WarmUp, p.Baseline, p.Struck, p.Control = 204, 8, 0, 6*time.Second, 6*time.Second, 6*time.Second
		if err := cfg.complete(a); err != nil {
			t.Fatal(err)
		}
		if err := a.demo(t.Context(), cfg); err != nil {
			t.Errorf("exit code %d: %v", exitCode(err), err)
		}
		var d demo.Document
		if err := json.Unmarshal([]byte(stdout.String()), &d); err != nil {
			t.Fatalf("%v\n%s\n%s", err, &stdout, &stderr)
		}
		if d.Verdict != demo.Proven {
			t.Errorf("verdict: got %q, want %q\n%s", d.Verdict, demo.Proven, &stdout)
		}
		for _, i := range d.Isolation {
			if i.Finished != 1 || i.ControlFinished > 0.2 {
				t.Errorf("%s finished %v beside the fault and %v in the control, want all and next to nothing", i.Service, i.Finished, i.ControlFinished)
			}
		}
		sums(t, d)
		if paid := d.Accounting[string(order.Payment)]; paid.Fallbacks == 0 || paid.Ghosts < 8 {
			t.Errorf("payment: got %+v, want fallbacks, and ghosts in all of its 8 slots", paid)
		}
		if e := d.Effects; e.ChargedTwice != 0 || e.MailsRepeated != 0 || e.Charged == 0 || e.Mails == 0 {
			t.Errorf("effects: got %+v, want charges and mails, each once", e)
		}
		if len(d.DeadLetters) == 0 {
			t.Error("there are no dead letters, though one order in 200 can't be read")
		}
	})
}

// sharedText is a text that several goroutines write.
type sharedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *sharedText) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *sharedText) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// sums checks that every order is somewhere, and only there.
func sums(t *testing.T, d demo.Document) {
	t.Helper()
	if len(d.Accounting) != len(order.Services()) {
		t.Errorf("accounting: got %d services, want %d", len(d.Accounting), len(order.Services()))
	}
	for s, a := range d.Accounting {
		if a.Sent == 0 || a.Sent != a.Done+a.Dead+a.Waiting || a.Lost != 0 || a.HandledTwice != 0 {
			t.Errorf("accounting of %s: got %+v, want sent = done + dead + waiting, nothing lost or handled twice", s, a)
		}
	}
}

// Cut at its worst, the demo leaves a store from which the services go on.
func TestDemo_LosesNothingWhenItIsCut(t *testing.T) {
	for name, tt := range map[string]struct {
		signal syscall.Signal
		code   int
	}{
		"kill -9": {syscall.SIGKILL, -1},
		"Ctrl-C":  {syscall.SIGINT, exitInterrupted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := t.TempDir()
			p := start(t, "demo", "--store", store, "--warm-up", "0s", "--baseline", "6s", "--exit")
			for range 5 { // seconds of it
				p.await(" s  fault")
			}
			p.signal(tt.signal)
			if code := p.wait(); code != tt.code {
				t.Errorf("exit code: got %d, want %d", code, tt.code)
			}
			if tt.signal == syscall.SIGINT && !strings.Contains(p.text(), "Interrupted in the fault phase; no verdict. Where the orders are:") {
				t.Errorf("it didn't say where the orders are:\n%s", p.text())
			}

			// The outside world of the demo is gone with it; another one knows no
			// keys, so only the accounting can be judged.
			next := start(t, "serve", "--sim", "--store", store, "--port", freePort(t), "--listen", "127.0.0.1:0")
			url := text(t, next.await("serve.started"), "nats")
			drained(t, url)
			next.signal(os.Interrupt)
			if code := next.wait(); code != exitInterrupted {
				t.Errorf("serve: exit code %d, want %d", code, exitInterrupted)
			}
		})
	}
}
