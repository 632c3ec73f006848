package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/watertight-go/watertight/internal/demo"
	"github.com/watertight-go/watertight/internal/figure"
	"github.com/watertight-go/watertight/publisher/load"
)

// exitThreshold is the exit code of a threshold that doesn't hold.
const exitThreshold = 99

// loadReport is a load that has ended.
type loadReport struct {
	Verdict    string          `json:"verdict"` // "ok", "threshold crossed", "inconclusive", "orders refused"
	Causes     []string        `json:"causes,omitempty"`
	Seconds    float64         `json:"seconds"`
	Lateness   delayView       `json:"generator_lateness"`
	Acks       delayView       `json:"ack_latency"`
	Sent       sentView        `json:"orders"`
	Services   []loadService   `json:"services"`
	Thresholds []thresholdView `json:"thresholds,omitempty"`

	cfg loadConfig
}

type delayView struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
	W99 float64 `json:"w99_ms"`
}

func delayOf(d load.Delay) delayView {
	return delayView{figure.MS(d.P50), figure.MS(d.P99), figure.MS(d.Max), figure.MS(d.W99)}
}

type sentView struct {
	Due       int `json:"due"`
	Sent      int `json:"sent"`
	Stored    int `json:"stored"`
	Failed    int `json:"failed"`
	Unknown   int `json:"unknown"`
	Malformed int `json:"malformed"`
}

