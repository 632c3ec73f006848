package main

import (
	"fmt"
	"io"
	"strings"
)

// table is a question and its answers, in Markdown, and which aims were missed.
type table struct {
	w      io.Writer
	missed []string
}

func (t *table) head(title string, columns ...string) {
	fmt.Fprintf(t.w, "\n**%s**\n\n", title)
	t.row(columns...)
	rule := make([]string, len(columns))
	for i := range rule {
		rule[i] = "--:"
	}
	rule[0] = "---"
	t.row(rule...)
}

func (t *table) row(cells ...string) { fmt.Fprintf(t.w, "| %s |\n", strings.Join(cells, " | ")) }

// least notes a figure that should be at least that, and returns how it is shown.
func (t *table) least(what string, got, aim float64) string {
	if got < aim {
		t.missed = append(t.missed, fmt.Sprintf("%s: %.3g, aim ≥ %.3g", what, got, aim))
	}
	return fmt.Sprintf("≥ %.3g", aim)
}

// most notes a figure that should be at most that, and returns how it is shown.
func (t *table) most(what string, got, aim float64) string {
	if got > aim {
		t.missed = append(t.missed, fmt.Sprintf("%s: %.3g, aim ≤ %.3g", what, got, aim))
	}
	return fmt.Sprintf("≤ %.3g", aim)
}

// end says which aims were missed, and whether none was.
func (t *table) end() bool {
	if len(t.missed) == 0 {
		fmt.Fprintln(t.w, "\nEvery aim is met.")
		return true
	}
	fmt.Fprintln(t.w, "\nMissed:")
	for _, m := range t.missed {
		fmt.Fprintln(t.w, "-", m)
	}
	return false
}

func count(n float64) string    { return fmt.Sprintf("%.0f", n) }
func fraction(f float64) string { return fmt.Sprintf("%.2f", f) }
