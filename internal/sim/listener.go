package sim

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// listener counts its connections, can cut them all, and lets a server that is
// busy with one notice that its client has gone.
type listener struct {
	net.Listener
	count func()

	mu    sync.Mutex
	conns map[*watched]struct{}
}

func (w *World) listen(addr string, count func()) (*listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := w.cfg.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &listener{Listener: l, count: count, conns: map[*watched]struct{}{}}, nil
}

// Accept returns the next connection, a *watched.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	wc := &watched{Conn: c, of: l}
	l.mu.Lock()
	l.conns[wc] = struct{}{}
	l.mu.Unlock()
	l.count()
	return wc, nil
}

// cut closes every connection.
func (l *listener) cut() {
	l.mu.Lock()
	open := make([]*watched, 0, len(l.conns))
	for c := range l.conns {
		open = append(open, c)
	}
	l.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
}

// watched is a connection that can be watched while nobody reads from it.
type watched struct {
	net.Conn
	of    *listener
	ahead []byte // what the watcher read
}

func (c *watched) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

func (c *watched) Read(p []byte) (int, error) {
	if len(c.ahead) > 0 && len(p) > 0 {
		n := copy(p, c.ahead)
		c.ahead = c.ahead[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// watch returns a channel that is closed when the client hangs up. Stop must be
// called before the next Read.
func (c *watched) watch() (gone <-chan struct{}, stop func()) {
	hungUp, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		var b [1]byte
		n, err := c.Conn.Read(b[:])
		c.ahead = append(c.ahead, b[:n]...)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			close(hungUp)
		}
	}()
	return hungUp, func() {
		_ = c.SetReadDeadline(time.Unix(1, 0))
		<-ended
		_ = c.SetReadDeadline(time.Time{})
	}
}
