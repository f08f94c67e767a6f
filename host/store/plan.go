package store

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/provosthq/provost/host"
)

// InsertPlan stores a new plan and fills its Number.
func (t *Tx) InsertPlan(ctx context.Context, p *host.Plan) error { return t.insert(ctx, p, &p.Number) }

// Plan returns a plan by id.
func (t *Tx) Plan(ctx context.Context, id string) (*host.Plan, error) {
	p := new(host.Plan)
	err := t.one(ctx, p, "id = ?", id)
	return p, notFound(err, "there is no plan %s", id)
}

// PlanByNumber returns PLN-n.
func (t *Tx) PlanByNumber(ctx context.Context, n int64) (*host.Plan, error) {
	p := new(host.Plan)
	err := t.one(ctx, p, "number = ?", n)
	return p, notFound(err, "there is no plan PLN-%06d", n)
}

// UpdatePlan stores a plan that is still in a state; else it is a Conflict.
func (t *Tx) UpdatePlan(ctx context.Context, p *host.Plan, still host.PlanState) error {
	done, err := t.change(ctx, p, "id = ? AND state = ?", p.Id, string(still))
	if err == nil && !done {
		return host.Errorf(host.Conflict, "%s is %s no more", p.Name(), still)
	}
	return err
}

// PlanFilter chooses plans, newest first.
type PlanFilter struct {
	AppName string
	States  []host.PlanState
	Limit   int
}

// Plans lists plans.
func (t *Tx) Plans(ctx context.Context, f PlanFilter) ([]*host.Plan, error) {
	var list []*host.Plan
	q := t.db.NewSelect().Model(&list).OrderExpr("number DESC").Limit(int64(f.Limit))
	if f.AppName != "" {
		q = q.Where("app_name = ?", f.AppName)
	}
	if len(f.States) > 0 {
		q = q.Where("state IN (?)", bun.List(f.States))
	}
	return list, q.Scan(ctx)
}

// CountPlans counts the plans that are in a state, by app.
func (t *Tx) CountPlans(ctx context.Context, state host.PlanState) (map[string]int64, error) {
	return counts[string](ctx, t, "SELECT app_name, COUNT(*) FROM plans WHERE state = ? GROUP BY app_name", state)
}

// InsertChanges stores planned changes.
func (t *Tx) InsertChanges(ctx context.Context, list []*host.PlannedChange) error {
	if len(list) == 0 {
		return nil
	}
	_, err := t.db.NewInsert().Model(&list).ExcludeColumn("number").Returning("NULL").Exec(ctx)
	return err
}

// Changes returns planned changes in their order.
func (t *Tx) Changes(ctx context.Context, planID string, after int64, limit int) ([]*host.PlannedChange, error) {
	var list []*host.PlannedChange
	return list, t.scan(ctx, &list, "SELECT "+t.recordOf((*host.PlannedChange)(nil)).columns+
		" FROM planned_changes WHERE plan_id = ? AND number > ? ORDER BY number LIMIT ?", planID, after, limit)
}

// OpenChanges returns planned changes that have come to nothing yet.
func (t *Tx) OpenChanges(ctx context.Context, planID string, limit int) ([]*host.PlannedChange, error) {
	var list []*host.PlannedChange
	return list, t.scan(ctx, &list, "SELECT "+t.recordOf((*host.PlannedChange)(nil)).columns+
		" FROM planned_changes WHERE plan_id = ? AND request_id IS NULL AND error IS NULL ORDER BY number LIMIT ?", planID, limit)
}

// UpdateChange stores what became of a planned change.
func (t *Tx) UpdateChange(ctx context.Context, c *host.PlannedChange) error {
	_, err := t.change(ctx, c, "number = ?", c.Number)
	return err
}

// DeleteChanges removes what an interrupted making has stored.
func (t *Tx) DeleteChanges(ctx context.Context, planID string) error {
	_, err := t.exec(ctx, "DELETE FROM planned_changes WHERE plan_id = ?", planID)
	return err
}

