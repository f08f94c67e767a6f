package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/provosthq/provost/host"
)

// Now is the time by the clock that all who share the database have: its own, or
// this machine's where the database is a file.
func (t *Tx) Now(ctx context.Context) (time.Time, error) {
	if t.dialect != "postgres" {
		return time.Now().UTC(), nil
	}
	var now time.Time
	err := t.db.NewRaw("SELECT clock_timestamp()").Scan(ctx, &now)
	return now.UTC(), err
}

// Authorization is that of a named credential, of one user where userID is
// given; one that is not there yet is new. With lock no other transaction gets
// it until this one ends.
func (t *Tx) Authorization(ctx context.Context, credential, userID string, lock bool) (*host.Authorization, error) {
	a := &host.Authorization{Credential: credential, UserId: userID}
	if lock {
		if _, err := t.exec(ctx, "INSERT INTO authorizations (credential, user_id, state, reason, principal, client, sealed, sealed_with, generation, granted_by, lease_holder)"+
			" VALUES (?, ?, '', '', '', '', '', '', 0, '', '') ON CONFLICT DO NOTHING", credential, userID); err != nil {
			return nil, err
		}
		if t.dialect == "postgres" {
			if _, err := t.exec(ctx, "SELECT 1 FROM authorizations WHERE credential = ? AND user_id = ? FOR UPDATE", credential, userID); err != nil {
				return nil, err
			}
		}
	}
	if err := t.one(ctx, a, "credential = ? AND user_id = ?", credential, userID); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	return a, nil
}

// Authorizations returns all that there are, in order.
func (t *Tx) Authorizations(ctx context.Context) ([]*host.Authorization, error) {
	var list []*host.Authorization
	return list, t.db.NewSelect().Model(&list).OrderExpr("credential, user_id").Scan(ctx)
}

// AuthorizationsOf returns what a user has authorized for himself.
func (t *Tx) AuthorizationsOf(ctx context.Context, userID string) ([]*host.Authorization, error) {
	var list []*host.Authorization
	return list, t.db.NewSelect().Model(&list).Where("user_id = ? AND sealed <> ''", userID).OrderExpr("credential").Scan(ctx)
}

// PutAuthorization stores an authorization that was read with lock.
func (t *Tx) PutAuthorization(ctx context.Context, a *host.Authorization) error {
	_, err := t.change(ctx, a, "credential = ? AND user_id = ?", a.Credential, a.UserId)
	return err
}

// DeleteAuthorizations takes away what is stored for a named credential.
func (t *Tx) DeleteAuthorizations(ctx context.Context, credential string) error {
	if _, err := t.exec(ctx, "DELETE FROM authorization_requests WHERE credential = ?", credential); err != nil {
		return err
	}
	_, err := t.exec(ctx, "DELETE FROM authorizations WHERE credential = ?", credential)
	return err
}

// InsertAuthorizationRequest stores an authorization that was begun, and drops
// those whose time is over.
func (t *Tx) InsertAuthorizationRequest(ctx context.Context, r *host.AuthorizationRequest) error {
	if _, err := t.exec(ctx, "DELETE FROM authorization_requests WHERE expires_date < ?", r.CreatedDate); err != nil {
		return err
	}
	_, err := t.db.NewInsert().Model(r).Exec(ctx)
	return err
}

// TakeAuthorizationRequest returns an authorization that was begun, once: it is
// taken away. An error NotFound is one that was never begun, was taken before,
// or whose time is over.
func (t *Tx) TakeAuthorizationRequest(ctx context.Context, id string, now time.Time) (*host.AuthorizationRequest, error) {
	r := new(host.AuthorizationRequest)
	if err := t.one(ctx, r, "id = ?", id); err != nil {
		return nil, notFound(err, "no such authorization was begun, or it has ended")
	}
	n, err := t.exec(ctx, "DELETE FROM authorization_requests WHERE id = ?", id)
	if err == nil && (n != 1 || r.ExpiresDate.Before(now)) {
		err = host.Errorf(host.NotFound, "no such authorization was begun, or its time is over")
	}
	return r, err
}
