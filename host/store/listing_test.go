package store_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
)

// look is a listing that somebody looks at: it reads one page.
type look struct {
	name string
	page func(ctx context.Context, t *store.Tx, p store.Page) (rows int, next string, err error)
	sort string
	// sorts: what is found is sorted, as it is no more than a person can look
	// through.
	sorts bool
}

func looks() (list []look) {
	requests := func(name string, f store.RequestFilter) {
		for _, sort := range []string{"", "-number"} {
			list = append(list, look{name: "requests " + name + " " + sort, sort: sort, page: func(ctx context.Context, t *store.Tx, p store.Page) (int, string, error) {
				rows, next, err := t.ListRequests(ctx, f, p)
				return len(rows), next, err
			}})
		}
	}
	requests("all", store.RequestFilter{})
	requests("of an app", store.RequestFilter{AppName: storetest.BigApp})
	requests("of a user", store.RequestFilter{UserId: "user-1000000777"})
	requests("failed", store.RequestFilter{States: []host.RequestState{host.StateFailed}})
	requests("failed or cancelled of an app", store.RequestFilter{AppName: storetest.SmallApp, States: []host.RequestState{host.StateFailed, host.StateCancelled}})
	requests("completed of an app", store.RequestFilter{AppName: storetest.BigApp, States: []host.RequestState{host.StateCompleted}})
	requests("reconciliations", store.RequestFilter{Operation: host.Reconcile})
	requests("with an error", store.RequestFilter{ErrorCode: host.ConnectorFault})
	requests("to approve", store.RequestFilter{Approval: host.ApprovalRequired})
	requests("for an approver", store.RequestFilter{ApproverId: "user-1000000007"})
	requests("for an approver and a group", store.RequestFilter{Approval: host.ApprovalRequired, ApproverId: "user-1000000007", ApproverGroups: []string{"admins"}})
	requests("of a day", store.RequestFilter{MadeSince: time.Date(2025, 1, 3, 0, 0, 0, 0, time.UTC), MadeBefore: time.Date(2025, 1, 4, 0, 0, 0, 0, time.UTC)})

	accounts := func(name string, f store.AccountFilter, sorts ...string) {
		for _, sort := range append(sorts, "") {
			list = append(list, look{name: "accounts " + name + " " + sort, sort: sort, sorts: f.Query != "" && sort != "" && sort != "-number", page: func(ctx context.Context, t *store.Tx, p store.Page) (int, string, error) {
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
	for _, app := range []string{storetest.BigApp, storetest.SmallApp} {
		accounts("of "+app, store.AccountFilter{AppName: app}, sorts...)
		accounts("linked of "+app, store.AccountFilter{AppName: app, LinkState: host.Linked}, sorts...)
		accounts("duplicate of "+app, store.AccountFilter{AppName: app, LinkState: host.Duplicate}, sorts...)
		accounts("drifted of "+app, store.AccountFilter{AppName: app, Drifted: true}, "username", "-username")
	}
	accounts("found in an app", store.AccountFilter{AppName: storetest.BigApp, Query: "first12 exam"}, sorts...)

	yes, no := true, false
	users := func(name string, f store.UserListFilter) {
		for _, sort := range []string{"", "username", "-username"} {
			list = append(list, look{name: "users " + name + " " + sort, sort: sort, page: func(ctx context.Context, t *store.Tx, p store.Page) (int, string, error) {
				rows, next, err := t.ListUsers(ctx, f, p)
				return len(rows), next, err
			}})
		}
	}
	users("all", store.UserListFilter{})
	users("active", store.UserListFilter{Active: &yes})
	users("not active", store.UserListFilter{Active: &no})
	users("found", store.UserListFilter{Query: "st345.7"})
	users("found by what all have", store.UserListFilter{Query: "example"})
	for _, sort := range []string{"", "-number"} {
		list = append(list, look{name: "logs " + sort, sort: sort, page: func(ctx context.Context, t *store.Tx, p store.Page) (int, string, error) {
			rows, next, err := t.ListLogs(ctx, store.LogFilter{UserId: "user-1000000777"}, p)
			return len(rows), next, err
		}})
	}
	return list
}

// mostBlocks is what PostgreSQL may look at for a page: some 16 MB.
const mostBlocks = 2000

func TestNoListingReadsMoreThanItsPage(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s, ctx := open(t, url), t.Context()
		require.NoError(t, storetest.Fill(ctx, s.DB(), s.Dialect(), storetest.Rows{Users: 10_000, Accounts: 50_000, Requests: 10_000}))
		for _, l := range looks() {
			next := ""
			for pages := range 2 {
				var plans []string
				undo := store.Listed(func(query string, _ []any, explain func(string) []string) {
					if s.Dialect() == "sqlite" {
						plans = append(plans, explain("EXPLAIN QUERY PLAN ")...)
						return
					}
					plan := strings.Join(explain("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY OFF) "), "\n")
					read := 0
					for _, m := range regexp.MustCompile(`(?:hit|read)=(\d+)`).FindAllStringSubmatch(strings.SplitAfterN(plan, "Buffers:", 2)[1], 2) {
						n, _ := strconv.Atoi(m[1])
						read += n
					}
					require.Less(t, read, mostBlocks, "%s, page %d:\n%s\n%s", l.name, pages, query, plan)
				})
				t.Cleanup(undo)
				require.NoError(t, s.View(ctx, func(tx *store.Tx) (err error) {
					rows := 0
					rows, next, err = l.page(ctx, tx, store.Page{Sort: l.sort, Cursor: next, Limit: 50})
					if err == nil && pages == 0 {
						require.Positive(t, rows, l.name)
					}
					return err
				}), l.name)
				undo()
				for _, line := range plans {
					require.False(t, !l.sorts && strings.Contains(line, "USE TEMP B-TREE FOR ORDER BY"), "%s, page %d sorts:\n%s", l.name, pages, strings.Join(plans, "\n"))
					require.NotRegexp(t, `^SCAN (users|a|user_\w+)$`, unfiltered(l.name, line), "%s, page %d:\n%s", l.name, pages, strings.Join(plans, "\n"))
				}
				if next == "" {
					break
				}
			}
		}
	})
}

// unfiltered leaves out the scan that is in order and has nothing to leave out.
func unfiltered(name, line string) string {
	if strings.Contains(name, " all ") || strings.Contains(name, " of a day ") {
		return ""
	}
	return line
}

func TestPagesHaveEachRowOnceWhateverComesOrGoes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s, ctx := open(t, url), t.Context()
		require.NoError(t, storetest.Fill(ctx, s.DB(), s.Dialect(), storetest.Rows{Users: 100, Accounts: 300, Requests: 200}))
		for _, sort := range []string{"", "-number", "username", "-username", "modified", "-modified"} {
			var names []string
			var list []*host.UserProvAccount
			next := ""
			for {
				require.NoError(t, s.View(ctx, func(tx *store.Tx) (err error) {
					list, next, err = tx.ListAccounts(ctx, store.AccountFilter{AppName: storetest.BigApp, LinkState: host.Linked}, store.Page{Sort: sort, Cursor: next, Limit: 17})
					return err
				}))
				for _, a := range list {
					names = append(names, a.Name())
				}
				if next == "" {
					break
				}
				// What ended the page goes, and is no row of the next.
				require.NoError(t, s.Update(ctx, func(tx *store.Tx) error {
					a := *list[len(list)-1]
					a.ExternalUsername, a.LastModifiedDate, a.LinkState = "gone", time.Now(), host.Ignored
					if err := tx.PutAccount(ctx, &a); err != nil {
						return err
					}
					return tx.PutAccount(ctx, list[len(list)-1]) // and is back
				}))
			}
			var all int64
			require.NoError(t, s.View(ctx, func(tx *store.Tx) (err error) {
				all, err = tx.CountListedAccounts(ctx, store.AccountFilter{AppName: storetest.BigApp, LinkState: host.Linked})
				return err
			}))
			require.Greater(t, all, int64(200))
			require.Len(t, names, int(all), sort)
			require.Len(t, slices.Compact(slices.Sorted(slices.Values(names))), int(all), sort)
		}
		var numbers []int64
		next := ""
		for {
			var list []*host.UserProvisioningRequest
			require.NoError(t, s.View(ctx, func(tx *store.Tx) (err error) {
				list, next, err = tx.ListRequests(ctx, store.RequestFilter{States: []host.RequestState{host.StateFailed, host.StateNew}}, store.Page{Sort: "-number", Cursor: next, Limit: 2})
				return err
			}))
			for _, r := range list {
				numbers = append(numbers, r.Number)
			}
			if next == "" {
				break
			}
		}
		require.Equal(t, []int64{161, 121, 102, 81, 41, 2, 1}, numbers)
	})
}

