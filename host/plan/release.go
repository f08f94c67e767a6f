package plan

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/provosthq/provost/host"
)

// Allow lets a plan go on that was only looked at or is in quarantine. It is
// done exactly as it was shown: where anything that it rests on is another by
// now, it becomes Stale before the first change.
func (e *Engine) Allow(ctx context.Context, tx Tx, id, reason string) (*host.Plan, error) {
	return e.decide(ctx, tx, id, host.PlanReleased, reason)
}

// Reject ends a plan before its first change.
func (e *Engine) Reject(ctx context.Context, tx Tx, id, reason string) (*host.Plan, error) {
	return e.decide(ctx, tx, id, host.PlanRejected, reason)
}

func (e *Engine) decide(ctx context.Context, tx Tx, id string, to host.PlanState, reason string) (*host.Plan, error) {
	p, err := tx.Plan(ctx, id)
	if err != nil {
		return nil, err
	}
	before := p.State
	if before != host.PlanPlanned && before != host.PlanQuarantined {
		return nil, host.Errorf(host.Conflict, "%s is %s; only a plan that waits can be decided about", p.Name(), before)
	}
	if to == host.PlanReleased && p.AppName != "" {
		if app, err := tx.Config(ctx, p.AppName); err != nil {
			return nil, err
		} else if app.Mode == host.Preview {
			return nil, host.Errorf(host.Conflict, "%s is in preview; set mode: live in its configuration first", p.AppName)
		} else if !app.Enabled {
			return nil, host.Errorf(host.Conflict, "%s is not enabled", p.AppName)
		}
	}
	now := e.Now().UTC()
	p.State, p.DecidedBy, p.DecisionReason, p.DecidedDate = to, host.ActorOf(ctx), reason, &now
	if to == host.PlanRejected {
		p.CompletedDate = &now
		return p, tx.UpdatePlan(ctx, p, before)
	}
	if err := e.verify(ctx, tx, p); err != nil {
		if host.CodeOf(err) != host.Conflict {
			return nil, err
		}
		p.State, p.Reason, p.CompletedDate = host.PlanStale, err.Error(), &now
		return p, tx.UpdatePlan(ctx, p, before)
	}
	if err := tx.UpdatePlan(ctx, p, before); err != nil {
		return nil, err
	}
	return p, tx.Enqueue(ctx, JobKind, p.Id, time.Time{})
}

// verify looks whether the world is still the one that a plan was made for. It
// is a Conflict where it is not, and names what has changed.
func (e *Engine) verify(ctx context.Context, tx Tx, p *host.Plan) error {
	for after := int64(0); ; {
		list, err := tx.Changes(ctx, p.Id, after, batch)
		if err != nil {
			return err
		}
		if err := e.same(ctx, tx, p, list); err != nil {
			return err
		}
		if len(list) < batch {
			return nil
		}
		after = list[len(list)-1].Number
	}
}

// same is verify for some changes.
func (e *Engine) same(ctx context.Context, tx Tx, p *host.Plan, list []*host.PlannedChange) error {
	var ids []string
	for _, c := range list {
		if c.UserId != "" {
			ids = append(ids, c.UserId)
		}
	}
	users, err := tx.UsersByIds(ctx, ids)
	if err != nil {
		return err
	}
	has, err := tx.LinkedUsers(ctx, p.AppName, ids)
	if err != nil {
		return err
	}
	for _, c := range list {
		now, err := e.again(ctx, tx, p, c, users[c.UserId], has[c.UserId])
		if err != nil {
			return err
		}
		if now == nil || now.Operation != c.Operation || now.Fingerprint != c.Fingerprint {
			return host.Errorf(host.Conflict, "%s of %s is not what it was: the user or the account has changed since; make the plan again   -> provost reconcile process --app %s --dry-run", c.Operation, c.Subject, p.AppName)
		}
	}
	return nil
}

// again plans one change as it would be planned now; nil for no change.
func (e *Engine) again(ctx context.Context, tx Tx, p *host.Plan, c *host.PlannedChange, u *host.User, has bool) (*host.PlannedChange, error) {
	if c.Operation == host.PlanDisable {
		if u == nil || !u.IsActive {
			return nil, nil
		}
		return disable(p, u), nil
	}
	rules, err := e.Rules(p.AppName)
	if err != nil {
		return nil, err
	}
	if c.Operation == host.Create {
		if u == nil || has {
			return nil, nil
		}
		if in, err := should(rules, u); err != nil || !in {
			return nil, err
		}
		return create(p, rules, u)
	}
	a, err := tx.Account(ctx, c.UserProvAccountId)
	if host.CodeOf(err) == host.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if a.UserId != "" && u == nil {
		found, err := tx.UsersByIds(ctx, []string{a.UserId})
		if err != nil {
			return nil, err
		}
		u = found[a.UserId]
	}
	return change(p, rules, a, u)
}

