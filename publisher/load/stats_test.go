package load_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/watertight-go/watertight/broker"
	"github.com/watertight-go/watertight/order"
	"github.com/watertight-go/watertight/publisher/load"
)

const ms = time.Millisecond

// sample is an order that was meant to be sent at a time after noon, and took
// that long; -1 is for ever.
func sample(at, took time.Duration) load.Sample {
	s := load.Sample{Intended: noon.Add(at), Sent: noon.Add(at)}
	if took >= 0 {
		s.Settled = noon.Add(at + took)
	}
	return s
}

// ramp is n samples from a time on, a millisecond apart, that took 1 ms, 2 ms, …
func ramp(at time.Duration, n int) []load.Sample {
	var all []load.Sample
	for i := range n {
		all = append(all, sample(at+time.Duration(i)*ms, time.Duration(i+1)*ms))
	}
	return all
}

func TestMeasure(t *testing.T) {
	second := time.Second
	for name, c := range map[string]struct {
		length  time.Duration
		samples []load.Sample
		want    load.Stats
	}{
		"nothing": {
			length: 3 * second,
			want:   load.Stats{Windows: 3},
		},
		"a phase of no length": {
			samples: []load.Sample{sample(0, ms)},
		},
		"one sample is every quantile": {
			length:  second,
			samples: []load.Sample{sample(10*ms, 7*ms)},
			want: load.Stats{
				Samples: 1, Finished: 1, Windows: 1, MinWindow: 1, W50: 7 * ms, W99: 7 * ms,
				P50: 7 * ms, P99: 7 * ms, Max: 7 * ms, Uncorrected50: 7 * ms, Uncorrected99: 7 * ms,
			},
		},
		"nearest rank: the 50th and the 99th of 100": {
			length:  second,
			samples: ramp(0, 100),
			want: load.Stats{
				Samples: 100, Finished: 1, Windows: 1, MinWindow: 100, W50: 50 * ms, W99: 99 * ms,
				P50: 50 * ms, P99: 99 * ms, Max: 100 * ms, Uncorrected50: 50 * ms, Uncorrected99: 99 * ms,
			},
		},
		"nearest rank: the 51st and the 100th of 101": {
			length:  second,
			samples: ramp(0, 101),
			want: load.Stats{
				Samples: 101, Finished: 1, Windows: 1, MinWindow: 101, W50: 51 * ms, W99: 100 * ms,
				P50: 51 * ms, P99: 100 * ms, Max: 101 * ms, Uncorrected50: 51 * ms, Uncorrected99: 100 * ms,
			},
		},
		"three windows: the one in the middle": {
			length:  3 * second,
			samples: []load.Sample{sample(0, 5*ms), sample(1100*ms, 90*ms), sample(2900*ms, 6*ms)},
			want: load.Stats{
				Samples: 3, Finished: 1, Windows: 3, MinWindow: 1, W50: 6 * ms, W99: 6 * ms,
				P50: 6 * ms, P99: 90 * ms, Max: 90 * ms, Uncorrected50: 6 * ms, Uncorrected99: 90 * ms,
			},
		},
		"two windows: between them": {
			length:  2 * second,
			samples: []load.Sample{sample(999*ms, 4*ms), sample(1000*ms, 8*ms)},
			want: load.Stats{
				Samples: 2, Finished: 1, Windows: 2, MinWindow: 1, W50: 6 * ms, W99: 6 * ms,
				P50: 4 * ms, P99: 8 * ms, Max: 8 * ms, Uncorrected50: 4 * ms, Uncorrected99: 8 * ms,
			},
		},
		"an empty window is left out of the medians": {
			length:  3 * second,
			samples: []load.Sample{sample(0, 5*ms), sample(2*second, 7*ms)},
			want: load.Stats{
				Samples: 2, Finished: 1, Windows: 3, MinWindow: 0, W50: 6 * ms, W99: 6 * ms,
				P50: 5 * ms, P99: 7 * ms, Max: 7 * ms, Uncorrected50: 5 * ms, Uncorrected99: 7 * ms,
			},
		},
		"a broken window has samples but no place in the medians": {
			length:  1500 * ms,
			samples: []load.Sample{sample(100*ms, 5*ms), sample(1200*ms, 50*ms)},
			want: load.Stats{
				Samples: 2, Finished: 1, Windows: 1, MinWindow: 1, W50: 5 * ms, W99: 5 * ms,
				P50: 5 * ms, P99: 50 * ms, Max: 50 * ms, Uncorrected50: 5 * ms, Uncorrected99: 50 * ms,
			},
		},
		"the unfinished count with their age at the cut, 200 ms after the end": {
			length: second,
			samples: []load.Sample{
				sample(0, -1),             // aged 1,200 ms
				sample(400*ms, -1),        // aged 800 ms
				sample(900*ms, 300*ms),    // just in time
				sample(900*ms, 301*ms),    // just not
				sample(500*ms, time.Hour), // aged 700 ms
			},
			want: load.Stats{
				Samples: 5, Finished: 0.2, Windows: 1, MinWindow: 5, W50: 700 * ms, W99: 1200 * ms,
				P50: 700 * ms, P99: 1200 * ms, Max: 1200 * ms, Uncorrected50: 700 * ms, Uncorrected99: 1200 * ms,
			},
		},
		"the end of a phase belongs to the next": {
			length:  second,
			samples: []load.Sample{sample(-1, ms), sample(0, 2*ms), sample(second-1, 4*ms), sample(second, 8*ms)},
			want: load.Stats{
				Samples: 2, Finished: 1, Windows: 1, MinWindow: 2, W50: 2 * ms, W99: 4 * ms,
				P50: 2 * ms, P99: 4 * ms, Max: 4 * ms, Uncorrected50: 2 * ms, Uncorrected99: 4 * ms,
			},
		},
		"late sends count from when they were due; uncorrected, from when they were sent": {
			length: second,
			samples: []load.Sample{
				{Intended: noon, Sent: noon.Add(40 * ms), Settled: noon.Add(50 * ms)},
				{Intended: noon.Add(100 * ms)}, // never sent
			},
			want: load.Stats{
				Samples: 2, Finished: 0.5, Windows: 1, MinWindow: 2, W50: 50 * ms, W99: 1100 * ms,
				P50: 50 * ms, P99: 1100 * ms, Max: 1100 * ms, Uncorrected50: 10 * ms, Uncorrected99: 10 * ms,
			},
		},
		"a broker's clock that is behind makes no negative latency": {
			length:  second,
			samples: []load.Sample{{Intended: noon.Add(10 * ms), Sent: noon.Add(10 * ms), Settled: noon.Add(9 * ms)}},
			want:    load.Stats{Samples: 1, Finished: 1, Windows: 1, MinWindow: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.want.Service = order.Payment
			got := load.Measure(order.Payment, load.Phase{From: noon, To: noon.Add(c.length)}, c.samples)
			equal(t, "stats", got, c.want)
		})
	}
}

// An ack counts from the intended send, whatever the services do; what has none at
// the cut, also as it was refused, counts with its age.
func TestJournal_AcksCountFromTheIntendedSend(t *testing.T) {
	second := time.Second
	for name, c := range map[string]struct {
		broker *pretended
		want   load.Delay
	}{
		"a broker that answers":      {&pretended{delay: 3 * ms}, load.Delay{Orders: 4, W99: 3 * ms, P50: 3 * ms, P99: 3 * ms, Max: 3 * ms}},
		"late sends":                 {&pretended{delay: 3 * ms, stall: map[int]time.Duration{0: 270 * ms}}, load.Delay{Orders: 4, W99: 23 * ms, P50: 3 * ms, P99: 23 * ms, Max: 23 * ms}},
		"acks after the cut":         {&pretended{delay: 2 * second}, load.Delay{Orders: 4, W99: 1200 * ms, P50: 700 * ms, P99: 1200 * ms, Max: 1200 * ms}},
		"a broker that is full":      {&pretended{err: broker.ErrFull}, load.Delay{Orders: 4, W99: 1200 * ms, P50: 700 * ms, P99: 1200 * ms, Max: 1200 * ms}},
		"a broker that doesn't know": {&pretended{err: broker.ErrNotStored}, load.Delay{Orders: 4, W99: 1200 * ms, P50: 700 * ms, P99: 1200 * ms, Max: 1200 * ms}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				j, _ := run(t, c.broker, load.Config{Profile: load.Steady(4), Duration: second}, time.Minute)
				equal(t, "acks", j.Acks(load.Phase{From: start, To: start.Add(second)}), c.want)
			})
		})
	}
}
