package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
)

// Network is a network inside the process, without sockets, for tests in a
// synctest bubble: HTTP and SMTP run over it as over loopback, and waiting on it
// lets the bubble's clock go on. The zero value is ready.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*pipes
	last      int
}

// errRefused is a dial to where nobody listens.
var errRefused = errors.New("connection refused")

// Listen listens at address; port 0 means a free one.
func (n *Network) Listen(_, address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == "0" {
		n.last++
		port = strconv.Itoa(1023 + n.last)
	}
	address = net.JoinHostPort(host, port)
	if _, ok := n.listeners[address]; ok {
		return nil, fmt.Errorf("listen at %s: address in use", address)
	}
	if n.listeners == nil {
		n.listeners = map[string]*pipes{}
	}
	l := &pipes{n: n, addr: memAddr(address), incoming: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[address] = l
	return l, nil
}

// DialContext connects to a listener. It waits until that accepts.
func (n *Network) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	l, ok := n.listeners[address]
	n.mu.Unlock()
	if !ok {
		return nil, &net.OpError{Op: "dial", Net: "pipe", Addr: memAddr(address), Err: errRefused}
	}
	ours, theirs := net.Pipe()
	select {
	case l.incoming <- theirs:
		return ours, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "pipe", Addr: l.addr, Err: errRefused}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type pipes struct {
	n        *Network
	addr     memAddr
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func (l *pipes) Addr() net.Addr { return l.addr }

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "pipe", Addr: l.addr, Err: net.ErrClosed}
	}
}

func (l *pipes) Close() error {
	l.once.Do(func() {
		l.n.mu.Lock()
		delete(l.n.listeners, string(l.addr))
		l.n.mu.Unlock()
		close(l.closed)
	})
	return nil
}

type memAddr string

func (memAddr) Network() string  { return "pipe" }
func (a memAddr) String() string { return string(a) }
