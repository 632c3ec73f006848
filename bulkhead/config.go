package bulkhead

import (
	"fmt"
	"math"
	"time"
)

// Config says how much a bulkhead lets in. Only Slots is required; the zero
// value of every other field works.
type Config struct {
	// Name is what rejections, timeouts and errors of New call the bulkhead.
	// Defaults to none.
	Name string

	// Slots is how many functions may run at once, ghosts included. At
	// least 1. It counts what really runs: a function that has outlived its
	// timeout keeps its slot until it returns.
	Slots int

	// MaxSlots is how many slots Resize can make it. Defaults to Slots.
	MaxSlots int

	// Queue is how many may wait for a slot: callers of Do and accepted tasks
	// together. Zero means that a call or a task is accepted only when it can
	// start at once. Defaults to 0. Callers of Acquire are not counted, as
	// they bring no work yet, nor those of a Submit that waits for room.
	Queue int

	// MaxWait is the longest that Do, Submit and a queued task wait for a
	// slot and for the rate together. Zero means as long as their context
	// lasts, and for a queued task, without end. A task's wait is looked at
	// when its turn comes. Defaults to 0. Acquire knows only its context.
	MaxWait time.Duration

	// Timeout is the hard limit on one run, counted from its start. At the
	// timeout the caller is told, the run's context is canceled with the
	// *TimeoutError as its cause, and the run keeps its slot until it returns.
	// Zero means no limit: a hung function then holds its caller too.
	// Defaults to 0.
	Timeout time.Duration

	// Cooperative makes Do run its function in the caller's goroutine, which
	// is several times cheaper, and trusts the function to return soon after
	// its context ends: if it doesn't, Do waits for it, and it is a ghost
	// until it returns. It needs a Timeout. Tasks are told at their timeout
	// all the same. Defaults to false: Do returns at the timeout.
	Cooperative bool

	// RatePerSecond is how many runs may start in a second, on average. Zero
	// means no limit. Defaults to 0.
	RatePerSecond float64

	// Burst is how many runs may start at one moment after a quiet time, if
	// the slots allow. It needs a RatePerSecond. Defaults to 1: evenly spaced.
	Burst int

	// Breaker refuses everything for a while when too much fails. Defaults to
	// nil: none.
	Breaker *BreakerConfig

	// Admission refuses what can't be over before the deadline of its
	// context. Defaults to nil: all may try.
	Admission *AdmissionConfig

	// Hooks are called when something happens. Defaults to none.
	Hooks Hooks
}

// BreakerConfig says when a breaker opens and how it closes again.
//
// A closed breaker counts the outcomes of the last Window. When at least
// MinCalls of them are Success or Failure and at least FailureShare of these
// are Failure, or SlowShare of them took SlowAfter or longer, it opens and
// refuses everything for OpenFor. Then it is half-open: it admits at most
// Probes runs. All of them successful, and none slow, close it; one other opens
// it again. The outcome of a run that began before the last change of state
// decides nothing.
type BreakerConfig struct {
	// Window is how far back outcomes are counted, in ten buckets: it forgets
	// a tenth at a time. Defaults to 10 s.
	Window time.Duration

	// MinCalls is how many outcomes the window must hold before anything is
	// decided. Defaults to 20.
	MinCalls int

	// FailureShare is the share of failures, above 0 and up to 1, at or above
	// which the breaker opens. Defaults to 0.5.
	FailureShare float64

	// SlowAfter is how long a run may take before it counts as slow, whatever
	// it returns. Zero means as long as it likes. Defaults to 0.
	SlowAfter time.Duration

	// SlowShare is the share of slow runs, above 0 and up to 1, at or above
	// which the breaker opens. It needs a SlowAfter. Defaults to 0.5.
	SlowShare float64

	// OpenFor is how long the breaker stays open. Defaults to 5 s.
	OpenFor time.Duration

	// Lease is how long a probe may run without an outcome before it counts
	// as failed, so that a hung probe can't keep the breaker half-open. A
	// credit that is a probe and stays unspent for a lease loses its probe to
	// somebody else, and nothing counts as failed. Defaults to Config.Timeout,
	// or without one, to a minute.
	Lease time.Duration

	// Probes is how many runs a half-open breaker admits, and how many of
	// them must succeed. Defaults to 1.
	Probes int

	// Classify says what the result of a run means; a timeout comes as a
	// *TimeoutError, a panic as a *PanicError, a caller that gave up as the
	// Err of its context. Defaults to: nil is Success; a *Rejection and the
	// caller's own cancellation (or Drain's) are Neutral; else Failure.
	Classify func(error) Outcome
}

