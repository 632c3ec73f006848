package main

import (
	"context"
	"errors"
	"time"

	fsbulkhead "github.com/failsafe-go/failsafe-go/bulkhead"
	fstimeout "github.com/failsafe-go/failsafe-go/timeout"

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
