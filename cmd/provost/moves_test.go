package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/metrics"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/plugins/mock/target"
)

// notMovedHere are the metrics that no daemon on SQLite moves when it is well,
// with the test that does.
var notMovedHere = map[string]string{
	"provost_connector_source_stale":      "TestADaemonTakesFromARegistryOnlyWhatIsTrusted: a source that can't be asked",
	"provost_database_conflicts_total":    "TestATransactionThatRanAgainIsObserved in host/store: there are none on SQLite",
	"provost_database_connections_in_use": "a scrape sees one moment; TestEveryMetricPassesPrometheusLinterAndIsCounted in host/metrics",
}

// moving is a daemon with an app for each thing that may happen.
type moving struct {
	*served
	app    atomic.Pointer[target.Target]
	broken atomic.Int32 // so many pages are answered with 503
	token  atomic.Int32 // status of the token endpoint
}

func newMoving(t *testing.T) *moving {
	m := &moving{served: newServed(t)}
	m.app.Store(target.New(""))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("limit") && m.broken.Add(-1) >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		m.app.Load().ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	m.token.Store(http.StatusOK)
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(int(m.token.Load()))
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "t", "token_type": "Bearer", "expires_in": 3600, "error": "invalid_client"}) // the caller sees what it gets
	}))
	t.Cleanup(tokens.Close)
	identity, err := secret.GenerateIdentity()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(m.dir, "identity"), []byte(identity+"\n"), 0o600))
	m.connector("good.wasm", m.mock())
	m.connector("chatty.wasm", turncoat(t, "71.0.0", "chat"))
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	t.Cleanup(hook.Close)
	m.configure(fmt.Sprintf(`
workers: 2
secrets: {identity_file: identity}
retention: {traces: 1s}
notify: [{name: hook, webhook: {url: %[3]q, secret: {value: whatever-signs}}}]
groups: [{name: heads, members: [ada]}]
plugins:
  - {name: good, source: good.wasm, unsigned: true}
  - {name: pends, source: mock.wasm, unsigned: true, settings: {pending: true}}
  - {name: fails, source: mock.wasm, unsigned: true, settings: {fail: {create: InvalidInput}}}
  - {name: slow, source: mock.wasm, unsigned: true, settings: {slow_ms: 700}, limits: {instances: 1, wait: 300ms}}
  - {name: chatty, source: chatty.wasm, unsigned: true}
  - {name: limited, source: mock.wasm, unsigned: true, limits: {http_request: 10B}, quarantine: {faults: 1}}
credentials:
  - {name: Mock, endpoint: %[1]q, anonymous: true}
  - {name: Slow, endpoint: %[1]q, anonymous: true}
  - {name: Down, endpoint: "http://127.0.0.1:1", anonymous: true, limits: {failures: 1}}
  - {name: Tokens, endpoint: %[1]q, oauth2: {token_url: %[2]q, client_id: provost, client_secret: {value: x}}}
  - {name: Refused, endpoint: %[1]q, oauth2: {token_url: "%[2]s/refused", client_id: provost, client_secret: {value: x}}}
  - {name: Person, endpoint: %[1]q, oauth2: {grant: authorization_code, authorization_url: "%[2]s/authorize", token_url: %[2]q, client_id: provost, client_secret: {value: x}}}
apps:
  - {name: good, plugin: good, credential: Mock, operations: [Create, Update, EnableAndDisable], link: ["lower(account.ExternalUsername) = lower(user.Username)", "lower(account.ExternalEmail) = lower(user.Email)"], reconcile: {thresholds: {found: "2"}}}
  - {name: pends, plugin: pends, credential: Mock}
  - {name: fails, plugin: fails, credential: Mock}
  - {name: slow, plugin: slow, credential: Slow}
  - {name: chatty, plugin: chatty, credential: Mock, operations: [Create]}
  - {name: limited, plugin: limited, credential: Mock}
  - {name: asks, plugin: good, credential: Mock, approval: group, approval_group: heads}
  - {name: down, plugin: good, credential: Down}
  - {name: tokens, plugin: good, credential: Tokens}
  - {name: refused, plugin: good, credential: Refused}
  - {name: person, plugin: good, credential: Person}
`, server.URL, tokens.URL, hook.URL))
	m.start()
	return m
}

var seriesLine = regexp.MustCompile(`^([a-z_]+)(\{.*\})? (\S+)$`)

