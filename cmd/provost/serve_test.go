package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/plugins/mock/target"
)

// served is a daemon that is a process, with a folder of its own.
type served struct {
	t          *testing.T
	bin        string
	dir, file  string
	env        []string
	log        *logBuffer
	process    *exec.Cmd
	ended      chan error
	api        string // address of the API, once it listens
	metricsAPI string // address of the metrics
}

// inProcesses skips a test where the race detector is to look.
func inProcesses(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("the daemon is a process of its own, which the race detector does not look into")
	}
}

// newServed makes the folder, with the connector mock as mock.wasm.
func newServed(t *testing.T) *served {
	t.Helper()
	inProcesses(t)
	bin, err := binary()
	require.NoError(t, err)
	s := &served{t: t, bin: bin, dir: t.TempDir(), log: new(logBuffer)}
	s.file = filepath.Join(s.dir, "provost.yaml")
	s.connector("mock.wasm", s.mock())
	shareCompiled(t, filepath.Join(s.dir, "data"))
	t.Cleanup(func() {
		if s.process != nil {
			_ = s.process.Process.Kill()
			<-s.ended
		}
	})
	return s
}

// mock is the module of the connector mock.
func (s *served) mock() []byte {
	b, err := os.ReadFile(guest(s.t, "../../plugins/mock"))
	require.NoError(s.t, err)
	return b
}

// anotherBuild is a module that does the same and is another file: with a
// custom section.
func anotherBuild(wasm []byte) []byte { return append(bytes.Clone(wasm), 0, 5, 4, 'n', 'o', 't', 'e') }

// connector puts a file in its place at once, as a copy that is renamed does.
func (s *served) connector(name string, wasm []byte) {
	file := filepath.Join(s.dir, name)
	require.NoError(s.t, os.WriteFile(file+".new", wasm, 0o600))
	require.NoError(s.t, os.Rename(file+".new", file))
}

// configure writes the configuration: what every daemon of a test has, and
// rest. The ports are free ones.
func (s *served) configure(rest string) {
	text := "listen: {api: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\"}\nlog: {level: debug, format: json}\ntrust: {require_signature: false}\n" + rest
	require.NoError(s.t, os.WriteFile(s.file+".new", []byte(text), 0o600))
	require.NoError(s.t, os.Rename(s.file+".new", s.file))
}

// mockApps configures apps on the connector mock, one with each setting.
func (s *served) mockApps(endpoint, token string, settings map[string]string) {
	plugins, apps := "plugins:\n", "apps:\n"
	for name, json := range settings {
		plugins += fmt.Sprintf("  - {name: %s, source: mock.wasm, settings: %s}\n", name, json)
		apps += fmt.Sprintf("  - {name: %s, plugin: %s, credential: Mock, max_attempts: 3}\n", name, name)
	}
	s.configure(plugins + fmt.Sprintf("credentials: [{name: Mock, endpoint: %q, timeout: 1s, bearer: {token: {value: %q}}}]\n", endpoint, token) + apps)
}

// start starts the daemon and waits until it is ready.
func (s *served) start() {
	s.t.Helper()
	s.api, s.metricsAPI = "", ""
	s.process, s.ended, s.log = exec.Command(s.bin, "serve", "--config", s.file), make(chan error, 1), new(logBuffer)
	s.process.Stderr, s.process.Env = s.log, append(os.Environ(), s.env...)
	require.NoError(s.t, s.process.Start())
	go func(p *exec.Cmd, ended chan error) { ended <- p.Wait() }(s.process, s.ended)
	s.until("the start", func() bool {
		select {
		case err := <-s.ended:
			s.ended <- err // for whoever waits for it
			s.t.Fatalf("the daemon has ended: %v\n%s", err, s.log)
		default:
		}
		for line := range strings.Lines(s.log.String()) {
			var entry struct{ Msg, For, Address string }
			if json.Unmarshal([]byte(line), &entry) != nil || entry.Msg != "listening" {
				continue
			}
			switch entry.For {
			case "api":
				s.api = entry.Address
			case "metrics":
				s.metricsAPI = entry.Address
			}
		}
		return s.api != "" && s.metricsAPI != ""
	})
}

