package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/watertight-go/watertight/publisher"
)

func newPublish(a *app) *cobra.Command {
	var cfg publisher.LinesConfig
	cmd := &cobra.Command{
		Use:   "publish [FILE|-]",
		Short: "Place orders, one JSON object a line; from standard input without a file",
		Long: `Place orders, one JSON object a line; from standard input without a file.

Each line gets one result: stored, duplicate or failed. What is stored will be
handled. A file that failed half-way can be given again: its orders have ids,
and the same id is the same order.

Exit code 0: all stored; 5: some failed, or it was stopped; 1: all failed.`,
		Example: `  watertight publish orders.jsonl
  echo '{"id":"01998a2b-…","customer":"c-17","currency":"EUR","lines":[{"sku":"MUG-RED","quantity":2,"unit_price":1299}]}' | watertight publish -`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, name := a.stdin, "standard input"
			if len(args) == 1 && args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return usage(err)
				}
				defer f.Close() //nolint:errcheck // it was only read
				in, name = f, args[0]
			}
			return a.publish(cmd.Context(), in, name, cfg)
		},
	}
	cmd.Flags().BoolVar(&cfg.GenerateIDs, "generate-ids", false, "give an order without an id a fresh one; giving the file again then places it again")
	cmd.Flags().IntVar(&cfg.Window, "window", publisher.DefaultWindow, "orders under way at a time")
	a.outputFlag(cmd, formTable, formNDJSON)
	return cmd
}

func (a *app) publish(ctx context.Context, in io.Reader, name string, cfg publisher.LinesConfig) error {
	if cfg.Window < 1 {
		return usagef("--window %d: must be at least 1", cfg.Window)
	}
	log := a.logger()
	conn, err := a.connect(ctx, log)
	if err != nil {
		return err
	}
	defer conn.Close()
	way, stop := noted(ctx, conn, log)
	defer stop()
	sum, err := publisher.New(way).Lines(ctx, in, cfg, a.reportLine)
	fmt.Fprintf(a.stderr, "%s: %d stored, %d duplicate, %d failed\n", name, sum.Stored, sum.Duplicate, sum.Failed)
	failed := errSilent
	if way.absent.Load() {
		failed = jetstream.ErrNoStreamResponse // about which there is something to do
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return cutShort(ctx)
	case err != nil:
		return fmt.Errorf("read %s: %w", name, err)
	case sum.Failed == 0:
		return nil
	case sum.Stored+sum.Duplicate == 0:
		return &exitError{exitFailure, failed}
	default:
		return &exitError{exitPartly, failed}
	}
}

func (a *app) reportLine(r publisher.Result) error {
	if a.output == formNDJSON {
		return writeJSON(a.stdout, r, false)
	}
	where := ""
	if r.Seq != 0 {
		where = " " + strconv.FormatUint(r.Seq, 10)
	}
	line := fmt.Sprintf("line %d  %s  %s%s", r.Line, r.ID, r.Status, where)
	if r.Error != "" {
		line += "  " + printable(r.Error)
	}
	_, err := fmt.Fprintln(a.stdout, line)
	return err
}
