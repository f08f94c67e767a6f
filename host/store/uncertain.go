package store

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/provosthq/provost/host"
)

// UncertainRequests returns the requests of a lane that ended without anybody
// knowing whether they made an account, newest first.
func (t *Tx) UncertainRequests(ctx context.Context, app, userID string) ([]*host.UserProvisioningRequest, error) {
	var list []*host.UserProvisioningRequest
	return list, t.db.NewSelect().Model(&list).Where("app_name = ?", app).Where("user_id = ?", userID).Where("uncertain").
		Where("state IN (?)", bun.List([]host.RequestState{host.StateFailed, host.StateRetried, host.StateManuallyCompleted})).
		Where("operation IN (?)", bun.List([]host.Operation{host.Create, host.Update, host.Activate, host.Reactivate})).
		OrderExpr("number DESC").Limit(10).Scan(ctx)
}
