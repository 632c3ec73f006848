package bulkhead_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/bulkhead"
)

// Others free the slot at the timeout: 40 then run in a bulkhead of 4.
func TestTimeout_KeepsTheSlotUntilTheFunctionReturns(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 4, Timeout: time.Second}, func(t *testing.T, b *bulkhead.Bulkhead) {
		var now, most atomic.Int32
		hang := func(context.Context) error {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			time.Sleep(time.Hour)
			return nil
		}
		for range 10 {
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() { _ = do(t.Context(), b, hang) })
			}
			wg.Wait() // at the timeout
		}
		if got := most.Load(); got != 4 {
			t.Errorf("%d ran at once in a bulkhead of 4", got)
		}
		s := b.Stats()
		if s.Ghosts != 4 || !s.Flooded || s.TimedOut != 4 || s.Rejected[bulkhead.Full] != 36 {
			t.Errorf("got %+v, want 4 ghosts, flooded, 4 timed out and 36 refused", s)
		}
		time.Sleep(time.Minute)
		if got := b.Stats().OldestGhost; got != time.Minute {
			t.Errorf("the oldest ghost is %v old, want 1m", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if s := b.Stats(); s.Ghosts != 0 || s.Flooded || s.Late != 4 || s.OldestGhost != 0 {
			t.Errorf("got %+v, want no ghosts any more and 4 late", s)
		}
	})
}

// The four ways for a task into a slot.
var hands = map[string]func(*testing.T, *bulkhead.Bulkhead, bulkhead.Task){
	"Go":  func(t *testing.T, b *bulkhead.Bulkhead, j bulkhead.Task) { acquire(t, b).Go(j) },
	"Run": func(t *testing.T, b *bulkhead.Bulkhead, j bulkhead.Task) { c := acquire(t, b); go c.Run(j) },
	"TrySubmit": func(t *testing.T, b *bulkhead.Bulkhead, j bulkhead.Task) {
		wantErr(t, "TrySubmit", b.TrySubmit(j), nil)
	},
	"Submit": func(t *testing.T, b *bulkhead.Bulkhead, j bulkhead.Task) {
		wantErr(t, "Submit", b.Submit(t.Context(), j), nil)
	},
}

func TestTimeout_OfATaskCallsDoneAndThenLate(t *testing.T) {
	for name, hand := range hands {
		t.Run(name, func(t *testing.T) {
			inBubble(t, bulkhead.Config{Slots: 1, Timeout: time.Second}, func(t *testing.T, b *bulkhead.Bulkhead) {
				start := time.Now()
				j := newJob(func(context.Context) error { time.Sleep(3 * time.Second); return errBoom })
				hand(t, b, j)
				wantErr(t, "Done", <-j.done, bulkhead.ErrTimeout)
				if got := time.Since(start); got != time.Second {
					t.Errorf("Done was called after %v, want 1s", got)
				}
				if s := b.Stats(); s.InUse != 1 || s.Ghosts != 1 {
					t.Errorf("at the timeout: %d in use, %d ghosts; want 1, 1", s.InUse, s.Ghosts)
				}
				wantErr(t, "Late", <-j.late, errBoom)
				if got := time.Since(start); got != 3*time.Second {
					t.Errorf("Late was called after %v, want 3s", got)
				}
				synctest.Wait()
				if s := b.Stats(); s.InUse != 0 || s.Ghosts != 0 || len(j.done) != 0 || len(j.late) != 0 {
					t.Errorf("afterwards: %d in use, %d ghosts, %d more Done, %d more Late; want 0",
						s.InUse, s.Ghosts, len(j.done), len(j.late))
				}
			})
		})
	}
}

func TestTimeout_IsToldEvenWhenTheFunctionObeysAtOnce(t *testing.T) {
	for name, hand := range hands {
		t.Run(name, func(t *testing.T) {
			inBubble(t, bulkhead.Config{Slots: 1, Timeout: time.Second}, func(t *testing.T, b *bulkhead.Bulkhead) {
				for range 50 { // two timers end at the same moment, in either order
					j := newJob(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
					hand(t, b, j)
					wantErr(t, "Done", <-j.done, bulkhead.ErrTimeout)
					wantErr(t, "Late", <-j.late, context.DeadlineExceeded)
					synctest.Wait()
				}
			})
		})
	}
}

// slowDone is a task of which Done at the timeout takes long.
type slowDone struct {
	lasts, settles time.Duration
	calls          chan string
}

func (s *slowDone) Run(context.Context) error { time.Sleep(s.lasts); return errBoom }
func (s *slowDone) Done(err error) {
	s.calls <- "Done begins"
	time.Sleep(s.settles)
	s.calls <- "Done ends"
}
func (s *slowDone) Late(error) { s.calls <- "Late" }

func TestTimeout_SlotIsNotHeldForADoneThatOutlastsTheGhost(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 1, Timeout: time.Second}, func(t *testing.T, b *bulkhead.Bulkhead) {
		s := &slowDone{lasts: 2 * time.Second, settles: time.Minute, calls: make(chan string, 9)}
		acquire(t, b).Go(s)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if st := b.Stats(); st.InUse != 0 || st.Ghosts != 0 {
			t.Errorf("the ghost has ended: got %d in use, %d ghosts; want 0, 0", st.InUse, st.Ghosts)
		}
		if len(s.calls) != 1 {
			t.Errorf("got %d calls while Done is busy, want its own only", len(s.calls))
		}
		r := b.Drain(t.Context()) // waits for Done and Late
		if want := (bulkhead.Report{}); r != want {
			t.Errorf("Drain reports %+v, want %+v", r, want)
		}
		close(s.calls)
		var got []string
		for c := range s.calls {
			got = append(got, c)
		}
		if len(got) != 3 || got[1] != "Done ends" || got[2] != "Late" {
			t.Errorf("got calls %q, want Late after Done has ended", got)
		}
	})
}

