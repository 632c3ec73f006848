package consumer

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/watertight-go/watertight/bulkhead"
	"github.com/watertight-go/watertight/deadletter"
	"github.com/watertight-go/watertight/order"
)

// buckets are those of every duration: from half a millisecond to half a minute.
var buckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// Metrics counts what groups do. One serves all groups of a process.
type Metrics struct {
	deliveries *prometheus.CounterVec
	retries    *prometheus.CounterVec
	dead       *prometheus.CounterVec
	lates      *prometheus.CounterVec
	handler    *prometheus.HistogramVec
	endToEnd   *prometheus.HistogramVec
	occupancy  *occupancy
}

// NewMetrics registers the families of this package with reg; nil registers
// nothing.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "watertight", Name: name, Help: help}, labels)
	}
	histogram := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "watertight", Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}, []string{"service"})
	}
	m := &Metrics{
		deliveries: counter("deliveries_total", "Deliveries by what became of them; unsettled ones come again.", "service", "verdict"),
		retries:    counter("retries_total", "Failed attempts that were put off to a retry tier.", "service", "reason"),
		dead:       counter("dead_letters_total", "Orders that were given up.", "service", "reason"),
		lates:      counter("late_results_total", "Handlers that returned after their timeout.", "service"),
		handler:    histogram("handler_duration_seconds", "Time of one attempt, until it returned or was abandoned."),
		endToEnd:   histogram("end_to_end_duration_seconds", "Time from the order's storing until it was done."),
		occupancy:  &occupancy{bulkheads: make(map[order.Service]*bulkhead.Bulkhead)},
	}
	if reg != nil {
		reg.MustRegister(m.deliveries, m.retries, m.dead, m.lates, m.handler, m.endToEnd, m.occupancy)
	}
	return m
}

// tally is a service's part of the metrics. What is counted for each order is looked
// up once.
type tally struct {
	metrics   *Metrics
	service   string
	delivered [fates]prometheus.Counter
	unsettled prometheus.Counter
	handler   prometheus.Observer
	endToEnd  prometheus.Observer
}

func (m *Metrics) of(s order.Service) *tally {
	service := string(s)
	t := &tally{
		metrics: m, service: service,
		unsettled: m.deliveries.WithLabelValues(service, "unsettled"),
		handler:   m.handler.WithLabelValues(service),
		endToEnd:  m.endToEnd.WithLabelValues(service),
	}
	for f := range t.delivered {
		t.delivered[f] = m.deliveries.WithLabelValues(service, Fate(f).String())
	}
	return t
}

func (t *tally) retried(reason string) { t.metrics.retries.WithLabelValues(t.service, reason).Inc() }

func (t *tally) died(r deadletter.Reason) {
	t.metrics.dead.WithLabelValues(t.service, string(r)).Inc()
}

func (t *tally) late() { t.metrics.lates.WithLabelValues(t.service).Inc() }

func (m *Metrics) watch(s order.Service, b *bulkhead.Bulkhead) {
	m.occupancy.mu.Lock()
	defer m.occupancy.mu.Unlock()
	m.occupancy.bulkheads[s] = b
}

// occupancy reads the bulkheads when it is scraped, so that they need not know
// of metrics.
type occupancy struct {
	mu        sync.Mutex
	bulkheads map[order.Service]*bulkhead.Bulkhead
}

func gauge(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("watertight_"+name, help, []string{"service"}, nil)
}

var (
	slotsDesc    = gauge("bulkhead_slots", "Handlers that may run at a time.")
	inUseDesc    = gauge("bulkhead_in_use", "Slots taken, ghosts included.")
	ghostsDesc   = gauge("bulkhead_ghosts", "Slots held by handlers that outlived their timeout.")
	queueDesc    = gauge("bulkhead_queue_length", "Callers that wait for a slot.")
	capacityDesc = gauge("bulkhead_queue_capacity", "Callers that may wait for a slot.")
	breakerDesc  = gauge("breaker_state", "State of the circuit breaker: 0 closed, 1 half-open, 2 open.")
)

// Describe implements prometheus.Collector.
func (o *occupancy) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{slotsDesc, inUseDesc, ghostsDesc, queueDesc, capacityDesc, breakerDesc} {
		c <- d
	}
}

// Collect implements prometheus.Collector.
func (o *occupancy) Collect(c chan<- prometheus.Metric) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for s, b := range o.bulkheads {
		st := b.Stats()
		set := func(d *prometheus.Desc, v float64) {
			c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, string(s))
		}
		set(slotsDesc, float64(st.Slots))
		set(inUseDesc, float64(st.InUse))
		set(ghostsDesc, float64(st.Ghosts))
		set(queueDesc, float64(st.Waiting))
		set(capacityDesc, float64(st.Queue))
		set(breakerDesc, breakerValue(st.State))
	}
}

func breakerValue(s bulkhead.State) float64 {
	switch s {
	case bulkhead.HalfOpen:
		return 1
	case bulkhead.Open:
		return 2
	case bulkhead.Auto, bulkhead.Closed:
		return 0
	default:
		return 0
	}
}
