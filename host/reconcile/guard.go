package reconcile

import (
	"context"
	"fmt"
	"time"

	"github.com/provosthq/provost/host"
)

// A whole run that finds far fewer accounts than are known would make the rest
// count as gone, and its commit would have them made anew. It stops before the
// commit and waits for a person.

// guard says why a run must not be committed yet, "" where it may.
func (e *Engine) guard(ctx context.Context, tx Tx, r *host.UserProvisioningRequest) (string, error) {
	if r.QuarantineAllowed || !whole(r) {
		return "", nil
	}
	app, err := tx.Config(ctx, r.AppName)
	if err != nil {
		return "", err
	}
	known, err := tx.CountKnown(ctx, r.AppName)
	if err != nil {
		return "", err
	}
	t := app.Reconcile.Thresholds
	least := t.Found.Count
	if t.Found.Share {
		if known <= t.Smallest {
			return "", nil
		}
		least = int64(t.Found.Percent * float64(known) / 100)
	}
	if !t.Found.Set || r.ReconFound >= least {
		return "", nil
	}
	return fmt.Sprintf("found %d of the %d accounts that were there (%.0f %%); the least is %s", r.ReconFound, known,
		100*float64(r.ReconFound)/float64(max(1, known)), t.Found), nil
}

// quarantine holds a run back before its commit, with why.
func (e *Engine) quarantine(ctx context.Context, tx Tx, r *host.UserProvisioningRequest, why string) error {
	if r.Quarantine == why {
		return nil
	}
	next := *r
	next.Quarantine = why
	if err := tx.UpdateRequest(ctx, &next, r.Attempt); err != nil {
		return err
	}
	e.Observe.Held(tx, &next)
	e.Logger.WarnContext(ctx, "a run was stopped before its commit", "app", r.AppName, "request", r.Name(), "because", why)
	return e.log(ctx, tx, &next, "quarantined", why, nil)
}

// hold puts a run into quarantine that may not be committed by itself, and ends
// its job.
func (e *Engine) hold(ctx context.Context, r *host.UserProvisioningRequest) (held bool, err error) {
	because := ""
	err = e.Store.Update(ctx, func(tx Tx) error {
		why, err := e.guard(ctx, tx, r)
		because = why
		if held = why != ""; err != nil || !held {
			return err
		}
		if err := e.quarantine(ctx, tx, r, why); err != nil {
			return err
		}
		return tx.CompleteJob(ctx)
	})
	if err == nil && held {
		waits := *r
		waits.Quarantine = because
		e.tell(ctx, &waits)
	}
	return held, err
}

// Allow lets a run in quarantine be committed: exactly what it has collected.
func (e *Engine) Allow(ctx context.Context, tx Tx, id, reason string) (*host.UserProvisioningRequest, error) {
	r, err := inQuarantine(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	r.QuarantineAllowed, r.Quarantine = true, ""
	if err := tx.UpdateRequest(ctx, r, r.Attempt); err != nil {
		return nil, err
	}
	if err := e.log(ctx, tx, r, "allowed", reason, nil); err != nil {
		return nil, err
	}
	if !r.CommitWhenAnalyzed {
		return r, nil
	}
	return r, tx.Enqueue(ctx, JobKind, r.Id, time.Time{})
}

// Reject ends a run in quarantine; nothing of it is stored.
func (e *Engine) Reject(ctx context.Context, tx Tx, id, reason string) (*host.UserProvisioningRequest, error) {
	r, err := inQuarantine(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	now := e.Now().UTC()
	r.State, r.CompletedDate = host.StateCancelled, &now
	if err := tx.UpdateRequest(ctx, r, r.Attempt); err != nil {
		return nil, err
	}
	if err := e.log(ctx, tx, r, "rejected", reason, nil); err != nil {
		return nil, err
	}
	return r, tx.ClearRun(ctx, r.Id)
}

func inQuarantine(ctx context.Context, tx Tx, id string) (*host.UserProvisioningRequest, error) {
	r, err := tx.Request(ctx, id)
	if err != nil {
		return nil, err
	}
	if r.State != host.StateAnalyzed || r.Quarantine == "" {
		return nil, host.Errorf(host.Conflict, "%s is %s and not in quarantine", r.Name(), r.State)
	}
	return r, nil
}
