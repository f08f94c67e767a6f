package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/uptrace/bun"

	"github.com/provosthq/provost/host"
)

// CountStagedOf counts which of some accounts a run has staged already.
func (t *Tx) CountStagedOf(ctx context.Context, requestID string, externalIDs []string) (int64, error) {
	if len(externalIDs) == 0 {
		return 0, nil
	}
	n, err := t.db.NewSelect().Model((*host.UserProvAccountStaging)(nil)).Where("user_provisioning_request_id = ? AND external_user_id IN (?)", requestID, bun.List(externalIDs)).Count(ctx)
	return int64(n), err
}

// ReconSchedule returns how far the schedule of an app has come, nil where it
// has not begun. No other transaction gets it until this one ends.
func (t *Tx) ReconSchedule(ctx context.Context, app string) (*host.ReconSchedule, error) {
	if err := t.lock(ctx, app+"/schedule"); err != nil {
		return nil, err
	}
	s := new(host.ReconSchedule)
	err := t.one(ctx, s, "app_name = ?", app)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return s, err
}

// ReconSchedules returns how far the schedules of all apps have come, by app.
func (t *Tx) ReconSchedules(ctx context.Context) (map[string]*host.ReconSchedule, error) {
	var list []*host.ReconSchedule
	err := t.db.NewSelect().Model(&list).Scan(ctx)
	byApp := make(map[string]*host.ReconSchedule, len(list))
	for _, s := range list {
		byApp[s.AppName] = s
	}
	return byApp, err
}

// PutReconSchedule stores how far the schedule of an app has come.
func (t *Tx) PutReconSchedule(ctx context.Context, s *host.ReconSchedule) error {
	_, err := t.exec(ctx, `INSERT INTO recon_schedules (app_name, schedule, last_date, delta_runs) VALUES (?, ?, ?, ?)
		ON CONFLICT (app_name) DO UPDATE SET schedule = EXCLUDED.schedule, last_date = EXCLUDED.last_date, delta_runs = EXCLUDED.delta_runs`,
		s.AppName, s.Schedule, s.LastDate, s.DeltaRuns)
	return err
}

// OpenRun tells whether a run of an app has not ended.
func (t *Tx) OpenRun(ctx context.Context, app string) (open bool, err error) {
	err = t.db.Tx.QueryRowContext(ctx, t.numbered("SELECT EXISTS (SELECT 1 FROM user_provisioning_requests WHERE app_name = ? AND operation = 'Reconcile' AND state NOT IN ("+ended+"))"), app).Scan(&open)
	return open, err
}
