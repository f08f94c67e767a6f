package reconcile

import (
	"context"
	"fmt"
	"time"

	"github.com/provosthq/provost/host"
)

// Targets says when a target may be asked, and learns what came of it; the
// engine of provisioning does, for both.
type Targets interface {
	// Admit returns the target that a run must wait for, "" for none, and else
	// when its turn is.
	Admit(ctx context.Context, tx Tx, app *host.UserProvisioningConfig, r *host.UserProvisioningRequest) (at time.Time, waitsFor, why string, err error)
	// Note returns the target that the run must wait for now, "" for none.
	Note(ctx context.Context, tx Tx, app *host.UserProvisioningConfig, r *host.UserProvisioningRequest, trace *host.CallTrace, err error) (waitsFor string, own bool, _ error)
}

// run reads a Reconcile that has not ended.
func run(ctx context.Context, tx Tx, id, verb string) (*host.UserProvisioningRequest, error) {
	r, err := tx.Request(ctx, id)
	if err != nil {
		return nil, err
	}
	if r.Operation != host.Reconcile {
		return nil, host.Errorf(host.InvalidInput, "%s is a %s; only a run of a reconciliation can be %s", r.Name(), r.Operation, verb)
	}
	if r.State.Ended() {
		return nil, host.Errorf(host.Conflict, "%s is %s", r.Name(), r.State)
	}
	return r, nil
}

// Pause stops a run between two pages, until it is resumed. What it has
// collected stays.
func (e *Engine) Pause(ctx context.Context, tx Tx, id string) (*host.UserProvisioningRequest, error) {
	r, err := run(ctx, tx, id, "paused")
	if err != nil || r.Paused {
		return r, err
	}
	if r.State == host.StateCommitting {
		return nil, host.Errorf(host.Conflict, "%s is being committed; that can't be stopped half-way", r.Name())
	}
	r.Paused = true
	r.Attempt++ // the page that is under way is not stored over it
	if err := tx.UpdateRequest(ctx, r, r.Attempt-1); err != nil {
		return nil, err
	}
	return r, e.log(ctx, tx, r, "paused", fmt.Sprintf("after %d accounts on %d pages", r.ReconFound, r.ReconPages), nil)
}

// Resume lets a paused run go on where it was.
func (e *Engine) Resume(ctx context.Context, tx Tx, id string) (*host.UserProvisioningRequest, error) {
	r, err := run(ctx, tx, id, "resumed")
	if err != nil {
		return nil, err
	}
	if !r.Paused {
		return nil, host.Errorf(host.Conflict, "%s is not paused", r.Name())
	}
	r.Paused = false
	r.Attempt++
	if err := tx.UpdateRequest(ctx, r, r.Attempt-1); err != nil {
		return nil, err
	}
	if err := e.log(ctx, tx, r, "resumed", "", nil); err != nil {
		return nil, err
	}
	if first, err := tx.MarkQueued(ctx, r.Id); err != nil || !first {
		return r, err // its job has not seen the pause yet
	}
	return r, tx.Enqueue(ctx, JobKind, r.Id, time.Time{})
}

// rest ends the job of a run that is paused, or has ended meanwhile. done is
// false where it is to go on after all.
func (e *Engine) rest(ctx context.Context, id string) (done bool, err error) {
	err = e.Store.Update(ctx, func(tx Tx) error {
		r, err := tx.Request(ctx, id)
		if err != nil {
			return err
		}
		if done = r.Paused || r.State.Ended(); !done {
			return nil
		}
		if r.Queued && !r.State.Ended() {
			r.Queued = false
			if err := tx.UpdateRequest(ctx, r, r.Attempt); err != nil {
				return err
			}
		}
		return tx.CompleteJob(ctx)
	})
	return done, err
}