// scrape returns all series.
func (m *moving) scrape() map[string]float64 {
	m.t.Helper()
	code, text := m.http(m.metricsAPI, "/metrics")
	require.Equal(m.t, http.StatusOK, code)
	all := map[string]float64{}
	for line := range strings.Lines(text) {
		if found := seriesLine.FindStringSubmatch(strings.TrimSpace(line)); found != nil {
			v, err := strconv.ParseFloat(found[3], 64)
			require.NoError(m.t, err, line)
			all[found[1]+found[2]] = v
		}
	}
	return all
}

// sum adds the series of a name that have labels, each as a="b".
func sum(all map[string]float64, name string, labels []string) (n float64, found bool) {
	for series, v := range all {
		rest, ok := strings.CutPrefix(series, name)
		if !ok || rest != "" && rest[0] != '{' {
			continue
		}
		for _, l := range labels {
			ok = ok && (strings.Contains(rest, "{"+l) || strings.Contains(rest, ","+l))
		}
		if ok {
			n, found = n+v, true
		}
	}
	return n, found
}

// move is what is to be seen of a metric: NAME{a="b",c="d"} and +N (so much
// more), + (more), =N (so much now), ~ (another value).
type move string

func (v move) seen(before, after map[string]float64) (bool, string) {
	series, how, _ := strings.Cut(string(v), " ")
	name, labels, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
	var wanted []string
	if labels != "" {
		wanted = strings.Split(labels, ",")
	}
	old, _ := sum(before, name, wanted)
	now, there := sum(after, name, wanted)
	said := fmt.Sprintf("%s: %v -> %v", v, old, now)
	if !there {
		return false, said + " (there is none)"
	}
	n, err := strconv.ParseFloat(how[1:], 64)
	switch {
	case how == "+":
		return now > old, said
	case how == "~":
		return now != old, said
	case how[0] == '+' && err == nil:
		return now-old == n, said
	case how[0] == '=' && err == nil:
		return now == n, said
	}
	return false, said + " is no move"
}