// terminate sends SIGTERM.
func (s *served) terminate() {
	s.t.Helper()
	require.NoError(s.t, s.process.Process.Signal(syscall.SIGTERM))
}

// end waits for the end of the process.
func (s *served) end() {
	s.t.Helper()
	select {
	case err := <-s.ended:
		require.NoError(s.t, err, "%s", s.log)
		s.process = nil
	case <-time.After(time.Minute):
		s.t.Fatalf("the daemon does not end:\n%s", s.log)
	}
}

// until waits for something that the daemon does in its own time.
func (s *served) until(what string, done func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("%s: waited in vain; the daemon's log:\n%s", what, s.log)
		}
	}
}

// http asks a listener and returns the status, 0 for no answer, and the body.
func (s *served) http(address, path string) (int, string) {
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+address+path, nil)
	require.NoError(s.t, err)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, ""
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	require.NoError(s.t, err)
	return answer.StatusCode, string(b)
}

// run runs a command as a process of its own.
func (s *served) run(stdin string, args ...string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(s.t.Context(), s.bin, append(args, "--config", s.file)...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func (s *served) must(stdin string, args ...string) string {
	s.t.Helper()
	out, errs, err := s.run(stdin, args...)
	require.NoError(s.t, err, "%s: %s", args, errs)
	return out
}

// ask asks the daemon over its socket.
func (s *served) ask(path string, query url.Values, out any) {
	s.t.Helper()
	c, ok := socketClient(filepath.Join(s.dir, "data", "provost.sock"))
	require.True(s.t, ok, "nobody listens; the log:\n%s", s.log)
	defer c.close(s.t.Context())
	require.NoError(s.t, c.do(s.t.Context(), http.MethodGet, path, query, nil, out))
}

func (s *served) requests(app string) (list []request) {
	s.t.Helper()
	s.ask("/api/v1/requests", url.Values{"app": {app}, "limit": {"1000"}}, &list)
	return list
}

// add brings people who are assigned an app.
func (s *served) add(app string, names ...string) {
	s.t.Helper()
	s.must("Username,LastName,Email\n"+strings.Join(names, ",Person,p@example.com\n")+",Person,p@example.com\n", "user", "import", "-", "--format", "csv", "--assign", app)
}

func (s *served) completed(app string, n int) {
	s.t.Helper()
	s.until(fmt.Sprintf("%d completed requests in %s", n, app), func() bool {
		done := 0
		for _, r := range s.requests(app) {
			if r.State == host.StateCompleted {
				done++
			}
		}
		return done == n
	})
}

func usernames(t *target.Target) map[string]int {
	names := map[string]int{}
	for _, a := range t.Accounts() {
		names[fmt.Sprint(a["username"])]++
	}
	return names
}

func people(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("person.%d", i)
	}
	return names
}

func TestSIGTERMLetsTheCallsUnderWayEndAndLosesNothing(t *testing.T) {
	t.Parallel()
	const workers, all = 4, 40
	s, app := newServed(t), target.New("")
	var posts atomic.Int64
	reached, release := make(chan struct{}, all), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			posts.Add(1)
			reached <- struct{}{}
			<-release
		}
		app.ServeHTTP(w, r)
	}))
	defer server.Close()
	s.configure(fmt.Sprintf("workers: %d\nplugins: [{name: mock, source: mock.wasm}]\ncredentials: [{name: Mock, endpoint: %q, anonymous: true}]\napps: [{name: acme, plugin: mock, credential: Mock}]\n", workers, server.URL))
	s.start()
	s.add("acme", people(all)...)
	for range workers {
		<-reached
	}
	s.terminate()
	s.until("the drain", func() bool { return strings.Contains(s.log.String(), `"draining"`) })
	close(release)
	s.end()
	ended := posts.Load()
	require.GreaterOrEqual(t, ended, int64(workers))
	require.Less(t, ended, int64(all), "it drained before all was done")
	require.Len(t, app.Accounts(), int(ended), "what was under way has ended")
	require.NoFileExists(t, filepath.Join(s.dir, "data", "provost.sock"))

	s.start()
	s.completed("acme", all)
	require.Len(t, usernames(app), all)
	require.EqualValues(t, all, posts.Load(), "each is asked for once")
	for _, r := range s.requests("acme") {
		require.Equal(t, 1, r.Attempt, "what had ended was stored: %s", r.Name)
	}
	s.terminate()
	s.end()
}

