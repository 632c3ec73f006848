package load

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/watertight-go/watertight/order"
)

// Threshold is a condition on one figure of one service:
//
//	notification.p99<50ms    payment.finished>=99%    inventory.max<=2s
type Threshold struct {
	Service order.Service
	Figure  string // p50, p99, w50, w99, max; finished
	Op      string // <, <=, >, >=

	limit float64 // in ns, or a share
	text  string
}

var thresholdForm = regexp.MustCompile(`^([a-z0-9-]+)\.([a-z0-9]+)\s*(<=|>=|<|>)\s*(\S+)$`)

// durations are the figures that are times.
var durations = map[string]func(Stats) time.Duration{
	"p50": func(s Stats) time.Duration { return s.P50 },
	"p99": func(s Stats) time.Duration { return s.P99 },
	"w50": func(s Stats) time.Duration { return s.W50 },
	"w99": func(s Stats) time.Duration { return s.W99 },
	"max": func(s Stats) time.Duration { return s.Max },
}

// finished is the figure that is a share.
const finished = "finished"

// ParseThreshold reads a threshold on one of the services. Times are Go's
// (50ms, 2s), shares are percentages.
func ParseThreshold(s string, services []order.Service) (Threshold, error) {
	m := thresholdForm.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return Threshold{}, fmt.Errorf("threshold %q: want SERVICE.FIGURE<VALUE, such as notification.p99<50ms or payment.finished>=99%%", s)
	}
	t := Threshold{Service: order.Service(m[1]), Figure: m[2], Op: m[3], text: strings.TrimSpace(s)}
	if !slices.Contains(services, t.Service) {
		return Threshold{}, fmt.Errorf("threshold %q: unknown service %q: one of %v", s, t.Service, services)
	}
	value := m[4]
	switch _, timed := durations[t.Figure]; {
	case timed:
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return Threshold{}, fmt.Errorf("threshold %q: %q is not a time such as 50ms", s, value)
		}
		t.limit = float64(d)
	case t.Figure == finished:
		share, err := strconv.ParseFloat(strings.TrimSuffix(value, "%"), 64)
		if err != nil || !strings.HasSuffix(value, "%") || !(share >= 0 && share <= 100) {
			return Threshold{}, fmt.Errorf("threshold %q: %q is not a share such as 99%%", s, value)
		}
		t.limit = share / 100
	default:
		return Threshold{}, fmt.Errorf("threshold %q: unknown figure %q: one of p50, p99, w50, w99, max, finished", s, t.Figure)
	}
	return t, nil
}

// String returns the threshold as it was written.
func (t Threshold) String() string { return t.text }

// Holds reports whether the condition is true of the service's stats. It isn't when
// the service isn't among them.
func (t Threshold) Holds(stats []Stats) bool {
	i := slices.IndexFunc(stats, func(s Stats) bool { return s.Service == t.Service })
	if i < 0 {
		return false
	}
	got := stats[i].Finished
	if d, timed := durations[t.Figure]; timed {
		got = float64(d(stats[i]))
	}
	switch t.Op {
	case "<":
		return got < t.limit
	case "<=":
		return got <= t.limit
	case ">":
		return got > t.limit
	default:
		return got >= t.limit
	}
}
