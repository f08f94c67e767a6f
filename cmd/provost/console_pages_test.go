package main

import (
	"encoding/csv"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"testing"

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

// TestWhatIsPressedOnThePagesOfTheSetup goes through what can be done there, as a
// person does.
func TestWhatIsPressedOnThePagesOfTheSetup(t *testing.T) {
	s := newScene(t)
	r := newReader(t, s.url)
	r.looksAt(looks[0])
	tick := func(name string) {
		r.do(chromedp.Click(`//input[@aria-label=`+quotedXPath("Choose "+name)+`]`, chromedp.NodeVisible))
	}
	find := func(in, text string) {
		r.do(chromedp.SendKeys(in, text, chromedp.NodeVisible))
	}
	state := func(name string) host.LinkState { return s.account("acme", name).LinkState }

	// Many accounts at once, and back.
	r.open("/console/apps/acme/accounts?state=orphaned")
	tick("j.smith2")
	tick("contractor.1987")
	r.presses("Ignore")
	r.sees("2 accounts are ignored.")
	require.Equal(t, host.Ignored, state("contractor.1987"))
	require.Equal(t, "/console/apps/acme/accounts?state=orphaned", r.at(), "one comes back to the same list")
	r.presses("Undo")
	r.sees("2 accounts are as before.")
	require.Equal(t, host.Orphaned, state("contractor.1987"))
	require.NotEmpty(t, s.account("acme", "j.smith2").Candidates, "whose it may be is known again")

	// What is looked for stands in no address.
	r.open("/console/apps/acme/accounts")
	find(`input[name="find"]`, "contractor")
	r.sees("1 account\n")
	require.Equal(t, "/console/apps/acme/accounts", r.at())

	// Look Up User.
	r.open("/console/accounts/" + s.account("acme", "contractor.1987").Id)
	find(`input[name="find"]`, "rebecca")
	r.sees("Rebecca Refused")
	r.do(chromedp.Click(`#people button`, chromedp.NodeVisible))
	r.sees("1 account is linked.")
	require.Equal(t, host.Linked, state("contractor.1987"))
	r.presses("Undo")
	r.sees("1 account is as before.")
	require.Equal(t, host.Orphaned, state("contractor.1987"))

	r.open("/console/accounts/" + s.account("acme", "grace.hopper@example.com").Id)
	r.presses("Freeze")
	r.presses("Freeze 1 account")
	r.sees("The account is being frozen: UPR-")

	// A credential step by step, the trail, the host.
	r.open("/console/credentials/Acme_SCIM")
	find(`input[name="path"]`, "Users")
	r.presses("Test")
	r.sees("Acme_SCIM works.")
	r.open("/console/credentials/Slack_Prod")
	r.presses("Test")
	r.sees("Slack_Prod does not work")
	r.open("/console/audit")
	r.presses("Verify the trail")
	r.sees("The trail is whole")
	r.open("/console/system")
	r.presses("Compare the files")
	r.sees("Nothing: the files are what runs.")
	r.presses("Look at everything")
	r.sees("What the look at everything says")

	// A run from its beginning to its commit.
	r.open("/console/apps/acme")
	r.presses("Collect and analyze")
	r.sees("Review what was found")
	run := s.run("acme", host.StateAnalyzed)
	require.Equal(t, "/console/runs/"+run.Name(), r.at())
	r.open("/console/runs/" + run.Name() + "?show=orphaned")
	tick("contractor.1987")
	r.do(chromedp.Click(`//footer//button[normalize-space(.)="Ignore"]`, chromedp.NodeVisible))
	r.sees("1 account is ignored in this run.")
	r.presses("Undo")
	r.sees("1 account is as the run had it.")
	r.presses("Dry run")
	r.sees("What would be done")
	r.presses("Commit")
	r.do(chromedp.Click(`dialog[open] button.go`, chromedp.NodeVisible))
	r.sees("Reconciled Acme")

	// A plan is looked at, and thrown away.
	r.presses("Acme")
	r.presses("Dry run of all")
	r.sees("Planned")
	r.presses("Reject")
	r.presses("Reject it")
	r.sees("is rejected. Nothing of it was done.")
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
