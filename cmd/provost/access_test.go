package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
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
	"github.com/provosthq/provost/host/signin/oauthtest"
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

func newScopedHost(t *testing.T, more ...string) *scopedHost {
	t.Helper()
	dir := t.TempDir()
	shareCompiled(t, dir)
	file := filepath.Join(dir, "provost.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
data_dir: %q
listen: {api: '', metrics: '', rate: 10000/s, burst: 10000}
plugins:
  - {name: mock, source: %[2]q, unsigned: true}
  - {name: other, source: %[2]q, unsigned: true}
credentials:
  - {name: Ours, endpoint: "http://127.0.0.1:9", anonymous: true}
  - {name: Theirs, endpoint: "http://127.0.0.1:9", anonymous: true}
apps:
  - {name: ours, plugin: mock, credential: Ours, approval: manager}
  - {name: theirs, plugin: other, credential: Theirs}
%[3]s`, dir, guest(t, "../../plugins/mock"), strings.Join(more, "")), 0o600))
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
	for _, page := range []string{"", "/map", "/approvals", "/requests", "/account", "/requests/UPR-000001"} {
		status, text := h.as(s, http.MethodGet, "/console"+page, "")
		require.Equal(t, http.StatusOK, status, "%s: %s", page, text)
		require.NotContains(t, text, "theirs", page)
		require.NotContains(t, text, "kestrel.other", page)
	}
	for _, page := range []string{"/apps", "/people", "/audit", "/system", "/access", "/runs", "/connectors", "/requests/UPR-000002"} {
		status, _ := h.as(s, http.MethodGet, "/console"+page, "")
		require.Contains(t, []int{http.StatusForbidden, http.StatusNotFound}, status, page)
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

// outside is what is answered at an address, without a listener.
type outside struct {
	t       *testing.T
	handler http.Handler
	// from is the peer, cookies those of a browser.
	from    string
	cookies map[string]string
}

func (o *outside) ask(method, target string, header map[string]string, body string) *http.Response {
	o.t.Helper()
	r := httptest.NewRequestWithContext(o.t.Context(), method, target, strings.NewReader(body))
	r.RemoteAddr = o.from
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for name, value := range header {
		r.Header.Set(name, value)
	}
	for name, value := range o.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	o.handler.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if o.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(o.cookies, c.Name)
		}
	}
	return w.Result()
}

func TestUntilSomebodyCanSignInOnlyThisMachineIsAnswered(t *testing.T) {
	h := newScopedHost(t)
	require.NoError(t, h.offerSetup(t.Context()))
	o := &outside{t: t, handler: h.fromOutside(), from: "127.0.0.1:5000", cookies: map[string]string{}}
	const here = "http://127.0.0.1:8080"
	require.Equal(t, http.StatusOK, o.ask("GET", here+"/api/v1/status", nil, "").StatusCode)
	require.Equal(t, http.StatusOK, o.ask("GET", here+"/console", nil, "").StatusCode)
	require.Equal(t, http.StatusForbidden, o.ask("GET", "http://evil.example/api/v1/status", nil, "").StatusCode, "a name that leads here")
	require.Equal(t, http.StatusForbidden, o.ask("GET", here+"/api/v1/status", map[string]string{"X-Forwarded-For": "203.0.113.7"}, "").StatusCode, "a proxy that says 127.0.0.1 for all")
	require.Equal(t, http.StatusForbidden, o.ask("GET", here+"/api/v1/status", map[string]string{"Origin": "http://evil.example"}, "").StatusCode)
	before := httptest.NewRequestWithContext(t.Context(), http.MethodGet, here+"/api/v1/status", nil)
	before.Proto, before.ProtoMinor, before.RemoteAddr = "HTTP/1.0", 0, o.from
	w := httptest.NewRecorder()
	o.handler.ServeHTTP(w, before)
	require.Equal(t, http.StatusForbidden, w.Code, "a proxy that says nothing of whom it asks for")
	require.Equal(t, http.StatusUnauthorized, o.ask("GET", here+"/api/v1/status", map[string]string{"Authorization": "Bearer pvt_x_y"}, "").StatusCode, "a token that is none is not overlooked")
	o.from = "203.0.113.7:4000"
	for path, want := range map[string]int{"/api/v1/status": 403, "/console": 403, "/console/sign-in": 403, "/": 403, "/console/setup": 200, "/healthz": 200} {
		require.Equal(t, want, o.ask("GET", "https://provost.example.com"+path, nil, "").StatusCode, path)
	}
	form := "token=wrong&name=ada&password=correct+horse+battery&again=correct+horse+battery"
	require.Equal(t, http.StatusUnauthorized, o.ask("POST", "https://provost.example.com/console/setup", nil, form).StatusCode)
	token, err := os.ReadFile(h.gate.Bootstrap)
	require.NoError(t, err)
	form = strings.Replace(form, "wrong", strings.TrimSpace(string(token)), 1)
	require.Equal(t, http.StatusUnprocessableEntity, o.ask("POST", "http://provost.example.com/console/setup", nil, form).StatusCode, "in the clear")
	require.Equal(t, http.StatusForbidden, o.ask("POST", "https://provost.example.com/console/setup", map[string]string{"Sec-Fetch-Site": "cross-site"}, form).StatusCode)
	answer := o.ask("POST", "https://provost.example.com/console/setup", nil, form)
	require.Equal(t, http.StatusSeeOther, answer.StatusCode)
	require.NoFileExists(t, h.gate.Bootstrap)
	require.Equal(t, http.StatusOK, o.ask("GET", "https://provost.example.com/console", nil, "").StatusCode)
	o.cookies = map[string]string{}
	o.from = "127.0.0.1:5000"
	require.Equal(t, http.StatusUnauthorized, o.ask("GET", here+"/api/v1/status", nil, "").StatusCode, "this machine must sign in, too")
	require.Equal(t, http.StatusSeeOther, o.ask("GET", here+"/console/requests", nil, "").StatusCode)
}

func TestWhatAnotherSiteSendsIsNotDone(t *testing.T) {
	h := newScopedHost(t)
	_, err := h.gate.CreateAdministrator(access.WithSubject(t.Context(), access.Everything(access.Owner, "test")), "ada", "correct horse battery")
	require.NoError(t, err)
	_, token, err := h.gate.CreateToken(access.WithSubject(t.Context(), access.Everything(access.Owner, "test")), access.TokenSpec{Name: "t", Until: time.Now().Add(time.Hour), Rights: []access.Right{{Role: access.Administrator}}})
	require.NoError(t, err)
	o := &outside{t: t, handler: h.fromOutside(), from: "127.0.0.1:5000", cookies: map[string]string{}}
	const here = "http://127.0.0.1:8080"
	cross := []map[string]string{{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:9999"}}
	login := "name=ada&password=correct+horse+battery"
	for _, header := range cross {
		require.Equal(t, http.StatusForbidden, o.ask("POST", here+"/console/sign-in", header, login).StatusCode, "one is not signed in as another: %v", header)
	}
	require.Equal(t, http.StatusSeeOther, o.ask("POST", here+"/console/sign-in", map[string]string{"Sec-Fetch-Site": "same-origin"}, login).StatusCode)
	require.NotEmpty(t, o.cookies["provost-session"])
	require.Equal(t, http.StatusOK, o.ask("POST", here+"/console/access/tokens", nil, "token-name=console&token-role=auditor&token-days=9").StatusCode)
	require.Equal(t, http.StatusUnprocessableEntity, o.ask("POST", here+"/console/access/roles", nil, "role-role=app-owner&role-kind=oidc&role-name=crm").StatusCode, "of no app")
	require.Equal(t, http.StatusSeeOther, o.ask("POST", here+"/console/access/roles", nil, "role-role=app-owner&role-kind=oidc&role-name=crm&role-apps=ours,+theirs").StatusCode)
	given, err := h.gate.Assignments(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"ours", "theirs"}, given[0].Apps)
	for _, header := range cross {
		for _, by := range []string{"", token} {
			for _, path := range []string{"/api/v1/accounts/" + h.names["account"] + "/ignore", "/api/v1/config/reload", "/console/sign-out", "/console/requests/" + h.names["request"] + "/cancel"} {
				all := map[string]string{}
				for name, value := range header {
					all[name] = value
				}
				if by != "" {
					all["Authorization"] = "Bearer " + by
				}
				require.Equal(t, http.StatusForbidden, o.ask("POST", here+path, all, "{}").StatusCode, "%s %v", path, all)
			}
		}
	}
	require.Equal(t, http.StatusOK, o.ask("GET", here+"/console", map[string]string{"Sec-Fetch-Site": "cross-site"}, "").StatusCode, "a link from elsewhere leads in")
	require.Equal(t, http.StatusForbidden, o.ask("GET", here+"/api/v1/status", map[string]string{"Provost-Actor": "grace"}, "").StatusCode, "who has signed in is nobody else")
	require.Equal(t, http.StatusForbidden, o.ask("POST", here+api.BackupPath, map[string]string{"Authorization": "Bearer " + token}, "").StatusCode)
	require.Equal(t, http.StatusSeeOther, o.ask("POST", here+"/console/sign-out", nil, "").StatusCode)
	require.Equal(t, http.StatusUnauthorized, o.ask("GET", here+"/api/v1/status", nil, "").StatusCode)
}

func TestPeopleComeInByTheProviderOfTheConfiguration(t *testing.T) {
	const here = "http://127.0.0.1:8080"
	callback := here + access.OpenIDCallback
	provider := oauthtest.Start(t, oauthtest.Options{Redirects: []string{callback}})
	h := newScopedHost(t, fmt.Sprintf("access:\n  oidc: {issuer: %q, client_id: %s, client_secret: {value: %s}, scopes: [openid, profile, email], groups_claim: email}\n"+
		"  roles: [{role: auditor, oidc_groups: [%s]}]\n", provider.URL, oauthtest.ClientID, oauthtest.ClientSecret, oauthtest.Username))
	o := &outside{t: t, handler: h.fromOutside(), from: "127.0.0.1:5000", cookies: map[string]string{}}
	require.Equal(t, http.StatusUnauthorized, o.ask("GET", here+"/api/v1/status", nil, "").StatusCode, "there is a sign-in, so it is asked for")
	page, err := io.ReadAll(o.ask("GET", here+"/console/sign-in?next=/console/audit", nil, "").Body)
	require.NoError(t, err)
	require.Contains(t, string(page), "Sign in with 127.0.0.1")
	require.NotContains(t, string(page), `type="password"`, "nobody has one here")
	provider.Authorize(t, callback, func(context.Context) (string, error) {
		return o.ask("GET", here+"/console/sign-in/openid?next=%2Fconsole%2Faudit", nil, "").Header.Get("Location"), nil
	}, func(_ context.Context, answer map[string][]string) error {
		back := o.ask("GET", callback+"?"+url.Values(answer).Encode(), map[string]string{"Sec-Fetch-Site": "cross-site"}, "")
		require.Equal(t, http.StatusSeeOther, back.StatusCode)
		require.Equal(t, "/console/audit", back.Header.Get("Location"))
		return nil
	})
	require.Equal(t, http.StatusOK, o.ask("GET", here+"/console/audit", nil, "").StatusCode)
	require.Equal(t, http.StatusForbidden, o.ask("POST", here+"/api/v1/config/reload", nil, "").StatusCode, "an auditor looks")
	entries, err := h.AuditEntries(t.Context(), api.AuditFilter{Action: "session.begin", Limit: 1})
	require.NoError(t, err)
	require.Equal(t, "person (id-of-maria)", entries[0].Actor)
}

func TestEveryAnswerHasTheHeaders(t *testing.T) {
	h := newScopedHost(t)
	o := &outside{t: t, handler: h.fromOutside(), from: "127.0.0.1:5000", cookies: map[string]string{}}
	for _, rule := range allRules() {
		method, path, _ := strings.Cut(rule.Route, " ")
		if method != http.MethodGet || strings.Contains(path, "events") {
			continue
		}
		path = regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "x")
		for _, scheme := range []string{"http://127.0.0.1:8080", "https://provost.example.com"} {
			answer := o.ask(method, scheme+path, nil, "")
			for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin"} {
				require.Equal(t, want, answer.Header.Get(name), "%s of %s", name, path)
			}
			csp := answer.Header.Get("Content-Security-Policy")
			require.Contains(t, csp, "default-src 'none'", path)
			require.Contains(t, csp, "frame-ancestors 'none'", path)
			require.NotContains(t, csp, "unsafe", path)
			require.NotContains(t, answer.Header, "Access-Control-Allow-Origin", path)
			require.Equal(t, strings.HasPrefix(scheme, "https"), answer.Header.Get("Strict-Transport-Security") != "", path)
			switch cache := answer.Header.Get("Cache-Control"); {
			case strings.HasPrefix(path, "/api/"): // a program that asks whether it changed may keep it
				require.Contains(t, []string{"no-store", "private, no-cache"}, cache, path)
			case !strings.Contains(path, "/assets/"):
				require.Contains(t, cache, "no-store", path)
			}
		}
	}
}
