package provision_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

func once(c *host.UserProvisioningConfig) { c.MaxAttempts = 1 }

func (w *world) there(t *testing.T) targetAccount {
	t.Helper()
	require.Len(t, w.target.accounts, 1)
	for _, a := range w.target.accounts {
		return *a
	}
	panic("unreachable")
}

func TestAnAccountThatWasThereIsTakenAndGetsWhatItShouldHave(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme")
		w.target.accounts["by-hand"] = &targetAccount{ID: "by-hand", UserName: "ada", Attributes: map[string]any{"userName": "ada", "title": "Typo", "active": false}}
		u := w.user("ada", []string{"acme"}, titled("Countess"))
		w.settle()
		require.Equal(t, []string{"create ada", "read ada", "update ada", "activate ada"}, w.target.done())
		require.Equal(t, "by-hand", w.account(u.Id, "acme").ExternalUserId)
		require.Equal(t, "Countess", w.account(u.Id, "acme").Attributes["title"])
		require.Equal(t, "Countess", w.there(t).Attributes["title"])
		require.True(t, w.there(t).Active)
		logs := w.logs(w.last().Id)
		require.Contains(t, logs[len(logs)-1].Details, "the account was there already; now with email, title; it is active again")
	})
}

func TestAnAccountOfAnotherUserIsNotTouched(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme")
		w.user("ada", []string{"acme"}, titled("Countess"))
		w.settle()
		a := w.there(t)
		w.target.accounts[a.ID].UserName = "bob" // renamed in the target
		w.user("bob", []string{"acme"}, titled("Baron"))
		w.settle()
		require.Equal(t, host.StateFailed, w.last().State)
		require.Contains(t, w.last().ErrorMessage, "linked to another user")
		require.Equal(t, "Countess", w.there(t).Attributes["title"])
	})
}

func TestACreateForSomebodyWhoHasAnAccountMakesNoOther(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme")
		w.target.next(pdk.OpCreate, fails(host.InvalidInput))
		u := w.user("ada", []string{"acme"})
		w.run()
		failed := w.last()
		w.change(u.Id, titled("Countess")) // the update finds no account and makes it
		w.run()
		w.target.next(pdk.OpUpdate, fails(host.InvalidInput))
		w.change(u.Id, func(u *host.User) { u.Username = "ada.king" })
		w.run()
		require.Equal(t, []string{"ada"}, w.target.names())
		_, err := w.retry(failed.Id)
		require.NoError(t, err)
		w.settle()
		require.Equal(t, []string{"ada.king"}, w.target.names(), "it is changed, and no other is made")
		require.Equal(t, "ext-1", w.account(u.Id, "acme").ExternalUserId)
	})
}

func TestAnAccountThatMayHaveBeenMadeIsTakenAwayWithItsPerson(t *testing.T) {
	for name, leave := range map[string]func(w *world, id string){
		"disabled":   func(w *world, id string) { w.change(id, disable) },
		"unassigned": func(w *world, id string) { w.assign(id, "acme", false) },
		"deleted":    func(w *world, id string) { w.deleted(id) },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				w.app("acme", once)
				w.target.next(pdk.OpCreate, lost())
				u := w.user("ada", []string{"acme"})
				w.run()
				require.Equal(t, []string{"Create Failed"}, w.outline())
				require.Nil(t, w.account(u.Id, "acme"))
				leave(w, u.Id)
				w.settle()
				require.Equal(t, []string{"(ada)"}, w.target.names())
				require.Equal(t, "ext-1", w.account(u.Id, "acme").ExternalUserId)
			})
		})
	}
}

func TestAnAccountIsLookedForByTheNameThatWasSentToo(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme", once)
		w.target.next(pdk.OpCreate, lost())
		u := w.user("ada", []string{"acme"})
		w.run()
		failed := w.last()
		w.change(u.Id, func(u *host.User) { u.Username = "ada.king" })
		w.run()
		_, err := w.retry(failed.Id)
		require.NoError(t, err)
		w.settle()
		require.Equal(t, []string{"ada.king"}, w.target.names(), "one account, renamed")
		require.Equal(t, 1, w.target.made)
	})
}

func TestWhatWasPendingAndThenFailedIsLookedForBeforeItIsMadeAgain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme")
		w.target.next(pdk.OpCreate, reply{out: &pdk.Output{Pending: &pdk.Pending{Token: "ticket"}}, acts: true})
		w.target.next(pdk.OpCheck, fails(host.Internal))
		w.user("ada", []string{"acme"})
		w.settle()
		require.Equal(t, []string{"Create Failed"}, w.outline())
		_, err := w.retry(w.last().Id)
		require.NoError(t, err)
		w.settle()
		require.Equal(t, []string{"create ada", "check ada", "read ada"}, w.target.done())
		require.Equal(t, "Create Completed", w.outline()[1])
	})
}

func TestWhatWasPendingAndThenDoneByHandIsLookedForBeforeItIsMadeAgain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme")
		w.target.next(pdk.OpCreate, reply{out: &pdk.Output{Pending: &pdk.Pending{Token: "ticket"}}, acts: true})
		u := w.user("ada", []string{"acme"})
		w.run()
		asked := w.last()
		w.do(func(ctx context.Context, tx harnessTx) error {
			_, err := w.engine.CompleteManually(ctx, tx, asked.Id, "made in the app's own pages")
			return err
		})
		w.change(u.Id, func(u *host.User) { u.Username = "ada.king" })
		w.settle()
		require.Equal(t, []string{"ada.king"}, w.target.names(), "one account, renamed")
		require.Equal(t, 1, w.target.made)
	})
}

