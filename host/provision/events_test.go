package provision_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

func disable(u *host.User)  { u.IsActive = false }
func enable(u *host.User)   { u.IsActive = true }
func freeze(u *host.User)   { u.IsFrozen = true }
func unfreeze(u *host.User) { u.IsFrozen = false }

func titled(title string) func(*host.User) { return func(u *host.User) { u.Title = title } }

// deleted deletes a user.
func (w *world) deleted(id string) {
	w.t.Helper()
	w.do(func(ctx context.Context, tx harnessTx) error {
		u, err := tx.User(ctx, id)
		if err != nil {
			return err
		}
		_, err = w.engine.Delete(ctx, tx, u)
		return err
	})
}

func TestEachEventOfTheModelMakesItsRequest(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme", func(c *host.UserProvisioningConfig) {
			c.Profiles, c.PermissionSets, c.Scope = []string{"Analysts"}, []string{"CRM"}, `user.Department == "Sales"`
			c.OnUpdateAttributes = []string{"Title"}
		})
		u := w.user("ada", nil)
		require.Empty(t, w.outline(), "nobody granted it")
		for _, one := range []struct {
			event  string
			change func(*host.User)
			makes  []string
		}{
			{"profile granted", func(u *host.User) { u.Profile = "Analysts" }, []string{"Create"}},
			{"title changed", titled("Countess"), []string{"Update"}},
			{"an attribute that does not count", func(u *host.User) { u.Email = "new@example.com" }, nil},
			{"an event that changes nothing", func(*host.User) {}, nil},
			{"frozen", freeze, []string{"Freeze"}},
			{"unfrozen", unfreeze, []string{"Unfreeze"}},
			{"disabled", disable, []string{"Deactivate"}},
			{"changed while disabled", titled("Lady"), nil},
			{"enabled", enable, []string{"Activate", "Update"}},
			{"profile changed to one that grants nothing", func(u *host.User) { u.Profile = "Guests" }, []string{"Deactivate"}},
			{"permission set granted", func(u *host.User) { u.PermissionSets = []string{"Other", "CRM"} }, []string{"Reactivate"}},
			{"another grant beside it", func(u *host.User) { u.Department = "Sales" }, nil},
			{"one of two grants taken", func(u *host.User) { u.PermissionSets = nil }, nil},
			{"out of the scope", func(u *host.User) { u.Department = "Legal" }, []string{"Deactivate"}},
			{"into the scope", func(u *host.User) { u.Department = "Sales" }, []string{"Reactivate"}},
			{"renamed", func(u *host.User) { u.Username, u.Title = "ada.king", "Countess" }, []string{"Update"}},
		} {
			n := len(w.requests())
			w.change(u.Id, one.change)
			w.settle()
			var made []string
			for _, r := range w.requests()[n:] {
				require.Equal(t, host.StateCompleted, r.State, "%s: %s", one.event, r.ErrorMessage)
				made = append(made, string(r.Operation))
			}
			require.Equal(t, one.makes, made, one.event)
		}
		require.Equal(t, []string{"ada.king"}, w.target.names(), "one account through it all")
	})
}

func TestEventsAreCoalescedWhileTheyWait(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme")
		u := w.user("ada", []string{"acme"})
		w.change(u.Id, titled("Countess"))
		require.Equal(t, []string{"Create New"}, w.outline(), "an update of an account that is not made yet goes into the create")
		w.run()
		require.Equal(t, []string{"Create Completed"}, w.outline())
		require.Equal(t, "Countess", w.account(u.Id, "acme").Attributes["title"])

		w.change(u.Id, titled("Lady"))
		w.change(u.Id, func(u *host.User) { u.Email = "lady@example.com" })
		require.Equal(t, []string{"Create Completed", "Update New"}, w.outline(), "update + update = one")
		r := w.last()
		require.Equal(t, []string{"email", "title"}, r.ChangedAttributes)
		require.Contains(t, w.logs(r.Id)[1].Status, "coalesced")
		w.run()
		require.Equal(t, 2, len(w.target.done()))

		w.change(u.Id, disable)
		w.change(u.Id, enable)
		require.Equal(t, "Deactivate Cancelled", w.outline()[2], "disabled and enabled again before anything ran")
		w.settle()
		require.Equal(t, 2, len(w.target.done()), "the target hears nothing of it")

		v := w.user("bob", []string{"acme"})
		w.change(v.Id, titled("Baron"))
		w.change(v.Id, disable)
		require.Equal(t, "Create Cancelled", w.outline()[3], "create + deactivate before the create ran = none")
		require.Len(t, w.outline(), 4)
		log := w.logs(w.last().Id)
		require.Contains(t, log[len(log)-1].Details, "needless before it ran: bob Test was disabled")
		w.settle()
		require.Equal(t, []string{"ada"}, w.target.names())
	})
}

