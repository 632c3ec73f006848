// Package inventory reserves what an order needs from the stock.
//
//	order ──Handle──▶ Reservation{order id, sku × quantity …} ──Ledger──▶ all there    : Outcome reserved
//	                                                                 ──▶ one is short : Outcome refused, an answer and no failure
//	                                                                 ──▶ unknown SKU  : order.Reject
//	                                                                 ──▶ silence      : an error; asked again with the same id
//
// An order gets all of its articles or none. It is decided once: every attempt,
// restart and replay of it gets the decision that was made first, a refusal too,
// even when there is stock again. The others have acted on the refusal by then
// (the customer was told, the payment is undone), so a second answer would hold
// stock for an order that nobody expects any more. Who still wants the articles
// places another order. An unknown SKU is no decision: it is not saved, and when
// the article has been added a replay of the order is decided like a new one.
//
// # The stock log
//
// StockLog is the Ledger on the broker, for any number of processes at once: a
// log of decisions (stream STOCK, subject stock.0) that all of them read and to
// which one of them at a time adds.
//
//	Reserve ─┐
//	Reserve ─┼─▶ what waits ─▶ decide in memory ─▶ one entry, fenced ─┬─ stored     ─▶ answer all
//	Reserve ─┘                 ▲                                      ├─ conflict   ─▶ ┐ read what is there,
//	                           └──────────────────────────────────────┴─ no answer  ◀──┘ decide again
//
// The fence makes the broker store an entry only right behind the last one that
// its writer knew (broker.Conn.StoreAfter). So each decision was made on all
// that were made before it, and no stock is ever below zero, at any entry. A
// caller is answered when the log has the decision and never earlier; whether it
// has is read from the log, not guessed.
//
// An entry is JSON and says after which one it was decided, which articles are
// new, and what was decided about which order:
//
//	{"schema":"stock/1","after":41,
//	 "articles":{"BIKE":100},
//	 "orders":[{"id":"019b2f6e-…","lines":{"BELL":1,"BIKE":2}},
//	           {"id":"019b2f6f-…","lines":{"BIKE":99},"short":"BIKE"}]}
//
// A decision's reference is where it stands: stock.0/42/1 is the second order of
// the entry with sequence 42. An entry that breaks a rule (of a newer schema,
// decided after another one, an order twice, stock below zero) is not skipped:
// StockLog.Run ends with ErrLog, since whatever came next could sell what isn't
// there.
//
// # What it costs
//
// One store at a time, so decisions share it: 30,000 a second when each has an
// entry of its own, 125,000 with 16 callers, 250,000 with 256; three instances
// that contend make 60,000 and 140,000. An instance near the broker gives way
// now and then, or one that is far away would never get in.
//
// A StockLog keeps the id and 24 bytes of every order ever decided, 64 bytes with
// the map around them (64 MB a million), and reads the whole log when it starts:
// 550,000 orders a second from shared entries, 65,000 from an entry each. There
// are no snapshots yet. The log takes 90 to 230 bytes an order of two lines and
// is never trimmed; a full STOCK stream refuses further decisions with
// broker.ErrFull, and still answers for the orders that it has.
//
// These were measured in one process with its broker, on two cores that had
// other work, with a file store and one replica.
package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/google/uuid"

	"github.com/watertight-go/watertight/order"
)

// Ledger decides which orders get their articles. It is called by many handlers
// at once, and more than once for the same order.
type Ledger interface {
	// Reserve decides about an order and saves the decision, or returns the
	// one that was saved before. An error made by order.Reject is final, as
	// for an unknown SKU; any other leaves open whether the order was decided.
	Reserve(ctx context.Context, r Reservation) (Decision, error)
}

// Reservation is what an order wants.
type Reservation struct {
	// OrderID is the key: one order has one decision.
	OrderID uuid.UUID

	// Items has each SKU once, by SKU; quantities are positive.
	Items []Item
}

