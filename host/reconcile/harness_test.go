package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/mapping"
	"github.com/provosthq/provost/host/reconcile"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/pdk"
)

// world is an engine over a real database, with one app, acme, whose target
// shows what a test lays down, a clock that the test moves, and jobs that run
// when it says so.
type world struct {
	t     testing.TB
	store *store.Store
	// engine is made anew by restart, as after a crash.
	engine *reconcile.Engine

	mu    sync.Mutex
	now   time.Time
	rules *appRules
	// page answers the calls of the connector.
	page func(in pdk.Input) (pdk.Output, error)
	// read answers when one account is asked for; without it there is none.
	read func(in pdk.Input) (pdk.Output, error)
	// stop, if set, ends a transaction before it is committed, to cut a run off.
	stop func() error
}

// each runs a test in a new world on each database.
func each(t *testing.T, fn func(t *testing.T, w *world)) {
	storetest.Each(t, func(t *testing.T, url string) { fn(t, newWorld(t, url)) })
}

func newWorld(t testing.TB, url string) *world {
	t.Helper()
	s, err := store.Open(t.Context(), url, store.Options{Rehearse: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	_, err = s.DB().ExecContext(t.Context(), "CREATE TABLE IF NOT EXISTS harness_jobs (id TEXT PRIMARY KEY, request_id TEXT NOT NULL, due BIGINT NOT NULL)")
	require.NoError(t, err)
	w := &world{t: t, store: s, now: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)}
	w.restart(0)
	return w
}

// restart makes the engine anew, with batches of another size (0: the
// default).
func (w *world) restart(batch int) {
	w.engine = reconcile.New(reconcile.Options{Store: w, Connectors: w, Now: w.clock, Batch: batch, Rules: func(string) (reconcile.Rules, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.rules, nil
	}})
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// Call makes the world the engine's connectors.
func (w *world) Call(_ context.Context, _ *host.UserProvisioningConfig, op pdk.Operation, in pdk.Input) (pdk.Output, host.CallTrace, error) {
	if op == pdk.OpRead && w.read != nil {
		out, err := w.read(in)
		return out, host.CallTrace{Connector: "fake 1"}, err
	}
	if op != pdk.OpReconcile {
		return pdk.Output{}, host.CallTrace{}, host.Errorf(host.NotFound, "there is no such account")
	}
	out, err := w.page(in)
	return out, host.CallTrace{Connector: "fake 1"}, err
}

// Supports says that the connector has every operation.
func (w *world) Supports(*host.UserProvisioningConfig, pdk.Operation) (bool, error) { return true, nil }

type harnessTx struct {
	*store.Tx
	w *world
}

func (t harnessTx) Enqueue(ctx context.Context, _, requestID string, at time.Time) error {
	if at.IsZero() {
		at = t.w.clock()
	}
	_, err := t.SQL().ExecContext(ctx, fmt.Sprintf("INSERT INTO harness_jobs (id, request_id, due) VALUES ('%s', '%s', %d)", host.NewID(), requestID, at.UnixNano()))
	return err
}

func (t harnessTx) CompleteJob(context.Context) error { return nil }

// CountGone counts by the candidates that analyzing has kept, which are those
// that a look at all accounts finds.
func (t harnessTx) CountGone(ctx context.Context, f host.GoneFilter) (int64, error) {
	f.Limit = 1_000_000
	all, err := t.GoneAccounts(ctx, f)
	require.NoError(t.w.t, err)
	kept, err := t.LinkedGone(ctx, f)
	require.NoError(t.w.t, err)
	require.ElementsMatch(t.w.t, slices.DeleteFunc(all, func(a *host.UserProvAccount) bool { return a.LinkState != host.Linked }), kept, "what is gone")
	return t.Tx.CountGone(ctx, f)
}

// Update and View make the world the engine's store.
func (w *world) Update(ctx context.Context, fn func(reconcile.Tx) error) error {
	return w.store.Update(ctx, func(t *store.Tx) error {
		if err := fn(harnessTx{t, w}); err != nil {
			return err
		}
		if w.stop != nil {
			return w.stop()
		}
		return nil
	})
}

func (w *world) View(ctx context.Context, fn func(reconcile.Tx) error) error {
	return w.store.View(ctx, func(t *store.Tx) error { return fn(harnessTx{t, w}) })
}

// do runs fn in a transaction that must succeed.
func (w *world) do(fn func(ctx context.Context, tx harnessTx) error) {
	w.t.Helper()
	ctx := w.t.Context()
	require.NoError(w.t, w.store.Update(ctx, func(t *store.Tx) error { return fn(ctx, harnessTx{t, w}) }))
}

// appRules are the rules of acme as the daemon compiles them.
type appRules struct {
	*mapping.Mapping
	*mapping.Links
}

func (r *appRules) Granted(u *host.User) (bool, error) { return slices.Contains(u.Apps, "acme"), nil }

// app makes acme, with these link rules.
func (w *world) app(links ...string) {
	w.t.Helper()
	w.relink(links...)
	w.do(func(ctx context.Context, tx harnessTx) error {
		a := &host.ConnectedApp{Name: "acme", Label: "acme"}
		if err := tx.PutApp(ctx, a); err != nil {
			return err
		}
		return tx.PutConfig(ctx, &host.UserProvisioningConfig{AppName: "acme", ConnectedAppId: a.Id, Enabled: true, Connector: "fake"})
	})
}

// relink gives acme other link rules.
func (w *world) relink(links ...string) {
	w.t.Helper()
	m, err := mapping.Compile([]string{"userName = user.Username", "title = user.Title"}, nil)
	require.NoError(w.t, err)
	l, err := mapping.CompileLinks(links)
	require.NoError(w.t, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rules = &appRules{m, l}
}

// user stores an active user who should have an account, unless change says
// otherwise.
func (w *world) user(name string, change ...func(*host.User)) *host.User {
	w.t.Helper()
	u := &host.User{User: pdk.User{Id: host.NewID(), Username: name, Email: name + "@example.com", IsActive: true}, Apps: []string{"acme"}}
	for _, fn := range change {
		fn(u)
	}
	w.do(func(ctx context.Context, tx harnessTx) error {
		if err := tx.PutUser(ctx, u); err != nil {
			return err
		}
		for _, app := range u.Apps {
			if err := tx.SetUserApp(ctx, u.Id, app, true); err != nil {
				return err
			}
		}
		return nil
	})
	return u
}

// account stores an account that is linked to a user (nil for none).
func (w *world) account(id string, u *host.User, change ...func(*host.UserProvAccount)) *host.UserProvAccount {
	w.t.Helper()
	a := &host.UserProvAccount{Id: host.NewID(), AppName: "acme", ConnectedAppId: "c", ExternalUserId: id, LinkState: host.Orphaned, Active: true,
		CreatedDate: w.clock(), LastModifiedDate: w.clock()}
	if u != nil {
		a.UserId, a.LinkState, a.ExternalUsername = u.Id, host.Linked, u.Username
	}
	for _, fn := range change {
		fn(a)
	}
	w.do(func(ctx context.Context, tx harnessTx) error { a.Number = 0; return tx.PutAccount(ctx, a) })
	return a
}

// shows makes the target show these accounts, on one page.
func (w *world) shows(accounts ...pdk.Account) {
	w.page = func(pdk.Input) (pdk.Output, error) {
		return pdk.Output{Accounts: accounts, ReconState: "complete"}, nil
	}
}

// found is an account as a target shows it, whole and without drift.
func found(id, username string, change ...func(*pdk.Account)) pdk.Account {
	a := pdk.Account{ExternalUserId: id, ExternalUsername: username, Attributes: map[string]any{"userName": username, "active": true}}
	for _, fn := range change {
		fn(&a)
	}
	return a
}

// start begins a run.
func (w *world) start(o reconcile.RunOptions) *host.UserProvisioningRequest {
	w.t.Helper()
	var r *host.UserProvisioningRequest
	w.pass(time.Minute)
	w.do(func(ctx context.Context, tx harnessTx) error {
		var err error
		r, err = w.engine.Start(ctx, tx, "acme", o)
		return err
	})
	return r
}

// work works at a run until it has ended or waits for a review.
func (w *world) work(r *host.UserProvisioningRequest) *host.UserProvisioningRequest {
	w.t.Helper()
	require.NoError(w.t, w.engine.Work(w.t.Context(), r.Id))
	return w.request(r.Id)
}

// errCut is how a run is cut off.
var errCut = errors.New("cut off")

// analyzed runs a whole run up to its review.
func (w *world) analyzed() *host.UserProvisioningRequest {
	w.t.Helper()
	r := w.work(w.start(reconcile.RunOptions{}))
	require.Equal(w.t, host.StateAnalyzed, r.State, r.ErrorMessage)
	return r
}

// committed goes on with a run that has been analyzed.
func (w *world) committed(r *host.UserProvisioningRequest) {
	w.t.Helper()
	w.pass(time.Minute)
	w.do(func(ctx context.Context, tx harnessTx) error {
		_, err := w.engine.Commit(ctx, tx, r.Id)
		return err
	})
	r = w.work(r)
	require.Equal(w.t, host.StateCompleted, r.State, r.ErrorMessage)
}

func (w *world) request(id string) (r *host.UserProvisioningRequest) {
	w.t.Helper()
	w.do(func(ctx context.Context, tx harnessTx) error {
		var err error
		r, err = tx.Request(ctx, id)
		return err
	})
	return r
}

// staged returns a run's staged accounts by the target's id.
func (w *world) staged(r *host.UserProvisioningRequest) map[string]*host.UserProvAccountStaging {
	w.t.Helper()
	m := map[string]*host.UserProvAccountStaging{}
	w.do(func(ctx context.Context, tx harnessTx) error {
		list, err := tx.Staging(ctx, r.Id, 0, 1_000_000)
		for _, s := range list {
			m[s.ExternalUserId] = s
		}
		return err
	})
	return m
}

// accounts returns what is stored, by the target's id.
func (w *world) accounts() map[string]*host.UserProvAccount {
	w.t.Helper()
	m := map[string]*host.UserProvAccount{}
	w.do(func(ctx context.Context, tx harnessTx) error {
		list, err := tx.Accounts(ctx, store.AccountFilter{AppName: "acme", Limit: 1_000_000})
		for _, a := range list {
			m[a.ExternalUserId] = a
		}
		return err
	})
	return m
}
