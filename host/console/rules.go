package console

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

// What pages and actions ask for, as the routes of the API do.
var (
	// view is to see how things are.
	view = access.All(access.ViewSetup)
	// manageRequests is the model's "manage provisioning requests".
	manageRequests = access.All(access.ViewSetup, access.ManageUsers)
	// seeRequests is for those, too, who are to decide about some.
	seeRequests = view.Or(access.ApproveRequests)
	decide      = access.All(access.ApproveRequests)
	operate     = access.All(access.ViewSetup, access.OperateHost)
	trail       = access.All(access.ViewAudit)
)

// Rules says of each page and action who may have it. One without a rule is not
// served.
var Rules = append(access.Rules{
	{Route: "GET /console", Need: seeRequests, Over: access.Objects},
	{Route: "GET /console/map", Need: seeRequests, Over: access.Objects},
	{Route: "GET /console/assets/{digest}/{name}", Need: access.Public},

	{Route: "GET /console/requests", Need: seeRequests, Over: access.Objects},
	{Route: "GET /console/requests/{name}", Need: seeRequests, Over: access.Objects},
	{Route: "GET /console/requests/{name}/test", Need: seeRequests, Over: access.Objects},
	{Route: "POST /console/requests/{name}/again", Need: manageRequests, Over: access.Objects},
	{Route: "POST /console/requests/{name}/retry", Need: manageRequests, Over: access.Objects},
	{Route: "POST /console/requests/{name}/cancel", Need: manageRequests, Over: access.Objects},
	{Route: "POST /console/requests/{name}/complete", Need: manageRequests, Over: access.Objects},
	{Route: "POST /console/requests/{name}/approve", Need: decide, Over: access.Objects},
	{Route: "POST /console/requests/{name}/deny", Need: decide, Over: access.Objects},
	{Route: "GET /console/approvals", Need: decide, Over: access.Objects},

	{Route: "GET /console/people", Need: view, Over: access.Objects},
	{Route: "POST /console/people/found", Need: view, Over: access.Objects},
	{Route: peopleImportRoute, Need: manageRequests},
	{Route: "GET /console/people/{id}", Need: view, Over: access.Objects},
	{Route: "GET /console/people/{id}/deactivate", Need: manageRequests},
	{Route: "POST /console/people/{id}/deactivate", Need: manageRequests},
	{Route: "GET /console/people/{id}/activate", Need: manageRequests},
	{Route: "POST /console/people/{id}/activate", Need: manageRequests},
	{Route: "POST /console/people/{id}/assign", Need: manageRequests, Over: access.Objects},
	{Route: "POST /console/people/{id}/unassign", Need: manageRequests, Over: access.Objects},

	{Route: "GET /console/apps", Need: view, Over: access.Objects},
	{Route: "GET /console/apps/{app}", Need: view, Over: access.App},
	{Route: "POST /console/apps/{app}/reconcile", Need: manageRequests, Over: access.App},
	{Route: "POST /console/apps/{app}/process", Need: manageRequests, Over: access.App},
	{Route: "GET /console/apps/{app}/schedule", Need: view, Over: access.App},
	{Route: "POST /console/apps/{app}/schedule", Need: configure, Over: access.App},
	{Route: "GET /console/apps/{app}/accounts", Need: view, Over: access.App},
	{Route: "POST /console/apps/{app}/accounts", Need: view, Over: access.App},
	{Route: "POST /console/apps/{app}/accounts/export", Need: view, Over: access.App},
	{Route: "POST /console/apps/{app}/accounts/links", Need: manageRequests, Over: access.App},
	{Route: "POST /console/apps/{app}/accounts/undo", Need: manageRequests, Over: access.App},
	{Route: "GET /console/accounts/{id}", Need: view, Over: access.Objects},
	{Route: "POST /console/accounts/{id}/people", Need: manageRequests, Over: access.Objects},
	{Route: "POST /console/accounts/{id}/{do}", Need: manageRequests, Over: access.Objects},

	{Route: "GET /console/connectors", Need: view, Over: access.Objects},
	{Route: "GET /console/connectors/{name}", Need: view, Over: access.Objects},
	{Route: connectorUploadRoute, Need: install},
	{Route: connectorPullRoute, Need: install},
	{Route: "POST /console/connectors/{name}/delete", Need: install},
	{Route: "POST /console/connectors/{name}/rollback", Need: install},
	{Route: "POST /console/connectors/{name}/release", Need: install},
	{Route: "POST /console/connectors/{name}/grant", Need: install},

	{Route: "GET /console/credentials", Need: view, Over: access.Objects},
	{Route: "GET /console/credentials/{name}", Need: view, Over: access.Objects},
	{Route: "GET /console/credentials/{name}/authorized", Need: manageApps, Over: access.Objects},
	{Route: "POST /console/credentials/{name}/test", Need: manageApps, Over: access.Objects},
	{Route: newCredentialRoute, Need: manageApps},
	{Route: "POST /console/credentials/{name}/change", Need: manageApps},
	{Route: "POST /console/credentials/{name}/rotate", Need: manageApps},
	{Route: "POST /console/credentials/{name}/delete", Need: manageApps},
	{Route: "POST /console/credentials/{name}/authorize", Need: manageApps, Over: access.Objects},
	{Route: "POST /console/credentials/{name}/revoke", Need: manageApps, Over: access.Objects},

	{Route: "GET /console/audit", Need: trail},
	{Route: "POST /console/audit", Need: trail},
	{Route: "POST /console/audit/verify", Need: trail},

	{Route: "GET /console/system", Need: view},
	{Route: "POST /console/system/doctor", Need: operate},
	{Route: "POST /console/system/diff", Need: operate},
	{Route: "POST /console/system/reload", Need: operate},

	{Route: "GET /console/runs", Need: view, Over: access.Objects},
	{Route: "GET /console/runs/{name}", Need: view, Over: access.Objects},
	{Route: "POST /console/runs/{name}/commit", Need: manageRequests, Over: access.Objects},
	{Route: "POST /console/runs/{name}/cancel", Need: manageRequests, Over: access.Objects},
	{Route: "POST /console/runs/{name}/pause", Need: manageRequests, Over: access.Objects},
	{Route: "POST /console/runs/{name}/resume", Need: manageRequests, Over: access.Objects},
	{Route: "POST /console/runs/{name}/allow", Need: manageRequests, Over: access.Objects},
	{Route: "POST /console/runs/{name}/reject", Need: manageRequests, Over: access.Objects},
	{Route: "GET /console/plans/{name}", Need: view, Over: access.Objects},
	{Route: "POST /console/plans/{name}/allow", Need: manageRequests, Over: access.Objects},
	{Route: "POST /console/plans/{name}/reject", Need: manageRequests, Over: access.Objects},
}, slices.Concat(accessRules, wizardRules)...)

