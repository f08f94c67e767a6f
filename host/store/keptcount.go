package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/provosthq/provost/host"
)

// Counts of all accounts and people are kept, since counting a million of them
// takes longer than a person waits for a page. Triggers change them in the same
// transaction, so that no way of writing forgets it.
//
// On PostgreSQL who writes waits for nobody. Counts of accounts are spread over
// slots: who writes adds to the slot of its own connection, and what counts is
// the sum. An import changes the count of one profile a hundred thousand times in
// one transaction, and each change of a row would look at all those before: so of
// profiles and permission sets the changes are rows of their own, which
// [Store.FoldCounts] adds up now and then.

// accountCounts are those of accounts, as they are at first.
const accountCounts = "INSERT INTO account_counts SELECT app_name, link_state, 0, COUNT(*) FROM user_prov_accounts GROUP BY app_name, link_state"

// countTables have the kept counts. Of people those that are active count.
// Nobody writes between the counting and the triggers: SQLite has one who writes,
// and PostgreSQL is told.
var countTables = map[string]string{"sqlite": `
CREATE TABLE account_counts (
	app_name TEXT NOT NULL, link_state TEXT NOT NULL, slot INTEGER NOT NULL, rows_counted INTEGER NOT NULL, PRIMARY KEY (app_name, link_state, slot)
) WITHOUT ROWID;
CREATE TABLE holding_counts (kind TEXT NOT NULL, name TEXT NOT NULL, rows_counted INTEGER NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
` + accountCounts + sqliteCounts(), "postgres": `
LOCK TABLE user_prov_accounts, users IN SHARE ROW EXCLUSIVE MODE;
CREATE TABLE account_counts (
	app_name TEXT NOT NULL, link_state TEXT NOT NULL, slot BIGINT NOT NULL, rows_counted BIGINT NOT NULL, PRIMARY KEY (app_name, link_state, slot)
);
CREATE TABLE holding_counts (kind TEXT NOT NULL, name TEXT NOT NULL, rows_counted BIGINT NOT NULL);
CREATE INDEX holding_counts_by_name ON holding_counts (kind, name);
` + accountCounts + postgresCounts()}

const (
	keptAccounts = "SELECT link_state, CAST(SUM(rows_counted) AS BIGINT) FROM account_counts WHERE app_name = ? GROUP BY link_state HAVING SUM(rows_counted) <> 0"
	keptHoldings = "SELECT name, CAST(SUM(rows_counted) AS BIGINT) FROM holding_counts WHERE kind = ? GROUP BY name HAVING SUM(rows_counted) <> 0"
)

// CountAccountsByLinkState counts an app's accounts.
func (t *Tx) CountAccountsByLinkState(ctx context.Context, app string) (map[host.LinkState]int64, error) {
	return counts[host.LinkState](ctx, t, keptAccounts, app)
}

// CountProfiles counts the active users of each profile.
func (t *Tx) CountProfiles(ctx context.Context) (map[string]int64, error) {
	return counts[string](ctx, t, keptHoldings, "profile")
}

// CountPermissionSets counts the active users of each permission set.
func (t *Tx) CountPermissionSets(ctx context.Context) (map[string]int64, error) {
	return counts[string](ctx, t, keptHoldings, "set")
}

// holdingsOf are the profile and the permission sets of the rows of users that
// from has, each once.
func holdingsOf(dialect, from string) string {
	sets := "json_each(u.document, '$.PermissionSets') AS s"
	if dialect == "postgres" {
		sets = "LATERAL jsonb_array_elements_text(CASE jsonb_typeof(u.document -> 'PermissionSets') WHEN 'array' THEN u.document -> 'PermissionSets' ELSE '[]' END) AS s(value)"
	}
	return "SELECT 'profile' AS kind, u.document ->> 'Profile' AS name FROM " + from + " AS u WHERE u.is_active AND u.document ->> 'Profile' <> ''" +
		" UNION ALL SELECT kind, name FROM (SELECT DISTINCT 'set' AS kind, s.value AS name, u.id FROM " + from + " AS u, " + sets + " WHERE u.is_active) AS held"
}

// FoldCounts adds up the changes of counts. It may be done on all machines at
// once: each adds up the rows that it removes.
func (s *Store) FoldCounts(ctx context.Context) error {
	var many bool
	err := s.View(ctx, func(t *Tx) error {
		return t.db.Tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM holding_counts GROUP BY kind, name HAVING COUNT(*) > 1)").Scan(&many)
	})
	if err != nil || !many { // always so on SQLite
		return err
	}
	return s.Update(ctx, func(t *Tx) error { return t.foldHoldings(ctx, "TRUE") })
}

