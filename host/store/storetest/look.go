package storetest

import (
	"context"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store"
)

// Look is a listing that somebody looks at: it reads one page.
type Look struct {
	Name string
	Page func(ctx context.Context, t *store.Tx, p store.Page) (rows int, next string, err error)
	Sort string
	// Sorted: what is found is sorted, as it is no more than a person can look
	// through.
	Sorted bool
}

// Looks are the listings that people look at, of the rows of [Fill].
func Looks() (list []Look) {
	requests := func(name string, f store.RequestFilter) {
		for _, sort := range []string{"", "-number"} {
			list = append(list, Look{Name: "requests " + name + " " + sort, Sort: sort, Page: func(ctx context.Context, t *store.Tx, p store.Page) (int, string, error) {
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

	yes, no := true, false
	users := func(name string, f store.UserListFilter) {
		for _, sort := range []string{"", "username", "-username"} {
			list = append(list, Look{Name: "users " + name + " " + sort, Sort: sort, Sorted: f.Query != "" && sort != "", Page: func(ctx context.Context, t *store.Tx, p store.Page) (int, string, error) {
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
	for _, sort := range []string{"", "-number"} {
		list = append(list, Look{Name: "logs " + sort, Sort: sort, Page: func(ctx context.Context, t *store.Tx, p store.Page) (int, string, error) {
			rows, next, err := t.ListLogs(ctx, store.LogFilter{UserId: "user-1000000777"}, p)
			return len(rows), next, err
		}})
	}
	return list
}
