package inventory_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/consumer/inventory"
	"github.com/watertight-go/watertight/order"
)

func TestHandle_ReservesAllOrNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := start(t, provisioned(t).Connect())
		in.add(t, inventory.Item{SKU: "BIKE", Quantity: 3}, inventory.Item{SKU: "BELL", Quantity: 10})
		for _, step := range []struct {
			o    order.Order
			want string
		}{
			{anOrder("BIKE", 2, "BELL", 1), "reserved"},
			{anOrder("BELL", 1, "BIKE", 2), "refused: not enough in stock: BIKE"},
			{anOrder("BIKE", 1, "BELL", 5, "BIKE", 1), "refused: not enough in stock: BIKE"}, // lines of one SKU add up
			{anOrder("BIKE", 1, "BELL", 5), "reserved"},
			{anOrder("BELL", 5), "refused: not enough in stock: BELL"},
			{anOrder("BELL", 4), "reserved"},
			{anOrder("BELL", 1, "HORN", 1), "rejected"},
		} {
			out, err := in.Handle(t.Context(), step.o)
			if got := result(out, err); got != step.want {
				t.Errorf("%v: got %s (%v), want %s", step.o.Lines, got, err, step.want)
			}
		}
		wantStock(t, in, inventory.Level{SKU: "BELL", Available: 0, Reserved: 10}, inventory.Level{SKU: "BIKE", Available: 0, Reserved: 3})
		audit(t, in.conn)
	})
}

// Two slots may work on one order, and so may two instances.
func TestHandle_DecidesAnOrderOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := provisioned(t)
		a, b := start(t, s.Connect()), start(t, s.Connect())
		a.add(t, inventory.Item{SKU: "BIKE", Quantity: 5})
		yes, no := anOrder("BIKE", 3), anOrder("BIKE", 4)
		var wg sync.WaitGroup
		outs := make([]order.Outcome, 64)
		for i := range outs {
			wg.Go(func() {
				var err error
				if outs[i], err = []*instance{a, b}[i%2].Handle(t.Context(), yes); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, out := range outs {
			if out != outs[0] || out.Result != order.Reserved || out.Ref == "" {
				t.Errorf("got %+v and %+v, want the same reservation", out, outs[0])
			}
		}
		first, _ := a.Handle(t.Context(), no)
		a.add(t, inventory.Item{SKU: "BELL", Quantity: 1})
		for _, in := range []*instance{a, b, start(t, s.Connect())} {
			out, err := in.Handle(t.Context(), no)
			if err != nil || out != first || out.Result != order.Refused {
				t.Errorf("again: got %+v, %v, want the same refusal %+v", out, err, first)
			}
		}
		wantStock(t, b, inventory.Level{SKU: "BELL", Available: 1}, inventory.Level{SKU: "BIKE", Available: 2, Reserved: 3})
		audit(t, a.conn)
	})
}

func TestHandle_AnotherOrderWithTheSameIDIsRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := provisioned(t)
		in := start(t, s.Connect())
		in.add(t, inventory.Item{SKU: "BIKE", Quantity: 5})
		o := anOrder("BIKE", 1)
		if _, err := in.Handle(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		o.Lines[0].Quantity = 2
		for _, in := range []*instance{in, start(t, s.Connect())} {
			if out, err := in.Handle(t.Context(), o); !order.IsRejected(err) || !errors.Is(err, inventory.ErrOtherLines) {
				t.Errorf("got %+v, %v, want it rejected", out, err)
			}
		}
		wantStock(t, in, inventory.Level{SKU: "BIKE", Available: 4, Reserved: 1})
	})
}

// What an instance doesn't know may be known by now: it looks before it gives up
// an order for ever. And a SKU that was unknown once isn't so for ever.
func TestHandle_LooksBeforeItRejects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := provisioned(t)
		a, b := start(t, s.Connect()), start(t, s.Connect())
		o := anOrder("BIKE", 1)
		if out, err := b.Handle(t.Context(), o); !order.IsRejected(err) || !errors.Is(err, inventory.ErrUnknownSKU) || !strings.Contains(err.Error(), "BIKE") {
			t.Fatalf("got %+v, %v, want it rejected for BIKE", out, err)
		}
		a.add(t, inventory.Item{SKU: "BIKE", Quantity: 1})
		if out, err := b.Handle(t.Context(), o); err != nil || out.Result != order.Reserved {
			t.Errorf("after another instance added it: got %+v, %v, want reserved", out, err)
		}
	})
}

