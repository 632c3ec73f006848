package consumer_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/order"
)

// A group that has nothing in hand notices too that the broker has nothing for it,
// as when a cluster has lost its quorum: its connection is good all the while.
func TestGroup_IsNotReadyWhileTheBrokerDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		g, stop := s.group(handle(settles), nil)
		defer stop()
		time.Sleep(time.Minute)
		if err := g.Check(); err != nil {
			t.Fatalf("Check of an idle group: %v", err)
		}
		if err := s.conn.JetStream().DeleteConsumer(t.Context(), broker.StreamOrders, "payment"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if err := g.Check(); err == nil {
			t.Error("Check while the durable is gone: got nil, want why no orders come")
		}
		brokertest.Provision(t, s.conn, planOf(order.Payment))
		time.Sleep(10 * time.Second)
		if err := g.Check(); err != nil {
			t.Errorf("Check when the durable is there again: %v", err)
		}
	})
}

// Stopping is no failure because the broker is away just then.
func TestGroup_StopsWhileTheBrokerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := brokertest.Start(t)
		s := &shop{t: t, conn: server.Connect()}
		brokertest.Provision(t, s.conn, planOf(order.Payment))
		_, stop := s.group(handle(settles), nil) // stop fails the test when Run returns an error
		s.placeOne()
		time.Sleep(time.Second)
		server.Stop()
		stop()
	})
}
