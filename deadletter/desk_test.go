package deadletter_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

var at = time.Date(2026, 11, 27, 20, 15, 0, 123456789, time.UTC)

// letter is the n-th letter of payment, with everything that one can have.
func letter(n int) deadletter.Letter {
	return deadletter.Letter{
		Service: order.Payment, Reason: deadletter.Exhausted,
		Error: "gateway answered 503", ErrorType: "*http.statusError", At: at, Instance: "pay-1/17", Version: "v1.2.3",
		Timeline: []deadletter.Attempt{{N: 1, Started: at, Took: time.Second, Reason: "failed", Error: "gateway answered 503"}},
		Hop: broker.Hop{
			OrderID: fmt.Sprintf("o-%d", n), EventType: "created", Schema: "order/1", Attempt: 5, Waits: 4, FirstSeen: at.Add(-time.Hour),
			Origin: broker.Origin{Stream: "ORDERS", Seq: uint64(n), Subject: "orders.created"}, Generation: 1,
			IdempotencyKey: fmt.Sprintf("o-%d", n), Deadline: at.Add(time.Hour),
		},
		Header: nats.Header{"traceparent": {"00-1"}, "Order-Id": {"claimed"}, "Nats-Msg-Id": {"as received"}},
		Data:   fmt.Appendf(nil, `{"id":"o-%d"}`, n),
	}
}

func post(t *testing.T, d *deadletter.Desk, letters ...deadletter.Letter) {
	t.Helper()
	for _, l := range letters {
		if err := d.Post(context.Background(), l); err != nil {
			t.Fatal(err)
		}
	}
}

func all(t *testing.T, d *deadletter.Desk, f deadletter.Filter) []deadletter.Letter {
	t.Helper()
	letters := []deadletter.Letter{}
	for l, err := range d.All(context.Background(), f) {
		if err != nil {
			t.Fatal(err)
		}
		letters = append(letters, l)
	}
	return letters
}

func seqs(letters []deadletter.Letter) []uint64 {
	got := []uint64{}
	for _, l := range letters {
		got = append(got, l.Seq)
	}
	return got
}

func wantSeqs(t *testing.T, got []deadletter.Letter, want ...uint64) {
	t.Helper()
	if diff := cmp.Diff(append([]uint64{}, want...), seqs(got)); diff != "" {
		t.Errorf("letters: -want +got\n%s", diff)
	}
}

// stored returns what a stream holds, oldest first, without the headers that the
// broker adds.
func stored(t *testing.T, b *broker.Conn, stream string) []*jetstream.RawStreamMsg {
	t.Helper()
	s, err := b.JetStream().Stream(context.Background(), stream)
	if err != nil {
		t.Fatal(err)
	}
	var ms []*jetstream.RawStreamMsg
	st := s.CachedInfo().State
	for seq := st.FirstSeq; st.Msgs > 0 && seq <= st.LastSeq; seq++ {
		m, err := s.GetMsg(context.Background(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range []string{"Nats-Sequence", "Nats-Stream", "Nats-Subject", "Nats-Time-Stamp"} {
			m.Header.Del(k)
		}
		ms = append(ms, m)
	}
	return ms
}

func subjects(ms []*jetstream.RawStreamMsg) []string {
	got := []string{}
	for _, m := range ms {
		got = append(got, m.Subject)
	}
	return got
}

func wantSubjects(t *testing.T, b *broker.Conn, stream string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), subjects(stored(t, b, stream))); diff != "" {
		t.Errorf("%s: -want +got\n%s", stream, diff)
	}
}

