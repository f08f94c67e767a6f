package main

import (
	"encoding/csv"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

// run is the newest run of an app that is in a state.
func (s *scene) run(app string, state host.RequestState) *host.UserProvisioningRequest {
	s.t.Helper()
	l, err := s.Requests(s.t.Context(), api.RequestFilter{App: app, Operation: host.Reconcile, State: []host.RequestState{state}, Paging: api.Paging{Sort: "-number", Limit: 1}})
	require.NoError(s.t, err)
	require.NotEmpty(s.t, l.Rows, "no run of %s is %s", app, state)
	return l.Rows[0]
}

// setupPages are the pages about apps and what they are made of.
func (s *scene) setupPages() map[string]string {
	ada, candidate := s.account("acme", "ada.lovelace@example.com"), s.account("acme", "j.smith2")
	plan, err := s.Process(s.t.Context(), "acme", api.ProcessOptions{DryRun: true, Drift: "update", Missing: "create"})
	require.NoError(s.t, err)
	s.until("the plan", func() bool {
		plan, err = s.Plan(s.t.Context(), plan.Id)
		require.NoError(s.t, err)
		return plan.State == host.PlanPlanned
	})
	require.NoError(s.t, s.sample(s.t.Context()))
	return map[string]string{
		"apps":                "/console/apps",
		"app":                 "/console/apps/acme",
		"app-preview":         "/console/apps/wiki",
		"app-asleep":          "/console/apps/slack",
		"app-schedule":        "/console/apps/acme/schedule",
		"accounts":            "/console/apps/acme/accounts",
		"accounts-differ":     "/console/apps/acme/accounts?state=drifted",
		"accounts-none":       "/console/apps/slack/accounts",
		"account":             "/console/accounts/" + ada.Id,
		"account-undecided":   "/console/accounts/" + candidate.Id,
		"runs":                "/console/runs",
		"run-review":          "/console/runs/" + s.run("wiki", host.StateAnalyzed).Name(),
		"run-done":            "/console/runs/" + s.run("acme", host.StateCompleted).Name(),
		"plan-planned":        "/console/plans/" + plan.Name(),
		"connectors":          "/console/connectors",
		"connector":           "/console/connectors/scim",
		"credentials":         "/console/credentials",
		"credential":          "/console/credentials/Acme_SCIM",
		"credential-to-grant": "/console/credentials/Slack_Prod",
		"audit":               "/console/audit",
		"system":              "/console/system",
	}
}

// TestEveryPageOfTheSetup looks at the pages about apps, accounts, runs,
// connectors, credentials and the host as TestEveryPageOfTheConsole does at the
// others.
func TestEveryPageOfTheSetup(t *testing.T) {
	axe := axeCore(t)
	s := newScene(t)
	r := newReader(t, s.url)
	pages := s.setupPages()
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		s.isLight(pages[name])
		r.open(pages[name])
		r.pictures(name)
		r.hasNoBarriers(axe)
	}
}

// setupReader is a reader who ticks and types, too.
type setupReader struct{ *reader }

func newSetupReader(t *testing.T, s *scene) setupReader {
	t.Helper()
	r := newReader(t, s.url)
	r.looksAt(views[0])
	return setupReader{r}
}

func (r setupReader) ticks(name string) {
	r.t.Helper()
	r.do(chromedp.Click(`input[aria-label="Choose `+name+`"]`, chromedp.NodeVisible))
}

func (r setupReader) types(into, text string) {
	r.t.Helper()
	r.do(chromedp.SendKeys(into, text, chromedp.NodeVisible))
}

