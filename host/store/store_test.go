package store_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/pdk"
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

func TestTheDatabaseRefusesEveryTransitionThatIsNotInTheTable(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s := open(t, url)
		ctx := t.Context()
		for _, from := range host.RequestStates {
			for _, to := range host.RequestStates {
				r := request()
				r.State = from
				require.NoError(t, s.Update(ctx, func(tx *store.Tx) error { return tx.InsertRequest(ctx, r) }))
				_, err := s.DB().ExecContext(ctx, fmt.Sprintf("UPDATE user_provisioning_requests SET state = '%s' WHERE id = '%s'", to, r.Id))
				if from == to || from.MayBecome(to) {
					require.NoError(t, err, "%s to %s", from, to)
				} else {
					require.Error(t, err, "%s to %s", from, to)
				}
			}
		}
	})
}

func TestATableOfTransitionsFromAnotherBinaryIsBroughtUpToDate(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s, err := store.Open(t.Context(), url, store.Options{})
		require.NoError(t, err)
		_, err = s.DB().Exec("DELETE FROM request_transitions WHERE to_state = 'Completed'")
		require.NoError(t, err)
		_, err = s.DB().Exec("INSERT INTO request_transitions (from_state, to_state) VALUES ('Completed', 'New')")
		require.NoError(t, err)
		require.NoError(t, s.Close())
		s = open(t, url)
		var n int
		require.NoError(t, s.DB().QueryRow("SELECT COUNT(*) FROM request_transitions").Scan(&n))
		require.Equal(t, len(host.Transitions()), n)
		require.NoError(t, s.DB().QueryRow("SELECT COUNT(*) FROM request_transitions WHERE from_state = 'Completed'").Scan(&n))
		require.Zero(t, n)
	})
}

func TestAUserHasOneLinkedAccountInAnApp(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s := open(t, url)
		ctx := t.Context()
		put := func(external string, state host.LinkState) error {
			return s.Update(ctx, func(tx *store.Tx) error {
				return tx.PutAccount(ctx, &host.UserProvAccount{Id: host.NewID(), AppName: "acme", UserId: "u1", ExternalUserId: external, LinkState: state, CreatedDate: time.Now(), LastModifiedDate: time.Now()})
			})
		}
		require.NoError(t, put("1", host.Linked))
		require.NoError(t, put("2", host.Duplicate))
		require.Error(t, put("3", host.Linked))
	})
}

func TestSQLiteInMemoryIsRefused(t *testing.T) {
	_, err := store.Open(t.Context(), "sqlite::memory:", store.Options{})
	require.Equal(t, host.InvalidInput, host.CodeOf(err))
	require.ErrorContains(t, err, "must outlive the process")
}

func TestTwoThatOpenAtOnceMigrateOnce(t *testing.T) {
	url := storetest.Postgres(t)
	var all sync.WaitGroup
	errs := make([]error, 4)
	for n := range errs {
		all.Go(func() {
			s, err := store.Open(t.Context(), url, store.Options{})
			if err == nil {
				err = s.Close()
			}
			errs[n] = err
		})
	}
	all.Wait()
	require.NoError(t, errors.Join(errs...))
}

func TestAFullDiskIsAnErrorAndNothingIsHalfStored(t *testing.T) {
	s := open(t, "sqlite://"+filepath.Join(t.TempDir(), "full.db"))
	ctx := t.Context()
	_, err := s.DB().Exec("PRAGMA max_page_count = 1") // no smaller than the file is
	require.NoError(t, err)
	long := strings.Repeat("x", 1<<20)
	err = s.Update(ctx, func(tx *store.Tx) error {
		if err := tx.InsertRequest(ctx, request()); err != nil {
			return err
		}
		r := request()
		r.Reason = long
		return tx.InsertRequest(ctx, r)
	})
	require.ErrorContains(t, err, "full")
	var n int
	require.NoError(t, s.DB().QueryRow("SELECT COUNT(*) FROM user_provisioning_requests").Scan(&n))
	require.Zero(t, n)
	_, err = s.DB().Exec("PRAGMA max_page_count = 100000")
	require.NoError(t, err)
	require.NoError(t, s.Update(ctx, func(tx *store.Tx) error { return tx.InsertRequest(ctx, request()) }))
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

func TestOneTransactionTakesTheLanesOfEverybody(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s := open(t, url)
		require.NoError(t, s.Update(t.Context(), func(tx *store.Tx) error {
			for i := range 15_000 { // PostgreSQL has room for some 6,400 locks that are not of rows
				u := &host.User{User: pdk.User{Id: host.NewID(), Username: fmt.Sprintf("p%d", i)}}
				if err := errors.Join(tx.PutUser(t.Context(), u), tx.LockLane(t.Context(), "acme", u.Id)); err != nil {
					return err
				}
			}
			return nil
		}))
	})
}
