package metrics_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/metrics"
)

func TestTheUseOfAConnectorIsWhatItsCallsCameTo(t *testing.T) {
	m, err := metrics.New(prometheus.NewRegistry(), metrics.Options{})
	require.NoError(t, err)
	for _, outcome := range []string{"ok", "ok", "RateLimited"} {
		m.Call(metrics.Call{Connector: "acme", Version: "1.0.0", Operation: "create", Outcome: outcome, Took: 2 * time.Second, Fuel: 100})
	}
	m.Call(metrics.Call{Connector: "acme", Version: "1.1.0", Operation: "reconcile", Outcome: "ok", Took: time.Second, Fuel: 7})
	m.Call(metrics.Call{Connector: "globex", Version: "1.0.0", Operation: "create", Outcome: "Internal", Took: time.Second})
	m.Call(metrics.Call{Connector: "acme", Version: "1.0.0", Operation: "read", Outcome: "NotFound"})
	m.Callout(metrics.Callout{Credential: "Acme", Method: "GET", Status: 200})
	m.Job("provision", true, time.Second, "")

	require.Equal(t, []metrics.Use{{Operation: "create", Calls: 3, Failed: 1, Fuel: 300, Seconds: 6}, {Operation: "read", Calls: 1}, {Operation: "reconcile", Calls: 1, Fuel: 7, Seconds: 1}}, m.UseOf("acme"))
	require.Empty(t, m.UseOf("initech"))
	require.Equal(t, metrics.Totals{Calls: 6, Failed: 2, Callouts: 1, Jobs: 1}, m.Totals())
}
