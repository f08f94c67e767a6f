package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/plugins/mock/target"
	"github.com/provosthq/provost/plugins/scim/scimtarget/chaos"
)

// troubles are what may go wrong in one call, before or after the target has
// acted.
var troubles = map[string]chaos.Fault{
	"cut-before":      {Kind: chaos.Cut},
	"cut-after":       {Kind: chaos.Cut, After: true},
	"cut-body":        {Kind: chaos.CutBody},
	"garbage-before":  {Kind: chaos.Garbage},
	"garbage-after":   {Kind: chaos.Garbage, After: true},
	"late":            {Kind: chaos.Delay, After: true, Delay: 2 * time.Second}, // the host waits for 1
	"400":             {Kind: chaos.Answer, Status: 400},
	"401":             {Kind: chaos.Answer, Status: 401},
	"403":             {Kind: chaos.Answer, Status: 403},
	"404":             {Kind: chaos.Answer, Status: 404},
	"409":             {Kind: chaos.Answer, Status: 409},
	"412":             {Kind: chaos.Answer, Status: 412},
	"429":             {Kind: chaos.Answer, Status: 429},
	"500-before":      {Kind: chaos.Answer, Status: 500},
	"500-after":       {Kind: chaos.Answer, Status: 500, After: true},
	"502-after":       {Kind: chaos.Answer, Status: 502, After: true},
	"503-before":      {Kind: chaos.Answer, Status: 503},
	"503-after":       {Kind: chaos.Answer, Status: 503, After: true},
	"cut-after-twice": {Kind: chaos.Cut, After: true, Times: 2},
}

// cutOperation is an operation, with how it comes about and what must be true
// in the target afterwards.
type cutOperation struct {
	op    chaos.Operation
	begin func(w *trial, name string)
	// end is the title and whether the account is active; gone: there is none.
	title        string
	active, gone bool
}

var cutOperations = map[string]cutOperation{
	"create": {op: chaos.Create, title: "first", active: true, begin: func(w *trial, name string) { w.add(name, "acme") }},
	"update": {op: chaos.Update, title: "second", active: true, begin: func(w *trial, name string) {
		w.change(name, func(u *host.User) { u.Title = "second" })
	}},
	"deactivate": {op: chaos.Deactivate, title: "first", begin: func(w *trial, name string) {
		w.change(name, func(u *host.User) { u.IsActive = false })
	}},
	"activate": {op: chaos.Activate, title: "first", active: true, begin: func(w *trial, name string) {
		w.change(name, func(u *host.User) { u.IsActive = true })
	}},
	"freeze": {op: chaos.Deactivate, title: "first", begin: func(w *trial, name string) {
		w.change(name, func(u *host.User) { u.IsFrozen = true })
	}},
	"unfreeze": {op: chaos.Activate, title: "first", active: true, begin: func(w *trial, name string) {
		w.change(name, func(u *host.User) { u.IsFrozen = false })
	}},
	"delete": {op: chaos.Delete, gone: true, begin: func(w *trial, name string) { w.ask(name, host.Delete) }},
	"read":   {op: chaos.Read, title: "first", active: true, begin: func(w *trial, name string) { w.ask(name, host.Read) }},
}

func (w *trial) ask(name string, op host.Operation) {
	w.t.Helper()
	_, err := w.CreateRequest(w.t.Context(), name, "acme", op)
	require.NoError(w.t, err)
}

