package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
)

func TestBuildsOfConnectorsAreKeptWithWhatWasDecidedAboutThem(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s, err := store.Open(t.Context(), url, store.Options{})
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		do := func(fn func(ctx context.Context, tx *store.Tx) error) {
			t.Helper()
			require.NoError(t, s.Update(t.Context(), func(tx *store.Tx) error { return fn(t.Context(), tx) }))
		}
		at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
		do(func(ctx context.Context, tx *store.Tx) error {
			for i, digest := range []string{"aa", "bb", "aa"} { // back to the first
				then := at.Add(time.Duration(i) * time.Hour)
				if err := tx.PutConnectorVersion(ctx, &host.ConnectorVersion{Connector: "acme", Digest: digest, Version: "1", Description: "{}", FirstDate: then, LastDate: then, By: digest}); err != nil {
					return err
				}
			}
			list, err := tx.ConnectorVersions(ctx, "acme")
			require.NoError(t, err)
			require.Len(t, list, 2)
			require.Equal(t, "aa", list[0].Digest)
			require.True(t, at.Equal(list[0].FirstDate), "when it first came stays")
			require.True(t, at.Add(2*time.Hour).Equal(list[0].LastDate))

			state, err := tx.ConnectorState(ctx, "acme", true)
			require.NoError(t, err)
			require.Nil(t, state.Granted)
			state.RejectedDigest, state.ServingDigest, state.ChangedDate = "bb", "aa", &at
			state.Granted = &host.Reach{Operations: []string{"create"}, MemoryMiB: 64}
			return tx.PutConnectorState(ctx, state)
		})
		do(func(ctx context.Context, tx *store.Tx) error {
			states, err := tx.ConnectorStates(ctx)
			require.NoError(t, err)
			require.Equal(t, &host.Reach{Operations: []string{"create"}, MemoryMiB: 64}, states["acme"].Granted)
			require.Equal(t, "bb", states["acme"].RejectedDigest)
			none, err := tx.ConnectorState(ctx, "other", false)
			require.NoError(t, err)
			require.Equal(t, &host.ConnectorState{Connector: "other"}, none)
			pinned, err := tx.PinnedConnectorVersions(ctx)
			require.NoError(t, err)
			require.Empty(t, pinned)
			return tx.DeleteConnectorVersion(ctx, "acme", "bb")
		})
	})
}