func TestAdd_OnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := provisioned(t)
		catalogue := make([]inventory.Item, 5000) // several entries
		for i := range catalogue {
			catalogue[i] = inventory.Item{SKU: fmt.Sprintf("ARTICLE-%05d", i), Quantity: 10}
		}
		var wg sync.WaitGroup
		var instances []*instance
		for range 4 {
			in := start(t, s.Connect())
			instances = append(instances, in)
			wg.Go(func() {
				if err := in.log.Add(t.Context(), catalogue); err != nil {
					t.Error(err)
				}
				if out, err := in.Handle(t.Context(), anOrder("ARTICLE-04999", 1)); err != nil || out.Result != order.Reserved {
					t.Errorf("got %+v, %v, want reserved", out, err)
				}
			})
		}
		wg.Wait()
		again := start(t, s.Connect()) // with another file
		again.add(t, inventory.Item{SKU: "ARTICLE-04999", Quantity: 1_000_000}, inventory.Item{SKU: "NEW", Quantity: 1})
		left, _, entries := audit(t, again.conn)
		if len(left) != 5001 || left["ARTICLE-04999"] != 6 || left["ARTICLE-00000"] != 10 || left["NEW"] != 1 {
			t.Errorf("got %d articles in %d entries, %d of the last, want 5001 and 6", len(left), entries, left["ARTICLE-04999"])
		}
		for _, in := range instances {
			levels, err := in.log.Stock(t.Context())
			if err != nil || len(levels) != 5001 || levels[4999] != (inventory.Level{SKU: "ARTICLE-04999", Available: 6, Reserved: 4}) {
				t.Errorf("Stock: got %d levels, %v", len(levels), err)
			}
		}
	})
}

// A list without an article, as of a process without a stock file, adds nothing.
func TestAdd_OfNothingWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := provisioned(t)
		in := start(t, s.Connect())
		for _, none := range [][]inventory.Item{nil, {}} {
			if err := in.log.Add(t.Context(), none); err != nil {
				t.Error(err)
			}
		}
		if _, _, entries := audit(t, in.conn); entries != 0 {
			t.Errorf("the log has %d entries, want none", entries)
		}
		in.add(t, inventory.Item{SKU: "BIKE", Quantity: 1})
		if out, err := in.Handle(t.Context(), anOrder("BIKE", 1)); err != nil || out.Result != order.Reserved {
			t.Errorf("got %+v, %v, want reserved", out, err)
		}
	})
}

func TestAdd_RefusesNonsense(t *testing.T) {
	l := inventory.NewStockLog(nil) // nothing gets as far as the broker
	for name, articles := range map[string][]inventory.Item{
		"no SKU":      {{SKU: "", Quantity: 1}},
		"a space":     {{SKU: "A B", Quantity: 1}},
		"negative":    {{SKU: "A", Quantity: -1}},
		"twice":       {{SKU: "A", Quantity: 1}, {SKU: "A", Quantity: 1}},
		"a long name": {{SKU: strings.Repeat("A", 65), Quantity: 1}},
	} {
		if err := l.Add(t.Context(), articles); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// What is stored is there for ever, and nothing can be decided after nonsense.
func TestReserve_RefusesNonsense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := start(t, provisioned(t).Connect())
		in.add(t, inventory.Item{SKU: "BELL", Quantity: 5}, inventory.Item{SKU: "BIKE", Quantity: 5})
		for name, items := range map[string][]inventory.Item{
			"nothing":        nil,
			"none of it":     {{SKU: "BIKE", Quantity: 0}},
			"less than none": {{SKU: "BIKE", Quantity: -1}},
			"a SKU twice":    {{SKU: "BIKE", Quantity: 1}, {SKU: "BIKE", Quantity: 1}},
			"in any order":   {{SKU: "BIKE", Quantity: 1}, {SKU: "BELL", Quantity: 1}},
		} {
			r := inventory.Reservation{OrderID: uuid.MustParse(order.NewID()), Items: items}
			if d, err := in.log.Reserve(t.Context(), r); !order.IsRejected(err) || !errors.Is(err, order.ErrInvalid) {
				t.Errorf("%s: got %+v, %v, want it rejected", name, d, err)
			}
		}
		wantStock(t, in, inventory.Level{SKU: "BELL", Available: 5}, inventory.Level{SKU: "BIKE", Available: 5})
	})
}

