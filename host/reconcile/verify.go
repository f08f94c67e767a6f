package reconcile

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

// Pages of a target that changes meanwhile, or that pages badly, may leave
// accounts out: one that was removed moves those behind it up by one, and the
// next page begins behind an account that nobody has seen. So before accounts
// that we know of count as gone, each is asked for. What is there all the same
// is staged as if it had been on a page.

// mostVerified bounds the accounts that one run asks for. Where more are
// missing they are a sample: all of it must be gone.
const mostVerified = 2000

// verify asks for the known accounts that a whole run has not found. It may be
// cut off anywhere and begins anew. done means that the job has ended and
// another goes on later.
func (e *Engine) verify(ctx context.Context, r *host.UserProvisioningRequest, app *host.UserProvisioningConfig) (done bool, err error) {
	if !whole(r) {
		return false, nil
	}
	if ok, err := e.Connectors.Supports(app, pdk.OpRead); err != nil || !ok {
		return false, err
	}
	asked, there := 0, int64(0)
	for after := int64(0); asked <= mostVerified; {
		var list []*host.UserProvAccount
		if err := e.Store.View(ctx, func(tx Tx) error {
			var err error
			list, err = tx.AccountsNotStaged(ctx, r.AppName, r.Id, after, e.Batch)
			return err
		}); err != nil {
			return false, err
		}
		if len(list) == 0 {
			break
		}
		var found []*host.UserProvAccountStaging
		for _, a := range list {
			after = a.Number
			if a.DeletedDate != nil || a.ExternalUserId == "" || r.StartedDate != nil && a.LastModifiedDate.After(*r.StartedDate) {
				continue // it counts as gone already, or it is newer than the pages
			}
			if asked++; asked > mostVerified {
				break
			}
			if done, err := e.wait(ctx, r, app); done || err != nil {
				return done, err
			}
			out, trace, err := e.Connectors.Call(host.WithTurn(ctx), app, pdk.OpRead, e.readInput(r, app, a))
			switch {
			case ctx.Err() != nil:
				return false, ctx.Err()
			case host.CodeOf(err) == host.NotFound:
				continue
			case err != nil:
				return e.retryPage(ctx, r, app, onNoPage(a, err), &trace)
			case out.ExternalUserId == a.ExternalUserId:
				found = append(found, staged(r, []pdk.Account{out.Account()})...)
			case strings.EqualFold(out.ExternalUserId, a.ExternalUserId):
				// The target writes its ids in another way now.
				if err := e.renumber(ctx, r, a, out.ExternalUserId); err != nil {
					return false, err
				}
			}
		}
		if len(found) == 0 {
			continue
		}
		next, added := *r, int64(0)
		if err := e.Store.Update(ctx, func(tx Tx) error {
			var err error
			if added, err = stageNew(ctx, tx, r.Id, found); err != nil {
				return err
			}
			next.ReconFound = r.ReconFound + added
			return tx.UpdateRequest(ctx, &next, r.Attempt)
		}); err != nil {
			return false, err
		}
		there, *r = there+added, next
	}
	if asked > mostVerified && there > 0 {
		return false, host.Errorf(host.ConnectorFault, "more than %d accounts are on no page, and %d of them are there all the same: the target's paging leaves accounts out; run it again, or let the connector page in another way", mostVerified, there)
	}
	if asked == 0 {
		return false, nil
	}
	return false, e.Store.Update(ctx, func(tx Tx) error {
		return e.log(ctx, tx, r, "verified", fmt.Sprintf("%d known accounts were on no page; %d of them are there all the same", min(asked, mostVerified), there), nil)
	})
}

// onNoPage says what was asked when it failed.
func onNoPage(a *host.UserProvAccount, err error) error {
	var known *host.Error
	if !errors.As(err, &known) {
		return err
	}
	said := *known
	said.Message = fmt.Sprintf("%s (%s) was on no page and was asked for: %s", a.Name(), a.ExternalUserId, known.Message)
	return &said
}

// renumber gives an account the id that the target has for it now, unless that
// is another account of ours.
func (e *Engine) renumber(ctx context.Context, r *host.UserProvisioningRequest, a *host.UserProvAccount, id string) error {
	return e.Store.Update(ctx, func(tx Tx) error {
		if _, err := tx.AccountByExternalId(ctx, r.AppName, id); host.CodeOf(err) != host.NotFound {
			return err
		}
		before := a.ExternalUserId
		now := *a
		now.ExternalUserId = id
		if err := tx.PutAccount(ctx, &now); err != nil {
			return err
		}
		return e.log(ctx, tx, r, "renumbered", fmt.Sprintf("the target's id of %s is %s now, and was %s", a.Name(), id, before), nil)
	})
}

func (e *Engine) readInput(r *host.UserProvisioningRequest, app *host.UserProvisioningConfig, a *host.UserProvAccount) pdk.Input {
	return pdk.Input{
		UserProvisioningRequestId: r.Id, NamedCredDevName: app.NamedCredentialId, Operation: pdk.OpRead, ObjectClass: pdk.ObjectClassAccount,
		Parameters: r.Parameters, Attempt: r.RetryCount + 1, UserId: a.UserId,
		UserProvisioningRequest: &pdk.UserProvisioningRequest{Id: r.Id, Name: r.Name(), AppName: r.AppName, Operation: string(r.Operation),
			ConnectedAppId: r.ConnectedAppId, State: string(r.State), UserProvConfigId: r.UserProvConfigId},
		UserProvAccount: &pdk.UserProvAccount{Id: a.Id, Name: a.Name(), ConnectedAppId: a.ConnectedAppId, UserId: a.UserId, ExternalUserId: a.ExternalUserId,
			ExternalUsername: a.ExternalUsername, ExternalEmail: a.ExternalEmail, Status: a.Status, LinkState: string(a.LinkState), Version: a.Version},
	}
}
