package load

import (
	"iter"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/watertight-go/watertight/order"
)

// Counts is what became of the orders at the broker.
type Counts struct {
	Due       int // were to be sent
	Malformed int // of those
	Unsent    int // due and not sent: the run was late when it ended
	Sent      int // = Stored + Failed + Unknown + Waiting
	Stored    int
	Failed    int // refused by the broker: not stored
	Unknown   int // no answer: may be stored
	Waiting   int // no answer yet
}

// Counts counts what was due until now.
func (j *Journal) Counts() Counts {
	var c Counts
	for r := range j.All() {
		c.Due++
		if r.Kind != WellFormed {
			c.Malformed++
		}
		switch r.State {
		case Planned:
			c.Unsent++
		case Sent:
			c.Waiting++
		case Stored:
			c.Stored++
		case Failed:
			c.Failed++
		case Unknown:
			c.Unknown++
		}
	}
	c.Sent = c.Due - c.Unsent
	return c
}

// Account is what one service did with the orders that are stored, malformed
// ones included: Stored = Done + Dead + Open.
type Account struct {
	Service order.Service
	Stored  int
	Done    int // a final outcome; also after a replay
	Dead    int // a dead letter, and nothing since
	Open    int // neither so far: running, waiting for a retry, or lost

	// Fallbacks is how many had a pending outcome first: the fallback's
	// answer, which settles nothing.
	Fallbacks int

	// Twice is how many endings came on top of the one an order should have;
	// a replay may have one of its own.
	Twice int
}

// Accounts returns the account of each service, in the order of NewJournal.
func (j *Journal) Accounts() []Account {
	accounts := make([]Account, len(j.services))
	for s := range accounts {
		accounts[s].Service = j.services[s]
	}
	for r := range j.All() {
		if r.State != Stored {
			continue
		}
		for s, e := range r.Endings {
			a := &accounts[s]
			a.Stored++
			a.Twice += e.Again
			if e.Fallback {
				a.Fallbacks++
			}
			switch {
			case e.Settled.IsZero():
				a.Open++
			case e.Dead:
				a.Dead++
			default:
				a.Done++
			}
		}
	}
	return accounts
}

// Record is one order of a Journal.
type Record struct {
	Index    int
	Kind     Kind
	State    State
	Intended time.Time
	Sent     time.Time // zero before it is sent
	Acked    time.Time // when the broker said that it is stored; zero: it didn't
	Seq      uint64    // in broker.StreamOrders; zero unless Stored

	// Endings is what the services did, in the order of NewJournal. The slice
	// is used again for the next record.
	Endings []Ending

	id uuid.UUID
}

// ID returns the order's id; it is empty before the order is sent.
func (r Record) ID() string {
	if r.State == Planned {
		return ""
	}
	return r.id.String()
}

// Ending is what one service did with one order.
type Ending struct {
	Settled  time.Time // when the first final outcome or letter was stored; zero: not yet
	How      string    // the latest one's result, or a dead letter's reason
	Dead     bool      // the latest one is a dead letter
	Fallback bool      // there was a pending outcome
	Again    int       // endings beyond the one of a generation
}

// All yields every order that was due until now, by index. Orders that fall due
// meanwhile are left out; others may change between two yields.
func (j *Journal) All() iter.Seq[Record] {
	return j.between(0, math.MaxInt64)
}

// between yields the orders that were due in [from, to), in nanoseconds of Unix
// time, until now.
func (j *Journal) between(from, to int64) iter.Seq[Record] {
	return func(yield func(Record) bool) {
		j.mu.Lock()
		first, n := j.extendTo(from), j.extendTo(to)
		j.mu.Unlock()
		endings := make([]Ending, len(j.services))
		for i := first; i < n; i++ {
			if !yield(j.view(i, endings)) {
				return
			}
		}
	}
}

func (j *Journal) view(i int, endings []Ending) Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.record(i)
	v := Record{
		Index: i, Kind: r.kind, State: r.state, Seq: r.seq,
		Intended: instant(r.intended), Sent: instant(r.sent), Acked: instant(r.acked), Endings: endings, id: r.id,
	}
	for s := range endings {
		m := j.mark(i, s)
		endings[s] = Ending{
			Settled: instant(m.settled), How: j.endings[m.ending], Dead: m.dead,
			Fallback: m.fallback, Again: int(m.again),
		}
	}
	return v
}

// instant is the inverse of UnixNano, but zero is the zero time.
func instant(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
