package main

import (
	"fmt"
	"io"
	"strings"
)

// show writes the figures as a Markdown table and says below it which aims
// were missed. It reports whether none was.
func show(w io.Writer, tables []table, crowds []int) bool {
	var missed []string
	head := []string{"", ""}
	for _, crowd := range crowds {
		head = append(head, fmt.Sprintf("ns, %d goroutine%s", crowd, plural(crowd)), "ratio")
	}
	head = append(head, "allocs", "aim", "failsafe-go costs")
	row(w, head)
	rule := make([]string, len(head))
	for i := range rule {
		rule[i] = "--:"
	}
	rule[0], rule[1] = "---", "---"
	row(w, rule)

	for _, t := range tables {
		for i, c := range t.group.contestants {
			cells := []string{"", c.name}
			if i == 0 {
				cells[0] = "**" + t.group.name + "**"
			}
			if c.aim > 0 {
				cells[1] = "**" + c.name + "**"
			}
			allocs, gain := 0.0, 0.0
			for n, f := range t.figures[i] {
				cells = append(cells, fmt.Sprintf("%.0f", f.cpu), fmt.Sprintf("%.2f", f.ratio))
				allocs = max(allocs, f.allocs)
				if gain == 0 || f.gain < gain {
					gain = f.gain
				}
				where := fmt.Sprintf("%s, %s, %d goroutine%s", t.group.name, c.name, crowds[n], plural(crowds[n]))
				if c.aim > 0 && f.ratio > c.aim {
					missed = append(missed, fmt.Sprintf("%s: ratio %.2f, aim %.2f", where, f.ratio, c.aim))
				}
				if c.aim > 0 && f.allocs > c.allocs+0.5 {
					missed = append(missed, fmt.Sprintf("%s: %.1f allocations, aim %.0f", where, f.allocs, c.allocs))
				}
				if c.gain > 0 && f.gain < c.gain {
					missed = append(missed, fmt.Sprintf("%s: failsafe-go costs %.1f times as much, aim %.0f", where, f.gain, c.gain))
				}
			}
			cells = append(cells, fmt.Sprintf("%.0f", allocs), "", "")
			if c.aim > 0 {
				cells[len(cells)-2] = fmt.Sprintf("≤ %.2f, %.0f", c.aim, c.allocs)
			}
			if c.gain > 0 {
				cells[len(cells)-1] = fmt.Sprintf("× %.1f", gain)
			}
			row(w, cells)
		}
	}
	fmt.Fprintln(w)
	if len(missed) == 0 {
		fmt.Fprintln(w, "Every aim is met.")
		return true
	}
	fmt.Fprintln(w, "Missed:")
	for _, m := range missed {
		fmt.Fprintln(w, "-", m)
	}
	return false
}

func row(w io.Writer, cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}
