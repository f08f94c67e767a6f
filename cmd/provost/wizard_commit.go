package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/plan"
	"github.com/provosthq/provost/host/reconcile"
	"github.com/provosthq/provost/host/store"
)

// The end of the wizard survives a stop at any point. The app is stored in
// preview, so that nothing reaches the target; then it is collected. The commit
// is noted in the draft, in the transaction that begins it. When the run has
// been committed the app goes live, and only then what follows for each account
// is done, in the transaction that forgets the draft.

func (s service) CollectWizard(ctx context.Context, app string, revision int64) (*api.Wizard, error) {
	d, err := s.draft(ctx, app)
	if err != nil {
		return nil, err
	}
	if err := s.mayCollect(ctx, d, revision); err != nil {
		return nil, err
	}
	if declaredInFile(s.current.Load().config, app) == "" {
		if err := s.storeDraft(ctx, d); err != nil {
			return nil, err
		}
	}
	if before, err := s.wizardRun(ctx, d); err != nil {
		return nil, err
	} else if before != nil && !before.State.Ended() {
		if _, err := s.Cancel(ctx, before.Id); err != nil {
			return nil, err
		}
	}
	run, err := s.Reconcile(ctx, app, api.ReconcileOptions{})
	if err != nil {
		return nil, err
	}
	d, err = s.noteInDraft(ctx, app, func(d *host.WizardDraft) { d.RunId, d.Problem = run.Id, "" })
	if err != nil {
		return nil, err
	}
	return s.shownWizard(ctx, d)
}

// mayCollect tells why a draft can't be collected yet.
func (s service) mayCollect(ctx context.Context, d *host.WizardDraft, revision int64) error {
	w, err := s.shownWizard(ctx, d)
	if err != nil {
		return err
	}
	if revision != 0 && revision != d.Revision {
		return host.Errorf(host.Conflict, "%s has changed the draft since; look at it again", d.Actor)
	}
	if d.Committing {
		return host.Errorf(host.Conflict, "%s is being committed", d.AppName)
	}
	for _, step := range w.Steps {
		if len(step.Problems) > 0 {
			p := step.Problems[0]
			return &host.Error{Code: host.InvalidInput, Field: p.Field, Message: fmt.Sprintf("the step %s is not done: %s", step.Name, p.Message)}
		}
		if !step.Done {
			return host.Errorf(host.InvalidInput, "the step %s is not done yet", step.Name)
		}
	}
	return nil
}

// storeDraft makes the app a setting: live where it is already, else in preview.
func (s service) storeDraft(ctx context.Context, d *host.WizardDraft) error {
	revision, err := s.putApp(ctx, d.AppName, s.collectedAs(d), d.Base)
	if err != nil {
		return err
	}
	_, err = s.noteInDraft(ctx, d.AppName, func(d *host.WizardDraft) { d.Base = revision })
	return err
}

// collectedAs is the app of a draft as it is collected.
func (s service) collectedAs(d *host.WizardDraft) map[string]any {
	values := maps.Clone(d.Values)
	if values == nil {
		values = map[string]any{}
	}
	values["name"], values["mode"] = d.AppName, string(host.Preview)
	if now := s.current.Load().config; modeOf(now, d.AppName) == string(host.Live) {
		delete(values, "mode")
	}
	return values
}