func TestDesk_ALetterIsReadAsItWasPosted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		d := deadletter.New(b, "anna")
		post(t, d, letter(7))

		want := letter(7)
		want.Seq = 1
		want.Fingerprint = deadletter.Fingerprint(want.Service, want.Reason, want.Error)
		want.Hop.Timeline = deadletter.EncodeTimeline(want.Timeline)
		want.Header = nats.Header{
			"Order-Id": {"o-7"}, "Event-Type": {"created"}, "Schema": {"order/1"}, "Attempt": {"5"}, "Waits": {"4"},
			"First-Seen": {"2026-11-27T19:15:00.123456789Z"}, "Origin-Stream": {"ORDERS"}, "Origin-Seq": {"7"},
			"Origin-Subject": {"orders.created"}, "Generation": {"1"}, "Idempotency-Key": {"o-7"},
			"Deadline": {"2026-11-27T21:15:00.123456789Z"}, "traceparent": {"00-1"},
			"Dlq-Reason": {"exhausted"}, "Dlq-Error": {"gateway answered 503"}, "Dlq-Error-Type": {"*http.statusError"},
			"Dlq-Fingerprint": {want.Fingerprint}, "Dlq-At": {"2026-11-27T20:15:00.123456789Z"},
			"Dlq-Instance": {"pay-1/17"}, "Dlq-Version": {"v1.2.3"},
			"Dlq-Timeline": {`[{"n":1,"started":"2026-11-27T20:15:00.123456789Z","took_ms":1000,"reason":"failed","error":"gateway answered 503"}]`},
		}
		got, err := d.Get(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Get: -want +got\n%s", diff)
		}
		if diff := cmp.Diff([]deadletter.Letter{want}, all(t, d, deadletter.Filter{})); diff != "" {
			t.Errorf("All: -want +got\n%s", diff)
		}
		wire := stored(t, b, broker.StreamDeadLetters)[0]
		if wire.Subject != "dlq.payment.exhausted" || wire.Header.Get("Nats-Msg-Id") != "dlq/payment/ORDERS/7/1" {
			t.Errorf("stored at %s as %s", wire.Subject, wire.Header.Get("Nats-Msg-Id"))
		}
	})
}

// The same letter twice is one; of the same order after a replay, another.
func TestDesk_PostTwiceIsOneLetter(t *testing.T) {
	b := brokertest.New(t)
	d := deadletter.New(b, "anna")
	again := letter(1)
	again.Hop.Generation++
	post(t, d, letter(1), letter(1), again, letter(2))
	wantSeqs(t, all(t, d, deadletter.Filter{}), 1, 2, 3)
}

func TestDesk_TheBytesAreThoseReceived(t *testing.T) {
	b := brokertest.New(t)
	d := deadletter.New(b, "anna")
	for i, data := range [][]byte{
		nil,
		[]byte("caf\xe9 \xff\xfe\x00 \r\n"),
		bytes.Repeat([]byte{0xff}, 1<<20),
		bytes.Repeat([]byte("x"), int(b.MaxPayload())-broker.MaxHeaderBytes), // the most that ORDERS takes
	} {
		// And as much in headers as a letter can grow.
		l := letter(i)
		l.Reason, l.Data, l.Header = deadletter.Invalid, data, nil
		l.Error, l.ErrorType, l.Instance, l.Version = strings.Repeat(`\`, 1<<20), strings.Repeat("t", 1000), strings.Repeat("i", 1000), strings.Repeat("v", 1000)
		for range 25 {
			l.Timeline = deadletter.Note(l.Timeline, deadletter.Attempt{Reason: "failed", Error: strings.Repeat(`"`, 1000), Started: at})
		}
		long := strings.Repeat("x", 256)
		l.Hop.OrderID, l.Hop.EventType, l.Hop.IdempotencyKey, l.Hop.Origin.Subject = long, long, long, long
		post(t, d, l)
		got, err := d.Get(t.Context(), uint64(2*i+1)) // a record of the replay follows each
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Data, data) {
			t.Errorf("%d bytes were posted, %d others read", len(data), len(got.Data))
		}
		if len(got.Error) > 1<<10 || len(got.Timeline) != 20 {
			t.Errorf("error of %d bytes and %d attempts, want at most 1024 and 20", len(got.Error), len(got.Timeline))
		}
		if err := d.Replay(t.Context(), got.Seq); err != nil {
			t.Fatal(err)
		}
		sent := stored(t, b, broker.RetryStream(order.Payment))
		if last := sent[len(sent)-1]; !bytes.Equal(last.Data, data) {
			t.Errorf("%d bytes were posted, %d others replayed", len(data), len(last.Data))
		}
	}
}

