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
// While it stores some, those of other slots gather in the next pack, and go together:
// what there is to do, here and in the broker, is by message. Nobody waits for company:
// who finds the outbox idle stores his outcome at once.
//
//	slot ──▶ is there a pack I can join? ──yes──▶ wait for it
//	                   └──no──▶ begin one ──▶ my turn ──▶ store it, acknowledge all of it
//
// Who joins a pack has time until later than who began it, and packs go in the order
// in which they were begun. So nobody is kept beyond his time, and nobody but he who
// stores needs a clock.
type outbox struct {
	group *Group

	mu    sync.Mutex
	busy  bool    // a pack is being stored
	packs []*pack // that wait for their turn
}

// pack is outcomes with the same result that are stored together.
type pack struct {
	carried []carried
	settled []*broker.Settled

	turn chan struct{} // closed when it is to be stored
	done chan struct{} // closed when that has ended, with
	err  error
}

// carried is a delivery whose order a pack settles.
type carried struct {
	delivery *delivery
	settled  *broker.Settled
}

// put stores the outcome of a delivery and acknowledges it then. It returns when that
// is done, or when there is no time left, why it isn't.
func (o *outbox) put(until time.Time, d *delivery, out order.Outcome) error {
	p, mine := o.join(d, &broker.Settled{Hop: d.name(), Outcome: out})
	if !mine {
		<-p.done
		return p.err
	}
	<-p.turn
	o.close(p)
	p.err = o.send(until, p)
	close(p.done)
	o.handOn()
	return p.err
}

// join puts an outcome into a pack that waits, or into a new one, which is the
// caller's to store.
func (o *outbox) join(d *delivery, s *broker.Settled) (p *pack, mine bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.packs {
		if len(p.settled) < broker.MaxPacked && p.settled[0].Outcome.Result == s.Outcome.Result {
			p.add(d, s)
			return p, false
		}
	}
	p = &pack{turn: make(chan struct{}), done: make(chan struct{})}
	p.add(d, s)
	o.packs = append(o.packs, p)
	if !o.busy {
		o.busy = true
		close(p.turn)
	}
	return p, true
}

// add puts an outcome into the pack; twice the same order's is one. It comes twice when
// a retry that runs was also sent now.
func (p *pack) add(d *delivery, s *broker.Settled) {
	for _, other := range p.settled {
		if s.Hop.Origin == other.Hop.Origin && s.Hop.Generation == other.Hop.Generation && s.Hop.OrderID == other.Hop.OrderID {
			p.carried = append(p.carried, carried{d, other})
			return
		}
	}
	p.carried, p.settled = append(p.carried, carried{d, s}), append(p.settled, s)
}

// close lets nobody join any more.
func (o *outbox) close(p *pack) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.Index(o.packs, p)
	o.packs = slices.Delete(o.packs, i, i+1)
}

// handOn gives the next pack its turn.
func (o *outbox) handOn() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.busy = len(o.packs) > 0; o.busy {
		close(o.packs[0].turn)
	}
}

// send stores a pack and acknowledges what is in it.
func (o *outbox) send(until time.Time, p *pack) error {
	m, err := broker.OutcomeMessage(o.group.cfg.Service, p.settled...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	if err := o.group.storeMessage(ctx, m); err != nil {
		return err
	}
	for _, c := range p.carried { // in a row, so that they leave together
		o.group.ack(c.delivery)
		o.group.recent.add(c.delivery.message, c.settled.Outcome)
	}
	return nil
}
