package bulkhead_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/watertight-go/watertight/bulkhead"
)

// TestModel does random things at random times, some of them wrong, and
// checks what must always hold:
//
//   - what runs, ghosts included, is never more than the slots, and what
//     waits is never more than the queue;
//   - nobody waits while a slot is free;
//   - there are no more slots than there are to be, but for those in use;
//   - every admitted function runs exactly once, every refused one never;
//   - every accepted task's Done is called exactly once, and Late after a
//     timeout, exactly once too;
//   - in the end everything is back and the counters add up.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cfg := bulkhead.Config{
			Slots:   rapid.IntRange(1, 4).Draw(rt, "slots"),
			Queue:   rapid.IntRange(0, 3).Draw(rt, "queue"),
			Timeout: rapid.SampledFrom([]time.Duration{0, 10, 20}).Draw(rt, "timeout") * time.Millisecond,
			MaxWait: rapid.SampledFrom([]time.Duration{0, 15}).Draw(rt, "maxWait") * time.Millisecond,
		}
		if rapid.Bool().Draw(rt, "rate") {
			cfg.RatePerSecond, cfg.Burst = 200, 2
		}
		if rapid.Bool().Draw(rt, "breaker") {
			cfg.Breaker = &bulkhead.BreakerConfig{MinCalls: 3, OpenFor: 20 * time.Millisecond, Lease: 15 * time.Millisecond, Probes: 1}
			if rapid.Bool().Draw(rt, "slow") {
				cfg.Breaker.SlowAfter = 8 * time.Millisecond
			}
		}
		cfg.MaxSlots = cfg.Slots + rapid.IntRange(0, 2).Draw(rt, "spare")
		cfg.Cooperative = cfg.Timeout > 0 && rapid.Bool().Draw(rt, "cooperative")
		if rapid.Bool().Draw(rt, "admission") {
			cfg.Admission = &bulkhead.AdmissionConfig{}
		}
		acts := rapid.SliceOfN(rapid.Custom(drawAct), 1, 40).Draw(rt, "acts")

		var wrong []string
		synctest.Test(t, func(t *testing.T) { wrong = play(t, cfg, acts) })
		if len(wrong) > 0 {
			rt.Fatalf("%q", wrong)
		}
	})
}

// act is something done to the bulkhead, after a pause.
type act struct {
	What   string
	Pause  time.Duration // before it
	Lasts  time.Duration // the function
	Ends   string        // how
	Cancel time.Duration // of the context, after this; 0: never
}

func drawAct(rt *rapid.T) act {
	ms := func(label string, most int) time.Duration {
		return time.Duration(rapid.IntRange(0, most).Draw(rt, label)) * time.Millisecond
	}
	return act{
		What: rapid.SampledFrom([]string{
			"Do", "Do", "Submit", "TrySubmit", "TrySubmit", "Acquire.Go", "Acquire.Run", "Acquire.Release",
			"Take.Go", "twice", "Force", "Resize", "Resize", "Close",
		}).Draw(rt, "what"),
		Pause:  ms("pause", 8),
		Lasts:  ms("lasts", 30),
		Ends:   rapid.SampledFrom([]string{"well", "well", "with an error", "obeying", "polling", "in panic", "in Goexit"}).Draw(rt, "ends"),
		Cancel: ms("cancel", 12),
	}
}

// game is a bulkhead and what is known about it from outside.
type game struct {
	b       *bulkhead.Bulkhead
	cfg     bulkhead.Config
	running atomic.Int32
	wg      sync.WaitGroup

	mu    sync.Mutex
	works []*work
	wrong []string
}

// work is a function or task on its way, and what became of it.
type work struct {
	g   *game
	act act

	ran, done, late atomic.Int32
	err             error // of Done, or of the call
	accepted        bool
	isTask          bool
}

func (g *game) failf(format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wrong = append(g.wrong, fmt.Sprintf(format, args...))
}

func (w *work) Run(ctx context.Context) error {
	w.ran.Add(1)
	if n, slots := int(w.g.running.Add(1)), w.g.b.Stats().Slots; n > slots {
		w.g.failf("%d run at once in %d slots", n, slots)
	}
	defer w.g.running.Add(-1)
	switch w.act.Ends {
	case "obeying":
		select {
		case <-ctx.Done():
		case <-time.After(w.act.Lasts):
		}
		return context.Cause(ctx)
	case "polling":
		for end := time.Now().Add(w.act.Lasts); ctx.Err() == nil && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		return ctx.Err()
	}
	time.Sleep(w.act.Lasts)
	switch w.act.Ends {
	case "with an error":
		return errBoom
	case "in panic":
		panic("kaboom")
	case "in Goexit":
		runtime.Goexit()
	}
	return nil
}

func (w *work) Done(err error) { w.err = err; w.done.Add(1) }

func (w *work) Late(error) {
	if w.done.Load() != 1 || !errors.Is(w.err, bulkhead.ErrTimeout) {
		w.g.failf("%+v: Late without a Done that told the timeout", w.act)
	}
	w.late.Add(1)
}

