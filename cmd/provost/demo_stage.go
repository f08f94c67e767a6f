package main

import (
	"context"
	"crypto/rand"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/secret"
	mocktarget "github.com/provosthq/provost/plugins/mock/target"
)

// A demo that stays has more apps, so that every state is to be seen in the
// console: people who wait for an approval, a target that is away, a credential
// that nobody has authorized, a connector in quarantine, a run to review, one
// that was stopped.

// stage is what a demo that stays is shown on.
type stage struct {
	*story
	dir     string
	servers []*http.Server
	tasks   sync.WaitGroup
	crm     *mocktarget.Target
	// crmAnswers is what the address of crm answers with.
	crmAnswers answerer
}

// answerer is a handler that can be another.
type answerer struct {
	mu sync.Mutex
	h  http.Handler
}

func (a *answerer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	h := a.h
	a.mu.Unlock()
	h.ServeHTTP(w, r)
}

func (a *answerer) use(h http.Handler) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.h = h
}

func (g *stage) serve(h http.Handler) (address string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	g.servers = append(g.servers, server)
	g.tasks.Go(func() { _ = server.Serve(l) }) // it ends by close
	return "http://" + l.Addr().String(), nil
}

func (g *stage) close() error {
	var err error
	for _, s := range g.servers {
		err = errors.Join(err, s.Close())
	}
	g.tasks.Wait()
	return err
}

// declare returns the part of the configuration that the stage adds.
func (g *stage) declare(listen string) (string, error) {
	identity, err := secret.GenerateIdentity()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(g.dir, 0o700); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(g.dir, config.OwnIdentity), []byte(identity+"\n"), 0o600); err != nil {
		return "", err
	}
	g.crm = mocktarget.New("")
	g.crmAnswers.use(g.crm)
	crm, err := g.serve(&g.crmAnswers)
	if err != nil {
		return "", err
	}
	consent, err := g.serve(newConsent())
	if err != nil {
		return "", err
	}
	desk, err := g.serve(mocktarget.New(""))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(`listen: {api: %q, metrics: "127.0.0.1:0"}
groups:
  - {name: it, members: [grace.hopper@example.com]}
`, listen) + strings.NewReplacer("CRM_URL", crm, "CONSENT_URL", consent, "DESK_URL", desk).Replace(stageEntries), nil
}

// stageEntries stand in conf.d beside the demo's own.
const stageEntries = `plugins:
  - {name: mock, source: "builtin:mock"}
  - {name: fussy, source: "builtin:mock", settings: {fail: {create: InvalidInput}}}
  - {name: greedy, source: "builtin:mock", limits: {http_request: 8B}, quarantine: {faults: 3, window: 10m}}
  - {name: keen, source: "builtin:mock", grants: {operations: [create, read, update, reconcile]}}
credentials:
  - {name: CRM_API, endpoint: "CRM_URL", anonymous: true}
  - {name: Archive_API, endpoint: "http://127.0.0.1:9", anonymous: true, limits: {failures: 2, rest: 5m}}
  - name: Helpdesk_OAuth
    endpoint: "DESK_URL"
    oauth2: {grant: authorization_code, authorization_url: "CONSENT_URL/authorize", token_url: "CONSENT_URL/token", client_id: provost-demo, auth_style: none, scopes: [accounts]}
apps:
  - {name: crm, label: Harbor CRM, plugin: mock, credential: CRM_API, operations: [Create, Update, EnableAndDisable, SuspendAndRestore], approval: group, approval_group: it, approval_operations: [Create], reconcile: {thresholds: {smallest: 2}}}
  - {name: library, label: Library, plugin: fussy, credential: CRM_API, max_attempts: 2}
  - {name: depot, label: Depot, plugin: greedy, credential: CRM_API}
  - {name: helpdesk, label: Helpdesk, plugin: mock, credential: Helpdesk_OAuth}
  - {name: archive, label: Archive, plugin: mock, credential: Archive_API}
  - {name: survey, label: Survey, plugin: keen, credential: CRM_API, mode: preview, operations: [Create, Update]}
`

// set brings everything into its state.
func (g *stage) set(ctx context.Context) error {
	users, err := g.users(ctx)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		label string
		do    func(context.Context, []*host.User) error
	}{{"approvals", g.approvals}, {"failures", g.failures}, {"what waits", g.waits}, {"a connector in quarantine", g.quarantine},
		{"a run that was stopped", g.stop}, {"a run to review", g.review}, {"an import that was stopped", g.prune}} {
		if err := step.do(ctx, users); err != nil {
			return fmt.Errorf("%s: %w", step.label, err)
		}
	}
	return nil
}

