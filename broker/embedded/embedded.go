// Package embedded runs a NATS server inside the process, so that a shop, a
// demo or a laptop needs nothing else installed. It is a real server with a
// file store: what it acknowledged is there after a restart on the same folder.
package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// DefaultPort is where the server listens when the port is free, so that the
// nats command line tool finds it.
const DefaultPort = 4222

// maxPayload is larger than the 1 MiB default, so that a message of 1 MiB still
// fits into a dead letter.
const maxPayload = 2 << 20

// readyWithin bounds how long a server may take to be ready. It replays its
// store first.
const readyWithin = 30 * time.Second

// ErrLocked is returned when another process uses the store.
var ErrLocked = errors.New("store is in use")

// Config says where the server keeps its data and where it listens.
type Config struct {
	// Store is the folder of the file store. It is created, and locked while
	// the server runs: two servers on one folder would both start and both
	// acknowledge. Required.
	Store string

	// Port is where the server listens on 127.0.0.1. Zero means DefaultPort
	// when it is free and a free one otherwise; -1 means no listener at all.
	Port int

	// SyncAlways makes the server write every message through to the disk
	// before it acknowledges, which survives a power cut and costs about
	// nine tenths of the throughput. Without it a killed process loses
	// nothing, a power cut up to two minutes.
	SyncAlways bool
}

// Server is a running server.
type Server struct {
	ns   *server.Server
	lock *flock.Flock
}

// DefaultStore is the folder used when none is named:
// $XDG_DATA_HOME/watertight, by default ~/.local/share/watertight.
func DefaultStore() (string, error) {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "watertight"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find a folder for the store (name one with --store): %w", err)
	}
	return filepath.Join(home, ".local", "share", "watertight"), nil
}

// Start returns a server that is ready. It returns ErrLocked when another
// process holds the store, and an error when there are messages on the disk that
// the server can't read: it would go on without them.
func Start(cfg Config) (*Server, error) {
	if cfg.Store == "" {
		return nil, errors.New("start embedded NATS: no store folder given")
	}
	if err := os.MkdirAll(cfg.Store, 0o700); err != nil {
		return nil, fmt.Errorf("start embedded NATS: %w", err)
	}
	lock := flock.New(filepath.Join(cfg.Store, "watertight.lock"))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("start embedded NATS: lock %s: %w", lock.Path(), err)
	}
	if !locked {
		return nil, fmt.Errorf("start embedded NATS on %s: %w by another process: stop it, or choose another folder with --store", cfg.Store, ErrLocked)
	}
	s := &Server{lock: lock}
	if s.ns, err = start(cfg); err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	return s, nil
}

func start(cfg Config) (*server.Server, error) {
	opts := &server.Options{
		ServerName: "watertight-embedded",
		Host:       "127.0.0.1",
		Port:       cfg.Port,
		DontListen: cfg.Port < 0,
		JetStream:  true,
		StoreDir:   cfg.Store,
		SyncAlways: cfg.SyncAlways,
		MaxPayload: maxPayload,
		NoSigs:     true,
		NoLog:      true,
	}
	if cfg.Port == 0 {
		opts.Port = DefaultPort
	}
	ns, err := ready(opts)
	if cfg.Port == 0 && errors.Is(err, errListen) {
		// Another server has the port.
		opts.Port = server.RANDOM_PORT
		ns, err = ready(opts)
	}
	if err != nil {
		return nil, fmt.Errorf("start embedded NATS on %s: %w", cfg.Store, err)
	}
	if err := unread(cfg.Store, ns); err != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
		return nil, fmt.Errorf("start embedded NATS on %s: %w", cfg.Store, err)
	}
	return ns, nil
}

// unread returns an error when a stream has messages on the disk and isn't there.
func unread(store string, ns *server.Server) error {
	info, err := ns.Jsz(&server.JSzOptions{Accounts: true, Streams: true})
	if err != nil {
		return fmt.Errorf("list streams: %w", err)
	}
	served := make(map[string]bool)
	for _, account := range info.AccountDetails {
		for _, s := range account.Streams {
			served[account.Name+"/"+s.Name] = true
		}
	}
	blocks, err := fs.Glob(os.DirFS(store), "jetstream/*/streams/*/msgs/*.blk")
	if err != nil {
		return fmt.Errorf("list streams on the disk: %w", err)
	}
	for _, block := range blocks {
		part := strings.Split(block, "/") // jetstream, account, streams, stream, msgs, block
		if name := part[1] + "/" + part[3]; !served[name] {
			return fmt.Errorf("stream %s is on the disk and can't be read: restore it, or move %s away to begin without it",
				name, filepath.Join(store, filepath.Join(part[:4]...)))
		}
	}
	return nil
}

// errListen: the port is taken.
var errListen = errors.New("can't listen")

// ready starts a server and waits until it takes connections.
func ready(opts *server.Options) (*server.Server, error) {
	ns, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	said := make(lastWords, 1)
	ns.SetLoggerV2(said, false, false, false)
	ns.Start()
	if err := said.await(ns); err != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
		return nil, err
	}
	return ns, nil
}

// lastWords is a server's logger that keeps why it can't go on.
type lastWords chan string

// await waits until the server is ready or has said why it can't be.
func (w lastWords) await(ns *server.Server) error {
	const look = 50 * time.Millisecond
	for range readyWithin / look {
		if ns.ReadyForConnections(look) {
			if !ns.JetStreamEnabled() {
				return errors.New("JetStream didn't start; is the folder writable and the disk not full?")
			}
			return nil
		}
		select {
		case why := <-w:
			if strings.HasPrefix(why, "Error listening") {
				return fmt.Errorf("%w: %s", errListen, why)
			}
			return errors.New(why)
		default:
		}
	}
	return fmt.Errorf("not ready within %v", readyWithin)
}

// Fatalf implements server.Logger.
func (w lastWords) Fatalf(format string, v ...any) {
	select {
	case w <- fmt.Sprintf(format, v...):
	default: // the first one is the reason
	}
}

// What is not fatal shows at the connection.
func (lastWords) Noticef(string, ...any) {}
func (lastWords) Warnf(string, ...any)   {}
func (lastWords) Errorf(string, ...any)  {}
func (lastWords) Debugf(string, ...any)  {}
func (lastWords) Tracef(string, ...any)  {}

// URL is where other processes reach the server; empty when it has no listener.
func (s *Server) URL() string {
	if s.ns.Addr() == nil {
		return ""
	}
	return "nats://" + s.ns.Addr().String()
}

// InProcess is the option by which a client of this process connects without
// the network.
func (s *Server) InProcess() nats.Option { return nats.InProcessServer(s.ns) }

// Close stops the server, waits until it has ended and unlocks the store.
func (s *Server) Close() error {
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
	return s.lock.Unlock()
}
