package console

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/provosthq/provost/host"
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
	Apps   labels
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
	apps, err := c.labels(ctx)
	if err != nil {
		return err
	}
	list.Apps = apps.orAll()
	return c.show(w, r, Page{Title: "Runs", Sub: Text("A run collects the accounts of an app and says whose each is. A plan is what is to be done about what was found."), Current: "runs"}, runsPage(list))
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
