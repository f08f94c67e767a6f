package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// prometheusTool finds a program of Debian's package prometheus. Where it is
// missing the test is skipped, or fails when CI is set.
func prometheusTool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s: %v; install Debian's package prometheus", name, err)
		}
		t.Skipf("%s: %v; install Debian's package prometheus", name, err)
	}
	return path
}

// prometheusServer is a Prometheus of the test's own that knows our alerts.
type prometheusServer struct {
	t   *testing.T
	url string
}

// startPrometheus scrapes targets, several times a second.
func startPrometheus(t *testing.T, features string, targets ...string) *prometheusServer {
	t.Helper()
	path, dir := prometheusTool(t, "prometheus"), t.TempDir()
	rules, err := filepath.Abs("../../config/prometheus/provost.rules.yml")
	require.NoError(t, err)
	text := fmt.Sprintf("global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs:\n  - {job_name: provost, static_configs: [{targets: [%s]}]}\n",
		rules, strings.Join(targets, ", "))
	file := filepath.Join(dir, "prometheus.yml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	p := &prometheusServer{t: t, url: "http://" + freeAddress(t)}
	var log logBuffer
	server := exec.Command(path, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "tsdb"), "--web.listen-address="+strings.TrimPrefix(p.url, "http://"),
		"--log.level=warn", "--enable-feature="+features)
	server.Stderr = &log
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = server.Wait()
	})
	p.until("Prometheus is ready: "+log.String(), func() bool {
		answer, err := http.Get(p.url + "/-/ready")
		if err != nil {
			return false
		}
		return errors.Join(answer.Body.Close()) == nil && answer.StatusCode == http.StatusOK
	})
	return p
}

// freeAddress is one of this machine that nobody listens on.
func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// until waits for what comes with the next scrapes.
func (p *prometheusServer) until(what string, done func() bool) {
	p.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !done(); <-tick.C {
		if time.Now().After(end) {
			p.t.Fatalf("it does not come: %s", what)
		}
	}
}

// api asks Prometheus; its answer's data is put into out.
func (p *prometheusServer) api(path string, query url.Values, out any) {
	p.t.Helper()
	answer, err := http.PostForm(p.url+path, query)
	if strings.HasSuffix(path, "rules") || strings.HasSuffix(path, "targets") {
		answer, err = http.Get(p.url + path)
	}
	require.NoError(p.t, err)
	var got struct {
		Status, Error string
		Data          json.RawMessage
	}
	require.NoError(p.t, json.NewDecoder(answer.Body).Decode(&got))
	require.NoError(p.t, answer.Body.Close())
	require.Equal(p.t, "success", got.Status, "%s %s: %s", path, query, got.Error)
	require.NoError(p.t, json.Unmarshal(got.Data, out))
}

// series are what an expression has now.
func (p *prometheusServer) series(expr string) (list []map[string]string) {
	p.t.Helper()
	var got struct {
		Result []struct{ Metric map[string]string }
	}
	p.api("/api/v1/query", url.Values{"query": {expr}}, &got)
	for _, r := range got.Result {
		list = append(list, r.Metric)
	}
	return list
}

// dashboardQueries are the queries of the dashboard by "panel: expression", with
// its variables filled in.
func dashboardQueries(t *testing.T) map[string]string {
	b, err := os.ReadFile("../../config/grafana/provost.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct{ List []struct{ Name string } }
	}
	require.NoError(t, json.Unmarshal(b, &dashboard))
	values := strings.NewReplacer("$__rate_interval", "10m", "$job", "provost", "$app", ".*", "$credential", ".*", "$connector", ".*")
	queries := map[string]string{}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			expr := values.Replace(target.Expr)
			require.NotContains(t, expr, "$", "%s has a variable that is not known", panel.Title)
			queries[panel.Title+": "+target.Expr] = expr
		}
	}
	require.Greater(t, len(queries), 70)
	return queries
}

// notInTheDemo are parts of queries that nothing moves in the demo, with why:
// their panels are empty, and TestEachMetricMovesForItsReason moves them.
var notInTheDemo = map[string]string{
	`provost_requests_ended_total{job="provost",app=~".*",state="Failed"}`: "no request fails",
	"provost_callout_retries_total":                                        "its target answers always",
	"provost_token_refreshes_total":                                        "its credential is a fixed token",
	"provost_credential_authorized":                                        "nobody authorizes it",
	"provost_connector_limits_exceeded_total":                              "its connector stays within its limits",
	"provost_pruned_rows_total":                                            "nothing of it is old",
	"provost_reconcile_runs":                                               "no run is under way at its end",
	"provost_requests_oldest_age_seconds":                                  "nothing waits at its end",
	"provost_database_connection_waits_total":                              "nobody has to wait for a connection where the machine is quick",
}

