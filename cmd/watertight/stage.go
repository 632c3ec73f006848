package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/broker/embedded"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/internal/demo"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher/load"
	"github.com/watertight-go/watertight/rejections"
)

// stage is the one process that a demo plays in.
type stage struct {
	app      *app
	cfg      demoConfig
	log      zerolog.Logger
	server   *embedded.Server
	conn     *broker.Conn // of the services
	seat     *broker.Conn // of the load and of whoever watches
	world    *outside
	support  *errgroup.Group
	end      context.CancelFunc // of support
	journal  *load.Journal
	gate     *consumer.Gate
	rejected *rejections.Log

	mu     sync.Mutex
	phase  string
	shift  *shift // at work
	past   []*shift
	ghosts map[order.Service]int // peaks
}

func (a *app) openStage(ctx context.Context, cfg demoConfig, log zerolog.Logger) (_ *stage, err error) {
	s := &stage{app: a, cfg: cfg, log: log, journal: load.NewJournal(cfg.plan.Services...), gate: consumer.NewGate(), ghosts: make(map[order.Service]int)}
	support, end := context.WithCancel(context.WithoutCancel(ctx))
	s.support, support = errgroup.WithContext(support)
	s.end = end
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	port := 0
	if cfg.network != nil {
		port = -1
	}
	if s.server, err = startEmbedded(embedded.Config{Store: cfg.store, Port: port}, log); err != nil {
		return s, err
	}
	for _, conn := range []**broker.Conn{&s.conn, &s.seat} {
		if *conn, err = inProcess(ctx, s.server, log); err != nil {
			return s, err
		}
	}
	// The durables are those of serve, so that it can go on with this store.
	durables := shape{timeout: max(cfg.plan.Timeout, defaultTimeout), retry: cfg.plan.Retry}
	if _, err = s.conn.Provision(ctx, durables.plan(true), false); err != nil {
		return s, err
	}
	s.rejected = rejections.New(s.conn, rejections.Config{Log: log, Instance: instance()})
	s.support.Go(func() error { return s.rejected.Run(support) })
	pretended := outsideConfig{sim: true, seed: cfg.plan.Seed, mailFrom: defaultMailFrom, network: cfg.network}
	if err = pretended.complete(cfg.plan.Services); err != nil {
		return s, err
	}
	if s.world, err = pretended.open(support, s.conn, cfg.plan.Services, log, s.support); err != nil {
		return s, err
	}
	return s, s.world.sim.Set(cfg.target, cfg.everyday(cfg.target))
}

// close ends all in order: the services, what they need, the server.
func (s *stage) close() error {
	s.mu.Lock()
	shifts := s.past
	if s.shift != nil {
		s.shift.cancel()
		shifts = append(shifts, s.shift)
	}
	s.mu.Unlock()
	var errs []error
	for _, old := range shifts {
		errs = append(errs, old.close(s.log))
	}
	s.end()
	errs = append(errs, ignoreCanceled(s.support.Wait()))
	if s.world != nil {
		s.world.close()
	}
	for _, c := range []*broker.Conn{s.conn, s.seat} {
		if c != nil {
			c.Close()
		}
	}
	if s.server != nil {
		errs = append(errs, s.server.Close())
	}
	return errors.Join(errs...)
}

// shift is the services at work, in certain bulkheads.
type shift struct {
	pools  map[order.Service]*bulkhead.Bulkhead // may be one for all
	cancel context.CancelFunc
	groups *errgroup.Group
}

