package consumer_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/order"
)

func TestPause_StopsFreshOrdersAndRetriesOverRestartsAndProvisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcesses(t)
		var log events
		tries := 0
		h := handle(func(context.Context, order.Order) (order.Outcome, error) {
			if tries++; tries == 1 {
				return order.Outcome{}, order.RetryAfter(time.Minute, errNo)
			}
			return authorized, nil
		})
		logged := func(c *consumer.Config, _ *bulkhead.Config) { c.Log = zerolog.New(&log) }
		_, stop := p.group(h, logged)
		p.placeOne() // waits in t3, to be due in a minute
		pass(time.Second)
		begin := time.Now()
		until := begin.Add(time.Hour)
		if err := consumer.Pause(t.Context(), p.conn, order.Payment, until); err != nil {
			t.Fatal(err)
		}
		p.placeOne()
		pass(2 * time.Minute)

		// Everything that could forget it.
		stop()
		p.server.Restart()
		pass(time.Minute)
		plan := brokertest.Plan()
		for i := range plan.Services {
			plan.Services[i].AckWait = time.Minute
		}
		if _, err := p.conn.Provision(t.Context(), plan, true); err != nil {
			t.Fatal(err)
		}
		g, _ := p.group(h, logged)
		pass(10 * time.Minute)
		equal(t, "tries while it is paused", tries, 1)
		if at, err := consumer.Paused(t.Context(), p.conn, order.Payment); err != nil || !at.Equal(until) {
			t.Errorf("Paused = %v, %v, want %v", at, err, until)
		}
		if err := g.Check(); err == nil || !strings.Contains(err.Error(), "paused by an operator until 2000-01-01T01:00:0") {
			t.Errorf("Check() = %v, want that it is paused, until when", err)
		}
		equal(t, "warnings that no orders come", log.count("pull.failed")-log.count("pull.resumed"), 0)
		equal(t, "times it was logged", log.count("service.paused"), 2) // by each instance

		pass(time.Until(until) + 10*time.Second)
		equal(t, "tries after it", tries, 3)
		if err := g.Check(); err != nil {
			t.Errorf("Check() = %v after the pause, want nil", err)
		}
		p.settled()
	})
}

func TestResume_EndsItAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		s.group(handle(settles), nil)
		if err := consumer.Pause(t.Context(), s.conn, order.Payment, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		s.placeOne()
		pass(time.Minute)
		equal(t, "outcomes while it is paused", len(s.subjects(broker.StreamOutcomes)), 0)
		if err := consumer.Resume(t.Context(), s.conn, order.Payment); err != nil {
			t.Fatal(err)
		}
		pass(100 * time.Millisecond)
		s.settled()
		if at, err := consumer.Paused(t.Context(), s.conn, order.Payment); err != nil || !at.IsZero() {
			t.Errorf("Paused = %v, %v, want the zero time", at, err)
		}
	})
}

func TestPause_SaysThatThereIsNoSuchService(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		for _, name := range []order.Service{"paiment", "../x"} {
			if err := consumer.Pause(t.Context(), s.conn, name, time.Now().Add(time.Hour)); err == nil {
				t.Errorf("Pause(%q) = nil, want an error", name)
			}
		}
	})
}
