package reconcile_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/reconcile"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/pdk"
)

// pages makes the target show these pages of account ids, by number.
func (w *world) pages(pages [][]int) {
	w.page = func(in pdk.Input) (pdk.Output, error) {
		n, err := strconv.Atoi("0" + in.ReconOffset)
		if err != nil || n >= len(pages) {
			return pdk.Output{}, host.Errorf(host.ConnectorFault, "there is no page %q", in.ReconOffset)
		}
		out := pdk.Output{ReconState: "complete"}
		for _, id := range pages[n] {
			out.Accounts = append(out.Accounts, found(fmt.Sprint("a", id), fmt.Sprint("n", id)))
		}
		if n+1 < len(pages) {
			out.ReconState, out.NextReconOffset = "more", strconv.Itoa(n+1)
		}
		return out, nil
	}
}

// Whatever overlaps, is empty, fails or is cut off: each account is staged
// once, each page counts once, and a page is asked for again only where its
// transaction, or that of the one before it, did not end.
func TestWhatIsStagedIsTheUnionOfThePages(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		w.app(byName)
		rapid.Check(t, func(rt *rapid.T) {
			pages := rapid.SliceOfN(rapid.SliceOfN(rapid.IntRange(0, 30), 0, 6), 1, 12).Draw(rt, "pages")
			fails := rapid.MapOf(rapid.IntRange(0, 25), rapid.Just(true)).Draw(rt, "calls that fail")
			cuts := rapid.MapOf(rapid.IntRange(0, 40), rapid.Just(true)).Draw(rt, "transactions that are cut off")
			w.pages(pages)
			answer, calls, asked := w.page, 0, map[string]int{}
			spoilt := 0
			w.page = func(in pdk.Input) (pdk.Output, error) {
				asked[in.ReconOffset]++
				if calls++; fails[calls-1] && spoilt < 6 { // eight before a page is stored would end the run
					spoilt++
					return pdk.Output{}, host.Errorf(host.Unavailable, "not now")
				}
				return answer(in)
			}
			r := w.start(reconcile.RunOptions{})
			transactions, lost := 0, 0
			w.stop = func() error {
				if transactions++; cuts[transactions-1] {
					lost++
					return errCut
				}
				return nil
			}
			defer func() { w.stop = nil }()
			failed := func() (n int) {
				for i := range calls {
					if fails[i] {
						n++
					}
				}
				return n
			}
			for state := host.StateNew; state != host.StateAnalyzed; state = w.request(r.Id).State {
				require.Less(rt, transactions, 2000, "it does not get on")
				require.False(rt, state.Ended(), "%s", state)
				if err := w.engine.Work(t.Context(), r.Id); err != nil {
					require.ErrorIs(rt, err, errCut)
					w.restart(0)
				}
				w.pass(time.Hour)
			}
			want := map[string]bool{}
			for _, page := range pages {
				for _, id := range page {
					want[fmt.Sprint("a", id)] = true
				}
			}
			r = w.request(r.Id)
			got := w.staged(r)
			require.Len(rt, got, len(want))
			for id := range want {
				require.Contains(rt, got, id)
			}
			require.EqualValues(rt, len(want), r.ReconFound)
			require.EqualValues(rt, len(pages), r.ReconPages)
			require.LessOrEqual(rt, calls, len(pages)+failed()+2*lost, "a page is asked for again for nothing: %v", asked)
			w.do(func(ctx context.Context, tx harnessTx) error { _, err := w.engine.Cancel(ctx, tx, r.Id); return err })
		})
	})
}

