package store

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/provosthq/provost/host"
)

// Retention says what is pruned: what has ended before a time.
type Retention struct {
	Requests, Runs time.Time
	// Traces are what attempts sent and cost; their log lines stay.
	Traces time.Time
	// DryRun counts, and removes nothing.
	DryRun bool
}

const (
	// pruneRows is the most rows that one transaction removes of a table: others
	// who write get their turn between them.
	pruneRows = 200
	// pruneRequests is how many requests are looked at in one.
	pruneRequests = 40
)

func endedStates() []host.RequestState {
	var list []host.RequestState
	for _, s := range host.RequestStates {
		if s.Ended() {
			list = append(list, s)
		}
	}
	return list
}

// Prune removes requests that have ended with their logs, runs with all that
// they collected, and plans; it counts the rows of each table. It keeps the
// newest request of each user in each app, what another that is kept is a retry
// of, and the newest run of each app. The counts of requests stay.
func (s *Store) Prune(ctx context.Context, r Retention, pruned func(table string, rows int64)) error {
	const newest = `(r.user_id IS NULL OR EXISTS (SELECT 1 FROM user_provisioning_requests n WHERE n.app_name = r.app_name AND n.user_id = r.user_id AND n.number > r.number))
		AND NOT EXISTS (SELECT 1 FROM user_provisioning_requests c WHERE c.parent_id = r.id)`
	if err := s.pruneRequests(ctx, r, "r.operation <> 'Reconcile' AND "+newest, r.Requests, nil, pruned); err != nil {
		return err
	}
	const lastRun = `EXISTS (SELECT 1 FROM user_provisioning_requests n WHERE n.app_name = r.app_name AND n.operation = 'Reconcile' AND n.state = 'Completed' AND n.number > r.number)`
	of := []string{"user_prov_account_stagings", "recon_pages", "gone_candidates"}
	if err := s.pruneRequests(ctx, r, "r.operation = 'Reconcile' AND "+lastRun, r.Runs, of, pruned); err != nil {
		return err
	}
	if err := s.pruneTraces(ctx, r, pruned); err != nil {
		return err
	}
	return s.prunePlans(ctx, r, pruned)
}

// pruneTraces takes the traces out of old log lines.
func (s *Store) pruneTraces(ctx context.Context, r Retention, pruned func(string, int64)) error {
	if r.Traces.IsZero() {
		return nil
	}
	for last := int64(0); ; {
		var numbers []int64
		var n int64
		if err := s.View(ctx, func(t *Tx) error {
			return t.db.NewRaw("SELECT number FROM user_provisioning_logs WHERE number > ? AND created_date < ? AND trace IS NOT NULL ORDER BY number LIMIT ?", last, r.Traces.UTC(), pruneRows).Scan(ctx, &numbers)
		}); err != nil || len(numbers) == 0 {
			return err
		}
		last, n = numbers[len(numbers)-1], int64(len(numbers))
		if !r.DryRun {
			if err := s.Update(ctx, func(t *Tx) error {
				_, err := t.db.NewRaw("UPDATE user_provisioning_logs SET trace = NULL WHERE number IN (?)", bun.List(numbers)).Exec(ctx)
				return err
			}); err != nil {
				return err
			}
		}
		pruned("traces", n)
	}
}

// pruneRequests goes from the newest to the oldest, so that a retry goes before
// what it retries.
func (s *Store) pruneRequests(ctx context.Context, r Retention, which string, before time.Time, with []string, pruned func(string, int64)) error {
	for last := int64(1) << 62; ; {
		var refs []RequestRef
		if err := s.View(ctx, func(t *Tx) error {
			return t.db.NewRaw("SELECT r.number, r.id FROM user_provisioning_requests r WHERE r.number < ? AND r.state IN (?) AND r.completed_date < ? AND "+which+" ORDER BY r.number DESC LIMIT ?",
				last, bun.List(endedStates()), before.UTC(), pruneRequests).Scan(ctx, &refs)
		}); err != nil || len(refs) == 0 {
			return err
		}
		ids := make([]string, len(refs))
		for i, ref := range refs {
			ids[i], last = ref.Id, ref.Number
		}
		for _, table := range append([]string{"user_provisioning_logs"}, with...) {
			if err := s.pruneTable(ctx, r, table, "user_provisioning_request_id", ids, pruned); err != nil {
				return err
			}
		}
		var n int64
		if err := s.Update(ctx, func(t *Tx) (err error) {
			n, err = t.pruneRequestRows(ctx, ids, r.DryRun)
			return err
		}); err != nil {
			return err
		}
		pruned("user_provisioning_requests", n)
	}
}

// pruneTable removes the rows that belong to some records, a few at a time.
func (s *Store) pruneTable(ctx context.Context, r Retention, table, column string, ids []string, pruned func(string, int64)) error {
	row := "ctid"
	if s.dialect == "sqlite" {
		row = "rowid"
	}
	for {
		var n int64
		err := s.Update(ctx, func(t *Tx) error {
			if r.DryRun {
				return t.db.NewRaw(fmt.Sprintf("SELECT COUNT(*) FROM %s WHERE %s IN (?)", table, column), bun.List(ids)).Scan(ctx, &n)
			}
			result, err := t.db.NewRaw(fmt.Sprintf("DELETE FROM %s WHERE %s IN (SELECT %s FROM %s WHERE %s IN (?) LIMIT %d)", table, row, row, table, column, pruneRows), bun.List(ids)).Exec(ctx)
			if err == nil {
				n, err = result.RowsAffected()
			}
			return err
		})
		if err != nil {
			return err
		}
		pruned(table, n)
		if r.DryRun || n < pruneRows {
			return nil
		}
	}
}

// pruneRequestRows removes requests and keeps their counts.
func (t *Tx) pruneRequestRows(ctx context.Context, ids []string, dry bool) (int64, error) {
	if dry {
		return int64(len(ids)), nil
	}
	var gone []struct {
		AppName, Operation, State string
		CompletedDate             time.Time
	}
	if err := t.db.NewRaw("DELETE FROM user_provisioning_requests WHERE id IN (?) RETURNING app_name, operation, state, completed_date", bun.List(ids)).Scan(ctx, &gone); err != nil {
		return 0, err
	}
	for _, g := range gone {
		if _, err := t.db.NewRaw(`INSERT INTO pruned_requests (app_name, operation, state, day, requests) VALUES (?, ?, ?, ?, 1)
			ON CONFLICT (app_name, operation, state, day) DO UPDATE SET requests = pruned_requests.requests + 1`, g.AppName, g.Operation, g.State, g.CompletedDate.UTC().Format(time.DateOnly)).Exec(ctx); err != nil {
			return 0, err
		}
	}
	return int64(len(gone)), nil
}

func (s *Store) prunePlans(ctx context.Context, r Retention, pruned func(string, int64)) error {
	for last := int64(1) << 62; ; {
		var refs []RequestRef
		if err := s.View(ctx, func(t *Tx) error {
			return t.db.NewRaw("SELECT number, id FROM plans WHERE number < ? AND completed_date < ? ORDER BY number DESC LIMIT ?", last, r.Runs.UTC(), pruneRequests).Scan(ctx, &refs)
		}); err != nil || len(refs) == 0 {
			return err
		}
		ids := make([]string, len(refs))
		for i, ref := range refs {
			ids[i], last = ref.Id, ref.Number
		}
		for _, one := range []struct{ table, column string }{{"planned_changes", "plan_id"}, {"plans", "id"}} {
			if err := s.pruneTable(ctx, r, one.table, one.column, ids, pruned); err != nil {
				return err
			}
		}
	}
}
