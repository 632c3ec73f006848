package audit_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// TestModel lets a service and an operator work in random steps, some of them cut
// by a crash, before an audit and between any two messages that it reads, while
// settled orders are trimmed, and checks what must always hold:
//
//   - an order is called lost only if a trace of it was dropped, and, in a world at
//     rest, only if it is nowhere;
//   - an order that was acknowledged without a trace is found, if it was at or
//     below the ack floor when the audit began;
//   - the account adds up.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		before, most := rapid.IntRange(0, 300).Draw(rt, "before"), rapid.IntRange(0, 8).Draw(rt, "meanwhile")
		lossy := rapid.Bool().Draw(rt, "lossy")
		// What rapid draws by itself is too tame: small numbers, the first choice.
		seed := rapid.Uint64().Draw(rt, "seed")
		for world := range uint64(10) {
			playOn(rt, rand.New(rand.NewPCG(seed, world)), before, most, lossy)
		}
	})
}

// playOn takes steps before an audit, and at most so many before each message that
// it reads.
func playOn(rt *rapid.T, random *rand.Rand, before, most int, lossy bool) {
	p := &play{world: newWorld(), rand: random, held: make(map[uint64]bool), lost: make(map[uint64]bool), trimmed: make(map[uint64]bool)}
	p.act(before, lossy)
	budget := 400 // the world rests at last, or an audit could go on for ever
	floor := p.floor()
	asked := false
	p.meanwhile = func() {
		if !asked { // the floor that the audit is told
			asked, floor = true, p.floor()
			return
		}
		if n := min(budget, most); n > 0 {
			n = p.rand.IntN(n + 1)
			budget -= n
			p.act(n, false)
		}
	}
	missing := make(map[uint64]bool)
	for _, seq := range p.nowhere(floor) {
		missing[seq] = true
	}
	rests := most == 0
	r, err := audit.RunOn(rt.Context(), p, []order.Service{order.Payment})
	if err != nil {
		rt.Fatal(err)
	}
	a := r.Services[0]
	if sum := a.Done + a.Waiting + a.Running + a.Dead + a.Discarded + a.Lost; sum != a.Accepted {
		rt.Errorf("the account adds up to %d: %+v", sum, a)
	}
	for _, f := range a.Findings {
		if f.Kind != audit.Lost {
			continue
		}
		if !p.lost[f.Seq] || (rests && !p.trimmed[f.Seq] && !missing[f.Seq]) {
			rt.Errorf("order %d is called lost, and is not: %+v", f.Seq, a)
		}
		delete(missing, f.Seq)
	}
	still := p.nowhere(floor) // what had begun before may have brought one back
	for seq := range missing {
		if !p.trimmed[seq] && slices.Contains(still, seq) {
			rt.Errorf("order %d is lost and wasn't found: %+v", seq, a)
		}
	}
}

// play is a world at work.
type play struct {
	*world
	rand    *rand.Rand
	tasks   [][]func()      // what has begun: the steps to come
	held    map[uint64]bool // retries in hand
	lost    map[uint64]bool // orders of which a trace was dropped, so that they may be nowhere
	trimmed map[uint64]bool // orders that are no longer in ORDERS
}

// act takes n random steps.
func (p *play) act(n int, lossy bool) {
	for range n {
		p.now = p.now.Add(time.Duration(p.rand.ExpFloat64() * float64(time.Second)))
		switch n := p.rand.IntN(100); {
		case n < 8:
			p.place()
		case n < 20:
			p.deliver(lossy)
		case n < 35:
			p.redeliver(lossy)
		case n < 45:
			p.operate()
		case n < 46:
			p.trim()
		case n < 47:
			p.crash()
		default:
			p.proceed()
		}
	}
}

// proceed takes one step of something that has begun.
func (p *play) proceed() {
	if len(p.tasks) == 0 {
		return
	}
	i := p.rand.IntN(len(p.tasks))
	p.tasks[i][0]()
	if p.tasks[i] = p.tasks[i][1:]; len(p.tasks[i]) == 0 {
		p.tasks = slices.Delete(p.tasks, i, i+1)
	}
}

