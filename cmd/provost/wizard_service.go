package main

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store"
)

// The wizard makes the configuration of one app step by step. What people have
// given until now is a draft in the database, right or wrong; it is checked by
// what checks a file. When it is collected it becomes a setting.

// wizardKeys are the keys of an app that belong to each step. What belongs to
// none stays as it is.
var wizardKeys = map[string][]string{
	api.StepApp:        {"label", "enabled", "profiles", "permission_sets", "scope"},
	api.StepConnector:  {"plugin"},
	api.StepCredential: {"credential"},
	api.StepOperations: {"operations", "on_unassign", "on_disable", "on_delete", "delete_after", "fallback"},
	api.StepAttributes: {"mapping", "on_update_attributes", "parameters"},
	api.StepApproval:   {"approval", "approval_group", "approval_rule", "approval_operations", "approval_expires"},
	api.StepLinking:    {"link", "recon_filter", "reconcile", "import_mapping"},
}

// stepOf is the step that a key below an app belongs to: mapping[2] is of the
// attributes. What belongs to none is shown at the first.
func stepOf(field string) string {
	root := field
	if i := strings.IndexAny(field, ".["); i >= 0 {
		root = field[:i]
	}
	for step, keys := range wizardKeys {
		if slices.Contains(keys, root) {
			return step
		}
	}
	return api.StepApp
}

func (s service) Wizards(ctx context.Context) ([]*api.Wizard, error) {
	var drafts []*host.WizardDraft
	if err := s.store.View(ctx, func(t *store.Tx) (err error) { drafts, err = t.WizardDrafts(ctx); return err }); err != nil {
		return nil, err
	}
	var list []*api.Wizard
	for _, d := range drafts {
		w, err := s.shownWizard(ctx, d)
		if err != nil {
			return nil, err
		}
		list = append(list, w)
	}
	return list, nil
}

func (s service) Wizard(ctx context.Context, app string) (*api.Wizard, error) {
	d, err := s.draft(ctx, app)
	if err != nil {
		return nil, err
	}
	return s.shownWizard(ctx, d)
}

// draft is what is stored of an app in the wizard, or how the app is where
// nobody has begun: then its revision is 0.
func (s service) draft(ctx context.Context, app string) (d *host.WizardDraft, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		d, err = s.draftIn(ctx, t, app)
		return err
	})
	return d, err
}

func (s service) draftIn(ctx context.Context, t *store.Tx, app string) (*host.WizardDraft, error) {
	d, err := t.WizardDraft(ctx, app)
	if host.CodeOf(err) != host.NotFound {
		return d, err
	}
	values, base, err := s.appAsItIs(ctx, t, app)
	if err != nil {
		return nil, err
	}
	return &host.WizardDraft{AppName: app, Values: values, Base: base, Saved: slices.Clone(api.WizardSteps)}, nil
}

// appAsItIs are the values of an app that there is, as the setting has them or,
// where it is declared in a file, as they are in effect.
func (s service) appAsItIs(ctx context.Context, t *store.Tx, app string) (values map[string]any, revision int64, err error) {
	cfg := s.current.Load().config
	place := cfg.DeclaredIn("apps", app)
	if place != "" && !config.IsStored(place) {
		document, _ := cfg.Document("apps", app)
		return document, 0, nil
	}
	stored, err := storedApp(ctx, t, app)
	if host.CodeOf(err) == host.NotFound {
		return nil, 0, host.Errorf(host.NotFound, "there is no app %q, and nobody has begun the wizard for it", app)
	}
	if err != nil {
		return nil, 0, err
	}
	return values, stored.Revision, json.Unmarshal([]byte(stored.Document), &values)
}

// storedApp is the setting of an app.
func storedApp(ctx context.Context, t *store.Tx, app string) (*host.Setting, error) {
	list, _, err := t.Settings(ctx)
	for _, one := range list {
		if one.List == "apps" && one.Name == app {
			return one, err
		}
	}
	if err == nil {
		err = host.Errorf(host.NotFound, "no app named %q is stored", app)
	}
	return nil, err
}

