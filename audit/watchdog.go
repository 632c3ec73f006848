package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// Alarms is told of alarms by Watch, in the order in which it learns of them, each
// raised once and cleared once. It is called from one goroutine, and the next look
// waits for it.
type Alarms interface {
	Raised(a Alarm)
	Cleared(a Alarm)
}

// watchEvery is how often Watch looks.
const watchEvery = 15 * time.Second

// Watch looks at what the broker holds of a plan, at once and then every 15 s, and
// tells of what is wrong and of when it no longer is, until ctx ends; then it
// returns nil. It returns an error, at once, for a plan that isn't valid.
//
// It is a light form of Run that may go on for ever, in any number of processes.
// It doesn't read orders: a look asks for the state of each stream and durable, and
// for the oldest retry of each tier that isn't empty, however much is stored. It
// remembers a few words for each durable. What it can't see is an order that is
// nowhere: for that there is Run.
func Watch(ctx context.Context, b *broker.Conn, p broker.Plan, tell Alarms) error {
	p.MaxPayload = cmp.Or(p.MaxPayload, b.MaxPayload())
	if err := p.Validate(); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var known memory
	for {
		f := look(ctx, b, p)
		if ctx.Err() != nil {
			return nil
		}
		before := known
		known = known.after(f)
		report(before, known, tell)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// report tells of what has changed from one look to the next, by name.
func report(before, now memory, tell Alarms) {
	for _, a := range missingIn(before, now) {
		tell.Cleared(a)
	}
	for _, a := range missingIn(now, before) {
		tell.Raised(a)
	}
}

// missingIn returns the alarms that one memory has and the other hasn't.
func missingIn(one, other memory) []Alarm {
	var some []Alarm
	for key, a := range one.alarms {
		if _, there := other.alarms[key]; !there {
			some = append(some, a)
		}
	}
	slices.SortFunc(some, func(a, b Alarm) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return some
}

// look learns the facts. It gives up when it is time for the next look.
func look(ctx context.Context, b *broker.Conn, p broker.Plan) facts {
	ctx, cancel := context.WithTimeout(ctx, watchEvery)
	defer cancel()
	seen, err := b.Survey(ctx, p)
	f := facts{Changes: seen.Changes}
	for _, s := range seen.Streams {
		if s.Config.Discard == jetstream.DiscardNew && s.Config.MaxBytes > 0 {
			f.Fills = append(f.Fills, fill{s.Config.Name, s.State.Bytes, uint64(s.Config.MaxBytes)})
		}
	}
	src := &streams{conn: b}
	for _, d := range seen.Durables {
		if err != nil {
			break
		}
		var q queue
		q, err = src.queue(ctx, d)
		q.Service = serviceOf(p, d)
		f.Queues = append(f.Queues, q)
	}
	f.At, f.Err = time.Now(), err
	return f
}

// queue learns what a durable is owed, and of a retry tier when the oldest of it
// is due. In a WorkQueue what is settled is gone, so that its first message is the
// oldest that isn't.
func (s *streams) queue(ctx context.Context, d *jetstream.ConsumerInfo) (queue, error) {
	q := queue{
		Name: d.Stream + "/" + d.Name, Mark: d.AckFloor.Stream,
		Pending: d.NumPending, Unacked: d.NumAckPending, Paused: d.Paused, AckWait: d.Config.AckWait,
	}
	if d.Stream == broker.StreamOrders || d.Paused || q.Pending+uint64(q.Unacked) == 0 {
		return q, nil
	}
	subjects := filters(d.Config)
	if len(subjects) != 1 {
		return q, nil // not a tier of ours: that it drifted is said
	}
	oldest, found, err := s.next(ctx, d.Stream, 1, subjects[0])
	if err != nil {
		return q, fmt.Errorf("look at the oldest retry of %s: %w", q.Name, err)
	}
	if !found { // settled since
		q.Pending, q.Unacked = 0, 0
		return q, nil
	}
	q.Tier, q.Mark = true, oldest.Seq
	q.Due = oldest.At.Add(broker.ParseHop(oldest.Header).RetryDelay)
	return q, nil
}

// serviceOf returns whose a durable of the plan is.
func serviceOf(p broker.Plan, d *jetstream.ConsumerInfo) order.Service {
	for _, s := range p.Services {
		if d.Stream == broker.RetryStream(s.Name) || (d.Stream == broker.StreamOrders && d.Name == broker.Durable(s.Name)) {
			return s.Name
		}
	}
	return ""
}
