package load_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher/load"
)

// follow follows into j until the test or the returned stop ends it.
func follow(t *testing.T, b *broker.Conn, j *load.Journal, from load.Position) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- load.Follow(ctx, b, j, from) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Follow: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// serial makes each message of store another one.
var serial atomic.Int64

// placed names an order that is stored.
type placed struct {
	id  string
	seq uint64
}

// store stores something about an order.
func store(t *testing.T, b *broker.Conn, subject string, o placed, generation int) {
	t.Helper()
	origin := broker.Origin{Stream: broker.StreamOrders, Seq: o.seq, Subject: broker.SubjectCreated}
	m := broker.Message{
		Subject: subject,
		ID:      fmt.Sprintf("%s/%d", subject, serial.Add(1)),
		Header:  broker.Hop{OrderID: o.id, Origin: origin, Generation: generation}.Header(nil),
	}
	if _, err := b.Store(context.Background(), m); err != nil {
		t.Fatal(err)
	}
}

func settle(t *testing.T, b *broker.Conn, s order.Service, result order.Result, o placed) {
	t.Helper()
	store(t, b, broker.OutcomeSubject(s, result), o, 0)
}

// sent runs a load of some orders on a broker, 10 ms apart, and returns them.
func sent(t *testing.T, b load.Broker, j *load.Journal, orders int) []placed {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(orders)*10*ms-5*ms)
	defer cancel()
	if err := load.Run(ctx, b, j, load.Config{Profile: load.Steady(100)}); err != nil {
		t.Fatal(err)
	}
	var all []placed
	for r := range j.All() {
		all = append(all, placed{r.ID(), r.Seq})
	}
	if len(all) != orders {
		t.Fatalf("%d orders were sent, want %d", len(all), orders)
	}
	return all
}

// Under load, several outcomes share a message.
func TestFollow_ReadsWhatIsInAPack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		j := load.NewJournal(order.Payment)
		all := sent(t, b, j, 3)
		from, err := load.Now(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		var pack []broker.Settled
		for _, o := range all {
			origin := broker.Origin{Stream: broker.StreamOrders, Seq: o.seq, Subject: broker.SubjectCreated}
			pack = append(pack, broker.Settled{OrderID: o.id, Origin: origin, Outcome: order.Outcome{Result: order.Refused}})
		}
		m, err := broker.OutcomeMessage(nil, order.Payment, pack...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Store(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		follow(t, b, j, from)
		if err := j.Wait(t.Context(), order.Payment); err != nil {
			t.Fatal(err)
		}
		for r := range j.All() {
			if got := r.Endings[0]; got.How != "refused" || got.Settled.IsZero() {
				t.Errorf("order %d ended as %+v, want refused", r.Seq, got)
			}
		}
	})
}

