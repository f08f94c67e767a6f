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
		if after.DeletedDate == nil && !after.IsActive {
			after.DeletedDate = before.DeletedDate // it takes an enabling to bring somebody back
		}
	}
	if after.IsActive {
		after.DeletedDate = nil
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

// follow makes the requests that follow from a change, app by app. Those that
// wait already take in what they can.
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
		n, err := e.followIn(ctx, tx, app, rules, before, after)
		if err != nil {
			return made, err
		}
		made += n
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
	for _, set := range u.PermissionSets {
		if slices.Contains(app.PermissionSets, set) {
			return true, fmt.Sprintf("was granted by permission set %q", set), nil
		}
	}
	in, err := rules.InScope(u)
	return in, "is in the app's scope", err
}

// standing is how a user stands to an app.
type standing struct {
	// granted by something, active, not deleted: on is all of them.
	granted, active, deleted, on bool
	by                           string
	frozen                       bool
}

func standingOf(app *host.UserProvisioningConfig, rules Rules, u *host.User) (s standing, err error) {
	if u == nil {
		return s, nil
	}
	s.granted, s.by, err = granted(app, rules, u)
	s.active, s.deleted, s.frozen = u.IsActive, u.DeletedDate != nil, u.IsFrozen
	s.on = s.granted && s.active && !s.deleted
	return s, err
}

// followIn makes the requests of one app.
func (e *Engine) followIn(ctx context.Context, tx Tx, app *host.UserProvisioningConfig, rules Rules, before, after *host.User) (int, error) {
	was, err := standingOf(app, rules, before)
	if err != nil {
		return 0, err
	}
	is, err := standingOf(app, rules, after)
	if err != nil {
		return 0, err
	}
	switch { // the usual cases, in which nobody's lane is touched
	case !was.on && !is.on && was == is:
		return 0, nil
	case was.on && is.on && was.frozen == is.frozen:
		if !counts(app, before, after) {
			return 0, nil
		}
		old, err := rules.Apply(before)
		if err != nil {
			return 0, err
		}
		now, err := rules.Apply(after)
		if err != nil {
			return 0, err
		}
		if len(rules.Changed(old, now)) == 0 {
			return 0, nil
		}
	}
	var open []*host.UserProvisioningRequest
	var account *host.UserProvAccount
	if before != nil { // who is new has neither, and nobody else knows of him
		if open, account, err = e.lane(ctx, tx, app.AppName, after.Id); err != nil {
			return 0, err
		}
	}
	if is.on {
		if open, err = e.withdrawDeletes(ctx, tx, open, after.DisplayName()+" "+is.by); err != nil {
			return 0, err
		}
	}
	p := project(account, open)
	exists := account != nil
	if !is.on && !exists { // one that was made without our knowing it is taken away, too
		left, err := tx.UncertainRequests(ctx, app.AppName, after.Id)
		if err != nil {
			return 0, err
		}
		if exists = len(left) > 0; exists && !p.exists {
			p.exists, p.active = true, true
		}
	}
	if is.on && !was.on && account != nil && p.exists { // one that may have been deleted is looked for, and made if need be
		by, err := tx.UncertainDelete(ctx, app.AppName, after.Id)
		if err != nil {
			return 0, err
		}
		p.exists = by == ""
	}
	list, err := e.consequences(app, rules, before, after, was, is, account, p)
	if err != nil {
		return 0, err
	}
	made := 0
	for _, r := range list {
		if ok, err := e.resolve(ctx, app, r); err != nil {
			return made, err
		} else if !ok {
			continue
		}
		if err := e.requireApproval(ctx, tx, app, after, r); err != nil {
			return made, err
		}
		absorbed := false
		if absorbed, open, err = e.coalesce(ctx, tx, open, r, was.on && !is.on, exists); err != nil {
			return made, err
		}
		if absorbed {
			continue
		}
		if err := e.addBehind(ctx, tx, open, r); err != nil {
			return made, err
		}
		open = append(open, r)
		made++
	}
	return made, nil
}

// lane locks the lane of a user, and returns what is open there and the account,
// nil if there is none.
func (e *Engine) lane(ctx context.Context, tx Tx, app, userID string) ([]*host.UserProvisioningRequest, *host.UserProvAccount, error) {
	if err := tx.LockLane(ctx, app, userID); err != nil {
		return nil, nil, err
	}
	open, err := tx.OpenLaneRequests(ctx, app, userID)
	if err != nil {
		return nil, nil, err
	}
	account, err := tx.AccountByUser(ctx, app, userID)
	if host.CodeOf(err) == host.NotFound {
		return open, nil, nil
	}
	return open, account, err
}

