package provision_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

// approved makes an app whose changes are approved by the manager, and the
// manager grace.
func (w *world) approved(change ...func(*host.UserProvisioningConfig)) (grace *host.User) {
	w.app("acme", append([]func(*host.UserProvisioningConfig){func(c *host.UserProvisioningConfig) {
		c.ApprovalRequired, c.ApprovalExpires = "manager", 7*24*time.Hour
	}}, change...)...)
	return w.user("grace", nil)
}

func managed(u *host.User) { u.ManagerId = "Grace" }

// as does something in a transaction as an actor.
func (w *world) as(actor string, fn func(ctx context.Context, tx harnessTx) error) error {
	return w.try(func(ctx context.Context, tx harnessTx) error { return fn(host.WithActor(ctx, actor), tx) })
}

func (w *world) approve(actor, id string) error {
	return w.as(actor, func(ctx context.Context, tx harnessTx) error {
		_, err := w.engine.Approve(ctx, tx, id, "fine")
		return err
	})
}

func (w *world) deny(actor, id, reason string) error {
	return w.as(actor, func(ctx context.Context, tx harnessTx) error {
		_, err := w.engine.Deny(ctx, tx, id, reason)
		return err
	})
}

func (w *world) retry(id string) (again *host.UserProvisioningRequest, err error) {
	return again, w.as(host.Administrator("root"), func(ctx context.Context, tx harnessTx) error {
		again, err = w.engine.Retry(ctx, tx, id)
		return err
	})
}

func statuses(logs []*host.UserProvisioningLog) (out []string) {
	for _, l := range logs {
		out = append(out, l.Status+" by "+l.Actor)
	}
	return out
}

func TestNothingReachesTheTargetBeforeTheManagerHasApproved(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		grace := w.approved()
		w.user("ada", []string{"acme"}, managed)
		w.settle()
		r := w.last()
		require.Equal(t, host.ApprovalRequired, r.ApprovalStatus)
		require.Equal(t, grace.Id, r.ApproverId)
		require.True(t, r.ApprovalExpiresDate.Equal(w.clock().Add(7*24*time.Hour)))
		require.Empty(t, w.target.done())
		require.Zero(t, w.jobs())

		// Not by a job that something left, nor because the app asks no more.
		w.app("acme")
		w.do(func(ctx context.Context, tx harnessTx) error { return tx.Enqueue(ctx, "provision", r.Id, time.Time{}) })
		w.settle()
		require.Empty(t, w.target.done())

		require.NoError(t, w.approve("GRACE", r.Id))
		w.settle()
		require.Equal(t, []string{"create ada"}, w.target.done())
		r = w.request(r.Id)
		require.Equal(t, host.ApprovalApproved, r.ApprovalStatus)
		require.Equal(t, "grace", r.ApprovedBy)
		require.Equal(t, "fine", r.ApprovalReason)
		require.Equal(t, []string{"requested by provost", "needs approval by provost", "approved by grace", "linked by provost"}, statuses(w.logs(r.Id)))
		require.Equal(t, host.Conflict, host.CodeOf(w.approve("grace", r.Id)), "there is nothing to approve any more")
	})
}