func TestDone_HoldsItsSlot(t *testing.T) {
	for name, hand := range hands {
		t.Run(name, func(t *testing.T) {
			inBubble(t, bulkhead.Config{Slots: 1, Timeout: time.Second}, func(t *testing.T, b *bulkhead.Bulkhead) {
				s := &slowDone{settles: time.Minute, calls: make(chan string, 9)}
				hand(t, b, s)
				<-s.calls
				if st := b.Stats(); st.InUse != 1 || st.Ghosts != 0 {
					t.Errorf("while Done is busy: got %d in use, %d ghosts; want 1, 0", st.InUse, st.Ghosts)
				}
				<-s.calls
				synctest.Wait()
				if st := b.Stats(); st.InUse != 0 {
					t.Error("the slot is not back after Done")
				}
			})
		})
	}
}

// After a ghost, and after a timer that fired too late to matter, the slot's
// next run must have its own full time, timer and reply.
func TestTimeout_OfAnEarlierRunDoesNotReachTheNext(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 1, Queue: 1, Timeout: time.Second}, func(t *testing.T, b *bulkhead.Bulkhead) {
		for i := range 200 {
			// Returns just before, at, or after its timeout.
			d := time.Second + time.Duration(i%3-1)
			_ = do(t.Context(), b, lasts(d))
			v, err := bulkhead.Do(t.Context(), b, func(context.Context) (int, error) {
				time.Sleep(time.Second - 1)
				return i, nil
			})
			if v != i || err != nil {
				t.Fatalf("run %d, after one of %v: got %d, %v; want its own result", i, d, v, err)
			}
		}
	})
}

// A timer that rings while it is being set must not be taken for one that will.
func TestTimeout_ComesHoweverShort(t *testing.T) {
	for range 2000 {
		b := open(t, bulkhead.Config{Slots: 1, Timeout: time.Nanosecond})
		for range 3 {
			told := make(chan error, 1)
			acquire(t, b).Run(&doneOnly{
				run:  func(context.Context) error { <-told; return nil },
				done: func(err error) { told <- err },
			})
		}
		b.Close()
	}
}

// doneOnly is a task of two functions.
type doneOnly struct {
	run  func(context.Context) error
	done func(error)
}

func (d *doneOnly) Run(ctx context.Context) error { return d.run(ctx) }
func (d *doneOnly) Done(err error)                { d.done(err) }

func TestTimeout_ToldLateDoesNotReachTheSlotsNextCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, bulkhead.Config{Slots: 1, Queue: 1, Timeout: time.Second, Hooks: bulkhead.Hooks{
			TimedOut: func(time.Duration) { time.Sleep(time.Second / 2) }, // the caller is told after it
		}})
		first := make(chan error, 1)
		go func() { first <- do(t.Context(), b, lasts(time.Second+1)) }()
		synctest.Wait()
		wantErr(t, "the next call", do(t.Context(), b, lasts(time.Second/4)), nil)
		wantErr(t, "the call that timed out", <-first, bulkhead.ErrTimeout)
	})
}

func TestPanicInDone(t *testing.T) {
	for name, hand := range hands {
		t.Run(name+" goes to the hook and gives the slot back", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				panicked := make(chan *bulkhead.PanicError, 1)
				b := open(t, bulkhead.Config{Slots: 1, Timeout: time.Second, Hooks: bulkhead.Hooks{
					Panicked: func(err *bulkhead.PanicError) { panicked <- err },
				}})
				for range 2 {
					hand(t, b, panicsInDone(nothing, make(chan struct{})))
					if got := <-panicked; got.Value != "can't settle" {
						t.Errorf("got %v, want the panic of Done", got)
					}
					synctest.Wait()
				}
				// At the timeout, on the timer's goroutine.
				hand(t, b, panicsInDone(lasts(2*time.Second), make(chan struct{})))
				<-panicked
				time.Sleep(time.Second)
				synctest.Wait()
				if s := b.Stats(); s.InUse != 0 || s.Panics != 3 {
					t.Errorf("got %d in use, %d panics; want 0, 3", s.InUse, s.Panics)
				}
			})
		})
	}
	t.Run("without the hook is let through, and gives the slot back", func(t *testing.T) {
		inBubble(t, bulkhead.Config{Slots: 1}, func(t *testing.T, b *bulkhead.Bulkhead) {
			func() {
				defer func() {
					if got := recover(); got != "can't settle" {
						t.Errorf("recovered %v from Credit.Run, want the panic of Done", got)
					}
				}()
				acquire(t, b).Run(panicsInDone(nothing, make(chan struct{})))
			}()
			if s := b.Stats(); s.InUse != 0 || s.Panics != 1 {
				t.Errorf("got %d in use, %d panics; want 0, 1", s.InUse, s.Panics)
			}
		})
	})
}

// A timer a call, a context a call: others need a dozen allocations.
func TestCredit_RunWithATimeoutAllocatesOnce(t *testing.T) {
	b := open(t, bulkhead.Config{Slots: 1, Timeout: time.Hour})
	var credits []bulkhead.Credit
	j := settled{}
	got := testing.AllocsPerRun(100, func() {
		credits = b.Take(credits[:0], 1)
		credits[0].Run(j)
	})
	if got > 1 {
		t.Errorf("%v allocations a run, want 1", got)
	}
}

// settled is a task that does nothing.
type settled struct{}

func (settled) Run(context.Context) error { return nil }
func (settled) Done(error)                {}
