package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/pdk"
	"github.com/provosthq/provost/plugins/scim/scimtarget"
	"github.com/provosthq/provost/plugins/scim/scimtarget/chaos"
)

// trial is a host of this process, over a database, with the connector scim in
// the sandbox and one target in trouble per app.
type trial struct {
	service
	t        *testing.T
	apps     map[string]*trialApp
	dir      string
	database string
}

// trialApp is an app and the target behind it.
type trialApp struct {
	*chaos.Target
	behind *scimtarget.Target
	// more is what the configuration says of the app besides.
	more string
	// settings are the connector's.
	settings string
	// source is another connector than scim.
	source string
	url    string
}

// scimApp makes a target in trouble.
func scimApp(t *testing.T, more string) *trialApp {
	t.Helper()
	behind, err := scimtarget.New(scimtarget.Options{MaxResults: 1000})
	require.NoError(t, err)
	return &trialApp{Target: chaos.New(chaos.Options{Behind: behind}), behind: behind, more: more, settings: "{pageSize: 20}"}
}

// newTrial starts a host that works jobs until the test ends.
func newTrial(t *testing.T, databaseURL string, apps map[string]*trialApp) *trial {
	t.Helper()
	dir := t.TempDir()
	shareCompiled(t, dir)
	for _, app := range apps {
		server := httptest.NewServer(app)
		t.Cleanup(server.Close)
		app.url = server.URL
	}
	w := &trial{t: t, apps: apps, dir: dir, database: databaseURL}
	cfg := w.configured()
	d, err := openDaemon(t.Context(), cfg, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.close(context.Background())) })
	require.NoError(t, d.start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		require.NoError(t, d.stop(ctx))
	})
	w.service = service{d}
	return w
}

// configured writes and reads the configuration of all apps.
func (w *trial) configured() *config.Config {
	w.t.Helper()
	plugins, credentials, declared := "", "", ""
	for name, app := range w.apps {
		credential := strings.ReplaceAll(name, "-", "_")
		plugins += fmt.Sprintf("  - {name: scim-%s, source: %q, settings: %s}\n", name, cmp.Or(app.source, "builtin:scim"), cmp.Or(app.settings, "{}"))
		credentials += fmt.Sprintf("  - {name: C_%s, endpoint: %q, timeout: 1s, anonymous: true, limits: {failures: 1000000}}\n", credential, app.url)
		declared += fmt.Sprintf("  - {name: %s, plugin: scim-%[1]s, credential: C_%s, max_attempts: 10, operations: [Create, Update, EnableAndDisable, Delete, SuspendAndRestore], %s}\n", name, credential, app.more)
	}
	file := filepath.Join(w.dir, "provost.yaml")
	text := fmt.Appendf(nil, "database: {url: %q}\ndata_dir: %q\nlisten: {api: '', metrics: ''}\nworkers: 24\nplugins:\n%scredentials:\n%sapps:\n%s", w.database, w.dir, plugins, credentials, declared)
	require.NoError(w.t, os.WriteFile(file, text, 0o600))
	cfg, err := config.Load(file)
	require.NoError(w.t, err)
	return cfg
}

// reconfigure says something else of an app from now on.
func (w *trial) reconfigure(app, more string) {
	w.t.Helper()
	w.apps[app].more = more
	_, err := w.apply(w.t.Context(), w.configured())
	require.NoError(w.t, err)
}

// reconciled runs a whole run with its commit, and returns it.
func (w *trial) reconciled(app string) *host.UserProvisioningRequest {
	w.t.Helper()
	r, err := w.Reconcile(w.t.Context(), app, api.ReconcileOptions{Commit: true})
	require.NoError(w.t, err)
	w.settle()
	r, _, err = w.Request(w.t.Context(), r.Id)
	require.NoError(w.t, err)
	return r
}

// processed does what follows for each account.
func (w *trial) processed(app string) *host.Plan {
	w.t.Helper()
	p, err := w.Process(w.t.Context(), app, api.ProcessOptions{})
	require.NoError(w.t, err)
	w.until("the plan", func() bool {
		p, err = w.Plan(w.t.Context(), p.Id)
		require.NoError(w.t, err)
		return p.State != host.PlanMaking && p.State != host.PlanReleased
	})
	w.settle()
	return p
}

// add brings a person who has apps.
func (w *trial) add(name string, apps ...string) *host.User {
	w.t.Helper()
	u, err := w.PutUser(w.t.Context(), &host.User{User: pdk.User{Username: name, FirstName: "Pat", LastName: name, Email: name + "@example.com", Title: "first", IsActive: true}})
	require.NoError(w.t, err)
	for _, app := range apps {
		require.NoError(w.t, w.Assign(w.t.Context(), u.Id, app))
	}
	return u
}

// change changes a person.
func (w *trial) change(name string, change func(*host.User)) *host.User {
	w.t.Helper()
	u, err := w.User(w.t.Context(), name)
	require.NoError(w.t, err)
	change(u)
	u, err = w.PutUser(w.t.Context(), u)
	require.NoError(w.t, err)
	return u
}

// requests of an app, or of all, oldest first.
func (w *trial) requests(app string) (list []*host.UserProvisioningRequest) {
	w.t.Helper()
	require.NoError(w.t, w.store.View(w.t.Context(), func(t *store.Tx) (err error) {
		list, err = t.Requests(w.t.Context(), store.RequestFilter{AppName: app, Limit: 100_000})
		return err
	}))
	return list
}

// accounts of an app as we know them.
func (w *trial) accounts(app string) (list []*host.UserProvAccount) {
	w.t.Helper()
	require.NoError(w.t, w.store.View(w.t.Context(), func(t *store.Tx) (err error) {
		list, err = t.Accounts(w.t.Context(), store.AccountFilter{AppName: app, Limit: 100_000})
		return err
	}))
	return list
}

// linked is the account that is a person's; nil for none.
func (w *trial) linked(app, userID string) (a *host.UserProvAccount) {
	w.t.Helper()
	require.NoError(w.t, w.store.View(w.t.Context(), func(t *store.Tx) (err error) {
		if a, err = t.AccountByUser(w.t.Context(), app, userID); host.CodeOf(err) == host.NotFound {
			a, err = nil, nil
		}
		return err
	}))
	return a
}

// settle waits until every request has ended.
func (w *trial) settle() {
	w.t.Helper()
	w.until("every request to end", func() bool {
		for _, r := range w.requests("") {
			if !r.State.Ended() && !(r.State == host.StateAnalyzed && !r.CommitWhenAnalyzed) {
				return false
			}
		}
		return true
	})
}

func (w *trial) until(what string, done func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			for _, r := range w.requests("") {
				if !r.State.Ended() {
					w.t.Logf("%s %s of %s: %s %s %s", r.Name(), r.Operation, r.AppName, r.State, r.ErrorCode, r.ErrorMessage)
				}
			}
			w.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// of are the accounts in the target that were made for a person.
func (a *trialApp) of(u *host.User) (list []scimtarget.Account) {
	for _, one := range a.behind.Accounts() {
		if one.ExternalID == u.Id {
			list = append(list, one)
		}
	}
	return list
}

// account is one of the target's by its id.
func (a *trialApp) account(id string) scimtarget.Account {
	for _, one := range a.behind.Accounts() {
		if one.ID == id {
			return one
		}
	}
	return scimtarget.Account{}
}
