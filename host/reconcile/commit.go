package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
)

// CommitTx is what committing does within one transaction.
type CommitTx interface {
	GoneAccounts(ctx context.Context, f host.GoneFilter) ([]*host.UserProvAccount, error)
	MarkGone(ctx context.Context, numbers []int64, since, now time.Time) error
	GivenUp(ctx context.Context, app, requestID string, after int64, limit int) ([]*host.UserProvAccount, error)
	GiveUp(ctx context.Context, requestID string, numbers []int64) error
	InsertAccounts(ctx context.Context, list []*host.UserProvAccount) error
	UpdateAccounts(ctx context.Context, list []*host.UserProvAccount) error
	DropStaged(ctx context.Context, requestID string, limit int) (done bool, err error)
}

// The phases of committing, see phaseUsers.
const (
	phaseGone    = "gone"    // accounts that were not found are dated
	phaseGivenUp = "givenup" // users are freed for the accounts that they are linked to now
	phaseStore   = "store"   // staged accounts become accounts
	phaseClear   = "clear"   // what was staged goes
	phaseEnd     = "end"
)

// commit takes committing one batch further. It makes accounts of what was
// staged, by the model's rules: an account is looked up by ExternalUserId; none
// is made anew; one with IsKnownLink keeps its LinkState and its user; of any
// other all values are copied.
func (e *Engine) commit(ctx context.Context, r *host.UserProvisioningRequest) error {
	phase, at, _ := strings.Cut(r.ReconOffset, " ")
	after, _ := strconv.ParseInt(cmp.Or(at, "0"), 10, 64) // the cursor is ours
	to := func(phase string, after int64) string { return phase + " " + strconv.FormatInt(after, 10) }
	switch phase {
	case "":
		// First those that are gone, so that their users are free for another
		// account.
		if whole(r) {
			return e.advance(ctx, r, to(phaseGone, 0), nil)
		}
		return e.advance(ctx, r, to(phaseGivenUp, 0), nil)
	case phaseGone:
		return e.markGone(ctx, r, after, to)
	case phaseGivenUp:
		return e.giveUp(ctx, r, after, to)
	case phaseStore:
		return e.storeBatch(ctx, r, after, to)
	case phaseClear:
		return e.clear(ctx, r, after, to)
	default:
		return e.end(ctx, r)
	}
}

// markGone dates the accounts that a whole run did not find.
func (e *Engine) markGone(ctx context.Context, r *host.UserProvisioningRequest, after int64, to func(string, int64) string) error {
	var list []*host.UserProvAccount
	err := e.Store.View(ctx, func(tx Tx) error {
		var err error
		list, err = tx.GoneAccounts(ctx, host.GoneFilter{AppName: r.AppName, RequestId: r.Id, Since: since(r), After: after, Limit: e.Batch})
		return err
	})
	if err != nil {
		return err
	}
	next := to(phaseGivenUp, 0)
	if len(list) == e.Batch {
		next = to(phaseGone, list[len(list)-1].Number)
	}
	return e.advance(ctx, r, next, func(tx Tx) error { return tx.MarkGone(ctx, numbers(list), since(r), e.Now().UTC()) })
}

// giveUp takes accounts from users who are linked to another one now: there is
// no moment at which a user has two.
func (e *Engine) giveUp(ctx context.Context, r *host.UserProvisioningRequest, after int64, to func(string, int64) string) error {
	var list []*host.UserProvAccount
	err := e.Store.View(ctx, func(tx Tx) error {
		var err error
		list, err = tx.GivenUp(ctx, r.AppName, r.Id, after, e.Batch)
		return err
	})
	if err != nil {
		return err
	}
	next := to(phaseStore, 0)
	if len(list) == e.Batch {
		next = to(phaseGivenUp, list[len(list)-1].Number)
	}
	return e.advance(ctx, r, next, func(tx Tx) error { return tx.GiveUp(ctx, r.Id, numbers(list)) })
}

func numbers(list []*host.UserProvAccount) []int64 {
	n := make([]int64, len(list))
	for i, a := range list {
		n[i] = a.Number
	}
	return n
}

// storeBatch makes accounts of a batch of staged ones.
func (e *Engine) storeBatch(ctx context.Context, r *host.UserProvisioningRequest, after int64, to func(string, int64) string) error {
	return e.Store.Update(ctx, func(tx Tx) error {
		list, err := tx.Staging(ctx, r.Id, after, e.Batch)
		if err != nil {
			return err
		}
		next := to(phaseClear, 0)
		if len(list) == e.Batch {
			next = to(phaseStore, list[len(list)-1].Number)
		}
		if err := tx.AdvanceRun(ctx, r.Id, r.State, r.ReconOffset, next); err != nil {
			return err
		}
		known, err := e.known(ctx, tx, r, list, true)
		if err != nil {
			return err
		}
		var made, changed []*host.UserProvAccount
		now := e.Now().UTC()
		for _, s := range list {
			a := known[s]
			if a == nil {
				a = &host.UserProvAccount{Id: host.NewID(), AppName: r.AppName, ConnectedAppId: r.ConnectedAppId, CreatedDate: now, Active: true}
				made = append(made, a)
			} else {
				changed = append(changed, a)
			}
			copyValues(a, s, now, since(r))
		}
		if err := onlyLink(ctx, tx, r.AppName, append(slices.Clone(made), changed...)); err != nil {
			return err
		}
		if err := tx.InsertAccounts(ctx, made); err != nil {
			return fmt.Errorf("accounts after %d: %w", after, err)
		}
		if err := tx.UpdateAccounts(ctx, changed); err != nil {
			return fmt.Errorf("accounts after %d: %w", after, err)
		}
		return nil
	})
}

