package bulkhead_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/bulkhead"
)

type task struct {
	run  func(context.Context) error
	done chan error
	late chan error
}

func (t *task) Run(ctx context.Context) error { return t.run(ctx) }
func (t *task) Done(err error)                { t.done <- err }
func (t *task) Late(err error)                { t.late <- err }

func TestSmoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := bulkhead.New(bulkhead.Config{Name: "x", Slots: 1, Timeout: time.Second, Queue: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		v, err := bulkhead.Do(t.Context(), b, func(ctx context.Context) (int, error) { return 7, nil })
		if v != 7 || err != nil {
			t.Fatal(v, err)
		}
		release := make(chan struct{})
		_, err = bulkhead.Do(t.Context(), b, func(ctx context.Context) (int, error) { <-ctx.Done(); <-release; return 7, context.Cause(ctx) })
		if !errors.Is(err, bulkhead.ErrTimeout) {
			t.Fatal(err)
		}
		t.Logf("%+v", b.Stats())
		close(release)
		synctest.Wait()
		t.Logf("%+v", b.Stats())
		for i := range 4 {
			tk := &task{done: make(chan error, 1), late: make(chan error, 1)}
			tk.run = func(ctx context.Context) error { time.Sleep(time.Duration(i) * 600 * time.Millisecond); return ctx.Err() }
			c, err := b.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			c.Go(tk)
			t.Log(<-tk.done)
			if i > 1 {
				t.Log("late", <-tk.late)
			}
		}
		t.Logf("%+v", b.Drain(t.Context()))
		t.Logf("%+v", b.Stats())
	})
}