func TestEachMetricMovesForItsReason(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	seen := map[string]bool{}
	for _, step := range []struct {
		why   string
		do    func()
		moves []move
	}{
		{"a daemon begins", func() {}, []move{
			`provost_build_info =1`, `provost_database_up =1`, `provost_database_size_bytes +`, `provost_counted_timestamp_seconds +`, `provost_count_duration_seconds +`,
			`provost_connector_loads_total{connector="good",outcome="ok"} +1`, `provost_connector_load_duration_seconds_count{connector="good"} +1`,
			`provost_connector_loaded_timestamp_seconds{connector="good"} +`, `provost_connector_info{connector="good",version="0.1.0"} =1`,
			`provost_connector_state{connector="good",state="serving"} =1`, `provost_connector_load_refused{connector="good"} =0`,
			`provost_connector_instances{connector="good"} +`, `provost_sandbox_memory_bytes +`,
			`provost_database_connections{pool="write"} =1`, `provost_database_connections_max{pool="write"} =1`,
			`provost_database_connection_waits_total{pool="write"} +`, `provost_database_connection_wait_seconds_total{pool="write"} +`,
			`provost_database_transaction_duration_seconds_count{kind="write",outcome="committed"} +`, `provost_database_transaction_duration_seconds_count{kind="read",outcome="committed"} +`,
			`provost_config_generation =1`, `provost_config_last_reload_successful =1`, `provost_config_last_reload_success_timestamp_seconds +`,
			`provost_requests_ended_total{app="good",operation="Create",state="Failed",code="Unavailable"} =0`, `provost_connector_source_stale{connector="good"} =0`,
			`provost_notice_sends_total{kind="webhook",outcome="Unavailable"} =0`, `provost_connector_log_lines_dropped_total{connector="chatty"} =0`,
			`provost_credential_authorized{credential="Person"} =0`, `provost_target_breaker_state{credential="Down",state="closed"} =1`,
		}},
		{"a person gets an account", func() { m.add("good", "ada") }, []move{
			`provost_connector_calls_total{connector="good",version="0.1.0",operation="create",outcome="ok"} +1`, `provost_connector_fuel_total{connector="good",operation="create"} +`,
			`provost_connector_call_duration_seconds_count{connector="good",operation="create"} +1`, `provost_connector_call_http_duration_seconds_count{connector="good"} +1`,
			`provost_connector_call_memory_bytes_count{connector="good"} +1`, `provost_connector_wait_duration_seconds_count{connector="good"} +1`,
			`provost_connector_resets_total{connector="good"} +`, `provost_connector_reset_seconds_total{connector="good"} +`,
			`provost_callouts_total{credential="Mock",method="POST",class="2xx"} +1`, `provost_callout_duration_seconds_count{credential="Mock"} +1`,
			`provost_callout_phase_duration_seconds_count{credential="Mock",phase="connect"} +1`, `provost_callout_phase_duration_seconds_count{credential="Mock",phase="wait"} +1`,
			`provost_callout_bytes_total{credential="Mock",direction="sent"} +`, `provost_callout_bytes_total{credential="Mock",direction="received"} +`,
			`provost_request_attempts_total{app="good",operation="Create",outcome="ok"} +1`, `provost_requests_ended_total{app="good",operation="Create",state="Completed"} +1`,
			`provost_request_duration_seconds_count{app="good",operation="Create",state="Completed"} +1`, `provost_request_tries_sum{app="good",state="Completed"} +1`,
			`provost_queue_jobs_total{queue="provision",outcome="ok"} +1`, `provost_queue_job_duration_seconds_count{queue="provision"} +1`,
			`provost_requests{app="good",state="Completed"} +1`, `provost_accounts{app="good",link_state="linked"} +1`,
		}},
		{"a target goes on with it for a while", func() { m.add("pends", "ben") }, []move{
			`provost_request_attempts_total{app="pends",outcome="pending"} +1`, `provost_request_attempts_total{app="pends",outcome="ok"} +1`,
			`provost_requests_ended_total{app="pends",state="Completed"} +1`,
		}},
		{"a request is wrong", func() { m.add("fails", "fay") }, []move{
			`provost_connector_calls_total{connector="fails",operation="create",outcome="InvalidInput"} +1`, `provost_request_attempts_total{app="fails",outcome="InvalidInput"} +1`,
			`provost_requests_ended_total{app="fails",state="Failed",code="InvalidInput"} +1`, `provost_request_duration_seconds_count{app="fails",state="Failed"} +1`,
		}},
		{"a connector breaks a limit, and is taken out", func() { m.add("limited", "leo") }, []move{
			`provost_connector_limits_exceeded_total{connector="limited",limit="http_request"} +1`, `provost_connector_quarantines_total{connector="limited"} +1`,
			`provost_connector_state{connector="limited",state="quarantined"} =1`, `provost_notice_sends_total{kind="webhook",outcome="ok"} +`,
		}},
		{"a connector logs too much", func() { m.add("chatty", "cat", "cam", "cal") }, []move{`provost_connector_log_lines_dropped_total{connector="chatty"} +`}},
		{"somebody must approve", func() { m.add("asks", "amy") }, []move{
			`provost_requests_open{app="asks",waits_for="approval"} =1`, `provost_requests_oldest_age_seconds{app="asks",waits_for="approval"} +`,
		}},
		{"somebody must authorize", func() { m.add("person", "pam") }, []move{`provost_requests_open{app="person",waits_for="authorization"} =1`}},
		{"a target is down", func() { m.add("down", "dan") }, []move{
			`provost_callouts_total{credential="Down",class="0"} +1`, `provost_target_breaker_state{credential="Down",state="open"} =1`, `provost_target_failing_seconds{credential="Down"} +`,
			`provost_target_waiting_requests{credential="Down"} =1`, `provost_requests_open{app="down",waits_for="target"} =1`,
		}},
		{"tokens are fetched, and refused", func() {
			m.add("tokens", "tom")
			m.completed("tokens", 1)
			m.token.Store(http.StatusUnauthorized)
			m.add("refused", "rob")
		}, []move{`provost_token_refreshes_total{credential="Tokens",outcome="ok"} +1`, `provost_token_refreshes_total{credential="Refused",outcome="refused"} +`}},
		{"more is asked of a connector than it can do", func() {
			m.add("slow", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13", "s14")
		}, []move{
			`provost_queue_depth{queue="provision"} +`, `provost_queue_oldest_job_age_seconds{queue="provision"} +`, `provost_requests_open{app="slow",waits_for="worker"} +`,
			`provost_connector_waiting_calls{connector="slow"} =1`, `provost_connector_instances{connector="slow",state="busy"} =1`,
			`provost_connector_waits_total{connector="slow"} +`, `provost_connector_wait_refusals_total{connector="slow"} +`,
		}},
		{"accounts are collected, the first page at the second try", func() {
			app := m.app.Load()
			ada := app.Accounts()[0]
			require.Equal(t, "ada", ada["username"])
			ada["lastName"] = "Emperor"
			require.True(t, app.Put(ada["id"].(string), ada))
			app.Add(target.Account{"username": "whoever", "email": "p@example.com"})
			app.Add(target.Account{"username": "stranger", "email": "stranger@example.com"})
			m.broken.Store(1)
			_, _, _ = m.run("", "reconcile", "--app", "good", "--wait") // what came of it is seen below
		}, []move{
			`provost_callout_retries_total{credential="Mock"} +1`, `provost_reconcile_pages_total{app="good",outcome="ok"} +1`, `provost_reconcile_accounts_collected_total{app="good"} +`,
			`provost_reconcile_runs{app="good",state="Analyzed"} =1`, `provost_reconcile_run_pages{app="good"} =1`, `provost_reconcile_run_accounts{app="good"} +`,
			`provost_reconcile_run_expected_accounts{app="good"} +`, `provost_requests_open{app="good",waits_for="review"} =1`,
		}},
		{"what was found is taken", func() {
			for _, r := range m.requests("good") {
				if r.State == "Analyzed" {
					m.must("", "reconcile", "commit", r.Name)
				}
			}
		}, []move{
			`provost_reconcile_last_commit_timestamp_seconds{app="good"} +`, `provost_accounts_drifted{app="good"} +`, `provost_accounts_undecided{app="good"} +`,
			`provost_accounts{app="good",link_state="orphaned"} +`, `provost_reconcile_runs{app="good"} =0`, `provost_requests_ended_total{app="good",operation="Reconcile",state="Completed"} +1`,
		}},
		{"a run finds nobody any more", func() {
			m.app.Store(target.New(""))
			_, _, _ = m.run("", "reconcile", "--app", "good", "--commit", "--wait") // it is held back
		}, []move{`provost_thresholds_hit_total{app="good",of="run"} +1`}},
		{"an import would disable nearly everybody", func() {
			_, _, _ = m.run("Username,LastName\nada,Person\n", "user", "import", "-", "--format", "csv", "--prune") // it says so, and fails
		}, []move{`provost_plans_quarantined{app=""} =1`, `provost_thresholds_hit_total{app="",of="import"} +1`}},
		{"another build of a connector takes over", func() {
			m.connector("good.wasm", append(m.mock(), 0, 6, 5, 'm', 'o', 'v', 'e', 's')) // one that no other test has had compiled
		}, []move{
			`provost_connector_swaps_total{connector="good",outcome="ok"} +1`, `provost_connector_loads_total{connector="good",outcome="ok"} +1`,
			`provost_connector_compile_duration_seconds_count{connector="good"} +1`, `provost_connector_loaded_timestamp_seconds{connector="good"} +`,
			`provost_config_reloads_total{outcome="ok"} +1`, `provost_config_generation +1`, `provost_config_last_reload_success_timestamp_seconds +`,
		}},
		{"a person takes it back", func() { m.must("", "plugin", "rollback", "good") }, []move{`provost_connector_rollbacks_total{connector="good",by="operator"} +1`}},
		{"a build is broken", func() { m.connector("good.wasm", m.mock()[:1000]) }, []move{
			`provost_connector_loads_total{connector="good",outcome="InvalidInput"} +`, `provost_connector_swaps_total{connector="good",outcome="InvalidInput"} +`,
			`provost_connector_load_refused{connector="good"} =1`, `provost_config_reloads_total{outcome="refused"} +`, `provost_config_last_reload_successful =0`,
		}},
		{"what ended long ago is removed", func() {
			m.until("a second", func() bool { m.must("", "retention", "run"); return m.sum("provost_pruned_rows_total") > 0 })
		}, []move{`provost_pruned_rows_total{table="traces"} +`}},
	} {
		began, before := time.Now(), map[string]float64{}
		if len(seen) > 0 {
			before = m.scrape()
		}
		step.do()
		left := step.moves
		var missing []string
		deadline := time.Now().Add(time.Minute)
		tick := time.NewTicker(20 * time.Millisecond)
		for len(left) > 0 && time.Now().Before(deadline) {
			after := m.scrape()
			missing = nil
			var next []move
			for _, one := range left {
				if ok, said := one.seen(before, after); !ok {
					next, missing = append(next, one), append(missing, said)
				}
			}
			left = next
			<-tick.C
		}
		tick.Stop()
		require.Empty(t, missing, "%s; the daemon's log:\n%s", step.why, m.log)
		t.Logf("%5.1f s  %s", time.Since(began).Seconds(), step.why)
		for _, one := range step.moves {
			name, _, _ := strings.Cut(strings.Fields(string(one))[0], "{")
			for _, suffix := range []string{"_count", "_sum"} {
				name = strings.TrimSuffix(name, suffix)
			}
			seen[name] = true
		}
	}
	for _, f := range metrics.List() {
		if !seen[f.Name] && notMovedHere[f.Name] == "" {
			t.Errorf("nothing moves %s", f.Name)
		}
	}
}

func (m *moving) sum(name string) float64 {
	n, _ := sum(m.scrape(), name, nil)
	return n
}
