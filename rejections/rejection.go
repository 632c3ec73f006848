// Package rejections keeps on record what was turned away: when, whose work, by
// whom, and why.
//
//	Note ──▶ counter, event
//	  └────▶ [ queue ▒▒▒▒░░░░ ] ──Run──▶ rejections.<where>.<reason> ──Read──▶ Tally
//	             └─ full: dropped, and counted
//
// A record is worth less than any order. So Note never waits, and what can't be
// stored is dropped; the counter alone is exact. The broker keeps records for a
// day, or the last million.
package rejections

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// Rejection is one piece of work that was turned away without having been done.
type Rejection struct {
	// At is when, and Instance which process. Note sets both.
	At       time.Time `json:"at"`
	Instance string    `json:"instance,omitempty"`

	// Service is whose work it was; empty for an order on its way in, which is
	// everybody's.
	Service order.Service `json:"service,omitempty"`

	Where  Where  `json:"where"`
	Reason Reason `json:"reason"`

	// OrderID is empty when there was no order yet.
	OrderID string `json:"order_id,omitempty"`

	// Detail is more of why, in words; Note keeps 200 bytes of it.
	Detail string `json:"detail,omitempty"`
}

// Where says who turned the work away. It is part of a subject, so the list is
// closed.
type Where string

// The places.
const (
	Publisher Where = "publisher" // the way in: the order is not stored
	Consumer  Where = "consumer"  // a group: the order comes again, or is a dead letter
	Bulkhead  Where = "bulkhead"  // a bulkhead: of a group, the order comes again
)

// Reason says why. It is part of a subject, so the list is closed.
type Reason string

// The reasons.
const (
	Full     Reason = "full"     // no slot in time, or none that retries may have; of the publisher, no room in the stream
	Rate     Reason = "rate"     // the next start that the rate allows is too far away
	Breaker  Reason = "breaker"  // the breaker is not closed
	Deadline Reason = "deadline" // the order's deadline has passed, or would before the work is done
	Alone    Reason = "alone"    // an order under which a process ended runs alone, or couldn't
	Poison   Reason = "poison"   // processes ended under it again and again
)

const maxDetail = 200

// message is the rejection as it is stored.
func (r Rejection) message() (broker.Message, error) {
	body, err := json.Marshal(r)
	return broker.Message{Subject: broker.RejectionSubject(string(r.Where), string(r.Reason)), Data: body}, err
}

// parse is the inverse of message. It accepts anything: of what isn't a record,
// the subject says where and why, and the broker when.
func parse(subject string, stored time.Time, body []byte) (r Rejection, ok bool) {
	where, reason, ok := broker.SplitRejection(subject)
	if err := json.Unmarshal(body, &r); err != nil {
		r = Rejection{}
	}
	if r.At.IsZero() {
		r.At = stored
	}
	r.Where, r.Reason = Where(where), Reason(reason)
	return r, ok
}

// brief returns the beginning of s, at most limit bytes.
func brief(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit-len("…")], "") + "…"
}