// declaredInFile is the file that declares an app, "" for none: what the
// database has is no file.
func declaredInFile(cfg *config.Config, app string) string {
	if place := cfg.DeclaredIn("apps", app); !config.IsStored(place) {
		return place
	}
	return ""
}

// shownWizard is a draft with what is wrong with it.
func (s service) shownWizard(ctx context.Context, d *host.WizardDraft) (*api.Wizard, error) {
	cfg := s.current.Load().config
	w := &api.Wizard{App: d.AppName, Revision: d.Revision, Values: d.Values, DeclaredIn: declaredInFile(cfg, d.AppName),
		Committing: d.Committing, Problem: d.Problem, ChangedBy: d.Actor, Changes: d.Changes}
	stale, err := s.staleDraft(ctx, d)
	if err != nil {
		return nil, err
	}
	w.Stale = stale
	if !d.ChangedDate.IsZero() {
		w.ChangedDate = &d.ChangedDate
	}
	if i := slices.IndexFunc(cfg.Apps, func(a config.App) bool { return a.Name == d.AppName }); i >= 0 {
		w.Mode = cfg.Apps[i].Mode
		if w.DeclaredIn != "" && w.Values == nil {
			w.Values, _ = cfg.Document("apps", d.AppName)
		}
	}
	if w.Values == nil {
		w.Values = map[string]any{}
	}
	if w.Label, _ = w.Values["label"].(string); w.Label == "" {
		w.Label = d.AppName
	}
	var problems []config.Problem
	if w.DeclaredIn == "" {
		_, problems = s.checkDraft(ctx, cfg, d)
	}
	saved := d.Saved
	if w.DeclaredIn != "" {
		saved = api.WizardSteps
	}
	for _, name := range api.WizardSteps {
		step := api.WizardStep{Name: name, Keys: wizardKeys[name], Saved: slices.Contains(saved, name)}
		step.Done = step.Saved
		for _, p := range problems {
			field := strings.TrimPrefix(strings.TrimPrefix(p.Key, "apps."+d.AppName), ".")
			if stepOf(field) != name {
				continue
			}
			step.Done = false
			if step.Saved {
				step.Problems = append(step.Problems, api.WizardProblem{Field: field, Message: p.Message})
			}
		}
		w.Steps = append(w.Steps, step)
	}
	w.Next = api.StepLinking
	if i := slices.IndexFunc(w.Steps, func(one api.WizardStep) bool { return !one.Done }); i >= 0 {
		w.Next = w.Steps[i].Name
	}
	run, err := s.wizardRun(ctx, d)
	if run != nil {
		w.Run = run.Name()
	}
	return w, err
}

// wizardRun is the run that the wizard began, or that is open in the app; nil for
// none.
func (s service) wizardRun(ctx context.Context, d *host.WizardDraft) (r *host.UserProvisioningRequest, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		if d.RunId != "" {
			r, err = t.Request(ctx, d.RunId)
			if host.CodeOf(err) != host.NotFound { // else it is pruned
				return err
			}
		}
		list, err := t.Requests(ctx, store.RequestFilter{AppName: d.AppName, Operation: host.Reconcile, Limit: 1,
			States: []host.RequestState{host.StateNew, host.StateCollecting, host.StateCollected, host.StateAnalyzing, host.StateAnalyzed, host.StateCommitting}})
		if r = nil; err == nil && len(list) > 0 {
			r = list[0]
		}
		return err
	})
	return r, err
}