type loadService struct {
	Service  string  `json:"service"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	Max      float64 `json:"max_ms"`
	W50      float64 `json:"w50_ms"`
	W99      float64 `json:"w99_ms"`
	Naive99  float64 `json:"p99_uncorrected_ms"`
	Finished float64 `json:"finished"`
	Stored   int     `json:"stored"`
	Done     int     `json:"done"`
	Dead     int     `json:"dead"`
	Open     int     `json:"open"`
	Twice    int     `json:"handled_twice"`
	Pending  int     `json:"fallbacks"`
}

type thresholdView struct {
	Threshold string `json:"threshold"`
	OK        *bool  `json:"ok,omitempty"` // nil: not judged
}

// newLoadReport reports on a phase. What cut the run short, if anything did, leaves
// nothing to judge.
func newLoadReport(cfg loadConfig, j *load.Journal, phase load.Phase, short []string) *loadReport {
	late, stats, counts := j.Lateness(phase), j.Stats(phase), j.Counts()
	r := &loadReport{
		cfg: cfg, Causes: short, Seconds: phase.To.Sub(phase.From).Seconds(),
		Lateness: delayOf(late), Acks: delayOf(j.Acks(phase)),
		Sent: sentView{counts.Due, counts.Sent, counts.Stored, counts.Failed, counts.Unknown + counts.Waiting, counts.Malformed},
	}
	for i, a := range j.Accounts() {
		s := stats[i]
		r.Services = append(r.Services, loadService{
			string(a.Service), figure.MS(s.P50), figure.MS(s.P99), figure.MS(s.Max), figure.MS(s.W50), figure.MS(s.W99), figure.MS(s.Uncorrected99), s.Finished,
			a.Stored, a.Done, a.Dead, a.Open, a.Twice, a.Fallbacks,
		})
	}
	if late.W99 > demo.QuietLateness {
		r.Causes = append(r.Causes, fmt.Sprintf("the generator was late itself: %s, at most %s", figure.Millis(late.W99), figure.Millis(demo.QuietLateness)))
	}
	if counts.Unsent > 0 {
		r.Causes = append(r.Causes, fmt.Sprintf("%s orders were due and not sent", figure.Count(counts.Unsent)))
	}
	crossed := false
	for _, t := range cfg.limits {
		view := thresholdView{Threshold: t.String()}
		if len(r.Causes) == 0 {
			view.OK = new(t.Holds(stats))
			crossed = crossed || !*view.OK
		}
		r.Thresholds = append(r.Thresholds, view)
	}
	switch {
	case counts.Failed > 0:
		r.Verdict = "orders refused"
	case len(r.Causes) > 0:
		r.Verdict = "inconclusive"
	case crossed:
		r.Verdict = "threshold crossed"
	default:
		r.Verdict = "ok"
	}
	return r
}

// verdict is the error that gives the exit code.
func (r *loadReport) verdict() error {
	switch r.Verdict {
	case "ok":
		return nil
	case "inconclusive":
		return &exitError{exitPartly, errSilent}
	case "threshold crossed":
		return &exitError{exitThreshold, errSilent}
	default:
		return &exitError{exitFailure, errSilent}
	}
}

func (a *app) printLoad(r *loadReport) error {
	if a.output == formJSON {
		return writeJSON(a.stdout, r, true)
	}
	b := &strings.Builder{}
	r.text(b)
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

// text is the report for people.
func (r *loadReport) text(w io.Writer) {
	ms := func(v float64) string { return figure.Millis(time.Duration(v * float64(time.Millisecond))) }
	var shares []string
	for _, s := range r.Services {
		shares = append(shares, fmt.Sprintf("%s finished %s, p50 %s", s.Service, figure.Percent(s.Finished), ms(s.P50)))
	}
	fmt.Fprintf(w, "\n%s orders in %.0f s (%s): %s.\nVerdict: %s.\n", figure.Count(r.Sent.Sent), r.Seconds, r.cfg.profile, strings.Join(shares, "; "), strings.ToUpper(r.Verdict))
	for _, c := range r.Causes {
		fmt.Fprintf(w, "  because %s\n", c)
	}

	fmt.Fprintln(w, "\nLATENCY    from the intended send to the stored outcome; an unfinished order counts with its age")
	rows := [][]string{{"", "p50", "p99", "max", "windows' p50", "p99", "p99 uncorrected", "finished"}}
	for _, s := range r.Services {
		rows = append(rows, []string{s.Service, ms(s.P50), ms(s.P99), ms(s.Max), ms(s.W50), ms(s.W99), ms(s.Naive99), figure.Percent(s.Finished)})
	}
	_ = figure.Columns(w, rows...) // a strings.Builder takes everything
	fmt.Fprintf(w, "  The broker acknowledged orders after p50 %s, p99 %s, at most %s, from the intended send as well.\n", ms(r.Acks.P50), ms(r.Acks.P99), ms(r.Acks.Max))
	fmt.Fprintf(w, "  The generator was itself late by %s (windows' p99), p99 %s, at most %s.\n", ms(r.Lateness.W99), ms(r.Lateness.P99), ms(r.Lateness.Max))

	fmt.Fprintf(w, "\nACCOUNTING %s due, %s sent = %s stored + %s refused + %s without an answer; %s of them malformed\n",
		figure.Count(r.Sent.Due), figure.Count(r.Sent.Sent), figure.Count(r.Sent.Stored), figure.Count(r.Sent.Failed), figure.Count(r.Sent.Unknown), figure.Count(r.Sent.Malformed))
	rows = [][]string{{"", "stored", "done", "dead", "open", "handled twice", "fallbacks"}}
	for _, s := range r.Services {
		rows = append(rows, []string{s.Service, figure.Count(s.Stored), figure.Count(s.Done), figure.Count(s.Dead), figure.Count(s.Open), figure.Count(s.Twice), figure.Count(s.Pending)})
	}
	_ = figure.Columns(w, rows...)

	if len(r.Thresholds) > 0 {
		fmt.Fprintln(w, "\nTHRESHOLDS")
	}
	for _, t := range r.Thresholds {
		mark := "ok"
		switch {
		case t.OK == nil:
			mark = "not judged"
		case !*t.OK:
			mark = "FAIL"
		}
		fmt.Fprintf(w, "  %-4s  %s\n", mark, t.Threshold)
	}
}

// secondOf is the last second of a load, as a line. Orders get as long to finish as
// in the figures.
func secondOf(j *load.Journal, start time.Time, phase string) demo.Line {
	now := time.Now()
	return demo.Line{
		Elapsed: int(now.Sub(start).Round(time.Second) / time.Second), Phase: phase, Sent: j.Counts().Sent,
		Services: j.Stats(load.Phase{From: now.Add(-time.Second - load.Grace), To: now.Add(-load.Grace)}),
	}
}
