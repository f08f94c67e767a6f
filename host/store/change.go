package store

import (
	"context"
	"time"

	"github.com/provosthq/provost/host"
)

// What has changed, for those who look on: numbers and times lead to it, so that
// no row has to be read that has not.

// LogsAfter tells which requests the lines of logs after a number are of, in
// order.
func (t *Tx) LogsAfter(ctx context.Context, number int64, limit int) (list []LogRef, err error) {
	return list, t.scan(ctx, &list, "SELECT number, user_provisioning_request_id AS request_id FROM user_provisioning_logs WHERE number > ? ORDER BY number LIMIT ?", number, limit)
}

// LogRef is a line of the log of a request.
type LogRef struct {
	Number    int64
	RequestId string
}

// LastLog is the number of the newest line of all logs.
func (t *Tx) LastLog(ctx context.Context) (n int64, err error) {
	err = t.db.Tx.QueryRowContext(ctx, "SELECT COALESCE(MAX(number), 0) FROM user_provisioning_logs").Scan(&n)
	return n, err
}

// RequestState is where a request stands.
type RequestState struct {
	Number        int64
	Id            string
	AppName       string
	Operation     host.Operation
	State         host.RequestState
	ReconPages    int
	ReconFound    int64
	TotalEstimate int64
	Paused        bool
}

const requestState = "SELECT number, id, app_name, operation, state, recon_pages, recon_found, total_estimate, paused FROM user_provisioning_requests WHERE "

// StatesOf tells where requests stand.
func (t *Tx) StatesOf(ctx context.Context, ids []string) (list []RequestState, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	w := where{}
	w.among("id", ids)
	return list, t.scan(ctx, &list, requestState+w.clauses[0]+" ORDER BY number", w.args...)
}

// OpenRuns tells where the reconciliations stand that have not ended.
func (t *Tx) OpenRuns(ctx context.Context) (list []RequestState, err error) {
	return list, t.scan(ctx, &list, requestState+"operation = 'Reconcile' AND state NOT IN ("+ended+") ORDER BY number")
}

// AccountState is how an account is linked, since when it is as it is.
type AccountState struct {
	Number           int64
	Id               string
	AppName          string
	LinkState        host.LinkState
	LastModifiedDate time.Time
}

// AccountsSince are the accounts that changed at a time or later, in order.
func (t *Tx) AccountsSince(ctx context.Context, since time.Time, limit int) (list []AccountState, err error) {
	return list, t.scan(ctx, &list, "SELECT number, id, app_name, link_state, last_modified_date FROM user_prov_accounts WHERE last_modified_date >= ? ORDER BY last_modified_date LIMIT ?", since, limit)
}
