package inventory_test

import (
	"bytes"
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/consumer/inventory"
	"github.com/watertight-go/watertight/order"
)

// wire is a server behind a wire that can break while an entry is on it.
type wire struct {
	*brokertest.Server
	entry func(data []byte) fate // what becomes of the next one; nil: all arrive
	delay time.Duration          // of what is sent
}

type fate int

const (
	arrives    fate = iota
	unanswered      // it arrives, the answer is lost, the connection breaks
	lost            // the connection breaks and the entry is gone
)

func (w *wire) InProcessConn() (net.Conn, error) {
	c, err := w.Server.InProcessConn()
	if err != nil {
		return nil, err
	}
	if w.delay > 0 {
		c = slowly(c, w.delay)
	}
	return &wireConn{Conn: c, wire: w}, nil
}

// slowConn sends later. It doesn't hold up who writes, who may hold a mutex: that
// would stop a bubble's clock.
type slowConn struct {
	net.Conn
	sent   chan []byte
	closed chan struct{}
	close  func() error
}

func slowly(c net.Conn, delay time.Duration) net.Conn {
	s := &slowConn{Conn: c, sent: make(chan []byte, 1000), closed: make(chan struct{})}
	s.close = sync.OnceValue(func() error { close(s.closed); return c.Close() })
	go func() {
		for {
			select {
			case p := <-s.sent:
				time.Sleep(delay)
				_, _ = c.Write(p) // a broken connection shows when it is read
			case <-s.closed:
				return
			}
		}
	}()
	return s
}

func (s *slowConn) Write(p []byte) (int, error) {
	select {
	case s.sent <- bytes.Clone(p):
		return len(p), nil
	case <-s.closed:
		return 0, net.ErrClosed
	}
}

func (s *slowConn) Close() error { return s.close() }

type wireConn struct {
	net.Conn
	wire *wire
	deaf atomic.Bool
}

func (c *wireConn) Write(p []byte) (int, error) {
	if c.wire.entry == nil || !bytes.Contains(p, []byte("HPUB "+broker.StockSubject(0)+" ")) {
		return c.Conn.Write(p)
	}
	// An entry is one line of JSON, and nothing else here has braces.
	switch c.wire.entry(bytes.Clone(p[bytes.Index(p, []byte(`{"schema"`)) : bytes.LastIndexByte(p, '}')+1])) {
	case arrives:
	case unanswered:
		c.deaf.Store(true)
		time.AfterFunc(time.Second, func() { _ = c.Close() }) // a bubble's second: the broker has done all it can do
	case lost:
		c.deaf.Store(true)
		return len(p), c.Close()
	}
	return c.Conn.Write(p)
}

func (c *wireConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || !c.deaf.Load() {
			return n, err
		}
	}
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

// A saturated instance near the broker wins every race against one that needs
// longer to read and store. It leaves the other a moment now and then.
func TestStockLog_GivesWayToWhoIsFarAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := provisioned(t)
		near := start(t, s.Connect(nats.InProcessServer(&wire{Server: s, delay: 500 * time.Microsecond})))
		far := start(t, s.Connect(nats.InProcessServer(&wire{Server: s, delay: time.Millisecond})))
		near.add(t, inventory.Item{SKU: "BIKE", Quantity: 1 << 40})

		ctx, cancel := context.WithCancel(t.Context())
		var busy sync.WaitGroup
		sold := make([]int, 4)
		for caller := range sold {
			busy.Go(func() {
				for ctx.Err() == nil {
					if _, err := near.Handle(ctx, anOrder("BIKE", 1)); err == nil {
						sold[caller]++
					}
				}
			})
		}
		time.Sleep(1200 * time.Millisecond) // by now the near one takes itself to be alone
		var took []time.Duration
		for range 10 {
			asked := time.Now()
			patient, leave := context.WithTimeout(t.Context(), 2*time.Second)
			if out, err := far.Handle(patient, anOrder("BIKE", 1)); err != nil || out.Result != order.Reserved {
				t.Errorf("got %+v, %v, want reserved", out, err)
			}
			leave()
			took = append(took, time.Since(asked))
		}
		if first, others := took[0], slices.Max(took[1:]); first > 1100*time.Millisecond || others > 120*time.Millisecond {
			t.Errorf("the first took %v, others up to %v, want about a second and a twentieth", first, others)
		}
		cancel()
		busy.Wait()
		t.Logf("the far one took %v; the near one sold %v", took, sold)
		audit(t, s.Connect())
	})
}
