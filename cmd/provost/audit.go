package main

import (
	"context"
	"encoding/json"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store"
)

// audit notes in the audit trail what a transaction does, for whoever ctx says
// does it. Details are anything that is JSON: digests, counts, keys; no secret,
// and of people their ids. It is stored with the transaction, or not at all.
func (d *daemon) audit(ctx context.Context, t *store.Tx, action host.AuditAction, object host.AuditObject, details any) error {
	return d.auditEntry(ctx, t, host.AuditEntry{Action: action, Object: object, Outcome: host.AuditDone}, details)
}

// auditRefused notes what somebody tried, and what was not done because of
// cause: by its transaction, which is over. It can fail only where the database
// does, and then that is logged.
func (d *daemon) auditRefused(ctx context.Context, action host.AuditAction, object host.AuditObject, cause error, details any) {
	e := host.AuditEntry{Action: action, Object: object, Outcome: auditOutcome(cause), Error: host.CodeOf(cause)}
	// Who asked may be gone; that it was tried is noted all the same.
	ctx = context.WithoutCancel(ctx)
	if err := d.store.Update(ctx, func(t *store.Tx) error { return d.auditEntry(ctx, t, e, details) }); err != nil {
		d.log.ErrorContext(ctx, "not in the audit trail", "action", action, "object", object, "error", err)
	}
}

// auditOutcome tells what could not be done from what was not to be.
func auditOutcome(cause error) host.AuditOutcome {
	switch host.CodeOf(cause) {
	case "":
		return host.AuditDone
	case host.Unavailable, host.Internal, host.RateLimited, host.ConnectorFault, host.LimitExceeded, host.Cancelled:
		return host.AuditFailed
	default:
		return host.AuditRefused
	}
}

func (d *daemon) auditEntry(ctx context.Context, t *store.Tx, e host.AuditEntry, details any) (err error) {
	if e.Actor, err = auditActor(ctx, t); err != nil {
		return err
	}
	if details != nil {
		if e.Details, err = json.Marshal(details); err != nil {
			return err
		}
	}
	return t.AppendAudit(ctx, e)
}

// auditActor names who does what is done with ctx, a user by the id: a name
// could never be taken out of the trail again.
func auditActor(ctx context.Context, t *store.Tx) (string, error) {
	actor := host.ActorOf(ctx)
	if actor == host.Ourselves || host.IsAdministrator(actor) {
		return actor, nil
	}
	u, err := findUser(ctx, t, actor)
	switch {
	case host.CodeOf(err) == host.NotFound:
		return "unknown user", nil
	case err != nil:
		return "", err
	}
	return u.Id, nil
}