// released is how many changes one transaction makes requests of.
const released = 100

// release makes requests of the next changes: each in the transaction that
// notes it, so that none is lost or made twice.
func (e *Engine) release(ctx context.Context, p *host.Plan) (done bool, err error) {
	ctx = host.WithActor(ctx, p.DecidedBy)
	err = e.Store.Update(ctx, func(tx Tx) error {
		done = false
		list, err := tx.OpenChanges(ctx, p.Id, released)
		if err != nil {
			return err
		}
		next := *p
		if len(list) == 0 {
			now := e.Now().UTC()
			next.State, next.CompletedDate = host.PlanDone, &now
			if err := tx.UpdatePlan(ctx, &next, host.PlanReleased); err != nil {
				return err
			}
			done = true
			return tx.CompleteJob(ctx)
		}
		for _, c := range list {
			if err := e.do(ctx, tx, p, c); err != nil {
				return err
			}
			if c.Error != "" {
				next.Refused++
			} else {
				next.Made++
			}
			if err := tx.UpdateChange(ctx, c); err != nil {
				return err
			}
		}
		return tx.UpdatePlan(ctx, &next, host.PlanReleased)
	})
	return done, err
}

// do has one change done. What it rests on is looked at once more: what has
// changed by itself since the plan was released is left alone.
func (e *Engine) do(ctx context.Context, tx Tx, p *host.Plan, c *host.PlannedChange) error {
	if err := e.same(ctx, tx, p, []*host.PlannedChange{c}); err != nil {
		if host.CodeOf(err) == host.Conflict {
			c.Error = "has changed since it was planned; left alone"
			return nil
		}
		return err
	}
	users, err := tx.UsersByIds(ctx, slices.DeleteFunc([]string{c.UserId}, func(id string) bool { return id == "" }))
	if err != nil {
		return err
	}
	u := users[c.UserId]
	switch c.Operation {
	case host.PlanDisable:
		c.RequestId = "user:" + c.UserId
		return tx.Disable(ctx, u)
	case host.PlanAccept:
		a, err := tx.Account(ctx, c.UserProvAccountId)
		if err != nil {
			return err
		}
		c.RequestId = "user:" + c.UserId
		if err := tx.Accept(ctx, u, a); err != nil {
			if code := host.CodeOf(err); code != host.InvalidInput && code != host.Unsupported && code != host.Conflict {
				return err
			}
			c.RequestId, c.Error = "", err.Error()
		}
		return nil
	}
	r := &host.UserProvisioningRequest{Operation: c.Operation, AppName: p.AppName, UserId: c.UserId, UserProvAccountId: c.UserProvAccountId, PlanId: p.Id,
		Reason: fmt.Sprintf("%s %s (%s)", c.Subject, c.Reason, p.Name())}
	for _, d := range c.Differences {
		if c.Operation == host.Update {
			r.ChangedAttributes = append(r.ChangedAttributes, d.Path)
		}
	}
	if err := tx.AddRequest(ctx, r); err != nil {
		if code := host.CodeOf(err); code != host.Unsupported && code != host.InvalidInput && code != host.NotFound {
			return err
		}
		c.Error = err.Error()
		return nil
	}
	c.RequestId = r.Id
	return nil
}

// Quarantine stores the disabling of users that a file does not have any more,
// which passes the threshold: nobody is disabled until somebody allows it.
func (e *Engine) Quarantine(ctx context.Context, tx Tx, users []*host.User, active int64, reason string) (*host.Plan, error) {
	p := &host.Plan{Id: host.NewID(), Kind: Import, State: host.PlanQuarantined, Actor: host.ActorOf(ctx), CreatedDate: e.Now().UTC(),
		Reason: reason, Accounts: active, Counts: map[string]int64{string(host.PlanDisable): int64(len(users))}}
	if err := tx.InsertPlan(ctx, p); err != nil {
		return nil, err
	}
	for part := range slices.Chunk(users, batch) {
		list := make([]*host.PlannedChange, len(part))
		for i, u := range part {
			list[i] = disable(p, u)
		}
		if err := tx.InsertChanges(ctx, list); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func disable(p *host.Plan, u *host.User) *host.PlannedChange {
	c := &host.PlannedChange{PlanId: p.Id, Operation: host.PlanDisable, UserId: u.Id, Subject: u.Username, Reason: "is not in the file"}
	c.Fingerprint = fingerprint(c.Operation, map[string]any{"user": u.User}, nil)
	return c
}