// copyValues makes an account what was staged of it. Of an account that a
// request or a person has changed since the collecting began, what was collected
// may be older than what is stored, so the values stay; the next run sees to
// them.
func copyValues(a *host.UserProvAccount, s *host.UserProvAccountStaging, now, since time.Time) {
	if s.Decided || !a.IsKnownLink {
		a.LinkState, a.UserId = s.LinkState, s.UserId
		// A person has said so in the review: later runs keep it.
		a.IsKnownLink = s.Decided
	}
	a.ExternalUserId = s.ExternalUserId
	if a.Candidates = s.Candidates; s.Decided {
		a.Candidates = nil
	}
	if a.Number != 0 && a.LastModifiedDate.After(since) {
		return
	}
	a.LastModifiedDate, a.Drift = now, s.Drift
	if isDeleted(s) {
		if a.DeletedDate == nil {
			a.DeletedDate = &now
		}
		a.Active = false
		return
	}
	if a.DeletedDate != nil {
		a.DeletedDate, a.Active = nil, true // it is there again
	}
	part := inPart(s)
	for _, v := range []struct {
		to   *string
		from string
	}{
		{&a.ExternalUsername, s.ExternalUsername}, {&a.ExternalFirstName, s.ExternalFirstName}, {&a.ExternalLastName, s.ExternalLastName},
		{&a.ExternalEmail, s.ExternalEmail}, {&a.Status, s.Status}, {&a.Version, s.Version},
	} {
		if v.from != "" || !part {
			*v.to = v.from
		}
	}
	if s.Attributes != nil {
		a.Attributes = attributesOf(s, a)
	}
	if active, known := activeIn(s); known {
		a.Active = active
	}
}

// activeIn reads the target's own word for whether the account is active: some
// write it as a text.
func activeIn(s *host.UserProvAccountStaging) (active, known bool) {
	switch v := s.Attributes["active"].(type) {
	case bool:
		return v, true
	case string:
		active, err := strconv.ParseBool(strings.ToLower(v))
		return active, err == nil
	default:
		return false, false
	}
}

// onlyLink makes accounts duplicates whose user has been given another one
// since the run was analyzed.
func onlyLink(ctx context.Context, tx Tx, app string, list []*host.UserProvAccount) error {
	var users []string
	for _, a := range list {
		if a.LinkState == host.Linked && a.DeletedDate == nil {
			users = append(users, a.UserId)
		}
	}
	others, err := tx.LinkedAccounts(ctx, app, users)
	if err != nil {
		return err
	}
	has := make(map[string]string, len(others))
	for _, a := range others {
		has[a.UserId] = a.Id
	}
	for _, a := range list {
		if a.LinkState == host.Linked && a.DeletedDate == nil && has[a.UserId] != "" && has[a.UserId] != a.Id {
			a.LinkState = host.Duplicate
		}
	}
	return nil
}

// clear removes what the run needed only while it went on.
func (e *Engine) clear(ctx context.Context, r *host.UserProvisioningRequest, step int64, to func(string, int64) string) error {
	if step == 0 {
		return e.drop(ctx, r, to(phaseClear, 1), func(tx Tx, ctx context.Context, _ int64, limit int) (bool, error) {
			return tx.DropStaged(ctx, r.Id, limit)
		})
	}
	return e.drop(ctx, r, to(phaseEnd, 0), Tx.DropReconUsers)
}

func (e *Engine) end(ctx context.Context, r *host.UserProvisioningRequest) error {
	var ended host.UserProvisioningRequest
	err := e.Store.Update(ctx, func(tx Tx) error {
		if err := tx.AdvanceRun(ctx, r.Id, r.State, r.ReconOffset, ""); err != nil {
			return err
		}
		now := e.Now().UTC()
		next := *r
		next.State, next.CompletedDate, next.ReconOffset = host.StateCompleted, &now, ""
		ended = next
		if err := tx.UpdateRequest(ctx, &next, r.Attempt); err != nil {
			return err
		}
		if err := tx.TouchConfig(ctx, r.AppName, now, r.ReconState); err != nil {
			return err
		}
		if whole(r) {
			if err := tx.TouchWholeRun(ctx, r.AppName, now); err != nil {
				return err
			}
			if err := e.wholeRunEnded(ctx, tx, r.AppName); err != nil {
				return err
			}
		}
		if err := e.log(ctx, tx, &next, "completed", fmt.Sprintf("%d accounts are stored", next.ReconFound), nil); err != nil {
			return err
		}
		return tx.ClearRun(ctx, r.Id)
	})
	if err == nil {
		e.tell(ctx, &ended)
	}
	return err
}

// AccountOf is the account that the commit would make of a staged one that is
// new.
func AccountOf(s *host.UserProvAccountStaging) *host.UserProvAccount {
	a := &host.UserProvAccount{Active: true}
	copyValues(a, s, time.Time{}, time.Time{})
	return a
}
