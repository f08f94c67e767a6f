package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/plugins/scim/scimtarget"
	"github.com/provosthq/provost/testdata"
)

// scene is a host of this process on which every state is to be seen, with real
// SCIM servers behind its apps, and its console at an address.
type scene struct {
	trial
	url     string
	targets map[string]*scimtarget.Target
}

// unwanted is a username that the SCIM server of acme refuses to make.
const unwanted = "refused"

// newScene starts a host with five apps: acme, which is live and was reconciled;
// github, whose requests wait for approval; slack, which nobody has authorized;
// payroll, which does not answer; and wiki, which is in preview. Of people there
// are those of testdata/people.csv, and hostile names.
func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{trial: trial{t: t, dir: t.TempDir()}, targets: map[string]*scimtarget.Target{}}
	shareCompiled(t, s.dir)
	identity, err := secret.GenerateIdentity()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "identity"), []byte(identity+"\n"), 0o600))
	urls := map[string]string{}
	for _, app := range []string{"acme", "github", "wiki"} {
		target, err := scimtarget.New(scimtarget.Options{})
		require.NoError(t, err)
		server := httptest.NewServer(refusing(target))
		t.Cleanup(server.Close)
		s.targets[app], urls[app] = target, server.URL
	}
	dead := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "out of order", http.StatusServiceUnavailable)
	}))
	t.Cleanup(dead.Close)
	file := filepath.Join(s.dir, "provost.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
data_dir: %q
listen: {api: '', metrics: ''}
secrets: {identity_file: identity}
plugins: [{name: scim, source: "builtin:scim"}]
groups: [{name: it-admins, members: [grace.hopper@example.com]}]
credentials:
  - {name: Acme_SCIM, endpoint: %q, anonymous: true}
  - {name: GitHub_SCIM, endpoint: %q, bearer: {token: {value: secret-of-github}}}
  - {name: Wiki_SCIM, endpoint: %q, anonymous: true}
  - {name: Payroll_SCIM, endpoint: %q, timeout: 1s, anonymous: true, limits: {failures: 2}}
  - name: Slack_Prod
    endpoint: https://slack.example.com/scim/v2
    oauth2: {authorization_url: "https://slack.example.com/authorize", token_url: "https://slack.example.com/token", grant: authorization_code, client_id: provost, client_secret: {value: secret-of-slack}}
apps:
  - name: acme
    label: Acme
    plugin: scim
    credential: Acme_SCIM
    operations: [Create, Update, EnableAndDisable]
    scope: user.IsActive
    mapping:
      - userName = user.Username
      - name.givenName = user.FirstName
      - name.familyName = user.LastName
      - title = user.Title
      - emails.work = lower(user.Email)
    link:
      - account.ExternalUsername = user.Username
      - lower(account.ExternalEmail) = lower(user.Email)
      - account.ExternalFirstName + " " + account.ExternalLastName ~ user.FirstName + " " + user.LastName >= 0.9
    reconcile: {schedule: "0 2 * * *", thresholds: {deactivate: 5%%, delete: "10", found: 80%%}}
  - {name: github, label: GitHub, plugin: scim, credential: GitHub_SCIM, operations: [Create, Update, EnableAndDisable], approval: group, approval_group: it-admins}
  - {name: slack, label: Slack, plugin: scim, credential: Slack_Prod, operations: [Create, Update, EnableAndDisable]}
  - {name: payroll, label: Payroll, plugin: scim, credential: Payroll_SCIM, operations: [Create, Update, EnableAndDisable], max_attempts: 2}
  - {name: wiki, label: Wiki, plugin: scim, credential: Wiki_SCIM, operations: [Create, Update, EnableAndDisable], scope: user.Department == "Research", mode: preview}
`, s.dir, urls["acme"], urls["github"], urls["wiki"], dead.URL), 0o600))
	cfg, err := config.Load(file)
	require.NoError(t, err)
	d, err := openDaemon(t.Context(), cfg, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	d.path = file
	t.Cleanup(func() { require.NoError(t, d.close(context.Background())) })
	require.NoError(t, d.start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		require.NoError(t, d.stop(ctx))
	})
	s.service = service{d}
	server := httptest.NewServer(d.fromOutside())
	t.Cleanup(server.Close)
	s.url = server.URL
	s.happen()
	return s
}

// refusing is a SCIM server that has something against one username.
func refusing(behind http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method == http.MethodPost && bytes.Contains(body, []byte(`"`+unwanted)) {
			w.Header().Set("Content-Type", "application/scim+json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"400","scimType":"invalidValue","detail":"this name is not for people"}`)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		behind.ServeHTTP(w, r)
	})
}

// hostileRows are people whose names are no names.
var hostileRows = [][]string{
	{"mallory@example.com", `<script>alert(1)</script>`, `"><img src=x onerror=alert(2)>`, "mallory@example.com", "E9001", "Sales", `javascript:alert(3)`, "true"},
	{unwanted + ".by.acme@example.com", "Reginald", "Refused", unwanted + "@example.com", "E9002", "Legal", "Clerk", "true"},
	{unwanted + ".too@example.com", "Rebecca", "Refused", unwanted + ".too@example.com", "E9003", "Legal", "Clerk", "true"},
}

