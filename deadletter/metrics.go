package deadletter

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/watertight-go/watertight/order"
)

// scrapeLimit bounds how long a scrape waits for the broker.
const scrapeLimit = 2 * time.Second

// NewMetrics registers with reg how many letters each of the services has and how
// old the oldest is. The broker is asked when reg is scraped; while it doesn't
// answer, the families are absent rather than wrong.
func NewMetrics(reg prometheus.Registerer, desk *Desk, services []order.Service) {
	reg.MustRegister(&collector{desk: desk, services: services})
}

var (
	lettersDesc = prometheus.NewDesc("watertight_dead_letters",
		"Dead letters that wait for an operator.", []string{"service"}, nil)
	oldestDesc = prometheus.NewDesc("watertight_dead_letter_oldest_timestamp_seconds",
		"When the oldest dead letter was stored, in Unix time; absent when there is none.", []string{"service"}, nil)
)

type collector struct {
	desk     *Desk
	services []order.Service
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	descs <- lettersDesc
	descs <- oldestDesc
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeLimit)
	defer cancel()
	counts, err := c.desk.Counts(ctx)
	if err != nil {
		return
	}
	letters := make(map[order.Service]int)
	for _, n := range counts {
		letters[n.Service] += n.Letters
	}
	for _, s := range c.services {
		metrics <- prometheus.MustNewConstMetric(lettersDesc, prometheus.GaugeValue, float64(letters[s]), string(s))
		if letters[s] == 0 {
			continue
		}
		at, found, err := c.desk.Oldest(ctx, s)
		if err != nil || !found {
			continue
		}
		metrics <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, float64(at.UnixMilli())/1000, string(s))
	}
}