func TestWhoLooksForAnAccountFindsItByTheBeginningsOfWords(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s, ctx := open(t, url), t.Context()
		put := func(a *host.UserProvAccount) {
			require.NoError(t, s.Update(ctx, func(tx *store.Tx) error { return tx.PutAccount(ctx, a) }))
		}
		a := &host.UserProvAccount{Id: "a", AppName: "acme", ExternalUserId: "0a1f-77e3", ExternalUsername: "Grace.Hopper@navy.example", ExternalFirstName: "Grace", ExternalLastName: "O'Hopper-Murray",
			ExternalEmail: "g.hopper@example.com", LinkState: host.Orphaned, CreatedDate: time.Now(), LastModifiedDate: time.Now()}
		put(a)
		found := func(query string) int64 {
			var n int64
			require.NoError(t, s.View(ctx, func(tx *store.Tx) (err error) {
				n, err = tx.CountListedAccounts(ctx, store.AccountFilter{Query: query})
				return err
			}), "%q", query)
			return n
		}
		for _, query := range []string{"g", "gra", "HOPPER", "hop gra", "navy.exam", "hopper@example.com", "murray", "0a1f", "77e3", "", "  ", "grace.hopper@navy.example"} {
			require.EqualValues(t, 1, found(query), query)
		}
		for _, query := range []string{"opper", "ada", "hopper ada", "'\"*)(:&|!", "%", "_", "\x00", "NEAR(", "-gra x", "\U0001F600", "é"} {
			require.Zero(t, found(query), query)
		}
		b := *a
		b.ExternalUsername, b.ExternalFirstName, b.ExternalEmail = "ada", "Ada", "ada@example.com"
		put(&b)
		require.Zero(t, found("grace"))
		require.EqualValues(t, 1, found("ada"))
		_, err := s.DB().ExecContext(ctx, "DELETE FROM user_prov_accounts")
		require.NoError(t, err)
		require.Zero(t, found("ada"))
	})
}

func TestACursorIsForItsListingAndSaysNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s, ctx := open(t, url), t.Context()
		require.NoError(t, storetest.Fill(ctx, s.DB(), s.Dialect(), storetest.Rows{Users: 10, Accounts: 30, Requests: 10}))
		cursor := ""
		accounts := func(app string, p store.Page) error {
			return s.View(ctx, func(tx *store.Tx) (err error) {
				_, cursor, err = tx.ListAccounts(ctx, store.AccountFilter{AppName: app}, p)
				return err
			})
		}
		require.NoError(t, accounts(storetest.BigApp, store.Page{Sort: "username", Limit: 5}))
		mine := cursor
		require.NotEmpty(t, mine)
		require.NoError(t, accounts(storetest.BigApp, store.Page{Cursor: mine, Limit: 5}), "the sort is the cursor's")
		refused := func(err error, field string) {
			var e *host.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, host.InvalidInput, e.Code)
			require.Equal(t, field, e.Field)
		}
		refused(accounts(storetest.BigApp, store.Page{Sort: "-username", Cursor: mine, Limit: 5}), "cursor")
		refused(accounts(storetest.BigApp, store.Page{Cursor: mine[:len(mine)-2] + "AA", Limit: 5}), "cursor")
		refused(accounts(storetest.BigApp, store.Page{Cursor: "é", Limit: 5}), "cursor")
		refused(accounts(storetest.BigApp, store.Page{Sort: "id; DROP TABLE users", Limit: 5}), "sort")
		refused(accounts("", store.Page{Sort: "username", Limit: 5}), "sort")
		refused(s.View(ctx, func(tx *store.Tx) error {
			_, _, err := tx.ListUsers(ctx, store.UserListFilter{}, store.Page{Cursor: mine, Limit: 5})
			return err
		}), "cursor")
		require.NotContains(t, mine, "first")
		again := open(t, copied(t, s, url))
		require.NoError(t, again.View(ctx, func(tx *store.Tx) error {
			_, _, err := tx.ListAccounts(ctx, store.AccountFilter{AppName: storetest.BigApp}, store.Page{Cursor: mine, Limit: 5})
			return err
		}), "another machine knows it")
	})
}

// copied is the URL of the same database for another process.
func copied(t *testing.T, s *store.Store, url string) string {
	if s.Dialect() == "postgres" {
		return url
	}
	file := t.TempDir() + "/copy.db"
	_, err := s.DB().ExecContext(t.Context(), fmt.Sprintf("VACUUM INTO '%s'", file))
	require.NoError(t, err)
	return "sqlite://" + file
}
