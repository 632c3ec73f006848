package audit

import "github.com/nats-io/nats.go"

// What the tests stand in for.
type (
	Source   = source
	Entry    = entry
	Span     = span
	Durables = durables
	Facts    = facts
	Queue    = queue
	Fill     = fill
)

// RunOn is Run on another source than a broker.
var RunOn = run

// Deliver has a page take messages as they came from a consumer.
func Deliver(messages ...*nats.Msg) error {
	p := &pages{consumer: "c"}
	for _, m := range messages {
		if _, last, err := p.delivery(m); last || err != nil {
			return err
		}
	}
	return nil
}

// Follow returns what takes one look after the other and tells of alarms, as Watch
// does.
func Follow(tell Alarms) (next func(Facts)) {
	var known memory
	return func(f Facts) {
		before := known
		known = known.after(f)
		report(before, known, tell)
	}
}
