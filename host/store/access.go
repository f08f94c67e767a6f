package store

import (
	"context"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
)

const accessTables = `
CREATE TABLE local_administrators (
	id TEXT PRIMARY KEY, name TEXT NOT NULL, password TEXT NOT NULL, totp TEXT NOT NULL, totp_used {bigint} NOT NULL, recovery {json},
	created_by TEXT NOT NULL, created_date {time} NOT NULL, last_date {time}
);
CREATE UNIQUE INDEX local_administrators_by_name ON local_administrators (LOWER(name));
CREATE TABLE api_tokens (
	id TEXT PRIMARY KEY, name TEXT NOT NULL, prefix TEXT NOT NULL UNIQUE, digest TEXT NOT NULL, rights {json}, created_by TEXT NOT NULL,
	created_date {time} NOT NULL, expires_date {time} NOT NULL, last_date {time}
);
CREATE TABLE sessions (
	id TEXT PRIMARY KEY, digest TEXT NOT NULL UNIQUE, administrator_id TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL, name TEXT NOT NULL,
	user_id TEXT NOT NULL, groups {json}, created_date {time} NOT NULL, last_date {time} NOT NULL, expires_date {time} NOT NULL
);
CREATE TABLE assignments (
	id TEXT PRIMARY KEY, role TEXT NOT NULL, apps {json}, user_id TEXT NOT NULL, group_name TEXT NOT NULL, oidc_group TEXT NOT NULL,
	created_by TEXT NOT NULL, created_date {time} NOT NULL
);
CREATE TABLE devices (digest TEXT PRIMARY KEY, administrator_id TEXT NOT NULL, expires_date {time} NOT NULL)
`

// renewalTables: who had signed in signs in once more, as browsers have no
// handle yet.
const renewalTables = `
DELETE FROM sessions;
ALTER TABLE sessions ADD COLUMN handle TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN former TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN seed TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN renewed_date {time};
ALTER TABLE sessions ADD COLUMN seen_date {time};
ALTER TABLE sessions ADD COLUMN might TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX sessions_by_handle ON sessions (handle);
ALTER TABLE api_tokens ADD COLUMN administrator_id TEXT NOT NULL DEFAULT '';
ALTER TABLE api_tokens ADD COLUMN issuer TEXT NOT NULL DEFAULT '';
ALTER TABLE api_tokens ADD COLUMN subject TEXT NOT NULL DEFAULT '';
ALTER TABLE api_tokens ADD COLUMN user_id TEXT NOT NULL DEFAULT '';
ALTER TABLE api_tokens ADD COLUMN groups {json};
ALTER TABLE api_tokens ADD COLUMN told_date {time};
ALTER TABLE api_tokens ADD COLUMN parent_id TEXT NOT NULL DEFAULT '';
ALTER TABLE api_tokens ADD COLUMN session_id TEXT NOT NULL DEFAULT '';
CREATE TABLE guesses (key TEXT PRIMARY KEY, failures {bigint} NOT NULL, until_date {time} NOT NULL, last_date {time} NOT NULL);
CREATE INDEX guesses_by_date ON guesses (last_date)
`

// LockAccess lets one transaction at a time change who may what.
func (t *Tx) LockAccess(ctx context.Context) error { return t.lock(ctx, "access") }

// Administrators are the local ones, by name.
func (t *Tx) Administrators(ctx context.Context) ([]*access.LocalAdministrator, error) {
	var list []*access.LocalAdministrator
	return list, t.db.NewSelect().Model(&list).OrderExpr("LOWER(name)").Scan(ctx)
}

// Administrator finds a local one by id, or by name ([access.NameKey]). They are
// few.
func (t *Tx) Administrator(ctx context.Context, idOrName string) (*access.LocalAdministrator, error) {
	list, err := t.Administrators(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(a *access.LocalAdministrator) bool { return a.Id == idOrName })
	if key := access.NameKey(idOrName); i < 0 {
		i = slices.IndexFunc(list, func(a *access.LocalAdministrator) bool { return access.NameKey(a.Name) == key })
	}
	if i < 0 {
		return nil, host.Errorf(host.NotFound, "there is no administrator %q", idOrName)
	}
	return list[i], nil
}