// pages are all pages and actions, by their route.
func (c *console) pages() map[string]handler {
	s := c.Service
	pages := map[string]handler{
		"GET /console":                        c.home,
		"GET /console/map":                    c.mapPart,
		"GET /console/assets/{digest}/{name}": func(w http.ResponseWriter, r *http.Request) error { c.assets.ServeHTTP(w, r); return nil },

		"GET /console/requests":        c.requests,
		"GET /console/requests/{name}": c.request,
		"POST /console/requests/{name}/retry": c.act("%s is tried again.", func(ctx context.Context, id, _ string) (*host.UserProvisioningRequest, error) {
			return s.Retry(ctx, id)
		}),
		"POST /console/requests/{name}/again": c.act("What %s did is done again.", func(ctx context.Context, id, _ string) (*host.UserProvisioningRequest, error) {
			return s.RunAgain(ctx, id)
		}),
		"GET /console/requests/{name}/test": c.replay,
		"POST /console/requests/{name}/cancel": c.act("%s is cancelled.", func(ctx context.Context, id, _ string) (*host.UserProvisioningRequest, error) {
			return s.Cancel(ctx, id)
		}),
		"POST /console/requests/{name}/complete": c.act("%s counts as done.", s.Complete),
		"POST /console/requests/{name}/approve":  c.act("%s is approved; it goes on by itself.", s.Approve),
		"POST /console/requests/{name}/deny":     c.act("%s is denied. Nothing was sent.", s.Deny),
		"GET /console/approvals":                 c.approvals,

		"GET /console/people":                  c.people,
		"POST /console/people/found":           c.found,
		peopleImportRoute:                      c.importPeople,
		"GET /console/people/{id}":             c.person,
		"GET /console/people/{id}/deactivate":  c.whatFollows(false),
		"POST /console/people/{id}/deactivate": c.follow(false),
		"GET /console/people/{id}/activate":    c.whatFollows(true),
		"POST /console/people/{id}/activate":   c.follow(true),
		"POST /console/people/{id}/assign":     c.assign("The app is assigned; the account is being made.", s.Assign),
		"POST /console/people/{id}/unassign":   c.assign("The app is assigned no more.", s.Unassign),

		"GET /console/apps":                        c.apps,
		"GET /console/apps/{app}":                  c.app,
		"POST /console/apps/{app}/reconcile":       c.appReconcile,
		"POST /console/apps/{app}/process":         c.appProcess,
		"GET /console/apps/{app}/schedule":         c.appSchedule,
		"POST /console/apps/{app}/schedule":        c.saveSchedule,
		"GET /console/apps/{app}/accounts":         c.accounts,
		"POST /console/apps/{app}/accounts":        c.accounts,
		"POST /console/apps/{app}/accounts/export": c.exportAccounts,
		"POST /console/apps/{app}/accounts/links":  c.relink,
		"POST /console/apps/{app}/accounts/undo":   c.undoRelink,
		"GET /console/accounts/{id}":               c.account,
		"POST /console/accounts/{id}/people":       c.accountPeople,
		"POST /console/accounts/{id}/{do}":         c.accountDo,

		"GET /console/connectors":                c.connectors,
		"GET /console/connectors/{name}":         c.connector,
		connectorUploadRoute:                     c.uploadConnector,
		connectorPullRoute:                       c.pullConnector,
		"POST /console/connectors/{name}/delete": c.deleteConnector,
		"POST /console/connectors/{name}/rollback": c.onConnector("%s serves now.", func(ctx context.Context, name string, r *http.Request) (api.Plugin, error) {
			return s.RollBack(ctx, name, r.PostFormValue("digest"))
		}),
		"POST /console/connectors/{name}/release": c.onConnector("%s may serve again.", func(ctx context.Context, name string, _ *http.Request) (api.Plugin, error) {
			return s.Release(ctx, name)
		}),
		"POST /console/connectors/{name}/grant": c.onConnector("%s may do what it asked for.", func(ctx context.Context, name string, _ *http.Request) (api.Plugin, error) {
			return s.Grant(ctx, name, nil)
		}),

		"GET /console/credentials":                   c.credentials,
		"GET /console/credentials/{name}":            c.credential,
		"GET /console/credentials/{name}/authorized": c.authorizedCredential,
		"POST /console/credentials/{name}/test":      c.tryCredential,
		newCredentialRoute:                           c.newCredential,
		"POST /console/credentials/{name}/change":    c.changeCredential,
		"POST /console/credentials/{name}/rotate":    c.rotateCredential,
		"POST /console/credentials/{name}/delete":    c.deleteCredential,
		"POST /console/credentials/{name}/authorize": c.authorizeCredential,
		"POST /console/credentials/{name}/revoke":    c.revokeCredential,

		"GET /console/audit":               c.audit,
		"POST /console/audit":              c.audit,
		"POST /console/audit/verify":       c.verifyAudit,
		"GET /console/system":              c.system,
		"POST /console/system/doctor":      c.systemDoctor,
		"POST /console/system/diff":        c.systemDiff,
		"POST /console/system/reload":      c.systemReload,
		"GET /console/runs":                c.runs,
		"GET /console/runs/{name}":         c.run,
		"POST /console/runs/{name}/commit": c.onRun("%s is being committed.", withoutNote(s.Commit)),
		"POST /console/runs/{name}/cancel": c.onRun("%s is cancelled. Nothing was changed.", withoutNote(s.Cancel)),
		"POST /console/runs/{name}/pause":  c.onRun("%s is paused.", withoutNote(s.PauseRun)),
		"POST /console/runs/{name}/resume": c.onRun("%s goes on.", withoutNote(s.ResumeRun)),
		"POST /console/runs/{name}/allow":  c.onRun("%s is allowed.", s.AllowRun),
		"POST /console/runs/{name}/reject": c.onRun("%s is rejected. Nothing was changed.", s.RejectRun),

		"GET /console/plans/{name}": c.plan,
		"POST /console/plans/{name}/allow": c.decidePlan("%s is allowed: what it changes is under way.", func(ctx context.Context, id string, r *http.Request) (*host.Plan, error) {
			return s.AllowPlan(ctx, id, r.PostFormValue("digest"), r.PostFormValue("note"))
		}),
		"POST /console/plans/{name}/reject": c.decidePlan("%s is rejected. Nothing of it was done.", func(ctx context.Context, id string, r *http.Request) (*host.Plan, error) {
			return s.RejectPlan(ctx, id, r.PostFormValue("note"))
		}),
	}
	maps.Copy(pages, c.accessPages())
	maps.Copy(pages, c.wizardPages())
	maps.Copy(pages, c.reviewPages())
	return pages
}

