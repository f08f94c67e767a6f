package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/uptrace/bun"

	"github.com/provosthq/provost/host"
)

// TargetState is what is known of a target; one that is not there yet is new.
// With lock no other transaction gets it until this one ends.
func (t *Tx) TargetState(ctx context.Context, name string, lock bool) (*host.TargetState, error) {
	if lock {
		if _, err := t.exec(ctx, "INSERT INTO target_states (name, failures, last_error) VALUES (?, 0, '') ON CONFLICT DO NOTHING", name); err != nil {
			return nil, err
		}
	}
	s := &host.TargetState{Name: name}
	if lock && t.dialect == "postgres" {
		if _, err := t.exec(ctx, "SELECT 1 FROM target_states WHERE name = ? FOR UPDATE", name); err != nil {
			return nil, err
		}
	}
	if err := t.one(ctx, s, "name = ?", name); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	return s, nil
}

// TargetStates returns all that is known of targets, by name.
func (t *Tx) TargetStates(ctx context.Context) ([]*host.TargetState, error) {
	var list []*host.TargetState
	return list, t.db.NewSelect().Model(&list).OrderExpr("name").Scan(ctx)
}

// PutTargetState stores what is known of a target.
func (t *Tx) PutTargetState(ctx context.Context, s *host.TargetState) error {
	_, err := t.change(ctx, s, "name = ?", s.Name)
	return err
}

// CountInFlight counts the attempts that are under way in some apps.
func (t *Tx) CountInFlight(ctx context.Context, apps []string) (int, error) {
	n, err := t.db.NewSelect().Model((*host.UserProvisioningRequest)(nil)).Where("in_flight AND app_name IN (?)", bun.List(apps)).Count(ctx)
	return int(n), err
}

// Waiting returns requests that wait for a target, those that a person waits
// for first, then the oldest.
func (t *Tx) Waiting(ctx context.Context, target string, limit int) ([]*host.UserProvisioningRequest, error) {
	var list []*host.UserProvisioningRequest
	return list, t.scan(ctx, &list, "SELECT "+t.recordOf((*host.UserProvisioningRequest)(nil)).columns+
		" FROM user_provisioning_requests WHERE waits_for = ? ORDER BY urgent DESC, number LIMIT ?", target, limit)
}

// WaitedFor names the targets that requests wait for.
func (t *Tx) WaitedFor(ctx context.Context) ([]string, error) {
	var names []string
	return names, t.db.NewRaw("SELECT DISTINCT waits_for FROM user_provisioning_requests WHERE waits_for IS NOT NULL").Scan(ctx, &names)
}

// CountWaiting counts the requests that wait for each target.
func (t *Tx) CountWaiting(ctx context.Context) (map[string]int64, error) {
	return counts[string](ctx, t, "SELECT waits_for, COUNT(*) FROM user_provisioning_requests WHERE waits_for IS NOT NULL GROUP BY waits_for")
}

// MarkQueued notes that a request has a job from now on, and waits for nothing.
// It is false where the request has one already or has ended.
func (t *Tx) MarkQueued(ctx context.Context, requestID string) (bool, error) {
	n, err := t.exec(ctx, "UPDATE user_provisioning_requests SET queued = TRUE, waits_for = NULL WHERE id = ? AND NOT queued AND state NOT IN ("+ended+")", requestID)
	return n == 1, err
}
