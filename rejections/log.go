package rejections

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/watertight-go/watertight/broker"
)

// Config of a Log. The zero value works.
type Config struct {
	// Log gets an event a rejection, "<where>.rejected", and one when records
	// are dropped, "rejections.dropped"; both sampled. The zero value logs
	// nothing.
	Log zerolog.Logger

	// Metrics counts. Nil counts nothing.
	Metrics *Metrics

	// Instance names this process in records.
	Instance string
}

// Log takes down what is turned away. Its methods may be called together.
type Log struct {
	cfg     Config
	conn    *broker.Conn
	events  zerolog.Logger // sampled
	losses  zerolog.Logger // sampled
	queue   chan Rejection
	dropped atomic.Uint64
}

const (
	// capacity is how many records may wait to be stored, about 1 MB.
	capacity = 4096

	// writers is how many records are stored at a time. They don't use the
	// connection's window of asynchronous messages, which is the orders'.
	writers = 8

	// flushLimit is how long the broker may take for all that wait when Run
	// is told to end.
	flushLimit = 2 * time.Second
)

// New returns a log on a broker whose streams exist.
func New(conn *broker.Conn, cfg Config) *Log {
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	return &Log{
		cfg:    cfg,
		conn:   conn,
		events: cfg.Log.Sample(&zerolog.BurstSampler{Burst: 5, Period: time.Second}),
		losses: cfg.Log.Sample(&zerolog.BurstSampler{Burst: 1, Period: 10 * time.Second}),
		queue:  make(chan Rejection, capacity),
	}
}

// Note counts a rejection, says it in the log, and hands it over to be stored. It
// never waits: when too many wait to be stored, the record is dropped. A nil Log
// does nothing.
func (l *Log) Note(r Rejection) {
	if l == nil {
		return
	}
	r.At, r.Instance, r.Detail = time.Now(), l.cfg.Instance, brief(r.Detail, maxDetail)
	l.cfg.Metrics.rejected(r)
	l.events.Info().Str("event", string(r.Where)+".rejected").Str("service", string(r.Service)).
		Str("reason", string(r.Reason)).Str("order_id", r.OrderID).Msg(r.Detail)
	select {
	case l.queue <- r:
	default:
		l.drop("too many wait to be stored", nil)
	}
}

// Run stores what is noted until ctx ends, then what waits still, for two seconds
// at most, and returns nil. What is noted later is never stored.
func (l *Log) Run(ctx context.Context) error {
	storing, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(flushLimit, giveUp) })
	defer stop()
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() { l.write(ctx, storing) })
	}
	wg.Wait()
	return nil
}

// write stores records until ctx has ended and none waits.
func (l *Log) write(ctx, storing context.Context) {
	for {
		select {
		case r := <-l.queue:
			l.store(storing, r)
		case <-ctx.Done():
			if len(l.queue) == 0 {
				return
			}
		}
	}
}

func (l *Log) store(ctx context.Context, r Rejection) {
	m, err := r.message()
	if err == nil {
		_, err = l.conn.Store(ctx, m)
	}
	if err != nil {
		l.drop("not stored", err)
	}
}

func (l *Log) drop(why string, err error) {
	l.cfg.Metrics.dropped.Inc()
	n := l.dropped.Add(1)
	l.losses.Warn().Err(err).Str("event", "rejections.dropped").Str("reason", why).Uint64("dropped", n).
		Msg("records of rejections are missing from the broker; orders are not affected")
}
