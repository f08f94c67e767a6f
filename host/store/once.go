package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/provosthq/provost/host"
)

// onceTable has the calls that are done once, for a day. accounts_changed finds
// what live listings show anew.
const onceTable = `
CREATE TABLE once_calls (
	key TEXT PRIMARY KEY, body TEXT NOT NULL, created_date {time} NOT NULL, status {bigint} NOT NULL, content_type TEXT NOT NULL, answer TEXT NOT NULL, kept BOOLEAN NOT NULL
);
CREATE INDEX once_calls_made ON once_calls (created_date);
CREATE INDEX accounts_changed ON user_prov_accounts (last_modified_date)
`

// OnceKept is how long a call is known.
const OnceKept = 24 * time.Hour

// OnceCall is a call that is done once: digests of who calls what, and of what
// was sent. Status is 0 while it is under way.
type OnceCall struct {
	Key, Body   string
	CreatedDate time.Time
	Status      int
	ContentType string
	Answer      string
	Kept        bool
}

// BeginOnce stores a call, or returns the one that is there.
func (t *Tx) BeginOnce(ctx context.Context, c *OnceCall) (there *OnceCall, err error) {
	if _, err := t.exec(ctx, "DELETE FROM once_calls WHERE created_date < ?", c.CreatedDate.Add(-OnceKept)); err != nil {
		return nil, err
	}
	n, err := t.exec(ctx, "INSERT INTO once_calls (key, body, created_date, status, content_type, answer, kept) VALUES (?, ?, ?, 0, '', '', FALSE) ON CONFLICT DO NOTHING", c.Key, c.Body, c.CreatedDate)
	if err != nil || n > 0 {
		return nil, err
	}
	there = &OnceCall{Key: c.Key}
	err = t.db.Tx.QueryRowContext(ctx, t.numbered("SELECT body, created_date, status, content_type, answer, kept FROM once_calls WHERE key = ?"), c.Key).
		Scan(&there.Body, &there.CreatedDate, &there.Status, &there.ContentType, &there.Answer, &there.Kept)
	if errors.Is(err, sql.ErrNoRows) { // another has given it free meanwhile
		return nil, host.Errorf(host.Conflict, "the same call is just over; send it again")
	}
	return there, err
}

// EndOnce stores what was answered to a call.
func (t *Tx) EndOnce(ctx context.Context, c *OnceCall) error {
	_, err := t.exec(ctx, "UPDATE once_calls SET status = ?, content_type = ?, answer = ?, kept = ? WHERE key = ?", c.Status, c.ContentType, c.Answer, c.Kept, c.Key)
	return err
}

// ForgetOnce lets a call be made again.
func (t *Tx) ForgetOnce(ctx context.Context, key string) error {
	_, err := t.exec(ctx, "DELETE FROM once_calls WHERE key = ?", key)
	return err
}
