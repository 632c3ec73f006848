package deadletter_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

func TestParseReason_KnowsTheClosedList(t *testing.T) {
	for _, r := range deadletter.Reasons() {
		if got, err := deadletter.ParseReason(string(r)); got != r || err != nil {
			t.Errorf("ParseReason(%q) = %q, %v", r, got, err)
		}
	}
	for _, s := range []string{"", "Invalid", "invalid ", "timeout"} {
		if got, err := deadletter.ParseReason(s); err == nil || !strings.Contains(err.Error(), "exhausted") {
			t.Errorf("ParseReason(%q) = %q, %v, want an error that lists the reasons", s, got, err)
		}
	}
}

func TestNote_KeepsTheLastTwentyAndLeavesItsArgument(t *testing.T) {
	var all []deadletter.Attempt
	for n := 1; n <= 25; n++ {
		before := all
		length := len(before)
		all = deadletter.Note(before, deadletter.Attempt{N: n, Error: strings.Repeat("é", 300)})
		other := deadletter.Note(before, deadletter.Attempt{N: -1})
		if len(before) != length || all[len(all)-1].N != n || other[len(other)-1].N != -1 {
			t.Fatalf("two notes on one timeline overwrite each other: %v and %v", all[len(all)-1], other[len(other)-1])
		}
	}
	if len(all) != 20 || all[0].N != 6 || all[19].N != 25 {
		t.Errorf("25 notes leave %d, from %d to %d, want 20, from 6 to 25", len(all), all[0].N, all[len(all)-1].N)
	}
	if e := all[0].Error; len(e) > 200 || !utf8.ValidString(e) || !strings.HasSuffix(e, "é…") {
		t.Errorf("the error is %d bytes: %q, want at most 200 of valid text", len(e), e)
	}
}

func TestTimeline_RoundTrips(t *testing.T) {
	at := time.Date(2026, 11, 27, 20, 15, 0, 123456789, time.UTC)
	timeline := []deadletter.Attempt{
		{N: 1, Started: at, Took: 1500 * time.Millisecond, Reason: "timeout", Error: `gave up "after" 1.5 s`},
		{N: 1, Started: at.Add(time.Hour), Took: 42 * time.Microsecond, Reason: "asked"},
	}
	if diff := cmp.Diff(timeline, deadletter.DecodeTimeline(deadletter.EncodeTimeline(timeline))); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got := deadletter.EncodeTimeline(nil); got != "" {
		t.Errorf("no attempts are %q, want nothing", got)
	}
}

// Whatever a timeline says, it can be written, it fits where it is read, and it
// is one line.
func TestEncodeTimeline_AlwaysFits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var timeline []deadletter.Attempt
		for range rapid.IntRange(1, 30).Draw(rt, "attempts") {
			timeline = deadletter.Note(timeline, deadletter.Attempt{
				N:       rapid.Int().Draw(rt, "n"),
				Started: time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(rt, "started"), 0),
				Took:    time.Duration(rapid.Int64().Draw(rt, "took")),
				Reason:  rapid.OneOf(rapid.String(), rapid.Just(strings.Repeat(`"`, 5000)), rapid.Just("\xff")).Draw(rt, "reason"),
				Error:   rapid.OneOf(rapid.String(), rapid.Just(strings.Repeat(`\`, 5000)), rapid.Just("\xff\x00\r\n")).Draw(rt, "error"),
			})
		}
		header := broker.Hop{Timeline: deadletter.EncodeTimeline(timeline)}.Header(nil)
		got := deadletter.DecodeTimeline(broker.ParseHop(header).Timeline)
		if len(got) != len(timeline) {
			rt.Fatalf("%d attempts went, %d came: %q", len(timeline), len(got), header[broker.HeaderTimeline])
		}
		for i := range got {
			if got[i].N != timeline[i].N {
				rt.Errorf("attempt %d came as %d", timeline[i].N, got[i].N)
			}
		}
	})
}

func TestDecodeTimeline_BelievesNothing(t *testing.T) {
	for name, header := range map[string]string{
		"nothing":          "",
		"no JSON":          "x",
		"another shape":    `{"n":1}`,
		"too many":         "[" + strings.Repeat(`{"n":1},`, 20) + `{"n":1}]`,
		"a year of no use": `[{"n":1,"started":"99999-01-01T00:00:00Z"}]`,
	} {
		if got := deadletter.DecodeTimeline(header); len(got) != 0 {
			t.Errorf("%s: %v, want none", name, got)
		}
	}
	got := deadletter.DecodeTimeline(`[{"n":1,"took_ms":1e300,"reason":"` + strings.Repeat("x", 5000) + `","error":"a\nb\u001b[31m"}]`)
	if len(got) != 1 {
		t.Fatalf("got %v, want one attempt", got)
	}
	if a := got[0]; a.Took < 0 || len(a.Reason) > 64 || strings.ContainsAny(a.Error, "\n\x1b") {
		t.Errorf("took = %v, reason of %d bytes, error = %q; want no negative time, a short reason, one line", a.Took, len(a.Reason), a.Error)
	}
}

func TestLine_IsOneLineOfValidText(t *testing.T) {
	for _, tc := range []struct {
		in    string
		limit int
		want  string
	}{
		{"", 10, ""},
		{"  fine\n", 10, "fine"},
		{"a\r\nb\x00c\x1b[31m", 20, "a  b c [31m"},
		{"caf\xe9", 20, "caf�"},
		{"0123456789", 10, "0123456789"},
		{"0123456789x", 10, "0123456…"},
		{"ééééééé", 10, "ééé…"},
		{"\u009b31m", 10, "31m"},
	} {
		if got := deadletter.Line(tc.in, tc.limit); got != tc.want {
			t.Errorf("Line(%q, %d) = %q, want %q", tc.in, tc.limit, got, tc.want)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		in := string(rapid.SliceOf(rapid.Byte()).Draw(rt, "in"))
		limit := rapid.IntRange(3, 200).Draw(rt, "limit")
		got := deadletter.Line(in, limit)
		if len(got) > limit || !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x00\x1b") {
			rt.Errorf("Line(%q, %d) = %q", in, limit, got)
		}
		if again := deadletter.Line(got, limit); again != got {
			rt.Errorf("Line of its own result %q is %q", got, again)
		}
	})
}

func TestFingerprint_FoldsWhatDiffersBetweenTwoOfAKind(t *testing.T) {
	of := func(text string) string { return deadletter.Fingerprint(order.Payment, deadletter.Exhausted, text) }
	same := of("dial tcp 10.0.0.7:443: order 0199a8f2-7c1e-7d3b-9f00-112233445566 after 1.5s, at 0xc000123")
	if other := of("dial tcp 10.0.0.12:8443: order 0199a8f3-0000-7abc-8def-aabbccddeeff after 22.5s, at 0xc0ffee"); other != same {
		t.Errorf("two of a kind have the fingerprints %s and %s", same, other)
	}
	if len(same) != 8 {
		t.Errorf("fingerprint %q, want 8 hex digits", same)
	}
	for name, other := range map[string]string{
		"another error":   of("dial udp"),
		"another reason":  deadletter.Fingerprint(order.Payment, deadletter.Rejected, "x"),
		"another service": deadletter.Fingerprint(order.Inventory, deadletter.Exhausted, "x"),
	} {
		if other == same {
			t.Errorf("%s has the same fingerprint", name)
		}
	}
}
