package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/plugins/mock/target"
)

// checked are checks by their names.
func checked(t *testing.T, text string) map[string]api.Check {
	t.Helper()
	var list []api.Check
	require.NoError(t, json.Unmarshal([]byte(text), &list), text)
	by := map[string]api.Check{}
	for _, c := range list {
		require.NotContains(t, by, c.Name, "told once")
		by[c.Name] = c
	}
	return by
}

func TestTheDoctorSaysWhatIsWrongAndWhatToDo(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, databaseURL string) {
		late := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(-7*time.Minute).UTC().Format(http.TimeFormat))
			fmt.Fprintln(w, "{}")
		}))
		defer late.Close()
		refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
		defer refusing.Close()
		app := target.New("")
		well := httptest.NewServer(app)
		defer well.Close()
		s := newServed(t)
		require.NoError(t, os.Chmod(filepath.Join(s.dir, "data"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, "id"), []byte(s.must("", "credential", "identity")), 0o644))
		text := fmt.Sprintf(`
database: {url: %q}
secrets: {identity_file: id}
plugins: [{name: mock, source: mock.wasm, unsigned: true}]
credentials:
  - {name: Well, endpoint: %q, anonymous: true}
  - {name: Late, endpoint: %q, anonymous: true}
  - {name: Refusing, endpoint: %q, bearer: {token: {value: canary-4711}}}
  - {name: Down, endpoint: "http://127.0.0.1:9/", anonymous: true}
  - {name: Asked, endpoint: %q, oauth2: {grant: authorization_code, authorization_url: "http://127.0.0.1:9/a", token_url: "http://127.0.0.1:9/t", client_id: x, client_secret: {value: canary-4712}}}
  - {name: Each, endpoint: %q, identity: per_user, basic: {}}
apps: [{name: acme, plugin: mock, credential: Well}]
`, databaseURL, well.URL, late.URL, refusing.URL, well.URL, well.URL)
		s.configure(text)
		look := func(running bool) map[string]api.Check {
			out, errs, err := s.run("", "doctor", "-o", "json")
			require.Error(t, err, "some failed")
			require.Contains(t, errs, "checks failed")
			require.NotContains(t, out+errs, "canary")
			by := checked(t, out)
			for name, want := range map[string]api.CheckStatus{"config file": "ok", "database": "ok", "schema": "ok", "writing": "ok", "clock": "ok", "queue": "ok", "audit trail": "ok", "data_dir": "ok",
				"identity": "fail", "connector mock": "ok", "credential Well": "ok", "credential Late": "warn", "credential Refusing": "fail", "credential Down": "fail", "credential Asked": "warn", "credential Each": "ok"} {
				require.Equal(t, want, by[name].Status, "%s: %+v", name, by[name])
				if want != api.CheckOK {
					require.NotEmpty(t, by[name].Next, name)
				}
			}
			require.Contains(t, by["credential Late"].Reason, "the target's clock is 7m")
			require.Contains(t, by["credential Late"].Reason, "behind ours")
			require.Contains(t, by["credential Refusing"].Reason, "401")
			if running {
				require.Equal(t, api.CheckOK, by["daemon"].Status)
			} else {
				require.Equal(t, api.CheckWarn, by["daemon"].Status)
			}
			return by
		}
		look(false)
		s.start()
		look(true)
		if strings.HasPrefix(databaseURL, "postgres") {
			return // the rest is the same
		}
		table, _, _ := s.run("", "doctor")
		require.Contains(t, table, "-> chmod 600")
		require.Contains(t, table, "-> provost credential authorize Asked")

		// What is broken in the file is told beside what the daemon says.
		s.configure(strings.Replace(text, "plugin: mock", "plugin: other", 1))
		s.until("the refusal", func() bool { return strings.Contains(s.log.String(), "is refused") })
		out, _, err := s.run("", "doctor", "-o", "json")
		require.Error(t, err)
		by := checked(t, out)
		require.Equal(t, api.CheckFail, by["config file"].Status)
		require.Equal(t, api.CheckWarn, by["config"].Status)
		require.Equal(t, api.CheckOK, by["daemon"].Status)

		code, ready := s.http(s.api, "/readyz")
		require.Equal(t, http.StatusOK, code, "the one before goes on")
		var r api.Readiness
		require.NoError(t, json.Unmarshal([]byte(ready), &r))
		require.True(t, r.Ready())
		status := map[string]api.CheckStatus{}
		for _, c := range r.Checks {
			status[c.Name] = c.Status
		}
		require.Equal(t, map[string]api.CheckStatus{"daemon": "ok", "config": "warn", "database": "ok", "queue": "ok", "connector mock": "ok", "credential Asked": "warn"}, status)

		// A change is undone, and with the other things put right all is well.
		require.NoError(t, os.Chmod(filepath.Join(s.dir, "id"), 0o600))
		begin, end := strings.Index(text, "  - {name: Late"), strings.Index(text, "apps:")
		s.configure(text[:begin] + text[end:])
		s.until("the reload", func() bool { _, body := s.http(s.api, "/readyz"); return !strings.Contains(body, "refused") })
		require.NotContains(t, s.must("", "doctor"), "fail")
	})
}

