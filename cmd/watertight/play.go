package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/watertight-go/watertight/audit"
	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/internal/demo"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher/load"
)

// settleTime is how long after a phase's end the services stay as they are, so
// that its last orders have the time to finish that they are judged by.
const settleTime = load.Grace + 50*time.Millisecond

// play stages the plan and measures. It returns the cause of ctx's end when that
// comes first.
func (s *stage) play(ctx context.Context) (demo.Result, error) {
	p := s.cfg.plan
	if err := s.enter("warm-up", s.ownPlain); err != nil {
		return demo.Result{}, err
	}
	from, err := load.Now(ctx, s.seat)
	if err != nil {
		return demo.Result{}, err
	}
	watching, endWatching := context.WithCancel(ctx)
	sending, endSending := context.WithCancel(ctx)
	defer endWatching()
	defer endSending()
	watchers, watching := errgroup.WithContext(watching)
	defer func() { endWatching(); _ = watchers.Wait() }()
	start := time.Now().Add(50 * time.Millisecond)
	watchers.Go(func() error { return load.Follow(watching, s.seat, s.journal, from) })
	watchers.Go(func() error { return s.watch(watching, start) })
	sent := make(chan error, 1)
	go func() {
		sent <- load.Run(sending, s.seat, s.journal, load.Config{
			Profile: load.Steady(p.Rate), Start: start, Orders: load.Orders{Seed: p.Seed, Malformed: p.Malformed},
		})
	}()
	defer func() { endSending() }()

	phases, err := s.phases(ctx, start)
	endSending()
	if failed := <-sent; err == nil {
		err = failed
	}
	if err != nil {
		return demo.Result{}, err
	}

	begin := time.Now()
	if err := s.recover(ctx); err != nil {
		return demo.Result{}, err
	}
	phases = append(phases, demo.Phase{Name: "recovery", Window: load.Phase{From: begin, To: time.Now()}})
	return s.result(ctx, phases)
}

// enter begins a phase with the services in other bulkheads.
func (s *stage) enter(phase string, pools func() (map[order.Service]*bulkhead.Bulkhead, error)) error {
	s.mu.Lock()
	s.phase = phase
	s.mu.Unlock()
	if pools == nil {
		return nil
	}
	in, err := pools()
	if err != nil {
		return err
	}
	return s.change(in)
}

func (s *stage) ownPlain() (map[order.Service]*bulkhead.Bulkhead, error)   { return s.own(false) }
func (s *stage) ownBreaker() (map[order.Service]*bulkhead.Bulkhead, error) { return s.own(true) }

// phases plays what is judged, until the control's last orders had their time.
func (s *stage) phases(ctx context.Context, start time.Time) ([]demo.Phase, error) {
	p := s.cfg.plan
	warm := load.Phase{From: start, To: start.Add(p.WarmUp)}
	baseline := load.Phase{From: warm.To, To: warm.To.Add(p.Baseline)}
	struck := load.Phase{From: baseline.To, To: baseline.To.Add(p.Struck)}

	if err := until(ctx, warm.To); err != nil {
		return nil, err
	}
	if err := s.enter("baseline", nil); err != nil {
		return nil, err
	}
	if err := until(ctx, baseline.To); err != nil {
		return nil, err
	}
	if err := s.world.sim.Set(s.cfg.target, s.cfg.strike()); err != nil {
		return nil, err
	}
	if err := s.enter("fault", nil); err != nil {
		return nil, err
	}
	if err := until(ctx, struck.To.Add(settleTime)); err != nil {
		return nil, err
	}
	if err := s.enter("control", s.shared); err != nil {
		return nil, err
	}
	now := time.Now()
	control := load.Phase{From: now, To: now.Add(p.Control)}
	if err := until(ctx, control.To.Add(settleTime)); err != nil {
		return nil, err
	}
	return []demo.Phase{
		{Name: "warm-up", Window: warm},
		{Name: "baseline", Window: baseline},
		{Name: "fault", Window: struck},
		{Name: "control", Window: control},
	}, nil
}

