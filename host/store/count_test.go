package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
)

func TestOpenRequestsAreCountedByWhatTheyWaitForAndSinceWhen(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s, ctx := open(t, url), t.Context()
		now := time.Now().UTC().Truncate(time.Millisecond)
		before, after := now.Add(-time.Hour), now.Add(time.Hour)
		of := func(change func(r *host.UserProvisioningRequest)) *host.UserProvisioningRequest {
			r := request()
			r.CreatedDate = now.Add(-time.Minute)
			change(r)
			return r
		}
		requests := []*host.UserProvisioningRequest{
			of(func(r *host.UserProvisioningRequest) {}),
			of(func(r *host.UserProvisioningRequest) { r.CreatedDate = before }),
			of(func(r *host.UserProvisioningRequest) { r.CreatedDate = before; r.ScheduleDate = &after }),
			of(func(r *host.UserProvisioningRequest) { r.State = host.StateRequested; r.NextAttemptDate = &after }),
			of(func(r *host.UserProvisioningRequest) {
				due := now.Add(-2 * time.Second)
				r.CreatedDate, r.ScheduleDate, r.AppName = before, &due, "late"
			}),
			of(func(r *host.UserProvisioningRequest) { r.State = host.StateRequested; r.InFlight = true }),
			of(func(r *host.UserProvisioningRequest) { r.ApprovalStatus = host.ApprovalRequired }),
			of(func(r *host.UserProvisioningRequest) { r.WaitsFor = "Acme" }),
			of(func(r *host.UserProvisioningRequest) { r.WaitsFor = host.AuthorizationTarget("Acme", "") }),
			of(func(r *host.UserProvisioningRequest) { r.State = host.StateFailed }),
			of(func(r *host.UserProvisioningRequest) { r.AppName = "gone" }),
			of(func(r *host.UserProvisioningRequest) {
				r.Operation, r.State, r.ReconPages, r.ReconFound, r.TotalEstimate = host.Reconcile, host.StateCollecting, 3, 300, 1000
			}),
			of(func(r *host.UserProvisioningRequest) {
				r.AppName, r.Operation, r.State, r.Quarantine, r.CommitWhenAnalyzed = "held", host.Reconcile, host.StateAnalyzed, "too many", true
			}),
			of(func(r *host.UserProvisioningRequest) {
				r.AppName, r.Operation, r.State, r.Paused = "paused", host.Reconcile, host.StateCollecting, true
			}),
		}
		require.NoError(t, s.Update(ctx, func(tx *store.Tx) error {
			for _, app := range []string{"acme", "late", "held", "paused"} {
				if err := tx.PutConfig(ctx, &host.UserProvisioningConfig{AppName: app, Enabled: true}); err != nil {
					return err
				}
			}
			for _, r := range requests {
				if err := tx.InsertRequest(ctx, r); err != nil {
					return err
				}
			}
			return nil
		}))
		counted, since := map[string]int64{}, map[string]time.Time{}
		var runs []store.RunCount
		require.NoError(t, s.View(ctx, func(tx *store.Tx) error {
			list, err := tx.CountOpen(ctx, now)
			for _, o := range list {
				counted[o.AppName+"/"+o.WaitsFor], since[o.AppName+"/"+o.WaitsFor] = o.Requests, o.Since.UTC()
			}
			if err == nil {
				runs, err = tx.CountRuns(ctx)
			}
			return err
		}))
		require.Equal(t, map[string]int64{"acme/worker": 2, "acme/later": 2, "late/worker": 1, "acme/nothing": 2, "acme/approval": 1, "acme/target": 1,
			"acme/authorization": 1, "held/review": 1, "paused/resume": 1}, counted)
		require.Equal(t, before, since["acme/worker"])
		require.Equal(t, now.Add(-2*time.Second), since["late/worker"], "it waits since it was due")
		require.Contains(t, runs, store.RunCount{AppName: "acme", State: host.StateCollecting, Runs: 1, Pages: 3, Accounts: 300, Expected: 1000})
		require.Len(t, runs, 3)
	})
}

