package publisher_test

import (
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

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

func mugs() order.Order {
	return order.Order{
		ID: order.NewID(), Customer: "c-1", Currency: "EUR", Email: "c-1@customers.example",
		Lines: []order.Line{{SKU: "MUG-RED", Quantity: 2, UnitPrice: 1299}},
	}
}

// stored is how many messages the orders' stream holds.
func stored(t *testing.T, c *broker.Conn) uint64 {
	t.Helper()
	s, err := c.JetStream().Stream(context.Background(), broker.StreamOrders)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func wantStored(t *testing.T, c *broker.Conn, want uint64) {
	t.Helper()
	if got := stored(t, c); got != want {
		t.Errorf("%s holds %d messages, want %d", broker.StreamOrders, got, want)
	}
}

func TestPlace_NilMeansStored(t *testing.T) {
	b := brokertest.New(t)
	o := mugs()
	o.Deadline = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	r, err := publisher.New(b).Place(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if want := (broker.Receipt{Stream: broker.StreamOrders, Seq: 1}); r != want {
		t.Errorf("receipt = %+v, want %+v", r, want)
	}

	s, err := b.JetStream().Stream(t.Context(), broker.StreamOrders)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	got, err := order.Parse(m.Data)
	if err != nil {
		t.Fatalf("what is stored can't be read: %v", err)
	}
	if diff := cmp.Diff(o, got); diff != "" {
		t.Errorf("stored order: -want +got\n%s", diff)
	}
	for _, key := range []string{"Nats-Sequence", "Nats-Stream", "Nats-Subject", "Nats-Time-Stamp"} {
		m.Header.Del(key) // said by the direct get
	}
	want := nats.Header{
		"Nats-Msg-Id": {o.ID}, "Order-Id": {o.ID}, "Idempotency-Key": {o.ID}, "Event-Type": {"created"},
		"Schema": {order.Schema}, "Attempt": {"1"}, "Deadline": {"2030-01-02T03:04:05Z"},
	}
	if diff := cmp.Diff(want, m.Header); diff != "" {
		t.Errorf("headers: -want +got\n%s", diff)
	}
	if m.Subject != broker.SubjectCreated {
		t.Errorf("subject = %s, want %s", m.Subject, broker.SubjectCreated)
	}
}

func TestPlace_TheSameIDIsStoredOnce(t *testing.T) {
	b := brokertest.New(t)
	p, o := publisher.New(b), mugs()
	if _, err := p.Place(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	r, err := p.Place(t.Context(), o)
	if err != nil || !r.Duplicate || r.Seq != 1 {
		t.Errorf("second Place = %+v, %v, want the first one's sequence and Duplicate", r, err)
	}
	wantStored(t, b, 1)
}

func TestPlace_PublishesNothingInvalid(t *testing.T) {
	b := brokertest.New(t)
	for name, change := range map[string]func(*order.Order){
		"no id":        func(o *order.Order) { o.ID = "" },
		"broken text":  func(o *order.Order) { o.Note = "caf\xe9" },
		"far too long": func(o *order.Order) { o.Note = strings.Repeat("x", order.MaxBytes) },
	} {
		t.Run(name, func(t *testing.T) {
			o := mugs()
			change(&o)
			_, err := publisher.New(b).Place(t.Context(), o)
			if !errors.Is(err, order.ErrInvalid) && !errors.Is(err, order.ErrTooLarge) {
				t.Errorf("Place = %v, want %v or %v", err, order.ErrInvalid, order.ErrTooLarge)
			}
			l := publisher.New(b).Pipeline(1)
			err = l.Place(t.Context(), o, func(broker.Receipt, error) { t.Error("answered an order that was refused") })
			if !errors.Is(err, order.ErrInvalid) && !errors.Is(err, order.ErrTooLarge) {
				t.Errorf("Pipeline.Place = %v, want %v or %v", err, order.ErrInvalid, order.ErrTooLarge)
			}
			if err := l.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wantStored(t, b, 0)
}

func TestPlace_AFullStreamIsAnErrorAtOnce(t *testing.T) {
	b := brokertest.Start(t).Connect()
	plan := brokertest.Plan()
	plan.OrderBytes = 1 << 20
	brokertest.Provision(t, b, plan)
	p := publisher.New(b)
	filler := broker.Message{Subject: broker.SubjectCreated, Data: make([]byte, 60<<10)}
	for i := 0; ; i++ {
		filler.ID = fmt.Sprintf("filler-%d", i)
		if _, err := b.Store(t.Context(), filler); err != nil {
			break
		}
	}
	filler.Data = make([]byte, 100)
	for i := 0; ; i++ {
		filler.ID = fmt.Sprintf("crumb-%d", i)
		if _, err := b.Store(t.Context(), filler); err != nil {
			break
		}
	}
	before := stored(t, b)
	if _, err := p.Place(t.Context(), mugs()); !errors.Is(err, broker.ErrFull) {
		t.Errorf("Place = %v, want %v", err, broker.ErrFull)
	}
	wantStored(t, b, before)
}

func TestPlace_WithoutABrokerGivesUpAndMayBeRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := brokertest.Start(t)
		b := s.Connect()
		brokertest.Provision(t, b, brokertest.Plan())
		p, o := publisher.New(b), mugs()

		s.Stop()
		begin := time.Now()
		if _, err := p.Place(t.Context(), o); !errors.Is(err, broker.ErrNotStored) {
			t.Errorf("Place without a broker = %v, want %v", err, broker.ErrNotStored)
		}
		if took := time.Since(begin); took > publisher.Patience+time.Second {
			t.Errorf("Place took %v, want at most %v", took, publisher.Patience)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		begin = time.Now()
		if _, err := p.Place(ctx, o); !errors.Is(err, broker.ErrNotStored) {
			t.Errorf("Place without a broker = %v, want %v", err, broker.ErrNotStored)
		}
		if took := time.Since(begin); took > 400*time.Millisecond {
			t.Errorf("Place took %v, want no longer than its context", took)
		}

		s.Restart()
		if _, err := p.Place(t.Context(), o); err != nil {
			t.Errorf("Place after the restart: %v", err)
		}
		time.Sleep(time.Minute) // whatever was buffered is sent
		wantStored(t, b, 1)
	})
}

func TestPlace_OutlastsARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := brokertest.Start(t)
		b := s.Connect()
		brokertest.Provision(t, b, brokertest.Plan())
		s.Stop()
		time.AfterFunc(3*time.Second, s.Restart)
		if _, err := publisher.New(b).Place(t.Context(), mugs()); err != nil {
			t.Errorf("Place across a restart: %v", err)
		}
		time.Sleep(time.Minute)
		wantStored(t, b, 1)
	})
}

// answers is a broker that answers when the test says so, and counts.
type answers struct {
	mu       sync.Mutex
	waiting  []func(broker.Receipt, error)
	most     int // that waited together
	received []string
}

func (a *answers) Store(context.Context, broker.Message) (broker.Receipt, error) {
	return broker.Receipt{}, errors.New("not expected")
}

func (a *answers) StoreAsync(m broker.Message, answer func(broker.Receipt, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.received = append(a.received, m.ID)
	a.waiting = append(a.waiting, answer)
	a.most = max(a.most, len(a.waiting))
}

// answer answers the oldest n that wait.
func (a *answers) answer(n int, err error) {
	a.mu.Lock()
	now := a.waiting[:n]
	a.waiting = a.waiting[n:]
	a.mu.Unlock()
	for _, f := range now {
		f(broker.Receipt{}, err)
	}
}

func (a *answers) underWay() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.waiting)
}

func TestPipeline_TheWindowBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &answers{}
		l := publisher.New(b).Pipeline(3)
		var got int
		done := make(chan error, 1)
		go func() {
			for range 10 {
				if err := l.Place(t.Context(), mugs(), func(broker.Receipt, error) { got++ }); err != nil {
					done <- err
					return
				}
			}
			done <- l.Close(t.Context())
		}()
		for range 10 {
			synctest.Wait()
			b.answer(1, nil)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if b.most != 3 {
			t.Errorf("%d orders were under way together, want 3", b.most)
		}
		if got != 10 {
			t.Errorf("%d answers, want 10", got)
		}
	})
}

