package demo_test

import (
	"strings"
	"testing"
	"time"

	"github.com/watertight-go/watertight/internal/demo"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher/load"
)

const ms = time.Millisecond

// stats is a phase of a service with enough samples.
func stats(finished float64, w50, w99 time.Duration) load.Stats {
	return load.Stats{Finished: finished, Windows: 9, MinWindow: 290, Samples: 2700, W50: w50, W99: w99, P50: w50, P99: w99, Max: 2 * w99}
}

// good is a demonstration that shows what it is to show; change spoils it.
func good(change func(*demo.Measured)) demo.Measured {
	m := demo.Measured{Lateness: ms}
	for _, s := range order.Services() {
		i := demo.Isolation{Service: s, Baseline: stats(1, 6*ms, 10*ms), Struck: stats(1, 7*ms, 14*ms), Control: stats(0.13, 3000*ms, 7000*ms)}
		if s == order.Payment {
			i.Struck = stats(0.02, 5000*ms, 9000*ms)
		}
		m.Isolation = append(m.Isolation, i)
	}
	if change != nil {
		change(&m)
	}
	return m
}

// The services in the order of Measured.Isolation.
const (
	payment = iota
	inventory
	notification
)

func TestJudge(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*demo.Measured)
		want   demo.Word
		cause  string
	}{
		"a neighbour that didn't notice, and a pool that sank": {want: demo.Proven},
		"the struck service is not judged": {
			change: func(m *demo.Measured) { m.Isolation[payment].Struck = stats(0, 9000*ms, 9999*ms) },
			want:   demo.Proven,
		},
		"a healthy service that finished 98 % held": {
			change: func(m *demo.Measured) { m.Isolation[inventory].Struck.Finished = 0.98 },
			want:   demo.Proven,
		},
		"a healthy service that finished less didn't": {
			change: func(m *demo.Measured) { m.Isolation[inventory].Struck.Finished = 0.979 },
			want:   demo.NotHeld,
		},
		"its share is taken of the baseline's": {
			change: func(m *demo.Measured) {
				m.Isolation[inventory].Baseline.Finished = 0.992
				m.Isolation[inventory].Struck.Finished = 0.975
			},
			want: demo.Proven,
		},
		"a p50 within 2 ms held": {
			change: func(m *demo.Measured) { m.Isolation[notification].Struck.W50 = 8 * ms },
			want:   demo.Proven,
		},
		"a p50 beyond that didn't": {
			change: func(m *demo.Measured) { m.Isolation[notification].Struck.W50 = 8*ms + 1 },
			want:   demo.NotHeld,
		},
		"a slow service may become a quarter slower": {
			change: func(m *demo.Measured) {
				m.Isolation[notification].Baseline.W50, m.Isolation[notification].Baseline.W99 = 40*ms, 60*ms
				m.Isolation[notification].Struck.W50, m.Isolation[notification].Struck.W99 = 50*ms, 90*ms
			},
			want: demo.Proven,
		},
		"and no more": {
			change: func(m *demo.Measured) {
				m.Isolation[notification].Baseline.W50, m.Isolation[notification].Baseline.W99 = 40*ms, 60*ms
				m.Isolation[notification].Struck.W50, m.Isolation[notification].Struck.W99 = 51*ms, 90*ms
			},
			want: demo.NotHeld,
		},
		"a p99 within 5 ms held": {
			change: func(m *demo.Measured) { m.Isolation[inventory].Struck.W99 = 15 * ms },
			want:   demo.Proven,
		},
		"a p99 beyond half more didn't": {
			change: func(m *demo.Measured) { m.Isolation[inventory].Struck.W99 = 15*ms + 1 },
			want:   demo.NotHeld,
		},
		"one stall moves the pooled p99 and no verdict": {
			change: func(m *demo.Measured) {
				m.Isolation[inventory].Struck.P99, m.Isolation[inventory].Struck.Max = 900*ms, 1200*ms
			},
			want: demo.Proven,
		},
		"a control that finished half proves nothing": {
			change: func(m *demo.Measured) { m.Isolation[inventory].Control.Finished = 0.51 },
			want:   demo.NotProven,
		},
		"a control that is merely slow proves nothing": {
			change: func(m *demo.Measured) { m.Isolation[notification].Control.P50 = 59 * ms },
			want:   demo.NotProven,
		},
		"one lost order outweighs all": {
			change: func(m *demo.Measured) { m.Lost, m.Lateness = 1, time.Second },
			want:   demo.OrdersLost, cause: "the generator itself was late: p99 1,000 ms, at most 5.0 ms",
		},
		"a baseline with orders left over tells nothing": {
			change: func(m *demo.Measured) { m.Isolation[payment].Baseline.Finished = 0.98 },
			want:   demo.Inconclusive, cause: "payment finished only 98.0 % of the baseline",
		},
		"a restless baseline tells nothing": {
			change: func(m *demo.Measured) { m.Isolation[inventory].Baseline.W99 = 31 * ms },
			want:   demo.Inconclusive, cause: "inventory had a baseline p99 of 31.0 ms, with a p50 of 6.0 ms at most 30.0 ms",
		},
		"a fast service may have a p99 within 10 ms": {
			change: func(m *demo.Measured) {
				m.Isolation[inventory].Baseline.W50, m.Isolation[inventory].Baseline.W99, m.Isolation[inventory].Baseline.P50 = ms, 11*ms, ms
				m.Isolation[inventory].Struck.W50 = ms
			},
			want: demo.Proven,
		},
		"and no more than that": {
			change: func(m *demo.Measured) {
				m.Isolation[inventory].Baseline.W50, m.Isolation[inventory].Baseline.W99, m.Isolation[inventory].Baseline.P50 = ms, 12*ms, ms
				m.Isolation[inventory].Struck.W50 = ms
			},
			want: demo.Inconclusive, cause: "inventory had a baseline p99 of 12.0 ms, with a p50 of 1.0 ms at most 11.0 ms",
		},
		"a late generator tells nothing": {
			change: func(m *demo.Measured) { m.Lateness = 5*ms + 1 },
			want:   demo.Inconclusive, cause: "the generator itself was late: p99 5.0 ms, at most 5.0 ms",
		},
		"a window with few samples tells nothing": {
			change: func(m *demo.Measured) { m.Isolation[notification].Control.MinWindow = 199 },
			want:   demo.Inconclusive, cause: "notification has too few samples in the control phase: 9 windows, the smallest of 199",
		},
		"a phase with few windows tells nothing": {
			change: func(m *demo.Measured) { m.Isolation[notification].Struck.Windows = 5 },
			want:   demo.Inconclusive, cause: "notification has too few samples in the fault phase: 5 windows, the smallest of 290",
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := demo.Judge(demo.DefaultPlan(), good(tt.change))
			if v.Word != tt.want {
				t.Errorf("verdict: got %q, want %q\nrules %+v\ncauses %q", v.Word, tt.want, v.Rules, v.Causes)
			}
			if got := strings.Join(v.Causes, "; "); got != tt.cause {
				t.Errorf("causes: got %q, want %q", got, tt.cause)
			}
		})
	}
}

