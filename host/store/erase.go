package store

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/provosthq/provost/host"
)

// Erasure says that somebody was erased: when, by whom, and how much there was.
type Erasure struct {
	Number      int64     `json:"Number" bun:",pk,autoincrement"`
	UserId      string    `json:"UserId"` // ours, and of nobody any more
	Actor       string    `json:"Actor"`
	CreatedDate time.Time `json:"CreatedDate"`
	Requests    int64     `json:"Requests"`
	Accounts    int64     `json:"Accounts"`
}

// erased stands where a person's name stood.
const erased = "(erased)"

// Erase removes what is known of a person from every record, and leaves that
// there were some. The person must have no request that is open.
func (t *Tx) Erase(ctx context.Context, u *host.User, actor string, now time.Time) (*Erasure, error) {
	e := &Erasure{UserId: u.Id, Actor: actor, CreatedDate: now.UTC()}
	var external []string
	if err := t.db.NewRaw("SELECT external_user_id FROM user_prov_accounts WHERE user_id = ?", u.Id).Scan(ctx, &external); err != nil {
		return nil, err
	}
	e.Accounts = int64(len(external))
	run := func(query string, args ...any) error {
		_, err := t.db.NewRaw(query, args...).Exec(ctx)
		return err
	}
	var requests []string
	if err := t.db.NewRaw("SELECT id FROM user_provisioning_requests WHERE user_id = ?", u.Id).Scan(ctx, &requests); err != nil {
		return nil, err
	}
	e.Requests = int64(len(requests))
	for _, q := range []struct {
		query string
		args  []any
	}{
		{"DELETE FROM user_prov_account_stagings WHERE user_id = ? OR external_user_id IN (?)", []any{u.Id, bun.List(append(external, ""))}},
		{"DELETE FROM user_keys WHERE user_id = ?", []any{u.Id}},
		{"DELETE FROM authorizations WHERE user_id = ?", []any{u.Id}},
		{"DELETE FROM authorization_requests WHERE user_id = ?", []any{u.Id}},
		{"DELETE FROM once_calls WHERE answer LIKE ? OR LOWER(answer) LIKE ? ESCAPE '!'", []any{"%" + u.Id + "%", like(u.Username)}},
		{"DELETE FROM reserved_names WHERE user_id = ?", []any{u.Id}},
		{`UPDATE user_prov_accounts SET external_user_id = 'erased-' || id, external_username = '', external_first_name = '', external_last_name = '', external_email = '',
			status = '', details = '', version = '', attributes = NULL, drift = NULL, owner_id = NULL, user_id = NULL, link_state = 'ignored', active = FALSE,
			deleted_date = COALESCE(deleted_date, ?) WHERE user_id = ?`, []any{now.UTC(), u.Id}},
		{`UPDATE planned_changes SET subject = ?, differences = NULL, reason = '', error = NULL, fingerprint = '' WHERE user_id = ?`, []any{erased, u.Id}},
		{`UPDATE user_provisioning_logs SET details = '', external_user_id = NULL, external_username = NULL, trace = NULL
			WHERE user_id = ? OR user_provisioning_request_id IN (SELECT id FROM user_provisioning_requests WHERE user_id = ?)`, []any{u.Id, u.Id}},
		{`UPDATE user_provisioning_requests SET reason = '', attributes = NULL, changed_attributes = NULL, parameters = NULL, external_user_id = NULL, manager_id = NULL,
			owner_id = NULL, error_message = NULL, approval_reason = NULL, pending_token = NULL WHERE user_id = ?`, []any{u.Id}},
		// What the person decided about others stays, without the name.
		{"UPDATE user_provisioning_logs SET actor = ? WHERE actor = ? OR actor = ?", []any{erased, u.Username, u.Id}},
		{"UPDATE user_provisioning_requests SET approved_by = ? WHERE approved_by = ?", []any{erased, u.Username}},
		{"UPDATE user_provisioning_requests SET manager_id = NULL WHERE manager_id IN (?)", []any{bun.List([]string{u.Id, u.Username})}},
		{"UPDATE plans SET actor = ? WHERE actor = ?", []any{erased, u.Username}},
		{"UPDATE plans SET decided_by = ? WHERE decided_by = ?", []any{erased, u.Username}},
		{"UPDATE authorizations SET granted_by = ? WHERE granted_by = ?", []any{erased, u.Username}},
		{"UPDATE authorizations SET principal = ? WHERE principal <> '' AND principal IN (?)", []any{erased, bun.List([]string{u.Username, u.Email})}},
		{"UPDATE erasures SET actor = ? WHERE actor = ?", []any{erased, u.Username}},
		{"DELETE FROM sessions WHERE user_id = ?", []any{u.Id}},
		{"DELETE FROM api_tokens WHERE user_id = ?", []any{u.Id}},
		{"DELETE FROM assignments WHERE user_id = ?", []any{u.Id}},
		{"UPDATE assignments SET created_by = ? WHERE created_by = ?", []any{erased, u.Username}},
		{"UPDATE api_tokens SET created_by = ? WHERE created_by = ?", []any{erased, u.Username}},
		{"UPDATE local_administrators SET created_by = ? WHERE created_by = ?", []any{erased, u.Username}},
		{"DELETE FROM user_apps WHERE user_id = ?", []any{u.Id}},
		{"DELETE FROM users WHERE id = ?", []any{u.Id}},
	} {
		if err := run(q.query, q.args...); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(t.forgetHoldings(ctx, u), t.forgetManager(ctx, u)); err != nil {
		return nil, err
	}
	if err := t.forgetErrors(ctx, u, external); err != nil {
		return nil, err
	}
	_, err := t.db.NewInsert().Model(e).ExcludeColumn("number").Returning("number").Exec(ctx)
	return e, err
}

// forgetHoldings removes the counts of the profile and the permission sets that
// nobody has now.
func (t *Tx) forgetHoldings(ctx context.Context, u *host.User) error {
	return t.foldHoldings(ctx, "name IN (?)", bun.List(append([]string{u.Profile}, u.PermissionSets...)))
}

// forgetManager takes the person from those whose manager it was.
func (t *Tx) forgetManager(ctx context.Context, u *host.User) error {
	var rows []userRow
	column := "document"
	if t.dialect == "postgres" {
		column = "document::text"
	}
	q := t.db.NewSelect().Model(&rows).Where("LOWER("+column+") LIKE ? ESCAPE '!' OR LOWER("+column+") LIKE ? ESCAPE '!'", like(jsonText(u.Username)), like(u.Id))
	if err := q.Scan(ctx); err != nil {
		return err
	}
	for i := range rows {
		other, err := rows[i].user()
		if err != nil {
			return err
		}
		if other.ManagerId != u.Id && !strings.EqualFold(other.ManagerId, u.Username) {
			continue
		}
		other.ManagerId = ""
		if err := t.PutUser(ctx, other); err != nil {
			return err
		}
	}
	return nil
}

func jsonText(s string) string {
	b, _ := json.Marshal(s) // a string can be written
	return strings.Trim(string(b), `"`)
}

// forgetErrors clears what targets last failed with, where it names the person.
func (t *Tx) forgetErrors(ctx context.Context, u *host.User, external []string) error {
	var states []host.TargetState
	if err := t.db.NewSelect().Model(&states).Where("last_error <> ''").Scan(ctx); err != nil {
		return err
	}
	for _, s := range states {
		for _, word := range append([]string{u.Username, u.Email, u.FirstName, u.LastName}, external...) {
			if word == "" || !strings.Contains(strings.ToLower(s.LastError), strings.ToLower(word)) {
				continue
			}
			if _, err := t.db.NewRaw("UPDATE target_states SET last_error = '' WHERE name = ?", s.Name).Exec(ctx); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// Erasures lists who was erased, newest first.
func (t *Tx) Erasures(ctx context.Context, limit int) ([]*Erasure, error) {
	var list []*Erasure
	return list, t.db.NewSelect().Model(&list).OrderExpr("number DESC").Limit(int64(limit)).Scan(ctx)
}

// Scrub takes what was erased out of the file, too: SQLite keeps old content in
// pages that nothing points to any more. PostgreSQL's own vacuum does that.
func (s *Store) Scrub(ctx context.Context) error {
	if s.dialect != "sqlite" {
		return nil
	}
	for _, statement := range []string{"VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"} {
		if _, err := s.write.ExecContext(ctx, statement); err != nil {
			return s.explain(err)
		}
	}
	return nil
}
