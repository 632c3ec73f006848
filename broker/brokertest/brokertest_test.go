package brokertest_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

var created = broker.Message{Subject: broker.SubjectCreated, ID: "a", Data: []byte("{}")}

func orders(t *testing.T, b *broker.Conn) uint64 {
	t.Helper()
	s, err := b.JetStream().Stream(t.Context(), broker.StreamOrders)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func TestNew_StoresInsideABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		begin := time.Now()
		time.Sleep(time.Hour)
		receipt, err := b.Store(context.Background(), created)
		if err != nil {
			t.Fatalf("Store after an hour: %v", err)
		}
		if receipt.Stream != broker.StreamOrders || receipt.Seq != 1 {
			t.Errorf("receipt = %+v, want %s 1", receipt, broker.StreamOrders)
		}
		if got := time.Since(begin); got < time.Hour || got > time.Hour+time.Minute {
			t.Errorf("the bubble's clock moved %v, want about an hour", got)
		}
	})
}

func TestStart_EachIsItsOwn(t *testing.T) {
	a, b := brokertest.New(t), brokertest.New(t)
	if _, err := a.Store(t.Context(), created); err != nil {
		t.Fatal(err)
	}
	if got := orders(t, b); got != 0 {
		t.Errorf("one broker holds %d orders that were stored in the other", got)
	}
	if got := a.NATS().ConnectedServerName(); got != t.Name() {
		t.Errorf("the server is %q, want the test's name", got)
	}
}

func TestServer_RestartKeepsTheStoreAndTheConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := brokertest.Start(t)
		b := s.Connect()
		brokertest.Provision(t, b, brokertest.Plan())
		if _, err := b.Store(t.Context(), created); err != nil {
			t.Fatal(err)
		}
		s.Stop()
		time.Sleep(time.Minute)
		if err := b.Check(); err == nil {
			t.Error("the connection is up, and the server isn't")
		}
		if _, err := s.InProcessConn(); !errors.Is(err, server.ErrServerNotRunning) {
			t.Errorf("InProcessConn of a stopped server = %v, want %v", err, server.ErrServerNotRunning)
		}
		s.Restart()
		s.Restart()
		time.Sleep(5 * time.Second)
		if got := orders(t, b); got != 1 {
			t.Errorf("%d orders after a restart, want 1", got)
		}
	})
}

func TestStartOn_ACopyIsAnotherBroker(t *testing.T) {
	s := brokertest.Start(t)
	b := s.Connect()
	brokertest.Provision(t, b, brokertest.Plan())
	if _, err := b.Store(t.Context(), created); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(s.Store())); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	other := brokertest.StartOn(t, dir).Connect()
	more := created
	more.ID = "b"
	if _, err := other.Store(t.Context(), more); err != nil {
		t.Fatal(err)
	}
	if got := orders(t, other); got != 2 {
		t.Errorf("the copy holds %d orders, want 2", got)
	}
	if got := orders(t, s.Connect()); got != 1 {
		t.Errorf("the original holds %d orders, want 1", got)
	}
}

// What the test changes holds after a restart too.
func TestStartWith_ChangesTheOptions(t *testing.T) {
	s := brokertest.StartWith(t, func(o *server.Options) { o.MaxPayload = 512 << 10 })
	for range 2 {
		if got := s.Connect().MaxPayload(); got != 512<<10 {
			t.Errorf("max_payload = %d, want %d", got, 512<<10)
		}
		s.Restart()
	}
}

func TestStartListening_IsReachedByItsURL(t *testing.T) {
	a, b := brokertest.StartListening(t, nil), brokertest.StartListening(t, nil)
	if a.URL() == b.URL() {
		t.Fatalf("two servers listen on %s", a.URL())
	}
	c, err := broker.Connect(t.Context(), broker.Config{URL: a.URL()})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
