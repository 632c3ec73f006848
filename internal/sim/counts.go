package sim

import (
	"context"
	"sync"
)

// Counts is what the world was really asked and did, since it began.
type Counts struct {
	Payment PaymentCounts `json:"payment"`
	Mail    MailCounts    `json:"mail"`

	// Deaf is how many handlers are blocked by a Deaf fault now.
	Deaf map[Target]int `json:"deaf"`
}

// PaymentCounts is what the gateway was asked and did.
type PaymentCounts struct {
	Connections int `json:"connections"`

	// Requests counts all, also those that a fault left without effect.
	Requests int `json:"requests"`

	// Charges counts authorizations that were really made. The saved answer
	// to a key that is known is none.
	Charges int `json:"charges"`

	// OrdersCharged counts orders with at least one charge. DoubledByOrder
	// counts charges beyond the first of an order: a client that asked with
	// another key. DoubledByKey counts those beyond the first of a key: it is
	// not 0 only when the gateway itself is broken.
	OrdersCharged  int `json:"orders_charged"`
	DoubledByOrder int `json:"doubled_by_order"`
	DoubledByKey   int `json:"doubled_by_key"`

	// Declines counts keys whose decision is no.
	Declines int `json:"declines"`

	// Conflicts counts requests whose key was used for another request, and
	// Invalid those that are none.
	Conflicts int `json:"conflicts"`
	Invalid   int `json:"invalid"`

	// Held is how many requests a fault holds now.
	Held int `json:"held"`
}

// MailCounts is what the mail server was asked and did.
type MailCounts struct {
	Connections int `json:"connections"`

	// Mails counts those that were taken; Repeated those among them whose
	// Message-ID had been taken before.
	Mails    int `json:"mails"`
	Repeated int `json:"repeated"`

	// Refused counts recipients without a mailbox.
	Refused int `json:"refused"`

	// Held is how many mails a fault holds now.
	Held int `json:"held"`
}

// books are the counts and all they are made of.
type books struct {
	mu      sync.Mutex
	counts  Counts
	byKey   map[string]*charge
	byOrder map[string][]*charge
	mails   map[string]int
	changed chan struct{} // nil unless somebody waits
}

func newBooks() *books {
	return &books{byKey: map[string]*charge{}, byOrder: map[string][]*charge{}, mails: map[string]int{}, counts: Counts{Deaf: map[Target]int{}}}
}

// note changes the counts and wakes those who wait for that.
func (b *books) note(change func(*Counts)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.counts)
	b.wake()
}

func (b *books) wake() {
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

func (b *books) read() Counts {
	c := b.counts
	c.Deaf = map[Target]int{}
	for _, t := range Targets() {
		c.Deaf[t] = b.counts.Deaf[t]
	}
	return c
}

// Counts returns the counts of this moment.
func (w *World) Counts() Counts {
	w.books.mu.Lock()
	defer w.books.mu.Unlock()
	return w.books.read()
}

// Await waits until ok says so of the counts. It returns ctx's error when that
// ends first.
func (w *World) Await(ctx context.Context, ok func(Counts) bool) error {
	b := w.books
	for {
		b.mu.Lock()
		c := b.read()
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		changed := b.changed
		b.mu.Unlock()
		if ok(c) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