func TestFollow_SettlesAtTheTimeThatTheBrokerSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		j := load.NewJournal(order.Payment, order.Inventory)
		start := time.Now()
		all := sent(t, b, j, 3)
		from, err := load.Now(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}

		time.Sleep(time.Until(start.Add(100 * ms)))
		settle(t, b, order.Payment, order.Authorized, all[0])
		settle(t, b, order.Payment, order.Pending, all[1])
		settle(t, b, order.Notification, order.Sent, all[0]) // nobody asked
		time.Sleep(50 * ms)
		settle(t, b, order.Payment, order.Refused, all[1])
		store(t, b, broker.DeadSubject(order.Payment, "rejected"), all[2], 0)
		store(t, b, broker.DeskSubject(order.Payment, "discarded"), all[2], 0) // no ending

		time.Sleep(time.Hour) // an observer who comes late
		follow(t, b, j, from)
		if err := j.Wait(t.Context(), order.Payment); err != nil {
			t.Fatal(err)
		}
		var got []load.Ending
		for r := range j.All() {
			got = append(got, r.Endings[0])
		}
		for i, at := range []time.Duration{100 * ms, 150 * ms, 150 * ms} {
			if took := got[i].Settled.Sub(start); took < at || took > at+5*ms {
				t.Errorf("order %d was settled %v after the start, want %v", i, took, at)
			}
			got[i].Settled = time.Time{}
		}
		equal(t, "endings", got, []load.Ending{{How: "authorized"}, {How: "refused", Fallback: true}, {How: "rejected", Dead: true}})
		equal(t, "accounts", j.Accounts(), []load.Account{
			{Service: order.Payment, Stored: 3, Done: 2, Dead: 1, Fallbacks: 1},
			{Service: order.Inventory, Stored: 3, Open: 3},
		})
		stats := j.Stats(load.Phase{From: start, To: start.Add(time.Second)})
		if s := stats[0]; s.Samples != 3 || s.Finished != 1 || s.P50.Round(5*ms) != 130*ms {
			t.Errorf("payment: %+v, want 3 samples, all finished, half in 130 ms", s)
		}
		if s := stats[1]; s.Samples != 3 || s.Finished != 0 || s.Max != 1200*ms {
			t.Errorf("inventory: %+v, want 3 samples, none finished, the oldest aged 1.2 s", s)
		}
	})
}

func TestFollow_PassesOverWhatWasThereBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		old := load.NewJournal(order.Payment)
		before := sent(t, b, old, 2)
		settle(t, b, order.Payment, order.Authorized, before[0])
		from, err := load.Now(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		j := load.NewJournal(order.Payment)
		follow(t, b, j, from)
		all := sent(t, b, j, 2)
		settle(t, b, order.Payment, order.Authorized, before[1]) // another run's
		settle(t, b, order.Payment, order.Authorized, all[0])
		settle(t, b, order.Payment, order.Authorized, all[1])
		if err := j.Wait(t.Context(), order.Payment); err != nil {
			t.Fatal(err)
		}
		equal(t, "accounts", j.Accounts(), []load.Account{{Service: order.Payment, Stored: 2, Done: 2}})
	})
}

func TestFollow_CountsWhatEndsTwiceAndWhatAReplayMends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		j := load.NewJournal(order.Payment)
		follow(t, b, j, load.Position{})
		all := sent(t, b, j, 3)
		settle(t, b, order.Payment, order.Authorized, all[0])
		settle(t, b, order.Payment, order.Authorized, all[0])
		store(t, b, broker.DeadSubject(order.Payment, "exhausted"), all[1], 0)
		store(t, b, broker.OutcomeSubject(order.Payment, order.Authorized), all[1], 1)
		settle(t, b, order.Payment, order.Authorized, all[2])
		time.Sleep(time.Second)
		equal(t, "accounts", j.Accounts(), []load.Account{{Service: order.Payment, Stored: 3, Done: 3, Twice: 1}})
	})
}

// hasty is a broker whose orders are settled before their ack arrives; some acks
// never do.
type hasty struct {
	*broker.Conn
	settled func(broker.Message, broker.Receipt)
	lose    bool

	mu   sync.Mutex
	acks []func()
}

