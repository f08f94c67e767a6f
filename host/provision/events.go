package provision

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

// exportOf is the connector's operation for a request's.
func exportOf(op host.Operation) pdk.Operation {
	if op == host.Reactivate {
		return pdk.OpActivate
	}
	return pdk.Operation(strings.ToLower(string(op)))
}

// SaveUser stores a user, new (before is nil) or changed, and makes the
// requests that follow from the change. It returns how many it made.
func (e *Engine) SaveUser(ctx context.Context, tx Tx, before, after *host.User) (int, error) {
	if err := validUser(after); err != nil {
		return 0, err
	}
	now := e.Now().UTC()
	after.LastModifiedDate = now
	if before == nil {
		after.Id, after.CreatedDate = host.NewID(), now
	} else {
		after.Id, after.CreatedDate, after.Apps = before.Id, before.CreatedDate, before.Apps
	}
	if err := tx.PutUser(ctx, after); err != nil {
		return 0, err
	}
	return e.follow(ctx, tx, before, after)
}

// longest is the most bytes of one field of a user.
const longest = 4096

func validUser(u *host.User) error {
	bad := func(field, format string, args ...any) error {
		err := host.Errorf(host.InvalidInput, format, args...)
		err.Field = field
		return err
	}
	if strings.TrimSpace(u.Username) == "" {
		return bad("Username", "is missing")
	}
	for name, v := range map[string]string{"Username": u.Username, "FirstName": u.FirstName, "LastName": u.LastName, "Email": u.Email} {
		if len(v) > longest {
			return bad(name, "has more than %d bytes", longest)
		}
		if i := strings.IndexFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
			return bad(name, "holds a control character")
		}
	}
	return nil
}

// Assign gives a user an app directly, or takes it, and makes the request that
// follows.
func (e *Engine) Assign(ctx context.Context, tx Tx, userID, app string, assigned bool) (int, error) {
	if _, err := tx.Config(ctx, app); err != nil {
		return 0, err
	}
	before, err := tx.User(ctx, userID)
	if err != nil {
		return 0, err
	}
	if slices.Contains(before.Apps, app) == assigned {
		return 0, nil
	}
	if err := tx.SetUserApp(ctx, userID, app, assigned); err != nil {
		return 0, err
	}
	after := *before
	if assigned {
		after.Apps = append(slices.Clone(before.Apps), app)
	} else {
		after.Apps = slices.DeleteFunc(slices.Clone(before.Apps), func(a string) bool { return a == app })
	}
	return e.follow(ctx, tx, before, &after)
}

// follow makes the requests that follow from a change, app by app.
func (e *Engine) follow(ctx context.Context, tx Tx, before, after *host.User) (int, error) {
	apps, err := tx.Configs(ctx)
	if err != nil {
		return 0, err
	}
	made := 0
	for _, app := range apps {
		if !app.Enabled {
			continue
		}
		rules, err := e.Rules(app.AppName)
		if err != nil {
			return made, err
		}
		r, err := e.consequence(ctx, tx, app, rules, before, after)
		if err != nil {
			return made, err
		}
		if r == nil || !app.Allows(r.Operation) {
			continue
		}
		if ok, err := e.Connectors.Supports(app, exportOf(r.Operation)); err != nil || !ok {
			e.Logger.WarnContext(ctx, "no request: the connector lacks the operation", "app", app.AppName, "operation", r.Operation, "user", after.Id, "error", err)
			continue
		}
		if err := e.add(ctx, tx, r); err != nil {
			return made, err
		}
		made++
	}
	return made, nil
}

// granted tells whether a user has an app, and by what.
func granted(app *host.UserProvisioningConfig, rules Rules, u *host.User) (bool, string, error) {
	switch {
	case u == nil:
		return false, "", nil
	case slices.Contains(u.Apps, app.AppName):
		return true, "was assigned directly", nil
	case u.Profile != "" && slices.Contains(app.Profiles, u.Profile):
		return true, fmt.Sprintf("was granted by profile %q", u.Profile), nil
	}
	in, err := rules.InScope(u)
	return in, "is in the app's scope", err
}

