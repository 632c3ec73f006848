package broker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
)

// old is a server that says which version it is and answers pings, as far as a
// client asks before it is refused.
type old string

// InProcessConn implements nats.InProcessConnProvider.
func (version old) InProcessConn() (net.Conn, error) {
	client, srv := net.Pipe()
	go func() {
		fmt.Fprintf(srv, "INFO {\"server_id\":\"X\",\"version\":%q,\"proto\":1,\"headers\":true,\"max_payload\":1048576}\r\n", string(version))
		lines := bufio.NewScanner(srv)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "PING") {
				fmt.Fprint(srv, "PONG\r\n")
			}
		}
		_ = srv.Close()
	}()
	return client, nil
}

func TestConnect_ChecksTheServersVersion(t *testing.T) {
	for version, refused := range map[string]bool{
		"2.10.29": true, "2.9.0": true, "1.4.1": true, "v2.10.0": true, "2.10.0-beta.1": true,
		"2.11.0": false, "2.15.2": false, "3.0.0": false, "2.11.0-dev": false, "built by hand": false,
	} {
		t.Run(version, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, err := broker.Connect(t.Context(), broker.Config{Options: []nats.Option{nats.InProcessServer(old(version))}})
				if !errors.Is(err, broker.ErrServer) { // JetStream doesn't answer in any case
					t.Errorf("Connect = %v, want %v", err, broker.ErrServer)
				}
				if said := strings.Contains(fmt.Sprint(err), version+"; Watertight needs 2.11 or newer"); said != refused {
					t.Errorf("Connect = %v; refused for its version: %v, want %v", err, said, refused)
				}
			})
		})
	}
}

func TestConnect_SaysThatJetStreamIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := brokertest.StartWith(t, func(o *server.Options) { o.JetStream = false })
		_, err := broker.Connect(t.Context(), broker.Config{Options: []nats.Option{nats.InProcessServer(srv)}})
		if !errors.Is(err, broker.ErrServer) || !strings.Contains(fmt.Sprint(err), "is it enabled for this account?") {
			t.Errorf("Connect = %v, want %v and a question", err, broker.ErrServer)
		}
	})
}

func TestConnect_SaysThatNobodyAnswers(t *testing.T) {
	const addr = "127.0.0.1:1" // which no one is given who asks for any port
	_, err := broker.Connect(t.Context(), broker.Config{URL: "nats://anna:secret@" + addr + ", anna:secret@" + addr})
	if !errors.Is(err, broker.ErrUnreachable) {
		t.Fatalf("Connect = %v, want %v", err, broker.ErrUnreachable)
	}
	if want := "connect to nats://" + addr + ",nats://" + addr + ": no NATS server: "; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("Connect = %q, want it to begin with %q", err, want)
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("Connect = %q, which tells the password", err)
	}
}

// A server that refuses us is there.
func TestConnect_SaysThatItIsRefused(t *testing.T) {
	srv := brokertest.StartListening(t, func(o *server.Options) { o.Username, o.Password = "anna", "secret" })
	_, err := broker.Connect(t.Context(), broker.Config{URL: strings.Replace(srv.URL(), "//", "//anna:wrong@", 1)})
	if !errors.Is(err, broker.ErrServer) || errors.Is(err, broker.ErrUnreachable) || !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("Connect = %v, want %v with %v", err, broker.ErrServer, nats.ErrAuthorization)
	}
}

func TestConnect_AFailedDialTellsNoAddressThatWasNotAsked(t *testing.T) {
	none := errors.New("no such context: sales")
	_, err := broker.Connect(t.Context(), broker.Config{Dial: func(...nats.Option) (*nats.Conn, error) { return nil, none }})
	if !errors.Is(err, none) || strings.Contains(err.Error(), nats.DefaultURL) {
		t.Errorf("Connect = %v, want %v without %s", err, none, nats.DefaultURL)
	}
}

func TestConnect_TheConnectionComesBackAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := brokertest.Start(t)
		var (
			mu     sync.Mutex
			events []string
		)
		b, err := broker.Connect(t.Context(), broker.Config{
			Name: "shop",
			Trouble: func(tr broker.Trouble) {
				mu.Lock()
				defer mu.Unlock()
				if bad := tr.Err != nil; bad != (tr.Event != "broker.reconnected") {
					t.Errorf("%s with error %v", tr.Event, tr.Err)
				}
				events = append(events, tr.Event)
			},
			Options: []nats.Option{nats.InProcessServer(srv)},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Check(); err != nil {
			t.Errorf("Check of a connection = %v", err)
		}
		srv.Stop()
		time.Sleep(time.Hour)
		if err := b.Check(); err == nil || !strings.Contains(err.Error(), "reconnecting") {
			t.Errorf("Check without a server = %v, want it to say reconnecting", err)
		}
		srv.Restart()
		time.Sleep(5 * time.Second)
		if err := b.Check(); err != nil {
			t.Errorf("Check of a restored connection = %v", err)
		}
		b.Close()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if diff := cmp.Diff([]string{"broker.disconnected", "broker.reconnected"}, events); diff != "" {
			t.Errorf("events: -want +got\n%s", diff)
		}
		if err := b.Check(); err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("Check of a closed connection = %v, want it to say closed", err)
		}
	})
}

// silence is a connection that can be cut without anybody noticing.
type silence struct {
	srv *brokertest.Server
	cut chan struct{}
}

func (s *silence) InProcessConn() (net.Conn, error) {
	select {
	case <-s.cut:
		return nil, errors.New("unreachable")
	default:
	}
	conn, err := s.srv.InProcessConn()
	return &cutConn{conn, s.cut}, err
}

type cutConn struct {
	net.Conn
	cut chan struct{}
}

func (c *cutConn) Write(b []byte) (int, error) {
	select {
	case <-c.cut:
		return len(b), nil // into the void
	default:
		return c.Conn.Write(b)
	}
}

func TestConnect_NoticesAHalfOpenConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		half := &silence{brokertest.Start(t), make(chan struct{})}
		b, err := broker.Connect(context.Background(), broker.Config{Options: []nats.Option{nats.InProcessServer(half)}})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		close(half.cut)
		begin := time.Now()
		for b.Check() == nil {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(begin); took > 7*time.Second {
			t.Errorf("noticed after %v, want about 5 s", took)
		}
	})
}
