package storetest

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store"
)

// Look is a listing that somebody looks at: it reads one page.
type Look struct {
	Name string
	Page func(ctx context.Context, t *store.Tx, p store.Page) (rows int, next string, err error)
	Sort string
	// None: it may find nothing.
	None bool
	// Sorted: what is found is sorted, as it is no more than a person can look
	// through.
	Sorted bool
}

// Looks are the listings that people look at, of the rows of [Fill].
func Looks() (list []Look) {
	requests := func(name string, f store.RequestFilter) {
		for _, sort := range []string{"", "-number"} {
			list = append(list, Look{Name: "requests " + name + " " + sort, Sort: sort, Sorted: !f.Since.IsZero(), Page: func(ctx context.Context, t *store.Tx, p store.Page) (int, string, error) {
				rows, next, err := t.ListRequests(ctx, f, p)
				return len(rows), next, err
			}})
		}
	}
	requests("all", store.RequestFilter{})
	requests("of an app", store.RequestFilter{AppName: BigApp})
	requests("of a user", store.RequestFilter{UserId: "user-1000000777"})
	requests("failed", store.RequestFilter{States: []host.RequestState{host.StateFailed}})
	requests("failed or cancelled of an app", store.RequestFilter{AppName: SmallApp, States: []host.RequestState{host.StateFailed, host.StateCancelled}})
	requests("completed of an app", store.RequestFilter{AppName: BigApp, States: []host.RequestState{host.StateCompleted}})
	requests("reconciliations", store.RequestFilter{Operation: host.Reconcile})
	requests("with an error", store.RequestFilter{ErrorCode: host.ConnectorFault})
	requests("to approve", store.RequestFilter{Approval: host.ApprovalRequired})
	requests("for an approver", store.RequestFilter{ApproverId: "user-1000000007"})
	requests("for an approver and a group", store.RequestFilter{Approval: host.ApprovalRequired, ApproverId: "user-1000000007", ApproverGroups: []string{"admins"}})
	requests("of a day", store.RequestFilter{MadeSince: time.Date(2025, 1, 3, 0, 0, 0, 0, time.UTC), MadeBefore: time.Date(2025, 1, 4, 0, 0, 0, 0, time.UTC)})

	week := time.Date(2025, 3, 10, 0, 0, 0, 0, time.UTC) // the last minutes that there are
	requests("of late", store.RequestFilter{Since: week.AddDate(0, 0, -7)})
	requests("of late, in none", store.RequestFilter{Since: week.AddDate(1, 0, 0)})
	requests("of late, failed of an app", store.RequestFilter{AppName: SmallApp, States: []host.RequestState{host.StateFailed}, Since: week.AddDate(0, 0, -30)})
	requests("of late, of a kind", store.RequestFilter{Operation: host.Freeze, Since: week.AddDate(0, 0, -1)})
	requests("of an app and a kind", store.RequestFilter{AppName: SmallApp, Operation: host.Reconcile})
	requests("of a user in an app, failed", store.RequestFilter{AppName: BigApp, UserId: "user-1000000777", States: []host.RequestState{host.StateFailed}})
	requests("of an app with an error", store.RequestFilter{AppName: SmallApp, ErrorCode: host.ConnectorFault})
	requests("of an app, waiting for a review", store.RequestFilter{AppName: SmallApp, States: []host.RequestState{host.StateAnalyzed}})
	requests("cancelled of a kind", store.RequestFilter{Operation: host.Freeze, States: []host.RequestState{host.StateCancelled, host.StateRetried}})
	requests("to approve of an app", store.RequestFilter{AppName: SmallApp, Approval: host.ApprovalRequired})
	requests("of two apps", store.RequestFilter{Apps: []string{SmallApp, "none"}})
	requests("of no app", store.RequestFilter{AppName: "none"})
	accounts := func(name string, f store.AccountFilter, sorts ...string) {
		for _, sort := range append(sorts, "") {
			list = append(list, Look{Name: "accounts " + name + " " + sort, Sort: sort, Sorted: f.Query != "" && sort != "" && sort != "-number", Page: func(ctx context.Context, t *store.Tx, p store.Page) (int, string, error) {
				rows, next, err := t.ListAccounts(ctx, f, p)
				return len(rows), next, err
			}})
		}
	}
	sorts := []string{"-number", "username", "-username", "modified", "-modified"}
	accounts("all", store.AccountFilter{}, "-number")
	accounts("orphaned", store.AccountFilter{LinkState: host.Orphaned}, "-number")
	accounts("drifted", store.AccountFilter{Drifted: true})
	accounts("of two apps", store.AccountFilter{Apps: []string{SmallApp, "none"}}, "-number")
	accounts("of a user", store.AccountFilter{UserId: "user-1000000777"})
	accounts("found by a word", store.AccountFilter{Query: "last345"}, "-number")
	accounts("found by the beginning of a word", store.AccountFilter{Query: "exam"}, "-number")
	accounts("found by a letter", store.AccountFilter{Query: "f"}, "-number")
	for _, app := range []string{BigApp, SmallApp} {
		accounts("of "+app, store.AccountFilter{AppName: app}, sorts...)
		accounts("linked of "+app, store.AccountFilter{AppName: app, LinkState: host.Linked}, sorts...)
		accounts("duplicate of "+app, store.AccountFilter{AppName: app, LinkState: host.Duplicate}, sorts...)
		accounts("drifted of "+app, store.AccountFilter{AppName: app, Drifted: true}, "username", "-username")
	}
	accounts("found in an app", store.AccountFilter{AppName: BigApp, Query: "first12 exam"}, sorts...)
	// What somebody types without thinking of what it costs.
	for _, app := range []string{"", BigApp, SmallApp} {
		for name, query := range map[string]string{"a letter": "f", "a word that all have": "example", "two that all have": "first com", "a word that a third has": "first1", "two that seldom meet": "first1 last2",
			"a word nobody has": "zzz", "one that all have and one that nobody has": "example zzz", "a word within another": "last12 last123", "letters of other scripts": "zürich", "signs": "@.", "an address": "first345.344@example.com", "a number": "x99"} {
			odd := []string{"-number"}
			if app != "" {
				odd = sorts
			}
			accounts("found by "+name+" in "+app, store.AccountFilter{AppName: app, Query: query}, odd...)
			if app != BigApp {
				continue
			}
			for state, f := range map[string]store.AccountFilter{"duplicate": {LinkState: host.Duplicate}, "ignored": {LinkState: host.Ignored}, "drifted": {Drifted: true}, "undecided": {Undecided: true}, "a user's": {UserId: "user-1000000777"}, "two apps'": {Apps: []string{BigApp, "none"}}} {
				f.AppName, f.Query = app, query
				accounts(state+" found by "+name+" in "+app, f, odd[len(odd)-1])
			}
		}
	}

	yes, no := true, false
	users := func(name string, f store.UserListFilter) {
		for _, sort := range []string{"", "username", "-username"} {
			list = append(list, Look{Name: "users " + name + " " + sort, Sort: sort, Sorted: f.Query != "" && sort != "" || f.AppName != "", Page: func(ctx context.Context, t *store.Tx, p store.Page) (int, string, error) {
				rows, next, err := t.ListUsers(ctx, f, p)
				return len(rows), next, err
			}})
		}
	}
	users("all", store.UserListFilter{})
	users("active", store.UserListFilter{Active: &yes})
	users("not active", store.UserListFilter{Active: &no})
	users("found", store.UserListFilter{Query: "first34 exam"})
	users("found by a name", store.UserListFilter{Query: "last345"})
	for name, query := range map[string]string{"a letter": "f", "a word that all have": "example", "two that seldom meet": "first1 last2", "a word nobody has": "zzz", "one that all have and one that nobody has": "example zzz"} {
		users("found by "+name, store.UserListFilter{Query: query})
		users("not active found by "+name, store.UserListFilter{Query: query, Active: &no})
		users("of an app found by "+name, store.UserListFilter{Query: query, AppName: SmallApp})
	}
	users("of an app", store.UserListFilter{AppName: BigApp})
	for _, sort := range []string{"", "-number"} {
		list = append(list, Look{Name: "logs " + sort, Sort: sort, Page: func(ctx context.Context, t *store.Tx, p store.Page) (int, string, error) {
			rows, next, err := t.ListLogs(ctx, store.LogFilter{UserId: "user-1000000777"}, p)
			return len(rows), next, err
		}})
	}
	list = append(list, otherLooks()...)
	for i, l := range list {
		list[i].None = slices.ContainsFunc([]string{"found by", "of late", "in an app, failed", "of an app, waiting", "cancelled of a kind", "of no ", "of a request", "did nothing", "did, failed", "of a noun", "staged", "of an early day", "of an app and a kind", "of an app with an error", "to approve of an app"}, func(part string) bool { return strings.Contains(l.Name, part) })
	}
	return list
}

