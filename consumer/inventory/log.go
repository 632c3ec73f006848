package inventory

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
)

// shard is the only one so far.
const shard = 0

// Errors of a StockLog.
var (
	// ErrLog: an entry of the log breaks a rule, so that nothing can be decided
	// after it. It takes a person, or a newer version of this program.
	ErrLog = errors.New("the stock log can't be understood")

	// ErrStopped: the StockLog's Run has ended.
	ErrStopped = errors.New("the stock log is not being served any more")

	errReading = errors.New("the stock log is being read")
)

// StockLog is the Ledger on the broker. Its methods may be called by many
// goroutines at once, and wait until Run serves them.
type StockLog struct {
	conn    *broker.Conn
	subject string
	asks    chan *ask
	ran     atomic.Bool
	stopped chan struct{}
	trouble atomic.Pointer[error]

	// Run's.
	state  *state
	whole  bool      // the state is all there was, when looked at last
	met    time.Time // when another instance was met last
	rested time.Time // when others last had their turn
}

// NewStockLog returns the log of the connection's broker, on which the stream
// must exist (broker.Conn.Provision). It does nothing before Run.
func NewStockLog(conn *broker.Conn) *StockLog {
	subject := broker.StockSubject(shard)
	l := &StockLog{
		conn:    conn,
		subject: subject,
		asks:    make(chan *ask),
		stopped: make(chan struct{}),
		state:   newState(subject),
	}
	l.note(errReading)
	return l
}

// Check returns nil when what is asked can be decided, as far as is known from
// the last time, or why not: the log is being read at first, the broker is away,
// the stream is full.
func (l *StockLog) Check() error { return *l.trouble.Load() }

func (l *StockLog) note(err error) { l.trouble.Store(&err) }

// Reserve implements Ledger. It returns an error that leaves the decision open
// when ctx ends first, when Run has ended (ErrStopped), and when the broker can't
// be reached or refuses the entry (broker.ErrFull). A reservation that isn't as
// its fields say is rejected: in the log, it would be there for ever.
func (l *StockLog) Reserve(ctx context.Context, r Reservation) (Decision, error) {
	if err := r.check(); err != nil {
		return Decision{}, order.Reject(err)
	}
	a, err := l.do(ctx, &ask{order: r})
	return a.decision, err
}

// Add makes articles known that the log doesn't know yet, with what there is of
// them; those that it knows are left as they are. So a list may be added at every
// start and by every instance. The list has each SKU once, as ParseStock returns
// it. When Add fails, some of the articles may have been added; adding the list
// again adds the others.
func (l *StockLog) Add(ctx context.Context, articles []Item) error {
	seen := make(map[string]bool, len(articles))
	for _, it := range articles {
		if err := checkArticle(it); err != nil {
			return fmt.Errorf("add article %q: %w", it.SKU, err)
		}
		if seen[it.SKU] {
			return fmt.Errorf("add article %s: it stands twice", it.SKU)
		}
		seen[it.SKU] = true
	}
	if len(articles) == 0 {
		return nil
	}
	if _, err := l.do(ctx, &ask{articles: articles}); err != nil {
		return fmt.Errorf("add %d articles: %w", len(articles), err)
	}
	return nil
}

// Stock lists the articles by SKU, counting all that was decided before the call
// by any instance.
func (l *StockLog) Stock(ctx context.Context) ([]Level, error) {
	a, err := l.do(ctx, &ask{list: true})
	if err != nil {
		return nil, fmt.Errorf("list stock: %w", err)
	}
	return a.levels, nil
}

// ask is a caller who waits: for a decision about an order, unless it is for
// articles to be known or for the list.
type ask struct {
	order    Reservation
	articles []Item
	list     bool

	ctx      context.Context // the caller's, to see that nobody waits any more
	answered chan error      // for one; what is below was written before
	decision Decision
	levels   []Level
}

// do has the ask served and returns it with its answer, or an empty one.
func (l *StockLog) do(ctx context.Context, a *ask) (*ask, error) {
	a.ctx, a.answered = ctx, make(chan error, 1)
	asks := l.asks
	for {
		select {
		case asks <- a:
			asks = nil // sent; now for the answer
		case err := <-a.answered:
			return a, err
		case <-ctx.Done():
			if trouble := l.Check(); trouble != nil {
				return &ask{}, fmt.Errorf("%w (%w)", ctx.Err(), trouble)
			}
			return &ask{}, ctx.Err()
		case <-l.stopped:
			select {
			case err := <-a.answered:
				return a, err
			default:
				return &ask{}, ErrStopped
			}
		}
	}
}
