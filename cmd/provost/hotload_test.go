package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/artifact"
	"github.com/provosthq/provost/plugins/mock/target"
)

// turncoat is a build of the connector of that name: of a version, and with a
// mood (see its source).
func turncoat(t *testing.T, version, mood string) []byte {
	t.Helper()
	wasm, err := os.ReadFile(guest(t, "./testdata/turncoat"))
	require.NoError(t, err)
	for old, now := range map[string]string{"71.0.0": version, "mood=good": "mood=" + mood} {
		require.Len(t, now, len(old))
		require.Equal(t, 1, bytes.Count(wasm, []byte(old)), old)
		wasm = bytes.ReplaceAll(wasm, []byte(old), []byte(now))
	}
	return wasm
}

// hot is a daemon whose app acme has the connector turncoat.
type hot struct {
	*served
	app    *target.Target
	plugin string // further keys of the plugin
	rest   string // of the configuration
	url    string
	// key, where there is one, signs the builds, and only what it signed is taken.
	key *artifact.PrivateKey
}

func newHot(t *testing.T, plugin, rest string, wrap func(http.Handler) http.Handler) *hot {
	h := &hot{served: newServed(t), app: target.New(""), plugin: ", unsigned: true" + plugin, rest: rest}
	h.serve(wrap)
	return h
}

// newSignedHot is newHot where only what its key signed is taken.
func newSignedHot(t *testing.T, plugin, rest string, wrap func(http.Handler) http.Handler) *hot {
	public, key := newSigner(t)
	h := &hot{served: newServed(t), app: target.New(""), plugin: ", signers: [us]" + plugin, key: &key,
		rest: fmt.Sprintf("signers: [{name: us, key: %q}]\n", public) + rest}
	h.serve(wrap)
	return h
}

// newSigner makes a pair of keys.
func newSigner(t *testing.T) (public string, key artifact.PrivateKey) {
	t.Helper()
	text, private, err := artifact.GenerateKey("")
	require.NoError(t, err)
	key, err = artifact.OpenKey(private, "")
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1], key
}

// serve starts the daemon and its app's target.
func (h *hot) serve(wrap func(http.Handler) http.Handler) {
	var handler http.Handler = h.app
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewServer(handler)
	h.t.Cleanup(server.Close)
	h.url = server.URL
	h.build("71.0.0", "good")
	h.configured()
	h.start()
}

func (h *hot) configured() {
	h.configure(fmt.Sprintf("plugins: [{name: turncoat, source: turncoat.wasm%s}]\n"+
		"credentials: [{name: Mock, endpoint: %q, anonymous: true}]\n"+
		"apps: [{name: acme, plugin: turncoat, credential: Mock, operations: [Create], max_attempts: 3}]\n%s", h.plugin, h.url, h.rest))
}

func (h *hot) build(version, mood string) {
	h.put(turncoat(h.t, version, mood), version, h.key)
}

// put makes a module the one that the daemon is to serve, signed with a key
// under a version, or without a signature.
func (h *hot) put(wasm []byte, version string, key *artifact.PrivateKey) {
	h.t.Helper()
	if key != nil {
		signature, err := artifact.Sign(*key, wasm, "turncoat", version, artifact.Wishes{}, time.Now())
		require.NoError(h.t, err)
		h.connector("turncoat.wasm.minisig", signature)
	} else if h.key != nil {
		require.NoError(h.t, os.Remove(filepath.Join(h.dir, "turncoat.wasm.minisig")))
	}
	h.connector("turncoat.wasm", wasm)
}

func (h *hot) now() api.Plugin {
	h.t.Helper()
	var list []api.Plugin
	h.ask("/api/v1/plugins", nil, &list)
	require.Len(h.t, list, 1)
	return list[0]
}

func (h *hot) serves(version string) {
	h.t.Helper()
	h.until(version+" serving", func() bool { p := h.now(); return p.Version == version && p.State == "serving" })
}

// metric is a value that is scraped.
func (h *hot) metric(name string) float64 {
	h.t.Helper()
	_, scraped := h.http(h.metricsAPI, "/metrics")
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `(?:\{[^}]*\})? (\S+)$`).FindStringSubmatch(scraped)
	require.NotNil(h.t, m, name)
	v, err := strconv.ParseFloat(m[1], 64)
	require.NoError(h.t, err)
	return v
}

// 200 requests are in flight while connectors are swapped a hundred times, and
// as often what can't be taken lies in their place: not one request fails, and
// each says which build it had.
func TestConnectorsAreSwappedAHundredTimesUnderLoadAndNoRequestFails(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("compiles eight builds, and swaps them a hundred times")
	}
	const inFlight, swaps = 200, 100
	var open, most atomic.Int64
	h := newSignedHot(t, ", limits: {instances: 200}, rollout: {rollback_above: 100%}", fmt.Sprintf("workers: %d\n", inFlight), func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n := open.Add(1)
			defer open.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			r.URL.RawQuery = "delay=600" // so that all workers wait for it
			next.ServeHTTP(w, r)
		})
	})
	good := map[string]string{} // digest of each build, by version
	note := func() { p := h.now(); good[p.Digest] = p.Version }
	note()
	versions := []string{"71.0.0", "71.0.1", "71.0.2", "71.0.3", "71.0.4"}
	for _, v := range versions[1:] { // so that they are compiled
		h.build(v, "good")
		h.serves(v)
		note()
	}
	goroutines := h.metric("go_goroutines")
	first, trusted := turncoat(t, "71.0.0", "good"), h.plugin
	_, strangers := newSigner(t)
	bad := []struct {
		name, says string
		put        func()
	}{
		{"truncated", "turncoat", func() { h.put(first[:len(first)/2], "71.0.0", h.key) }},
		{"signed by a stranger", "is none of those that are known", func() { h.put(turncoat(t, "71.0.1", "trap"), "71.0.1", &strangers) }},
		{"no module", "no WebAssembly", func() { h.put([]byte("#!/bin/sh\n"), "71.0.0", h.key) }},
		{"not signed", "is not signed", func() { h.put(turncoat(t, "71.0.2", "trap"), "71.0.2", nil) }},
		{"incompatible", "can't do any more", func() { h.build("71.0.9", "less") }},
		{"changed after it was signed", "was changed after it was signed", func() {
			h.connector("turncoat.wasm", turncoat(t, "71.0.3", "trap"))
		}},
		{"what an app can't be mapped to", "shoeSize", func() { h.build("71.0.8", "need") }},
		{"signed as another version", "signed it as turncoat 71.0.4", func() { h.put(turncoat(t, "71.0.1", "spin"), "71.0.4", h.key) }},
		{"of another digest", "it is not the file that was meant", func() {
			h.plugin = trusted + fmt.Sprintf(", digest: %064x", 0xff)
			h.configured()
		}},
	}
	stop := make(chan struct{})
	var feeding sync.WaitGroup
	var people int
	feeding.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			var names strings.Builder
			names.WriteString("Username,LastName,Email\n")
			for i := range 300 {
				fmt.Fprintf(&names, "p%d.%d,Person,p@example.com\n", people, i)
			}
			if _, errs, err := h.run(names.String(), "user", "import", "-", "--format", "csv", "--assign", "acme"); err != nil {
				t.Errorf("import: %v: %s", err, errs)
				return
			}
			people++
			for h.metricOf(`provost_requests{app="acme",state="New"}`) > 400 { // enough is waiting
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		}
	})
	serving := "71.0.4"
	for i := range swaps {
		if i%5 == 4 {
			one := bad[i/5%len(bad)]
			before := len(h.log.String())
			one.put()
			h.until("the refusal of "+one.name, func() bool {
				log := h.log.String()[before:]
				return strings.Contains(log, "refused") && strings.Contains(log, one.says)
			})
			require.Equal(t, serving, h.now().Version, one.name)
			if h.plugin != trusted {
				h.plugin = trusted
				h.configured()
			}
			continue
		}
		next := versions[rand.IntN(len(versions))]
		h.build(next, "good")
		h.serves(next)
		serving = next
	}
	close(stop)
	feeding.Wait()
	require.GreaterOrEqual(t, most.Load(), int64(inFlight*9/10), "so many were in flight at once")
	all := float64(people * 300)
	h.until("the end of all requests", func() bool { return h.metricOf(`provost_requests{app="acme",state="Completed"}`) >= all })
	require.Zero(t, h.metricOf(`provost_requests{app="acme",state="Failed"}`))
	require.Len(t, h.app.Accounts(), int(all))
	seen := map[string]int{}
	for after := int64(0); ; {
		var page []*api.Request
		h.ask("/api/v1/requests", map[string][]string{"app": {"acme"}, "limit": {"1000"}, "after": {fmt.Sprint(after)}}, &page)
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			require.Equal(t, host.StateCompleted, r.State, r.Name)
			require.Equal(t, 1, r.Attempt, "%s went well at once", r.Name)
			require.Equal(t, "turncoat "+good[r.ConnectorDigest], r.Connector, "%s names the build that it had", r.Name)
			seen[r.Connector]++
		}
		last, err := strconv.ParseInt(strings.TrimPrefix(page[len(page)-1].Name, "UPR-"), 10, 64)
		require.NoError(t, err)
		require.NotEqual(t, after, last, "the pages go on")
		after = last
	}
	require.Greater(t, len(seen), 2, "requests went to the builds of before and after")
	t.Logf("%d requests, %d at once, %v", people*300, most.Load(), seen)
	// What is idle stays for a minute, instances of the build that serves and
	// connections; of the builds before it nothing is left.
	h.until("what the old builds had being free again", func() bool {
		instances := h.metricOf(`provost_connector_instances{connector="turncoat",state="idle"}`) + h.metricOf(`provost_connector_instances{connector="turncoat",state="busy"}`)
		return h.metric("provost_sandbox_memory_bytes") <= instances*(8<<20) && h.metric("go_goroutines") < goroutines+3*inFlight
	})
}