func TestAChangedConnectorIsSwappedInAndABrokenOneRefused(t *testing.T) {
	t.Parallel()
	s, app := newServed(t), target.New("")
	server := httptest.NewServer(app)
	defer server.Close()
	s.mockApps(server.URL, "unused-token", map[string]string{"mock": "{}"})
	s.start()
	digest := func() string {
		var list []api.Plugin
		s.ask("/api/v1/plugins", nil, &list)
		require.Len(t, list, 1)
		return list[0].Digest
	}
	status := func() (st api.Status) { s.ask("/api/v1/status", nil, &st); return st }
	first := digest()
	s.add("mock", "one")
	s.completed("mock", 1)

	s.connector("mock.wasm", anotherBuild(s.mock()))
	s.until("the swap", func() bool { return digest() != first })
	second := digest()
	s.add("mock", "two")
	s.completed("mock", 2)

	for name, wasm := range map[string][]byte{"truncated": s.mock()[:len(s.mock())/2], "empty": {}, "no module": []byte("#!/bin/sh\n")} {
		t.Run(name, func(t *testing.T) {
			before := strings.Count(s.log.String(), "is refused")
			s.connector("mock.wasm", wasm)
			s.until("the refusal", func() bool { return strings.Count(s.log.String(), "is refused") > before })
			require.Contains(t, status().LastReloadError, "plugins.mock")
			code, ready := s.http(s.api, "/readyz")
			require.Equal(t, http.StatusOK, code, "the old one goes on")
			require.Contains(t, ready, "the changed configuration is refused")
			require.Contains(t, ready, "plugins.mock")
			require.Contains(t, s.must("", "status"), "plugins.mock")
			require.Equal(t, second, digest())
			_, scraped := s.http(s.metricsAPI, "/metrics")
			require.Contains(t, scraped, "provost_config_last_reload_successful 0")
			n := len(app.Accounts())
			s.add("mock", "during-"+strings.ReplaceAll(name, " ", "-"))
			s.completed("mock", n+1)
		})
	}

	s.connector("mock.wasm", s.mock())
	s.until("the good one", func() bool { return digest() == first })
	s.until("readiness", func() bool { return status().LastReloadError == "" })
	_, ready := s.http(s.api, "/readyz")
	require.Contains(t, ready, `"status":"ready"`)
	require.NotContains(t, ready, "refused")
	require.Len(t, app.Accounts(), 5)
	for name, n := range usernames(app) {
		require.Equal(t, 1, n, name)
	}
}

func TestABrokenConfigurationStopsNoCommand(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	s.mockApps("http://127.0.0.1:1", "unused-token", map[string]string{"mock": "{}"})
	s.start()
	for _, text := range []string{"nonsense: [", "apps: 7\n", ""} {
		require.NoError(t, os.WriteFile(s.file, []byte(text), 0o600))
		require.Contains(t, s.must("", "app", "list"), "mock", "%q", text)
	}
}

// troubled is a target that stands behind a fault.
type troubled struct {
	*target.Target
	trouble atomic.Value // func(http.ResponseWriter, *http.Request)
}

func (t *troubled) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f, _ := t.trouble.Load().(func(http.ResponseWriter, *http.Request)); f != nil {
		f(w, r)
		return
	}
	t.Target.ServeHTTP(w, r)
}