// TestWhatIsPressedOnThePagesOfTheSetup goes through what can be done there, as a
// person does.
func TestWhatIsPressedOnThePagesOfTheSetup(t *testing.T) {
	s := newScene(t)
	const find = `input[type="search"]`
	state := func(name string) host.LinkState { return s.account("acme", name).LinkState }

	t.Run("many accounts at once, and back", func(t *testing.T) {
		r := newSetupReader(t, s)
		r.open("/console/apps/acme/accounts?state=orphaned")
		r.ticks("j.smith2")
		r.ticks("contractor.1987")
		r.presses("Ignore")
		r.sees("2 accounts are ignored.")
		require.Equal(t, host.Ignored, state("contractor.1987"))
		require.Equal(t, "/console/apps/acme/accounts?state=orphaned", r.at(), "one comes back to the same list")
		r.presses("Undo")
		r.sees("2 accounts are as before.")
		require.Equal(t, host.Orphaned, state("contractor.1987"))
		require.NotEmpty(t, s.account("acme", "j.smith2").Candidates, "whose it may be is known again")
	})
	t.Run("what is looked for stands in no address", func(t *testing.T) {
		r := newSetupReader(t, s)
		r.open("/console/apps/acme/accounts")
		r.types(find, "contractor")
		require.Eventually(t, func() bool {
			text := r.text()
			return strings.Contains(text, "contractor.1987") && !strings.Contains(text, "svc-backup")
		}, 20*time.Second, 50*time.Millisecond)
		require.Equal(t, "/console/apps/acme/accounts", r.at())
	})
	t.Run("an account", func(t *testing.T) {
		r := newSetupReader(t, s)
		r.open("/console/accounts/" + s.account("acme", "contractor.1987").Id)
		r.types(find, "rebecca")
		r.sees("Rebecca Refused")
		r.do(chromedp.Click(`#people button`, chromedp.NodeVisible))
		r.sees("1 account is linked.")
		require.Equal(t, host.Linked, state("contractor.1987"))
		r.presses("Undo")
		r.sees("1 account is as before.")
		require.Equal(t, host.Orphaned, state("contractor.1987"))
		r.open("/console/accounts/" + s.account("acme", "grace.hopper@example.com").Id)
		require.NotContains(t, r.text(), "Freeze", "the app does not let anybody be frozen")
		r.presses("Update now")
		r.sees("The values are sent again: UPR-")
	})
	t.Run("credentials, the trail, the host", func(t *testing.T) {
		r := newSetupReader(t, s)
		r.open("/console/credentials/Acme_SCIM")
		r.types(`input[name="path"]`, "Users")
		r.presses("Test")
		r.sees("Acme_SCIM works.")
		r.open("/console/audit")
		r.presses("Verify the trail")
		r.sees("The trail is whole")
		r.open("/console/system")
		r.presses("Compare the files")
		r.sees("Nothing: the files are what runs.")
	})
	t.Run("a run and its review", func(t *testing.T) {
		open, err := s.Requests(t.Context(), api.RequestFilter{App: "acme", Operation: host.Reconcile, State: []host.RequestState{host.StateAnalyzed}, Paging: api.Paging{Limit: 10}})
		require.NoError(t, err)
		for _, run := range open.Rows { // one run of an app is under way at a time
			_, err := s.Cancel(t.Context(), run.Id)
			require.NoError(t, err)
		}
		r := newSetupReader(t, s)
		r.open("/console/apps/acme")
		r.presses("Collect and analyze")
		r.sees("Review what was found")
		run := s.run("acme", host.StateAnalyzed)
		require.Equal(t, "/console/runs/"+run.Name(), r.at())
		r.open("/console/runs/" + run.Name() + "?show=orphaned")
		r.ticks("contractor.1987")
		r.do(chromedp.Click(`button[name="do"][value="ignore"]`, chromedp.NodeVisible))
		r.sees("1 account is ignored in this run.")
		r.presses("Undo")
		r.sees("1 account is as the run had it.")
		r.presses("Dry run")
		r.sees("What would be done")
		r.presses("Commit")
		r.do(chromedp.Click(`dialog[open] button.go`, chromedp.NodeVisible))
		r.sees("A threshold has stopped this run") // it misses the accounts that the scene has without its app
	})
	t.Run("a plan is looked at, and thrown away", func(t *testing.T) {
		r := newSetupReader(t, s)
		r.open("/console/apps/acme")
		r.presses("Dry run of all")
		r.sees("Planned")
		r.presses("Reject")
		r.presses("Reject it")
		r.sees("is rejected. Nothing of it was done.")
	})
}

func TestAccountsAreExportedFromTheConsole(t *testing.T) {
	s := newScene(t)
	r, err := http.PostForm(s.url+"/console/apps/acme/accounts/export", url.Values{"format": {"csv"}, "state": {"orphaned"}})
	require.NoError(t, err)
	defer r.Body.Close()
	require.Equal(t, `attachment; filename="accounts.csv"`, r.Header.Get("Content-Disposition"))
	rows, err := csv.NewReader(r.Body).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 3)
	require.Equal(t, "contractor.1987", rows[1][5])
}
