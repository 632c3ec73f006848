package consumer_test

import (
	"bytes"
	"errors"
	"math"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
)

// life is that of a process that is killed at its n-th chance. There is a chance
// before and after each of its effects, and before and after each message with
// which it stores or acknowledges anything: then its connection is cut, exactly
// there in what it sends, and nothing gets out of it any more.
type life struct {
	server *brokertest.Server
	left   atomic.Int64
	ended  chan struct{}
}

// forEver is more chances than there are.
const forEver = math.MaxInt64

func newLife(server *brokertest.Server, chances int64) *life {
	l := &life{server: server, ended: make(chan struct{})}
	l.left.Store(chances)
	return l
}

// chance reports whether the process lives on.
func (l *life) chance() bool {
	left := l.left.Add(-1)
	if left == 0 {
		close(l.ended)
	}
	return left > 0
}

// revive makes it a cut that the process has survived.
func (l *life) revive() { l.left.Store(forEver) }

func (l *life) over() bool { return l.left.Load() <= 0 }

// connect returns the process's only connection.
func (l *life) connect() *broker.Conn { return l.server.Connect(nats.InProcessServer(l)) }

var errKilled = errors.New("the process was killed")

// InProcessConn makes a life what nats.InProcessServer takes.
func (l *life) InProcessConn() (net.Conn, error) {
	if l.over() {
		return nil, errKilled
	}
	c, err := l.server.InProcessConn()
	return &wire{Conn: c, life: l}, err
}

// wire is the connection of a life. It belongs to one goroutine, as nats.go writes
// under a lock.
type wire struct {
	net.Conn
	life *life
	held []byte // of a message that isn't whole yet
}

func (w *wire) Write(p []byte) (int, error) {
	w.held = append(w.held, p...)
	for {
		size, subject := message(w.held)
		if size == 0 {
			return len(p), nil
		}
		counts := lasting(subject)
		if w.life.over() || counts && !w.life.chance() {
			return 0, w.cut()
		}
		if _, err := w.Conn.Write(w.held[:size]); err != nil {
			return 0, err
		}
		w.held = w.held[size:]
		if counts && !w.life.chance() {
			return 0, w.cut()
		}
	}
}

func (w *wire) cut() error { return errors.Join(errKilled, w.Conn.Close()) }

// message measures the first message in b, of the client's protocol; zero means
// that it isn't whole.
func message(b []byte) (size int, subject string) {
	line, _, whole := bytes.Cut(b, []byte("\r\n"))
	if !whole {
		return 0, ""
	}
	size = len(line) + 2
	fields := strings.Fields(string(line))
	if len(fields) < 3 || fields[0] != "PUB" && fields[0] != "HPUB" {
		return size, ""
	}
	payload, err := strconv.Atoi(fields[len(fields)-1])
	if size += payload + 2; err != nil || size > len(b) {
		return 0, ""
	}
	return size, fields[1]
}

// lasting tells the messages with which something is stored, acknowledged or
// deleted.
func lasting(subject string) bool {
	for _, prefix := range []string{"outcomes.", "retry.", "dlq.", "desk.", "$KV.", "$JS.ACK.", "$JS.API.STREAM.MSG.DELETE."} {
		if strings.HasPrefix(subject, prefix) {
			return true
		}
	}
	return false
}
