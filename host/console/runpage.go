package console

import (
	"context"
	"fmt"
	"net/http"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
)

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

// allowLabel is to allow a run, with how many accounts it is about.
func allowLabel(p runPage) string {
	if n := p.Summary["gone"]; n > 0 {
		return "Allow these " + number(n)
	}
	return "Allow it"
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