func TestAChangeDuringTheCreateIsSentAfterIt(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme")
		u := w.user("ada", []string{"acme"})
		once := false
		w.target.before = func(op pdk.Operation, _ pdk.Input) {
			if op == pdk.OpCreate && !once {
				once = true
				w.change(u.Id, titled("Countess"))
				w.change(u.Id, titled("Lady"))
			}
		}
		w.settle()
		require.Equal(t, []string{"create ada", "update ada"}, w.target.done())
		require.Equal(t, []string{"Create Completed", "Update Completed"}, w.outline())
		require.Equal(t, "Lady", w.account(u.Id, "acme").Attributes["title"])
	})
}

func TestWhatFollowsWhenSomebodyLeavesIsChosenPerApp(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		leave := func(c host.Consequence) func(*host.UserProvisioningConfig) {
			return func(a *host.UserProvisioningConfig) { a.OnUnassign, a.OnDisable, a.OnDelete = c, c, c }
		}
		apps := map[string]host.Consequence{"a-none": host.DoNothing, "b-freeze": host.DoFreeze, "c-off": host.DoDeactivate, "d-gone": host.DoDelete}
		for name, c := range apps {
			w.app(name, leave(c))
		}
		w.app("e-later", leave(host.DoDelete), func(c *host.UserProvisioningConfig) { c.DeleteAfter = 30 * 24 * time.Hour })
		events := map[string]func(u *host.User){
			"unassigned": func(u *host.User) {
				for _, app := range u.Apps {
					w.assign(u.Id, app, false)
				}
			},
			"disabled": func(u *host.User) { w.change(u.Id, disable) },
			"deleted":  func(u *host.User) { w.deleted(u.Id) },
		}
		for event, happen := range events {
			w.target.accounts = map[string]*targetAccount{} // one namespace for all apps, a name in each
			u := w.user(event, nil)
			for _, app := range []string{"a-none", "b-freeze", "c-off", "d-gone", "e-later"} {
				w.assign(u.Id, app, true)
				w.settle()
				w.target.accounts = map[string]*targetAccount{}
			}
			n := len(w.requests())
			w.do(func(ctx context.Context, tx harnessTx) (err error) { u, err = tx.User(ctx, u.Id); return err })
			happen(u)
			var made []string
			for _, r := range w.requests()[n:] {
				made = append(made, r.AppName+" "+string(r.Operation))
			}
			slices.Sort(made)
			require.Equal(t, []string{"b-freeze Freeze", "c-off Deactivate", "d-gone Delete", "e-later Deactivate", "e-later Delete"}, made, event)
		}
	})
}

func TestADeleteWaitsForItsDateAndIsWithdrawnWhenThePersonComesBack(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme", func(c *host.UserProvisioningConfig) { c.OnDelete, c.DeleteAfter = host.DoDelete, 30*24*time.Hour })
		u := w.user("ada", []string{"acme"})
		w.settle()
		w.deleted(u.Id)
		w.run()
		require.Equal(t, []string{"Create Completed", "Deactivate Completed", "Delete New"}, w.outline())
		require.Equal(t, []string{"(ada)"}, w.target.names())

		w.pass(29 * 24 * time.Hour)
		w.run()
		require.Equal(t, []string{"(ada)"}, w.target.names(), "not before its date")
		w.change(u.Id, enable) // rehired
		w.settle()
		require.Equal(t, []string{"Create Completed", "Deactivate Completed", "Delete Cancelled", "Reactivate Completed"}, w.outline())
		require.Equal(t, []string{"ada"}, w.target.names(), "the old account")

		w.deleted(u.Id)
		w.run()
		w.pass(30 * 24 * time.Hour)
		w.run()
		require.Empty(t, w.target.names(), "this time it is deleted")
		require.Equal(t, "Delete Completed", w.outline()[5])

		w.change(u.Id, enable)
		w.settle()
		require.Equal(t, []string{"ada"}, w.target.names(), "rehired after that: a new account")
	})
}

