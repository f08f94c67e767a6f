package console

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/a-h/templ"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

// The wizard: a page for each step, which saves what was given, right or wrong,
// and goes on where nothing is wrong with it. What somebody else has changed
// meanwhile is told, and what was given stays in the form.

// wizardView is a step as its page shows it.
type wizardView struct {
	*api.Wizard
	// At is the step.
	At string
	// New: nobody has begun, and the name is still to be given.
	New bool
	// Theirs is what others have changed of the step meanwhile; the values are those
	// that were given, and nothing is saved yet.
	Theirs []host.WizardChange
	// Profiles and PermissionSets are those that people have, for the first step.
	Profiles, PermissionSets []api.Holding
}

// ReadOnly: a file declares the app.
func (v wizardView) ReadOnly() bool { return v.DeclaredIn != "" }

// titles of the steps: in the row of them, and as the heading of the page.
var stepLabels = map[string]string{api.StepApp: "App", api.StepConnector: "Connector", api.StepCredential: "Credential", api.StepOperations: "Operations",
	api.StepAttributes: "Attributes", api.StepApproval: "Approval", api.StepLinking: "Collect, review, commit"}

var stepTitles = map[string]string{api.StepApp: "Enable provisioning", api.StepConnector: "Choose the connector", api.StepCredential: "Sign in to the app",
	api.StepOperations: "What may be done, and when", api.StepAttributes: "What an account is made of", api.StepApproval: "Who approves",
	api.StepLinking: "Find who has an account"}

var stepSubs = map[string]string{
	api.StepApp:        "What people call the app, and who is to have an account in it.",
	api.StepConnector:  "The connector is the code that knows the app. It runs in a sandbox and reaches what it is granted, nothing else.",
	api.StepCredential: "The connector calls the app with a named credential, whose secret it never sees.",
	api.StepOperations: "Nothing is done in the app that is not switched on here.",
	api.StepAttributes: "A rule makes each attribute of a value that is known of the person.",
	api.StepApproval:   "A request that needs it waits until somebody has said yes.",
	api.StepLinking:    "Accounts that are there already are collected and linked to people. Nothing in the app is changed before you commit.",
}

func wizardPath(app, step string) string {
	return Path + "/apps/" + url.PathEscape(app) + "/wizard/" + step
}

// wizardPages are the pages and actions of the wizard.
func (c *console) wizardPages() map[string]handler {
	at := func(rest string) string { return Path + "/apps/{app}/wizard" + rest }
	return map[string]handler{
		"GET " + Path + "/wizard":  c.wizardBegin,
		"POST " + Path + "/wizard": c.wizardBegun,
		"GET " + at(""):            c.wizardResume,
		"POST " + at("/drop"):      c.wizardDrop,
		"GET " + at("/{step}"):     c.wizardStep,
		"POST " + at("/{step}"):    c.wizardSave,

		"POST " + at("/connector/settings"):   c.connectorSettings,
		"POST " + at("/connector/add"):        c.connectorAdd,
		uploadRoute:                           c.connectorUpload,
		"POST " + at("/connector/grant"):      c.connectorGrant,
		"POST " + at("/credential/new"):       c.credentialNew,
		"POST " + at("/credential/authorize"): c.credentialAuthorize,
		"GET " + at("/credential/state"):      c.credentialState,
		"POST " + at("/attributes/preview"):   c.attributesPreview,
		"GET " + at("/linking/run"):           c.wizardRun,
		"POST " + at("/linking/commit"):       c.wizardCommit,
		"POST " + at("/linking/allow"):        c.wizardAllow,
		"POST " + at("/linking/reject"):       c.wizardReject,
	}
}

// wizardBegin begins the wizard for an app that there is not yet.
func (c *console) wizardBegin(w http.ResponseWriter, r *http.Request) error {
	open, err := c.Service.Wizards(r.Context())
	if err != nil {
		return err
	}
	v := wizardView{Wizard: &api.Wizard{Values: map[string]any{}}, At: api.StepApp, New: true}
	if err := c.withHoldings(r.Context(), &v); err != nil {
		return err
	}
	return c.showWizard(w, r, http.StatusOK, v, wizardApp(v, open))
}

