package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// answers has payment's retries read from a replica that answers the first question
// with these messages, each a list of headers and their values, and knows no more.
func (s *shop) answers(messages ...[]string) {
	s.t.Helper()
	js := s.conn.JetStream()
	st, err := js.Stream(s.t.Context(), broker.RetryStream(order.Payment))
	if err != nil {
		s.t.Fatal(err)
	}
	cfg := st.CachedInfo().Config
	cfg.AllowDirect = false // the server itself is silent
	if _, err := js.UpdateStream(s.t.Context(), cfg); err != nil {
		s.t.Fatal(err)
	}
	replica := s.server.Connect().NATS()
	_, err = replica.Subscribe("$JS.API.DIRECT.GET."+broker.RetryStream(order.Payment), func(m *nats.Msg) {
		answers := messages
		messages = [][]string{{"Status", "404"}}
		for _, answer := range answers {
			h := nats.Header{}
			for i := 0; i < len(answer); i += 2 {
				h[answer[i]] = []string{answer[i+1]}
			}
			if err := replica.PublishMsg(&nats.Msg{Subject: m.Reply, Header: h}); err != nil {
				return // the audit has heard enough, and the test has ended
			}
		}
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := replica.Flush(); err != nil {
		s.t.Fatal(err)
	}
}

// message is a retry of an order as a direct get brings it.
func message(seq, previous, origin int) []string {
	return []string{
		"Nats-Sequence", fmt.Sprint(seq), "Nats-Last-Sequence", fmt.Sprint(previous), "Nats-Subject", "retry.payment.t1",
		"Nats-Time-Stamp", time.Now().Format(time.RFC3339Nano), broker.HeaderOriginStream, broker.StreamOrders, broker.HeaderOriginSeq, fmt.Sprint(origin),
	}
}

func TestRun_AsksTheLeaderForWhatAReplicaLacks(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		for i := range uint64(3) {
			s.place(pays)
			s.store(broker.RetrySubject(order.Payment, "t1"), of(i+1, 0))
		}
		settle(t, s.conn, order.Payment, 3)
		s.answers([]string{"Status", "404"})
		s.is(audit.Account{Accepted: 3, Waiting: 3})
	})
}

// A page of which something is missing isn't taken for what there is.
func TestRun_NoticesACutPage(t *testing.T) {
	end := func(previous string) []string { return []string{"Status", "204", "Nats-Last-Sequence", previous} }
	for name, tt := range map[string]struct {
		answers [][]string
		want    string // of the error; empty: none
	}{
		"whole":                               {[][]string{message(1, 0, 1), message(3, 1, 2), end("3")}, ""},
		"without the first":                   {[][]string{message(3, 1, 2), end("3")}, "didn't arrive"},
		"without one in the middle":           {[][]string{message(1, 0, 1), message(4, 3, 2), end("4")}, "didn't arrive"},
		"without the last":                    {[][]string{message(1, 0, 1), end("3")}, "didn't arrive"},
		"without any":                         {[][]string{end("3")}, "didn't arrive"},
		"a first page's end, after a message": {[][]string{message(1, 0, 1), {"Status", "404"}}, "didn't arrive"},
		"refused":                             {[][]string{{"Status", "408", "Description", "Bad Request"}}, "408 Bad Request"},
		"without an end":                      {[][]string{message(1, 0, 1)}, "no answer"},
		"a sequence that is none":             {[][]string{{"Nats-Sequence", "x", "Nats-Last-Sequence", "0"}}, "sequence of a message"},
		"a time that is none":                 {[][]string{{"Nats-Sequence", "1", "Nats-Last-Sequence", "0", "Nats-Time-Stamp", "x"}}, "time of message 1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t)
				s.answers(tt.answers...)
				_, err := audit.Run(t.Context(), s.conn, []order.Service{order.Payment})
				if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
			})
		})
	}
}

func TestRun_EndsWithItsContextWhileTheBrokerIsSilent(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		s.answers()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		_, err := audit.Run(ctx, s.conn, []order.Service{order.Payment})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Second {
			t.Errorf("got %v after %v, want the context's end after 1s", err, time.Since(begun))
		}
	})
}

// spy is a way to the server on which something happens just before the first
// request for a subject is sent.
type spy struct {
	net.Conn
	subject string
	do      func()
}

func (s *spy) Write(b []byte) (int, error) {
	if s.do != nil && bytes.Contains(b, []byte(s.subject)) {
		do := s.do
		s.do = nil
		do()
	}
	return s.Conn.Write(b)
}

func (s *spy) InProcessConn() (net.Conn, error) { return s, nil }

// spied is payment's account, with something that happens just before the audit
// asks for a subject.
func (s *shop) spied(subject string, do func()) audit.Account {
	s.t.Helper()
	conn, err := s.server.InProcessConn()
	if err != nil {
		s.t.Fatal(err)
	}
	way := &spy{Conn: conn, subject: subject, do: do}
	r, err := audit.Run(s.t.Context(), s.server.Connect(nats.InProcessServer(way)), []order.Service{order.Payment})
	if err != nil {
		s.t.Fatal(err)
	}
	if way.do != nil {
		s.t.Fatalf("nobody asked for %s", subject)
	}
	return r.Services[0]
}

// The leader tells of a letter that came after the page; the next page holds it,
// too.
func TestRun_TakesAMessageOnce(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		s.place(pays)
		a := s.spied("STREAM.MSG.GET."+broker.StreamDeadLetters, func() {
			s.store(broker.DeadSubject(order.Payment, "exhausted"), of(1, 0))
		})
		if diff := cmp.Diff(audit.Account{Service: order.Payment, Accepted: 1, Dead: 1}, a); diff != "" {
			t.Errorf("account: -want +got\n%s", diff)
		}
	})
}

// Outcomes come in without end: the audit reads those that were there when it
// began with them.
func TestRun_ReadsOutcomesUpToWhereItBegan(t *testing.T) {
	bubble(t, func(t *testing.T, s *shop) {
		s.place(pays)
		s.store(broker.OutcomeSubject(order.Payment, order.Sent), of(1, 0))
		a := s.spied("CONSUMER.MSG.NEXT."+broker.StreamOutcomes, func() {
			s.store(broker.OutcomeSubject(order.Payment, order.Sent), of(1, 0))
		})
		if diff := cmp.Diff(audit.Account{Service: order.Payment, Accepted: 1, Done: 1}, a); diff != "" {
			t.Errorf("account: -want +got\n%s", diff)
		}
	})
}

func TestRun_NoticesAMissingDelivery(t *testing.T) {
	delivered := func(n int) *nats.Msg {
		return &nats.Msg{Subject: broker.SubjectCreated, Sub: &nats.Subscription{}, Reply: fmt.Sprintf("$JS.ACK.ORDERS.c.1.%d.%d.1.0", n, n)}
	}
	if err := audit.Deliver(delivered(1), delivered(2), delivered(3)); err != nil {
		t.Errorf("all of three: %v", err)
	}
	if err := audit.Deliver(delivered(1), delivered(3)); err == nil {
		t.Error("the second of three is missing: got no error")
	}
	refusal := &nats.Msg{Header: nats.Header{"Status": {"409"}, "Description": {"Consumer Deleted"}}}
	if err := audit.Deliver(delivered(1), refusal); err == nil || !strings.Contains(err.Error(), "409 Consumer Deleted") {
		t.Errorf("the consumer is gone: got %v, want 409", err)
	}
}