// CountLinked counts the accounts of an app that belong to somebody and are not
// gone.
func (t *Tx) CountLinked(ctx context.Context, app string) (n int64, err error) {
	err = t.db.Tx.QueryRowContext(ctx, t.numbered("SELECT COUNT(*) FROM user_prov_accounts WHERE app_name = ? AND link_state = 'linked' AND deleted_date IS NULL"), app).Scan(&n)
	return n, err
}

// UsersWithApps lists users with what they are assigned directly.
func (t *Tx) UsersWithApps(ctx context.Context, after string, limit int) ([]*host.User, error) {
	users, err := t.Users(ctx, UserFilter{AfterId: after, Limit: limit})
	if err != nil || len(users) == 0 {
		return users, err
	}
	byID := make(map[string]*host.User, len(users))
	for _, u := range users {
		byID[u.Id] = u
	}
	rows, err := t.db.Tx.QueryContext(ctx, t.numbered("SELECT user_id, app_name FROM user_apps WHERE user_id > ? AND user_id <= ? ORDER BY user_id, app_name"), after, users[len(users)-1].Id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id, app string
		if err := rows.Scan(&id, &app); err != nil {
			return nil, err
		}
		if u := byID[id]; u != nil {
			u.Apps = append(u.Apps, app)
		}
	}
	return users, rows.Err()
}

// UsersByIds returns users by their ids, with their apps.
func (t *Tx) UsersByIds(ctx context.Context, ids []string) (map[string]*host.User, error) {
	found := make(map[string]*host.User, len(ids))
	if len(ids) == 0 {
		return found, nil
	}
	var rows []userRow
	if err := t.db.NewSelect().Model(&rows).Where("id IN (?)", bun.List(ids)).Scan(ctx); err != nil {
		return nil, err
	}
	for i := range rows {
		u, err := rows[i].user()
		if err != nil {
			return nil, err
		}
		found[u.Id] = u
	}
	var apps []struct{ UserId, AppName string }
	if err := t.db.NewSelect().Table("user_apps").Column("user_id", "app_name").Where("user_id IN (?)", bun.List(ids)).OrderExpr("app_name").Scan(ctx, &apps); err != nil {
		return nil, err
	}
	for _, a := range apps {
		if u := found[a.UserId]; u != nil {
			u.Apps = append(u.Apps, a.AppName)
		}
	}
	return found, nil
}

// LinkedUsers tells which of some users have an account in an app that is not
// gone, will have one by a request that is open, or may have one: a person must
// say first which of several is theirs, or whether one that is like them is.
func (t *Tx) LinkedUsers(ctx context.Context, app string, ids []string) (map[string]bool, error) {
	has := map[string]bool{}
	if len(ids) == 0 {
		return has, nil
	}
	rows, err := t.db.QueryContext(ctx, `SELECT user_id FROM user_prov_accounts WHERE app_name = ? AND user_id IN (?) AND link_state <> 'orphaned' AND deleted_date IS NULL
		UNION SELECT `+t.candidates("a")+` WHERE a.app_name = ? AND a.candidates IS NOT NULL AND a.link_state IN ('orphaned', 'duplicate') AND a.deleted_date IS NULL
		UNION SELECT user_id FROM user_provisioning_requests WHERE app_name = ? AND user_id IN (?) AND operation = 'Create' AND state NOT IN (`+ended+`)`, app, bun.List(ids), app, app, bun.List(ids))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		has[id] = true // and some who were not asked for
	}
	return has, rows.Err()
}

// AppAccounts returns an app's accounts in the order of their numbers.
func (t *Tx) AppAccounts(ctx context.Context, app string, after int64, limit int) ([]*host.UserProvAccount, error) {
	var list []*host.UserProvAccount
	return list, t.scan(ctx, &list, "SELECT "+t.recordOf((*host.UserProvAccount)(nil)).columns+
		" FROM user_prov_accounts WHERE app_name = ? AND number > ? ORDER BY number LIMIT ?", app, after, limit)
}

// CountKnown counts the accounts of an app that are not gone.
func (t *Tx) CountKnown(ctx context.Context, app string) (n int64, err error) {
	err = t.db.Tx.QueryRowContext(ctx, t.numbered("SELECT COUNT(*) FROM user_prov_accounts WHERE app_name = ? AND deleted_date IS NULL"), app).Scan(&n)
	return n, err
}
