package store

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
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

// RequestRef is what is needed to act on a request.
type RequestRef struct {
	Number int64
	Id     string
}

// RequestRefs lists the requests of a filter by what names them.
func (t *Tx) RequestRefs(ctx context.Context, f RequestFilter) ([]RequestRef, error) {
	var list []RequestRef
	q := t.db.NewSelect().Model((*host.UserProvisioningRequest)(nil)).Column("number", "id")
	return list, f.where(q).Scan(ctx, &list)
}

// LastRequestNumber is the Number of the newest request, 0 without any.
func (t *Tx) LastRequestNumber(ctx context.Context) (n int64, err error) {
	return n, t.db.NewRaw("SELECT COALESCE(MAX(number), 0) FROM user_provisioning_requests").Scan(ctx, &n)
}

// UsersNamed returns users with nothing but their ids and names.
func (t *Tx) UsersNamed(ctx context.Context, ids []string) ([]*host.User, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var rows []userRow
	if err := t.db.NewSelect().Model(&rows).Column("id", "username", "first_name", "last_name").Where("id IN (?)", bun.List(ids)).Scan(ctx); err != nil {
		return nil, err
	}
	users := make([]*host.User, len(rows))
	for i, r := range rows {
		users[i] = &host.User{User: pdk.User{Id: r.Id, Username: r.Username, FirstName: r.FirstName, LastName: r.LastName}}
	}
	return users, nil
}

// Usernames returns the usernames of users by their ids.
func (t *Tx) Usernames(ctx context.Context, ids []string) (map[string]string, error) {
	names := map[string]string{}
	if len(ids) == 0 {
		return names, nil
	}
	var rows []userRow
	if err := t.db.NewSelect().Model(&rows).Column("id", "username").Where("id IN (?)", bun.List(ids)).Scan(ctx); err != nil {
		return nil, err
	}
	for _, r := range rows {
		names[r.Id] = r.Username
	}
	return names, nil
}
