package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/order"
)

// Access is one thing that the services do on a broker, and whether the user of
// the connection may.
type Access struct {
	Does string // "publish orders.created", "pull ORDERS/payment"

	// Err is nil when it is allowed; ErrNoAnswer when the server doesn't answer,
	// as it treats what isn't allowed; ErrNotThere when nobody can tell.
	Err error
}

// Errors of Access.
var (
	// ErrNoAnswer: the server is silent about what it answers at once when it
	// is allowed.
	ErrNoAnswer = errors.New("no answer")

	// ErrNotThere: the stream or durable doesn't exist, or has no leader.
	ErrNotThere = errors.New("not there")
)

// accessTimeout is how long a question may go unanswered. An answer takes some
// milliseconds.
const accessTimeout = 2 * time.Second

// Access asks whether the user of this connection may publish and pull what the
// services of the plan do. Nothing is stored and nothing delivered: the messages
// name a stream that isn't theirs and the pulls can't be read, and whoever isn't
// allowed doesn't even get that refusal.
func (c *Conn) Access(ctx context.Context, p Plan) []Access {
	subjects := []string{SubjectCreated, StockSubject(0), RejectionSubject("bulkhead", "full")}
	for _, s := range p.Services {
		subjects = append(
			subjects,
			OutcomeSubject(s.Name, order.Refused), RetrySubject(s.Name, TierNow), DeadSubject(s.Name, "exhausted"),
			DeskSubject(s.Name, DeskReplayed), suspectSubject(SuspectKey(s.Name, StreamOrders, 1)),
		)
	}
	durables := p.Topology().Durables
	all := make([]Access, len(subjects)+len(durables))

	ctx, cancel := context.WithTimeout(ctx, accessTimeout)
	defer cancel()
	var asking sync.WaitGroup
	for i, subject := range subjects {
		asking.Go(func() { all[i] = Access{"publish " + subject, c.mayPublish(ctx, subject)} })
	}
	for i, d := range durables {
		asking.Go(func() {
			all[len(subjects)+i] = Access{"pull " + d.Stream + "/" + d.Durable, c.mayPull(ctx, d)}
		})
	}
	asking.Wait()
	return all
}

func (c *Conn) mayPublish(ctx context.Context, subject string) error {
	m := &nats.Msg{Subject: subject, Header: nats.Header{jetstream.ExpectedStreamHeader: {"NONE-OF-OURS"}}}
	return c.refused(ctx, m)
}

func (c *Conn) mayPull(ctx context.Context, d DurableConfig) error {
	return c.refused(ctx, &nats.Msg{Subject: c.NextSubject(d.Stream, d.Durable), Data: []byte(`{"batch":"none"}`)})
}

// refused sends what is refused by whom it reaches, and returns nil if it was.
func (c *Conn) refused(ctx context.Context, m *nats.Msg) error {
	switch _, err := c.nc.RequestMsgWithContext(ctx, m); {
	case errors.Is(err, nats.ErrNoResponders):
		return ErrNotThere
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return ErrNoAnswer
	default:
		return err
	}
}