func TestATargetInTroubleIsSaidClearlyAndProvisionedAfterwards(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	troubles := map[string]func(http.ResponseWriter, *http.Request){
		"html": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html><h1>Sign in</h1></html>")
		},
		"error500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"hang": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // only then the server sees that the client is gone
			<-r.Context().Done()
		},
		"cut":           func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"acts-and-cuts": nil, // set below
	}
	says := map[string]string{"html": "", "error500": "500", "hang": "time is up", "cut": "cut", "acts-and-cuts": "cut", "down": "refused"}
	targets := map[string]*troubled{}
	config, apps := "plugins: [{name: mock, source: mock.wasm}]\ncredentials:\n", "apps:\n"
	declare := func(name, endpoint string) {
		config += fmt.Sprintf("  - {name: C_%s, endpoint: %q, timeout: 1s, anonymous: true}\n", strings.ReplaceAll(name, "-", ""), endpoint)
		apps += fmt.Sprintf("  - {name: %s, plugin: mock, credential: C_%s, max_attempts: 20}\n", name, strings.ReplaceAll(name, "-", ""))
	}
	for name, trouble := range troubles {
		one := &troubled{Target: target.New("")}
		if name == "acts-and-cuts" {
			trouble = func(_ http.ResponseWriter, r *http.Request) {
				one.Target.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			}
		}
		one.trouble.Store(trouble)
		server := httptest.NewServer(one)
		defer server.Close()
		declare(name, server.URL)
		targets[name] = one
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	targets["down"] = &troubled{Target: target.New("")}
	declare("down", "http://"+address)
	s.configure(config + apps)
	s.start()

	for name := range targets {
		s.add(name, name)
	}
	for name := range targets {
		var r request
		s.until("the first failure of "+name, func() bool { r = s.requests(name)[0]; return r.ErrorMessage != "" })
		require.Contains(t, r.ErrorMessage, says[name], name)
		require.NotContains(t, r.ErrorMessage, "goroutine", name)
		t.Logf("%-14s %-12s %s: %s", name, r.State, r.ErrorCode, r.ErrorMessage)
	}
	for _, one := range targets {
		one.trouble.Store((func(http.ResponseWriter, *http.Request))(nil))
	}
	listener, err = net.Listen("tcp", address)
	require.NoError(t, err)
	back := &httptest.Server{Listener: listener, Config: &http.Server{Handler: targets["down"]}}
	back.Start()
	defer back.Close()
	for name, one := range targets {
		if r := s.requests(name)[0]; r.State == host.StateFailed {
			s.must("", "request", "retry", r.Name)
		}
		s.completed(name, 1)
		require.Equal(t, map[string]int{name: 1}, usernames(one.Target), "%s: once at the target", name)
	}
}

func TestEachTypeOfErrorEndsAsItShould(t *testing.T) {
	t.Parallel()
	s, app := newServed(t), target.New("mock-token-0123456789")
	server := httptest.NewServer(app)
	defer server.Close()
	// Of each, whether it is tried again by itself.
	again := map[host.Code]bool{host.RateLimited: true, host.Unavailable: true, host.Conflict: true,
		host.InvalidInput: false, host.Unauthorized: false, host.PermissionDenied: false, host.Unsupported: false, host.Internal: false}
	settings := map[string]string{"slow": `{"slow_ms": 60000}`, "pending": `{"pending": true}`}
	for code := range again {
		settings[strings.ToLower(string(code))] = fmt.Sprintf(`{"fail": {"create": %q}, "fail_attempts": 1, "retry_after": 1}`, code)
	}
	settings["notfound"] = `{"fail": {"create": "NotFound"}}`
	settings["nobody"] = `{"fail": {"create": "AlreadyExists"}}`
	settings["somebody"] = `{"fail": {"create": "AlreadyExists"}}`
	require.NotEmpty(t, app.Add(target.Account{"username": "somebody"}))
	settings["uncertain"] = `{"fail": {"create": "Unavailable"}, "fail_attempts": 1, "uncertain": true}`
	s.mockApps(server.URL, "mock-token-0123456789", settings)
	s.start()
	for name := range settings {
		s.add(name, name)
	}
	for code, again := range again {
		name := strings.ToLower(string(code))
		if again {
			s.completed(name, 1)
			require.Equal(t, 2, s.requests(name)[0].Attempt, name)
			require.Equal(t, 1, usernames(app)[name], name)
			continue
		}
		var r request
		s.until("the end of "+name, func() bool { r = s.requests(name)[0]; return r.State.Ended() })
		require.Equal(t, host.StateFailed, r.State, name)
		require.Equal(t, code, r.ErrorCode, name)
		require.Contains(t, r.ErrorMessage, "mock fails create", name)
		require.Zero(t, usernames(app)[name], name)
	}
	for name, says := range map[string]string{"notfound": "mock fails create", "nobody": "a person must look"} {
		s.until("the end of "+name, func() bool { return s.requests(name)[0].State.Ended() })
		require.Equal(t, host.StateFailed, s.requests(name)[0].State, name)
		require.Contains(t, s.requests(name)[0].ErrorMessage, says, name)
	}
	s.completed("somebody", 1)
	require.Equal(t, 1, usernames(app)["somebody"], "the account that was there is taken")
	s.completed("pending", 1)
	s.completed("uncertain", 1)
	require.Equal(t, 1, usernames(app)["uncertain"], "made in the first attempt, found in the second")
	var slow request
	s.until("the slow one", func() bool { slow = s.requests("slow")[0]; return slow.ErrorMessage != "" })
	require.Contains(t, slow.ErrorMessage, "time is up")
}

