package audit

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// trace is what was seen of one generation of an order.
type trace uint8

const (
	accepted trace = 1 << iota // ORDERS holds it for this service
	done
	doneAgain
	waiting
	running
	dead
	deadAgain
	discarded
)

// life is a generation of an order for which a byte by sequence isn't enough.
type life struct {
	generation int32
	look       int32 // in which the last replay that leads to it was seen; zero: none
	replayed   int64 // when that was, in ns of Unix time
	trace      trace
}

// book is what was seen of a service's orders.
type book struct {
	service     order.Service
	durables    durables
	first, last uint64            // of ORDERS
	fresh       []trace           // generation 0, by sequence
	later       map[uint64][]life // what fresh doesn't hold: replays, and trimmed orders
	reads       map[string]bool   // which subjects of ORDERS are the service's
	look        int32             // the current one

	// oldest is the first order that wasn't trimmed when the current look ended.
	oldest uint64

	// kept is since when outcomes of trimmed orders are there; zero: always.
	kept time.Time
}

// dedupe is how long the broker remembers message ids. A replay that was cut may
// be put on record that much later than its retry was stored.
const dedupe = 2 * time.Minute

func newBook(s order.Service, d durables, orders span) *book {
	b := &book{
		service: s, durables: d, first: orders.First, last: orders.Last,
		later: make(map[uint64][]life), reads: make(map[string]bool),
	}
	if b.last >= b.first {
		b.fresh = make([]trace, b.last-b.first+1)
	}
	return b
}

// at is where the trace of a generation stands until the next call; nil when the
// order was accepted after the audit began.
func (b *book) at(seq uint64, generation int) *trace {
	switch {
	case seq > b.last:
		return nil
	case generation == 0 && seq >= b.first:
		return &b.fresh[seq-b.first]
	default:
		return &b.life(seq, generation).trace
	}
}

func (b *book) life(seq uint64, generation int) *life {
	lives := b.later[seq]
	for i := range lives {
		if int(lives[i].generation) == generation {
			return &lives[i]
		}
	}
	lives = append(lives, life{generation: int32(generation)})
	b.later[seq] = lives
	return &lives[len(lives)-1]
}

// history reports whether an order has been trimmed and nothing is open about it:
// what came of it is of no interest.
func (b *book) history(seq uint64) bool { return seq < b.first && b.later[seq] == nil }

// order takes a message of ORDERS.
func (b *book) order(e entry) {
	mine, known := b.reads[e.Subject]
	if !known {
		mine = b.durables.reads(e.Subject)
		b.reads[e.Subject] = mine
	}
	// A service that is younger than the order hasn't accepted it. Above its
	// floor all is the service's.
	if !mine || (e.Seq <= b.durables.Floor && e.At.Before(b.durables.Began)) {
		return
	}
	if t := b.at(e.Seq, 0); t != nil {
		*t |= accepted
	}
}

// retry takes a message of RETRY_<SERVICE>. Reading it again changes nothing.
func (b *book) retry(e entry, origin uint64, hop broker.Hop) {
	t := b.at(origin, hop.Generation)
	if t == nil {
		return
	}
	due := !e.At.Add(hop.RetryDelay).After(b.durables.At)
	if due && e.Seq <= b.durables.Tiers[e.Subject] {
		*t |= running
	} else {
		*t |= waiting
	}
}

func (b *book) letter(origin uint64, generation int) {
	if t := b.at(origin, generation); t != nil {
		*t = again(*t, dead, deadAgain)
	}
}

func (b *book) outcome(origin uint64, generation int) {
	if b.history(origin) {
		return
	}
	if t := b.at(origin, generation); t != nil {
		*t = again(*t, done, doneAgain)
	}
}

// again marks once, and a second time.
func again(t, once, twice trace) trace {
	if t&once != 0 {
		return t | twice
	}
	return t | once
}

// record takes a record of the desk.
func (b *book) record(e entry, action string, origin uint64, generation int) {
	switch {
	case origin > b.last, b.history(origin) && (action != broker.DeskReplayed || b.past(e.At)):
	case action == broker.DeskDiscarded:
		*b.at(origin, generation) |= discarded
	case action == broker.DeskReplayed:
		l := b.life(origin, generation+1)
		l.look, l.replayed = b.look, e.At.UnixNano()
	}
}

// past reports whether the outcome of what was replayed then may have been
// trimmed.
func (b *book) past(replayed time.Time) bool { return replayed.Before(b.kept) }

// fate is where an order is.
type fate uint8

const (
	nowhere fate = iota
	isDone
	isDead
	isRunning
	isWaiting
	isDiscarded
)

// fate of one generation: the place that is furthest on. A letter that is there
// outlives the record of what was done with it, and a retry that waits will run,
// whatever was discarded.
func (t trace) fate() fate {
	switch {
	case t&done != 0:
		return isDone
	case t&dead != 0:
		return isDead
	case t&running != 0:
		return isRunning
	case t&waiting != 0:
		return isWaiting
	case t&discarded != 0:
		return isDiscarded
	default:
		return nowhere
	}
}