// InsertAdministrator is a [host.AlreadyExists] where the name is taken.
func (t *Tx) InsertAdministrator(ctx context.Context, a *access.LocalAdministrator) error {
	if err := t.LockAccess(ctx); err != nil {
		return err
	}
	if _, err := t.Administrator(ctx, a.Name); host.CodeOf(err) != host.NotFound {
		if err == nil {
			err = host.Errorf(host.AlreadyExists, "there is an administrator %q already", a.Name)
		}
		return err
	}
	_, err := t.db.NewInsert().Model(a).Exec(ctx)
	return err
}

// UpdateAdministrator stores a changed one.
func (t *Tx) UpdateAdministrator(ctx context.Context, a *access.LocalAdministrator) error {
	_, err := t.change(ctx, a, "id = ?", a.Id)
	return err
}

// DeleteAdministrator drops one with the sessions, devices and tokens.
func (t *Tx) DeleteAdministrator(ctx context.Context, id string) error {
	for _, from := range []string{"sessions WHERE administrator_id", "devices WHERE administrator_id", "api_tokens WHERE administrator_id", "local_administrators WHERE id"} {
		if _, err := t.exec(ctx, "DELETE FROM "+from+" = ?", id); err != nil {
			return err
		}
	}
	return nil
}

// APITokens are all of them, the newest first.
func (t *Tx) APITokens(ctx context.Context) ([]*access.APIToken, error) {
	var list []*access.APIToken
	return list, t.db.NewSelect().Model(&list).OrderExpr("created_date DESC, id").Scan(ctx)
}

// APIToken finds one by id or prefix.
func (t *Tx) APIToken(ctx context.Context, idOrPrefix string) (*access.APIToken, error) {
	a := new(access.APIToken)
	return a, notFound(t.one(ctx, a, "id = ? OR prefix = ?", idOrPrefix, idOrPrefix), "there is no such token")
}

// InsertAPIToken stores a new one, and drops those that expired a month ago.
func (t *Tx) InsertAPIToken(ctx context.Context, a *access.APIToken) error {
	if _, err := t.exec(ctx, "DELETE FROM api_tokens WHERE expires_date < ?", a.CreatedDate.AddDate(0, -1, 0)); err != nil {
		return err
	}
	_, err := t.db.NewInsert().Model(a).Exec(ctx)
	return err
}

// DeleteAPIToken takes one away, with those that were made with it.
func (t *Tx) DeleteAPIToken(ctx context.Context, id string) error {
	_, err := t.exec(ctx, "DELETE FROM api_tokens WHERE id = ? OR parent_id = ?", id, id)
	return err
}

// DeleteAPITokensOf takes away those of an administrator, or that were made in a
// session; both are named by their ids.
func (t *Tx) DeleteAPITokensOf(ctx context.Context, id string) error {
	_, err := t.exec(ctx, "DELETE FROM api_tokens WHERE administrator_id = ? OR session_id = ?", id, id)
	return err
}

// TellAPITokens notes what a provider says of a person on the person's tokens.
func (t *Tx) TellAPITokens(ctx context.Context, i access.Identity, at time.Time) error {
	var list []*access.APIToken
	if err := t.db.NewSelect().Model(&list).Where("issuer = ? AND subject = ? AND subject <> ''", i.Issuer, i.Subject).Scan(ctx); err != nil {
		return err
	}
	for _, a := range list {
		a.Groups, a.UserId, a.ToldDate = i.Groups, i.UserId, &at
		if _, err := t.change(ctx, a, "id = ?", a.Id); err != nil {
			return err
		}
	}
	return nil
}

// TouchAPIToken notes a use.
func (t *Tx) TouchAPIToken(ctx context.Context, id string, at time.Time) error {
	_, err := t.exec(ctx, "UPDATE api_tokens SET last_date = ? WHERE id = ?", at, id)
	return err
}

// Sessions are all of them, the last used first.
func (t *Tx) Sessions(ctx context.Context) ([]*access.Session, error) {
	var list []*access.Session
	return list, t.db.NewSelect().Model(&list).OrderExpr("last_date DESC, id").Scan(ctx)
}

// Session finds one by id, or by the digest of the handle that its browser has.
func (t *Tx) Session(ctx context.Context, idOrHandle string) (*access.Session, error) {
	s := new(access.Session)
	return s, notFound(t.one(ctx, s, "id = ? OR handle = ?", idOrHandle, idOrHandle), "there is no session %q", idOrHandle)
}

// RenewSession stores a session whose secret has changed, unless another request
// was first: the secret is no more the one of digest before.
func (t *Tx) RenewSession(ctx context.Context, s *access.Session, before string) (bool, error) {
	return t.change(ctx, s, "id = ? AND digest = ?", s.Id, before)
}