// crash ends all that has begun; it is delivered again.
func (p *play) crash() {
	p.tasks = nil
	clear(p.held)
	p.delivered = min(p.delivered, p.floor())
}

// deliver begins the next order.
func (p *play) deliver(lossy bool) {
	if p.delivered == p.logs[broker.StreamOrders].last {
		return
	}
	p.delivered++
	seq := p.delivered
	if p.acked[seq] {
		return
	}
	p.settle(seq, 0, lossy, func() { p.acked[seq] = true })
}

// redeliver begins a retry.
func (p *play) redeliver(lossy bool) {
	seqs := slices.Sorted(maps.Keys(p.logs[retries].entries))
	seqs = slices.DeleteFunc(seqs, func(seq uint64) bool { return p.held[seq] })
	if len(seqs) == 0 {
		return
	}
	seq := seqs[p.rand.IntN(len(seqs))]
	p.held[seq] = true
	hop := broker.ParseHop(p.logs[retries].entries[seq].Header)
	p.settle(hop.Origin.Seq, hop.Generation, lossy, func() { p.remove(retries, seq) })
}

// settle begins to store what becomes of a generation, then to acknowledge it.
func (p *play) settle(origin uint64, generation int, lossy bool, ack func()) {
	var steps []func()
	switch p.rand.IntN(6) {
	case 0:
		steps = append(steps, func() { p.outcome(origin, generation, order.Sent) })
	case 1:
		steps = append(steps, func() { p.outcome(origin, generation, order.Pending) }, func() { p.retry(origin, generation, "t1", time.Minute) })
	case 2, 3:
		steps = append(steps, func() { p.retry(origin, generation, "now", 0) })
	default:
		steps = append(steps, func() { p.letter(origin, generation) })
	}
	if lossy && p.rand.IntN(8) == 0 {
		p.lost[origin] = true
		steps = nil
	}
	p.tasks = append(p.tasks, append(steps, ack))
}

// operate begins to replay or discard a letter.
func (p *play) operate() {
	var letters []uint64
	for seq, e := range p.logs[broker.StreamDeadLetters].entries {
		if _, _, ok := broker.SplitDead(e.Subject); ok {
			letters = append(letters, seq)
		}
	}
	if len(letters) == 0 {
		return
	}
	slices.Sort(letters)
	seq := letters[p.rand.IntN(len(letters))]
	hop := broker.ParseHop(p.logs[broker.StreamDeadLetters].entries[seq].Header)
	origin, generation := hop.Origin.Seq, hop.Generation
	remove := func() { p.remove(broker.StreamDeadLetters, seq) }
	if p.rand.IntN(8) == 0 {
		p.tasks = append(p.tasks, []func(){func() { p.record(origin, generation, broker.DeskDiscarded) }, remove})
		return
	}
	var stored time.Time // the retry
	again := func() {
		stored = p.now
		p.retry(origin, generation+1, "now", 0)
	}
	p.tasks = append(p.tasks, []func(){
		again,
		func() {
			if p.now.Sub(stored) > 2*time.Minute {
				again() // the broker has forgotten its id, and nobody is that slow without having been cut
			}
			p.record(origin, generation, broker.DeskReplayed)
		},
		remove,
	})
}

// trim takes the oldest settled order away, and then the outcomes that were stored
// before the oldest that is left.
func (p *play) trim() {
	orders, outcomes := p.logs[broker.StreamOrders], p.logs[broker.StreamOutcomes]
	seqs := slices.Sorted(maps.Keys(orders.entries))
	if len(seqs) == 0 || seqs[0] > p.floor() {
		return
	}
	p.remove(broker.StreamOrders, seqs[0])
	p.trimmed[seqs[0]] = true
	if len(seqs) == 1 {
		return
	}
	for seq, e := range outcomes.entries {
		if e.At.Before(orders.entries[seqs[1]].At) {
			p.remove(broker.StreamOutcomes, seq)
		}
	}
}