func TestAccountsAreCountedWithoutReadingThem(t *testing.T) {
	s := open(t, "sqlite://"+t.TempDir()+"/test.db")
	for _, query := range store.CountsOfAccounts {
		rows, err := s.DB().QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, "acme")
		require.NoError(t, err)
		var steps []string
		for rows.Next() {
			var id, parent, unused int
			var step string
			require.NoError(t, rows.Scan(&id, &parent, &unused, &step))
			steps = append(steps, step)
		}
		require.NoError(t, rows.Close())
		require.Len(t, steps, 1, "it needs no sorting: %s: %s", query, steps)
		require.True(t, strings.Contains(steps[0], "USING COVERING INDEX") || strings.Contains(steps[0], "USING INDEX accounts_"), "%s: %s", query, steps)
	}
}

func TestWhatIsToldAfterTheCommitIsToldOnceAndOnlyThen(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s, err := store.Open(t.Context(), url, store.Options{Rehearse: true})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		ctx, told, ran := t.Context(), 0, 0
		fn := func(tx *store.Tx) error {
			ran++
			r := request()
			tx.AfterCommit(func() {
				told++
				require.NoError(t, s.View(ctx, func(tx *store.Tx) error {
					_, err := tx.Request(ctx, r.Id)
					return err
				}), "it is stored")
			})
			return tx.InsertRequest(ctx, r)
		}
		require.NoError(t, s.Update(ctx, fn))
		require.Equal(t, 2, ran, "it was rehearsed")
		require.Equal(t, 1, told)

		failed := errors.New("no")
		require.ErrorIs(t, s.Update(ctx, func(tx *store.Tx) error { return errors.Join(fn(tx), failed) }), failed)
		require.Equal(t, 1, told, "it was undone")
		require.NoError(t, s.Update(host.WithDryRun(ctx, &host.DryRun{}), fn))
		require.Equal(t, 1, told, "it was only tried")
	})
}

func TestEveryTransactionIsObserved(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		var seen []store.Transaction
		s, err := store.Open(t.Context(), url, store.Options{Observe: func(o store.Transaction) {
			require.Positive(t, o.Took)
			o.Took = 0
			seen = append(seen, o)
		}})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		nothing := func(*store.Tx) error { return nil }
		require.NoError(t, s.Update(context.Background(), nothing))
		require.NoError(t, s.View(context.Background(), nothing))
		require.Error(t, s.Update(context.Background(), func(*store.Tx) error { return errors.New("no") }))
		require.Equal(t, []store.Transaction{{Writes: true, Committed: true}, {Committed: true}, {Writes: true}}, seen)
		n, err := s.Bytes(t.Context())
		require.NoError(t, err)
		require.Greater(t, n, int64(100_000))
		require.Contains(t, s.Pools(), "write")
	})
}

// Two transactions want what the other has: PostgreSQL ends one of them.
func TestATransactionThatRanAgainIsObserved(t *testing.T) {
	again := make(chan int, 2)
	ctx := t.Context()
	s, err := store.Open(ctx, storetest.Postgres(t), store.Options{Observe: func(o store.Transaction) {
		if o.Writes && o.Again > 0 {
			again <- o.Again
		}
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	rows := []*host.UserProvisioningRequest{request(), request()}
	for _, r := range rows {
		require.NoError(t, s.Update(ctx, func(tx *store.Tx) error { return tx.InsertRequest(ctx, r) }))
	}
	has := []chan struct{}{make(chan struct{}), make(chan struct{})}
	ended := make(chan error, 2)
	for i := range rows {
		first := true
		go func() {
			ended <- s.Update(ctx, func(tx *store.Tx) error {
				touch := func(n int) error {
					_, err := tx.SQL().ExecContext(ctx, "UPDATE user_provisioning_requests SET reason = 'touched' WHERE id = $1", rows[n].Id)
					return err
				}
				if err := touch(i); err != nil {
					return err
				}
				if first {
					first = false
					close(has[i])
					<-has[1-i]
				}
				return touch(1 - i)
			})
		}()
	}
	require.NoError(t, <-ended)
	require.NoError(t, <-ended)
	require.Equal(t, 1, <-again)
}
