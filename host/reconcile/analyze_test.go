package reconcile_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/reconcile"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/pdk"
)

const (
	byName  = "lower(account.ExternalUsername) = lower(user.Username)"
	byMail  = "lower(account.ExternalEmail) = lower(user.Email)"
	byWhole = "[normalize(account.ExternalFirstName), normalize(account.ExternalLastName)] = [normalize(user.FirstName), normalize(user.LastName)]"
	bySound = "[account.ExternalFirstName, account.ExternalLastName] ~ [user.FirstName, user.LastName] >= 0.85"
)

func named(first, last string) func(*host.User) {
	return func(u *host.User) { u.FirstName, u.LastName = first, last }
}

func called(first, last string) func(*pdk.Account) {
	return func(a *pdk.Account) { a.ExternalFirstName, a.ExternalLastName = first, last }
}

func TestEachAccountEndsInOneClassWithItsReasonAndRule(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(byName, byMail)
		ada, grace := w.user("ada"), w.user("grace")
		w.user("alan")
		w.user("left", func(u *host.User) { u.IsActive = false })
		w.account("svc", nil, func(a *host.UserProvAccount) { a.LinkState, a.IsKnownLink = host.Ignored, true })
		w.shows(found("1", "ADA"), found("2", "gh", func(a *pdk.Account) { a.ExternalEmail = "Grace@example.com" }), found("3", "stranger"), found("svc", "backup"),
			found("4", "ada.old", func(a *pdk.Account) { a.ExternalEmail = "ada@example.com" }))
		r := w.analyzed()
		s := w.staged(r)
		require.Equal(t, []any{host.Linked, ada.Id, "by " + byName, byName}, []any{s["1"].LinkState, s["1"].UserId, s["1"].LinkReason, s["1"].LinkRule})
		require.Equal(t, []any{host.Linked, grace.Id, "by " + byMail}, []any{s["2"].LinkState, s["2"].UserId, s["2"].LinkReason})
		require.Equal(t, []any{host.Orphaned, "", "no user matches"}, []any{s["3"].LinkState, s["3"].UserId, s["3"].LinkReason})
		require.Equal(t, host.Ignored, s["svc"].LinkState)
		require.Equal(t, []any{host.Duplicate, ada.Id, "its user has account 1, this one by " + byMail}, []any{s["4"].LinkState, s["4"].UserId, s["4"].LinkReason})
		require.Equal(t, []host.Difference{{Path: "userName", Want: "ada", Have: "ADA"}}, s["1"].Drift)
		require.Equal(t, map[string]int64{"linked": 2, "duplicate": 1, "orphaned": 1, "ignored": 1, "drifted": 2, "drifted.userName": 2, "gone": 0, "missing": 1}, r.Summary)
	})
}

func TestTwoAccountsThatMatchOneUserEquallyAreForAPersonToDecide(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(byMail)
		ada := w.user("ada")
		mail := func(a *pdk.Account) { a.ExternalEmail = "ada@example.com" }
		w.shows(found("1", "ada", mail), found("2", "ada2", mail))
		r := w.analyzed()
		for _, s := range w.staged(r) {
			require.Equal(t, []any{host.Duplicate, ada.Id, "2 accounts match its user, this one by " + byMail}, []any{s.LinkState, s.UserId, s.LinkReason})
		}
		require.Zero(t, r.Summary["missing"], "nobody makes ada a third account")
	})
}

func TestTwoPeopleWithTheSameNameAreCandidatesAndAnotherRuleTellsThemApart(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(byWhole, byMail)
		one, two := w.user("anna1", named("Anna", "Müller")), w.user("anna2", named("ANNA", "Mueller"))
		w.shows(found("1", "x", called("Anna", "Müller")), found("2", "y", called("anna", "müller"), func(a *pdk.Account) { a.ExternalEmail = two.Email }))
		r := w.analyzed()
		s := w.staged(r)
		require.Equal(t, host.Duplicate, s["1"].LinkState)
		require.Equal(t, []host.Candidate{{UserId: one.Id, Rule: byWhole, Score: 1}, {UserId: two.Id, Rule: byWhole, Score: 1}}, s["1"].Candidates)
		require.Equal(t, "2 users match by "+byWhole, s["1"].LinkReason)
		require.Equal(t, []any{host.Linked, two.Id}, []any{s["2"].LinkState, s["2"].UserId})
		require.Equal(t, "of 2 users by "+byWhole+" the one by "+byMail, s["2"].LinkReason)
		require.EqualValues(t, 1, r.Summary["undecided"], "anna1 may have an account")
		require.Zero(t, r.Summary["missing"])
	})
}

