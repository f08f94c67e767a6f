package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

// runPath is the page of a run, or what stands below it.
func runPath(name string, below ...string) string {
	return strings.Join(append([]string{Path + "/runs/" + url.PathEscape(name)}, below...), "/")
}

// planPath is the page of a plan, or what stands below it.
func planPath(name string, below ...string) string {
	return strings.Join(append([]string{Path + "/plans/" + url.PathEscape(name)}, below...), "/")
}

// runStates are the choices of states in the list of runs.
var runStates = []struct {
	Key, Label string
	States     []host.RequestState
}{
	{Key: "", Label: "All"},
	{Key: "open", Label: "Under way", States: []host.RequestState{host.StateNew, host.StateCollecting, host.StateCollected, host.StateAnalyzing, host.StateCommitting}},
	{Key: "review", Label: "Wait for review", States: []host.RequestState{host.StateAnalyzed}},
	{Key: "completed", Label: "Completed", States: []host.RequestState{host.StateCompleted, host.StateManuallyCompleted}},
	{Key: "failed", Label: "Failed", States: []host.RequestState{host.StateFailed, host.StateRetried}},
	{Key: "cancelled", Label: "Cancelled", States: []host.RequestState{host.StateCancelled}},
}

// runFilter is what the address of the list says.
type runFilter struct{ App, State, Cursor string }

func (f runFilter) path() string {
	q := url.Values{}
	for name, value := range map[string]string{"app": f.App, "state": f.State, "cursor": f.Cursor} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return pathWith(Path+"/runs", q)
}

func (f runFilter) with(state string) runFilter { f.State, f.Cursor = state, ""; return f }

// runList is a page of runs, with the newest plans.
type runList struct {
	Filter runFilter
	Rows   []*host.UserProvisioningRequest
	Plans  []*host.Plan
	Apps   []Option
	First  string
	Next   string
}

// mostPlans are shown beside the runs.
const mostPlans = 10

func (c *console) runs(w http.ResponseWriter, r *http.Request) error {
	ctx, q := r.Context(), r.URL.Query()
	list := runList{Filter: runFilter{q.Get("app"), q.Get("state"), q.Get("cursor")}}
	f := api.RequestFilter{App: list.Filter.App, Operation: host.Reconcile, Paging: api.Paging{Sort: "-number", Cursor: list.Filter.Cursor, Limit: pageRows}}
	for _, s := range runStates {
		if s.Key == list.Filter.State {
			f.State = s.States
		}
	}
	found, err := c.Service.Requests(ctx, f)
	if err != nil {
		return err
	}
	list.Rows = found.Rows
	if list.Filter.Cursor != "" {
		list.First = list.Filter.with(list.Filter.State).path()
	}
	if found.Next != "" {
		next := list.Filter
		next.Cursor = found.Next
		list.Next = next.path()
	}
	if list.Plans, err = c.Service.Plans(ctx, list.Filter.App, nil, mostPlans); err != nil {
		return err
	}
	if list.Apps, err = c.appOptions(ctx, "All apps"); err != nil {
		return err
	}
	return c.show(w, r, Page{Title: "Runs", Sub: Text("A run collects the accounts of an app and says whose each is. A plan is what is to be done about what was found."), Current: "runs"}, runsPage(list))
}

// runPage is one run.
type runPage struct {
	*host.UserProvisioningRequest
	App    string
	Logs   []*host.UserProvisioningLog
	Review *reviewView
	Manage bool
}

