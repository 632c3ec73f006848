package bulkhead_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/bulkhead"
)

var errBoom = errors.New("boom")

// inBubble runs test in a bubble of virtual time, with a bulkhead that is
// drained at its end: what has leaked by then fails the test.
func inBubble(t *testing.T, cfg bulkhead.Config, test func(*testing.T, *bulkhead.Bulkhead)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := open(t, cfg)
		test(t, b)
	})
}

// open makes a bulkhead that must have everything back when the test is over.
func open(t *testing.T, cfg bulkhead.Config) *bulkhead.Bulkhead {
	t.Helper()
	b, err := bulkhead.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Drain(context.Background())
		s := b.Stats()
		if s.InUse != 0 || s.Ghosts != 0 || s.Waiting != 0 {
			t.Errorf("after Drain: %d slots in use, %d ghosts, %d waiting; want none", s.InUse, s.Ghosts, s.Waiting)
		}
		if s.Admitted != s.Done+s.Failed+s.TimedOut+s.Abandoned || s.TimedOut+s.Abandoned != s.Late {
			t.Errorf("after Drain the counters don't add up: %+v", s)
		}
	})
	return b
}

// job is a Task whose methods are functions and whose calls are told.
type job struct {
	run  func(context.Context) error
	done chan error
	late chan error
}

func newJob(run func(context.Context) error) *job {
	return &job{run: run, done: make(chan error, 2), late: make(chan error, 2)}
}

func (j *job) Run(ctx context.Context) error { return j.run(ctx) }
func (j *job) Done(err error)                { j.done <- err }
func (j *job) Late(err error)                { j.late <- err }

// nothing runs without doing anything.
func nothing(context.Context) error { return nil }

// lasts makes a function that takes d whatever its context says.
func lasts(d time.Duration) func(context.Context) error {
	return func(context.Context) error { time.Sleep(d); return nil }
}

// do is Do for functions without a result.
func do(ctx context.Context, b *bulkhead.Bulkhead, fn func(context.Context) error) error {
	_, err := bulkhead.Do(ctx, b, func(ctx context.Context) (struct{}, error) { return struct{}{}, fn(ctx) })
	return err
}

// acquire is Acquire that must succeed.
func acquire(t *testing.T, b *bulkhead.Bulkhead) bulkhead.Credit {
	t.Helper()
	c, err := b.Acquire(t.Context())
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	return c
}

// wantErr checks err with errors.Is; a nil want means no error.
func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) || want == nil && got != nil {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

func TestNew_NamesTheWrongField(t *testing.T) {
	t.Parallel()
	for field, cfg := range map[string]bulkhead.Config{
		"Slots":                {},
		"MaxSlots":             {Slots: 2, MaxSlots: 1},
		"Queue":                {Slots: 1, Queue: -1},
		"MaxWait":              {Slots: 1, MaxWait: -1},
		"Timeout":              {Slots: 1, Timeout: -1},
		"Cooperative":          {Slots: 1, Cooperative: true},
		"Admission.Deviations": {Slots: 1, Admission: &bulkhead.AdmissionConfig{Deviations: -1}},
		"RatePerSecond":        {Slots: 1, RatePerSecond: -1},
		"Burst":                {Slots: 1, Burst: 1},
		"Breaker.Window":       {Slots: 1, Breaker: &bulkhead.BreakerConfig{Window: -1}},
		"Breaker.MinCalls":     {Slots: 1, Breaker: &bulkhead.BreakerConfig{MinCalls: -1}},
		"Breaker.FailureShare": {Slots: 1, Breaker: &bulkhead.BreakerConfig{FailureShare: 1.5}},
		"Breaker.SlowAfter":    {Slots: 1, Breaker: &bulkhead.BreakerConfig{SlowAfter: -1}},
		"Breaker.SlowShare":    {Slots: 1, Breaker: &bulkhead.BreakerConfig{SlowShare: 0.5}},
		"Breaker.OpenFor":      {Slots: 1, Breaker: &bulkhead.BreakerConfig{OpenFor: -1}},
		"Breaker.Lease":        {Slots: 1, Breaker: &bulkhead.BreakerConfig{Lease: -1}},
		"Breaker.Probes":       {Slots: 1, Breaker: &bulkhead.BreakerConfig{Probes: 2}},
	} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			cfg.Name = "payment"
			_, err := bulkhead.New(cfg)
			if err == nil {
				t.Fatal("New: got no error")
			}
			want := `bulkhead "payment": Config.` + field + " is "
			if got := err.Error(); len(got) < len(want) || got[:len(want)] != want {
				t.Errorf("got %q, want it to begin with %q", got, want)
			}
		})
	}
}

