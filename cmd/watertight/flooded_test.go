package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// flood is a group that is flooded when it is told so.
type flood struct{ since atomic.Pointer[time.Time] }

func (f *flood) Flooded() (since time.Time, ok bool) {
	if at := f.since.Load(); at != nil {
		return *at, true
	}
	return time.Time{}, false
}

func (f *flood) rise() {
	now := time.Now()
	f.since.Store(&now)
}

func (f *flood) ebb() { f.since.Store(nil) }

// oversee is a process of two services, of which one or both may be flooded.
func oversee(t *testing.T, limit time.Duration) (payment, inventory *flood, log *sharedText, livez func() (int, string), ended chan error) {
	t.Helper()
	payment, inventory, log = new(flood), new(flood), new(sharedText)
	h := &health{live: []check{
		{"payment", func() error { return flooded(payment, limit) }},
		{"inventory", func() error { return flooded(inventory, limit) }},
	}}
	pages := h.handler(prometheus.NewRegistry())
	livez = func() (int, string) {
		answer := httptest.NewRecorder()
		pages.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/livez", http.NoBody))
		return answer.Code, answer.Body.String()
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended = make(chan error, 1)
	go func() { ended <- h.outlive(ctx, zerolog.New(log)) }()
	t.Cleanup(cancel)
	return payment, inventory, log, livez, ended
}

func TestFlooded_OneOfTwoServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		payment, _, log, livez, ended := oversee(t, 10*time.Minute)
		lives := func(want bool) {
			t.Helper()
			code, body := livez()
			if got := code == http.StatusOK; got != want || strings.Contains(body, `"payment":"flooded since`) == want {
				t.Errorf("GET /livez: got %d %s, want it to live: %v", code, body, want)
			}
		}
		for round := 1; round <= 2; round++ {
			lives(true)
			payment.rise()
			time.Sleep(10*time.Minute - 1)
			lives(true)
			time.Sleep(1)
			lives(false)
			time.Sleep(24 * time.Hour)
			if got := strings.Count(log.String(), `"event":"service.flooded","service":"payment"`); got != round {
				t.Errorf("it was said %d times, want %d:\n%s", got, round, log)
			}
			payment.ebb()
			time.Sleep(time.Minute)
		}
		select {
		case err := <-ended:
			t.Errorf("the process ended with %v, want it to stay for the service that works", err)
		default:
		}
	})
}

func TestFlooded_AllServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		payment, inventory, _, _, ended := oversee(t, 10*time.Minute)
		payment.rise()
		time.Sleep(time.Hour)
		inventory.rise()
		begin := time.Now()
		if err := <-ended; !errors.Is(err, errFlooded) {
			t.Errorf("got %v, want %v", err, errFlooded)
		}
		if took := time.Since(begin); took != 10*time.Minute {
			t.Errorf("it ended after %v, want 10 min", took)
		}
	})
}

func TestFlooded_ZeroIsNever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		payment, inventory, log, livez, ended := oversee(t, 0)
		payment.rise()
		inventory.rise()
		time.Sleep(24 * time.Hour)
		if code, body := livez(); code != http.StatusOK || len(ended) > 0 || log.String() != "" {
			t.Errorf("got %d %s, ended: %v, said: %s; want nothing of it", code, body, len(ended) > 0, log)
		}
	})
}

// A process of one service whose handler ignores its timeout ends by itself, and
// gracefully.
func TestServe_AFloodedProcessExits(t *testing.T) {
	t.Parallel()
	p := start(t, "serve", "payment", "--sim", "--store", t.TempDir(), "--port", freePort(t), "--listen", "127.0.0.1:0",
		"--slots", "1", "--timeout", "100ms", "--flooded-exit", "1s")
	faults := text(t, p.await("sim.started"), "faults")
	url := text(t, p.await("serve.started"), "nats")
	put(t, faults+"/payment", `{"fault":"deaf"}`)
	if rest := place(t, url, orders(5, 1), func() {}); len(rest) > 0 {
		t.Fatal("the order could not be placed")
	}
	p.await("service.flooded")
	p.await("serve.stopped")
	if code := p.wait(); code != exitFailure || !strings.Contains(p.text(), errFlooded.Error()) {
		t.Errorf("exit code: got %d, want %d and why", code, exitFailure)
	}
}

// put switches something over HTTP.
func put(t *testing.T, url, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode/100 != 2 {
		t.Fatalf("PUT %s: got %d, %v", url, resp.StatusCode, err)
	}
}