func (c *console) run(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	run, logs, err := c.Service.Request(ctx, r.PathValue("name"))
	if err != nil {
		return err
	}
	if run.Operation != host.Reconcile {
		return host.Errorf(host.NotFound, "%s is no run", run.Name())
	}
	underWay := !run.State.Ended() && run.State != host.StateAnalyzed
	if isPart(r) { // what shows how far it is
		if !underWay {
			w.Header().Set("HX-Refresh", "true")
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		return c.part(w, r, runProgress(progressOf(run, c.Now()), runPath(run.Name())))
	}
	p := runPage{UserProvisioningRequest: run, App: run.AppName, Logs: logs, Manage: mayAt(ctx, run.AppName, access.ViewSetup, access.ManageUsers)}
	if app, err := c.Service.App(ctx, run.AppName); err == nil {
		p.App = app.Label
	} else if unlessHidden(err) != nil {
		return err
	}
	if run.State == host.StateAnalyzed {
		v, err := c.review(r, run, p.App, runPath(run.Name()))
		if err != nil {
			return err
		}
		p.Review = &v
	}
	return c.show(w, r, Page{Title: runTitle(p), Sub: runSub(p), Current: "runs", Actions: runActions(p),
		Crumbs: []Crumb{{"Runs", Path + "/runs"}, {Label: run.Name()}}}, runBody(p, c.Now()))
}

// runTitle says what is to be done with a run, or what came of it.
func runTitle(p runPage) string {
	switch {
	case p.Quarantine != "":
		return "A threshold has stopped this run"
	case p.State == host.StateAnalyzed:
		return "Review what was found"
	case p.State == host.StateCompleted:
		return "Reconciled " + p.App
	default:
		return "Reconcile " + p.App
	}
}

// onRun does something with a run, and goes back to its page.
func (c *console) onRun(done string, do func(ctx context.Context, id, note string) (*host.UserProvisioningRequest, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		name := r.PathValue("name")
		if _, err := do(r.Context(), name, r.PostFormValue("note")); err != nil {
			return c.refused(w, r, runPath(name), err)
		}
		return c.done(w, r, runPath(name), Flash{Tone: "good", Text: fmt.Sprintf(done, name)})
	}
}

// withoutNote is for what takes no note.
func withoutNote(do func(ctx context.Context, id string) (*host.UserProvisioningRequest, error)) func(context.Context, string, string) (*host.UserProvisioningRequest, error) {
	return func(ctx context.Context, id, _ string) (*host.UserProvisioningRequest, error) { return do(ctx, id) }
}

// runNext says what is to be done with a run that has not ended.
func runNext(r *host.UserProvisioningRequest) string {
	if r.State == host.StateAnalyzed {
		return "Review " + r.Name()
	}
	return "See " + r.Name()
}

// runFoundText says in a line what a run has found.
func runFoundText(r *host.UserProvisioningRequest) string {
	if len(r.Summary) == 0 {
		if r.ReconFound > 0 {
			return count(r.ReconFound, "account", "") + " collected"
		}
		return ""
	}
	var parts []string
	for _, key := range []string{"linked", "duplicate", "orphaned", "ignored", "drifted", "gone", "missing"} {
		if n := r.Summary[key]; n > 0 {
			parts = append(parts, number(n)+" "+key)
		}
	}
	return strings.Join(parts, ", ")
}

// planPage is one plan: an exact set of changes.
type planPage struct {
	*host.Plan
	App     string
	Changes []*host.PlannedChange
	// First and Next are addresses of pages of changes.
	First, Next string
	Manage      bool
}

func (c *console) plan(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	plan, err := c.Service.Plan(ctx, r.PathValue("name"))
	if err != nil {
		return err
	}
	if isPart(r) { // while it is made or carried out
		if !planMoves(plan) {
			w.Header().Set("HX-Refresh", "true")
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		return c.part(w, r, planProgress(plan))
	}
	p := planPage{Plan: plan, App: plan.AppName, Manage: mayAt(ctx, plan.AppName, access.ViewSetup, access.ManageUsers)}
	if plan.AppName != "" {
		if app, err := c.Service.App(ctx, plan.AppName); err == nil {
			p.App = app.Label
		} else if unlessHidden(err) != nil {
			return err
		}
	}
	after, _ := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64) // what is no number is the first page
	if p.Changes, err = c.Service.PlannedChanges(ctx, plan.Id, after, pageRows+1); err != nil {
		return err
	}
	if after > 0 {
		p.First = planPath(plan.Name())
	}
	if len(p.Changes) > pageRows {
		p.Changes = p.Changes[:pageRows]
		p.Next = planPath(plan.Name()) + "?after=" + itoa(p.Changes[pageRows-1].Number)
	}
	return c.show(w, r, Page{Title: planTitle(p), Sub: planSub(p), Current: "runs", Actions: planActions(p),
		Crumbs: []Crumb{{"Runs", Path + "/runs"}, {Label: plan.Name()}}}, planBody(p))
}

// planMoves tells whether something happens to a plan by itself.
func planMoves(p *host.Plan) bool { return p.State == host.PlanMaking || p.State == host.PlanReleased }

// planTotal is how many changes a plan has.
func planTotal(p *host.Plan) (n int64) {
	for _, one := range p.Counts {
		n += one
	}
	return n
}

func planTitle(p planPage) string {
	of := p.App
	if of == "" {
		of = "the people"
	}
	switch p.State {
	case host.PlanMaking:
		return "A plan for " + of + " is being made"
	case host.PlanPlanned:
		return "What would be done in " + of
	case host.PlanQuarantined:
		return "A threshold has stopped a plan for " + of
	default:
		return "Plan for " + of
	}
}

// countsText says what a plan does.
func countsText(p *host.Plan) string {
	var parts []string
	for _, op := range slices.Concat(host.Operations, []host.Operation{host.PlanAccept, host.PlanDisable}) {
		if n := p.Counts[string(op)]; n > 0 {
			parts = append(parts, number(n)+" "+string(op))
		}
	}
	if len(parts) == 0 {
		return "nothing to do"
	}
	return strings.Join(parts, ", ")
}

func toneOfPlan(s host.PlanState) string {
	switch s {
	case host.PlanDone:
		return "good"
	case host.PlanQuarantined:
		return "warn"
	case host.PlanFailed:
		return "bad"
	case host.PlanRejected, host.PlanStale:
		return "plain"
	default:
		return "info"
	}
}

// onPlan decides about a plan, and goes back to its page.
func (c *console) onPlan(done string, do func(ctx context.Context, id string, r *http.Request) (*host.Plan, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		name := r.PathValue("name")
		if _, err := do(r.Context(), name, r); err != nil {
			return c.refused(w, r, planPath(name), err)
		}
		return c.done(w, r, planPath(name), Flash{Tone: "good", Text: fmt.Sprintf(done, name)})
	}
}
