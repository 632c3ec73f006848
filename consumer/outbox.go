package consumer

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// outbox stores outcomes for all slots of a group, and acknowledges their orders.
// While it stores some, others gather in the next pack, and go together: what there is
// to do, here and in the broker, is by message. None waits for company: what finds the
// outbox idle is stored at once.
//
//	slot ──▶ pack that gathers ──▶ its turn: store it, acknowledge all of it
//
// A slot waits for that, but for a bounded number of outcomes of quick handlers. So what
// a killed process has done and not put on record is bounded.
type outbox struct {
	group *Group

	mu    sync.Mutex
	busy  bool    // somebody stores
	held  int     // outcomes that are not stored yet
	packs []*pack // that wait for their turn, in the order in which they were begun

	spare []*pack // ended, to be used again
	body  []byte  // of the message that is stored, whose memory whoever stores uses again
}

// pack is outcomes with the same result that are stored together.
type pack struct {
	until   time.Time // of who began it; others have time until later
	carried []carried
	settled []broker.Settled
	stored  chan struct{} // closed when that has ended; nil: nobody waits for it
}

// carried is a delivery whose order a pack settles.
type carried struct {
	*delivery
	ending
}

// put has the outcome of a delivery stored until a moment, the delivery acknowledged
// then, and ended in any case. It returns when the slot may have its next order.
func (o *outbox) put(until time.Time, d *delivery, e ending) {
	s := d.name().Settled(e.outcome)
	if stored := o.join(until, carried{d, e}, &s); stored != nil {
		<-stored
	}
}

// join puts an outcome into a pack that waits, or into a new one. It returns what to
// wait for, if the window is full.
func (o *outbox) join(until time.Time, c carried, s *broker.Settled) (stored <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.open(until, s.Outcome.Result)
	p.add(c, s)
	if o.held++; o.held > o.group.behind() {
		if p.stored == nil {
			p.stored = make(chan struct{})
		}
		stored = p.stored
	}
	if !o.busy {
		o.busy = true
		go o.work()
	}
	return stored
}

// open returns a pack that can be joined.
func (o *outbox) open(until time.Time, r order.Result) *pack {
	for _, p := range o.packs {
		if len(p.settled) < broker.MaxPacked && p.settled[0].Outcome.Result == r {
			return p
		}
	}
	var p *pack
	if n := len(o.spare); n > 0 {
		p, o.spare = o.spare[n-1], o.spare[:n-1]
	} else {
		p = &pack{}
	}
	p.until = until
	o.packs = append(o.packs, p)
	return p
}

// add puts an outcome into the pack; twice the same order's is one. It comes twice when
// a retry that runs was also sent now.
func (p *pack) add(c carried, s *broker.Settled) {
	for i := range p.settled {
		if other := &p.settled[i]; s.Origin == other.Origin && s.Generation == other.Generation && s.OrderID == other.OrderID {
			c.ending.outcome = other.Outcome
			p.carried = append(p.carried, c)
			return
		}
	}
	p.carried, p.settled = append(p.carried, c), append(p.settled, *s)
}

// work stores packs until there is none.
func (o *outbox) work() {
	for p := o.next(nil); p != nil; p = o.next(p) {
		if err := o.store(p); err != nil {
			o.group.alarm(err) // before a slot is free
			for _, c := range p.carried {
				go o.group.end(c.delivery, c.ending, err)
			}
			continue
		}
		for _, c := range p.carried { // in a row, so that they leave together
			o.group.ack(c.delivery)
		}
		for _, c := range p.carried {
			o.group.end(c.delivery, c.ending, nil)
		}
	}
}

// next ends a pack and returns the one whose turn it is.
func (o *outbox) next(ended *pack) *pack {
	o.mu.Lock()
	defer o.mu.Unlock()
	if ended != nil {
		o.held -= len(ended.carried)
		if ended.stored != nil {
			close(ended.stored)
		}
		clear(ended.carried)
		clear(ended.settled)
		*ended = pack{carried: ended.carried[:0], settled: ended.settled[:0]}
		o.spare = append(o.spare, ended)
	}
	if o.busy = len(o.packs) > 0; !o.busy {
		return nil
	}
	p := o.packs[0]
	o.packs = slices.Delete(o.packs, 0, 1)
	return p
}

// store stores the outcomes of a pack in one message.
func (o *outbox) store(p *pack) error {
	m, err := broker.OutcomeMessage(o.body, o.group.cfg.Service, p.settled...)
	if err != nil {
		return err
	}
	o.body = m.Data[:0]
	ctx, cancel := context.WithDeadline(context.Background(), p.until)
	defer cancel()
	return o.group.storeMessage(ctx, m)
}
