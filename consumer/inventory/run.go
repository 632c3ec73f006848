package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

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
