package main

import (
	"maps"
	"slices"
	"testing"

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
