package broker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
)

// both stores a message each way.
func both(t *testing.T, b *broker.Conn, m broker.Message, check func(t *testing.T, r broker.Receipt, err error)) {
	t.Helper()
	t.Run("Store", func(t *testing.T) {
		r, err := b.Store(context.Background(), m)
		check(t, r, err)
	})
	t.Run("StoreAsync", func(t *testing.T) {
		type answer struct {
			r   broker.Receipt
			err error
		}
		answers := make(chan answer, 2)
		m.ID += "-async"
		b.StoreAsync(m, func(r broker.Receipt, err error) { answers <- answer{r, err} })
		a := <-answers
		check(t, a.r, a.err)
		if len(answers) > 0 {
			t.Error("answered twice")
		}
	})
}

func TestStore_TheSameIDIsStoredOnceForTwoMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.Start(t).Connect()
		brokertest.Provision(t, b, small())
		m := broker.Message{Subject: broker.SubjectCreated, ID: "a", Data: []byte("{}")}
		for _, tc := range []struct {
			after time.Duration
			want  broker.Receipt
		}{
			{0, broker.Receipt{Stream: "ORDERS", Seq: 1}},
			{time.Minute, broker.Receipt{Stream: "ORDERS", Seq: 1, Duplicate: true}},
			{2 * time.Minute, broker.Receipt{Stream: "ORDERS", Seq: 2}},
		} {
			time.Sleep(tc.after)
			got, err := b.Store(t.Context(), m)
			if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
				t.Errorf("Store %v later = %v: -want +got\n%s", tc.after, err, diff)
			}
		}
	})
}

func TestStore_WithoutAnIDNothingIsADuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.Start(t).Connect()
		brokertest.Provision(t, b, small())
		m := broker.Message{Subject: broker.RejectionSubject("bulkhead", "full")}
		for seq := range uint64(3) {
			got, err := b.Store(t.Context(), m)
			if diff := cmp.Diff(broker.Receipt{Stream: "REJECTIONS", Seq: seq + 1}, got); err != nil || diff != "" {
				t.Errorf("Store = %v: -want +got\n%s", err, diff)
			}
		}
		s, err := b.JetStream().Stream(t.Context(), broker.StreamRejections)
		if err != nil {
			t.Fatal(err)
		}
		if stored, err := s.GetMsg(t.Context(), 1); err != nil || stored.Header.Values(nats.MsgIdHdr) != nil {
			t.Errorf("stored: got headers %v, %v, want none with an id", stored.Header, err)
		}
	})
}

// A header from outside can't make the broker drop, refuse or reorder.
func TestStore_LeavesOutTheBrokersOwnHeaders(t *testing.T) {
	b := brokertest.Start(t).Connect()
	brokertest.Provision(t, b, small())
	h := nats.Header{
		"Nats-Msg-Id": {"another"}, "nats-expected-last-sequence": {"99"}, "Nats-Expected-Last-Sequence": {"99"},
		"Nats-Rollup": {"all"}, "Nats-TTL": {"1s"}, "traceparent": {"00-1"},
	}
	if _, err := b.Store(t.Context(), broker.Message{Subject: broker.SubjectCreated, ID: "a", Header: h}); err != nil {
		t.Fatal(err)
	}
	s, err := b.JetStream().Stream(t.Context(), broker.StreamOrders)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"Nats-Sequence", "Nats-Stream", "Nats-Subject", "Nats-Time-Stamp"} {
		m.Header.Del(k)
	}
	if diff := cmp.Diff(nats.Header{"Nats-Msg-Id": {"a"}, "traceparent": {"00-1"}}, m.Header); diff != "" {
		t.Errorf("stored headers: -want +got\n%s", diff)
	}
}

func TestStore_SaysThatAStreamIsFull(t *testing.T) {
	s := newShop(t)
	s.fill(broker.SubjectCreated, 100<<10)
	both(t, s.b, broker.Message{Subject: broker.SubjectCreated, ID: "x", Data: make([]byte, 100<<10)}, func(t *testing.T, r broker.Receipt, err error) {
		if !errors.Is(err, broker.ErrFull) || errors.Is(err, broker.ErrNotStored) {
			t.Errorf("got %v, want %v alone", err, broker.ErrFull)
		}
		if r != (broker.Receipt{}) {
			t.Errorf("receipt = %+v with an error", r)
		}
	})
}

