package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/metrics"
)

// everything has each metric with a value.
func everything(t testing.TB, o metrics.Options) (*prometheus.Registry, *metrics.Metrics) {
	t.Helper()
	at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	o.Build = metrics.Build{Version: "1.2.3", Revision: "abc", GoVersion: "go1.26"}
	if o.Now == nil {
		o.Now = func() time.Time { return at.Add(time.Minute) }
	}
	if o.State == nil {
		o.State = func(context.Context) (metrics.State, error) {
			return metrics.State{
				Instances: map[string]metrics.Instances{"scim": {All: 3, Idle: 2, Waiting: 1, Waits: 4, Refusals: 5, Resets: 6, ResetTime: time.Second}}, SandboxBytes: 7,
				Loaded:       []metrics.Loaded{{Connector: "scim", Version: "1.0.0", Digest: "9f2c", At: at, Refused: true}, {Connector: "broken", Refused: true}},
				DroppedLines: map[string]int64{"scim": 3},
				Pools:        map[string]metrics.Pool{"write": {Open: 1, InUse: 1, Most: 1, Waits: 2, Waited: time.Second}},
			}, nil
		}
	}
	if o.Counts == nil {
		o.Counts = func(context.Context) (metrics.Counts, error) {
			return metrics.Counts{
				Queues:   map[string]metrics.Queue{"provision": {Depth: 7, Due: at}},
				Requests: map[string]map[host.RequestState]int64{"acme": {host.StateFailed: 2}},
				Open:     map[string]map[string]metrics.Open{"acme": {metrics.WaitsForApproval: {Requests: 2, Since: at}}},
				Runs:     map[string]metrics.Run{"acme": {States: map[host.RequestState]int64{host.StateCollecting: 1}, Pages: 2, Accounts: 200, Expected: 400}},
				Accounts: map[string]map[host.LinkState]int64{"acme": {host.Linked: 3}}, Drifted: map[string]int64{"acme": 4}, Undecided: map[string]int64{"acme": 5},
				Targets:     map[string]metrics.Target{"Acme": {State: host.BreakerOpen, Since: at, Waiting: 6}},
				Quarantined: map[string]int64{"acme": 1}, Reconciled: map[string]time.Time{"acme": time.UnixMilli(1500)}, Authorized: map[string]bool{"Acme": true}, DatabaseBytes: 4096,
			}, nil
		}
	}
	r := prometheus.NewPedanticRegistry()
	m, err := metrics.New(r, o)
	require.NoError(t, err)
	m.Call(metrics.Call{Connector: "scim", Version: "1.0.0", Operation: "create", Outcome: "ok", Limit: "time", RequestID: host.NewID(), Took: time.Millisecond, HTTP: time.Microsecond, MemoryBytes: 4 << 20, Fuel: 1000})
	m.Load("scim", "ok", time.Second, time.Second)
	m.Swap("scim", "ok")
	m.Rollback("scim", "operator")
	m.Quarantine("scim")
	m.Callout(metrics.Callout{Credential: "Acme", Method: "POST", Status: 201, RequestID: host.NewID(), Took: time.Millisecond, SignIn: 1, Wait: 2, Retries: 1, Sent: 10, Received: 20})
	m.Callout(metrics.Callout{Credential: "Acme", Method: "BREW"})
	m.TokenRefresh("Acme", "ok")
	m.Sent("webhook", "ok")
	m.Attempt("acme", host.Create, "pending", host.NewID())
	done := at.Add(90 * time.Second)
	m.RequestEnded(&host.UserProvisioningRequest{Id: host.NewID(), AppName: "acme", Operation: host.Create, State: host.StateCompleted, Attempt: 2, CreatedDate: at, CompletedDate: &done})
	m.RequestEnded(&host.UserProvisioningRequest{Id: host.NewID(), AppName: "acme", Operation: host.Create, State: host.StateFailed, ErrorCode: host.InvalidInput, Attempt: 1, CreatedDate: at, CompletedDate: &done})
	m.Page("acme", "ok", 100, "")
	m.ThresholdHit("acme", "run")
	m.Pruned("user_provisioning_requests", 3)
	m.Job("provision", true, time.Millisecond, "")
	m.Transaction(true, true, time.Millisecond, 1)
	m.Reload(false)
	return r, m
}

