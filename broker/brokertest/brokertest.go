// Package brokertest gives each test a broker of its own: a real NATS server in
// the process, with a file store, in memory if there is room, and no port. It also runs
// inside a testing/synctest bubble, where hours of waiting take milliseconds:
//
//	func TestMain(m *testing.M) { brokertest.Main(m) }
//
//	func TestX(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			b := brokertest.New(t)
//			…
package brokertest

import (
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// Main runs a package's tests. It is needed where a server runs inside a
// synctest bubble: the server's clock service is one goroutine a process, and
// must not be started within a bubble. It also removes what killed tests have left
// in memory, and has garbage collected less often, since a server's start makes
// much of it and keeps little.
func Main(m *testing.M) {
	ats.Register()
	sweep()
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// AckWait is the ack wait of the services of New.
const AckWait = 30 * time.Second

// Tiers is how many retry tiers the services of New have.
const Tiers = 4

// Server is a test's own NATS server. It can be stopped and started again on
// the same store.
type Server struct {
	t      testing.TB
	store  string
	change func(*server.Options)
	ns     atomic.Pointer[server.Server]
}

// Start returns a running server, which the test's end stops.
func Start(t testing.TB) *Server {
	t.Helper()
	return start(t, folder(t), nil)
}

// StartWith is Start with options that the test changes: a small max_payload,
// users with permissions.
func StartWith(t testing.TB, change func(*server.Options)) *Server {
	t.Helper()
	return start(t, folder(t), change)
}

// StartListening is StartWith on a port of 127.0.0.1 that was free, for other
// processes and for connections that name an address. A restart takes another.
func StartListening(t testing.TB, change func(*server.Options)) *Server {
	t.Helper()
	return StartWith(t, func(o *server.Options) {
		o.DontListen, o.Host, o.Port = false, "127.0.0.1", server.RANDOM_PORT
		if change != nil {
			change(o)
		}
	})
}

// StartUsers is Start with users, who may do anything but publish to the subjects
// that are denied to them. A user's password is the name:
// nats.UserInfo("viewer", "viewer").
func StartUsers(t testing.TB, denied map[string][]string) *Server {
	t.Helper()
	return StartWith(t, func(o *server.Options) {
		for name, subjects := range denied {
			o.Users = append(o.Users, &server.User{Username: name, Password: name, Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: subjects},
			}})
		}
	})
}

// StartOn is Start on an existing store, such as a copy of another server's.
func StartOn(t testing.TB, store string) *Server {
	t.Helper()
	return start(t, store, nil)
}

func start(t testing.TB, store string, change func(*server.Options)) *Server {
	t.Helper()
	forgetTimers()
	s := &Server{t: t, store: store, change: change}
	s.Restart()
	t.Cleanup(func() {
		s.Stop()
		forgetTimers()
	})
	return s
}

// forgetTimers empties the process-wide pool in which nats.go keeps timers: one
// that a synctest bubble left there would be fatal outside, and the reverse. It
// is called before and after, since not all that runs beside a bubble begins
// here: an example doesn't. Two collections drop what a sync.Pool holds.
func forgetTimers() {
	runtime.GC()
	runtime.GC()
}

// Restart stops the server when it runs, and starts it on the same store.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	opts := &server.Options{
		ServerName: s.t.Name(),
		DontListen: true,
		JetStream:  true,
		StoreDir:   s.store,
		MaxPayload: 2 << 20,

		// Streams reserve what there may not be, and use next to nothing of it.
		JetStreamMaxStore: 1 << 40,

		NoSigs: true,
		NoLog:  true,
	}
	if s.change != nil {
		s.change(opts)
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		s.t.Fatalf("start test broker: %v", err)
	}
	ns.Start()
	if !ns.ReadyForConnections(20 * time.Second) {
		s.t.Fatal("start test broker: not ready within 20 s")
	}
	s.ns.Store(ns)
}

// Stop stops the server; a stopped one stays so.
func (s *Server) Stop() {
	if ns := s.ns.Swap(nil); ns != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
	}
}

// Store is the folder of the server's file store.
func (s *Server) Store() string { return s.store }

// URL is where a server of StartListening is.
func (s *Server) URL() string { return s.ns.Load().ClientURL() }

// Connect returns a connection of its own, which the test's end closes.
func (s *Server) Connect(opts ...nats.Option) *broker.Conn {
	s.t.Helper()
	c, err := broker.Connect(s.t.Context(), broker.Config{
		Name:    s.t.Name(),
		Options: append([]nats.Option{nats.InProcessServer(s)}, opts...),
	})
	if err != nil {
		s.t.Fatalf("connect to test broker: %v", err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// Plan is the topology of New: the shop's services with four retry tiers, small
// streams, every service from the first order on.
func Plan() broker.Plan {
	p := broker.Plan{OrderBytes: 64 << 20}
	for _, s := range order.Services() {
		p.Services = append(p.Services, broker.Service{Name: s, Tiers: Tiers, AckWait: AckWait, FromStart: true})
	}
	return p
}

// New returns a connection to a server of its own, with Plan provisioned.
func New(t testing.TB) *broker.Conn {
	t.Helper()
	c := Start(t).Connect()
	Provision(t, c, Plan())
	return c
}

// Provision creates the plan's streams and durables, or fails the test.
func Provision(t testing.TB, c *broker.Conn, p broker.Plan) {
	t.Helper()
	if _, err := c.Provision(t.Context(), p, false); err != nil {
		t.Fatalf("provision test broker: %v", err)
	}
}

// InProcessConn makes the server one that nats.InProcessServer takes, so that a
// connection made before a restart finds it again.
func (s *Server) InProcessConn() (net.Conn, error) {
	ns := s.ns.Load()
	if ns == nil {
		return nil, server.ErrServerNotRunning
	}
	return ns.InProcessConn()
}
