package bulkhead_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/bulkhead"
)

func TestClose_HandsBackTheQueueAndRefusesWhoWaits(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 1, Queue: 3}, func(t *testing.T, b *bulkhead.Bulkhead) {
		var ctx context.Context
		running := newJob(func(c context.Context) error { ctx = c; time.Sleep(time.Second); return c.Err() })
		wantErr(t, "TrySubmit", b.TrySubmit(running), nil)
		synctest.Wait()
		queued := []*job{newJob(nothing), newJob(nothing)}
		for _, j := range queued {
			wantErr(t, "TrySubmit", b.TrySubmit(j), nil)
		}
		refused := make(chan error, 2)
		go func() { refused <- do(t.Context(), b, nothing) }()
		synctest.Wait()
		go func() { refused <- b.Submit(t.Context(), newJob(nothing)) }() // no room left
		synctest.Wait()

		b.Close()
		b.Close()
		for _, j := range queued {
			wantErr(t, "Done", <-j.done, bulkhead.ErrClosed)
		}
		for range 2 {
			wantErr(t, "waiting", <-refused, bulkhead.ErrClosed)
		}
		wantErr(t, "Do afterwards", do(t.Context(), b, nothing), bulkhead.ErrClosed)
		wantErr(t, "TrySubmit afterwards", b.TrySubmit(newJob(nothing)), bulkhead.ErrClosed)
		wantErr(t, "Submit afterwards", b.Submit(t.Context(), newJob(nothing)), bulkhead.ErrClosed)
		if ctx.Err() != nil {
			t.Error("Close canceled what runs")
		}

		got := b.Drain(t.Context())
		if want := (bulkhead.Report{Finished: 1, HandedBack: 2}); got != want {
			t.Errorf("Drain: got %+v, want %+v", got, want)
		}
		wantErr(t, "Done of what ran", <-running.done, nil)
	})
}

func TestDrain_WaitsThenCancels(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 5, Timeout: time.Minute}, func(t *testing.T, b *bulkhead.Bulkhead) {
		ghost := newJob(lasts(time.Hour))
		acquire(t, b).Go(ghost)
		wantErr(t, "Done", <-ghost.done, bulkhead.ErrTimeout)

		obey := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
		poll := func(ctx context.Context) error {
			for ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			return context.Cause(ctx)
		}
		call := make(chan error, 1)
		go func() { call <- do(t.Context(), b, obey) }()
		jobs := []*job{newJob(obey), newJob(poll)}
		for _, j := range jobs {
			acquire(t, b).Go(j)
		}
		quick := newJob(lasts(time.Second))
		acquire(t, b).Go(quick)
		synctest.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		got := b.Drain(ctx)
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("Drain took %v, want 10s", took)
		}
		if want := (bulkhead.Report{Finished: 1, Running: 3, Ghosts: 1}); got != want {
			t.Errorf("Drain: got %+v, want %+v", got, want)
		}
		wantErr(t, "a call's cause", <-call, bulkhead.ErrDrainTimeout)
		for _, j := range jobs {
			wantErr(t, "a task's cause", <-j.done, bulkhead.ErrDrainTimeout)
		}
		got = b.Drain(t.Context())
		if want := (bulkhead.Report{Finished: 5}); got != want {
			t.Errorf("second Drain: got %+v, want %+v", got, want)
		}
	})
}

func TestDrain_OutstandingCreditsMayBeSpentUntilItGivesUp(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 2}, func(t *testing.T, b *bulkhead.Bulkhead) {
		credits := b.Take(nil, 2)
		b.Close()
		j := newJob(nothing)
		credits[0].Go(j)
		wantErr(t, "before", <-j.done, nil)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got, want := b.Drain(ctx), (bulkhead.Report{Finished: 1, Running: 1}); got != want {
			t.Errorf("Drain: got %+v, want %+v", got, want)
		}
		j = newJob(func(context.Context) error { t.Error("run after Drain gave up"); return nil })
		credits[1].Go(j)
		wantErr(t, "after", <-j.done, bulkhead.ErrClosed)
	})
}

// Nothing may be sent on a closed channel, lost, or left behind, whatever
// comes while the bulkhead is being closed.
func TestClose_WhileEverybodyComes(t *testing.T) {
	for range 50 {
		b := open(t, bulkhead.Config{Slots: 2, Queue: 2, Timeout: time.Minute})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					j := newJob(nothing)
					if errors.Is(b.TrySubmit(j), bulkhead.ErrClosed) {
						return
					}
				}
			})
			wg.Go(func() {
				for {
					j := newJob(nothing)
					if b.Submit(context.Background(), j) != nil {
						return
					}
					if err := <-j.done; err != nil && !errors.Is(err, bulkhead.ErrClosed) {
						t.Error(err)
					}
				}
			})
			wg.Go(func() {
				for !errors.Is(do(context.Background(), b, nothing), bulkhead.ErrClosed) {
				}
			})
			wg.Go(func() {
				for {
					c, err := b.Acquire(context.Background())
					if err != nil {
						return
					}
					c.Go(newJob(nothing))
				}
			})
		}
		wg.Go(b.Close)
		wg.Go(func() { b.Drain(context.Background()) })
		wg.Wait()
	}
}