func TestPipeline_TheWindowIsNeverBeyondTheConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &answers{}
		l := publisher.New(b).Pipeline(1 << 20)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			for {
				if err := l.Place(ctx, mugs(), func(broker.Receipt, error) {}); err != nil {
					done <- err
					return
				}
			}
		}()
		synctest.Wait()
		if got := b.underWay(); got != broker.MaxAsync {
			t.Errorf("%d orders are under way, want %d", got, broker.MaxAsync)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Place = %v, want %v", err, context.Canceled)
		}
		b.answer(broker.MaxAsync, nil)
	})
}

func TestPipeline_AContextEndsTheWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &answers{}
		l := publisher.New(b).Pipeline(1)
		count := func(broker.Receipt, error) {}
		if err := l.Place(t.Context(), mugs(), count); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := l.Place(ctx, mugs(), func(broker.Receipt, error) { t.Error("answered an order that was not placed") })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Place = %v, want %v", err, context.DeadlineExceeded)
		}
		if got := b.underWay(); got != 1 {
			t.Errorf("%d orders are under way, want 1", got)
		}
		if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close with an order under way = %v, want %v", err, context.DeadlineExceeded)
		}
		b.answer(1, nil)
		if err := l.Close(t.Context()); err != nil {
			t.Errorf("Close after the last answer: %v", err)
		}
		if err := l.Place(t.Context(), mugs(), count); !errors.Is(err, publisher.ErrClosed) {
			t.Errorf("Place after Close = %v, want %v", err, publisher.ErrClosed)
		}
	})
}

