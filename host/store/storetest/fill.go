package storetest

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// Rows says how many rows [Fill] makes.
type Rows struct{ Users, Accounts, Requests int }

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
