package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/plugins/scim/scimtarget"
)

// acme is a daemon with one app, acme, at a real SCIM server, for whoever is
// active. rest is more of the app, credential of its credential.
func acme(t *testing.T, rest string, credential ...string) (*served, *scimtarget.Target, *front) {
	t.Helper()
	s := newServed(t)
	target, err := scimtarget.New(scimtarget.Options{})
	require.NoError(t, err)
	f := &front{}
	f.answerWith(target)
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	s.configure(fmt.Sprintf(`plugins: [{name: scim, source: "builtin:scim"}]
credentials: [{name: Acme, endpoint: %q, timeout: 5s, anonymous: true%s}]
apps:
  - {name: acme, plugin: scim, credential: Acme, scope: user.IsActive%s}
`, server.URL, strings.Join(append([]string{""}, credential...), ", "), rest))
	s.start()
	return s, target, f
}

// A front stands before a target; what answers can be changed while it serves.
type front struct{ handler atomic.Pointer[http.Handler] }

func (f *front) answerWith(h http.Handler) { f.handler.Store(&h) }

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*f.handler.Load()).ServeHTTP(w, r)
}

func rowsOf(from, to int) string {
	var b strings.Builder
	b.WriteString("Username,FirstName,LastName,Email\n")
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "p%d,Ada,Nr%d,p%d@example.com\n", i, i, i)
	}
	return b.String()
}

func (s *served) allCompleted(n int) {
	s.t.Helper()
	s.until(fmt.Sprint(n, " requests"), func() bool {
		var list []request
		s.ask("/api/v1/requests", map[string][]string{"state": {"Completed"}, "limit": {"1000"}}, &list)
		return len(list) >= n
	})
}

func TestAnImportThatLostHalfItsPeopleDisablesNobodyUntilSomebodyAllowsIt(t *testing.T) {
	t.Parallel()
	s, target, _ := acme(t, "")
	s.must(rowsOf(0, 40), "user", "import", "-", "--format", "csv")
	s.allCompleted(40)
	for _, file := range []string{rowsOf(0, 0), rowsOf(0, 20)} {
		_, errs, err := s.run(file, "user", "import", "-", "--format", "csv", "--prune")
		require.Error(t, err)
		require.Contains(t, errs, "nobody was disabled: would disable")
	}
	out, _, _ := s.run(rowsOf(0, 20), "user", "import", "-", "--format", "csv", "--prune", "--dry-run")
	require.Contains(t, out, "0 requests would be made")
	require.Contains(t, s.must("", "plan", "list", "--state", "Quarantined"), "20 Disable")
	s.must("", "plan", "reject", "1", "--reason", "the file was empty")
	s.must("", "plan", "allow", "2", "--reason", "the merger")
	s.allCompleted(60)
	active := 0
	for _, a := range target.Accounts() {
		if a.Attributes["active"] == true {
			active++
		}
	}
	require.Equal(t, 20, active)
	_, errs, err := s.run("", "plan", "allow", "1")
	require.Error(t, err)
	require.Contains(t, errs, "PLN-000001 is Rejected")
	var audited []*api.AuditEntry
	s.ask("/api/v1/audit", url.Values{"action": {"threshold"}}, &audited)
	require.Len(t, audited, 3)
	for i, want := range []string{"threshold.allow plan PLN-000001 refused Conflict", "threshold.allow plan PLN-000002 done", "threshold.reject plan PLN-000001 done"} {
		require.True(t, strings.HasSuffix(told(audited[i]), want), told(audited[i]))
	}
	require.Contains(t, string(audited[1].Details), `"counts":{"Disable":20}`)
	require.NotContains(t, string(audited[1].Details), "merger")
}

