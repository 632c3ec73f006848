// Package order is what is said: an order as the shop places it, what a
// service may answer, and the errors by which a handler steers what happens
// next. It knows nothing of brokers, queues or HTTP.
//
//	bytes ──Parse──▶ Order ──Handler──▶ Outcome            settled
//	                              └───▶ error              tried again later
//	                              └───▶ RetryAfter(d, err) tried again, not before d
//	                              └───▶ Reject(err)        final: a dead letter
package order

import (
	"time"

	"github.com/google/uuid"
)

// Schema is the name and version of the JSON form that Parse reads and
// Encode writes. A message that carries another one is not guessed at.
const Schema = "order/1"

// MaxBytes is the largest JSON form of an order that Parse accepts: 64 KiB.
const MaxBytes = 64 << 10

// Service names one of the subscriber groups that handle every order. It is
// part of subjects and metrics, so it is lower-case letters, digits and '-'.
type Service string

// The services of the shop.
const (
	Payment      Service = "payment"
	Inventory    Service = "inventory"
	Notification Service = "notification"
)

// Services lists the shop's services in the order in which they are reported.
func Services() []Service { return []Service{Payment, Inventory, Notification} }

// Order is one order as it was placed. It is immutable once placed: every
// service works on the same bytes.
type Order struct {
	// ID is a UUIDv7 chosen by whoever places the order. It is the key of
	// everything that must happen once: placing the same ID again is the
	// same order.
	ID string `json:"id"`

	// Customer is the shop's own name for the buyer; 1 to 128 bytes.
	Customer string `json:"customer"`

	// Currency is the ISO 4217 code of every amount in the order, "EUR".
	Currency string `json:"currency"`

	// Lines are what was bought; 1 to 100.
	Lines []Line `json:"lines"`

	// Email is where the confirmation goes. Empty means the customer wants
	// none.
	Email string `json:"email,omitempty"`

	// Note is free text to the shop, at most 1,000 bytes.
	Note string `json:"note,omitempty"`

	// Deadline is when the order is of no use any more: an attempt that
	// would begin later is not made. Zero means never.
	Deadline time.Time `json:"deadline,omitzero"`
}

// Line is a quantity of one article.
type Line struct {
	// SKU is the article's number in the catalogue; 1 to 64 bytes.
	SKU string `json:"sku"`

	// Quantity is how many; 1 to 10,000.
	Quantity int64 `json:"quantity"`

	// UnitPrice is the price of one, in minor units of the order's currency
	// (cents for EUR); not negative.
	UnitPrice int64 `json:"unit_price"`
}

// NewID returns a fresh order ID: a UUIDv7, so that IDs sort by time.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }
