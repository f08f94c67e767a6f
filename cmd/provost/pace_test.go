package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store/storetest"
)

// Two daemons on one PostgreSQL work attempts that send ten requests each, and a
// run beside them: all of it together keeps to the limits of the credential.
func TestEveryRequestOfTwoDaemonsKeepsTheLimitsOfItsCredential(t *testing.T) {
	t.Parallel()
	const persons, each, perSecond, atOnce = 5, 10, 40, 2
	var mu sync.Mutex
	var now, worst, seen int
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		now, seen = now+1, seen+1
		worst = max(worst, now)
		mu.Unlock()
		time.Sleep(20 * time.Millisecond) // what the target takes
		mu.Lock()
		now--
		mu.Unlock()
	}))
	defer target.Close()
	wasm, err := os.ReadFile(guest(t, "./testdata/prober"))
	require.NoError(t, err)
	database := storetest.Postgres(t)
	one, other := newServed(t), newServed(t)
	requests := strings.Repeat(`{method: 0, url: "callout:Acme/x"}, `, each)
	for _, s := range []*served{one, other} {
		s.connector("prober.wasm", wasm)
		s.configure(fmt.Sprintf(`
database: {url: %q}
plugins: [{name: prober, source: prober.wasm}]
credentials: [{name: Acme, endpoint: %q, anonymous: true, limits: {rate: %d/s, concurrency: %d}}]
apps: [{name: acme, plugin: prober, credential: Acme, operations: [Create], mapping: ["userName = user.Username"], parameters: {requests: [%s]}, max_attempts: 1}]
`, database, target.URL, perSecond, atOnce, requests))
	}
	began := time.Now()
	one.start()
	other.start()
	one.add("acme", people(persons)...)
	one.must("", "reconcile", "--app", "acme")
	one.completed("acme", persons)
	one.until("the end of the run", func() bool {
		for _, r := range one.requests("acme") {
			if r.Operation == host.Reconcile {
				return r.State == host.StateAnalyzed
			}
		}
		return false
	})
	took := time.Since(began)
	for _, r := range one.requests("acme") {
		if r.Operation == host.Create {
			require.Equal(t, 1, r.Attempt, one.must("", "request", "get", r.Name))
		}
	}
	all := persons*each + each
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, all, seen)
	require.LessOrEqual(t, worst, atOnce)
	require.GreaterOrEqual(t, took, time.Duration(all-1)*time.Second/perSecond)
	out := one.must("", "request", "get", one.requests("acme")[0].Name, "--trace")
	require.Contains(t, out, "its turn ")
	for _, s := range []*served{one, other} {
		s.terminate()
		s.end()
	}
}