func (h *hasty) StoreAsync(m broker.Message, answer func(broker.Receipt, error)) {
	receipt, err := h.Store(context.Background(), m)
	h.settled(m, receipt)
	if h.lose {
		receipt, err = broker.Receipt{}, broker.ErrNotStored
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acks = append(h.acks, func() { answer(receipt, err) })
}

func TestFollow_AnOutcomeMayComeBeforeTheAck(t *testing.T) {
	for name, lost := range map[string]bool{"the ack is late": false, "the ack is lost": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := brokertest.New(t)
				j := load.NewJournal(order.Payment)
				follow(t, b, j, load.Position{})
				h := &hasty{Conn: b, lose: lost}
				h.settled = func(m broker.Message, r broker.Receipt) {
					settle(t, b, order.Payment, order.Authorized, placed{m.ID, r.Seq})
				}
				ctx, cancel := context.WithTimeout(t.Context(), 25*ms)
				defer cancel()
				done := make(chan error, 1)
				go func() { done <- load.Run(ctx, h, j, load.Config{Profile: load.Steady(100)}) }()
				time.Sleep(time.Second)
				want := []load.Account{{Service: order.Payment, Stored: 3, Done: 3}}
				equal(t, "accounts before the acks", j.Accounts(), want)
				h.mu.Lock()
				for _, ack := range h.acks {
					ack()
				}
				h.mu.Unlock()
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				if err := j.Wait(t.Context(), order.Payment); err != nil {
					t.Fatal(err)
				}
				equal(t, "accounts after the acks", j.Accounts(), want)
				for i, r := range records(j) {
					if r.State != load.Stored || r.Seq != uint64(i+1) {
						t.Errorf("order %d is %v at %d, want stored at %d", i, r.State, r.Seq, i+1)
					}
					if r.Acked.IsZero() != lost {
						t.Errorf("order %d was acknowledged at %v", i, r.Acked)
					}
				}
			})
		})
	}
}

func TestFollow_AnOutcomeFindsAnOrderThatIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		j := load.NewJournal(order.Payment, order.Inventory)
		all := sent(t, &pretended{err: broker.ErrNotStored}, j, 2)
		follow(t, b, j, load.Position{})
		all[1].seq = 77
		settle(t, b, order.Payment, order.Authorized, all[1])
		time.Sleep(time.Second)
		equal(t, "counts", j.Counts(), load.Counts{Due: 2, Sent: 2, Stored: 1, Unknown: 1})
		if err := j.Wait(t.Context(), order.Payment); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := j.Wait(ctx, order.Inventory); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait for the other service = %v, want %v", err, context.DeadlineExceeded)
		}
	})
}

func TestFollow_GoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := brokertest.Start(t)
		b := s.Connect()
		brokertest.Provision(t, b, brokertest.Plan())
		j := load.NewJournal(order.Payment)
		follow(t, b, j, load.Position{})
		all := sent(t, b, j, 40)
		for _, r := range all[:20] {
			settle(t, b, order.Payment, order.Authorized, r)
		}
		time.Sleep(time.Second)
		equal(t, "accounts before", j.Accounts(), []load.Account{{Service: order.Payment, Stored: 40, Done: 20, Open: 20}})

		s.Stop()
		time.Sleep(20 * time.Second)
		s.Restart()
		time.Sleep(10 * time.Second)
		begin := time.Now()
		for i, r := range all[20:] {
			if i == 10 {
				s.Restart()
				time.Sleep(3 * time.Second)
			}
			settle(t, b, order.Payment, order.Authorized, r)
		}
		if err := j.Wait(t.Context(), order.Payment); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("it took %v to hear of the rest", took)
		}
		equal(t, "accounts", j.Accounts(), []load.Account{{Service: order.Payment, Stored: 40, Done: 40}})
	})
}

func TestFollow_EndsAtOnceWhileTheBrokerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := brokertest.Start(t)
		b := s.Connect()
		brokertest.Provision(t, b, brokertest.Plan())
		stop := follow(t, b, load.NewJournal(order.Payment), load.Position{})
		time.Sleep(time.Second)
		s.Stop()
		time.Sleep(10 * time.Second)
		begin := time.Now()
		stop()
		if took := time.Since(begin); took > 100*ms {
			t.Errorf("Follow returned %v after its context ended", took)
		}
	})
}

func TestFollow_NeedsTheStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.Start(t).Connect()
		if _, err := load.Now(t.Context(), b); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("Now = %v, want %v", err, jetstream.ErrStreamNotFound)
		}
		err := load.Follow(t.Context(), b, load.NewJournal(), load.Position{})
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("Follow = %v, want %v", err, jetstream.ErrStreamNotFound)
		}
	})
}
