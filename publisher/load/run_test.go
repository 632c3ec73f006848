package load_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/brokertest"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher/load"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

// pretended is a broker that answers after a while.
type pretended struct {
	delay time.Duration
	err   error
	stall map[int]time.Duration // how long the n-th StoreAsync itself takes
	hold  bool                  // answers wait for release

	mu   sync.Mutex
	n    int
	held []func()
}

func (p *pretended) StoreAsync(_ broker.Message, answer func(broker.Receipt, error)) {
	p.mu.Lock()
	n := p.n
	p.n++
	seq, err := uint64(p.n), p.err
	reply := func() { answer(broker.Receipt{Stream: broker.StreamOrders, Seq: seq}, err) }
	if p.hold {
		p.held = append(p.held, reply)
	} else {
		time.AfterFunc(p.delay, reply)
	}
	p.mu.Unlock()
	time.Sleep(p.stall[n])
}

// release gives the answers that were held, and from then on at once.
func (p *pretended) release() {
	p.mu.Lock()
	held := p.held
	p.held, p.hold = nil, false
	p.mu.Unlock()
	for _, reply := range held {
		reply()
	}
}

// run runs a load for a while and returns what was sent, and when.
func run(t *testing.T, b load.Broker, cfg load.Config, d time.Duration) (*load.Journal, []load.Record) {
	t.Helper()
	j := load.NewJournal(order.Services()...)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := load.Run(ctx, b, j, cfg); err != nil {
		t.Fatal(err)
	}
	return j, records(j)
}

func records(j *load.Journal) []load.Record {
	var all []load.Record
	for r := range j.All() {
		r.Endings = append([]load.Ending(nil), r.Endings...)
		all = append(all, r)
	}
	return all
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: -want +got\n%s", what, diff)
	}
}

func TestRun_SendsOnScheduleHoweverSlowTheBroker(t *testing.T) {
	for name, rate := range map[string]float64{"a round interval": 500, "one that isn't": 300, "less than one a second": 0.3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				_, all := run(t, &pretended{delay: 3 * time.Second}, load.Config{Profile: load.Steady(rate)}, 7*time.Second+time.Millisecond)
				if want := int(7*rate) + 1; len(all) != want {
					t.Errorf("%d orders in 7 s, want %d", len(all), want)
				}
				for i, r := range all {
					want := start.Add(time.Duration(float64(i) * 1e9 / rate))
					if !r.Intended.Equal(want) || !r.Sent.Equal(want) || r.State != load.Stored || r.Seq != uint64(i+1) {
						t.Fatalf("order %d: %+v, want it due and sent at %v, and stored", i, r, want)
					}
				}
			})
		})
	}
}

func TestRun_IsLateAndRecordsItButNeverSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &pretended{stall: map[int]time.Duration{2: 35 * time.Millisecond}}
		j, all := run(t, b, load.Config{Profile: load.Steady(100)}, 99*time.Millisecond)
		var late []time.Duration
		for _, r := range all {
			late = append(late, r.Sent.Sub(r.Intended))
		}
		ms := time.Millisecond
		equal(t, "lateness", late, []time.Duration{0, 0, 0, 25 * ms, 15 * ms, 5 * ms, 0, 0, 0, 0})
		start := all[0].Intended
		equal(t, "summary", j.Lateness(load.Phase{From: start, To: start.Add(time.Second)}),
			load.Delay{Orders: 10, W99: 25 * ms, P50: 0, P99: 25 * ms, Max: 25 * ms})
		equal(t, "summary of the end", j.Lateness(load.Phase{From: start.Add(40 * ms), To: start.Add(60 * ms)}),
			load.Delay{Orders: 2, P50: 5 * ms, P99: 15 * ms, Max: 15 * ms})
	})
}

// One stall is one window: the pooled p99 is the stall's, the median of windows isn't.
func TestJournal_OneStallDoesNotMakeTheGeneratorLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &pretended{stall: map[int]time.Duration{250: 200 * time.Millisecond}}
		j, all := run(t, b, load.Config{Profile: load.Steady(100)}, 4995*time.Millisecond)
		start := all[0].Intended
		got := j.Lateness(load.Phase{From: start, To: start.Add(5 * time.Second)})
		if got.W99 != 0 || got.P99 < 100*time.Millisecond || got.Max != 190*time.Millisecond {
			t.Errorf("got %+v, want no W99, a P99 of more than 100ms and a Max of 190ms", got)
		}
	})
}

func TestRun_AFullWindowMakesLateNotFewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &pretended{hold: true}
		j := load.NewJournal(order.Payment)
		ctx, cancel := context.WithTimeout(t.Context(), 995*time.Millisecond)
		defer cancel()
		done := make(chan error, 1)
		start := time.Now()
		go func() { done <- load.Run(ctx, b, j, load.Config{Profile: load.Steady(100), Window: 5}) }()

		time.Sleep(505 * time.Millisecond)
		equal(t, "counts with a full window", j.Counts(), load.Counts{Due: 51, Unsent: 46, Sent: 5, Waiting: 5})
		stats := j.Stats(load.Phase{From: start, To: start.Add(500 * time.Millisecond)})
		if stats[0].Samples != 50 || stats[0].Finished != 0 || stats[0].Max != 700*time.Millisecond {
			t.Errorf("stats with a full window: %+v, want all 50 orders that were due, the oldest aged 700ms at the cut", stats[0])
		}
		b.release()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		equal(t, "counts in the end", j.Counts(), load.Counts{Due: 100, Sent: 100, Stored: 100})
		for i, r := range records(j)[5:50] {
			if got := r.Sent.Sub(start); got != 505*time.Millisecond {
				t.Errorf("order %d was sent at %v, want at once when there was room", i+5, got)
			}
		}
	})
}

func TestRun_WhatIsDueWhenItEndsIsOnRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &pretended{hold: true}
		j := load.NewJournal(order.Payment)
		ctx, cancel := context.WithTimeout(t.Context(), 95*time.Millisecond)
		defer cancel()
		begin := time.Now()
		err := load.Run(ctx, b, j, load.Config{Profile: load.Steady(100), Window: 4, Drain: 2 * time.Second})
		if err == nil || !strings.Contains(err.Error(), "4 orders had no answer") {
			t.Errorf("Run without answers = %v, want an error that says how many", err)
		}
		if took := time.Since(begin); took != 2095*time.Millisecond {
			t.Errorf("Run took %v, want it to wait 2 s for answers", took)
		}
		equal(t, "counts", j.Counts(), load.Counts{Due: 10, Unsent: 6, Sent: 4, Unknown: 4})
		if err := j.Wait(t.Context(), order.Payment); err != nil {
			t.Errorf("Wait, with nothing known to be stored: %v", err)
		}
		b.release() // answers that come too late count all the same
		equal(t, "counts", j.Counts(), load.Counts{Due: 10, Unsent: 6, Sent: 4, Stored: 4})
	})
}

func TestRun_TellsRefusedFromUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &pretended{err: broker.ErrFull}
		j, _ := run(t, b, load.Config{Profile: load.Steady(100)}, 95*time.Millisecond)
		equal(t, "counts of a full broker", j.Counts(), load.Counts{Due: 10, Sent: 10, Failed: 10})
		b.err = broker.ErrNotStored
		j, _ = run(t, b, load.Config{Profile: load.Steady(100)}, 95*time.Millisecond)
		equal(t, "counts of a silent one", j.Counts(), load.Counts{Due: 10, Sent: 10, Unknown: 10})
	})
}

func TestRun_WaitsForItsStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now().Add(time.Second)
		_, all := run(t, &pretended{}, load.Config{Profile: load.Steady(10), Start: start}, 1950*time.Millisecond)
		if len(all) != 10 || !all[0].Sent.Equal(start) {
			t.Errorf("%d orders, the first at %v, want 10 from %v on", len(all), all[0].Sent, start)
		}
	})
}

func TestRun_RefusesWhatMakesNoSense(t *testing.T) {
	for name, cfg := range map[string]load.Config{
		"no rate":          {},
		"negative rate":    {Profile: load.Steady(-1)},
		"too large a rate": {Profile: load.Steady(1e9)},
		"share above 1":    {Profile: load.Steady(1), Orders: load.Orders{Malformed: 1.5}},
		"window too large": {Profile: load.Steady(1), Window: broker.MaxAsync + 1},
		"negative drain":   {Profile: load.Steady(1), Drain: -1},
	} {
		t.Run(name, func(t *testing.T) {
			if err := load.Run(t.Context(), &pretended{}, load.NewJournal(), cfg); err == nil {
				t.Error("Run returned nil")
			}
		})
	}
}

func TestRun_AJournalTakesOneRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, _ := run(t, &pretended{}, load.Config{Profile: load.Steady(100)}, 50*time.Millisecond)
		if err := load.Run(t.Context(), &pretended{}, j, load.Config{Profile: load.Steady(100)}); err == nil {
			t.Error("a second Run returned nil")
		}
	})
}

func TestWait_EndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, _ := run(t, &pretended{}, load.Config{Profile: load.Steady(100)}, 50*time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := j.Wait(ctx, order.Payment); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait for orders that nobody settles = %v, want %v", err, context.DeadlineExceeded)
		}
		if err := j.Wait(t.Context(), "stranger"); err == nil {
			t.Error("Wait for a service that the journal doesn't hear of returned nil")
		}
	})
}