// resolve turns an operation that the app does not allow or the connector lacks
// into the one that stands in for it. It is false where nothing is to be done.
func (e *Engine) resolve(ctx context.Context, app *host.UserProvisioningConfig, r *host.UserProvisioningRequest) (bool, error) {
	why := ""
	for range len(host.Operations) {
		if !app.Allows(r.Operation) {
			why = fmt.Sprintf("%s is not among the app's operations", r.Operation)
		} else if ok, err := e.Connectors.Supports(app, exportOf(r.Operation)); err != nil {
			e.Logger.WarnContext(ctx, "no request: the connector can't be asked", "app", app.AppName, "operation", r.Operation, "user", r.UserId, "error", err)
			return false, nil
		} else if ok {
			return true, nil
		} else {
			why = fmt.Sprintf("the connector has no %s", exportOf(r.Operation))
		}
		instead, ok := app.Fallback[r.Operation]
		if !ok {
			break
		}
		r.Reason += fmt.Sprintf(" (%s in place of %s: %s)", instead, r.Operation, why)
		r.Operation = instead
	}
	if app.Allows(r.Operation) { // what the app does not want is no news
		e.Logger.WarnContext(ctx, "no request", "app", app.AppName, "operation", r.Operation, "user", r.UserId, "because", why)
	}
	return false, nil
}

// consequences are the requests that a change of a user makes in one app. p is
// what is in the target once the open requests have run.
func (e *Engine) consequences(app *host.UserProvisioningConfig, rules Rules, before, after *host.User, was, is standing, account *host.UserProvAccount, p projection) ([]*host.UserProvisioningRequest, error) {
	attributes, err := rules.Apply(after)
	if err != nil {
		return nil, err
	}
	var list []*host.UserProvisioningRequest
	add := func(op host.Operation, reason string) *host.UserProvisioningRequest {
		r := newRequest(app, after, op, reason, attributes)
		list = append(list, r)
		return r
	}
	update := func(old map[string]any) {
		if changed := rules.Changed(old, attributes); len(changed) > 0 {
			add(host.Update, after.DisplayName()+" changed: "+strings.Join(changed, ", ")).ChangedAttributes = changed
		}
	}
	name := after.DisplayName()
	if !is.on {
		e.leave(app, was, is, p, name, add)
		return list, nil
	}
	back := !was.on
	switch {
	case back && !p.exists:
		add(host.Create, name+" "+is.by)
		if is.frozen {
			add(host.Freeze, name+" is frozen")
		}
		return list, nil
	case back && !p.active && !(is.frozen && app.Fallback[host.Freeze] == host.Deactivate):
		if was.granted && is.granted && !was.deleted {
			add(host.Activate, name+" was enabled")
		} else {
			add(host.Reactivate, name+" "+is.by+" again")
		}
	}
	if was.frozen != is.frozen || back {
		switch {
		case is.frozen && !p.frozen:
			add(host.Freeze, name+" was frozen")
		case !is.frozen && (p.frozen || was.frozen && !p.active && app.Fallback[host.Freeze] == host.Deactivate):
			add(host.Unfreeze, name+" was unfrozen")
		}
	}
	switch {
	case back: // nobody told the target what changed meanwhile
		var have map[string]any
		if account != nil {
			have = account.Attributes
		}
		update(have)
	case !p.exists && app.NeedsApproval(host.Create): // it would make an account that nobody has approved
	case counts(app, before, after):
		old, err := rules.Apply(before)
		if err != nil {
			return nil, err
		}
		update(old)
	}
	return list, nil
}

// strength orders what may follow when somebody leaves.
var strength = map[host.Consequence]int{host.DoNothing: 0, host.DoFreeze: 1, host.DoDeactivate: 2, host.DoDelete: 3}

