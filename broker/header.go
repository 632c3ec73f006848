package broker

import (
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/order"
)

// Headers of ours. nats.Header is case-sensitive: only these spellings count.
const (
	HeaderOrderID        = "Order-Id"
	HeaderEventType      = "Event-Type"
	HeaderSchema         = "Schema"
	HeaderAttempt        = "Attempt"
	HeaderWaits          = "Waits"
	HeaderRetryDelay     = "Retry-Delay"
	HeaderFirstSeen      = "First-Seen"
	HeaderOriginStream   = "Origin-Stream"
	HeaderOriginSeq      = "Origin-Seq"
	HeaderOriginSubject  = "Origin-Subject"
	HeaderGeneration     = "Generation"
	HeaderIdempotencyKey = "Idempotency-Key"
	HeaderDeadline       = "Deadline"

	// Of a dead letter. The timeline travels with a retry as well.
	HeaderDeadReason      = "Dlq-Reason"
	HeaderDeadError       = "Dlq-Error"
	HeaderDeadErrorType   = "Dlq-Error-Type"
	HeaderDeadFingerprint = "Dlq-Fingerprint"
	HeaderDeadAt          = "Dlq-At"
	HeaderDeadInstance    = "Dlq-Instance"
	HeaderDeadVersion     = "Dlq-Version"
	HeaderTimeline        = "Dlq-Timeline"
)

// MaxHeaderBytes is how much the headers that Watertight adds to a message can
// grow it: a letter is the bytes as received and at most this. The ORDERS
// stream therefore refuses messages within MaxHeaderBytes of what the broker
// can carry, so that whatever was accepted also fits into a dead letter.
const MaxHeaderBytes = 32 << 10

// Origin is the stored message from which everything about an order began: a
// retry, an outcome and a letter all point back to it.
type Origin struct {
	Stream  string
	Seq     uint64
	Subject string
}

// Hop is what Watertight's headers say about a message on its way. Headers
// come from outside and are never trusted: what is missing, repeated beyond
// its first value or malformed reads as zero.
type Hop struct {
	OrderID        string
	EventType      string // "created"
	Schema         string // "order/1"; empty is order.Schema
	Attempt        int    // from 1
	Waits          int    // how often it has waited in a retry tier; not every wait counts an attempt
	RetryDelay     time.Duration
	FirstSeen      time.Time // when the order was stored first
	Origin         Origin
	Generation     int // replays so far
	IdempotencyKey string
	Deadline       time.Time
	Timeline       string // JSON, see deadletter.Attempt
}

const (
	// maxToken bounds the header values that are names or numbers.
	maxToken = 256

	// maxHeaders bounds how many headers are copied. Each may grow by a
	// byte, the space after the colon.
	maxHeaders = 1000
)

// ParseHop reads a message's headers. It accepts any input.
func ParseHop(h nats.Header) Hop {
	return Hop{
		OrderID:        token(h, HeaderOrderID),
		EventType:      token(h, HeaderEventType),
		Schema:         token(h, HeaderSchema),
		Attempt:        max(1, int(number(h, HeaderAttempt, 1<<20))),
		Waits:          int(number(h, HeaderWaits, 1<<20)),
		RetryDelay:     duration(h, HeaderRetryDelay),
		FirstSeen:      instant(h, HeaderFirstSeen),
		Generation:     int(number(h, HeaderGeneration, 1<<20)),
		IdempotencyKey: token(h, HeaderIdempotencyKey),
		Deadline:       instant(h, HeaderDeadline),
		Timeline:       first(h, HeaderTimeline, 16<<10),
		Origin: Origin{
			Stream:  token(h, HeaderOriginStream),
			Seq:     number(h, HeaderOriginSeq, 1<<62),
			Subject: token(h, HeaderOriginSubject),
		},
	}
}

