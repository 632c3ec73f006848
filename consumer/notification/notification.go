// Package notification writes to the customer that an order has arrived.
//
//	order ──Handle──▶ Mail{ID: <order id>.created@shop} ──Mailer──▶ taken   : Outcome sent
//	                                                           ──▶ no such mailbox : Outcome refused
//	                                                           ──▶ never    : order.Reject
//	                                                           ──▶ trouble  : an error; sent again
//	order without e-mail ────────────────────────────────────────▶ Outcome sent, "no address"
//
// A mail goes out at least once. The connection may break after the server has
// taken the mail and before it said so; then it is sent again, with the same
// Message-ID, by which the receiving side can tell.
package notification

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"strings"

	"github.com/watertight-go/watertight/order"
)

// Event is the order event that the mail is about, as part of its Message-ID.
const Event = "created"

// NoAddress is the outcome's reason when the customer gave no e-mail address:
// there is nothing to send, and that settles the order.
const NoAddress = "no address"

// Mailer hands a mail to a mail server. It is called by many handlers at once,
// and more than once for the same mail.
type Mailer interface {
	// Send returns nil when the server has taken the mail. An error for which
	// errors.As finds a *RefusedError means that the recipient can't be
	// reached, one made by order.Reject is final, and any other leaves open
	// whether the mail was taken.
	Send(ctx context.Context, m Mail) error
}

// Mail is one plain text mail to one recipient.
type Mail struct {
	// ID is the Message-ID without angle brackets.
	ID string

	// From and To are bare addresses: "shop@example.com".
	From, To string

	// Subject is one line.
	Subject string

	// Text is the body; its lines end with "\n".
	Text string
}

// RefusedError says that a recipient can't be reached, now or later: there is no
// such mailbox. It is an answer about the customer's address, not a failure.
type RefusedError struct {
	// Reason is why, in our words and without the address.
	Reason string
}

func (e *RefusedError) Error() string { return "recipient refused: " + e.Reason }

// ErrFrom is returned when Service.From is no address: our misconfiguration, so
// the orders wait for it to be mended.
var ErrFrom = errors.New("the sender is no e-mail address")

// Service is the handler of the notification group.
type Service struct {
	// Mailer sends. Required.
	Mailer Mailer

	// From is the sender's bare address. Its domain is part of every
	// Message-ID, so changing it means that a mail which is sent again can't
	// be told from a new one. Required.
	From string
}

// Handle sends the confirmation to the order's address. It answers with
// order.Sent and the Message-ID as reference; with order.Sent and the reason
// NoAddress when the customer wants no mail, and then nothing was sent; with
// order.Refused when the address is none or its mailbox doesn't exist.
func (s *Service) Handle(ctx context.Context, o order.Order) (order.Outcome, error) {
	if o.Email == "" {
		return order.Outcome{Result: order.Sent, Reason: NoAddress}, nil
	}
	m, err := s.compose(o)
	if err == nil {
		err = s.Mailer.Send(ctx, m)
	}
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		return order.Outcome{Result: order.Refused, Reason: refused.Reason}, nil
	case err != nil:
		return order.Outcome{}, fmt.Errorf("send mail of order %s: %w", o.ID, err)
	}
	return order.Outcome{Result: order.Sent, Ref: m.ID}, nil
}

// Fallback answers while the mail server doesn't: the mail is pending. The order
// is tried again.
func (s *Service) Fallback(context.Context, order.Order, error) (order.Outcome, error) {
	return order.Outcome{Result: order.Pending, Reason: "the mail server has not taken the confirmation yet"}, nil
}

// MessageID returns the Message-ID, without angle brackets, of the mail about
// an order: the same whenever it is sent again. Domain is that of the sender.
func MessageID(orderID, domain string) string { return orderID + "." + Event + "@" + domain }

func (s *Service) compose(o order.Order) (Mail, error) {
	domain, err := bare(s.From)
	if err != nil {
		return Mail{}, fmt.Errorf("%w: %q", ErrFrom, s.From)
	}
	if _, err := bare(o.Email); err != nil {
		return Mail{}, &RefusedError{Reason: "not an e-mail address"}
	}
	if !plain(o.ID) {
		return Mail{}, order.Reject(fmt.Errorf("order id %q can't be part of a Message-ID", o.ID))
	}
	text, err := confirmation(o)
	if err != nil {
		return Mail{}, order.Reject(err)
	}
	return Mail{
		ID:      MessageID(o.ID, domain),
		From:    s.From,
		To:      o.Email,
		Subject: "We have your order " + o.ID,
		Text:    text,
	}, nil
}

// bare returns the domain of an address that is nothing but an address, without
// a name, brackets, comments or quotes, in which a second one could hide.
func bare(address string) (domain string, err error) {
	a, err := mail.ParseAddress(address)
	if err != nil {
		return "", fmt.Errorf("parse address: %w", err)
	}
	at := strings.LastIndexByte(address, '@')
	if a.Name != "" || a.Address != address || at > 64 || len(address) > 254 {
		return "", fmt.Errorf("%q is more than an address", address)
	}
	return address[at+1:], nil
}

// plain reports whether s is made only of what stands in a UUID and a few
// signs that mean nothing in a header.
func plain(s string) bool {
	const signs = "-_"
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(signs, r) {
			return false
		}
	}
	return s != ""
}
