package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

// letterView is a letter as it is printed.
type letterView struct {
	Seq           uint64              `json:"seq"`
	At            time.Time           `json:"at"`
	Service       order.Service       `json:"service"`
	Reason        deadletter.Reason   `json:"reason"`
	OrderID       string              `json:"order_id"`
	Attempts      int                 `json:"attempts"`
	Error         string              `json:"error"`
	ErrorType     string              `json:"error_type"`
	Fingerprint   string              `json:"fingerprint"`
	Generation    int                 `json:"generation"`
	Bytes         int                 `json:"bytes"`
	Instance      string              `json:"instance"`
	Version       string              `json:"version"`
	FirstSeen     time.Time           `json:"first_seen,omitzero"`
	OriginStream  string              `json:"origin_stream"`
	OriginSeq     uint64              `json:"origin_seq"`
	OriginSubject string              `json:"origin_subject"`
	Timeline      []attemptView       `json:"timeline,omitempty"`
	Headers       map[string][]string `json:"headers,omitempty"`
	Data          *string             `json:"data,omitempty"`
	DataBase64    *string             `json:"data_base64,omitempty"`
}

type attemptView struct {
	N       int       `json:"n"`
	Started time.Time `json:"started"`
	TookMS  float64   `json:"took_ms"`
	Reason  string    `json:"reason"`
	Error   string    `json:"error,omitempty"`
}

// summary is a letter without its body, headers and timeline.
func summary(l deadletter.Letter) letterView {
	return letterView{
		Seq: l.Seq, At: l.At, Service: l.Service, Reason: l.Reason, OrderID: l.Hop.OrderID, Attempts: len(l.Timeline),
		Error: l.Error, ErrorType: l.ErrorType, Fingerprint: l.Fingerprint, Generation: l.Hop.Generation, Bytes: len(l.Data),
		Instance: l.Instance, Version: l.Version, FirstSeen: l.Hop.FirstSeen,
		OriginStream: l.Hop.Origin.Stream, OriginSeq: l.Hop.Origin.Seq, OriginSubject: l.Hop.Origin.Subject,
	}
}

// whole is all of it: the body as text, or in base64 when it isn't UTF-8.
func whole(l deadletter.Letter) letterView {
	v := summary(l)
	v.Headers = l.Header
	for _, t := range l.Timeline {
		v.Timeline = append(v.Timeline, attemptView{t.N, t.Started, float64(t.Took.Microseconds()) / 1000, t.Reason, t.Error})
	}
	data := string(l.Data)
	if utf8.ValidString(data) {
		v.Data = &data
	} else {
		data = base64.StdEncoding.EncodeToString(l.Data)
		v.DataBase64 = &data
	}
	return v
}

var letterHeader = []string{"SEQ", "AGE", "SERVICE", "REASON", "ORDER", "ATTEMPTS", "KIND", "ERROR"}

func (v letterView) row(now time.Time) []string {
	return []string{
		strconv.FormatUint(v.Seq, 10), age(now.Sub(v.At)), string(v.Service), printable(string(v.Reason)), printable(v.OrderID),
		strconv.Itoa(v.Attempts), printable(v.Fingerprint), deadletter.Line(v.Error, 90),
	}
}

// age is a duration as people say it.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h"
	default:
		return strconv.Itoa(int(d.Hours()/24)) + "d"
	}
}

func parseSeq(s string) (uint64, error) {
	seq, err := strconv.ParseUint(s, 10, 64)
	if err != nil || seq == 0 {
		return 0, usagef("%q is not the number of a letter; `dlq ls` shows them", s)
	}
	return seq, nil
}

func parseSeqs(args []string) ([]uint64, error) {
	seqs := make([]uint64, 0, len(args))
	for _, s := range args {
		seq, err := parseSeq(s)
		if err != nil {
			return nil, err
		}
		seqs = append(seqs, seq)
	}
	return seqs, nil
}

// show prints a letter whole.
func (a *app) show(l deadletter.Letter) error {
	v, w := whole(l), &strings.Builder{}
	fmt.Fprintf(w, "letter       %d\nservice      %s\nreason       %s\nerror        %s\n", v.Seq, v.Service, v.Reason, printable(v.Error))
	fmt.Fprintf(w, "kind         %s (%s)\ngiven up     %s by %s, version %s\n", v.Fingerprint, printable(v.ErrorType), v.At.Format(time.RFC3339Nano), printable(v.Instance), printable(v.Version))
	fmt.Fprintf(w, "order        %s\norigin       %s %d, %s\nreplays      %d\n", printable(v.OrderID), printable(v.OriginStream), v.OriginSeq, printable(v.OriginSubject), v.Generation)
	fmt.Fprintln(w, "attempts")
	for _, t := range v.Timeline {
		fmt.Fprintf(w, "  %2d  %s  %8.1f ms  %-8s %s\n", t.N, t.Started.Format(time.RFC3339Nano), t.TookMS, printable(t.Reason), printable(t.Error))
	}
	fmt.Fprintln(w, "headers")
	for _, k := range slices.Sorted(maps.Keys(v.Headers)) {
		if k != broker.HeaderTimeline {
			fmt.Fprintf(w, "  %s: %s\n", printable(k), printable(strings.Join(v.Headers[k], ", ")))
		}
	}
	fmt.Fprintf(w, "body (%d bytes as received)\n%s\n", len(l.Data), printable(string(l.Data)))
	if _, err := io.WriteString(a.stdout, w.String()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.stderr, "`%s` sends it back to %s\n", a.self(fmt.Sprintf("dlq replay %d", v.Seq)), v.Service)
	return err
}
