package order

import (
	"errors"
	"time"
)

// Errors of Parse and Validate; errors.Is finds them in what is returned.
var (
	// ErrInvalid: the bytes are not an order, or the order breaks a rule.
	ErrInvalid = errors.New("invalid order")

	// ErrSchema: the message says it has a schema that this program doesn't
	// know.
	ErrSchema = errors.New("unknown schema")

	// ErrTooLarge: more than MaxBytes.
	ErrTooLarge = errors.New("order too large")
)

// Reject marks err as final: this order can never be processed by the
// service, whatever is tried, such as an unknown SKU. The order becomes a
// dead letter at once. Reject(nil) is nil.
func Reject(err error) error {
	if err == nil {
		return nil
	}
	return &rejection{err}
}

// IsRejected reports whether err, or what it wraps, was made by Reject.
func IsRejected(err error) bool {
	var r *rejection
	return errors.As(err, &r)
}

type rejection struct{ err error }

func (r *rejection) Error() string { return r.err.Error() }
func (r *rejection) Unwrap() error { return r.err }

// RetryAfter asks for the next attempt not before d has passed, as a server
// that answered 429 with Retry-After does. The consumer picks its first retry
// tier that is at least d long. RetryAfter(d, nil) is nil.
func RetryAfter(d time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &retryAfter{d: d, err: err}
}

// AfterOf returns the delay that RetryAfter put on err, and whether there is
// one.
func AfterOf(err error) (time.Duration, bool) {
	if r, ok := errors.AsType[*retryAfter](err); ok {
		return r.d, true
	}
	return 0, false
}

type retryAfter struct {
	d   time.Duration
	err error
}

func (r *retryAfter) Error() string { return r.err.Error() }
func (r *retryAfter) Unwrap() error { return r.err }
