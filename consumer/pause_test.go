package consumer_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/order"
)

func TestGroup_IsPausedByTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := brokertest.Start(t)
		s := &shop{t: t, conn: server.Connect()}
		brokertest.Provision(t, s.conn, brokertest.Plan())

		var tries atomic.Int32
		fails := handle(func(context.Context, order.Order) (order.Outcome, error) {
			if tries.Add(1) == 1 {
				return order.Outcome{}, errors.New("not yet")
			}
			return authorized, nil
		})
		g, stop := s.group(fails, nil)
		s.placeOne()
		pass(500 * time.Millisecond) // it failed, and waits in the first tier

		paused, err := s.conn.Pause(t.Context(), order.Payment, time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if want := 2 + len(ladder); len(paused) != want { // main, now, and the tiers
			t.Errorf("paused %v, want %d durables", paused, want)
		}
		for _, p := range paused {
			if p.Until.IsZero() {
				t.Errorf("%s isn't paused", p.Durable)
			}
		}
		s.placeOne()
		pass(10 * time.Minute)
		if got := tries.Load(); got != 1 {
			t.Errorf("tries while paused: got %d, want 1", got)
		}
		if err := g.Check(); err == nil || !strings.Contains(err.Error(), "paused by an operator until") {
			t.Errorf("Check while paused: got %v, want that an operator did it", err)
		}

		// It is the broker's: it outlives the instance and the broker's restart,
		// and provisioning.
		stop()
		server.Restart()
		s = &shop{t: t, conn: server.Connect()}
		if _, err := s.conn.Provision(t.Context(), brokertest.Plan(), true); err != nil {
			t.Fatal(err)
		}
		s.group(fails, nil)
		pass(10 * time.Minute)
		if got := tries.Load(); got != 1 {
			t.Errorf("tries while paused, after a restart: got %d, want 1", got)
		}

		resumed, err := s.conn.Resume(t.Context(), order.Payment)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range resumed {
			if !p.Until.IsZero() {
				t.Errorf("%s is still paused until %v", p.Durable, p.Until)
			}
		}
		pass(time.Second)
		if got := tries.Load(); got != 3 {
			t.Errorf("tries after the resumption: got %d, want 3: the retry and the new order", got)
		}
		s.settled()
	})
}

func TestGroup_APauseEnds(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		handled := make(chan time.Time, 1)
		s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			handled <- time.Now()
			return authorized, nil
		}), nil)
		until := time.Now().Add(10 * time.Minute)
		if _, err := s.conn.Pause(t.Context(), order.Payment, until); err != nil {
			t.Fatal(err)
		}
		s.placeOne()
		if late := (<-handled).Sub(until); late < 0 || late > time.Second {
			t.Errorf("handled %v after the pause's end, want at once", late)
		}
	})
}

func TestPause_OfNobody(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		if _, err := s.conn.Pause(t.Context(), "shipping", time.Now().Add(time.Hour)); !errors.Is(err, broker.ErrUnknownService) {
			t.Errorf("got %v, want %v", err, broker.ErrUnknownService)
		}
	})
}