// double is what happened twice in one generation, or "".
func (t trace) double() Kind {
	switch {
	case t&doneAgain != 0:
		return DoneTwice
	case t&done != 0 && t&dead != 0:
		return DoneAndDead
	case t&deadAgain != 0:
		return DeadTwice
	default:
		return ""
	}
}

// account says where all are. Again is true when an order has been replayed so
// lately that it has to be looked for once more.
func (b *book) account() (sum Account, again bool) {
	c := counter{Account: Account{Service: b.service}}
	for _, seq := range slices.Sorted(trimmed(b)) {
		lives := b.sorted(seq)
		where, owed := whereabouts(0, lives)
		if b.closed(where, owed) {
			continue
		}
		again = c.add(seq, where, owed, b.look) || again
		c.doubles(seq, 0, lives)
	}
	for i, t := range b.fresh {
		seq := b.first + uint64(i)
		lives := b.sorted(seq)
		if t == 0 && lives == nil {
			continue
		}
		where, owed := whereabouts(t, lives)
		there := t&accepted != 0 && seq >= b.oldest
		if where == nowhere && !there && b.closed(where, owed) {
			continue // trimmed since the audit began, and so are its outcomes perhaps
		}
		if where == nowhere && seq > b.durables.Floor {
			where = isWaiting
			if seq <= b.durables.Delivered {
				where = isRunning
			}
		}
		again = c.add(seq, where, owed, b.look) || again
		c.doubles(seq, t, lives)
	}
	c.Findings = append(c.lost, c.double...)
	return c.Account, again
}

// closed reports whether an order that ORDERS no longer holds is history: it is
// settled, or what came of its last replay may have been trimmed as well.
func (b *book) closed(where fate, owed *life) bool {
	switch where {
	case isDone, isDiscarded:
		return true
	case nowhere:
		return owed == nil || b.past(time.Unix(0, owed.replayed))
	default:
		return false
	}
}

// trimmed yields the orders in the book that ORDERS no longer holds.
func trimmed(b *book) func(yield func(uint64) bool) {
	return func(yield func(uint64) bool) {
		for seq := range b.later {
			if seq < b.first && !yield(seq) {
				return
			}
		}
	}
}

// sorted returns the lives of an order, oldest first.
func (b *book) sorted(seq uint64) []life {
	if len(b.later) == 0 {
		return nil
	}
	lives := b.later[seq]
	slices.SortFunc(lives, func(x, y life) int { return cmp.Compare(x.generation, y.generation) })
	return lives
}

// whereabouts finds the newest generation of an order that is somewhere, and the
// newest that a replay owes and of which there is no trace. What was discarded is
// nowhere else, and is lost when a replay is owed beside it.
func whereabouts(fresh trace, lives []life) (where fate, owed *life) {
	buried := false
	for i := len(lives) - 1; i >= -1; i-- {
		t := fresh
		if i >= 0 {
			t = lives[i].trace
		}
		switch f := t.fate(); {
		case f == isDiscarded:
			buried = buried || owed == nil
		case f != nowhere:
			return f, owed
		case i >= 0 && owed == nil:
			owed = &lives[i]
		}
	}
	if buried {
		return isDiscarded, owed
	}
	return nowhere, owed
}

// counter adds up an account.
type counter struct {
	Account
	lost, double []Finding
}

// add counts an order, and reports whether it has to be looked for once more.
func (c *counter) add(seq uint64, where fate, owed *life, look int32) (again bool) {
	c.Accepted++
	switch where {
	case isDone:
		c.Done++
	case isDead:
		c.Dead++
	case isRunning:
		c.Running++
	case isWaiting:
		c.Waiting++
	case isDiscarded:
		c.Discarded++
	case nowhere:
		c.Lost++
		f := Finding{Kind: Lost, Seq: seq}
		if owed != nil {
			f.Generation = int(owed.generation)
			again = owed.look == look
		}
		if len(c.lost) < MaxFindings {
			c.lost = append(c.lost, f)
		}
	}
	return again
}

// doubles counts an order that ended twice.
func (c *counter) doubles(seq uint64, fresh trace, lives []life) {
	kind, generation := fresh.double(), 0
	for _, l := range lives {
		if k := l.trace.double(); k != "" {
			kind, generation = k, int(l.generation)
		}
	}
	if kind == "" {
		return
	}
	c.Double++
	if len(c.double) < MaxFindings {
		c.double = append(c.double, Finding{Kind: kind, Seq: seq, Generation: generation})
	}
}

// origin is the order that a message is about, by its sequence in ORDERS; ok is
// false when it is about none.
func origin(o broker.Origin, generation int) (seq uint64, ok bool) {
	return o.Seq, o.Stream == broker.StreamOrders && o.Seq > 0 && generation < math.MaxInt32
}