func TestAReconcileTakesEachAccountOnceFromDuplicateAndHalfPages(t *testing.T) {
	t.Parallel()
	s, app := newServed(t), target.New("mock-token-0123456789")
	server := httptest.NewServer(app)
	defer server.Close()
	settings := map[string]string{"duplicate": `{"duplicate": true, "page_size": 7}`, "half": `{"half_page": true, "page_size": 7}`}
	s.mockApps(server.URL, "mock-token-0123456789", settings)
	for _, name := range people(50) {
		require.NotEmpty(t, app.Add(target.Account{"username": name}))
	}
	s.start()
	for name := range settings {
		s.must("", "reconcile", "--app", name, "--commit", "--wait")
		var list []account
		require.NoError(t, json.Unmarshal([]byte(s.must("", "account", "list", "--app", name, "-o", "json")), &list))
		require.Len(t, list, 50, name)
	}
}

func TestASecretIsSeenNowhere(t *testing.T) {
	t.Parallel()
	const token, client, access, session = "canary-bearer-0123456789", "canary-client-0123456789", "canary-access-0123456789", "canary-session-0123456789"
	s := newServed(t)
	s.env = []string{"CANARY_BEARER=" + token, "CANARY_CLIENT=" + client}
	require.NoError(t, os.Remove(filepath.Join(s.dir, "data", "compiled"))) // looked through as well
	var signedIn sync.Map
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent := r.Header.Get("Authorization") + r.URL.Query().Get("key") + r.Header.Get("X-Key") + r.Header.Get("X-Session")
		signedIn.Store(sent, true)
		switch r.URL.Path {
		case "/bad/login":
			fmt.Fprintf(w, `{"session": %q}`, session)
			return
		case "/bad/digest/accounts":
			if sent == "" {
				w.Header().Set("WWW-Authenticate", `Digest realm="r", qop="auth", algorithm=SHA-256, nonce="n"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
		}
		if r.URL.Path == "/token" {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer","expires_in":3600}`, access)
			return
		}
		// A target that repeats what it was sent wherever it can.
		w.Header().Set("X-Echo", sent)
		w.Header().Set("Content-Type", "application/json")
		if strings.HasPrefix(r.URL.Path, "/bad") {
			w.WriteHeader(http.StatusBadRequest)
		}
		fmt.Fprintf(w, `{"error": "you sent %s", "message": "you sent %s", "id": "x", "username": "%s"}`, sent, sent, sent)
	}))
	defer server.Close()
	s.configure(fmt.Sprintf(`
plugins: [{name: mock, source: mock.wasm}]
credentials:
  - {name: Bearer, endpoint: "%[1]s/good", bearer: {token: {env: CANARY_BEARER}}}
  - {name: BadBearer, endpoint: "%[1]s/bad", bearer: {token: {env: CANARY_BEARER}}}
  - {name: Client, endpoint: "%[1]s/bad", oauth2: {token_url: "%[1]s/token", client_id: provost, client_secret: {env: CANARY_CLIENT}}}
  - {name: Basic, endpoint: "%[1]s/bad", basic: {username: provost, password: {env: CANARY_CLIENT}}}
  - {name: Query, endpoint: "%[1]s/bad", api_key: {query: key, value: {env: CANARY_CLIENT}}}
  - {name: Gone, endpoint: "http://127.0.0.1:1/bad", api_key: {query: key, value: {env: CANARY_CLIENT}}}
  - {name: Digest, endpoint: "%[1]s/bad/digest", digest: {username: provost, password: {env: CANARY_CLIENT}}}
  - {name: Own, endpoint: "%[1]s/bad", headers: [{name: X-Key, secret: {env: CANARY_CLIENT}}]}
  - {name: Hmac, endpoint: "%[1]s/bad", hmac: {key: {env: CANARY_CLIENT}, key_id: k}}
  - {name: Session, endpoint: "%[1]s/bad", session: {path: /bad/login, json: {p: "{!$Credential.Password}"}, password: {env: CANARY_CLIENT}, keep: token, token: session, send: {header: X-Session}}}
apps:
  - {name: query, plugin: mock, credential: Query}
  - {name: gone, plugin: mock, credential: Gone}
  - {name: digest, plugin: mock, credential: Digest}
  - {name: own, plugin: mock, credential: Own}
  - {name: hmac, plugin: mock, credential: Hmac}
  - {name: session, plugin: mock, credential: Session}
  - {name: good, plugin: mock, credential: Bearer}
  - {name: bad, plugin: mock, credential: BadBearer}
  - {name: client, plugin: mock, credential: Client}
  - {name: basic, plugin: mock, credential: Basic}
`, server.URL))
	s.start()
	var shown strings.Builder
	names := []string{"good", "bad", "client", "basic", "query", "gone", "digest", "own", "hmac", "session"}
	for _, app := range names {
		s.add(app, app)
		s.until("the end in "+app, func() bool { r := s.requests(app)[0]; return r.State.Ended() || r.ErrorMessage != "" })
		for _, args := range [][]string{{"request", "get", s.requests(app)[0].Name, "--trace"}, {"request", "list", "--app", app}, {"account", "list", "--app", app}} {
			for _, format := range []string{"table", "json", "yaml"} {
				out, errs, _ := s.run("", append(args, "-o", format)...)
				shown.WriteString(out + errs)
			}
		}
	}
	for _, name := range []string{"Bearer", "Client", "Basic", "Query", "Gone", "Digest", "Own", "Hmac", "Session"} {
		out, errs, _ := s.run("", "credential", "test", name)
		shown.WriteString(out + errs)
	}
	for _, value := range []string{"Bearer " + token, "Bearer " + access, client, session} {
		_, sent := signedIn.Load(value)
		require.True(t, sent, "the target was signed in to with %s", value)
	}
	for _, args := range [][]string{{"credential", "list"}, {"credential", "get", "Bearer"}, {"credential", "get", "Client"}, {"app", "list"}, {"status"}, {"user", "list"}} {
		for _, format := range []string{"table", "json", "yaml"} {
			shown.WriteString(s.must("", append(args, "-o", format)...))
		}
	}
	require.Contains(t, shown.String(), `"secretSet": true`)
	for _, path := range []string{"/api/v1/status", "/api/v1/apps", "/api/v1/credentials", "/api/v1/plugins", "/api/v1/requests", "/api/v1/accounts", "/api/v1/users", "/api/openapi.json", "/readyz", "/healthz"} {
		code, body := s.http(s.api, path)
		require.Equal(t, http.StatusOK, code, path)
		shown.WriteString(body)
	}
	_, scraped := s.http(s.metricsAPI, "/metrics")
	shown.WriteString(scraped)
	files := 0
	look := func() {
		require.NoError(t, filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			files++
			b, err := os.ReadFile(path)
			for _, canary := range []string{token, client, access, session} {
				require.False(t, bytes.Contains(b, []byte(canary)), "%s has %s", path, canary)
			}
			return err
		}))
	}
	look() // with the log that SQLite writes ahead
	s.terminate()
	s.end()
	look()
	require.Greater(t, files, 4)
	for what, text := range map[string]string{"an answer": shown.String(), "the log": s.log.String()} {
		for _, canary := range []string{token, client, access, session} {
			i := strings.Index(text, canary)
			require.Negative(t, i, "%s has %s: %s", what, canary, text[max(0, i-300):max(0, min(len(text), i+100))])
		}
	}
}

