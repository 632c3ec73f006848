package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// State is how far an order got on its way to the broker.
type State uint8

// The states. An order that is Sent becomes Stored, Failed or Unknown; one that
// is Unknown becomes Stored as soon as anything shows that it is.
const (
	Planned State = iota // due, not sent: the run was late, or ended
	Sent                 // without an answer so far
	Stored               // the broker has it
	Failed               // the broker refused it
	Unknown              // no answer: it may be stored
)

// String returns the state in lower case.
func (s State) String() string {
	names := [...]string{"planned", "sent", "stored", "failed", "unknown"}
	if int(s) >= len(names) {
		return "unknown state"
	}
	return names[s]
}

// Journal is the record of one Run: every order that was due, what became of it
// at the broker and, told by Follow, at each service. All its methods may be
// called together.
type Journal struct {
	services []order.Service

	mu       sync.Mutex
	running  bool
	plan     schedule
	orders   Orders
	ended    int64 // when sending ended; zero: not yet
	n        int   // orders in chunks
	chunks   []*chunk
	bySeq    map[uint64]int    // of orders that are Stored
	answerTo map[uuid.UUID]int // of orders that are Sent or Unknown
	endings  []string          // how orders ended; marks keep an index
	open     []int             // by service: orders Sent or Stored and not settled
	waiters  []*waiter
}

// NewJournal returns an empty journal that will hear of these services.
func NewJournal(services ...order.Service) *Journal {
	return &Journal{
		services: slices.Clone(services),
		bySeq:    make(map[uint64]int),
		answerTo: make(map[uuid.UUID]int),
		endings:  []string{""},
		open:     make([]int, len(services)),
	}
}

// record is one order. Times are nanoseconds of Unix time; zero is none.
type record struct {
	id       uuid.UUID
	intended int64
	sent     int64
	acked    int64
	seq      uint64
	state    State
	kind     Kind
}

// mark is one order at one service.
type mark struct {
	settled    int64 // the first time
	ending     uint8 // the latest; an index of Journal.endings
	generation uint8 // of the ending
	dead       bool  // the ending is a dead letter
	fallback   bool  // a pending outcome was seen
	again      uint8 // further endings of the same generation
}

// chunk holds some records in a row, so that growth copies nothing.
type chunk struct {
	records [chunkSize]record
	marks   []mark // by record, then by service
}

const chunkSize = 4096

func (j *Journal) record(i int) *record { return &j.chunks[i/chunkSize].records[i%chunkSize] }

func (j *Journal) mark(i, service int) *mark {
	return &j.chunks[i/chunkSize].marks[i%chunkSize*len(j.services)+service]
}

var errUsed = errors.New("the journal is of another run")

// begin says what is going to be sent.
func (j *Journal) begin(plan schedule, orders Orders) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.running {
		return errUsed
	}
	j.running, j.plan, j.orders = true, plan, orders
	return nil
}

// end says that nothing more is sent.
func (j *Journal) end(now int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = now
	j.extend(j.plan.before(now))
}

// extend makes records until there are n. j.mu is held.
func (j *Journal) extend(n int) {
	for ; j.n < n; j.n++ {
		if j.n%chunkSize == 0 {
			j.chunks = append(j.chunks, &chunk{marks: make([]mark, chunkSize*len(j.services))})
		}
		r := j.record(j.n)
		r.intended, r.kind = j.plan.at(j.n), j.orders.Kind(j.n)
	}
}

// extendTo makes records of all that was due before t, as far as that is the past
// and was to be sent, and returns how many they are. j.mu is held.
func (j *Journal) extendTo(t int64) int {
	if !j.running {
		return 0
	}
	until := j.ended
	if until == 0 {
		until = time.Now().UnixNano()
	}
	n := j.plan.before(min(t, until))
	j.extend(n)
	return n
}

// sent says that order i is on its way.
func (j *Journal) sent(i int, id string, now int64) {
	key, err := uuid.Parse(id)
	if err != nil {
		panic(fmt.Sprintf("generated the id %q: %v", id, err))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.extend(i + 1)
	r := j.record(i)
	r.id, r.sent, r.state = key, now, Sent
	j.answerTo[key] = i
	for s := range j.open {
		j.open[s]++
	}
}

// answered says what the broker answered about order i.
func (j *Journal) answered(i int, receipt broker.Receipt, err error, now int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case err == nil:
		j.record(i).acked = now
		j.stored(i, receipt.Seq)
	case errors.Is(err, broker.ErrNotStored):
		j.lost(i, Unknown)
	default:
		j.lost(i, Failed)
	}
}