// staleDraft tells whether a draft is another by now than what its run collected
// with, so that other things would follow than the review shows.
func (s service) staleDraft(ctx context.Context, d *host.WizardDraft) (bool, error) {
	if d.RunId == "" || d.Committing || declaredInFile(s.current.Load().config, d.AppName) != "" {
		return false, nil
	}
	var now *host.Setting
	err := s.store.View(ctx, func(t *store.Tx) (err error) { now, err = storedApp(ctx, t, d.AppName); return err })
	if host.CodeOf(err) == host.NotFound {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	var stored map[string]any
	if err := json.Unmarshal([]byte(now.Document), &stored); err != nil {
		return false, err
	}
	return !same(stored, s.collectedAs(d)), nil
}

// putApp stores an app whose setting still has a revision, 0 for none, and
// returns the next.
func (s service) putApp(ctx context.Context, app string, values map[string]any, was int64) (int64, error) {
	var now *host.Setting
	err := s.store.View(ctx, func(t *store.Tx) (err error) { now, err = storedApp(ctx, t, app); return err })
	if err != nil && host.CodeOf(err) != host.NotFound {
		return 0, err
	}
	if err == nil {
		var stored map[string]any
		if json.Unmarshal([]byte(now.Document), &stored) == nil && same(stored, values) {
			return now.Revision, nil // as it is to be; we were stopped before we could note it
		}
	}
	stored, err := s.PutSetting(ctx, "apps", app, asJSON(values), was)
	if err != nil {
		return 0, err
	}
	return stored.Revision, nil
}

func modeOf(cfg *config.Config, app string) string {
	for _, a := range cfg.Apps {
		if a.Name == app {
			return a.Mode
		}
	}
	return ""
}

// noteInDraft changes what the wizard itself notes in a draft; it is begun where
// there is none.
func (s service) noteInDraft(ctx context.Context, app string, note func(*host.WizardDraft)) (d *host.WizardDraft, err error) {
	err = s.store.Update(ctx, func(t *store.Tx) error {
		d, err = s.noteIn(ctx, t, app, note)
		return err
	})
	return d, err
}

func (s service) noteIn(ctx context.Context, t *store.Tx, app string, note func(*host.WizardDraft)) (*host.WizardDraft, error) {
	d, err := s.draftIn(ctx, t, app)
	if err != nil {
		return nil, err
	}
	if d.Revision == 0 {
		d.Actor, d.CreatedDate, d.ChangedDate = host.ActorOf(ctx), time.Now().UTC(), time.Now().UTC()
	}
	note(d)
	return d, t.PutWizardDraft(ctx, d, d.Revision)
}

func (s service) CommitWizard(ctx context.Context, app string, c api.WizardCommit) (*api.Wizard, error) {
	d, err := s.draft(ctx, app)
	if err != nil {
		return nil, err
	}
	if c.Revision != 0 && c.Revision != d.Revision {
		return nil, host.Errorf(host.Conflict, "%s has changed the draft since; look at it again", d.Actor)
	}
	run, err := s.wizardRun(ctx, d)
	switch {
	case err != nil:
		return nil, err
	case run == nil:
		return nil, host.Errorf(host.Conflict, "%s was not collected yet", app)
	}
	if stale, err := s.staleDraft(ctx, d); err != nil {
		return nil, err
	} else if stale {
		return nil, host.Errorf(host.Conflict, "the draft of %s was changed since it was collected: collect it again, and look at what would follow now", app)
	}
	_, err = s.act(ctx, host.AuditReconcileCommit, run.Id, func(t tx, id string) (*host.UserProvisioningRequest, error) {
		r, err := s.reconcile.Commit(ctx, t, id)
		if err != nil || r.Quarantine != "" { // a person must allow it first
			return r, err
		}
		_, err = s.noteIn(ctx, t.Tx, app, func(d *host.WizardDraft) {
			d.RunId, d.Committing, d.Process, d.Problem, d.Actor = id, true, c.Process, "", host.ActorOf(ctx)
		})
		return r, err
	})
	if err != nil {
		return nil, err
	}
	return s.Wizard(ctx, app)
}

// finishWizards lets apps go live whose first run has been committed.
func (d *daemon) finishWizards(ctx context.Context) error {
	var list []*host.WizardDraft
	if err := d.store.View(ctx, func(t *store.Tx) (err error) { list, err = t.WizardDrafts(ctx); return err }); err != nil {
		return err
	}
	var errs []error
	for _, draft := range list {
		if !draft.Committing {
			continue
		}
		if err := (service{d}).finishWizard(host.WithActor(ctx, draft.Actor), draft); err != nil {
			errs = append(errs, fmt.Errorf("the wizard of %s: %w", draft.AppName, err))
		}
	}
	return errors.Join(errs...)
}

func (s service) finishWizard(ctx context.Context, d *host.WizardDraft) error {
	run, err := s.wizardRun(ctx, d)
	switch {
	case err != nil:
		return err
	case run == nil || run.State.Ended() && run.State != host.StateCompleted:
		why := "its run is gone"
		if run != nil {
			why = fmt.Sprintf("%s was not committed, it is %s: %s", run.Name(), run.State, run.ErrorMessage)
		}
		_, err := s.noteInDraft(ctx, d.AppName, func(d *host.WizardDraft) { d.Committing, d.Problem = false, why })
		return err
	case run.State == host.StateAnalyzed && run.Quarantine != "": // a person must allow it, and commit again
		_, err := s.noteInDraft(ctx, d.AppName, func(d *host.WizardDraft) { d.Committing = false })
		return err
	case run.State != host.StateCompleted:
		return nil
	}
	if err := s.goLive(ctx, d.AppName); err != nil {
		if code := host.CodeOf(err); code == host.Conflict || code.Retryable() {
			return err // it is tried again
		}
		_, noted := s.noteInDraft(ctx, d.AppName, func(d *host.WizardDraft) {
			d.Problem = "the accounts are linked, but the app can't go live: " + err.Error()
		})
		return errors.Join(err, noted)
	}
	return s.store.Update(ctx, func(t *store.Tx) error {
		now, err := t.WizardDraft(ctx, d.AppName)
		if err != nil || !now.Committing {
			return nil // another machine was first
		}
		if now.Process {
			p, err := s.plan.Start(ctx, tx{Tx: t, d: s.daemon}, d.AppName, plan.ProcessOptions{})
			if err == nil {
				err = s.auditPlan(ctx, t, host.AuditPlanStart, p)
			}
			if err != nil {
				return err
			}
		}
		return t.DeleteWizardDraft(ctx, d.AppName)
	})
}

// goLive makes an app of the settings that is in preview live.
func (s service) goLive(ctx context.Context, app string) error {
	var now *host.Setting
	err := s.store.View(ctx, func(t *store.Tx) (err error) { now, err = storedApp(ctx, t, app); return err })
	if host.CodeOf(err) == host.NotFound {
		return nil // a file declares it, which says how it is
	}
	var values map[string]any
	if err == nil {
		err = json.Unmarshal([]byte(now.Document), &values)
	}
	if err != nil || values["mode"] != string(host.Preview) {
		return err
	}
	delete(values, "mode")
	_, err = s.PutSetting(ctx, "apps", app, asJSON(values), now.Revision)
	return err
}

// Following looks at what would follow from the commit of a run. The counts are
// those of its analysis; the changes are made a page at a time: first for the
// people who have no account, then for each account.
func (s service) Following(ctx context.Context, id string, op host.Operation, after string, limit int) (out *api.Following, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		out = &api.Following{Counts: map[string]int64{}, Changes: []*host.PlannedChange{}}
		r, err := analyzedRun(ctx, t, id)
		if err != nil {
			return err
		}
		app, err := t.Config(ctx, r.AppName)
		if err != nil {
			return err
		}
		rules, err := s.rulesOf(r.AppName)
		if err != nil {
			return err
		}
		countFollowing(out, app, r)
		f := following{ctx: ctx, t: t, r: r, policy: app.Reconcile, rules: rules, out: out, op: op, limit: limit}
		if rest, isAccount := strings.CutPrefix(after, "account:"); isAccount {
			number, err := strconv.ParseInt(rest, 10, 64)
			if err != nil {
				return &host.Error{Code: host.InvalidInput, Field: "after", Message: "is none that a page ended with"}
			}
			return f.accounts(number)
		}
		done, err := f.missing(after)
		if err != nil || !done {
			return err
		}
		if err := f.accounts(0); err != nil {
			return err
		}
		if after == "" && out.After == "" && op == "" { // all of it is here
			f.count()
		}
		return nil
	})
	return out, err
}

