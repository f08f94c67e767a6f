package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/provosthq/provost/host"
)

// Counts of all accounts and people are kept, since counting a million of them
// takes longer than a person waits for a page. Triggers change them in the same
// transaction, so that no way of writing forgets it. On PostgreSQL a count is
// spread over slots: who writes adds to the slot of its own connection, and waits
// for nobody; what counts is the sum.

// countTables have the kept counts. Of people those that are active count.
const countTables = `
CREATE TABLE account_counts (
	app_name TEXT NOT NULL, link_state TEXT NOT NULL, slot {bigint} NOT NULL, rows_counted {bigint} NOT NULL, PRIMARY KEY (app_name, link_state, slot)
) {clustered};
CREATE TABLE holding_counts (
	kind TEXT NOT NULL, name TEXT NOT NULL, slot {bigint} NOT NULL, rows_counted {bigint} NOT NULL, PRIMARY KEY (kind, name, slot)
) {clustered};
INSERT INTO account_counts SELECT app_name, link_state, 0, COUNT(*) FROM user_prov_accounts GROUP BY app_name, link_state
`

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

// countTriggers keep the counts.
var countTriggers = map[string]string{"sqlite": sqliteCounts(), "postgres": postgresCounts()}

func sqliteCounts() string {
	const again = " ON CONFLICT DO UPDATE SET rows_counted = rows_counted + excluded.rows_counted"
	account := func(row string, n int) string {
		return fmt.Sprintf("INSERT INTO account_counts VALUES (%s.app_name, %s.link_state, 0, %d)%s; ", row, row, n, again)
	}
	holding := func(row string, n int) string {
		from := "(SELECT " + row + ".id AS id, " + row + ".document AS document, " + row + ".is_active AS is_active)"
		return fmt.Sprintf("INSERT INTO holding_counts SELECT kind, name, 0, %d FROM (%s) WHERE TRUE%s; ", n, holdingsOf("sqlite", from), again)
	}
	trigger := func(name, when, do string) string {
		return "CREATE TRIGGER " + name + " AFTER " + when + " BEGIN " + strings.TrimSpace(do) + " END"
	}
	return strings.Join([]string{"",
		"INSERT INTO holding_counts SELECT kind, name, 0, COUNT(*) FROM (" + holdingsOf("sqlite", "users") + ") GROUP BY kind, name",
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

func postgresCounts() string {
	// A statement's rows are counted together. {sign} stands before what an update
	// and a delete had.
	function := func(name, table, key, rows string) string {
		sum := func(parts ...string) string {
			return fmt.Sprintf("INSERT INTO %s AS c SELECT %s, pg_backend_pid() %% %d, SUM(n) FROM (%s) AS r GROUP BY %s HAVING SUM(n) <> 0 ORDER BY %s ON CONFLICT (%s, slot) DO UPDATE SET rows_counted = c.rows_counted + excluded.rows_counted",
				table, key, countSlots, strings.Join(parts, " UNION ALL "), key, key, key)
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
	holdings := "SELECT kind, name, {n} AS n FROM (" + holdingsOf("postgres", "{from}") + ") AS h"
	list := []string{"", "INSERT INTO holding_counts SELECT kind, name, 0, COUNT(*) FROM (" + holdingsOf("postgres", "users") + ") AS h GROUP BY kind, name",
		function("account_count", "account_counts", "app_name, link_state", "SELECT app_name, link_state, {n} AS n FROM {from}"),
		function("holding_count", "holding_counts", "kind, name", holdings)}
	list = append(list, triggers("account_count", "user_prov_accounts")...)
	return strings.Join(append(list, triggers("holding_count", "users")...), ";\n")
}
