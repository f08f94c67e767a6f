package store_test

import (
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

// mostBlocks is what PostgreSQL may look at for a page: some 16 MB.
const mostBlocks = 2000

func TestNoListingReadsMoreThanItsPage(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s, ctx := open(t, url), t.Context()
		require.NoError(t, storetest.Fill(ctx, s.DB(), s.Dialect(), storetest.Rows{Users: 10_000, Accounts: 50_000, Requests: 10_000, Staged: 20_000, Audit: 20_000}))
		for _, l := range storetest.Looks() {
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
					for _, m := range regexp.MustCompile(`(?:hit|read)=(\d+)`).FindAllStringSubmatch(strings.SplitN(strings.SplitAfterN(plan, "Buffers:", 2)[1], "\n", 2)[0], 2) {
						n, _ := strconv.Atoi(m[1])
						read += n
					}
					require.True(t, l.Sorted || read < mostBlocks, "%s, page %d:\n%s\n%s", l.Name, pages, query, plan)
				})
				t.Cleanup(undo)
				require.NoError(t, s.View(ctx, func(tx *store.Tx) (err error) {
					rows := 0
					rows, next, err = l.Page(ctx, tx, store.Page{Sort: l.Sort, Cursor: next, Limit: 50})
					if err == nil && pages == 0 && !l.None {
						require.Positive(t, rows, l.Name)
					}
					return err
				}), l.Name)
				undo()
				for _, line := range plans {
					require.False(t, !l.Sorted && strings.Contains(line, "USE TEMP B-TREE FOR ORDER BY"), "%s, page %d sorts:\n%s", l.Name, pages, strings.Join(plans, "\n"))
					require.NotRegexp(t, `^SCAN (users|a|user_\w+)$`, unfiltered(l.Name, line), "%s, page %d:\n%s", l.Name, pages, strings.Join(plans, "\n"))
				}
				if next == "" {
					break
				}
			}
		}
	})
}

// unfiltered leaves out the scan that is in order and has nothing to leave out, or
// ends after so many rows.
func unfiltered(name, line string) string {
	if strings.HasPrefix(name, "accounts found") || strings.HasPrefix(name, "users found") || strings.HasPrefix(name, "users of an app") || strings.Contains(name, " all ") || strings.Contains(name, " of a day ") || strings.Contains(name, " of late") {
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
			var all store.Counted
			require.NoError(t, s.View(ctx, func(tx *store.Tx) (err error) {
				all, err = tx.CountListedAccounts(ctx, store.AccountFilter{AppName: storetest.BigApp, LinkState: host.Linked})
				return err
			}))
			require.Greater(t, all.N, int64(200))
			require.Len(t, names, int(all.N), sort)
			require.Len(t, slices.Compact(slices.Sorted(slices.Values(names))), int(all.N), sort)
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

func TestASearchFindsEachRowOnceInOrder(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) { searchEverything(t, url, true) })
}

func TestASearchFindsEachRowOnceInOrderHoweverLittleItMayLookAt(t *testing.T) {
	t.Cleanup(store.NarrowSearches())
	storetest.Each(t, func(t *testing.T, url string) { searchEverything(t, url, false) })
}