func TestEveryMetricPassesPrometheusLinterAndIsCounted(t *testing.T) {
	r, _ := everything(t, metrics.Options{})
	problems, err := testutil.GatherAndLint(r)
	require.NoError(t, err)
	require.Empty(t, problems)
	for series, want := range map[string]string{
		`provost_callouts_total{class="0",credential="Acme",method="other"}`:                              "1",
		`provost_callouts_total{class="2xx",credential="Acme",method="POST"}`:                             "1",
		`provost_callout_retries_total{credential="Acme"}`:                                                "1",
		`provost_callout_bytes_total{credential="Acme",direction="received"}`:                             "20",
		`provost_config_last_reload_successful{}`:                                                         "0",
		`provost_config_generation{}`:                                                                     "1",
		`provost_config_reloads_total{outcome="refused"}`:                                                 "1",
		`provost_connector_calls_total{connector="scim",operation="create",outcome="ok",version="1.0.0"}`: "1",
		`provost_connector_instances{connector="scim",state="busy"}`:                                      "1",
		`provost_connector_info{connector="scim",digest="9f2c",version="1.0.0"}`:                          "1",
		`provost_connector_load_refused{connector="broken"}`:                                              "1",
		`provost_connector_resets_total{connector="scim"}`:                                                "6",
		`provost_requests_ended_total{app="acme",code="",operation="Create",state="Completed"}`:           "1",
		`provost_requests_ended_total{app="acme",code="InvalidInput",operation="Create",state="Failed"}`:  "1",
		`provost_requests_oldest_age_seconds{app="acme",waits_for="approval"}`:                            "60",
		`provost_requests_open{app="acme",waits_for="worker"}`:                                            "0",
		`provost_queue_depth{queue="provision"}`:                                                          "7",
		`provost_queue_oldest_job_age_seconds{queue="provision"}`:                                         "60",
		`provost_reconcile_run_accounts{app="acme"}`:                                                      "200",
		`provost_reconcile_last_commit_timestamp_seconds{app="acme"}`:                                     "1.5",
		`provost_plans_quarantined{app="acme"}`:                                                           "1",
		`provost_target_failing_seconds{credential="Acme"}`:                                               "60",
		`provost_database_up{}`:                                                                           "1",
		`provost_build_info{goversion="go1.26",revision="abc",version="1.2.3"}`:                           "1",
		`provost_request_attempts_total{app="acme",operation="Create",outcome="pending"}`:                 "1",
		`provost_request_duration_seconds_sum{app="acme",operation="Create",state="Completed"}`:           "90",
		`provost_callout_phase_duration_seconds_count{credential="Acme",phase="wait"}`:                    "1",
		`provost_callout_phase_duration_seconds_count{credential="Acme",phase="tls"}`:                     "",
		`provost_database_transaction_duration_seconds_count{kind="write",outcome="committed"}`:           "1",
		`provost_connector_limits_exceeded_total{connector="scim",limit="time"}`:                          "1",
	} {
		require.Equal(t, want, values(t, r)[series], series)
	}
}

// values are all series that a registry has, as text.
func values(t testing.TB, g prometheus.Gatherer) map[string]string {
	t.Helper()
	families, err := g.Gather()
	require.NoError(t, err)
	out := map[string]string{}
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			at := "{" + strings.Join(labels, ",") + "}"
			switch {
			case m.Counter != nil:
				out[f.GetName()+at] = fmt.Sprint(m.Counter.GetValue())
			case m.Gauge != nil:
				out[f.GetName()+at] = fmt.Sprint(m.Gauge.GetValue())
			case m.Histogram != nil:
				out[f.GetName()+"_count"+at] = fmt.Sprint(m.Histogram.GetSampleCount())
				out[f.GetName()+"_sum"+at] = fmt.Sprint(m.Histogram.GetSampleSum())
			}
		}
	}
	return out
}

func TestTheListHasEveryMetricThatIsScrapedAndNoOther(t *testing.T) {
	r, m := everything(t, metrics.Options{})
	families, err := r.Gather()
	require.NoError(t, err)
	scraped := map[string][]string{}
	for _, f := range families {
		require.True(t, strings.HasPrefix(f.GetName(), "provost_"), f.GetName())
		for _, l := range f.Metric[0].Label {
			scraped[f.GetName()] = append(scraped[f.GetName()], l.GetName())
		}
		for _, one := range m.Families() {
			if one.Name == f.GetName() {
				require.Equal(t, one.Type, strings.ToLower(f.GetType().String()), one.Name)
				require.Equal(t, one.Help, f.GetHelp(), one.Name)
				require.ElementsMatch(t, one.Labels, scraped[one.Name], one.Name)
			}
		}
	}
	for _, f := range metrics.List() {
		require.Contains(t, families2names(families), f.Name, "it is in the list, and nothing has moved it")
	}
	require.Len(t, metrics.List(), len(families))
}

func families2names[T interface{ GetName() string }](list []T) []string {
	var names []string
	for _, f := range list {
		names = append(names, f.GetName())
	}
	return names
}

func TestAHistogramIsNativeAndClassicAndItsExemplarsNameTheRequest(t *testing.T) {
	r, m := everything(t, metrics.Options{})
	m.Callout(metrics.Callout{Credential: "Other", Method: "GET", Status: 200, RequestID: "0190-x", Took: 30 * time.Millisecond})
	families, err := r.Gather()
	require.NoError(t, err)
	histograms, exemplars := 0, 0
	for _, f := range families {
		for _, one := range f.Metric {
			if f.GetName() == "provost_callouts_total" && one.Counter.Exemplar != nil {
				exemplars++
				require.Equal(t, "request_id", one.Counter.Exemplar.Label[0].GetName())
			}
			if h := one.Histogram; h != nil {
				histograms++
				require.NotEmpty(t, h.Bucket, f.GetName())
				require.NotNil(t, h.Schema, f.GetName())
			}
		}
	}
	require.Positive(t, histograms)
	require.Equal(t, 2, exemplars, "one without a request has none")
}

