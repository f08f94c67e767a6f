package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

// appPath is the page of an app, or what stands below it.
func appPath(app string, below ...string) string {
	path := Path + "/apps/" + url.PathEscape(app)
	for _, b := range below {
		path += "/" + url.PathEscape(b)
	}
	return path
}

// apps is the list of all apps.
func (c *console) apps(w http.ResponseWriter, r *http.Request) error {
	rows, err := c.allApps(r.Context())
	if err != nil {
		return err
	}
	return c.show(w, r, Page{Title: "Apps", Sub: Text("Where people have accounts, and how each app does."), Current: "apps", Actions: appsActions()}, appsPage(rows))
}

func (c *console) allApps(ctx context.Context) ([]appRow, error) {
	waits, err := c.Service.Waits(ctx)
	if err != nil {
		return nil, err
	}
	return c.appRows(ctx, waits)
}

// appPage is one app: how it is at a glance, and what can be done with it.
type appPage struct {
	appRow
	Drifted, Undecided api.Count
	// Waiting counts the requests that have not ended, Failed those that failed in
	// the last day and were not tried again.
	Waiting, Failed int64
	// Runs are the newest, Plans too.
	Runs  []*host.UserProvisioningRequest
	Plans []*host.Plan
	// Plugin, Credential and Setting are nil where they are not to be had.
	Plugin     *api.Plugin
	Builds     []api.Build
	Credential *api.Credential
	Setting    *api.Setting
	Notices    []need
	// Manage, Configure and Install say what who looks may do with it.
	Manage, Configure, Install bool
}

// UnderWay is the run that has not ended; nil for none.
func (p appPage) UnderWay() *host.UserProvisioningRequest {
	for _, r := range p.Runs {
		if !r.State.Ended() {
			return r
		}
	}
	return nil
}

// Earlier are the builds of the connector that can take the place of the one
// that serves.
func (p appPage) Earlier() (list []api.Build) {
	for _, b := range p.Builds {
		if b.Kept && !b.Serving {
			list = append(list, b)
		}
	}
	return list
}

// Declared is the file that declares the app; "" for one that is stored.
func (p appPage) Declared() string {
	if p.Setting == nil {
		return ""
	}
	return fileName(p.Setting.File)
}

