// Package metrics is what Prometheus scrapes from a host. A [Metrics] is made
// for one Registerer; nothing here is global. Label values come from the
// configuration or from closed lists, never from a connector's or a target's
// answer, so their number is bounded.
package metrics

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/provosthq/provost/host"
)

// Metrics counts what happens. Its methods may be called at once from many
// goroutines.
type Metrics struct {
	calls       *prometheus.CounterVec
	callSeconds *prometheus.HistogramVec
	callMemory  *prometheus.HistogramVec
	callFuel    *prometheus.CounterVec
	callWait    *prometheus.HistogramVec
	limits      *prometheus.CounterVec
	callouts    *prometheus.CounterVec
	calloutSecs *prometheus.HistogramVec
	reloads     *prometheus.CounterVec
	reloadOK    prometheus.Gauge
	pruned      *prometheus.CounterVec
	refreshes   *prometheus.CounterVec
}

// Snapshot is what a scrape asks the store for.
type Snapshot struct {
	QueueDepth map[string]int64                       // by queue
	Requests   map[string]map[host.RequestState]int64 // by app and state
	Accounts   map[string]map[host.LinkState]int64    // by app and link state
	Instances  map[string]Instances                   // by connector
	Targets    map[string]Target                      // by named credential
	// Quarantined counts the plans that passed a threshold and wait for a person,
	// by app ("" for imports of users); Reconciled is when a run was last
	// committed, by app.
	Quarantined map[string]int64
	Reconciled  map[string]time.Time
	// Authorized tells of each credential that people authorize whether it can be
	// used.
	Authorized map[string]bool
	// SandboxBytes is the memory of all instances.
	SandboxBytes int64
}

// Instances are those of one connector, and the calls that wait for one.
type Instances struct{ All, Idle, Waiting int }

// Target is what stands behind a named credential: the state of its circuit
// breaker, and the requests that wait for it.
type Target struct {
	State   host.Breaker
	Waiting int64
}

// New registers the metrics with r. snapshot is called on every scrape and must
// answer within its context.
func New(r prometheus.Registerer, version string, snapshot func(context.Context) (Snapshot, error)) (*Metrics, error) {
	seconds := prometheus.ExponentialBuckets(0.0001, 4, 10) // 0.1 ms to 26 s
	m := &Metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "provost_connector_calls_total", Help: "Calls of connectors, by operation and outcome (ok or an error code).",
		}, []string{"connector", "operation", "outcome"}),
		callSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "provost_connector_call_duration_seconds", Help: "Duration of connector calls, HTTP included.", Buckets: seconds,
		}, []string{"connector", "operation"}),
		callMemory: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "provost_connector_call_memory_bytes", Help: "Linear memory of the instance at the end of a call.", Buckets: prometheus.ExponentialBuckets(1<<20, 2, 8),
		}, []string{"connector"}),
		callFuel: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "provost_connector_fuel_total", Help: "Work of connectors, in instructions.",
		}, []string{"connector", "operation"}),
		callWait: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "provost_connector_wait_seconds", Help: "Time that calls waited for an instance.", Buckets: seconds,
		}, []string{"connector"}),
		limits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "provost_connector_limits_exceeded_total", Help: "Calls that a limit of the sandbox ended, by limit.",
		}, []string{"connector", "limit"}),
		callouts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "provost_callouts_total", Help: "HTTP requests made for connectors, by named credential, method and status class (0 for no answer).",
		}, []string{"credential", "method", "class"}),
		calloutSecs: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "provost_callout_duration_seconds", Help: "Duration of HTTP requests made for connectors.", Buckets: seconds,
		}, []string{"credential"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "provost_config_reloads_total", Help: "Reloads of the configuration, by outcome (ok or refused).",
		}, []string{"outcome"}),
		reloadOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "provost_config_last_reload_successful", Help: "1 while the configuration in the file is the one that runs.",
		}),
	}
	m.pruned = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "provost_pruned_rows_total", Help: "Rows that retention has removed, by table.",
	}, []string{"table"})
	m.refreshes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "provost_token_refreshes_total", Help: "Fetches of tokens and sessions, by named credential and outcome (ok, refused, invalid_grant, uncertain, failed, not_stored, cut_off).",
	}, []string{"credential", "outcome"})
	m.reloadOK.Set(1)
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "provost_build_info", Help: "1, labelled with the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	for _, c := range []prometheus.Collector{m.calls, m.callSeconds, m.callMemory, m.callFuel, m.callWait, m.limits, m.callouts, m.calloutSecs, m.reloads, m.reloadOK, m.pruned, m.refreshes, info, &state{snapshot}} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Call is one call of a connector.
type Call struct {
	Connector, Operation string
	// Outcome is "ok" or a [host.Code]; Limit is which limit of the sandbox
	// ended the call, "" for none.
	Outcome, Limit string
	Took, Waited   time.Duration
	MemoryBytes    int64
	Fuel           int64
}

// Call records one call of a connector.
func (m *Metrics) Call(c Call) {
	m.calls.WithLabelValues(c.Connector, c.Operation, c.Outcome).Inc()
	m.callSeconds.WithLabelValues(c.Connector, c.Operation).Observe(c.Took.Seconds())
	m.callMemory.WithLabelValues(c.Connector).Observe(float64(c.MemoryBytes))
	m.callFuel.WithLabelValues(c.Connector, c.Operation).Add(float64(c.Fuel))
	m.callWait.WithLabelValues(c.Connector).Observe(c.Waited.Seconds())
	if c.Limit != "" {
		m.limits.WithLabelValues(c.Connector, c.Limit).Inc()
	}
}

