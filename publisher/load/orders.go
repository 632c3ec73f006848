package load

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher"
)

// Orders is an endless list of orders. The i-th order of a seed is always the
// same, apart from the time that stands in its id, so that a run can be
// repeated and any order of it be made again.
type Orders struct {
	Seed uint64

	// Malformed is the share of orders that no service can read, from 0 to 1.
	// Which they are, and of which Kind, depends on seed and index alone.
	Malformed float64
}

// Kind returns what is wrong with the i-th order: WellFormed for most.
func (g Orders) Kind(i int) Kind {
	d := g.dice(i)
	return g.kind(&d)
}

// Order returns the i-th order, before anything is spoilt in it. Its id says
// that it was made at that time.
func (g Orders) Order(i int, at time.Time) order.Order {
	d := g.dice(i)
	g.kind(&d)
	return d.order(at)
}

// Message returns the i-th order as it is published, and its kind. A well-formed
// one is what publisher.Place would store; any other is the bytes and headers
// of an outsider who goes straight to the broker.
func (g Orders) Message(i int, at time.Time) (broker.Message, Kind, error) {
	d := g.dice(i)
	kind := g.kind(&d)
	o := d.order(at)
	var m broker.Message
	var err error
	if kind == WellFormed {
		m, err = publisher.Message(o)
	} else {
		m, err = kind.message(o)
	}
	if err != nil {
		return broker.Message{}, kind, fmt.Errorf("make order %d of seed %d: %w", i, g.Seed, err)
	}
	return m, kind, nil
}

// dice is the randomness of one order.
type dice struct{ rand.PCG }

func (g Orders) dice(i int) dice {
	var d dice
	d.Seed(g.Seed, uint64(i))
	return d
}

// n returns a number from 0 to limit-1. That it is a trace uneven is no matter
// here.
func (d *dice) n(limit int) int { return int(d.Uint64() % uint64(limit)) }

// kind is the first throw, so that a share of malformed orders leaves the others
// as they are without it.
func (g Orders) kind(d *dice) Kind {
	share, which := float64(d.Uint64()>>11)/(1<<53), d.n(len(kinds)-1)
	if share >= g.Malformed {
		return WellFormed
	}
	return Kind(1 + which)
}

func (d *dice) order(at time.Time) order.Order {
	customer := fmt.Sprintf("c-%06d", d.n(50_000))
	o := order.Order{
		ID:       d.id(at).String(),
		Customer: customer,
		Currency: "EUR",
		Email:    customer + "@customers.example",
		Lines:    make([]order.Line, 0, 4),
	}
	// Neighbours in the catalogue, so that no article comes twice.
	first := d.n(len(articles))
	for i := range 1 + d.n(4) {
		a := articles[(first+i)%len(articles)]
		o.Lines = append(o.Lines, order.Line{SKU: a.SKU, Quantity: int64(1 + d.n(8)/6 + d.n(8)/7), UnitPrice: a.Price})
	}
	if d.n(20) == 0 {
		o.Note = "Please ring twice."
	}
	return o
}

// id returns a UUIDv7.
func (d *dice) id(at time.Time) uuid.UUID {
	var id uuid.UUID
	ms := uint64(at.UnixMilli())
	binary.BigEndian.PutUint64(id[:8], ms<<16|0x7000|d.Uint64()&0x0fff)
	binary.BigEndian.PutUint64(id[8:], 1<<63|d.Uint64()>>2)
	return id
}