func (s service) SaveWizard(ctx context.Context, app, step string, in api.WizardSave) (*api.Wizard, error) {
	keys, ok := wizardKeys[step]
	if !ok {
		return nil, host.Errorf(host.NotFound, "the wizard has no step %q; there is %s", step, strings.Join(api.WizardSteps, ", "))
	}
	for key := range in.Values {
		if !slices.Contains(keys, key) {
			return nil, &host.Error{Code: host.InvalidInput, Field: "values." + key, Message: fmt.Sprintf("is none of this step, which has %s", strings.Join(keys, ", "))}
		}
	}
	if err := s.mayDraft(app); err != nil {
		return nil, err
	}
	var d *host.WizardDraft
	err := s.store.Update(ctx, func(t *store.Tx) (err error) {
		d, err = s.draftIn(ctx, t, app)
		if host.CodeOf(err) == host.NotFound && step == api.StepApp {
			d, err = &host.WizardDraft{AppName: app, Values: map[string]any{"name": app}}, nil
		}
		if err != nil {
			return err
		}
		if d.Committing {
			return host.Errorf(host.Conflict, "%s is being committed; change it when that has ended", app)
		}
		if err := checkChangedSince(d, in.Revision, keys, in.Values); err != nil {
			return err
		}
		was := d.Revision
		changeDraft(ctx, d, step, keys, in.Values)
		return t.PutWizardDraft(ctx, d, was)
	})
	if err != nil {
		return nil, err
	}
	return s.shownWizard(ctx, d)
}

// mayDraft tells why an app can't be changed here.
func (s service) mayDraft(app string) error {
	cfg := s.current.Load().config
	if file := declaredInFile(cfg, app); file != "" {
		return host.Errorf(host.Conflict, "the app %s is declared in %s: change it there", app, file)
	}
	_, problems := cfg.DraftApp(app, asJSON(map[string]any{"name": app}))
	for _, p := range problems {
		if p.Key == "apps."+app+".name" {
			return &host.Error{Code: host.InvalidInput, Field: "name", Message: p.Message}
		}
	}
	return nil
}

// changeDraft makes the values of a step others, and notes what has changed.
func changeDraft(ctx context.Context, d *host.WizardDraft, step string, keys []string, values map[string]any) {
	now, actor := time.Now().UTC(), host.ActorOf(ctx)
	if d.CreatedDate.IsZero() {
		d.CreatedDate = now
	}
	for _, key := range keys {
		before, after := d.Values[key], values[key]
		if same(before, after) {
			continue
		}
		d.Changes = append(d.Changes, host.WizardChange{Revision: d.Revision + 1, Date: now, Actor: actor, Step: step, Key: key, Before: before, After: after})
		if after == nil {
			delete(d.Values, key)
		} else {
			d.Values[key] = after
		}
	}
	d.Changes = d.Changes[max(0, len(d.Changes)-host.MostWizardChanges):]
	if !slices.Contains(d.Saved, step) {
		d.Saved = append(d.Saved, step)
	}
	d.Actor, d.ChangedDate, d.Problem = actor, now, ""
}

// checkChangedSince tells what somebody else has changed of some keys since a
// revision. What others changed elsewhere is no conflict.
func checkChangedSince(d *host.WizardDraft, revision int64, keys []string, values map[string]any) error {
	if revision > d.Revision {
		return host.Errorf(host.Conflict, "the draft of %s was begun anew since; load it again", d.AppName)
	}
	var told []string
	for _, c := range d.Since(revision) {
		if slices.Contains(keys, c.Key) && !same(c.After, values[c.Key]) {
			told = append(told, fmt.Sprintf("%s has changed %s from %s to %s", c.Actor, c.Key, jsonText(c.Before), jsonText(c.After)))
		}
	}
	if len(told) > 0 {
		return host.Errorf(host.Conflict, "%s; to put yours in its place, save it with revision %d", strings.Join(told, ", "), d.Revision)
	}
	return nil
}

// same tells whether two values are alike as JSON.
func same(a, b any) bool { return reflect.DeepEqual(a, b) || jsonText(a) == jsonText(b) }

func jsonText(v any) string {
	if v == nil {
		return "nothing"
	}
	return string(asJSON(v))
}

// asJSON is a value as JSON; the values of drafts come from JSON.
func asJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte("{}")
	}
	return b
}

func (s service) DropWizard(ctx context.Context, app string) error {
	return s.store.Update(ctx, func(t *store.Tx) error {
		d, err := t.WizardDraft(ctx, app)
		if err != nil {
			return err
		}
		if d.Committing {
			return host.Errorf(host.Conflict, "%s is being committed; that can't be stopped half-way", app)
		}
		return t.DeleteWizardDraft(ctx, app)
	})
}