// stored says that order i is stored. Its outcome may have said so before.
// j.mu is held.
func (j *Journal) stored(i int, seq uint64) {
	r := j.record(i)
	switch r.state {
	case Sent:
	case Unknown:
		for s := range j.open {
			j.open[s]++
		}
	default:
		return
	}
	r.state, r.seq = Stored, seq
	delete(j.answerTo, r.id)
	j.bySeq[seq] = i
}

// lost says that nobody need wait for order i. j.mu is held.
func (j *Journal) lost(i int, state State) {
	r := j.record(i)
	if r.state != Sent {
		return
	}
	r.state = state
	if state == Failed {
		delete(j.answerTo, r.id)
	}
	for s := range j.open {
		j.open[s]--
	}
	j.wake()
}

// giveUp makes Unknown of what has no answer, and returns how many that are.
func (j *Journal) giveUp() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for _, i := range j.answerTo {
		if j.record(i).state == Sent {
			j.lost(i, Unknown)
			n++
		}
	}
	return n
}

// ending is what was read about an order at a service.
type ending struct {
	service    order.Service
	origin     broker.Origin
	id         string // of the order
	generation int
	how        string // the result, or the reason of a dead letter
	dead       bool
	at         time.Time // when it was stored
}

// settle takes an ending down. What is of another run, or of another event than
// the order's creation, is passed over.
func (j *Journal) settle(e ending) {
	s := slices.Index(j.services, e.service)
	if s < 0 || e.origin.Stream != broker.StreamOrders || e.origin.Subject != broker.SubjectCreated {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	i, ok := j.bySeq[e.origin.Seq]
	if !ok {
		// The broker's ack is under way, or was lost.
		id, err := uuid.Parse(e.id)
		if err != nil {
			return
		}
		if i, ok = j.answerTo[id]; !ok {
			return
		}
		j.stored(i, e.origin.Seq)
	}
	m := j.mark(i, s)
	if !e.dead && !order.Result(e.how).Final() {
		m.fallback = true
		return
	}
	generation := uint8(min(e.generation, 255))
	switch {
	case m.settled == 0:
		m.settled = e.at.UnixNano()
		j.open[s]--
		j.wake()
	case generation == m.generation:
		m.again++
		return
	case generation < m.generation:
		return
	}
	m.ending, m.generation, m.dead = j.intern(e.how), generation, e.dead
}

// intern returns the index of an ending. The lists of results and reasons are
// closed and short. j.mu is held.
func (j *Journal) intern(how string) uint8 {
	i := slices.Index(j.endings, how)
	if i < 0 && len(j.endings) < 255 {
		i = len(j.endings)
		j.endings = append(j.endings, how)
	}
	return uint8(max(i, 0))
}

// waiter is somebody in Wait.
type waiter struct {
	services []int
	done     chan struct{}
}

// Wait waits until every order that was sent is settled by each of these
// services, and returns the error of ctx when that ends first. Orders
// that are Failed or Unknown aren't waited for. It is for the time when Run
// has returned: before, it only says that nothing is open at the moment.
func (j *Journal) Wait(ctx context.Context, services ...order.Service) error {
	w := &waiter{done: make(chan struct{})}
	for _, s := range services {
		i := slices.Index(j.services, s)
		if i < 0 {
			return fmt.Errorf("wait for %s: the journal doesn't hear of it", s)
		}
		w.services = append(w.services, i)
	}
	j.mu.Lock()
	j.waiters = append(j.waiters, w)
	j.wake()
	j.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		j.mu.Lock()
		defer j.mu.Unlock()
		j.waiters = slices.DeleteFunc(j.waiters, func(o *waiter) bool { return o == w })
		return fmt.Errorf("wait for %v: %w", services, ctx.Err())
	}
}

// wake ends the waits that have come true. j.mu is held.
func (j *Journal) wake() {
	j.waiters = slices.DeleteFunc(j.waiters, func(w *waiter) bool {
		for _, s := range w.services {
			if j.open[s] > 0 {
				return false
			}
		}
		close(w.done)
		return true
	})
}
