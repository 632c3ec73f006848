package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// minServer is the oldest nats-server that keeps what this package promises:
// 2.10 ignores a consumer pause and refuses a TTL for a key.
const minServer = "2.11"

// Config says how to reach a broker. The zero value connects to
// nats://127.0.0.1:4222.
type Config struct {
	// URL is one or more server addresses, separated by commas. Defaults to
	// nats.DefaultURL.
	URL string

	// Name is shown in the server's list of connections.
	Name string

	// Credentials is the path of a NATS credentials file. Empty means none.
	Credentials string

	// Trouble is told what the broker says about the connection on its own
	// accord: lost, restored, a permission that is missing, a slow consumer.
	// Nil means nobody is told.
	Trouble func(Trouble)

	// Dial connects with the options it is given, when how and where isn't
	// said by URL: by a context of the nats command line tool, say. Nil means
	// nats.Connect to URL.
	Dial func(...nats.Option) (*nats.Conn, error)

	// Options are passed to nats.Connect last.
	Options []nats.Option
}

// Trouble is news about a connection. Err is nil when it is good again.
type Trouble struct {
	Event string // "broker.disconnected", "broker.reconnected", "broker.error"
	Err   error
}

// Errors of this package.
var (
	// ErrUnreachable: no server answered.
	ErrUnreachable = errors.New("no NATS server")

	// ErrServer: the server answered and can't be used.
	ErrServer = errors.New("unsuitable NATS server")

	// ErrFull: the stream is at its limit. Nothing was stored.
	ErrFull = errors.New("stream is full")

	// ErrNotStored: the broker didn't confirm, so the message may or may not
	// be stored. Storing it again with the same id is safe.
	ErrNotStored = errors.New("not confirmed as stored")
)

// Conn is a connection to a broker.
type Conn struct {
	nc *nats.Conn
	js jetstream.JetStream
}

// Connect returns a connection to a broker that has been checked: it is
// reachable (else ErrUnreachable), lets us in, is at least version 2.11 and has
// JetStream (else ErrServer). From then on the connection restores itself without end.
// A half-open connection is noticed within about five seconds.
func Connect(ctx context.Context, cfg Config) (*Conn, error) {
	if cfg.URL == "" {
		cfg.URL = nats.DefaultURL
	}
	trouble := cfg.Trouble
	if trouble == nil {
		trouble = func(Trouble) {}
	}
	opts := []nats.Option{
		nats.Name(cfg.Name),
		nats.PingInterval(2 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 500*time.Millisecond),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if nc.IsClosed() || (err == nil && nc.IsDraining()) {
				return
			}
			if err == nil {
				err = nats.ErrDisconnected
			}
			trouble(Trouble{"broker.disconnected", err})
		}),
		nats.ReconnectHandler(func(*nats.Conn) { trouble(Trouble{Event: "broker.reconnected"}) }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			if sub != nil {
				err = fmt.Errorf("subscription %s: %w", sub.Subject, err)
			}
			trouble(Trouble{"broker.error", err})
		}),
	}
	if cfg.Credentials != "" {
		opts = append(opts, nats.UserCredentials(cfg.Credentials))
	}
	dial := cfg.Dial
	if dial == nil {
		dial = func(opts ...nats.Option) (*nats.Conn, error) { return nats.Connect(cfg.URL, opts...) }
	}
	nc, err := dial(append(opts, cfg.Options...)...)
	if err != nil {
		return nil, cfg.connectError(err)
	}
	c, err := check(ctx, nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// connectError says where nobody answered, or who refused us.
func (cfg Config) connectError(err error) error {
	where := ""
	if cfg.Dial == nil {
		where = " to " + redacted(cfg.URL)
	}
	kind := ErrUnreachable
	if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked) ||
		errors.Is(err, nats.ErrAccountAuthExpired) {
		kind = ErrServer
	}
	return fmt.Errorf("connect%s: %w: %w", where, kind, err)
}

// redacted is a list of addresses without users and passwords.
func redacted(urls string) string {
	list := strings.Split(urls, ",")
	for i, u := range list {
		scheme, host, found := strings.Cut(strings.TrimSpace(u), "://")
		if !found {
			scheme, host = "nats", scheme
		}
		list[i] = scheme + "://" + host[strings.LastIndex(host, "@")+1:]
	}
	return strings.Join(list, ",")
}

func check(ctx context.Context, nc *nats.Conn) (*Conn, error) {
	version := nc.ConnectedServerVersion()
	if older(version, minServer) {
		return nil, fmt.Errorf("%w: %s runs nats-server %s; Watertight needs %s or newer (2.10 ignores consumer pauses): upgrade the server",
			ErrServer, nc.ConnectedUrlRedacted(), version, minServer)
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(MaxAsync), jetstream.WithPublishAsyncTimeout(asyncTimeout))
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	if _, err := js.AccountInfo(ctx); err != nil {
		return nil, fmt.Errorf("%w: JetStream doesn't answer on %s (is it enabled for this account?): %w", ErrServer, nc.ConnectedUrlRedacted(), err)
	}
	return &Conn{nc: nc, js: js}, nil
}

// older compares dotted versions by their first two numbers. What can't be
// read counts as new: a development build says "2.15.0-dev".
func older(version, than string) bool {
	minor := func(v string) int {
		major, rest, _ := strings.Cut(strings.TrimPrefix(v, "v"), ".")
		mid, _, _ := strings.Cut(rest, ".")
		a, errA := strconv.Atoi(major)
		b, errB := strconv.Atoi(mid)
		if errA != nil || errB != nil {
			return 1 << 30
		}
		return a*1000 + b
	}
	return minor(version) < minor(than)
}

// JetStream is the connection's JetStream context, to read with. What is to be
// stored goes through Store.
func (c *Conn) JetStream() jetstream.JetStream { return c.js }

// NATS is the connection itself.
func (c *Conn) NATS() *nats.Conn { return c.nc }

// URL is the server that the connection is with just now, without its
// password.
func (c *Conn) URL() string { return c.nc.ConnectedUrlRedacted() }

// Check returns nil when the connection is up, or why not.
func (c *Conn) Check() error {
	if s := c.nc.Status(); s != nats.CONNECTED {
		return fmt.Errorf("connection to NATS is %s", strings.ToLower(s.String()))
	}
	return nil
}

// Close sends what is buffered and closes the connection.
func (c *Conn) Close() {
	_ = c.nc.FlushTimeout(2 * time.Second) // best effort: the connection may be down
	c.nc.Close()
}
