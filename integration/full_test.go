package integration_test

import (
	"context"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
)

// neighbour is somebody who uses the disk of a server, a container of its own.
type neighbour struct {
	t   *testing.T
	ctr *testcontainers.DockerContainer
}

func startNeighbour(t *testing.T, volume string) *neighbour {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ctr, err := testcontainers.Run(
		ctx, natsImage(t),
		testcontainers.WithLabels(labels()),
		testcontainers.WithCmd("--addr", "127.0.0.1"), // it only has to be there
		testcontainers.WithMounts(testcontainers.VolumeMount(volume, "/disk")),
	)
	testcontainers.CleanupContainer(t, ctr)
	if err != nil {
		t.Fatalf("start the neighbour: %v", err)
	}
	return &neighbour{t, ctr}
}

// fill takes what is left of the disk.
func (n *neighbour) fill(size int) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	if err := n.ctr.CopyToContainer(ctx, make([]byte, size), "/disk/filler", 0o600); err == nil {
		n.t.Fatal("the disk took all of it and isn't full, so this shows nothing")
	}
}

// free gives it back.
func (n *neighbour) free() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	if err := n.ctr.CopyToContainer(ctx, []byte("x"), "/disk/filler", 0o600); err != nil {
		n.t.Fatalf("free the disk: %v", err)
	}
}

// A broker whose disk is full acknowledges nothing that it doesn't have. When
// there is room again and the broker has been started anew, which it needs, what
// it had acknowledged is there.
func TestServer_DiskFull(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	docker := needDocker(t)
	disk := newVolume(t, docker, map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=64m"})
	// The neighbour keeps the disk, which is memory, while the server restarts.
	n := startNeighbour(t, disk)
	m := startMachine(t, machineConfig{volume: disk})
	s := openShop(t, shopConfig{urls: []string{m.url()}})
	stop := s.sell(rate)
	s.awaitSales(2*rate, time.Time{}, patience)

	n.fill(size)
	s.awaitNotReady(2 * again)
	full := time.Now()
	s.notReadyFor(5 * time.Second)
	if acked := s.acks.since(full); acked != 0 {
		t.Errorf("orders acknowledged by a broker whose disk is full: got %d, want none", acked)
	}
	n.free()
	m.stop()
	m.start()
	t.Logf("accepted again after %v", s.awaitSales(1, time.Now(), again))
	s.awaitReady(patience)
	s.awaitSales(2*rate, time.Now(), patience)
	stop()
	s.books(3 * slots)
}
