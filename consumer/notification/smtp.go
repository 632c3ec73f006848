package notification

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// Encryption says whether the way to the mail server is encrypted.
type Encryption int

const (
	// Opportunistic encrypts when the server offers STARTTLS, and then insists
	// on a valid certificate. The default.
	Opportunistic Encryption = iota

	// Plain never encrypts: for a server on this machine.
	Plain

	// StartTLS refuses a server that doesn't offer STARTTLS.
	StartTLS

	// TLS encrypts from the first byte, usually on port 465.
	TLS
)

// SMTPConfig are the tunables of an SMTP mailer; zero values work.
type SMTPConfig struct {
	// Connections is how many mails may be under way at a time, each on its own
	// connection; a further Send waits. Also how many connections are kept.
	// Defaults to 16.
	Connections int

	// Timeout bounds one mail, from waiting for a connection to the server's
	// last word, when the caller's context doesn't earlier. Defaults to 30 s.
	Timeout time.Duration

	// Idle is how long a connection may have been unused and is still tried.
	// Servers hang up after one to five minutes. Defaults to 30 s.
	Idle time.Duration

	// Encryption of the way to the server. Defaults to Opportunistic.
	Encryption Encryption

	// TLS configures it. Nil verifies the server's certificate against the
	// system's roots, for the host of the address.
	TLS *tls.Config

	// Username and Password log in, over an encrypted connection or to this
	// machine only. Empty means no login.
	Username, Password string

	// Hello is the name by which we greet the server. Defaults to the
	// machine's host name.
	Hello string

	// Dial opens a connection. Defaults to a net.Dialer's DialContext.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// ErrClosed is returned by Send after Close.
var ErrClosed = errors.New("mailer is closed")

// SMTP is a Mailer that speaks SMTP to one server. It is safe for use by many
// handlers at once and keeps its connections open between mails.
type SMTP struct {
	address string
	host    string
	cfg     SMTPConfig
	options []gomail.Option
	pool    *pool
}

// NewSMTP returns a mailer for the server at address, "host:port". It doesn't
// connect yet.
func NewSMTP(address string, cfg SMTPConfig) (*SMTP, error) {
	host, port, err := net.SplitHostPort(address)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || host == "" || bad != nil || n == 0 {
		return nil, fmt.Errorf("mail server %q: want host:port, the port a number", address)
	}
	if cfg.Connections <= 0 {
		cfg.Connections = 16
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Idle <= 0 {
		cfg.Idle = 30 * time.Second
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	if cfg.TLS == nil {
		cfg.TLS = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	}
	s := &SMTP{address: address, host: host, cfg: cfg, options: options(cfg)}
	if _, err := gomail.NewClient(host, s.options...); err != nil {
		return nil, fmt.Errorf("mail server %q: %w", address, err)
	}
	s.pool = newPool(cfg.Connections, cfg.Idle, s.connect)
	return s, nil
}

func options(cfg SMTPConfig) []gomail.Option {
	opts := []gomail.Option{gomail.WithTimeout(cfg.Timeout), gomail.WithTLSConfig(cfg.TLS)}
	switch cfg.Encryption {
	case Plain:
		opts = append(opts, gomail.WithTLSPolicy(gomail.NoTLS))
	case StartTLS:
		opts = append(opts, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case Opportunistic, TLS: // a connection that is TLS already needs no STARTTLS
		opts = append(opts, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	}
	if cfg.Hello != "" {
		opts = append(opts, gomail.WithHELO(cfg.Hello))
	}
	if cfg.Username != "" {
		opts = append(opts, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover),
			gomail.WithUsername(cfg.Username), gomail.WithPassword(cfg.Password))
	}
	return opts
}

// Close closes the connections that are idle now, and those in use when their
// mail is done. A later Send returns ErrClosed.
func (s *SMTP) Close() { s.pool.close() }

// Send hands m to the server and waits for its last word, at most until ctx
// ends, also when the server hangs in the middle.
func (s *SMTP) Send(ctx context.Context, m Mail) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	message, err := render(m)
	if err != nil {
		return err
	}
	for {
		c, err := s.pool.take(ctx)
		if err != nil {
			return ended(ctx, fmt.Errorf("connect to mail server: %w", err))
		}
		err = c.send(ctx, m, message)
		s.pool.put(c)
		if errors.Is(err, errStale) {
			continue // that connection is gone; in the end a fresh one is taken, which can't be stale
		}
		return ended(ctx, err)
	}
}

// ended puts the context's end in front of an error that it caused, so that it
// reads "context deadline exceeded" and not "i/o timeout".
func ended(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, ctx.Err()) || final(err) {
		return err
	}
	return fmt.Errorf("%w: %w", context.Cause(ctx), err)
}