// What the broker refuses for ever is neither full nor in doubt.
func TestStore_SaysThatAMessageIsTooLarge(t *testing.T) {
	b := brokertest.Start(t).Connect()
	brokertest.Provision(t, b, small())
	for name, size := range map[string]int64{
		"for the stream": b.MaxPayload() - broker.MaxHeaderBytes + 1,
		"for the broker": b.MaxPayload() + 1,
	} {
		t.Run(name, func(t *testing.T) {
			both(t, b, broker.Message{Subject: broker.SubjectCreated, ID: "x", Data: make([]byte, size)}, func(t *testing.T, _ broker.Receipt, err error) {
				if err == nil || errors.Is(err, broker.ErrFull) || errors.Is(err, broker.ErrNotStored) {
					t.Errorf("got %v, want an error that is neither %v nor %v", err, broker.ErrFull, broker.ErrNotStored)
				}
			})
		})
	}
}

func TestStore_NoAnswerIsNotStored(t *testing.T) {
	m := broker.Message{Subject: broker.SubjectCreated, ID: "x"}
	inDoubt := func(t *testing.T, _ broker.Receipt, err error) {
		if !errors.Is(err, broker.ErrNotStored) || errors.Is(err, broker.ErrFull) {
			t.Errorf("got %v, want %v", err, broker.ErrNotStored)
		}
	}
	t.Run("no stream takes it", func(t *testing.T) {
		both(t, brokertest.Start(t).Connect(), m, inDoubt)
	})
	t.Run("the broker is away", func(t *testing.T) {
		// The connection is one with the bubble, and so is the wait.
		synctest.Test(t, func(t *testing.T) {
			srv := brokertest.Start(t)
			b := srv.Connect()
			brokertest.Provision(t, b, small())
			srv.Stop()
			begin := time.Now()
			_, err := b.Store(context.Background(), m)
			inDoubt(t, broker.Receipt{}, err)
			if took := time.Since(begin); took > 6*time.Second {
				t.Errorf("Store without a deadline took %v, want at most 5 s and a little", took)
			}
			answers := make(chan error, 2)
			b.StoreAsync(m, func(_ broker.Receipt, err error) { answers <- err })
			select {
			case err := <-answers:
				inDoubt(t, broker.Receipt{}, err)
			case <-time.After(6 * time.Second):
				t.Error("StoreAsync gave no answer within 6 s")
			}
			time.Sleep(time.Minute)
			if len(answers) > 0 {
				t.Error("StoreAsync answered twice")
			}
		})
	})
	t.Run("the context ends", func(t *testing.T) {
		b := brokertest.Start(t).Connect()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := b.Store(ctx, m)
		inDoubt(t, broker.Receipt{}, err)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want it to say %v too", err, context.Canceled)
		}
	})
}

func TestStore_AfterARestartNothingAckedIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := brokertest.Start(t)
		s := shopOn(t, srv.Connect())
		for range 3 {
			s.publish(broker.SubjectCreated, 5)
			srv.Restart()
			time.Sleep(time.Second) // the client comes back
		}
		s.publish(broker.SubjectCreated, 1)
		if got := state(t, s.b, broker.StreamOrders).Msgs; got != 16 {
			t.Errorf("%d orders after three restarts, want 16", got)
		}
	})
}

// A user without the permission to publish is told so, not left to wait for
// reasons unknown.
func TestStore_WithoutPermissionShowsAsTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := brokertest.StartUsers(t, map[string][]string{"viewer": {"orders.>"}})
		var told []broker.Trouble
		b, err := broker.Connect(t.Context(), broker.Config{
			Trouble: func(tr broker.Trouble) { told = append(told, tr) },
			Options: []nats.Option{nats.InProcessServer(srv), nats.UserInfo("viewer", "viewer")},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if _, err := b.Store(t.Context(), broker.Message{Subject: broker.SubjectCreated, ID: "x"}); !errors.Is(err, broker.ErrNotStored) {
			t.Errorf("Store = %v, want %v", err, broker.ErrNotStored)
		}
		synctest.Wait()
		if len(told) == 0 || told[0].Event != "broker.error" || !errors.Is(told[0].Err, nats.ErrPermissionViolation) ||
			!strings.Contains(told[0].Err.Error(), broker.SubjectCreated) {
			t.Errorf("trouble = %v, want a permissions violation that names %s", told, broker.SubjectCreated)
		}
	})
}