// countFollowing counts by the summary of a run, which knows all of it.
func countFollowing(out *api.Following, app *host.UserProvisioningConfig, r *host.UserProvisioningRequest) {
	add := func(op host.Operation, n int64) {
		if n > 0 {
			out.Counts[string(op)] += n
		}
	}
	p := app.Reconcile
	if p.Missing == "create" {
		add(host.Create, r.Summary["missing"])
	}
	if p.Drift == "update" {
		add(host.Update, r.Summary["drifted"])
	}
	switch p.Orphaned {
	case "deactivate":
		add(host.Deactivate, r.Summary[string(host.Orphaned)])
	case "delete":
		add(host.Delete, r.Summary[string(host.Orphaned)])
	}
	out.Accounts = r.Summary[string(host.Linked)]
	out.Stopped = plan.Exceeds(p.Thresholds, out.Counts, out.Accounts)
}

// following makes a page of what follows.
type following struct {
	ctx    context.Context
	t      *store.Tx
	r      *host.UserProvisioningRequest
	policy host.ReconcilePolicy
	rules  *rules
	out    *api.Following
	op     host.Operation // only these, "" for all
	limit  int
}

// count counts what is there, where that is all: the summary knows nothing of
// accounts whose people should have none.
func (f *following) count() {
	clear(f.out.Counts)
	for _, c := range f.out.Changes {
		f.out.Counts[string(c.Operation)]++
	}
	f.out.Stopped = plan.Exceeds(f.policy.Thresholds, f.out.Counts, f.out.Accounts)
}