func TestALikenessNamesCandidatesWithScoresAndNeverLinks(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(byName, bySound)
		katherine := w.user("kj", named("Katherine", "Johnson"))
		catherine := w.user("cj", named("Catherine", "Johnson"))
		w.user("dv", named("Dorothy", "Vaughan"))
		w.shows(found("1", "x", called("Johnson", "Katharine")))
		r := w.analyzed()
		s := w.staged(r)["1"]
		require.Equal(t, []any{host.Orphaned, ""}, []any{s.LinkState, s.UserId})
		require.Len(t, s.Candidates, 2)
		require.Equal(t, []string{katherine.Id, catherine.Id}, []string{s.Candidates[0].UserId, s.Candidates[1].UserId})
		require.Greater(t, s.Candidates[0].Score, s.Candidates[1].Score)
		require.Less(t, s.Candidates[0].Score, 1.0)
		require.Equal(t, "no user matches; 2 like it", s.LinkReason)
		require.EqualValues(t, 1, r.Summary["missing"], "Dorothy only")
		require.EqualValues(t, 2, r.Summary["undecided"])
	})
}

func TestAKeyThatEverybodyHasLinksNobody(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("account.attributes.active = user.IsActive", "account.ExternalEmail = user.Division")
		for i := range 30 {
			w.user(fmt.Sprint("u", i))
		}
		w.shows(found("1", "x"), found("2", "y", func(a *pdk.Account) { a.Attributes = nil }))
		s := w.staged(w.analyzed())
		require.Equal(t, host.Duplicate, s["1"].LinkState)
		require.Equal(t, "more than 10 users match by account.attributes.active = user.IsActive", s["1"].LinkReason)
		require.Len(t, s["1"].Candidates, 10)
		require.Equal(t, host.Orphaned, s["2"].LinkState, "nothing has nothing in common with nothing")
	})
}

func TestARuleThatCanNotBeWorkedOutForOneAccountEndsNoRun(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("lower(account.attributes.mail) = lower(user.Email)", byName)
		ada := w.user("ada")
		w.shows(found("1", "ada"), found("2", "bob"))
		s := w.staged(w.analyzed())
		require.Equal(t, []any{host.Linked, ada.Id}, []any{s["1"].LinkState, s["1"].UserId})
		require.Contains(t, s["2"].LinkReason, "no user matches; lower(account.attributes.mail) = lower(user.Email) can't be worked out for it")
	})
}

func TestTheTargetWasRestoredFromAnOldBackup(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(byName)
		ada, grace, alan := w.user("ada"), w.user("grace"), w.user("alan")
		w.account("1", ada)
		w.account("2", grace)
		gone := w.clock().Add(-time.Hour)
		w.account("3", alan, func(a *host.UserProvAccount) { a.DeletedDate, a.Active = &gone, false })
		// ada's account came back under another id, grace's is younger than the
		// backup, alan's had been deleted since.
		w.shows(found("7", "ada"), found("3", "alan"))
		r := w.analyzed()
		s := w.staged(r)
		require.Equal(t, []any{host.Linked, ada.Id, "by " + byName + "; its account 1 is gone"}, []any{s["7"].LinkState, s["7"].UserId, s["7"].LinkReason})
		require.Equal(t, []any{host.Linked, alan.Id}, []any{s["3"].LinkState, s["3"].UserId})
		require.EqualValues(t, 2, r.Summary["gone"])
		require.EqualValues(t, 1, r.Summary["missing"], "grace")
		w.committed(r)
		a := w.accounts()
		require.NotNil(t, a["1"].DeletedDate)
		require.NotNil(t, a["2"].DeletedDate)
		require.Equal(t, []any{host.Linked, ada.Id, true}, []any{a["7"].LinkState, a["7"].UserId, a["7"].DeletedDate == nil})
		require.Equal(t, []any{host.Linked, alan.Id, true, true}, []any{a["3"].LinkState, a["3"].UserId, a["3"].DeletedDate == nil, a["3"].Active})
	})
}

