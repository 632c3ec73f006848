package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/watertight-go/watertight/broker"
)

func TestMain(m *testing.M) {
	if store := os.Getenv(storeVariable); store != "" {
		if err := serveBroker(store); err != nil {
			fmt.Fprintln(os.Stderr, "broker:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// What is compared must do the same thing: all of the work, acknowledged.
func TestContestants_DoAllTheWork(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := startServer(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	conn, err := s.connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := provision(ctx, conn, 0, time.Minute); err != nil {
		t.Fatal(err)
	}
	b := &bench{server: s, conn: conn}
	for _, c := range []contestant{bare, byHand, oneBy, ours, theirs} {
		const n = 640
		got, err := b.measure(ctx, func(ctx context.Context, w work) error {
			if err := c.run(ctx, w); err != nil {
				return err
			}
			for ctx.Err() == nil { // acknowledgements are booked in the background
				d, err := conn.JetStream().Consumer(ctx, broker.StreamOrders, broker.Durable(w.service))
				if err != nil {
					return err
				}
				if d.CachedInfo().AckFloor.Stream == n {
					return nil
				}
			}
			return context.Cause(ctx)
		}, n, 1, nothing)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got.took <= 0 || got.here <= 0 {
			t.Errorf("%s took %v and %v of CPU time", c.name, got.took, got.here)
		}
		if stores := got.outcomes > 0; stores != (c.name == ours.name) {
			t.Errorf("%s stored %d messages of outcomes", c.name, got.outcomes)
		}
	}
}

func TestTable_SaysWhatWasMissed(t *testing.T) {
	var out strings.Builder
	tab := &table{w: &out}
	if got := tab.least("speed", 0.7, 0.6); got != "≥ 0.6" || !tab.end() {
		t.Errorf("%q, %s", got, out.String())
	}
	tab.least("speed", 0.5, 0.6)
	tab.most("lateness", 11, 10)
	if tab.end() || !strings.Contains(out.String(), "speed: 0.5, aim ≥ 0.6") || !strings.Contains(out.String(), "lateness: 11, aim ≤ 10") {
		t.Errorf("got %s, want both that were missed", out.String())
	}
}

func TestQuantiles(t *testing.T) {
	var all []time.Duration
	for i := range 101 {
		all = append(all, time.Duration(100-i)*time.Millisecond)
	}
	if p50, p99 := quantiles(all); p50 != 50 || p99 != 99 {
		t.Errorf("p50 %v, p99 %v, want 50 and 99", p50, p99)
	}
}
