package demo

import (
	"fmt"
	"time"

	"github.com/watertight-go/watertight/internal/figure"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher/load"
)

// Isolation is how one service did before its neighbour was struck, while it was,
// and in the control.
type Isolation struct {
	Service                   order.Service
	Baseline, Struck, Control load.Stats
}

// Measured is all that the verdict hangs on.
type Measured struct {
	Isolation []Isolation   // in the order of Plan.Services
	Lateness  time.Duration // the generator's own, W99 of load.Delay, the worst of the judged phases
	Lost      int           // orders that are nowhere, all services together
}

// Word is the verdict in a word or three.
type Word string

// The verdicts, the first that fits.
const (
	OrdersLost   Word = "orders lost"
	Inconclusive Word = "inconclusive"
	NotHeld      Word = "not held"
	NotProven    Word = "held, not proven"
	Proven       Word = "held and proven"
)

// Rule is one condition and whether it holds.
type Rule struct {
	Name string `json:"name"` // "notification p99"
	Text string `json:"text"` // "15.1 ms while payment was down, at most 24.8 ms"
	OK   bool   `json:"ok"`
}

// Verdict is what a demonstration has shown.
type Verdict struct {
	Word   Word
	Causes []string // why it is inconclusive
	Rules  []Rule   // those of held first, then those of proven
}

// QuietLateness is how late a load generator may be itself, by W99 of load.Delay, for
// what it measured to mean anything.
const QuietLateness = 5 * time.Millisecond

// The bounds of the verdict. They are on medians over windows of a second: one
// stall of the machine moves one window, and the verdict doesn't hang on it.
const (
	heldFinished = 0.98 // of the baseline's share
	heldP50Times = 1.25
	heldP50More  = 2 * time.Millisecond
	heldP99Times = 1.5
	heldP99More  = 5 * time.Millisecond

	provenFinished = 0.5 // at most, in the control
	provenP50Times = 10

	quietFinished = 0.99
	quietTimes    = 5 // p99 over p50, or
	quietMore     = 10 * time.Millisecond
)

// Judge decides: *held* when each healthy service finished its orders as fast
// while its neighbour was down as before, *proven* when the same fault on one
// shared pool breaks that rule for each of them by far, *inconclusive* when the
// machine was too restless to tell.
func Judge(p Plan, m Measured) Verdict {
	var v Verdict
	held, proven := true, true
	var proofs []Rule
	for _, i := range m.Isolation {
		v.Causes = append(v.Causes, restless(i)...)
		if i.Service == p.Faulty {
			continue
		}
		rules := []Rule{finishedRule(i, i.Struck), p50Rule(i, i.Struck), p99Rule(i, i.Struck)}
		held = held && all(rules)
		v.Rules = append(v.Rules, rules...)

		proof := []Rule{sinksRule(i), crawlsRule(i)}
		broken := !all([]Rule{finishedRule(i, i.Control), p50Rule(i, i.Control), p99Rule(i, i.Control)})
		proven = proven && broken && all(proof)
		proofs = append(proofs, proof...)
	}
	v.Rules = append(v.Rules, proofs...)
	if m.Lateness > QuietLateness {
		v.Causes = append(v.Causes, fmt.Sprintf("the generator itself was late: p99 %s, at most %s", figure.Millis(m.Lateness), figure.Millis(QuietLateness)))
	}
	switch {
	case m.Lost > 0:
		v.Word = OrdersLost
	case len(v.Causes) > 0:
		v.Word = Inconclusive
	case !held:
		v.Word = NotHeld
	case !proven:
		v.Word = NotProven
	default:
		v.Word = Proven
	}
	return v
}

// restless says why a service's baseline is nothing to compare with.
func restless(i Isolation) (causes []string) {
	b := i.Baseline
	if b.Finished < quietFinished {
		causes = append(causes, fmt.Sprintf("%s finished only %s of the baseline", i.Service, figure.Percent(b.Finished)))
	}
	if most := max(quietTimes*b.W50, b.W50+quietMore); b.W99 > most {
		causes = append(causes, fmt.Sprintf("%s had a baseline p99 of %s, with a p50 of %s at most %s", i.Service, figure.Millis(b.W99), figure.Millis(b.W50), figure.Millis(most)))
	}
	for _, phase := range []struct {
		name  string
		stats load.Stats
	}{{"baseline", b}, {"fault", i.Struck}, {"control", i.Control}} {
		if phase.stats.Windows < minWindows || phase.stats.MinWindow < minSamples {
			causes = append(causes, fmt.Sprintf("%s has too few samples in the %s phase: %d windows, the smallest of %d",
				i.Service, phase.name, phase.stats.Windows, phase.stats.MinWindow))
		}
	}
	return causes
}

func all(rules []Rule) bool {
	for _, r := range rules {
		if !r.OK {
			return false
		}
	}
	return true
}

func finishedRule(i Isolation, s load.Stats) Rule {
	least := heldFinished * i.Baseline.Finished
	return Rule{string(i.Service) + " finished", fmt.Sprintf("%s, at least %s", figure.Percent(s.Finished), figure.Percent(least)), s.Finished >= least}
}

func p50Rule(i Isolation, s load.Stats) Rule {
	return slower(i, "p50", i.Baseline.W50, s.W50, heldP50Times, heldP50More)
}

func p99Rule(i Isolation, s load.Stats) Rule {
	return slower(i, "p99", i.Baseline.W99, s.W99, heldP99Times, heldP99More)
}

// slower allows a factor or an addition, whichever is more.
func slower(i Isolation, what string, before, now time.Duration, times float64, more time.Duration) Rule {
	most := max(time.Duration(times*float64(before)), before+more)
	return Rule{fmt.Sprintf("%s %s", i.Service, what), fmt.Sprintf("%s, before %s, at most %s", figure.Millis(now), figure.Millis(before), figure.Millis(most)), now <= most}
}

func sinksRule(i Isolation) Rule {
	return Rule{
		string(i.Service) + " sinks in the shared pool",
		fmt.Sprintf("%s finished, at most %s", figure.Percent(i.Control.Finished), figure.Percent(provenFinished)),
		i.Control.Finished <= provenFinished,
	}
}

func crawlsRule(i Isolation) Rule {
	least := provenP50Times * i.Baseline.P50
	return Rule{
		string(i.Service) + " crawls in the shared pool",
		fmt.Sprintf("p50 %s or more, at least %s", figure.Millis(i.Control.P50), figure.Millis(least)),
		i.Control.P50 >= least,
	}
}
