package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/order"
)

func newRetry(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retry",
		Short: "Look at retries that wait, send them now, give them up",
		Long: `Look at retries that wait, send them now, give them up.

A failed attempt waits in the broker for the next one. It can be named by its service
and its number, which 'watertight retry ls' shows, or chosen by a filter. An attempt
that is under way isn't stopped by any of this.`,
		Example: `  watertight retry ls --service payment
  watertight retry ls --due-within 1m -o ndjson
  watertight retry now payment 17 18
  watertight retry now --service payment --tier t4
  watertight retry cancel --order 01994c3e-7f3a-7c19-8f7e-3b1d5a9c0e21 --dry-run`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newRetryList(a),
		newRetryAct(a, "now", "Let retries wait no longer", `Let retries wait no longer: each comes as the attempt that it was to be, as soon as
its service has a slot for it. An attempt that is under way already goes on; the one
that is sent then comes beside it, and the order's id makes both one effect.`,
			"sent", "what a service had in hand already may run twice",
			func(w consumer.Waiting) bool { return w.Tier != broker.TierNow || w.Hop.RetryDelay > 0 },
			(*consumer.Retries).Now),
		newRetryAct(a, "cancel", "Give retries up: they become dead letters", `Give retries up: each becomes a dead letter, canceled, with all its attempts, and can
be replayed from there. An attempt that is under way already goes on, and may still
settle the order; there is a letter all the same.`,
			"canceled", "what a service had in hand already may still be settled; `"+a.self("dlq ls --reason canceled")+"` lists the letters",
			func(consumer.Waiting) bool { return true },
			(*consumer.Retries).Cancel),
	)
	return cmd
}

// chosen yields the retries of several services. A service that the broker doesn't
// know has none, unless it knows none of them.
func chosen(ctx context.Context, r *consumer.Retries, services []order.Service, f consumer.WaitingFilter) iter.Seq2[consumer.Waiting, error] {
	return func(yield func(consumer.Waiting, error) bool) {
		unknown := 0
		for _, s := range services {
			for w, err := range r.All(ctx, s, f) {
				if errors.Is(err, broker.ErrUnknownService) {
					if unknown++; unknown < len(services) {
						break
					}
				}
				if !yield(w, err) {
					return
				}
			}
		}
	}
}

// retries connects to the broker's waiting retries.
func (a *app) retries(ctx context.Context) (*consumer.Retries, func(), error) {
	conn, err := a.connect(ctx, a.logger())
	if err != nil {
		return nil, nil, err
	}
	return consumer.NewRetries(conn, operator(), version()), conn.Close, nil
}

func newRetryList(a *app) *cobra.Command {
	var (
		f     waitingFlags
		limit int
	)
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List waiting retries, service by service, in the order in which they began to wait",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			services, filter, err := f.filter(time.Now())
			if err != nil {
				return err
			}
			if limit < 0 {
				return usagef("--limit %d: must not be negative", limit)
			}
			r, done, err := a.retries(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			return a.listWaiting(chosen(cmd.Context(), r, services, filter), limit)
		},
	}
	f.add(cmd)
	cmd.Flags().IntVar(&limit, "limit", 0, "at most this many; 0: all")
	a.outputFlag(cmd, formTable, formJSON, formNDJSON)
	return cmd
}

func (a *app) listWaiting(waiting iter.Seq2[consumer.Waiting, error], limit int) error {
	all, n := []waitingView{}, 0
	for w, err := range waiting {
		if err != nil {
			return err
		}
		v := viewOf(w)
		if a.output == formNDJSON {
			err = writeJSON(a.stdout, v, false)
		} else {
			all = append(all, v)
		}
		if err != nil {
			return err
		}
		if n++; n == limit {
			break
		}
	}
	switch {
	case a.output == formJSON:
		return writeJSON(a.stdout, all, true)
	case a.output == formNDJSON:
		return nil
	case n == 0:
		fmt.Fprintln(a.stderr, "no waiting retries")
		return nil
	}
	rows := make([][]string, 0, n)
	for _, v := range all {
		rows = append(rows, v.row(time.Now()))
	}
	if err := table(a.stdout, []string{"SERVICE", "SEQ", "TIER", "DUE", "ATTEMPT", "ORDER", "ERROR"}, rows); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "%s; `%s` sends one now, `retry cancel` gives it up\n",
		plural(n, "waiting retry"), a.self(fmt.Sprintf("retry now %s %d", all[0].Service, all[0].Seq)))
	return nil
}

// newRetryAct is now or cancel. A filter chooses only what it applies to.
func newRetryAct(a *app, name, short, long, done, after string, applies func(consumer.Waiting) bool, act func(*consumer.Retries, context.Context, order.Service, uint64) error) *cobra.Command {
	var (
		f      waitingFlags
		all    bool
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:               name + " [SERVICE SEQ…]",
		Short:             short,
		Long:              long,
		ValidArgsFunction: services(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			services, filter, err := f.filter(time.Now())
			if err != nil {
				return err
			}
			if len(args) == 1 || (len(args) > 0) == (all || !f.empty()) {
				return usagef("name a service and its retries by number, or choose them by --service, --order, --tier, --due-within or --all")
			}
			targets, err := namedRetries(args)
			if err != nil {
				return err
			}
			r, closeConn, err := a.retries(cmd.Context())
			if err != nil {
				return err
			}
			defer closeConn()
			if len(args) == 0 {
				// Chosen first and acted on then: one that fails again while we
				// work is not chosen again.
				for w, err := range chosen(cmd.Context(), r, services, filter) {
					if err != nil {
						return err
					}
					if applies(w) {
						targets = append(targets, actResult{Service: w.Service, Seq: w.Seq})
					}
				}
			}
			d := deed{thing: "retry", done: done, missing: "not waiting", gone: consumer.ErrNotWaiting, nothing: "no such waiting retries", after: after, dryRun: dryRun}
			return a.act(cmd.Context(), d, targets, func(ctx context.Context, t actResult) error {
				if dryRun {
					_, err := r.Get(ctx, t.Service, t.Seq)
					return err
				}
				return act(r, ctx, t.Service, t.Seq)
			})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "all waiting retries")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say which")
	a.outputFlag(cmd, formTable, formJSON, formNDJSON)
	return cmd
}

// namedRetries reads a service and numbers of its retries.
func namedRetries(args []string) ([]actResult, error) {
	if len(args) == 0 {
		return []actResult{}, nil
	}
	s, err := serviceNamed("service", args[0])
	if err != nil {
		return nil, err
	}
	targets := make([]actResult, 0, len(args)-1)
	for _, arg := range args[1:] {
		seq, err := strconv.ParseUint(arg, 10, 64)
		if err != nil || seq == 0 {
			return nil, usagef("%q is not the number of a waiting retry; `retry ls` shows them", arg)
		}
		targets = append(targets, actResult{Service: s, Seq: seq})
	}
	return targets, nil
}
