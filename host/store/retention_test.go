package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
)

// Runs go with all that they have collected, and plans with their changes, but
// for the newest run and what has not ended.
func TestOldRunsAndPlansArePruned(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s := open(t, url)
		ctx := context.Background()
		const staged = 450 // more than one transaction removes
		day := func(n int) *time.Time {
			at := time.Date(2026, 3, n, 0, 0, 0, 0, time.UTC)
			return &at
		}
		runs := map[string]host.RequestState{"old": host.StateCompleted, "failed": host.StateFailed, "newest": host.StateCompleted, "open": host.StateAnalyzed}
		for i, name := range []string{"old", "failed", "newest", "open"} {
			require.NoError(t, s.Update(ctx, func(tx *store.Tx) error {
				r := request()
				r.Id, r.Operation, r.UserId, r.State = name, host.Reconcile, "", runs[name]
				if r.State.Ended() {
					r.CompletedDate = day(i + 1)
				}
				if err := tx.InsertRequest(ctx, r); err != nil {
					return err
				}
				if err := tx.InsertReconPage(ctx, name, "", staged); err != nil {
					return err
				}
				var list []*host.UserProvAccountStaging
				for n := range staged {
					list = append(list, &host.UserProvAccountStaging{UserProvisioningRequestId: name, ConnectedAppId: "a", ExternalUserId: fmt.Sprint(n)})
				}
				if err := tx.PutStaging(ctx, list); err != nil {
					return err
				}
				return tx.InsertLog(ctx, &host.UserProvisioningLog{Id: host.NewID(), UserProvisioningRequestId: name, Status: "requested", Actor: "x", CreatedDate: *day(1)})
			}))
		}
		for i, state := range []host.PlanState{host.PlanDone, host.PlanRejected, host.PlanQuarantined} {
			require.NoError(t, s.Update(ctx, func(tx *store.Tx) error {
				p := &host.Plan{Id: fmt.Sprint("plan", i), Kind: "process", State: state, AppName: "acme", CreatedDate: *day(1)}
				if state != host.PlanQuarantined {
					p.CompletedDate = day(1 + 20*i)
				}
				if err := tx.InsertPlan(ctx, p); err != nil {
					return err
				}
				return tx.InsertChanges(ctx, []*host.PlannedChange{{PlanId: p.Id, Operation: host.Create, Subject: "ada"}, {PlanId: p.Id, Operation: host.Create, Subject: "bob"}})
			}))
		}
		prune := func(dry bool) map[string]int64 {
			n := map[string]int64{}
			require.NoError(t, s.Prune(ctx, store.Retention{Requests: *day(10), Runs: *day(10), DryRun: dry}, func(table string, rows int64) {
				require.True(t, dry || rows <= 200, "nobody is locked out for long")
				if rows > 0 {
					n[table] += rows
				}
			}))
			return n
		}
		want := map[string]int64{"user_provisioning_requests": 2, "user_provisioning_logs": 2, "recon_pages": 2, "user_prov_account_stagings": 2 * staged, "plans": 1, "planned_changes": 2}
		require.Equal(t, want, prune(true))
		require.Equal(t, want, prune(false))
		require.Empty(t, prune(false))
		require.NoError(t, s.View(ctx, func(tx *store.Tx) error {
			for name := range runs {
				n, err := tx.CountStaging(ctx, name)
				require.NoError(t, err)
				_, err = tx.Request(ctx, name)
				if name == "old" || name == "failed" {
					require.Zero(t, n)
					require.Equal(t, host.NotFound, host.CodeOf(err))
				} else {
					require.EqualValues(t, staged, n)
					require.NoError(t, err)
				}
			}
			counts, err := tx.CountRequestsByState(ctx, "acme")
			require.Equal(t, map[host.RequestState]int64{host.StateCompleted: 2, host.StateFailed: 1, host.StateAnalyzed: 1}, counts, "totals do not shrink")
			return err
		}))
	})
}