// routes finds the route of an address.
var routes = sync.OnceValue(func() *http.ServeMux {
	mux := http.NewServeMux()
	for _, rule := range Rules {
		mux.Handle(rule.Route, http.NotFoundHandler())
	}
	return mux
})

// isPage tells whether an address is a page's, and not an action's alone: the GET
// of /people/{id} is none of /people/found.
func isPage(u *url.URL) bool {
	routeOf := func(method string) string {
		_, route := routes().Handler(&http.Request{Method: method, URL: u})
		return route
	}
	page := routeOf(http.MethodGet)
	action, acts := strings.CutPrefix(routeOf(http.MethodPost), http.MethodPost)
	return page != "" && (!acts || page == http.MethodGet+action)
}

// mayOpen tells whether who looks may have a page, be it for a single app.
func mayOpen(ctx context.Context, route string) bool {
	i := slices.IndexFunc(Rules, func(r access.Rule) bool { return r.Route == route })
	return i >= 0 && Rules[i].Allows(access.SubjectOf(ctx), "")
}

// may tells whether who looks has all of some permissions, be it for a single
// app: what they may not do is not shown. That they can't is up to [Rules].
func may(ctx context.Context, list ...access.Permission) bool {
	s := access.SubjectOf(ctx)
	for _, p := range list {
		if !s.May(p) {
			return false
		}
	}
	return true
}

// mayAt is may for an app; "" is the whole host.
func mayAt(ctx context.Context, app string, list ...access.Permission) bool {
	s := access.SubjectOf(ctx)
	for _, p := range list {
		if !s.MayAt(p, app) {
			return false
		}
	}
	return true
}