// fileName is a file without the folders of the machine.
func fileName(path string) string { return path[strings.LastIndexAny(path, `/\`)+1:] }

const (
	// mostRunsOfApp and mostPlansOfApp are on the page of an app.
	mostRunsOfApp, mostPlansOfApp = 5, 5
	// failedSince is how far back failures count there.
	failedSince = 24 * time.Hour
)

func (c *console) app(w http.ResponseWriter, r *http.Request) error {
	p, err := c.appPage(r.Context(), r.PathValue("app"))
	if err != nil {
		return err
	}
	return c.show(w, r, Page{Title: p.Label, Sub: appSub(p), Current: "apps", Actions: appActions(p),
		Crumbs: []Crumb{{"Apps", Path + "/apps"}, {Label: p.Label}}}, appBody(p))
}

func (c *console) appPage(ctx context.Context, name string) (p appPage, err error) {
	rows, err := c.allApps(ctx)
	if err != nil {
		return p, err
	}
	i := slices.IndexFunc(rows, func(row appRow) bool { return row.Name == name })
	if i < 0 {
		return p, host.Errorf(host.NotFound, "there is no app %q", name)
	}
	p.appRow = rows[i]
	p.Manage = mayAt(ctx, name, access.ViewSetup, access.ManageUsers)
	p.Configure = mayAt(ctx, name, access.ViewSetup, access.ManageUsers, access.CustomizeApplication)
	p.Install = mayAt(ctx, "", access.CustomizeApplication, access.ModifyAllData, access.DownloadPackages)
	for state, n := range p.Requests {
		if !state.Ended() {
			p.Waiting += n
		}
	}
	steps := []func() error{
		func() (err error) {
			p.Drifted, err = c.Service.CountAccounts(ctx, api.AccountFilter{App: name, Drifted: true})
			return err
		},
		func() (err error) {
			p.Undecided, err = c.Service.CountAccounts(ctx, api.AccountFilter{App: name, Undecided: true})
			return err
		},
		func() error {
			l, err := c.Service.Requests(ctx, api.RequestFilter{App: name, Operation: host.Reconcile, Paging: api.Paging{Sort: "-number", Limit: mostRunsOfApp}})
			p.Runs = l.Rows
			return err
		},
		func() (err error) { p.Plans, err = c.Service.Plans(ctx, name, nil, mostPlansOfApp); return err },
		func() error {
			failures, err := c.Service.Failures(ctx, c.Now().Add(-failedSince))
			for _, f := range failures {
				if f.App == name {
					p.Failed += f.Requests
				}
			}
			return err
		},
		func() error {
			notices, err := c.Service.Notices(ctx, time.Time{})
			p.Notices = append(p.stopped(), needsOf(ofApp(notices, p))...)
			return err
		},
		func() error { return c.appParts(ctx, &p) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return p, err
		}
	}
	return p, nil
}

// appParts finds what the app is made of, as far as who looks may see it.
func (c *console) appParts(ctx context.Context, p *appPage) error {
	plugin, err := c.Service.Plugin(ctx, p.Config.Connector)
	if err := unlessHidden(err); err != nil {
		return err
	}
	if err == nil {
		p.Plugin = &plugin
		if p.Builds, err = c.Service.Builds(ctx, plugin.Name); unlessHidden(err) != nil {
			return err
		}
	}
	if p.Config.NamedCredentialId != "" {
		credential, err := c.Service.Credential(ctx, p.Config.NamedCredentialId)
		if err := unlessHidden(err); err != nil {
			return err
		}
		if err == nil {
			p.Credential = &credential
		}
	}
	setting, err := c.Service.Setting(ctx, "apps", p.Name)
	if err := unlessHidden(err); err != nil {
		return err
	}
	if err == nil {
		p.Setting = &setting
	}
	return nil
}

// unlessHidden forgives that something is not there, or is not for who looks.
func unlessHidden(err error) error {
	if code := host.CodeOf(err); code == host.NotFound || code == host.PermissionDenied {
		return nil
	}
	return err
}

// needsOf are notices with where each is seen to.
func needsOf(notices []api.Notice) []need {
	var h home
	h.add(notices)
	return h.Needs
}

// ofApp are the notices that concern what the app is made of.
func ofApp(notices []api.Notice, p appPage) (list []api.Notice) {
	for _, n := range notices {
		credential, _, _ := strings.Cut(n.Subject, "/")
		switch n.Kind {
		case host.NoticeConnector:
			if n.Subject == p.Config.Connector {
				list = append(list, n)
			}
		case host.NoticeCredential, host.NoticeTarget:
			if credential == p.Config.NamedCredentialId || n.Subject == "app:"+p.Name {
				list = append(list, n)
			}
		}
	}
	return list
}

// stopped are the runs and plans of the app that wait for a person.
func (p appPage) stopped() (list []need) {
	for _, r := range p.Runs {
		switch {
		case r.State != host.StateAnalyzed:
		case r.Quarantine != "":
			list = append(list, need{Tone: "warn", Text: capital(r.Quarantine), Sub: "The run was stopped before its commit.", Do: runPath(r.Name()), Label: "Decide"})
		default:
			list = append(list, need{Tone: "info", Text: r.Name() + " waits for a review", Sub: runFoundText(r), Do: runPath(r.Name()), Label: "Review"})
		}
	}
	for _, plan := range p.Plans {
		if plan.State == host.PlanQuarantined {
			list = append(list, need{Tone: "warn", Text: sentence(plan.Reason), Sub: "The plan was stopped before the first change.", Do: planPath(plan.Name()), Label: "Decide"})
		}
	}
	return list
}

// appReconcile starts a run, and leads to it.
func (c *console) appReconcile(w http.ResponseWriter, r *http.Request) error {
	app := r.PathValue("app")
	run, err := c.Service.Reconcile(r.Context(), app, api.ReconcileOptions{Mode: r.PostFormValue("mode"), Filter: strings.TrimSpace(r.PostFormValue("filter"))})
	if err != nil {
		return c.refused(w, r, appPath(app), err)
	}
	http.Redirect(w, r, runPath(run.Name()), http.StatusSeeOther)
	return nil
}

// appProcess makes a plan of all that there is to do, and leads to it.
func (c *console) appProcess(w http.ResponseWriter, r *http.Request) error {
	app := r.PathValue("app")
	plan, err := c.Service.Process(r.Context(), app, api.ProcessOptions{DryRun: r.PostFormValue("dry") != ""})
	if err != nil {
		return c.refused(w, r, appPath(app), err)
	}
	http.Redirect(w, r, planPath(plan.Name()), http.StatusSeeOther)
	return nil
}

// appSchedule are the schedule and the thresholds of an app, as a form.
type appSchedule struct {
	App, Label string
	// Declared is the file that declares the app: then it can't be changed here.
	Declared string
	Revision int64
	// Inputs are the fields of the form, Policies the choices of it.
	Inputs, Policies []Field
	Problem          string
}

// scheduleKeys are the fields of the form, by their path in the app's document.
var scheduleKeys = []struct {
	Key, Label, Hint string
	Options          []Option
}{
	{Key: "schedule", Label: "Schedule", Hint: "As cron has it: minute, hour, day, month, weekday. 0 2 * * * is each night at two. Empty: only when somebody starts it."},
	{Key: "thresholds.deactivate", Label: "Stop before so many are deactivated", Hint: "A number, or a share of all accounts, such as 5%. Empty: 10%."},
	{Key: "thresholds.delete", Label: "Stop before so many are deleted", Hint: "A number or a share. Empty: 5%."},
	{Key: "thresholds.found", Label: "Stop where fewer are found than", Hint: "A share of the accounts that were there. Empty: 50%."},
	{Key: "missing", Label: "Someone should have an account and has none", Options: []Option{{"nothing", "Nothing is done"}, {"create", "Create one"}}},
	{Key: "drift", Label: "Values differ", Options: []Option{{"nothing", "Nothing is done"}, {"update", "Send ours"}, {"accept", "Keep theirs"}}},
	{Key: "orphaned", Label: "An account is nobody’s", Options: []Option{{"nothing", "Nothing is done"}, {"deactivate", "Deactivate it"}, {"delete", "Delete it"}}},
	{Key: "unassigned", Label: "Someone has an account and should have none", Options: []Option{{"nothing", "Nothing is done"}, {"deactivate", "Deactivate it"}, {"delete", "Delete it"}}},
}

func (c *console) appSchedule(w http.ResponseWriter, r *http.Request) error {
	setting, err := c.Service.Setting(r.Context(), "apps", r.PathValue("app"))
	if err != nil {
		return err
	}
	reconcile, _ := setting.Document["reconcile"].(map[string]any)
	s, err := c.scheduleOf(r.Context(), setting, func(key string) string { return textAt(reconcile, key) })
	if err != nil {
		return err
	}
	return c.showSchedule(w, r, http.StatusOK, s)
}

// scheduleOf is the form with the values that value gives.
func (c *console) scheduleOf(ctx context.Context, setting api.Setting, value func(key string) string) (s appSchedule, err error) {
	app, err := c.Service.App(ctx, setting.Name)
	if err != nil {
		return s, err
	}
	s = appSchedule{App: app.Name, Label: app.Label, Declared: fileName(setting.File), Revision: setting.Revision}
	for _, k := range scheduleKeys {
		f := Field{Name: k.Key, Label: k.Label, Hint: k.Hint, Options: k.Options, Value: value(k.Key), Off: setting.File != ""}
		if k.Options != nil {
			f.Required = true
			s.Policies = append(s.Policies, f)
			continue
		}
		s.Inputs = append(s.Inputs, f)
	}
	return s, nil
}

func (c *console) showSchedule(w http.ResponseWriter, r *http.Request, status int, s appSchedule) error {
	return c.showWith(w, r, status, Page{Title: "Schedule and thresholds", Sub: Text("When " + s.Label + " is reconciled by itself, what follows, and what stops it."), Current: "apps",
		Crumbs: []Crumb{{"Apps", Path + "/apps"}, {s.Label, appPath(s.App)}, {Label: "Schedule and thresholds"}}}, scheduleForm(s))
}

// saveSchedule stores it. What can't be taken is told beside its field.
func (c *console) saveSchedule(w http.ResponseWriter, r *http.Request) error {
	ctx, app := r.Context(), r.PathValue("app")
	setting, err := c.Service.Setting(ctx, "apps", app)
	if err != nil {
		return err
	}
	reconcile, _ := setting.Document["reconcile"].(map[string]any)
	if reconcile == nil {
		reconcile = map[string]any{}
	}
	for _, k := range scheduleKeys {
		putText(reconcile, k.Key, strings.TrimSpace(r.PostFormValue(k.Key)))
	}
	setting.Document["reconcile"] = reconcile
	revision := formInt(r, "revision")
	err = c.putDocument(ctx, "apps", app, setting.Document, revision)
	if err == nil {
		return c.done(w, r, appPath(app), Flash{Tone: "good", Text: "The schedule and the thresholds count from now on."})
	}
	if host.CodeOf(err) != host.InvalidInput && host.CodeOf(err) != host.Conflict {
		return err
	}
	s, formErr := c.scheduleOf(ctx, setting, func(key string) string { return strings.TrimSpace(r.PostFormValue(key)) })
	if formErr != nil {
		return formErr
	}
	s.Problem = capital(message(err))
	var e *host.Error
	for i, f := range s.Inputs {
		if errors.As(err, &e) && strings.HasSuffix(e.Field, "reconcile."+f.Name) {
			s.Inputs[i].Problem, s.Problem = capital(e.Message), ""
		}
	}
	return c.showSchedule(w, r, http.StatusUnprocessableEntity, s)
}
