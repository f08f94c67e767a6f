package store

import (
	"context"
	"time"

	"github.com/provosthq/provost/host"
)

// EndedCount counts the requests of an app that ended in one hour in one state.
type EndedCount struct {
	AppName string
	Hour    time.Time
	State   host.RequestState
	// Tried says that they took more attempts than one.
	Tried    bool
	Requests int64
}

// endedIndex has all that counting what ended by the hour reads.
const endedIndex = `CREATE INDEX requests_ended ON user_provisioning_requests (completed_date, operation, app_name, state, attempt) WHERE completed_date IS NOT NULL`

// endedByHour is how the hour of completed_date is written as text, in UTC.
var endedByHour = map[string]string{
	"sqlite":   "substr(completed_date, 1, 13)",
	"postgres": "to_char(completed_date AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24')",
}

// CountEnded counts the requests, other than runs, that ended since a time, by
// app, hour and state.
func (t *Tx) CountEnded(ctx context.Context, since time.Time) ([]EndedCount, error) {
	var rows []struct {
		EndedCount
		HourText string
	}
	hour := endedByHour[t.dialect]
	err := t.scan(ctx, &rows, `SELECT app_name, `+hour+` AS hour_text, state, attempt > 1 AS tried, COUNT(*) AS requests
		FROM user_provisioning_requests WHERE completed_date >= ? AND operation <> 'Reconcile'
		GROUP BY app_name, `+hour+`, state, attempt > 1`, since.UTC())
	list := make([]EndedCount, len(rows))
	for i, r := range rows {
		list[i] = r.EndedCount
		if err == nil {
			list[i].Hour, err = time.ParseInLocation("2006-01-02 15", r.HourText, time.UTC)
		}
	}
	return list, err
}
