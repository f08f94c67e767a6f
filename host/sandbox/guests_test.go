package sandbox_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/sandbox"
)

const guestsDir = "../../testdata/guests"

// guests are modules by what others give to authors: Extism's PDKs for Go,
// Rust and AssemblyScript, C with nothing at all, and JavaScript in QuickJS.
// Each exports the same.
var guests = []string{"assemblyscript", "c", "go", "javascript", "rust"}

var goGuest = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "guest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "go.wasm")
	build := exec.Command("go", "build", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o", file, ".")
	build.Dir = filepath.Join(guestsDir, "go")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if said, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, said)
	}
	return os.ReadFile(file)
})

func readGuest(t testing.TB, name string) []byte {
	t.Helper()
	if name == "go" {
		wasm, err := goGuest()
		require.NoError(t, err)
		return wasm
	}
	wasm, err := os.ReadFile(filepath.Join(guestsDir, name+".wasm"))
	require.NoError(t, err, "run testdata/guests/build")
	return wasm
}

// target is an HTTP server that remembers what it was asked.
type target struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
}

func newTarget(t testing.TB) *target {
	s := &target{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			body = []byte(err.Error())
		}
		s.mu.Lock()
		s.asked = append(s.asked, fmt.Sprintf("%s %s guest=%s type=%s %s", r.Method, r.URL, r.Header.Get("X-Guest"), r.Header.Get("Content-Type"), body))
		s.mu.Unlock()
		switch r.URL.Path {
		case "/teapot":
			http.Error(w, "short and stout", http.StatusTeapot)
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		case "/large":
			_, _ = w.Write([]byte(strings.Repeat("0123456789abcdef", 10_000))) // the client may have gone
		default:
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte("answer äöü \x00 to " + r.URL.Path))
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// requests returns what was asked since the last call of it.
func (s *target) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// perform sends a guest's request as it is; a request that fails is an answer
// with the status 0.
func perform(client *http.Client) func(context.Context, *sandbox.HTTPRequest) *sandbox.HTTPResponse {
	return func(ctx context.Context, q *sandbox.HTTPRequest) *sandbox.HTTPResponse {
		failed := func(err error) *sandbox.HTTPResponse { return &sandbox.HTTPResponse{Body: []byte(err.Error())} }
		r, err := http.NewRequestWithContext(ctx, q.Method, q.URL, strings.NewReader(string(q.Body)))
		if err != nil {
			return failed(err)
		}
		for k, v := range q.Header {
			r.Header.Set(k, v)
		}
		answer, err := client.Do(r)
		if err != nil {
			return failed(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			return failed(err)
		}
		header := map[string]string{}
		for k, v := range answer.Header {
			header[strings.ToLower(k)] = strings.Join(v, ",")
		}
		return &sandbox.HTTPResponse{Status: answer.StatusCode, Header: header, Body: body}
	}
}

var guestConfig = map[string]string{"key": "value", "unicode": "Zürich ✓", "long": strings.Repeat("c", 10_000)}

// guestCall is a call of a guest and what came of it.
type guestCall struct {
	output string
	failed bool
	// said is the error that the guest set.
	said string
	logs []string
}

// sandboxed returns a function that calls a guest in the sandbox.
func sandboxed(t *testing.T, r *sandbox.Runtime, name string) func(export string, input []byte) guestCall {
	t.Helper()
	m, err := r.Load(t.Context(), name, readGuest(t, name), sandbox.Limits{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close(context.Background())) })
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return func(export string, input []byte) guestCall {
		var c guestCall
		output, usage, err := m.Call(context.Background(), export, input, sandbox.Env{
			Config: guestConfig, HTTP: perform(client),
			Log: func(level slog.Level, line string) { c.logs = append(c.logs, level.String()+" "+line) },
		})
		c.output = string(output)
		if err != nil {
			e := failure(t, err)
			c.failed, c.said = true, string(e.Payload)
		}
		require.Positive(t, usage.Fuel, "every guest is metered")
		return c
	}
}

func TestGuestOfEveryPDKRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("long; run without -short")
	}
	r := newSandbox(t) // first, so that it ends last
	server := newTarget(t)
	for _, name := range guests {
		t.Run(name, func(t *testing.T) {
			call := sandboxed(t, r, name)
			for range 2 { // the second finds the state that the first found
				require.Equal(t, guestCall{output: "hällo\x00"}, call("echo", []byte("hällo\x00")))
				require.Equal(t, guestCall{output: "HäLLO 1"}, call("shout", []byte("hällo 1")))
				require.Equal(t, guestCall{output: "Zürich ✓"}, call("config", []byte("unicode")))
				require.Equal(t, guestCall{failed: true, said: "there is no such key"}, call("config", []byte("absent")))
				require.Equal(t, guestCall{output: "+one"}, call("vars", []byte("one")), "vars do not live on")
				require.Equal(t, guestCall{output: "line", logs: []string{"DEBUG line", "INFO line", "WARN line", "ERROR line"}}, call("log", []byte("line")))
				require.Equal(t, guestCall{failed: true, said: "it failed: so"}, call("fail", []byte("so")))
				require.Equal(t, guestCall{output: "201 answer äöü \x00 to /Users"}, call("http", []byte(server.URL+"/Users?count=1")))
				require.Equal(t, []string{"POST /Users?count=1 guest=" + name + " type=text/plain hello from the guest"}, server.requests())
				panicked := call("panic", nil)
				require.True(t, panicked.failed)
				require.Empty(t, panicked.output)
			}
		})
	}
}

// The guests are committed compiled, so that no user needs four compilers; they
// must have been built from the sources that stand beside them.
func TestGuestWasBuiltFromItsSources(t *testing.T) {
	for _, name := range guests {
		if name == "go" { // built by the tests
			continue
		}
		files := map[string]string{}
		err := filepath.WalkDir(filepath.Join(guestsDir, name), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				if d.Name() == "node_modules" || d.Name() == "target" {
					return fs.SkipDir
				}
				return nil
			}
			if d.Name() == "Cargo.lock" {
				return nil
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			short, err := filepath.Rel(guestsDir, path)
			sum := sha256.Sum256(b)
			files[filepath.ToSlash(short)] = hex.EncodeToString(sum[:])
			return err
		})
		require.NoError(t, err)
		list := sha256.New()
		for _, file := range slices.Sorted(maps.Keys(files)) {
			fmt.Fprintf(list, "%s  %s\n", files[file], file)
		}
		noted, err := os.ReadFile(filepath.Join(guestsDir, name+".sources"))
		require.NoError(t, err)
		require.Equal(t, strings.TrimSpace(string(noted)), hex.EncodeToString(list.Sum(nil)), "the sources of %s have changed: run testdata/guests/build %s", name, name)
	}
}
