package console

import (
	"net/http"
	"net/url"

	"github.com/a-h/templ"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

// linkingView is what the last step shows: the rules, and then the run.
type linkingView struct {
	wizardView
	// Link are the rules, a line each; Suggested where they are the connector's.
	Link      string
	Suggested bool
	// Run is the run that the wizard began, nil for none.
	Run      *host.UserProvisioningRequest
	Progress progress
	Review   reviewView
	// Following is what would follow, nil before the run was analyzed.
	Following *api.Following
	// Live: the app changes its target already.
	Live bool
}

// Phase is collecting, review, committing, or rules where there is no run.
func (v linkingView) Phase() string {
	switch {
	case v.Run == nil || v.Run.State.Ended() && !v.Committing:
		return "rules"
	case v.Run.State == host.StateAnalyzed:
		return "review"
	case v.Run.State == host.StateCommitting || v.Committing:
		return "committing"
	default:
		return "collecting"
	}
}

func (c *console) linkingStep(r *http.Request, v wizardView) (templ.Component, error) {
	view, err := c.linkingOf(r, v)
	if err != nil {
		return nil, err
	}
	return wizardLinking(view), nil
}

func (c *console) linkingOf(r *http.Request, v wizardView) (view linkingView, err error) {
	ctx := r.Context()
	view = linkingView{wizardView: v, Link: textLines(v.Values, "link"), Live: v.Mode == string(host.Live)}
	if s := v.Step(v.At); view.Link == "" && (s == nil || len(s.Problems) == 0) {
		said, err := c.describe(r, text(v.Values, "plugin", ""))
		if err != nil {
			return view, err
		}
		if said != nil && len(said.DefaultLink) > 0 {
			view.Link, view.Suggested = lines(said.DefaultLink), true
		}
	}
	if v.Run == "" {
		return view, nil
	}
	if view.Run, _, err = c.Service.Request(ctx, v.Run); err != nil {
		if host.CodeOf(err) == host.NotFound {
			return view, nil
		}
		return view, err
	}
	view.Progress = progressOf(view.Run, c.Now())
	if view.Phase() != "review" {
		return view, nil
	}
	if view.Review, err = c.review(r, view.Run, v.Label, wizardPath(v.App, v.At)); err != nil {
		return view, err
	}
	view.Following, err = c.Service.Following(ctx, view.Run.Id, "", "", mostCounted)
	return view, err
}

// mostCounted is how many changes are counted one by one; of more, the run's own
// counts are shown.
const mostCounted = 500

func lines(list []string) string { return textLines(map[string]any{"x": list}, "x") }

// wizardRun answers with how far the run has come; when it is at its next phase
// the page is loaded anew.
func (c *console) wizardRun(w http.ResponseWriter, r *http.Request) error {
	app := r.PathValue("app")
	v, err := c.wizardAt(r)
	if host.CodeOf(err) == host.NotFound {
		err = nil
	}
	if err != nil {
		return err
	}
	if v.Wizard == nil || v.Run == "" && !v.Committing { // it is done
		return c.wizardEnded(w, r, app)
	}
	run, _, err := c.Service.Request(r.Context(), v.Run)
	if err != nil {
		return err
	}
	now := linkingView{wizardView: v, Run: run}
	if phase := now.Phase(); phase == "collecting" || phase == "committing" {
		return c.part(w, r, runProgress(progressOf(run, c.Now()), wizardPath(app, v.At)+"/run"))
	}
	w.Header().Set("HX-Location", wizardPath(app, v.At))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// wizardEnded leads to the app, which is live now.
func (c *console) wizardEnded(w http.ResponseWriter, r *http.Request, app string) error {
	return c.done(w, r, Path+"/apps/"+url.PathEscape(app), Flash{Tone: "good", Text: "The accounts are linked, and " + app + " is live."})
}

// wizardCollect begins the run, with what is given saved before.
func (c *console) wizardCollect(w http.ResponseWriter, r *http.Request, v wizardView) error {
	if _, err := c.Service.CollectWizard(r.Context(), v.App, 0); err != nil {
		return c.refused(w, r, wizardPath(v.App, v.At), err)
	}
	http.Redirect(w, r, wizardPath(v.App, v.At), http.StatusSeeOther)
	return nil
}

func (c *console) wizardCommit(w http.ResponseWriter, r *http.Request) error {
	v, err := c.wizardAt(r)
	if err != nil {
		return err
	}
	done, err := c.Service.CommitWizard(r.Context(), v.App, api.WizardCommit{Process: r.PostFormValue("process") != ""})
	if err != nil {
		return c.refused(w, r, wizardPath(v.App, v.At), err)
	}
	if !done.Committing {
		return c.done(w, r, wizardPath(v.App, v.At), Flash{Tone: "warn", Text: "A threshold has stopped the commit. Decide about it first."})
	}
	http.Redirect(w, r, wizardPath(v.App, v.At), http.StatusSeeOther)
	return nil
}

// wizardAllow lets the run be committed though it passes a threshold.
func (c *console) wizardAllow(w http.ResponseWriter, r *http.Request) error {
	return c.wizardDecideRun(w, r, func(v wizardView, note string) (string, error) {
		_, err := c.Service.AllowRun(r.Context(), v.Run, note)
		return "It may be committed. Nothing has been yet.", err
	})
}

// wizardReject ends the run; nothing of it is stored.
func (c *console) wizardReject(w http.ResponseWriter, r *http.Request) error {
	return c.wizardDecideRun(w, r, func(v wizardView, note string) (string, error) {
		_, err := c.Service.RejectRun(r.Context(), v.Run, note)
		return "The run is withdrawn; nothing of it is stored.", err
	})
}

func (c *console) wizardDecideRun(w http.ResponseWriter, r *http.Request, do func(v wizardView, note string) (string, error)) error {
	v, err := c.wizardAt(r)
	if err != nil {
		return err
	}
	told, err := do(v, r.PostFormValue("note"))
	if err != nil {
		return c.refused(w, r, wizardPath(v.App, v.At), err)
	}
	return c.done(w, r, wizardPath(v.App, v.At), Flash{Tone: "good", Text: told})
}

// ForNobody: the draft gives an account to nobody whom the app is not assigned.
func (v linkingView) ForNobody() bool {
	return textLines(v.Values, "profiles") == "" && textLines(v.Values, "permission_sets") == "" && text(v.Values, "scope", "") == ""
}

// followingText says in a sentence what would follow.
func followingText(f *api.Following) string {
	if f == nil {
		return ""
	}
	var parts []string
	for _, one := range []struct {
		op   host.Operation
		what string
	}{{host.Create, "created"}, {host.Update, "updated"}, {host.Deactivate, "deactivated"}, {host.Delete, "deleted"}} {
		if n := f.Counts[string(one.op)]; n > 0 {
			parts = append(parts, number(n)+" "+one.what)
		}
	}
	if len(parts) == 0 {
		return "Nothing would be changed in the app."
	}
	return listed(parts) + "."
}

// runEnded says why there is nothing to review.
func runEnded(r *host.UserProvisioningRequest) string {
	switch r.State {
	case host.StateCancelled:
		return r.Name() + " was withdrawn. Collect again."
	default:
		text := r.Name() + " has ended: " + string(r.State) + "."
		if r.ErrorMessage != "" {
			text += " " + capital(withoutCommand(r.ErrorMessage))
		}
		return text
	}
}

func reconcileField(v wizardView, key, label, otherwise string, options ...Option) Field {
	return Field{Name: "reconcile." + key, Label: label, Value: text(object(v.Values, "reconcile"), key, otherwise), Options: options, Problem: v.wrong("reconcile." + key), Required: true}
}

func thresholdField(v wizardView, key, label, otherwise string) Field {
	return Field{Name: "threshold." + key, Label: label, Value: text(object(object(v.Values, "reconcile"), "thresholds"), key, ""), Problem: v.wrong("reconcile.thresholds." + key),
		Hint: "A number, or a share such as 5%. Without it: " + otherwise + "."}
}
