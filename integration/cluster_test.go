package integration_test

import (
	"testing"
	"time"

	"github.com/watertight-go/watertight/broker"
)

// startCluster starts three servers that keep each message on all three, and a shop
// on them.
func startCluster(t *testing.T) (map[string]*machine, *shop) {
	t.Helper()
	names := []string{"nats-1", "nats-2", "nats-3"}
	n := newNetwork(t)
	machines := make(map[string]*machine, len(names))
	var urls []string
	for _, name := range names {
		machines[name] = startMachine(t, machineConfig{name: name, peers: names, net: n})
		urls = append(urls, machines[name].url())
	}
	return machines, openShop(t, shopConfig{urls: urls, replicas: len(names)})
}

// lead makes a server the leader of a stream.
func (s *shop) lead(stream, name string) {
	s.t.Helper()
	var leader string
	await(s.t, patience, "leader of "+stream+" on "+name, func() bool {
		if leader = s.stream(stream).Cluster.Leader; leader == name {
			return true
		}
		_, err := s.outside.NATS().Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream, []byte(`{"placement":{"preferred":"`+name+`"}}`), time.Second)
		if err != nil {
			s.t.Logf("ask %s to step down: %v", leader, err)
		}
		return false
	}, func() any { return leader })
}

// When the leader of the orders dies, another takes over within seconds, with all
// that was acknowledged.
func TestCluster_LeaderKilled(t *testing.T) {
	t.Parallel()
	machines, s := startCluster(t)
	stop := s.sell(rate)
	s.awaitSales(2*rate, time.Time{}, patience)

	// It leads the outcomes too, so that nothing can be settled meanwhile.
	leader := s.stream(broker.StreamOrders).Cluster.Leader
	s.lead(broker.StreamOutcomes, leader)
	killed := time.Now()
	machines[leader].kill()
	s.awaitNotReady(again)
	// What the dead leader had acknowledged may still arrive; a second's worth of
	// sales comes from its successor.
	t.Logf("%s killed; a second's sales acknowledged after %v", leader, s.awaitSales(rate, killed, again+time.Second))
	if gap := s.acks.gap(); gap > again {
		t.Errorf("orders were not accepted for %v, want at most %v", gap, again)
	}
	s.awaitReady(patience)
	if next := s.stream(broker.StreamOrders).Cluster.Leader; next == leader {
		t.Errorf("leader of the orders: still %s, which is dead", next)
	}
	machines[leader].start()
	s.awaitSales(2*rate, time.Now(), patience)
	stop()
	s.books(2 * slots)
}

// With two of three servers gone nothing can be promised, and nothing is: what is
// sold is refused, the shop says that it isn't ready, and when they come back all
// that was acknowledged is there.
func TestCluster_WithoutQuorum(t *testing.T) {
	t.Parallel()
	machines, s := startCluster(t)
	stop := s.sell(rate)
	s.awaitSales(2*rate, time.Time{}, patience)

	leader := s.stream(broker.StreamOrders).Cluster.Leader
	gone := []*machine{machines[leader]}
	for name, m := range machines {
		if name != leader && len(gone) < 2 {
			gone = append(gone, m)
		}
	}
	for _, m := range gone {
		m.kill()
	}
	s.awaitNotReady(again)
	began := time.Now()
	s.notReadyFor(outage)
	if n := s.acks.since(began); n != 0 {
		t.Errorf("orders acknowledged without a quorum: got %d, want none", n)
	}
	for _, m := range gone {
		m.start()
	}
	t.Logf("accepted again after %v", s.awaitSales(1, time.Now(), 2*again))
	s.awaitReady(patience)
	s.awaitSales(2*rate, time.Now(), patience)
	stop()
	s.books(2 * slots)
}
