package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/provosthq/provost/host"
)

// connectors are the calls of connectors, and the versions that come and go.
type connectors struct {
	versions    *bounded
	calls       *prometheus.CounterVec
	callSeconds *prometheus.HistogramVec
	callHTTP    *prometheus.HistogramVec
	callMemory  *prometheus.HistogramVec
	callFuel    *prometheus.CounterVec
	callWait    *prometheus.HistogramVec
	limits      *prometheus.CounterVec
	loads       *prometheus.CounterVec
	loadSeconds *prometheus.HistogramVec
	compiling   *prometheus.HistogramVec
	swaps       *prometheus.CounterVec
	rollbacks   *prometheus.CounterVec
	quarantines *prometheus.CounterVec
}

func newConnectors(f *registrar, now func() time.Time) connectors {
	c := connectors{
		calls: f.counter("provost_connector_calls_total", "Calls of connectors, by outcome: ok or the code of the error. Of versions beyond a few, version is other.",
			"connector", "version", "operation", "outcome"),
		callSeconds: f.histogram("provost_connector_call_duration_seconds", "Time of connector calls, HTTP included, waiting for an instance not.", short, "connector", "operation"),
		callHTTP:    f.histogram("provost_connector_call_http_duration_seconds", "Time that connector calls spent in HTTP; calls without any do not count.", long, "connector"),
		callMemory:  f.histogram("provost_connector_call_memory_bytes", "Linear memory of the instance at the end of a call.", prometheus.ExponentialBuckets(1<<20, 2, 8), "connector"),
		callFuel:    f.counter("provost_connector_fuel_total", "Work of connectors, in instructions.", "connector", "version", "operation"),
		callWait:    f.histogram("provost_connector_wait_duration_seconds", "Time that calls waited for an instance.", short, "connector"),
		limits:      f.counter("provost_connector_limits_exceeded_total", "Calls that a limit of the sandbox ended, by the limit's name in the configuration.", "connector", "limit"),
		loads: f.counter("provost_connector_loads_total", "Attempts to load a connector, by outcome: ok, or the code of the error with which it was refused.",
			"connector", "outcome"),
		loadSeconds: f.histogram("provost_connector_load_duration_seconds", "Time to load a connector: read, compile, describe and check it.", long, "connector"),
		compiling:   f.histogram("provost_connector_compile_duration_seconds", "Time to compile a connector; one that was in the cache does not count.", long, "connector"),
		swaps:       f.counter("provost_connector_swaps_total", "Attempts to put one version of a connector in the place of another, by outcome: ok, waits where it wants more than it is granted, or the code of the error with which it was refused.", "connector", "outcome"),
		rollbacks:   f.counter("provost_connector_rollbacks_total", "Returns to the version before, by who did it: operator, or automatic.", "connector", "by"),
		quarantines: f.counter("provost_connector_quarantines_total", "Times that a connector was taken out because it trapped or broke its limits too often.", "connector"),
	}
	calls, fuel := c.calls, c.callFuel
	c.versions = &bounded{most: mostVersions, now: now, drop: func(connector, version string) {
		old := prometheus.Labels{"connector": connector, "version": version}
		calls.DeletePartialMatch(old)
		fuel.DeletePartialMatch(old)
	}}
	return c
}

// Call is one call of a connector.
type Call struct {
	Connector, Version, Operation string
	// Outcome is "ok" or a [host.Code]; Limit is which limit of the sandbox
	// ended the call, "" for none.
	Outcome, Limit string
	// RequestID is the request that it was for, "" for none.
	RequestID string
	// HTTP is the part of Took that was spent in HTTP.
	Took, HTTP, Waited time.Duration
	MemoryBytes        int64
	Fuel               int64
}

// Call records one call of a connector.
func (m *connectors) Call(c Call) {
	version := m.versions.value(c.Connector, c.Version)
	count(m.calls.WithLabelValues(c.Connector, version, c.Operation, outcomeOf(c.Outcome)), 1, c.RequestID)
	observe(m.callSeconds.WithLabelValues(c.Connector, c.Operation), c.Took.Seconds(), c.RequestID)
	if c.HTTP > 0 {
		m.callHTTP.WithLabelValues(c.Connector).Observe(c.HTTP.Seconds())
	}
	m.callMemory.WithLabelValues(c.Connector).Observe(float64(c.MemoryBytes))
	m.callFuel.WithLabelValues(c.Connector, version, c.Operation).Add(float64(max(0, c.Fuel)))
	m.callWait.WithLabelValues(c.Connector).Observe(c.Waited.Seconds())
	if c.Limit != "" {
		count(m.limits.WithLabelValues(c.Connector, clean(c.Limit)), 1, c.RequestID)
	}
}

// Load records an attempt to load a connector: outcome is "ok" or a
// [host.Code], took what all of it took, compile what the compiling did, 0 where
// it came from the cache.
func (m *connectors) Load(connector, outcome string, took, compile time.Duration) {
	// What may happen to it is there as 0, so that the first time is an increase.
	m.swaps.WithLabelValues(connector, "ok")
	m.rollbacks.WithLabelValues(connector, "operator")
	m.rollbacks.WithLabelValues(connector, "automatic")
	m.quarantines.WithLabelValues(connector)
	m.loads.WithLabelValues(connector, outcomeOf(outcome)).Inc()
	m.loadSeconds.WithLabelValues(connector).Observe(took.Seconds())
	if compile > 0 {
		m.compiling.WithLabelValues(connector).Observe(compile.Seconds())
	}
}

// Swap records an attempt to put a version in the place of another: outcome is
// "ok", "waits" where the version wants more than it is granted, or a [host.Code].
func (m *connectors) Swap(connector, outcome string) {
	m.swaps.WithLabelValues(connector, clean(outcome)).Inc()
}

// Rollback records the return to the version before; by is "operator" or
// "automatic".
func (m *connectors) Rollback(connector, by string) {
	m.rollbacks.WithLabelValues(connector, clean(by)).Inc()
}

// Quarantine records that a connector was taken out.
func (m *connectors) Quarantine(connector string) {
	m.quarantines.WithLabelValues(connector).Inc()
}

// codes are the outcomes that there are.
var codes = func() map[string]bool {
	known := map[string]bool{"ok": true}
	for _, c := range []host.Code{host.NotFound, host.AlreadyExists, host.InvalidInput, host.Unauthorized, host.PermissionDenied, host.RateLimited,
		host.Unavailable, host.Conflict, host.Unsupported, host.Internal, host.LimitExceeded, host.ConnectorFault, host.Usage, host.Cancelled} {
		known[string(c)] = true
	}
	return known
}()

// outcomeOf lets only the outcomes through that there are.
func outcomeOf(s string) string {
	if codes[s] {
		return s
	}
	return other
}
