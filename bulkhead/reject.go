package bulkhead

import (
	"errors"
	"time"
)

// Why a call or a task was refused, for errors.Is.
var (
	// ErrFull: every slot is taken and so is every place in the queue.
	ErrFull = errors.New("bulkhead: full")

	// ErrWaited: no slot came free within Config.MaxWait.
	ErrWaited = errors.New("bulkhead: waited too long")

	// ErrOpen: the breaker is open, or half-open with all its probes out.
	ErrOpen = errors.New("bulkhead: breaker open")

	// ErrRate: the next start that the rate allows is too far away.
	ErrRate = errors.New("bulkhead: rate limited")

	// ErrLate: it could not be over before the deadline of its context, by
	// what runs have taken of late. See [AdmissionConfig].
	ErrLate = errors.New("bulkhead: would be late")

	// ErrClosed: Close or Drain was called. A task whose Done gets it is
	// handed back: its Run was not called, and won't be.
	ErrClosed = errors.New("bulkhead: closed")
)

// Reason says why a [Rejection] was made.
type Reason uint8

// The reasons of a rejection, one for each of the errors of their name.
const (
	Full          Reason = iota + 1 // ErrFull
	WaitedTooLong                   // ErrWaited
	BreakerOpen                     // ErrOpen
	RateLimited                     // ErrRate
	WouldBeLate                     // ErrLate
	ShutDown                        // ErrClosed

	reasons = iota + 1 // how many entries a table by Reason needs
)

// String returns the reason in words: "full", "waited too long", "breaker
// open", "rate limited", "would be late", "closed".
func (r Reason) String() string {
	switch r {
	case Full:
		return "full"
	case WaitedTooLong:
		return "waited too long"
	case BreakerOpen:
		return "breaker open"
	case RateLimited:
		return "rate limited"
	case WouldBeLate:
		return "would be late"
	case ShutDown:
		return "closed"
	}
	return "unknown"
}

// sentinel is the error that a rejection for r is to errors.Is.
func (r Reason) sentinel() error {
	switch r {
	case Full:
		return ErrFull
	case WaitedTooLong:
		return ErrWaited
	case BreakerOpen:
		return ErrOpen
	case RateLimited:
		return ErrRate
	case WouldBeLate:
		return ErrLate
	case ShutDown:
		return ErrClosed
	}
	return nil
}

// Rejection is the error of a call, a task or a wait that was refused: nothing
// of it has run. There is one value for each bulkhead and reason, so that
// refusing allocates nothing; its methods answer for the moment they are
// called.
type Rejection struct {
	Bulkhead string // Config.Name
	Reason   Reason

	b *Bulkhead
}

// Error reads like "bulkhead payment: breaker open".
func (r *Rejection) Error() string { return title(r.Bulkhead) + ": " + r.Reason.String() }

// Is reports whether target is the sentinel of the reason, such as [ErrFull].
func (r *Rejection) Is(target error) bool { return target == r.Reason.sentinel() }

// RetryAfter is the time until it makes sense to try again: the rest of the
// breaker's wait, the time until the rate has a token, or for one who would be
// late, what the queue is expected to take. Zero means that the bulkhead can't
// tell, as when it is full, or that there is nothing to wait for any more.
func (r *Rejection) RetryAfter() time.Duration {
	switch {
	case r.b == nil:
	case r.Reason == BreakerOpen:
		if until, probes := r.b.breaker.readyAt(); probes > 0 && until > 0 {
			return max(0, time.Duration(until-r.b.now()))
		}
	case r.Reason == RateLimited:
		return r.b.meter.delay()
	case r.Reason == WouldBeLate && len(r.b.free) == 0:
		return time.Duration(r.b.forecast.wait(len(r.b.room), r.b.size()))
	}
	return 0
}

// Occupancy is the bulkhead's [Bulkhead.Stats].
func (r *Rejection) Occupancy() Stats {
	if r.b == nil {
		return Stats{}
	}
	return r.b.Stats()
}

// title begins the message of an error.
func title(name string) string {
	if name == "" {
		return "bulkhead"
	}
	return "bulkhead " + name
}