func (c *console) wizardBegun(w http.ResponseWriter, r *http.Request) error {
	ctx, name := r.Context(), strings.TrimSpace(r.FormValue("name"))
	values := readStep(api.StepApp, r.PostForm, nil)
	again := func(err error) error {
		v := wizardView{Wizard: &api.Wizard{App: name, Values: values, Steps: []api.WizardStep{{Name: api.StepApp, Problems: []api.WizardProblem{{Field: "name", Message: message(err)}}}}}, At: api.StepApp, New: true}
		if err := c.withHoldings(ctx, &v); err != nil {
			return err
		}
		return c.showWizard(w, r, http.StatusUnprocessableEntity, v, wizardApp(v, nil))
	}
	if name == "" {
		return again(host.Errorf(host.InvalidInput, "is missing; it stands in addresses and in the log, such as acme"))
	}
	if known, err := c.Service.Wizard(ctx, name); err == nil {
		return again(host.Errorf(host.Conflict, "%q is there already, as %s; choose another name", name, known.Label))
	} else if host.CodeOf(err) != host.NotFound {
		return err
	}
	saved, err := c.Service.SaveWizard(ctx, name, api.StepApp, api.WizardSave{Values: values})
	switch {
	case host.CodeOf(err) == host.InvalidInput || host.CodeOf(err) == host.Conflict:
		return again(err)
	case err != nil:
		return err
	}
	http.Redirect(w, r, wizardPath(name, after(saved, api.StepApp)), http.StatusSeeOther)
	return nil
}

// after is the step that comes next: the same while something is wrong with it.
func after(w *api.Wizard, step string) string {
	if s := w.Step(step); s != nil && len(s.Problems) > 0 {
		return step
	}
	i := slices.Index(api.WizardSteps, step)
	return api.WizardSteps[min(i+1, len(api.WizardSteps)-1)]
}

func before(step string) string {
	return api.WizardSteps[max(slices.Index(api.WizardSteps, step)-1, 0)]
}

func (c *console) wizardResume(w http.ResponseWriter, r *http.Request) error {
	wiz, err := c.Service.Wizard(r.Context(), r.PathValue("app"))
	if err != nil {
		return err
	}
	http.Redirect(w, r, wizardPath(wiz.App, wiz.Next), http.StatusSeeOther)
	return nil
}

func (c *console) wizardDrop(w http.ResponseWriter, r *http.Request) error {
	app := r.PathValue("app")
	if err := c.Service.DropWizard(r.Context(), app); err != nil {
		return c.refused(w, r, wizardPath(app, api.StepApp), err)
	}
	return c.done(w, r, Path+"/apps", Flash{Tone: "info", Text: "The draft of " + app + " is gone. What runs is as it was."})
}

func (c *console) wizardStep(w http.ResponseWriter, r *http.Request) error {
	v, err := c.wizardAt(r)
	if err != nil {
		return err
	}
	if !reachable(v.Wizard, v.At) {
		http.Redirect(w, r, wizardPath(v.App, v.Next), http.StatusSeeOther)
		return nil
	}
	content, err := c.wizardContent(r, v)
	if err != nil {
		return err
	}
	return c.showWizard(w, r, http.StatusOK, v, content)
}

// wizardAt is the step that the path names.
func (c *console) wizardAt(r *http.Request) (v wizardView, err error) {
	v.At = r.PathValue("step")
	if v.At == "" { // an action of a step: …/wizard/connector/grant
		rest, _ := strings.CutPrefix(r.URL.Path, wizardPath(r.PathValue("app"), ""))
		v.At, _, _ = strings.Cut(rest, "/")
	}
	if !slices.Contains(api.WizardSteps, v.At) {
		return v, host.Errorf(host.NotFound, "the wizard has no step %q", v.At)
	}
	v.Wizard, err = c.Service.Wizard(r.Context(), r.PathValue("app"))
	return v, err
}

// reachable tells whether somebody has been through all steps before.
func reachable(w *api.Wizard, step string) bool {
	for _, s := range w.Steps {
		if s.Name == step {
			return true
		}
		if !s.Saved {
			return false
		}
	}
	return false
}

// wizardContent is what the page of a step shows.
func (c *console) wizardContent(r *http.Request, v wizardView) (templ.Component, error) {
	switch v.At {
	case api.StepApp:
		if err := c.withHoldings(r.Context(), &v); err != nil {
			return nil, err
		}
		return wizardApp(v, nil), nil
	case api.StepConnector:
		return c.connectorStep(r, v)
	case api.StepCredential:
		return c.credentialStep(r, v)
	case api.StepOperations:
		return c.operationsStep(r, v)
	case api.StepAttributes:
		return c.attributesStep(r, v)
	case api.StepApproval:
		return wizardApproval(v), nil
	default:
		return c.linkingStep(r, v)
	}
}

