package consumer

import (
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/order"
)

// recent remembers the outcomes that a group has stored and acknowledged lately. A
// broker that is killed has forgotten its last moments, and delivers orders again that
// were acknowledged, as if for the first time. Then the same outcome is stored again, in
// case that it was forgotten as well, and the handler isn't run again.
type recent struct {
	mu       sync.Mutex
	outcomes map[messageKey]order.Outcome
	ring     [recently]messageKey // in the order of their settling
	next     int
}

// recently is how many outcomes are remembered: more than what all instances may hold
// unacknowledged of all durables of a service.
const recently = 4096

// messageKey names a message by the lane that carries it and its place in the stream;
// the zero one names none. The time tells it from one of the same sequence in a stream
// that was made anew.
type messageKey struct {
	lane   *lane
	seq    uint64
	stored int64 // ns of Unix time
}

func (l *lane) key(meta *nats.MsgMetadata) messageKey {
	return messageKey{l, meta.Sequence.Stream, meta.Timestamp.UnixNano()}
}

func (r *recent) add(k messageKey, out order.Outcome) {
	if k == (messageKey{}) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.outcomes == nil {
		r.outcomes = make(map[messageKey]order.Outcome)
	}
	if _, again := r.outcomes[k]; again {
		return
	}
	delete(r.outcomes, r.ring[r.next])
	r.outcomes[k], r.ring[r.next] = out, k
	r.next = (r.next + 1) % recently
}

func (r *recent) get(k messageKey) (order.Outcome, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out, ok := r.outcomes[k]
	return out, ok
}