// recover ends the fault, gives each service its own bulkhead with its breaker
// again, and waits until all that was sent is settled, or for as long as the
// plan allows.
func (s *stage) recover(ctx context.Context) error {
	if err := s.world.sim.Set(s.cfg.target, s.cfg.everyday(s.cfg.target)); err != nil {
		return err
	}
	if err := s.enter("recovery", s.ownBreaker); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, s.cfg.plan.Recovery)
	defer cancel()
	if err := s.journal.Wait(limited, s.cfg.plan.Services...); err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil // what is open now is counted as waiting, or as lost
}

// until waits for a time.
func until(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// result takes the measurements and judges.
func (s *stage) result(ctx context.Context, phases []demo.Phase) (demo.Result, error) {
	p := s.cfg.plan
	r := demo.Result{Plan: p, Phases: phases, Command: s.command}
	for _, name := range p.Services {
		r.Measured.Isolation = append(r.Measured.Isolation, demo.Isolation{Service: name})
	}
	for i := range phases {
		ph := &phases[i]
		if ph.Name == "warm-up" || ph.Name == "recovery" {
			continue
		}
		ph.Stats, ph.Lateness = s.journal.Stats(ph.Window), s.journal.Lateness(ph.Window)
		r.Measured.Lateness = max(r.Measured.Lateness, ph.Lateness.W99)
		for j, st := range ph.Stats {
			switch ph.Name {
			case "baseline":
				r.Measured.Isolation[j].Baseline = st
			case "fault":
				r.Measured.Isolation[j].Struck = st
			case "control":
				r.Measured.Isolation[j].Control = st
			}
		}
	}
	audited, err := audit.Run(ctx, s.seat, p.Services)
	if err != nil {
		return r, err
	}
	for i, a := range s.journal.Accounts() {
		lost := min(a.Open, audited.Services[i].Lost)
		r.Measured.Lost += audited.Services[i].Lost
		r.Accounts = append(r.Accounts, demo.Account{
			Service: a.Service, Sent: a.Stored, Done: a.Done, Dead: a.Dead, Waiting: a.Open - lost, Lost: lost,
			Twice: a.Twice, Pending: a.Fallbacks, Ghosts: s.mostGhosts(a.Service),
		})
	}
	if r.Groups, err = s.groups(ctx); err != nil {
		return r, err
	}
	c := s.world.sim.Counts()
	r.Effects = demo.Effects{
		Charged: c.Payment.OrdersCharged, ChargedTwice: c.Payment.DoubledByOrder + c.Payment.DoubledByKey,
		Mails: c.Mail.Mails, MailsRepeated: c.Mail.Repeated,
	}
	r.Verdict = demo.Judge(p, r.Measured)
	return r, nil
}

// command is how the user runs this program against the demo's server.
func (s *stage) command(args string) string {
	if needsServer(args) && (s.app.named() || s.server.URL() != defaultURL) {
		args += " -s " + s.server.URL()
	}
	return s.app.self(args)
}

// needsServer reports whether a verb asks the server that is already running.
func needsServer(args string) bool {
	return !slices.ContainsFunc([]string{"demo", "serve"}, func(verb string) bool {
		return len(args) >= len(verb) && args[:len(verb)] == verb
	})
}

// interrupted says where every order is when the demo is cut short.
func (s *stage) interrupted(ctx context.Context) error {
	s.mu.Lock()
	phase := s.phase
	s.mu.Unlock()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	audited, err := audit.Run(last, s.seat, s.cfg.plan.Services)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.app.stderr, "\nInterrupted in the %s phase; no verdict. Where the orders are:\n", phase)
	for _, a := range audited.Services {
		fmt.Fprintf(s.app.stderr, "  %-14s accepted %d = done %d + dead %d + waiting %d + running %d; lost %d\n",
			a.Service, a.Accepted, a.Done, a.Dead, a.Waiting, a.Running, a.Lost)
	}
	return ended(ctx)
}