func TestADeniedRequestSaysWhoAndWhyAndItsLaneGoesOn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.approved(func(c *host.UserProvisioningConfig) { c.ApprovalOperations = []host.Operation{host.Create} })
		ada := w.user("ada", []string{"acme"}, managed)
		create := w.last()
		w.change(ada.Id, func(u *host.User) { u.IsFrozen = true }) // waits behind it
		w.settle()
		require.Empty(t, w.target.done())
		require.NoError(t, w.deny("grace", create.Id, "no budget"))
		w.settle()
		create = w.request(create.Id)
		require.Equal(t, host.StateFailed, create.State)
		require.Equal(t, host.ApprovalDenied, create.ApprovalStatus)
		require.Equal(t, "grace", create.ApprovedBy)
		require.Equal(t, host.PermissionDenied, create.ErrorCode)
		require.Equal(t, "denied: no budget", create.ErrorMessage)
		logs := w.logs(create.Id)
		require.Equal(t, "denied by grace", statuses(logs[len(logs)-1:])[0])
		require.Equal(t, "no budget", logs[len(logs)-1].Details)
		require.Equal(t, []string{"Create Failed", "Freeze Completed"}, w.outline())

		// There is no account: an update would make one, and there is nothing to
		// deactivate.
		w.change(ada.Id, func(u *host.User) { u.IsFrozen = false })
		require.Zero(t, w.change(ada.Id, func(u *host.User) { u.Title = "Countess" }))
		require.Zero(t, w.change(ada.Id, func(u *host.User) { u.IsActive = false }))
		w.settle()
		require.Empty(t, w.target.done())
		require.Empty(t, w.target.names())
	})
}

func TestOnlyWhoMayDecidesAboutARequest(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.approved()
		w.app("books", func(c *host.UserProvisioningConfig) { c.ApprovalRequired, c.ApprovalGroup = "group", "it-admins" })
		w.engine.Groups = func(name string) []string { return map[string][]string{"it-admins": {"hedy", "ADA", "gone"}}[name] }
		w.user("hedy", nil)
		w.user("gone", nil, func(u *host.User) { u.IsActive = false })
		w.user("ada", []string{"acme", "books"}, managed)
		acme, books := w.requests()[0], w.requests()[1]
		require.Equal(t, "it-admins", books.ApproverGroup)
		require.Nil(t, books.ApprovalExpiresDate, "without a time it waits as long as it takes")
		for _, refused := range []struct{ actor, id, why string }{
			{"hedy", acme.Id, "is not for hedy to approve"},
			{"ada", acme.Id, "nobody approves what is for themselves"},
			{"nobody", acme.Id, "is no user"},
			{host.Ourselves, acme.Id, "is no user"},
			{"grace", books.Id, "is not for grace to approve"},
			{"ada", books.Id, "nobody approves what is for themselves"},
			{"gone", books.Id, "is disabled"},
		} {
			for _, err := range []error{w.approve(refused.actor, refused.id), w.deny(refused.actor, refused.id, "")} {
				require.Equal(t, host.PermissionDenied, host.CodeOf(err), refused.actor)
				require.ErrorContains(t, err, refused.why)
			}
		}
		w.settle()
		require.Empty(t, w.target.done())
		require.NoError(t, w.approve(host.Administrator("root"), acme.Id))
		require.NoError(t, w.approve("hedy", books.Id))
		w.target.next(pdk.OpCreate, reply{}, reply{out: &pdk.Output{ExternalUserId: "books-1"}})
		w.settle()
		require.Len(t, w.target.done(), 2)
		require.Equal(t, "administrator (root)", w.request(acme.Id).ApprovedBy)
	})
}

func TestADelegatedRequestIsForTheOther(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.approved()
		hedy := w.user("hedy", nil)
		w.user("ada", []string{"acme"}, managed)
		r := w.last()
		delegate := func(actor, to string) error {
			return w.as(actor, func(ctx context.Context, tx harnessTx) error {
				_, err := w.engine.Delegate(ctx, tx, r.Id, to, "on holiday")
				return err
			})
		}
		require.Equal(t, host.PermissionDenied, host.CodeOf(delegate("hedy", "hedy")))
		require.ErrorContains(t, delegate("grace", "ada"), "nobody approves what is for themselves")
		require.Equal(t, host.NotFound, host.CodeOf(delegate("grace", "who")))
		require.NoError(t, delegate("grace", "hedy"))
		require.Equal(t, hedy.Id, w.request(r.Id).ApproverId)
		require.Equal(t, host.PermissionDenied, host.CodeOf(w.approve("grace", r.Id)))
		require.NoError(t, w.approve("hedy", r.Id))
		require.Contains(t, statuses(w.logs(r.Id)), "delegated by grace")
	})
}

