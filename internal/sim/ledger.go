package sim

import (
	"errors"
	"fmt"
)

// Charge is one decision of the gateway, as GET /charges/{order id} shows it.
type Charge struct {
	Key      string `json:"key"`
	ID       string `json:"id"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
	Declined bool   `json:"declined,omitempty"`
}

// charge is a Charge as it is remembered, an hour's worth of them at a time.
type charge struct {
	key, order, currency string
	amount               int64
	made                 int // 0 when declined
}

func (c *charge) shown() Charge {
	return Charge{Key: c.key, ID: c.id(), Amount: c.amount, Currency: c.currency, Declined: c.made == 0}
}

// id is the gateway's reference, the same for one key in every run.
func (c *charge) id() string {
	return fmt.Sprintf("auth_%013x", uint64(roll(0, "auth", c.key, 0)*(1<<52)))
}

var errKeyReused = errors.New("the idempotency key was used for another request")

// authorize decides what is asked, once: for a key that is known it returns what
// was decided then. It returns errKeyReused when the rest isn't the same.
func (b *books) authorize(asked charge, declined bool) (Charge, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.wake()
	p := &b.counts.Payment
	if known, ok := b.byKey[asked.key]; ok {
		if known.order != asked.order || known.amount != asked.amount || known.currency != asked.currency {
			p.Conflicts++
			return Charge{}, errKeyReused
		}
		return known.shown(), nil
	}
	c := &asked
	b.byKey[c.key] = c
	b.byOrder[c.order] = append(b.byOrder[c.order], c)
	if declined {
		p.Declines++
		return c.shown(), nil
	}
	if b.charged(c.order) == 0 {
		p.OrdersCharged++
	} else {
		p.DoubledByOrder++
	}
	if c.made++; c.made > 1 {
		p.DoubledByKey++
	}
	p.Charges++
	return c.shown(), nil
}

func (b *books) charged(order string) int {
	n := 0
	for _, c := range b.byOrder[order] {
		n += c.made
	}
	return n
}

// Charges returns the gateway's decisions about an order; more than one that
// isn't declined means that the customer paid twice.
func (w *World) Charges(orderID string) []Charge {
	w.books.mu.Lock()
	defer w.books.mu.Unlock()
	known := w.books.byOrder[orderID]
	shown := make([]Charge, len(known))
	for i, c := range known {
		shown[i] = c.shown()
	}
	return shown
}

// Mails returns how often a mail with this Message-ID, without angle brackets,
// was taken.
func (w *World) Mails(messageID string) int {
	w.books.mu.Lock()
	defer w.books.mu.Unlock()
	return w.books.mails[messageID]
}

func (b *books) take(messageID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.wake()
	b.counts.Mail.Mails++
	if b.mails[messageID]++; b.mails[messageID] > 1 {
		b.counts.Mail.Repeated++
	}
}
