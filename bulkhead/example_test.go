package bulkhead_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/watertight-go/watertight/bulkhead"
)

// mustNew makes a bulkhead of which the config is known to be right.
func mustNew(cfg bulkhead.Config) *bulkhead.Bulkhead {
	b, err := bulkhead.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	return b
}

func ExampleDo() {
	payments := mustNew(bulkhead.Config{Name: "payment", Slots: 16, Timeout: 2 * time.Second})
	defer payments.Close()

	receipt, err := bulkhead.Do(context.Background(), payments, func(context.Context) (string, error) {
		return "receipt 42", nil
	})
	fmt.Println(receipt, err)
	// Output: receipt 42 <nil>
}

// A function that doesn't heed its context costs its caller the timeout, and
// the bulkhead the slot for as long as it really runs.
func ExampleDo_timeout() {
	payments := mustNew(bulkhead.Config{Name: "payment", Slots: 1, Timeout: 20 * time.Millisecond})
	defer payments.Close()
	hung := make(chan struct{})
	defer close(hung)

	call := func(context.Context) (string, error) { <-hung; return "too late", nil }
	_, err := bulkhead.Do(context.Background(), payments, call)
	fmt.Println(err)
	_, err = bulkhead.Do(context.Background(), payments, call)
	fmt.Println(err)
	s := payments.Stats()
	fmt.Println("ghosts:", s.Ghosts, "flooded:", s.Flooded)
	// Output:
	// bulkhead payment: timed out after 20ms
	// bulkhead payment: full
	// ghosts: 1 flooded: true
}

// A function that heeds its context needs no goroutine of its own.
func ExampleDo_cooperative() {
	payments := mustNew(bulkhead.Config{Name: "payment", Slots: 1, Timeout: 20 * time.Millisecond, Cooperative: true})
	defer payments.Close()

	_, err := bulkhead.Do(context.Background(), payments, func(ctx context.Context) (string, error) {
		<-ctx.Done() // as an HTTP client does
		return "", ctx.Err()
	})
	fmt.Println(err, errors.Is(err, bulkhead.ErrTimeout))
	// Output: bulkhead payment: timed out after 20ms true
}

func ExampleDoOr() {
	prices := mustNew(bulkhead.Config{Name: "prices", Slots: 4, Breaker: &bulkhead.BreakerConfig{}})
	defer prices.Close()
	prices.Force(bulkhead.Open)

	price, err := bulkhead.DoOr(context.Background(), prices,
		func(context.Context) (int, error) { return 1999, nil },
		func(_ context.Context, why error) (int, error) {
			if errors.Is(why, bulkhead.ErrOpen) {
				return 1950, nil // yesterday's
			}
			return 0, why
		})
	fmt.Println(price, err)
	// Output: 1950 <nil>
}

// letter is a task: a mail to be sent.
type letter struct {
	to   string
	sent *sync.WaitGroup
}

func (l letter) Run(context.Context) error {
	fmt.Println("sending to", l.to)
	return nil
}

func (l letter) Done(err error) {
	fmt.Println("sent to", l.to, err)
	l.sent.Done()
}

func ExampleBulkhead_Submit() {
	mail := mustNew(bulkhead.Config{Name: "mail", Slots: 1, Queue: 100})
	var sent sync.WaitGroup
	for _, to := range []string{"ada", "grace"} {
		sent.Add(1)
		if err := mail.Submit(context.Background(), letter{to, &sent}); err != nil {
			sent.Done() // not accepted: Done won't be called
			fmt.Println(err)
		}
	}
	sent.Wait()
	fmt.Printf("%+v\n", mail.Drain(context.Background()))
	// Output:
	// sending to ada
	// sent to ada <nil>
	// sending to grace
	// sent to grace <nil>
	// {Finished:0 Running:0 Ghosts:0 HandedBack:0}
}

func ExampleBulkhead_TrySubmit() {
	mail := mustNew(bulkhead.Config{Name: "mail", Slots: 1})
	defer mail.Close()
	credit, _ := mail.Acquire(context.Background()) // the only slot

	err := mail.TrySubmit(letter{to: "ada"})
	fmt.Println(err, errors.Is(err, bulkhead.ErrFull))
	credit.Release()
	// Output: bulkhead mail: full true
}

// A consumer that asks its broker for no more messages than it can start.
func ExampleBulkhead_Acquire() {
	payments := mustNew(bulkhead.Config{Name: "payment", Slots: 8, Timeout: 2 * time.Second})
	defer payments.Close()
	fetch := func(n int) []string { return []string{"order 1", "order 2"}[:min(n, 2)] }

	first, err := payments.Acquire(context.Background()) // waits until one is free
	if err != nil {
		fmt.Println(err)
		return
	}
	credits := payments.Take([]bulkhead.Credit{first}, 3) // and takes what else is
	messages := fetch(len(credits))
	fmt.Println(len(credits), "credits,", len(messages), "messages")

	var handled sync.WaitGroup
	handled.Add(len(messages))
	for i, m := range messages {
		credits[i].Run(letter{m, &handled}) // Go runs them side by side
	}
	for _, c := range credits[len(messages):] {
		c.Release()
	}
	handled.Wait()
	fmt.Println(payments.Stats().InUse, "in use")
	// Output:
	// 4 credits, 2 messages
	// sending to order 1
	// sent to order 1 <nil>
	// sending to order 2
	// sent to order 2 <nil>
	// 0 in use
}

func ExampleBulkhead_Take() {
	payments := mustNew(bulkhead.Config{Name: "payment", Slots: 8})
	defer payments.Close()

	credits := payments.Take(nil, 100) // what is free, up to a hundred
	fmt.Println(len(credits), "taken,", len(payments.Take(nil, 1)), "left")
	for _, c := range credits {
		c.Release()
		c.Release() // once too often: does nothing, and is counted
	}
	s := payments.Stats()
	fmt.Println(s.InUse, "in use,", s.Misuse, "misused")
	// Output:
	// 8 taken, 0 left
	// 0 in use, 8 misused
}

func ExampleBulkhead_Resize() {
	payments := mustNew(bulkhead.Config{Name: "payment", Slots: 4, MaxSlots: 8})
	defer payments.Close()
	show := func() {
		s := payments.Stats()
		fmt.Printf("%d slots, %d to be, %d in use\n", s.Slots, s.Target, s.InUse)
	}

	credits := payments.Take(nil, 3)
	fmt.Println(payments.Resize(2)) // doesn't wait for the third
	show()
	credits[0].Release()
	show()
	fmt.Println(payments.Resize(9))
	for _, c := range credits[1:] {
		c.Release()
	}
	// Output:
	// <nil>
	// 3 slots, 2 to be, 3 in use
	// 2 slots, 2 to be, 2 in use
	// resize bulkhead payment: 9 slots: want 1 to Config.MaxSlots, 8
}