// searchEverything compares each search with a look at all rows. Where little
// may be sorted, what is found may come by number instead.
func searchEverything(t *testing.T, url string, sorts bool) {
	s, ctx := open(t, url), t.Context()
	require.NoError(t, storetest.Fill(ctx, s.DB(), s.Dialect(), storetest.Rows{Users: 100, Accounts: 300, Requests: 1}))
	var all []*host.UserProvAccount
	require.NoError(t, s.View(ctx, func(tx *store.Tx) (err error) {
		all, err = tx.Accounts(ctx, store.AccountFilter{AppName: storetest.BigApp, Limit: 1000})
		return err
	}))
	for _, query := range []string{"f", "example", "first1 exam", "last12", "first29 example com", "zzz", "example zzz", "x7", "last1 last2", "LAST12 last123", "é", "first2"} {
		for _, f := range []store.AccountFilter{{}, {LinkState: host.Orphaned}, {Drifted: true}} {
			f.AppName, f.Query = storetest.BigApp, query
			want := map[int64]bool{}
			for _, a := range all {
				text := " " + regexp.MustCompile("[^a-z0-9]").ReplaceAllString(strings.ToLower(a.ExternalUserId+" "+a.ExternalUsername+" "+a.ExternalFirstName+" "+a.ExternalLastName+" "+a.ExternalEmail), " ")
				if has := func(word string) bool { return strings.Contains(text, " "+word) }; !slices.ContainsFunc(strings.Fields(strings.ToLower(query)), func(w string) bool { return !has(w) }) &&
					(f.LinkState == "" || a.LinkState == f.LinkState) && (!f.Drifted || len(a.Drift) > 0) {
					want[a.Number] = true
				}
			}
			var counted store.Counted
			require.NoError(t, s.View(ctx, func(tx *store.Tx) (err error) {
				counted, err = tx.CountListedAccounts(ctx, f)
				return err
			}))
			require.True(t, counted.N == int64(len(want)) && !counted.More || counted.More && counted.N <= int64(len(want)), "%q %v: %v of %d", query, f.LinkState, counted, len(want))
			for _, sort := range []string{"", "-number", "username", "-username", "modified", "-modified"} {
				var got []*host.UserProvAccount
				for next, pages := "", 0; pages == 0 || next != ""; pages++ {
					require.Less(t, pages, 100)
					require.NoError(t, s.View(ctx, func(tx *store.Tx) (err error) {
						var rows []*host.UserProvAccount
						rows, next, err = tx.ListAccounts(ctx, f, store.Page{Sort: sort, Cursor: next, Limit: 7})
						got = append(got, rows...)
						return err
					}))
				}
				require.Len(t, got, len(want), "%q %v %s", query, f, sort)
				before := func(a, b *host.UserProvAccount) bool {
					if strings.HasPrefix(sort, "-") {
						a, b = b, a
					}
					switch strings.TrimPrefix(sort, "-") {
					case "modified":
						return a.LastModifiedDate.Before(b.LastModifiedDate)
					case "username":
						return true // the database has an order of its own; see Len
					}
					return a.Number < b.Number
				}
				byNumber := func(a, b *host.UserProvAccount) bool {
					return a.Number < b.Number != strings.HasPrefix(sort, "-")
				}
				sorted, numbered := true, !sorts
				for i, a := range got {
					require.True(t, want[a.Number], "%q %s", query, sort)
					delete(want, a.Number)
					sorted = sorted && (i == 0 || before(got[i-1], a))
					numbered = numbered && (i == 0 || byNumber(got[i-1], a))
				}
				require.True(t, sorted || numbered, "%q %s", query, sort)
				for _, a := range got {
					want[a.Number] = true
				}
			}
		}
	}
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
			var n store.Counted
			require.NoError(t, s.View(ctx, func(tx *store.Tx) (err error) {
				n, err = tx.CountListedAccounts(ctx, store.AccountFilter{Query: query})
				return err
			}), "%q", query)
			return n.N
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

func TestWhoLooksForAPersonFindsAllOnPages(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s, ctx := open(t, url), t.Context()
		require.NoError(t, storetest.Fill(ctx, s.DB(), s.Dialect(), storetest.Rows{Users: 120, Accounts: 1, Requests: 1}))
		for _, sort := range []string{"", "-created", "username", "-username"} {
			seen := map[string]bool{}
			for next := ""; ; {
				var list []*host.User
				require.NoError(t, s.View(ctx, func(tx *store.Tx) (err error) {
					list, next, err = tx.ListUsers(ctx, store.UserListFilter{Query: "exam LAST1"}, store.Page{Sort: sort, Cursor: next, Limit: 7})
					return err
				}))
				for _, u := range list {
					seen[u.Username] = true
				}
				if next == "" {
					break
				}
			}
			require.Len(t, seen, 32, sort) // 1, 10 to 19, 100 to 120
		}
		require.NoError(t, s.Update(ctx, func(tx *store.Tx) error {
			u, err := tx.UserByUsername(ctx, "first1.last1.1")
			if err != nil {
				return err
			}
			u.LastName, u.Username, u.Email = "Renamed", "renamed", ""
			return tx.PutUser(ctx, u)
		}))
		require.NoError(t, s.View(ctx, func(tx *store.Tx) error {
			for query, n := range map[string]int64{"renamed": 1, "ren": 1, "named": 0, "last1": 31} {
				found, err := tx.CountListedUsers(ctx, store.UserListFilter{Query: query})
				require.NoError(t, err)
				require.Equal(t, store.Counted{N: n}, found, query)
			}
			return nil
		}))
	})
}

func TestACallIsKnownForADay(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s, ctx, now := open(t, url), t.Context(), time.Now()
		begin := func(at time.Time) (there *store.OnceCall) {
			require.NoError(t, s.Update(ctx, func(tx *store.Tx) (err error) {
				there, err = tx.BeginOnce(ctx, &store.OnceCall{Key: "k", Body: "b", CreatedDate: at})
				return err
			}))
			return there
		}
		require.Nil(t, begin(now))
		require.Zero(t, begin(now).Status, "under way")
		require.NoError(t, s.Update(ctx, func(tx *store.Tx) error {
			return tx.EndOnce(ctx, &store.OnceCall{Key: "k", Status: 200, ContentType: "application/json", Answer: "{}", Kept: true})
		}))
		require.Equal(t, "{}", begin(now.Add(23*time.Hour)).Answer)
		require.Nil(t, begin(now.Add(25*time.Hour)), "forgotten")
		require.NoError(t, s.Update(ctx, func(tx *store.Tx) error { return tx.ForgetOnce(ctx, "k") }))
		require.Nil(t, begin(now))
	})
}
