package consumer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watertight-go/watertight/broker"
)

// puller asks one durable for messages, with at most one request open. It never
// asks for more than its caller can begin at once, so nothing waits in a client
// buffer while its ack deadline runs. It belongs to one goroutine.
//
// The library's own Consume keeps a window of messages on the client's side, and
// its Fetch subscribes anew for each request; here one subscription serves all.
type puller struct {
	nc      *nats.Conn
	subject string // where to ask
	sub     *nats.Subscription
	inbox   string
	arrived chan *nats.Msg
	asked   int    // requests so far, so that a late answer to an old one is known
	heard   func() // the broker has answered
	timer   *time.Timer
}

// Timing of requests. A request that waits is ended by the broker after
// longPoll; the broker shows that it is still there every heartbeat, and when
// two are missing the request is taken for lost.
const (
	longPoll  = 30 * time.Second
	heartbeat = 5 * time.Second

	// noWaitLimit is how long the answer to a request that doesn't wait may
	// take. The broker gives none at all while the durable is paused or at
	// its limit of unacknowledged messages.
	noWaitLimit = time.Second
)

// errLost is returned when the broker stopped answering.
var errLost = errors.New("no answer from the broker")

func newPuller(conn *broker.Conn, stream, durable string, most int, heard func()) (*puller, error) {
	p := &puller{
		nc:      conn.NATS(),
		subject: conn.NextSubject(stream, durable),
		arrived: make(chan *nats.Msg, most+64),
		heard:   heard,
		timer:   time.NewTimer(longPoll),
	}
	p.timer.Stop()
	return p, p.subscribe()
}

func (p *puller) subscribe() error {
	p.inbox = p.nc.NewInbox()
	sub, err := p.nc.ChanSubscribe(p.inbox+".*", p.arrived)
	if err != nil {
		return fmt.Errorf("subscribe for %s: %w", p.subject, err)
	}
	p.sub = sub
	return nil
}

// next waits for one message until ctx ends, then it returns ctx's cause. It
// returns errLost when the broker stopped answering, and what the broker says
// when it refuses.
func (p *puller) next(ctx context.Context) (*nats.Msg, error) {
	for {
		if m := p.late(); m != nil {
			return m, nil
		}
		if err := p.ask(request(1, longPoll)); err != nil {
			return nil, err
		}
		m, err := p.answer(ctx, 2*heartbeat+time.Second)
		if errors.Is(err, errLost) {
			return nil, errors.Join(err, p.renew())
		}
		if m != nil || err != nil {
			return m, err
		}
	}
}

// fetch appends to dst what is there now, at most n messages. It adds nothing,
// and returns no error, when there is nothing or the durable is paused.
func (p *puller) fetch(ctx context.Context, dst []*nats.Msg, n int) ([]*nats.Msg, error) {
	full := len(dst) + n
	for m := p.late(); m != nil; m = p.late() {
		dst = append(dst, m)
		if len(dst) == full {
			return dst, nil
		}
	}
	if len(dst) > full-n {
		return dst, nil
	}
	if err := p.ask(request(n, 0)); err != nil {
		return dst, err
	}
	for len(dst) < full {
		m, err := p.answer(ctx, noWaitLimit)
		if errors.Is(err, errLost) {
			// The request may be open still: give it up, so that it can't
			// fill slots that are no longer there.
			return dst, p.renew()
		}
		if m == nil {
			return dst, err
		}
		dst = append(dst, m)
	}
	return dst, nil
}

// late returns a message that came when nobody waited for it any more.
func (p *puller) late() *nats.Msg {
	for {
		select {
		case m := <-p.arrived:
			if !isStatus(m) {
				return m
			}
		default:
			return nil
		}
	}
}

// isStatus tells the broker's word about a request from a message: only a
// message has somewhere to send its acknowledgement. Headers don't tell: they
// are the publisher's.
func isStatus(m *nats.Msg) bool { return m.Reply == "" }

// ask opens a request.
func (p *puller) ask(body []byte) error {
	p.asked++
	if err := p.nc.PublishRequest(p.subject, p.reply(), body); err != nil {
		return fmt.Errorf("pull %s: %w", p.subject, err)
	}
	return nil
}

func (p *puller) reply() string { return p.inbox + "." + strconv.Itoa(p.asked) }

// answer waits for one answer to the open request. A nil message without an
// error means that the request has ended.
func (p *puller) answer(ctx context.Context, limit time.Duration) (*nats.Msg, error) {
	p.timer.Reset(limit)
	defer p.timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-p.timer.C:
			return nil, fmt.Errorf("pull %s: %w within %v", p.subject, errLost, limit)
		case m := <-p.arrived:
			status := m.Header.Get("Status")
			switch {
			case !isStatus(m):
				p.heard()
				return m, nil
			case m.Subject != p.reply(): // of an earlier request
			case status == "100": // still there
				p.heard()
				p.timer.Reset(limit)
			case status == "404", status == "408":
				p.heard()
				return nil, nil
			default:
				return nil, fmt.Errorf("pull %s: %s %s", p.subject, status, m.Header.Get("Description"))
			}
		}
	}
}

// renew gives up an open request: the broker drops it when nobody listens on its
// inbox any more. What arrived before stays to be read.
func (p *puller) renew() error {
	if err := p.stop(); err != nil {
		return err
	}
	return p.subscribe()
}

// stop ends the subscription and waits until all that was sent has arrived.
func (p *puller) stop() error {
	// Drain tells the broker first and goes on receiving what is under way;
	// Unsubscribe would drop that, to be delivered again after the ack wait.
	if err := p.sub.Drain(); err != nil {
		return fmt.Errorf("end pull of %s: %w", p.subject, err)
	}
	if err := p.nc.FlushTimeout(flushLimit); err != nil {
		return fmt.Errorf("end pull of %s: %w", p.subject, err)
	}
	return nil
}

// close ends the pull and hands back what arrived and was not begun. The request
// is closed first: a hand-back with our own request still open would come
// straight back.
func (p *puller) close(handBack func(*nats.Msg)) error {
	err := p.stop()
	for m := p.late(); m != nil; m = p.late() {
		handBack(m)
	}
	return err
}

// request is the body of a pull request: wait zero asks for what is there now.
func request(batch int, wait time.Duration) []byte {
	if wait == 0 {
		return fmt.Appendf(nil, `{"batch":%d,"no_wait":true}`, batch)
	}
	return fmt.Appendf(nil, `{"batch":%d,"expires":%d,"idle_heartbeat":%d}`, batch, wait, heartbeat)
}
