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

	root := newRoot(stdin, stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, errSilent) {
		fmt.Fprintln(stderr, "watertight: "+err.Error())
	}
	return exitCode(err)
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

	server, natsContext, creds string
	output                     string
	quiet                      bool
	verbose                    bool
	noColor                    bool
}

func newRoot(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := &cobra.Command{
		Use:   "watertight",
		Short: "Order processing that stays available when one of its services floods",
		Example: `  watertight demo                     a peak sale with a hanging payment provider, in one process
  watertight serve --sim              all services, against a pretended outside world
  watertight publish orders.jsonl     place orders, one JSON object a line
  watertight dlq ls                   what was given up, and why`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          args(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			switch {
			case a.server != "" && a.natsContext != "":
				return usagef("--server and --context both name a server: choose one")
			case a.quiet && a.verbose:
				return usagef("--quiet and --verbose: choose one")
			}
			return nil
		},
	}
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })

	f := root.PersistentFlags()
	f.StringVarP(&a.server, "server", "s", "", "NATS server URL(s) (env NATS_URL)")
	f.StringVar(&a.natsContext, "context", "", "connect as a context of the nats command line tool says (env NATS_CONTEXT)")
	f.StringVar(&a.creds, "creds", "", "NATS credentials file (env NATS_CREDS)")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "log errors only")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "log everything")
	f.BoolVar(&a.noColor, "no-color", os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb", "no colours (env NO_COLOR)")

	root.AddCommand(
		newDemo(a), newServe(a), newPublish(a), newLoad(a), newDLQ(a), newSim(a), newProvision(a), newCheck(a), newHealthcheck(a), newAudit(a), newPause(a), newResume(a), newVersion(a),
	)
	return root
}
