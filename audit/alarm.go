package audit

import (
	"fmt"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// Alarm is something that is wrong with what the broker holds.
type Alarm struct {
	Kind  AlarmKind
	Name  string    // of the durable or the stream: "ORDERS/payment", "DLQ"; of Drifted and Silent: empty
	Since time.Time // how long it has been so, as far as was seen
	Says  string    // what is wrong, for people
}

// AlarmKind is what is wrong.
type AlarmKind string

// The kinds.
const (
	// Stranded: the oldest order that a service is owed has been the oldest for
	// more than its ack wait and a minute, though the service isn't paused: no
	// process of it runs, or none of them can work, or somebody holds the order
	// and doesn't let go. A backlog that is worked off isn't stranded, however
	// slowly: while the service settles anything, a durable of it may stand still
	// for an hour.
	Stranded AlarmKind = "stranded"

	// Overdue is the same of a retry tier: its oldest retry is due, and has been
	// the oldest, for as long.
	Overdue AlarmKind = "overdue"

	// Missing: a stream or a durable of the plan isn't there.
	Missing AlarmKind = "missing"

	// Drifted: some of them differ from the plan. It is one alarm, however many.
	Drifted AlarmKind = "drifted"

	// Full: a stream that refuses what is new when it is full has reached 80 % of
	// its bytes; ORDERS and OUTCOMES 90 %, since they are trimmed from 80 % on.
	// The alarm is cleared 5 % below.
	Full AlarmKind = "full"

	// Silent: the broker has told nothing for a minute. The other alarms stay as
	// they are meanwhile.
	Silent AlarmKind = "silent"
)

// AlarmKinds are all kinds.
func AlarmKinds() []AlarmKind { return []AlarmKind{Stranded, Overdue, Missing, Drifted, Full, Silent} }

const (
	// margin is what a service has beyond the ack wait, after which the orders of
	// a killed process come again.
	margin = time.Minute

	// turn is how long a durable may wait for its turn while its service works.
	// Overloaded, or with an open breaker, its lanes have few slots between them.
	turn = time.Hour

	silence = time.Minute

	fullPercent    = 80
	trimmedPercent = 90
	fullSlack      = 5
)

// facts are what one look at the broker learned.
type facts struct {
	At      time.Time
	Err     error // why nothing else was
	Queues  []queue
	Fills   []fill
	Changes []broker.Change
}

// queue is a durable and what it is owed.
type queue struct {
	Name    string // "ORDERS/payment"
	Service order.Service
	Mark    uint64 // changes when the oldest is settled: the ack floor; of a tier, its oldest retry
	Pending uint64 // not delivered
	Unacked int    // delivered, not acknowledged
	Paused  bool
	AckWait time.Duration
	Tier    bool
	Due     time.Time // of a tier's oldest retry
}

// owed reports whether there is something that the service could settle.
func (q queue) owed() bool { return !q.Paused && q.Pending+uint64(q.Unacked) > 0 }

// fill is how full a stream is that refuses when it is full.
type fill struct {
	Name       string
	Bytes, Max uint64
}

// alarm is that of a queue which has stood still since a time.
func (q queue) alarm(since, now time.Time) Alarm {
	if !q.Tier {
		return Alarm{Stranded, q.Name, since, fmt.Sprintf("%s: the oldest order hasn't been settled for %v; %d wait, %d are delivered",
			q.Name, now.Sub(since).Round(time.Second), q.Pending, q.Unacked)}
	}
	if q.Due.After(since) {
		since = q.Due
	}
	return Alarm{Overdue, q.Name, since, fmt.Sprintf("%s: the oldest retry, message %d, was due at %s", q.Name, q.Mark, q.Due.UTC().Format(time.RFC3339))}
}

// alarm is that of a stream.
func (l fill) alarm(now time.Time) Alarm {
	return Alarm{Full, l.Name, now, fmt.Sprintf("%s: %d %% of %d bytes are taken; full, it refuses what is new", l.Name, l.percent(), l.Max)}
}

func (l fill) percent() uint64 { return l.Bytes * 100 / l.Max }

// limit is the percentage from which on the stream is nearly full.
func (l fill) limit(stands bool) uint64 {
	limit := uint64(fullPercent)
	if l.Name == broker.StreamOrders || l.Name == broker.StreamOutcomes {
		limit = trimmedPercent
	}
	if stands {
		limit -= fullSlack
	}
	return limit
}

// changed returns the alarms of what differs from the plan.
func changed(changes []broker.Change, now time.Time) (some []Alarm) {
	var drifted []string
	for _, c := range changes {
		if c.Action == broker.Missing {
			some = append(some, Alarm{Missing, c.Name, now, c.String()})
			continue
		}
		drifted = append(drifted, c.String())
	}
	if len(drifted) > 0 {
		some = append(some, Alarm{Drifted, "", now, fmt.Sprintf("%d streams or durables differ from the plan, such as %s", len(drifted), drifted[0])})
	}
	return some
}
