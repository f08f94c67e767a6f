package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// jobs are those that this process works.
type jobs struct {
	jobs    *prometheus.CounterVec
	jobTime *prometheus.HistogramVec
}

func newJobs(f *registrar) jobs {
	return jobs{
		jobs:    f.counter("provost_queue_jobs_total", "Jobs that this process worked, by outcome: ok, or failed where nothing could be stored and it runs again.", "queue", "outcome"),
		jobTime: f.histogram("provost_queue_job_duration_seconds", "Time of jobs.", short, "queue"),
	}
}

// Job records a job that was worked. One that failed runs again; what a target
// answers is no failure of a job.
func (m *jobs) Job(queue string, ok bool, took time.Duration, requestID string) {
	outcome := "ok"
	if !ok {
		outcome = "failed"
	}
	count(m.jobs.WithLabelValues(queue, outcome), 1, requestID)
	observe(m.jobTime.WithLabelValues(queue), took.Seconds(), requestID)
}

// database is what transactions cost.
type database struct {
	transactions *prometheus.HistogramVec
	again        prometheus.Counter
}

func newDatabase(f *registrar) database {
	return database{
		transactions: f.histogram("provost_database_transaction_duration_seconds", "Time of transactions, waiting for a connection included, by kind (read or write) and outcome (committed or undone).", short, "kind", "outcome"),
		again:        f.counter("provost_database_conflicts_total", "Times that a transaction was undone for the sake of another and ran again.").WithLabelValues(),
	}
}

// Transaction records a transaction: again is how often it ran again because of
// another one.
func (m *database) Transaction(writes, committed bool, took time.Duration, again int) {
	kind, outcome := "read", "undone"
	if writes {
		kind = "write"
	}
	if committed {
		outcome = "committed"
	}
	m.transactions.WithLabelValues(kind, outcome).Observe(took.Seconds())
	m.again.Add(float64(again))
}

// configuration is what became of changed configurations.
type configuration struct {
	now        func() time.Time
	reloads    *prometheus.CounterVec
	successful prometheus.Gauge
	at         prometheus.Gauge
	generation prometheus.Gauge
}

func newConfiguration(f *registrar, now func() time.Time) configuration {
	c := configuration{
		now:        now,
		reloads:    f.counter("provost_config_reloads_total", "Reloads of the configuration, by outcome: ok or refused.", "outcome"),
		successful: f.gauge("provost_config_last_reload_successful", "1 while the configuration in the file is the one that runs.").WithLabelValues(),
		at:         f.gauge("provost_config_last_reload_success_timestamp_seconds", "When the configuration that runs was taken.").WithLabelValues(),
		generation: f.gauge("provost_config_generation", "Configurations that this process has taken; 1 is that of its start.").WithLabelValues(),
	}
	c.reloads.WithLabelValues("ok")
	c.reloads.WithLabelValues("refused")
	c.taken()
	return c
}

func (m *configuration) taken() {
	m.successful.Set(1)
	m.generation.Inc()
	m.at.Set(float64(m.now().UnixMilli()) / 1000)
}

// Reload records that a changed configuration was taken or refused.
func (m *configuration) Reload(ok bool) {
	if ok {
		m.reloads.WithLabelValues("ok").Inc()
		m.taken()
		return
	}
	m.reloads.WithLabelValues("refused").Inc()
	m.successful.Set(0)
}
