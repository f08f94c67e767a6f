package storetest

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// Rows says how many rows [Fill] makes. With Staged there is a run of [BigApp]
// that has been analyzed, RunOf its request, with so many staged accounts.
type Rows struct{ Users, Accounts, Requests, Staged, Audit int }

// RunOf is the id of the run that has staged accounts.
const RunOf = "request-run"

// The apps that rows are made of: nine of ten are of the first.
const (
	BigApp   = "big"
	SmallApp = "small"
)

// Fill makes rows in a database whose schema is there, in SQL, as large places
// have them: most accounts are linked and most requests are completed, and a few
// are what somebody looks for. The database's planner is told of them.
func Fill(ctx context.Context, db *sql.DB, dialect string, n Rows) error {
	document := "json_object('Id', id, 'Username', username, 'FirstName', first_name, 'LastName', last_name, 'Email', email, 'IsActive', %s, 'Profile', profile, 'Department', 'Engineering', 'City', 'Zürich', 'CreatedDate', '2025-01-01T00:00:00Z', 'LastModifiedDate', '2025-01-01T00:00:00Z')"
	active := "json(CASE WHEN is_active THEN 'true' ELSE 'false' END)"
	if dialect == "postgres" {
		document, active = strings.Replace(document, "json_object", "jsonb_build_object", 1), "is_active"
	}
	document = fmt.Sprintf(document, active)
	person := func(n int) string {
		return fmt.Sprintf("WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < %d), p AS (SELECT i, 'First' || (i %% 997) AS f, 'Last' || (i %% 9973) AS l, CASE WHEN i / 11 %% 10 = 0 THEN '%s' ELSE '%s' END AS app FROM s) ", n, SmallApp, BigApp)
	}
	id := func(kind string) string { return "'" + kind + "-' || CAST(1000000000 + i AS TEXT)" }
	steps := []string{
		person(n.Users) + ", u AS (SELECT " + id("user") + " AS id, 'first' || (i % 997) || '.last' || (i % 9973) || '.' || i AS username, f AS first_name, l AS last_name, 'first' || (i % 997) || '.' || i || '@example.com' AS email, " +
			"(i % 20) <> 0 AS is_active, 'Profile ' || (i % 7) AS profile FROM p) INSERT INTO users (id, username, username_key, first_name, last_name, email, is_active, search, document) SELECT id, username, username, first_name, last_name, email, is_active, LOWER(username || ' ' || first_name || ' ' || last_name || ' ' || email), " + document + " FROM u",
		person(n.Users) + "INSERT INTO user_apps (user_id, app_name) SELECT " + id("user") + ", app FROM p",
		person(n.Accounts) + `INSERT INTO user_prov_accounts (id, app_name, connected_app_id, user_id, owner_id, external_user_id, external_username, external_first_name, external_last_name, external_email,
			status, link_state, is_known_link, deleted_date, active, frozen, details, attributes, version, drift, candidates, created_date, last_modified_date)
			SELECT ` + id("account") + `, app, 'connected', CASE WHEN i % 100 < 96 THEN ` + id("user") + ` END, NULL, 'x' || i, 'first' || (i % 997) || '.last' || (i % 9973) || '.' || i, f, l, 'first' || (i % 997) || '.' || i || '@example.com',
			'Active', CASE WHEN i % 100 < 96 THEN 'linked' WHEN i % 100 < 98 THEN 'orphaned' WHEN i % 100 = 98 THEN 'duplicate' ELSE 'ignored' END, TRUE, NULL, TRUE, FALSE, '', '{"userName": "somebody", "active": true}', '1',
			CASE WHEN i % 211 = 0 THEN '[{"Path": "title", "Want": "a", "Have": "b"}]'` + jsonCast(dialect) + ` END, NULL, '2025-01-01 00:00:00+00:00', ` + minutes(dialect, "i % 500000") + ` FROM p`,
		person(n.Requests) + `INSERT INTO user_provisioning_requests (id, operation, state, approval_status, app_name, connected_app_id, user_prov_config_id, user_id, approver_id, approver_group, retry_count, reason, attempt, in_flight, uncertain,
			error_code, recon_pages, recon_found, total_estimate, commit_when_analyzed, created_date, completed_date)
			SELECT ` + id("request") + `, CASE WHEN i % 1000 = 0 THEN 'Reconcile' WHEN i % 50 = 0 THEN 'Freeze' WHEN i % 3 = 0 THEN 'Create' ELSE 'Update' END,
			CASE WHEN i % 1000 = 0 THEN 'Completed' WHEN i % 40 = 1 THEN 'Failed' WHEN i % 100 = 2 THEN 'New' WHEN i % 500 = 3 THEN 'Cancelled' ELSE 'Completed' END,
			CASE WHEN i % 100 = 2 THEN 'Required' ELSE 'Not Required' END, app, 'connected', 'config', ` + "CASE WHEN i % 1000 <> 0 THEN 'user-' || CAST(1000000000 + 1 + i % " + fmt.Sprint(max(n.Users, 1)) + " AS TEXT) END" + `,
			CASE WHEN i % 200 = 2 THEN 'user-1000000007' END, CASE WHEN i % 200 = 102 THEN 'admins' END, 0, 'a person asked for it', 1, FALSE, FALSE,
			CASE WHEN i % 400 = 1 THEN 'ConnectorFault' WHEN i % 40 = 1 THEN 'Unavailable' END, 0, 0, 0, FALSE, ` + minutes(dialect, "i") + `, CASE WHEN i % 100 <> 2 THEN ` + minutes(dialect, "i") + ` END FROM p`,
		person(n.Requests) + `INSERT INTO user_provisioning_logs (id, user_provisioning_request_id, user_id, status, details, attempt, created_date, actor)
			SELECT ` + id("log") + `, ` + id("request") + `, ` + id("user") + `, 'Completed', '', 1, ` + minutes(dialect, "i") + `, 'provost' FROM p`,
	}
	if n.Staged > 0 {
		steps = append(steps, staged(dialect, n, person(n.Staged))...)
	}
	if n.Audit > 0 {
		steps = append(steps, audit(dialect, n, person(n.Audit))...)
	}
	if dialect == "postgres" {
		steps = append(steps, "VACUUM ANALYZE")
	}
	for _, step := range steps {
		if _, err := db.ExecContext(ctx, step); err != nil {
			return fmt.Errorf("%.80s…: %w", step, err)
		}
	}
	return nil
}