func TestAnAdministratorMadeTheAccountByHandAMinuteBefore(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(byName)
		ada, grace := w.user("ada"), w.user("grace")
		w.shows(found("1", "ada"), found("2", "grace.h"))
		r := w.start(reconcile.RunOptions{})
		// While the run goes on, a request makes grace's account, and finds ada's
		// there already.
		w.pass(time.Minute)
		w.page = func(pdk.Input) (pdk.Output, error) {
			w.pass(time.Minute)
			w.account("9", grace)
			return pdk.Output{Accounts: []pdk.Account{found("1", "ada"), found("2", "grace")}, ReconState: "complete"}, nil
		}
		r = w.work(r)
		s := w.staged(r)
		require.Equal(t, []any{host.Linked, ada.Id}, []any{s["1"].LinkState, s["1"].UserId})
		require.Equal(t, []any{host.Duplicate, "its user has account 9"}, []any{s["2"].LinkState, s["2"].LinkReason})
		require.Zero(t, r.Summary["missing"], "grace has the account that the run has not seen")
		require.Zero(t, r.Summary["gone"], "an account that is newer than the run is not gone")
		w.committed(r)
		a := w.accounts()
		require.Nil(t, a["9"].DeletedDate)
		require.Equal(t, host.Linked, a["9"].LinkState)
		require.Equal(t, host.Duplicate, a["2"].LinkState)
	})
}

func TestTheTargetsIdsChangeCase(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(byMail) // finds neither
		ada, grace, alan := w.user("ada"), w.user("grace"), w.user("alan")
		before := w.account("AB-1", ada)
		w.account("CD-2", grace)
		w.account("xY", alan)
		// cd-2 is another person's: its target tells ids apart by case.
		w.shows(found("ab-1", "ADA"), found("cd-2", "somebody else"), found("XY", "alan"), found("xY", "alan"))
		r := w.analyzed()
		s := w.staged(r)
		require.Equal(t, []any{host.Linked, ada.Id, "known link " + before.Name() + "; its id was AB-1"}, []any{s["ab-1"].LinkState, s["ab-1"].UserId, s["ab-1"].LinkReason})
		require.Equal(t, host.Orphaned, s["cd-2"].LinkState)
		require.Equal(t, host.Orphaned, s["XY"].LinkState, "xY is there itself")
		require.Equal(t, []any{host.Linked, alan.Id}, []any{s["xY"].LinkState, s["xY"].UserId})
		require.EqualValues(t, 1, r.Summary["gone"], "CD-2")
		w.committed(r)
		a := w.accounts()
		require.Len(t, a, 5)
		require.Equal(t, []any{before.Id, host.Linked, true}, []any{a["ab-1"].Id, a["ab-1"].LinkState, a["ab-1"].DeletedDate == nil})
		require.NotNil(t, a["CD-2"].DeletedDate)
	})
}

func TestADeltaSaysOnlyWhatItSays(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(byName)
		ada, grace, alan := w.user("ada", func(u *host.User) { u.Title = "Countess" }), w.user("grace"), w.user("alan")
		attributes := func(name, title string) func(*host.UserProvAccount) {
			return func(a *host.UserProvAccount) {
				a.Attributes = map[string]any{"userName": name, "title": title, "active": true}
			}
		}
		w.account("1", ada, attributes("ada.l", "Countess"))
		w.account("2", grace, attributes("grace", ""))
		w.account("3", alan, attributes("alan", ""))
		w.do(func(ctx context.Context, tx harnessTx) error { return tx.TouchConfig(ctx, "acme", w.clock(), "token") })
		w.shows(
			pdk.Account{ExternalUserId: "1", Change: pdk.ChangeChanged, Attributes: map[string]any{"title": "Lady"}},
			pdk.Account{ExternalUserId: "3", Change: pdk.ChangeDeleted},
			pdk.Account{ExternalUserId: "4", ExternalUsername: "new", Change: pdk.ChangeCreated, Attributes: map[string]any{"userName": "new", "active": "False"}},
			pdk.Account{ExternalUserId: "5", Change: pdk.ChangeDeleted})
		r := w.work(w.start(reconcile.RunOptions{Mode: pdk.ModeDelta}))
		s := w.staged(r)
		require.Equal(t, host.Linked, s["1"].LinkState)
		require.Equal(t, []host.Difference{{Path: "userName", Want: "ada", Have: "ada.l"}, {Path: "title", Want: "Countess", Have: "Lady"}}, s["1"].Drift, "what was known before has drifted still")
		require.Equal(t, "the target has deleted it", s["3"].LinkReason)
		require.Equal(t, map[string]int64{"linked": 2, "duplicate": 0, "orphaned": 2, "ignored": 0, "drifted": 1, "drifted.userName": 1, "drifted.title": 1, "gone": 0, "missing": 1}, r.Summary, "grace's account is not gone, alan has none left")
		w.committed(r)
		a := w.accounts()
		require.Equal(t, map[string]any{"userName": "ada.l", "title": "Lady", "active": true}, a["1"].Attributes)
		require.Equal(t, "ada", a["1"].ExternalUsername, "what was not said stays")
		require.Nil(t, a["2"].DeletedDate)
		require.Equal(t, []any{false, true, alan.Id}, []any{a["3"].Active, a["3"].DeletedDate != nil, a["3"].UserId})
		require.False(t, a["4"].Active, "some targets write False")
		require.NotNil(t, a["5"].DeletedDate)
	})
}

