package main

import (
	"context"

	"github.com/watertight-go/watertight/bulkhead"
)

var cooperative = bulkhead.Config{Timeout: timeout, Cooperative: true}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func ours(cfg bulkhead.Config, fn func(context.Context) (int, error)) func() (func(), func()) {
	return func() (func(), func()) {
		cfg.Slots = slots
		b := must(bulkhead.New(cfg))
		return func() { _, _ = bulkhead.Do(context.Background(), b, fn) }, b.Close
	}
}

func oursFull() (func(), func()) {
	b := must(bulkhead.New(bulkhead.Config{Slots: slots}))
	b.Take(nil, slots)
	return func() { _, _ = bulkhead.Do(context.Background(), b, answer) }, b.Close
}

// task is answer under a credit.
type task struct{}

func (task) Run(ctx context.Context) error { _, err := answer(ctx); return err }
func (task) Done(error)                    {}

func oursCredit() (func(), func()) {
	b := must(bulkhead.New(bulkhead.Config{Slots: slots, Timeout: timeout}))
	return func() {
		var room [1]bulkhead.Credit
		for _, c := range b.Take(room[:0], 1) {
			c.Run(task{})
		}
	}, b.Close
}

func oursComposed(cooperative bool) func() (func(), func()) {
	return func() (func(), func()) {
		b := must(bulkhead.New(bulkhead.Config{
			Slots: slots, Timeout: timeout, Cooperative: cooperative,
			RatePerSecond: endless, Burst: endless, Breaker: &bulkhead.BreakerConfig{},
		}))
		return func() { _, _ = bulkhead.DoOr(context.Background(), b, answer, instead) }, b.Close
	}
}

func oursOpen() (func(), func()) {
	b := must(bulkhead.New(bulkhead.Config{Slots: slots, Breaker: &bulkhead.BreakerConfig{MinCalls: 1, OpenFor: never}}))
	_, _ = bulkhead.Do(context.Background(), b, func(context.Context) (int, error) { return 0, errDown })
	return func() { _, _ = bulkhead.DoOr(context.Background(), b, answer, instead) }, b.Close
}