// InsertSession stores a new one, and drops those that are over.
func (t *Tx) InsertSession(ctx context.Context, s *access.Session) error {
	if _, err := t.exec(ctx, "DELETE FROM sessions WHERE expires_date < ?", s.CreatedDate); err != nil {
		return err
	}
	_, err := t.db.NewInsert().Model(s).Exec(ctx)
	return err
}

// DeleteSession takes one away.
func (t *Tx) DeleteSession(ctx context.Context, id string) error {
	_, err := t.exec(ctx, "DELETE FROM sessions WHERE id = ?", id)
	return err
}

// TouchSession notes a use.
func (t *Tx) TouchSession(ctx context.Context, id string, at time.Time) error {
	_, err := t.exec(ctx, "UPDATE sessions SET last_date = ? WHERE id = ?", at, id)
	return err
}

// SeeSession notes that the browser has the secret of a digest.
func (t *Tx) SeeSession(ctx context.Context, id, digest string, at time.Time) error {
	_, err := t.exec(ctx, "UPDATE sessions SET seen_date = ? WHERE id = ? AND digest = ? AND seen_date IS NULL", at, id, digest)
	return err
}

// Assignments are the roles that were given, the oldest first.
func (t *Tx) Assignments(ctx context.Context) ([]*access.Assignment, error) {
	var list []*access.Assignment
	return list, t.db.NewSelect().Model(&list).OrderExpr("created_date, id").Scan(ctx)
}

// InsertAssignment stores a new one.
func (t *Tx) InsertAssignment(ctx context.Context, a *access.Assignment) error {
	_, err := t.db.NewInsert().Model(a).Exec(ctx)
	return err
}

// DeleteAssignment takes one away.
func (t *Tx) DeleteAssignment(ctx context.Context, id string) error {
	_, err := t.exec(ctx, "DELETE FROM assignments WHERE id = ?", id)
	return err
}

// Device finds a browser that an administrator has signed in at.
func (t *Tx) Device(ctx context.Context, digest string) (*access.Device, error) {
	d := new(access.Device)
	return d, notFound(t.one(ctx, d, "digest = ?", digest), "nobody has signed in at this browser")
}

// InsertDevice stores a new one, and drops those that are over.
func (t *Tx) InsertDevice(ctx context.Context, d *access.Device, now time.Time) error {
	if _, err := t.exec(ctx, "DELETE FROM devices WHERE expires_date < ?", now); err != nil {
		return err
	}
	_, err := t.db.NewInsert().Model(d).Exec(ctx)
	return err
}

// LockGuesses lets one transaction at a time count guesses.
func (t *Tx) LockGuesses(ctx context.Context) error { return t.lock(ctx, "guesses") }

// Guesses are those of some keys, as far as there are any; nil for all.
func (t *Tx) Guesses(ctx context.Context, keys []string) ([]*access.Guesses, error) {
	var list []*access.Guesses
	q := t.db.NewSelect().Model(&list)
	if keys != nil {
		q = q.Where("key IN (?)", bun.List(keys))
	}
	return list, q.Scan(ctx)
}

// PutGuesses stores those of a key.
func (t *Tx) PutGuesses(ctx context.Context, g *access.Guesses) error {
	_, err := t.exec(ctx, "INSERT INTO guesses (key, failures, until_date, last_date) VALUES (?, ?, ?, ?) "+
		"ON CONFLICT (key) DO UPDATE SET failures = excluded.failures, until_date = excluded.until_date, last_date = excluded.last_date", g.Key, g.Failures, g.UntilDate, g.LastDate)
	return err
}

// DeleteGuesses forgets those of a key.
func (t *Tx) DeleteGuesses(ctx context.Context, key string) error {
	_, err := t.exec(ctx, "DELETE FROM guesses WHERE key = ?", key)
	return err
}

// PruneGuesses forgets what is older than a time, and all but the newest.
func (t *Tx) PruneGuesses(ctx context.Context, before time.Time, most int) error {
	if _, err := t.exec(ctx, "DELETE FROM guesses WHERE last_date < ?", before); err != nil {
		return err
	}
	_, err := t.exec(ctx, "DELETE FROM guesses WHERE key IN (SELECT key FROM guesses ORDER BY last_date DESC LIMIT 1000000 OFFSET ?)", most)
	return err
}
