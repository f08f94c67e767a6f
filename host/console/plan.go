package console

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
)

// planPage is a plan: what it would change, or has.
type planPage struct {
	*host.Plan
	App     string
	Changes []*host.PlannedChange
	// Next is the address of the page after, First that of the first page.
	Next, First string
	// MayDecide: it waits for a person, and who looks may.
	MayDecide bool
}

func (c *console) plan(w http.ResponseWriter, r *http.Request) error {
	ctx, name := r.Context(), r.PathValue("name")
	p, err := c.Service.Plan(ctx, name)
	if err != nil {
		return err
	}
	after, _ := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64) // what is no number is the first page
	page := planPage{Plan: p, MayDecide: (p.State == host.PlanQuarantined || p.State == host.PlanPlanned) && mayAt(ctx, p.AppName, access.ViewSetup, access.ManageUsers)}
	if page.Changes, err = c.Service.PlannedChanges(ctx, name, max(after, 0), pageRows); err != nil {
		return err
	}
	self := Path + "/plans/" + p.Name()
	if len(page.Changes) == pageRows {
		page.Next = self + "?after=" + itoa(page.Changes[pageRows-1].Number)
	}
	if after > 0 {
		page.First = self
	}
	apps, err := c.labels(ctx)
	if err != nil {
		return err
	}
	page.App = cmp.Or(apps.of(p.AppName), "the organisation's people")
	return c.show(w, r, Page{Title: "Changes of " + page.App, Sub: planSub(page), Current: "runs", Actions: planActions(page),
		Crumbs: []Crumb{{"Runs", Path + "/runs"}, {Label: p.Name()}}}, planBody(page))
}

// decidePlan ends the waiting of a plan.
func (c *console) decidePlan(done string, do func(ctx context.Context, id string, r *http.Request) (*host.Plan, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		name := r.PathValue("name")
		to := backOf(r, Path+"/plans/"+url.PathEscape(name))
		if _, err := do(r.Context(), name, r); err != nil {
			return c.refused(w, r, to, err)
		}
		return c.done(w, r, to, Flash{Tone: "good", Text: fmt.Sprintf(done, name), Link: Path + "/plans/" + url.PathEscape(name), Label: "Open it"})
	}
}

// moves tells whether something happens to the plan by itself.
func (p planPage) moves() bool { return p.State == host.PlanMaking || p.State == host.PlanReleased }

// moving says how far it is.
func (p planPage) moving() string {
	if p.State == host.PlanMaking {
		return "It is worked out what there is to do."
	}
	return number(p.Made+p.Refused) + " of " + count(p.total(), "change", "") + " have become requests."
}

// total counts the changes.
func (p planPage) total() (n int64) {
	for _, one := range p.Counts {
		n += one
	}
	return n
}

// said is how many changes there are, by what they do.
func (p planPage) said() string {
	var words []string
	for _, op := range slices.Sorted(maps.Keys(p.Counts)) {
		words = append(words, number(p.Counts[op])+" "+lower(op))
	}
	if len(words) == 0 {
		return "nothing"
	}
	return listed(words)
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

func wordOfPlan(s host.PlanState) string {
	if s == host.PlanQuarantined {
		return "Stopped by a threshold"
	}
	return string(s)
}
