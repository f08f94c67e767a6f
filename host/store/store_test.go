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

func TestMain(m *testing.M) { storetest.Main(m) }

func open(t *testing.T, url string) *store.Store {
	s, err := store.Open(t.Context(), url, store.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func request() *host.UserProvisioningRequest {
	return &host.UserProvisioningRequest{Id: host.NewID(), Operation: host.Create, State: host.StateNew,
		ApprovalStatus: host.ApprovalNotRequired, AppName: "acme", UserId: "u1", CreatedDate: time.Now()}
}

func TestAnUpdateIsFencedByAttemptAndState(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s, r := open(t, url), request()
		ctx := context.Background()
		require.NoError(t, s.Update(ctx, func(tx *store.Tx) error { return tx.InsertRequest(ctx, r) }))
		require.EqualValues(t, 1, r.Number)
		update := func(expect int) error {
			return s.Update(ctx, func(tx *store.Tx) error { return tx.UpdateRequest(ctx, r, expect) })
		}
		r.State, r.Attempt = host.StateRequested, 1
		require.NoError(t, update(0))
		require.Equal(t, host.Conflict, host.CodeOf(update(0)))
		r.State = host.StateCommitting
		require.Equal(t, host.Conflict, host.CodeOf(update(1)))
	})
}

func TestAnOffsetIsTakenOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s := open(t, url)
		page := func() error {
			return s.Update(t.Context(), func(tx *store.Tx) error { return tx.InsertReconPage(t.Context(), "r", "100", 5) })
		}
		require.NoError(t, page())
		require.Equal(t, host.Conflict, host.CodeOf(page()))
	})
}

func TestANewerDatabaseIsRefused(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s, err := store.Open(t.Context(), url, store.Options{})
		require.NoError(t, err)
		_, err = s.DB().Exec("INSERT INTO provost_schema (version, name, applied) VALUES (9999, 'later', '')")
		require.NoError(t, err)
		require.NoError(t, s.Close())
		_, err = store.Open(t.Context(), url, store.Options{})
		require.Equal(t, host.Unsupported, host.CodeOf(err))
		require.ErrorContains(t, err, "9999")
	})
}

func TestAFileIsOfOneProcess(t *testing.T) {
	url := "sqlite://" + t.TempDir() + "/test.db"
	open(t, url)
	_, err := store.Open(t.Context(), url, store.Options{})
	require.Equal(t, host.Unavailable, host.CodeOf(err))
}
