package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/plugins/mock/target"
)

// unpacked are the files of a bundle by their names.
func unpacked(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	plain, err := gzip.NewReader(f)
	require.NoError(t, err)
	files := map[string]string{}
	for packed := tar.NewReader(plain); ; {
		h, err := packed.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		b, err := io.ReadAll(packed)
		require.NoError(t, err)
		files[path.Base(h.Name)] = string(b)
	}
}

// heapText is what of a profile can be read.
func heapText(t *testing.T, profile string) string {
	t.Helper()
	plain, err := gzip.NewReader(strings.NewReader(profile))
	require.NoError(t, err)
	b, err := io.ReadAll(plain)
	require.NoError(t, err)
	return string(b)
}

// Secrets stand in every place that has one, and in the environment; people have
// names that are nobody's; the target repeats all of it in its errors.
func TestASupportBundleHasNoSecretsAndNamesNobody(t *testing.T) {
	const secret, name = "hush4711", "quill4711"
	s := newServed(t)
	app := target.New("")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		switch {
		case bytes.Contains(b, []byte("fails")):
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"error": "%s.fails@example.com of %s can't be made with %s"}`, name, name, r.Header.Get("Authorization"))
		case bytes.Contains(b, []byte("down")):
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintf(w, `{"error": "%s is not here"}`, name)
		default:
			r.Body = io.NopCloser(bytes.NewReader(b))
			app.ServeHTTP(w, r)
		}
	}))
	defer server.Close()
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "secret"), []byte(secret+"-file"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "id"), []byte(s.must("", "credential", "identity")), 0o600))
	s.env = []string{"PROVOST_TEST_SECRET=" + secret + "-env", "UNRELATED=" + secret + "-unrelated"}
	s.configure(fmt.Sprintf(`
secrets: {identity_file: id}
metrics: {token: {value: %[1]s-scrape}}
plugins: [{name: mock, source: mock.wasm, unsigned: true}]
groups: [{name: admins, members: [%[2]s.boss]}]
notify: [{name: hook, webhook: {url: "http://127.0.0.1:9/%[1]s-path?x=%[1]s-query", secret: {value: %[1]s-hook}}}, {name: mail, mail: {smtp: "127.0.0.1:9", tls: none, from: "%[2]s@example.com", to: ["%[2]s@example.com"]}}]
credentials:
  - {name: Bearer, endpoint: %[3]q, limits: {failures: 1}, bearer: {token: {value: %[1]s-bearer}}}
  - {name: Env, endpoint: %[3]q, bearer: {token: {env: PROVOST_TEST_SECRET}}}
  - {name: File, endpoint: %[3]q, api_key: {header: X-Key, value: {file: secret}}}
  - {name: Command, endpoint: %[3]q, basic: {username: %[2]s, password: {command: [/bin/echo, %[1]s-command]}}}
  - {name: Header, endpoint: %[3]q, headers: [{name: X-Key, value: %[1]s-header}]}
  - {name: Params, endpoint: %[3]q, oauth2: {grant: client_credentials, token_url: "http://127.0.0.1:9/%[1]s-token", client_id: %[1]s-id, client_secret: {value: %[1]s-client}, params: {tenant: %[1]s-param}}}
apps:
  - {name: acme, plugin: mock, credential: Bearer, max_attempts: 1, scope: 'user.LastName != "%[2]s.scope"'}
  - {name: asks, plugin: mock, credential: Env, approval: manager}
`, secret, name, server.URL))
	s.start()
	var people strings.Builder
	for _, who := range []string{"fine", "fails", "down"} {
		fmt.Fprintf(&people, "%s.%s,%s,%s.%s@example.com\n", name, who, name, name, who)
	}
	s.must("Username,LastName,Email\n"+people.String(), "user", "import", "-", "--format", "csv", "--assign", "acme", "--assign", "asks")
	s.until("the end of all", func() bool {
		for _, r := range s.requests("acme") {
			if !r.State.Ended() && r.Attempt == 0 {
				return false
			}
		}
		return true
	})
	_, _, err := s.run("", "user", "get", name+".unknown")
	require.Error(t, err)
	s.must("", "request", "approve", "--all", "--app", "asks", "--reason", name+" said so")

	out := filepath.Join(s.dir, "bundle.tar.gz")
	s.must("", "support-bundle", "-o", out)
	files := unpacked(t, out)
	for _, want := range []string{"README.txt", "version.json", "config.yaml", "doctor.txt", "status.json", "plugins.json", "metrics.txt", "log.jsonl", "goroutines.txt", "heap.pprof", "schema.json", "audit.json"} {
		require.NotEmpty(t, files[want], want)
	}
	require.Empty(t, files["errors.txt"])
	files["heap.pprof"] = heapText(t, files["heap.pprof"])
	for part, text := range files {
		require.NotContains(t, text, secret, part)
		require.NotContains(t, text, name, part)
	}
	require.Contains(t, s.must("", "request", "list", "--state", "Failed"), name, "there was something to leave out")
	require.Contains(t, files["metrics.txt"], "provost_build_info")
	require.Contains(t, files["doctor.txt"], "credential Bearer")
	require.Contains(t, files["status.json"], `"failures"`)
	require.Contains(t, files["log.jsonl"], `"listening"`)

	_, errs, err := s.run("", "support-bundle", "-o", out)
	require.Error(t, err)
	require.Contains(t, errs, "is there already")
	s.terminate()
	s.end()
	// Without a daemon there is all but its log.
	second := filepath.Join(s.dir, "second.tar.gz")
	t.Setenv("PROVOST_TEST_SECRET", secret+"-env")
	s.must("", "support-bundle", "-o", second)
	files = unpacked(t, second)
	require.Contains(t, files["errors.txt"], "log.jsonl: no daemon runs")
	require.NotEmpty(t, files["doctor.txt"])
}

func TestWhatMayNamePeopleIsMasked(t *testing.T) {
	for text, want := range map[string]string{
		`ada.lovelace@example.com is there already`: `(address) is there already`,
		`no user "ada"; did you mean "bob"?`:        `no user "…"; did you mean "…"?`,
		`dial postgres://u:p@db.example.com/x`:      `dial postgres://…@db.example.com/x`,
		`a quote that "does not end`:                `a quote that "…"`,
		`nothing to mask`:                           `nothing to mask`,
	} {
		require.Equal(t, want, unnamed(text))
	}
	require.Equal(t, map[string]any{"msg": "attempt ended", "request": "r1", "code": "Conflict", "leftOut": 2},
		unnamedLine(map[string]any{"msg": "attempt ended", "request": "r1", "code": "Conflict", "error": "Ada is there", "principal": "ada"}))
	require.Equal(t, map[string]any{"source": "plugin", "level": "INFO", "leftOut": 1},
		unnamedLine(map[string]any{"msg": "making Ada", "source": "plugin", "level": "INFO"}))
}

func TestTheNewestLinesOfTheLogAreKeptWithinABound(t *testing.T) {
	var r recentLines
	line := []byte(strings.Repeat("x", 1000) + "\n")
	for range 2000 {
		_, err := r.Write(line)
		require.NoError(t, err)
	}
	_, err := r.Write([]byte("last\n"))
	require.NoError(t, err)
	_, err = r.Write(bytes.Repeat([]byte("y"), longestRecent+1))
	require.NoError(t, err)
	all := r.all()
	require.Less(t, len(all), 600)
	require.Equal(t, "last\n", string(all[len(all)-1]))
	sum := 0
	for _, one := range all {
		sum += len(one)
	}
	require.LessOrEqual(t, sum, mostRecentBytes)
}