// change puts the services into other bulkheads, the way a rolling restart does:
// those that come begin before those that go have finished.
func (s *stage) change(pools map[order.Service]*bulkhead.Bulkhead) error {
	ctx, cancel := context.WithCancel(context.Background())
	next := &shift{pools: pools, cancel: cancel}
	next.groups, ctx = errgroup.WithContext(ctx)
	for _, name := range s.cfg.plan.Services {
		g, err := consumer.New(s.conn, consumer.Config{
			Service:    name,
			Handler:    s.world.handlers[name],
			Policy:     consumer.Policy{Retry: s.cfg.plan.Retry},
			Bulkhead:   pools[name],
			Gate:       s.gate,
			Log:        s.log,
			Rejections: s.rejected,
			Instance:   instance(),
			Version:    version(),
			Late:       func(order.Order, order.Outcome, error) {},
		})
		if err != nil {
			cancel()
			return err
		}
		next.groups.Go(func() error { return g.Run(ctx) })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shift != nil {
		s.shift.cancel()
		s.past = append(s.past, s.shift)
	}
	s.shift = next
	return nil
}

// close waits for the groups, which were told to end, and closes their bulkheads.
func (s *shift) close(log zerolog.Logger) error {
	err := s.groups.Wait()
	closed := make(map[*bulkhead.Bulkhead]bool)
	for pool := range maps.Values(s.pools) {
		if !closed[pool] {
			closed[pool] = true
			drainPool(pool, log)
		}
	}
	return err
}

// own returns a bulkhead for each service.
func (s *stage) own(breaker bool) (map[order.Service]*bulkhead.Bulkhead, error) {
	pools := make(map[order.Service]*bulkhead.Bulkhead)
	for _, name := range s.cfg.plan.Services {
		cfg := poolConfig(name, s.cfg.plan.Slots, s.cfg.plan.Timeout, s.log, s.rejected)
		if !breaker {
			cfg.Breaker = nil
		}
		var err error
		if pools[name], err = bulkhead.New(cfg); err != nil {
			return nil, err
		}
	}
	return pools, nil
}

// shared returns one bulkhead for all services: the control.
func (s *stage) shared() (map[order.Service]*bulkhead.Bulkhead, error) {
	cfg := poolConfig("shared", s.cfg.plan.Pool(), s.cfg.plan.Timeout, s.log, s.rejected)
	cfg.Breaker = nil
	pool, err := bulkhead.New(cfg)
	pools := make(map[order.Service]*bulkhead.Bulkhead)
	for _, name := range s.cfg.plan.Services {
		pools[name] = pool
	}
	return pools, err
}

// watch prints a line a second and takes down how many slots ghosts hold.
func (s *stage) watch(ctx context.Context, begin time.Time) error {
	const every = 50 * time.Millisecond
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		line := s.look()
		if n%int(time.Second/every) != 0 {
			continue
		}
		second := secondOf(s.journal, begin, line.Phase)
		second.Ghosts, second.Slots = line.Ghosts, line.Slots
		if s.app.output != formJSON {
			fmt.Fprintln(s.app.stderr, second)
		}
	}
}

// look takes down the ghosts of this moment.
func (s *stage) look() demo.Line {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := demo.Line{Phase: s.phase}
	if s.shift == nil {
		return line
	}
	faulty := s.cfg.plan.Faulty
	if pool := s.shift.pools[faulty]; pool == s.shift.pools[s.cfg.healthy()] {
		// The shared pool: its ghosts are those of the fault.
		st := pool.Stats()
		line.Ghosts, line.Slots = st.Ghosts, st.Slots
		s.ghosts[faulty] = max(s.ghosts[faulty], st.Ghosts)
		return line
	}
	for name, pool := range s.shift.pools {
		st := pool.Stats()
		s.ghosts[name] = max(s.ghosts[name], st.Ghosts)
		if name == faulty {
			line.Ghosts, line.Slots = st.Ghosts, st.Slots
		}
	}
	return line
}

// mostGhosts is the peak of a service's ghosts so far.
func (s *stage) mostGhosts(name order.Service) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ghosts[name]
}

// healthy is one of the services that aren't struck.
func (c *demoConfig) healthy() order.Service {
	for _, s := range c.plan.Services {
		if s != c.plan.Faulty {
			return s
		}
	}
	return ""
}

// groups counts the dead letters by service and reason.
func (s *stage) groups(ctx context.Context) ([]demo.Group, error) {
	type kind struct {
		service order.Service
		reason  deadletter.Reason
	}
	var groups []demo.Group
	index := make(map[kind]int)
	for l, err := range deadletter.New(s.seat, operator()).All(ctx, deadletter.Filter{}) {
		if err != nil {
			return nil, err
		}
		k := kind{l.Service, l.Reason}
		i, ok := index[k]
		if !ok {
			i = len(groups)
			index[k] = i
			groups = append(groups, demo.Group{Service: l.Service, Reason: string(l.Reason), Error: l.Error, Seq: l.Seq})
		}
		groups[i].Count++
	}
	slices.SortFunc(groups, func(a, b demo.Group) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Reason, b.Reason))
	})
	return groups, nil
}
