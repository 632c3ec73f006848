package order

// Result is what a service decided about an order. It is part of a subject
// (outcomes.<service>.<result>), so the list is closed.
type Result string

// The results. Refused is an answer, not a failure: a declined card or an
// article out of stock. Pending says that nothing is decided yet.
const (
	Authorized Result = "authorized"
	Captured   Result = "captured"
	Voided     Result = "voided"
	Reserved   Result = "reserved"
	Committed  Result = "committed"
	Released   Result = "released"
	Sent       Result = "sent"
	Refused    Result = "refused"
	Pending    Result = "pending"
)

// Valid reports whether r is on the closed list.
func (r Result) Valid() bool {
	switch r {
	case Authorized, Captured, Voided, Reserved, Committed, Released, Sent, Refused, Pending:
		return true
	default:
		return false
	}
}

// Final reports whether r settles the order for its service: every valid
// result but Pending does.
func (r Result) Final() bool { return r.Valid() && r != Pending }

// Outcome is a service's answer for one order; it is stored before the
// delivery is acknowledged.
type Outcome struct {
	Result Result `json:"result"`

	// Ref is the other side's reference, such as the gateway's authorization
	// number. Optional.
	Ref string `json:"ref,omitempty"`

	// Reason says why a result is Refused or Pending, in the words of the
	// service: "card declined". Optional.
	Reason string `json:"reason,omitempty"`
}