// A stranger wrote to the subject: the letter shows, and can be buried.
func TestDesk_AForgedLetterShowsAndCanBeBuried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		d := deadletter.New(b, "anna")
		forge := func(subject string, h nats.Header) {
			if _, err := b.Store(t.Context(), broker.Message{Subject: subject, ID: subject, Header: h, Data: []byte("?")}); err != nil {
				t.Fatal(err)
			}
		}
		begin := time.Now()
		forge("dlq.payment.because", nil)
		forge("dlq.NOBODY.exhausted", nats.Header{
			"Dlq-At": {"never"}, "Dlq-Timeline": {"["}, "Dlq-Error": {"\x1b[31mred"}, "Dlq-Fingerprint": {strings.Repeat("f", 99)}, "Attempt": {"-7"},
		})
		got := all(t, d, deadletter.Filter{})
		wantSeqs(t, got, 1, 2)
		for _, l := range got {
			if l.At.Before(begin) || l.Hop.Attempt != 1 || len(l.Timeline) > 0 || len(l.Fingerprint) > 16 || strings.Contains(l.Error, "\x1b") {
				t.Errorf("forged letter = %+v", l)
			}
		}
		if err := d.Replay(t.Context(), 2); !errors.Is(err, broker.ErrNotStored) {
			t.Errorf("Replay to a service that isn't there = %v, want %v", err, broker.ErrNotStored)
		}
		wantSeqs(t, all(t, d, deadletter.Filter{Service: "NOBODY"}), 2)
		if err := d.Replay(t.Context(), 1); err != nil {
			t.Errorf("Replay = %v", err)
		}
		if err := d.Discard(t.Context(), 2); err != nil {
			t.Errorf("Discard = %v", err)
		}
		wantSeqs(t, all(t, d, deadletter.Filter{}))
	})
}

func TestDesk_AllByFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		d := deadletter.New(b, "anna")
		wantSeqs(t, all(t, d, deadletter.Filter{})) // an empty DLQ ends at once
		wantSeqs(t, all(t, d, deadletter.Filter{Service: order.Payment, Reason: deadletter.Poison}))

		other := letter(2)
		other.Service, other.Error, other.At = order.Inventory, "no such warehouse", at.Add(time.Minute)
		rejected := letter(3)
		rejected.Reason = deadletter.Rejected
		post(t, d, letter(1), other, rejected, letter(4))
		kind := deadletter.Fingerprint(order.Inventory, deadletter.Exhausted, "no such warehouse")
		for _, tc := range []struct {
			f    deadletter.Filter
			want []uint64
		}{
			{deadletter.Filter{}, []uint64{1, 2, 3, 4}},
			{deadletter.Filter{Service: order.Payment}, []uint64{1, 3, 4}},
			{deadletter.Filter{Reason: deadletter.Exhausted}, []uint64{1, 2, 4}},
			{deadletter.Filter{Service: order.Payment, Reason: deadletter.Rejected}, []uint64{3}},
			{deadletter.Filter{OrderID: "o-4"}, []uint64{4}},
			{deadletter.Filter{Fingerprint: kind}, []uint64{2}},
			{deadletter.Filter{Since: at.Add(time.Minute)}, []uint64{2}},
			{deadletter.Filter{Since: at.Add(time.Hour)}, []uint64{}},
			{deadletter.Filter{Service: order.Notification}, []uint64{}},
		} {
			if diff := cmp.Diff(tc.want, seqs(all(t, d, tc.f))); diff != "" {
				t.Errorf("All(%+v): -want +got\n%s", tc.f, diff)
			}
		}

		// What the desk has on record is no letter.
		if err := d.Discard(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		wantSeqs(t, all(t, d, deadletter.Filter{}), 1, 3, 4)
		if _, err := d.Get(t.Context(), 5); !errors.Is(err, deadletter.ErrNotFound) {
			t.Errorf("Get of a record = %v, want %v", err, deadletter.ErrNotFound)
		}
		for _, err := range d.All(t.Context(), deadletter.Filter{}) {
			if err != nil {
				t.Error(err)
			}
			break // stopping early is fine
		}
	})
}

