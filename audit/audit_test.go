package audit_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// audited is the account of payment in a world.
func audited(t *testing.T, w *world) audit.Account {
	t.Helper()
	r, err := audit.RunOn(t.Context(), w, []order.Service{order.Payment})
	if err != nil {
		t.Fatal(err)
	}
	return r.Services[0]
}

func TestAccount(t *testing.T) {
	const hour = time.Hour
	lost := func(seq uint64, generation int) audit.Finding {
		return audit.Finding{Kind: audit.Lost, Seq: seq, Generation: generation, OrderID: "order-1"}
	}
	double := func(k audit.Kind, generation int) []audit.Finding {
		return []audit.Finding{{Kind: k, Seq: 1, Generation: generation, OrderID: "order-1"}}
	}
	// Order 1 has been placed and acknowledged; see acked and delivered.
	tests := map[string]struct {
		set  func(w *world)
		want audit.Account
	}{
		"an outcome is done": {
			func(w *world) { w.outcome(1, 0, order.Authorized) },
			audit.Account{Accepted: 1, Done: 1},
		},
		"a refusal is done": {
			func(w *world) { w.outcome(1, 0, order.Refused) },
			audit.Account{Accepted: 1, Done: 1},
		},
		"a pending answer settles nothing": {
			func(w *world) { w.outcome(1, 0, order.Pending) },
			audit.Account{Accepted: 1, Lost: 1, Findings: []audit.Finding{lost(1, 0)}},
		},
		"a pending answer beside a retry waits": {
			func(w *world) { w.outcome(1, 0, order.Pending); w.retry(1, 0, "t1", hour) },
			audit.Account{Accepted: 1, Waiting: 1},
		},
		"acknowledged without a trace is lost": {
			func(*world) {},
			audit.Account{Accepted: 1, Lost: 1, Findings: []audit.Finding{lost(1, 0)}},
		},
		"not delivered waits": {
			func(w *world) { w.acked[1], w.delivered = false, 0 },
			audit.Account{Accepted: 1, Waiting: 1},
		},
		"delivered and not acknowledged runs": {
			func(w *world) { w.acked[1] = false },
			audit.Account{Accepted: 1, Running: 1},
		},
		"above the floor, an order without a trace isn't called lost": {
			func(w *world) { w.acked[1] = false; w.place(); w.acked[2], w.delivered = true, 2 },
			audit.Account{Accepted: 2, Running: 2},
		},
		"stored and not acknowledged yet is done": {
			func(w *world) { w.acked[1] = false; w.outcome(1, 0, order.Sent) },
			audit.Account{Accepted: 1, Done: 1},
		},
		"a retry whose time hasn't come waits, though delivered": {
			func(w *world) { w.retry(1, 0, "now", hour) },
			audit.Account{Accepted: 1, Waiting: 1},
		},
		"a retry that is due waits until it is delivered": {
			func(w *world) { w.retry(1, 0, "t1", hour); w.now = w.now.Add(hour) },
			audit.Account{Accepted: 1, Waiting: 1},
		},
		"a retry that is due and delivered runs": {
			func(w *world) { w.retry(1, 0, "now", hour); w.now = w.now.Add(hour) },
			audit.Account{Accepted: 1, Running: 1},
		},
		"a retry that is settled and not acknowledged is done": {
			func(w *world) { w.retry(1, 0, "now", 0); w.outcome(1, 0, order.Sent) },
			audit.Account{Accepted: 1, Done: 1},
		},
		"a letter is dead": {
			func(w *world) { w.letter(1, 0) },
			audit.Account{Accepted: 1, Dead: 1},
		},
		"a letter whose retry isn't acknowledged is dead": {
			func(w *world) { w.retry(1, 0, "now", 0); w.letter(1, 0) },
			audit.Account{Accepted: 1, Dead: 1},
		},
		"a discarded letter is on record": {
			func(w *world) { w.record(1, 0, broker.DeskDiscarded) },
			audit.Account{Accepted: 1, Discarded: 1},
		},
		"a letter that is discarded and still there is dead": {
			func(w *world) { w.letter(1, 0); w.record(1, 0, broker.DeskDiscarded) },
			audit.Account{Accepted: 1, Dead: 1},
		},
		"discarded while a repetition of it waits, waits": {
			func(w *world) { w.record(1, 0, broker.DeskDiscarded); w.retry(1, 0, "t1", hour) },
			audit.Account{Accepted: 1, Waiting: 1},
		},
		"a letter deleted without a record is lost": {
			func(w *world) { w.remove(broker.StreamDeadLetters, w.letter(1, 0)) },
			audit.Account{Accepted: 1, Lost: 1, Findings: []audit.Finding{lost(1, 0)}},
		},
		"a replay that was cut before its record: its newest generation counts": {
			func(w *world) { w.letter(1, 0); w.retry(1, 1, "now", 0) },
			audit.Account{Accepted: 1, Running: 1},
		},
		"a replay that was cut before its letter was deleted, and is done": {
			func(w *world) { w.letter(1, 0); w.record(1, 0, broker.DeskReplayed); w.outcome(1, 1, order.Sent) },
			audit.Account{Accepted: 1, Done: 1},
		},
		"a replay that is done": {
			func(w *world) { w.record(1, 0, broker.DeskReplayed); w.outcome(1, 1, order.Sent) },
			audit.Account{Accepted: 1, Done: 1},
		},
		"a replay that is dead again": {
			func(w *world) { w.record(1, 0, broker.DeskReplayed); w.letter(1, 1) },
			audit.Account{Accepted: 1, Dead: 1},
		},
		"replayed, dead again, discarded": {
			func(w *world) { w.record(1, 0, broker.DeskReplayed); w.record(1, 1, broker.DeskDiscarded) },
			audit.Account{Accepted: 1, Discarded: 1},
		},
		"a replay that is nowhere is lost": {
			func(w *world) { w.record(1, 0, broker.DeskReplayed) },
			audit.Account{Accepted: 1, Lost: 1, Findings: []audit.Finding{lost(1, 1)}},
		},
		"the second replay is nowhere": {
			func(w *world) { w.record(1, 0, broker.DeskReplayed); w.record(1, 1, broker.DeskReplayed) },
			audit.Account{Accepted: 1, Lost: 1, Findings: []audit.Finding{lost(1, 2)}},
		},
		"a replay that is nowhere while its letter is still there is dead": {
			func(w *world) { w.letter(1, 0); w.record(1, 0, broker.DeskReplayed) },
			audit.Account{Accepted: 1, Dead: 1},
		},
		"replayed and discarded at once: the replay is owed": {
			func(w *world) { w.record(1, 0, broker.DeskReplayed); w.record(1, 0, broker.DeskDiscarded) },
			audit.Account{Accepted: 1, Lost: 1, Findings: []audit.Finding{lost(1, 1)}},
		},
		"done twice in one generation": {
			func(w *world) { w.outcome(1, 0, order.Sent); w.outcome(1, 0, order.Sent) },
			audit.Account{Accepted: 1, Done: 1, Double: 1, Findings: double(audit.DoneTwice, 0)},
		},
		"done twice after a replay": {
			func(w *world) {
				w.record(1, 0, broker.DeskReplayed)
				w.outcome(1, 1, order.Sent)
				w.outcome(1, 1, order.Sent)
			},
			audit.Account{Accepted: 1, Done: 1, Double: 1, Findings: double(audit.DoneTwice, 1)},
		},
		"dead twice in one generation": {
			func(w *world) { w.letter(1, 0); w.letter(1, 0) },
			audit.Account{Accepted: 1, Dead: 1, Double: 1, Findings: double(audit.DeadTwice, 0)},
		},
		"done and dead in one generation": {
			func(w *world) { w.letter(1, 0); w.outcome(1, 0, order.Sent) },
			audit.Account{Accepted: 1, Done: 1, Double: 1, Findings: double(audit.DoneAndDead, 0)},
		},
		"dead, then done after a replay, is no double": {
			func(w *world) { w.letter(1, 0); w.retry(1, 1, "now", 0); w.outcome(1, 1, order.Sent) },
			audit.Account{Accepted: 1, Done: 1},
		},
		"an event that the service doesn't read is none of its orders": {
			func(w *world) {
				w.outcome(1, 0, order.Sent)
				w.store(broker.StreamOrders, "orders.canceled", 0, 0, 0)
				w.acked[2], w.delivered = true, 2
			},
			audit.Account{Accepted: 1, Done: 1},
		},
		"a wildcard reads all events": {
			func(w *world) {
				w.filters = []string{"orders.*"}
				w.outcome(1, 0, order.Sent)
				w.store(broker.StreamOrders, "orders.canceled", 0, 0, 0)
			},
			audit.Account{Accepted: 2, Done: 1, Waiting: 1},
		},
		"without a filter it reads all": {
			func(w *world) { w.filters = nil; w.outcome(1, 0, order.Sent) },
			audit.Account{Accepted: 1, Done: 1},
		},
		"an order from before the service is none of its orders": {
			func(w *world) { w.began = w.now.Add(1) },
			audit.Account{},
		},
		"an order from before the service, with a trace, is": {
			func(w *world) { w.began = w.now.Add(1); w.outcome(1, 0, order.Sent) },
			audit.Account{Accepted: 1, Done: 1},
		},
		"an order above the floor is the service's, however old": {
			func(w *world) { w.began = w.now.Add(1); w.acked[1] = false },
			audit.Account{Accepted: 1, Running: 1},
		},
		"a trimmed order that is done is history": {
			func(w *world) { w.outcome(1, 0, order.Sent); w.remove(broker.StreamOrders, 1) },
			audit.Account{},
		},
		"a trimmed order without a trace is history": {
			func(w *world) { w.remove(broker.StreamOrders, 1) },
			audit.Account{},
		},
		"a trimmed order whose letter was discarded is history": {
			func(w *world) { w.remove(broker.StreamOrders, 1); w.record(1, 0, broker.DeskDiscarded) },
			audit.Account{},
		},
		"a trimmed order still lies dead": {
			func(w *world) { w.remove(broker.StreamOrders, 1); w.letter(1, 0) },
			audit.Account{Accepted: 1, Dead: 1},
		},
		"a trimmed order still waits": {
			func(w *world) { w.remove(broker.StreamOrders, 1); w.retry(1, 0, "t1", hour) },
			audit.Account{Accepted: 1, Waiting: 1},
		},
		"a trimmed order that waited and is done just now is history": {
			func(w *world) {
				w.remove(broker.StreamOrders, 1)
				w.retry(1, 0, "now", 0)
				w.outcome(1, 0, order.Sent)
			},
			audit.Account{},
		},
		"a trimmed order is lost by a replay": {
			func(w *world) { w.remove(broker.StreamOrders, 1); w.record(1, 0, broker.DeskReplayed) },
			audit.Account{Accepted: 1, Lost: 1, Findings: []audit.Finding{{Kind: audit.Lost, Seq: 1, Generation: 1}}},
		},
		"a replay whose outcome may have been trimmed is history": {
			func(w *world) {
				w.remove(broker.StreamOrders, 1)
				w.outcome(1, 1, order.Sent)
				w.record(1, 0, broker.DeskReplayed)
				w.now = w.now.Add(time.Second)
				w.outcome(9, 0, order.Sent)
				w.remove(broker.StreamOutcomes, 1)
			},
			audit.Account{},
		},
		"a replay put on record so late that its outcome was trimmed is history": {
			func(w *world) {
				w.remove(broker.StreamOrders, 1)
				w.outcome(1, 1, order.Sent)
				w.outcome(9, 0, order.Sent)
				w.remove(broker.StreamOutcomes, 1)
				w.now = w.now.Add(119 * time.Second)
				w.record(1, 0, broker.DeskReplayed)
			},
			audit.Account{},
		},
		"a replay since the oldest outcome kept is not": {
			func(w *world) {
				w.remove(broker.StreamOrders, 1)
				w.outcome(9, 0, order.Sent)
				w.outcome(9, 0, order.Sent)
				w.remove(broker.StreamOutcomes, 1)
				w.now = w.now.Add(121 * time.Second)
				w.record(1, 0, broker.DeskReplayed)
			},
			audit.Account{Accepted: 1, Lost: 1, Findings: []audit.Finding{{Kind: audit.Lost, Seq: 1, Generation: 1}}},
		},
		"what was accepted after the audit began isn't in it": {
			func(w *world) {
				w.outcome(1, 0, order.Sent)
				w.outcome(2, 0, order.Sent)
				w.letter(3, 0)
				w.retry(4, 0, "t1", 0)
				w.record(5, 0, broker.DeskReplayed)
			},
			audit.Account{Accepted: 1, Done: 1},
		},
		"what has no origin is in no account": {
			func(w *world) {
				w.outcome(1, 0, order.Sent)
				w.store(broker.StreamDeadLetters, broker.DeadSubject(order.Payment, "invalid"), 0, 0, 0)
				w.store(retries, broker.RetrySubject(order.Payment, "now"), 0, 0, 0)
			},
			audit.Account{Accepted: 1, Done: 1},
		},
		"what began in another stream is another order": {
			func(w *world) {
				hop := broker.Hop{Origin: broker.Origin{Stream: retries, Seq: 1}}
				l := w.logs[broker.StreamOutcomes]
				l.last++
				l.entries[l.last] = audit.Entry{Seq: l.last, Subject: broker.OutcomeSubject(order.Payment, order.Sent), At: w.now, Header: hop.Header(nil)}
			},
			audit.Account{Accepted: 1, Lost: 1, Findings: []audit.Finding{lost(1, 0)}},
		},
		"another service's traces are not this one's": {
			func(w *world) {
				w.store(broker.StreamOutcomes, broker.OutcomeSubject(order.Inventory, order.Reserved), 1, 0, 0)
				w.store(broker.StreamDeadLetters, broker.DeadSubject(order.Inventory, "rejected"), 1, 0, 0)
				w.store(broker.StreamDeadLetters, broker.DeskSubject(order.Inventory, broker.DeskDiscarded), 1, 0, 0)
			},
			audit.Account{Accepted: 1, Lost: 1, Findings: []audit.Finding{lost(1, 0)}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.place()
			w.acked[1], w.delivered = true, 1
			tt.set(w)
			tt.want.Service = order.Payment
			if diff := cmp.Diff(tt.want, audited(t, w)); diff != "" {
				t.Errorf("account: -want +got\n%s", diff)
			}
		})
	}
}

