// Package demo is what a demonstration promises and how it judges itself: the
// plan of a peak sale in one process, the verdict on what was measured, and the
// report that shows both. It runs nothing: whoever stages the plan hands the
// measurements in.
//
//	Plan ──stage──▶ Measured ──Judge──▶ Verdict ──▶ Report: text, JSON
package demo

import (
	"fmt"
	"time"

	"github.com/watertight-go/watertight/order"
)

// Plan says what is staged. DefaultPlan is the one that the figures in the README
// come from.
type Plan struct {
	Rate float64 // orders a second, open loop
	Seed uint64  // the same orders and the same dice again

	Services []order.Service
	Faulty   order.Service // the one that is struck
	Fault    string        // with what, as the simulator writes it

	Slots   int             // of each service; the control has one pool of all of them
	Timeout time.Duration   // of one attempt
	Retry   []time.Duration // the tiers

	WarmUp   time.Duration // not counted
	Baseline time.Duration
	Struck   time.Duration // the fault, each service in its own bulkhead
	Control  time.Duration // the same fault, all services in one bulkhead
	Recovery time.Duration // the longest wait until all is settled

	Malformed float64 // share of orders that no service can read
	Declines  float64 // share of cards that are declined
}

// What a plan must have to show anything.
const (
	// floodFactor is how many times over the fault must be able to fill all
	// slots: a smaller flood wouldn't sink even a shared pool, and a control
	// that can't fail proves nothing.
	floodFactor = 4

	minSamples = 200 // of a service in a window of one second
	minWindows = 6   // of a judged phase
)

// DefaultPlan is a sale at 300 orders a second whose payment provider hangs.
func DefaultPlan() Plan {
	return Plan{
		Rate:      300,
		Seed:      1,
		Services:  order.Services(),
		Faulty:    order.Payment,
		Slots:     16,
		Timeout:   time.Second,
		Retry:     []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second},
		WarmUp:    2 * time.Second,
		Baseline:  9 * time.Second,
		Struck:    10 * time.Second,
		Control:   7 * time.Second,
		Recovery:  12 * time.Second,
		Malformed: 0.005,
		Declines:  0.01,
	}
}

// Pool is how many slots the control's one pool has.
func (p Plan) Pool() int { return p.Slots * len(p.Services) }

// Validate reports why the plan could show nothing, naming the numbers.
func (p Plan) Validate() error {
	if flood, need := p.Rate*p.Timeout.Seconds(), float64(floodFactor*p.Pool()); flood < need {
		return fmt.Errorf("rate %g × timeout %v fills %.0f slots; sinking a shared pool of %d needs %d × that, %.0f: raise the rate to %.0f or more",
			p.Rate, p.Timeout, flood, p.Pool(), floodFactor, need, need/p.Timeout.Seconds())
	}
	if samples := p.Rate * (1 - p.Malformed); samples < minSamples {
		return fmt.Errorf("rate %g gives %.0f samples a service in a window of 1 s; a p99 needs %d", p.Rate, samples, minSamples)
	}
	for _, phase := range []struct {
		name   string
		length time.Duration
	}{{"baseline", p.Baseline}, {"fault", p.Struck}, {"control", p.Control}} {
		if windows := int(phase.length / time.Second); windows < minWindows {
			return fmt.Errorf("the %s phase of %v has %d windows of 1 s; its medians need %d", phase.name, phase.length, windows, minWindows)
		}
	}
	if p.WarmUp < 0 || p.Recovery <= 0 {
		return fmt.Errorf("warm-up %v must not be negative and recovery %v must be positive", p.WarmUp, p.Recovery)
	}
	return nil
}