// All means the letters that are there now: neither those that come while it
// reads, nor those that somebody takes away before it gets to them, keep it.
func TestDesk_AllEndsWhateverOthersDo(t *testing.T) {
	const n = 1200 // more than a client buffers
	for name, meanwhile := range map[string]func(*testing.T, *deadletter.Desk, *broker.Conn){
		"somebody takes the rest away": func(t *testing.T, _ *deadletter.Desk, b *broker.Conn) {
			s, err := b.JetStream().Stream(t.Context(), broker.StreamDeadLetters)
			if err != nil {
				t.Fatal(err)
			}
			for seq := uint64(n); seq > 10; seq-- {
				if err := s.DeleteMsg(t.Context(), seq); err != nil {
					t.Fatal(err)
				}
			}
		},
		"letters keep coming": func(t *testing.T, d *deadletter.Desk, _ *broker.Conn) { post(t, d, letter(n+1), letter(n+2)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := brokertest.New(t)
				d := deadletter.New(b, "anna")
				for i := range n {
					post(t, d, letter(i+1))
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				got, first := []deadletter.Letter{}, true
				for l, err := range d.All(ctx, deadletter.Filter{}) {
					if err != nil {
						t.Fatalf("after %d letters: %v", len(got), err)
					}
					got = append(got, l)
					if first {
						first = false
						meanwhile(t, d, b)
					}
				}
				if last := got[len(got)-1].Seq; len(got) < 10 || len(got) > n || last > n {
					t.Errorf("All gave %d letters, the last one %d, want 10 to %d", len(got), last, n)
				}
			})
		})
	}
}

func TestDesk_WatchMissesNothingWhenTheBrokerRestarts(t *testing.T) {
	for name, first := range map[string]int{"before the first letter": 0, "between letters": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := brokertest.Start(t)
				b, writer := srv.Connect(), srv.Connect()
				brokertest.Provision(t, b, brokertest.Plan())
				d := deadletter.New(b, "anna")
				post(t, d, letter(1)) // there before: not watched
				ctx, cancel := context.WithCancel(t.Context())
				var got []uint64
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					for l, err := range d.Watch(ctx, deadletter.Filter{Service: order.Payment}) {
						if err != nil {
							t.Errorf("Watch: %v", err)
							return
						}
						got = append(got, l.Seq)
					}
				}()
				time.Sleep(time.Second)
				n := 1
				write := func(count int) {
					for range count {
						n++
						post(t, deadletter.New(writer, "writer"), letter(n))
					}
				}
				write(first)
				time.Sleep(time.Second)
				for range 3 {
					srv.Restart()
					synctest.Wait()             // the writer knows that its connection is gone
					for writer.Check() != nil { // the writer may be back before the watcher
						time.Sleep(time.Millisecond)
					}
					write(2)
					time.Sleep(2 * time.Minute)
				}
				cancel()
				<-ended
				want := []uint64{}
				for seq := 2; seq <= n; seq++ {
					want = append(want, uint64(seq))
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("watched letters: -want +got\n%s", diff)
				}
			})
		})
	}
}

func TestDesk_ReplayGoesToTheServiceThatFailedAndOnlyThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		d := deadletter.New(b, "anna")
		post(t, d, letter(7))
		if err := d.Replay(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		wantSubjects(t, b, broker.StreamOrders)
		wantSubjects(t, b, broker.RetryStream(order.Inventory))
		wantSubjects(t, b, broker.RetryStream(order.Payment), "retry.payment.now")
		wantSubjects(t, b, broker.StreamDeadLetters, "desk.payment.replayed")
		want := nats.Header{
			"Nats-Msg-Id": {"replay/1"}, "Attempt": {"1"}, "Generation": {"2"}, "Order-Id": {"o-7"}, "Event-Type": {"created"},
			"Schema": {"order/1"}, "First-Seen": {"2026-11-27T19:15:00.123456789Z"}, "Origin-Stream": {"ORDERS"}, "Origin-Seq": {"7"},
			"Origin-Subject": {"orders.created"}, "Idempotency-Key": {"o-7"}, "Deadline": {"2026-11-27T21:15:00.123456789Z"},
			"traceparent": {"00-1"},
		}
		sent := stored(t, b, broker.RetryStream(order.Payment))[0]
		if diff := cmp.Diff(want, sent.Header); diff != "" {
			t.Errorf("replayed: -want +got\n%s", diff)
		}
		if string(sent.Data) != `{"id":"o-7"}` {
			t.Errorf("replayed %q", sent.Data)
		}
		record := stored(t, b, broker.StreamDeadLetters)[0]
		want = nats.Header{
			"Nats-Msg-Id": {"desk/replayed/1"}, "Desk-Who": {"anna"}, "Desk-Seq": {"1"}, "Dlq-Reason": {"exhausted"}, "Attempt": {"1"},
			"Order-Id": {"o-7"}, "Origin-Stream": {"ORDERS"}, "Origin-Seq": {"7"}, "Origin-Subject": {"orders.created"}, "Generation": {"1"},
			"First-Seen": {"2026-11-27T19:15:00.123456789Z"},
		}
		if diff := cmp.Diff(want, record.Header); diff != "" {
			t.Errorf("record: -want +got\n%s", diff)
		}
		for _, act := range []func(context.Context, uint64) error{d.Replay, d.Discard} {
			if err := act(t.Context(), 1); !errors.Is(err, deadletter.ErrNotFound) {
				t.Errorf("a second time: %v, want %v", err, deadletter.ErrNotFound)
			}
		}
	})
}

