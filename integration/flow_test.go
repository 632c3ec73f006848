package integration_test

import (
	"context"
	"testing"
	"time"

	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/internal/sim"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher"
	"github.com/watertight-go/watertight/publisher/load"
)

// place places orders and returns their ids.
func (s *shop) place(from, n int) []string {
	s.t.Helper()
	ids := make([]string, 0, n)
	p := publisher.New(s.outside)
	for i := range n {
		o := load.Orders{Seed: 1}.Order(from+i, time.Now())
		if _, err := p.Place(s.t.Context(), o); err != nil {
			s.t.Fatal(err)
		}
		ids = append(ids, o.ID)
	}
	return ids
}

// awaitCounts waits until the outside world has seen what holds.
func (s *shop) awaitCounts(what string, holds func(sim.Counts) bool) {
	s.t.Helper()
	await(s.t, patience, what, func() bool { return holds(s.world.Counts()) }, func() any { return s.world.Counts() })
}

func (s *shop) letters(desk *deadletter.Desk) []deadletter.Letter {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	var letters []deadletter.Letter
	for l, err := range desk.All(ctx, deadletter.Filter{}) {
		if err != nil {
			s.t.Fatal(err)
		}
		letters = append(letters, l)
	}
	return letters
}

// An order goes to three services; one that fails tries again, gives up, and gets
// the order back from an operator, and the two others never hear of it.
func TestFlow(t *testing.T) {
	t.Parallel()
	m := startMachine(t, machineConfig{})
	s := openShop(t, shopConfig{urls: []string{m.url()}, retry: []time.Duration{300 * time.Millisecond, 600 * time.Millisecond}})
	desk := deadletter.New(s.conn, "anna@ops-1")
	fails := func(line string) {
		t.Helper()
		faults, err := sim.ParseFaults(line)
		if err == nil {
			err = s.world.Set(sim.Payment, faults)
		}
		if err != nil {
			t.Fatal(err)
		}
	}

	s.place(0, 20)
	s.awaitCounts("20 orders charged and mailed", func(c sim.Counts) bool { return c.Payment.Charges == 20 && c.Mail.Mails == 20 })

	// A hiccup: the first attempts fail, later ones don't.
	fails("errors")
	s.place(20, 5)
	s.awaitCounts("first attempts", func(c sim.Counts) bool { return c.Payment.Requests >= 25 })
	s.world.Clear(sim.Payment)
	s.awaitCounts("retries that succeed", func(c sim.Counts) bool { return c.Payment.Charges == 25 && c.Mail.Mails == 25 })
	if got := s.letters(desk); len(got) != 0 {
		t.Fatalf("letters after a hiccup: got %v, want none", got)
	}

	// An outage that outlasts all attempts.
	fails("errors")
	given := s.place(25, 5)
	await(t, patience, "5 letters", func() bool { return len(s.letters(desk)) == 5 }, func() any { return s.letters(desk) })
	s.awaitCounts("mails of the others", func(c sim.Counts) bool { return c.Mail.Mails == 30 })
	s.world.Clear(sim.Payment)
	for _, l := range s.letters(desk) {
		if l.Service != order.Payment || l.Reason != deadletter.Exhausted || l.Hop.Attempt != 3 {
			t.Errorf("letter: got service %s, reason %s, attempt %d, want payment, exhausted, 3", l.Service, l.Reason, l.Hop.Attempt)
		}
		if err := desk.Replay(t.Context(), l.Seq); err != nil {
			t.Errorf("replay: %v", err)
		}
	}
	s.awaitCounts("replayed orders charged", func(c sim.Counts) bool { return c.Payment.Charges == 30 })
	for _, id := range given {
		if got := len(s.world.Charges(id)); got != 1 {
			t.Errorf("order %s: charged %d times, want once", id, got)
		}
	}
	if got := s.letters(desk); len(got) != 0 {
		t.Errorf("letters after the replay: got %v, want none", got)
	}
	if c := s.world.Counts(); c.Mail.Mails != 30 || c.Payment.DoubledByOrder != 0 {
		t.Errorf("30 orders: got %d mails and %d charges too many, want 30 and 0", c.Mail.Mails, c.Payment.DoubledByOrder)
	}
	s.awaitReady(patience)
}
