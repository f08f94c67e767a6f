package reconcile_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/reconcile"
	"github.com/provosthq/provost/pdk"
)

// decide notes a decision and returns the request, how many it was about and
// what was refused.
func (w *world) decide(r *host.UserProvisioningRequest, d reconcile.Decision) (next *host.UserProvisioningRequest, n int64, err error) {
	err = w.Update(host.WithActor(w.t.Context(), "grace"), func(tx reconcile.Tx) error {
		next, n, err = w.engine.Decide(host.WithActor(w.t.Context(), "grace"), tx, r.Id, d)
		return err
	})
	return next, n, err
}

func TestAReviewLinksUnlinksAndIgnoresAndTheCommitKeepsIt(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(byName, bySound)
		ada, grace, alan := w.user("ada", named("Ada", "Lovelace")), w.user("grace", named("Grace", "Hopper")), w.user("alan", named("Alan", "Turing"))
		w.account("9", alan, func(a *host.UserProvAccount) { a.IsKnownLink = true })
		w.shows(found("1", "ada", called("Ada", "Lovelace")), found("2", "gh", called("Grace", "Hoper")), found("3", "backup"), found("9", "old"), found("10", "new"))
		r := w.analyzed()
		require.EqualValues(t, 1, r.Summary["undecided"])
		require.NotEmpty(t, w.staged(r)["2"].Candidates)

		_, _, err := w.decide(r, reconcile.Decision{Verb: reconcile.Link, Accounts: []string{"3"}, UserId: ada.Id})
		require.Equal(t, host.Conflict, host.CodeOf(err))
		require.ErrorContains(t, err, "ada has account 1 in this run")
		_, _, err = w.decide(r, reconcile.Decision{Verb: reconcile.Unlink, Accounts: []string{"1", "nowhere"}})
		require.Equal(t, host.NotFound, host.CodeOf(err))
		require.Equal(t, host.Linked, w.staged(r)["1"].LinkState, "nothing half done")
		_, n, err := w.decide(r, reconcile.Decision{Verb: reconcile.Link, Score: 1})
		require.NoError(t, err)
		require.Zero(t, n, "nobody is that alike")

		next, n, err := w.decide(r, reconcile.Decision{Verb: reconcile.Link, Score: 0.9})
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		require.Zero(t, next.Summary["undecided"])
		require.Equal(t, []any{host.Linked, grace.Id, true, "grace said so"}, []any{w.staged(r)["2"].LinkState, w.staged(r)["2"].UserId, w.staged(r)["2"].Decided, w.staged(r)["2"].LinkReason})
		require.NotEmpty(t, w.staged(r)["2"].Drift, "what the mapping wants of its new user")
		_, n, err = w.decide(r, reconcile.Decision{Verb: reconcile.Ignore, Filter: host.StagingFilter{Query: "back*"}})
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		// The old account was linked by hand; a person says now that another is his.
		_, _, err = w.decide(r, reconcile.Decision{Verb: reconcile.Unlink, Accounts: []string{"9"}})
		require.NoError(t, err)
		next, _, err = w.decide(r, reconcile.Decision{Verb: reconcile.Link, Accounts: []string{"10"}, UserId: alan.Id})
		require.NoError(t, err)
		require.Equal(t, []int64{3, 1, 1, 0}, []int64{next.Summary["linked"], next.Summary["orphaned"], next.Summary["ignored"], next.Summary["missing"]})

		w.committed(r)
		a := w.accounts()
		require.Equal(t, []any{host.Linked, grace.Id, true}, []any{a["2"].LinkState, a["2"].UserId, a["2"].IsKnownLink})
		require.Equal(t, []any{host.Ignored, true}, []any{a["3"].LinkState, a["3"].IsKnownLink})
		require.Equal(t, []any{host.Orphaned, ""}, []any{a["9"].LinkState, a["9"].UserId})
		require.Equal(t, []any{host.Linked, alan.Id}, []any{a["10"].LinkState, a["10"].UserId})
		require.False(t, a["1"].IsKnownLink)
		_, _, err = w.decide(r, reconcile.Decision{Verb: reconcile.Ignore, Accounts: []string{"1"}})
		require.Equal(t, host.Conflict, host.CodeOf(err), "it is committed")

		again := w.analyzed()
		s := w.staged(again)
		require.Equal(t, []any{host.Linked, grace.Id}, []any{s["2"].LinkState, s["2"].UserId}, "a later run keeps it")
		require.Equal(t, host.Ignored, s["3"].LinkState)
	})
}