func TestADeltaThatFindsASecondAccountOfAUserMakesItADuplicate(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(byName)
		w.account("1", w.user("ada"))
		w.do(func(ctx context.Context, tx harnessTx) error { return tx.TouchConfig(ctx, "acme", w.clock(), "token") })
		w.shows(found("2", "ada", func(a *pdk.Account) { a.Change = pdk.ChangeCreated }))
		r := w.work(w.start(reconcile.RunOptions{Mode: pdk.ModeDelta}))
		require.Equal(t, "its user has account 1", w.staged(r)["2"].LinkReason)
		require.Equal(t, host.Duplicate, w.staged(r)["2"].LinkState)
	})
}

func TestWhoComesBackWithoutARecordOfTheirOwnIsNotLinkedToNobody(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(byName)
		ada := w.user("ada")
		w.account("1", ada, func(a *host.UserProvAccount) { a.UserId = host.NewID() })
		w.shows(found("1", "ada"))
		s := w.staged(w.analyzed())["1"]
		require.Equal(t, []any{host.Linked, ada.Id, "by " + byName}, []any{s.LinkState, s.UserId, s.LinkReason})
	})
}

func TestOtherLinkRulesWhileARunIsAnalyzedLetItBeginAnew(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("account.Status = user.Title")
		for i := range 7 {
			w.user(fmt.Sprint("u", i), func(u *host.User) { u.Apps = nil })
		}
		w.shows(found("1", "u3"))
		w.restart(2)
		r := w.start(reconcile.RunOptions{})
		steps := 0
		w.stop = func() error {
			if steps++; steps >= 13 {
				return errCut
			}
			return nil
		}
		require.ErrorIs(t, w.engine.Work(t.Context(), r.Id), errCut)
		w.stop = nil
		require.Equal(t, host.StateAnalyzing, w.request(r.Id).State)
		w.relink(byName)
		require.Equal(t, host.Linked, func() host.LinkState { r = w.work(r); return w.staged(r)["1"].LinkState }())
	})
}

// The model of what linking is: every account is held against every user.
type naiveAccount struct {
	id, name, mail string
	first, last    string
}

func naive(users []*host.User, accounts []naiveAccount) map[string]string {
	type claim struct {
		user string
		rank int
	}
	rules := []func(a naiveAccount, u *host.User) bool{
		func(a naiveAccount, u *host.User) bool { return a.name != "" && a.name == u.Username },
		func(a naiveAccount, u *host.User) bool {
			return a.first != "" && a.last != "" && a.first == u.FirstName && a.last == u.LastName
		},
		func(a naiveAccount, u *host.User) bool { return a.mail != "" && a.mail == u.Email },
	}
	claims := map[string]claim{}
	result := map[string]string{}
	for _, a := range accounts {
		result[a.id] = "orphaned"
		var left []*host.User
		rank := -1
		for i, rule := range rules {
			var match []*host.User
			for _, u := range users {
				if rule(a, u) && (rank < 0 || slices.Contains(left, u)) {
					match = append(match, u)
				}
			}
			if len(match) == 0 {
				continue
			}
			if rank < 0 {
				rank = i
			}
			if left = match; len(left) == 1 {
				break
			}
		}
		switch {
		case len(left) == 1:
			claims[a.id] = claim{left[0].Id, rank}
		case len(left) > 1:
			result[a.id] = "duplicate of several"
		}
	}
	for id, c := range claims {
		better, same := false, false
		for other, d := range claims {
			if other != id && d.user == c.user {
				better, same = better || d.rank < c.rank, same || d.rank == c.rank
			}
		}
		if better || same {
			result[id] = "duplicate of " + c.user
		} else {
			result[id] = "linked to " + c.user
		}
	}
	return result
}