// happen lets things happen until every state has been reached.
func (s *scene) happen() {
	t, ctx := s.t, s.t.Context()
	// Accounts that were there before: of two people, of nobody, and of one who
	// may be two.
	for _, a := range []map[string]any{
		{"userName": "ada.lovelace@example.com", "displayName": "made by hand", "active": true},
		{"userName": "svc-backup", "displayName": "Backup service", "active": true},
		{"userName": "contractor.1987", "displayName": "Eve Former", "active": true, "emails": []any{map[string]any{"value": "eve@elsewhere.example", "type": "work"}}},
		{"userName": "j.smith2", "name": map[string]any{"givenName": "John", "familyName": "Smith"}, "active": true},
	} {
		_, err := s.targets["acme"].Add(a)
		require.NoError(t, err)
	}
	rows, err := csv.NewReader(bytes.NewReader(testdata.People)).ReadAll()
	require.NoError(t, err)
	columns := slices.Index(rows[0], "IsActive") + 1
	var text bytes.Buffer
	w := csv.NewWriter(&text)
	for _, row := range append(slices.Clone(rows[:61]), hostileRows...) {
		require.NoError(t, w.Write(row[:columns]))
	}
	w.Flush()
	_, err = s.importText(t, text.String(), api.ImportOptions{Name: "people.csv", Format: "csv"})
	require.NoError(t, err)
	s.ended("acme", 63)

	// What failed: one is left, one is tried again, one was done by hand.
	failed := s.in("acme", host.StateFailed)
	require.Len(t, failed, 2)
	_, err = s.Complete(ctx, failed[0].Id, "made in Acme's own console")
	require.NoError(t, err)
	_, err = s.Retry(ctx, failed[1].Id)
	require.NoError(t, err)
	s.ended("acme", 64)

	people := func(from, to int) (names []string) {
		for _, row := range rows[from:to] {
			names = append(names, row[0])
		}
		return names
	}
	assign := func(app string, names []string) {
		for _, name := range names {
			require.NoError(t, s.Assign(ctx, name, app))
		}
	}
	assign("github", people(1, 8))
	assign("slack", people(3, 9))
	assign("payroll", people(5, 9))
	waiting := s.in("github", host.StateNew)
	require.Len(t, waiting, 7)
	_, err = s.Approve(host.WithActor(ctx, host.Administrator("root")), waiting[0].Id, "welcome")
	require.NoError(t, err)
	_, err = s.Deny(host.WithActor(ctx, host.Administrator("root")), waiting[1].Id, "no licence is left")
	require.NoError(t, err)
	_, err = s.Cancel(ctx, waiting[2].Id)
	require.NoError(t, err)

	// Somebody changes, somebody leaves; somebody changes accounts over there.
	s.change(rows[20][0], func(u *host.User) { u.LastName += "-Byron" })
	s.change(rows[21][0], func(u *host.User) { u.IsActive = false })
	s.ended("acme", 66)
	for _, a := range s.targets["acme"].Accounts()[30:33] {
		s.targets["acme"].Change(a.ID, func(attributes map[string]any) { attributes["title"] = "Emperor" })
	}
	s.reconciled("acme", true)
	account := s.account("acme", "svc-backup")
	_, err = s.Ignore(ctx, account.Id)
	require.NoError(t, err)

	// A run waits for its review; another was stopped by a threshold.
	s.reconciled("wiki", false)
	for _, a := range s.targets["acme"].Accounts()[10:40] {
		s.targets["acme"].Remove(a.ID)
	}
	s.reconciled("acme", true)
	// A list of people has lost half of them.
	lost, _, _ := strings.Cut(text.String(), rows[25][0])
	imported, err := s.importText(t, lost, api.ImportOptions{Name: "people.csv", Format: "csv", Prune: true})
	require.NoError(t, err)
	require.NotEmpty(t, imported.QuarantinePlan)
	s.until("payroll to be left alone", func() bool {
		targets, err := s.Targets(ctx)
		require.NoError(t, err)
		return slices.ContainsFunc(targets, func(one api.Target) bool { return one.Name == "Payroll_SCIM" && one.RestUntil != nil })
	})
}

// in are the requests of an app that are in a state.
func (s *scene) in(app string, state host.RequestState) []*host.UserProvisioningRequest {
	s.t.Helper()
	list, err := s.Requests(s.t.Context(), api.RequestFilter{App: app, State: []host.RequestState{state}, Paging: api.Paging{Limit: 1000}})
	require.NoError(s.t, err)
	return list.Rows
}

// ended waits until so many requests of an app have ended.
func (s *scene) ended(app string, n int) {
	s.t.Helper()
	s.until(fmt.Sprint(n, " requests of ", app), func() bool {
		ended := 0
		for _, r := range s.requests(app) {
			if r.State.Ended() {
				ended++
			}
		}
		return ended >= n
	})
}

