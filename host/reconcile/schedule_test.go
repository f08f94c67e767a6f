package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/reconcile"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/pdk"
)

// clocked is an engine over a real database whose jobs nobody works.
type clocked struct {
	t      *testing.T
	store  *store.Store
	engine *reconcile.Engine
	now    time.Time
	broken string // the app whose connector can't be asked
}

type clockedTx struct{ *store.Tx }

func (clockedTx) Enqueue(context.Context, string, string, time.Time) error { return nil }
func (clockedTx) CompleteJob(context.Context) error                        { return nil }

func (w *clocked) Update(ctx context.Context, fn func(reconcile.Tx) error) error {
	return w.store.Update(ctx, func(t *store.Tx) error { return fn(clockedTx{t}) })
}

func (w *clocked) View(ctx context.Context, fn func(reconcile.Tx) error) error {
	return w.store.View(ctx, func(t *store.Tx) error { return fn(clockedTx{t}) })
}

func (w *clocked) Call(context.Context, *host.UserProvisioningConfig, pdk.Operation, pdk.Input) (pdk.Output, host.CallTrace, error) {
	panic("nobody works jobs here")
}
func (w *clocked) Supports(app *host.UserProvisioningConfig, _ pdk.Operation) (bool, error) {
	if app.AppName == w.broken {
		return false, errors.New("no such connector")
	}
	return true, nil
}

func eachClocked(t *testing.T, fn func(t *testing.T, w *clocked)) {
	storetest.Each(t, func(t *testing.T, url string) {
		s, err := store.Open(t.Context(), url, store.Options{Rehearse: true})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		w := &clocked{t: t, store: s, now: time.Date(2026, 3, 2, 1, 30, 0, 0, time.UTC)}
		w.engine = reconcile.New(reconcile.Options{Store: w, Connectors: w, Now: func() time.Time { return w.now },
			Rules: func(string) (reconcile.Rules, error) { return nil, nil }})
		fn(t, w)
	})
}

func (w *clocked) app(name string, p host.ReconcilePolicy, token string) {
	w.t.Helper()
	require.NoError(w.t, w.store.Update(w.t.Context(), func(tx *store.Tx) error {
		a := &host.ConnectedApp{Name: name}
		if err := tx.PutApp(w.t.Context(), a); err != nil {
			return err
		}
		return tx.PutConfig(w.t.Context(), &host.UserProvisioningConfig{AppName: name, ConnectedAppId: a.Id, Enabled: true, Reconcile: p, LastReconToken: token})
	}))
}

// runs lists the runs as "full New", and ends those that are open.
func (w *clocked) runs(end bool) (list []string) {
	w.t.Helper()
	require.NoError(w.t, w.store.Update(w.t.Context(), func(tx *store.Tx) error {
		list = nil
		all, err := tx.Requests(w.t.Context(), store.RequestFilter{Limit: 1000})
		for _, r := range all {
			list = append(list, fmt.Sprintf("%s %s", r.ReconMode, r.State))
			if end && !r.State.Ended() {
				r.State = host.StateFailed
				if err := tx.UpdateRequest(w.t.Context(), r, r.Attempt); err != nil {
					return err
				}
			}
		}
		return err
	}))
	return list
}

func (w *clocked) pass(d time.Duration) {
	w.t.Helper()
	w.now = w.now.Add(d)
	require.NoError(w.t, w.engine.Schedule(w.t.Context()))
	require.NoError(w.t, w.engine.Schedule(w.t.Context()), "another machine, at the same moment")
}

func TestAScheduleStartsOneRunForEachOccurrence(t *testing.T) {
	eachClocked(t, func(t *testing.T, w *clocked) {
		w.app("acme", host.ReconcilePolicy{Schedule: "0 2 * * *"}, "")
		w.pass(0)
		require.Empty(t, w.runs(false), "not before its time")
		w.pass(29 * time.Minute)
		require.Empty(t, w.runs(false))
		w.pass(time.Minute)
		require.Equal(t, []string{"full New"}, w.runs(false))
		w.pass(time.Hour)
		require.Len(t, w.runs(false), 1)
		w.pass(23 * time.Hour)
		require.Len(t, w.runs(true), 1, "the one before is still under way: this one is left out")
		w.pass(24 * time.Hour)
		require.Len(t, w.runs(true), 2)
		w.pass(5 * 24 * time.Hour)
		require.Len(t, w.runs(true), 3, "those that nobody was there for make one run")
		w.app("acme", host.ReconcilePolicy{Schedule: "0 3 * * *"}, "")
		w.pass(time.Minute)
		require.Len(t, w.runs(true), 3, "another schedule begins anew")
		w.pass(24 * time.Hour)
		require.Len(t, w.runs(true), 4)
	})
}