func play(t *testing.T, cfg bulkhead.Config, acts []act) []string {
	b, err := bulkhead.New(cfg)
	if err != nil {
		return []string{err.Error()}
	}
	g := &game{b: b, cfg: cfg}
	for _, a := range acts {
		time.Sleep(a.Pause)
		w := &work{g: g, act: a}
		g.works = append(g.works, w)
		g.wg.Go(w.do)
		synctest.Wait()
		g.check()
	}
	// Whoever still waits for a credit is refused now, or served.
	b.Close()
	g.wg.Wait()
	b.Drain(t.Context())
	g.checkEnd()
	return g.wrong
}

func (w *work) do() {
	b := w.g.b
	ctx := context.Background()
	if w.act.Cancel > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.act.Cancel)
		defer cancel()
	}
	switch w.act.What {
	case "Do":
		w.err = bulkhead.ErrGoexit // if Do doesn't return
		_, w.err = bulkhead.Do(ctx, b, func(ctx context.Context) (int, error) { return 0, w.Run(ctx) })
	case "Submit":
		w.isTask = true
		w.accepted = b.Submit(ctx, w) == nil
	case "TrySubmit":
		w.isTask = true
		w.accepted = b.TrySubmit(w) == nil
	case "Take.Go":
		w.isTask = true
		for _, c := range b.Take(nil, 1) {
			w.accepted = true
			c.Go(w)
		}
	case "Force":
		b.Force([]bulkhead.State{bulkhead.Auto, bulkhead.Closed, bulkhead.Open, bulkhead.HalfOpen}[w.act.Lasts/time.Millisecond%4])
	case "Resize":
		n := 1 + int(w.act.Lasts/time.Millisecond)%w.g.cfg.MaxSlots
		if err := b.Resize(n); err != nil && !errors.Is(err, bulkhead.ErrClosed) {
			w.g.failf("Resize(%d): %v", n, err)
		}
	case "Close":
		if w.act.Lasts > 28*time.Millisecond {
			b.Close()
		}
	default:
		c, err := b.Acquire(ctx)
		if err != nil {
			return
		}
		switch w.act.What {
		case "Acquire.Go":
			w.isTask, w.accepted = true, true
			c.Go(w)
		case "Acquire.Run":
			w.isTask, w.accepted = true, true
			c.Run(w)
		case "Acquire.Release":
			time.Sleep(w.act.Lasts)
			c.Release()
		case "twice":
			c.Release()
			c.Release()
			c.Go(w) // never runs
			w.isTask = true
		}
	}
}

// check is called when nothing moves.
func (g *game) check() {
	s := g.b.Stats()
	if s.InUse > s.Slots || s.Ghosts > s.InUse || int(g.running.Load()) > s.InUse {
		g.failf("%d run, %d in use, %d ghosts of %d slots", g.running.Load(), s.InUse, s.Ghosts, s.Slots)
	}
	if s.Slots > max(s.Target, s.InUse) || s.Slots > g.cfg.MaxSlots {
		g.failf("%d slots, %d in use; there are to be %d, and at most %d", s.Slots, s.InUse, s.Target, g.cfg.MaxSlots)
	}
	if s.Waiting > g.cfg.Queue {
		g.failf("%d wait in a queue of %d", s.Waiting, g.cfg.Queue)
	}
	if s.Waiting > 0 && s.InUse < s.Slots {
		g.failf("%d wait while %d of %d slots are in use", s.Waiting, s.InUse, s.Slots)
	}
}

// checkEnd is called when everything is over.
func (g *game) checkEnd() {
	var ran, twice uint64
	for _, w := range g.works {
		ran += uint64(w.ran.Load())
		var r *bulkhead.Rejection
		refused := errors.As(w.err, &r)
		var runs, dones, lates int32
		switch {
		case w.act.What == "twice":
			twice++
		case w.isTask && w.accepted:
			dones = 1
			if !refused {
				runs = 1
			}
			if errors.Is(w.err, bulkhead.ErrTimeout) {
				lates = 1
			}
		case w.act.What == "Do" && !refused:
			runs = w.ran.Load() // none if its context ended while it waited
			if runs > 1 || runs == 0 && !errors.Is(w.err, context.DeadlineExceeded) {
				g.failf("%+v ran %d times and returned %v", w.act, runs, w.err)
			}
		}
		if w.ran.Load() != runs || w.done.Load() != dones || w.late.Load() != lates {
			g.failf("%+v, told %v: Run, Done, Late were called %d, %d, %d times; want %d, %d, %d",
				w.act, w.err, w.ran.Load(), w.done.Load(), w.late.Load(), runs, dones, lates)
		}
	}
	s := g.b.Stats()
	if s.InUse != 0 || s.Ghosts != 0 || s.Waiting != 0 {
		g.failf("left behind: %+v", s)
	}
	if s.Admitted != ran || s.Admitted != s.Done+s.Failed+s.TimedOut+s.Abandoned || s.TimedOut+s.Abandoned != s.Late {
		g.failf("%d ran, and the counters don't add up: %+v", ran, s)
	}
	if s.Misuse > 2*twice {
		g.failf("%d misuses, want at most %d", s.Misuse, 2*twice)
	}
}