// foldHoldings adds up some changes, and forgets what nobody has. On PostgreSQL
// alone: SQLite has but one row of each.
func (t *Tx) foldHoldings(ctx context.Context, where string, args ...any) error {
	fold := "WITH folded AS (DELETE FROM holding_counts WHERE " + where + " RETURNING kind, name, rows_counted) INSERT INTO holding_counts SELECT kind, name, SUM(rows_counted) FROM folded GROUP BY kind, name HAVING SUM(rows_counted) <> 0"
	if t.dialect == "sqlite" {
		fold = "DELETE FROM holding_counts WHERE rows_counted = 0 AND " + where
	}
	_, err := t.db.NewRaw(fold, args...).Exec(ctx)
	return err
}

// sqliteCounts keep the counts.
func sqliteCounts() string {
	const again = " ON CONFLICT DO UPDATE SET rows_counted = rows_counted + excluded.rows_counted"
	account := func(row string, n int) string {
		return fmt.Sprintf("INSERT INTO account_counts VALUES (%s.app_name, %s.link_state, 0, %d)%s; ", row, row, n, again)
	}
	holding := func(row string, n int) string {
		from := "(SELECT " + row + ".id AS id, " + row + ".document AS document, " + row + ".is_active AS is_active)"
		return fmt.Sprintf("INSERT INTO holding_counts SELECT kind, name, %d FROM (%s) WHERE TRUE%s; ", n, holdingsOf("sqlite", from), again)
	}
	trigger := func(name, when, do string) string {
		return "CREATE TRIGGER " + name + " AFTER " + when + " BEGIN " + strings.TrimSpace(do) + " END"
	}
	return strings.Join([]string{"",
		"INSERT INTO holding_counts SELECT kind, name, COUNT(*) FROM (" + holdingsOf("sqlite", "users") + ") GROUP BY kind, name",
		trigger("account_count_new", "INSERT ON user_prov_accounts", account("NEW", 1)),
		trigger("account_count_gone", "DELETE ON user_prov_accounts", account("OLD", -1)),
		trigger("account_count_changed", "UPDATE OF app_name, link_state ON user_prov_accounts WHEN OLD.link_state <> NEW.link_state OR OLD.app_name <> NEW.app_name", account("OLD", -1)+account("NEW", 1)),
		trigger("holding_count_new", "INSERT ON users", holding("NEW", 1)),
		trigger("holding_count_gone", "DELETE ON users", holding("OLD", -1)),
		trigger("holding_count_changed", "UPDATE OF document, is_active ON users WHEN OLD.is_active <> NEW.is_active OR OLD.document <> NEW.document", holding("OLD", -1)+holding("NEW", 1)),
	}, ";\n")
}

// countSlots is how many slots a count is spread over: connections whose process
// ids differ by a multiple of it, which are few, wait for each other.
const countSlots = 64

// postgresCounts keep the counts, those of each statement together.
func postgresCounts() string {
	function := func(name, into, key, rows, again string) string {
		sum := func(parts ...string) string {
			return fmt.Sprintf("INSERT INTO %s, SUM(n) FROM (%s) AS r GROUP BY %s HAVING SUM(n) <> 0 ORDER BY %s%s", into, strings.Join(parts, " UNION ALL "), key, key, again)
		}
		of := func(from, n string) string { return strings.NewReplacer("{from}", from, "{n}", n).Replace(rows) }
		return "CREATE FUNCTION " + name + "() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN " +
			"IF TG_OP = 'INSERT' THEN " + sum(of("new_rows", "1")) + "; ELSIF TG_OP = 'DELETE' THEN " + sum(of("old_rows", "-1")) + "; ELSE " + sum(of("new_rows", "1"), of("old_rows", "-1")) + "; END IF; RETURN NULL; END $$"
	}
	triggers := func(name, table string) (list []string) {
		for _, one := range []struct{ event, tables string }{{"INSERT", "NEW TABLE AS new_rows"}, {"DELETE", "OLD TABLE AS old_rows"}, {"UPDATE", "OLD TABLE AS old_rows NEW TABLE AS new_rows"}} {
			list = append(list, fmt.Sprintf("CREATE TRIGGER %s_%s AFTER %s ON %s REFERENCING %s FOR EACH STATEMENT EXECUTE FUNCTION %s()", name, strings.ToLower(one.event), one.event, table, one.tables, name))
		}
		return list
	}
	list := []string{"", "INSERT INTO holding_counts SELECT kind, name, COUNT(*) FROM (" + holdingsOf("postgres", "users") + ") AS h GROUP BY kind, name",
		function("account_count", fmt.Sprintf("account_counts AS c SELECT app_name, link_state, pg_backend_pid() %% %d", countSlots), "app_name, link_state", "SELECT app_name, link_state, {n} AS n FROM {from}",
			" ON CONFLICT (app_name, link_state, slot) DO UPDATE SET rows_counted = c.rows_counted + excluded.rows_counted"),
		function("holding_count", "holding_counts SELECT kind, name", "kind, name", "SELECT kind, name, {n} AS n FROM ("+holdingsOf("postgres", "{from}")+") AS h", "")}
	list = append(list, triggers("account_count", "user_prov_accounts")...)
	return strings.Join(append(list, triggers("holding_count", "users")...), ";\n")
}
