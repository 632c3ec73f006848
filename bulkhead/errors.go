package bulkhead

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

var (
	// ErrTimeout is what every [TimeoutError] is to errors.Is.
	ErrTimeout = errors.New("bulkhead: timed out")

	// ErrDrainTimeout is the cause of the cancellation of what still ran when
	// the context of Drain ended.
	ErrDrainTimeout = errors.New("bulkhead: drain timed out")

	// ErrGoexit is the Value of a [PanicError] when the function didn't panic
	// but ended its goroutine by runtime.Goexit, as testing.T.FailNow does.
	ErrGoexit = errors.New("runtime.Goexit was called")
)

// TimeoutError says that a run was not over after Config.Timeout. The run may
// still be going on, as a ghost. There is one value for each bulkhead.
type TimeoutError struct {
	Bulkhead string // Config.Name
	After    time.Duration
}

// Error reads like "bulkhead payment: timed out after 2s".
func (e *TimeoutError) Error() string {
	return fmt.Sprintf("%s: timed out after %v", title(e.Bulkhead), e.After)
}

// Is reports whether target is [ErrTimeout] or [context.DeadlineExceeded].
func (e *TimeoutError) Is(target error) bool {
	return target == ErrTimeout || target == context.DeadlineExceeded
}

// Timeout is true, for those who ask errors for it as package net does.
func (e *TimeoutError) Timeout() bool { return true }

// PanicError is what a function's panic becomes, or its runtime.Goexit.
type PanicError struct {
	Value any    // given to panic; ErrGoexit for runtime.Goexit
	Stack []byte // of the goroutine that panicked
}

// Error reads like "panic: index out of range [3] with length 2". It leaves
// out the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns Value when it is an error, else nil.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// caught makes the error of a function that didn't return; value is what
// recover gave, nil for runtime.Goexit. It must be called by the deferred
// function, for the stack still to be that of the panic.
func caught(value any) *PanicError {
	if value == nil {
		value = ErrGoexit
	}
	return &PanicError{Value: value, Stack: debug.Stack()}
}
