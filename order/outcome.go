package order

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

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
	// number: at most MaxRef bytes of UTF-8. Optional.
	Ref string `json:"ref,omitempty"`

	// Reason says why a result is Refused or Pending, in the words of the
	// service: "card declined". At most MaxReason bytes of UTF-8. Optional.
	Reason string `json:"reason,omitempty"`
}

// Limits of an outcome, in bytes.
const (
	MaxRef    = 256
	MaxReason = 1024
)

// Validate returns nil, or what is wrong with an outcome: a result that isn't on the
// list, a text that is too long or isn't UTF-8.
func (o Outcome) Validate() error {
	switch {
	case !o.Result.Valid():
		return fmt.Errorf("%q is no result", clip(string(o.Result), 40))
	case len(o.Ref) > MaxRef:
		return fmt.Errorf("the reference has %d bytes, at most %d", len(o.Ref), MaxRef)
	case len(o.Reason) > MaxReason:
		return fmt.Errorf("the reason has %d bytes, at most %d", len(o.Reason), MaxReason)
	case !utf8.ValidString(o.Ref):
		return errors.New("the reference is not UTF-8")
	case !utf8.ValidString(o.Reason):
		return errors.New("the reason is not UTF-8")
	default:
		return nil
	}
}