func TestAccount_ListsAHundredOfEachAndCountsAll(t *testing.T) {
	w := newWorld()
	for range 250 {
		seq := w.place()
		w.acked[seq], w.delivered = true, seq
		if seq%2 == 0 {
			w.outcome(seq, 0, order.Sent)
			w.outcome(seq, 0, order.Sent)
		}
	}
	a := audited(t, w)
	if a.Accepted != 250 || a.Lost != 125 || a.Double != 125 || len(a.Findings) != 2*audit.MaxFindings {
		t.Fatalf("accepted %d, lost %d, double %d, %d findings; want 250, 125, 125, %d", a.Accepted, a.Lost, a.Double, len(a.Findings), 2*audit.MaxFindings)
	}
	if f := a.Findings[99]; f.Kind != audit.Lost || f.Seq != 199 {
		t.Errorf("finding 99 is %+v, want order 199 lost", f)
	}
	if f := a.Findings[100]; f.Kind != audit.DoneTwice || f.Seq != 2 || f.OrderID != "order-2" {
		t.Errorf("finding 100 is %+v, want order 2 done twice", f)
	}
}

// behind is a world in which an order is replayed behind the audit's back, in the
// first looks: it lies dead while RETRY is read, and waits when DLQ is.
type behind struct {
	*world
	times, look  int
	letter, wait uint64
}