// An Update of somebody who has no account makes one, so it is needless, or to
// be followed by the end of the account, when the person leaves.
func TestAnUpdateThatWouldMakeTheAccountGoesWithItsPerson(t *testing.T) {
	for name, prepare := range map[string]func(w *world, id string){
		"before it ran": func(w *world, id string) {},
		"while it runs": func(w *world, id string) {
			w.target.next(pdk.OpCreate, reply{out: &pdk.Output{Pending: &pdk.Pending{Token: "ticket"}}, acts: true})
			w.run()
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				w.app("acme", once)
				w.target.next(pdk.OpCreate, fails(host.Internal))
				u := w.user("ada", []string{"acme"})
				w.run()
				require.Equal(t, []string{"Create Failed"}, w.outline())
				w.change(u.Id, func(u *host.User) { u.Title = "Countess" })
				prepare(w, u.Id)
				w.change(u.Id, disable)
				w.settle()
				for _, name := range w.target.names() {
					require.Equal(t, "(ada)", name, "%v", w.outline())
				}
			})
		})
	}
}

// The answer to a Delete was lost, and the person comes back before anybody has
// looked at it: whether the account is gone or there, there is one in the end.
func TestAPersonWhoComesBackAfterADeleteOfWhichNothingWasHeardHasOneAccount(t *testing.T) {
	for name, back := range map[string]func(*host.User){
		"as before":     enable,
		"with a change": func(u *host.User) { enable(u); u.Title = "Countess" },
	} {
		for done, reply := range map[string]reply{"done": lost(), "not done": {err: &host.Error{Code: host.Unavailable, Message: "cut off", Uncertain: true}}} {
			t.Run(name+" "+done, func(t *testing.T) {
				each(t, func(t *testing.T, w *world) {
					w.app("acme", once, func(c *host.UserProvisioningConfig) { c.OnDisable = host.DoDelete })
					u := w.user("ada", []string{"acme"})
					w.run()
					w.target.next(pdk.OpDelete, reply)
					w.change(u.Id, disable)
					w.settle()
					require.Equal(t, []string{"Create Completed", "Delete Failed"}, w.outline())
					w.change(u.Id, back)
					w.settle()
					require.Equal(t, []string{"ada"}, w.target.names(), "%v", w.outline())
					require.Equal(t, w.there(t).ID, w.account(u.Id, "acme").ExternalUserId)
					require.True(t, w.account(u.Id, "acme").Active)
				})
			})
		}
	}
}

// A target that says NotFound by mistake has deleted nobody.
func TestANotFoundAloneMakesNoSecondAccount(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme", once, func(c *host.UserProvisioningConfig) { c.OnDisable = host.DoDelete })
		u := w.user("ada", []string{"acme"})
		w.run()
		w.target.next(pdk.OpDelete, reply{err: &host.Error{Code: host.Unavailable, Message: "cut off", Uncertain: true}})
		w.change(u.Id, disable)
		w.settle()
		w.change(u.Id, enable)
		w.settle()
		w.target.next(pdk.OpUpdate, fails(host.NotFound))
		w.change(u.Id, func(u *host.User) { u.Title = "Countess" })
		w.settle()
		require.Equal(t, "Update Failed", w.outline()[len(w.outline())-1])
		require.Equal(t, 1, w.target.made)
	})
}

func TestAFrozenPersonIsFrozenOnceThereIsAnAccount(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme", once)
		w.target.next(pdk.OpCreate, fails(host.InvalidInput))
		u := w.user("ada", []string{"acme"})
		w.run()
		w.change(u.Id, freeze)
		w.settle()
		require.Equal(t, []string{"Create Failed", "Freeze Completed"}, w.outline(), "there is nothing to freeze yet")
		_, err := w.retry(w.requests()[0].Id)
		require.NoError(t, err)
		w.settle()
		require.True(t, w.there(t).Frozen)
		require.True(t, w.account(u.Id, "acme").Frozen)
	})
}

func TestAnAccountKeepsTheNameThatTheTargetGaveIt(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme")
		w.target.accounts["made"] = &targetAccount{ID: "made", UserName: "ada2", Active: true, Attributes: map[string]any{"userName": "ada2", "email": "ada@example.com"}}
		found := pdk.Output{ExternalUserId: "made", ExternalUsername: "ada2", Attributes: w.target.accounts["made"].Attributes}
		w.target.next(pdk.OpCreate, reply{err: &host.Error{Code: host.Unavailable, Message: "cut off", Uncertain: true}})
		w.target.next(pdk.OpRead, reply{out: &found})
		w.target.next(pdk.OpUpdate, fails(host.Conflict))
		u := w.user("ada", []string{"acme"}, titled("Countess"))
		w.settle()
		require.Equal(t, []string{"create ada", "read ada", "update ada", "update ada"}, w.target.done())
		require.Equal(t, "ada2", w.account(u.Id, "acme").ExternalUsername)
		require.Equal(t, "Countess", w.there(t).Attributes["title"])
		logs := w.logs(w.last().Id)
		require.Contains(t, logs[len(logs)-1].Details, `the target keeps its name "ada2": the target says Conflict; now with title`)
	})
}
