package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/provosthq/provost/host"
)

// Restoration says that a database was put in the place of a newer one: what
// was done at the targets since its date, it does not know.
type Restoration struct {
	// Taken is when the backup was made, Date when it was restored.
	Taken, Date time.Time
	Actor       string
	// Source is what was restored, for people.
	Source string
	// KeepTokens keeps the API's tokens, also those that were revoked since.
	KeepTokens bool
}

// Marked counts what a restoration has left in doubt.
type Marked struct {
	// Requests had not ended. Their attempts, and those of the failed ones, may
	// have been made since.
	Requests int64 `json:"requests"`
	// Runs are reconciliations that were under way, and are paused: what they have
	// collected is old.
	Runs int64 `json:"runs"`
	// Authorizations may have been refreshed since.
	Authorizations int64 `json:"authorizations"`
	// Sessions and Tokens have ended: some of them had ended since. TokensKept were
	// asked to be kept.
	Sessions   int64 `json:"sessions"`
	Tokens     int64 `json:"tokens"`
	TokensKept int64 `json:"tokensKept,omitempty"`
}

// String says what was done about it.
func (m Marked) String() string {
	text := fmt.Sprintf("%d open requests look before they make anything, %d runs are paused, %d authorizations may have to be given again, %d browsers are signed out",
		m.Requests, m.Runs, m.Authorizations, m.Sessions)
	if m.TokensKept > 0 {
		return text + fmt.Sprintf(", %d tokens are kept, also those that were revoked since", m.TokensKept)
	}
	return text + fmt.Sprintf(", %d tokens of the API have ended", m.Tokens)
}

// mark tells whoever opens a restored database, of this or an older version,
// what it can't know: every request that has not been completed may have been,
// so that it looks before it makes anything; tokens may have been refreshed;
// nobody works on anything.
func mark(ctx context.Context, db *sql.DB, dialect string, r Restoration) (m Marked, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return m, err
	}
	defer func() { _ = tx.Rollback() }() // nothing to undo once it is committed
	version, err := versionOf(ctx, tx, dialect)
	if err != nil {
		return m, err
	}
	do := func(least int, query string, args ...any) (n int64) {
		if err != nil || version < least {
			return 0
		}
		var done sql.Result
		if done, err = tx.ExecContext(ctx, (&Tx{dialect: dialect}).numbered(query), (&Tx{dialect: dialect}).arguments(args)...); err == nil {
			n, err = done.RowsAffected()
		}
		return n
	}
	ended, open := []host.RequestState{host.StateCompleted, host.StateCancelled}, []host.RequestState{}
	for _, s := range host.RequestStates {
		if !s.Ended() {
			open = append(open, s)
		}
	}
	do(1, "UPDATE user_provisioning_requests SET uncertain = TRUE WHERE operation <> 'Reconcile' AND state NOT IN ("+quoted(ended)+")")
	if err == nil {
		err = tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM user_provisioning_requests WHERE operation <> 'Reconcile' AND state IN ("+quoted(open)+")").Scan(&m.Requests)
	}
	m.Runs = do(4, "UPDATE user_provisioning_requests SET paused = TRUE WHERE operation = 'Reconcile' AND state IN ("+quoted(open)+")")
	do(1, "DELETE FROM worker_leases")
	m.Authorizations = do(12, "UPDATE authorizations SET lease_holder = ?, lease_until = ? WHERE sealed <> ''", host.LeaseOfRestored, r.Date)
	m.Sessions = do(22, "DELETE FROM sessions") // some were ended since
	if r.KeepTokens {
		m.TokensKept = do(22, "UPDATE api_tokens SET last_date = last_date")
	} else {
		m.Tokens = do(22, "DELETE FROM api_tokens")
	}
	do(22, "DELETE FROM devices")
	do(restoredSince, "INSERT INTO restorations (taken_date, restored_date, actor, source) VALUES (?, ?, ?, ?)", r.Taken, r.Date, r.Actor, r.Source)
	if err != nil {
		return m, fmt.Errorf("mark the restored database: %w", err)
	}
	return m, tx.Commit()
}

const restorationTable = `
CREATE TABLE restorations (number {number}, taken_date {time} NOT NULL, restored_date {time} NOT NULL, actor TEXT NOT NULL, source TEXT NOT NULL)
`

// restoredSince is the version of the schema that knows restorations.
const restoredSince = 19

// Restored is when the database was last put in the place of a newer one, the
// zero time for never. An app that no whole run has been committed for since may
// have accounts that nobody here knows of.
func (t *Tx) Restored() time.Time { return t.store.restored }

// readRestored reads it once: it changes only while nobody has the store open.
func (s *Store) readRestored(ctx context.Context) error {
	err := s.writer.NewRaw("SELECT restored_date FROM restorations ORDER BY number DESC LIMIT 1").Scan(ctx, &s.restored)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

// TouchWholeRun notes on the app's config that a run over all of its accounts
// was committed.
func (t *Tx) TouchWholeRun(ctx context.Context, app string, at time.Time) error {
	c, err := t.Config(ctx, app)
	if err != nil {
		return err
	}
	c.LastWholeReconDateTime = &at
	return t.PutConfig(ctx, c)
}