func TestWhatNobodyApprovedInTimeIsDeniedOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.approved()
		ada := w.user("ada", []string{"acme"}, managed)
		kay := w.user("kay", []string{"acme"}, managed)
		w.pass(7*24*time.Hour - time.Second)
		denied, err := w.engine.Expire(t.Context())
		require.NoError(t, err)
		require.Zero(t, denied)
		require.NoError(t, w.approve("grace", w.last().Id), "kay's: in time")
		w.pass(time.Second)
		r := w.requests()[0]
		require.ErrorContains(t, w.approve("grace", r.Id), "could be approved until")

		var all sync.WaitGroup
		counts := make([]int, 4) // as many daemons
		for i := range counts {
			all.Go(func() {
				n, err := w.engine.Expire(t.Context())
				counts[i] = n
				require.NoError(t, err)
			})
		}
		all.Wait()
		slices.Sort(counts)
		require.Equal(t, []int{0, 0, 0, 1}, counts)
		r = w.request(r.Id)
		require.Equal(t, host.StateFailed, r.State)
		require.Equal(t, host.ApprovalDenied, r.ApprovalStatus)
		require.Equal(t, "denied: nobody approved it in 168h", r.ErrorMessage)
		require.Equal(t, []string{"requested by provost", "needs approval by provost", "denied by provost"}, statuses(w.logs(r.Id)))
		w.settle()
		require.NotNil(t, w.account(kay.Id, "acme"))
		require.Nil(t, w.account(ada.Id, "acme"))
	})
}

func TestNobodyKeepsAnAccountBecauseAnApproverIsOnHoliday(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.approved(func(c *host.UserProvisioningConfig) {
			c.ApprovalOperations = []host.Operation{host.Create, host.Update, host.Activate, host.Reactivate, host.Unfreeze}
			c.UserAccountMapping = append(c.UserAccountMapping, "active = user.IsActive")
		})
		ada := w.user("ada", []string{"acme"}, managed)
		require.NoError(t, w.approve("grace", w.last().Id))
		w.settle()

		// An update waits; the deactivation passes it, and the update, approved
		// later, brings nothing back.
		w.change(ada.Id, func(u *host.User) { u.Title = "Countess" })
		update := w.last()
		w.change(ada.Id, func(u *host.User) { u.IsActive = false })
		w.settle()
		require.Equal(t, []string{"Create Completed", "Update New", "Deactivate Completed"}, w.outline())
		require.Equal(t, []string{"(ada)"}, w.target.names())
		require.NoError(t, w.approve("grace", update.Id))
		w.settle()
		require.Equal(t, map[string]any{"userName": "ada", "email": "ada@example.com", "title": "Countess", "active": false}, w.target.calls[len(w.target.calls)-1].In.Attributes)
		require.Equal(t, []string{"(ada)"}, w.target.names())

		// What gives back waits, and is undone by what takes away.
		w.change(ada.Id, func(u *host.User) { u.IsActive = true })
		w.change(ada.Id, func(u *host.User) { u.Title = "Baroness" })
		require.Equal(t, []string{"Activate New", "Update New"}, w.outline()[3:])
		w.change(ada.Id, func(u *host.User) { u.IsActive = false })
		w.settle()
		require.Equal(t, "Activate Cancelled", w.outline()[3])
		require.Equal(t, []string{"(ada)"}, w.target.names())
		require.ErrorContains(t, w.approve("grace", w.requests()[3].Id), "nothing to decide any more")
	})
}

func TestACreateThatNobodyApprovedIsNeedlessWhenThePersonLeaves(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.approved()
		ada := w.user("ada", []string{"acme"}, managed)
		w.change(ada.Id, func(u *host.User) { u.Title = "Countess" })
		w.change(ada.Id, func(u *host.User) { u.IsActive = false })
		require.Equal(t, []string{"Create Cancelled"}, w.outline())

		// Asked for by hand, or again, it is as needless.
		w.change(ada.Id, func(u *host.User) { u.IsActive = true })
		require.NoError(t, w.deny("grace", w.last().Id, ""))
		_, err := w.retry(w.last().Id)
		require.NoError(t, err)
		w.assign(ada.Id, "acme", false)
		w.settle()
		require.Equal(t, []string{"Create Cancelled", "Create Retried", "Create Cancelled"}, w.outline())
		require.Empty(t, w.target.done())
	})
}

