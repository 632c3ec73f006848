package order

import (
	"fmt"

	"github.com/go-json-experiment/json"
)

// Parse reads one order from its JSON form and validates it.
func Parse(data []byte) (Order, error) {
	var o Order
	if len(data) > MaxBytes {
		return Order{}, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(data), MaxBytes)
	}
	if err := json.Unmarshal(data, &o, json.RejectUnknownMembers(true)); err != nil {
		return Order{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return o, o.Validate()
}

// Encode returns the JSON form that Parse reads.
func (o Order) Encode() ([]byte, error) { return json.Marshal(o) }

// Validate reports every field that breaks a rule.
func (o Order) Validate() error {
	if o.ID == "" {
		return fmt.Errorf("%w: id: required", ErrInvalid)
	}
	return nil
}
