package integration_test

import (
	"testing"
	"time"
)

// rate is how many orders a second the shop takes while something happens to its
// broker.
const rate = 50

// outage is how long it lasts.
const outage = 15 * time.Second

// again is the time within which orders must be accepted again.
const again = 10 * time.Second

// A broker that is killed in mid-flow and started on the same volume has all that
// it acknowledged.
func TestServer_Killed(t *testing.T) {
	t.Parallel()
	m := startMachine(t, machineConfig{})
	s := openShop(t, shopConfig{urls: []string{m.url()}})
	stop := s.sell(rate)
	s.awaitSales(3*rate, time.Time{}, patience)

	m.kill()
	s.awaitNotReady(again)
	s.notReadyFor(2 * time.Second)
	m.start()
	t.Logf("accepted again after %v", s.awaitSales(1, time.Now(), again))
	s.awaitReady(patience)
	s.awaitSales(2*rate, time.Now(), patience)
	stop()
	s.books(2 * slots)
}

// A broker that hangs, its connections open and silent, is noticed, and nothing is
// counted as stored that isn't.
func TestServer_Paused(t *testing.T) {
	t.Parallel()
	m := startMachine(t, machineConfig{})
	s := openShop(t, shopConfig{urls: []string{m.url()}})
	stop := s.sell(rate)
	s.awaitSales(2*rate, time.Time{}, patience)

	paused := time.Now()
	m.pause()
	s.awaitNotReady(again)
	t.Logf("noticed after %v", time.Since(paused))
	s.notReadyFor(outage - time.Since(paused))
	m.unpause()
	t.Logf("accepted again after %v", s.awaitSales(rate, time.Now(), again))
	s.awaitReady(patience)
	stop()
	s.books(2 * slots)
}

// A network that is cut and healed is the same.
func TestServer_CutOff(t *testing.T) {
	t.Parallel()
	m := startMachine(t, machineConfig{})
	s := openShop(t, shopConfig{urls: []string{m.url()}})
	stop := s.sell(rate)
	s.awaitSales(2*rate, time.Time{}, patience)

	began := time.Now()
	m.cut()
	s.awaitNotReady(again)
	t.Logf("noticed after %v", time.Since(began))
	s.notReadyFor(outage - time.Since(began))
	m.heal()
	t.Logf("accepted again after %v", s.awaitSales(rate, time.Now(), again))
	s.awaitReady(patience)
	stop()
	s.books(2 * slots)
}
