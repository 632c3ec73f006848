package demo

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

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

// columns writes aligned rows, indented.
func columns(w io.Writer, rows ...[]string) {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	for _, r := range rows {
		fmt.Fprintln(tw, "  "+strings.Join(r, "\t")+"\t")
	}
	_ = tw.Flush() // a strings.Builder takes everything
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
			name, millis(i.Baseline.W50), millis(i.Baseline.W99),
			millis(i.Struck.W50), millis(i.Struck.W99), percent(i.Struck.Finished),
			"≥ " + millis(i.Control.P50), percent(i.Control.Finished),
		})
	}
	columns(w, rows...)
	fmt.Fprintf(w, "  Medians over windows of 1 s, from the intended send to the stored outcome; an unfinished order counts with its age.\n")
}

func (r Result) latency(w io.Writer) {
	fmt.Fprintln(w, "LATENCY    all orders of a phase; printed, not judged")
	rows := [][]string{{"", "phase", "orders", "p50", "p99", "max", "p99 uncorrected"}}
	for i, s := range r.Plan.Services {
		for _, ph := range r.Phases {
			if i < len(ph.Stats) {
				st := ph.Stats[i]
				rows = append(rows, []string{string(s), ph.Name, count(st.Samples), millis(st.P50), millis(st.P99), millis(st.Max), millis(st.Uncorrected99)})
			}
		}
	}
	columns(w, rows...)
	fmt.Fprintf(w, "  The generator itself was late by %s: the median over windows of 1 s of their p99, in the worst phase.\n", millis(r.Measured.Lateness))
}

func (r Result) accounting(w io.Writer) {
	fmt.Fprintln(w, "ACCOUNTING sent = done + dead + waiting, or lost")
	rows := [][]string{{"", "sent", "done", "dead", "waiting", "lost", "handled twice", "fallbacks", "ghosts"}}
	for _, a := range r.Accounts {
		rows = append(rows, []string{
			string(a.Service), count(a.Sent), count(a.Done), count(a.Dead), count(a.Waiting), count(a.Lost),
			count(a.Twice), count(a.Pending), fmt.Sprintf("%d slots", a.Ghosts),
		})
	}
	columns(w, rows...)
	e := r.Effects
	fmt.Fprintf(w, "  Asked outside: %s cards charged, %s orders charged twice; %s mails sent, %s of them again.\n",
		count(e.Charged), count(e.ChargedTwice), count(e.Mails), count(e.MailsRepeated))
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
		fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\t%s\n", count(g.Count), g.Service, g.Reason, clip(g.Error, 72), r.Command(fmt.Sprintf("dlq show %d", g.Seq)))
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
	fmt.Fprintf(&b, "%3d s  %-9s %7s sent", l.Elapsed, l.Phase, count(l.Sent))
	for _, s := range l.Services {
		fmt.Fprintf(&b, "  %s ", s.Service)
		if s.Samples == 0 {
			b.WriteString("-")
			continue
		}
		if s.Finished >= 0.5 {
			fmt.Fprintf(&b, "%s ", millis(s.P50))
		}
		fmt.Fprintf(&b, "%.0f %%", s.Finished*100)
	}
	if l.Slots > 0 {
		fmt.Fprintf(&b, "  ghosts %d/%d", l.Ghosts, l.Slots)
	}
	return b.String()
}
