package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/watertight-go/watertight/broker"
)

// grade says how good something is.
type grade int

const (
	gradeOK grade = iota
	gradeWarn
	gradeFail
)

// MarshalText returns the grade as it is printed.
func (g grade) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// String does too.
func (g grade) String() string { return [...]string{"ok", "warn", "fail"}[g] }

// finding is one line of check.
type finding struct {
	Result grade  `json:"result"`
	Check  string `json:"check"`
	Says   string `json:"says"`
	Do     string `json:"do,omitempty"` // what to do about it
}

// checkConfig is what the flags of check say.
type checkConfig struct {
	shape
	monitors []string
}

func newCheck(a *app) *cobra.Command {
	var cfg checkConfig
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Look a broker over: can Watertight run on it, and does it keep what it acknowledges",
		Long: `Look a broker over and change nothing: the connection, what this user may do,
the streams and their replicas, what differs from the topology, and whether the
servers write through to the disk. Each is a line: ok, warn or fail, and what to
do.

Exit code 0: nothing failed; 1: something did; 3: no server answered.`,
		Example: `  watertight check --monitor http://127.0.0.1:8222,http://127.0.0.1:8223,http://127.0.0.1:8224
  watertight check -s nats://nats-1:4222 --replicas 1 -o json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cfg.validate(); err != nil {
				return err
			}
			for i, m := range cfg.monitors {
				u, err := pageOf(m, "/varz")
				if err != nil {
					return usagef("--monitor %q: want a URL such as http://127.0.0.1:8222", withoutSecrets(m))
				}
				cfg.monitors[i] = u
			}
			return a.check(cmd.Context(), cfg)
		},
	}
	cfg.flags(cmd.Flags())
	cmd.Flags().StringSliceVar(&cfg.monitors, "monitor", nil, "monitoring address (http_port) of every server; it tells what a client isn't told")
	a.outputFlag(cmd, formTable, formJSON)
	return cmd
}

// check looks everything over. What is found in one place doesn't keep it from
// looking in the next.
func (a *app) check(ctx context.Context, cfg checkConfig) error {
	in := inspection{plan: cfg.plan(false), provision: a.self("provision")}
	conn, err := a.connect(ctx, zerolog.Nop(), nats.ErrorHandler(in.heard))
	switch {
	case errors.Is(err, broker.ErrServer):
		in.add(gradeFail, "connection", firstLine(err), "use a server and an account that Watertight can run on")
	case err != nil:
		in.add(gradeFail, "connection", firstLine(err), "start the server, or name another with -s")
	default:
		defer conn.Close()
		in.plan.MaxPayload = conn.MaxPayload()
		in.connection(ctx, conn)
		if cfg.replicas == 0 && conn.NATS().ConnectedClusterName() == "" {
			in.plan.Replicas = 1
			in.add(gradeWarn, "replicas", "a server without a cluster keeps each message once: its disk is the only one", "run three servers, or say --replicas 1 to check and provision")
		}
		in.permissions(ctx, conn)
		in.streams(ctx, conn)
		in.drift(ctx, conn)
	}
	in.servers(ctx, cfg.monitors)

	switch shown := a.showFindings(in.findings); {
	case shown != nil:
		return shown
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, broker.ErrUnreachable):
		return &exitError{exitNoNATS, errSilent}
	case slices.ContainsFunc(in.findings, func(f finding) bool { return f.Result == gradeFail }):
		return &exitError{exitFailure, errSilent}
	default:
		return nil
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func (a *app) showFindings(findings []finding) error {
	if a.output == formJSON {
		return writeJSON(a.stdout, findings, true)
	}
	rows := make([][]string, 0, len(findings))
	for _, f := range findings {
		says := f.Says
		if f.Do != "" {
			says += " → " + f.Do
		}
		rows = append(rows, []string{f.Result.String(), f.Check, printable(says)})
	}
	return table(a.stdout, []string{"RESULT", "CHECK", "FOUND → TO DO"}, rows)
}
