package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/provosthq/provost/host"
)

// requests are the attempts at requests, and their ends.
type requests struct {
	attempts     *prometheus.CounterVec
	ended        *prometheus.CounterVec
	requestTime  *prometheus.HistogramVec
	requestTries *prometheus.HistogramVec
}

func newRequests(f *registrar) requests {
	return requests{
		attempts: f.counter("provost_request_attempts_total", "Attempts at requests whose end was stored, by outcome: ok, pending where the target goes on with it, or the code of the error.",
			"app", "operation", "outcome"),
		ended: f.counter("provost_requests_ended_total", "Requests that came to an end, by state; code is the error's of those that failed.", "app", "operation", "state", "code"),
		requestTime: f.histogram("provost_request_duration_seconds", "Time from when a request was made (or was due, if it was for later) until it was completed or failed.",
			days, "app", "operation", "state"),
		requestTries: f.histogram("provost_request_tries", "Attempts that a request took until it was completed or failed.", []float64{1, 2, 3, 5, 8, 13, 21}, "app", "state"),
	}
}

// Attempt records an attempt at a request whose end is stored: outcome is "ok",
// "pending" or a [host.Code].
func (m *requests) Attempt(app string, op host.Operation, outcome, requestID string) {
	if outcome != "pending" {
		outcome = outcomeOf(outcome)
	}
	count(m.attempts.WithLabelValues(app, string(op), outcome), 1, requestID)
}

// RequestEnded records a request that has come to an end. It is to be called
// once that is stored.
func (m *requests) RequestEnded(r *host.UserProvisioningRequest) {
	code := ""
	if r.State == host.StateFailed {
		code = outcomeOf(string(r.ErrorCode))
	}
	count(m.ended.WithLabelValues(r.AppName, string(r.Operation), string(r.State), code), 1, r.Id)
	if r.State != host.StateCompleted && r.State != host.StateFailed || r.CompletedDate == nil {
		return
	}
	begin := r.CreatedDate
	if r.ScheduleDate != nil && r.ScheduleDate.After(begin) {
		begin = *r.ScheduleDate
	}
	observe(m.requestTime.WithLabelValues(r.AppName, string(r.Operation), string(r.State)), max(0, r.CompletedDate.Sub(begin)).Seconds(), r.Id)
	if r.Operation != host.Reconcile {
		observe(m.requestTries.WithLabelValues(r.AppName, string(r.State)), float64(r.Attempt), r.Id)
	}
}

// failures are the codes that a request fails with; of others its first failure
// is seen, but is no increase.
var failures = []host.Code{host.NotFound, host.AlreadyExists, host.InvalidInput, host.Unauthorized, host.PermissionDenied, host.Unavailable, host.Conflict,
	host.Unsupported, host.Internal, host.LimitExceeded, host.ConnectorFault}

// AppRequests makes the series of an app's requests that may never move, so that
// the first time is an increase.
func (m *requests) AppRequests(app string, ops ...host.Operation) {
	for _, op := range ops {
		m.ended.WithLabelValues(app, string(op), string(host.StateCompleted), "")
		for _, code := range failures {
			m.ended.WithLabelValues(app, string(op), string(host.StateFailed), string(code))
		}
	}
}

// reconciling is what runs collect, and what holds them back.
type reconciling struct {
	pages      *prometheus.CounterVec
	collected  *prometheus.CounterVec
	thresholds *prometheus.CounterVec
	pruned     *prometheus.CounterVec
}

func newReconciling(f *registrar) reconciling {
	return reconciling{
		pages:      f.counter("provost_reconcile_pages_total", "Pages of accounts that were asked for, by outcome: ok or the code of the error.", "app", "outcome"),
		collected:  f.counter("provost_reconcile_accounts_collected_total", "Accounts that were collected, those that a run had already too.", "app"),
		thresholds: f.counter("provost_thresholds_hit_total", "Plans and runs that passed a threshold and were held back for a person, by what: run, process or import (app is empty for imports of users).", "app", "of"),
		pruned:     f.counter("provost_pruned_rows_total", "Rows that retention has removed, by table.", "table"),
	}
}

// Page records a page of accounts that was asked for: outcome is "ok" or a
// [host.Code], accounts how many it had.
func (m *reconciling) Page(app, outcome string, accounts int, requestID string) {
	count(m.pages.WithLabelValues(app, outcomeOf(outcome)), 1, requestID)
	m.collected.WithLabelValues(app).Add(float64(accounts))
}

// App makes the series of an app that may never move, so that the first time is
// an increase.
func (m *reconciling) App(app string) {
	m.pages.WithLabelValues(app, "ok")
	m.collected.WithLabelValues(app)
	for _, of := range []string{"run", "process"} {
		m.thresholds.WithLabelValues(app, of)
	}
}

// ThresholdHit records that something was held back for a person: of is "run",
// "process" or "import".
func (m *reconciling) ThresholdHit(app, of string) { m.thresholds.WithLabelValues(app, of).Inc() }

// Pruned records rows that retention has removed from a table.
func (m *reconciling) Pruned(table string, rows int64) {
	m.pruned.WithLabelValues(table).Add(float64(rows))
}
