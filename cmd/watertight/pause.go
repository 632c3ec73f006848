package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// untilResumed is how long a pause without an end lasts.
const untilResumed = 100 * 365 * 24 * time.Hour

// pauseView is one durable as it is printed.
type pauseView struct {
	Durable string    `json:"durable"`
	Paused  bool      `json:"paused"`
	Until   time.Time `json:"until,omitzero"`
}

func newPause(a *app) *cobra.Command {
	var (
		length time.Duration
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "pause SERVICE",
		Short: "Let a service's orders wait in the broker, on all its instances",
		Long: `Let a service's orders wait in the broker, on all its instances: new ones and
retries. What is being worked on is finished. Nothing is lost and no attempt is
spent; the other services don't notice. A pause survives restarts, of the service
and of the broker, until its time is over or 'watertight resume' ends it.`,
		Example: `  watertight pause payment --for 10m
  watertight pause payment --dry-run     how it is now
  watertight resume payment`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("for") && length <= 0 {
				return usagef("--for %v: must be positive", length)
			}
			return a.pause(cmd.Context(), args[0], func(ctx context.Context, conn *broker.Conn, s order.Service) ([]broker.Paused, error) {
				if dryRun {
					return conn.Pauses(ctx, s)
				}
				return conn.Pause(ctx, s, time.Now().Add(length))
			})
		},
	}
	cmd.Flags().DurationVar(&length, "for", untilResumed, "how long; without it, until it is resumed")
	cmd.Flags().Lookup("for").DefValue = "until resumed"
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say how it is now")
	a.outputFlag(cmd, formTable, formJSON)
	return cmd
}

func newResume(a *app) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:     "resume SERVICE",
		Short:   "End the pause of a service",
		Example: `  watertight resume payment`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.pause(cmd.Context(), args[0], func(ctx context.Context, conn *broker.Conn, s order.Service) ([]broker.Paused, error) {
				if dryRun {
					return conn.Pauses(ctx, s)
				}
				return conn.Resume(ctx, s)
			})
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say how it is now")
	a.outputFlag(cmd, formTable, formJSON)
	return cmd
}

// pause does something about a service's durables and prints how they are then.
func (a *app) pause(ctx context.Context, name string, do func(context.Context, *broker.Conn, order.Service) ([]broker.Paused, error)) error {
	s, err := serviceNamed("service", name)
	if err != nil {
		return err
	}
	conn, err := a.connect(ctx, a.logger())
	if err != nil {
		return err
	}
	defer conn.Close()
	durables, err := do(ctx, conn, s)
	views := make([]pauseView, 0, len(durables))
	rows := make([][]string, 0, len(durables))
	for _, d := range durables {
		views = append(views, pauseView{d.Durable, !d.Until.IsZero(), d.Until})
		rows = append(rows, []string{d.Durable, pauseState(d.Until, time.Now())})
	}
	if err != nil {
		if len(durables) > 0 {
			return &exitError{exitPartly, fmt.Errorf("%d durables done; doing it again goes on: %w", len(durables), err)}
		}
		return err
	}
	if a.output == formJSON {
		return writeJSON(a.stdout, views, true)
	}
	return table(a.stdout, []string{"DURABLE", "STATE"}, rows)
}

func pauseState(until, now time.Time) string {
	switch left := until.Sub(now); {
	case until.IsZero():
		return "running"
	case left > untilResumed/2:
		return "paused until resumed"
	default:
		return fmt.Sprintf("paused until %s (%v)", until.Format(time.RFC3339), left.Round(time.Second))
	}
}