func (g *stage) users(ctx context.Context) (list []*host.User, err error) {
	return list, g.c.do(ctx, http.MethodGet, "/api/v1/users", url.Values{"limit": {"60"}, "where": {"user.IsActive"}}, nil, &list)
}

func (g *stage) assign(ctx context.Context, app string, users []*host.User) error {
	for _, u := range users {
		if err := g.c.do(ctx, http.MethodPut, "/api/v1/users/"+u.Id+"/apps/"+app, nil, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// until asks again and again.
func until(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if is, err := done(); is || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// requestsOf returns an app's requests once enough of them are as wanted.
func (g *stage) requestsOf(ctx context.Context, app string, n int, wanted func(request) bool) (list []request, err error) {
	err = until(ctx, func() (bool, error) {
		var all []request
		err := g.c.do(ctx, http.MethodGet, "/api/v1/requests", url.Values{"app": {app}, "limit": {"500"}}, nil, &all)
		list = slices.DeleteFunc(all, func(r request) bool { return !wanted(r) })
		return len(list) >= n, err
	})
	return list, err
}

func inState(states ...host.RequestState) func(request) bool {
	return func(r request) bool { return slices.Contains(states, r.State) }
}

func (g *stage) act(ctx context.Context, r request, verb string, body any) error {
	return g.c.do(ctx, http.MethodPost, "/api/v1/requests/"+r.Id+"/"+verb, nil, body, nil)
}

// approvals: of nine who want the CRM four get it, one is denied, one gives up,
// three wait.
func (g *stage) approvals(ctx context.Context, users []*host.User) error {
	if err := g.assign(ctx, "crm", users[:9]); err != nil {
		return err
	}
	waiting, err := g.requestsOf(ctx, "crm", 9, func(r request) bool { return r.ApprovalStatus == host.ApprovalRequired })
	if err != nil {
		return err
	}
	for _, r := range waiting[:4] {
		if err := g.act(ctx, r, "approve", map[string]string{"reason": "works with customers"}); err != nil {
			return err
		}
	}
	if err := g.act(ctx, waiting[4], "deny", map[string]string{"reason": "ask again when you have changed departments"}); err != nil {
		return err
	}
	if err := g.act(ctx, waiting[5], "cancel", nil); err != nil {
		return err
	}
	done, err := g.requestsOf(ctx, "crm", 4, inState(host.StateCompleted))
	if err != nil {
		return err
	}
	return g.c.do(ctx, http.MethodPost, "/api/v1/requests", nil, map[string]any{"user": done[0].UserId, "app": "crm", "operation": host.Freeze}, nil)
}

// failures: the library takes nobody; one request is retried, one was done by
// hand.
func (g *stage) failures(ctx context.Context, users []*host.User) error {
	if err := g.assign(ctx, "library", users[9:14]); err != nil {
		return err
	}
	failed, err := g.requestsOf(ctx, "library", 5, inState(host.StateFailed))
	if err != nil {
		return err
	}
	if err := g.act(ctx, failed[0], "retry", nil); err != nil {
		return err
	}
	return g.act(ctx, failed[1], "complete", map[string]string{"note": "made by hand in the library's own pages"})
}

// waits: a target that is away, and a credential that nobody has authorized.
func (g *stage) waits(ctx context.Context, users []*host.User) error {
	if err := errors.Join(g.assign(ctx, "archive", users[14:17]), g.assign(ctx, "helpdesk", users[17:20])); err != nil {
		return err
	}
	_, err := g.requestsOf(ctx, "archive", 1, func(r request) bool { return r.Attempt > 0 })
	return err
}

// quarantine: a connector that breaks its limits is taken out.
func (g *stage) quarantine(ctx context.Context, users []*host.User) error {
	if err := g.assign(ctx, "depot", users[20:25]); err != nil {
		return err
	}
	return until(ctx, func() (bool, error) {
		var list []api.Plugin
		err := g.c.do(ctx, http.MethodGet, "/api/v1/plugins", nil, nil, &list)
		return slices.ContainsFunc(list, func(p api.Plugin) bool { return p.Name == "greedy" && p.State == "quarantined" }), err
	})
}

// stop: the CRM answers as if it were empty, and its run is stopped.
func (g *stage) stop(ctx context.Context, _ []*host.User) error {
	g.crmAnswers.use(mocktarget.New(""))
	defer g.crmAnswers.use(g.crm)
	r, err := g.run(ctx, "crm", api.ReconcileOptions{Commit: true})
	if err == nil && r.Quarantine == "" {
		err = host.Errorf(host.Internal, "%s found nobody and was not stopped", r.Name)
	}
	return err
}

func (g *stage) run(ctx context.Context, app string, o api.ReconcileOptions) (r request, err error) {
	if err := g.c.do(ctx, http.MethodPost, "/api/v1/apps/"+app+"/reconcile", nil, o, &r); err != nil {
		return r, err
	}
	return waitFor(ctx, g.c, r.Id, func(request) {})
}

// review: accounts of Acme are ignored, gone and drifted, and a run has found
// new ones that a person must decide about.
func (g *stage) review(ctx context.Context, users []*host.User) error {
	var orphaned []*api.Account
	if err := g.c.do(ctx, http.MethodGet, "/api/v1/accounts", url.Values{"app": {"acme"}, "state": {string(host.Orphaned)}}, nil, &orphaned); err != nil {
		return err
	}
	for _, a := range orphaned {
		if a.ExternalUsername == "svc-backup" {
			if err := g.c.do(ctx, http.MethodPost, "/api/v1/accounts/"+a.Id+"/ignore", nil, nil, nil); err != nil {
				return err
			}
		}
	}
	there := g.target.Accounts()
	for _, a := range there[140:142] {
		g.target.Remove(a.ID)
	}
	for _, a := range there[150:154] {
		g.target.Change(a.ID, func(attributes map[string]any) { attributes["title"] = "Countess" })
	}
	if _, err := g.run(ctx, "acme", api.ReconcileOptions{Commit: true}); err != nil {
		return err
	}
	for i, u := range users[30:34] {
		name := strings.ToLower(u.FirstName[:1]+"."+u.LastName) + fmt.Sprint(i)
		if _, err := g.target.Add(map[string]any{"userName": name, "displayName": u.FirstName + " " + u.LastName, "active": true,
			"name": map[string]any{"givenName": u.FirstName, "familyName": u.LastName}}); err != nil {
			return err
		}
	}
	_, err := g.run(ctx, "acme", api.ReconcileOptions{})
	return err
}

// prune: half a list of people disables nobody until somebody allows it.
func (g *stage) prune(ctx context.Context, _ []*host.User) error {
	var b strings.Builder
	if err := csv.NewWriter(&b).WriteAll(g.rows[:100]); err != nil {
		return err
	}
	result, err := g.c.importUsers(ctx, strings.NewReader(b.String()), url.Values{"name": {"people.csv"}, "format": {"csv"}, "prune": {"true"}}, func(int64, int64) {})
	if err == nil && result.Quarantined == "" {
		err = host.Errorf(host.Internal, "an import of 99 of 220 people was not stopped")
	}
	return err
}

// consent is an authorization server of the demo's own, so that the console's
// Authorize has something to lead to. It believes everybody.
type consent struct {
	mu    sync.Mutex
	codes map[string]bool
	mux   *http.ServeMux
}

func newConsent() http.Handler {
	c := &consent{codes: map[string]bool{}, mux: http.NewServeMux()}
	c.mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = consentPage.Execute(w, r.URL.Query()) // who asked has gone
	})
	c.mux.HandleFunc("POST /authorize", func(w http.ResponseWriter, r *http.Request) {
		back, err := url.Parse(r.FormValue("redirect_uri"))
		if err != nil || back.Hostname() != "127.0.0.1" && back.Hostname() != "localhost" {
			http.Error(w, "the redirect_uri is not of this machine", http.StatusBadRequest)
			return
		}
		code := rand.Text()
		c.mu.Lock()
		c.codes[code] = true
		c.mu.Unlock()
		back.RawQuery = url.Values{"code": {code}, "state": {r.FormValue("state")}}.Encode()
		http.Redirect(w, r, back.String(), http.StatusSeeOther)
	})
	c.mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		c.mu.Lock()
		known := c.codes[r.FormValue("code")]
		delete(c.codes, r.FormValue("code"))
		c.mu.Unlock()
		if !known && r.FormValue("refresh_token") == "" {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant"}) // who asked has gone
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": rand.Text(), "refresh_token": rand.Text(), "token_type": "Bearer", "expires_in": 3600})
	})
	return c.mux
}

var consentPage = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Helpdesk</title>
<body><main><h1>Helpdesk</h1><p>Provost asks for access to the accounts of this helpdesk.</p>
<form method="post" action="/authorize"><input type="hidden" name="state" value="{{.Get "state"}}"><input type="hidden" name="redirect_uri" value="{{.Get "redirect_uri"}}"><button id="allow">Allow</button></form></main></html>`))
