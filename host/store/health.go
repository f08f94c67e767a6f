package store

import (
	"context"
	"errors"
	"time"

	"github.com/provosthq/provost/host"
)

// FailureCount counts the requests of an app that failed alike.
type FailureCount struct {
	AppName   string
	Operation host.Operation
	ErrorCode host.Code
	Requests  int64
	// Since and Last are when the first and the last of them ended.
	Since, Last time.Time
}

// CountFailures counts the requests that failed since a time, those of which the
// last ended last first.
func (t *Tx) CountFailures(ctx context.Context, since time.Time) ([]FailureCount, error) {
	var list []FailureCount
	return list, t.scan(ctx, &list, `SELECT app_name, operation, COALESCE(error_code, '') AS error_code, COUNT(*) AS requests, MIN(completed_date) AS since, MAX(completed_date) AS last
		FROM user_provisioning_requests WHERE state = 'Failed' AND app_name IN (SELECT app_name FROM user_provisioning_configs) AND completed_date >= ?
		GROUP BY app_name, operation, COALESCE(error_code, '') ORDER BY MAX(completed_date) DESC`, since)
}

// Schema is the version of the database's schema, and what this binary knows.
func (s *Store) Schema(ctx context.Context) (have, known int, err error) {
	err = s.read.QueryRowContext(ctx, "SELECT COALESCE(MAX(version), 0) FROM provost_schema").Scan(&have)
	return have, schemaVersion(), s.explain(err)
}

var errTried = errors.New("it was only tried")

// TryWrite tells whether the database takes what is written, and keeps nothing of
// it.
func (s *Store) TryWrite(ctx context.Context) error {
	err := s.once(ctx, s.writer, nil, func(t *Tx) error {
		if _, err := t.exec(ctx, "UPDATE audit_chain SET number = number WHERE id = 1"); err != nil {
			return err
		}
		return errTried
	})
	if errors.Is(err, errTried) {
		return nil
	}
	return s.explain(err)
}

// Clock is the time of the database's own clock: this machine's on SQLite.
func (s *Store) Clock(ctx context.Context) (now time.Time, err error) {
	if s.dialect == "sqlite" {
		return time.Now(), nil
	}
	err = s.read.QueryRowContext(ctx, "SELECT clock_timestamp()").Scan(&now)
	return now, s.explain(err)
}
