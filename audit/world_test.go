package audit_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

const retries = "RETRY_PAYMENT"

// world is a broker in memory with one service, payment, as far as an audit sees
// it. Whatever changes it is one step that nothing can come between.
type world struct {
	now       time.Time
	logs      map[string]*log
	acked     map[uint64]bool // orders
	delivered uint64
	began     time.Time
	filters   []string

	// meanwhile is called before each message that is read, and at each other
	// question.
	meanwhile func()
}

// log is a stream.
type log struct {
	last     uint64
	entries  map[uint64]audit.Entry
	lastTime time.Time
}

func newWorld() *world {
	w := &world{
		now: time.Date(2026, 11, 27, 20, 0, 0, 0, time.UTC), logs: make(map[string]*log), acked: make(map[uint64]bool),
		filters: []string{broker.SubjectCreated}, meanwhile: func() {},
	}
	for _, s := range []string{broker.StreamOrders, broker.StreamOutcomes, broker.StreamDeadLetters, retries} {
		w.logs[s] = &log{entries: make(map[uint64]audit.Entry)}
	}
	return w
}

// store stores something about an order.
func (w *world) store(stream, subject string, origin uint64, generation int, delay time.Duration) uint64 {
	l := w.logs[stream]
	l.last++
	l.lastTime = w.now
	hop := broker.Hop{OrderID: fmt.Sprintf("order-%d", l.last), RetryDelay: delay}
	if origin > 0 {
		hop.OrderID = fmt.Sprintf("order-%d", origin)
		hop.Origin = broker.Origin{Stream: broker.StreamOrders, Seq: origin, Subject: broker.SubjectCreated}
		hop.Generation = generation
	}
	l.entries[l.last] = audit.Entry{Seq: l.last, Subject: subject, At: w.now, Header: hop.Header(nil)}
	return l.last
}

func (w *world) remove(stream string, seq uint64) { delete(w.logs[stream].entries, seq) }

func (w *world) place() uint64 { return w.store(broker.StreamOrders, broker.SubjectCreated, 0, 0, 0) }

func (w *world) outcome(origin uint64, generation int, r order.Result) {
	w.store(broker.StreamOutcomes, broker.OutcomeSubject(order.Payment, r), origin, generation, 0)
}

func (w *world) retry(origin uint64, generation int, tier string, delay time.Duration) uint64 {
	return w.store(retries, broker.RetrySubject(order.Payment, tier), origin, generation, delay)
}

func (w *world) letter(origin uint64, generation int) uint64 {
	return w.store(broker.StreamDeadLetters, broker.DeadSubject(order.Payment, "exhausted"), origin, generation, 0)
}

func (w *world) record(origin uint64, generation int, action string) {
	w.store(broker.StreamDeadLetters, broker.DeskSubject(order.Payment, action), origin, generation, 0)
}

// floor is the main durable's: all up to it is acknowledged or trimmed.
func (w *world) floor() uint64 {
	l := w.logs[broker.StreamOrders]
	seq := uint64(0)
	for seq < l.last {
		if _, there := l.entries[seq+1]; there && !w.acked[seq+1] {
			break
		}
		seq++
	}
	return seq
}

func (w *world) Durables(context.Context, order.Service) (audit.Durables, error) {
	w.meanwhile()
	return audit.Durables{
		At: w.now, Floor: w.floor(), Delivered: w.delivered, Filters: w.filters, Began: w.began,
		Tiers: map[string]uint64{broker.RetrySubject(order.Payment, broker.TierNow): w.logs[retries].last},
	}, nil
}

func (w *world) Span(_ context.Context, stream string) (audit.Span, error) {
	w.meanwhile()
	l := w.logs[stream]
	if len(l.entries) == 0 {
		return audit.Span{First: l.last + 1, Last: l.last, Since: l.lastTime}, nil
	}
	first := slices.Min(slices.Collect(maps.Keys(l.entries)))
	return audit.Span{First: first, Last: l.last, Since: l.entries[first].At}, nil
}

func (w *world) Read(_ context.Context, stream string, after, last uint64, take func(audit.Entry)) (uint64, error) {
	l := w.logs[stream]
	for {
		w.meanwhile()
		next := after + 1
		for ; next <= min(last, l.last); next++ {
			if _, there := l.entries[next]; there {
				break
			}
		}
		if next > min(last, l.last) {
			return after, nil
		}
		take(l.entries[next])
		after = next
	}
}

func (w *world) Find(_ context.Context, stream string, seq uint64, take func(audit.Entry)) error {
	if e, there := w.logs[stream].entries[seq]; there {
		take(e)
	}
	return nil
}

// nowhere lists the orders up to a sequence that are in no place: what an audit
// has to find, by another way of counting.
func (w *world) nowhere(upTo uint64) []uint64 {
	type life struct {
		origin     uint64
		generation int
	}
	placed := make(map[uint64]bool)
	buried, owed := make(map[uint64]int), make(map[uint64]int) // newest generation and one; 0: none
	about := func(e audit.Entry) life {
		hop := broker.ParseHop(e.Header)
		return life{hop.Origin.Seq, hop.Generation}
	}
	for _, e := range w.logs[retries].entries {
		placed[about(e).origin] = true
	}
	for _, e := range w.logs[broker.StreamOutcomes].entries {
		if _, r, _ := broker.SplitOutcome(e.Subject); r.Final() {
			placed[about(e).origin] = true
		}
	}
	for _, e := range w.logs[broker.StreamDeadLetters].entries {
		_, action, recorded := broker.SplitDesk(e.Subject)
		l := about(e)
		switch {
		case !recorded:
			placed[l.origin] = true
		case action == broker.DeskDiscarded:
			buried[l.origin] = max(buried[l.origin], l.generation+1)
		case action == broker.DeskReplayed:
			owed[l.origin] = max(owed[l.origin], l.generation+2)
		}
	}
	var lost []uint64
	for _, seq := range slices.Sorted(maps.Keys(w.logs[broker.StreamOrders].entries)) {
		if seq <= upTo && !placed[seq] && (buried[seq] == 0 || owed[seq] > buried[seq]) {
			lost = append(lost, seq)
		}
	}
	return lost
}