func TestADaemonWhoseCredentialCanNotBeSaysWhichAndDoesNotStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ credentials, says string }{
		"unknown":                {`[{name: Acme_SCIM, endpoint: "http://127.0.0.1:1", anonymous: true}]`, `no credential named "Acme_Scim"; did you mean "Acme_SCIM"?`},
		"its variable not set":   {`[{name: Acme_Scim, endpoint: "http://127.0.0.1:1", bearer: {token: {env: NOT_SET_ANYWHERE}}}]`, "the environment variable NOT_SET_ANYWHERE is not set"},
		"its file not there":     {`[{name: Acme_Scim, endpoint: "http://127.0.0.1:1", bearer: {token: {file: nowhere}}}]`, "nowhere"},
		"sealed, without a key":  {`[{name: Acme_Scim, endpoint: "http://127.0.0.1:1", bearer: {token: {sealed: YWdl}}}]`, "secrets.identity_file"},
		"its authority no file":  {`[{name: Acme_Scim, endpoint: "https://127.0.0.1:1", anonymous: true, tls: {ca: nowhere.pem}}]`, "nowhere.pem"},
		"not there, nor another": {"[]", `no credential named "Acme_Scim"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServed(t)
			s.configure("plugins: [{name: mock, source: mock.wasm}]\ncredentials: " + c.credentials + "\napps:\n  - {name: acme, plugin: mock, credential: Acme_Scim}\n")
			_, errs, err := s.run("", "serve")
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			require.Equal(t, 1, exit.ExitCode())
			require.Contains(t, errs, c.says)
			require.Contains(t, errs, "provost.yaml:")
			require.Contains(t, errs, "Acme_Scim")
		})
	}
}

func TestProbesAndMetricsAreThereForThisMachineAlone(t *testing.T) {
	t.Parallel()
	s, app := newServed(t), target.New("mock-token-0123456789")
	server := httptest.NewServer(app)
	defer server.Close()
	s.mockApps(server.URL, "mock-token-0123456789", map[string]string{"mock": "{}"})
	s.start()
	s.add("mock", "one")
	s.completed("mock", 1)
	for _, address := range []string{s.api, s.metricsAPI} {
		code, body := s.http(address, "/healthz")
		require.Equal(t, http.StatusOK, code)
		require.Equal(t, "ok\n", body)
		code, body = s.http(address, "/readyz")
		require.Equal(t, http.StatusOK, code)
		require.Contains(t, body, `"status":"ready"`)
		name, _, err := net.SplitHostPort(address)
		require.NoError(t, err)
		require.True(t, net.ParseIP(name).IsLoopback(), address)
	}
	code, scraped := s.http(s.metricsAPI, "/metrics")
	require.Equal(t, http.StatusOK, code)
	for _, line := range []string{
		`provost_requests{app="mock",state="Completed"} 1`,
		`provost_accounts{app="mock",link_state="linked"} 1`,
		`provost_connector_calls_total{connector="mock",operation="create",outcome="ok",version="0.1.0"} 1`,
		"provost_config_last_reload_successful 1",
		"go_goroutines ",
	} {
		require.Contains(t, scraped, line)
	}
	for path, want := range map[string]int{"/api/v1/users": http.StatusNotFound, "/api/v1/credentials": http.StatusNotFound} {
		code, _ := s.http(s.metricsAPI, path)
		require.Equal(t, want, code, "%s beside the metrics", path)
	}
	code, _ = s.http(s.api, "/metrics")
	require.Equal(t, http.StatusNotFound, code)
	for header, value := range map[string]string{"Host": "provost.example.com", "Origin": "https://elsewhere.example.com"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.api+"/api/v1/users", nil)
		require.NoError(t, err)
		if r.Header.Set(header, value); header == "Host" {
			r.Host = value
		}
		answer, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusForbidden, answer.StatusCode, header)
	}
}

func TestTwoListenersOfOneAddressAreRefused(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := free.Addr().String()
	require.NoError(t, free.Close())
	require.NoError(t, os.WriteFile(s.file, fmt.Appendf(nil, "listen: {api: %q, metrics: %q}\n", address, address), 0o600))
	_, errs, err := s.run("", "serve")
	require.Error(t, err)
	require.Contains(t, errs, "listen.metrics: listen tcp "+address)
	require.Contains(t, errs, "address already in use")
}

func TestAChangeMadeWhileTheDaemonStartsIsTaken(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*served){
		"a connector": func(s *served) { s.connector("mock.wasm", anotherBuild(s.mock())) },
		"the file": func(s *served) {
			s.mockApps("http://127.0.0.1:1", "unused-token", map[string]string{"mock": "{}", "late": "{}"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServed(t)
			s.mockApps("http://127.0.0.1:1", "unused-token", map[string]string{"mock": "{}"})
			cfg, err := config.Load(s.file)
			require.NoError(t, err)
			d, err := openDaemon(t.Context(), cfg, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			defer func() { require.NoError(t, d.close(context.Background())) }()
			before := d.current.Load()
			change(s) // after it was read, before it is watched
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- d.watch(ctx, s.file) }()
			s.until("the change", func() bool { return d.current.Load() != before })
			cancel()
			require.NoError(t, <-ended)
			require.Empty(t, d.current.Load().refused)
		})
	}
}

func TestWhatIsAppliedWorksAtOnceAndAfterARestart(t *testing.T) {
	t.Parallel()
	const token = "canary-applied-0123456789"
	storetest.Each(t, func(t *testing.T, databaseURL string) {
		s, app := newServed(t), target.New(token)
		server := httptest.NewServer(app)
		defer server.Close()
		identity, _, err := s.run("", "credential", "identity")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, "identity"), []byte(identity), 0o600))
		s.configure(fmt.Sprintf("database: {url: %q}\nsecrets: {identity_file: identity}\nplugins: [{name: mock, source: mock.wasm}]\n", databaseURL))
		s.start()
		s.must(fmt.Sprintf(`{"name": "Mock", "endpoint": %q, "bearer": {"token": {"value": %q}}}`, server.URL, token), "credential", "apply", "-f", "-")
		s.must("name: acme\nplugin: mock\ncredential: Mock\n", "app", "apply", "-f", "-")
		s.add("acme", "one")
		s.completed("acme", 1)

		s.terminate()
		s.end()
		s.start()
		s.add("acme", "two")
		s.completed("acme", 2)
		require.Equal(t, map[string]int{"one": 1, "two": 1}, usernames(app))

		_, errs, err := s.run("", "app", "delete", "acme")
		require.Error(t, err)
		require.Contains(t, errs, "has 2 linked accounts")
		_, errs, err = s.run("", "credential", "delete", "Mock")
		require.Error(t, err)
		require.Contains(t, errs, "is used by the app acme")
		s.must("", "app", "delete", "acme", "--force")
		s.must("", "credential", "delete", "Mock")
		require.Equal(t, "[]\n", s.must("", "credential", "list", "-o", "json"))
		require.NotContains(t, s.log.String(), token)
		require.NoError(t, filepath.WalkDir(s.dir, func(path string, e os.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			require.False(t, bytes.Contains(b, []byte(token)), path)
			return err
		}))
	})
}
