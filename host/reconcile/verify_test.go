package reconcile_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/reconcile"
	"github.com/provosthq/provost/pdk"
)

func there(in pdk.Input) (pdk.Output, error) {
	id := in.UserProvAccount.ExternalUserId
	return pdk.Output{ExternalUserId: id, ExternalUsername: "of " + id, Attributes: map[string]any{"userName": "of " + id}}, nil
}

func TestAnAccountThatIsOnNoPageIsAskedForBeforeItCountsAsGone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app()
		for _, id := range []string{"listed", "left-out", "gone"} {
			w.account(id, w.user("of-"+id))
		}
		w.shows(found("listed", "ada"))
		var asked []string
		down := true
		w.read = func(in pdk.Input) (pdk.Output, error) {
			id := in.UserProvAccount.ExternalUserId
			asked = append(asked, id)
			switch {
			case down:
				down = false
				return pdk.Output{}, host.Errorf(host.Unavailable, "503")
			case id == "gone":
				return pdk.Output{}, host.Errorf(host.NotFound, "no such account")
			}
			return there(in)
		}
		r := w.work(w.start(reconcile.RunOptions{}))
		require.Equal(t, host.StateCollected, r.State, "it waits until it can ask")
		require.Contains(t, r.ErrorMessage, "(left-out) was on no page and was asked for: 503")
		r = w.work(r)
		require.Equal(t, []string{"left-out", "left-out", "gone"}, asked)
		require.Equal(t, host.StateAnalyzed, r.State, r.ErrorMessage)
		require.EqualValues(t, 2, r.ReconFound)
		require.EqualValues(t, 1, r.Summary["gone"])
		w.committed(r)
		require.NotNil(t, w.accounts()["gone"].DeletedDate)
		require.Nil(t, w.accounts()["left-out"].DeletedDate)
		require.Equal(t, "of left-out", w.accounts()["left-out"].ExternalUsername)
	})
}

func TestPagesThatLeaveOutMoreThanCanBeAskedForFailTheRun(t *testing.T) {
	const many = 2100
	each(t, func(t *testing.T, w *world) {
		w.app()
		w.do(func(ctx context.Context, tx harnessTx) error {
			for i := range many {
				a := &host.UserProvAccount{Id: host.NewID(), AppName: "acme", ConnectedAppId: "c", ExternalUserId: fmt.Sprint(i), LinkState: host.Orphaned, Active: true,
					CreatedDate: w.clock(), LastModifiedDate: w.clock()}
				if err := tx.PutAccount(ctx, a); err != nil {
					return err
				}
			}
			return nil
		})
		w.shows()
		asked := 0
		w.read = func(in pdk.Input) (pdk.Output, error) {
			if asked++; in.UserProvAccount.ExternalUserId == "1500" {
				return there(in)
			}
			return pdk.Output{}, host.Errorf(host.NotFound, "no such account")
		}
		r := w.work(w.start(reconcile.RunOptions{}))
		require.Equal(t, host.StateFailed, r.State)
		require.Contains(t, r.ErrorMessage, "more than 2000 accounts are on no page, and 1 of them are there all the same")
		require.Equal(t, 2000, asked)

		w.read = nil
		w.committed(w.analyzed()) // all of the sample are gone
		for _, a := range w.accounts() {
			require.NotNil(t, a.DeletedDate)
		}
	})
}
