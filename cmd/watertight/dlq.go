package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/watertight-go/watertight/deadletter"
)

func newDLQ(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "Look at dead letters, send them back, bury them",
		Example: `  watertight dlq ls --service payment --reason exhausted
  watertight dlq show 17
  watertight dlq watch -o ndjson
  watertight dlq replay 17 18
  watertight dlq replay --service payment --since 1h
  watertight dlq discard --reason invalid --dry-run`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDLQList(a), newDLQShow(a), newDLQWatch(a),
		newDLQAct(a, "replay", "Send letters back to the service that gave them up, and only to it", "replayed", (*deadletter.Desk).Replay),
		newDLQAct(a, "discard", "Bury letters: that service will not process the order; a record stays", "discarded", (*deadletter.Desk).Discard))
	return cmd
}

// filterFlags is the user's choice of letters.
type filterFlags struct {
	service, reason, orderID, fingerprint, since string
}

func (f *filterFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.service, "service", "", "only of this service")
	cmd.Flags().StringVar(&f.reason, "reason", "", "only of this reason: invalid, schema, rejected, exhausted, expired, poison, canceled")
	cmd.Flags().StringVar(&f.orderID, "order", "", "only of this order id")
	cmd.Flags().StringVar(&f.fingerprint, "fingerprint", "", "only of this kind of error")
	cmd.Flags().StringVar(&f.since, "since", "", "only given up since then: a duration (90m) or a time (RFC 3339)")
}

func (f *filterFlags) filter(now time.Time) (deadletter.Filter, error) {
	out := deadletter.Filter{OrderID: f.orderID, Fingerprint: f.fingerprint}
	if f.service != "" {
		s, err := serviceNamed("--service", f.service)
		if err != nil {
			return out, err
		}
		out.Service = s
	}
	if f.reason != "" {
		r, err := deadletter.ParseReason(f.reason)
		if err != nil {
			return out, usagef("--reason: %w", err)
		}
		out.Reason = r
	}
	if f.since != "" {
		at, err := parseSince(f.since, now)
		if err != nil {
			return out, err
		}
		out.Since = at
	}
	return out, nil
}

func (f *filterFlags) empty() bool { return *f == filterFlags{} }

func parseSince(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, usagef("--since %q: neither a duration like 90m nor a time like 2026-11-27T20:15:00Z", s)
	}
	return at, nil
}

// desk connects and opens the desk.
func (a *app) desk(ctx context.Context) (*deadletter.Desk, func(), error) {
	conn, err := a.connect(ctx, a.logger())
	if err != nil {
		return nil, nil, err
	}
	return deadletter.New(conn, operator()), conn.Close, nil
}

func newDLQList(a *app) *cobra.Command {
	var (
		f     filterFlags
		limit int
	)
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List dead letters, oldest first",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := f.filter(time.Now())
			if err != nil {
				return err
			}
			if limit < 0 {
				return usagef("--limit %d: must not be negative", limit)
			}
			desk, done, err := a.desk(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			return a.list(cmd.Context(), desk, filter, limit)
		},
	}
	f.add(cmd)
	cmd.Flags().IntVar(&limit, "limit", 0, "at most this many; 0: all")
	a.outputFlag(cmd, formTable, formJSON, formNDJSON)
	return cmd
}

func (a *app) list(ctx context.Context, desk *deadletter.Desk, filter deadletter.Filter, limit int) error {
	all := []letterView{}
	for l, err := range desk.All(ctx, filter) {
		if err != nil {
			return err
		}
		if a.output == formNDJSON {
			if err := writeJSON(a.stdout, summary(l), false); err != nil {
				return err
			}
		}
		all = append(all, summary(l))
		if limit > 0 && len(all) == limit {
			break
		}
	}
	switch a.output {
	case formJSON:
		return writeJSON(a.stdout, all, true)
	case formNDJSON:
		return nil
	}
	if len(all) == 0 {
		fmt.Fprintln(a.stderr, "no dead letters")
		return nil
	}
	rows := make([][]string, 0, len(all))
	for _, v := range all {
		rows = append(rows, v.row(time.Now()))
	}
	if err := table(a.stdout, letterHeader, rows); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "%s; `%s` shows one whole\n", plural(len(all), "dead letter"), a.self(fmt.Sprintf("dlq show %d", all[0].Seq)))
	return nil
}

func newDLQShow(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show SEQ",
		Short: "Show one dead letter whole: why, when, every attempt, the bytes as received",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			seq, err := parseSeq(args[0])
			if err != nil {
				return err
			}
			desk, done, err := a.desk(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			l, err := desk.Get(cmd.Context(), seq)
			if errors.Is(err, deadletter.ErrNotFound) {
				return &exitError{exitNothing, err}
			}
			if err != nil {
				return err
			}
			if a.output == formTable {
				return a.show(l)
			}
			return writeJSON(a.stdout, whole(l), a.output == formJSON)
		},
	}
	a.outputFlag(cmd, formTable, formJSON, formNDJSON)
	return cmd
}

func newDLQWatch(a *app) *cobra.Command {
	var f filterFlags
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Follow what is given up from now on, until interrupted",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := f.filter(time.Now())
			if err != nil {
				return err
			}
			desk, done, err := a.desk(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			for l, err := range desk.Watch(cmd.Context(), filter) {
				if err != nil {
					return err
				}
				if a.output == formNDJSON {
					err = writeJSON(a.stdout, summary(l), false)
				} else {
					_, err = fmt.Fprintln(a.stdout, strings.Join(summary(l).row(time.Now()), "  "))
				}
				if err != nil {
					return err
				}
			}
			return context.Cause(cmd.Context())
		},
	}
	f.add(cmd)
	a.outputFlag(cmd, formTable, formNDJSON)
	return cmd
}

// newDLQAct is replay or discard.
func newDLQAct(a *app, name, short, done string, act func(*deadletter.Desk, context.Context, uint64) error) *cobra.Command {
	var (
		f      filterFlags
		all    bool
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:   name + " [SEQ…]",
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := f.filter(time.Now())
			if err != nil {
				return err
			}
			if (len(args) > 0) == (all || !f.empty()) {
				return usagef("name letters by number, or choose them by --service, --reason, --order, --fingerprint, --since or --all")
			}
			seqs, err := parseSeqs(args)
			if err != nil {
				return err
			}
			desk, closeDesk, err := a.desk(cmd.Context())
			if err != nil {
				return err
			}
			defer closeDesk()
			if len(args) == 0 {
				// Chosen first and acted on then: a letter that comes back
				// while we work is not chosen again.
				for l, err := range desk.All(cmd.Context(), filter) {
					if err != nil {
						return err
					}
					seqs = append(seqs, l.Seq)
				}
			}
			d := deed{thing: "letter", done: done, missing: "missing", gone: deadletter.ErrNotFound, nothing: "no such dead letters", dryRun: dryRun}
			targets := make([]actResult, 0, len(seqs))
			for _, seq := range seqs {
				targets = append(targets, actResult{Seq: seq})
			}
			return a.act(cmd.Context(), d, targets, func(ctx context.Context, r actResult) error {
				if dryRun {
					_, err := desk.Get(ctx, r.Seq)
					return err
				}
				return act(desk, ctx, r.Seq)
			})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "all letters")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say which")
	a.outputFlag(cmd, formTable, formJSON, formNDJSON)
	return cmd
}