// Three instances sell the same few articles, each order offered to two of them.
// One instance is killed in mid-flight and replaced, over and over; the broker
// restarts; nothing is sold twice or beyond what there is.
func TestStockLog_ManyAtOnceSellExactlyWhatThereIs(t *testing.T) {
	const each, orders = 300, 1500
	synctest.Test(t, func(t *testing.T) {
		s := provisioned(t)
		random := rand.New(rand.NewPCG(1, 2))
		skus := []string{"A", "B", "C"}
		var offered []order.Order
		for range orders {
			o := anOrder(skus[random.IntN(3)], 1+random.IntN(2))
			if random.IntN(3) == 0 {
				o.Lines = append(o.Lines, order.Line{SKU: skus[random.IntN(3)], Quantity: 1})
			}
			offered = append(offered, o)
		}

		var mu sync.Mutex
		instances := make([]*instance, 3)
		replace := func(i int) {
			in := start(t, s.Connect())
			mu.Lock()
			defer mu.Unlock()
			instances[i] = in
		}
		pick := func(i int) *instance {
			mu.Lock()
			defer mu.Unlock()
			return instances[i%3]
		}
		for i := range instances {
			replace(i)
		}
		instances[0].add(t, inventory.Item{SKU: "A", Quantity: each}, inventory.Item{SKU: "B", Quantity: each}, inventory.Item{SKU: "C", Quantity: each})

		answers := make([][2]order.Outcome, orders)
		work := make(chan int)
		var wg sync.WaitGroup
		for range 24 {
			wg.Go(func() {
				for job := range work {
					n, side := job/2, job%2
					for try := 0; ; try++ { // as the retry tiers do
						if try == 100 {
							t.Errorf("order %d is never decided", n)
							break
						}
						ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
						out, err := pick(n+side+try).Handle(ctx, offered[n])
						cancel()
						if order.IsRejected(err) {
							t.Errorf("order %d: %v", n, err)
							break
						}
						if err == nil {
							answers[n][side] = out
							break
						}
						time.Sleep(100 * time.Millisecond)
					}
				}
			})
		}
		for job := range 2 * orders {
			switch {
			case job%250 == 100: // a crash: the connection is gone with all that was under way
				victim := pick(job / 250)
				victim.conn.NATS().Close()
				wg.Go(func() {
					if err := victim.end(); err != nil {
						t.Errorf("Run: %v", err)
					}
				})
				replace(job / 250 % 3)
			case job%1000 == 700:
				s.Restart()
			}
			work <- job
		}
		close(work)
		wg.Wait()

		auditor := start(t, s.Connect())
		left, decided, entries := audit(t, auditor.conn)
		t.Logf("%d entries, left %v", entries, left)
		reserved := 0
		for n, o := range offered {
			want := decided[o.ID]
			for _, out := range answers[n] {
				got := string(out.Result) + " " + out.Ref
				if out.Result == order.Refused {
					got = "refused: " + out.Reason
				}
				if got != want {
					t.Errorf("order %d: a caller was told %q, the log says %q", n, got, want)
				}
			}
			if strings.HasPrefix(want, "reserved") {
				reserved++
			}
		}
		if len(decided) != orders || reserved == orders || reserved == 0 {
			t.Errorf("%d orders in the log, %d reserved, want %d and some of them", len(decided), reserved, orders)
		}
		var want []inventory.Level
		for _, sku := range skus {
			want = append(want, inventory.Level{SKU: sku, Available: left[sku], Reserved: each - left[sku]})
			if left[sku] > 1 { // the last one is hard to sell to who wants two
				t.Errorf("%d of %s are left, though it was wanted", left[sku], sku)
			}
		}
		for i := range instances {
			wantStock(t, pick(i), want...)
		}
		wantStock(t, auditor, want...)
	})
}

func TestStockLog_WaitsForTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := provisioned(t)
		c := s.Connect()
		start(t, c).add(t, inventory.Item{SKU: "BIKE", Quantity: 5})
		l := inventory.NewStockLog(c)

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if out, err := (&inventory.Service{Ledger: l}).Handle(ctx, anOrder("BIKE", 1)); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("before Run: got %+v, %v after %v, want the deadline", out, err, time.Since(began))
		}
		if err := l.Check(); err == nil {
			t.Error("Check before Run: no error")
		}

		s.Stop()
		in := start(t, c)
		began = time.Now()
		answers := make(chan string)
		go func() { answers <- result(in.Handle(t.Context(), anOrder("BIKE", 1))) }()
		time.Sleep(time.Hour)
		if err := in.log.Check(); err == nil {
			t.Error("Check without a broker: no error")
		}
		s.Restart()
		if got := <-answers; got != "reserved" || time.Since(began) > time.Hour+10*time.Second {
			t.Errorf("got %s after %v, want reserved when the broker is back", got, time.Since(began))
		}
		if err := in.log.Check(); err != nil {
			t.Errorf("Check: %v", err)
		}
	})
}