func TestAnAccountThatWasFoundMeanwhileIsDeactivatedAllTheSame(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.approved(func(c *host.UserProvisioningConfig) { c.ApprovalOperations = []host.Operation{host.Create} })
		ada := w.user("ada", []string{"acme"}, managed)
		_, err := w.target.act(pdk.OpCreate, pdk.Input{Attributes: map[string]any{"userName": "ada"}})
		require.NoError(t, err)
		w.do(func(ctx context.Context, tx harnessTx) error { // as a reconcile links it
			return tx.PutAccount(ctx, &host.UserProvAccount{Id: host.NewID(), AppName: "acme", UserId: ada.Id, ExternalUserId: "ext-1",
				LinkState: host.Linked, Active: true, CreatedDate: w.clock(), LastModifiedDate: w.clock()})
		})
		w.change(ada.Id, func(u *host.User) { u.IsActive = false })
		w.settle()
		require.Equal(t, []string{"Create Cancelled", "Deactivate Completed"}, w.outline())
		require.Equal(t, []string{"(ada)"}, w.target.names())
	})
}

func TestWhatWasApprovedStaysAsItWasApproved(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.approved(func(c *host.UserProvisioningConfig) { c.ApprovalOperations = []host.Operation{host.Update} })
		ada := w.user("ada", []string{"acme"}, managed)
		w.settle()
		w.change(ada.Id, func(u *host.User) { u.Title = "Countess" })
		require.Zero(t, w.change(ada.Id, func(u *host.User) { u.Title = "Baroness" }), "what waits for approval takes in what comes")
		first := w.last()
		require.Equal(t, "Baroness", first.Attributes["title"])
		require.NoError(t, w.approve("grace", first.Id))
		require.Equal(t, 1, w.change(ada.Id, func(u *host.User) { u.Title = "Queen" }))
		w.settle()
		last := w.target.calls[len(w.target.calls)-1]
		require.Equal(t, "Baroness", last.In.Attributes["title"])
		require.Equal(t, []string{"Create Completed", "Update Completed", "Update New"}, w.outline())
	})
}

func TestAnUpdateThatNeedsNoApprovalWaitsBehindOneThatDoes(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme", func(c *host.UserProvisioningConfig) { c.ApprovalRequired, c.ApprovalExpires = "expression", time.Hour })
		w.engine.ApprovalRule = func(_ string, _ *host.User, r *host.UserProvisioningRequest) (host.Approver, error) {
			return host.Approver{Needed: slices.Contains(r.ChangedAttributes, "title"), Username: "grace"}, nil
		}
		grace := w.user("grace", nil)
		ada := w.user("ada", []string{"acme"})
		w.settle()
		w.change(ada.Id, func(u *host.User) { u.Title = "Countess" })
		require.Equal(t, grace.Id, w.last().ApproverId)
		w.change(ada.Id, func(u *host.User) { u.Email = "countess@example.com" })
		w.settle()
		require.Equal(t, []string{"create ada"}, w.target.done())
		denied, err := w.engine.Expire(t.Context())
		require.NoError(t, err)
		require.Zero(t, denied)
		w.pass(time.Hour)
		_, err = w.engine.Expire(t.Context())
		require.NoError(t, err)
		w.settle()
		require.Equal(t, []string{"create ada"}, w.target.done(), "both were one request, and it was denied")
		require.Equal(t, []string{"Create Completed", "Update Failed"}, w.outline())
	})
}

func TestNoKnownApproverIsSaidAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme", func(c *host.UserProvisioningConfig) { c.ApprovalRequired = "manager" })
		w.user("off", nil, func(u *host.User) { u.IsActive = false })
		for name, c := range map[string]struct{ manager, why string }{
			"ada": {"", "the user has no manager"},
			"kay": {"elsewhere", "the manager is no user"},
			"joe": {"off", "the manager is disabled"},
			"sam": {"sam", "nobody approves what is for themselves"},
		} {
			w.user(name, []string{"acme"}, func(u *host.User) { u.ManagerId = c.manager })
			r := w.last()
			require.Equal(t, host.ApprovalRequired, r.ApprovalStatus, name)
			require.Empty(t, r.ApproverId, name)
			logs := w.logs(r.Id)
			require.Equal(t, "needs approval", logs[len(logs)-1].Status)
			require.Contains(t, logs[len(logs)-1].Details, "must be approved by an administrator, since "+c.why)
			require.Equal(t, host.PermissionDenied, host.CodeOf(w.approve(name, r.Id)))
			require.NoError(t, w.approve(host.Administrator("root"), r.Id))
		}
		w.app("books", func(c *host.UserProvisioningConfig) { c.ApprovalRequired = "expression" })
		w.engine.ApprovalRule = func(string, *host.User, *host.UserProvisioningRequest) (host.Approver, error) {
			return host.Approver{}, host.Errorf(host.InvalidInput, "the approval rule: nothing to add to nil")
		}
		w.user("eve", []string{"books"})
		require.Equal(t, host.ApprovalRequired, w.last().ApprovalStatus, "a rule that fails lets nothing through")
		require.Contains(t, w.last().ApprovalReason, "nothing to add to nil")
	})
}

func TestARetryOfADeniedRequestAsksAgain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		grace := w.approved()
		w.user("ada", []string{"acme"}, managed)
		first := w.last()
		require.NoError(t, w.deny("grace", first.Id, "not yet"))
		w.pass(time.Hour)
		w.app("acme") // asks for no approval any more; what was denied needs it all the same
		again, err := w.retry(first.Id)
		require.NoError(t, err)
		w.settle()
		require.Empty(t, w.target.done())
		again = w.request(again.Id)
		require.Equal(t, host.ApprovalRequired, again.ApprovalStatus)
		require.Equal(t, grace.Id, again.ApproverId)
		require.Empty(t, again.ApprovedBy)
		require.True(t, again.ApprovalExpiresDate.Equal(w.clock().Add(7*24*time.Hour)))
		require.Equal(t, first.Id, again.ParentId)
		require.NoError(t, w.approve("grace", again.Id))
		w.settle()
		require.Equal(t, []string{"create ada"}, w.target.done())
		require.Equal(t, []string{"Create Retried", "Create Completed"}, w.outline())
	})
}

func TestARetryOfAnApprovedRequestKeepsTheApprovalWhileItIsTheSame(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.approved()
		ada := w.user("ada", []string{"acme"}, managed)
		require.NoError(t, w.approve("grace", w.last().Id))
		w.target.next(pdk.OpCreate, fails(host.InvalidInput), fails(host.InvalidInput))
		w.settle()
		again, err := w.retry(w.last().Id)
		require.NoError(t, err)
		require.Equal(t, host.ApprovalApproved, again.ApprovalStatus)
		require.Equal(t, "grace", again.ApprovedBy)
		w.settle()
		require.Equal(t, []string{"Create Retried", "Create Failed"}, w.outline())
		require.Len(t, w.target.done(), 2)
		w.change(ada.Id, func(u *host.User) { u.Title = "Countess" })
		again, err = w.retry(w.last().Id)
		require.NoError(t, err)
		require.Equal(t, host.ApprovalRequired, again.ApprovalStatus, "it is another account than the one that was approved")
		require.Equal(t, "Countess", again.Attributes["title"])
		w.settle()
		require.Len(t, w.target.done(), 2)
	})
}