func (c *console) showWizard(w http.ResponseWriter, r *http.Request, status int, v wizardView, content templ.Component) error {
	p := Page{Title: stepTitles[v.At], Sub: Text(stepSubs[v.At]), Current: "apps",
		Crumbs: []Crumb{{"Apps", Path + "/apps"}, {v.Label, ""}, {"Provisioning wizard", ""}}}
	if v.New {
		p.Crumbs[1].Label = "New app"
	} else if v.Mode != "" {
		p.Crumbs[1].Href = Path + "/apps/" + url.PathEscape(v.App)
	}
	return c.showWith(w, r, status, p, wizardFrame(v, content))
}

func (c *console) wizardSave(w http.ResponseWriter, r *http.Request) error {
	v, err := c.wizardAt(r)
	if err != nil {
		return err
	}
	if err := r.ParseForm(); err != nil {
		return err
	}
	do := r.PostForm.Get("do")
	if v.ReadOnly() && do == "collect" {
		return c.wizardCollect(w, r, v)
	}
	if v.ReadOnly() {
		http.Redirect(w, r, wizardPath(v.App, goingTo(v.Wizard, v.At, do)), http.StatusSeeOther)
		return nil
	}
	values := readStep(v.At, r.PostForm, v.Values)
	if edit, rest, is := strings.Cut(do, ":"); is || edit == "more" { // a row more or less, before anything is saved
		return c.showGiven(w, r, v, editRows(values, edit, rest), nil)
	}
	revision := formNumber(r, "revision")
	saved, err := c.Service.SaveWizard(r.Context(), v.App, v.At, api.WizardSave{Revision: revision, Values: values})
	switch code := host.CodeOf(err); {
	case code == host.Conflict && len(theirs(v.Wizard, revision)) > 0:
		return c.showGiven(w, r, v, values, theirs(v.Wizard, revision))
	case err != nil:
		return c.refused(w, r, wizardPath(v.App, v.At), err)
	}
	if do == "leave" {
		return c.done(w, r, Path+"/apps", Flash{Tone: "good", Text: "The draft of " + saved.Label + " is kept. Nothing of it counts before you commit.", Link: wizardPath(saved.App, saved.Next), Label: "Go on"})
	}
	if s := saved.Step(v.At); do == "collect" && len(s.Problems) == 0 {
		return c.wizardCollect(w, r, v)
	}
	if told := elsewhere(saved, revision); told != "" {
		setFlash(w, r, Flash{Tone: "info", Text: told})
	}
	http.Redirect(w, r, wizardPath(saved.App, goingTo(saved, v.At, do)), http.StatusSeeOther)
	return nil
}

// showGiven shows a step with what was given, which is not saved.
func (c *console) showGiven(w http.ResponseWriter, r *http.Request, v wizardView, values map[string]any, theirs []host.WizardChange) error {
	given := map[string]any{}
	for key, value := range v.Values {
		if s := v.Step(v.At); s == nil || !slices.Contains(s.Keys, key) {
			given[key] = value
		}
	}
	for key, value := range values {
		given[key] = value
	}
	shown := *v.Wizard
	shown.Values = given
	if len(theirs) == 0 {
		shown.Revision = formNumber(r, "revision")
	}
	v.Wizard, v.Theirs = &shown, theirs
	content, err := c.wizardContent(r, v)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if len(theirs) > 0 {
		status = http.StatusConflict
	}
	return c.showWizard(w, r, status, v, content)
}

func goingTo(w *api.Wizard, step, do string) string {
	if do == "back" {
		return before(step)
	}
	return after(w, step)
}

func formNumber(r *http.Request, name string) (n int64) {
	_, _ = fmt.Sscan(r.FormValue(name), &n) // 0 where it is none
	return n
}

// theirs is what others have changed since a revision.
func theirs(w *api.Wizard, revision int64) (list []host.WizardChange) {
	for _, c := range w.Changes {
		if c.Revision > revision {
			list = append(list, c)
		}
	}
	return list
}

// elsewhere tells what others have changed in other steps since the page was
// shown.
func elsewhere(w *api.Wizard, revision int64) string {
	var told []string
	for _, c := range theirs(w, revision) {
		if c.Revision < w.Revision && revision > 0 {
			told = append(told, c.Actor+" has changed "+keyLabel(c.Key))
		}
	}
	if len(told) == 0 {
		return ""
	}
	return "Meanwhile " + listed(told) + ". Yours is saved too."
}

func keyLabel(key string) string { return strings.ReplaceAll(key, "_", " ") }
