package store

import (
	"context"
	"time"

	"github.com/provosthq/provost/host"
)

// countIndexes are for counting accounts, and listing those of a link state or
// with drift, without reading them.
const countIndexes = `
CREATE INDEX accounts_by_link_state ON user_prov_accounts (app_name, link_state, number);
CREATE INDEX accounts_drifted ON user_prov_accounts (app_name, number) WHERE drift IS NOT NULL
`

// countStatistics are as [statistics].
const countStatistics = `
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
	('user_prov_accounts', 'accounts_by_link_state', '10000000 1000000 300000 1'),
	('user_prov_accounts', 'accounts_drifted', '100000 10000 1');
ANALYZE sqlite_schema`

// What is counted of accounts, by indexes alone.
const (
	countDrifted   = "SELECT app_name, COUNT(*) FROM user_prov_accounts WHERE drift IS NOT NULL GROUP BY app_name"
	countUndecided = "SELECT app_name, COUNT(*) FROM user_prov_accounts WHERE candidates IS NOT NULL GROUP BY app_name"
)

// OpenCount counts requests that have not ended and wait for the same.
type OpenCount struct {
	AppName  string
	WaitsFor string
	Requests int64
	// Since is when the oldest of them was made, or was due.
	Since time.Time
}

// unended are the states of requests that have not ended, for a query by an
// index.
var unended = func() string {
	var list []host.RequestState
	for _, s := range host.RequestStates {
		if !s.Ended() {
			list = append(list, s)
		}
	}
	return quoted(list)
}()

// CountOpen counts the requests that have not ended, by app and by what they
// wait for: approval, authorization, target, review, resume, nothing (it is being
// done), later (a time), worker (its turn).
func (t *Tx) CountOpen(ctx context.Context, now time.Time) ([]OpenCount, error) {
	var list []OpenCount
	return list, t.scan(ctx, &list, `SELECT app_name, waits_for, COUNT(*) AS requests, MIN(since) AS since FROM (
		SELECT app_name, COALESCE(schedule_date, created_date) AS since, CASE
			WHEN approval_status = 'Required' THEN 'approval'
			WHEN waits_for LIKE 'authorization:%' THEN 'authorization'
			WHEN waits_for IS NOT NULL THEN 'target'
			WHEN paused THEN 'resume'
			WHEN state = 'Analyzed' AND (quarantine IS NOT NULL OR NOT commit_when_analyzed) THEN 'review'
			WHEN next_attempt_date > ? OR schedule_date > ? THEN 'later'
			WHEN in_flight OR operation = 'Reconcile' AND state <> 'New' THEN 'nothing'
			ELSE 'worker' END AS waits_for
		FROM user_provisioning_requests WHERE state IN (`+unended+`) AND app_name IN (SELECT app_name FROM user_provisioning_configs)
	) AS open_requests GROUP BY app_name, waits_for`, now, now)
}

// RunCount is how far the runs of an app that are in one state have come.
type RunCount struct {
	AppName                         string
	State                           host.RequestState
	Runs, Pages, Accounts, Expected int64
}

// CountRuns tells how far the reconciliations under way have come.
func (t *Tx) CountRuns(ctx context.Context) ([]RunCount, error) {
	var list []RunCount
	return list, t.scan(ctx, &list, `SELECT app_name, state, COUNT(*) AS runs, CAST(SUM(recon_pages) AS BIGINT) AS pages,
		CAST(SUM(recon_found) AS BIGINT) AS accounts, CAST(SUM(total_estimate) AS BIGINT) AS expected
		FROM user_provisioning_requests WHERE operation = 'Reconcile' AND state NOT IN (`+ended+`) GROUP BY app_name, state`)
}

// CountDrifted counts accounts with drift, by app.
func (t *Tx) CountDrifted(ctx context.Context) (map[string]int64, error) {
	return counts[string](ctx, t, countDrifted)
}

// CountUndecided counts accounts that a person must decide about, by app.
func (t *Tx) CountUndecided(ctx context.Context) (map[string]int64, error) {
	return counts[string](ctx, t, countUndecided)
}
