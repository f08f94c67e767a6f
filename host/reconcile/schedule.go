package reconcile

import (
	"context"
	"errors"
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
// nobody was there for make one run together. What is wrong with one app keeps
// no other from its run.
func (e *Engine) Schedule(ctx context.Context) error {
	var apps []*host.UserProvisioningConfig
	if err := e.Store.View(ctx, func(tx Tx) (err error) { apps, err = tx.Configs(ctx); return err }); err != nil {
		return err
	}
	var wrong []error
	for _, app := range apps {
		if app.Reconcile.Schedule == "" || !app.Enabled {
			continue
		}
		if err := e.Store.Update(ctx, func(tx Tx) error { return e.scheduled(ctx, tx, app) }); err != nil {
			wrong = append(wrong, fmt.Errorf("the schedule of %s: %w", app.AppName, err))
		}
	}
	return errors.Join(wrong...)
}

// Next is when the next run of an app is due, zero for never. last is how far
// the schedule has come. The times are UTC's, as machines differ in theirs, or
// those of the zone that the schedule begins with: CRON_TZ=Europe/Berlin 0 2 * * *.
func Next(app *host.UserProvisioningConfig, last time.Time) time.Time {
	schedule, err := cron.ParseStandard(app.Reconcile.Schedule)
	if err != nil || app.Reconcile.Schedule == "" {
		return time.Time{}
	}
	at := schedule.Next(last.UTC())
	if at.IsZero() {
		return at
	}
	most := app.Reconcile.Jitter
	if after := schedule.Next(at); !after.IsZero() { // it never reaches into the next occurrence
		most = min(most, after.Sub(at))
	}
	return at.Add(jitter(app.AppName, at, most)).UTC()
}

// jitter is the same for one occurrence on every machine.
func jitter(app string, at time.Time, most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d", app, at.Unix())
	return time.Duration(h.Sum64() % uint64(most))
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
	}
	return tx.PutReconSchedule(ctx, s)
}

// wholeRunEnded begins the count of deltas anew. A full run that failed does
// not: the next one is full, too.
func (e *Engine) wholeRunEnded(ctx context.Context, tx Tx, app string) error {
	s, err := tx.ReconSchedule(ctx, app)
	if err != nil || s == nil || s.DeltaRuns == 0 {
		return err
	}
	s.DeltaRuns = 0
	return tx.PutReconSchedule(ctx, s)
}
