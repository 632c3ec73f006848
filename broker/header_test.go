package broker_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
)

// whole is a hop with every field set.
func whole() broker.Hop {
	return broker.Hop{
		OrderID: "0199-1", EventType: "created", Schema: "order/1", Attempt: 3, Waits: 4,
		RetryDelay: 90 * time.Second, FirstSeen: time.Date(2026, 11, 27, 20, 15, 0, 123456789, time.UTC),
		Origin:     broker.Origin{Stream: "ORDERS", Seq: 17, Subject: "orders.created"},
		Generation: 2, IdempotencyKey: "k-1", Deadline: time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC),
		Timeline: `[{"n":1}]`,
	}
}

func TestHop_Header(t *testing.T) {
	want := nats.Header{
		"Order-Id": {"0199-1"}, "Event-Type": {"created"}, "Schema": {"order/1"}, "Attempt": {"3"}, "Waits": {"4"},
		"Retry-Delay": {"1m30s"}, "First-Seen": {"2026-11-27T20:15:00.123456789Z"},
		"Origin-Stream": {"ORDERS"}, "Origin-Seq": {"17"}, "Origin-Subject": {"orders.created"},
		"Generation": {"2"}, "Idempotency-Key": {"k-1"}, "Deadline": {"2026-11-28T00:00:00Z"}, "Dlq-Timeline": {`[{"n":1}]`},
	}
	got := whole().Header(nil)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Header: -want +got\n%s", diff)
	}
	if diff := cmp.Diff(whole(), broker.ParseHop(got)); diff != "" {
		t.Errorf("ParseHop of it: -want +got\n%s", diff)
	}
	if diff := cmp.Diff(nats.Header{"Attempt": {"1"}}, broker.Hop{}.Header(nil)); diff != "" {
		t.Errorf("Header of nothing: -want +got\n%s", diff)
	}
}

func TestHop_HeaderOverABase(t *testing.T) {
	base := nats.Header{
		"traceparent":            {"00-1", "00-2"},
		"Order-Id":               {"forged"},
		"Retry-Delay":            {"1h"},
		"Nats-Msg-Id":            {"the first one's"},
		"nats-expected-last-seq": {"4"},
		"NATS-TTL":               {"1s"},
		"Nats-":                  {"x"},
		"Folded":                 {"a\r\nNats-Msg-Id: b"},
		"Bad\nKey":               {"x"},
		"Nul":                    {"a\x00"},
		"Colon: Nats-Msg-Id":     {"x"},
		"":                       {"x"},
		"None":                   {},
		"Empty":                  {""},
		"Natsy":                  {"ours is Nats-, not Nats"},
	}
	before := maps.Clone(base)
	got := broker.Hop{OrderID: "o-1"}.Header(base)
	want := nats.Header{
		"traceparent": {"00-1"}, "Order-Id": {"o-1"}, "Attempt": {"1"}, "Empty": {""}, "Natsy": {"ours is Nats-, not Nats"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Header: -want +got\n%s", diff)
	}
	if diff := cmp.Diff(before, base); diff != "" {
		t.Errorf("the base was changed: -want +got\n%s", diff)
	}
	got["traceparent"][0] = "changed"
	if base["traceparent"][0] != "00-1" {
		t.Error("the copy shares its values with the base")
	}
}

func TestParseHop_BelievesNothing(t *testing.T) {
	zero := broker.Hop{Attempt: 1}
	long := strings.Repeat("x", 257)
	for name, tc := range map[string]struct {
		header nats.Header
		want   broker.Hop
	}{
		"nil":                 {nil, zero},
		"no values":           {nats.Header{"Order-Id": {}, "Attempt": nil}, zero},
		"wrong case":          {nats.Header{"order-id": {"o"}, "ORDER-ID": {"o"}, "attempt": {"9"}}, zero},
		"repeated: the first": {nats.Header{"Order-Id": {"a", "b"}, "Attempt": {"2", "3"}}, broker.Hop{OrderID: "a", Attempt: 2}},
		"a line break":        {nats.Header{"Order-Id": {"a\r\nNats-Msg-Id: b"}, "Schema": {"a\n"}}, zero},
		"far too long":        {nats.Header{"Order-Id": {long}, "Idempotency-Key": {long}, "Origin-Stream": {long}}, zero},
		"a timeline too long": {nats.Header{"Dlq-Timeline": {strings.Repeat("x", 16<<10+1)}}, zero},
		"numbers that aren't": {nats.Header{"Attempt": {"two"}, "Waits": {"0x1"}, "Generation": {"1.5"}, "Origin-Seq": {"+1"}}, zero},
		"negative numbers":    {nats.Header{"Attempt": {"-2"}, "Waits": {"-1"}, "Generation": {"-1"}, "Retry-Delay": {"-1h"}}, zero},
		"huge numbers": {nats.Header{
			"Attempt": {fmt.Sprint(uint64(math.MaxUint64))}, "Waits": {"1048577"}, "Generation": {strings.Repeat("9", 200)},
			"Origin-Seq": {fmt.Sprint(uint64(math.MaxUint64))}, "Retry-Delay": {"9999999h"},
		}, zero},
		"times that aren't": {nats.Header{"First-Seen": {"yesterday"}, "Deadline": {"2026-02-30T00:00:00Z"}}, zero},
		"times that are no year of ours": {nats.Header{
			"First-Seen": {"0000-01-01T00:00:00+01:00"}, "Deadline": {"9999-12-31T23:59:59-01:00"},
		}, zero},
		"a time elsewhere": {
			nats.Header{"Deadline": {"2026-11-27T21:15:00+01:00"}},
			broker.Hop{Attempt: 1, Deadline: time.Date(2026, 11, 27, 20, 15, 0, 0, time.UTC)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, broker.ParseHop(tc.header)); diff != "" {
				t.Errorf("ParseHop: -want +got\n%s", diff)
			}
		})
	}
}