// Callout records one HTTP request made for a connector; status 0 is one that
// had no answer. A method outside the common ones counts as "other".
func (m *Metrics) Callout(credential, method string, status int, took time.Duration) {
	class := "0"
	if status >= 100 && status < 600 {
		class = strconv.Itoa(status/100) + "xx"
	}
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE":
	default:
		method = "other"
	}
	m.callouts.WithLabelValues(credential, method, class).Inc()
	m.calloutSecs.WithLabelValues(credential).Observe(took.Seconds())
}

// TokenRefresh records how a fetch of a credential's tokens ended: a
// signin.Outcome.
func (m *Metrics) TokenRefresh(credential, outcome string) {
	m.refreshes.WithLabelValues(credential, outcome).Inc()
}

// Pruned records rows that retention has removed from a table.
func (m *Metrics) Pruned(table string, rows int64) {
	m.pruned.WithLabelValues(table).Add(float64(rows))
}

// Reload records that a changed configuration was taken or refused.
func (m *Metrics) Reload(ok bool) {
	if ok {
		m.reloads.WithLabelValues("ok").Inc()
		m.reloadOK.Set(1)
		return
	}
	m.reloads.WithLabelValues("refused").Inc()
	m.reloadOK.Set(0)
}

// state reads the store when it is scraped, so that no count can drift from
// what is stored.
type state struct {
	snapshot func(context.Context) (Snapshot, error)
}

var (
	queueDepth = prometheus.NewDesc("provost_queue_depth", "Jobs that wait or run, by queue.", []string{"queue"}, nil)
	requests   = prometheus.NewDesc("provost_requests", "Requests, by app and state; those that were pruned count.", []string{"app", "state"}, nil)
	instances  = prometheus.NewDesc("provost_connector_instances", "Instances of connectors, by state (busy or idle).", []string{"connector", "state"}, nil)
	waiting    = prometheus.NewDesc("provost_connector_waiting_calls", "Calls that wait for an instance.", []string{"connector"}, nil)
	memory     = prometheus.NewDesc("provost_sandbox_memory_bytes", "Memory of all instances of connectors.", nil, nil)
	breakers   = prometheus.NewDesc("provost_target_breaker_state", "1 for the state of the circuit breaker of a target (closed, open, half-open).", []string{"credential", "state"}, nil)
	held       = prometheus.NewDesc("provost_target_waiting_requests", "Requests that wait for a target.", []string{"credential"}, nil)
	quarantine = prometheus.NewDesc("provost_plans_quarantined", "Plans that passed a threshold and wait for a person, by app (empty for imports of users).", []string{"app"}, nil)
	authorized = prometheus.NewDesc("provost_credential_authorized", "Whether a named credential that people authorize can be used: 1, or 0 while somebody must authorize it.", []string{"credential"}, nil)
	reconciled = prometheus.NewDesc("provost_reconcile_last_commit_timestamp_seconds", "When a run of an app was last committed.", []string{"app"}, nil)
	accounts   = prometheus.NewDesc("provost_accounts", "Known accounts, by app and link state.", []string{"app", "link_state"}, nil)
)

func (s *state) Describe(ch chan<- *prometheus.Desc) {
	ch <- queueDepth
	ch <- requests
	ch <- accounts
	ch <- instances
	ch <- waiting
	ch <- memory
	ch <- breakers
	ch <- held
	ch <- quarantine
	ch <- authorized
	ch <- reconciled
}

const scrapeTimeout = 5 * time.Second

func (s *state) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	now, err := s.snapshot(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(queueDepth, err)
		return
	}
	for queue, n := range now.QueueDepth {
		ch <- prometheus.MustNewConstMetric(queueDepth, prometheus.GaugeValue, float64(n), queue)
	}
	for app, byState := range now.Requests {
		for _, st := range host.RequestStates {
			ch <- prometheus.MustNewConstMetric(requests, prometheus.GaugeValue, float64(byState[st]), app, string(st))
		}
	}
	ch <- prometheus.MustNewConstMetric(memory, prometheus.GaugeValue, float64(now.SandboxBytes))
	for connector, n := range now.Instances {
		ch <- prometheus.MustNewConstMetric(instances, prometheus.GaugeValue, float64(n.All-n.Idle), connector, "busy")
		ch <- prometheus.MustNewConstMetric(instances, prometheus.GaugeValue, float64(n.Idle), connector, "idle")
		ch <- prometheus.MustNewConstMetric(waiting, prometheus.GaugeValue, float64(n.Waiting), connector)
	}
	for credential, t := range now.Targets {
		for _, st := range []host.Breaker{host.BreakerClosed, host.BreakerOpen, host.BreakerHalfOpen} {
			on := 0.0
			if t.State == st {
				on = 1
			}
			ch <- prometheus.MustNewConstMetric(breakers, prometheus.GaugeValue, on, credential, string(st))
		}
		ch <- prometheus.MustNewConstMetric(held, prometheus.GaugeValue, float64(t.Waiting), credential)
	}
	for app, n := range now.Quarantined {
		ch <- prometheus.MustNewConstMetric(quarantine, prometheus.GaugeValue, float64(n), app)
	}
	for credential, yes := range now.Authorized {
		v := 0.0
		if yes {
			v = 1
		}
		ch <- prometheus.MustNewConstMetric(authorized, prometheus.GaugeValue, v, credential)
	}
	for app, at := range now.Reconciled {
		ch <- prometheus.MustNewConstMetric(reconciled, prometheus.GaugeValue, float64(at.UnixMilli())/1000, app)
	}
	for app, byState := range now.Accounts {
		for _, st := range host.LinkStates {
			ch <- prometheus.MustNewConstMetric(accounts, prometheus.GaugeValue, float64(byState[st]), app, string(st))
		}
	}
}
