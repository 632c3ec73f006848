package sim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Target is what a fault strikes.
type Target string

// The targets. Inventory has no outside world: it can only be deaf.
const (
	Payment   Target = "payment"
	Mail      Target = "mail"
	Inventory Target = "inventory"
)

// Targets lists all targets.
func Targets() []Target { return []Target{Payment, Mail, Inventory} }

// Kind is one sort of trouble; the package's documentation describes them.
type Kind string

// The kinds.
const (
	Hang     Kind = "hang"
	Errors   Kind = "errors"
	Throttle Kind = "throttle"
	Late     Kind = "late"
	Cut      Kind = "cut"
	Drip     Kind = "drip"
	Latency  Kind = "latency"
	Declines Kind = "declines"
	Deaf     Kind = "deaf"
)

// Kinds lists all kinds.
func Kinds() []Kind {
	return []Kind{Hang, Errors, Throttle, Late, Cut, Drip, Latency, Declines, Deaf}
}

// ErrFault is returned for a fault line that makes no sense.
var ErrFault = errors.New("invalid fault")

// Fault is one part of a fault line.
type Fault struct {
	Kind Kind

	// For is how long. Zero means the kind's default, which for Hang and Deaf
	// is until the fault is switched off.
	For time.Duration

	// Share is the part of the requests that is struck, above 0 up to 1. Zero
	// means all that other parts leave.
	Share float64
}

// String returns the part as ParseFaults reads it.
func (f Fault) String() string {
	s := string(f.Kind)
	if f.For > 0 {
		s += ":" + f.For.String()
	}
	if f.Share > 0 {
		s += ":" + strconv.FormatFloat(f.Share*100, 'g', 10, 64) + "%"
	}
	return s
}

// Faults is a fault line: what is wrong with one target. Empty means nothing.
type Faults []Fault

// String returns the line as ParseFaults reads it; "none" when nothing is wrong.
func (fs Faults) String() string {
	if len(fs) == 0 {
		return "none"
	}
	parts := make([]string, len(fs))
	for i, f := range fs {
		parts[i] = f.String()
	}
	return strings.Join(parts, "+")
}

// timed reports whether the kind has a duration.
func (k Kind) timed() bool {
	switch k {
	case Hang, Throttle, Late, Drip, Latency, Deaf:
		return true
	case Errors, Cut, Declines:
		return false
	}
	return false
}

// exclusive reports whether the kind is a face of the one die.
func (k Kind) exclusive() bool { return k != Latency && k != Declines }

// check reports whether the line makes sense for the target.
func (fs Faults) check(t Target) error {
	sum, rest := 0.0, Kind("")
	for i, f := range fs {
		switch {
		case !slices.Contains(Kinds(), f.Kind):
			return fmt.Errorf("%w: unknown kind %q", ErrFault, f.Kind)
		case t == Inventory && f.Kind != Deaf:
			return fmt.Errorf("%w: inventory has no outside world that could %s; it can only be deaf", ErrFault, f.Kind)
		case slices.ContainsFunc(fs[:i], func(g Fault) bool { return g.Kind == f.Kind }):
			return fmt.Errorf("%w: %s stands twice", ErrFault, f.Kind)
		case f.For < 0, f.For > 0 && !f.Kind.timed():
			return fmt.Errorf("%w: %s takes no duration such as %v", ErrFault, f.Kind, f.For)
		case f.Kind == Latency && f.For == 0:
			return fmt.Errorf("%w: latency needs a duration: latency:200ms", ErrFault)
		case !(f.Share >= 0 && f.Share <= 1): // NaN as well
			return fmt.Errorf("%w: the share of %s must be above 0%% and at most 100%%", ErrFault, f.Kind)
		case !f.Kind.exclusive():
		case f.Share == 0 && rest != "":
			return fmt.Errorf("%w: %s and %s both strike every request; give them shares: %[2]s:50%%+%[3]s:50%%", ErrFault, rest, f.Kind)
		case f.Share == 0:
			rest = f.Kind
		default:
			sum += f.Share
		}
	}
	if sum > 1+1e-9 {
		return fmt.Errorf("%w: shares add up to %g%%", ErrFault, sum*100)
	}
	if rest != "" && sum > 1-1e-9 {
		return fmt.Errorf("%w: the other shares leave nothing for %s", ErrFault, rest)
	}
	return nil
}
