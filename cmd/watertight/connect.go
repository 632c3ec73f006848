package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"github.com/synadia-io/orbit.go/natscontext"

	"github.com/watertight-go/watertight/broker"
)

// named reports whether the user named a server.
func (a *app) named() bool {
	return a.server != "" || a.natsContext != ""
}

// connect connects to the server that the user named, or to the default one.
func (a *app) connect(ctx context.Context, log zerolog.Logger, opts ...nats.Option) (*broker.Conn, error) {
	cfg := broker.Config{
		URL:         a.server,
		Name:        "watertight " + version(),
		Credentials: a.creds,
		Trouble:     logTrouble(log),
		Options:     opts,
	}
	if name := a.natsContext; name != "" {
		cfg.Dial = func(opts ...nats.Option) (*nats.Conn, error) {
			nc, settings, err := natscontext.Connect(name, opts...)
			if err != nil {
				return nil, fmt.Errorf("context %s: %w", name, err)
			}
			if settings.JSDomain != "" || settings.JSAPIPrefix != "" {
				nc.Close()
				return nil, fmt.Errorf("context %s names a JetStream domain or API prefix, which Watertight doesn't speak; connect to that domain's servers", name)
			}
			return nc, nil
		}
	}
	conn, err := broker.Connect(ctx, cfg)
	if err != nil && !a.named() {
		return nil, fmt.Errorf("%w\nIs a server running? `%s` starts one; -s names another", err, a.self("serve --sim"))
	}
	return conn, err
}

// defaultURL is where a server is expected when none is named.
const defaultURL = "nats://127.0.0.1:4222"

// logTrouble puts what the broker says about the connection into the log.
func logTrouble(log zerolog.Logger) func(broker.Trouble) {
	return func(t broker.Trouble) {
		if t.Err == nil {
			log.Info().Str("event", t.Event).Msg("connected to the broker again")
			return
		}
		log.Error().Err(t.Err).Str("event", t.Event).Msg("trouble with the broker")
	}
}

// self is the command line that runs this program with args the way the user
// does.
func (a *app) self(args string) string {
	program := filepath.Base(os.Args[0])
	if exe, err := os.Executable(); err == nil && strings.Contains(exe, string(filepath.Separator)+"go-build") {
		program = "go run ./cmd/watertight"
	}
	return program + " " + args
}

// instance names this process in dead letters.
func instance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// operator names the person at the desk.
func operator() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return cmp.Or(os.Getenv("USER"), os.Getenv("LOGNAME"), fmt.Sprintf("uid %d", os.Getuid())) + "@" + host
}