// AdmissionConfig says when a call is refused, with [ErrLate], because it could
// not be over before the deadline of its context. That is looked at twice: when
// it would have to queue, with the time that those before it are expected to
// take, and when its turn has come. Do looks at its context, and Submit's
// context is looked at for the task. What has no deadline is always admitted,
// and so are credits.
//
// How long a run takes is known from those that have ended: a moving average
// and its deviation. Those that failed or were broken off count only if they
// took longer than that. When no run has ended for as long as a call has left,
// it may try although the forecast is against it.
type AdmissionConfig struct {
	// Deviations is how many mean deviations beyond the average a run must be
	// given. More refuses more, and finishes more of what it admits. Defaults
	// to 2.
	Deviations float64
}

// Outcome is what the result of a run means to the breaker.
type Outcome uint8

// What a run tells about the service behind the bulkhead.
const (
	Success Outcome = iota // it works
	Failure                // it doesn't
	Neutral                // nothing: not counted, and a probe may be repeated
)

// complete returns c with its defaults, or says which field is wrong.
func (c Config) complete() (Config, error) {
	wrong := func(field string, got any, want string) error {
		return fmt.Errorf("bulkhead %q: Config.%s is %v: want %s", c.Name, field, got, want)
	}
	switch {
	case c.Slots < 1 || c.Slots > math.MaxInt32:
		return c, wrong("Slots", c.Slots, "at least 1")
	case c.MaxSlots != 0 && c.MaxSlots < c.Slots || c.MaxSlots > math.MaxInt32:
		return c, wrong("MaxSlots", c.MaxSlots, "at least Slots")
	case c.Queue < 0:
		return c, wrong("Queue", c.Queue, "0 or more")
	case c.MaxWait < 0:
		return c, wrong("MaxWait", c.MaxWait, "0 or more")
	case c.Timeout < 0:
		return c, wrong("Timeout", c.Timeout, "0 or more")
	case c.Cooperative && c.Timeout == 0:
		return c, wrong("Cooperative", c.Cooperative, "false without a Timeout")
	case !(c.RatePerSecond >= 0) || math.IsInf(c.RatePerSecond, 1):
		return c, wrong("RatePerSecond", c.RatePerSecond, "0 or more, and finite")
	case c.Burst < 0:
		return c, wrong("Burst", c.Burst, "0 or more")
	case c.Burst > 0 && c.RatePerSecond == 0:
		return c, wrong("Burst", c.Burst, "0 without a RatePerSecond")
	}
	orElse(&c.MaxSlots, c.Slots)
	orElse(&c.Burst, 1)
	if c.Admission != nil {
		a := *c.Admission // the caller may go on using his
		if !(a.Deviations >= 0) || math.IsInf(a.Deviations, 1) {
			return c, wrong("Admission.Deviations", a.Deviations, "0 or more, and finite")
		}
		orElse(&a.Deviations, 2)
		c.Admission = &a
	}
	if c.Breaker == nil {
		return c, nil
	}

	br := *c.Breaker // his too
	switch {
	case br.Window < 0:
		return c, wrong("Breaker.Window", br.Window, "0 or more")
	case br.MinCalls < 0:
		return c, wrong("Breaker.MinCalls", br.MinCalls, "0 or more")
	case !(br.FailureShare >= 0 && br.FailureShare <= 1):
		return c, wrong("Breaker.FailureShare", br.FailureShare, "between 0 and 1")
	case br.SlowAfter < 0:
		return c, wrong("Breaker.SlowAfter", br.SlowAfter, "0 or more")
	case !(br.SlowShare >= 0 && br.SlowShare <= 1):
		return c, wrong("Breaker.SlowShare", br.SlowShare, "between 0 and 1")
	case br.SlowShare > 0 && br.SlowAfter == 0:
		return c, wrong("Breaker.SlowShare", br.SlowShare, "0 without a SlowAfter")
	case br.OpenFor < 0:
		return c, wrong("Breaker.OpenFor", br.OpenFor, "0 or more")
	case br.Lease < 0:
		return c, wrong("Breaker.Lease", br.Lease, "0 or more")
	case br.Probes < 0 || br.Probes > c.Slots:
		return c, wrong("Breaker.Probes", br.Probes, "at most Slots")
	}
	orElse(&br.Window, 10*time.Second)
	orElse(&br.MinCalls, 20)
	orElse(&br.FailureShare, 0.5)
	orElse(&br.SlowShare, 0.5)
	orElse(&br.OpenFor, 5*time.Second)
	orElse(&br.Lease, c.Timeout)
	orElse(&br.Lease, time.Minute)
	orElse(&br.Probes, 1)
	c.Breaker = &br
	return c, nil
}

// orElse gives a field its default.
func orElse[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
