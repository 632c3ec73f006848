package broker

import (
	"cmp"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/order"
)

// Topology is what has to exist on the broker, as data.
type Topology struct {
	Streams  []jetstream.StreamConfig
	Durables []DurableConfig
}

// DurableConfig is a durable consumer and the stream it reads.
type DurableConfig struct {
	Stream string
	jetstream.ConsumerConfig
}

// Service is one subscriber group as the broker sees it.
type Service struct {
	Name order.Service

	// Events are the subjects of StreamOrders that the service handles.
	// Defaults to SubjectCreated.
	Events []string

	// Tiers is how many retry tiers there are beside TierNow.
	Tiers int

	// AckWait is how long the broker waits for the acknowledgement of a
	// delivery before it delivers again. Required.
	AckWait time.Duration

	// FromStart makes a service that is new on this broker begin with the
	// oldest stored order instead of the next one.
	FromStart bool
}

// Plan says how large and how safe the topology is to be.
type Plan struct {
	Services []Service

	// Replicas is how many servers keep each message. Defaults to 1.
	Replicas int

	// OrderBytes is how much the backlog of orders may take, in bytes; the
	// other streams are sized in proportion. A stream that is full refuses
	// what is new and loses nothing. Defaults to 1 GiB.
	OrderBytes int64

	// MaxPayload is the largest message the broker carries, headers
	// included; see Conn.MaxPayload. Required.
	MaxPayload int64
}

// Sizes and limits of the topology.
const (
	defaultOrderBytes = 1 << 30

	// dedupeWindow is how long the broker remembers message ids. It is a
	// help, not a promise: everything behind it bears a repetition.
	dedupeWindow = 2 * time.Minute

	// rejectionAge is how long the log of rejected work is kept.
	rejectionAge = 24 * time.Hour

	// maxAckPending bounds what all instances of a service hold at a time of
	// one durable. It is a safety bound; the bulkheads bind far earlier.
	maxAckPending = 1000

	// tierAckPending is the same for a retry tier, whose waiting messages
	// stay in the stream.
	tierAckPending = 256
)

// Topology returns the streams and durables of the plan.
func (p Plan) Topology() Topology {
	replicas := max(1, p.Replicas)
	size := cmp.Or(p.OrderBytes, defaultOrderBytes)
	keep := func(name string, bytes int64, subjects ...string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name:        name,
			Subjects:    subjects,
			Storage:     jetstream.FileStorage,
			Retention:   jetstream.LimitsPolicy,
			Discard:     jetstream.DiscardNew,
			MaxBytes:    bytes,
			Duplicates:  dedupeWindow,
			Replicas:    replicas,
			AllowDirect: true,
		}
	}

	orders := keep(StreamOrders, size, "orders.*")
	orders.Description = "orders and what became of them, until every service settled them"
	orders.DenyDelete = true
	orders.MaxMsgSize = int32(p.MaxPayload - MaxHeaderBytes)

	// While one service stands still, the others settle the whole backlog.
	outcomes := keep(StreamOutcomes, 3*size, outcomeSubject+".*.*")
	outcomes.Description = "what each service decided"
	outcomes.DenyDelete = true

	dead := keep(StreamDeadLetters, size, DeadSubject("*", "*"), DeskSubject("*", "*"))
	dead.Description = "orders given up by a service, whole"
	dead.DenyPurge = true

	stock := keep(StreamStock, size, stockSubject+".*")
	stock.Description = "the inventory ledger"
	stock.Compression = jetstream.S2Compression // it is kept whole
	stock.DenyDelete, stock.DenyPurge = true, true

	rejections := keep(StreamRejections, size/16, rejectionSubject+".*.*")
	rejections.Description = "what was turned away and why, for a day"
	rejections.Discard = jetstream.DiscardOld
	rejections.MaxAge = rejectionAge
	rejections.MaxMsgs = 1_000_000

	t := Topology{Streams: []jetstream.StreamConfig{orders, outcomes, dead, stock, rejections, suspects(size/64, replicas)}}
	for _, s := range p.Services {
		t = t.with(s, keep, size/4)
	}
	return t
}

// with adds a service's retry stream and its durables.
func (t Topology) with(s Service, keep func(string, int64, ...string) jetstream.StreamConfig, retryBytes int64) Topology {
	stream := RetryStream(s.Name)
	retries := keep(stream, retryBytes, RetrySubject(s.Name, "*"))
	retries.Description = "retries of " + string(s.Name) + " that wait"
	retries.Retention = jetstream.WorkQueuePolicy
	t.Streams = append(t.Streams, retries)

	durable := func(name, stream string, pending int, filters ...string) DurableConfig {
		return DurableConfig{Stream: stream, ConsumerConfig: jetstream.ConsumerConfig{
			Durable:        name,
			FilterSubjects: filters,
			AckPolicy:      jetstream.AckExplicitPolicy,
			AckWait:        s.AckWait,
			MaxDeliver:     -1,
			MaxAckPending:  pending,
			DeliverPolicy:  jetstream.DeliverAllPolicy,
		}}
	}
	events := s.Events
	if len(events) == 0 {
		events = []string{SubjectCreated}
	}
	main := durable(Durable(s.Name), StreamOrders, maxAckPending, events...)
	if !s.FromStart {
		main.DeliverPolicy = jetstream.DeliverNewPolicy
	}
	t.Durables = append(t.Durables, main)
	for i := range s.Tiers + 1 {
		tier := TierNow
		if i > 0 {
			tier = Tier(i)
		}
		t.Durables = append(t.Durables, durable(TierDurable(s.Name, tier), stream, tierAckPending, RetrySubject(s.Name, tier)))
	}
	return t
}

// Validate reports what is wrong with the plan.
func (p Plan) Validate() error {
	if p.MaxPayload < 4*MaxHeaderBytes {
		return fmt.Errorf("the broker carries messages of %d bytes; Watertight needs max_payload of at least %d", p.MaxPayload, 4*MaxHeaderBytes)
	}
	if p.Replicas < 0 || p.Replicas > 5 {
		return fmt.Errorf("replicas must be 1 to 5, got %d", p.Replicas)
	}
	if p.OrderBytes < 0 || (p.OrderBytes > 0 && p.OrderBytes < 1<<20) {
		return fmt.Errorf("the order stream needs at least 1 MiB, got %d bytes", p.OrderBytes)
	}
	for _, s := range p.Services {
		if !ValidService(s.Name) {
			return fmt.Errorf("service %q: 1 to 32 lower-case letters, digits and inner dashes", s.Name)
		}
		if s.AckWait <= 0 {
			return fmt.Errorf("service %s: the ack wait must be positive, got %v", s.Name, s.AckWait)
		}
		if s.Tiers < 0 {
			return fmt.Errorf("service %s: the number of retry tiers must not be negative, got %d", s.Name, s.Tiers)
		}
	}
	return nil
}

// MaxPayload is the largest message the connected broker carries, headers
// included.
func (c *Conn) MaxPayload() int64 { return c.nc.MaxPayload() }
