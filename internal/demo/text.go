package demo

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/watertight-go/watertight/internal/figure"
	"github.com/watertight-go/watertight/publisher/load"
)

// WriteText writes the report for people.
func (r Result) WriteText(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s.\n", r.Headline())
	fmt.Fprintf(b, "Verdict: %s.\n", strings.ToUpper(string(r.Verdict.Word)))
	for _, c := range r.Verdict.Causes {
		fmt.Fprintf(b, "  because %s\n", c)
	}
	for _, section := range []func(io.Writer){r.isolation, r.latency, r.accounting, r.deadLetters, r.thresholds, r.next} {
		fmt.Fprintln(b)
		section(b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Result) isolation(w io.Writer) {
	p := r.Plan
	fmt.Fprintf(w, "ISOLATION  %s was struck by %s for %v. Its breaker was off: what held is the bulkhead.\n", p.Faulty, p.Fault, p.Struck)
	rows := [][]string{{"", "BEFORE p50", "p99", fmt.Sprintf("OWN BULKHEAD (%d) p50", p.Slots), "p99", "finished", fmt.Sprintf("SHARED POOL (%d) p50", p.Pool()), "finished"}}
	for _, i := range r.Measured.Isolation {
		name := string(i.Service)
		if i.Service == p.Faulty {
			name += " (struck)"
		}
		rows = append(rows, []string{
			name, figure.Millis(i.Baseline.W50), figure.Millis(i.Baseline.W99),
			figure.Millis(i.Struck.W50), figure.Millis(i.Struck.W99), figure.Percent(i.Struck.Finished),
			"≥ " + figure.Millis(i.Control.P50), figure.Percent(i.Control.Finished),
		})
	}
	_ = figure.Columns(w, rows...) // a strings.Builder takes everything
	fmt.Fprintf(w, "  Medians over windows of 1 s, from the intended send to the stored outcome; an unfinished order counts with its age.\n")
}

func (r Result) latency(w io.Writer) {
	fmt.Fprintln(w, "LATENCY    all orders of a phase; printed, not judged")
	rows := [][]string{{"", "phase", "orders", "p50", "p99", "max", "p99 uncorrected"}}
	for i, s := range r.Plan.Services {
		for _, ph := range r.Phases {
			if i < len(ph.Stats) {
				st := ph.Stats[i]
				rows = append(rows, []string{string(s), ph.Name, figure.Count(st.Samples), figure.Millis(st.P50), figure.Millis(st.P99), figure.Millis(st.Max), figure.Millis(st.Uncorrected99)})
			}
		}
	}
	_ = figure.Columns(w, rows...) // a strings.Builder takes everything
	fmt.Fprintf(w, "  The generator itself was late by %s: the median over windows of 1 s of their p99, in the worst phase.\n", figure.Millis(r.Measured.Lateness))
}

func (r Result) accounting(w io.Writer) {
	fmt.Fprintln(w, "ACCOUNTING sent = done + dead + waiting, or lost")
	rows := [][]string{{"", "sent", "done", "dead", "waiting", "lost", "handled twice", "fallbacks", "ghosts"}}
	for _, a := range r.Accounts {
		rows = append(rows, []string{
			string(a.Service), figure.Count(a.Sent), figure.Count(a.Done), figure.Count(a.Dead), figure.Count(a.Waiting), figure.Count(a.Lost),
			figure.Count(a.Twice), figure.Count(a.Pending), fmt.Sprintf("%d slots", a.Ghosts),
		})
	}
	_ = figure.Columns(w, rows...) // a strings.Builder takes everything
	e := r.Effects
	fmt.Fprintf(w, "  Asked outside: %s cards charged, %s orders charged twice; %s mails sent, %s of them again.\n",
		figure.Count(e.Charged), figure.Count(e.ChargedTwice), figure.Count(e.Mails), figure.Count(e.MailsRepeated))
	fmt.Fprintln(w, "  A fallback told the customer that payment is pending. Ghosts: the most slots that were held at once by")
	fmt.Fprintln(w, "  handlers which ignored their timeout; a slot is free again only when its handler has really returned.")
}

func (r Result) deadLetters(w io.Writer) {
	if len(r.Groups) == 0 {
		fmt.Fprintln(w, "DEAD LETTERS none")
		return
	}
	fmt.Fprintln(w, "DEAD LETTERS")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, g := range r.Groups {
		fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\t%s\n", figure.Count(g.Count), g.Service, g.Reason, clip(g.Error, 72), r.Command(fmt.Sprintf("dlq show %d", g.Seq)))
	}
	_ = tw.Flush()
}

func (r Result) thresholds(w io.Writer) {
	fmt.Fprintln(w, "THRESHOLDS")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, rule := range r.Verdict.Rules {
		mark := "ok  "
		if !rule.OK {
			mark = "FAIL"
		}
		fmt.Fprintf(tw, "  %s\t%s\t%s\n", mark, rule.Name, rule.Text)
	}
	_ = tw.Flush()
}

func (r Result) next(w io.Writer) {
	fmt.Fprintln(w, "NEXT")
	lines := [][2]string{{"dlq ls", "what was given up, and why"}}
	for _, g := range r.Groups {
		if g.Reason == "exhausted" {
			lines = append(lines, [2]string{"dlq replay --reason exhausted", "send those back, now that the other side answers"})
			break
		}
	}
	lines = append(lines, [][2]string{
		{"audit", "where every accepted order is"},
		{"demo --fault mail=hang", "strike another service"},
		{"serve --sim", "run the services, and publish orders of your own"},
	}...)
	for _, line := range lines {
		fmt.Fprintf(w, "  %-60s %s\n", r.Command(line[0]), line[1])
	}
}

func clip(s string, most int) string {
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	return string(runes[:most-1]) + "…"
}

// Line is the state of a running demonstration, once a second.
type Line struct {
	Elapsed  int // seconds since the start
	Phase    string
	Sent     int
	Services []load.Stats // of the last second
	Ghosts   int          // slots held by ghosts just now, of the struck service
	Slots    int          // of the struck service's pool
}

// String is one line: "  12 s  fault     3,600 sent  payment 2 %  inventory 6.1 ms  …".
func (l Line) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%3d s  %-9s %7s sent", l.Elapsed, l.Phase, figure.Count(l.Sent))
	for _, s := range l.Services {
		fmt.Fprintf(&b, "  %s ", s.Service)
		if s.Samples == 0 {
			b.WriteString("-")
			continue
		}
		if s.Finished >= 0.5 {
			fmt.Fprintf(&b, "%s ", figure.Millis(s.P50))
		}
		fmt.Fprintf(&b, "%.0f %%", s.Finished*100)
	}
	if l.Slots > 0 {
		fmt.Fprintf(&b, "  ghosts %d/%d", l.Ghosts, l.Slots)
	}
	return b.String()
}
