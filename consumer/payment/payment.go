// Package payment asks a payment gateway whether an order can be paid. It only
// authorizes: nothing is captured before the other services have agreed.
//
//	order ──Handle──▶ POST /v1/authorizations      ──▶ authorized : Outcome authorized
//	                  Idempotency-Key:              ──▶ declined   : Outcome refused, an answer and no failure
//	                  <order id>/authorize          ──▶ 429, 503   : order.RetryAfter
//	                                                ──▶ never      : order.Reject
//	                                                ──▶ silence    : an error; asked again with the same key
//
// An answer that didn't come is not guessed at. Every attempt, restart and
// replay of an order asks with the same key, so the gateway says again what it
// once decided instead of charging twice.
//
// # Wire format
//
// The request, amounts in minor units (cents for EUR):
//
//	POST <base>/v1/authorizations
//	Content-Type: application/json
//	Idempotency-Key: 019b2f6e-…/authorize
//
//	{"order_id":"019b2f6e-…","amount":129900,"currency":"EUR"}
//
// A decision is 200 or 201, whichever way it goes:
//
//	{"id":"auth_7f3c","status":"authorized"}
//	{"id":"auth_7f3d","status":"declined","reason":"insufficient funds"}
//
// 402 is not a decision: it is how gateways say that the shop's own account is
// unpaid. Anything else is no decision either, and steers what happens next:
//
//	429, 503 with Retry-After    tried again, not before that (seconds or an HTTP date)
//	400, 422                     rejected: this request can never be right
//	409                          rejected: the key was used for another request;
//	                             with {"code":"in_progress"} tried again
//	every other status           tried again: 5xx is the gateway's trouble, and
//	                             401, 402, 403, 404 and redirects are ours
//
// The body of an error may be {"code":"…","message":"…"}; both end up in the
// error's text.
package payment

import (
	"context"
	"errors"
	"fmt"

	"github.com/watertight-go/watertight/order"
)

// Gateway decides whether an amount can be charged. It is called by many
// handlers at once, and more than once for the same order.
type Gateway interface {
	// Authorize returns the gateway's decision, which for one Request.Key is
	// always the same. A declined card is a decision, not an error. An error
	// made by order.Reject is final, one made by order.RetryAfter asks for a
	// later time, any other leaves open what happened on the other side.
	Authorize(ctx context.Context, r Request) (Authorization, error)
}

// Request asks for one authorization.
type Request struct {
	// Key is the idempotency key, the same for every attempt.
	Key string

	// OrderID is the order to pay for, as the gateway shows it to people.
	OrderID string

	// Amount is the order's total.
	Amount order.Money
}

// Authorization is a gateway's decision.
type Authorization struct {
	// ID is the gateway's reference. Set when authorized.
	ID string

	// Status is what was decided.
	Status Status

	// Reason says why an authorization was declined, in the gateway's words.
	Reason string
}

// Status is a gateway's decision in one word.
type Status string

// The decisions.
const (
	StatusAuthorized Status = "authorized"
	StatusDeclined   Status = "declined"
)

// ErrUndecided is returned when the gateway answered without deciding.
var ErrUndecided = errors.New("gateway did not decide")

// Service is the handler of the payment group.
type Service struct {
	// Gateway decides. Required.
	Gateway Gateway
}

// Key returns the idempotency key of an order's authorization. It is the same
// for ever: what a gateway has stored under it can't be renamed.
func Key(orderID string) string { return orderID + "/authorize" }

// Handle authorizes the order's total. A declined card is the outcome
// order.Refused with the gateway's reason. An order whose total is zero is
// authorized without asking, since gateways refuse to authorize nothing.
func (s *Service) Handle(ctx context.Context, o order.Order) (order.Outcome, error) {
	total, err := o.Total()
	if err != nil {
		return order.Outcome{}, order.Reject(fmt.Errorf("authorize order %s: %w", o.ID, err))
	}
	if total.Amount == 0 {
		return order.Outcome{Result: order.Authorized, Reason: "nothing to pay"}, nil
	}
	a, err := s.Gateway.Authorize(ctx, Request{Key: Key(o.ID), OrderID: o.ID, Amount: total})
	if err != nil {
		return order.Outcome{}, fmt.Errorf("authorize order %s: %w", o.ID, err)
	}
	switch a.Status {
	case StatusAuthorized:
		return order.Outcome{Result: order.Authorized, Ref: a.ID}, nil
	case StatusDeclined:
		reason := a.Reason
		if reason == "" {
			reason = "declined"
		}
		return order.Outcome{Result: order.Refused, Ref: a.ID, Reason: reason}, nil
	default:
		return order.Outcome{}, fmt.Errorf("authorize order %s: %w: status %q", o.ID, ErrUndecided, a.Status)
	}
}

// Fallback answers a customer while the gateway doesn't: the payment is
// pending. It guesses nothing; the order is tried again.
func (s *Service) Fallback(context.Context, order.Order, error) (order.Outcome, error) {
	return order.Outcome{Result: order.Pending, Reason: "the payment provider has not answered yet"}, nil
}
