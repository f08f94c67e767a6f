package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/plugins/mock/target"
)

func TestAccountsThatArePutInByHandAreAnalyzed(t *testing.T) {
	t.Parallel()
	s, _, _ := acme(t, ", enabled: false")
	s.must(rowsOf(0, 3), "user", "import", "-", "--format", "csv")
	for file, says := range map[string]string{
		"ExternalUserId,ExternalUsername\na1,p1\n,p2\n":                           "ExternalUserId is missing",
		"ExternalUserId,ExternalUsername\na1,p1\na1,p2\n":                         `"a1" is there twice`,
		"ExternalUserId,a b[\na1,x\n":                                             "neither a field of an account nor the path",
		"ExternalUserId,ExternalUsername\na1," + strings.Repeat("x", 5000) + "\n": "more than 4096 bytes",
		"ExternalUserId,ExternalUsername\n" + strings.Repeat("\"", 3) + "a1,p1\n": "",
	} {
		_, errs, err := s.run(file, "reconcile", "import", "-", "--format", "csv", "--app", "acme")
		require.Error(t, err, file)
		require.Contains(t, errs, says)
	}
	require.NotContains(t, s.must("", "request", "list"), "UPR", "nothing half taken")
	out := s.must("ExternalUserId,ExternalUsername,title\na0,p0,Boss\na1,P1,\na9,nobody,\n", "reconcile", "import", "-", "--format", "csv", "--app", "acme", "--wait", "--commit")
	require.Contains(t, out, "Completed")
	list := s.must("", "account", "list")
	require.Contains(t, list, "orphaned")
	require.Equal(t, 3, strings.Count(list, "UPA-"))
}

func TestARunIsPausedResumedAndCancelled(t *testing.T) {
	t.Parallel()
	s, target, server := acme(t, "")
	for i := range 500 {
		_, err := target.Add(map[string]any{"userName": fmt.Sprintf("q%d", i), "active": true})
		require.NoError(t, err)
	}
	var pages atomic.Int64
	gate := make(chan struct{})
	server.answerWith(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && pages.Add(1) == 2 {
			<-gate
		}
		target.ServeHTTP(w, r)
	}))
	s.must("", "reconcile", "--app", "acme", "--commit")
	s.until("the second page", func() bool { return pages.Load() >= 2 })
	_, errs, err := s.run("", "reconcile", "--app", "acme")
	require.Error(t, err)
	require.Contains(t, errs, "is under way")
	s.must("", "reconcile", "pause", "UPR-000001")
	close(gate)
	var r request
	s.ask("/api/v1/requests/1", nil, &r)
	require.True(t, r.Paused)
	_, errs, err = s.run("", "reconcile", "commit", "UPR-000001")
	require.Error(t, err)
	require.Contains(t, errs, "only a run that has been analyzed")
	s.must("", "reconcile", "resume", "UPR-000001")
	s.until("the end", func() bool { s.ask("/api/v1/requests/1", nil, &r); return r.State.Ended() })
	require.Equal(t, host.StateCompleted, r.State, r.ErrorMessage)
	require.EqualValues(t, 500, r.ReconFound)

	gate2 := make(chan struct{})
	server.answerWith(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-gate2; target.ServeHTTP(w, r) }))
	s.must("", "reconcile", "--app", "acme")
	s.must("", "reconcile", "cancel", "UPR-000002")
	close(gate2)
	s.ask("/api/v1/requests/2", nil, &r)
	require.Equal(t, host.StateCancelled, r.State)
	server.answerWith(target)
	s.must("", "reconcile", "--app", "acme", "--wait")
}