// consequence is the one request that a change of a user makes in one app, nil
// for none.
func (e *Engine) consequence(ctx context.Context, tx Tx, app *host.UserProvisioningConfig, rules Rules, before, after *host.User) (*host.UserProvisioningRequest, error) {
	had, _, err := granted(app, rules, before)
	if err != nil {
		return nil, err
	}
	has, by, err := granted(app, rules, after)
	if err != nil {
		return nil, err
	}
	wasOn, isOn := had && before.IsActive, has && after.IsActive
	name := after.DisplayName()
	make := func(op host.Operation, reason string) (*host.UserProvisioningRequest, error) {
		return e.newRequest(app, rules, after, op, reason)
	}
	switch {
	case isOn && !wasOn:
		if account, err := e.expected(ctx, tx, app.AppName, after.Id); err != nil {
			return nil, err
		} else if account {
			if had && has {
				return make(host.Activate, name+" was enabled")
			}
			return make(host.Reactivate, name+" "+by+" again")
		}
		return make(host.Create, name+" "+by)
	case wasOn && !isOn:
		reason := name + " was disabled"
		if !has {
			reason = name + " no longer has the app"
		}
		return make(host.Deactivate, reason)
	case !isOn:
		return nil, nil
	case before.IsFrozen != after.IsFrozen:
		if after.IsFrozen {
			return make(host.Freeze, name+" was frozen")
		}
		return make(host.Unfreeze, name+" was unfrozen")
	}
	if !counts(app, before, after) {
		return nil, nil
	}
	old, err := rules.Apply(before)
	if err != nil {
		return nil, err
	}
	now, err := rules.Apply(after)
	if err != nil {
		return nil, err
	}
	changed := rules.Changed(old, now)
	if len(changed) == 0 {
		return nil, nil
	}
	r, err := make(host.Update, name+" changed: "+strings.Join(changed, ", "))
	if err == nil {
		r.ChangedAttributes = changed
	}
	return r, err
}

// expected tells whether the user has an account, or will have one once the
// lane's open requests have run.
func (e *Engine) expected(ctx context.Context, tx Tx, app, userID string) (bool, error) {
	if _, err := tx.AccountByUser(ctx, app, userID); err == nil {
		return true, nil
	} else if host.CodeOf(err) != host.NotFound {
		return false, err
	}
	open, err := tx.OpenLaneRequests(ctx, app, userID)
	return slices.ContainsFunc(open, func(r *host.UserProvisioningRequest) bool { return r.Operation == host.Create }), err
}

// counts tells whether one of OnUpdateAttributes changed; without any, every
// change counts.
func counts(app *host.UserProvisioningConfig, before, after *host.User) bool {
	if len(app.OnUpdateAttributes) == 0 {
		return true
	}
	b, a := fieldsOf(before), fieldsOf(after)
	for _, name := range app.OnUpdateAttributes {
		if fmt.Sprint(b[name]) != fmt.Sprint(a[name]) {
			return true
		}
	}
	return false
}

// newRequest makes a request with the mapped attributes of this moment.
func (e *Engine) newRequest(app *host.UserProvisioningConfig, rules Rules, u *host.User, op host.Operation, reason string) (*host.UserProvisioningRequest, error) {
	attributes, err := rules.Apply(u)
	if err != nil {
		return nil, err
	}
	return &host.UserProvisioningRequest{
		Operation: op, AppName: app.AppName, ConnectedAppId: app.ConnectedAppId, UserProvConfigId: app.Id,
		UserId: u.Id, ManagerId: u.ManagerId, Reason: reason, Attributes: attributes, Parameters: app.Parameters,
	}, nil
}

// CreateRequest makes a request that a person asked for.
func (e *Engine) CreateRequest(ctx context.Context, tx Tx, userID, appName string, op host.Operation) (*host.UserProvisioningRequest, error) {
	if !slices.Contains(host.Operations, op) || op == host.Reconcile {
		return nil, host.Errorf(host.InvalidInput, "there is no operation %q for a user", op)
	}
	app, err := tx.Config(ctx, appName)
	if err != nil {
		return nil, err
	}
	if !app.Allows(op) {
		return nil, host.Errorf(host.Unsupported, "%s is not among the operations of %s; add %s to apps.%s.operations", op, appName, op.EnabledBy(), appName)
	}
	if ok, err := e.Connectors.Supports(app, exportOf(op)); err != nil {
		return nil, err
	} else if !ok {
		return nil, host.Errorf(host.Unsupported, "the connector %s of %s has no operation %s", app.Connector, appName, exportOf(op))
	}
	u, err := tx.User(ctx, userID)
	if err != nil {
		return nil, err
	}
	rules, err := e.Rules(appName)
	if err != nil {
		return nil, err
	}
	r, err := e.newRequest(app, rules, u, op, "a person asked for it")
	if err != nil {
		return nil, err
	}
	if op == host.Update { // all of it, since nobody knows what changed
		r.ChangedAttributes = rules.Changed(map[string]any{}, r.Attributes)
	}
	return r, e.add(ctx, tx, r)
}

