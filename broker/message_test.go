package broker_test

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
)

// put stores a message with any headers, as an outsider does.
func put(t *testing.T, c *broker.Conn, subject string, h nats.Header, data []byte) {
	t.Helper()
	if _, err := c.JetStream().PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: h, Data: data}); err != nil {
		t.Fatal(err)
	}
}

// putBroken stores a message whose headers nobody can read. No client library
// writes such a one.
func putBroken(t *testing.T, s *brokertest.Server, subject string, data []byte) {
	t.Helper()
	wire, err := s.InProcessConn()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = wire.Close() }()
	const head = "NATS/1.0\r\na line without its colon\r\n\r\n"
	go func() { // a pipe has no buffer: the server speaks first
		_, _ = fmt.Fprintf(wire, "CONNECT {\"headers\":true,\"verbose\":false}\r\nHPUB %s %d %d\r\n%s%s\r\nPING\r\n", subject, len(head), len(head)+len(data), head, data)
	}()
	for lines := bufio.NewScanner(wire); lines.Scan(); {
		switch line := lines.Text(); {
		case line == "PONG":
			return
		case strings.HasPrefix(line, "-ERR"):
			t.Fatal(line)
		}
	}
	t.Fatal("the server has hung up")
}

// What is read one by one and what is read in rounds is the same, whatever a
// publisher wrote.
func TestStored_IsTheBrokersWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := brokertest.Start(t)
		c := s.Connect()
		brokertest.Provision(t, c, brokertest.Plan())
		begin := time.Now()
		broken := nats.Header{"Of": {"the test"}}
		forged := nats.Header{"Nats-Sequence": {"99"}, "Nats-Subject": {"dlq.payment.exhausted"}, "Nats-Time-Stamp": {"never"}, "Nats-Last-Sequence": {"7"}, "Status": {"204"}}
		headers := []nats.Header{forged, broken, {"Twice": {"1", "2"}}, nil, broken}
		for i, h := range headers {
			time.Sleep(time.Second)
			subject := broker.RetrySubject("payment", broker.Tier(i))
			if h.Get("Of") != "" {
				putBroken(t, s, subject, []byte{byte(i)})
				continue
			}
			put(t, c, subject, h, []byte{byte(i)})
		}
		synctest.Wait() // until the last one, of which there is no ack, is stored
		stream := broker.RetryStream("payment")
		var all []broker.Stored
		for m, err := range c.ReadAfter(t.Context(), stream, broker.RetrySubject("payment", "*"), 0) {
			if err != nil {
				t.Fatalf("after %d messages: %v", len(all), err)
			}
			all = append(all, m)
		}
		if len(all) != len(headers) {
			t.Fatalf("messages: got %d, want %d", len(all), len(headers))
		}
		for i, m := range all {
			alone, found, err := c.Get(t.Context(), stream, uint64(i+1))
			if err != nil || !found {
				t.Fatalf("Get(%d) = %v, %v", i+1, found, err)
			}
			for _, got := range []broker.Stored{m, alone} {
				if at := begin.Add(time.Duration(i+1) * time.Second); got.Seq != uint64(i+1) || got.Subject != "retry.payment."+broker.Tier(i) || !got.At.Equal(at) || !bytes.Equal(got.Data, []byte{byte(i)}) {
					t.Errorf("message %d: got %d, %s at %v with %v, want it at %v", i+1, got.Seq, got.Subject, got.At, got.Data, at)
				}
			}
			if diff := cmp.Diff(alone.Header["Twice"], m.Header["Twice"]); diff != "" {
				t.Errorf("message %d: header alone and in a round:\n%s", i+1, diff)
			}
		}
		if got := all[2].Header["Twice"]; len(got) != 2 {
			t.Errorf("a header of two values has %q", got)
		}
	})
}

func TestGet(t *testing.T) {
	c := brokertest.New(t)
	if _, found, err := c.Get(t.Context(), broker.RetryStream("payment"), 1); found || err != nil {
		t.Errorf("Get of nothing = %v, %v, want false, nil", found, err)
	}
	if _, _, err := c.Get(t.Context(), "NOBODY", 1); err == nil {
		t.Error("Get of no stream: no error")
	}
	// As large as they are accepted.
	data := []byte(strings.Repeat("x", int(c.MaxPayload())-1000))
	put(t, c, broker.RetrySubject("payment", "t1"), nil, data)
	if m, found, err := c.Get(t.Context(), broker.RetryStream("payment"), 1); err != nil || !found || !bytes.Equal(m.Data, data) {
		t.Errorf("Get = %d bytes, %v, %v, want %d", len(m.Data), found, err, len(data))
	}
}

func TestDelete(t *testing.T) {
	c := brokertest.New(t)
	stream := broker.RetryStream("payment")
	for range 2 {
		put(t, c, broker.RetrySubject("payment", "t1"), nil, nil)
	}
	for range 2 { // the second time it isn't there
		if err := c.Delete(t.Context(), stream, 1); err != nil {
			t.Errorf("Delete = %v", err)
		}
	}
	for seq, want := range map[uint64]bool{1: false, 2: true} {
		if _, found, err := c.Get(t.Context(), stream, seq); found != want || err != nil {
			t.Errorf("Get(%d) = %v, %v, want %v", seq, found, err, want)
		}
	}
	put(t, c, broker.SubjectCreated, nil, nil)
	if err := c.Delete(t.Context(), broker.StreamOrders, 1); err == nil {
		t.Error("Delete where the broker forbids it: no error")
	}
	if err := c.Delete(t.Context(), "NOBODY", 1); err == nil {
		t.Error("Delete in no stream: no error")
	}
}