func TestADryRunChangesNothing(t *testing.T) {
	t.Parallel()
	s, target, _ := acme(t, "")
	s.must(rowsOf(0, 3), "user", "import", "-", "--format", "csv")
	s.allCompleted(3)
	before := s.must("", "user", "list", "-o", "json") + s.must("", "request", "list", "-o", "json") + s.must("", "account", "list", "-o", "json")
	for _, command := range [][]string{
		{"user", "import", "-", "--format", "csv", "--dry-run"},
		{"user", "import", "-", "--format", "csv", "--prune", "--dry-run"},
		{"user", "delete", "p1", "--dry-run"},
		{"user", "unassign", "p1", "--app", "acme", "--dry-run"},
		{"request", "create", "--user", "p1", "--app", "acme", "--operation", "Deactivate", "--dry-run"},
	} {
		require.Contains(t, s.must(rowsOf(2, 6), command...), "nothing has happened", command)
	}
	require.Contains(t, s.must(`{"Username":"p1","IsActive":true,"Email":"new@example.com"}`, "user", "apply", "--dry-run"), "p1@example.com -> new@example.com")
	_, errs, err := s.run("Username,Nonsense\n,x\n", "user", "import", "-", "--format", "csv", "--dry-run")
	require.Error(t, err)
	require.Contains(t, errs, "Username")
	require.Equal(t, before, s.must("", "user", "list", "-o", "json")+s.must("", "request", "list", "-o", "json")+s.must("", "account", "list", "-o", "json"))
	require.Len(t, target.Accounts(), 3)
}

func TestARunThatFindsFarTooFewStopsBeforeItsCommit(t *testing.T) {
	t.Parallel()
	s, target, server := acme(t, "")
	for i := range 30 {
		_, err := target.Add(map[string]any{"userName": fmt.Sprintf("p%d", i), "active": true})
		require.NoError(t, err)
	}
	s.must("", "reconcile", "--app", "acme", "--wait", "--commit")
	empty, err := scimtarget.New(scimtarget.Options{})
	require.NoError(t, err)
	server.answerWith(empty)
	_, errs, err := s.run("", "reconcile", "--app", "acme", "--wait", "--commit")
	require.Error(t, err)
	require.Contains(t, errs, "found 0 of the 30 accounts that were there (0 %); the least is 50%")
	require.Contains(t, errs, "provost reconcile allow UPR-000002")
	_, errs, err = s.run("", "reconcile", "commit", "UPR-000002")
	require.Error(t, err)
	require.Contains(t, errs, "found 0 of the 30")
	require.NotContains(t, s.must("", "account", "list"), "gone")
	s.must("", "reconcile", "reject", "UPR-000002", "--reason", "it was being restored")
	require.Equal(t, 30, strings.Count(s.must("", "account", "list"), "UPA-"))

	_, _, err = s.run("", "reconcile", "--app", "acme", "--wait", "--commit")
	require.Error(t, err)
	s.must("", "reconcile", "allow", "UPR-000003", "--reason", "it is gone for good")
	s.until("the commit", func() bool {
		var r request
		s.ask("/api/v1/requests/3", nil, &r)
		return r.State == host.StateCompleted
	})
	require.Equal(t, 30, strings.Count(s.must("", "account", "list"), "gone"))
}

func TestWhatIsSignedOffIsWhatIsDone(t *testing.T) {
	t.Parallel()
	s, target, _ := acme(t, "")
	for i := range 30 {
		_, err := target.Add(map[string]any{"userName": fmt.Sprintf("p%d", i), "active": true, "emails": []any{map[string]any{"type": "work", "value": "old@example.com"}}})
		require.NoError(t, err)
	}
	s.must(rowsOf(0, 0)+"x1,A,B,x1@example.com\n", "user", "import", "-", "--format", "csv")
	s.allCompleted(1)
	s.must("", "reconcile", "--app", "acme", "--wait", "--commit")
	file := filepath.Join(s.dir, "plan.json")
	out := s.must("", "reconcile", "process", "--app", "acme", "--orphaned", "deactivate", "--dry-run", "--out", file)
	require.Contains(t, out, "would deactivate 30 of 1")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	forged := filepath.Join(s.dir, "forged.json")
	require.NoError(t, os.WriteFile(forged, []byte(strings.Replace(string(text), `"Operation": "Deactivate"`, `"Operation": "Delete"`, 1)), 0o600))
	_, errs, err := s.run("", "plan", "run", forged)
	require.Error(t, err)
	require.Contains(t, errs, "is not what was written")

	account := strings.Fields(strings.Split(s.must("", "account", "list", "--state", "orphaned"), "\n")[1])[0]
	s.must("", "account", "ignore", account)
	_, errs, err = s.run("", "plan", "run", file)
	require.Error(t, err)
	require.Contains(t, errs, "is stale, nothing was done")

	s.must("", "reconcile", "process", "--app", "acme", "--orphaned", "deactivate", "--dry-run", "--out", file)
	s.must("", "plan", "run", file)
	s.until("29 accounts to be deactivated", func() bool {
		off := 0
		for _, a := range target.Accounts() {
			if a.Attributes["active"] == false {
				off++
			}
		}
		return off == 29
	})
}