func TestPlan_RefusesWhatCouldShowNothing(t *testing.T) {
	if err := demo.DefaultPlan().Validate(); err != nil {
		t.Errorf("the default plan: %v", err)
	}
	for name, tt := range map[string]struct {
		change func(*demo.Plan)
		want   string
	}{
		"a flood that is no flood": {
			func(p *demo.Plan) { p.Rate = 191 },
			"rate 191 × timeout 1s fills 191 slots; sinking a shared pool of 48 needs 4 × that, 192: raise the rate to 192 or more",
		},
		"a pool too large for the rate": {
			func(p *demo.Plan) { p.Slots = 40 },
			"rate 300 × timeout 1s fills 300 slots; sinking a shared pool of 120 needs 4 × that, 480: raise the rate to 480 or more",
		},
		"windows without samples": {
			func(p *demo.Plan) { p.Rate, p.Timeout = 200, 2*time.Second },
			"rate 200 gives 199 samples a service in a window of 1 s; a p99 needs 200",
		},
		"a short phase": {
			func(p *demo.Plan) { p.Control = 5900 * ms },
			"the control phase of 5.9s has 5 windows of 1 s; its medians need 6",
		},
		"no time to recover": {
			func(p *demo.Plan) { p.Recovery = 0 },
			"warm-up 2s must not be negative and recovery 0s must be positive",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := demo.DefaultPlan()
			tt.change(&p)
			if err := p.Validate(); err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}
