package provision_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

// namedApp is an app whose userNames are chosen.
func namedApp(w *world, more ...string) {
	w.app("acme", func(c *host.UserProvisioningConfig) {
		c.UserAccountMapping = append([]string{"userName = unique(lower(first(user.FirstName) + user.LastName))", "email = user.Email"}, more...)
	})
}

func john(u *host.User) { u.FirstName, u.LastName = "John", "Doe" }

// hire makes a John Doe and gives him the app.
func (w *world) hire(username string) *host.User {
	u := w.user(username, nil, john)
	w.assign(u.Id, "acme", true)
	return u
}

func TestPeopleOfOneNameGetAccountsOfDifferentNames(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		namedApp(w)
		var ids []string
		for _, name := range []string{"one", "two", "three"} {
			ids = append(ids, w.hire(name).Id)
		}
		w.run()
		require.Equal(t, []string{"jdoe", "jdoe2", "jdoe3"}, w.target.names())
		for i, want := range []string{"jdoe", "jdoe2", "jdoe3"} {
			require.Equal(t, want, w.account(ids[i], "acme").ExternalUsername)
		}
		for _, r := range w.requests() {
			require.Equal(t, host.StateCompleted, r.State, r.ErrorMessage)
			require.Contains(t, []any{"jdoe", "jdoe2", "jdoe3"}, r.Attributes["userName"], "the request tells the name that was chosen")
		}
	})
}

func TestANameThatTheTargetHasIsNotTakenFromItsOwner(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		namedApp(w)
		w.target.accounts["x"] = &targetAccount{ID: "x", UserName: "jdoe", Active: true}
		u := w.hire("one")
		w.run()
		require.Equal(t, []string{"jdoe", "jdoe2"}, w.target.names())
		require.NotEqual(t, "x", w.account(u.Id, "acme").ExternalUserId)
	})
}

func TestAChosenNameIsLookedForAfterALostAnswer(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		namedApp(w)
		w.target.next(pdk.OpCreate, lost())
		u := w.hire("one")
		w.settle()
		require.Equal(t, []string{"jdoe"}, w.target.names(), "the account that the first attempt made is found, and no second one made")
		require.Equal(t, "jdoe", w.account(u.Id, "acme").ExternalUsername)
		require.Equal(t, host.StateCompleted, w.last().State)
	})
}

func TestWhereAnotherIsFasterWithANameTheNextIsTaken(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		namedApp(w)
		w.target.before = func(op pdk.Operation, in pdk.Input) {
			if op == pdk.OpCreate { // after the target was asked, and before the account is made
				w.target.mu.Lock()
				defer w.target.mu.Unlock()
				if _, ok := w.target.accounts["x"]; !ok {
					w.target.accounts["x"] = &targetAccount{ID: "x", UserName: "jdoe", Active: true}
				}
			}
		}
		u := w.hire("one")
		w.run()
		require.Equal(t, []string{"jdoe", "jdoe2"}, w.target.names())
		require.Equal(t, "jdoe2", w.account(u.Id, "acme").ExternalUsername)
	})
}

func TestATargetThatIsDownWhileANameIsChosenIsAskedAgain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		namedApp(w)
		w.target.next(pdk.OpRead, fails(host.NotFound), fails(host.Unavailable))
		u := w.hire("one")
		w.settle()
		require.Equal(t, "jdoe", w.account(u.Id, "acme").ExternalUsername)
		require.Equal(t, 2, w.last().Attempt)
	})
}

func TestAPersonWhoComesBackHasTheNameOfBefore(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		namedApp(w)
		one, two := w.hire("one"), w.hire("two")
		w.run()
		w.target.accounts = map[string]*targetAccount{}
		for _, u := range []*host.User{two, one} {
			a := w.account(u.Id, "acme")
			gone := w.clock()
			a.DeletedDate, a.Active = &gone, false
			w.do(func(ctx context.Context, tx harnessTx) error { return tx.PutAccount(ctx, a) })
			w.assign(u.Id, "acme", false)
			w.run()
			w.assign(u.Id, "acme", true)
			w.run()
		}
		require.Equal(t, []string{"jdoe", "jdoe2"}, w.target.names())
		for _, a := range w.target.accounts {
			require.Equal(t, map[string]string{"jdoe": one.Id, "jdoe2": two.Id}[a.UserName], a.Person)
		}
	})
}

