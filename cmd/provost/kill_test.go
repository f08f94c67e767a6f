package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/plugins/scim/scimtarget"
	"github.com/provosthq/provost/testdata"
)

// binary builds the real program once, with the connector scim in it.
var binary = sync.OnceValues(func() (string, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	run := func(env []string, args ...string) error {
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Env = root, append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	wasm := filepath.Join(root, "plugins", "dist", "scim.wasm")
	if _, err := os.Stat(wasm); err != nil {
		if err := run([]string{"GOOS=wasip1", "GOARCH=wasm"}, "build", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o", wasm, "./plugins/scim"); err != nil {
			return "", err
		}
	}
	out := filepath.Join(guests.dir, "provost-under-test")
	return out, run(nil, "build", "-o", out, "./cmd/provost")
})

// world is a target, a configuration for it, and a daemon that is a process.
type killWorld struct {
	t      *testing.T
	bin    string
	file   string
	target *scimtarget.Target
	token  string

	mu      sync.Mutex
	seen    int           // requests that the target saw
	strikes map[int]bool  // kill when so many were seen; true: after the target acted
	struck  chan struct{} // one for each kill
	daemon  *exec.Cmd
	log     *logBuffer
	kills   int
}

// logBuffer takes what daemons print, one after another's end.
type logBuffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

func newKillWorld(t *testing.T, databaseURL string) *killWorld {
	bin, err := binary()
	require.NoError(t, err)
	w := &killWorld{t: t, bin: bin, token: "canary-0123456789", strikes: map[int]bool{}, struck: make(chan struct{}, 100), log: new(logBuffer)}
	w.target, err = scimtarget.New(scimtarget.Options{Token: w.token})
	require.NoError(t, err)
	server := httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	if strings.HasPrefix(databaseURL, "sqlite") {
		databaseURL = "sqlite://" + filepath.Join(dir, "provost.db")
	}
	w.file = filepath.Join(dir, "provost.yaml")
	require.NoError(t, os.WriteFile(w.file, fmt.Appendf(nil, `
database: {url: %q}
data_dir: %q
listen: {api: "", metrics: ""}
workers: 8
plugins:
  - {name: scim, source: "builtin:scim", settings: {pageSize: 50}}
credentials:
  - {name: Acme_SCIM, endpoint: %q, bearer: {token: {value: %q}}}
apps:
  - {name: acme, plugin: scim, credential: Acme_SCIM}
`, databaseURL, dir, server.URL, w.token), 0o600))
	t.Cleanup(func() { w.kill() })
	return w
}

// serve is the target behind a switch that kills the daemon at set points:
// before the target acts, or after it has and before the answer goes out.
func (w *killWorld) serve(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.seen++
	after, strike := w.strikes[w.seen]
	w.mu.Unlock()
	if strike && !after {
		w.strike()
		return
	}
	recorded := httptest.NewRecorder()
	w.target.ServeHTTP(recorded, r)
	if strike {
		w.strike()
		return
	}
	for k, v := range recorded.Header() {
		rw.Header()[k] = v
	}
	rw.WriteHeader(recorded.Code)
	_, _ = rw.Write(recorded.Body.Bytes())
}

func (w *killWorld) strike() {
	w.kill()
	w.struck <- struct{}{}
}

func (w *killWorld) kill() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.daemon == nil {
		return
	}
	_ = w.daemon.Process.Kill() // SIGKILL
	_ = w.daemon.Wait()         // it was killed
	w.daemon = nil
	w.kills++
}

func (w *killWorld) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.daemon = exec.Command(w.bin, "serve", "--config", w.file)
	w.daemon.Stderr = w.log
	require.NoError(w.t, w.daemon.Start())
}

