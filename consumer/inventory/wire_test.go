package inventory_test

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/consumer/inventory"
)

// wire is a server behind a wire that can break while an entry is on it.
type wire struct {
	*brokertest.Server
	entry func(data []byte) fate // what becomes of the next one
}

type fate int

const (
	arrives    fate = iota
	unanswered      // it arrives, the connection breaks, the answer is lost
	lost            // the connection breaks and the entry is gone
)

func (w *wire) InProcessConn() (net.Conn, error) {
	c, err := w.Server.InProcessConn()
	if err != nil {
		return nil, err
	}
	return &wireConn{Conn: c, wire: w}, nil
}

type wireConn struct {
	net.Conn
	wire   *wire
	broken atomic.Bool
}

func (c *wireConn) Write(p []byte) (int, error) {
	if !bytes.Contains(p, []byte("HPUB "+broker.StockSubject(0)+" ")) {
		return c.Conn.Write(p)
	}
	// An entry is one line of JSON; nothing else here has braces so far right.
	switch c.wire.entry(bytes.Clone(p[bytes.Index(p, []byte(`{"schema"`)) : bytes.LastIndexByte(p, '}')+1])) {
	case unanswered:
		c.broken.Store(true)
		defer func() { _ = c.Close() }()
	case lost:
		c.broken.Store(true)
		return len(p), c.Close()
	}
	return c.Conn.Write(p)
}

func (c *wireConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.broken.Load() {
		return 0, io.EOF
	}
	return n, err
}

// The broker doesn't say whether it has the entry. Whatever the truth is, the
// caller learns it, and the order is decided once.
func TestStockLog_FindsOutWhetherAnEntryIsThere(t *testing.T) {
	const subject = "stock.0"
	for name, tt := range map[string]struct {
		fates   []fate
		behind  int // of the first entry: another instance sells that many BIKEs before its answer is missed
		late    bool
		want    string
		entries int
	}{
		"it is":                        {fates: []fate{unanswered}, want: "reserved", entries: 2},
		"it isn't":                     {fates: []fate{lost}, want: "reserved", entries: 2},
		"it isn't, again and again":    {fates: []fate{lost, lost, lost, unanswered}, want: "reserved", entries: 2},
		"it comes after it was missed": {fates: []fate{lost}, late: true, want: "reserved", entries: 2},
		"it is, and another follows":   {fates: []fate{unanswered}, behind: 1, want: "reserved", entries: 3},
		"it isn't, and another is":     {fates: []fate{lost}, behind: 1, want: "refused: not enough in stock: BIKE", entries: 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := provisioned(t)
				other := start(t, s.Connect())
				other.add(t, inventory.Item{SKU: "BIKE", Quantity: 2})
				n := 0
				var first []byte
				w := &wire{Server: s}
				w.entry = func(data []byte) fate {
					if n++; n == 1 {
						first = data
					}
					if n == 2 && tt.late {
						if _, err := other.conn.StoreAfter(t.Context(), subject, first, 1); err != nil {
							t.Errorf("the late entry: %v", err)
						}
					}
					if n <= len(tt.fates) {
						return tt.fates[n-1]
					}
					return arrives
				}
				in := start(t, s.Connect(nats.InProcessServer(w)))
				o := anOrder("BIKE", 2)
				began := time.Now()
				got := make(chan string)
				go func() { got <- result(in.Handle(t.Context(), o)) }()
				if tt.behind > 0 {
					synctest.Wait() // the entry is stored or lost, and its answer is waited for
					want := map[fate]string{unanswered: "refused: not enough in stock: BIKE", lost: "reserved"}[tt.fates[0]]
					if got := result(other.Handle(t.Context(), anOrder("BIKE", tt.behind))); got != want {
						t.Errorf("the other: got %s, want %s", got, want)
					}
				}
				if got := <-got; got != tt.want || time.Since(began) > time.Duration(len(tt.fates))*10*time.Second {
					t.Errorf("got %s after %v, want %s", got, time.Since(began), tt.want)
				}
				if n < len(tt.fates) {
					t.Errorf("%d entries were sent, too few for the fault", n)
				}
				if got := result(other.Handle(t.Context(), o)); got != tt.want {
					t.Errorf("asked elsewhere: got %s, want %s", got, tt.want)
				}
				if _, _, entries := audit(t, other.conn); entries != tt.entries {
					t.Errorf("the log has %d entries, want %d", entries, tt.entries)
				}
			})
		})
	}
}
