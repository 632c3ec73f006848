// Package publisher is the way in: an order is validated, stored, and only then
// answered for.
//
//	Order ──Place──▶ valid? ──▶ orders.created ──▶ the broker's ack ──▶ nil
//	                  └──▶ ErrInvalid, nothing was published
//
// Place waits for one order. A Pipeline keeps a bounded number under way, for
// whoever has many. Lines reads a file of them.
//
// An order's id makes it the same order however often it is placed: within two
// minutes the broker stores it once, and a later repetition is absorbed by the
// services, which know the id. Whoever gets broker.ErrNotStored therefore places
// the order again, under the same id.
package publisher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// Patience is how long a publisher goes on with an order that the broker
// doesn't confirm, by placing it again under the same id. It is far below the
// two minutes for which the broker remembers an id, so that what was stored
// after all isn't stored twice.
const Patience = 10 * time.Second

// Pauses between repetitions, and how long one try of Place waits.
const (
	firstPause = 50 * time.Millisecond
	longPause  = time.Second
	tryTimeout = 2 * time.Second
)

// created is the event that a placed order is.
const created = "created"

// Broker is what a Publisher needs of a broker; *broker.Conn is one.
type Broker interface {
	Store(context.Context, broker.Message) (broker.Receipt, error)
	StoreAsync(broker.Message, func(broker.Receipt, error))
}

// Publisher places orders. Its methods may be called together.
type Publisher struct{ broker Broker }

// New returns a publisher on a broker whose streams exist.
func New(b Broker) *Publisher { return &Publisher{broker: b} }

// Place stores an order and waits for the broker's ack: nil means stored, now or
// before (see Receipt.Duplicate).
//
// It returns order.ErrInvalid or order.ErrTooLarge for an order that would only
// become a dead letter, and broker.ErrFull when the backlog is at its limit;
// nothing is stored then. While the broker doesn't confirm, Place tries again
// until ctx ends, for at most Patience, and then returns broker.ErrNotStored:
// the order may be stored, or be stored yet when the connection is restored.
// An order that was stored by a try whose ack was lost is a Duplicate.
func (p *Publisher) Place(ctx context.Context, o order.Order) (broker.Receipt, error) {
	m, err := Message(o)
	if err != nil {
		return broker.Receipt{}, fmt.Errorf("place order %s: %w", o.ID, err)
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	pause := firstPause
	for {
		try, cancel := context.WithTimeout(ctx, tryTimeout)
		r, err := p.broker.Store(try, m)
		cancel()
		if err == nil {
			return r, nil
		}
		if !again(err) || !sleep(ctx, pause) {
			return broker.Receipt{}, fmt.Errorf("place order %s: %w", o.ID, err)
		}
		pause = min(2*pause, longPause)
	}
}

// Message returns an order as Place stores it, for those who store it another
// way, or order.ErrInvalid or order.ErrTooLarge.
func Message(o order.Order) (broker.Message, error) {
	if err := o.Validate(); err != nil {
		return broker.Message{}, err
	}
	body, err := o.Encode()
	if err != nil {
		return broker.Message{}, fmt.Errorf("%w: %w", order.ErrInvalid, err)
	}
	if len(body) > order.MaxBytes {
		return broker.Message{}, fmt.Errorf("%w: %d bytes, at most %d", order.ErrTooLarge, len(body), order.MaxBytes)
	}
	hop := broker.Hop{
		OrderID:        o.ID,
		EventType:      created,
		Schema:         order.Schema,
		Attempt:        1,
		IdempotencyKey: o.ID,
		Deadline:       o.Deadline,
	}
	return broker.Message{Subject: broker.SubjectCreated, ID: o.ID, Header: hop.Header(nil), Data: body}, nil
}

// again reports whether another try may end otherwise.
func again(err error) bool {
	return errors.Is(err, broker.ErrNotStored) && !errors.Is(err, nats.ErrConnectionClosed)
}

// sleep waits for d and reports whether it did so before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