func TestTheDoctorSaysWhyThereIsNoHost(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "provost.yaml")
	r := provost("doctor", "-o", "json", "-c", file)
	require.Equal(t, 1, r.code)
	require.Equal(t, api.CheckFail, checked(t, r.out)["config"].Status)

	require.NoError(t, os.WriteFile(file, []byte("database: {url: \"postgres://x:canary-4711@127.0.0.1:9/x\"}\n"), 0o600))
	r = provost("doctor", "-o", "json", "-c", file)
	require.Equal(t, 1, r.code)
	by := checked(t, r.out)
	require.Equal(t, api.CheckFail, by["host"].Status)
	require.Contains(t, by["host"].Next, "database.url")
	require.Equal(t, api.CheckOK, by["data_dir"].Status, "what can be looked at is")
	require.NotContains(t, r.out+r.errors, "canary")

	require.NoError(t, os.WriteFile(file, []byte("workers: many\n"), 0o600))
	r = provost("doctor", "-o", "json", "-c", file)
	require.Equal(t, 1, r.code)
	by = checked(t, r.out)
	require.Contains(t, by["config file"].Reason, "workers")
	require.Len(t, by, 1, "told once")
}

func TestADaemonWhoseDatabaseIsAwayIsNotReady(t *testing.T) {
	s := approvalHost(t, "sqlite://"+filepath.Join(t.TempDir(), "p.db"))
	answer := func() (int, api.Readiness) {
		w := httptest.NewRecorder()
		known := access.WithSubject(t.Context(), access.Everything(access.Owner, "owner"))
		s.handler().ServeHTTP(w, httptest.NewRequestWithContext(known, http.MethodGet, "/readyz", nil))
		var r api.Readiness
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &r))
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		return w.Code, r
	}
	code, r := answer()
	require.Equal(t, http.StatusOK, code)
	require.True(t, r.Ready())
	s.catalogue.Remove("mock")
	code, _ = answer()
	require.Equal(t, http.StatusOK, code, "no connector is wanted")
	require.NoError(t, s.store.Close())
	code, r = answer()
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Equal(t, "not ready", r.Status)
	require.Contains(t, readiness(strings.NewReader(mustJSON(t, r))), "database: ")
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	require.Equal(t, http.StatusOK, w.Code, "it is alive all the same")

	// Nor does an address need the database to say so, though not why.
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusServiceUnavailable} {
		w := httptest.NewRecorder()
		s.fromOutside().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1"+path, nil))
		require.Equal(t, want, w.Code, path)
		require.NotContains(t, w.Body.String(), "database")
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

func TestWhatTheMachineGivesIsJudged(t *testing.T) {
	require.Equal(t, api.CheckFail, roomCheck("disk", "/x", 50<<20, 1<<40).Status)
	require.Equal(t, api.CheckWarn, roomCheck("disk", "/x", 500<<20, 1<<40).Status)
	require.Equal(t, api.CheckOK, roomCheck("disk", "/x", 5<<30, 1<<40).Status)
	require.Equal(t, api.CheckFail, filesCheck(64).Status)
	require.Equal(t, api.CheckWarn, filesCheck(1024).Status)
	require.Equal(t, api.CheckOK, filesCheck(65536).Status)
	require.Equal(t, api.CheckWarn, memoryCheck(100<<20, 1<<30, "x").Status)
	require.Equal(t, api.CheckOK, memoryCheck(600<<20, 1<<30, "x").Status)
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	require.Equal(t, api.CheckWarn, checkDataDir(dir).Status)
	require.NoError(t, os.Chmod(dir, 0o777))
	require.Equal(t, api.CheckFail, checkDataDir(dir).Status)
	require.Equal(t, api.CheckFail, checkDataDir(filepath.Join(dir, "none")).Status)
	require.NotEqual(t, api.CheckOK, checkIdentity(filepath.Join(dir, "none")).Status)
	require.Equal(t, api.CheckOK, checkRoom("disk", dir).Status)
}

// What fails and what waits is told with its target and its connector, and since
// when.
func TestTheStatusSaysWhatFailsAndWhatWaits(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	var down bool
	app := target.New("")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		app.ServeHTTP(w, r)
	}))
	defer server.Close()
	down = true
	s.configure(fmt.Sprintf(`plugins: [{name: mock, source: mock.wasm, unsigned: true}]
credentials: [{name: Mock, endpoint: %q, anonymous: true}]
apps:
  - {name: acme, plugin: mock, credential: Mock, max_attempts: 1}
  - {name: asks, plugin: mock, credential: Mock, approval: manager}
`, server.URL))
	s.start()
	s.must("Username,LastName,Email\nann,A,a@example.com\n", "user", "import", "-", "--format", "csv", "--assign", "acme", "--assign", "asks")
	var now overview
	s.until("the failure", func() bool {
		now = overview{}
		require.NoError(t, json.Unmarshal([]byte(s.must("", "status", "-o", "json")), &now))
		return len(now.Failures) > 0
	})
	require.Equal(t, "acme", now.Failures[0].App)
	require.Equal(t, "mock", now.Failures[0].Connector)
	require.Equal(t, "Mock", now.Failures[0].Target)
	require.EqualValues(t, 1, now.Failures[0].Requests)
	require.WithinDuration(t, time.Now(), now.Failures[0].Since, time.Minute)
	require.Len(t, now.Waits, 1)
	require.Equal(t, "approval", now.Waits[0].For)
	table := s.must("", "status")
	for _, want := range []string{"FAILED IN THE LAST 24 HOURS", "OPEN REQUESTS", "approval, by a person", "APPS"} {
		require.Contains(t, table, want)
	}
	require.NotContains(t, table, "\x1b", "there is no terminal")
	_, errs, err := s.run("", "status", "--every", "1ms")
	require.Error(t, err)
	require.Contains(t, errs, "at least 100ms")
}

func TestHowLongAgoIsShort(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for ago, want := range map[time.Duration]string{0: "0s", -time.Minute: "0s", 59 * time.Second: "59s", 90 * time.Second: "1m", 3 * time.Hour: "3h", 3*time.Hour + 5*time.Minute: "3h5m", 72 * time.Hour: "3d"} {
		require.Equal(t, want, ageText(now.Add(-ago), now))
	}
	require.Empty(t, ageText(time.Time{}, now))
}