// staged are a run that waits for a review, and what it has staged: of a hundred
// accounts 96 are somebody's, and one needs a person. A tenth of the app's
// accounts, at the end, is gone; and the people at the end have none.
func staged(dialect string, n Rows, rows string) []string {
	gone, missing := n.Accounts/10, n.Users/100
	run := "(SELECT number FROM user_provisioning_requests WHERE id = '" + RunOf + "')"
	return []string{
		fmt.Sprintf(`INSERT INTO user_provisioning_requests (id, operation, state, approval_status, app_name, connected_app_id, user_prov_config_id, retry_count, reason, attempt, in_flight, uncertain,
			recon_pages, recon_found, total_estimate, commit_when_analyzed, summary, created_date, started_date)
			VALUES ('%s', 'Reconcile', 'Analyzed', 'Not Required', '%s', 'connected', 'config', 0, 'a person asked for it', 1, FALSE, FALSE, %d, %d, %d, FALSE, '{"linked": %d, "duplicate": %d, "orphaned": %d, "undecided": %d, "drifted": %d, "gone": %d, "missing": %d}', %s, %s)`,
			RunOf, BigApp, n.Staged/1000, n.Staged, n.Staged, n.Staged*96/100, n.Staged/100, n.Staged*3/100, n.Staged/1000, n.Staged/211, gone, missing, minutes(dialect, "600000"), minutes(dialect, "600000")),
		rows + fmt.Sprintf(`INSERT INTO user_prov_account_stagings (user_provisioning_request_id, connected_app_id, user_id, external_user_id, external_username, external_first_name, external_last_name, external_email,
			status, link_state, link_reason, link_rule, attributes, version, partial, change, drift, candidates)
			SELECT '%s', 'connected', CASE WHEN i %% 100 < 96 THEN 'user-' || CAST(1000000000 + i AS TEXT) END, 'x' || i, 'first' || (i %% 997) || '.last' || (i %% 9973) || '.' || i, f, l, 'first' || (i %% 997) || '.' || i || '@example.com',
			'Active', CASE WHEN i %% 100 < 96 THEN 'linked' WHEN i %% 100 = 98 THEN 'duplicate' ELSE 'orphaned' END, 'its username is that of a person', 'username', '{"userName": "somebody", "active": true}'%[2]s, '1', FALSE, '',
			CASE WHEN i %% 211 = 0 THEN '[{"Path": "title", "Want": "a", "Have": "b"}]'%[2]s END, CASE WHEN i %% 1000 = 97 THEN '[{"UserId": "user-1000000001", "Username": "first1", "Score": 0.8}]'%[2]s END FROM p WHERE i <= %d`, RunOf, jsonCast(dialect), n.Staged-gone),
		fmt.Sprintf("INSERT INTO gone_candidates SELECT '%s', number FROM (SELECT number FROM user_prov_accounts WHERE app_name = '%s' ORDER BY number DESC LIMIT %d) AS last", RunOf, BigApp, gone),
		rows + fmt.Sprintf("INSERT INTO recon_users (run, user_id, candidate) SELECT %s, 'user-' || CAST(1000000000 + i AS TEXT), FALSE FROM p WHERE i <= %d", run, n.Users),
		fmt.Sprintf("DELETE FROM user_prov_account_stagings WHERE user_id > 'user-%d' AND user_id <= 'user-%d'", 1000000000+n.Users-missing, 1000000000+n.Users),
		fmt.Sprintf("UPDATE user_prov_accounts SET link_state = 'orphaned', user_id = NULL WHERE user_id > 'user-%d' AND user_id <= 'user-%d'", 1000000000+n.Users-missing, 1000000000+n.Users),
	}
}

