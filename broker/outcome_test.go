package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// drawSettled is an authorized order.
var drawSettled = rapid.Custom(func(rt *rapid.T) broker.Settled {
	return broker.Settled{
		OrderID: rapid.StringN(1, 40, 100).Draw(rt, "id"), Attempt: rapid.IntRange(1, 20).Draw(rt, "attempt"),
		Generation: rapid.IntRange(0, 3).Draw(rt, "generation"),
		FirstSeen:  time.Unix(rapid.Int64Range(0, 1<<32).Draw(rt, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(rt, "ns")).UTC(),
		Origin:     broker.Origin{Stream: broker.StreamOrders, Seq: rapid.Uint64Range(1, 1<<62).Draw(rt, "seq"), Subject: broker.SubjectCreated},
		Outcome:    order.Outcome{Result: order.Authorized, Ref: rapid.String().Draw(rt, "ref"), Reason: rapid.String().Draw(rt, "reason")},
	}
})

func TestOutcomes_OfAPackAreThoseThatWerePacked(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := rapid.SliceOfN(drawSettled, 2, broker.MaxPacked).Draw(rt, "outcomes")
		m, err := broker.OutcomeMessage(nil, order.Payment, all...)
		if err != nil {
			rt.Fatal(err)
		}
		if m.Subject != "outcomes.payment.authorized" || m.Header["Packed"][0] != fmt.Sprint(len(all)) {
			rt.Errorf("packed as %s with %v", m.Subject, m.Header)
		}
		got, err := broker.Outcomes(m.Header, m.Data)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(all, got); diff != "" {
			rt.Errorf("unpacked: -want +got\n%s", diff)
		}

		// Its id is that of what is in it: the same again is the same, less is another.
		again, _ := broker.OutcomeMessage(nil, order.Payment, all...)
		less, _ := broker.OutcomeMessage(nil, order.Payment, all[1:]...)
		if again.ID != m.ID || less.ID == m.ID {
			rt.Errorf("ids: %s, again %s, of less %s", m.ID, again.ID, less.ID)
		}
	})
}

func TestOutcomeMessage_OfOneOutcomeIsTheOutcome(t *testing.T) {
	hop := broker.Hop{
		OrderID: "0199-1", Attempt: 3, Generation: 2, FirstSeen: time.Date(2026, 11, 27, 20, 15, 0, 123456789, time.UTC),
		Origin: broker.Origin{Stream: "ORDERS", Seq: 17, Subject: "orders.created"},
	}
	one := broker.Settled{OrderID: hop.OrderID, Attempt: 3, Generation: 2, FirstSeen: hop.FirstSeen, Origin: hop.Origin}
	one.Outcome = order.Outcome{Result: order.Refused, Reason: "card declined"}
	m, err := broker.OutcomeMessage(nil, order.Payment, one)
	if err != nil {
		t.Fatal(err)
	}
	want := broker.Message{
		Subject: "outcomes.payment.refused", ID: broker.DoneID(order.Payment, hop.Origin, hop.Generation),
		Header: hop.Header(nil), Data: []byte(`{"result":"refused","reason":"card declined"}`),
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	got, err := broker.Outcomes(m.Header, m.Data)
	one.Outcome = order.Outcome{}
	if diff := cmp.Diff([]broker.Settled{one}, got); err != nil || diff != "" {
		t.Errorf("read back: %v, -want +got\n%s", err, diff)
	}
}

func TestOutcomeMessage_OfTheLongestOutcomesFitsAMessage(t *testing.T) {
	long := broker.Settled{
		OrderID: order.NewID(), Attempt: 1 << 20, Generation: 1 << 20, FirstSeen: time.Now(),
		Origin:  broker.Origin{Stream: "RETRY_" + strings.Repeat("S", 32), Seq: 1 << 62, Subject: "retry." + strings.Repeat("s", 32) + ".t10"},
		Outcome: order.Outcome{Result: order.Authorized, Ref: strings.Repeat("\x01", order.MaxRef), Reason: strings.Repeat("\x01", order.MaxReason)},
	}
	m, err := broker.OutcomeMessage(nil, order.Payment, slices.Repeat([]broker.Settled{long}, broker.MaxPacked)...)
	if err != nil {
		t.Fatal(err)
	}
	if size := len(m.Data) + 200; size > 1<<20 { // and the headers
		t.Errorf("%d bytes, want at most the 1 MiB that a broker takes by default", size)
	}
}

func TestOutcomes_ReadsWhatCanBeRead(t *testing.T) {
	packed := nats.Header{broker.HeaderPacked: {"3"}}
	const line = `{"order_id":"a","origin_stream":"ORDERS","origin_seq":7,"result":"sent"}` + "\n"
	for name, c := range map[string]struct {
		body string
		good int
		says string
	}{
		"nothing":                {"", 0, ""},
		"no line break":          {strings.TrimSpace(line), 1, ""},
		"a line that is no JSON": {line + "}\n" + line, 1, "line 2"},
		"a negative generation":  {line + line + `{"origin_seq":1,"generation":-1}`, 2, "line 3"},
		"a negative sequence":    {`{"origin_seq":-1}`, 0, "line 1"},
		"a key twice":            {`{"origin_seq":1,"origin_seq":2}`, 0, "line 1"},
	} {
		got, err := broker.Outcomes(packed, []byte(c.body))
		if len(got) != c.good || (err != nil) != (c.says != "") || (err != nil && !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: read %d outcomes, error %v; want %d and %q", name, len(got), err, c.good, c.says)
		}
	}
}

func FuzzOutcomes(f *testing.F) {
	f.Add("2", []byte(`{"order_id":"a","origin_seq":7}`))
	f.Add("", []byte("{}"))
	f.Fuzz(func(t *testing.T, packed string, body []byte) {
		all, err := broker.Outcomes(nats.Header{broker.HeaderPacked: {packed}}, body)
		for _, s := range all {
			if s.Generation < 0 {
				t.Errorf("generation %d, error %v", s.Generation, err)
			}
		}
	})
}
