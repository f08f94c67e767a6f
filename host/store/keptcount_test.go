package store_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
)

func TestKeptCountsAreThoseOfTheRowsWhateverIsWritten(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s, ctx := open(t, url), t.Context()
		require.NoError(t, storetest.Fill(ctx, s.DB(), s.Dialect(), storetest.Rows{Users: 200, Accounts: 300, Requests: 1}))
		random := rand.New(rand.NewPCG(1, 2))
		states := []host.LinkState{host.Linked, host.Duplicate, host.Orphaned, host.Ignored}
		for round := range 30 {
			if round%7 == 3 { // by two machines at once
				var folding errgroup.Group
				folding.Go(func() error { return s.FoldCounts(ctx) })
				folding.Go(func() error { return s.FoldCounts(ctx) })
				require.NoError(t, folding.Wait())
				var rows, names int
				require.NoError(t, s.DB().QueryRowContext(ctx, "SELECT COUNT(*), COUNT(DISTINCT kind || name) FROM holding_counts").Scan(&rows, &names))
				require.Equal(t, names, rows, "each is one row then")
			}
			require.NoError(t, s.Update(ctx, func(tx *store.Tx) error {
				users, err := tx.Users(ctx, store.UserFilter{AfterId: fmt.Sprintf("user-%d", 1000000000+random.IntN(190)), Limit: 3})
				if err != nil {
					return err
				}
				for _, u := range users {
					u.IsActive, u.Profile, u.PermissionSets = random.IntN(3) > 0, []string{"", "Profile 1", "Größe"}[random.IntN(3)], [][]string{nil, {"a"}, {"a", "a", "b'"}}[random.IntN(3)]
					if err := tx.PutUser(ctx, u); err != nil {
						return err
					}
				}
				accounts, err := tx.Accounts(ctx, store.AccountFilter{After: int64(random.IntN(290)), Limit: 4})
				if err != nil {
					return err
				}
				for _, a := range accounts {
					if a.LinkState = states[random.IntN(4)]; a.LinkState == host.Linked {
						a.LinkState = host.Ignored // one account of a user is
					}
				}
				if err := tx.UpdateAccounts(ctx, accounts); err != nil {
					return err
				}
				a := *accounts[0]
				a.Number, a.Id, a.AppName, a.ExternalUserId = 0, fmt.Sprint("new-", round), []string{"big", "third"}[round%2], fmt.Sprint("new-", round)
				if err := tx.PutAccount(ctx, &a); err != nil {
					return err
				}
				_, err = tx.SQL().ExecContext(ctx, fmt.Sprintf("DELETE FROM user_prov_accounts WHERE number = %d", 1+random.IntN(300)))
				return err
			}))
			require.Error(t, s.Update(ctx, func(tx *store.Tx) error { // it counts for nothing
				_, err := tx.SQL().ExecContext(ctx, "DELETE FROM user_prov_accounts")
				require.NoError(t, err)
				return fmt.Errorf("no")
			}))
		}
		_, err := s.DB().ExecContext(ctx, "DELETE FROM users WHERE id NOT IN (SELECT user_id FROM user_apps)")
		require.NoError(t, err)
		require.NoError(t, s.View(ctx, func(tx *store.Tx) error {
			for _, app := range []string{"big", "small", "third", "none"} {
				kept, err := tx.CountAccountsByLinkState(ctx, app)
				require.NoError(t, err)
				want := map[host.LinkState]int64{}
				accounts, err := tx.Accounts(ctx, store.AccountFilter{AppName: app, Limit: 1000})
				require.NoError(t, err)
				for _, a := range accounts {
					want[a.LinkState]++
				}
				require.Equal(t, want, kept, app)
			}
			profiles, sets := map[string]int64{}, map[string]int64{}
			users, err := tx.Users(ctx, store.UserFilter{Limit: 1000})
			require.NoError(t, err)
			for _, u := range users {
				if !u.IsActive {
					continue
				}
				if u.Profile != "" {
					profiles[u.Profile]++
				}
				held := map[string]bool{}
				for _, name := range u.PermissionSets {
					held[name] = true
				}
				for name := range held {
					sets[name]++
				}
			}
			keptProfiles, err := tx.CountProfiles(ctx)
			require.NoError(t, err)
			require.Equal(t, profiles, keptProfiles)
			keptSets, err := tx.CountPermissionSets(ctx)
			require.NoError(t, err)
			require.NotEmpty(t, sets)
			require.Equal(t, sets, keptSets)
			return nil
		}))
	})
}
