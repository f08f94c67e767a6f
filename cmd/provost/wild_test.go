package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/plugins/scim/scimtarget/chaos"
)

// wild are races and accidents that products had to fix in the field. Each has
// an app and a target of its own.
var wild = map[string]func(t *testing.T, w *trial, app string, target *trialApp){
	"a user is changed while the create is still under way": func(t *testing.T, w *trial, app string, target *trialApp) {
		var u *host.User
		target.Inject(chaos.Fault{Operation: chaos.Create, Subject: app, Kind: chaos.Drift, Change: func() {
			w.change(app, func(u *host.User) { u.Title = "second" })
			w.change(app, func(u *host.User) { u.Title = "third" })
		}})
		u = w.add(app, app)
		w.settle()
		require.Empty(t, target.Missed())
		require.Equal(t, 1, target.Done(chaos.Create, ""), "posted once")
		require.Len(t, target.of(u), 1)
		require.Equal(t, "third", target.of(u)[0].Attributes["title"])
	},
	"a target that adds a suffix of its own is not asked twice": func(t *testing.T, w *trial, app string, target *trialApp) {
		stranger, err := target.behind.Add(map[string]any{"userName": app, "title": "stranger"})
		require.NoError(t, err)
		target.Suffix(true)
		target.Inject(chaos.Fault{Operation: chaos.Create, Kind: chaos.Cut, After: true})
		u := w.add(app, app)
		w.settle()
		w.change(app, func(u *host.User) { u.Title = "second" })
		w.settle()
		require.Empty(t, target.Missed())
		require.Equal(t, 1, target.Done(chaos.Create, ""))
		require.Len(t, target.of(u), 1)
		mine := target.of(u)[0]
		require.Equal(t, app+"2", mine.Attributes["userName"])
		require.Equal(t, "second", mine.Attributes["title"])
		require.Equal(t, mine.ID, w.linked(app, u.Id).ExternalUserId)
		require.Equal(t, app+"2", w.linked(app, u.Id).ExternalUsername)
		require.Equal(t, "stranger", target.account(stranger).Attributes["title"], "somebody else's account")
	},
	"an e-mail changes": func(t *testing.T, w *trial, app string, target *trialApp) {
		u := w.add(app, app)
		w.settle()
		before := target.of(u)[0].ID
		w.change(app, func(u *host.User) { u.Email = "new." + app + "@example.com" })
		w.settle()
		require.Equal(t, before, target.of(u)[0].ID)
		require.Contains(t, fmt.Sprint(target.of(u)[0].Attributes["emails"]), "new."+app+"@example.com")
		require.Equal(t, "new."+app+"@example.com", w.linked(app, u.Id).ExternalEmail)
		require.Equal(t, []int{1, 1, 0}, []int{target.Done(chaos.Create, ""), target.Done(chaos.Update, ""), target.Done(chaos.Delete, "")})
	},
	"a user is deleted and rehired with the same name": func(t *testing.T, w *trial, app string, target *trialApp) {
		u := w.add(app, app)
		w.settle()
		before := target.of(u)[0].ID
		require.NoError(t, w.DeleteUser(t.Context(), u.Id, ""))
		w.settle()
		require.Equal(t, false, target.of(u)[0].Attributes["active"])
		again := w.add(strings.ToUpper(app), app)
		w.settle()
		require.Equal(t, u.Id, again.Id, "the same person")
		require.Len(t, target.of(u), 1)
		require.Equal(t, before, target.of(u)[0].ID)
		require.Equal(t, true, target.of(u)[0].Attributes["active"])
		require.Equal(t, 1, target.Done(chaos.Create, ""))
		require.True(t, w.linked(app, u.Id).Active)
	},
	"a rehired person has a new id and the old account is there": func(t *testing.T, w *trial, app string, target *trialApp) {
		old, err := target.behind.Add(map[string]any{"userName": app, "title": "former", "active": false, "externalId": "an id of years ago"})
		require.NoError(t, err)
		u := w.add(app, app)
		w.settle()
		require.Equal(t, old, w.linked(app, u.Id).ExternalUserId)
		require.Len(t, target.behind.Accounts(), 1)
		require.Equal(t, "first", target.account(old).Attributes["title"])
		require.Equal(t, true, target.account(old).Attributes["active"])
		require.Equal(t, u.Id, target.account(old).ExternalID)
	},
	"an administrator made the account by hand a minute before": func(t *testing.T, w *trial, app string, target *trialApp) {
		byHand, err := target.behind.Add(map[string]any{"userName": strings.ToUpper(app), "title": "a typo", "active": true})
		require.NoError(t, err)
		u := w.add(app, app)
		w.settle()
		require.Zero(t, target.Done(chaos.Create, ""))
		require.Len(t, target.behind.Accounts(), 1)
		require.Equal(t, byHand, w.linked(app, u.Id).ExternalUserId)
		require.Equal(t, "first", target.account(byHand).Attributes["title"])
		require.Equal(t, u.Id, target.account(byHand).ExternalID)
	},
	"two people with the same name": func(t *testing.T, w *trial, app string, target *trialApp) {
		one, two := w.add(app+".1", app), w.add(app+".2", app)
		for _, u := range []*host.User{one, two} {
			w.change(u.Username, func(u *host.User) { u.FirstName, u.LastName, u.Email = "Jo", "Doe", "jo.doe@example.com" })
		}
		w.settle()
		require.Len(t, target.behind.Accounts(), 2)
		for _, u := range []*host.User{one, two} {
			require.Len(t, target.of(u), 1)
			require.Equal(t, target.of(u)[0].ID, w.linked(app, u.Id).ExternalUserId)
			require.Equal(t, u.Username, target.of(u)[0].Attributes["userName"])
		}
	},
	"two people whose account would have the same name": func(t *testing.T, w *trial, app string, target *trialApp) {
		one := w.add(app+".1", app)
		w.settle()
		mine := target.of(one)[0]
		target.behind.Change(mine.ID, func(attributes map[string]any) { attributes["userName"] = app + ".2" }) // as if both were jdoe
		target.behind.Restore(target.behind.Accounts())                                                        // which indexes the names
		two := w.add(app+".2", app)
		w.settle()
		r := w.requests(app)[1]
		require.Equal(t, host.StateFailed, r.State)
		require.Contains(t, r.ErrorMessage, "linked to another user; a person must decide")
		require.Nil(t, w.linked(app, two.Id))
		require.Equal(t, mine.ID, w.linked(app, one.Id).ExternalUserId)
		require.Equal(t, one.Id, target.account(mine.ID).ExternalID, "nothing of it was changed")
	},
	"the target was restored from an old backup": func(t *testing.T, w *trial, app string, target *trialApp) {
		old := w.add(app+".old", app)
		w.settle()
		backup := target.behind.Accounts()
		w.change(app+".old", func(u *host.User) { u.Title = "second" })
		young := w.add(app+".new", app)
		w.settle()
		target.behind.Restore(backup)
		run := w.reconciled(app)
		require.Equal(t, host.StateCompleted, run.State, run.ErrorMessage)
		require.EqualValues(t, 1, run.Summary["gone"])
		require.EqualValues(t, 1, run.Summary["drifted"])
		require.EqualValues(t, 1, run.Summary["linked"])
		drifted := w.linked(app, old.Id)
		require.Len(t, drifted.Drift, 1)
		require.Equal(t, []any{"title", "second", "first"}, []any{drifted.Drift[0].Path, drifted.Drift[0].Want, drifted.Drift[0].Have})
		require.Nil(t, w.linked(app, young.Id), "the account is gone")
		w.change(app+".new", func(u *host.User) { u.Title = "second" })
		w.settle()
		require.Len(t, target.of(young), 1)
		require.Equal(t, target.of(young)[0].ID, w.linked(app, young.Id).ExternalUserId)
	},
	"the target's ids change case": func(t *testing.T, w *trial, app string, target *trialApp) {
		u := w.add(app, app)
		w.settle()
		before := w.linked(app, u.Id).ExternalUserId
		target.UpperIDs()
		run := w.reconciled(app)
		require.Equal(t, host.StateCompleted, run.State, run.ErrorMessage)
		require.Equal(t, map[string]int64{"linked": 1}, nothing(run.Summary))
		require.Len(t, w.accounts(app), 1)
		require.Equal(t, strings.ToUpper(before), w.linked(app, u.Id).ExternalUserId)
		w.change(app, func(u *host.User) { u.Title = "second" })
		w.settle()
		require.Equal(t, "second", target.of(u)[0].Attributes["title"])
		require.Equal(t, 1, target.Done(chaos.Create, ""))
	},
	"provisioning is off for a month and on again": func(t *testing.T, w *trial, app string, target *trialApp) {
		stays, leaves := w.add(app+".stays", app), w.add(app+".leaves", app)
		w.settle()
		w.reconfigure(app, "enabled: false")
		made := len(w.requests(app))
		w.change(app+".stays", func(u *host.User) { u.Title, u.Email = "second", "second@example.com" })
		w.change(app+".leaves", func(u *host.User) { u.IsActive = false })
		comes := w.add(app+".comes", app)
		require.Len(t, w.requests(app), made, "it is off")
		w.reconfigure(app, "enabled: true, reconcile: {unassigned: deactivate}")
		run := w.reconciled(app)
		require.Equal(t, host.StateCompleted, run.State, run.ErrorMessage)
		require.Equal(t, host.PlanDone, w.processed(app).State)
		require.Equal(t, "second", target.of(stays)[0].Attributes["title"])
		require.Contains(t, fmt.Sprint(target.of(stays)[0].Attributes["emails"]), "second@example.com")
		require.Equal(t, false, target.of(leaves)[0].Attributes["active"])
		require.Len(t, target.of(comes), 1)
		require.Equal(t, target.of(comes)[0].ID, w.linked(app, comes.Id).ExternalUserId)
		require.Equal(t, []int{3, 1, 0}, []int{target.Done(chaos.Create, ""), target.Done(chaos.Deactivate, ""), target.Done(chaos.Delete, "")})
		require.Equal(t, map[string]int64{}, nothing(w.processed(app).Counts), "what was done need not be done again")
	},
	"the source comes back empty": func(t *testing.T, w *trial, app string, target *trialApp) {
		var people []*host.User
		for i := range 12 {
			people = append(people, w.add(fmt.Sprintf("%s.%d", app, i), app))
		}
		w.settle()
		before := len(w.requests(""))
		result, err := w.importText(t, "Username,LastName\n", api.ImportOptions{Format: "csv", Prune: true})
		require.NoError(t, err)
		require.Zero(t, result.Disabled)
		require.Contains(t, result.Quarantined, "would disable")
		w.settle()
		require.Len(t, w.requests(""), before)
		for _, u := range people {
			require.Equal(t, true, target.of(u)[0].Attributes["active"])
		}
	},
	"the target lists nobody": func(t *testing.T, w *trial, app string, target *trialApp) {
		for i := range 12 {
			w.add(fmt.Sprintf("%s.%d", app, i), app)
		}
		w.settle()
		all := target.behind.Accounts()
		target.behind.Restore(nil)
		r, err := w.Reconcile(t.Context(), app, api.ReconcileOptions{Commit: true})
		require.NoError(t, err)
		w.until("the quarantine", func() bool {
			r, _, err = w.Request(t.Context(), r.Id)
			require.NoError(t, err)
			return r.Quarantine != "" || r.State.Ended()
		})
		require.Equal(t, host.StateAnalyzed, r.State)
		require.Contains(t, r.Quarantine, "found 0 of the 12 accounts")
		for _, a := range w.accounts(app) {
			require.Nil(t, a.DeletedDate)
		}
		target.behind.Restore(all)
		_, err = w.RejectRun(t.Context(), r.Id, "it was being restored")
		require.NoError(t, err)
		require.Equal(t, host.StateCompleted, w.reconciled(app).State)
	},
}

// nothing is a plan's counts without those that are zero.
func nothing(counts map[string]int64) map[string]int64 {
	some := map[string]int64{}
	for op, n := range counts {
		if n > 0 {
			some[op] = n
		}
	}
	return some
}

func TestCasesFromTheWild(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		t.Parallel()
		apps, of := map[string]*trialApp{}, map[string]string{}
		for name := range wild {
			app := fmt.Sprintf("wild-%d", len(apps))
			apps[app], of[name] = scimApp(t, ""), app
		}
		w := newTrial(t, url, apps)
		for name, happens := range wild {
			t.Run(name, func(t *testing.T) {
				again := *w
				again.t = t
				happens(t, &again, of[name], apps[of[name]])
			})
		}
	})
}
