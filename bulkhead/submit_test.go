package bulkhead_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/watertight-go/watertight/bulkhead"
)

func TestTrySubmit_RefusesInsteadOfWaiting(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 1, Queue: 2}, func(t *testing.T, b *bulkhead.Bulkhead) {
		var jobs []*job
		for range 5 {
			j := newJob(lasts(time.Second))
			if err := b.TrySubmit(j); err == nil {
				jobs = append(jobs, j)
			} else {
				wantErr(t, "TrySubmit", err, bulkhead.ErrFull)
				j.run = func(context.Context) error { t.Error("a refused task was run"); return nil }
			}
		}
		if len(jobs) != 3 || b.Stats().Waiting != 2 {
			t.Fatalf("%d accepted, %d waiting; want 3, 2", len(jobs), b.Stats().Waiting)
		}
		start := time.Now()
		for i, j := range jobs {
			wantErr(t, "Done", <-j.done, nil)
			if got, want := time.Since(start), time.Duration(i+1)*time.Second; got != want {
				t.Errorf("task %d was done after %v, want %v", i, got, want)
			}
		}
	})
}

func TestSubmit_WaitsForRoom(t *testing.T) {
	for _, queue := range []int{0, 1} {
		inBubble(t, bulkhead.Config{Slots: 1, Queue: queue}, func(t *testing.T, b *bulkhead.Bulkhead) {
			start := time.Now()
			for i := range 5 {
				wantErr(t, "Submit", b.Submit(t.Context(), newJob(lasts(time.Second))), nil)
				if got, want := time.Since(start), time.Duration(max(0, i-queue))*time.Second; got != want {
					t.Errorf("queue %d: task %d was accepted after %v, want %v", queue, i, got, want)
				}
			}
		})
	}
}

func TestSubmit_WaitsNoLongerThanMaxWait(t *testing.T) {
	for _, queue := range []int{0, 1} {
		inBubble(t, bulkhead.Config{Slots: 1, Queue: queue, MaxWait: time.Second}, func(t *testing.T, b *bulkhead.Bulkhead) {
			for range 1 + queue {
				wantErr(t, "Submit", b.Submit(t.Context(), newJob(lasts(time.Minute))), nil)
			}
			start := time.Now()
			wantErr(t, "Submit", b.Submit(t.Context(), newJob(nothing)), bulkhead.ErrWaited)
			if got := time.Since(start); got != time.Second {
				t.Errorf("waited %v, want 1s", got)
			}
		})
	}
}

func TestQueuedTask_IsNotRunWhenItIsTooLate(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 1, Queue: 2, MaxWait: time.Second}, func(t *testing.T, b *bulkhead.Bulkhead) {
		wantErr(t, "TrySubmit", b.TrySubmit(newJob(lasts(2*time.Second))), nil)
		j := newJob(func(context.Context) error { t.Error("an expired task was run"); return nil })
		wantErr(t, "TrySubmit", b.TrySubmit(j), nil)
		wantErr(t, "Done", <-j.done, bulkhead.ErrWaited)
		last := newJob(nothing)
		wantErr(t, "Submit", b.Submit(t.Context(), last), nil)
		wantErr(t, "Done", <-last.done, nil)
	})
}

func TestQueuedTask_WaitCountsFromSubmit(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 1, Queue: 1, MaxWait: time.Second}, func(t *testing.T, b *bulkhead.Bulkhead) {
		c := acquire(t, b)
		wantErr(t, "TrySubmit", b.TrySubmit(newJob(lasts(time.Second))), nil)
		time.AfterFunc(900*time.Millisecond, c.Release)
		j := newJob(func(context.Context) error { t.Error("an expired task was run"); return nil })
		wantErr(t, "Submit", b.Submit(t.Context(), j), nil) // 0.9 s here, then 1 s in the queue
		wantErr(t, "Done", <-j.done, bulkhead.ErrWaited)
	})
}

func TestQueuedTask_IsNotRunWhenTheBreakerHasOpened(t *testing.T) {
	cfg := bulkhead.Config{Slots: 1, Queue: 1, Breaker: &bulkhead.BreakerConfig{MinCalls: 1}}
	inBubble(t, cfg, func(t *testing.T, b *bulkhead.Bulkhead) {
		wantErr(t, "TrySubmit", b.TrySubmit(newJob(func(context.Context) error { time.Sleep(1); return errBoom })), nil)
		j := newJob(func(context.Context) error { t.Error("run through an open breaker"); return nil })
		wantErr(t, "TrySubmit", b.TrySubmit(j), nil)
		wantErr(t, "Done", <-j.done, bulkhead.ErrOpen)
		wantErr(t, "TrySubmit", b.TrySubmit(j), bulkhead.ErrOpen)
	})
}

func TestWaysIn_TakeTurns(t *testing.T) {
	const each = 4
	tests := map[string][]string{
		"all three":         {"call", "task", "credit"},
		"calls and tasks":   {"call", "task"},
		"calls and credits": {"call", "credit"},
		"tasks and credits": {"task", "credit"},
	}
	for name, ways := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, bulkhead.Config{Slots: 1, Queue: 2 * each}, func(t *testing.T, b *bulkhead.Bulkhead) {
				c := acquire(t, b)
				var served []string
				var wg sync.WaitGroup
				run := func(way string) func(context.Context) error {
					return func(context.Context) error {
						served = append(served, way)
						time.Sleep(time.Millisecond) // whoever is next in his way in gets ready
						return nil
					}
				}
				// Not mixed: each way in has come as a crowd.
				for _, way := range ways {
					for range each {
						switch way {
						case "call":
							wg.Go(func() { wantErr(t, "Do", do(t.Context(), b, run(way)), nil) })
						case "task":
							wantErr(t, "TrySubmit", b.TrySubmit(newJob(run(way))), nil)
						case "credit":
							wg.Go(func() { acquire(t, b).Run(newJob(run(way))) })
						}
						synctest.Wait()
					}
				}
				c.Release()
				wg.Wait()
				time.Sleep(time.Second) // the last may be a task
				synctest.Wait()

				if len(served) != each*len(ways) {
					t.Fatalf("%d were served, want %d", len(served), each*len(ways))
				}
				for round := range each {
					got := slices.Sorted(slices.Values(served[round*len(ways) : (round+1)*len(ways)]))
					if diff := cmp.Diff(slices.Sorted(slices.Values(ways)), got); diff != "" {
						t.Fatalf("served in the order %q, want turns", served)
					}
				}
			})
		})
	}
}

func TestStats_SeeEveryKind(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 2, Queue: 2, Timeout: time.Second}, func(t *testing.T, b *bulkhead.Bulkhead) {
		c := acquire(t, b)
		ghost := newJob(lasts(3 * time.Second))
		acquire(t, b).Go(ghost)
		wantErr(t, "Done", <-ghost.done, bulkhead.ErrTimeout)
		wantErr(t, "TrySubmit", b.TrySubmit(newJob(nothing)), nil)
		time.Sleep(time.Second)
		got := b.Stats()
		want := bulkhead.Stats{
			Slots: 2, Target: 2, InUse: 2, Ghosts: 1, Waiting: 1, Queue: 2, OldestGhost: time.Second,
			State: bulkhead.Closed, Admitted: 1, TimedOut: 1,
		}
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		c.Release()
		<-ghost.late
	})
}