// metricOf is the value of one series, 0 where it is not there.
func (h *hot) metricOf(series string) float64 {
	_, scraped := h.http(h.metricsAPI, "/metrics")
	for line := range strings.Lines(scraped) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), series+" "); ok {
			v, err := strconv.ParseFloat(rest, 64)
			require.NoError(h.t, err)
			return v
		}
	}
	return 0
}

// failedOrWaiting counts the requests of acme that have failed, once all others
// wait for something.
func (h *hot) failedOrWaiting(what string) (failed int) {
	h.t.Helper()
	h.until("requests that wait for "+what, func() bool {
		list := h.requests("acme")
		failed = 0
		for _, r := range list {
			switch {
			case r.State == host.StateFailed:
				failed++
			case r.WaitsFor != what:
				return false
			}
		}
		return failed < len(list)
	})
	return failed
}

func TestAConnectorThatTrapsIsTakenOutItsRequestsWaitAndAnotherBuildBringsThemOn(t *testing.T) {
	t.Parallel()
	h := newHot(t, ", quarantine: {faults: 3, window: 1m}, rollout: {rollback_within: 1ms}", "", nil)
	h.build("71.0.1", "trap")
	h.serves("71.0.1")
	h.add("acme", people(30)...)
	h.until("quarantine", func() bool { return h.now().State == "quarantined" })
	require.Regexp(t, `\d+ calls within 1m0s trapped or broke a limit`, h.now().Reason)
	require.LessOrEqual(t, h.failedOrWaiting("connector:turncoat"), 3+8, "no more than it took, and were at work then")
	require.Contains(t, h.must("", "plugin", "status"), "provost plugin release turncoat")
	require.Contains(t, h.must("", "plugin", "list"), "quarantined 71.0.1")
	require.Contains(t, h.must("", "notice", "list"), "is in quarantine")
	_, ready := h.http(h.api, "/readyz")
	require.Contains(t, ready, "quarantine")

	// It survives the daemon.
	h.terminate()
	h.end()
	h.start()
	h.until("quarantine", func() bool { return h.now().State == "quarantined" })
	require.Empty(t, h.app.Accounts())

	// Let back by hand it does as before, and is taken out again.
	h.must("", "plugin", "release", "turncoat")
	h.until("quarantine", func() bool { return h.now().State == "quarantined" })

	lost := h.failedOrWaiting("connector:turncoat")
	h.build("71.0.2", "good")
	h.serves("71.0.2")
	h.completed("acme", 30-lost)
	require.Len(t, h.app.Accounts(), 30-lost)
	for _, r := range h.requests("acme") {
		if r.State == host.StateCompleted {
			require.Equal(t, "turncoat 71.0.2", r.Connector)
		}
	}
	require.NotContains(t, h.must("", "notice", "list"), "is in quarantine")
	trail := h.must("", "audit", "list", "--limit", "100")
	require.Contains(t, trail, "plugin.quarantine")
	require.Contains(t, trail, "plugin.release")
	require.Contains(t, trail, "plugin.swap")
}

