package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
)

func TestWhatEndedIsCountedByTheHour(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s := open(t, url)
		ctx, hour := t.Context(), time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
		insert := func(app string, op host.Operation, state host.RequestState, ended time.Time, attempt int) {
			require.NoError(t, s.Update(ctx, func(tx *store.Tx) error {
				return tx.InsertRequest(ctx, &host.UserProvisioningRequest{Id: host.NewID(), AppName: app, Operation: op, State: state, ApprovalStatus: host.ApprovalNotRequired,
					CreatedDate: ended, CompletedDate: &ended, Attempt: attempt})
			}))
		}
		require.NoError(t, s.Update(ctx, func(tx *store.Tx) error {
			return tx.PutConfig(ctx, &host.UserProvisioningConfig{AppName: "acme", Enabled: true})
		}))
		berlin := time.FixedZone("CET", 3600)
		insert("acme", host.Create, host.StateCompleted, hour.In(berlin), 1)
		insert("acme", host.Update, host.StateCompleted, hour.Add(59*time.Minute+59*time.Second), 1)
		insert("acme", host.Update, host.StateCompleted, hour.Add(time.Minute), 3)
		insert("acme", host.Update, host.StateFailed, hour.Add(time.Hour), 5)
		insert("acme", host.Update, host.StateCompleted, hour.Add(-time.Minute), 1) // before
		insert("acme", host.Reconcile, host.StateCompleted, hour, 1)                // a run
		insert("gone", host.Create, host.StateCompleted, hour, 1)
		require.NoError(t, s.View(ctx, func(tx *store.Tx) error {
			list, err := tx.CountEnded(ctx, hour)
			require.ElementsMatch(t, []store.EndedCount{
				{AppName: "acme", Hour: hour, State: host.StateCompleted, Requests: 2},
				{AppName: "acme", Hour: hour, State: host.StateCompleted, Tried: true, Requests: 1},
				{AppName: "acme", Hour: hour.Add(time.Hour), State: host.StateFailed, Tried: true, Requests: 1},
				{AppName: "gone", Hour: hour, State: host.StateCompleted, Requests: 1},
			}, list)
			return err
		}))
	})
}
