package main

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/rejections"
)

// notedConn is a connection of a verb that places orders; it takes down those for
// which there was no room.
type notedConn struct {
	*broker.Conn
	log    *rejections.Log
	absent *atomic.Bool // no stream took an order
}

// noted returns the connection with a log of its own, and what ends the log.
func noted(ctx context.Context, conn *broker.Conn, log zerolog.Logger) (notedConn, func()) {
	n := notedConn{conn, rejections.New(conn, rejections.Config{Log: log, Instance: instance()}), new(atomic.Bool)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = n.log.Run(ctx) // nil
	}()
	return n, func() { cancel(); <-ended }
}

// StoreAsync is that of the connection.
func (n notedConn) StoreAsync(m broker.Message, answer func(broker.Receipt, error)) {
	n.Conn.StoreAsync(m, func(r broker.Receipt, err error) {
		if errors.Is(err, jetstream.ErrNoStreamResponse) {
			n.absent.Store(true)
		}
		if errors.Is(err, broker.ErrFull) {
			n.log.Note(rejections.Rejection{Where: rejections.Publisher, Reason: rejections.Full, OrderID: m.ID, Detail: err.Error()})
		}
		answer(r, err)
	})
}

// noteRejected takes down what a compartment refuses to whoever calls it. Groups
// take credits and note for themselves what they turn away.
func noteRejected(log *rejections.Log, name order.Service) func(*bulkhead.Rejection) {
	return func(r *bulkhead.Rejection) {
		var why rejections.Reason
		switch r.Reason {
		case bulkhead.Full, bulkhead.WaitedTooLong:
			why = rejections.Full
		case bulkhead.RateLimited:
			why = rejections.Rate
		case bulkhead.BreakerOpen:
			why = rejections.Breaker
		case bulkhead.WouldBeLate:
			why = rejections.Deadline
		case bulkhead.ShutDown:
			return // it stops: nothing is refused for want of anything
		}
		log.Note(rejections.Rejection{Service: name, Where: rejections.Bulkhead, Reason: why, Detail: r.Reason.String()})
	}
}
