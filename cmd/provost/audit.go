package main

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/provision"
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
	e.Call = host.CallOf(ctx)
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
	if actor == host.Ourselves || host.IsAdministrator(actor) || host.IsOutsider(actor) {
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

// auditedAs makes who does what is done with ctx an administrator of a way in,
// where nobody has said who it is.
func auditedAs(ctx context.Context, way string) context.Context {
	if host.ActorOf(ctx) != host.Ourselves {
		return ctx
	}
	return host.WithActor(ctx, host.Administrator(way))
}

func auditUser(id string) host.AuditObject { return host.AuditObject{Kind: "user", Name: id} }

// auditRequest notes what was done to a request. Its reasons stay in its own
// log: they are what people write of people.
func (d *daemon) auditRequest(ctx context.Context, t *store.Tx, action host.AuditAction, r *host.UserProvisioningRequest, more map[string]any) error {
	details := map[string]any{"app": r.AppName, "operation": r.Operation, "state": r.State}
	if r.UserId != "" {
		details["user"] = r.UserId
	}
	maps.Copy(details, more)
	return d.auditEntry(ctx, t, host.AuditEntry{Action: action, Object: host.AuditObject{Kind: "request", Name: r.Name()}, Outcome: host.AuditDone, RequestId: r.Id}, details)
}

func (d *daemon) auditPlan(ctx context.Context, t *store.Tx, action host.AuditAction, p *host.Plan) error {
	return d.audit(ctx, t, action, host.AuditObject{Kind: "plan", Name: p.Name()},
		map[string]any{"app": p.AppName, "kind": p.Kind, "state": p.State, "digest": p.Digest, "counts": p.Counts})
}

// linked is how an account is linked, for the audit trail.
type linked struct {
	LinkState host.LinkState `json:"linkState"`
	User      string         `json:"user,omitempty"`
	ByHand    bool           `json:"byHand,omitempty"`
}

func linkOf(a *host.UserProvAccount) linked { return linked{a.LinkState, a.UserId, a.IsKnownLink} }

// auditImport notes an import with its transaction.
func (d *daemon) auditImport(o api.ImportOptions) func(context.Context, provision.Tx, provision.ImportResult) error {
	return func(ctx context.Context, t provision.Tx, r provision.ImportResult) error {
		return d.audit(ctx, t.(tx).Tx, host.AuditUserImport, host.AuditObject{Kind: "user", Name: "import"}, map[string]any{
			"prune": o.Prune, "keepGoing": o.KeepGoing, "assign": o.Assign, "created": r.Created, "updated": r.Updated, "disabled": r.Disabled,
			"unchanged": r.Unchanged, "refused": r.Refused, "requests": r.Requests, "quarantinePlan": r.QuarantinePlan})
	}
}

// auditAuthorization notes that a person has authorized a credential, or taken
// that back. What a refresh changes is nobody's doing.
func auditAuthorization(ctx context.Context, t *store.Tx, before, after *host.Authorization) error {
	e := host.AuditEntry{Object: host.AuditObject{Kind: "credential", Name: after.Credential}, Outcome: host.AuditDone}
	switch {
	case after.GrantedDate != nil && (before.GrantedDate == nil || !before.GrantedDate.Equal(*after.GrantedDate)):
		e.Action, ctx = host.AuditCredentialAuthorize, host.WithActor(ctx, after.GrantedBy)
	case after.State == host.AuthorizationRevoked && before.State != host.AuthorizationRevoked:
		e.Action = host.AuditCredentialRevoke
	default:
		return nil
	}
	actor, err := auditActor(ctx, t)
	if err != nil {
		return err
	}
	if e.Actor = actor; after.UserId != "" {
		if e.Details, err = json.Marshal(map[string]string{"user": after.UserId}); err != nil {
			return err
		}
	}
	return t.AppendAudit(ctx, e)
}

// nameOf is the name of a request by its id, for what is told of it.
func (d *daemon) nameOf(ctx context.Context, id string) string {
	name := id
	_ = d.store.View(ctx, func(t *store.Tx) error { // the id will do
		r, err := t.Request(ctx, id)
		if err == nil {
			name = r.Name()
		}
		return err
	})
	return name
}
