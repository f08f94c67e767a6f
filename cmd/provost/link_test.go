package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

func TestWhatIsSaidOfManyAccountsCanBeTakenBack(t *testing.T) {
	app := scimApp(t, `mapping: ["userName = user.Username"], link: ["account.ExternalUsername = user.Username"], reconcile: {commit: true}`)
	for _, name := range []string{"ada", "svc-1", "svc-2"} {
		_, err := app.behind.Add(map[string]any{"userName": name, "active": true})
		require.NoError(t, err)
	}
	w := newTrial(t, "sqlite://"+filepath.Join(t.TempDir(), "provost.db"), map[string]*trialApp{"acme": app})
	ctx := access.WithSubject(t.Context(), access.Everything(access.Owner, "root"))
	ada := w.add("ada")
	r, err := w.service.Reconcile(ctx, "acme", api.ReconcileOptions{Commit: true})
	require.NoError(t, err)
	w.until("the run", func() bool {
		r, _, err = w.Request(ctx, r.Id)
		require.NoError(t, err)
		return r.State == host.StateCompleted
	})
	states := func() map[string]host.LinkState {
		found := map[string]host.LinkState{}
		list, err := w.Accounts(ctx, api.AccountFilter{App: "acme", Paging: api.Paging{Limit: 10}})
		require.NoError(t, err)
		for _, a := range list.Rows {
			found[a.ExternalUsername] = a.LinkState
		}
		return found
	}
	before := states()
	require.Equal(t, map[string]host.LinkState{"ada": host.Linked, "svc-1": host.Orphaned, "svc-2": host.Orphaned}, before)
	var ids []string
	list, err := w.Accounts(ctx, api.AccountFilter{App: "acme", Paging: api.Paging{Limit: 10}})
	require.NoError(t, err)
	for _, a := range list.Rows {
		ids = append(ids, a.Id)
	}

	done, err := w.Relink(ctx, "acme", api.LinkChange{Verb: "ignore", Accounts: ids})
	require.NoError(t, err)
	require.EqualValues(t, 3, done.Accounts)
	require.Equal(t, map[string]host.LinkState{"ada": host.Ignored, "svc-1": host.Ignored, "svc-2": host.Ignored}, states())
	n, err := w.UndoRelink(ctx, "acme", done.Undo)
	require.NoError(t, err)
	require.EqualValues(t, 3, n)
	require.Equal(t, before, states())

	// Twice is once too often, and somebody else's word is not undone.
	_, err = w.UndoRelink(ctx, "acme", done.Undo)
	require.Equal(t, host.Conflict, host.CodeOf(err))
	done, err = w.Relink(ctx, "acme", api.LinkChange{Verb: "unlink", Accounts: ids})
	require.NoError(t, err)
	_, err = w.Link(ctx, ids[1], ada.Id)
	require.NoError(t, err)
	_, err = w.UndoRelink(ctx, "acme", done.Undo)
	require.Equal(t, host.Conflict, host.CodeOf(err))
	require.Equal(t, host.Orphaned, states()["ada"], "all or none")

	// All or none, of the app that is named, sealed by us.
	_, err = w.Relink(ctx, "acme", api.LinkChange{Verb: "ignore", Accounts: []string{ids[0], "nobody's"}})
	require.Equal(t, host.NotFound, host.CodeOf(err))
	require.Equal(t, host.Orphaned, states()["ada"])
	_, err = w.Relink(ctx, "globex", api.LinkChange{Verb: "ignore", Accounts: ids[:1]})
	require.Equal(t, host.NotFound, host.CodeOf(err))
	for _, forged := range []string{"", "AAAA", done.Undo[:len(done.Undo)-4] + "AAAA"} {
		_, err = w.UndoRelink(ctx, "acme", forged)
		require.Equal(t, host.InvalidInput, host.CodeOf(err))
	}
}
