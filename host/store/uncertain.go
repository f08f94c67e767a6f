package store

import (
	"context"

	"github.com/provosthq/provost/host"
)

// UncertainRequests returns the requests of a lane that ended without anybody
// knowing whether they made an account, newest first.
func (t *Tx) UncertainRequests(ctx context.Context, app, userID string) ([]*host.UserProvisioningRequest, error) {
	var list []*host.UserProvisioningRequest
	return list, t.scan(ctx, &list, "SELECT "+t.recordOf((*host.UserProvisioningRequest)(nil)).columns+
		" FROM user_provisioning_requests WHERE app_name = ? AND user_id = ? AND uncertain AND state IN ("+unknownEnd+") AND operation IN ("+makers+") ORDER BY number DESC LIMIT 10", app, userID)
}

// unknownEnd are the states of a request that ended and may still have been
// done; makers the operations that can make an account.
var (
	unknownEnd = quoted([]host.RequestState{host.StateFailed, host.StateRetried, host.StateManuallyCompleted})
	makers     = quoted([]host.Operation{host.Create, host.Update, host.Activate, host.Reactivate})
)
