// Command watertight processes a shop's orders during a peak sale, and keeps
// going when one of its services floods.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/watertight-go/watertight/broker"
)

// Exit codes.
const (
	exitOK           = 0
	exitFailure      = 1
	exitUsage        = 2
	exitNoNATS       = 3
	exitNothing      = 4 // nothing matched
	exitPartly       = 5 // some of it failed; of the demo: inconclusive
	exitInterrupted  = 130
	exitByTermSignal = 0 // a graceful stop
)

// exitError carries the exit code that an error means.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usage marks an error as the user's: exit code 2.
func usage(err error) error { return &exitError{exitUsage, err} }

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// stopped is the cause of the context's end after a signal.
type stopped struct{ os.Signal }

func (s stopped) Error() string { return "stopped by " + s.String() }

// ended returns the signal that ended ctx, if one did.
func ended(ctx context.Context) error {
	if by, ok := errors.AsType[stopped](context.Cause(ctx)); ok {
		return &exitError{exitCode(by), errSilent}
	}
	return nil
}

// cutShort is the error of a verb that a signal stopped half-way: SIGTERM too has then
// left something undone.
func cutShort(ctx context.Context) error {
	err := context.Cause(ctx)
	if exitCode(err) == exitOK {
		return &exitError{exitPartly, err}
	}
	return err
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		cancel(stopped{<-signals})
		<-signals
		os.Exit(exitInterrupted) // the second one: at once
	}()

	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	code := exitCode(err)
	if err != nil && !errors.Is(err, errSilent) {
		says := "watertight: " + err.Error()
		if code == exitUsage {
			says += a.origins(err)
		}
		fmt.Fprintln(stderr, says+a.remedy(err))
	}
	return code
}

// errSilent is returned by a verb that has said all there is to say.
var errSilent = errors.New("")

func exitCode(err error) int {
	var coded *exitError
	var by stopped
	switch {
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &by):
		if by.Signal == os.Interrupt {
			return exitInterrupted
		}
		return exitByTermSignal
	case err == nil:
		return exitOK
	case errors.Is(err, broker.ErrUnreachable):
		return exitNoNATS
	default:
		return exitFailure
	}
}

// app is what all verbs share.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	verb     string // that runs
	settings []*setting
	config   string // file of settings

	server, natsContext, creds string
	output                     string
	quiet                      bool
	verbose                    bool
	noColor                    bool
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "watertight",
		Short: "Order processing that stays available when one of its services floods",
		Long: `Order processing that stays available when one of its services floods.

Each flag can also be given by the environment or a YAML file (--config):
'watertight config --help' says how, and 'watertight config show' what holds.`,
		Example: `  watertight demo                     a peak sale with a hanging payment provider, in one process
  watertight serve --sim              all services, against a pretended outside world
  watertight publish orders.jsonl     place orders, one JSON object a line
  watertight dlq ls                   what was given up, and why`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              args(cobra.NoArgs),
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.configure(cmd) },
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })

	f := root.PersistentFlags()
	f.StringVarP(&a.server, "server", "s", "", "NATS server URL(s)")
	f.StringVar(&a.natsContext, "context", "", "connect as a context of the nats command line tool says")
	f.StringVar(&a.creds, "creds", "", "NATS credentials file")
	f.StringVar(&a.config, keyConfig, "", "YAML file of settings")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "log errors only")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "log everything")
	f.BoolVar(&a.noColor, "no-color", os.Getenv("TERM") == "dumb", "no colours")
	variable(f, "server", "NATS_URL")
	variable(f, "context", "NATS_CONTEXT")
	variable(f, "creds", "NATS_CREDS")
	variable(f, keyConfig, "WATERTIGHT_CONFIG")
	variable(f, "no-color", "NO_COLOR")

	root.AddCommand(
		newDemo(a), newServe(a), newPublish(a), newLoad(a), newDLQ(a), newRetry(a), newSim(a), newProvision(a), newCheck(a), newHealthcheck(a), newAudit(a), newRejections(a), newPause(a), newResume(a), newConfig(a), newVersion(a),
	)
	completions(root)
	return root
}
