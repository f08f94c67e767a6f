package store

import (
	"context"
	"strings"
	"time"
	"unicode"

	"github.com/uptrace/bun"

	"github.com/provosthq/provost/host"
)

// What analyzing and committing a run do, always with many rows at once. A run
// is named by the Number of its request where many rows hold it.

// AdvanceRun moves a run's cursor. It is a Conflict when the run is no longer
// in the state or another worker has moved the cursor; otherwise nobody else
// moves it until the transaction ends.
func (t *Tx) AdvanceRun(ctx context.Context, requestID string, state host.RequestState, from, to string) error {
	result, err := t.db.NewRaw("UPDATE user_provisioning_requests SET recon_offset = ? WHERE id = ? AND state = ? AND COALESCE(recon_offset, '') = ?",
		bun.NullZero(to), requestID, state, from).Exec(ctx)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return host.Errorf(host.Conflict, "the run is no longer %s at %q: another worker or a person has moved it", state, from)
}

// FreshStatistics lets the planner know the tables that a run has just filled:
// one that still holds them to be small would read them whole for each batch.
func (t *Tx) FreshStatistics(ctx context.Context) error {
	if t.dialect != "postgres" {
		return nil // SQLite's planner takes an index where there is one
	}
	for _, table := range []string{"user_keys", "recon_users", "user_prov_account_stagings", "user_prov_accounts"} {
		if _, err := t.db.NewRaw("ANALYZE ?", bun.Ident(table)).Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// UsersAfter lists users with their Apps in the order of their ids.
func (t *Tx) UsersAfter(ctx context.Context, after string, limit int) ([]*host.User, error) {
	users, err := t.Users(ctx, UserFilter{AfterId: after, Limit: limit})
	if err != nil {
		return nil, err
	}
	return users, t.addApps(ctx, users)
}

// UsersById returns those of the users that there are, with their Apps.
func (t *Tx) UsersById(ctx context.Context, ids []string) (map[string]*host.User, error) {
	found := map[string]*host.User{}
	if len(ids) == 0 {
		return found, nil
	}
	var rows []userRow
	if err := t.db.NewSelect().Model(&rows).Where("id IN (?)", bun.List(ids)).Scan(ctx); err != nil {
		return nil, err
	}
	users := make([]*host.User, len(rows))
	for i := range rows {
		u, err := rows[i].user()
		if err != nil {
			return nil, err
		}
		users[i], found[u.Id] = u, u
	}
	return found, t.addApps(ctx, users)
}

func (t *Tx) addApps(ctx context.Context, users []*host.User) error {
	if len(users) == 0 {
		return nil
	}
	byID := make(map[string]*host.User, len(users))
	ids := make([]string, len(users))
	for i, u := range users {
		byID[u.Id], ids[i] = u, u.Id
	}
	var rows []struct{ UserId, AppName string }
	if err := t.db.NewSelect().Table("user_apps").Column("user_id", "app_name").Where("user_id IN (?)", bun.List(ids)).OrderExpr("user_id, app_name").Scan(ctx, &rows); err != nil {
		return err
	}
	for _, r := range rows {
		byID[r.UserId].Apps = append(byID[r.UserId].Apps, r.AppName)
	}
	return nil
}

// PutUserKeys stores what the link rules make of users, and which of them
// should have an account, for one run. Storing it again changes nothing.
func (t *Tx) PutUserKeys(ctx context.Context, run int64, keys []host.UserKey, should []string) error {
	if len(keys) > 0 {
		type row struct {
			bun.BaseModel `bun:"table:user_keys"`
			Run           int64
			Rule          int
			LinkKey       string
			UserId        string
			Value         string
		}
		rows := make([]row, len(keys))
		for i, k := range keys {
			rows[i] = row{Run: run, Rule: k.Rule, LinkKey: k.Key, UserId: k.UserId, Value: k.Value}
		}
		if _, err := t.db.NewInsert().Model(&rows).On("CONFLICT DO NOTHING").Returning("NULL").Exec(ctx); err != nil {
			return err
		}
	}
	if len(should) == 0 {
		return nil
	}
	type row struct {
		bun.BaseModel `bun:"table:recon_users"`
		Run           int64
		UserId        string
		Candidate     bool
	}
	rows := make([]row, len(should))
	for i, id := range should {
		rows[i] = row{Run: run, UserId: id}
	}
	_, err := t.db.NewInsert().Model(&rows).On("CONFLICT DO NOTHING").Returning("NULL").Exec(ctx)
	return err
}

// ThinUserKeys removes the keys of one rule that say too little: of a key that
// more than most users have, all but the first keep are removed. So no account
// has more candidates than anybody could look at, whatever a rule compares.
func (t *Tx) ThinUserKeys(ctx context.Context, run int64, rule, most, keep int) error {
	_, err := t.db.NewRaw(`WITH many AS (SELECT link_key FROM user_keys WHERE run = ?0 AND rule = ?1 GROUP BY link_key HAVING COUNT(*) > ?2),
		places AS (SELECT k.link_key, k.user_id, ROW_NUMBER() OVER (PARTITION BY k.link_key ORDER BY k.user_id) AS place
			FROM user_keys k JOIN many ON many.link_key = k.link_key WHERE k.run = ?0 AND k.rule = ?1)
		DELETE FROM user_keys WHERE run = ?0 AND rule = ?1 AND (link_key, user_id) IN (SELECT link_key, user_id FROM places WHERE place > ?3)`,
		run, rule, most, keep).Exec(ctx)
	return err
}

// UsersByKeys returns the users that have each key of a rule, in the order of
// their ids.
func (t *Tx) UsersByKeys(ctx context.Context, run int64, rule int, keys []string) (map[string][]host.UserKey, error) {
	found := map[string][]host.UserKey{}
	if len(keys) == 0 {
		return found, nil
	}
	rows, err := t.db.QueryContext(ctx, "SELECT link_key, user_id, value FROM user_keys WHERE run = ? AND rule = ? AND link_key IN (?) ORDER BY link_key, user_id", run, rule, bun.List(keys))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		k := host.UserKey{Rule: rule}
		if err := rows.Scan(&k.Key, &k.UserId, &k.Value); err != nil {
			return nil, err
		}
		found[k.Key] = append(found[k.Key], k)
	}
	return found, rows.Err()
}

// DropUserKeys removes some of a run's keys; done is true when none are left.
func (t *Tx) DropUserKeys(ctx context.Context, run int64, limit int) (done bool, err error) {
	var rule int
	var key string
	err = t.db.NewRaw("SELECT rule, link_key FROM user_keys WHERE run = ? ORDER BY rule, link_key LIMIT 1 OFFSET ?", run, limit).Scan(ctx, &rule, &key)
	where, args := "run = ? AND (rule, link_key) <= (?, ?)", []any{run, rule, key}
	if host.CodeOf(notFound(err, "no more")) == host.NotFound {
		where, args, done = "run = ?", []any{run}, true
	} else if err != nil {
		return false, err
	}
	_, err = t.db.NewRaw("DELETE FROM user_keys WHERE "+where, args...).Exec(ctx)
	return done, err
}

// DropReconUsers removes some of the users that a run noted; done is true when
// none are left.
func (t *Tx) DropReconUsers(ctx context.Context, run int64, limit int) (done bool, err error) {
	result, err := t.db.NewRaw("DELETE FROM recon_users WHERE run = ?0 AND user_id IN (SELECT user_id FROM recon_users WHERE run = ?0 ORDER BY user_id LIMIT ?1)", run, limit).Exec(ctx)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n < int64(limit), err
}

// MarkCandidates notes that users are candidates of an account, so that nobody
// makes them another one before a person has decided.
func (t *Tx) MarkCandidates(ctx context.Context, run int64, users []string) error {
	if len(users) == 0 {
		return nil
	}
	_, err := t.db.NewRaw("UPDATE recon_users SET candidate = TRUE WHERE run = ? AND user_id IN (?)", run, bun.List(users)).Exec(ctx)
	return err
}

// SettleCandidates has nobody be a candidate any more but those of accounts
// that nobody has decided about.
func (t *Tx) SettleCandidates(ctx context.Context, run int64, requestID string) error {
	_, err := t.db.NewRaw("UPDATE recon_users SET candidate = FALSE WHERE run = ? AND candidate AND user_id NOT IN (SELECT "+t.candidates("s")+
		" WHERE s.user_provisioning_request_id = ? AND s.candidates IS NOT NULL AND NOT s.decided)", run, requestID).Exec(ctx)
	return err
}

// candidates selects the ids of the candidates of the rows of a table, which is
// staged accounts for "s" and accounts for "a".
func (t *Tx) candidates(alias string) string {
	from := map[string]string{"s": "user_prov_account_stagings s", "a": "user_prov_accounts a"}[alias]
	if t.dialect == "postgres" {
		return "c.value->>'UserId' FROM " + from + ", jsonb_array_elements(" + alias + ".candidates) c"
	}
	return "json_extract(c.value, '$.UserId') FROM " + from + ", json_each(" + alias + ".candidates) c"
}

// KnownAccounts returns an app's accounts with these ids, the target's, in any
// case of their letters. With lock nobody else changes them until the
// transaction ends.
func (t *Tx) KnownAccounts(ctx context.Context, app string, externalIDs []string, lock bool) ([]*host.UserProvAccount, error) {
	if len(externalIDs) == 0 {
		return nil, nil
	}
	folded := make([]string, len(externalIDs))
	for i, id := range externalIDs {
		folded[i] = strings.ToLower(id)
	}
	var list []*host.UserProvAccount
	q := t.db.NewSelect().Model(&list).Where("app_name = ? AND (LOWER(external_user_id) IN (?) OR external_user_id IN (?))", app, bun.List(folded), bun.List(externalIDs)).OrderExpr("number")
	if lock && t.dialect == "postgres" {
		q = q.For("UPDATE")
	}
	return list, q.Scan(ctx)
}

// LinkedAccounts returns the accounts that are linked to these users and not
// gone.
func (t *Tx) LinkedAccounts(ctx context.Context, app string, users []string) ([]*host.UserProvAccount, error) {
	if len(users) == 0 {
		return nil, nil
	}
	var list []*host.UserProvAccount
	return list, t.db.NewSelect().Model(&list).Where("app_name = ? AND user_id IN (?) AND link_state = 'linked' AND deleted_date IS NULL", app, bun.List(users)).OrderExpr("number").Scan(ctx)
}

// StagedAmong tells which of these ids, the target's, a run has staged, and
// with which change.
func (t *Tx) StagedAmong(ctx context.Context, requestID string, externalIDs []string) (map[string]string, error) {
	found := map[string]string{}
	if len(externalIDs) == 0 {
		return found, nil
	}
	var rows []struct{ ExternalUserId, Change string }
	err := t.db.NewSelect().Table("user_prov_account_stagings").Column("external_user_id", "change").
		Where("user_provisioning_request_id = ? AND external_user_id IN (?)", requestID, bun.List(externalIDs)).Scan(ctx, &rows)
	for _, r := range rows {
		found[r.ExternalUserId] = r.Change
	}
	return found, err
}

// UpdateStaging stores what analyzing or a person said of staged accounts.
func (t *Tx) UpdateStaging(ctx context.Context, list []*host.UserProvAccountStaging) error {
	if len(list) == 0 {
		return nil
	}
	if err := t.noteLetGo(ctx, list); err != nil {
		return err
	}
	_, err := t.db.NewUpdate().Model(&list).Column("user_id", "link_state", "link_reason", "link_rule", "link_rank", "candidates", "decided", "drift", "user_prov_account_id", "decision_id", "undo").Bulk().Exec(ctx)
	return err
}

// StagedConflicts returns users that more than one staged account of a run is
// linked to, in the order of their ids.
func (t *Tx) StagedConflicts(ctx context.Context, requestID, after string, limit int) ([]host.StagedConflict, error) {
	var list []host.StagedConflict
	const linked = "user_provisioning_request_id = ?0 AND link_state = 'linked' AND change <> 'deleted'"
	return list, t.db.NewRaw(`WITH c AS MATERIALIZED (SELECT user_id FROM user_prov_account_stagings WHERE `+linked+` AND user_id > ?1 GROUP BY user_id HAVING COUNT(*) > 1 ORDER BY user_id LIMIT ?2)
		SELECT user_id, number, external_user_id, accounts, surest FROM (
			SELECT user_id, number, external_user_id, ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY link_rank, number) AS place,
				COUNT(*) OVER (PARTITION BY user_id) AS accounts, COUNT(*) OVER (PARTITION BY user_id, link_rank) AS surest
			FROM user_prov_account_stagings WHERE `+linked+` AND user_id IN (SELECT user_id FROM c)) w
		WHERE place = 1 ORDER BY user_id`, requestID, after, limit).Scan(ctx, &list)
}

// ResolveStaged makes duplicates of all accounts of each user but one.
func (t *Tx) ResolveStaged(ctx context.Context, requestID string, resolved []host.StagedConflict) error {
	if len(resolved) == 0 {
		return nil
	}
	values := strings.Repeat("(?, ?, ?), ", len(resolved))
	args := make([]any, 0, 3*len(resolved)+1)
	for _, c := range resolved {
		args = append(args, c.UserId, c.Number, c.Reason)
	}
	_, err := t.db.NewRaw("WITH v (user_id, number, reason) AS (VALUES "+strings.TrimSuffix(values, ", ")+`)
		UPDATE user_prov_account_stagings AS s SET link_state = 'duplicate', drift = NULL, link_reason = v.reason || CASE WHEN s.link_rule <> '' THEN ', this one by ' || s.link_rule ELSE '' END
		FROM v WHERE s.user_provisioning_request_id = ? AND s.user_id = v.user_id AND s.link_state = 'linked' AND s.change <> 'deleted' AND s.number <> v.number AND NOT s.decided`,
		append(args, requestID)...).Exec(ctx)
	return err
}

// StagedOfUsers returns the staged accounts of a run that belong, or may
// belong, to these users, in the order of their numbers.
func (t *Tx) StagedOfUsers(ctx context.Context, requestID string, users []string) ([]*host.UserProvAccountStaging, error) {
	if len(users) == 0 {
		return nil, nil
	}
	var list []*host.UserProvAccountStaging
	return list, t.db.NewSelect().Model(&list).Where("user_provisioning_request_id = ? AND user_id IN (?)", requestID, bun.List(users)).OrderExpr("number").Scan(ctx)
}

// StagedByExternalId returns one staged account of a run.
func (t *Tx) StagedByExternalId(ctx context.Context, requestID, externalID string) (*host.UserProvAccountStaging, error) {
	s := new(host.UserProvAccountStaging)
	err := t.db.NewSelect().Model(s).Where("user_provisioning_request_id = ? AND external_user_id = ?", requestID, externalID).Scan(ctx)
	return s, notFound(err, "the run has found no account %q", externalID)
}

// StagedWhere lists staged accounts.
func (t *Tx) StagedWhere(ctx context.Context, f host.StagingFilter) ([]*host.UserProvAccountStaging, error) {
	var list []*host.UserProvAccountStaging
	q := t.db.NewSelect().Model(&list).Where("user_provisioning_request_id = ? AND number > ?", f.RequestId, f.After).OrderExpr("number").Limit(int64(f.Limit))
	if f.LinkState != "" {
		q = q.Where("link_state = ?", f.LinkState)
	}
	if f.Drifted {
		q = q.Where("drift IS NOT NULL")
	}
	if f.Candidates {
		q = q.Where("candidates IS NOT NULL")
	}
	if f.DecisionId != "" {
		q = q.Where("decision_id = ?", f.DecisionId)
	}
	if f.Begins != "" {
		q = t.beginning(ctx, q, f)
	}
	switch {
	case strings.Contains(f.Query, "*"):
		pattern := strings.ReplaceAll(strings.Trim(like(f.Query), "%"), "*", "%")
		q = q.Where("(LOWER(external_user_id) LIKE ?0 ESCAPE '!' OR LOWER(external_username) LIKE ?0 ESCAPE '!' OR LOWER(external_email) LIKE ?0 ESCAPE '!')", pattern)
	case f.Query != "":
		q = q.Where("LOWER(external_user_id || ' ' || external_username || ' ' || external_email) LIKE ? ESCAPE '!'", like(f.Query))
	}
	return list, q.Scan(ctx)
}

// beginning chooses staged accounts by how an id, a username or an e-mail begins:
// by their indexes, or, where those have more than [MostCounted], by looking at
// one after another, of which many are right.
func (t *Tx) beginning(ctx context.Context, q *bun.SelectQuery, f host.StagingFilter) *bun.SelectQuery {
	from := strings.ToLower(f.Begins)
	if t.dialect == "sqlite" { // which folds ASCII alone
		from = strings.Map(func(r rune) rune {
			if r < unicode.MaxASCII {
				return unicode.ToLower(r)
			}
			return r
		}, f.Begins)
	}
	var parts, any []string
	for _, column := range []string{"external_user_id", "external_username", "external_email"} {
		of := folded(t.dialect, column)
		parts = append(parts, "SELECT number FROM (SELECT number FROM user_prov_account_stagings WHERE user_provisioning_request_id = ?0 AND "+of+" >= ?1 AND "+of+" < ?2 LIMIT ?3) AS of_"+column)
		any = append(any, of+" >= ?0 AND "+of+" < ?1")
	}
	end := from + string(unicode.MaxRune)
	var numbers []int64
	if err := t.db.NewRaw(strings.Join(parts, " UNION "), f.RequestId, from, end, MostCounted+1).Scan(ctx, &numbers); err != nil {
		return q.Err(err)
	}
	if len(numbers) > MostCounted {
		return q.Where("("+strings.Join(any, " OR ")+")", from, end)
	}
	return q.Where("number IN (?)", bun.List(append(numbers, 0)))
}

// MarkGone dates accounts that the target no longer has.
func (t *Tx) MarkGone(ctx context.Context, numbers []int64, since, now time.Time) error {
	if len(numbers) == 0 {
		return nil
	}
	_, err := t.db.NewRaw("UPDATE user_prov_accounts SET deleted_date = ?, active = FALSE, last_modified_date = ? WHERE number IN (?) AND deleted_date IS NULL AND last_modified_date <= ?", now, now, bun.List(numbers), since).Exec(ctx)
	return err
}

// AccountsNotStaged returns an app's accounts that are not gone and that a run
// did not find.
func (t *Tx) AccountsNotStaged(ctx context.Context, app, requestID string, after int64, limit int) ([]*host.UserProvAccount, error) {
	var list []*host.UserProvAccount
	return list, t.db.NewSelect().Model(&list).Where("app_name = ? AND deleted_date IS NULL AND number > ?", app, after).
		Where("NOT EXISTS (SELECT 1 FROM user_prov_account_stagings s WHERE s.user_provisioning_request_id = ? AND s.external_user_id = ?TableAlias.external_user_id)", requestID).
		OrderExpr("number").Limit(int64(limit)).Scan(ctx)
}

// GivenUp returns accounts that are linked to a user to whom a run will not
// link them, ordered by number.
func (t *Tx) GivenUp(ctx context.Context, app, requestID string, after int64, limit int) ([]*host.UserProvAccount, error) {
	var list []*host.UserProvAccount
	return list, t.db.NewSelect().Model(&list).ModelTableExpr("user_prov_accounts AS user_prov_account").
		Where("user_prov_account.app_name = ? AND user_prov_account.number > ? AND user_prov_account.link_state = 'linked'", app, after).
		Where(`EXISTS (SELECT 1 FROM user_prov_account_stagings s WHERE s.user_provisioning_request_id = ? AND s.external_user_id = user_prov_account.external_user_id
			AND (s.decided OR NOT user_prov_account.is_known_link) AND (s.link_state <> 'linked' OR s.user_id <> user_prov_account.user_id))`, requestID).
		OrderExpr("user_prov_account.number").Limit(int64(limit)).Scan(ctx)
}

// GiveUp takes accounts from their users, unless a person has linked them by
// hand and not said otherwise in this run.
func (t *Tx) GiveUp(ctx context.Context, requestID string, numbers []int64) error {
	if len(numbers) == 0 {
		return nil
	}
	_, err := t.db.NewRaw("UPDATE user_prov_accounts SET link_state = 'orphaned', user_id = NULL WHERE number IN (?) AND (NOT is_known_link OR EXISTS ("+
		"SELECT 1 FROM user_prov_account_stagings s WHERE s.user_provisioning_request_id = ? AND s.external_user_id = user_prov_accounts.external_user_id AND s.decided))", bun.List(numbers), requestID).Exec(ctx)
	return err
}

// InsertAccounts stores new accounts.
func (t *Tx) InsertAccounts(ctx context.Context, list []*host.UserProvAccount) error {
	if len(list) == 0 {
		return nil
	}
	_, err := t.db.NewInsert().Model(&list).ExcludeColumn("number").Returning("NULL").Exec(ctx)
	return err
}

// UpdateAccounts stores what a commit changes of accounts.
func (t *Tx) UpdateAccounts(ctx context.Context, list []*host.UserProvAccount) error {
	if len(list) == 0 {
		return nil
	}
	_, err := t.db.NewUpdate().Model(&list).Column("user_id", "external_user_id", "external_username", "external_first_name", "external_last_name", "external_email",
		"status", "link_state", "is_known_link", "deleted_date", "active", "attributes", "version", "drift", "candidates", "last_modified_date").Bulk().Exec(ctx)
	return err
}

func (t *Tx) missing(f host.MissingFilter) *bun.SelectQuery {
	q := t.db.NewSelect().TableExpr("recon_users AS u").Where("u.run = ? AND u.candidate = ?", f.Run, f.Undecided).
		Where(`NOT EXISTS (SELECT 1 FROM user_prov_account_stagings s WHERE s.user_provisioning_request_id = ? AND s.user_id = u.user_id AND s.user_id IS NOT NULL AND s.change <> 'deleted' AND s.link_state <> 'orphaned')`, f.RequestId)
	live := `NOT EXISTS (SELECT 1 FROM user_prov_accounts a WHERE a.app_name = ?0 AND a.user_id = u.user_id AND a.deleted_date IS NULL AND a.link_state <> 'orphaned'
		AND NOT EXISTS (SELECT 1 FROM user_prov_account_stagings s WHERE s.user_provisioning_request_id = ?1 AND s.external_user_id = a.external_user_id)`
	if f.Whole {
		return q.Where(live+" AND a.last_modified_date > ?2)", f.AppName, f.RequestId, f.Since)
	}
	return q.Where(live+")", f.AppName, f.RequestId)
}

// MissingUsers lists the ids of users who should have an account and have none,
// in their order.
func (t *Tx) MissingUsers(ctx context.Context, f host.MissingFilter) ([]string, error) {
	var ids []string
	return ids, t.missing(f).ColumnExpr("u.user_id").Where("u.user_id > ?", f.After).OrderExpr("u.user_id").Limit(int64(f.Limit)).Scan(ctx, &ids)
}

// CountMissing counts them.
func (t *Tx) CountMissing(ctx context.Context, f host.MissingFilter) (int64, error) {
	var n int64
	return n, t.missing(f).ColumnExpr("COUNT(*)").Scan(ctx, &n)
}

// StagingCounts counts a run's staged accounts by their link state.
func (t *Tx) StagingCounts(ctx context.Context, requestID string) (map[host.LinkState]int64, error) {
	return counts[host.LinkState](ctx, t, "SELECT COALESCE(link_state, ''), COUNT(*) FROM user_prov_account_stagings WHERE user_provisioning_request_id = ? GROUP BY 1", requestID)
}

// DriftCounts counts a run's accounts that have drifted, by path; all of them
// under "".
func (t *Tx) DriftCounts(ctx context.Context, requestID string) (map[string]int64, error) {
	from := "json_each(s.drift) d"
	path := "json_extract(d.value, '$.Path')"
	if t.dialect == "postgres" {
		from, path = "jsonb_array_elements(s.drift) d", "d.value->>'Path'"
	}
	found, err := counts[string](ctx, t, "SELECT "+path+", COUNT(*) FROM user_prov_account_stagings s, "+from+" WHERE s.user_provisioning_request_id = ? AND s.drift IS NOT NULL GROUP BY 1", requestID)
	if err != nil {
		return nil, err
	}
	n, err := t.db.NewSelect().Table("user_prov_account_stagings").Where("user_provisioning_request_id = ? AND drift IS NOT NULL", requestID).Count(ctx)
	found[""] = int64(n)
	return found, err
}

// ClearRun removes what a run needed only while it went on.
func (t *Tx) ClearRun(ctx context.Context, requestID string) error {
	for _, table := range []string{"user_prov_account_stagings", "recon_pages", "gone_candidates"} {
		if _, err := t.db.NewRaw("DELETE FROM ? WHERE user_provisioning_request_id = ?", bun.Ident(table), requestID).Exec(ctx); err != nil {
			return err
		}
	}
	for _, table := range []string{"user_keys", "recon_users"} {
		if _, err := t.db.NewRaw("DELETE FROM ? WHERE run = (SELECT number FROM user_provisioning_requests WHERE id = ?)", bun.Ident(table), requestID).Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// DropStaged removes some of what a run has staged, once it is committed; done
// is true when nothing is left.
func (t *Tx) DropStaged(ctx context.Context, requestID string, limit int) (done bool, err error) {
	result, err := t.db.NewRaw("DELETE FROM user_prov_account_stagings WHERE number IN (SELECT number FROM user_prov_account_stagings WHERE user_provisioning_request_id = ? ORDER BY number LIMIT ?)", requestID, limit).Exec(ctx)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	if err != nil || n == int64(limit) {
		return false, err
	}
	_, err = t.db.NewRaw("DELETE FROM gone_candidates WHERE user_provisioning_request_id = ?", requestID).Exec(ctx)
	return true, err
}