// Whatever goes wrong in whichever operation, before or after the target has
// acted, it ends in one account that is linked and as it should be, and the log
// says what happened. What a person must look at is retried by one. A lost page
// is collected once.
func TestATargetsTroubleInAnyOperationEndsInOneLinkedAccount(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		t.Parallel()
		apps := pagesInTrouble(t)
		acme := scimApp(t, "fallback: [Freeze = Deactivate, Unfreeze = Activate]")
		apps["acme"] = acme
		w := newTrial(t, url, apps)
		for name := range apps {
			if name != "acme" {
				_, err := w.Reconcile(t.Context(), name, api.ReconcileOptions{Commit: true})
				require.NoError(t, err)
			}
		}
		for operation := range cutOperations {
			for trouble := range troubles {
				if name := operation + "." + trouble; operation != "create" {
					w.add(name, "acme")
				}
			}
		}
		w.settle()
		for trouble := range troubles {
			w.change("activate."+trouble, func(u *host.User) { u.IsActive = false })
			w.change("unfreeze."+trouble, func(u *host.User) { u.IsFrozen = true })
		}
		w.settle()
		before := len(w.requests("acme"))
		struck := 0
		for operation, o := range cutOperations {
			for trouble, fault := range troubles {
				if operation == "delete" && trouble == "404" {
					continue // a target that lies about what is not there is believed
				}
				struck += max(1, fault.Times)
				fault.Operation, fault.Subject, fault.Attempt = o.op, operation+"."+trouble, acme.Calls(o.op, operation+"."+trouble)+1
				if o.op == chaos.Create && fault.Times > 1 { // what follows an uncertain create is that it is looked up
					searched := fault
					searched.Operation, searched.Times, fault.Times = chaos.Search, fault.Times-1, 1
					acme.Inject(searched)
				}
				acme.Inject(fault)
				o.begin(w, fault.Subject)
			}
		}
		w.settle()
		failed := 0
		for _, r := range w.requests("acme")[before:] {
			if r.State == host.StateFailed {
				require.False(t, r.ErrorCode.Retryable() || r.Uncertain, "%s of %s failed with %s: %s", r.Operation, r.Reason, r.ErrorCode, r.ErrorMessage)
				_, err := w.Retry(t.Context(), r.Id)
				require.NoError(t, err)
				failed++
			}
		}
		w.settle()
		require.Empty(t, acme.Missed(), "a fault did not strike")
		require.Len(t, acme.Injected(), struck)

		last := map[string]*host.UserProvisioningRequest{}
		for _, r := range w.requests("acme") {
			last[r.UserId] = r
		}
		for operation, o := range cutOperations {
			for trouble := range troubles {
				name := operation + "." + trouble
				u, err := w.User(t.Context(), name)
				require.NoError(t, err)
				if operation == "delete" && trouble == "404" {
					continue
				}
				r := last[u.Id]
				require.Equal(t, host.StateCompleted, r.State, "%s: %s %s", name, r.ErrorCode, r.ErrorMessage)
				require.Equal(t, 1, acme.Done(chaos.Create, name), "%s: made once", name)
				linked := w.linked("acme", u.Id)
				if o.gone {
					require.Empty(t, acme.of(u), name)
					require.Nil(t, linked, name)
					continue
				}
				require.Len(t, acme.of(u), 1, name)
				there := acme.of(u)[0]
				require.NotNil(t, linked, "%s is not linked", name)
				require.Equal(t, there.ID, linked.ExternalUserId, name)
				require.Equal(t, name, there.Attributes["userName"])
				require.Equal(t, o.title, there.Attributes["title"], name)
				require.Equal(t, o.active, there.Attributes["active"], name)
				require.Equal(t, o.title, linked.Attributes["title"], name)
				require.Equal(t, o.active, linked.Attributes["active"], name)
				w.requireTold(name, r)
			}
		}
		for name := range apps {
			if name != "acme" {
				w.requirePagesOnce(name)
			}
		}
		t.Logf("%d faults in %d operations struck; %d requests were retried by a person; %d lost pages: 0 lost, 0 doubled, 0 pages twice", struck, len(cutOperations), failed, len(lostPages))
	})
}

// requireTold finds in the log of a request, or of the one that it retries,
// what went wrong and how it ended.
func (w *trial) requireTold(name string, r *host.UserProvisioningRequest) {
	w.t.Helper()
	var told []string
	for id := r.Id; id != ""; {
		one, logs, err := w.Request(w.t.Context(), id)
		require.NoError(w.t, err)
		for _, l := range logs {
			told = append(told, l.Status)
		}
		id = one.ParentId
	}
	all := strings.Join(told, "\n")
	if r.Attempt == 1 && r.ParentId == "" && (strings.HasSuffix(name, ".404") || strings.HasPrefix(name, "read.")) {
		return // the connector went another way by itself, or the host asked again for what changes nothing
	}
	require.True(w.t, strings.Contains(all, "attempt 1") || strings.Contains(all, "failed"), "%s: the log has only %v", name, told)
	require.True(w.t, strings.Contains(all, "completed") || strings.Contains(all, "linked"), "%s: the log has only %v", name, told)
}