// provost runs a command and returns what it printed.
func (w *killWorld) provost(stdin []byte, args ...string) ([]byte, error) {
	cmd := exec.Command(w.bin, append(args, "--config", w.file)...)
	cmd.Stdin = bytes.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("provost %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.Bytes(), nil
}

// client speaks to the daemon; ok is false while none listens. A command would
// open the store itself then, and keep the next daemon out.
func (w *killWorld) client() (c *client, ok bool) {
	return socketClient(filepath.Join(filepath.Dir(w.file), "provost.sock"))
}

func (w *killWorld) status() (st api.Status, ok bool) {
	c, ok := w.client()
	if !ok {
		return st, false
	}
	defer c.close(w.t.Context())
	return st, c.do(w.t.Context(), http.MethodGet, "/api/v1/status", nil, nil, &st) == nil
}

// until runs the daemon, starting it again after each kill, until done.
func (w *killWorld) until(what string, done func(api.Status) bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 4*time.Minute)
	defer cancel()
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-w.struck:
			w.start()
		case <-ctx.Done():
			w.t.Fatalf("%s did not end; the daemon's log:\n%s", what, w.log)
		case <-tick.C:
			if st, ok := w.status(); ok && len(st.Apps) == 1 && done(st) {
				return
			}
		}
	}
}

func TestNothingIsLostAndNothingDoubledWhenTheDaemonIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("minutes of killing; run without -short")
	}
	storetest.Each(t, func(t *testing.T, url string) {
		const kills = 20
		w := newKillWorld(t, url)
		people := int64(bytes.Count(testdata.People, []byte("\n")) - 1)
		random := rand.New(rand.NewPCG(1, 2))
		for len(w.strikes) < kills/2 {
			w.strikes[5+random.IntN(int(people)-20)] = len(w.strikes)%2 == 0
		}
		w.start()
		w.until("the start", func(api.Status) bool { return true })
		w.until("importing", func(api.Status) bool { // a kill may cut the answer; importing again changes nothing
			_, err := w.provost(testdata.People, "user", "import", "-", "--format", "csv", "--assign", "acme")
			return err == nil
		})
		w.until("provisioning", func(st api.Status) bool {
			var open int64
			for state, n := range st.Apps[0].Requests {
				if !state.Ended() {
					open += n
				}
			}
			return open == 0 && st.Apps[0].Requests[host.StateCompleted] == people
		})
		names := map[string]int{}
		for _, a := range w.target.Accounts() {
			names[fmt.Sprint(a.Attributes["userName"])]++
		}
		require.Len(t, names, int(people), "lost or too many")
		require.Equal(t, int(people), w.target.Created(), "doubled in the target")
		provisionKills := w.kills
		require.GreaterOrEqual(t, provisionKills, kills/2)

		const strangers = 2000
		for i := range strangers {
			_, err := w.target.Add(map[string]any{"userName": fmt.Sprintf("stranger.%d", i), "active": true})
			require.NoError(t, err)
		}
		w.mu.Lock()
		pages := (strangers + int(people)) / 50
		for len(w.strikes) < kills {
			w.strikes[w.seen+2+random.IntN(pages+kills/2-4)] = len(w.strikes)%2 == 0
		}
		w.mu.Unlock()
		_, err := w.provost(nil, "reconcile", "--app", "acme", "--commit")
		require.NoError(t, err)
		w.until("reconciling", func(st api.Status) bool { return st.Apps[0].Requests[host.StateCompleted] == people+1 })

		out, err := w.provost(nil, "account", "list", "--app", "acme", "-o", "json")
		require.NoError(t, err)
		var accounts []account
		require.NoError(t, json.Unmarshal(out, &accounts))
		ids, linked := map[string]int{}, 0
		for _, a := range accounts {
			ids[a.ExternalUserId]++
			if a.LinkState == host.Linked {
				linked++
			}
		}
		require.Len(t, accounts, strangers+int(people))
		require.Len(t, ids, strangers+int(people))
		require.Equal(t, int(people), linked)
		require.NotContains(t, w.log.String(), w.token, "the secret is in the log")
		t.Logf("%d kills while provisioning, %d while collecting: 0 lost, 0 doubled", provisionKills, w.kills-provisionKills)
	})
}
