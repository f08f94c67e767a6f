package reconcile

import (
	"context"
	"fmt"

	"github.com/provosthq/provost/host"
)

// commit makes accounts of what was staged, by the model's rules: an account
// is looked up by ExternalUserId; none is made anew; one with IsKnownLink
// keeps its LinkState and its user. It may be cut off anywhere and begins anew:
// the same rows lead to the same accounts.
func (e *Engine) commit(ctx context.Context, r *host.UserProvisioningRequest) error {
	// First those that are gone, so that their users are free for another
	// account.
	if whole(r) {
		if err := e.markGone(ctx, r); err != nil {
			return err
		}
	}
	for after := int64(0); ; {
		var list []*host.UserProvAccountStaging
		err := e.Store.Update(ctx, func(tx Tx) error {
			var err error
			if list, err = tx.Staging(ctx, r.Id, after, batch); err != nil {
				return err
			}
			for _, s := range list {
				if err := e.commitOne(ctx, tx, r, s); err != nil {
					return fmt.Errorf("account %s: %w", s.ExternalUserId, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if len(list) < batch {
			break
		}
		after = list[len(list)-1].Number
	}
	return e.Store.Update(ctx, func(tx Tx) error {
		now := e.Now().UTC()
		next := *r
		next.State, next.CompletedDate = host.StateCompleted, &now
		if err := tx.UpdateRequest(ctx, &next, r.Attempt); err != nil {
			return err
		}
		if err := tx.TouchConfig(ctx, r.AppName, now, r.ReconState); err != nil {
			return err
		}
		if err := e.log(ctx, tx, &next, "completed", fmt.Sprintf("%d accounts are stored", next.ReconFound), nil); err != nil {
			return err
		}
		return tx.ClearRun(ctx, r.Id)
	})
}

func (e *Engine) commitOne(ctx context.Context, tx Tx, r *host.UserProvisioningRequest, s *host.UserProvAccountStaging) error {
	now := e.Now().UTC()
	a, err := tx.AccountByExternalId(ctx, r.AppName, s.ExternalUserId)
	if host.CodeOf(err) == host.NotFound {
		a = &host.UserProvAccount{Id: host.NewID(), AppName: r.AppName, ConnectedAppId: r.ConnectedAppId,
			ExternalUserId: s.ExternalUserId, CreatedDate: now, Active: true}
	} else if err != nil {
		return err
	}
	if s.Change == "deleted" {
		a.DeletedDate, a.Active = &now, false
	} else {
		a.DeletedDate = nil
		a.ExternalUsername, a.ExternalFirstName, a.ExternalLastName = s.ExternalUsername, s.ExternalFirstName, s.ExternalLastName
		a.ExternalEmail, a.Status, a.Version = s.ExternalEmail, s.Status, s.Version
		if s.Attributes != nil {
			a.Attributes = s.Attributes
		}
		if active, known := activeIn(s); known {
			a.Active = active
		}
	}
	a.LastModifiedDate, a.Drift = now, s.Drift
	if !a.IsKnownLink {
		a.LinkState, a.UserId = s.LinkState, s.UserId
		if a.LinkState == host.Linked {
			// A request may have linked another account since the analysis.
			other, err := tx.AccountByUser(ctx, r.AppName, a.UserId)
			if err != nil && host.CodeOf(err) != host.NotFound {
				return err
			}
			if err == nil && other.ExternalUserId != a.ExternalUserId {
				a.LinkState = host.Duplicate
			}
		}
	}
	if a.LinkState == "" {
		a.LinkState = host.Orphaned
	}
	return tx.PutAccount(ctx, a)
}

// activeIn reads the target's own word for whether the account is active.
func activeIn(s *host.UserProvAccountStaging) (active, known bool) {
	switch v := s.Attributes["active"].(type) {
	case bool:
		return v, true
	default:
		return false, false
	}
}

// markGone dates the accounts that a whole run did not find.
func (e *Engine) markGone(ctx context.Context, r *host.UserProvisioningRequest) error {
	for after := int64(0); ; {
		var n int
		err := e.Store.Update(ctx, func(tx Tx) error {
			list, err := tx.AccountsNotStaged(ctx, r.AppName, r.Id, after, batch)
			if err != nil {
				return err
			}
			n = len(list)
			now := e.Now().UTC()
			for _, a := range list {
				after = a.Number
				if r.StartedDate != nil && a.LastModifiedDate.After(*r.StartedDate) {
					continue // made or changed since the collecting began
				}
				a.DeletedDate, a.Active, a.LastModifiedDate = &now, false, now
				if err := tx.PutAccount(ctx, a); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || n < batch {
			return err
		}
	}
}
