// Package deadletter keeps what a service has given up, whole, and gives it
// back when an operator says so.
//
//	consumer ──Post──▶ [ DLQ ] ──All, Watch, Get──▶ operator
//	                      │
//	                      ├──Replay──▶ retry.<service>.now ──▶ the service that failed, and only it
//	                      └──Discard─▶ gone, on record
//
// A letter carries the bytes as they were received, why and when they were
// given up, and every attempt.
package deadletter

import (
	"fmt"
	"hash/fnv"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// Reason is why an order was given up. It is part of a subject
// (dlq.<service>.<reason>), so the list is closed.
type Reason string

// The reasons.
const (
	Invalid   Reason = "invalid"   // the bytes are not an order
	Schema    Reason = "schema"    // a schema this program doesn't know; a newer one may
	Rejected  Reason = "rejected"  // the handler said order.Reject
	Exhausted Reason = "exhausted" // every attempt failed
	Expired   Reason = "expired"   // the order's deadline passed
	Poison    Reason = "poison"    // it took the process down, again and again
	Canceled  Reason = "canceled"  // an operator gave up its retry
)

// Reasons lists the closed list.
func Reasons() []Reason {
	return []Reason{Invalid, Schema, Rejected, Exhausted, Expired, Poison, Canceled}
}

// ParseReason returns the reason of that name, or an error that lists them.
func ParseReason(s string) (Reason, error) {
	for _, r := range Reasons() {
		if string(r) == s {
			return r, nil
		}
	}
	return "", fmt.Errorf("unknown reason %q: one of %v", s, Reasons())
}

// Letter is a dead letter.
type Letter struct {
	Seq uint64 // in the DLQ stream; zero before it is posted

	Service order.Service
	Reason  Reason

	// Error is what the last attempt said, at most 1 KiB, and ErrorType its Go
	// type. Fingerprint is equal for letters of the same service, reason and
	// error, numbers and ids apart.
	Error       string
	ErrorType   string
	Fingerprint string

	At       time.Time // when it was given up
	Instance string    // which process gave up, or who canceled it
	Version  string    // of which program

	Timeline []Attempt // at most the last 20
	Hop      broker.Hop
	Header   nats.Header // as received, but the broker's own
	Data     []byte      // as received
}

// Attempt is one try at an order.
type Attempt struct {
	N       int           // from 1, anew after a replay
	Started time.Time     // when the handler began
	Took    time.Duration // until it returned or was abandoned
	Reason  string        // "failed", "timeout", "panic", "asked" (for a later time), "crash" (of its process)
	Error   string        // at most 200 bytes
}

// Limits of what a letter adds to a message; together they stay well under
// broker.MaxHeaderBytes.
const (
	maxError         = 1 << 10
	maxTimeline      = 20
	maxAttemptError  = 200
	maxAttemptReason = 32
	maxTook          = 10_000 * time.Hour
)

// Note returns the timeline with one more attempt, at most the last 20.
func Note(timeline []Attempt, a Attempt) []Attempt {
	timeline = append(slices.Clip(timeline), a.tidy())
	if extra := len(timeline) - maxTimeline; extra > 0 {
		timeline = timeline[extra:]
	}
	return timeline
}

// tidy returns the attempt so that it can be written, in few bytes: it may come
// from a header, and that from anybody.
func (a Attempt) tidy() Attempt {
	a.Reason, a.Error = Line(a.Reason, maxAttemptReason), Line(a.Error, maxAttemptError)
	a.Took = min(max(a.Took, 0), maxTook)
	if a.Started = a.Started.UTC(); a.Started.Year() < 1 || a.Started.Year() > 9999 {
		a.Started = time.Time{}
	}
	return a
}

// wireAttempt is an attempt in the Dlq-Timeline header.
type wireAttempt struct {
	N       int       `json:"n"`
	Started time.Time `json:"started"`
	TookMS  float64   `json:"took_ms"`
	Reason  string    `json:"reason"`
	Error   string    `json:"error,omitempty"`
}

// EncodeTimeline returns a timeline as it stands in a header.
func EncodeTimeline(timeline []Attempt) string {
	if len(timeline) == 0 {
		return ""
	}
	wire := make([]wireAttempt, 0, len(timeline))
	for _, a := range timeline {
		a = a.tidy()
		wire = append(wire, wireAttempt{a.N, a.Started, float64(a.Took.Microseconds()) / 1000, a.Reason, a.Error})
	}
	b, err := json.Marshal(wire)
	if err != nil {
		return "" // not reached: all of it is tidy
	}
	return string(b)
}

// DecodeTimeline reads a header; what isn't a timeline reads as none.
func DecodeTimeline(header string) []Attempt {
	var wire []wireAttempt
	if header == "" || json.Unmarshal([]byte(header), &wire) != nil || len(wire) > maxTimeline {
		return nil
	}
	timeline := make([]Attempt, 0, len(wire))
	for _, a := range wire {
		took := time.Duration(min(max(a.TookMS*float64(time.Millisecond), 0), float64(maxTook)))
		timeline = append(timeline, Attempt{a.N, a.Started, took, a.Reason, a.Error}.tidy())
	}
	return timeline
}

// Line returns s as one line of valid UTF-8 without control characters, at most
// limit bytes.
func Line(s string, limit int) string {
	if len(s) > 4*limit {
		s = s[:4*limit]
	}
	s = strings.ToValidUTF8(s, "�")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if len(s) <= limit {
		return s
	}
	cut := limit - len("…")
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// variable is what differs between two occurrences of the same error: ids,
// addresses, numbers.
var variable = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|0x[0-9a-fA-F]+|[0-9a-fA-F]{12,}|[0-9]+`)

// Fingerprint is eight hex digits that are equal for the same service, reason
// and error, numbers and ids folded.
func Fingerprint(s order.Service, r Reason, text string) string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s\n%s\n%s", s, r, variable.ReplaceAllString(text, "#"))
	return fmt.Sprintf("%08x", h.Sum32())
}

// message is the letter as it is stored.
func (l Letter) message() broker.Message {
	hop := l.Hop
	hop.RetryDelay = 0
	hop.Timeline = EncodeTimeline(l.Timeline)
	h := hop.Header(l.Header)
	for key, value := range map[string]string{
		broker.HeaderDeadReason:      string(l.Reason),
		broker.HeaderDeadError:       Line(l.Error, maxError),
		broker.HeaderDeadErrorType:   Line(l.ErrorType, 128),
		broker.HeaderDeadFingerprint: Fingerprint(l.Service, l.Reason, l.Error),
		broker.HeaderDeadAt:          l.At.UTC().Format(time.RFC3339Nano),
		broker.HeaderDeadInstance:    Line(l.Instance, 128),
		broker.HeaderDeadVersion:     Line(l.Version, 128),
	} {
		h[key] = []string{value}
	}
	return broker.Message{
		Subject: broker.DeadSubject(l.Service, string(l.Reason)),
		ID:      broker.DeadID(l.Service, l.Hop.Origin, l.Hop.Generation),
		Header:  h,
		Data:    l.Data,
	}
}

// read is the inverse of message. It accepts any header: an outsider may write
// to the subject, and an operator must be able to see and discard it.
func read(subject string, seq uint64, stored time.Time, h nats.Header, data []byte) (Letter, error) {
	service, reason, ok := broker.SplitDead(subject)
	if !ok {
		return Letter{}, fmt.Errorf("read letter %d: %q is not the subject of a letter", seq, subject)
	}
	hop := broker.ParseHop(h)
	l := Letter{
		Seq:         seq,
		Service:     service,
		Reason:      Reason(reason),
		Error:       Line(h.Get(broker.HeaderDeadError), maxError),
		ErrorType:   Line(h.Get(broker.HeaderDeadErrorType), 128),
		Fingerprint: Line(h.Get(broker.HeaderDeadFingerprint), 16),
		At:          stored,
		Instance:    Line(h.Get(broker.HeaderDeadInstance), 128),
		Version:     Line(h.Get(broker.HeaderDeadVersion), 128),
		Timeline:    DecodeTimeline(hop.Timeline),
		Hop:         hop,
		Header:      nats.Header{},
		Data:        data,
	}
	if at, err := time.Parse(time.RFC3339Nano, h.Get(broker.HeaderDeadAt)); err == nil {
		l.At = at
	}
	for k, vs := range h {
		if !broker.IsReserved(k) {
			l.Header[k] = vs
		}
	}
	return l, nil
}
