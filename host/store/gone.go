package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/uptrace/bun"

	"github.com/provosthq/provost/host"
)

// Which linked accounts a run has not found takes seconds to tell of a million,
// and is asked for whenever somebody looks at the run. So analyzing keeps the
// numbers of those that may be gone; whether they are is looked at again each
// time, as they may have changed since.

// goneTable has those numbers. A run that was analyzed before there was the table
// has all that it did not stage by their ids.
const goneTable = `
CREATE TABLE gone_candidates (user_provisioning_request_id TEXT NOT NULL, account_number {bigint} NOT NULL, PRIMARY KEY (user_provisioning_request_id, account_number));
INSERT INTO gone_candidates SELECT r.id, a.number FROM user_provisioning_requests r JOIN user_prov_accounts a ON a.app_name = r.app_name
	WHERE r.operation = 'Reconcile' AND r.state IN ('Analyzing', 'Analyzed') AND a.link_state = 'linked' AND a.deleted_date IS NULL
	AND NOT EXISTS (SELECT 1 FROM user_prov_account_stagings s WHERE s.user_provisioning_request_id = r.id AND s.external_user_id = a.external_user_id)
`

const goneWhere = `app_name = ? AND deleted_date IS NULL AND last_modified_date <= ?
	AND NOT EXISTS (SELECT 1 FROM user_prov_account_stagings s WHERE s.user_provisioning_request_id = ? AND s.external_user_id = user_prov_account.external_user_id)
	AND NOT EXISTS (SELECT 1 FROM user_prov_account_stagings s WHERE s.user_provisioning_request_id = ? AND s.user_prov_account_id = user_prov_account.id)`

func goneArgs(f host.GoneFilter) []any { return []any{f.AppName, f.Since, f.RequestId, f.RequestId} }

// linkedGone are the candidates of a run, which come first: SQLite takes the
// tables of a CROSS JOIN in their order.
const linkedGone = "gone_candidates AS g CROSS JOIN user_prov_accounts AS user_prov_account"

// GoneAccounts lists accounts that are gone, linked or not, ordered by number.
func (t *Tx) GoneAccounts(ctx context.Context, f host.GoneFilter) ([]*host.UserProvAccount, error) {
	var list []*host.UserProvAccount
	return list, t.db.NewSelect().Model(&list).ModelTableExpr("user_prov_accounts AS user_prov_account").Where(goneWhere, goneArgs(f)...).
		Where("number > ?", f.After).OrderExpr("number").Limit(int64(f.Limit)).Scan(ctx)
}

// LinkedGone lists the linked accounts that are gone, of a run that has been
// analyzed, ordered by number.
func (t *Tx) LinkedGone(ctx context.Context, f host.GoneFilter) ([]*host.UserProvAccount, error) {
	var list []*host.UserProvAccount
	return list, t.db.NewSelect().Model(&list).ModelTableExpr(linkedGone).
		Where("g.user_provisioning_request_id = ? AND g.account_number > ? AND number = g.account_number AND link_state = 'linked'", f.RequestId, f.After).
		Where(goneWhere, goneArgs(f)...).OrderExpr("g.account_number").Limit(int64(f.Limit)).Scan(ctx)
}

// CountGone counts them.
func (t *Tx) CountGone(ctx context.Context, f host.GoneFilter) (int64, error) {
	var n int64
	return n, t.db.NewRaw("SELECT COUNT(*) FROM "+linkedGone+" WHERE g.user_provisioning_request_id = ? AND number = g.account_number AND link_state = 'linked' AND "+goneWhere,
		append([]any{f.RequestId}, goneArgs(f)...)...).Scan(ctx, &n)
}

// NoteGone looks at the app's next f.Limit accounts after f.After and keeps the
// numbers of the linked ones that are gone; it returns the number to go on after,
// 0 once there are no more.
func (t *Tx) NoteGone(ctx context.Context, f host.GoneFilter) (next int64, err error) {
	err = t.db.NewRaw("SELECT number FROM user_prov_accounts WHERE app_name = ? AND number > ? ORDER BY number LIMIT 1 OFFSET ?", f.AppName, f.After, f.Limit-1).Scan(ctx, &next)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	until := "number > ?"
	args := []any{f.RequestId, f.After}
	if next > 0 {
		until += " AND number <= ?"
		args = append(args, next)
	}
	_, err = t.db.NewRaw("INSERT INTO gone_candidates SELECT ?, number FROM user_prov_accounts AS user_prov_account WHERE "+until+" AND link_state = 'linked' AND "+goneWhere+" ON CONFLICT DO NOTHING",
		append(args, goneArgs(f)...)...).Exec(ctx)
	return next, err
}

// noteLetGo keeps the accounts that staged ones are of before that is changed:
// they may be gone then.
func (t *Tx) noteLetGo(ctx context.Context, list []*host.UserProvAccountStaging) error {
	numbers := make([]int64, len(list))
	for i, s := range list {
		numbers[i] = s.Number
	}
	_, err := t.db.NewRaw(`INSERT INTO gone_candidates SELECT s.user_provisioning_request_id, a.number FROM user_prov_account_stagings s JOIN user_prov_accounts a ON a.id = s.user_prov_account_id
		WHERE s.number IN (?) AND s.user_prov_account_id IS NOT NULL ON CONFLICT DO NOTHING`, bun.List(numbers)).Exec(ctx)
	return err
}