func (b *behind) Read(ctx context.Context, stream string, after, last uint64, take func(audit.Entry)) (uint64, error) {
	if stream != retries {
		return b.world.Read(ctx, stream, after, last, take)
	}
	b.look++
	if b.look > b.times {
		return b.world.Read(ctx, stream, after, last, take)
	}
	generation := b.look - 1
	if generation > 0 {
		b.letter = b.world.letter(1, generation)
		b.remove(retries, b.wait)
	}
	end, err := b.world.Read(ctx, stream, after, last, take)
	b.wait = b.retry(1, generation+1, "t1", time.Hour)
	b.record(1, generation, broker.DeskReplayed)
	b.remove(broker.StreamDeadLetters, b.letter)
	return end, err
}

func TestAccount_LooksAgainForWhatIsReplayedMeanwhile(t *testing.T) {
	for times := range 4 {
		b := &behind{world: newWorld(), times: times}
		b.place()
		b.acked[1], b.delivered = true, 1
		b.letter = b.world.letter(1, 0)
		b.acked[b.place()] = true // and one that is seen once, however often they are looked for
		b.outcome(2, 0, order.Sent)
		r, err := audit.RunOn(t.Context(), b, []order.Service{order.Payment})
		if err != nil {
			t.Fatal(err)
		}
		want := audit.Account{Service: order.Payment, Accepted: 2, Done: 1, Waiting: 1}
		if times == 0 {
			want.Waiting, want.Dead = 0, 1
		}
		if diff := cmp.Diff(want, r.Services[0]); diff != "" {
			t.Errorf("replayed %d times: -want +got\n%s", times, diff)
		}
		if b.look != times+1 {
			t.Errorf("replayed %d times: %d looks, want one more", times, b.look)
		}
	}
}

// finished is a world in which an order is replayed behind the audit's back, in the
// first look, and before the second is done, and trimmed with its outcome.
type finished struct{ *behind }

func (f finished) Read(ctx context.Context, stream string, after, last uint64, take func(audit.Entry)) (uint64, error) {
	if stream == retries && f.look == 1 {
		f.outcome(1, 1, order.Sent)
		f.remove(retries, f.wait)
		f.remove(broker.StreamOrders, 1)
		f.remove(broker.StreamOutcomes, 1)
	}
	return f.behind.Read(ctx, stream, after, last, take)
}

func TestAccount_WhatIsTrimmedBetweenTwoLooksIsNotLost(t *testing.T) {
	f := finished{&behind{world: newWorld(), times: 1}}
	f.place()
	f.acked[1], f.delivered = true, 1
	f.letter = f.world.letter(1, 0)
	r, err := audit.RunOn(t.Context(), f, []order.Service{order.Payment})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(audit.Account{Service: order.Payment}, r.Services[0]); diff != "" || f.look != 2 {
		t.Errorf("after %d looks, want 2: -want +got\n%s", f.look, diff)
	}
}
