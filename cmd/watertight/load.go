package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher/load"
)

// profiles are the shapes of a load.
var profiles = map[string]func(rate float64, d time.Duration) load.Profile{
	"steady": func(rate float64, _ time.Duration) load.Profile { return load.Steady(rate) },
	"ramp":   load.Ramp,
	"spike":  load.Spike,
	"sale":   load.Sale,
}

// maxLoad bounds what a run keeps in memory: about 250 bytes an order.
const maxLoad = 20_000_000

// loadConfig is what the flags of load say.
type loadConfig struct {
	rate       float64
	duration   time.Duration
	profile    string
	seed       uint64
	malformed  float64
	drain      time.Duration
	admin      string
	faults     []string
	thresholds []string

	limits []load.Threshold
	plan   []plannedFault
}

func newLoad(a *app) *cobra.Command {
	var cfg loadConfig
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Place orders at a rate, measure every service end to end, account for all",
		Long: `Place orders at a rate and measure every service end to end.

It is an open loop: an order is due at its time, whatever became of those before,
and latency counts from then until the service's outcome is stored, that of an ack
until the broker has said that it has the order. What hasn't come when the load ends
(and 0.2 s) counts with its age; the accounting waits for outcomes, for --drain at most.

A fault is TARGET=FAULT@START+LENGTH, such as payment=hang:50%@10s+15s, and is
switched on the simulator (--sim-admin), which describes faults in 'sim --help'.
A threshold is SERVICE.FIGURE<VALUE; figures are p50, p99 and max over the whole
load, w50 and w99 (medians of 1-s windows), and finished (a share).

Exit code 0: done, and all thresholds hold; 99: one doesn't; 5: nothing is judged, as
the generator itself couldn't keep its schedule or was stopped; 130: by Ctrl-C; 1: an
order was refused, or the run failed.`,
		Example: `  watertight load --rate 300 --duration 30s
  watertight load --rate 500 --duration 1m --profile sale --threshold 'notification.p99<50ms'
  watertight load --rate 300 --duration 40s --sim-admin http://127.0.0.1:8091 --fault payment=hang@10s+15s`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cfg.complete(); err != nil {
				return err
			}
			return a.load(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.Float64Var(&cfg.rate, "rate", 100, "orders a second, of a profile that changes: at its height (spike: beside it)")
	f.DurationVar(&cfg.duration, "duration", 30*time.Second, "how long")
	f.StringVar(&cfg.profile, "profile", "steady", "shape of the load: "+strings.Join(slices.Sorted(maps.Keys(profiles)), ", "))
	f.Uint64Var(&cfg.seed, "seed", 1, "the same orders again, but for their ids")
	f.Float64Var(&cfg.malformed, "malformed", 0, "share of orders that no service can read, 0 to 1")
	f.DurationVar(&cfg.drain, "drain", 30*time.Second, "how long to wait afterwards until every order is settled")
	f.StringVar(&cfg.admin, "sim-admin", "", "the simulator's switches, such as http://127.0.0.1:8091")
	f.StringArrayVar(&cfg.faults, "fault", nil, "TARGET=FAULT@START+LENGTH; may be repeated")
	f.StringArrayVar(&cfg.thresholds, "threshold", nil, "SERVICE.FIGURE<VALUE; may be repeated")
	a.outputFlag(cmd, formTable, formJSON)
	return cmd
}

// complete checks the configuration and fills in what follows from it.
func (c *loadConfig) complete() error {
	shape, ok := profiles[c.profile]
	switch {
	case !ok:
		return usagef("--profile %q: one of %s", c.profile, strings.Join(slices.Sorted(maps.Keys(profiles)), ", "))
	case !(c.rate >= 0.1 && c.rate <= 100_000):
		return usagef("--rate %v: must be 0.1 to 100000 orders a second", c.rate)
	case c.duration < time.Second:
		return usagef("--duration %v: must be at least 1s", c.duration)
	case !(c.malformed >= 0 && c.malformed <= 1):
		return usagef("--malformed %v: must be 0 to 1", c.malformed)
	case c.drain <= 0:
		return usagef("--drain %v: must be positive", c.drain)
	}
	if n := shape(c.rate, c.duration).Orders(c.duration); n > maxLoad {
		return usagef("--rate %v for %v is %d orders; at most %d are kept in memory", c.rate, c.duration, n, maxLoad)
	}
	for _, s := range c.thresholds {
		t, err := load.ParseThreshold(s, order.Services())
		if err != nil {
			return usagef("--threshold: %w", err)
		}
		c.limits = append(c.limits, t)
	}
	var err error
	c.plan, err = planFaults(c.faults, c.admin, c.duration)
	return err
}

// load runs and reports. A run that is cut short reports what was measured.
func (a *app) load(ctx context.Context, cfg loadConfig) error {
	log := a.logger()
	conn, err := a.connect(ctx, log)
	if err != nil {
		return err
	}
	defer conn.Close()
	way, stop := noted(ctx, conn, log)
	defer stop()
	switches := newSwitches(cfg.admin)
	if len(cfg.plan) > 0 {
		if err := switches.reach(ctx); err != nil {
			return err
		}
	}

	journal := load.NewJournal(order.Services()...)
	from, err := load.Now(ctx, conn)
	if err != nil {
		return err
	}
	watching, endWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer endWatching()
	watchers, watching := errgroup.WithContext(watching)
	watchers.Go(func() error { return load.Follow(watching, conn, journal, from) })
	start := time.Now().Add(100 * time.Millisecond)
	watchers.Go(func() error { return a.watchLoad(watching, journal, start) })

	failed := cfg.send(ctx, way, switches, journal, start)
	if failed == nil {
		drain, cancel := context.WithTimeout(ctx, cfg.drain)
		if err := journal.Wait(drain, order.Services()...); err != nil && ctx.Err() == nil {
			log.Warn().Str("event", "load.not_drained").Dur("drain_ms", cfg.drain).Msg("orders are still on their way; they are counted as open")
		}
		cancel()
	}
	endWatching()
	failed = errors.Join(failed, watchers.Wait())
	return a.reportLoad(ctx, cfg, journal, start, failed)
}

// send places the orders, with the faults at their times.
func (c *loadConfig) send(ctx context.Context, way load.Broker, s *switches, j *load.Journal, start time.Time) error {
	faulty, endFaults := context.WithDeadline(ctx, start.Add(c.duration))
	defer endFaults()
	faulted := make(chan error, 1)
	go func() { faulted <- s.follow(faulty, start, c.plan) }()
	// Whatever is due is sent, also late; but not for ever.
	late, give := context.WithDeadline(ctx, start.Add(c.duration+c.drain))
	defer give()
	failed := load.Run(late, way, j, load.Config{
		Profile: profiles[c.profile](c.rate, c.duration), Start: start, Duration: c.duration,
		Orders: load.Orders{Seed: c.seed, Malformed: c.malformed},
	})
	if failed != nil {
		endFaults()
	}
	return errors.Join(failed, <-faulted)
}

// reportLoad prints the report and returns what the exit code follows from.
func (a *app) reportLoad(ctx context.Context, cfg loadConfig, j *load.Journal, start time.Time, failed error) error {
	var short []string
	if ctx.Err() != nil {
		short = append(short, "it was interrupted")
	}
	if failed != nil {
		short = append(short, "it failed: "+firstLine(failed))
	}
	end := min(cfg.duration, max(0, time.Since(start)))
	r := newLoadReport(cfg, j, load.Phase{From: start, To: start.Add(end)}, short)
	if err := a.printLoad(r); err != nil {
		return err
	}
	if failed != nil {
		return failed // the figures above are of what there was
	}
	if err := ended(ctx); exitCode(err) != exitOK {
		return err
	}
	return r.verdict() // also after SIGTERM: what was cut short hasn't passed
}

// watchLoad prints a line a second.
func (a *app) watchLoad(ctx context.Context, j *load.Journal, start time.Time) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if a.output != formJSON {
				fmt.Fprintln(a.stderr, secondOf(j, start, "load"))
			}
		}
	}
}