func TestADecisionOfAReviewCanBeTakenBack(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(byName, bySound)
		ada, grace := w.user("ada", named("Ada", "Lovelace")), w.user("grace", named("Grace", "Hopper"))
		w.shows(found("1", "ada", called("Ada", "Lovelace")), found("2", "gh", called("Grace", "Hoper")), found("3", "backup"))
		r := w.analyzed()
		before, counted := w.staged(r), r.Summary
		undo := func(decision string) (next *host.UserProvisioningRequest, n int64, err error) {
			err = w.Update(w.t.Context(), func(tx reconcile.Tx) error {
				next, n, err = w.engine.Undo(w.t.Context(), tx, r.Id, decision)
				return err
			})
			return next, n, err
		}

		_, n, err := w.decide(r, reconcile.Decision{Id: "d1", Verb: reconcile.Ignore})
		require.NoError(t, err)
		require.EqualValues(t, 3, n)
		require.Equal(t, host.Ignored, w.staged(r)["1"].LinkState)
		next, n, err := undo("d1")
		require.NoError(t, err)
		require.EqualValues(t, 3, n)
		require.Equal(t, before, w.staged(r), "as the rules had it, with its candidates and its drift")
		require.Equal(t, counted, next.Summary, "whom it may be is undecided again")
		_, _, err = undo("d1")
		require.Equal(t, host.Conflict, host.CodeOf(err), "once")

		// What somebody has decided since stays, and nobody gets two accounts.
		_, _, err = w.decide(r, reconcile.Decision{Id: "d2", Verb: reconcile.Unlink, Accounts: []string{"1", "3"}})
		require.NoError(t, err)
		_, _, err = w.decide(r, reconcile.Decision{Id: "d3", Verb: reconcile.Link, Accounts: []string{"3"}, UserId: ada.Id})
		require.NoError(t, err)
		_, _, err = undo("d2")
		require.Equal(t, host.Conflict, host.CodeOf(err))
		require.ErrorContains(t, err, "has account 3 in this run")
		_, _, err = undo("d3")
		require.NoError(t, err)
		require.Equal(t, []any{host.Orphaned, true}, []any{w.staged(r)["3"].LinkState, w.staged(r)["3"].Decided}, "what was said before it counts again")
		_, n, err = undo("d2")
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		require.Equal(t, ada.Id, w.staged(r)["1"].UserId)

		_, _, err = w.decide(r, reconcile.Decision{Id: "d4", Verb: reconcile.Link, Accounts: []string{"2"}, UserId: grace.Id})
		require.NoError(t, err)
		w.committed(r)
		_, _, err = undo("d4")
		require.Equal(t, host.Conflict, host.CodeOf(err), "it counts")
	})
}

func TestOfTwoAccountsThatAreLikeOneUserTheReviewLinksOne(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(bySound)
		w.user("grace", named("Grace", "Hopper"))
		w.shows(found("1", "g1", called("Grace", "Hoper")), found("2", "g2", called("Grace", "Hopper")), pdk.Account{ExternalUserId: "3", ExternalUsername: "g3", Change: pdk.ChangeDeleted})
		r := w.analyzed()
		_, n, err := w.decide(r, reconcile.Decision{Verb: reconcile.Link, Score: 0.8})
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		linked := 0
		for _, s := range w.staged(r) {
			if s.LinkState == host.Linked {
				linked++
			}
		}
		require.Equal(t, 1, linked)
		_, n, err = w.decide(r, reconcile.Decision{Verb: reconcile.Unlink})
		require.NoError(t, err)
		require.EqualValues(t, 2, n, "all but the one that the target has deleted")
	})
}

func TestAReviewAndACommitAtOnceDontMix(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(byName)
		w.user("ada")
		w.shows(found("1", "ada"))
		r := w.analyzed()
		err := w.Update(t.Context(), func(tx reconcile.Tx) error {
			if _, err := w.engine.Commit(t.Context(), tx, r.Id); err != nil {
				return err
			}
			_, _, err := w.engine.Decide(t.Context(), tx, r.Id, reconcile.Decision{Verb: reconcile.Ignore, Accounts: []string{"1"}})
			require.Equal(t, host.Conflict, host.CodeOf(err))
			return context.Canceled
		})
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestWhatAPersonMustDecideStaysWithTheAccountUntilTheyDo(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(bySound)
		grace := w.user("grace", named("Grace", "Hopper"))
		w.shows(found("1", "gh", called("Grace", "Hoper")))
		w.committed(w.analyzed())
		a := w.accounts()["1"]
		require.Equal(t, host.Orphaned, a.LinkState)
		require.Len(t, a.Candidates, 1)
		require.Equal(t, grace.Id, a.Candidates[0].UserId)
		r := w.analyzed()
		_, _, err := w.decide(r, reconcile.Decision{Verb: reconcile.Unlink, Accounts: []string{"1"}})
		require.NoError(t, err)
		w.committed(r)
		require.Empty(t, w.accounts()["1"].Candidates)
	})
}
