package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"github.com/watertight-go/watertight/consumer"
	"github.com/watertight-go/watertight/order"
)

// check is one thing that has to be in order for a process to work.
type check struct {
	name string
	ask  func() error
}

// health answers /livez, /readyz and /metrics.
type health struct {
	ready []check
	live  []check // one a service
}

// healthView is the body of /livez and /readyz.
type healthView struct {
	Status  string            `json:"status"` // "ok" or "unavailable"
	Reasons map[string]string `json:"reasons,omitempty"`
}

// add adds a service: it is ready when its group is, and lives until that has been
// flooded for so long.
func (h *health) add(name order.Service, g *consumer.Group, floodedExit time.Duration) {
	h.ready = append(h.ready, check{string(name), g.Check})
	h.live = append(h.live, check{string(name), func() error { return flooded(g, floodedExit) }})
}

// newRegistry returns a registry of metrics with those of the process.
func newRegistry() *prometheus.Registry {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "watertight", Name: "build_info", Help: "Always 1; the label says which program this is.",
		ConstLabels: prometheus.Labels{"version": version()},
	})
	info.Set(1)
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), info)
	return reg
}

func (h *health) handler(reg *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, reasons(h.live)) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, reasons(h.ready)) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg}))
	return mux
}

// reasons says what isn't in order and why, by the name of the check.
func reasons(checks []check) map[string]string {
	why := make(map[string]string)
	for _, c := range checks {
		if err := c.ask(); err != nil {
			why[c.name] = err.Error()
		}
	}
	return why
}

func answer(w http.ResponseWriter, reasons map[string]string) {
	v, code := healthView{Status: "ok"}, http.StatusOK
	if len(reasons) > 0 {
		v, code = healthView{"unavailable", reasons}, http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

// defaultListen is where a process answers about itself when nothing else is
// said and the port is free.
const defaultListen = "127.0.0.1:8080"

// listen opens the listener of addr. Empty means defaultListen, or a free port
// when that one is taken.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	if addr != "" {
		l, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			return nil, usagef("--listen %s: %w", addr, err)
		}
		return l, nil
	}
	l, err := lc.Listen(ctx, "tcp", defaultListen)
	if err != nil {
		l, err = lc.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	return l, err
}

// serveHTTP answers on l until ctx ends, then lets open requests finish.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, log zerolog.Logger) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    64 << 10,
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		log.Warn().Err(err).Str("event", "http.stop_forced").Msg("requests were still open")
		return srv.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
