package bulkhead_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/bulkhead"
)

// sizes checks how many slots there are, are to be, and are taken.
func sizes(t *testing.T, b *bulkhead.Bulkhead, when string, slots, target, inUse int) {
	t.Helper()
	if s := b.Stats(); s.Slots != slots || s.Target != target || s.InUse != inUse {
		t.Errorf("%s: got %d slots, %d to be, %d in use; want %d, %d, %d", when, s.Slots, s.Target, s.InUse, slots, target, inUse)
	}
}

func resize(t *testing.T, b *bulkhead.Bulkhead, slots int) {
	t.Helper()
	wantErr(t, "Resize", b.Resize(slots), nil)
}

func TestResize_MoreSlotsGoToWhoWaits(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 1, MaxSlots: 4, Queue: 2}, func(t *testing.T, b *bulkhead.Bulkhead) {
		c := acquire(t, b)
		var wg sync.WaitGroup
		wg.Go(func() { wantErr(t, "Do", do(t.Context(), b, lasts(time.Second)), nil) })
		wg.Go(func() { acquire(t, b).Run(newJob(lasts(time.Second))) })
		j := newJob(lasts(time.Second))
		wantErr(t, "TrySubmit", b.TrySubmit(j), nil)
		synctest.Wait()
		sizes(t, b, "before", 1, 1, 1)

		start := time.Now()
		resize(t, b, 4)
		synctest.Wait()
		sizes(t, b, "afterwards", 4, 4, 4)
		wg.Wait()
		<-j.done
		if got := time.Since(start); got != time.Second {
			t.Errorf("all three took %v, want 1s: side by side", got)
		}
		c.Release()
	})
}

func TestResize_FewerSlotsTakeEffectAsTheyComeBack(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 4, Timeout: time.Second}, func(t *testing.T, b *bulkhead.Bulkhead) {
		credits := b.Take(nil, 2)
		ghost := newJob(lasts(time.Minute))
		credits[0].Go(ghost)
		<-ghost.done
		resize(t, b, 1) // the free ones at once
		sizes(t, b, "two are taken", 2, 1, 2)
		if got := b.Take(nil, 4); len(got) != 0 {
			t.Errorf("took %d credits of slots that are no more", len(got))
		}
		credits[1].Release()
		sizes(t, b, "one came back", 1, 1, 1)
		if s := b.Stats(); !s.Flooded {
			t.Error("the only slot left is a ghost's, and the bulkhead is not flooded")
		}
		wantErr(t, "Do", do(t.Context(), b, nothing), bulkhead.ErrFull)
		<-ghost.late
		synctest.Wait()
		wantErr(t, "Do when the ghost has ended", do(t.Context(), b, nothing), nil)
		sizes(t, b, "in the end", 1, 1, 0)
	})
}

// A slot that is owed and not back yet is kept when there are to be more again.
func TestResize_BackAndForthForgivesTheDebt(t *testing.T) {
	inBubble(t, bulkhead.Config{Slots: 3}, func(t *testing.T, b *bulkhead.Bulkhead) {
		credits := b.Take(nil, 3)
		resize(t, b, 1)
		sizes(t, b, "two owed", 3, 1, 3)
		resize(t, b, 3)
		sizes(t, b, "none owed", 3, 3, 3)
		for _, c := range credits {
			c.Release()
		}
		sizes(t, b, "all came back", 3, 3, 0)
		for _, n := range []int{1, 2, 1, 3, 2} {
			resize(t, b, n)
			sizes(t, b, "all free", n, n, 0)
			if got := b.Take(nil, 9); len(got) != n {
				t.Errorf("of %d slots %d could be taken", n, len(got))
			} else {
				for _, c := range got {
					c.Release()
				}
			}
		}
	})
}

func TestResize_RefusesWhatItCannotDo(t *testing.T) {
	inBubble(t, bulkhead.Config{Name: "payment", Slots: 2, MaxSlots: 3}, func(t *testing.T, b *bulkhead.Bulkhead) {
		for _, n := range []int{-1, 0, 4} {
			if err := b.Resize(n); err == nil || !strings.Contains(err.Error(), "bulkhead payment") {
				t.Errorf("Resize(%d): got %v, want an error that names the bulkhead", n, err)
			}
		}
		sizes(t, b, "nothing has changed", 2, 2, 0)
		b.Close()
		wantErr(t, "after Close", b.Resize(3), bulkhead.ErrClosed)
	})
}

func TestResize_WhileEverybodyComesAndGoes(t *testing.T) {
	b := open(t, bulkhead.Config{Slots: 2, MaxSlots: 8, Queue: 4, Timeout: time.Minute})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for !errors.Is(do(context.Background(), b, nothing), bulkhead.ErrClosed) {
			}
		})
		wg.Go(func() {
			for b.Submit(context.Background(), newJob(nothing)) == nil {
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
	for range 2 {
		wg.Go(func() {
			for n := 1; ; n = n%8 + 1 {
				select {
				case <-stop:
					return
				default:
				}
				if err := b.Resize(n); err != nil {
					wantErr(t, "Resize", err, bulkhead.ErrClosed)
					return
				}
				if s := b.Stats(); s.InUse > s.Slots || s.Slots > 8 {
					t.Errorf("%d in use of %d slots", s.InUse, s.Slots)
				}
			}
		})
	}
	for b.Stats().Admitted < 500 {
		runtime.Gosched()
	}
	b.Drain(context.Background())
	close(stop)
	wg.Wait()
}
