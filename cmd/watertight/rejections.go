package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/watertight-go/watertight/rejections"
)

func newRejections(a *app) *cobra.Command {
	var (
		since string
		names []string
	)
	cmd := &cobra.Command{
		Use:   "rejections",
		Short: "Count what was turned away: when, whose work, by whom, why",
		Long: `Count what was turned away without having been done, from the records of the last
day (at most a million). An order that comes again and is turned away again counts
each time. Records are best effort; the metric watertight_rejected_total is exact.

  full       no slot came free in time; of the publisher, ORDERS is full
  rate       the rate allowed no start in time
  breaker    the breaker was not closed
  deadline   the order's deadline had passed, or would have before its retry
  alone      an order under which a process ended ran alone, or couldn't
  poison     processes ended under the order again and again

-o ndjson prints the records themselves. Exit code 4: there are none.`,
		Example: `  watertight rejections --since 1h
  watertight rejections --by minute,reason
  watertight rejections --since 10m -o ndjson`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var from time.Time
			if since != "" {
				var err error
				if from, err = parseSince(since, time.Now()); err != nil {
					return err
				}
			}
			var by []rejections.Property
			for _, name := range names {
				p, err := rejections.ParseProperty(name)
				if err != nil {
					return usagef("--by: %w", err)
				}
				by = append(by, p)
			}
			return a.rejections(cmd.Context(), from, by)
		},
	}
	cmd.Flags().StringVar(&since, "since", "", "only since then: a duration (90m) or a time (RFC 3339)")
	cmd.Flags().StringSliceVar(&names, "by", []string{"service", "reason"}, "what to count by: "+strings.Join(words(rejections.Properties()), ", "))
	a.outputFlag(cmd, formTable, formJSON, formNDJSON)
	return cmd
}

func (a *app) rejections(ctx context.Context, since time.Time, by []rejections.Property) error {
	conn, err := a.connect(ctx, a.logger())
	if err != nil {
		return err
	}
	defer conn.Close()
	all := rejections.New(conn, rejections.Config{}).Read(ctx, since)
	n := 0
	if a.output == formNDJSON {
		for r, err := range all {
			if err != nil {
				return err
			}
			if err := writeJSON(a.stdout, r, false); err != nil {
				return err
			}
			n++
		}
	} else {
		counts, err := rejections.Tally(all, by...)
		if err != nil {
			return err
		}
		for _, c := range counts {
			n += c.Count
		}
		if err := a.writeCounts(counts, by); err != nil {
			return err
		}
	}
	if n == 0 {
		return &exitError{exitNothing, errors.New("nothing was turned away")}
	}
	fmt.Fprintln(a.stderr, plural(n, "rejection"))
	return nil
}

func (a *app) writeCounts(counts []rejections.Count, by []rejections.Property) error {
	if a.output == formJSON {
		return writeJSON(a.stdout, counts, true)
	}
	if len(counts) == 0 {
		return nil
	}
	header := make([]string, 0, len(by)+2)
	for _, p := range by {
		header = append(header, strings.ToUpper(string(p)))
	}
	rows := make([][]string, 0, len(counts))
	for _, c := range counts {
		row := make([]string, 0, len(by)+2)
		for _, p := range by {
			row = append(row, value(c, p))
		}
		rows = append(rows, append(row, strconv.Itoa(c.Count), age(time.Since(c.Last))))
	}
	return table(a.stdout, append(header, "COUNT", "LAST"), rows)
}

// value is what a count's rejections have in common.
func value(c rejections.Count, p rejections.Property) string {
	s := map[rejections.Property]string{
		rejections.ByService: string(c.Service),
		rejections.ByWhere:   string(c.Where),
		rejections.ByReason:  string(c.Reason),
		rejections.ByMinute:  c.Minute.Format(time.RFC3339),
	}[p]
	if s == "" {
		return "-"
	}
	return printable(s)
}
