package order

import (
	"errors"
	"fmt"
	"math"
)

// ErrOverflow is returned when an amount doesn't fit in 64 bits of minor
// units.
var ErrOverflow = errors.New("amount overflows int64 minor units")

// Money is an amount in minor units (cents for EUR) of one currency.
type Money struct {
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

// String returns the amount in minor units with its currency: "129900 EUR".
// How many digits are the minor part depends on the currency and is left to
// whoever shows it to a customer.
func (m Money) String() string { return fmt.Sprintf("%d %s", m.Amount, m.Currency) }

// Total returns the sum of quantity × unit price over all lines. It returns
// ErrOverflow when that doesn't fit, for a product as for the sum.
func (o Order) Total() (Money, error) {
	var sum int64
	for _, l := range o.Lines {
		if l.Quantity < 0 || l.UnitPrice < 0 {
			return Money{}, fmt.Errorf("total of a negative line: %w", ErrInvalid)
		}
		if l.Quantity != 0 && l.UnitPrice > math.MaxInt64/l.Quantity {
			return Money{}, ErrOverflow
		}
		line := l.Quantity * l.UnitPrice
		if sum > math.MaxInt64-line {
			return Money{}, ErrOverflow
		}
		sum += line
	}
	return Money{Amount: sum, Currency: o.Currency}, nil
}
