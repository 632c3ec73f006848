package load

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"time"

	"github.com/watertight-go/watertight/broker"
)

// Broker is what Run needs of a broker; *broker.Conn is one.
type Broker interface {
	// StoreAsync publishes a message and returns; answer is called once.
	StoreAsync(m broker.Message, answer func(broker.Receipt, error))
}

// Config says what to send, and how fast.
type Config struct {
	// Profile is how many orders are sent a second, over time. Required: Steady
	// for a rate that doesn't change.
	Profile Profile

	// Orders says which. The zero value is the well-formed orders of seed 0.
	Orders Orders

	// Start is when the first order is due: now or later. Defaults to now.
	Start time.Time

	// Duration is how long orders fall due. Defaults to 0: until ctx ends.
	Duration time.Duration

	// Window is how many orders may wait for the broker's ack. When it is
	// full, sending waits, and what is late then is sent as soon as there is
	// room. Defaults to broker.MaxAsync, which is also the most.
	Window int

	// Drain is how long Run waits for outstanding acks when ctx has ended.
	// Defaults to 6 s: the broker's answer takes five at most.
	Drain time.Duration
}

func (c Config) validate() error {
	if err := c.Profile.validate(); err != nil {
		return err
	}
	switch {
	case math.IsNaN(c.Orders.Malformed) || c.Orders.Malformed < 0 || c.Orders.Malformed > 1:
		return fmt.Errorf("the share of malformed orders must be 0 to 1, got %v", c.Orders.Malformed)
	case c.Window < 0 || c.Window > broker.MaxAsync:
		return fmt.Errorf("window must be 1 to %d, got %d", broker.MaxAsync, c.Window)
	case c.Duration < 0:
		return fmt.Errorf("duration must not be negative, got %v", c.Duration)
	case c.Drain < 0:
		return fmt.Errorf("drain must not be negative, got %v", c.Drain)
	default:
		return nil
	}
}

// Run sends orders until ctx ends or Duration is over, each at the time that the profile gives it,
// whatever became of those before it. An order that is late is sent at once, with how late it is
// in the journal; none is skipped. Then Run waits for outstanding acks and
// returns nil, or an error when some don't come; those orders are Unknown.
//
// A journal takes one Run. Phases are for the caller to mark, by wall time.
func Run(ctx context.Context, b Broker, j *Journal, cfg Config) error {
	if err := cfg.validate(); err != nil {
		return fmt.Errorf("run load: %w", err)
	}
	base := time.Now()
	if cfg.Start.IsZero() {
		cfg.Start = base
	}
	r := &runner{
		broker: b, journal: j, orders: cfg.Orders, base: base,
		plan:   newSchedule(cfg.Start, cfg.Profile),
		window: make(chan struct{}, cmp.Or(cfg.Window, broker.MaxAsync)), until: math.MaxInt64,
	}
	if cfg.Duration > 0 {
		r.until = cfg.Start.Add(cfg.Duration).UnixNano()
	}
	if err := j.begin(r.plan, r.orders); err != nil {
		return fmt.Errorf("run load: %w", err)
	}
	err := r.send(ctx)
	end := r.until // all that was due has been sent
	if ctx.Err() != nil || err != nil {
		end = min(end, r.now())
	}
	j.end(end)
	if err != nil {
		return fmt.Errorf("run load: %w", err)
	}
	return r.drain(cmp.Or(cfg.Drain, 6*time.Second))
}

type runner struct {
	broker  Broker
	journal *Journal
	orders  Orders
	plan    schedule
	base    time.Time
	until   int64         // what is due then or later isn't sent
	window  chan struct{} // holds one for each order that has no answer yet
}

// now is the time, in nanoseconds of Unix time. It doesn't jump when the wall
// clock is set.
func (r *runner) now() int64 { return r.base.UnixNano() + int64(time.Since(r.base)) }

// send sends until ctx or the duration ends.
func (r *runner) send(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for i := 0; ; i++ {
		// The order is made before it is due, which keeps that out of the
		// lateness.
		due := r.plan.at(i)
		if due >= r.until {
			return nil
		}
		m, _, err := r.orders.Message(i, time.Unix(0, due))
		if err != nil {
			return err
		}
		if wait := due - r.now(); wait > 0 {
			timer.Reset(time.Duration(wait))
			select {
			case <-timer.C:
			case <-ctx.Done():
				return nil
			}
		}
		select {
		case r.window <- struct{}{}:
		default:
			select {
			case r.window <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
		}
		if ctx.Err() != nil {
			<-r.window
			return nil
		}
		r.journal.sent(i, m.ID, r.now())
		r.broker.StoreAsync(m, func(receipt broker.Receipt, err error) {
			r.journal.answered(i, receipt, err, r.now())
			<-r.window
		})
	}
}

// drain waits until nothing waits for an ack: when the whole window can be
// taken.
func (r *runner) drain(limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for range cap(r.window) {
		select {
		case r.window <- struct{}{}:
		case <-timer.C:
			return fmt.Errorf("run load: %d orders had no answer within %v", r.journal.giveUp(), limit)
		}
	}
	return nil
}