// Retry makes a new request of one that failed.
func (e *Engine) Retry(ctx context.Context, tx Tx, id string) (*host.UserProvisioningRequest, error) {
	old, err := tx.Request(ctx, id)
	if err != nil {
		return nil, err
	}
	if old.Operation == host.Reconcile {
		return nil, host.Errorf(host.Unsupported, "start a new run instead   -> provost reconcile --app %s", old.AppName)
	}
	if old.State != host.StateFailed {
		return nil, host.Errorf(host.Conflict, "%s is %s; only a failed request can be retried", old.Name(), old.State)
	}
	old.State = host.StateRetried
	if err := tx.UpdateRequest(ctx, old, old.Attempt); err != nil {
		return nil, err
	}
	again := &host.UserProvisioningRequest{
		Operation: old.Operation, AppName: old.AppName, ConnectedAppId: old.ConnectedAppId, UserProvConfigId: old.UserProvConfigId,
		UserId: old.UserId, ManagerId: old.ManagerId, Attributes: old.Attributes, ChangedAttributes: old.ChangedAttributes,
		Parameters: old.Parameters, ParentId: old.Id, RetryCount: old.RetryCount + 1, Uncertain: old.Uncertain,
		Reason: "retry of " + old.Name(),
	}
	if err := e.add(ctx, tx, again); err != nil {
		return nil, err
	}
	return again, e.log(ctx, tx, old, "retried", "as "+again.Name(), nil)
}

// Cancel withdraws a request that has not begun.
func (e *Engine) Cancel(ctx context.Context, tx Tx, id string) (*host.UserProvisioningRequest, error) {
	r, err := tx.Request(ctx, id)
	if err != nil {
		return nil, err
	}
	if r.State != host.StateNew {
		return nil, host.Errorf(host.Conflict, "%s is %s; only a request that has not begun can be cancelled", r.Name(), r.State)
	}
	return r, e.end(ctx, tx, r, r.Attempt, host.StateCancelled, "cancelled", "a person withdrew it", nil)
}

// CompleteManually ends a request whose work a person has done by hand.
func (e *Engine) CompleteManually(ctx context.Context, tx Tx, id, note string) (*host.UserProvisioningRequest, error) {
	r, err := tx.Request(ctx, id)
	if err != nil {
		return nil, err
	}
	if !r.State.MayBecome(host.StateManuallyCompleted) || r.InFlight {
		return nil, host.Errorf(host.Conflict, "%s is %s and can't be completed by hand now", r.Name(), r.State)
	}
	return r, e.end(ctx, tx, r, r.Attempt, host.StateManuallyCompleted, "completed by hand", note, nil)
}

// end stores the end of a request, and gives the next one of its lane a job.
func (e *Engine) end(ctx context.Context, tx Tx, r *host.UserProvisioningRequest, expectAttempt int, state host.RequestState, status, details string, trace *host.CallTrace) error {
	if err := tx.LockLane(ctx, r.AppName, r.UserId); err != nil {
		return err
	}
	now := e.Now().UTC()
	wasEnded := r.State.Ended()
	r.State, r.CompletedDate, r.InFlight, r.PendingToken, r.PendingSince, r.NextAttemptDate = state, &now, false, "", nil, nil
	if err := tx.UpdateRequest(ctx, r, expectAttempt); err != nil {
		return err
	}
	if err := e.log(ctx, tx, r, status, details, trace); err != nil {
		return err
	}
	if wasEnded {
		return nil // its lane went on long ago
	}
	return e.next(ctx, tx, r.AppName, r.UserId)
}
