package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/rejections"
)

// serveConfig is what the flags of serve say.
type serveConfig struct {
	shape
	services    []order.Service
	slots       int
	drain       time.Duration
	floodedExit time.Duration

	store      string
	port       int
	syncAlways bool
	listen     string

	outside outsideConfig
}

func newServe(a *app) *cobra.Command {
	var cfg serveConfig
	cmd := &cobra.Command{
		Use:   "serve [payment] [inventory] [notification]",
		Short: "Run services: all, or those that are named",
		Long: `Run services: all, or those that are named, so that one process a service works.

Without a server (-s, --context, NATS_URL, NATS_CONTEXT) a NATS server is run in
the process, with its data in --store. Several processes need a server.

It answers /livez, /readyz and /metrics on --listen.`,
		Example: `  watertight serve --sim
  watertight serve --gateway https://pay.example.com --mail mail.example.com:25 --stock stock.csv
  watertight serve payment -s nats://nats-1:4222 --gateway https://pay.example.com`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cfg.complete(args); err != nil {
				return err
			}
			return a.serve(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	cfg.flags(f)
	f.IntVar(&cfg.slots, "slots", 16, "handlers of one service that run at a time")
	f.DurationVar(&cfg.drain, "drain", 0, "how long running handlers may go on after a signal; 0: the timeout and 5 s")
	f.DurationVar(&cfg.floodedExit, "flooded-exit", 10*time.Minute, "how long all slots of a service may be held by handlers that outlived their timeout: then /livez fails, and when all services are so, the process exits with code 1; 0: never")
	f.StringVar(&cfg.store, "store", "", "folder of the embedded server's data (default $XDG_DATA_HOME/watertight or ~/.local/share/watertight)")
	f.IntVar(&cfg.port, "port", 0, "port of the embedded server on 127.0.0.1 (default 4222, or a free one when that is taken)")
	f.BoolVar(&cfg.syncAlways, "sync-always", false, "embedded server: write through to the disk before acknowledging; survives a power cut")
	f.StringVar(&cfg.listen, "listen", "", "address of /livez, /readyz and /metrics (default "+defaultListen+", or a free port when it is taken)")
	cfg.outside.flags(f)
	return cmd
}

// complete checks the configuration and fills in what follows from it.
func (c *serveConfig) complete(args []string) error {
	if err := c.validate(); err != nil {
		return err
	}
	if c.slots < 1 || c.slots > 10_000 {
		return usagef("--slots %d: must be 1 to 10000", c.slots)
	}
	if c.port < 0 || c.port > 65535 {
		return usagef("--port %d: must be 1 to 65535", c.port)
	}
	if c.drain < 0 {
		return usagef("--drain %v: must not be negative", c.drain)
	}
	if c.floodedExit < 0 {
		return usagef("--flooded-exit %v: must not be negative", c.floodedExit)
	}
	known := order.Services()
	for _, name := range args {
		s := order.Service(name)
		if !slices.Contains(known, s) {
			return usagef("unknown service %q: one of %s", name, joined(known))
		}
		if !slices.Contains(c.services, s) {
			c.services = append(c.services, s)
		}
	}
	if len(c.services) == 0 {
		c.services = known
	}
	return c.outside.complete(c.services)
}

func joined(services []order.Service) string {
	names := make([]string, 0, len(services))
	for _, s := range services {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

// serve runs until ctx ends, then stops in order: no more orders, then the
// handlers, then what they need.
func (a *app) serve(ctx context.Context, cfg serveConfig) (err error) {
	log := a.logger()
	conn, at, stop, err := a.open(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()

	plan := cfg.plan(!a.named())
	changes, err := conn.Provision(ctx, plan, false)
	a.logChanges(log, changes)
	if err != nil {
		return err
	}

	// What the handlers need outlives them: it ends when they have ended.
	support, endSupport := context.WithCancel(context.WithoutCancel(ctx))
	defer endSupport()
	helpers, support := errgroup.WithContext(support)

	world, err := cfg.outside.open(support, conn, cfg.services, log, helpers)
	if err != nil {
		return err
	}
	defer world.close()

	reg := newRegistry()
	deadletter.NewMetrics(reg, deadletter.New(conn, operator()), order.Services())
	rejected := rejections.New(conn, rejections.Config{Log: log, Metrics: rejections.NewMetrics(reg), Instance: instance()})
	common := consumer.Config{
		Policy:     consumer.Policy{Retry: cfg.retry},
		Gate:       consumer.NewGate(),
		Drain:      cfg.drain,
		Log:        log,
		Rejections: rejected,
		Metrics:    consumer.NewMetrics(reg),
		Instance:   instance(),
		Version:    version(),
	}
	l, err := listen(ctx, cfg.listen)
	if err != nil {
		return err
	}
	defer l.Close() //nolint:errcheck // it may be closed already
	h := &health{ready: append([]check{{"broker", conn.Check}, {"stopping", func() error { return context.Cause(ctx) }}}, world.checks...)}
	workers, working := errgroup.WithContext(ctx)
	for _, name := range cfg.services {
		pool, err := bulkhead.New(poolConfig(name, cfg.slots, cfg.timeout, log, rejected))
		if err != nil {
			return err
		}
		defer drainPool(pool, log)
		of := common
		of.Service, of.Handler, of.Bulkhead = name, world.handlers[name], pool
		g, err := consumer.New(conn, of)
		if err != nil {
			return err
		}
		h.add(name, g, cfg.floodedExit)
		workers.Go(func() error { return g.Run(working) })
	}
	dog := newWatchdog(reg, log)
	helpers.Go(func() error { return rejected.Run(support) })
	helpers.Go(func() error { return serveHTTP(support, l, h.handler(reg), log) })
	helpers.Go(func() error { return keepTrimmed(support, conn, log) })
	helpers.Go(func() error { return audit.Watch(support, conn, plan, dog) })
	workers.Go(func() error { return h.outlive(working, log) })
	workers.Go(func() error { return withHelp(working, support) })
	log.Info().Str("event", "serve.started").Str("services", joined(cfg.services)).Str("nats", at).
		Str("http", "http://"+l.Addr().String()).Int("slots", cfg.slots).Dur("timeout_ms", cfg.timeout).Msg("taking orders")

	failed := workers.Wait()
	log.Info().Str("event", "serve.stopped").Msg("no order is being worked on; closing")
	endSupport()
	return errors.Join(failed, ignoreCanceled(helpers.Wait()), ended(ctx))
}

// withHelp returns nil when the work ends, and why a helper has failed when that
// comes first, which takes the process down: half a service helps nobody.
func withHelp(working, support context.Context) error {
	select {
	case <-support.Done():
		return context.Cause(support)
	case <-working.Done():
		return nil
	}
}

// logChanges says what was missing on the broker, and what differs.
func (a *app) logChanges(log zerolog.Logger, changes []broker.Change) {
	created := 0
	for _, c := range changes {
		if c.Action == broker.Drifted {
			log.Warn().Str("event", "topology.drifted").Strs("fields", c.Fields).Msgf("%s %s differs and is left as it is; `%s` changes it", c.Kind, c.Name, a.self("provision"))
			continue
		}
		created++
		log.Debug().Str("event", "topology.created").Msg(c.String())
	}
	if created > 0 {
		log.Info().Str("event", "topology.created").Int("created", created).Msg("streams and durables were missing and have been created")
	}
}
