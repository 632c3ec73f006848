package main

import (
	"context"
	"errors"
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
	"golang.org/x/time/rate"

	"github.com/watertight-go/watertight/bulkhead"
)

const (
	slots   = 64
	timeout = time.Minute // never reached
	never   = time.Hour
	endless = 1e9 // a second: a rate that never refuses
)

var errDown = errors.New("down")

// answer is the function that is protected. It does nothing, so that what is
// measured is the protection.
func answer(context.Context) (int, error) { return 42, nil }

// patient is answer that also asks when it should stop, as every client of
// something remote does.
func patient(ctx context.Context) (int, error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	default:
		return 42, nil
	}
}

func instead(context.Context, error) (int, error) { return 41, nil }

// groups is what is measured. The aims are those of the package.
func groups() []group {
	return []group{
		{"run, no timeout", []contestant{
			{name: "bare channel", make: bareChannel},
			{name: "bulkhead", make: ours(bulkhead.Config{}, answer), aim: 1.6, gain: 10},
			{name: "x/sync semaphore", make: xSemaphore},
			{name: "go-resiliency semaphore", make: resiliencySemaphore},
			{name: "failsafe-go", make: failsafeGo(answer, fsbulkhead.New[int](slots)), rival: true},
		}},
		{"refused", []contestant{
			{name: "bare channel, run", make: bareChannel},
			{name: "bulkhead", make: oursFull, aim: 0.6, gain: 10},
			{name: "x/sync semaphore", make: xSemaphoreFull},
			{name: "failsafe-go", make: failsafeGoFull, rival: true},
		}},
		{"cooperative timeout", []contestant{
			{name: "by hand: channel, WithTimeout", make: byHand(answer)},
			{name: "bulkhead", make: ours(cooperative, answer), aim: 0.35, allocs: 1, gain: 2},
			{name: "failsafe-go", make: failsafeGo(answer, fstimeout.New[int](timeout), fsbulkhead.New[int](slots)), rival: true},
		}},
		{"cooperative timeout, Done asked", []contestant{
			{name: "by hand: channel, WithTimeout", make: byHand(patient)},
			{name: "bulkhead", make: ours(cooperative, patient), aim: 1.35, allocs: 6, gain: 1},
			{name: "failsafe-go", make: failsafeGo(patient, fstimeout.New[int](timeout), fsbulkhead.New[int](slots)), rival: true},
		}},
		{"hard timeout", []contestant{
			{name: "by hand: a goroutine a call, WithTimeout", make: goroutineACall(answer)},
			{name: "bulkhead", make: ours(bulkhead.Config{Timeout: timeout}, answer), aim: 0.75, allocs: 1, gain: 1},
			{name: "go-resiliency semaphore, deadline", make: resiliencyDeadline},
			{name: "failsafe-go, which waits for the function", make: failsafeGo(answer, fstimeout.New[int](timeout), fsbulkhead.New[int](slots)), rival: true},
		}},
		{"hard timeout under a credit", []contestant{
			{name: "by hand: channel, WithTimeout", make: byHand(answer)},
			{name: "bulkhead", make: oursCredit, aim: 0.6, allocs: 1, gain: 2},
			{name: "failsafe-go, which waits for the function", make: failsafeGo(answer, fstimeout.New[int](timeout), fsbulkhead.New[int](slots)), rival: true},
		}},
		{"composed: timeout, breaker, rate, fallback; cooperative", []contestant{
			{name: "by hand: channel, WithTimeout, gobreaker, x/time/rate", make: byHandComposed},
			{name: "bulkhead", make: oursComposed(true), aim: 0.5, allocs: 1, gain: 2},
			{name: "failsafe-go", make: failsafeGoComposed, rival: true},
		}},
		{"composed; hard", []contestant{
			{name: "by hand: a goroutine a call", make: goroutineACallComposed},
			{name: "bulkhead", make: oursComposed(false), aim: 0.8, allocs: 1, gain: 1},
			{name: "failsafe-go, which waits for the function", make: failsafeGoComposed, rival: true},
		}},
		{"breaker open, fallback", []contestant{
			{name: "bare channel, run", make: bareChannel},
			{name: "bulkhead", make: oursOpen, aim: 1.2, gain: 10},
			{name: "gobreaker", make: gobreakerOpen},
			{name: "failsafe-go", make: failsafeGoOpen, rival: true},
		}},
	}
}

var cooperative = bulkhead.Config{Timeout: timeout, Cooperative: true}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Ours.

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

// By hand.

func bareChannel() (func(), func()) {
	room := make(chan struct{}, slots)
	return func() {
		select {
		case room <- struct{}{}:
			_, _ = answer(context.Background())
			<-room
		default:
		}
	}, nil
}

func byHand(fn func(context.Context) (int, error)) func() (func(), func()) {
	return func() (func(), func()) {
		room := make(chan struct{}, slots)
		return func() {
			select {
			case room <- struct{}{}:
				ctx, cancel := context.WithTimeout(context.Background(), timeout)
				_, _ = fn(ctx)
				cancel()
				<-room
			default:
			}
		}, nil
	}
}

func goroutineACall(fn func(context.Context) (int, error)) func() (func(), func()) {
	return func() (func(), func()) {
		room := make(chan struct{}, slots)
		return func() { _, _ = apart(room, fn) }, nil
	}
}

// apart runs fn in a goroutine of its own, holds the slot until it returns, and
// returns at the timeout.
func apart(room chan struct{}, fn func(context.Context) (int, error)) (int, error) {
	select {
	case room <- struct{}{}:
	default:
		return 0, errDown
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	type result struct {
		v   int
		err error
	}
	reply := make(chan result, 1)
	go func() {
		v, err := fn(ctx)
		<-room
		reply <- result{v, err}
	}()
	select {
	case r := <-reply:
		return r.v, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func breaker() *gobreaker.CircuitBreaker[int] {
	return gobreaker.NewCircuitBreaker[int](gobreaker.Settings{Timeout: never})
}

func byHandComposed() (func(), func()) {
	room, limit, br := make(chan struct{}, slots), rate.NewLimiter(endless, endless), breaker()
	call := func() (int, error) {
		select {
		case room <- struct{}{}:
		default:
			return 0, errDown
		}
		defer func() { <-room }()
		if !limit.Allow() {
			return 0, errDown
		}
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		return answer(ctx)
	}
	return func() {
		if _, err := br.Execute(call); err != nil {
			_, _ = instead(context.Background(), err)
		}
	}, nil
}

func goroutineACallComposed() (func(), func()) {
	room, limit, br := make(chan struct{}, slots), rate.NewLimiter(endless, endless), breaker()
	call := func() (int, error) {
		if !limit.Allow() {
			return 0, errDown
		}
		return apart(room, answer)
	}
	return func() {
		if _, err := br.Execute(call); err != nil {
			_, _ = instead(context.Background(), err)
		}
	}, nil
}

// Others.

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