// cutDesk is a desk whose removals don't reach the broker.
func cutDesk(t *testing.T) (cut, d *deadletter.Desk, b *broker.Conn) {
	t.Helper()
	srv := brokertest.StartUsers(t, map[string][]string{"all": nil, "cut": {"$JS.API.STREAM.MSG.DELETE.>"}})
	b = srv.Connect(nats.UserInfo("all", "all"))
	brokertest.Provision(t, b, brokertest.Plan())
	return deadletter.New(srv.Connect(nats.UserInfo("cut", "cut")), "cut"), deadletter.New(b, "anna"), b
}

func TestDesk_AReplayCutBeforeTheRemovalCanBeRepeated(t *testing.T) {
	for name, tc := range map[string]struct {
		after time.Duration
		want  []string
	}{
		"within two minutes it is one": {time.Minute, []string{"retry.payment.now"}},
		"later it runs once more":      {3 * time.Minute, []string{"retry.payment.now", "retry.payment.now"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cut, d, b := cutDesk(t)
				post(t, d, letter(7))
				if err := cut.Replay(t.Context(), 1); err == nil || errors.Is(err, deadletter.ErrNotFound) {
					t.Fatalf("Replay that can't remove the letter = %v, want an error", err)
				}
				wantSeqs(t, all(t, d, deadletter.Filter{}), 1)
				time.Sleep(tc.after)
				if err := d.Replay(t.Context(), 1); err != nil {
					t.Fatal(err)
				}
				wantSeqs(t, all(t, d, deadletter.Filter{}))
				wantSubjects(t, b, broker.RetryStream(order.Payment), tc.want...)
				for _, m := range stored(t, b, broker.RetryStream(order.Payment)) {
					if got := m.Header.Get("Generation") + " " + m.Header.Get("Idempotency-Key"); got != "2 o-7" {
						t.Errorf("generation and key = %s, want 2 o-7 each time", got)
					}
				}
			})
		})
	}
}

func TestDesk_TwoOperatorsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		const n = 20
		for i := range n {
			post(t, deadletter.New(b, "x"), letter(i+1))
		}
		var wg sync.WaitGroup
		for _, who := range []string{"anna", "ben"} {
			d := deadletter.New(b, who)
			wg.Go(func() {
				for seq := uint64(1); seq <= n; seq++ {
					if err := d.Replay(t.Context(), seq); err != nil && !errors.Is(err, deadletter.ErrNotFound) {
						t.Errorf("%s: %v", who, err)
					}
				}
			})
		}
		wg.Wait()
		wantSeqs(t, all(t, deadletter.New(b, "x"), deadletter.Filter{}))
		if got := len(stored(t, b, broker.RetryStream(order.Payment))); got != n {
			t.Errorf("%d retries of %d letters", got, n)
		}
		if got := len(stored(t, b, broker.StreamDeadLetters)); got != n {
			t.Errorf("%d records of %d letters", got, n)
		}
	})
}

