package frontdoor

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	panics   prometheus.Counter
}

func newMetrics(reg *prometheus.Registry) metrics {
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hallmark_http_requests_total", Help: "Requests answered."}, []string{"method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "hallmark_http_request_duration_seconds", Help: "Time to answer a request.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, 1, 5}}, []string{"method"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "hallmark_http_panics_total", Help: "Requests that hit a bug in the front door."}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.duration, m.panics) // a fresh registry: cannot collide
	}
	return m
}

func (m metrics) observe(method string, status int, took time.Duration) {
	switch method {
	case "GET", "HEAD", "PUT", "PATCH", "POST", "DELETE":
	default:
		method = "other" // a label must not be the client's choice
	}
	m.requests.WithLabelValues(method, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(method).Observe(took.Seconds())
}
