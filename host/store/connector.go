package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/provosthq/provost/host"
)

// ConnectorVersions returns the builds of a connector that have served, the
// newest first; of all connectors where connector is empty.
func (t *Tx) ConnectorVersions(ctx context.Context, connector string) ([]*host.ConnectorVersion, error) {
	var list []*host.ConnectorVersion
	q := t.db.NewSelect().Model(&list).OrderExpr("connector, last_date DESC, digest")
	if connector != "" {
		q = q.Where("connector = ?", connector)
	}
	return list, q.Scan(ctx)
}

// PutConnectorVersion stores that a build has taken over. When it first did, and
// who brought it, stays.
func (t *Tx) PutConnectorVersion(ctx context.Context, v *host.ConnectorVersion) error {
	_, err := t.db.NewInsert().Model(v).On("CONFLICT (connector, digest) DO UPDATE").
		Set("last_date = EXCLUDED.last_date, source = EXCLUDED.source, signer = EXCLUDED.signer").Exec(ctx)
	return err
}

// DeleteConnectorVersion forgets a build.
func (t *Tx) DeleteConnectorVersion(ctx context.Context, connector, digest string) error {
	_, err := t.exec(ctx, "DELETE FROM connector_versions WHERE connector = ? AND digest = ?", connector, digest)
	return err
}

// ConnectorState is what was decided about a connector; one about which nothing
// was is new. With lock no other transaction gets it until this one ends.
func (t *Tx) ConnectorState(ctx context.Context, connector string, lock bool) (*host.ConnectorState, error) {
	s := &host.ConnectorState{Connector: connector}
	if lock {
		if _, err := t.exec(ctx, "INSERT INTO connector_states (connector, rejected_digest, serving_digest, reason, actor) VALUES (?, '', '', '', '') ON CONFLICT DO NOTHING", connector); err != nil {
			return nil, err
		}
		if t.dialect == "postgres" {
			if _, err := t.exec(ctx, "SELECT 1 FROM connector_states WHERE connector = ? FOR UPDATE", connector); err != nil {
				return nil, err
			}
		}
	}
	if err := t.one(ctx, s, "connector = ?", connector); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	return s, nil
}

// ConnectorStates returns what was decided about every connector, by name.
func (t *Tx) ConnectorStates(ctx context.Context) (map[string]*host.ConnectorState, error) {
	var list []*host.ConnectorState
	if err := t.db.NewSelect().Model(&list).Scan(ctx); err != nil {
		return nil, err
	}
	states := make(map[string]*host.ConnectorState, len(list))
	for _, s := range list {
		states[s.Connector] = s
	}
	return states, nil
}

// PutConnectorState stores a state that was read with lock.
func (t *Tx) PutConnectorState(ctx context.Context, s *host.ConnectorState) error {
	_, err := t.change(ctx, s, "connector = ?", s.Connector)
	return err
}

// PinnedConnectorVersions are the builds that open runs stay with.
func (t *Tx) PinnedConnectorVersions(ctx context.Context) (map[string]bool, error) {
	// The condition is that of the index one_open_reconcile, in its words.
	rows, err := t.SQL().QueryContext(ctx, "SELECT connector_digest FROM user_provisioning_requests WHERE connector_digest IS NOT NULL"+
		" AND operation = 'Reconcile' AND state NOT IN ('Completed', 'Failed', 'Retried', 'Manually Completed', 'Cancelled')")
	if err != nil {
		return nil, err
	}
	pinned := map[string]bool{}
	for rows.Next() {
		var digest string
		if err := rows.Scan(&digest); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		pinned[digest] = true
	}
	return pinned, errors.Join(rows.Err(), rows.Close())
}
