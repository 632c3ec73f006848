package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/watertight-go/watertight/internal/sim"
)

// plannedFault is a fault that begins and ends while a load runs.
type plannedFault struct {
	target sim.Target
	faults sim.Faults
	from   time.Duration // after the start
	to     time.Duration
}

// planFaults reads TARGET=FAULT@START+LENGTH, in the order in which they begin.
func planFaults(lines []string, admin string, whole time.Duration) ([]plannedFault, error) {
	if len(lines) == 0 {
		return nil, nil
	}
	if u, err := url.Parse(admin); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, usagef("--fault needs the simulator's switches: --sim-admin http://127.0.0.1:8091, got %q", admin)
	}
	plan := make([]plannedFault, 0, len(lines))
	for _, line := range lines {
		p, err := parsePlanned(line)
		if err != nil {
			return nil, usagef("--fault %s: %w", line, err)
		}
		if p.to > whole {
			return nil, usagef("--fault %s: it ends after %v, and the load after %v", line, p.to, whole)
		}
		for _, other := range plan {
			if other.target == p.target && p.from < other.to && other.from < p.to {
				return nil, usagef("--fault %s: %s has another fault at that time", line, p.target)
			}
		}
		plan = append(plan, p)
	}
	slices.SortFunc(plan, func(a, b plannedFault) int { return int(a.from - b.from) })
	return plan, nil
}

func parsePlanned(line string) (p plannedFault, err error) {
	fault, when, ok := strings.Cut(line, "@")
	begin, length, both := strings.Cut(when, "+")
	if !ok || !both {
		return p, fmt.Errorf("want TARGET=FAULT@START+LENGTH, such as payment=hang@10s+15s")
	}
	if p.target, p.faults, err = sim.ParseFault(fault); err != nil {
		return p, err
	}
	if p.from, err = time.ParseDuration(begin); err != nil || p.from < 0 {
		return p, fmt.Errorf("%q is not a time after the start, such as 10s", begin)
	}
	long, err := time.ParseDuration(length)
	if err != nil || long <= 0 {
		return p, fmt.Errorf("%q is not a length, such as 15s", length)
	}
	p.to = p.from + long
	return p, nil
}

// switches are those of a simulator in another process.
type switches struct {
	admin  string
	client http.Client
}

func newSwitches(admin string) *switches {
	return &switches{admin: strings.TrimSuffix(admin, "/"), client: http.Client{Timeout: 5 * time.Second}}
}

// reach returns nil when the simulator answers.
func (s *switches) reach(ctx context.Context) error {
	return s.do(ctx, http.MethodGet, "/faults", nil)
}

// follow switches each fault on and off at its time. What it may have switched on
// and not off when ctx ends, or when a switch fails, it switches off.
func (s *switches) follow(ctx context.Context, start time.Time, plan []plannedFault) error {
	on := make(map[sim.Target]bool)
	err := s.steps(ctx, start, plan, on)
	var still []error
	for _, target := range slices.Sorted(maps.Keys(on)) {
		if off := s.clear(context.WithoutCancel(ctx), target); off != nil {
			still = append(still, fmt.Errorf("switch off %s, which may be on still: %w", target, off))
		}
	}
	if len(still) > 0 {
		return errors.Join(still...)
	}
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the load has ended, and all is switched off
	}
	return err
}

// steps goes through the plan. on has what may be on when it returns.
func (s *switches) steps(ctx context.Context, start time.Time, plan []plannedFault, on map[sim.Target]bool) error {
	type step struct {
		at time.Time
		do func() error
	}
	var steps []step
	for _, p := range plan {
		begin := func() error {
			err := s.set(ctx, p.target, p.faults)
			if !errors.Is(err, errRefused) {
				on[p.target] = true // also when the answer didn't come
			}
			return err
		}
		end := func() error {
			err := s.clear(ctx, p.target)
			if err == nil {
				delete(on, p.target)
			}
			return err
		}
		steps = append(steps, step{start.Add(p.from), begin}, step{start.Add(p.to), end})
	}
	slices.SortStableFunc(steps, func(a, b step) int { return a.at.Compare(b.at) })
	for _, next := range steps {
		if err := until(ctx, next.at); err != nil {
			return err
		}
		if err := next.do(); err != nil {
			return err
		}
	}
	return nil
}

func (s *switches) set(ctx context.Context, t sim.Target, fs sim.Faults) error {
	body, err := json.Marshal(map[string]string{"fault": fs.String()})
	if err != nil {
		return err
	}
	return s.do(ctx, http.MethodPut, "/faults/"+string(t), body)
}

func (s *switches) clear(ctx context.Context, t sim.Target) error {
	return s.do(ctx, http.MethodDelete, "/faults/"+string(t), nil)
}

var errRefused = errors.New("the simulator refused")

func (s *switches) do(ctx context.Context, method, path string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, s.admin+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask the simulator: %w", err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask the simulator: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	said, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("ask the simulator: %w", err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		var problem struct {
			Detail string `json:"detail"`
		}
		_ = json.Unmarshal(said, &problem) // the status says it as well
		return fmt.Errorf("%w %s %s: %s %s", errRefused, method, path, resp.Status, printable(problem.Detail))
	}
	return nil
}
