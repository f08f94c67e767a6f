package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/console"
	"github.com/provosthq/provost/host/store"
)

// scoped is a host with two apps, ours and theirs. Ours has something of all;
// what is told of its people begins with kestrel.
type scopedHost struct {
	service
	t       *testing.T
	handler http.Handler
	// names stand for the parameters of paths, all of ours.
	names map[string]string
}

func newScopedHost(t *testing.T) *scopedHost {
	t.Helper()
	dir := t.TempDir()
	shareCompiled(t, dir)
	file := filepath.Join(dir, "provost.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
data_dir: %q
listen: {api: '', metrics: ''}
plugins:
  - {name: mock, source: %[2]q, unsigned: true}
  - {name: other, source: %[2]q, unsigned: true}
credentials:
  - {name: Ours, endpoint: "http://127.0.0.1:9", anonymous: true}
  - {name: Theirs, endpoint: "http://127.0.0.1:9", anonymous: true}
apps:
  - {name: ours, plugin: mock, credential: Ours, approval: manager}
  - {name: theirs, plugin: other, credential: Theirs}
`, dir, guest(t, "../../plugins/mock")), 0o600))
	cfg, err := config.Load(file)
	require.NoError(t, err)
	d, err := openDaemon(t.Context(), cfg, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.close(context.WithoutCancel(t.Context()))) })
	h := &scopedHost{service: service{d}, t: t, handler: d.handler()}
	_, err = h.importText(t, "Username,FirstName,LastName,Email,Phone,ManagerId\nkestrel.boss,KestrelBoss,KestrelOne,kestrel.boss@example.com,,\n"+
		"kestrel.ann,KestrelAnn,KestrelTwo,kestrel.ann@example.com,kestrel-555,kestrel.boss\nkestrel.other,KestrelOther,KestrelThree,kestrel.other@example.com,,\n", api.ImportOptions{Format: "csv"})
	require.NoError(t, err)
	u, err := h.User(t.Context(), "kestrel.ann")
	require.NoError(t, err)
	require.NoError(t, h.Assign(t.Context(), u.Id, "ours"))
	requests, err := h.Requests(t.Context(), api.RequestFilter{App: "ours", Paging: api.Paging{Limit: 10}})
	require.NoError(t, err)
	require.Len(t, requests.Rows, 1)
	account := &host.UserProvAccount{Id: host.NewID(), AppName: "ours", LinkState: host.Orphaned, ExternalUserId: "kestrel-ext", ExternalUsername: "kestrel.ext", ExternalEmail: "kestrel.ext@example.com",
		Attributes: map[string]any{"name": "kestrel attribute"}, Drift: []host.Difference{{Path: "title", Want: "kestrel want", Have: "kestrel have"}},
		Candidates: []host.Candidate{{UserId: u.Id, Username: "kestrel.ann", Rule: "a"}}, CreatedDate: time.Now(), LastModifiedDate: time.Now()}
	require.NoError(t, d.store.Update(t.Context(), func(tx *store.Tx) error { return tx.PutAccount(t.Context(), account) }))
	plan, err := h.Process(t.Context(), "ours", api.ProcessOptions{DryRun: true})
	require.NoError(t, err)
	run, err := h.Reconcile(t.Context(), "ours", api.ReconcileOptions{})
	require.NoError(t, err)
	h.names = map[string]string{"app": "ours", "user": u.Id, "request": requests.Rows[0].Id, "run": run.Id, "account": account.Id, "plan": plan.Id, "credential": "Ours"}
	return h
}

// as asks as a subject.
func (h *scopedHost) as(s *access.Subject, method, path, body string) (status int, text string) {
	h.t.Helper()
	r := httptest.NewRequestWithContext(access.WithSubject(h.t.Context(), s), method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if strings.HasPrefix(path, "/console") {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// paths are those of a route, of all that its id may be of.
func (h *scopedHost) paths(route string) (method string, paths []string) {
	method, path, _ := strings.Cut(route, " ")
	for _, of := range []struct{ below, param, kind string }{
		{"/users/{user}", "{user}", "user"}, {"/people/{id}", "{id}", "user"}, {"/requests/{id}", "{id}", "request"}, {"/requests/{id}", "{id}", "run"}, {"/requests/{name}", "{name}", "request"},
		{"/runs/{id}", "{id}", "run"}, {"/runs/{name}", "{name}", "run"}, {"/accounts/{id}", "{id}", "account"}, {"/plans/{id}", "{id}", "plan"}, {"/plans/{name}", "{name}", "plan"},
		{"/credentials/{name}", "{name}", "credential"},
	} {
		if strings.Contains(path, of.below) {
			paths = append(paths, strings.ReplaceAll(strings.ReplaceAll(path, of.param, h.names[of.kind]), "{app}", "ours"))
		}
	}
	if paths == nil && strings.Contains(path, "{app}") {
		paths = []string{strings.ReplaceAll(path, "{app}", "ours")}
	}
	for i, p := range paths {
		paths[i] = regexp.MustCompile(`\{\w+\}`).ReplaceAllString(p, "app")
	}
	return method, paths
}

// bodies are what routes want, where it is more than an empty object.
var bodies = map[string]string{
	"/review": `{"verb":"ignore","all":true}`, "/link": `{"user":"kestrel.other"}`, "/complete": `{"note":"n"}`, "/links": `{"verb":"ignore","accounts":["UPA-000001"]}`, "/undo": `{"undo":"x"}`,
}

func bodyOf(path string) string {
	for end, body := range bodies {
		if strings.HasSuffix(path, end) {
			return body
		}
	}
	return "{}"
}

func allRules() access.Rules { return append(append(access.Rules{}, api.Rules...), console.Rules...) }

func TestNobodyReachesWhatIsOfAnothersApp(t *testing.T) {
	h := newScopedHost(t)
	other, err := h.User(t.Context(), "kestrel.other")
	require.NoError(t, err)
	subjects := map[string]*access.Subject{
		"the owner of another app":                 {Kind: access.Person, Name: "owner", Rights: []access.Right{{Role: access.AppOwner, Apps: []string{"theirs"}}}},
		"an owner of another app, a token":         {Kind: access.Token, Name: "owner", Rights: []access.Right{{Permissions: access.Permissions, Apps: []string{"theirs"}}}},
		"an approver who has nothing to decide":    {Kind: access.Person, Name: "kestrel.other", UserId: other.Id, Rights: []access.Right{{Role: access.Approver}}},
		"an approver who is no user":               {Kind: access.Token, Name: "approver", Rights: []access.Right{{Role: access.Approver}}},
		"an owner of another app, and an approver": {Kind: access.Person, Name: "kestrel.other", UserId: other.Id, Rights: []access.Right{{Role: access.AppOwner, Apps: []string{"theirs"}}, {Role: access.Approver}}},
	}
	before := h.everything()
	looked := 0
	for _, rule := range allRules() {
		method, paths := h.paths(rule.Route)
		for _, path := range paths {
			if strings.Contains(path, "/users/") || strings.Contains(path, "/people/") {
				continue // users are not of apps
			}
			looked++
			for name, s := range subjects {
				status, text := h.as(s, method, path, bodyOf(path))
				if status == http.StatusSeeOther && method == http.MethodPost && strings.HasPrefix(path, "/console") {
					continue // a form that is refused leads back; below is looked whether it was
				}
				require.Contains(t, []int{http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusBadRequest, http.StatusUnsupportedMediaType}, status, "%s %s as %s: %s", method, path, name, text)
				require.NotContains(t, strings.ToLower(text), "kestrel-", "%s %s as %s", method, path, name)
				require.NotContains(t, text, "kestrel.ann", "%s %s as %s", method, path, name)
				if status != http.StatusForbidden && status != http.StatusNotFound {
					require.NotContains(t, text, "ours", "%s %s as %s: a reason that only who sees it may know: %s", method, path, name, text)
				}
			}
		}
	}
	require.Greater(t, looked, 60)
	require.Equal(t, before, h.everything(), "nothing was changed")
	for _, list := range []string{"apps", "requests", "runs", "accounts", "plans", "status", "waits", "targets", "credentials", "logs", "failures", "activity", "notices", "settings/apps", "wizards", "readiness", "plugins", "profiles", "groups"} {
		for name, s := range subjects {
			status, text := h.as(s, http.MethodGet, "/api/v1/"+list, "")
			require.Contains(t, []int{http.StatusOK, http.StatusForbidden, http.StatusNotFound}, status, "%s as %s: %s", list, name, text)
			require.NotContains(t, text, `"ours"`, "%s as %s", list, name)
			require.NotContains(t, text, `"Ours"`, "%s as %s", list, name)
			require.NotContains(t, text, "kestrel-", "%s as %s", list, name)
		}
	}
}

// everything is what a change would change.
func (h *scopedHost) everything() string {
	_, requests := h.as(access.Everything(access.Owner, "test"), http.MethodGet, "/api/v1/requests", "")
	_, accounts := h.as(access.Everything(access.Owner, "test"), http.MethodGet, "/api/v1/accounts", "")
	_, plans := h.as(access.Everything(access.Owner, "test"), http.MethodGet, "/api/v1/plans", "")
	return requests + accounts + plans
}

func TestAnApproverSeesWhatThereIsToDecideAndNothingElse(t *testing.T) {
	h := newScopedHost(t)
	boss, err := h.User(t.Context(), "kestrel.boss")
	require.NoError(t, err)
	s := &access.Subject{Kind: access.Person, Name: boss.Username, UserId: boss.Id, Rights: []access.Right{{Role: access.Approver}}}
	status, text := h.as(s, http.MethodGet, "/api/v1/requests", "")
	require.Equal(t, http.StatusOK, status, text)
	require.Equal(t, 1, strings.Count(text, `"Name":`), "the run is not the approver's: %s", text)
	require.Contains(t, text, "kestrel.ann", "of whom it is, who decides must know")
	status, _ = h.as(s, http.MethodGet, "/api/v1/requests/"+h.names["run"], "")
	require.Equal(t, http.StatusNotFound, status)
	for path, want := range map[string]int{"users": http.StatusForbidden, "apps": http.StatusForbidden, "accounts": http.StatusForbidden, "audit": http.StatusForbidden, "access/tokens": http.StatusForbidden} {
		status, _ = h.as(s, http.MethodGet, "/api/v1/"+path, "")
		require.Equal(t, want, status, path)
	}
	status, text = h.as(s, http.MethodPost, "/api/v1/requests/"+h.names["request"]+"/approve", "{}")
	require.Equal(t, http.StatusOK, status, text)
	require.Contains(t, text, `"ApprovedBy":"kestrel.boss"`)
}

func TestPersonalDataIsForThoseWhoNeedSeeIt(t *testing.T) {
	h := newScopedHost(t)
	readOnly := &access.Subject{Kind: access.Token, Name: "reader", Rights: []access.Right{{Role: access.ReadOnly}}}
	operator := &access.Subject{Kind: access.Token, Name: "operator", Rights: []access.Right{{Role: access.Operator}}}
	auditor := &access.Subject{Kind: access.Token, Name: "auditor", Rights: []access.Right{{Role: access.Auditor}}}
	seen, answered := 0, 0
	for _, rule := range allRules() {
		method, paths := h.paths(rule.Route)
		if paths == nil && !strings.Contains(rule.Route, "{") {
			paths = []string{strings.TrimPrefix(rule.Route, method+" ")}
		}
		if method != http.MethodGet || strings.Contains(rule.Route, "support-bundle") || strings.Contains(rule.Route, "events") {
			continue
		}
		for _, path := range paths {
			_, text := h.as(auditor, method, path, "")
			if strings.Contains(strings.ToLower(text), "kestrel") {
				seen++
			}
			for _, s := range []*access.Subject{readOnly, operator} {
				status, text := h.as(s, method, path, "")
				if status == http.StatusOK {
					answered++
				}
				require.NotContains(t, strings.ToLower(text), "kestrel", "%s as %s", path, s.Name)
			}
		}
	}
	require.Greater(t, seen, 8, "who may, sees it")
	require.Greater(t, answered, 40)
	for _, path := range []string{"users?query=kestrel", "users/kestrel.ann", "accounts?query=kestrel", "users?where=user.Email+!=+%22%22"} {
		status, text := h.as(readOnly, http.MethodGet, "/api/v1/"+path, "")
		require.Contains(t, []int{http.StatusForbidden, http.StatusNotFound}, status, "%s: a question would be an answer: %s", path, text)
	}
}