func TestPipeline_TriesAgainUnderTheSameIDForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &answers{}
		l := publisher.New(b).Pipeline(1)
		o := mugs()
		var got error
		begin := time.Now()
		if err := l.Place(t.Context(), o, func(_ broker.Receipt, err error) { got = err }); err != nil {
			t.Fatal(err)
		}
		for got == nil {
			time.Sleep(2 * time.Second)
			b.answer(1, broker.ErrNotStored)
			time.Sleep(time.Second)
		}
		if !errors.Is(got, broker.ErrNotStored) {
			t.Errorf("answer = %v, want %v", got, broker.ErrNotStored)
		}
		if took := time.Since(begin); took > publisher.Patience+3*time.Second {
			t.Errorf("gave up after %v, want about %v", took, publisher.Patience)
		}
		if diff := cmp.Diff([]string{o.ID, o.ID, o.ID, o.ID}, b.received); diff != "" {
			t.Errorf("ids: -want +got\n%s", diff)
		}
	})
}

func TestPipeline_AnswersEveryOrderOnceAcrossARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := brokertest.Start(t)
		b := s.Connect()
		brokertest.Provision(t, b, brokertest.Plan())
		l := publisher.New(b).Pipeline(8)
		time.AfterFunc(20*time.Millisecond, s.Stop)
		time.AfterFunc(2*time.Second, s.Restart)

		const orders = 200
		var mu sync.Mutex
		answered := map[string]int{}
		for range orders {
			o := mugs()
			err := l.Place(t.Context(), o, func(_ broker.Receipt, err error) {
				mu.Lock()
				defer mu.Unlock()
				answered[o.ID]++
				if err != nil {
					t.Errorf("answer: %v", err)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for id, n := range answered {
			if n != 1 {
				t.Errorf("order %s was answered %d times", id, n)
			}
		}
		if len(answered) != orders {
			t.Errorf("%d orders were answered, want %d", len(answered), orders)
		}
		wantStored(t, b, orders)
	})
}