func TestABuildThatFailsMoreGoesBackByItselfAndByHandAndStaysOut(t *testing.T) {
	t.Parallel()
	h := newHot(t, ", rollout: {rollback_within: 10m, rollback_above: 20%, rollback_calls: 5}", "", nil)
	h.add("acme", "before")
	h.completed("acme", 1)
	h.build("71.0.1", "fail")
	h.serves("71.0.1")
	h.add("acme", people(6)...)
	h.serves("71.0.0")
	require.Contains(t, h.now().LastError, "was taken out")
	require.InDelta(t, 1, h.metricOf(`provost_connector_rollbacks_total{by="automatic",connector="turncoat"}`), 0)
	require.Contains(t, h.must("", "plugin", "versions", "turncoat"), "taken out: 100 % of its 5 calls failed")
	h.terminate()
	h.end()
	h.start()
	h.serves("71.0.0") // although the file is the other one
	h.must("", "config", "reload")
	require.Equal(t, "71.0.0", h.now().Version)
	h.must("", "request", "retry", "--failed", "--app", "acme")
	h.completed("acme", 7)

	h.build("71.0.2", "good")
	h.serves("71.0.2")
	out := h.must("", "plugin", "rollback", "turncoat")
	require.Contains(t, out, "turncoat 71.0.0")
	require.Equal(t, "71.0.0", h.now().Version)
	h.must("", "plugin", "release", "turncoat")
	require.Equal(t, "71.0.2", h.now().Version)
	_, errs, err := h.run("", "plugin", "rollback", "turncoat", "00ff")
	require.Error(t, err)
	require.Contains(t, errs, "no build of turncoat has a digest that begins with 00ff")
	_, errs, err = h.run("", "plugin", "release", "turncoat")
	require.Error(t, err)
	require.Contains(t, errs, "no build of turncoat was taken out")
	require.Contains(t, h.must("", "audit", "list", "--limit", "100"), "plugin.rollback")
}

func TestABuildThatWantsMoreWaitsForAGrant(t *testing.T) {
	t.Parallel()
	h := newHot(t, "", "", nil)
	h.build("71.0.1", "more")
	h.until("waiting", func() bool { return h.now().Waiting != nil })
	p := h.now()
	require.Equal(t, "71.0.0", p.Version, "the one of before goes on")
	require.Equal(t, host.Reach{Operations: []string{"delete"}, Hosts: []string{"files.example.com"}}, p.Waiting.Wants)
	require.Contains(t, h.must("", "notice", "list"), "waits for a grant")
	_, errs, err := h.run("", "plugin", "grant", "turncoat")
	require.Error(t, err, "nobody was asked")
	require.Contains(t, errs, "asks for: operations delete; hosts files.example.com")
	_, errs, err = h.run("", "plugin", "grant", "turncoat", "--host", "other.example.com", "--yes")
	require.Error(t, err)
	require.Contains(t, errs, "does not ask for hosts other.example.com")
	h.must("", "plugin", "grant", "turncoat", "--operation", "delete", "--yes")
	require.NotNil(t, h.now().Waiting, "it still wants a host")
	out := h.must("", "plugin", "grant", "turncoat", "--yes")
	require.Contains(t, out, "granted; turncoat 71.0.1")
	require.Equal(t, "71.0.1", h.now().Version)
	require.Contains(t, h.now().Granted.Hosts, "files.example.com")
	require.Contains(t, h.must("", "audit", "list", "--limit", "100"), "plugin.grant")
	h.terminate()
	h.end()
	h.start()
	h.serves("71.0.1")
}

