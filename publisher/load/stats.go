package load

import (
	"math"
	"slices"
	"time"

	"github.com/watertight-go/watertight/order"
)

// Grace is how long after a phase's end an order of it may still finish: the
// cut is the phase's end and Grace.
const Grace = 200 * time.Millisecond

// Phase is a time from which on orders count together: From is in it, To isn't.
// An order belongs to the phase in which it was meant to be sent.
type Phase struct{ From, To time.Time }

// Stats is how one service did with the orders of one phase. Latency runs from
// the intended send to the stored outcome; an order that isn't finished at the
// cut counts with its age then.
//
// A quantile is by nearest rank: the p99 of n samples is the ⌈0.99 n⌉-th
// smallest, so it is always one that occurred. A median of windows is the mean
// of the two in the middle when their number is even.
type Stats struct {
	Service order.Service

	// Samples is how many well-formed orders were meant to be sent in the
	// phase.
	Samples int

	// Finished is the share of Samples that was settled (a final outcome or a
	// dead letter) by the cut: the phase's end and 200 ms. It is 0 without
	// samples.
	Finished float64

	// Windows is how many whole 1-s windows the phase has, and W50 and W99
	// are the medians over them of the window's p50 and p99. One stall moves
	// one window, so a verdict built on them doesn't hang on it. A window
	// without samples has no quantiles and is left out of the medians.
	Windows  int
	W50, W99 time.Duration

	// P50, P99 and Max are over all samples of the phase.
	P50, P99, Max time.Duration

	// MinWindow is the fewest samples that any window has.
	MinWindow int

	// Uncorrected50 and Uncorrected99 are P50 and P99 as a generator would see
	// them that counts from the actual send and forgets what it didn't send.
	Uncorrected50, Uncorrected99 time.Duration
}

// Sample is one well-formed order as one service saw it.
type Sample struct {
	Intended time.Time
	Sent     time.Time // zero: not sent
	Settled  time.Time // zero: not yet
}

// Measure computes the stats of a phase from samples in any order. Samples
// that don't belong to the phase are left out.
func Measure(service order.Service, p Phase, samples []Sample) Stats {
	s := Stats{Service: service}
	cut := p.To.Add(Grace)
	w := newWindows(p, len(samples))
	all, uncorrected := make([]time.Duration, 0, len(samples)), make([]time.Duration, 0, len(samples))
	finished := 0
	for _, o := range samples {
		if o.Intended.Before(p.From) || !o.Intended.Before(p.To) {
			continue
		}
		end := o.Settled
		if end.IsZero() || end.After(cut) {
			end = cut
		} else {
			finished++
		}
		took := max(0, end.Sub(o.Intended))
		all = append(all, took)
		w.add(o.Intended, took)
		if !o.Sent.IsZero() && o.Sent.Before(cut) {
			uncorrected = append(uncorrected, max(0, end.Sub(o.Sent)))
		}
	}

	s.Samples = len(all)
	if s.Samples > 0 {
		s.Finished = float64(finished) / float64(s.Samples)
	}
	slices.Sort(all)
	slices.Sort(uncorrected)
	s.P50, s.P99, s.Max = quantile(all, 0.50), quantile(all, 0.99), quantile(all, 1)
	s.Uncorrected50, s.Uncorrected99 = quantile(uncorrected, 0.50), quantile(uncorrected, 0.99)
	s.Windows, s.MinWindow = len(w.of), w.least()
	s.W50, s.W99 = w.median(0.50), w.median(0.99)
	return s
}

// windows are the whole 1-s windows of a phase. What is after the last doesn't
// count.
type windows struct {
	from time.Time
	of   [][]time.Duration
	size int // about how many values one will have
}

func newWindows(p Phase, values int) *windows {
	n := max(0, int(p.To.Sub(p.From)/time.Second))
	return &windows{from: p.From, of: make([][]time.Duration, n), size: 2 + values/max(n, 1)}
}

func (w *windows) add(at time.Time, d time.Duration) {
	i := int(at.Sub(w.from) / time.Second)
	if i >= len(w.of) {
		return
	}
	if w.of[i] == nil {
		w.of[i] = make([]time.Duration, 0, w.size)
	}
	w.of[i] = append(w.of[i], d)
}

// least is the fewest values that a window has.
func (w *windows) least() int {
	least := 0
	for i, values := range w.of {
		if i == 0 || len(values) < least {
			least = len(values)
		}
	}
	return least
}

// median returns the median over the windows of their quantile; windows without
// values have none.
func (w *windows) median(q float64) time.Duration {
	var of []time.Duration
	for _, values := range w.of {
		if len(values) > 0 {
			slices.Sort(values)
			of = append(of, quantile(values, q))
		}
	}
	return median(of)
}

// Stats returns what each service did with the orders of a phase, in the order of
// NewJournal. It is final when the phase's cut has passed and what was settled
// by then has been read.
func (j *Journal) Stats(p Phase) []Stats {
	samples := make([][]Sample, len(j.services))
	for s := range samples {
		samples[s] = make([]Sample, 0, j.size(p))
	}
	for r := range j.between(p.From.UnixNano(), p.To.UnixNano()) {
		if r.Kind != WellFormed {
			continue
		}
		for s, e := range r.Endings {
			samples[s] = append(samples[s], Sample{Intended: r.Intended, Sent: r.Sent, Settled: e.Settled})
		}
	}
	stats := make([]Stats, len(j.services))
	for s, service := range j.services {
		stats[s] = Measure(service, p, samples[s])
	}
	return stats
}

// Delay is how long after the intended send something happened to the orders of a
// phase, malformed ones included. An order to which it didn't happen by the cut
// counts with its age then.
type Delay struct {
	Orders        int
	W99           time.Duration // the median over whole 1-s windows of the window's p99
	P50, P99, Max time.Duration // of all orders
}

// Lateness is how late the generator itself was in a phase: until the actual send.
func (j *Journal) Lateness(p Phase) Delay {
	return j.delay(p, func(r Record) time.Time { return r.Sent })
}

// Acks is how long the broker took to acknowledge the orders of a phase. One that it
// refused was never acknowledged.
func (j *Journal) Acks(p Phase) Delay {
	return j.delay(p, func(r Record) time.Time { return r.Acked })
}

func (j *Journal) delay(p Phase, when func(Record) time.Time) Delay {
	size, cut := j.size(p), p.To.Add(Grace)
	all, w := make([]time.Duration, 0, size), newWindows(p, size)
	for r := range j.between(p.From.UnixNano(), p.To.UnixNano()) {
		at := when(r)
		if at.IsZero() || at.After(cut) {
			at = cut
		}
		took := max(0, at.Sub(r.Intended))
		all = append(all, took)
		w.add(r.Intended, took)
	}
	slices.Sort(all)
	return Delay{Orders: len(all), W99: w.median(0.99), P50: quantile(all, 0.50), P99: quantile(all, 0.99), Max: quantile(all, 1)}
}

// size is about how many orders a phase has.
func (j *Journal) size(p Phase) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.extendTo(p.To.UnixNano()) - j.extendTo(p.From.UnixNano())
}

// quantile returns the value of nearest rank in a sorted slice; 0 of an empty
// one.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

// median sorts its argument.
func median(values []time.Duration) time.Duration {
	n := len(values)
	if n == 0 {
		return 0
	}
	slices.Sort(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
