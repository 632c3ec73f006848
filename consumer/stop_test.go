package consumer_test

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

// tap calls a function before the first time that a client says it listens no more.
type tap struct {
	net.Conn
	before func()
}

func (c *tap) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("UNSUB")) {
		c.before()
	}
	return c.Conn.Write(p)
}

type tapped struct {
	*brokertest.Server
	before func()
}

func (s *tapped) InProcessConn() (net.Conn, error) {
	c, err := s.Server.InProcessConn()
	return &tap{c, s.before}, err
}

// An order that the broker delivers while a group stops, before it hears of that, is
// handed back: nobody waits for the ack wait to pass.
func TestRun_StopHandsBackWhatArrivesMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := brokertest.Start(t)
		s := &shop{t: t, conn: server.Connect()}
		s.desk = deadletter.New(s.conn, "tester")
		brokertest.Provision(t, s.conn, planOf(order.Payment))
		arrives := sync.OnceFunc(func() {
			s.placeOne()
			for unacked := 0; unacked == 0; {
				unacked, _ = s.inHand(broker.StreamOrders, "payment")
			}
		})
		one := &shop{t: t, conn: server.Connect(nats.InProcessServer(&tapped{server, arrives}))}
		_, stop := one.group(handle(settles), nil)
		pass(time.Second)
		stop()

		s.group(handle(settles), nil)
		pass(time.Second)
		equal(t, "outcomes a second later", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": 1})
		s.settled()
	})
}