func TestAnOperationThatIsLackingFallsBackAsConfigured(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.target.lacks = []pdk.Operation{pdk.OpFreeze, pdk.OpUnfreeze, pdk.OpDelete}
		w.app("acme", func(c *host.UserProvisioningConfig) {
			c.Fallback = map[host.Operation]host.Operation{host.Freeze: host.Deactivate, host.Unfreeze: host.Activate}
			c.OnDelete = host.DoDelete
		})
		u := w.user("ada", []string{"acme"})
		w.settle()
		w.change(u.Id, freeze)
		w.settle()
		require.Equal(t, []string{"(ada)"}, w.target.names())
		require.Contains(t, w.last().Reason, "Deactivate in place of Freeze: the connector has no freeze")
		w.change(u.Id, titled("Countess"))
		w.settle()
		require.Equal(t, []string{"(ada)"}, w.target.names(), "a change brings nobody back who is frozen")
		w.change(u.Id, unfreeze)
		w.settle()
		require.Equal(t, []string{"ada"}, w.target.names())
		n := len(w.requests())
		w.deleted(u.Id)
		require.Len(t, w.requests(), n, "refused before it is queued: no connector for it and no fallback")
	})
}

func TestNothingReachesTheTargetInPreview(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme", func(c *host.UserProvisioningConfig) { c.Mode = host.Preview })
		u := w.user("ada", []string{"acme"}, titled("Countess"))
		w.settle()
		require.Empty(t, w.target.done())
		r := w.last()
		require.Equal(t, host.StateCancelled, r.State)
		require.True(t, r.Preview)
		log := w.logs(r.Id)
		require.Contains(t, log[len(log)-1].Details, "Would be: Create email = \"ada@example.com\", title = \"Countess\", userName = \"ada\"")

		w.app("acme", func(c *host.UserProvisioningConfig) { c.PreviewOperations = []host.Operation{host.Deactivate} })
		w.assign(u.Id, "acme", false)
		w.assign(u.Id, "acme", true)
		w.settle()
		require.Equal(t, []string{"ada"}, w.target.names(), "live but for one operation")
		w.change(u.Id, disable)
		w.settle()
		require.Equal(t, []string{"ada"}, w.target.names())
		require.Equal(t, host.StateCancelled, w.last().State)
	})
}

func TestCancellingOneThatWaitsDisturbsNobodyBeforeIt(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme")
		u := w.user("ada", []string{"acme"})
		w.target.before = func(op pdk.Operation, _ pdk.Input) {
			if op != pdk.OpCreate {
				return
			}
			w.do(func(ctx context.Context, tx harnessTx) error {
				r, err := w.engine.CreateRequest(ctx, tx, u.Id, "acme", host.Read)
				if err != nil {
					return err
				}
				_, err = w.engine.Cancel(ctx, tx, r.Id)
				return err
			})
			require.Equal(t, 1, w.jobs(), "the create under way has one job, not two")
		}
		w.settle()
		require.Equal(t, []string{"Create Completed", "Read Cancelled"}, w.outline())
		require.Equal(t, []string{"create ada"}, w.target.done())
		require.Equal(t, 1, w.requests()[0].Attempt)
	})
}

func TestRequestsOfOneAccountRunInTheirOrder(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme")
		u := w.user("ada", []string{"acme"})
		for i, op := range []host.Operation{host.Update, host.Freeze, host.Unfreeze, host.Deactivate, host.Activate} {
			w.do(func(ctx context.Context, tx harnessTx) error {
				_, err := w.engine.CreateRequest(ctx, tx, u.Id, "acme", op)
				return err
			})
			require.Equal(t, 1, w.jobs(), fmt.Sprint(i))
		}
		w.target.next(pdk.OpCreate, fails(host.Conflict))
		w.settle()
		require.Equal(t, []string{"create ada", "create ada", "update ada", "freeze ada", "unfreeze ada", "deactivate ada", "activate ada"}, w.target.done())
	})
}