// leave adds what follows when a user no longer has an app, was disabled or
// deleted: of what has come about by this change, the strongest.
func (e *Engine) leave(app *host.UserProvisioningConfig, was, is standing, p projection, name string, add func(host.Operation, string) *host.UserProvisioningRequest) {
	if !p.exists {
		return
	}
	do, why := host.DoNothing, ""
	consider := func(c host.Consequence, reason string) {
		if c == "" {
			c = host.DoDeactivate
		}
		if strength[c] > strength[do] {
			do, why = c, name+" "+reason
		}
	}
	if !is.granted && was.granted {
		consider(app.OnUnassign, "no longer has the app")
	}
	if !is.active && was.active {
		consider(app.OnDisable, "was disabled")
	}
	if is.deleted && !was.deleted {
		consider(app.OnDelete, "was deleted")
	}
	switch do {
	case host.DoFreeze:
		if !p.frozen && p.active {
			add(host.Freeze, why)
		}
	case host.DoDeactivate:
		if p.active {
			add(host.Deactivate, why)
		}
	case host.DoDelete:
		if app.DeleteAfter <= 0 {
			add(host.Delete, why)
			return
		}
		if p.active {
			add(host.Deactivate, why)
		}
		due := e.Now().UTC().Add(app.DeleteAfter)
		add(host.Delete, why).ScheduleDate = &due
	}
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

// newRequest makes a request with mapped attributes.
func newRequest(app *host.UserProvisioningConfig, u *host.User, op host.Operation, reason string, attributes map[string]any) *host.UserProvisioningRequest {
	return &host.UserProvisioningRequest{
		Operation: op, AppName: app.AppName, ConnectedAppId: app.ConnectedAppId, UserProvConfigId: app.Id,
		UserId: u.Id, ManagerId: u.ManagerId, Reason: reason, Attributes: attributes, Parameters: app.Parameters,
		Preview: app.InPreview(op),
	}
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
	attributes, err := rules.Apply(u)
	if err != nil {
		return nil, err
	}
	r := newRequest(app, u, op, "a person asked for it", attributes)
	r.Urgent = true
	if op == host.Update { // all of it, since nobody knows what changed
		r.ChangedAttributes = rules.Changed(map[string]any{}, r.Attributes)
	}
	return r, e.add(ctx, tx, r)
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
	r.Uncertain = r.Uncertain || r.PendingToken != "" // the target goes on with it all the same
	return r, e.end(ctx, tx, r, r.Attempt, host.StateManuallyCompleted, "completed by hand", note, nil)
}

// end stores the end of a request, and gives the next one of its lane a job.
func (e *Engine) end(ctx context.Context, tx Tx, r *host.UserProvisioningRequest, expectAttempt int, state host.RequestState, status, details string, trace *host.CallTrace) error {
	if err := tx.LockLane(ctx, r.AppName, laneOf(r)); err != nil {
		return err
	}
	now := e.Now().UTC()
	wasEnded := r.State.Ended()
	r.State, r.CompletedDate, r.InFlight, r.PendingToken, r.PendingSince, r.NextAttemptDate = state, &now, false, "", nil, nil
	r.Queued, r.WaitsFor = false, ""
	if err := tx.UpdateRequest(ctx, r, expectAttempt); err != nil {
		return err
	}
	if err := e.log(ctx, tx, r, status, details, trace); err != nil {
		return err
	}
	if wasEnded {
		return nil // its lane went on long ago
	}
	return e.next(ctx, tx, r)
}

// AddPlanned makes the request of a planned change. r has its Operation,
// AppName, UserId or UserProvAccountId, ChangedAttributes, Reason and PlanId;
// the rest is filled in. It is Unsupported where the app does not allow the
// operation and nothing stands in for it.
func (e *Engine) AddPlanned(ctx context.Context, tx Tx, r *host.UserProvisioningRequest) error {
	app, err := tx.Config(ctx, r.AppName)
	if err != nil {
		return err
	}
	asked := r.Operation
	if ok, err := e.resolve(ctx, app, r); err != nil {
		return err
	} else if !ok {
		return host.Errorf(host.Unsupported, "%s can't be done in %s: the app's operations and its connector do not have it", asked, r.AppName)
	}
	r.ConnectedAppId, r.UserProvConfigId, r.Parameters, r.Preview = app.ConnectedAppId, app.Id, app.Parameters, app.InPreview(r.Operation)
	if r.UserId != "" {
		u, err := tx.User(ctx, r.UserId)
		if err != nil {
			return err
		}
		rules, err := e.Rules(r.AppName)
		if err != nil {
			return err
		}
		if r.Attributes, err = rules.Apply(u); err != nil {
			return err
		}
		r.ManagerId = u.ManagerId
	}
	return e.add(ctx, tx, r)
}