// A full DLQ stops the services. The desk is what makes room.
func TestDesk_MakesRoomInAFullDLQ(t *testing.T) {
	for name, act := range map[string]func(*deadletter.Desk, context.Context, uint64) error{
		"replayed": (*deadletter.Desk).Replay, "discarded": (*deadletter.Desk).Discard,
	} {
		t.Run(name, func(t *testing.T) {
			b := brokertest.Start(t).Connect()
			plan := brokertest.Plan()
			plan.OrderBytes = 1 << 20
			brokertest.Provision(t, b, plan)
			d := deadletter.New(b, "anna")
			n := 0
			for size := 50 << 10; size > 0; size /= 50 {
				for {
					l := letter(n + 1)
					l.Data = make([]byte, size)
					if err := d.Post(t.Context(), l); errors.Is(err, broker.ErrFull) {
						break
					} else if err != nil {
						t.Fatal(err)
					}
					n++
				}
			}
			for i := 0; ; i++ { // down to the last byte
				m := broker.Message{Subject: "dlq.payment.exhausted", ID: fmt.Sprint("crumb", i)}
				if _, err := b.Store(t.Context(), m); errors.Is(err, broker.ErrFull) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
			if err := act(d, t.Context(), 1); err != nil {
				t.Fatalf("with a full DLQ: %v", err)
			}
			if _, err := d.Get(t.Context(), 1); !errors.Is(err, deadletter.ErrNotFound) {
				t.Errorf("the letter is there still: %v", err)
			}
			ms := stored(t, b, broker.StreamDeadLetters)
			if got, want := ms[len(ms)-1].Subject, "desk.payment."+name; got != want {
				t.Errorf("the last one stored is %s, want the record %s", got, want)
			}
			post(t, d, letter(n+1))
		})
	}
}

func TestDesk_CountsAndOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		d := deadletter.New(b, "anna")
		want := func(want ...deadletter.Count) {
			t.Helper()
			got, err := d.Counts(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(append([]deadletter.Count{}, want...), got); diff != "" {
				t.Errorf("Counts: -want +got\n%s", diff)
			}
		}
		want()
		if _, found, err := d.Oldest(t.Context(), order.Payment); found || err != nil {
			t.Errorf("Oldest of none = %v, %v", found, err)
		}
		rejected := letter(2)
		rejected.Reason = deadletter.Rejected
		other := letter(3)
		other.Service = order.Inventory
		first := time.Now()
		post(t, d, letter(1))
		time.Sleep(time.Hour)
		post(t, d, rejected, other, letter(4))
		want(deadletter.Count{Service: "inventory", Reason: "exhausted", Letters: 1},
			deadletter.Count{Service: "payment", Reason: "exhausted", Letters: 2},
			deadletter.Count{Service: "payment", Reason: "rejected", Letters: 1})
		oldest := func(s order.Service, want time.Time) {
			t.Helper()
			got, found, err := d.Oldest(t.Context(), s)
			if err != nil || !found || got.Sub(want).Abs() > time.Second {
				t.Errorf("Oldest(%s) = %v, %v, %v, want %v", s, got, found, err, want)
			}
		}
		oldest(order.Payment, first)
		oldest(order.Inventory, first.Add(time.Hour))
		if err := d.Discard(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		oldest(order.Payment, first.Add(time.Hour))
	})
}

func TestDesk_SaysThatTheDLQIsMissing(t *testing.T) {
	d := deadletter.New(brokertest.Start(t).Connect(), "anna")
	ctx := t.Context()
	check := func(what string, err error) {
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("%s = %v, want %v", what, err, jetstream.ErrStreamNotFound)
		}
	}
	_, err := d.Get(ctx, 1)
	check("Get", err)
	check("Replay", d.Replay(ctx, 1))
	check("Discard", d.Discard(ctx, 1))
	_, err = d.Counts(ctx)
	check("Counts", err)
	_, _, err = d.Oldest(ctx, order.Payment)
	check("Oldest", err)
	n := 0
	for _, err := range d.All(ctx, deadletter.Filter{}) {
		check("All", err)
		n++
	}
	for _, err := range d.Watch(ctx, deadletter.Filter{}) {
		check("Watch", err)
		n++
	}
	if n != 2 {
		t.Errorf("%d errors of All and Watch, want one each", n)
	}
	if err := d.Post(ctx, letter(1)); !errors.Is(err, broker.ErrNotStored) {
		t.Errorf("Post = %v, want %v", err, broker.ErrNotStored)
	}
}