func TestATargetThatIsDownEndsNoRun(t *testing.T) {
	t.Parallel()
	s, target, server := acme(t, "", "limits: {failures: 2, rest: 1s}")
	for i := range 300 {
		_, err := target.Add(map[string]any{"userName": fmt.Sprintf("q%d", i), "active": true})
		require.NoError(t, err)
	}
	var down atomic.Bool
	var pages atomic.Int64
	server.answerWith(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if pages.Add(1); down.Load() || pages.Load() == 2 {
			down.Store(true)
			panic(http.ErrAbortHandler)
		}
		target.ServeHTTP(w, r)
	}))
	s.must("", "reconcile", "--app", "acme", "--commit")
	s.until("the breaker to open", func() bool { return strings.Contains(s.must("", "target", "list"), "open") })
	down.Store(false)
	var r request
	s.until("the end", func() bool { s.ask("/api/v1/requests/1", nil, &r); return r.State.Ended() })
	require.Equal(t, host.StateCompleted, r.State, r.ErrorMessage)
	require.EqualValues(t, 300, r.ReconFound)
}

func TestADeltaBringsWhatHasChangedAndATokenThatIsForgottenMeansAll(t *testing.T) {
	t.Parallel()
	s, app := newServed(t), target.New("")
	server := httptest.NewServer(app)
	defer server.Close()
	s.configure(fmt.Sprintf(`plugins: [{name: mock, source: mock.wasm, settings: {page_size: 2}}]
credentials: [{name: Mock, endpoint: %q, anonymous: true}]
apps: [{name: acme, plugin: mock, credential: Mock, scope: 'false'}]
`, server.URL))
	s.start()
	s.must(rowsOf(0, 5), "user", "import", "-", "--format", "csv")
	for i := range 5 {
		require.NotEmpty(t, app.Add(target.Account{"username": fmt.Sprintf("p%d", i), "active": true}))
	}
	_, errs, err := s.run("", "reconcile", "--app", "acme", "--mode", "delta")
	require.Error(t, err)
	require.Contains(t, errs, "run a full one")
	s.must("", "reconcile", "--app", "acme", "--wait", "--commit")
	require.Equal(t, 5, strings.Count(s.must("", "account", "list", "--state", "linked"), "UPA-"))

	// One is new, one changed, one gone: three are asked for, and all five known.
	require.NotEmpty(t, app.Add(target.Account{"username": "stranger", "active": true}))
	require.True(t, app.Put("acc-00000002", target.Account{"username": "p1", "active": false}))
	require.True(t, app.Put("acc-00000003", nil))
	s.must("", "reconcile", "--app", "acme", "--mode", "delta", "--wait", "--commit")
	var r request
	s.ask("/api/v1/requests/2", nil, &r)
	require.EqualValues(t, 3, r.ReconFound)
	require.EqualValues(t, 2, r.ReconPages)
	list := s.must("", "account", "list", "--state", "linked")
	require.Equal(t, 1, strings.Count(list, "linked, gone"), list)
	require.Contains(t, s.must("", "account", "list", "-q", "p2"), "linked, gone")
	require.Contains(t, s.must("", "account", "list", "--state", "orphaned"), "stranger")
	require.Contains(t, s.must("", "account", "list", "-q", "p1"), "disabled")

	app.Forget()
	require.True(t, app.Put("acc-00000004", nil))
	s.must("", "reconcile", "--app", "acme", "--mode", "delta", "--wait", "--commit")
	s.ask("/api/v1/requests/3", nil, &r)
	require.EqualValues(t, 4, r.ReconFound, "all that are there")
	require.Contains(t, s.must("", "request", "get", "UPR-000003"), "the delta can't go on")
	require.Equal(t, 2, strings.Count(s.must("", "account", "list", "--state", "linked"), "linked, gone"))

	// The run in its place left a token that counts.
	s.must("", "reconcile", "--app", "acme", "--mode", "delta", "--wait", "--commit")
	r = request{}
	s.ask("/api/v1/requests/4", nil, &r)
	require.Zero(t, r.ReconFound)
	require.Equal(t, 2, strings.Count(s.must("", "account", "list", "--state", "linked"), "linked, gone"))
}