// Header returns a copy of base, which may be nil, with the hop's fields set
// in it. Every Nats-* header of base is left out: copied to another message
// they make the broker drop, refuse or reschedule it. Of what base repeats,
// the first value stays; zero fields of the hop are removed. Of a base of more
// than 1,000 headers nothing is copied, so that the result is at most
// MaxHeaderBytes larger than base.
func (p Hop) Header(base nats.Header) nats.Header {
	if len(base) > maxHeaders {
		base = nil
	}
	h := make(nats.Header, len(base)+12)
	for k, vs := range base {
		if len(vs) == 0 || IsReserved(k) || !isKey(k) || !clean(vs[0]) {
			continue
		}
		h[k] = []string{vs[0]}
	}
	set := func(k, v string) {
		if v == "" || !clean(v) {
			delete(h, k)
			return
		}
		h[k] = []string{v}
	}
	set(HeaderOrderID, p.OrderID)
	set(HeaderEventType, p.EventType)
	set(HeaderSchema, p.Schema)
	set(HeaderAttempt, strconv.Itoa(max(1, p.Attempt)))
	set(HeaderWaits, formatNumber(uint64(max(0, p.Waits))))
	set(HeaderRetryDelay, formatDuration(p.RetryDelay))
	set(HeaderFirstSeen, formatInstant(p.FirstSeen))
	set(HeaderOriginStream, p.Origin.Stream)
	set(HeaderOriginSeq, formatNumber(p.Origin.Seq))
	set(HeaderOriginSubject, p.Origin.Subject)
	set(HeaderGeneration, formatNumber(uint64(max(0, p.Generation))))
	set(HeaderIdempotencyKey, p.IdempotencyKey)
	set(HeaderDeadline, formatInstant(p.Deadline))
	set(HeaderTimeline, p.Timeline)
	return h
}

// IsReserved reports whether a header belongs to the broker (Nats-…, in any
// case) and so must not be copied to another message.
func IsReserved(key string) bool {
	return len(key) >= 5 && strings.EqualFold(key[:5], "nats-")
}

// Message ids name the message that is being settled, not the order: with the
// order as the key, a replay inside the broker's two-minute window whose retry
// failed again would be taken for the first failure's, acknowledged and lost.

// DoneID is the message id of an outcome.
func DoneID(s order.Service, o Origin, generation int) string {
	return settleID("done", s, o, generation)
}

// PendingID is the message id of the fallback's answer beside the first retry.
func PendingID(s order.Service, o Origin, generation int) string {
	return settleID("pending", s, o, generation)
}

// DeadID is the message id of a dead letter.
func DeadID(s order.Service, o Origin, generation int) string {
	return settleID("dlq", s, o, generation)
}

// RetryID is the message id of the waits-th wait of an order in a retry tier,
// from 1. It counts waits and not attempts: an order sent back by RetryAfter
// beyond the last tier keeps its attempt, and an id by attempt would make the
// broker drop the second such wait as a duplicate of the first.
func RetryID(s order.Service, o Origin, generation, waits int) string {
	return settleID("retry", s, o, generation) + "/" + strconv.Itoa(waits)
}

// ReplayID is the message id of a letter sent back to its service.
func ReplayID(seq uint64) string { return "replay/" + strconv.FormatUint(seq, 10) }

// NowID is the message id of a waiting retry that is sent to TierNow, by its
// sequence in its service's RetryStream.
func NowID(seq uint64) string { return "now/" + strconv.FormatUint(seq, 10) }

func settleID(what string, s order.Service, o Origin, generation int) string {
	return what + "/" + string(s) + "/" + o.Stream + "/" + strconv.FormatUint(o.Seq, 10) + "/" + strconv.Itoa(generation)
}

func first(h nats.Header, key string, limit int) string {
	vs := h[key]
	if len(vs) == 0 || len(vs[0]) > limit || !clean(vs[0]) {
		return ""
	}
	return vs[0]
}

func token(h nats.Header, key string) string { return first(h, key, maxToken) }

// What is missing is no error to be made: most messages have few of the headers.

func number(h nats.Header, key string, limit uint64) uint64 {
	s := token(h, key)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > limit {
		return 0
	}
	return n
}

func duration(h nats.Header, key string) time.Duration {
	s := token(h, key)
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0
	}
	return d
}

func instant(h nats.Header, key string) time.Time {
	s := token(h, key)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if y := t.UTC().Year(); err != nil || y < 1 || y > 9999 {
		return time.Time{} // what can't be written again
	}
	return t.UTC()
}

func formatNumber(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

func formatDuration(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return d.String()
}

func formatInstant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// clean reports whether s can stand in a header: no CR, LF or NUL. nats.go
// writes headers as they are, so that a line break would begin another header.
func clean(s string) bool { return !strings.ContainsAny(s, "\r\n\x00") }

// isKey reports whether s can be the name of a header: visible ASCII without a
// colon.
func isKey(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == ':' {
			return false
		}
	}
	return s != ""
}
