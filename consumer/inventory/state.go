package inventory

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// state is what the entries up to one of them say. It has no clock and no
// broker: what it decides follows from the log and what is asked.
type state struct {
	subject  string
	seq      uint64 // of the last entry; 0 before the first
	articles map[string]*article
	skus     []string // of the articles, in the order in which they came
	orders   map[uuid.UUID]verdict
	seed     maphash.Seed
}

type article struct {
	available, reserved int64
	number              uint32 // from 1
}

// verdict is one order's decision. There is one for every order ever decided,
// so it is small and has no pointers for the garbage collector to follow.
type verdict struct {
	seq   uint64 // of the entry
	lines uint32 // digest of what was asked for
	short uint32 // 0: reserved; else the number of the article that was short, from 1
	index uint16 // in the entry
}

// Level is how much there is of one article.
type Level struct {
	SKU       string
	Available int64 // what can still be reserved
	Reserved  int64
}

func newState(subject string) *state {
	return &state{
		subject:  subject,
		articles: make(map[string]*article),
		orders:   make(map[uuid.UUID]verdict),
		seed:     maphash.MakeSeed(),
	}
}

// digest tells lines from others. It differs from process to process.
func (s *state) digest(lines []Item) uint32 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, it := range lines {
		maphash.WriteComparable(&h, it)
	}
	return uint32(h.Sum64())
}

// decision returns what was decided about an order, if it was. The error is
// ErrOtherLines.
func (s *state) decision(r Reservation) (d Decision, decided bool, err error) {
	v, decided := s.orders[r.OrderID]
	if !decided {
		return Decision{}, false, nil
	}
	if v.lines != s.digest(r.Items) {
		return Decision{}, true, ErrOtherLines
	}
	d.Ref = s.subject + "/" + strconv.FormatUint(v.seq, 10) + "/" + strconv.Itoa(int(v.index))
	if v.short > 0 {
		d.Short = s.skus[v.short-1]
	}
	return d, true, nil
}

// unknown returns the SKUs of which there is no such article.
func (s *state) unknown(items []Item) []string {
	var skus []string
	for _, it := range items {
		if s.articles[it.SKU] == nil {
			skus = append(skus, it.SKU)
		}
	}
	return skus
}

// levels lists the articles by SKU.
func (s *state) levels() []Level {
	levels := make([]Level, 0, len(s.articles))
	for sku, a := range s.articles {
		levels = append(levels, Level{sku, a.available, a.reserved})
	}
	slices.SortFunc(levels, func(a, b Level) int { return strings.Compare(a.SKU, b.SKU) })
	return levels
}

// Bounds of an entry. The second is where no more is taken in; what was taken in
// last may go beyond by one order, 10 KB at most. Together they are below the
// smallest payload with which a broker is accepted.
const (
	entryOrders = 256
	entryBytes  = 64 << 10
)

// draft is an entry in the making, to stand after the state it was begun on,
// which it doesn't change.
type draft struct {
	entry
	state *state
	left  map[string]int64 // of the articles that the entry touches
	has   map[uuid.UUID]struct{}
	bytes int // about
}

func (s *state) draft() *draft {
	return &draft{
		entry: entry{Schema: schema, After: s.seq},
		state: s,
		left:  make(map[string]int64),
		has:   make(map[uuid.UUID]struct{}),
	}
}

func (d *draft) full() bool  { return len(d.Orders) >= entryOrders || d.bytes >= entryBytes }
func (d *draft) empty() bool { return len(d.Orders) == 0 && len(d.Articles) == 0 }

// of returns how much is left of an article, and whether there is such a one.
func (d *draft) of(sku string) (left int64, known bool) {
	if left, known = d.left[sku]; known {
		return left, true
	}
	if a := d.state.articles[sku]; a != nil {
		return a.available, true
	}
	return 0, false
}

// add takes in what is new of the articles, as far as there is room.
func (d *draft) add(articles []Item) {
	for _, it := range articles {
		if d.full() {
			return
		}
		if _, known := d.of(it.SKU); known {
			continue
		}
		d.left[it.SKU] = it.Quantity
		d.Articles = append(d.Articles, it)
		d.bytes += size(it)
	}
}

// reserve decides about an order, unless that was done or it has an unknown SKU.
func (d *draft) reserve(r Reservation) {
	if _, has := d.has[r.OrderID]; has {
		return
	}
	if _, done := d.state.orders[r.OrderID]; done {
		return
	}
	o := decided{ID: r.OrderID, Lines: r.Items}
	bytes := 64
	for _, it := range r.Items {
		left, known := d.of(it.SKU)
		if !known {
			return
		}
		if left < it.Quantity && o.Short == "" {
			o.Short = it.SKU
		}
		bytes += size(it)
	}
	if o.Short == "" {
		for _, it := range r.Items {
			left, _ := d.of(it.SKU)
			d.left[it.SKU] = left - it.Quantity
		}
	}
	d.has[r.OrderID] = struct{}{}
	d.Orders = append(d.Orders, o)
	d.bytes += bytes + len(o.Short)
}

// size is about what an item takes in an entry.
func size(it Item) int { return len(it.SKU) + 8 }

// apply takes in an entry, our own like any other's. An error means that the
// entry breaks a rule; the state is of no use then.
func (s *state) apply(seq uint64, e entry) error {
	switch {
	case e.After != s.seq:
		return fmt.Errorf("decided after entry %d, but stored after %d", e.After, s.seq)
	case seq <= s.seq:
		return fmt.Errorf("stored at %d, after %d", seq, s.seq)
	case len(e.Orders) > math.MaxUint16:
		return fmt.Errorf("%d orders are more than an entry can have", len(e.Orders))
	}
	for _, it := range e.Articles {
		if s.articles[it.SKU] != nil {
			return fmt.Errorf("article %s is added a second time", it.SKU)
		}
		if it.Quantity < 0 {
			return fmt.Errorf("article %s begins with %d", it.SKU, it.Quantity)
		}
		s.skus = append(s.skus, it.SKU)
		s.articles[it.SKU] = &article{available: it.Quantity, number: uint32(len(s.skus))}
	}
	for i, o := range e.Orders {
		if _, done := s.orders[o.ID]; done {
			return fmt.Errorf("order %s is decided a second time", o.ID)
		}
		v := verdict{seq: seq, index: uint16(i), lines: s.digest(o.Lines)}
		var err error
		if o.Short == "" {
			err = s.take(o.Lines)
		} else if short := s.articles[o.Short]; short != nil {
			v.short = short.number
		} else {
			err = fmt.Errorf("no article %s", o.Short)
		}
		if err != nil {
			return fmt.Errorf("order %s: %w", o.ID, err)
		}
		s.orders[o.ID] = v
	}
	s.seq = seq
	return nil
}

func (s *state) take(lines []Item) error {
	if len(lines) == 0 {
		return errors.New("no lines")
	}
	for _, it := range lines {
		a := s.articles[it.SKU]
		switch {
		case a == nil:
			return fmt.Errorf("no article %s", it.SKU)
		case it.Quantity < 1:
			return fmt.Errorf("reserves %d of %s", it.Quantity, it.SKU)
		case a.available < it.Quantity:
			return fmt.Errorf("reserves %d of %s, of which there are %d", it.Quantity, it.SKU, a.available)
		}
		a.available -= it.Quantity
		a.reserved += it.Quantity
	}
	return nil
}
