package bulkhead

import "time"

// Hooks tell an observer what happens, as it happens. They run with no lock
// held, so they may call the bulkhead, on the goroutine of whoever made it
// happen: a caller's, a slot's or a timer's. They may run together. Whoever
// calls them waits for them, mostly while holding a slot: a hook should count
// or log, and return. A nil hook costs nothing.
type Hooks struct {
	// Admitted is called at the start of a run, with the time its caller or
	// task waited. A credit's wait is none: it came before the work.
	Admitted func(waited time.Duration)

	// Rejected is called when a call, a task or a wait for a credit is
	// refused, also for each task that Drain or Close hands back.
	Rejected func(*Rejection)

	// TimedOut is called when a run has become a ghost by its timeout, just
	// before its caller or task is told.
	TimedOut func(after time.Duration)

	// GhostEnded is called when a ghost has returned, just before its slot
	// comes back, with the time it had been a ghost and what it returned.
	GhostEnded func(age time.Duration, late error)

	// StateChanged is called when the breaker changes its state. Open becomes
	// HalfOpen when somebody looks, not by a clock of its own.
	StateChanged func(from, to State)

	// Panicked is called when Task.Done or LateTask.Late panicked or called
	// runtime.Goexit; the bulkhead goes on. Without this hook such a panic is
	// let through, and ends the program as panics do: what could not be
	// settled must not go unnoticed. The slot comes back in both cases.
	Panicked func(*PanicError)
}
