package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/watertight-go/watertight/order"
)

// deed is what a verb does to things that were named or chosen, one by one.
type deed struct {
	thing   string // "letter"
	done    string // "replayed"
	missing string // what is said of one that isn't there
	nothing string // what is said when none is
	gone    error  // by which that is known
	after   string // what is said when something was done; may be empty
	dryRun  bool
}

// actResult is one thing, and what came of it: its line.
type actResult struct {
	Service order.Service `json:"service,omitempty"`
	Seq     uint64        `json:"seq"`
	Status  string        `json:"status"`
	Error   string        `json:"error,omitempty"`
}

// act does a deed to all of them and prints what came of each. The exit code says
// whether that was all, some or nothing.
func (a *app) act(ctx context.Context, d deed, results []actResult, do func(context.Context, actResult) error) error {
	failed, missing := 0, 0
	var first error // that failed
	for i := range results {
		if ctx.Err() != nil {
			return cutShort(ctx)
		}
		r := &results[i]
		r.Status = d.done
		if d.dryRun {
			r.Status = "would be " + d.done
		}
		switch err := do(ctx, *r); {
		case errors.Is(err, d.gone):
			missing++
			r.Status = d.missing
		case err != nil:
			failed++
			first = cmp.Or(first, err)
			r.Status, r.Error = "failed", err.Error()
		}
		if err := a.reportAct(*r); err != nil {
			return err
		}
	}
	if a.output == formJSON {
		if err := writeJSON(a.stdout, results, true); err != nil {
			return err
		}
	}
	n := len(results)
	if d.after != "" && !d.dryRun && failed+missing < n {
		fmt.Fprintln(a.stderr, d.after)
	}
	switch {
	case n == missing:
		return &exitError{exitNothing, errors.New(d.nothing)}
	case failed == n:
		return fmt.Errorf("none of %s %s: %w", plural(n, d.thing), d.done, first)
	case failed+missing > 0:
		return &exitError{exitPartly, fmt.Errorf("%d of %s %s", n-failed-missing, plural(n, d.thing), d.done)}
	}
	return nil
}

// reportAct prints a line, unless all are to be one document.
func (a *app) reportAct(r actResult) error {
	switch a.output {
	case formJSON:
		return nil
	case formNDJSON:
		return writeJSON(a.stdout, r, false)
	default:
		line := fmt.Sprintf("%s  %d  %s  %s", r.Service, r.Seq, r.Status, printable(r.Error))
		_, err := fmt.Fprintln(a.stdout, strings.TrimSpace(line))
		return err
	}
}
