package main

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/watertight-go/watertight/audit"
)

// watchdog tells of alarms in the log and as a metric. It has no say in readiness:
// what is wrong is seldom this process's, and others watch the same broker.
type watchdog struct {
	log    zerolog.Logger
	alarms *prometheus.GaugeVec
}

func newWatchdog(reg prometheus.Registerer, log zerolog.Logger) *watchdog {
	w := &watchdog{log, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "watertight", Name: "watchdog_alarms", Help: "Alarms that stand about what the broker holds; each process that serves sees the same.",
	}, []string{"kind"})}
	for _, kind := range audit.AlarmKinds() {
		w.alarms.WithLabelValues(string(kind)) // zero is told, too
	}
	reg.MustRegister(w.alarms)
	return w
}

// Raised implements audit.Alarms.
func (w *watchdog) Raised(a audit.Alarm) {
	w.alarms.WithLabelValues(string(a.Kind)).Inc()
	about(w.log.Warn(), a).Str("event", "watchdog."+string(a.Kind)).Time("since", a.Since).Msg(a.Says)
}

// Cleared implements audit.Alarms.
func (w *watchdog) Cleared(a audit.Alarm) {
	w.alarms.WithLabelValues(string(a.Kind)).Dec()
	about(w.log.Info(), a).Str("event", "watchdog.cleared").Str("kind", string(a.Kind)).Dur("duration_ms", time.Since(a.Since)).Msg("no longer so: " + a.Says)
}

func about(e *zerolog.Event, a audit.Alarm) *zerolog.Event {
	stream, consumer, isDurable := strings.Cut(a.Name, "/")
	if stream != "" {
		e.Str("stream", stream)
	}
	if isDurable {
		e.Str("consumer", consumer)
	}
	return e
}
