package controller

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics is an Observe that counts reconciles and their time by controller.
func Metrics(reg prometheus.Registerer) func(controller string, took time.Duration, err error) {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hallmark_reconcile_total", Help: "Reconciles, by controller and outcome."}, []string{"controller", "outcome"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "hallmark_reconcile_duration_seconds", Help: "Time of a reconcile.",
		Buckets: []float64{.001, .01, .1, 1, 10, 60, 600}}, []string{"controller"})
	reg.MustRegister(total, seconds)
	return func(controller string, took time.Duration, err error) {
		outcome := "ok"
		if err != nil {
			outcome = "error"
		}
		total.WithLabelValues(controller, outcome).Inc()
		seconds.WithLabelValues(controller).Observe(took.Seconds())
	}
}