// otherLooks are those of lists that have no sorts: the audit trail, and what a
// run has staged.
func otherLooks() (list []Look) {
	trail := func(name string, f store.AuditFilter) {
		list = append(list, Look{Name: "audit " + name, Page: func(ctx context.Context, t *store.Tx, p store.Page) (int, string, error) {
			f := f
			f.Newest, f.Limit = true, p.Limit
			f.Before, _ = strconv.ParseInt(p.Cursor, 10, 64)
			rows, err := t.AuditEntries(ctx, f)
			if len(rows) < p.Limit {
				return len(rows), "", err
			}
			return len(rows), strconv.FormatInt(rows[len(rows)-1].Number, 10), err
		}})
	}
	trail("all", store.AuditFilter{})
	trail("of a noun", store.AuditFilter{Action: "plugin"})
	trail("of an action", store.AuditFilter{Action: "reconcile.start"})
	trail("of no action", store.AuditFilter{Action: "config"})
	trail("failed", store.AuditFilter{Outcome: host.AuditFailed})
	trail("refused of a noun", store.AuditFilter{Outcome: host.AuditRefused, Action: "user"})
	trail("failed of a noun", store.AuditFilter{Outcome: host.AuditFailed, Action: "plugin"})
	trail("of who did", store.AuditFilter{Actor: "user-1000000010"})
	trail("of who did nothing", store.AuditFilter{Actor: "nobody"})
	trail("of who did, failed", store.AuditFilter{Actor: "user-1000000010", Outcome: host.AuditFailed})
	trail("of a request", store.AuditFilter{RequestId: "request-1000000777"})
	trail("of no request", store.AuditFilter{RequestId: "none"})
	trail("of an object", store.AuditFilter{ObjectKind: "user", ObjectName: "name-777"})
	trail("of late", store.AuditFilter{Since: time.Date(2025, 12, 10, 0, 0, 0, 0, time.UTC)})
	trail("of late, in none", store.AuditFilter{Since: time.Date(2026, 12, 10, 0, 0, 0, 0, time.UTC)})
	trail("of late, of a noun", store.AuditFilter{Action: "plugin", Since: time.Date(2025, 6, 10, 0, 0, 0, 0, time.UTC)})
	trail("of an early day", store.AuditFilter{Since: time.Date(2025, 1, 2, 0, 0, 0, 0, time.UTC), Until: time.Date(2025, 1, 3, 0, 0, 0, 0, time.UTC)})

	found := func(name string, f host.StagingFilter) {
		list = append(list, Look{Name: "staged " + name, Page: func(ctx context.Context, t *store.Tx, p store.Page) (int, string, error) {
			f := f
			f.RequestId, f.Limit = RunOf, p.Limit
			f.After, _ = strconv.ParseInt(p.Cursor, 10, 64)
			rows, err := t.StagedWhere(ctx, f)
			if len(rows) < p.Limit {
				return len(rows), "", err
			}
			return len(rows), strconv.FormatInt(rows[len(rows)-1].Number, 10), err
		}})
	}
	found("all", host.StagingFilter{})
	for _, state := range []host.LinkState{host.Linked, host.Duplicate, host.Orphaned, host.Ignored} {
		found(string(state), host.StagingFilter{LinkState: state})
	}
	found("that differ", host.StagingFilter{Drifted: true})
	found("with candidates", host.StagingFilter{Candidates: true})
	found("of a decision", host.StagingFilter{DecisionId: "none"})
	for name, query := range map[string]string{"a letter": "f", "a word that all have": "example", "a name": "first12.last12.12", "a part nobody has": "zzz", "an id": "x777777"} {
		found("found by "+name, host.StagingFilter{Begins: query})
		found("duplicate found by "+name, host.StagingFilter{Begins: query, LinkState: host.Duplicate})
	}
	gone := host.GoneFilter{AppName: BigApp, RequestId: RunOf, Since: time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC)}
	list = append(list, Look{Name: "gone", Page: func(ctx context.Context, t *store.Tx, p store.Page) (int, string, error) {
		f := gone
		f.Limit = p.Limit
		f.After, _ = strconv.ParseInt(p.Cursor, 10, 64)
		rows, err := t.LinkedGone(ctx, f)
		if len(rows) < p.Limit {
			return len(rows), "", err
		}
		return len(rows), strconv.FormatInt(rows[len(rows)-1].Number, 10), err
	}})
	list = append(list, Look{Name: "missing", Page: func(ctx context.Context, t *store.Tx, p store.Page) (int, string, error) {
		run, err := t.Request(ctx, RunOf)
		if err != nil {
			return 0, "", err
		}
		rows, err := t.MissingUsers(ctx, host.MissingFilter{AppName: BigApp, RequestId: RunOf, Run: run.Number, Whole: true, Since: gone.Since, After: p.Cursor, Limit: p.Limit})
		if len(rows) < p.Limit {
			return len(rows), "", err
		}
		return len(rows), rows[len(rows)-1], err
	}})
	return list
}
