package bulkhead

// State is what the breaker does with those who come.
type State uint8

// States of a breaker. A bulkhead without one is always Closed.
const (
	Auto     State = iota // for Force: the breaker decides
	Closed                // admits
	Open                  // refuses
	HalfOpen              // admits probes
)

// String returns "auto", "closed", "open" or "half-open".
func (s State) String() string {
	switch s {
	case Auto:
		return "auto"
	case Closed:
		return "closed"
	case Open:
		return "open"
	case HalfOpen:
		return "half-open"
	}
	return "unknown"
}
