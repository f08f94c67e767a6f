package provision

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
)

// A request that must be approved is decided about once, when it is made: it
// keeps its place in its lane and has no job until somebody who may has
// approved it, whatever the configuration says by then.

// requireApproval says on a new request whether somebody must approve it, who,
// and until when. app and u may be nil; a request that says it already is left
// alone.
func (e *Engine) requireApproval(ctx context.Context, tx Tx, app *host.UserProvisioningConfig, u *host.User, r *host.UserProvisioningRequest) error {
	if r.ApprovalStatus != "" {
		return nil
	}
	r.ApprovalStatus = host.ApprovalNotRequired
	if r.Preview {
		return nil // it never reaches the target
	}
	var err error
	if app == nil {
		if app, err = tx.Config(ctx, r.AppName); err != nil {
			return err
		}
	}
	if !app.NeedsApproval(r.Operation) {
		return nil
	}
	if u == nil {
		u = new(host.User) // of an account of nobody: an administrator decides
		if r.UserId != "" {
			if u, err = tx.User(ctx, r.UserId); err != nil {
				return err
			}
		}
	}
	return e.ask(ctx, tx, app, u, r)
}

// ask sets who must approve a request, if the app's rules say that anybody
// must.
func (e *Engine) ask(ctx context.Context, tx Tx, app *host.UserProvisioningConfig, u *host.User, r *host.UserProvisioningRequest) error {
	who, trouble := host.Approver{Needed: true}, ""
	switch app.ApprovalRequired {
	case "manager":
		who.Manager = true
	case "group":
		who.Group = app.ApprovalGroup
	case "expression":
		var err error
		if who, err = e.ApprovalRule(app.AppName, u, r); err != nil {
			// Better a person too many than one too few.
			who, trouble = host.Approver{Needed: true}, err.Error()
		}
	}
	if !who.Needed {
		return nil
	}
	r.ApprovalStatus, r.ApproverId, r.ApproverGroup, r.ApprovedBy = host.ApprovalRequired, "", "", ""
	if app.ApprovalExpires > 0 {
		until := e.Now().UTC().Add(app.ApprovalExpires)
		r.ApprovalExpiresDate = &until
	}
	switch {
	case trouble != "":
	case who.Group != "":
		r.ApproverGroup = who.Group
		if members := e.Groups(who.Group); len(members) == 0 {
			trouble = fmt.Sprintf("the group %q has no members", who.Group)
		} else if len(members) == 1 && isUser(u, members[0]) {
			trouble = fmt.Sprintf("the group %q has no other member", who.Group)
		}
	case who.Manager && u.ManagerId == "":
		trouble = "the user has no manager"
	default:
		name, noun := who.Username, "the approver"
		if who.Manager {
			name, noun = u.ManagerId, "the manager"
		}
		approver, err := person(ctx, tx, name)
		switch {
		case host.CodeOf(err) == host.NotFound:
			trouble = noun + " is no user"
		case err != nil:
			return err
		case !approver.IsActive:
			trouble = noun + " is disabled"
		case approver.Id == u.Id:
			trouble = "nobody approves what is for themselves"
		default:
			r.ApproverId = approver.Id
		}
	}
	r.ApprovalReason = trouble
	return nil
}

// awaits says in the log that a request waits for a person. It names nobody:
// who it is stands in the request, and can be erased there.
func (e *Engine) awaits(ctx context.Context, tx Tx, r *host.UserProvisioningRequest, because string) error {
	if r.ApprovalStatus != host.ApprovalRequired {
		return nil
	}
	who := "its approver"
	switch {
	case r.ApprovalReason != "":
		who = "an administrator, since " + r.ApprovalReason
	case r.ApproverGroup != "":
		who = "a member of " + r.ApproverGroup
	}
	details := because + "must be approved by " + who
	if r.ApprovalExpiresDate != nil {
		details += ", until " + r.ApprovalExpiresDate.Format(time.RFC3339)
	}
	return e.log(ctx, tx, r, "needs approval", details+"   -> provost request approve "+r.Name(), nil)
}

// person finds a user by id or by username.
func person(ctx context.Context, tx Tx, idOrName string) (*host.User, error) {
	u, err := tx.User(ctx, idOrName)
	if host.CodeOf(err) == host.NotFound {
		return tx.UserByUsername(ctx, idOrName)
	}
	return u, err
}