// lostPages are what may go wrong with a page, two in each run.
var lostPages = []chaos.Fault{
	{Page: 1, Kind: chaos.Cut}, {Page: 2, Kind: chaos.Cut, After: true}, {Page: 3, Kind: chaos.CutBody}, {Page: 4, Kind: chaos.Garbage},
	{Page: 5, Kind: chaos.Answer, Status: 500}, {Page: 6, Kind: chaos.Answer, Status: 429}, {Page: 7, Kind: chaos.Answer, Status: 503},
	{Page: 8, Kind: chaos.Delay, Delay: 2 * time.Second},
}

const pagedAccounts = 160 // on pages of 20

// pagesInTrouble are apps whose targets lose pages.
func pagesInTrouble(t *testing.T) map[string]*trialApp {
	apps := map[string]*trialApp{}
	for i, f := range lostPages {
		name := fmt.Sprintf("pages-%d", i/2)
		if apps[name] == nil {
			apps[name] = scimApp(t, "")
			for k := range pagedAccounts {
				_, err := apps[name].behind.Add(map[string]any{"userName": fmt.Sprintf("stranger.%d", k), "active": true})
				require.NoError(t, err)
			}
		}
		f.Operation = chaos.List
		apps[name].Inject(f)
	}
	return apps
}

// requirePagesOnce looks at the run of an app that lost pages: no account is
// lost and none taken twice.
func (w *trial) requirePagesOnce(name string) {
	w.t.Helper()
	r := w.requests(name)[0]
	require.Equal(w.t, host.StateCompleted, r.State, r.ErrorMessage)
	require.Equal(w.t, pagedAccounts/20, r.ReconPages, "%s: a page twice, or lost", name)
	require.EqualValues(w.t, pagedAccounts, r.ReconFound)
	require.Empty(w.t, w.apps[name].Missed())
	ids := map[string]bool{}
	for _, a := range w.accounts(name) {
		ids[a.ExternalUserId] = true
	}
	require.Len(w.t, ids, pagedAccounts)
}

// SCIM has no freezing; the connector mock has, and its target keeps versions,
// so that a change that is sent twice meets its own version.
func TestAFreezeWhoseAnswerIsLostIsDoneOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		t.Parallel()
		behind := target.New("")
		mock := &trialApp{source: "builtin:mock", Target: chaos.New(chaos.Options{Behind: behind, Name: func(r *http.Request, body []byte) (chaos.Operation, string, int) {
			var account struct{ Username string }
			if json.Unmarshal(body, &account) != nil || account.Username == "" {
				return chaos.Read, "", 0
			}
			return map[string]chaos.Operation{http.MethodPost: chaos.Create, http.MethodPut: chaos.Update}[r.Method], account.Username, 0
		}})}
		w := newTrial(t, url, map[string]*trialApp{"mock": mock})
		faults := map[string]chaos.Fault{"cut-before": troubles["cut-before"], "cut-after": troubles["cut-after"], "cut-body": troubles["cut-body"], "500-after": troubles["500-after"]}
		for name := range faults {
			w.add(name, "mock")
		}
		w.settle()
		for _, frozen := range []bool{true, false} {
			for name, fault := range faults {
				fault.Operation, fault.Subject, fault.Attempt = chaos.Update, name, mock.Calls(chaos.Update, name)+1
				mock.Inject(fault)
				w.change(name, func(u *host.User) { u.IsFrozen = frozen })
			}
			w.settle()
			require.Empty(t, mock.Missed())
			for _, a := range behind.Accounts() {
				require.Equal(t, frozen, a["frozen"] == true, a["username"])
			}
		}
		require.Len(t, behind.Accounts(), len(faults))
		for name := range faults {
			u, err := w.User(t.Context(), name)
			require.NoError(t, err)
			require.False(t, w.linked("mock", u.Id).Frozen)
			require.Equal(t, 1, mock.Done(chaos.Create, name))
		}
		for _, r := range w.requests("mock") {
			require.Equal(t, host.StateCompleted, r.State, "%s %s", r.Operation, r.ErrorMessage)
		}
	})
}
