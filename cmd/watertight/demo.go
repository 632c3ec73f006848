package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/watertight-go/watertight/internal/demo"
	"github.com/watertight-go/watertight/internal/sim"
	"github.com/watertight-go/watertight/order"
)

// demoConfig is what the flags of demo say.
type demoConfig struct {
	plan   demo.Plan
	fault  string
	target sim.Target
	faults sim.Faults
	store  string
	exit   bool

	network *sim.Network // of a test, on which nothing else is; nil: that of the machine
}

func newDemo(a *app) *cobra.Command {
	cfg := demoConfig{plan: demo.DefaultPlan()}
	p := &cfg.plan
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "A peak sale in one process: one service is struck, the others must not notice; then the same without bulkheads",
		Long: `A peak sale in one process, on an embedded NATS server: a baseline, then one
service is struck by a fault while each has a bulkhead of its own, then the same
fault with all services in one shared pool (the control), then recovery.

The report says whether the healthy services held, whether the control shows
that the bulkheads were the reason, and where every order is. On a terminal the
services stay up afterwards, to try the suggested commands on, until Ctrl-C.

The payment gateway and the mail server are pretended, over real HTTP and SMTP.

Exit code 0: held, proven and nothing lost; 1: not; 5: inconclusive, the machine
was too restless to tell.`,
		Example: `  watertight demo
  watertight demo --exit -o json
  watertight demo --fault mail=hang:50%+errors:50%
  watertight demo --rate 600 --seed 7`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f := cmd.Flags(); f.Changed("server") || f.Changed("context") { // the environment may name one for others
				return usagef("demo runs a NATS server of its own; leave -s and --context out")
			}
			if err := cfg.complete(a); err != nil {
				return err
			}
			return a.demo(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.Float64Var(&p.Rate, "rate", p.Rate, "orders a second, sent whether or not those before were answered")
	f.Uint64Var(&p.Seed, "seed", p.Seed, "the same orders and the same dice again")
	f.StringVar(&cfg.fault, "fault", "payment=hang:50%+deaf:50%", "TARGET=FAULT, as `sim --help` describes them")
	f.DurationVar(&p.WarmUp, "warm-up", p.WarmUp, "length of the warm-up, which isn't counted")
	f.DurationVar(&p.Baseline, "baseline", p.Baseline, "length of the baseline")
	f.DurationVar(&p.Struck, "struck", p.Struck, "length of the fault, each service in its own bulkhead")
	f.DurationVar(&p.Control, "control", p.Control, "length of the fault, all services in one shared pool")
	f.DurationVar(&p.Recovery, "recovery", p.Recovery, "longest wait until every order is settled")
	f.StringVar(&cfg.store, "store", "", "folder of the server's data, kept afterwards (default a temporary one)")
	f.BoolVar(&cfg.exit, "exit", false, "end with the report, also on a terminal")
	a.outputFlag(cmd, formTable, formJSON)
	return cmd
}

// complete checks the configuration and fills in what follows from it.
func (c *demoConfig) complete(a *app) error {
	var err error
	if c.target, c.faults, err = sim.ParseFault(c.fault); err != nil {
		return usagef("--fault: %w", err)
	}
	if len(c.faults) == 0 {
		return usagef("--fault %s: the demo needs a fault to show anything", c.fault)
	}
	c.plan.Faulty, c.plan.Fault = service(c.target), c.faults.String()
	if err := c.plan.Validate(); err != nil {
		return usage(err)
	}
	if a.output == formJSON || !isTerminal(a.stdout) {
		c.exit = true
	}
	return nil
}

// service is whose outside world a target is.
func service(t sim.Target) order.Service {
	if t == sim.Mail {
		return order.Notification
	}
	return order.Service(t)
}

// strike is the target's fault line while it is struck: its own on top of the
// everyday.
func (c *demoConfig) strike() sim.Faults {
	faults := slices.Clone(c.faults)
	for _, f := range c.everyday(c.target) {
		if !slices.ContainsFunc(faults, func(g sim.Fault) bool { return g.Kind == f.Kind }) {
			faults = append(faults, f)
		}
	}
	return faults
}

// everyday is what is wrong with a target on a good day.
func (c *demoConfig) everyday(t sim.Target) sim.Faults {
	if t != sim.Payment || c.plan.Declines == 0 {
		return nil
	}
	return sim.Faults{{Kind: sim.Declines, Share: c.plan.Declines}}
}

func (a *app) demo(ctx context.Context, cfg demoConfig) (err error) {
	log := a.logger()
	if !a.verbose {
		log = log.Level(zerolog.ErrorLevel) // hundreds of failures are the point
	}
	if cfg.store == "" {
		dir, err := os.MkdirTemp("", "watertight-demo-")
		if err != nil {
			return fmt.Errorf("make a folder for the demo: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		cfg.store = dir
	}
	p := cfg.plan
	fmt.Fprintf(a.stderr, "A sale at %g orders/s; three services, %d slots each. After %v %s is struck by %s; the report comes in about %v.\n%s.\n",
		p.Rate, p.Slots, p.WarmUp+p.Baseline, p.Faulty, p.Fault, (p.WarmUp + p.Baseline + p.Struck + p.Control + 5*time.Second).Round(time.Second), sim.Banner)

	s, err := a.openStage(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	result, err := s.play(ctx)
	if err != nil {
		if ctx.Err() == nil {
			return err
		}
		return s.interrupted(ctx)
	}
	if a.output == formJSON {
		err = writeJSON(a.stdout, result.Document(), true)
	} else {
		fmt.Fprintln(a.stdout)
		err = result.WriteText(a.stdout)
	}
	if err != nil {
		return err
	}
	if !cfg.exit {
		fmt.Fprintf(a.stderr, "\nThe services are up, NATS at %s. Ctrl-C ends them.\n", s.server.URL())
		<-ctx.Done()
	}
	switch result.Verdict.Word {
	case demo.Proven:
		return nil
	case demo.Inconclusive:
		return &exitError{exitPartly, errSilent}
	default:
		return &exitError{exitFailure, errSilent}
	}
}
