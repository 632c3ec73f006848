package audit

import "github.com/nats-io/nats.go"

// What the tests stand in for.
type (
	Source   = source
	Entry    = entry
	Span     = span
	Durables = durables
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