func TestDeltasAreScheduledBetweenFullRuns(t *testing.T) {
	eachClocked(t, func(t *testing.T, w *clocked) {
		w.app("acme", host.ReconcilePolicy{Schedule: "0 * * * *", Delta: true, FullEvery: 3}, "")
		w.pass(0)
		w.pass(time.Hour)
		require.Equal(t, []string{"full New"}, w.runs(true), "no token yet")
		w.app("acme", host.ReconcilePolicy{Schedule: "0 * * * *", Delta: true, FullEvery: 3}, "T1")
		for range 6 {
			w.pass(time.Hour)
			w.runs(true)
		}
		var modes []string
		for _, r := range w.runs(false)[1:] {
			modes = append(modes, r[:4])
		}
		require.Equal(t, []string{"delt", "delt", "full", "full", "full", "full"}, modes, "a full run that fails is begun again")
	})
}

func TestAFullRunThatEndsBeginsTheCountOfDeltasAnew(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(byName)
		deltas := func() (n int) {
			w.do(func(ctx context.Context, tx harnessTx) error {
				s, err := tx.ReconSchedule(ctx, "acme")
				n = s.DeltaRuns
				return err
			})
			return n
		}
		w.do(func(ctx context.Context, tx harnessTx) error {
			return tx.PutReconSchedule(ctx, &host.ReconSchedule{AppName: "acme", Schedule: "0 * * * *", LastDate: time.Now(), DeltaRuns: 5})
		})
		w.shows(found("1", "ada"))
		r := w.analyzed()
		require.Equal(t, 5, deltas())
		w.committed(r)
		require.Zero(t, deltas())
	})
}

func TestAnAppThatCannotBeStartedKeepsNoOtherFromItsRun(t *testing.T) {
	eachClocked(t, func(t *testing.T, w *clocked) {
		w.app("acme", host.ReconcilePolicy{Schedule: "0 2 * * *"}, "")
		w.app("beta", host.ReconcilePolicy{Schedule: "0 2 * * *"}, "")
		w.app("gamma", host.ReconcilePolicy{Schedule: "0 2 * * *"}, "")
		w.pass(0)
		w.broken = "beta"
		w.now = w.now.Add(time.Hour)
		require.ErrorContains(t, w.engine.Schedule(t.Context()), "the schedule of beta")
		require.Len(t, w.runs(false), 2)
	})
}

func TestASchedulesTimesAreUTCsOrThoseOfItsZone(t *testing.T) {
	app := &host.UserProvisioningConfig{AppName: "acme", Reconcile: host.ReconcilePolicy{Schedule: "0 2 * * *"}}
	last := time.Date(2026, 3, 2, 1, 0, 0, 0, time.FixedZone("elsewhere", -7*3600)) // 08:00 UTC
	require.Equal(t, time.Date(2026, 3, 3, 2, 0, 0, 0, time.UTC), reconcile.Next(app, last))
	app.Reconcile.Schedule = "CRON_TZ=Europe/Berlin 0 2 * * *"
	require.Equal(t, time.Date(2026, 3, 3, 1, 0, 0, 0, time.UTC), reconcile.Next(app, last))
}

func TestJitterNeverReachesIntoTheNextOccurrence(t *testing.T) {
	app := &host.UserProvisioningConfig{AppName: "acme", Reconcile: host.ReconcilePolicy{Schedule: "*/10 * * * *", Jitter: 24 * time.Hour}}
	at := time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)
	for range 50 {
		next := reconcile.Next(app, at)
		require.Less(t, next.Sub(at.Truncate(10*time.Minute)), 20*time.Minute)
		at = next
	}
}

func TestJitterIsTheSameForOneOccurrenceOnEveryMachine(t *testing.T) {
	app := &host.UserProvisioningConfig{AppName: "acme", Reconcile: host.ReconcilePolicy{Schedule: "0 2 * * *", Jitter: time.Hour}}
	other := &host.UserProvisioningConfig{AppName: "other", Reconcile: app.Reconcile}
	last := time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)
	base, differ := last.Add(time.Hour), false
	for day := range 10 {
		at := reconcile.Next(app, last.AddDate(0, 0, day))
		require.Equal(t, at, reconcile.Next(app, last.AddDate(0, 0, day)))
		late := at.Sub(base.AddDate(0, 0, day))
		require.GreaterOrEqual(t, late, time.Duration(0))
		require.Less(t, late, time.Hour)
		differ = differ || at != reconcile.Next(other, last.AddDate(0, 0, day))
	}
	require.True(t, differ)
	require.True(t, reconcile.Next(&host.UserProvisioningConfig{}, last).IsZero())
}

// Many machines look at the schedule in the same moment.
func TestMachinesThatScheduleAtOnceStartOneRun(t *testing.T) {
	eachClocked(t, func(t *testing.T, w *clocked) {
		apps := []string{"a", "b", "c"}
		for _, app := range apps {
			w.app(app, host.ReconcilePolicy{Schedule: "0 2 * * *"}, "")
		}
		w.pass(0)
		for day := 1; day <= 3; day++ {
			w.now = w.now.Add(24 * time.Hour)
			errs := make(chan error, 8)
			for range cap(errs) {
				machine := reconcile.New(reconcile.Options{Store: w, Connectors: w, Now: func() time.Time { return w.now },
					Rules: func(string) (reconcile.Rules, error) { return nil, nil }})
				go func() { errs <- machine.Schedule(t.Context()) }()
			}
			for range cap(errs) {
				require.NoError(t, <-errs)
			}
			require.Len(t, w.runs(true), day*len(apps))
		}
	})
}
