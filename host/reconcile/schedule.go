package reconcile

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

// Schedule starts the runs that are due by the apps' schedules. It is to be
// called every few seconds, on any number of machines: how far a schedule has
// come is stored, so that each occurrence makes one run. Occurrences that
// nobody was there for make one run together.
func (e *Engine) Schedule(ctx context.Context) error {
	var apps []*host.UserProvisioningConfig
	if err := e.Store.View(ctx, func(tx Tx) (err error) { apps, err = tx.Configs(ctx); return err }); err != nil {
		return err
	}
	for _, app := range apps {
		if app.Reconcile.Schedule == "" || !app.Enabled {
			continue
		}
		if err := e.Store.Update(ctx, func(tx Tx) error { return e.scheduled(ctx, tx, app) }); err != nil {
			return fmt.Errorf("the schedule of %s: %w", app.AppName, err)
		}
	}
	return nil
}

// Next is when the next run of an app is due, zero for never. last is how far
// the schedule has come.
func Next(app *host.UserProvisioningConfig, last time.Time) time.Time {
	schedule, err := cron.ParseStandard(app.Reconcile.Schedule)
	if err != nil || app.Reconcile.Schedule == "" {
		return time.Time{}
	}
	at := schedule.Next(last.Local())
	if at.IsZero() {
		return at
	}
	return at.Add(jitter(app, at))
}

// jitter is the same for one occurrence on every machine.
func jitter(app *host.UserProvisioningConfig, at time.Time) time.Duration {
	if app.Reconcile.Jitter <= 0 {
		return 0
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d", app.AppName, at.Unix())
	return time.Duration(h.Sum64() % uint64(app.Reconcile.Jitter))
}

func (e *Engine) scheduled(ctx context.Context, tx Tx, app *host.UserProvisioningConfig) error {
	now := e.Now().UTC()
	s, err := tx.ReconSchedule(ctx, app.AppName)
	if err != nil {
		return err
	}
	if s == nil || s.Schedule != app.Reconcile.Schedule {
		next := &host.ReconSchedule{AppName: app.AppName, Schedule: app.Reconcile.Schedule, LastDate: now}
		if s != nil {
			next.DeltaRuns = s.DeltaRuns
		}
		return tx.PutReconSchedule(ctx, next)
	}
	due := Next(app, s.LastDate)
	if due.IsZero() || now.Before(due) {
		return nil
	}
	o := RunOptions{Commit: app.Reconcile.Commit, Mode: pdk.ModeFull, Reason: "by the schedule " + app.Reconcile.Schedule}
	s.LastDate = now
	if app.Reconcile.Delta && app.LastReconToken != "" && s.DeltaRuns+1 < max(1, app.Reconcile.FullEvery) {
		o.Mode = pdk.ModeDelta
	}
	_, err = e.Start(ctx, tx, app.AppName, o)
	switch {
	case host.CodeOf(err) == host.Conflict:
		e.Logger.WarnContext(ctx, "a scheduled run is left out: the one before is still under way", "app", app.AppName)
	case host.CodeOf(err) == host.Unsupported:
		e.Logger.WarnContext(ctx, "a scheduled run is left out", "app", app.AppName, "error", err)
	case err != nil:
		return err
	case o.Mode == pdk.ModeDelta:
		s.DeltaRuns++
	default:
		s.DeltaRuns = 0
	}
	return tx.PutReconSchedule(ctx, s)
}
