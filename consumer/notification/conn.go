package notification

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/watertight-go/watertight/order"
)

// maxReplies is the most a server may say during one mail, greeting and
// certificates included.
const maxReplies = 256 << 10

// errStale says that a kept connection turned out to be dead before anything of
// the mail was said on it.
var errStale = errors.New("connection is stale")

// conn is one connection to the mail server, used by one mail at a time.
type conn struct {
	line   *line
	client *smtp.Client
	used   time.Time // when its last mail ended; zero for a fresh one
	broken bool      // not to be used again
}

// connect dials, greets, encrypts and logs in, all of it while ctx lasts.
func (s *SMTP) connect(ctx context.Context) (*conn, error) {
	raw, err := s.cfg.Dial(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	c := &conn{line: &line{Conn: raw}}
	release := c.line.bind(ctx)
	dialed := func(context.Context, string, string) (net.Conn, error) {
		if s.cfg.Encryption == TLS {
			return tls.Client(c.line, s.cfg.TLS), nil
		}
		return c.line, nil
	}
	// A client of its own for each connection: it holds no state but this.
	opts := append(slices.Clip(s.options), gomail.WithDialContextFunc(dialed))
	dialer, err := gomail.NewClient(s.host, opts...)
	if err == nil {
		c.client, err = dialer.DialToSMTPClientWithContext(ctx)
	}
	if !release() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.close() // a refused greeting or login leaves it open
		return nil, err
	}
	return c, nil
}

// send speaks one mail: four round trips.
func (c *conn) send(ctx context.Context, m Mail, message []byte) error {
	if ok, _ := c.client.Extension("SMTPUTF8"); !ok && !ascii(m.To) {
		return order.Reject(errors.New("mail server takes no international addresses"))
	}
	release := c.line.bind(ctx)
	err := c.transact(m, message)
	if !release() {
		c.broken = true
	}
	if errors.Is(err, errStale) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (c *conn) transact(m Mail, message []byte) error {
	if err := c.client.Mail("<" + m.From + ">"); err != nil {
		err = c.failed(atSender, m, err)
		if c.broken && !c.used.IsZero() {
			return errStale
		}
		return err
	}
	if err := c.client.Rcpt("<" + m.To + ">"); err != nil {
		return c.abort(c.failed(atRecipient, m, err))
	}
	w, err := c.client.Data()
	if err != nil {
		return c.abort(c.failed(atContent, m, err))
	}
	if _, err := w.Write(message); err != nil {
		return c.failed(atContent, m, err)
	}
	if err := w.Close(); err != nil {
		return c.failed(atContent, m, err)
	}
	return nil
}

// failed turns what a command came back with into the error that steers the
// order, and notes whether the connection can still be used.
func (c *conn) failed(at stage, m Mail, err error) error {
	var reply *textproto.Error
	if !errors.As(err, &reply) {
		c.broken = true
		return fmt.Errorf("%s: %w", at, err)
	}
	if reply.Code == 421 { // the server is about to hang up
		c.broken = true
	}
	return judge(at, m.To, reply)
}

// abort takes back the begun transaction, so that the next mail starts afresh.
func (c *conn) abort(err error) error {
	if !c.broken && c.client.Reset() != nil {
		c.broken = true
	}
	return err
}

// close hangs up without QUIT, whose answer nobody would wait for.
func (c *conn) close() { _ = c.line.Close() }

// line is the connection below SMTP and TLS. Deadlines set from above are
// ignored: go-mail's would replace the context's.
type line struct {
	net.Conn
	left int // bytes the server may still say
}

// bind makes ctx's end interrupt whatever waits on the connection. The returned
// func unbinds; it reports false when ctx's end has interrupted the connection,
// which is then unusable.
func (l *line) bind(ctx context.Context) (release func() bool) {
	l.left = maxReplies
	return context.AfterFunc(ctx, func() { _ = l.Conn.SetDeadline(time.Unix(1, 0)) })
}

func (l *line) Read(p []byte) (int, error) {
	if l.left <= 0 {
		_ = l.Close() // or our next command would wait for its turn
		return 0, fmt.Errorf("mail server said more than %d bytes", maxReplies)
	}
	n, err := l.Conn.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

func (*line) SetDeadline(time.Time) error      { return nil }
func (*line) SetReadDeadline(time.Time) error  { return nil }
func (*line) SetWriteDeadline(time.Time) error { return nil }

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