// Cancel ends a run before its commit; nothing of it is stored.
func (e *Engine) Cancel(ctx context.Context, tx Tx, id string) (*host.UserProvisioningRequest, error) {
	r, err := run(ctx, tx, id, "cancelled")
	if err != nil {
		return nil, err
	}
	if r.State == host.StateCommitting {
		return nil, host.Errorf(host.Conflict, "%s is being committed; that can't be stopped half-way", r.Name())
	}
	now := e.Now().UTC()
	r.State, r.CompletedDate, r.Paused, r.WaitsFor, r.Queued = host.StateCancelled, &now, false, "", false
	if err := tx.UpdateRequest(ctx, r, r.Attempt); err != nil {
		return nil, err
	}
	if err := e.log(ctx, tx, r, "cancelled", "a person withdrew it", nil); err != nil {
		return nil, err
	}
	return r, tx.ClearRun(ctx, r.Id)
}

// StartStaged makes a run whose accounts come from elsewhere: it begins at
// Analyzing. stage is called for the accounts, a page at a time, until it
// returns none.
func (e *Engine) StartStaged(ctx context.Context, tx Tx, appName string, commit bool, stage func() ([]*host.UserProvAccountStaging, error)) (*host.UserProvisioningRequest, error) {
	app, err := tx.Config(ctx, appName)
	if err != nil {
		return nil, err
	}
	now := e.Now().UTC()
	r := &host.UserProvisioningRequest{
		Id: host.NewID(), Operation: host.Reconcile, State: host.StateNew, ApprovalStatus: host.ApprovalNotRequired,
		AppName: appName, ConnectedAppId: app.ConnectedAppId, UserProvConfigId: app.Id, ReconMode: "full",
		CommitWhenAnalyzed: commit, Reason: "the accounts were put in by hand", CreatedDate: now, Queued: true,
	}
	if err := e.insertRun(ctx, tx, r); err != nil {
		return nil, err
	}
	next := *r
	for {
		list, err := stage()
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			break
		}
		for _, s := range list {
			s.UserProvisioningRequestId, s.ConnectedAppId = r.Id, r.ConnectedAppId
		}
		found, err := stageNew(ctx, tx, r.Id, list)
		if err != nil {
			return nil, err
		}
		next.ReconFound, next.ReconPages = next.ReconFound+found, next.ReconPages+1
	}
	next.State, next.StartedDate = host.StateAnalyzing, &now
	if err := tx.UpdateRequest(ctx, &next, r.Attempt); err != nil {
		return nil, err
	}
	if err := e.log(ctx, tx, &next, "collected", fmt.Sprintf("%d accounts were put in", next.ReconFound), nil); err != nil {
		return nil, err
	}
	return &next, tx.Enqueue(ctx, JobKind, r.Id, time.Time{})
}

// insertRun stores the request of a run: one of an app is under way at a time.
func (e *Engine) insertRun(ctx context.Context, tx Tx, r *host.UserProvisioningRequest) error {
	underWay := host.Errorf(host.Conflict, "a run of %s is under way   -> provost request list --app %s --operation Reconcile", r.AppName, r.AppName)
	if open, err := tx.OpenRun(ctx, r.AppName); err != nil {
		return err
	} else if open {
		return underWay
	}
	if err := tx.InsertRequest(ctx, r); err != nil {
		if host.CodeOf(err) == host.Conflict || isConstraint(err) { // at the same moment
			return underWay
		}
		return err
	}
	return e.log(ctx, tx, r, "requested", r.Reason, nil)
}

// stageNew stages accounts, and counts those that the run had not seen.
func stageNew(ctx context.Context, tx Tx, requestID string, list []*host.UserProvAccountStaging) (int64, error) {
	seen := map[string]bool{}
	var ids []string
	for _, s := range list {
		if !seen[s.ExternalUserId] {
			seen[s.ExternalUserId] = true
			ids = append(ids, s.ExternalUserId)
		}
	}
	before, err := tx.CountStagedOf(ctx, requestID, ids)
	if err != nil {
		return 0, err
	}
	return int64(len(ids)) - before, tx.PutStaging(ctx, list)
}