func TestPrometheusScrapesTheDemoAndTheDashboardShowsIt(t *testing.T) {
	inProcesses(t)
	address := freeAddress(t)
	p := startPrometheus(t, "exemplar-storage", address)
	native := startPrometheus(t, "native-histograms,exemplar-storage", address)
	bin, err := binary()
	require.NoError(t, err)
	demo := exec.Command(bin, "demo", "--metrics", address, "--dir", t.TempDir())
	var log logBuffer
	demo.Stdout, demo.Stderr = &log, &log
	require.NoError(t, demo.Start())
	ended := make(chan error, 1)
	go func() { ended <- demo.Wait() }()
	defer func() {
		require.NoError(t, demo.Process.Signal(os.Interrupt))
		require.NoError(t, <-ended, log.String())
	}()
	p.until("the demo's end: "+log.String(), func() bool { return strings.Contains(log.String(), "until you interrupt it") })
	for _, server := range []*prometheusServer{p, native} {
		server.until("a scrape after the end", func() bool {
			return len(server.series(`provost_thresholds_hit_total{app="acme", of="run"} == 1 and on () provost_requests_ended_total{operation="Reconcile", state="Cancelled"} == 1 and on () count_over_time(provost_requests_ended_total{operation="Reconcile", state="Cancelled"}[1m]) > 1`)) == 1
		})
	}

	for title, expr := range dashboardQueries(t) {
		if got := p.series(expr); len(got) == 0 {
			why := ""
			for metric, reason := range notInTheDemo {
				if strings.Contains(expr, metric) {
					why = reason
				}
			}
			require.NotEmpty(t, why, "%s shows nothing", title)
			t.Logf("empty, since %s: %s", why, title)
		}
	}

	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError, State string }
		}
	}
	p.until("the rules are evaluated", func() bool {
		p.api("/api/v1/rules", nil, &rules)
		for _, g := range rules.Groups {
			for _, r := range g.Rules {
				if r.Health == "unknown" {
					return false
				}
				require.Equal(t, "ok", r.Health, "%s: %s", r.Name, r.LastError)
			}
		}
		return len(rules.Groups) > 0
	})
	var exemplars []struct {
		Exemplars []struct{ Labels map[string]string }
	}
	p.api("/api/v1/query_exemplars", url.Values{"query": {"provost_request_duration_seconds_bucket"}, "start": {fmt.Sprint(time.Now().Add(-time.Hour).Unix())}, "end": {fmt.Sprint(time.Now().Unix() + 1)}}, &exemplars)
	require.NotEmpty(t, exemplars)
	require.Len(t, exemplars[0].Exemplars[0].Labels["request_id"], 36, "a request is named")
	require.NotEmpty(t, native.series(`histogram_quantile(0.95, sum(rate(provost_request_duration_seconds[10m])))`), "native histograms are read as such")
	require.Empty(t, native.series(`provost_request_duration_seconds_bucket`))

	// What its linter says of all that is scraped.
	answer, err := http.Get("http://" + address + "/metrics")
	require.NoError(t, err)
	defer func() { require.NoError(t, answer.Body.Close()) }()
	check := exec.Command(prometheusTool(t, "promtool"), "check", "metrics")
	check.Stdin = answer.Body
	said, err := check.CombinedOutput()
	require.NoError(t, err, string(said))
	require.Empty(t, string(said))
}

func TestEachAlertFiresAndStaysSilentByPrometheusOwnTests(t *testing.T) {
	tool := prometheusTool(t, "promtool")
	said, err := exec.Command(tool, "test", "rules", "../../config/prometheus/provost.rules.test.yml").CombinedOutput()
	require.NoError(t, err, string(said))
	said, err = exec.Command(tool, "check", "config", "../../config/prometheus/prometheus.yml").CombinedOutput()
	require.NoError(t, err, string(said))

	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert       string
				Expr        string
				Annotations map[string]string
			}
		}
	}
	var tests struct {
		Tests []struct {
			Name  string
			Exprs []struct {
				Expr    string
				Samples []struct{ Labels string } `yaml:"exp_samples"`
			} `yaml:"promql_expr_test"`
		}
	}
	for file, into := range map[string]any{"provost.rules.yml": &rules, "provost.rules.test.yml": &tests} {
		b, err := os.ReadFile(filepath.Join("../../config/prometheus", file))
		require.NoError(t, err)
		require.NoError(t, yaml.NewDecoder(bytes.NewReader(b)).Decode(into))
	}
	fires, silent := map[string]bool{}, map[string]bool{}
	alert := regexp.MustCompile(`ALERTS\{alertname="(\w+)", alertstate="firing"\}`)
	for _, test := range tests.Tests {
		for _, e := range test.Exprs {
			name := alert.FindStringSubmatch(e.Expr)
			require.NotNil(t, name, e.Expr)
			if len(e.Samples) > 0 {
				fires[name[1]] = true
			} else {
				silent[name[1]] = true
			}
		}
	}
	known := map[string]bool{}
	for _, f := range regexp.MustCompile("`(provost_[a-z_]+)`").FindAllStringSubmatch(readText(t, "../../METRICS.md"), -1) {
		known[f[1]] = true
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			require.True(t, fires[r.Alert], "%s is never seen to fire", r.Alert)
			require.True(t, silent[r.Alert], "%s is never seen to stay silent", r.Alert)
			require.NotEmpty(t, r.Annotations["summary"], r.Alert)
			require.NotEmpty(t, r.Annotations["description"], r.Alert)
			for _, m := range regexp.MustCompile(`provost_[a-z_]+`).FindAllString(r.Expr, -1) {
				require.True(t, known[m], "%s: there is no metric %s", r.Alert, m)
			}
		}
	}
	require.Greater(t, len(fires), 20)
}

func readText(t *testing.T, file string) string {
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(b)
}
