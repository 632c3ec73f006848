package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/rejections"
)

// refusal is why a message that is in hand isn't run. The zero value isn't put on
// record: it is the group that can't go on.
type refusal struct {
	where  rejections.Where
	reason rejections.Reason
	detail string
}

var (
	breakerOpen = refusal{rejections.Bulkhead, rejections.Breaker, "the breaker isn't closed"}
	slotsTaken  = refusal{rejections.Bulkhead, rejections.Full, "no slot in time"}
	rateSpent   = refusal{rejections.Bulkhead, rejections.Rate, "slots are free, and no start was allowed in time"}
	shareTaken  = refusal{rejections.Consumer, rejections.Full, "no slot of those that retries may have in time"}
	gateClosed  = refusal{rejections.Consumer, rejections.Alone, "an order runs alone, or couldn't"}
)

// lacking says what a message waited for in vain, after waiting ended with err, and
// for how long it is put off.
func (g *Group) lacking(err error) (pause time.Duration, why refusal) {
	switch s := g.cfg.Bulkhead.Stats(); {
	case errors.Is(err, bulkhead.ErrClosed):
		return slotPause, refusal{}
	case errors.Is(err, errOpened), s.State != bulkhead.Closed:
		at, _ := g.cfg.Bulkhead.ReadyAt()
		return max(time.Until(at), slotPause), breakerOpen
	case s.InUse < s.Slots:
		return slotPause, rateSpent
	default:
		return slotPause, slotsTaken
	}
}

// refused puts on record that a message is handed back; unless the group stops,
// which refuses nothing.
func (l *lane) refused(ctx context.Context, m *nats.Msg, why refusal) {
	if why == (refusal{}) || ctx.Err() != nil {
		return
	}
	l.group.cfg.Rejections.Note(rejections.Rejection{
		Service: l.group.cfg.Service, Where: why.where, Reason: why.reason,
		OrderID: broker.ParseHop(m.Header).OrderID, Detail: l.durable + ": " + why.detail,
	})
}

// givenUp puts on record that an order is a dead letter, if it is one for what it
// is and not for what its handler said.
func (g *Group) givenUp(d *delivery, r deadletter.Reason, cause error) {
	var why rejections.Reason
	switch r {
	case deadletter.Expired:
		why = rejections.Deadline
	case deadletter.Poison:
		why = rejections.Poison
	default:
		return
	}
	g.cfg.Rejections.Note(rejections.Rejection{
		Service: g.cfg.Service, Where: rejections.Consumer, Reason: why, OrderID: d.name().OrderID, Detail: cause.Error(),
	})
}
