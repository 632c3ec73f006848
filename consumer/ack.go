package consumer

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
)

// flushLimit bounds how long the broker may take to confirm that it has read
// what we wrote.
const flushLimit = 2 * time.Second

// Handing back. A message that could not be settled comes again after a pause,
// spread, so that a broker in trouble isn't met by all of them at once.
const (
	unsettledPause  = 30 * time.Second
	unsettledJitter = 5 * time.Second
)

// ack tells the broker that a message is settled. A lost ack is harmless: the
// message comes again, and all it does then is absorbed.
func ack(nc *nats.Conn, m *nats.Msg) error {
	return nc.Publish(m.Reply, []byte("+ACK"))
}

// nak hands a message back, to be delivered again after the delay; zero means at
// once, which is said as a moment: a broker keeps a delay over its restart, and
// forgets there that a message was handed back without one.
func nak(nc *nats.Conn, m *nats.Msg, delay time.Duration) error {
	return nc.Publish(m.Reply, fmt.Appendf(nil, `-NAK {"delay":%d}`, max(delay, time.Millisecond)))
}

func unsettledDelay() time.Duration {
	return unsettledPause - unsettledJitter + rand.N(2*unsettledJitter)
}