// Item is a quantity of one article.
type Item struct {
	SKU      string
	Quantity int64
}

// Decision is what became of a reservation.
type Decision struct {
	// Ref is where the decision is on record.
	Ref string

	// Short is the SKU of which there was not enough; nothing was reserved
	// then. Empty means reserved.
	Short string
}

// Errors that make an order a dead letter.
var (
	// ErrUnknownSKU: the ledger has no such article.
	ErrUnknownSKU = errors.New("unknown SKU")

	// ErrOtherLines: the order was decided before, with other lines.
	ErrOtherLines = errors.New("order id was used for other lines")
)

// Service is the handler of the inventory group.
type Service struct {
	// Ledger decides. Required.
	Ledger Ledger
}

// Handle reserves all of the order's lines; those of the same SKU add up. It
// answers with order.Reserved, or with order.Refused and a reason that names the
// SKU of which there is not enough; both have the ledger's reference.
func (s *Service) Handle(ctx context.Context, o order.Order) (order.Outcome, error) {
	r, err := reservation(o)
	if err != nil {
		return order.Outcome{}, order.Reject(fmt.Errorf("reserve for order %s: %w", o.ID, err))
	}
	d, err := s.Ledger.Reserve(ctx, r)
	switch {
	case err != nil:
		return order.Outcome{}, fmt.Errorf("reserve for order %s: %w", o.ID, err)
	case d.Short != "":
		return order.Outcome{Result: order.Refused, Ref: d.Ref, Reason: "not enough in stock: " + d.Short}, nil
	default:
		return order.Outcome{Result: order.Reserved, Ref: d.Ref}, nil
	}
}

// Fallback answers a customer while the ledger doesn't: the reservation is
// pending. It guesses nothing; the order is tried again.
func (s *Service) Fallback(context.Context, order.Order, error) (order.Outcome, error) {
	return order.Outcome{Result: order.Pending, Reason: "the stock ledger has not answered yet"}, nil
}

// reservation adds up what an order wants.
func reservation(o order.Order) (Reservation, error) {
	id, err := uuid.Parse(o.ID)
	if err != nil || id.String() != o.ID {
		return Reservation{}, fmt.Errorf("%w: the id is not a UUID in canonical form", order.ErrInvalid)
	}
	if len(o.Lines) == 0 {
		return Reservation{}, fmt.Errorf("%w: no lines", order.ErrInvalid)
	}
	items := make([]Item, 0, len(o.Lines))
	for _, l := range o.Lines {
		if l.Quantity < 1 {
			return Reservation{}, fmt.Errorf("%w: %d of %s", order.ErrInvalid, l.Quantity, l.SKU)
		}
		items = append(items, Item{l.SKU, l.Quantity})
	}
	slices.SortFunc(items, bySKU)
	sum := items[:1]
	for _, it := range items[1:] {
		last := &sum[len(sum)-1]
		switch {
		case last.SKU != it.SKU:
			sum = append(sum, it)
		case last.Quantity > math.MaxInt64-it.Quantity:
			return Reservation{}, fmt.Errorf("%w: the quantity of %s overflows 64 bits", order.ErrInvalid, it.SKU)
		default:
			last.Quantity += it.Quantity
		}
	}
	return Reservation{OrderID: id, Items: sum}, nil
}

// check reports what a reservation must not have.
func (r Reservation) check() error {
	if len(r.Items) == 0 {
		return fmt.Errorf("%w: nothing to reserve", order.ErrInvalid)
	}
	for i, it := range r.Items {
		switch {
		case it.Quantity < 1:
			return fmt.Errorf("%w: %d of %s", order.ErrInvalid, it.Quantity, it.SKU)
		case i > 0 && r.Items[i-1].SKU >= it.SKU:
			return fmt.Errorf("%w: %s stands twice or not in its place", order.ErrInvalid, it.SKU)
		}
	}
	return nil
}

func bySKU(a, b Item) int { return cmp.Compare(a.SKU, b.SKU) }