// Whatever the users and accounts, the size of a batch and where the run is cut
// off, what comes out is what holding every account against every user says.
func TestLinksAreThoseOfEveryAccountAgainstEveryUser(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		w.app("account.ExternalUsername = user.Username", "[account.ExternalFirstName, account.ExternalLastName] = [user.FirstName, user.LastName]", "account.ExternalEmail = user.Email")
		rapid.Check(t, func(rt *rapid.T) {
			some := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(rt, label) }
			var users []*host.User
			w.do(func(ctx context.Context, tx harnessTx) error {
				for _, table := range []string{"user_prov_accounts", "user_apps", "users"} {
					if _, err := tx.SQL().ExecContext(ctx, "DELETE FROM "+table); err != nil {
						return err
					}
				}
				return nil
			})
			for i := range rapid.IntRange(0, 9).Draw(rt, "users") {
				users = append(users, w.user(fmt.Sprint("n", i), func(u *host.User) {
					u.FirstName, u.LastName, u.Email = some("first", "", "A", "B"), some("last", "X", "Y"), some("mail", "", "p@x", "q@x", "r@x")
				}))
			}
			var accounts []naiveAccount
			var shown []pdk.Account
			for i := range rapid.IntRange(0, 14).Draw(rt, "accounts") {
				a := naiveAccount{fmt.Sprint(i), some("name", "", "n0", "n1", "n2", "other"), some("mail", "", "p@x", "q@x", "s@x"), some("first", "", "A", "B"), some("last", "", "X", "Y")}
				accounts = append(accounts, a)
				shown = append(shown, pdk.Account{ExternalUserId: a.id, ExternalUsername: a.name, ExternalEmail: a.mail, ExternalFirstName: a.first, ExternalLastName: a.last})
			}
			w.shows(shown...)
			w.restart(rapid.IntRange(1, 5).Draw(rt, "batch"))
			r := w.start(reconcile.RunOptions{Commit: true})
			cuts := rapid.SliceOfN(rapid.IntRange(1, 12), 0, 4).Draw(rt, "cuts")
			var seen map[string]*host.UserProvAccountStaging
			for {
				left := -1
				if len(cuts) > 0 {
					left, cuts = cuts[0], cuts[1:]
				}
				w.stop = func() error {
					if left--; left == 0 {
						return errCut
					}
					return nil
				}
				err := w.engine.Work(t.Context(), r.Id)
				if state := w.request(r.Id).State; state == host.StateAnalyzed || state == host.StateCommitting && seen == nil {
					seen = w.staged(r)
				}
				if err == nil {
					break
				}
				require.ErrorIs(t, err, errCut)
			}
			w.stop = nil
			require.Equal(t, host.StateCompleted, w.request(r.Id).State)
			got := map[string]string{}
			for id, a := range w.accounts() {
				got[id] = string(a.LinkState)
				switch {
				case a.LinkState == host.Linked:
					got[id] = "linked to " + a.UserId
				case a.LinkState == host.Duplicate && a.UserId != "":
					got[id] = "duplicate of " + a.UserId
				case a.LinkState == host.Duplicate:
					got[id] = "duplicate of several"
				}
			}
			require.Equal(t, naive(users, accounts), got)
			for _, table := range []string{"user_keys", "recon_users", "user_prov_account_stagings", "recon_pages"} {
				var n int
				require.NoError(t, w.store.DB().QueryRow("SELECT COUNT(*) FROM "+table).Scan(&n))
				require.Zero(t, n, "%s is left behind", table)
			}
		})
	})
}

// The cost of an account and the memory are the same at every size: compare the
// µs/account of the sizes.
func BenchmarkAnalyze(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newWorld(b, "sqlite://"+filepath.Join(b.TempDir(), "bench.db"))
			w.app(byName)
			var shown []pdk.Account
			for i := range n {
				w.user(fmt.Sprint("user", i))
				shown = append(shown, found(fmt.Sprint(i), fmt.Sprint("user", i)))
			}
			w.shows(shown...)
			for b.Loop() {
				r := w.start(reconcile.RunOptions{Commit: true})
				w.work(r)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(n), "µs/account")
		})
	}
}