func TestPagingThatDoesNotAdvanceIsTheConnectorsFault(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(byName)
		for says, page := range map[string]func(pdk.Input) (pdk.Output, error){
			"pages in a row were empty": func(in pdk.Input) (pdk.Output, error) {
				n, _ := strconv.Atoi("0" + in.ReconOffset)
				return pdk.Output{NextReconOffset: strconv.Itoa(n + 1), ReconState: "more"}, nil
			},
			`the offset "1" came again`: func(in pdk.Input) (pdk.Output, error) {
				next := map[string]string{"": "1", "1": "2", "2": "1"}[in.ReconOffset]
				return pdk.Output{Accounts: []pdk.Account{found(in.ReconOffset+"x", "n")}, NextReconOffset: next, ReconState: "more"}, nil
			},
			`the offset "7" came again`: func(pdk.Input) (pdk.Output, error) {
				return pdk.Output{Accounts: []pdk.Account{found("x", "n")}, NextReconOffset: "7", ReconState: "more"}, nil
			},
			"has no nextReconOffset": func(pdk.Input) (pdk.Output, error) {
				return pdk.Output{Accounts: []pdk.Account{found("x", "n")}}, nil
			},
		} {
			w.page = page
			r := w.work(w.start(reconcile.RunOptions{}))
			require.Equal(t, host.StateFailed, r.State, says)
			require.Equal(t, host.ConnectorFault, r.ErrorCode, says)
			require.Contains(t, r.ErrorMessage, says)
		}
	})
}

func TestSomeEmptyPagesAreNoFault(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(byName)
		pages := make([][]int, 190)
		pages[95], pages[189] = []int{1}, []int{2}
		w.pages(pages)
		require.Len(t, w.staged(w.analyzed()), 2)
	})
}

func TestADeltaWhoseTokenIsForgottenBeginsAnewWithNothingOfItself(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(byName)
		w.do(func(ctx context.Context, tx harnessTx) error { return tx.TouchConfig(ctx, "acme", w.clock(), "old") })
		var asked []string
		w.page = func(in pdk.Input) (pdk.Output, error) {
			asked = append(asked, in.Mode+" "+in.ReconState+" "+in.ReconOffset)
			switch {
			case in.Mode == pdk.ModeDelta && in.ReconOffset == "":
				return pdk.Output{Accounts: []pdk.Account{{ExternalUserId: "9", ExternalUsername: "of the delta", Change: pdk.ChangePresent}}, NextReconOffset: "1", ReconState: "old", TotalEstimate: new(int64)}, nil
			case in.Mode == pdk.ModeDelta:
				return pdk.Output{}, host.Errorf(host.NotFound, "that is too long ago")
			}
			return pdk.Output{Accounts: []pdk.Account{found("1", "ada")}, ReconState: "complete:new"}, nil
		}
		r := w.work(w.start(reconcile.RunOptions{Mode: pdk.ModeDelta, Commit: true}))
		require.Equal(t, host.StateCompleted, r.State, r.ErrorMessage)
		require.Equal(t, []string{"delta old ", "delta old 1", "full  "}, asked)
		require.Len(t, w.accounts(), 1)
		require.EqualValues(t, []int64{1, 1}, []int64{int64(r.ReconFound), int64(r.ReconPages)})
		w.do(func(ctx context.Context, tx harnessTx) error {
			app, err := tx.Config(ctx, "acme")
			if err == nil {
				require.Equal(t, "new", app.LastReconToken)
			}
			return err
		})
	})
}

// A worker that was thought dead comes back when another has gone on: what it
// brings is of a page that is stored already.
func TestAWorkerThatComesBackStoresNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app(byName)
		w.pages([][]int{{1, 2}, {3, 4}, {5}})
		answer := w.page
		reached, release := make(chan struct{}), make(chan struct{})
		first := true
		w.page = func(in pdk.Input) (pdk.Output, error) {
			if first && in.ReconOffset == "1" {
				first = false
				close(reached)
				<-release
				out, err := answer(in)
				out.Accounts = append(out.Accounts, found("late", "late"))
				return out, err
			}
			return answer(in)
		}
		r := w.start(reconcile.RunOptions{})
		late := w.engine
		ended := make(chan error, 1)
		go func() { ended <- late.Work(t.Context(), r.Id) }()
		<-reached
		w.restart(0)
		r = w.work(r)
		require.Equal(t, host.StateAnalyzed, r.State)
		close(release)
		err := <-ended
		require.True(t, err == nil || host.CodeOf(err) == host.Conflict, "%v", err)
		r = w.request(r.Id)
		require.Equal(t, host.StateAnalyzed, r.State, r.ErrorMessage)
		require.EqualValues(t, 3, r.ReconPages)
		require.Len(t, w.staged(r), 5)
		require.NotContains(t, w.staged(r), "late")
	})
}