// audit is a trail as it looks from outside: its entries' digests are made up.
func audit(dialect string, n Rows, rows string) []string {
	entry := "json_object('number', i, 'time', '2025-01-01T00:00:00Z', 'actor', actor, 'action', action, 'object', json_object('kind', kind, 'name', name), 'outcome', outcome, 'previousHash', 'x')"
	if dialect == "postgres" {
		entry = strings.ReplaceAll(entry, "json_object", "jsonb_build_object")
	}
	return []string{
		rows + `, e AS (SELECT i, CASE WHEN i % 10 = 0 THEN 'user-' || CAST(1000000000 + i % 50 AS TEXT) ELSE 'provost' END AS actor,
			CASE WHEN i % 100000 = 7 THEN 'plugin.upload' WHEN i % 1000 = 0 THEN 'reconcile.start' WHEN i % 3 = 0 THEN 'user.put' ELSE 'request.create' END AS action,
			CASE WHEN i % 100000 = 7 THEN 'plugin' WHEN i % 3 = 0 THEN 'user' ELSE 'request' END AS kind, 'name-' || (i % 5000) AS name,
			CASE WHEN i % 50000 = 9 THEN 'failed' WHEN i % 500 = 9 THEN 'refused' ELSE 'done' END AS outcome, CASE WHEN i % 3 <> 0 THEN 'request-' || CAST(1000000000 + i % 100000 AS TEXT) ELSE '' END AS request FROM p)
			INSERT INTO audit_entries (number, created_date, actor, action, object_kind, object_name, outcome, request_id, entry, hash)
			SELECT i, ` + minutes(dialect, "i / 2") + ", actor, action, kind, name, outcome, request, CAST(" + entry + " AS TEXT), 'made-up-' || i FROM e",
		fmt.Sprintf("UPDATE audit_chain SET number = %d, hash = 'made-up-%d'", n.Audit, n.Audit),
	}
}

func jsonCast(dialect string) string {
	if dialect == "postgres" {
		return "::jsonb"
	}
	return ""
}

// minutes is a time so many minutes after a day of the past.
func minutes(dialect, n string) string {
	if dialect == "postgres" {
		return "TIMESTAMPTZ '2025-01-01 00:00:00+00' + (" + n + ") * INTERVAL '1 minute'"
	}
	return "strftime('%Y-%m-%d %H:%M:%S+00:00', '2025-01-01', '+' || (" + n + ") || ' minutes')"
}
