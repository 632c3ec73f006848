package main

import (
	"context"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"
)

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
