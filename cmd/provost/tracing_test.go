package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host/tracing/tracingtest"
	"github.com/provosthq/provost/plugins/mock/target"
)

func TestOneTraceLeadsFromTheEventToTheTargetOverProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("its processes are built without what short runs look for")
	}
	collector := tracingtest.Start(t)
	app := target.New("")
	var mu sync.Mutex
	parents := map[string][]string{} // traceparent by path's first part
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		parents[strings.SplitN(r.URL.Path, "/", 3)[1]] = append(parents[strings.SplitN(r.URL.Path, "/", 3)[1]], r.Header.Get("Traceparent"))
		mu.Unlock()
		http.StripPrefix("/"+strings.SplitN(r.URL.Path, "/", 3)[1], app).ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s := newServed(t)
	s.env = []string{"COLLECTOR_KEY=collector-canary"}
	t.Setenv("COLLECTOR_KEY", "collector-canary")
	s.configure(fmt.Sprintf(`plugins: [{name: mock, source: mock.wasm}]
credentials:
  - {name: Told, endpoint: "%[1]s/told", anonymous: true}
  - {name: Untold, endpoint: "%[1]s/untold", anonymous: true, propagate: never}
apps:
  - {name: acme, plugin: mock, credential: Told}
  - {name: quiet, plugin: mock, credential: Untold}
tracing: {endpoint: %[2]q, propagate: true, headers: [{name: X-Key, value: "key ", secret: {env: COLLECTOR_KEY}}]}
`, server.URL, collector.URL))
	s.add("acme", "ann.canary") // by a process that ends before anybody works at it
	s.add("quiet", "ben.canary")
	s.start()
	s.completed("acme", 1)
	s.completed("quiet", 1)
	s.must("", "reconcile", "--app", "acme", "--wait", "--commit")
	s.terminate()
	s.end() // what waits to be sent is sent

	require.Equal(t, "key collector-canary", collector.Header().Get("X-Key"))
	require.NotContains(t, s.log.String(), "collector-canary")
	require.NotContains(t, collector.Raw(), "canary", "no person")
	spans := map[string]tracingtest.Span{}
	for _, one := range collector.Spans() {
		spans[one.ID] = one
	}
	chain := func(from tracingtest.Span) (names []string) {
		for {
			names = append([]string{from.Name}, names...)
			up, ok := spans[from.Parent]
			if !ok {
				require.Empty(t, from.Parent, "a span has no parent: %v", names)
				return names
			}
			require.Equal(t, from.Trace, up.Trace)
			from = up
		}
	}
	all := map[string]int{}
	for _, one := range spans {
		all[strings.Join(chain(one), " > ")]++
		if one.Kind == otlp.Span_SPAN_KIND_CLIENT {
			require.Equal(t, "127.0.0.1", one.Attributes["server.address"])
			require.NotEmpty(t, one.Attributes["server.port"])
			require.NotEmpty(t, one.Attributes["http.response.status_code"])
			require.Contains(t, []string{"Told", "Untold"}, one.Attributes["provost.credential"])
		}
	}
	for _, one := range []string{"request Create > attempt Create > create mock > POST", "request Reconcile > run > page > reconcile mock > GET", "request Reconcile > run > analyze", "request Reconcile > run > commit"} {
		require.Positive(t, all[one], "%s; there is %v", one, all)
	}
	require.Equal(t, 2, all["request Create > attempt Create > create mock > POST"])

	// The target's own traces can go on from ours, where that is wanted.
	for _, header := range parents["told"] {
		parts := strings.Split(header, "-")
		require.Len(t, parts, 4, "%q", header)
		require.Equal(t, parts[1], spans[parts[2]].Trace)
		require.Equal(t, otlp.Span_SPAN_KIND_CLIENT, spans[parts[2]].Kind)
	}
	require.NotEmpty(t, parents["told"])
	require.NotEmpty(t, parents["untold"])
	for _, header := range parents["untold"] {
		require.Empty(t, header)
	}
}

func TestTracingIsSwitchedByAReloadAndAnUnreachableCollectorFailsNothing(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("its processes are built without what short runs look for")
	}
	s, app := newServed(t), target.New("")
	server := httptest.NewServer(app)
	t.Cleanup(server.Close)
	rest := fmt.Sprintf("plugins: [{name: mock, source: mock.wasm}]\ncredentials: [{name: Mock, endpoint: %q, anonymous: true}]\napps: [{name: acme, plugin: mock, credential: Mock}]\n", server.URL)
	s.configure(rest + "tracing: {endpoint: \"http://127.0.0.1:1/v1/traces\"}\n")
	s.start()
	s.add("acme", "ann")
	s.completed("acme", 1)

	collector := tracingtest.Start(t)
	s.configure(rest + fmt.Sprintf("tracing: {endpoint: %q, protocol: http/json}\n", collector.URL))
	s.until("the reload", func() bool { return s.logged("INFO", "the configuration was reloaded") == 1 })
	s.add("acme", "ben")
	s.until("the trace", func() bool {
		for _, one := range collector.Spans() {
			if one.Name == "attempt Create" {
				return true
			}
		}
		return false
	})
	s.terminate()
	s.end()
}

func TestTracingIsChecked(t *testing.T) {
	file := t.TempDir() + "/provost.yaml"
	for text, says := range map[string]string{
		"{endpoint: 'https://otel.example.com:4318'}":                                "take traces at https://otel.example.com:4318/v1/traces",
		"{endpoint: 'otel.example.com'}":                                             "is no URL",
		"{endpoint: 'https://u:canary@otel.example.com/v1/traces'}":                  "must not hold",
		"{endpoint: 'https://otel.example.com/v1/traces', sample: '10'}":             "is no share",
		"{endpoint: 'https://otel.example.com/v1/traces', protocol: grpc}":           "http/protobuf",
		"{endpoint: 'https://otel.example.com/v1/traces', headers: [{name: 'a b'}]}": "tracing.headers.a b",
		"{endpoint: 'https://otel.example.com/v1/traces', tls: {cert: c.pem}}":       "without the other",
	} {
		require.NoError(t, os.WriteFile(file, []byte("tracing: "+text+"\n"), 0o600))
		_, err := config.Load(file)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "canary")
	}
}