func TestStockLog_SaysThatTheStreamIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := brokertest.Start(t)
		plan := brokertest.Plan()
		plan.OrderBytes = 1 << 20 // half of it for the stock
		brokertest.Provision(t, s.Connect(), plan)
		in := start(t, s.Connect())
		in.add(t, inventory.Item{SKU: "BIKE", Quantity: 1 << 40})
		first := anOrder("BIKE", 1)
		_, err := in.Handle(t.Context(), first)
		for n := 0; err == nil; n++ {
			if n > 10_000 {
				t.Fatal("the stream never fills")
			}
			_, err = in.Handle(t.Context(), anOrder("BIKE", 1))
		}
		if !errors.Is(err, broker.ErrFull) || order.IsRejected(err) {
			t.Errorf("got %v, want ErrFull", err)
		}
		if err := in.log.Check(); !errors.Is(err, broker.ErrFull) {
			t.Errorf("Check: got %v, want ErrFull", err)
		}
		if again, err := in.Handle(t.Context(), first); err != nil || again.Result != order.Reserved {
			t.Errorf("what is decided: got %+v, %v, want it reserved still", again, err)
		}
		if err := in.log.Check(); !errors.Is(err, broker.ErrFull) {
			t.Errorf("Check, when nothing was stored since: got %v, want ErrFull", err)
		}
	})
}

func TestRun_EndsOnABrokenLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := provisioned(t)
		run := func() (*inventory.StockLog, chan error) {
			l, ended := inventory.NewStockLog(s.Connect()), make(chan error, 1)
			go func() { ended <- l.Run(t.Context()) }()
			return l, ended
		}
		l, ended := run()
		if err := l.Add(t.Context(), []inventory.Item{{SKU: "BIKE", Quantity: 5}}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Connect().StoreAfter(t.Context(), broker.StockSubject(0), []byte(`{"schema":"stock/2","after":1}`), 1); err != nil {
			t.Fatal(err)
		}
		_, err := (&inventory.Service{Ledger: l}).Handle(t.Context(), anOrder("BIKE", 1))
		if !errors.Is(err, inventory.ErrLog) || order.IsRejected(err) {
			t.Errorf("Handle: got %v, want ErrLog", err)
		}
		late, atOnce := run()
		for name, ended := range map[string]chan error{"found under way": ended, "found at the start": atOnce} {
			if err := <-ended; !errors.Is(err, inventory.ErrLog) || !strings.Contains(err.Error(), "entry 2 of stock.0") {
				t.Errorf("%s: Run: got %v, want ErrLog and entry 2", name, err)
			}
		}
		for _, l := range []*inventory.StockLog{l, late} {
			if _, err := l.Stock(t.Context()); !errors.Is(err, inventory.ErrStopped) {
				t.Errorf("Stock: got %v, want ErrStopped", err)
			}
			synctest.Wait()
			if err := l.Check(); !errors.Is(err, inventory.ErrLog) {
				t.Errorf("Check: got %v, want ErrLog", err)
			}
		}
	})
}

func TestRun_EndsWhenAskedAndOnlyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := start(t, provisioned(t).Connect())
		synctest.Wait()
		if err := in.log.Run(t.Context()); err == nil {
			t.Error("a second Run: no error")
		}
		if err := in.end(); err != nil {
			t.Errorf("Run: %v", err)
		}
		if out, err := in.Handle(t.Context(), anOrder("BIKE", 1)); !errors.Is(err, inventory.ErrStopped) || order.IsRejected(err) {
			t.Errorf("Handle after Run: got %+v, %v, want ErrStopped", out, err)
		}
		if err := in.log.Check(); !errors.Is(err, inventory.ErrStopped) {
			t.Errorf("Check after Run: got %v, want ErrStopped", err)
		}
	})
}

func TestHandle_KeepsNobodyWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := provisioned(t)
		in := start(t, s.Connect())
		in.add(t, inventory.Item{SKU: "BIKE", Quantity: 5})
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for range 50 { // a select would pick at random
			if out, err := in.Handle(gone, anOrder("BIKE", 1)); !errors.Is(err, context.Canceled) {
				t.Fatalf("got %+v, %v, want it cancelled", out, err)
			}
		}
		if _, orders, _ := audit(t, in.conn); len(orders) != 0 {
			t.Errorf("the log has %v, want no order", slices.Collect(func(yield func(string) bool) {
				for id := range orders {
					yield(id)
				}
			}))
		}
	})
}