func TestAScrapeGoesOnWhileTheDatabaseDoesNotAnswerAndSaysSo(t *testing.T) {
	var log strings.Builder
	r, _ := everything(t, metrics.Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Counts: func(context.Context) (metrics.Counts, error) {
		return metrics.Counts{}, errors.New("database is gone")
	}})
	got := values(t, r)
	require.Equal(t, "0", got["provost_database_up{}"])
	require.Equal(t, "1", got[`provost_queue_jobs_total{outcome="ok",queue="provision"}`], "what is counted in the process is there")
	require.NotContains(t, got, `provost_queue_depth{queue="provision"}`, "what is not known is not shown")
	require.Contains(t, log.String(), "database is gone")
}

func TestWhatTakesLongToCountIsCountedATenthOfTheTimeAtMost(t *testing.T) {
	now, asked := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC), 0
	takes := 2 * time.Second
	r, _ := everything(t, metrics.Options{Now: func() time.Time { return now }, Counts: func(context.Context) (metrics.Counts, error) {
		asked++
		now = now.Add(takes)
		return metrics.Counts{DatabaseBytes: int64(asked)}, nil
	}})
	require.Equal(t, "1", values(t, r)["provost_database_size_bytes{}"])
	require.Equal(t, "2", values(t, r)["provost_count_duration_seconds{}"])
	now = now.Add(19 * time.Second)
	require.Equal(t, "1", values(t, r)["provost_database_size_bytes{}"], "it was counted for 2 s, 19 s ago")
	now = now.Add(time.Second)
	require.Equal(t, "2", values(t, r)["provost_database_size_bytes{}"])
	takes = 0
	now = now.Add(time.Hour)
	require.Equal(t, "3", values(t, r)["provost_database_size_bytes{}"])
	require.Equal(t, "4", values(t, r)["provost_database_size_bytes{}"], "what takes no time is counted each time")
}

func TestAConnectorCanNotMakeSeriesWithoutEnd(t *testing.T) {
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	r, m := everything(t, metrics.Options{Now: func() time.Time { return now }})
	call := func(version, outcome string) {
		m.Call(metrics.Call{Connector: "wild", Version: version, Operation: "read", Outcome: outcome, Limit: "time"})
	}
	versions := func() (list []string) {
		for series := range values(t, r) {
			if strings.HasPrefix(series, `provost_connector_calls_total{connector="wild"`) {
				list = append(list, series[strings.Index(series, `version="`):])
			}
		}
		return list
	}
	for i := range 1000 {
		call(fmt.Sprintf("1.0.%d", i), "ok")
	}
	require.Len(t, versions(), 9, "eight versions, and other")
	require.Equal(t, "992", values(t, r)[`provost_connector_calls_total{connector="wild",operation="read",outcome="ok",version="other"}`])

	now = now.Add(time.Hour)
	call("2.0.0", "ok")
	require.Contains(t, versions(), `version="2.0.0"}`, "after a while a new version takes the place of an old one")
	require.Len(t, versions(), 9)

	call("2.0.0", "made up by a connector")
	require.Equal(t, "1", values(t, r)[`provost_connector_calls_total{connector="wild",operation="read",outcome="other",version="2.0.0"}`])
	call("2.0.0\n\xff"+strings.Repeat("x", 1000), "ok")
	for _, v := range versions() {
		require.LessOrEqual(t, len(v), 64+len(`version=""}`), v)
	}
}

func TestWhoWaitsCountsFromWhenItWasDue(t *testing.T) {
	r, m := everything(t, metrics.Options{})
	made := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	due, done := made.Add(30*24*time.Hour), made.Add(30*24*time.Hour+5*time.Second)
	m.RequestEnded(&host.UserProvisioningRequest{AppName: "acme", Operation: host.Delete, State: host.StateCompleted, Attempt: 1, CreatedDate: made, ScheduleDate: &due, CompletedDate: &done})
	require.Equal(t, "5", values(t, r)[`provost_request_duration_seconds_sum{app="acme",operation="Delete",state="Completed"}`])
}

// BenchmarkCall is what one call's metrics cost.
func BenchmarkCall(b *testing.B) {
	_, m := everything(b, metrics.Options{})
	id := host.NewID()
	for b.Loop() {
		m.Call(metrics.Call{Connector: "scim", Version: "1.0.0", Operation: "create", Outcome: "ok", RequestID: id, Took: time.Duration(rand.Int64N(1e6)), HTTP: 1000, MemoryBytes: 4 << 20, Fuel: 1000})
	}
}
