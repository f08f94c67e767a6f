package store

import (
	"context"
	"strings"
)

// NameTaken tells whether an account of an app that is not the user's has a
// name as its username or its e-mail, or another user has it reserved.
func (t *Tx) NameTaken(ctx context.Context, app, path, name, userID string) (bool, error) {
	if is, err := t.NameReserved(ctx, app, path, name, userID); err != nil || is {
		return is, err
	}
	n, err := t.db.NewSelect().Table("user_prov_accounts").Where("app_name = ?", app).Where("deleted_date IS NULL").
		Where("COALESCE(user_id, '') <> ?", userID).Where("(lower(external_username) = lower(?) OR lower(external_email) = lower(?))", name, name).Count(ctx)
	return n > 0, err
}

// NameReserved tells whether a name is kept for another user.
func (t *Tx) NameReserved(ctx context.Context, app, path, name, userID string) (bool, error) {
	n, err := t.db.NewSelect().Table("reserved_names").Where("app_name = ?", app).Where("path = ?", path).Where("name_key = ?", strings.ToLower(name)).
		Where("user_id <> ?", userID).Count(ctx)
	return n > 0, err
}

// ReserveName keeps a name for a user, however often it is asked; false if
// another user has it.
func (t *Tx) ReserveName(ctx context.Context, app, path, name, userID string) (bool, error) {
	key := strings.ToLower(name)
	_, err := t.db.NewRaw("INSERT INTO reserved_names (app_name, path, name_key, user_id) VALUES (?, ?, ?, ?) ON CONFLICT (app_name, path, name_key) DO NOTHING", app, path, key, userID).Exec(ctx)
	if err != nil {
		return false, err
	}
	n, err := t.db.NewSelect().Table("reserved_names").Where("app_name = ?", app).Where("path = ?", path).Where("name_key = ?", key).Where("user_id = ?", userID).Count(ctx)
	return n == 1, err
}
