package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// shard is the only one so far.
const shard = 0

const (
	// storeWithin is how long the broker has to confirm an entry before the
	// log is read to find out.
	storeWithin = 2 * time.Second

	// retryPause is between attempts to read a log that can't be read.
	retryPause = 250 * time.Millisecond

	// An instance near the broker overtakes one that is far from it every time,
	// as long as it has something to store. So who had no rest at a stretch for
	// a turn takes one, in which the other gets in: every turn when it met
	// another one lately, which costs a tenth of what it could do at most, and
	// now and then when it didn't, since who always wins meets nobody.
	rest      = 5 * time.Millisecond
	turn      = 50 * time.Millisecond
	turnAlone = time.Second
	lately    = time.Minute

	// conflictPause is before the log is read again when it must have more
	// than was read: a replica is some moments behind, or an entry is still
	// being agreed on.
	conflictPause = 2 * time.Millisecond
)

// Errors of a StockLog.
var (
	// ErrLog: an entry of the log breaks a rule, so that nothing can be decided
	// after it. It takes a person, or a newer version of this program.
	ErrLog = errors.New("the stock log can't be understood")

	// ErrStopped: the StockLog's Run has ended.
	ErrStopped = errors.New("the stock log is not being served any more")

	errReading = errors.New("the stock log is being read")
)

// StockLog is the Ledger on the broker. Its methods may be called by many
// goroutines at once, and wait until Run serves them.
type StockLog struct {
	conn    *broker.Conn
	subject string
	asks    chan *ask
	ran     atomic.Bool
	stopped chan struct{}
	trouble atomic.Pointer[error]

	// Run's.
	state  *state
	whole  bool      // the state is all there was, when looked at last
	met    time.Time // when another instance was met last
	rested time.Time // when others last had their turn
}

// NewStockLog returns the log of the connection's broker, on which the stream
// must exist (broker.Conn.Provision). It does nothing before Run.
func NewStockLog(conn *broker.Conn) *StockLog {
	subject := broker.StockSubject(shard)
	l := &StockLog{
		conn:    conn,
		subject: subject,
		asks:    make(chan *ask),
		stopped: make(chan struct{}),
		state:   newState(subject),
	}
	l.note(errReading)
	return l
}

// Check returns nil when what is asked can be decided, as far as is known from
// the last time, or why not: the log is being read at first, the broker is away,
// the stream is full.
func (l *StockLog) Check() error { return *l.trouble.Load() }

func (l *StockLog) note(err error) { l.trouble.Store(&err) }

// Reserve implements Ledger. It returns an error that leaves the decision open
// when ctx ends first, when Run has ended (ErrStopped), and when the broker can't
// be reached or refuses the entry (broker.ErrFull).
func (l *StockLog) Reserve(ctx context.Context, r Reservation) (Decision, error) {
	a, err := l.do(ctx, &ask{order: r})
	return a.decision, err
}

// Add makes articles known that the log doesn't know yet, with what there is of
// them; those that it knows are left as they are. So a list may be added at every
// start and by every instance. The list has each SKU once, as ParseStock returns
// it. When Add fails, some of the articles may have been added; adding the list
// again adds the others.
func (l *StockLog) Add(ctx context.Context, articles []Item) error {
	seen := make(map[string]bool, len(articles))
	for _, it := range articles {
		if err := checkArticle(it); err != nil {
			return fmt.Errorf("add article %q: %w", it.SKU, err)
		}
		if seen[it.SKU] {
			return fmt.Errorf("add article %s: it stands twice", it.SKU)
		}
		seen[it.SKU] = true
	}
	if _, err := l.do(ctx, &ask{articles: articles}); err != nil {
		return fmt.Errorf("add %d articles: %w", len(articles), err)
	}
	return nil
}

// Stock lists the articles by SKU, counting all that was decided before the call
// by any instance.
func (l *StockLog) Stock(ctx context.Context) ([]Level, error) {
	a, err := l.do(ctx, &ask{list: true})
	if err != nil {
		return nil, fmt.Errorf("list stock: %w", err)
	}
	return a.levels, nil
}

// ask is a caller who waits: for a decision about an order, unless it is for
// articles to be known or for the list.
type ask struct {
	order    Reservation
	articles []Item
	list     bool

	ctx      context.Context //nolint:containedctx // the caller's, to see that nobody waits any more
	answered chan error      // for one; what is below was written before
	decision Decision
	levels   []Level
}

// do has the ask served and returns it with its answer, or an empty one.
func (l *StockLog) do(ctx context.Context, a *ask) (*ask, error) {
	a.ctx, a.answered = ctx, make(chan error, 1)
	asks := l.asks
	for {
		select {
		case asks <- a:
			asks = nil // sent; now for the answer
		case err := <-a.answered:
			return a, err
		case <-ctx.Done():
			if trouble := l.Check(); trouble != nil {
				return &ask{}, fmt.Errorf("%w (%w)", ctx.Err(), trouble)
			}
			return &ask{}, ctx.Err()
		case <-l.stopped:
			select {
			case err := <-a.answered:
				return a, err
			default:
				return &ask{}, ErrStopped
			}
		}
	}
}

// Run reads the log and then serves the other methods until ctx ends; what is in
// hand then is answered with an error. It returns nil, or ErrLog and which entry
// is broken. While the broker can't be reached it goes on trying. It is called
// once.
func (l *StockLog) Run(ctx context.Context) (err error) {
	if !l.ran.CompareAndSwap(false, true) {
		return errors.New("run stock log: it runs or ran already")
	}
	defer close(l.stopped)
	defer func() { l.note(cmp.Or(err, ErrStopped)) }()
	l.rested = time.Now()
	for {
		for !l.whole {
			err := l.catchUp(ctx)
			if errors.Is(err, ErrLog) {
				return err
			}
			l.note(err)
			if err != nil && !pause(ctx, retryPause) {
				return nil
			}
		}
		asks := l.gather(ctx)
		if len(asks) == 0 {
			return nil // ctx has ended
		}
		if err := l.settle(ctx, asks); errors.Is(err, ErrLog) {
			return err
		}
	}
}