// missing is for the people without an account; done where there is room for
// more.
func (f *following) missing(after string) (done bool, err error) {
	if f.policy.Missing != "create" || f.op != "" && f.op != host.Create {
		return true, nil
	}
	filter := reconcile.MissingOf(f.r)
	filter.After, filter.Limit = after, f.limit
	ids, err := f.t.MissingUsers(f.ctx, filter)
	if err != nil {
		return false, err
	}
	users, err := f.t.UsersById(f.ctx, ids)
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		u := users[id]
		if u == nil {
			continue
		}
		c, err := plan.NewAccount(f.rules, u)
		if err != nil {
			c = &host.PlannedChange{Operation: host.Create, UserId: u.Id, Subject: u.Username, Error: err.Error()}
		}
		f.out.Changes = append(f.out.Changes, c)
	}
	if len(ids) == f.limit {
		f.out.After = ids[len(ids)-1]
		return false, nil
	}
	return true, nil
}

// mostLookedAt bounds the accounts that a page looks at, as it may be that little
// follows for many.
const mostLookedAt, batchLookedAt = 5000, 500

// accounts is for the accounts that were collected, until the page is full.
func (f *following) accounts(after int64) error {
	if f.op == host.Create { // of an account that is there nothing is made
		return nil
	}
	for range mostLookedAt / batchLookedAt {
		list, err := f.t.StagedWhere(f.ctx, host.StagingFilter{RequestId: f.r.Id, Drifted: f.op == host.Update, After: after, Limit: batchLookedAt})
		if err != nil {
			return err
		}
		var ids []string
		for _, a := range list {
			if a.UserId != "" {
				ids = append(ids, a.UserId)
			}
		}
		users, err := f.t.UsersById(f.ctx, ids)
		if err != nil {
			return err
		}
		for _, staged := range list {
			after = staged.Number
			c, err := plan.Follows(f.policy, f.rules, reconcile.AccountOf(staged), users[staged.UserId])
			if err != nil {
				return err
			}
			if c != nil && (f.op == "" || c.Operation == f.op) {
				f.out.Changes = append(f.out.Changes, c)
			}
			if len(f.out.Changes) >= f.limit {
				f.out.After = fmt.Sprintf("account:%d", after)
				return nil
			}
		}
		if len(list) < batchLookedAt {
			return nil
		}
	}
	f.out.After = fmt.Sprintf("account:%d", after)
	return nil
}