// A header written "a:b" is written "a: b" the next time. A message of nothing
// but headers would outgrow what the broker carries, and could be neither
// handled nor given up.
func TestHop_HeaderDoesNotGrowWithTheNumberOfHeaders(t *testing.T) {
	var b strings.Builder
	b.WriteString("NATS/1.0\r\n")
	for i := range 100_000 {
		fmt.Fprintf(&b, "%x:\r\n", i)
	}
	b.WriteString("\r\n")
	base, err := nats.DecodeHeadersMsg([]byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	if grown := len(wire(whole().Header(base))) - b.Len(); grown > broker.MaxHeaderBytes {
		t.Errorf("%d headers of %d bytes grow by %d, want at most %d", len(base), b.Len(), grown, broker.MaxHeaderBytes)
	}
}

// wire is a header as it goes over the network.
func wire(h nats.Header) []byte {
	var b strings.Builder
	b.WriteString("NATS/1.0\r\n")
	for _, k := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[k] {
			b.WriteString(k + ": " + v + "\r\n")
		}
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}

// FuzzParseHop sends any headers through a hop, as a retry does.
func FuzzParseHop(f *testing.F) {
	f.Add("Order-Id: a\nAttempt: 2\nNats-Msg-Id: b")
	f.Add("First-Seen: 0000-01-01T00:00:00+23:59\nDeadline: 9999-12-31T23:59:59-12:00")
	f.Add("Retry-Delay: 1h\nOrigin-Seq: 18446744073709551615\nnAtS-x: y\nA b: c\n: d")
	f.Add("Dlq-Timeline: [{}]\nGeneration: 1\nWaits: 2\nAttempt: 1\nAttempt: 3")
	f.Fuzz(func(t *testing.T, text string) {
		base := nats.Header{}
		size := 0
		for line := range strings.SplitSeq(text, "\n") {
			k, v, _ := strings.Cut(line, ": ")
			base[k] = append(base[k], v)
			size += len(line)
		}
		hop := broker.ParseHop(base)
		h := hop.Header(base)
		if diff := cmp.Diff(hop, broker.ParseHop(h)); diff != "" {
			t.Errorf("read, written and read: -want +got\n%s", diff)
		}
		bytes := wire(h)
		if grown := len(bytes) - size; grown > broker.MaxHeaderBytes {
			t.Errorf("grew by %d bytes, want at most %d", grown, broker.MaxHeaderBytes)
		}
		sent, err := nats.DecodeHeadersMsg(bytes)
		if err != nil {
			t.Fatalf("can't be sent: %v\n%q", err, bytes)
		}
		for k, vs := range sent {
			if broker.IsReserved(strings.TrimSpace(k)) {
				t.Errorf("the broker's own header %q survives: %q", k, vs)
			}
			if _, ok := h[k]; !ok || len(vs) != 1 {
				t.Errorf("header %q: %q came out of nowhere", k, vs)
			}
		}
		if len(sent) != len(h) {
			t.Errorf("%d headers were sent, %d arrived", len(h), len(sent))
		}
	})
}