// reconciled runs a run until it has ended, or a person must look.
func (s *scene) reconciled(app string, commit bool) *host.UserProvisioningRequest {
	s.t.Helper()
	r, err := s.Reconcile(s.t.Context(), app, api.ReconcileOptions{Commit: commit})
	require.NoError(s.t, err)
	s.until("the run", func() bool {
		r, _, err = s.Request(s.t.Context(), r.Id)
		require.NoError(s.t, err)
		return r.State.Ended() || r.State == host.StateAnalyzed && (!commit || r.Quarantine != "")
	})
	return r
}

// account finds one of an app by its name over there.
func (s *scene) account(app, name string) *host.UserProvAccount {
	s.t.Helper()
	for _, a := range s.accounts(app) {
		if a.ExternalUsername == name {
			return a
		}
	}
	s.t.Fatalf("no account %s in %s", name, app)
	return nil
}

// pages are those of the console that there is one of, and one of each of the
// others, by the name of their pictures.
func (s *scene) pages() map[string]string {
	ada, err := s.User(s.t.Context(), "ada.lovelace@example.com")
	require.NoError(s.t, err)
	mallory, err := s.User(s.t.Context(), "mallory@example.com")
	require.NoError(s.t, err)
	one := func(app string, state host.RequestState) string {
		return "/console/requests/" + s.in(app, state)[0].Name()
	}
	return map[string]string{
		"home":             "/console",
		"requests":         "/console/requests",
		"requests-failed":  "/console/requests?state=failed",
		"requests-nothing": "/console/requests?state=review&app=github",
		"requests-person":  "/console/requests?person=" + ada.Id,
		"request-done":     one("acme", host.StateCompleted),
		"request-failed":   one("acme", host.StateFailed),
		"request-waits":    one("slack", host.StateNew),
		"request-approval": one("github", host.StateNew),
		"request-retried":  one("acme", host.StateRetried),
		"approvals":        "/console/approvals",
		"wizard-new":       "/console/wizard",
		"wizard-file-1":    "/console/apps/acme/wizard/app",
		"wizard-file-2":    "/console/apps/acme/wizard/connector",
		"wizard-file-3":    "/console/apps/acme/wizard/credential",
		"wizard-file-4":    "/console/apps/acme/wizard/operations",
		"wizard-file-5":    "/console/apps/acme/wizard/attributes",
		"wizard-file-6":    "/console/apps/acme/wizard/approval",
		"wizard-file-7":    "/console/apps/github/wizard/linking",
		"wizard-review":    "/console/apps/wiki/wizard/linking",
		"wizard-dry-run":   "/console/apps/wiki/wizard/linking?show=following",
		"people":           "/console/people",
		"person":           "/console/people/" + ada.Id,
		"person-hostile":   "/console/people/" + mallory.Id,
		"person-leaves":    "/console/people/" + ada.Id + "/deactivate",
		"plan":             "/console/plans/PLN-000001",
		"not-found":        "/console/requests/UPR-999999",
	}
}

// TestEveryPageOfTheConsole looks at every page in a real browser: nothing goes
// wrong in its scripts, its policy holds, axe-core finds nothing serious, and no
// page is heavy or slow.
func TestEveryPageOfTheConsole(t *testing.T) {
	axe := axeCore(t)
	s := newScene(t)
	r := newReader(t, s.url)
	pages := s.pages()
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		path := pages[name]
		s.isLight(path)
		if name == "not-found" {
			r.misses(path)
		} else {
			r.open(path)
		}
		r.pictures(name)
		r.hasNoBarriers(axe)
	}
}

// isLight looks at a page as it goes over the line: under 150 KB, with nobody's
// e-mail address in a link, and made in no time.
func (s *scene) isLight(path string) {
	s.t.Helper()
	quickest := time.Hour
	var size int
	for range 5 { // the machine may do other things meanwhile
		began := time.Now()
		page, err := http.Get(s.url + path)
		require.NoError(s.t, err)
		body, err := io.ReadAll(page.Body)
		require.NoError(s.t, err)
		require.NoError(s.t, page.Body.Close())
		quickest, size = min(quickest, time.Since(began)), len(body)
		for link := range strings.SplitSeq(string(body), `href="`) {
			href, _, _ := strings.Cut(link, `"`)
			require.NotContains(s.t, href, "@", "a person in an address of %s", path)
		}
		require.NotContains(s.t, string(body), "<script>alert", path)
		require.NotContains(s.t, string(body), "secret-of-", path)
	}
	require.Less(s.t, size, 150<<10, path)
	s.t.Logf("%-60s %6.1f KB %6.1f ms", path, float64(size)/1024, float64(quickest.Microseconds())/1000)
}

// as is the console as somebody else sees it.
func (s *scene) as(subject *access.Subject) string {
	server := httptest.NewServer(as(subject, s.handler()))
	s.t.Cleanup(server.Close)
	return server.URL
}
