package store

import (
	"context"
	"time"

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

// LockAccess lets one transaction at a time change who may what.
func (t *Tx) LockAccess(ctx context.Context) error { return t.lock(ctx, "access") }

// Administrators are the local ones, by name.
func (t *Tx) Administrators(ctx context.Context) ([]*access.LocalAdministrator, error) {
	var list []*access.LocalAdministrator
	return list, t.db.NewSelect().Model(&list).OrderExpr("LOWER(name)").Scan(ctx)
}

// Administrator finds a local one by id, or by name, whose case does not matter.
func (t *Tx) Administrator(ctx context.Context, idOrName string) (*access.LocalAdministrator, error) {
	a := new(access.LocalAdministrator)
	err := t.one(ctx, a, "id = ? OR LOWER(name) = ?", idOrName, usernameKey(idOrName))
	return a, notFound(err, "there is no administrator %q", idOrName)
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

// DeleteAdministrator drops one with the sessions and devices.
func (t *Tx) DeleteAdministrator(ctx context.Context, id string) error {
	for _, from := range []string{"sessions WHERE administrator_id", "devices WHERE administrator_id", "local_administrators WHERE id"} {
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

// APITokenByPrefix finds a token.
func (t *Tx) APITokenByPrefix(ctx context.Context, prefix string) (*access.APIToken, error) {
	a := new(access.APIToken)
	return a, notFound(t.one(ctx, a, "prefix = ?", prefix), "there is no such token")
}

// InsertAPIToken stores a new one.
func (t *Tx) InsertAPIToken(ctx context.Context, a *access.APIToken) error {
	_, err := t.db.NewInsert().Model(a).Exec(ctx)
	return err
}

// DeleteAPIToken takes one away.
func (t *Tx) DeleteAPIToken(ctx context.Context, id string) error {
	_, err := t.exec(ctx, "DELETE FROM api_tokens WHERE id = ?", id)
	return err
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

// SessionByDigest finds the session of what a browser has.
func (t *Tx) SessionByDigest(ctx context.Context, digest string) (*access.Session, error) {
	s := new(access.Session)
	return s, notFound(t.one(ctx, s, "digest = ?", digest), "there is no such session")
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
