package main

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/plugins/scim/scimtarget/chaos"
)

// wrongPages are ways in which a target's pages are wrong, or change while they
// are read. Each begins with a target whose accounts are all known.
var wrongPages = map[string]struct {
	faults []chaos.Fault
	// drift changes the target while page 3 is read.
	drift func(a *trialApp)
	// gone are accounts that the run has still seen, and the next one will not;
	// more are those that came.
	gone, more int64
	// fails is what a run that can't be trusted ends with; "" for one that is
	// completed.
	fails string
	// looked is how many accounts were on no page, and asked for.
	looked int
}{
	"an empty page in the middle":                {faults: []chaos.Fault{{Page: 3, Kind: chaos.Empty}}},
	"each account twice":                         {faults: []chaos.Fault{{Page: 2, Kind: chaos.Duplicate}}, looked: 20},
	"a page that begins with the one before":     {faults: []chaos.Fault{{Page: 3, Kind: chaos.Overlap}}, looked: 3},
	"a total that shrinks":                       {faults: []chaos.Fault{{Page: 3, Kind: chaos.Shrink}}, looked: 40},
	"the page before once more":                  {faults: []chaos.Fault{{Page: 3, Kind: chaos.Repeat}}, fails: "it does not page by index"},
	"an account is removed between pages":        {drift: func(a *trialApp) { a.behind.Remove(a.behind.Accounts()[5].ID) }, gone: 1, looked: 1},
	"an account is added at the end":             {drift: func(a *trialApp) { a.stranger("late") }, more: 1},
	"an account moves from the front to the end": {drift: func(a *trialApp) { a.move(5) }, looked: 1},
	"a whole page moves to the end": {drift: func(a *trialApp) {
		for range 20 {
			a.move(0)
		}
	}, looked: 20},
	"accounts are removed, added and moved": {drift: func(a *trialApp) {
		for i := range 7 {
			a.behind.Remove(a.behind.Accounts()[3*i].ID)
			a.move(i)
			a.stranger(fmt.Sprintf("late.%d", i))
		}
	}, gone: 7, more: 7, looked: 7 + 7},
}

func (a *trialApp) stranger(name string) {
	if _, err := a.behind.Add(map[string]any{"userName": name, "active": true}); err != nil {
		panic(err)
	}
}

// move puts an account to the end of the list, as targets do that list by the
// date of the last change.
func (a *trialApp) move(i int) {
	list := a.behind.Accounts()
	moved := list[i]
	list = append(append(list[:i:i], list[i+1:]...), moved)
	a.behind.Restore(list)
}

// No account is lost, taken twice or held for gone because of a page.
func TestWrongPagesLoseNobody(t *testing.T) {
	const accounts = 100 // on 5 pages
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		t.Parallel()
		apps, of := map[string]*trialApp{}, map[string]string{}
		for name := range wrongPages {
			app := fmt.Sprintf("pages-%d", len(apps))
			apps[app], of[name] = scimApp(t, ""), app
			for i := range accounts {
				apps[app].stranger(fmt.Sprintf("stranger.%d", i))
			}
		}
		w := newTrial(t, url, apps)
		for name, wrong := range wrongPages {
			t.Run(name, func(t *testing.T) {
				w := *w
				w.t = t
				app, target := of[name], apps[of[name]]
				require.EqualValues(t, accounts, w.reconciled(app).ReconFound)
				for _, f := range wrong.faults {
					f.Operation, f.Attempt = chaos.List, 2
					target.Inject(f)
				}
				if wrong.drift != nil {
					target.Inject(chaos.Fault{Operation: chaos.List, Page: 3, Attempt: 2, Kind: chaos.Drift, Change: func() { wrong.drift(target) }})
				}
				run := w.reconciled(app)
				require.Empty(t, target.Missed())
				require.Empty(t, w.gone(app), "held for gone because of a page")
				if wrong.fails != "" {
					require.Equal(t, host.StateFailed, run.State)
					require.Contains(t, run.ErrorMessage, wrong.fails)
				} else {
					require.Equal(t, host.StateCompleted, run.State, run.ErrorMessage)
					require.EqualValues(t, accounts+wrong.more, run.ReconFound)
					require.Equal(t, wrong.looked, target.Calls(chaos.Read, ""))
				}
				run = w.reconciled(app)
				require.Equal(t, host.StateCompleted, run.State, run.ErrorMessage)
				require.EqualValues(t, accounts+wrong.more-wrong.gone, run.ReconFound)
				gone := w.gone(app)
				require.Len(t, gone, int(wrong.gone))
				for _, a := range target.behind.Accounts() {
					require.False(t, gone[a.ID], "%s is there and counts as gone", a.ID)
				}
				require.Len(t, w.accounts(app), accounts+int(wrong.more), "taken twice")
			})
		}
	})
}

// gone are the accounts that we hold for gone.
func (w *trial) gone(app string) map[string]bool {
	w.t.Helper()
	gone := map[string]bool{}
	for _, a := range w.accounts(app) {
		if a.DeletedDate != nil {
			gone[a.ExternalUserId] = true
		}
	}
	return gone
}
