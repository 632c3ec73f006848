package rejections

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts rejections. One serves all of a process.
type Metrics struct {
	all     *prometheus.CounterVec
	dropped prometheus.Counter
}

// NewMetrics registers the families of this package with reg; nil registers
// nothing.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		all: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "watertight", Name: "rejected_total", Help: "Work that was turned away, recorded or not.",
		}, []string{"service", "where", "reason"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "watertight", Name: "rejections_dropped_total", Help: "Rejections that are not on record, as they could not be stored in time.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.all, m.dropped)
	}
	return m
}

func (m *Metrics) rejected(r Rejection) {
	m.all.WithLabelValues(string(r.Service), string(r.Where), string(r.Reason)).Inc()
}
