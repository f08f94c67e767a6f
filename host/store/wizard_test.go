package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
)

func TestADraftIsChangedByWhoHasItsNewestRevision(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		ctx := t.Context()
		s, err := store.Open(ctx, url, store.Options{})
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
		d := &host.WizardDraft{AppName: "acme", Values: map[string]any{"label": "Acme", "operations": []any{"Create"}}, Saved: []string{"app"}, Actor: "ada", CreatedDate: now, ChangedDate: now,
			Changes: []host.WizardChange{{Revision: 1, Date: now, Actor: "ada", Step: "app", Key: "label", After: "Acme"}}}
		put := func(d *host.WizardDraft, was int64) error {
			return s.Update(ctx, func(tx *store.Tx) error { return tx.PutWizardDraft(ctx, d, was) })
		}
		require.NoError(t, put(d, 0))
		require.EqualValues(t, 1, d.Revision)
		again := *d
		require.Equal(t, host.Conflict, host.CodeOf(put(&again, 0)), "two begin it at once")
		d.Values["label"], d.RunId = "Acme Ltd", "run"
		require.NoError(t, put(d, 1))
		other := *d
		require.Equal(t, host.Conflict, host.CodeOf(put(&other, 1)))
		require.NoError(t, s.View(ctx, func(tx *store.Tx) error {
			got, err := tx.WizardDraft(ctx, "acme")
			require.NoError(t, err)
			require.EqualValues(t, 2, got.Revision)
			require.Equal(t, d.Values, got.Values)
			require.Equal(t, "run", got.RunId)
			require.Len(t, got.Since(0), 1)
			require.Empty(t, got.Since(1))
			list, err := tx.WizardDrafts(ctx)
			require.Len(t, list, 1)
			return err
		}))
		require.NoError(t, s.Update(ctx, func(tx *store.Tx) error { return tx.DeleteWizardDraft(ctx, "acme") }))
		require.Equal(t, host.NotFound, host.CodeOf(s.View(ctx, func(tx *store.Tx) error {
			_, err := tx.WizardDraft(ctx, "acme")
			return err
		})))
	})
}