func TestABuildThatDoesNotConnectIsLeftOut(t *testing.T) {
	t.Parallel()
	h := newHot(t, ", health_check: true", "", nil)
	h.build("71.0.1", "sick")
	h.until("the refusal", func() bool { return strings.Contains(h.now().LastError, "does not connect for acme") })
	require.Equal(t, "71.0.0", h.now().Version)
	_, errs, err := h.run("", "config", "reload")
	require.Error(t, err)
	require.Contains(t, errs, "it can't sign in")
	h.build("71.0.2", "good")
	h.serves("71.0.2")
}

// A target that is away keeps no daemon from starting: the build that served
// last serves, and it is said that it does not connect.
func TestADaemonStartsThoughATargetIsAway(t *testing.T) {
	t.Parallel()
	var away atomic.Bool
	away.Store(true)
	h := newHot(t, ", health_check: true", "", func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if away.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	says := func(what string) {
		h.t.Helper()
		h.until(what, func() bool {
			_, ready := h.http(h.api, "/readyz")
			return strings.Contains(ready, what)
		})
	}
	connects := func() {
		h.t.Helper()
		away.Store(false)
		h.until("a connection", func() bool { return h.now().Unconnected == "" })
		_, ready := h.http(h.api, "/readyz")
		require.NotContains(t, ready, "does not connect")
	}
	h.serves("71.0.0") // although it never served before
	says("71.0.0 does not connect for acme")
	require.Contains(t, h.must("", "plugin", "status"), "does not connect for acme")
	connects()

	away.Store(true)
	h.terminate()
	h.end()
	h.start()
	h.serves("71.0.0")
	says("71.0.0 does not connect for acme")
	connects()

	// Another build does not take over at a start without connecting.
	h.terminate()
	h.end()
	h.build("71.0.1", "sick")
	h.start()
	h.serves("71.0.0")
	says("71.0.1 does not connect for acme")
	h.add("acme", "somebody")
	h.completed("acme", 1)
}

func TestADiffTellsWhatAReloadWouldDoAndWhatNeedsARestart(t *testing.T) {
	t.Parallel()
	h := newHot(t, "", "", nil)
	require.Contains(t, h.must("", "config", "diff"), "a reload would change nothing")
	// Nobody watches what a folder that is not there yet will be.
	require.NoError(t, h.process.Process.Signal(syscall.SIGSTOP))
	h.plugin = ", unsigned: true, settings: {}, rollout: {canary: 5%}"
	h.rest = "retention: {traces: 30d}\n"
	h.configured()
	h.build("71.0.1", "good")
	require.NoError(t, h.process.Process.Signal(syscall.SIGCONT))
	h.until("the share", func() bool { return h.now().Next != nil })
	require.Equal(t, "71.0.0", h.now().Version)
	require.InDelta(t, 0.05, h.now().Next.Share, 0.001)

	h.rest = "workers: 3\n"
	h.configured()
	h.until("the refusal", func() bool { return strings.Contains(h.log.String(), "restart needed") })
	out, errs, err := h.run("", "config", "diff")
	require.Error(t, err)
	require.Contains(t, out, "workers")
	require.Contains(t, out, "retention.traces")
	require.Contains(t, errs, "restart needed")
	_, errs, err = h.run("", "config", "reload")
	require.Error(t, err)
	require.Contains(t, errs, "workers: restart needed")
	var st api.Status
	h.ask("/api/v1/status", nil, &st)
	require.Contains(t, st.LastReloadError, "workers")
}

// A run stays with the build that it began with, over a swap and over the
// daemon's end; where that one can't be had, it goes on with the one that
// serves.
func TestARunStaysWithTheBuildThatItBeganWith(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]bool{"the build is kept": false, "the build is gone": true} {
		t.Run(name, func(t *testing.T) {
			var pages atomic.Int64
			hold := make(chan struct{})
			h := newHot(t, "", "", func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/accounts" && r.Method == http.MethodGet {
						if pages.Add(1) == 3 {
							select {
							case <-hold:
							case <-r.Context().Done():
								return
							}
						}
						q := r.URL.Query()
						q.Set("limit", "10")
						r.URL.RawQuery = q.Encode()
					}
					next.ServeHTTP(w, r)
				})
			})
			for i := range 55 {
				h.app.Add(target.Account{"username": fmt.Sprintf("there.%d", i)})
			}
			h.must("", "reconcile", "--app", "acme")
			h.until("the third page", func() bool { return pages.Load() >= 3 })
			h.build("71.0.1", "good")
			h.serves("71.0.1")
			require.NoError(t, h.process.Process.Kill())
			<-h.ended
			if gone {
				var digests []string
				require.NoError(t, filepath.WalkDir(filepath.Join(h.dir, "data", "connectors"), func(path string, d os.DirEntry, err error) error {
					if err == nil && d.Type().IsRegular() {
						digests = append(digests, path)
						return os.Remove(path)
					}
					return err
				}))
				require.NotEmpty(t, digests)
			}
			close(hold)
			h.start()
			var runs []*api.Request
			h.until("the run's end", func() bool {
				h.ask("/api/v1/requests", map[string][]string{"app": {"acme"}, "operation": {"Reconcile"}}, &runs)
				return len(runs) == 1 && (runs[0].State == host.StateAnalyzed || runs[0].State.Ended())
			})
			require.Equal(t, host.StateAnalyzed, runs[0].State, "%s", runs[0].ErrorMessage)
			require.EqualValues(t, 55, runs[0].ReconFound)
			if gone {
				require.Equal(t, "turncoat 71.0.1", runs[0].Connector)
				require.Contains(t, h.must("", "request", "get", runs[0].Name), "can't be had any more")
			} else {
				require.Equal(t, "turncoat 71.0.0", runs[0].Connector)
			}
		})
	}
}