func TestRejection_ReadsWellAndTellsTheReasons(t *testing.T) {
	inBubble(t, bulkhead.Config{Name: "payment", Slots: 1, Queue: 1, MaxWait: time.Second}, func(t *testing.T, b *bulkhead.Bulkhead) {
		c := acquire(t, b)
		waited := make(chan error)
		go func() { waited <- do(t.Context(), b, nothing) }()
		synctest.Wait()

		full := do(t.Context(), b, nothing)
		wantErr(t, "with the queue full", full, bulkhead.ErrFull)
		late := <-waited
		wantErr(t, "after MaxWait", late, bulkhead.ErrWaited)
		if errors.Is(full, bulkhead.ErrWaited) || errors.Is(late, bulkhead.ErrFull) {
			t.Errorf("full (%v) and waited too long (%v) are the same to errors.Is", full, late)
		}
		if got, want := late.Error(), "bulkhead payment: waited too long"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		var r *bulkhead.Rejection
		if !errors.As(full, &r) || r.Reason != bulkhead.Full || r.Occupancy().InUse != 1 {
			t.Errorf("got %+v, want a *Rejection that is Full, with 1 slot in use", full)
		}
		if s := b.Stats(); s.Rejected[bulkhead.Full] != 1 || s.Rejected[bulkhead.WaitedTooLong] != 1 {
			t.Errorf("got rejections %v, want one for each of the two reasons", s.Rejected)
		}
		c.Release()
	})
}

func TestRefusal_AllocatesNothing(t *testing.T) {
	b := open(t, bulkhead.Config{Slots: 1, Breaker: &bulkhead.BreakerConfig{}})
	c := acquire(t, b)
	try := func() {
		_, _ = bulkhead.Do(t.Context(), b, func(context.Context) (int, error) { return 0, nil })
	}
	if n := testing.AllocsPerRun(100, try); n != 0 {
		t.Errorf("refused when full: %v allocations, want 0", n)
	}
	c.Release()
	b.Force(bulkhead.Open)
	if n := testing.AllocsPerRun(100, try); n != 0 {
		t.Errorf("refused when open: %v allocations, want 0", n)
	}
}

func TestHooks_MayCallTheBulkhead(t *testing.T) {
	var b *bulkhead.Bulkhead
	called := make(chan string, 100)
	use := func(name string) {
		b.Stats()
		b.ReadyAt()
		_ = b.Resize(1)
		b.Force(bulkhead.Auto)
		for _, c := range b.Take(nil, 1) {
			c.Release()
		}
		called <- name
	}
	b = open(t, bulkhead.Config{
		Slots: 1, Timeout: time.Nanosecond,
		Breaker: &bulkhead.BreakerConfig{},
		Hooks: bulkhead.Hooks{
			Admitted:     func(time.Duration) { use("Admitted") },
			Rejected:     func(*bulkhead.Rejection) { use("Rejected") },
			TimedOut:     func(time.Duration) { use("TimedOut") },
			GhostEnded:   func(time.Duration, error) { use("GhostEnded") },
			StateChanged: func(_, to bulkhead.State) { use("StateChanged") },
			Panicked:     func(*bulkhead.PanicError) { use("Panicked") },
		},
	})
	over := make(chan struct{})
	go func() {
		defer close(over)
		b.Force(bulkhead.Open)
		b.Force(bulkhead.Auto)
		timedOut := make(chan struct{})
		c, _ := b.Acquire(context.Background())
		_ = do(context.Background(), b, nothing)
		c.Run(panicsInDone(func(ctx context.Context) error { <-ctx.Done(); <-timedOut; return nil }, timedOut))
		b.Drain(context.Background()) // waits for Done, on the timer's goroutine
	}()
	select {
	case <-over:
	case <-time.After(20 * time.Second): // a lock is held: nothing in this test takes time
		t.Fatal("a hook that calls the bulkhead never returned")
	}
	got := map[string]bool{}
	for len(called) > 0 {
		got[<-called] = true
	}
	for _, name := range []string{"Admitted", "Rejected", "TimedOut", "GhostEnded", "StateChanged", "Panicked"} {
		if !got[name] {
			t.Errorf("%s was never called", name)
		}
	}
}

// badDone panics in Done, and closes told.
type badDone struct {
	run  func(context.Context) error
	told chan struct{}
}

func panicsInDone(run func(context.Context) error, told chan struct{}) *badDone {
	return &badDone{run: run, told: told}
}

func (d *badDone) Run(ctx context.Context) error { return d.run(ctx) }
func (d *badDone) Done(error)                    { close(d.told); panic("can't settle") }
