package consumer_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/order"
)

// With an embedded broker a graceful stop takes the broker down as well. What was
// handed back must not wait for the ack deadline then, as after a crash.
func TestGroup_WhatWasHandedBackComesAtOnceAlsoFromARestartedBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := brokertest.Start(t)
		s := &shop{t: t, conn: server.Connect()}
		brokertest.Provision(t, s.conn, planOf(order.Payment))

		never := make(chan struct{})
		_, stop := s.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			<-never
			return authorized, nil
		}), func(c *consumer.Config, b *bulkhead.Config) {
			c.Drain = time.Millisecond
			b.Timeout = 5 * time.Second
		})
		s.placeOne()
		pass(time.Second)
		stop()
		server.Restart()

		second := &shop{t: t, conn: server.Connect()}
		handled := make(chan time.Time, 1)
		second.group(handle(func(context.Context, order.Order) (order.Outcome, error) {
			handled <- time.Now()
			return authorized, nil
		}), func(_ *consumer.Config, b *bulkhead.Config) { b.Timeout = 5 * time.Second })
		begin := time.Now()
		if took := (<-handled).Sub(begin); took > time.Second {
			t.Errorf("it came after %v, want at once", took)
		}
		close(never)
		pass(time.Second)
		second.settled()
	})
}
