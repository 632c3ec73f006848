package main

import (
	"context"
	"time"

	"github.com/eapache/go-resiliency/deadline"
	"github.com/eapache/go-resiliency/semaphore"
	"github.com/failsafe-go/failsafe-go"
	fsbulkhead "github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/fallback"
	"github.com/failsafe-go/failsafe-go/ratelimiter"
	fstimeout "github.com/failsafe-go/failsafe-go/timeout"
	"github.com/sony/gobreaker/v2"
	xsemaphore "golang.org/x/sync/semaphore"
)

func xSemaphore() (func(), func()) {
	s := xsemaphore.NewWeighted(slots)
	return func() {
		if s.TryAcquire(1) {
			_, _ = answer(context.Background())
			s.Release(1)
		}
	}, nil
}

func xSemaphoreFull() (func(), func()) {
	s := xsemaphore.NewWeighted(slots)
	s.TryAcquire(slots)
	return func() {
		if s.TryAcquire(1) {
			panic("not full")
		}
	}, nil
}

func resiliencySemaphore() (func(), func()) {
	s := semaphore.New(slots, timeout)
	return func() {
		if s.Acquire() == nil {
			_, _ = answer(context.Background())
			s.Release()
		}
	}, nil
}

func resiliencyDeadline() (func(), func()) {
	s, d := semaphore.New(slots, timeout), deadline.New(timeout)
	return func() {
		if s.Acquire() == nil {
			_ = d.Run(func(<-chan struct{}) error { _, err := answer(context.Background()); return err })
			s.Release()
		}
	}, nil
}

func gobreakerOpen() (func(), func()) {
	br := gobreaker.NewCircuitBreaker[int](gobreaker.Settings{
		Timeout: never, ReadyToTrip: func(gobreaker.Counts) bool { return true },
	})
	call := func() (int, error) { return 0, errDown }
	_, _ = br.Execute(call)
	return func() {
		if _, err := br.Execute(call); err != nil {
			_, _ = instead(context.Background(), err)
		}
	}, nil
}

// failsafeGo is a call as a server makes it: each with its own context.
func failsafeGo(fn func(context.Context) (int, error), policies ...failsafe.Policy[int]) func() (func(), func()) {
	return func() (func(), func()) {
		with := failsafe.With(policies...)
		return func() {
			_, _ = with.WithContext(context.Background()).GetWithExecution(func(e failsafe.Execution[int]) (int, error) {
				return fn(e.Context())
			})
		}, nil
	}
}

func failsafeGoFull() (func(), func()) {
	full := fsbulkhead.New[int](slots)
	for range slots {
		if !full.TryAcquirePermit() {
			panic("full too soon")
		}
	}
	return failsafeGo(answer, full)()
}

func failsafeGoComposed() (func(), func()) {
	return failsafeGo(answer,
		fallback.NewWithResult(41),
		ratelimiter.NewBursty[int](endless, time.Second),
		circuitbreaker.NewBuilder[int]().WithFailureRateThreshold(0.5, 20, 10*time.Second).WithDelay(5*time.Second).Build(),
		fsbulkhead.New[int](slots),
		fstimeout.New[int](timeout),
	)()
}

func failsafeGoOpen() (func(), func()) {
	br := circuitbreaker.NewBuilder[int]().WithDelay(never).Build()
	br.Open()
	return failsafeGo(answer, fallback.NewWithResult(41), br)()
}
