package store

import (
	"context"
	"time"
)

// ExpiredApprovals returns the ids of requests that wait for approval and could
// be approved until now or before, those that have waited longest first.
func (t *Tx) ExpiredApprovals(ctx context.Context, now time.Time, limit int) ([]string, error) {
	var ids []string
	err := t.db.NewSelect().Table("user_provisioning_requests").Column("id").
		Where("approval_status = 'Required' AND approval_expires_date <= ? AND state = 'New'", now).
		OrderExpr("approval_expires_date, number").Limit(int64(limit)).Scan(ctx, &ids)
	return ids, err
}
