package main

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/embedded"
)

// open connects to the broker that the user named, or runs one. It returns where
// others reach it, and what ends it.
func (a *app) open(ctx context.Context, cfg serveConfig, log zerolog.Logger) (conn *broker.Conn, at string, stop func() error, err error) {
	if a.named() {
		for _, f := range []struct {
			set  bool
			name string
		}{{cfg.store != "", "--store"}, {cfg.port != 0, "--port"}, {cfg.syncAlways, "--sync-always"}} {
			if f.set {
				return nil, "", nil, usagef("%s is for the embedded server, and a server is named", f.name)
			}
		}
		if conn, err = a.connect(ctx, log); err != nil {
			return nil, "", nil, err
		}
		return conn, conn.URL(), func() error { conn.Close(); return nil }, nil
	}
	server, err := startEmbedded(embedded.Config{Store: cfg.store, Port: cfg.port, SyncAlways: cfg.syncAlways}, log)
	if err != nil {
		return nil, "", nil, err
	}
	if conn, err = inProcess(ctx, server, log); err != nil {
		return nil, "", nil, errors.Join(err, server.Close())
	}
	return conn, server.URL(), func() error { conn.Close(); return server.Close() }, nil
}

// inProcess connects to an embedded server.
func inProcess(ctx context.Context, server *embedded.Server, log zerolog.Logger) (*broker.Conn, error) {
	return broker.Connect(ctx, broker.Config{
		Name: "watertight " + version(), Trouble: logTrouble(log), Options: []nats.Option{server.InProcess()},
	})
}

// startEmbedded runs a server, by default on the user's folder.
func startEmbedded(cfg embedded.Config, log zerolog.Logger) (*embedded.Server, error) {
	if cfg.Store == "" {
		var err error
		if cfg.Store, err = embedded.DefaultStore(); err != nil {
			return nil, err
		}
	}
	server, err := embedded.Start(cfg)
	if errors.Is(err, embedded.ErrLocked) {
		return nil, usage(err)
	}
	if err != nil {
		return nil, err
	}
	log.Info().Str("event", "broker.embedded").Str("nats", server.URL()).Str("store", cfg.Store).Bool("sync_always", cfg.SyncAlways).
		Msg("embedded NATS is ready; without --sync-always a power cut can lose the last two minutes, a killed process nothing")
	return server, nil
}
