package provision

import (
	"context"

	"github.com/provosthq/provost/host"
)

// Retry makes a new request of one that failed. It carries the values that the
// user has now, so that a late one brings nothing old back; what the user's
// standing has overtaken is refused. A request that was denied asks again.
func (e *Engine) Retry(ctx context.Context, tx Tx, id string) (*host.UserProvisioningRequest, error) {
	old, err := e.lockRequest(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	if old.Operation == host.Reconcile {
		return nil, host.Errorf(host.Unsupported, "start a new run instead   -> provost reconcile --app %s", old.AppName)
	}
	if old.State != host.StateFailed {
		return nil, host.Errorf(host.Conflict, "%s is %s; only a failed request can be retried", old.Name(), old.State)
	}
	app, err := tx.Config(ctx, old.AppName)
	if err != nil {
		return nil, err
	}
	rules, err := e.Rules(old.AppName)
	if err != nil {
		return nil, err
	}
	if old.UserId == "" {
		return e.retryForNobody(ctx, tx, app, old)
	}
	u, err := tx.User(ctx, old.UserId)
	if err != nil {
		return nil, err
	}
	if why, err := overtaken(app, rules, u, old); err != nil {
		return nil, err
	} else if why != "" {
		return nil, host.Errorf(host.Conflict, "%s (%s) is overtaken: %s %s   -> provost request create, if it is wanted all the same", old.Name(), old.Operation, u.DisplayName(), why)
	}
	attributes, err := rules.Apply(u)
	if err != nil {
		return nil, err
	}
	again := newRequest(app, u, old.Operation, "retry of "+old.Name(), attributes)
	again.ChangedAttributes, again.Parameters = old.ChangedAttributes, old.Parameters
	return again, e.retryAs(ctx, tx, old, again)
}

// retryForNobody retries what is done to an account that no user has.
func (e *Engine) retryForNobody(ctx context.Context, tx Tx, app *host.UserProvisioningConfig, old *host.UserProvisioningRequest) (*host.UserProvisioningRequest, error) {
	again := newRequest(app, new(host.User), old.Operation, "retry of "+old.Name(), old.Attributes)
	again.ChangedAttributes, again.Parameters = old.ChangedAttributes, old.Parameters
	again.UserProvAccountId, again.ExternalUserId = old.UserProvAccountId, old.ExternalUserId
	return again, e.retryAs(ctx, tx, old, again)
}

func (e *Engine) retryAs(ctx context.Context, tx Tx, old, again *host.UserProvisioningRequest) error {
	again.ParentId, again.RetryCount, again.Uncertain, again.Urgent = old.Id, old.RetryCount+1, old.Uncertain, old.Urgent
	again.PlanId = old.PlanId
	if err := e.askAgain(ctx, tx, old, again); err != nil {
		return err
	}
	old.State = host.StateRetried
	if err := tx.UpdateRequest(ctx, old, old.Attempt); err != nil {
		return err
	}
	if err := e.add(ctx, tx, again); err != nil {
		return err
	}
	return e.log(ctx, tx, old, "retried", "as "+again.Name(), nil)
}

// overtaken says why a request of an event is no longer what is to be done, ""
// where it is. What a person asked for is always.
func overtaken(app *host.UserProvisioningConfig, rules Rules, u *host.User, r *host.UserProvisioningRequest) (string, error) {
	is, err := standingOf(app, rules, u)
	if err != nil || r.Urgent {
		return "", err
	}
	switch r.Operation {
	case host.Create, host.Update, host.Activate, host.Reactivate:
		switch {
		case is.deleted:
			return "was deleted since", nil
		case !is.active:
			return "is disabled", nil
		case !is.granted:
			return "no longer has the app", nil
		}
	case host.Unfreeze:
		if is.frozen || !is.on {
			return "is frozen or no longer has the app", nil
		}
	case host.Freeze, host.Deactivate, host.Delete:
		if is.on && !is.frozen {
			return "has the app", nil
		}
		if is.on && r.Operation != host.Freeze && app.Fallback[host.Freeze] != r.Operation {
			return "has the app", nil
		}
	}
	return "", nil
}
