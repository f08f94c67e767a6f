package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/provosthq/provost/host"
)

// UncertainRequests returns the requests of a lane that ended without anybody
// knowing whether they made an account, newest first.
func (t *Tx) UncertainRequests(ctx context.Context, app, userID string) ([]*host.UserProvisioningRequest, error) {
	var list []*host.UserProvisioningRequest
	return list, t.scan(ctx, &list, "SELECT "+t.recordOf((*host.UserProvisioningRequest)(nil)).columns+
		" FROM user_provisioning_requests WHERE app_name = ? AND user_id = ? AND uncertain AND state IN ("+unknownEnd+") AND operation IN ("+makers+") ORDER BY number DESC LIMIT 10", app, userID)
}

// UncertainDelete names the newest Delete of a lane that ended without anybody
// knowing whether it was done; "" for none.
func (t *Tx) UncertainDelete(ctx context.Context, app, userID string) (string, error) {
	r := new(host.UserProvisioningRequest)
	err := t.one(ctx, r, "app_name = ? AND user_id = ? AND uncertain AND operation = 'Delete' AND state IN ("+unknownEnd+") ORDER BY number DESC", app, userID)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return r.Name(), err
}

// unknownEnd are the states of a request that ended and may still have been
// done; makers the operations that can make an account.
var (
	unknownEnd = quoted([]host.RequestState{host.StateFailed, host.StateRetried, host.StateManuallyCompleted})
	makers     = quoted([]host.Operation{host.Create, host.Update, host.Activate, host.Reactivate})
)
