package consumer_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

// forgeries are headers that outsiders may write, beside a message's own. The
// broker takes them on ORDERS; copied to a retry, a letter or an outcome, or
// believed, each of them would lose an order, this one or the first.
func forgeries() map[string]nats.Header {
	many := nats.Header{}
	for i := range 500 {
		many[fmt.Sprint("X-", i)] = []string{"v"}
	}
	first := broker.Origin{Stream: broker.StreamOrders, Seq: 1, Subject: broker.SubjectCreated}
	return map[string]nats.Header{
		"none":                         {},
		"the id of a retry to come":    {"Nats-Msg-Id": {broker.RetryID(order.Payment, first, 0, 1)}},
		"the id of an outcome to come": {"Nats-Msg-Id": {broker.DoneID(order.Payment, first, 1)}},
		"two ids":                      {"Nats-Msg-Id": {"twice", "other"}},
		"two ids, the other way":       {"Nats-Msg-Id": {"other", "twice"}},
		"an id in lower case":          {"nats-msg-id": {broker.DoneID(order.Payment, first, 0)}},
		"an expected stream":           {"Nats-Expected-Stream": {broker.StreamOrders}},
		"expectations in lower case":   {"nats-expected-last-sequence": {"0"}, "nats-expected-last-msg-id": {"x"}},
		"a time to live in lower case": {"nats-ttl": {"1s"}, "NATS-TTL": {"1s"}},
		"what a stored message says":   {"Nats-Sequence": {"1"}, "Nats-Stream": {"DLQ"}, "Nats-Subject": {"dlq.payment.poison"}, "Nats-Time-Stamp": {"never"}},
		"a marker":                     {"Nats-Marker-Reason": {"MaxAge"}},
		"the broker's word":            {"Status": {"404"}, "Description": {"No Messages"}},
		"a heartbeat":                  {"Status": {"100"}, "Nats-Last-Consumer": {"9"}, "Nats-Consumer-Stalled": {"x"}},
		"no responders":                {"Status": {"503"}},
		"attempt 99":                   {broker.HeaderAttempt: {"99"}, broker.HeaderWaits: {"99"}},
		"attempts 1 and 99":            {broker.HeaderAttempt: {"1", "99"}, "attempt": {"77"}},
		"a generation":                 {broker.HeaderGeneration: {"1048576"}},
		"another one's origin": {
			broker.HeaderOriginStream: {broker.StreamOrders}, broker.HeaderOriginSeq: {"1"}, broker.HeaderOriginSubject: {broker.SubjectCreated},
		},
		"an impossible origin": {broker.HeaderOriginSeq: {"18446744073709551615", "-1"}, broker.HeaderOriginStream: {strings.Repeat("x", 4096)}},
		"another one's names":  {broker.HeaderOrderID: {"somebody", "else"}, broker.HeaderIdempotencyKey: {"key"}},
		"two schemas":          {broker.HeaderSchema: {order.Schema, "order/99"}, "schema": {"order/98"}},
		"a delay of hours":     {broker.HeaderRetryDelay: {"10h"}, broker.HeaderFirstSeen: {"9999-12-31T23:59:59Z"}},
		"a letter's headers": {
			broker.HeaderDeadReason: {"poison"}, broker.HeaderDeadError: {"x"}, broker.HeaderDeadFingerprint: {"00000000"},
			broker.HeaderTimeline: {`[{"n":1},{"n":2}]`}, broker.HeaderDeadAt: {"yesterday"}, broker.HeaderDeskWho: {"nobody"},
		},
		"a pack":      {broker.HeaderPacked: {"2"}},
		"500 headers": many,
	}
}

// Each forged order fails, is given up, replayed and done, once.
func TestForged_HeadersLoseNoOrder(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		var (
			mu     sync.Mutex
			calls  = make(map[string]int)
			mended bool
		)
		s.group(handle(func(_ context.Context, o order.Order) (order.Outcome, error) {
			mu.Lock()
			defer mu.Unlock()
			calls[o.ID]++
			switch {
			case calls[o.ID] == 1:
				return order.Outcome{}, errBusy
			case !mended:
				return order.Outcome{}, errUnknown
			}
			return authorized, nil
		}), nil)

		names := make(map[string]string) // by order
		s.placeOne()                     // the first, which some of the others claim to be
		placedOrders := 1
		for name, h := range forgeries() {
			o, body := placed(t)
			names[o.ID] = name
			if _, err := s.conn.JetStream().PublishMsg(t.Context(), &nats.Msg{Subject: broker.SubjectCreated, Header: h, Data: body}); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			placedOrders++
		}
		pass(20 * time.Second)
		letters := s.letters()
		if len(letters) != placedOrders {
			t.Errorf("%d letters of %d orders", len(letters), placedOrders)
		}
		mu.Lock()
		mended = true
		mu.Unlock()
		for _, l := range letters {
			name := names[l.Hop.OrderID]
			equal(t, name+": reason", l.Reason, deadletter.Rejected)
			equal(t, name+": attempts", len(l.Timeline), 2)
			equal(t, name+": generation", l.Hop.Generation, 0)
			delete(names, l.Hop.OrderID)
			if err := s.desk.Replay(t.Context(), l.Seq); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		equal(t, "forgeries without a letter", names, map[string]string{})
		pass(20 * time.Second)
		for id, n := range calls {
			equal(t, "calls for "+id, n, 3)
		}
		equal(t, "outcomes", s.subjects(broker.StreamOutcomes), map[string]uint64{"outcomes.payment.authorized": uint64(placedOrders)})
		report, err := audit.Run(t.Context(), s.conn, []order.Service{order.Payment})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "account", report.Services[0], audit.Account{Service: order.Payment, Accepted: placedOrders, Done: placedOrders})
		s.settled()
	})
}