// gather waits for one ask and takes what others wait with it. None means that
// ctx has ended.
func (l *StockLog) gather(ctx context.Context) []*ask {
	began, mayGoOn := time.Now(), turnAlone
	if began.Sub(l.met) < lately {
		mayGoOn = turn
	}
	if began.Sub(l.rested) > mayGoOn {
		if !pause(ctx, rest) {
			return nil
		}
		l.rested = time.Now()
	}
	var asks []*ask
	select {
	case <-ctx.Done():
		return nil
	case a := <-l.asks:
		asks = append(asks, a)
	}
	if now := time.Now(); now.Sub(began) >= rest {
		l.rested = now
	}
	for len(asks) < entryOrders {
		select {
		case a := <-l.asks:
			asks = append(asks, a)
		default:
			return asks
		}
	}
	return asks
}

// settle answers all of the asks. The error is why it couldn't, and they got it
// as well.
func (l *StockLog) settle(ctx context.Context, asks []*ask) error {
	fresh := false // the state is as of a moment after the asks had come
	for {
		asks = l.answer(asks, fresh)
		if len(asks) == 0 {
			return nil
		}
		d := l.state.draft()
		for _, a := range asks {
			if d.full() {
				break
			}
			if a.articles != nil {
				d.add(a.articles)
			} else if !a.list {
				d.reserve(a.order)
			}
		}
		var err error
		if d.empty() { // who waits needs to know that nothing is missing
			err = l.catchUp(ctx)
			fresh = true
		} else {
			var stored bool
			stored, err = l.store(ctx, d.entry)
			fresh = fresh || stored
		}
		if err != nil {
			l.note(err)
			for _, a := range asks {
				a.answered <- err
			}
			return err
		}
	}
}

// answer answers what the state can, forgets whom nobody waits for, and returns
// the rest.
func (l *StockLog) answer(asks []*ask, fresh bool) []*ask {
	rest := asks[:0]
	for _, a := range asks {
		switch known, err := a.from(l.state, fresh); {
		case a.ctx.Err() != nil: // its retry will ask again
		case known:
			a.answered <- err
		default:
			rest = append(rest, a)
		}
	}
	clear(asks[len(rest):])
	return rest
}

// from takes the answer from the state if it is there. That something isn't in
// the log can be said only by a state that is fresh.
func (a *ask) from(s *state, fresh bool) (known bool, err error) {
	switch {
	case a.list:
		if fresh {
			a.levels = s.levels()
		}
		return fresh, nil
	case a.articles != nil:
		return len(s.unknown(a.articles)) == 0, nil
	}
	d, known, err := s.decision(a.order)
	if known || !fresh {
		a.decision = d
		return known, order.Reject(err)
	}
	if skus := s.unknown(a.order.Items); len(skus) > 0 {
		return true, order.Reject(fmt.Errorf("%w: %s", ErrUnknownSKU, strings.Join(skus, ", ")))
	}
	return false, nil
}

// store stores the entry and takes it into the state, or learns that it can't be
// and what else is there. The error leaves open what became of the entry.
func (l *StockLog) store(ctx context.Context, e entry) (stored bool, err error) {
	data, err := e.encode()
	if err != nil {
		return false, err
	}
	bounded, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	seq, err := l.conn.StoreAfter(bounded, l.subject, data, e.After)
	switch {
	case err == nil:
		l.note(nil)
		return true, l.apply(seq, e)
	case errors.Is(err, broker.ErrConflict):
		l.met = time.Now()
		err = l.read(ctx)
		l.whole = err == nil
	case errors.Is(err, broker.ErrNotStored):
		// It may be there, or may yet come. Whatever is decided next stands
		// after the same entry or a later one, so that only one of both can.
		err = l.catchUp(ctx)
	}
	if err == nil && l.state.seq == e.After {
		pause(ctx, conflictPause)
	}
	return false, err
}

// catchUp reads until the state has all that the log had when it was called.
func (l *StockLog) catchUp(ctx context.Context) (err error) {
	defer func() { l.whole = err == nil }()
	last, err := l.conn.LastSeq(ctx, broker.StreamStock, l.subject)
	if err != nil {
		return err
	}
	for l.state.seq < last {
		before := l.state.seq
		if err := l.read(ctx); err != nil {
			return err
		}
		if l.state.seq == before && !pause(ctx, conflictPause) {
			return ctx.Err()
		}
	}
	return nil
}

// read takes what comes after the state into it.
func (l *StockLog) read(ctx context.Context) error {
	for m, err := range l.conn.ReadAfter(ctx, broker.StreamStock, l.subject, l.state.seq) {
		if err != nil {
			return err
		}
		e, err := decode(m.Data)
		if err != nil {
			return fmt.Errorf("%w: entry %d of %s: %w", ErrLog, m.Seq, l.subject, err)
		}
		if err := l.apply(m.Seq, e); err != nil {
			return err
		}
	}
	return nil
}

func (l *StockLog) apply(seq uint64, e entry) error {
	if err := l.state.apply(seq, e); err != nil {
		return fmt.Errorf("%w: entry %d of %s: %w", ErrLog, seq, l.subject, err)
	}
	return nil
}

// pause waits and reports true, or false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