func TestWhatIsForNewAccountsIsSentWithTheCreateAlone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		namedApp(w, "title = user.Title", "costCenter = user.Department [on create]", "password = randomPassword(16)")
		u := w.user("one", nil, john, func(u *host.User) { u.Department = "R&D" })
		w.assign(u.Id, "acme", true)
		w.run()
		w.change(u.Id, func(u *host.User) { u.Department, u.LastName = "Finance", "Smith" })
		w.run()
		require.Len(t, w.requests(), 1, "what is for new accounts makes no Update")
		w.change(u.Id, func(u *host.User) { u.Title = "Boss" })
		w.run()
		passwords := 0
		var password string
		for _, c := range w.target.calls {
			switch c.Op {
			case pdk.OpCreate:
				passwords++
				password = c.In.Secrets["password"]
				require.Len(t, password, 16)
				require.Equal(t, map[string]any{"userName": "jdoe", "email": u.Email, "costCenter": "R&D"}, c.In.Attributes)
			case pdk.OpUpdate:
				require.Equal(t, map[string]any{"email": u.Email, "title": "Boss"}, c.In.Attributes)
				require.Equal(t, []string{"title"}, c.In.ChangedAttributes)
				require.Empty(t, c.In.Secrets)
			default:
				require.Empty(t, c.In.Secrets)
			}
		}
		require.Equal(t, 1, passwords)
		for _, r := range w.requests() {
			b, err := json.Marshal(r)
			require.NoError(t, err)
			require.NotContains(t, string(b), password)
			b, err = json.Marshal(w.logs(r.Id))
			require.NoError(t, err)
			require.NotContains(t, string(b), password)
		}
		b, err := json.Marshal(w.account(u.Id, "acme"))
		require.NoError(t, err)
		require.NotContains(t, string(b), password)
	})
}

func TestEachAttemptMakesAPasswordOfItsOwn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		namedApp(w, "password = randomPassword()")
		w.target.next(pdk.OpCreate, fails(host.Unavailable))
		w.hire("one")
		w.settle()
		seen := map[string]bool{}
		for _, c := range w.target.calls {
			if c.Op == pdk.OpCreate {
				seen[c.In.Secrets["password"]] = true
			}
		}
		require.Len(t, seen, 2)
		require.NotContains(t, seen, "")
	})
}

func TestAnAccountThatIsTheUsersUnderAnotherNameIsTaken(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		namedApp(w)
		u := w.user("one", nil, john)
		w.target.accounts["x"] = &targetAccount{ID: "x", UserName: "johnny", Active: true, Attributes: map[string]any{"userName": "johnny"}}
		found := pdk.Output{}
		found.ExternalUserId, found.ExternalUsername = "x", "johnny"
		w.target.next(pdk.OpRead, reply{out: &found}) // by its e-mail
		w.assign(u.Id, "acme", true)
		w.pass(time.Second)
		w.run()
		require.Equal(t, []string{"johnny"}, w.target.names())
		require.Equal(t, "johnny", w.account(u.Id, "acme").ExternalUsername)
	})
}

// Two of one name and one e-mail address are provisioned at once: the account
// of the first is in the target, and not yet stored.
func TestAnAccountThatIsBeingMadeForAnotherIsNotTaken(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		namedApp(w)
		other, u := w.user("other", nil, john), w.user("one", nil, john)
		w.do(func(ctx context.Context, tx harnessTx) error {
			ok, err := tx.ReserveName(ctx, "acme", "userName", "jdoe", other.Id)
			require.True(t, ok)
			return err
		})
		w.target.accounts["x"] = &targetAccount{ID: "x", UserName: "jdoe", Active: true, Attributes: map[string]any{"userName": "jdoe"}}
		found := pdk.Output{Attributes: map[string]any{"userName": "JDoe"}}
		found.ExternalUserId, found.ExternalUsername = "x", "JDoe"
		w.target.next(pdk.OpRead, reply{out: &found}) // by its e-mail
		w.assign(u.Id, "acme", true)
		w.run()
		require.Equal(t, "jdoe2", w.account(u.Id, "acme").ExternalUsername)
	})
}
