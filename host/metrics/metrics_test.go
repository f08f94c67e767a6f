package metrics_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/metrics"
)

func TestEveryMetricPassesPrometheusLinterAndIsCounted(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	m, err := metrics.New(r, "1.2.3", func(context.Context) (metrics.Snapshot, error) {
		return metrics.Snapshot{
			QueueDepth:  map[string]int64{"provision": 7},
			Requests:    map[string]map[host.RequestState]int64{"acme": {host.StateFailed: 2}},
			Accounts:    map[string]map[host.LinkState]int64{"acme": {host.Linked: 3}},
			Quarantined: map[string]int64{"acme": 1}, Reconciled: map[string]time.Time{"acme": time.UnixMilli(1500)},
		}, nil
	})
	require.NoError(t, err)
	m.Call(metrics.Call{Connector: "scim", Operation: "create", Outcome: "ok", Took: time.Millisecond, MemoryBytes: 4 << 20, Fuel: 1000})
	m.Callout("Acme", "POST", 201, time.Millisecond)
	m.Callout("Acme", "BREW", 0, time.Millisecond)
	m.Reload(false)

	problems, err := testutil.GatherAndLint(r)
	require.NoError(t, err)
	require.Empty(t, problems)
	require.NoError(t, testutil.GatherAndCompare(r, strings.NewReader(`
# HELP provost_callouts_total HTTP requests made for connectors, by named credential, method and status class (0 for no answer).
# TYPE provost_callouts_total counter
provost_callouts_total{class="0",credential="Acme",method="other"} 1
provost_callouts_total{class="2xx",credential="Acme",method="POST"} 1
# HELP provost_config_last_reload_successful 1 while the configuration in the file is the one that runs.
# TYPE provost_config_last_reload_successful gauge
provost_config_last_reload_successful 0
# HELP provost_connector_calls_total Calls of connectors, by operation and outcome (ok or an error code).
# TYPE provost_connector_calls_total counter
provost_connector_calls_total{connector="scim",operation="create",outcome="ok"} 1
# HELP provost_plans_quarantined Plans that passed a threshold and wait for a person, by app (empty for imports of users).
# TYPE provost_plans_quarantined gauge
provost_plans_quarantined{app="acme"} 1
# HELP provost_reconcile_last_commit_timestamp_seconds When a run of an app was last committed.
# TYPE provost_reconcile_last_commit_timestamp_seconds gauge
provost_reconcile_last_commit_timestamp_seconds{app="acme"} 1.5
# HELP provost_queue_depth Jobs that wait or run, by queue.
# TYPE provost_queue_depth gauge
provost_queue_depth{queue="provision"} 7
`), "provost_callouts_total", "provost_config_last_reload_successful", "provost_connector_calls_total", "provost_queue_depth", "provost_plans_quarantined", "provost_reconcile_last_commit_timestamp_seconds"))
}

func TestAScrapeSaysWhenTheStoreDoesNotAnswer(t *testing.T) {
	r := prometheus.NewRegistry()
	_, err := metrics.New(r, "1", func(context.Context) (metrics.Snapshot, error) {
		return metrics.Snapshot{}, errors.New("database is gone")
	})
	require.NoError(t, err)
	_, err = r.Gather()
	require.ErrorContains(t, err, "database is gone")
}
