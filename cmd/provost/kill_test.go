package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/provision/provisiontest"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/plugins/scim/scimtarget"
	"github.com/provosthq/provost/plugins/scim/scimtarget/chaos"
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

// killWorld is a target, a configuration for it, and a daemon that is a
// process.
type killWorld struct {
	t        *testing.T
	bin      string
	database string
	file     string
	behind   *scimtarget.Target
	target   *chaos.Target // its journal is what the end is judged by
	token    string

	mu      sync.Mutex
	seen    int           // requests that the target saw
	strikes map[int]bool  // kill when so many were seen; true: after the target acted
	due     int           // strikes that are still to come
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

func newKillWorld(t *testing.T, databaseURL string, pageSize int) *killWorld {
	bin, err := binary()
	require.NoError(t, err)
	w := &killWorld{t: t, bin: bin, token: "canary-0123456789", strikes: map[int]bool{}, struck: make(chan struct{}, 1000), log: new(logBuffer)}
	w.behind, err = scimtarget.New(scimtarget.Options{Token: w.token, MaxResults: 1000})
	require.NoError(t, err)
	w.target = chaos.New(chaos.Options{Behind: w.behind})
	server := httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	if strings.HasPrefix(databaseURL, "sqlite") {
		databaseURL = "sqlite://" + filepath.Join(dir, "provost.db")
	}
	w.database = databaseURL
	w.file = killConfig(t, dir, databaseURL, server.URL, w.token, pageSize)
	t.Cleanup(func() { w.kill() })
	return w
}

// killConfig writes the configuration of a daemon whose folder is dir. What it
// compiles it shares with the others.
func killConfig(t *testing.T, dir, databaseURL, endpoint, token string, pageSize int) string {
	shareCompiled(t, dir)
	file := filepath.Join(dir, "provost.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
database: {url: %q}
data_dir: %q
listen: {api: "", metrics: ""}
workers: 8
plugins:
  - {name: scim, source: "builtin:scim", settings: {pageSize: %d, update: patch}}
credentials:
  - {name: Acme_SCIM, endpoint: %q, bearer: {token: {value: %q}}}
apps:
  - {name: acme, plugin: scim, credential: Acme_SCIM}
`, databaseURL, dir, pageSize, endpoint, token), 0o600))
	return file
}

// serve is the target behind a switch that kills the daemon at set points:
// before the target acts, or after it has and before the answer goes out.
func (w *killWorld) serve(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.seen++
	after, strike := w.strikes[w.seen]
	switch {
	case strike && w.daemon == nil: // a late call of one that is gone: the next one is meant
		strike = false
		next := w.seen + 1
		for _, taken := w.strikes[next]; taken; _, taken = w.strikes[next] {
			next++
		}
		w.strikes[next] = after
	case strike:
		w.due--
	}
	w.mu.Unlock()
	if strike && !after {
		w.strike()
		panic(http.ErrAbortHandler)
	}
	recorded := httptest.NewRecorder()
	w.target.ServeHTTP(recorded, r)
	if strike {
		w.strike()
		panic(http.ErrAbortHandler)
	}
	for k, v := range recorded.Header() {
		rw.Header()[k] = v
	}
	rw.WriteHeader(recorded.Code)
	_, _ = rw.Write(recorded.Body.Bytes())
}

func (w *killWorld) strike() {
	if w.kill() {
		w.struck <- struct{}{}
	}
}

// kill is false where the daemon is gone already: calls of one that was killed
// may come after its end.
func (w *killWorld) kill() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.daemon == nil {
		return false
	}
	_ = w.daemon.Process.Kill() // SIGKILL
	_ = w.daemon.Wait()         // it was killed
	w.daemon = nil
	w.kills++
	return true
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
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Minute)
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

// aim lays down n kills among the next calls of the target, before and after it
// acts.
func (w *killWorld) aim(random *rand.Rand, n, calls int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.strikes = map[int]bool{}
	for len(w.strikes) < min(n, calls/2) {
		w.strikes[w.seen+1+random.IntN(calls)] = len(w.strikes)%2 == 0
	}
	w.due = len(w.strikes)
}

// fromEnvironment is a number for the long run.
func fromEnvironment(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, name)
	return n
}

// A daemon is killed at seeded points while people are created, changed,
// disabled and enabled, and while accounts are collected, analyzed and
// committed. The long run:
//
//	PROVOST_KILLS=300 PROVOST_ACCOUNTS=50000 go test ./cmd/provost -run Killed -timeout 60m -v
func TestNothingIsLostAndNothingDoubledWhenTheDaemonIsKilled(t *testing.T) {
	inProcesses(t)
	storetest.Each(t, func(t *testing.T, url string) {
		usual := 20
		if strings.HasPrefix(url, "postgres") { // where each kill takes the time of a lease
			usual = 5
		}
		kills, strangers := fromEnvironment(t, "PROVOST_KILLS", usual), fromEnvironment(t, "PROVOST_ACCOUNTS", 2000)
		w := newKillWorld(t, url, max(50, strangers/200))
		people := int64(bytes.Count(testdata.People, []byte("\n")) - 1)
		random := rand.New(rand.NewPCG(1, 2))
		w.start()
		w.until("the start", func(api.Status) bool { return true })
		phases := []struct {
			name string
			file []byte
		}{
			{"creating", testdata.People},
			{"changing", bytes.ReplaceAll(testdata.People, []byte(",true,"), []byte(" II,true,"))},
			{"disabling", bytes.ReplaceAll(testdata.People, []byte(",true,"), []byte(" II,false,"))},
			{"enabling", bytes.ReplaceAll(testdata.People, []byte(",true,"), []byte(" II,true,"))},
		}
		var told []string
		for i, phase := range phases {
			before := w.kills
			w.aim(random, kills/(len(phases)+1), int(people)-20)
			w.until("importing", func(api.Status) bool { // a kill may cut the answer; importing again changes nothing
				_, err := w.provost(phase.file, "user", "import", "-", "--format", "csv", "--assign", "acme")
				return err == nil
			})
			w.until(phase.name, func(st api.Status) bool {
				var open int64
				for state, n := range st.Apps[0].Requests {
					if !state.Ended() {
						open += n
					}
				}
				return open == 0 && st.Apps[0].Requests[host.StateCompleted] == people*int64(i+1)
			})
			told = append(told, fmt.Sprintf("%d while %s", w.kills-before, phase.name))
		}
		w.requireOnceInOrder(int(people))

		for i := range strangers {
			_, err := w.behind.Add(map[string]any{"userName": fmt.Sprintf("stranger.%d", i), "active": true})
			require.NoError(t, err)
		}
		pages := (strangers + int(people) + max(50, strangers/200) - 1) / max(50, strangers/200)
		before, late := w.kills, 0
		w.aim(random, kills-4*(kills/(len(phases)+1)), pages-2)
		_, err := w.provost(nil, "reconcile", "--app", "acme", "--commit")
		require.NoError(t, err)
		completed := people*int64(len(phases)) + 1
		w.until("reconciling", func(st api.Status) bool {
			q := st.Apps[0].Requests
			if late < kills/10 && w.due == 0 && q[host.StateAnalyzing]+q[host.StateAnalyzed]+q[host.StateCommitting] > 0 {
				late++
				w.strike()
			}
			return q[host.StateCompleted] == completed
		})
		told = append(told, fmt.Sprintf("%d while collecting", w.kills-before-late), fmt.Sprintf("%d while analyzing or committing", late))

		out, err := w.provost(nil, "request", "list", "--app", "acme", "--operation", "Reconcile", "-o", "json")
		require.NoError(t, err)
		var runs []request
		require.NoError(t, json.Unmarshal(out, &runs))
		require.Len(t, runs, 1)
		require.Equal(t, pages, runs[0].ReconPages, "a page twice, or lost")
		all := w.kills
		w.kill()
		records := recordsOf(t, w.database)
		require.Empty(t, records.Violations())
		ids, linked := map[string]int{}, 0
		for _, a := range records.Accounts {
			ids[a.ExternalUserId]++
			if a.LinkState == host.Linked {
				linked++
			}
		}
		require.Len(t, records.Accounts, strangers+int(people))
		require.Len(t, ids, strangers+int(people))
		require.Equal(t, int(people), linked)
		require.NotContains(t, w.log.String(), w.token, "the secret is in the log")
		require.GreaterOrEqual(t, all, kills*3/4)
		t.Logf("killed %d times (%s): 0 lost, 0 doubled, 0 pages twice; %d people, %d accounts, %d pages", all, strings.Join(told, ", "), people, len(ids), pages)
	})
}

// requireOnceInOrder looks at what the target itself has noted: everybody was
// made once and then changed, disabled and enabled, in this order.
func (w *killWorld) requireOnceInOrder(people int) {
	w.t.Helper()
	order := map[chaos.Operation]int{chaos.Create: 1, chaos.Update: 2, chaos.Deactivate: 3, chaos.Activate: 4}
	step, made := map[string]int{}, map[string]int{}
	for _, e := range w.target.Journal() {
		if e.Operation == chaos.Create {
			made[e.Subject]++
		}
		at := order[e.Operation]
		require.GreaterOrEqual(w.t, at, step[e.Subject], "%s of %s came too late", e.Operation, e.Subject)
		require.LessOrEqual(w.t, at, step[e.Subject]+1, "%s lost what comes before %s", e.Subject, e.Operation)
		step[e.Subject] = at
	}
	require.Len(w.t, made, people, "lost or too many")
	for name, n := range made {
		require.Equal(w.t, 1, n, "%s is doubled", name)
		require.Equal(w.t, 4, step[name], "%s was not enabled", name)
	}
	for _, a := range w.behind.Accounts() {
		require.Contains(w.t, a.Attributes["title"], " II")
		require.Equal(w.t, true, a.Attributes["active"])
	}
}

// recordsOf reads the database of daemons that are gone.
func recordsOf(t *testing.T, databaseURL string) provisiontest.Records {
	t.Helper()
	s, err := store.Open(t.Context(), databaseURL, store.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	r := provisiontest.Records{Logs: map[string][]*host.UserProvisioningLog{}, Jobs: map[string]int{}, Now: time.Now()}
	require.NoError(t, s.View(t.Context(), func(tx *store.Tx) error {
		var err error
		if r.Requests, err = tx.Requests(t.Context(), store.RequestFilter{Limit: 1_000_000}); err != nil {
			return err
		}
		if r.Accounts, err = tx.Accounts(t.Context(), store.AccountFilter{Limit: 1_000_000}); err != nil {
			return err
		}
		for _, q := range r.Requests {
			if r.Logs[q.Id], err = tx.Logs(t.Context(), q.Id); err != nil {
				return err
			}
		}
		text := "CAST(args AS TEXT)"
		if s.Dialect() == "sqlite" {
			text = "json(args)" // it may be stored packed
		}
		rows, err := tx.SQL().QueryContext(t.Context(), "SELECT "+text+" FROM river_job WHERE state IN ('available', 'pending', 'retryable', 'running', 'scheduled')")
		if err != nil {
			return err
		}
		for rows.Next() {
			var text string
			var args struct{ RequestID string }
			if err := errors.Join(rows.Scan(&text), json.Unmarshal([]byte(text), &args)); err != nil {
				return errors.Join(err, rows.Close())
			}
			if args.RequestID != "" {
				r.Jobs[args.RequestID]++
			}
		}
		return errors.Join(rows.Err(), rows.Close())
	}))
	return r
}