func TestADaemonStartsWithTheBuildThatServedLastWhereTheSourceHasNone(t *testing.T) {
	t.Parallel()
	h := newHot(t, "", "", nil)
	h.terminate()
	h.end()
	h.connector("turncoat.wasm", []byte("no module"))
	h.start()
	h.serves("71.0.0")
	require.NotEmpty(t, h.now().LastError)
	h.add("acme", "somebody")
	h.completed("acme", 1)
	_, ready := h.http(h.api, "/readyz")
	require.Contains(t, ready, "turncoat")

	// A connector that never served keeps a daemon from starting.
	fresh := newServed(t)
	fresh.connector("turncoat.wasm", []byte("no module"))
	fresh.configure("plugins: [{name: turncoat, source: turncoat.wasm, unsigned: true}]\n")
	_, errs, err := fresh.run("", "serve")
	require.Error(t, err)
	require.Contains(t, errs, "plugins.turncoat")
}

func TestSIGHUPTakesTheConfigurationAnew(t *testing.T) {
	t.Parallel()
	h := newHot(t, "", "", nil)
	count := func() int { return strings.Count(h.log.String(), `"the configuration was reloaded"`) }
	before := count()
	require.NoError(t, h.process.Process.Signal(syscall.SIGHUP))
	h.until("the reload", func() bool { return count() > before })
	var list []json.RawMessage
	h.ask("/api/v1/audit", map[string][]string{"action": {"config.reload"}}, &list)
	require.Contains(t, string(list[0]), "SIGHUP")
}
