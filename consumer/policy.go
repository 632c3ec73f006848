package consumer

import (
	"errors"
	"time"

	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

// Policy decides what becomes of an attempt. It is data and a pure function: no
// clock, no broker.
type Policy struct {
	// Retry is how long the n-th retry waits, in growing order: the n-th failed
	// attempt waits in tier n. There are as many attempts as delays, and one.
	// Defaults to none: the first failure is final.
	Retry []time.Duration
}

// DefaultRetry is the ladder of a shop: a hiccup, a restart, an incident, an
// outage.
func DefaultRetry() []time.Duration {
	return []time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute}
}

// Attempt is what Judge has to know of one.
type Attempt struct {
	// N counts from 1.
	N int

	// Left is the time until the order's deadline, zero or negative when it
	// has passed. It counts only when Bounded.
	Left    time.Duration
	Bounded bool
}

// Fate is what becomes of a delivery.
type Fate uint8

// The fates.
const (
	Done  Fate = iota // settled: the outcome is stored
	Retry             // later, by the system
	Dead              // given up: a dead letter is stored
	fates
)

// String returns the fate as it stands in logs and metrics.
func (f Fate) String() string {
	switch f {
	case Done:
		return "done"
	case Retry:
		return "retry"
	case Dead:
		return "dead"
	default:
		return "unknown"
	}
}

// Verdict is Judge's answer.
type Verdict struct {
	Fate Fate

	// Reason is why, when Fate is Dead.
	Reason deadletter.Reason

	// Tier and Delay are where and how long the order waits, and Next which
	// attempt comes then, when Fate is Retry. Tiers count from 1.
	Tier  int
	Delay time.Duration
	Next  int
}

// errExpired is the error of an order whose deadline passed before its attempt.
var errExpired = errors.New("the order's deadline has passed")

// Judge decides what becomes of an attempt that ended with err. In this order:
//
//   - no error: Done;
//   - an order that can't be read, or has an unknown schema: Dead;
//   - order.Reject: Dead, rejected;
//   - a process that ended under it again and again: Dead, poison;
//   - a passed deadline, or one that would pass before the retry: Dead, expired;
//   - order.RetryAfter(d): Retry in the first tier of at least d; when none is
//     that long, in the last, and the attempt isn't counted;
//   - anything else: Retry in tier N, or Dead, exhausted, after the last.
func (p Policy) Judge(a Attempt, err error) Verdict {
	switch {
	case err == nil:
		return Verdict{Fate: Done}
	case errors.Is(err, order.ErrSchema):
		return Verdict{Fate: Dead, Reason: deadletter.Schema}
	case errors.Is(err, order.ErrInvalid), errors.Is(err, order.ErrTooLarge):
		return Verdict{Fate: Dead, Reason: deadletter.Invalid}
	case order.IsRejected(err):
		return Verdict{Fate: Dead, Reason: deadletter.Rejected}
	case errors.Is(err, errExpired):
		return Verdict{Fate: Dead, Reason: deadletter.Expired}
	case errors.Is(err, errPoison):
		return Verdict{Fate: Dead, Reason: deadletter.Poison}
	}
	v := p.later(a.N, err)
	if v.Fate == Retry && a.Bounded && v.Delay >= a.Left {
		return Verdict{Fate: Dead, Reason: deadletter.Expired}
	}
	return v
}

// later picks the tier of the next attempt.
func (p Policy) later(n int, err error) Verdict {
	last := len(p.Retry)
	if last == 0 {
		return Verdict{Fate: Dead, Reason: deadletter.Exhausted}
	}
	tier, next := n, n+1
	if after, asked := order.AfterOf(err); asked {
		for tier = 1; tier <= last && p.Retry[tier-1] < after; tier++ {
		}
		if tier > last {
			return Verdict{Fate: Retry, Tier: last, Delay: p.Retry[last-1], Next: n}
		}
	}
	if n > last {
		return Verdict{Fate: Dead, Reason: deadletter.Exhausted}
	}
	return Verdict{Fate: Retry, Tier: tier, Delay: p.Retry[tier-1], Next: next}
}
