package provision_test

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/pdk"
)

// tables are all that the database has.
func (w *world) tables() (names []string) {
	query := "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
	if w.store.Dialect() == "postgres" {
		query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
	}
	return w.column(query)
}

func (w *world) column(query string) (values []string) {
	w.t.Helper()
	rows, err := w.store.DB().QueryContext(w.t.Context(), query)
	require.NoError(w.t, err)
	defer rows.Close()
	for rows.Next() {
		var v string
		require.NoError(w.t, rows.Scan(&v))
		values = append(values, v)
	}
	require.NoError(w.t, rows.Err())
	return values
}

// dump is every row of every table as text.
func (w *world) dump() map[string]string {
	w.t.Helper()
	all := map[string]string{}
	for _, table := range w.tables() {
		rows, err := w.store.DB().QueryContext(w.t.Context(), "SELECT * FROM "+table)
		require.NoError(w.t, err)
		columns, err := rows.Columns()
		require.NoError(w.t, err)
		var text strings.Builder
		for rows.Next() {
			values, into := make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			require.NoError(w.t, rows.Scan(into...))
			for i, v := range values {
				if b, ok := v.([]byte); ok {
					v = string(b)
				}
				fmt.Fprintf(&text, "%s=%v\n", columns[i], v)
			}
		}
		require.NoError(w.t, rows.Err())
		require.NoError(w.t, rows.Close())
		all[table] = text.String()
	}
	return all
}

func TestNothingOfAnErasedPersonIsLeft(t *testing.T) {
	const canary = "zq7canary"
	storetest.Each(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		rules := []string{"userName = user.Username", "email = user.Email", "title = user.Title"}
		fill := func(u *host.User) {
			for v, i := reflect.ValueOf(&u.User).Elem(), 0; i < v.NumField(); i++ {
				if f := v.Field(i); f.Kind() == reflect.String && v.Type().Field(i).Name != "Id" && v.Type().Field(i).Name != "ManagerId" {
					f.SetString(canary + strings.ToLower(v.Type().Field(i).Name))
				}
			}
			u.Custom = map[string]any{"shoe": canary + "shoe"}
		}
		w.app("acme", func(c *host.UserProvisioningConfig) {
			c.UserAccountMapping, c.ApprovalRequired, c.ApprovalOperations, c.ApprovalExpires = rules, "manager", []host.Operation{host.Create}, time.Hour
		})
		w.user("boss", nil)
		ada := w.user("ada", []string{}, fill)
		// Another whose manager is the one to be erased, and who was let in by her.
		kay := w.user("kay", []string{"acme"}, func(u *host.User) { u.ManagerId = ada.Username })
		require.NoError(t, w.approve(ada.Username, w.last().Id))
		w.change(ada.Id, func(u *host.User) { u.ManagerId = "boss" })
		w.assign(ada.Id, "acme", true)
		require.NoError(t, w.deny("boss", w.last().Id, "because of "+canary+"reason"))
		_, err := w.retry(w.last().Id)
		require.NoError(t, err)
		require.NoError(t, w.approve("boss", w.last().Id))
		w.settle()
		w.target.next(pdk.OpUpdate, reply{err: host.Errorf(host.InvalidInput, "%s is not allowed", canary)})
		w.change(ada.Id, func(u *host.User) { u.Title = canary + "new" })
		w.settle()
		w.change(ada.Id, func(u *host.User) { u.IsActive = false })
		w.settle()
		before := w.requests()
		w.do(func(ctx context.Context, tx harnessTx) error {
			// What she signs in with, and a credential that she authorized for all.
			for _, user := range []string{ada.Id, ""} {
				a, err := tx.Authorization(ctx, "Acme", user, true)
				if err != nil {
					return err
				}
				a.State, a.Principal, a.GrantedBy = host.Authorized, ada.Email, ada.Username
				if user != "" {
					a.Sealed = canary + "sealed"
				}
				if err := tx.PutAuthorization(ctx, a); err != nil {
					return err
				}
			}
			return tx.PutUserKeys(ctx, before[0].Number, []host.UserKey{{Key: canary + "key", UserId: ada.Id}}, nil)
		})
		found := ""
		for _, text := range w.dump() {
			found += text
		}
		require.Contains(t, found, canary+"shoe", "the search would find it")

		w.do(func(ctx context.Context, tx harnessTx) error {
			u, err := tx.User(ctx, ada.Id)
			if err != nil {
				return err
			}
			_, err = tx.Erase(ctx, u, host.Administrator("root"), w.clock())
			return err
		})
		require.NoError(t, w.store.Scrub(t.Context()))
		for table, text := range w.dump() {
			require.NotContains(t, strings.ToLower(text), canary, table)
		}
		if file, ok := strings.CutPrefix(url, "sqlite://"); ok {
			for _, suffix := range []string{"", "-wal"} {
				b, err := os.ReadFile(file + suffix)
				if suffix == "" {
					require.NoError(t, err)
				}
				require.NotContains(t, strings.ToLower(string(b)), canary, "in %s", file+suffix)
			}
		}
		after := w.requests()
		require.Len(t, after, len(before), "that there were requests stays")
		for i := range after {
			require.Equal(t, before[i].State, after[i].State)
			require.Equal(t, before[i].Operation, after[i].Operation)
		}
		require.Equal(t, "(erased)", w.request(before[0].Id).ApprovedBy)
		require.NotNil(t, w.account(kay.Id, "acme"))
		w.do(func(ctx context.Context, tx harnessTx) error {
			list, err := tx.Erasures(ctx, 10)
			require.Len(t, list, 1)
			require.Equal(t, "administrator (root)", list[0].Actor)
			require.EqualValues(t, 1, list[0].Accounts)
			return err
		})
	})
}

func TestRetentionKeepsTheNewestWhatIsRetriedAndTheCounts(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme")
		ada := w.user("ada", []string{"acme"})
		w.settle()
		for i := range 60 {
			w.change(ada.Id, func(u *host.User) { u.Title = fmt.Sprint("title ", i) })
			w.settle()
		}
		w.pass(24 * time.Hour)
		w.target.next(pdk.OpUpdate, fails(host.InvalidInput))
		w.change(ada.Id, func(u *host.User) { u.Title = "last but one" })
		w.settle()
		_, err := w.retry(w.last().Id)
		require.NoError(t, err)
		w.settle()
		counts := func() (m map[host.RequestState]int64) {
			w.do(func(ctx context.Context, tx harnessTx) (err error) {
				m, err = tx.CountRequestsByState(ctx, "acme")
				return err
			})
			return m
		}
		all := counts()
		prune := func(before time.Time, dry bool) map[string]int64 {
			n := map[string]int64{}
			require.NoError(t, w.store.Prune(t.Context(), store.Retention{Requests: before, Runs: before, DryRun: dry}, func(table string, rows int64) {
				require.LessOrEqual(t, rows, int64(200))
				n[table] += rows
			}))
			return n
		}
		require.Empty(t, prune(w.clock().Add(-48*time.Hour), false))
		young := w.clock().Add(-time.Hour)
		would := prune(young, true)
		require.EqualValues(t, 61, would["user_provisioning_requests"])
		require.Len(t, w.requests(), 63)
		require.Equal(t, would, prune(young, false))
		require.Equal(t, []string{"Update Retried", "Update Completed"}, w.outline())
		require.Equal(t, all, counts(), "totals do not shrink")
		require.Empty(t, prune(w.clock().Add(time.Hour), false), "the newest of an account, and what it retries, are kept")
		for _, r := range w.requests() {
			require.NotEmpty(t, w.logs(r.Id))
		}
	})
}
