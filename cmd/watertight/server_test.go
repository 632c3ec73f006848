package main

import (
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server" //nolint:depguard // a server of brokertest has no users, no monitoring and no port
)

// serverConfig says what is special about a server.
type serverConfig struct {
	port   string   // by default a free one
	bare   bool     // without JetStream
	lax    bool     // syncs to the disk now and then, and not always
	denied []string // what the user "clerk" may not publish; then "shop" may
}

// natsServer is where a NATS server is, of one machine, that the test's end stops.
type natsServer struct{ url, monitor, version string }

func startServer(t *testing.T, cfg serverConfig) natsServer {
	t.Helper()
	opts := &server.Options{
		ServerName: "lone", Host: "127.0.0.1", Port: server.RANDOM_PORT, HTTPHost: "127.0.0.1", HTTPPort: server.RANDOM_PORT,
		JetStream: !cfg.bare, StoreDir: t.TempDir(), SyncAlways: !cfg.lax, MaxPayload: 2 << 20, NoSigs: true, NoLog: true,
	}
	if cfg.port != "" {
		port, err := strconv.Atoi(cfg.port)
		if err != nil {
			t.Fatal(err)
		}
		opts.Port = port
	}
	if cfg.denied != nil {
		opts.Users = []*server.User{
			{Username: "shop", Password: "x"},
			{Username: "clerk", Password: "x", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: cfg.denied}}},
		}
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(20 * time.Second) {
		t.Fatal("server not ready within 20 s")
	}
	return natsServer{ns.ClientURL(), "http://" + ns.MonitorAddr().String(), server.VERSION}
}
