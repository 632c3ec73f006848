package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/order"
)

// shape is what the broker and the groups must agree on.
type shape struct {
	timeout  time.Duration
	retry    []time.Duration
	replicas int
}

// defaultTimeout is how long one attempt of a handler may take.
const defaultTimeout = 2 * time.Second

func (s *shape) flags(f *pflag.FlagSet) {
	f.DurationVar(&s.timeout, "timeout", defaultTimeout, "hard limit on one attempt of a handler")
	f.DurationSliceVar(&s.retry, "retry", consumer.DefaultRetry(), "how long the n-th retry waits")
	f.IntVar(&s.replicas, "replicas", 0, "servers that keep each message; 0: 1 embedded, 3 otherwise")
	shared(f, "timeout", "retry", "replicas")
}

func (s *shape) validate() error {
	if s.timeout <= 0 {
		return usagef("--timeout %v: must be positive", s.timeout)
	}
	for i, d := range s.retry {
		if d <= 0 || (i > 0 && d < s.retry[i-1]) {
			return usagef("--retry %v: delays must be positive and must not shrink", s.retry)
		}
	}
	if len(s.retry) > 20 {
		return usagef("--retry: at most 20 delays, got %d", len(s.retry))
	}
	if s.replicas < 0 || s.replicas > 5 {
		return usagef("--replicas %d: 1, 3 or 5", s.replicas)
	}
	return nil
}

// plan is the topology of the shop. Its services begin with the first order ever
// stored, so that none is missed that was placed before they first ran.
func (s *shape) plan(embedded bool) broker.Plan {
	p := broker.Plan{Replicas: s.replicas}
	if p.Replicas == 0 {
		p.Replicas = 3
		if embedded {
			p.Replicas = 1
		}
	}
	for _, name := range order.Services() {
		p.Services = append(p.Services, broker.Service{
			Name: name, Tiers: len(s.retry), AckWait: consumer.AckWait(s.timeout, 0), FromStart: true,
		})
	}
	return p
}

// provisionConfig is what the flags of provision say.
type provisionConfig struct {
	shape
	dryRun bool
	diff   bool
	wait   time.Duration
}

func newProvision(a *app) *cobra.Command {
	var cfg provisionConfig
	cmd := &cobra.Command{
		Use:   "provision",
		Short: "Create the streams and durables on a broker, and bring what differs in line",
		Long: `Create the streams and durables on a broker, and bring what differs in line.

serve creates what is missing and only reports what differs; this verb alone
changes what exists. Running it again changes nothing.`,
		Example: `  watertight provision -s nats://nats-1:4222 --dry-run --diff    what would be created or changed
  watertight provision -s nats://nats-1:4222 --wait 60s          as soon as the cluster takes it
  watertight provision -s nats://127.0.0.1:4222 --replicas 1     a single server`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cfg.validate(); err != nil {
				return err
			}
			if cfg.wait < 0 {
				return usagef("--wait %v: must not be negative", cfg.wait)
			}
			return a.provision(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	cfg.flags(f)
	f.BoolVar(&cfg.dryRun, "dry-run", false, "say what would be done and change nothing")
	f.BoolVar(&cfg.diff, "diff", false, "say of what differs from what to what")
	f.DurationVar(&cfg.wait, "wait", 0, "how long to try again while the broker isn't there or a cluster isn't complete")
	a.outputFlag(cmd, formTable, formJSON)
	return cmd
}

// provisionPause is between two tries of --wait.
const provisionPause = 500 * time.Millisecond

// provision does it, and says what it did also when it failed half-way. With a
// wait it tries again until all is done or the time is over.
func (a *app) provision(ctx context.Context, cfg provisionConfig) error {
	var done []broker.Change
	log, until, said := a.logger(), time.Now().Add(cfg.wait), ""
	for {
		changes, err := a.provisionOnce(ctx, cfg, log)
		if cfg.dryRun {
			done = nil // the whole of it is said anew each time
		}
		done = append(done, changes...)
		if err != nil && ctx.Err() == nil && time.Until(until) > provisionPause {
			if said != err.Error() {
				said = err.Error()
				log.Info().Str("event", "provision.waiting").Err(err).Msg("not yet; trying again")
			}
			select {
			case <-time.After(provisionPause):
				continue
			case <-ctx.Done():
			}
		}
		if err != nil && ctx.Err() != nil {
			err = cutShort(ctx)
		}
		if err == nil || len(done) > 0 || a.output == formJSON {
			if shown := a.showChanges(cfg, done); shown != nil {
				return shown
			}
		}
		if err != nil && len(done) > 0 && !cfg.dryRun {
			return fmt.Errorf("not all is provisioned; running it again goes on: %w", err)
		}
		return err
	}
}

func (a *app) provisionOnce(ctx context.Context, cfg provisionConfig, log zerolog.Logger) ([]broker.Change, error) {
	conn, err := a.connect(ctx, log)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if cfg.dryRun {
		return conn.Compare(ctx, cfg.plan(false))
	}
	return conn.Provision(ctx, cfg.plan(false), true)
}

// changeView is one line of what provision prints.
type changeView struct {
	Kind   string   `json:"kind"`
	Name   string   `json:"name"`
	Action string   `json:"action"` // created, updated; of a dry run: missing, drifted
	Fields []string `json:"fields,omitempty"`
}

// provisionView is the document of -o json.
type provisionView struct {
	DryRun  bool         `json:"dry_run"`
	Changes []changeView `json:"changes"`
}

func (a *app) showChanges(cfg provisionConfig, changes []broker.Change) error {
	v := provisionView{DryRun: cfg.dryRun, Changes: []changeView{}}
	for _, c := range changes {
		fields := c.Fields
		if !cfg.diff {
			fields = make([]string, 0, len(c.Fields))
			for _, f := range c.Fields {
				name, _, _ := strings.Cut(f, ":")
				fields = append(fields, name)
			}
		}
		v.Changes = append(v.Changes, changeView{c.Kind, c.Name, string(c.Action), fields})
	}
	if a.output == formJSON {
		return writeJSON(a.stdout, v, true)
	}
	if len(v.Changes) == 0 {
		fmt.Fprintln(a.stderr, "nothing to change")
		return nil
	}
	rows := make([][]string, 0, len(v.Changes))
	for _, c := range v.Changes {
		rows = append(rows, []string{c.Action, c.Kind, c.Name, strings.Join(c.Fields, "; ")})
	}
	return table(a.stdout, []string{"ACTION", "KIND", "NAME", "DIFFERS IN"}, rows)
}