func TestAnUpdateDoesNotMakeAnAccountThatMustBeApproved(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.approved(func(c *host.UserProvisioningConfig) { c.ApprovalOperations = []host.Operation{host.Create} })
		ada := w.user("ada", []string{"acme"}, managed)
		require.NoError(t, w.deny("grace", w.last().Id, "no"))
		w.do(func(ctx context.Context, tx harnessTx) error { // by hand
			_, err := w.engine.CreateRequest(ctx, tx, ada.Id, "acme", host.Update)
			return err
		})
		w.settle()
		r := w.last()
		require.Equal(t, host.ApprovalRequired, r.ApprovalStatus)
		require.Equal(t, host.StateNew, r.State)
		require.Empty(t, w.target.done())
		logs := w.logs(r.Id)
		require.Contains(t, logs[len(logs)-1].Details, "there is no account, so it would make one")
		require.NoError(t, w.approve("grace", r.Id))
		w.settle()
		require.Equal(t, []string{"create ada"}, w.target.done())
	})
}

func TestARetryBringsNothingOldBack(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme")
		ada := w.user("ada", []string{"acme"})
		w.settle()
		w.target.next(pdk.OpUpdate, fails(host.InvalidInput))
		w.change(ada.Id, func(u *host.User) { u.Title = "Countess" })
		w.settle()
		failed := w.last()
		w.change(ada.Id, func(u *host.User) { u.Title = "Baroness" })
		w.settle()
		again, err := w.retry(failed.Id)
		require.NoError(t, err)
		require.Equal(t, "Baroness", again.Attributes["title"])

		w.settle()
		w.target.next(pdk.OpDeactivate, fails(host.InvalidInput))
		w.change(ada.Id, func(u *host.User) { u.IsActive = false })
		w.settle()
		failed = w.last()
		require.Equal(t, host.StateFailed, failed.State)
		w.change(ada.Id, func(u *host.User) { u.IsActive = true })
		w.settle()
		_, err = w.retry(failed.Id)
		require.ErrorContains(t, err, "is overtaken: ada Test has the app")
		require.Equal(t, host.StateFailed, w.request(failed.Id).State)

		// Nor does it make an account for somebody who has left.
		kay := w.user("kay", nil)
		w.target.next(pdk.OpCreate, fails(host.InvalidInput))
		w.assign(kay.Id, "acme", true)
		w.settle()
		failed = w.last()
		w.change(kay.Id, func(u *host.User) { u.IsActive = false })
		_, err = w.retry(failed.Id)
		require.ErrorContains(t, err, "kay Test is disabled")
		require.Equal(t, []string{"ada"}, w.target.names())
	})
}

func TestARequestForAnAccountOfNobodyIsRetried(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme", func(c *host.UserProvisioningConfig) { c.ApprovalRequired = "manager" })
		_, err := w.target.act(pdk.OpCreate, pdk.Input{Attributes: map[string]any{"userName": "stranger"}})
		require.NoError(t, err)
		a := &host.UserProvAccount{Id: host.NewID(), AppName: "acme", ExternalUserId: "ext-1", LinkState: host.Orphaned, Active: true, CreatedDate: w.clock(), LastModifiedDate: w.clock()}
		w.do(func(ctx context.Context, tx harnessTx) error {
			a.Number = 0
			if err := tx.PutAccount(ctx, a); err != nil {
				return err
			}
			return w.engine.AddPlanned(ctx, tx, &host.UserProvisioningRequest{AppName: "acme", Operation: host.Deactivate, UserProvAccountId: a.Id, ExternalUserId: a.ExternalUserId, Reason: "nobody's"})
		})
		require.NoError(t, w.approve(host.Administrator("root"), w.last().Id))
		w.target.next(pdk.OpDeactivate, fails(host.InvalidInput))
		w.settle()
		require.Equal(t, []string{"Deactivate Failed"}, w.outline())
		_, err = w.retry(w.last().Id)
		require.NoError(t, err)
		w.settle()
		require.Equal(t, []string{"Deactivate Retried", "Deactivate Completed"}, w.outline())
		require.Equal(t, []string{"(stranger)"}, w.target.names())
	})
}