func isUser(u *host.User, idOrName string) bool {
	return u.Id == idOrName || strings.EqualFold(u.Username, strings.TrimSpace(idOrName))
}

// Approve lets a request that waits for it go on. The actor of ctx must be one
// who may: the request's approver, a member of its group, or an administrator.
func (e *Engine) Approve(ctx context.Context, tx Tx, id, reason string) (*host.UserProvisioningRequest, error) {
	ctx, r, by, err := e.decide(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	r.ApprovalStatus, r.ApprovedBy, r.ApprovalReason = host.ApprovalApproved, by, reason
	if err := tx.UpdateRequest(ctx, r, r.Attempt); err != nil {
		return nil, err
	}
	if err := e.log(ctx, tx, r, "approved", reason, nil); err != nil {
		return nil, err
	}
	if err := e.next(ctx, tx, r); err != nil {
		return nil, err
	}
	return tx.Request(ctx, id)
}

// Deny ends a request that waits for approval; its lane goes on.
func (e *Engine) Deny(ctx context.Context, tx Tx, id, reason string) (*host.UserProvisioningRequest, error) {
	ctx, r, by, err := e.decide(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	return r, e.deny(ctx, tx, r, by, reason)
}

func (e *Engine) deny(ctx context.Context, tx Tx, r *host.UserProvisioningRequest, by, reason string) error {
	r.ApprovalStatus, r.ApprovedBy, r.ApprovalReason = host.ApprovalDenied, by, reason
	r.ErrorCode, r.ErrorMessage = host.PermissionDenied, "denied"
	if reason != "" {
		r.ErrorMessage += ": " + reason
	}
	return e.end(ctx, tx, r, r.Attempt, host.StateFailed, "denied", reason, nil)
}

// Delegate makes another person the one who approves a request.
func (e *Engine) Delegate(ctx context.Context, tx Tx, id, to, reason string) (*host.UserProvisioningRequest, error) {
	ctx, r, _, err := e.decide(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	u, err := person(ctx, tx, to)
	if err != nil {
		return nil, err
	}
	switch {
	case !u.IsActive:
		return nil, host.Errorf(host.InvalidInput, "%s is disabled and can't approve", u.Username)
	case u.Id == r.UserId:
		return nil, host.Errorf(host.InvalidInput, "%s is for %s, and nobody approves what is for themselves", r.Name(), u.Username)
	}
	r.ApproverId, r.ApproverGroup, r.ApprovalReason = u.Id, "", ""
	if err := tx.UpdateRequest(ctx, r, r.Attempt); err != nil {
		return nil, err
	}
	details := "another person is to approve it"
	if reason != "" {
		details += ": " + reason
	}
	return r, e.log(ctx, tx, r, "delegated", details, nil)
}

// decide returns a request that waits for approval, its lane locked, if the
// actor of ctx may decide about it; by is the actor's name. The returned
// context has that name as its actor.
func (e *Engine) decide(ctx context.Context, tx Tx, id string) (_ context.Context, r *host.UserProvisioningRequest, by string, err error) {
	if r, err = e.lockRequest(ctx, tx, id); err != nil {
		return nil, nil, "", err
	}
	switch {
	case r.ApprovalStatus != host.ApprovalRequired:
		message := fmt.Sprintf("%s waits for nobody's approval: it is %s", r.Name(), r.ApprovalStatus)
		if r.ApprovedBy != "" {
			message += " by " + r.ApprovedBy
		}
		return nil, nil, "", host.Errorf(host.Conflict, "%s", message)
	case r.State != host.StateNew:
		return nil, nil, "", host.Errorf(host.Conflict, "%s is %s: there is nothing to decide any more", r.Name(), r.State)
	case r.ApprovalExpiresDate != nil && !e.Now().Before(*r.ApprovalExpiresDate):
		return nil, nil, "", host.Errorf(host.Conflict, "%s could be approved until %s   -> provost request retry %s, to ask again", r.Name(), r.ApprovalExpiresDate.Format(time.RFC3339), r.Name())
	}
	actor := host.ActorOf(ctx)
	if host.IsAdministrator(actor) {
		return ctx, r, actor, nil
	}
	u, err := person(ctx, tx, actor)
	if host.CodeOf(err) == host.NotFound {
		return nil, nil, "", host.Errorf(host.PermissionDenied, "%q is no user, and so approves nothing", actor)
	} else if err != nil {
		return nil, nil, "", err
	}
	switch {
	case !u.IsActive:
		err = host.Errorf(host.PermissionDenied, "%s is disabled and approves nothing", u.Username)
	case u.Id == r.UserId:
		err = host.Errorf(host.PermissionDenied, "%s is for %s, and nobody approves what is for themselves", r.Name(), u.Username)
	case r.ApproverId != "" && r.ApproverId == u.Id:
	case r.ApproverGroup != "" && slices.ContainsFunc(e.Groups(r.ApproverGroup), func(m string) bool { return isUser(u, m) }):
	default:
		err = host.Errorf(host.PermissionDenied, "%s is not for %s to approve   -> provost request get %s, which says who may", r.Name(), u.Username, r.Name())
	}
	if err != nil {
		return nil, nil, "", err
	}
	return host.WithActor(ctx, u.Username), r, u.Username, nil
}

// lockRequest returns a request as it is once its lane is locked.
func (e *Engine) lockRequest(ctx context.Context, tx Tx, id string) (*host.UserProvisioningRequest, error) {
	r, err := tx.Request(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := tx.LockLane(ctx, r.AppName, laneOf(r)); err != nil {
		return nil, err
	}
	return tx.Request(ctx, id)
}

// expireAtOnce is how many requests are looked for at a time.
const expireAtOnce = 100

// Expire denies the requests that nobody has approved in time, one transaction
// each, and returns how many it denied. Many may call it at once: each request
// is denied once.
func (e *Engine) Expire(ctx context.Context) (denied int, err error) {
	for ctx.Err() == nil {
		var due []string
		now := e.Now().UTC()
		if err := e.Store.View(ctx, func(tx Tx) error {
			due, err = tx.ExpiredApprovals(ctx, now, expireAtOnce)
			return err
		}); err != nil {
			return denied, err
		}
		for _, id := range due {
			mine := false
			err := e.Store.Update(ctx, func(tx Tx) error {
				mine = false
				r, err := e.lockRequest(ctx, tx, id)
				if err != nil {
					return err
				}
				if r.ApprovalStatus != host.ApprovalRequired || r.State != host.StateNew || r.ApprovalExpiresDate == nil || now.Before(*r.ApprovalExpiresDate) {
					return nil // somebody was faster
				}
				mine = true
				return e.deny(ctx, tx, r, host.Ourselves, "nobody approved it in "+waited(r))
			})
			if err != nil {
				return denied, err
			}
			if mine {
				denied++
			}
		}
		if len(due) < expireAtOnce {
			break
		}
	}
	return denied, ctx.Err()
}

// waited is how long a request could be approved, as the configuration writes
// it.
func waited(r *host.UserProvisioningRequest) string {
	text := r.ApprovalExpiresDate.Sub(r.CreatedDate).Round(time.Second).String()
	if hours, ok := strings.CutSuffix(text, "h0m0s"); ok {
		return hours + "h"
	}
	return text
}

// askAgain makes a retry ask for approval, or keep the one that there is. What
// was approved stays so while it is the same; what was denied, or nobody had
// decided about, must be approved even where the app no longer asks.
func (e *Engine) askAgain(ctx context.Context, tx Tx, old, again *host.UserProvisioningRequest) error {
	same := reflect.DeepEqual(old.Attributes, again.Attributes) && slices.Equal(old.ChangedAttributes, again.ChangedAttributes)
	if old.ApprovalStatus == host.ApprovalApproved && same {
		again.ApprovalStatus, again.ApprovedBy, again.ApprovalReason = host.ApprovalApproved, old.ApprovedBy, old.ApprovalReason
		return nil
	}
	if err := e.requireApproval(ctx, tx, nil, nil, again); err != nil {
		return err
	}
	if again.ApprovalStatus == host.ApprovalRequired || old.ApprovalStatus == host.ApprovalNotRequired {
		return nil
	}
	again.ApprovalStatus, again.ApproverId, again.ApproverGroup = host.ApprovalRequired, old.ApproverId, old.ApproverGroup
	if old.ApprovalExpiresDate != nil {
		until := e.Now().UTC().Add(old.ApprovalExpiresDate.Sub(old.CreatedDate))
		again.ApprovalExpiresDate = &until
	}
	if again.ApproverId == "" && again.ApproverGroup == "" {
		again.ApprovalReason = "nobody is known who may"
	}
	return nil
}

// asksForCreate makes a request that would make an account, since there is none
// to do it to, wait for approval where a Create must be approved. It is false
// where the request may go on.
func (e *Engine) asksForCreate(ctx context.Context, tx Tx, a *attempt) (bool, error) {
	r := a.request
	switch r.Operation {
	case host.Update, host.Activate, host.Reactivate:
	default:
		return false, nil
	}
	if a.account != nil || r.ApprovalStatus != host.ApprovalNotRequired || r.InFlight || r.PendingToken != "" || !a.app.NeedsApproval(host.Create) {
		return false, nil
	}
	asked := *r
	asked.Operation = host.Create
	if err := e.ask(ctx, tx, a.app, a.user, &asked); err != nil || asked.ApprovalStatus != host.ApprovalRequired {
		return false, err
	}
	if r.State != host.StateNew {
		r.ErrorCode, r.ErrorMessage = host.PermissionDenied, "the account is gone, and to make another must be approved"
		return true, e.end(ctx, tx, r, r.Attempt, host.StateFailed, "failed", r.ErrorMessage, nil)
	}
	asked.Operation, asked.Queued = r.Operation, false
	if err := tx.UpdateRequest(ctx, &asked, r.Attempt); err != nil {
		return true, err
	}
	return true, e.awaits(ctx, tx, &asked, "there is no account, so it would make one; it ")
}

// takesAway are the operations that make an account less: they pass what waits
// for approval, so that nobody keeps an account because of somebody who is on
// holiday.
func takesAway(op host.Operation) bool {
	return op == host.Deactivate || op == host.Freeze || op == host.Delete
}

// blocked tells whether a request must wait behind those before it in its lane
// that wait for approval. What depends on an account that is not approved yet
// always does.
func blocked(r *host.UserProvisioningRequest, before []*host.UserProvisioningRequest) bool {
	for _, w := range before {
		if w.ApprovalStatus != host.ApprovalRequired || r.Operation == host.Read {
			continue
		}
		if !takesAway(r.Operation) || w.Operation == host.Create {
			return true
		}
	}
	return false
}

// makeWay settles what a request that takes away passes in its lane: what it
// undoes is withdrawn, and updates go on waiting with the values of now, so
// that none of them gives back what was taken. It returns what is open
// afterwards.
func (e *Engine) makeWay(ctx context.Context, tx Tx, open []*host.UserProvisioningRequest, r *host.UserProvisioningRequest) ([]*host.UserProvisioningRequest, error) {
	from := slices.IndexFunc(open, func(w *host.UserProvisioningRequest) bool { return w.ApprovalStatus == host.ApprovalRequired })
	if from < 0 || !takesAway(r.Operation) || r.ScheduleDate != nil || blocked(r, open) {
		return open, nil
	}
	rest := slices.Clone(open[:from])
	for _, w := range open[from:] {
		undone := slices.Contains(inverse[r.Operation], w.Operation) || r.Operation == host.Delete && w.Operation != host.Read
		switch {
		case w.State != host.StateNew || w.InFlight:
		case undone:
			if err := e.end(ctx, tx, w, w.Attempt, host.StateCancelled, "coalesced", "undone before it ran: "+r.Reason, nil); err != nil {
				return nil, err
			}
			continue
		case w.Operation == host.Update:
			w.Attributes = r.Attributes
			if err := tx.UpdateRequest(ctx, w, w.Attempt); err != nil {
				return nil, err
			}
			if err := e.log(ctx, tx, w, "passed", r.Reason+": that comes first, and the values are those of now", nil); err != nil {
				return nil, err
			}
		}
		rest = append(rest, w)
	}
	return rest, nil
}

// takesIn tells whether a request that waits may take in another one. What was
// approved stays as it was approved, and nothing comes under an approval that
// is not its own.
func takesIn(w, r *host.UserProvisioningRequest) bool {
	switch w.ApprovalStatus {
	case host.ApprovalNotRequired:
		return r.ApprovalStatus == host.ApprovalNotRequired
	case host.ApprovalRequired:
		return r.ApprovalStatus == host.ApprovalNotRequired || r.ApproverId == w.ApproverId && r.ApproverGroup == w.ApproverGroup
	default:
		return false
	}
}
