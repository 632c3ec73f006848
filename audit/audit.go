// Package audit says where every accepted order is, service by service, and
// which are nowhere:
//
//	accepted = done + waiting + running + dead + discarded + lost
//
// It reads what the broker holds and believes nobody else: ORDERS, each
// service's RETRY stream and durables, DLQ with the records of the desk, and
// OUTCOMES. [Run] does so once, and whole; [Watch] looks at the durables and
// streams for ever, and tells when something stands still, fills up or is
// missing.
//
// # While the services work
//
// An audit may run at any time, and never takes an order on its way for a lost
// one. It rests on one rule that services and desk keep: what becomes of an
// order is stored before that from which it came is acknowledged or deleted.
// Each service's part of an order therefore is, at any time, in at least one
// place, and moves only downstream:
//
//	ORDERS, not acknowledged ─▶ RETRY ─▶ … ─▶ RETRY ─▶ OUTCOMES
//	                                          RETRY ─▶ DLQ, a letter ─▶ DLQ, a record of the desk
//	                                            ▲                             │
//	                                            └───── replayed, one more ────┘ generation
//
// The audit asks for the durables' ack floors first, and then reads downstream:
// all of RETRY, all of DLQ, all of OUTCOMES. An order at or below the floor has
// left ORDERS before anything was read, so that it is in one of the three.
//
//   - If it stays in RETRY until that has been read, it is seen there: a stream
//     is read in the order of its sequences until it holds nothing further, and
//     a retry of a retry is stored behind it.
//   - If it leaves RETRY before, its letter or its outcome is there before DLQ is
//     begun. If the letter goes before it is read, a record of the desk has been
//     stored behind it, in the same stream, and stays.
//   - If its outcome was stored before OUTCOMES is begun, it is read. An outcome is
//     trimmed only after its order, and an order that was trimmed meanwhile isn't
//     in the account.
//
// What can be missed is only an order that a person replayed while the audit ran:
// round the bend and behind its back. Of it the record of the desk is seen and
// nothing of its next generation. It is looked for again, in all of RETRY and in
// what is new in the others, until a look finds it or finds no newer record. Only
// then it is lost.
//
// In a cluster, reads are served by whichever replica is near, which may lag. So
// it is always the stream's leader who says that nothing follows.
//
// What the account can't say: JetStream doesn't list which messages above the ack
// floor are acknowledged. An order above it without a trace counts as running
// when it was delivered and as waiting when it wasn't; if it was acknowledged
// without a trace, it shows as lost when the floor has passed it. And an order
// that ORDERS no longer holds was settled by all services (see broker.Trim): it
// is in the account only while it waits or lies dead, or was replayed since the
// oldest outcome kept. A message whose origin isn't in ORDERS, such as one that
// somebody put into a retry subject by hand, is in no account.
package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// ErrNotProvisioned is returned for a service that has no stream or durable on
// the broker.
var ErrNotProvisioned = errors.New("not provisioned")

// Report is the result of an audit.
type Report struct {
	At time.Time // when it began: it covers what was stored in ORDERS then

	// First and Last are the sequences of ORDERS that it covers. First is beyond
	// 1 when settled orders were trimmed, and beyond Last when there are none.
	First, Last uint64

	Services []Account // in the order asked for
}

// Lost is how many orders are nowhere, all services together.
func (r Report) Lost() int {
	n := 0
	for _, a := range r.Services {
		n += a.Lost
	}
	return n
}

// Account says where the accepted orders of a service are. Each is in exactly one
// of Done, Waiting, Running, Dead, Discarded and Lost; if it has been replayed, it
// is its newest generation that counts, and where it is in two places of one
// generation, such as between storing and acknowledging, the one further on.
type Account struct {
	Service  order.Service
	Accepted int // orders in ORDERS that are the service's, and trimmed ones that wait, lie dead or are lost

	Done      int // a final outcome is stored
	Waiting   int // not delivered yet, or a retry whose time hasn't come or that hasn't been delivered
	Running   int // delivered, and not known to be settled
	Dead      int // a letter is in the DLQ
	Discarded int // by an operator, on record
	Lost      int // nowhere

	// Double counts orders that ended more than once in one generation, such as
	// an outcome stored again after a crash: the broker takes a repetition for one
	// within two minutes, but not of outcomes that shared a message.
	// What is promised is that everything happens at least once, and the
	// services are idempotent by the order's ID: a double is worth a look and no
	// loss. It is counted beside the sum above, not in it.
	Double int

	// Findings are the lost orders and then the doubles, by sequence; at most
	// MaxFindings of each.
	Findings []Finding
}

// MaxFindings bounds how many lost orders, and how many doubles, of a service are
// listed. All are counted.
const MaxFindings = 100

// Kind is what is wrong with an order.
type Kind string

// The kinds.
const (
	Lost        Kind = "lost"
	DoneTwice   Kind = "done twice"
	DeadTwice   Kind = "dead twice"
	DoneAndDead Kind = "done and dead"
)

// Finding is an order with which something is wrong.
type Finding struct {
	Kind       Kind
	Seq        uint64 // in ORDERS
	Generation int    // replays; of a lost order: the one that is missing
	OrderID    string // as its header says; empty when it has none or ORDERS no longer has it
}

// Run audits services. It changes nothing on the broker, and needs a byte of
// memory for an order and service, and about a hundred more for each order that
// was replayed. It returns ErrNotProvisioned for a service that the broker doesn't
// know.
//
// A million orders of three services, four million messages, took 55 s on two cores
// that others used as well: 19 s of their time here and 20 s in the server, which
// read from its file store. At 150,000 orders the peak here was 35 MB; a million
// adds the 3 MB of its bytes.
func Run(ctx context.Context, b *broker.Conn, services []order.Service) (Report, error) {
	for _, s := range services {
		if !broker.ValidService(s) {
			return Report{}, fmt.Errorf("audit service %q: 1 to 32 lower-case letters, digits and inner dashes", s)
		}
	}
	return run(ctx, &streams{conn: b}, services)
}
