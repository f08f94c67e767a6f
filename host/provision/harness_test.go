package provision_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/mapping"
	"github.com/provosthq/provost/host/provision"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/pdk"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// world is an engine over a real database, with a target that answers as a
// test says, a clock that the test moves, and jobs that run when it says so.
type world struct {
	t      testing.TB
	store  *store.Store
	engine *provision.Engine
	target *target

	mu    sync.Mutex
	now   time.Time
	rules map[string]*appRules
	// crashInEnd: the process dies in the transaction that ends a job.
	crashInEnd bool
	// limits are the bounds of the targets; nil for none.
	limits func(app *host.UserProvisioningConfig) []provision.TargetLimits
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
	return newWorldOver(t, s)
}

// newWorldOver is a world over a store that is open already.
func newWorldOver(t testing.TB, s *store.Store) *world {
	t.Helper()
	_, err := s.DB().ExecContext(t.Context(), "CREATE TABLE IF NOT EXISTS harness_jobs (id TEXT PRIMARY KEY, request_id TEXT NOT NULL, due BIGINT NOT NULL)")
	require.NoError(t, err)
	w := &world{t: t, store: s, target: newTarget(), now: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC), rules: map[string]*appRules{}}
	w.engine = provision.New(provision.Options{Store: w, Connectors: w.target, Now: w.clock, Rules: func(app string) (provision.Rules, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if r := w.rules[app]; r != nil {
			return r, nil
		}
		return nil, host.Errorf(host.Unavailable, "the app %q is not in the configuration", app)
	}, Limits: func(app *host.UserProvisioningConfig) []provision.TargetLimits {
		if w.limits == nil {
			return nil
		}
		return w.limits(app)
	}})
	return w
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

// harnessTx has the jobs in a table of the same database, so that they are
// stored or not together with the rest.
type harnessTx struct {
	*store.Tx
	w *world
}

type harnessJob struct{}

func (t harnessTx) Enqueue(ctx context.Context, _, requestID string, at time.Time) error {
	if at.IsZero() {
		at = t.w.clock()
	}
	_, err := t.SQL().ExecContext(ctx, fmt.Sprintf("INSERT INTO harness_jobs (id, request_id, due) VALUES ('%s', '%s', %d)", host.NewID(), requestID, at.UnixNano()))
	return err
}

func (t harnessTx) CompleteJob(ctx context.Context) error {
	id, ok := ctx.Value(harnessJob{}).(string)
	if !ok {
		return errors.New("CompleteJob outside a job")
	}
	if t.w.crashInEnd {
		panic(crash{})
	}
	_, err := t.SQL().ExecContext(ctx, fmt.Sprintf("DELETE FROM harness_jobs WHERE id = '%s'", id))
	return err
}

// Update and View make the world the engine's store.
func (w *world) Update(ctx context.Context, fn func(provision.Tx) error) error {
	return w.store.Update(ctx, func(t *store.Tx) error { return fn(harnessTx{t, w}) })
}

func (w *world) View(ctx context.Context, fn func(provision.Tx) error) error {
	return w.store.View(ctx, func(t *store.Tx) error { return fn(harnessTx{t, w}) })
}

// do runs fn in a transaction that must succeed.
func (w *world) do(fn func(ctx context.Context, tx harnessTx) error) {
	w.t.Helper()
	require.NoError(w.t, w.try(fn))
}

func (w *world) try(fn func(ctx context.Context, tx harnessTx) error) error {
	ctx := w.t.Context()
	return w.store.Update(ctx, func(t *store.Tx) error { return fn(ctx, harnessTx{t, w}) })
}

// appRules are the rules of an app as the daemon compiles them.
type appRules struct {
	*mapping.Mapping
	scope *mapping.Scope
}

func (r *appRules) InScope(u *host.User) (bool, error) {
	if r.scope == nil {
		return false, nil
	}
	return r.scope.Holds(u)
}

// app makes an app that allows everything, unless change says otherwise.
func (w *world) app(name string, change ...func(*host.UserProvisioningConfig)) {
	w.t.Helper()
	c := &host.UserProvisioningConfig{AppName: name, DeveloperName: name, MasterLabel: name, Enabled: true, Connector: "fake", NamedCredentialId: "Cred_" + name,
		EnabledOperations: host.EnabledOperations, MaxAttempts: 5, Mode: host.Live, OnUnassign: host.DoDeactivate, OnDisable: host.DoDeactivate, OnDelete: host.DoDeactivate,
		UserAccountMapping: []string{"userName = user.Username", "email = user.Email", "title = user.Title"}}
	for _, fn := range change {
		fn(c)
	}
	m, err := mapping.Compile(c.UserAccountMapping, nil)
	require.NoError(w.t, err)
	r := &appRules{Mapping: m}
	if c.Scope != "" {
		r.scope, err = mapping.CompileScope(c.Scope)
		require.NoError(w.t, err)
	}
	w.mu.Lock()
	w.rules[name] = r
	w.mu.Unlock()
	w.do(func(ctx context.Context, tx harnessTx) error {
		a := &host.ConnectedApp{Name: name, Label: name}
		if err := tx.PutApp(ctx, a); err != nil {
			return err
		}
		c.ConnectedAppId = a.Id
		return tx.PutConfig(ctx, c)
	})
}

// user stores an active user, unless change says otherwise, with direct
// assignments to apps.
func (w *world) user(name string, apps []string, change ...func(*host.User)) *host.User {
	w.t.Helper()
	u := &host.User{User: pdk.User{Username: name, FirstName: name, LastName: "Test", Email: name + "@example.com", IsActive: true}}
	for _, fn := range change {
		fn(u)
	}
	w.do(func(ctx context.Context, tx harnessTx) error {
		again := *u // fn may run again
		if _, err := w.engine.SaveUser(ctx, tx, nil, &again); err != nil {
			return err
		}
		*u = again
		for _, app := range apps {
			if _, err := w.engine.Assign(ctx, tx, u.Id, app, true); err != nil {
				return err
			}
		}
		return nil
	})
	return u
}

// change changes a stored user and returns how many requests followed.
func (w *world) change(id string, change func(*host.User)) (made int) {
	w.t.Helper()
	w.do(func(ctx context.Context, tx harnessTx) error {
		before, err := tx.User(ctx, id)
		if err != nil {
			return err
		}
		after := *before
		change(&after)
		made, err = w.engine.SaveUser(ctx, tx, before, &after)
		return err
	})
	return made
}

func (w *world) assign(userID, app string, assigned bool) {
	w.t.Helper()
	w.do(func(ctx context.Context, tx harnessTx) error {
		_, err := w.engine.Assign(ctx, tx, userID, app, assigned)
		return err
	})
}

// due is the first job that is due by now: its id and its request.
func (w *world) due() (job, requestID string, ok bool) {
	w.t.Helper()
	err := w.store.DB().QueryRowContext(w.t.Context(), fmt.Sprintf("SELECT id, request_id FROM harness_jobs WHERE due <= %d ORDER BY due, id LIMIT 1", w.clock().UnixNano())).Scan(&job, &requestID)
	if errors.Is(err, sql.ErrNoRows) {
		return "", "", false
	}
	require.NoError(w.t, err)
	return job, requestID, true
}

// jobs counts all jobs, due or not.
func (w *world) jobs() (n int) {
	w.t.Helper()
	require.NoError(w.t, w.store.DB().QueryRowContext(w.t.Context(), "SELECT COUNT(*) FROM harness_jobs").Scan(&n))
	return n
}

// step works one job that is due; false when there is none.
func (w *world) step() bool {
	w.t.Helper()
	job, requestID, ok := w.due()
	if ok {
		require.NoError(w.t, w.engine.Work(context.WithValue(w.t.Context(), harnessJob{}, job), requestID))
	}
	return ok
}

// run works jobs until none is due.
func (w *world) run() {
	w.t.Helper()
	for range 10_000 {
		if !w.step() {
			return
		}
	}
	w.t.Fatal("jobs make jobs without end")
}

// settle works jobs and lets time pass until there are none.
func (w *world) settle() {
	w.t.Helper()
	for range 1_000 {
		w.run()
		var next sql.NullInt64
		require.NoError(w.t, w.store.DB().QueryRowContext(w.t.Context(), "SELECT MIN(due) FROM harness_jobs").Scan(&next))
		if !next.Valid {
			return
		}
		w.pass(time.Unix(0, next.Int64).Sub(w.clock()))
	}
	w.t.Fatal("jobs wait for each other without end")
}

// requests lists all requests, oldest first.
func (w *world) requests() (list []*host.UserProvisioningRequest) {
	w.t.Helper()
	w.do(func(ctx context.Context, tx harnessTx) (err error) {
		list, err = tx.Requests(ctx, store.RequestFilter{Limit: 100_000})
		return err
	})
	return list
}

func (w *world) request(id string) (r *host.UserProvisioningRequest) {
	w.t.Helper()
	w.do(func(ctx context.Context, tx harnessTx) (err error) {
		r, err = tx.Request(ctx, id)
		return err
	})
	return r
}

// last is the newest request.
func (w *world) last() *host.UserProvisioningRequest {
	w.t.Helper()
	list := w.requests()
	require.NotEmpty(w.t, list)
	return list[len(list)-1]
}

// outline is every request as "Operation State", oldest first.
func (w *world) outline() []string {
	out := []string{}
	for _, r := range w.requests() {
		out = append(out, fmt.Sprintf("%s %s", r.Operation, r.State))
	}
	return out
}

// logs is a request's log, oldest first.
func (w *world) logs(id string) (list []*host.UserProvisioningLog) {
	w.t.Helper()
	w.do(func(ctx context.Context, tx harnessTx) (err error) {
		list, err = tx.Logs(ctx, id)
		return err
	})
	return list
}

// account is the one that is linked to a user; nil if there is none.
func (w *world) account(userID, app string) (a *host.UserProvAccount) {
	w.t.Helper()
	w.do(func(ctx context.Context, tx harnessTx) (err error) {
		if a, err = tx.AccountByUser(ctx, app, userID); host.CodeOf(err) == host.NotFound {
			a, err = nil, nil
		}
		return err
	})
	return a
}

// target is what the fake connector speaks to: accounts by userName, in one
// namespace for all apps. It does what it is asked, unless a test has laid
// down other answers.
type target struct {
	mu       sync.Mutex
	accounts map[string]*targetAccount // by the target's id
	made     int
	calls    []targetCall
	replies  map[pdk.Operation][]reply
	lacks    []pdk.Operation
	// down tells whether a call finds nobody there.
	down func(in pdk.Input) bool
	// before is called at the start of each call, outside of any lock.
	before func(op pdk.Operation, in pdk.Input)
	// chance gives the answer to a call for which none is laid down; nil for
	// the target's own.
	chance func(op pdk.Operation, in pdk.Input) *reply
}

type targetAccount struct {
	ID, UserName   string
	Person         string // whom it was made for
	Active, Frozen bool
	Attributes     map[string]any
}

type targetCall struct {
	App string
	Op  pdk.Operation
	In  pdk.Input
}

// reply is what one call ends in instead of the target's own answer. With
// acts, the target does what it was asked all the same.
type reply struct {
	out  *pdk.Output
	err  error
	acts bool
	// crash: the process dies, once the target has acted or before.
	crash bool
	// status is the HTTP status that the host saw; 0 with an err: no answer.
	status int
}

// crash ends a process.
type crash struct{}

func newTarget() *target {
	return &target{accounts: map[string]*targetAccount{}, replies: map[pdk.Operation][]reply{}}
}

// next lays down the answers to the next calls of an operation.
func (t *target) next(op pdk.Operation, replies ...reply) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.replies[op] = append(t.replies[op], replies...)
}

// fails is a reply that ends in an error, with the target untouched.
func fails(code host.Code) reply { return reply{err: host.Errorf(code, "the target says %s", code)} }

// lost is a reply that gets lost after the target has acted.
func lost() reply {
	err := host.Errorf(host.Unavailable, "the answer was cut off")
	err.Uncertain = true
	return reply{err: err, acts: true}
}

// done lists the calls that came, as "create ada".
func (t *target) done() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := []string{}
	for _, c := range t.calls {
		name := ""
		if c.In.User != nil {
			name = c.In.User.Username
		}
		out = append(out, fmt.Sprintf("%s %s", c.Op, name))
	}
	return out
}

// names lists the userNames of the accounts, sorted, disabled ones in
// brackets.
func (t *target) names() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := []string{}
	for _, a := range t.accounts {
		if a.Active {
			out = append(out, a.UserName)
		} else {
			out = append(out, "("+a.UserName+")")
		}
	}
	slices.Sort(out)
	return out
}

// Supports makes the target the engine's connectors.
func (t *target) Supports(_ *host.UserProvisioningConfig, op pdk.Operation) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !slices.Contains(t.lacks, op), nil
}

// Call answers as the test laid down, else as the accounts are.
func (t *target) Call(ctx context.Context, app *host.UserProvisioningConfig, op pdk.Operation, in pdk.Input) (pdk.Output, host.CallTrace, error) {
	if t.before != nil {
		t.before(op, in)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls = append(t.calls, targetCall{app.AppName, op, in})
	trace := host.CallTrace{Connector: "fake 1", Operation: string(op), Callouts: []host.Callout{{Method: "POST", URL: "callout:Cred/x", Status: 200}}}
	if err := ctx.Err(); err != nil {
		return pdk.Output{}, trace, err
	}
	if t.down != nil && t.down(in) {
		trace.Callouts[0].Status, trace.Callouts[0].Error = 0, "connection refused"
		return pdk.Output{}, trace, host.Errorf(host.Unavailable, "connection refused")
	}
	var r *reply
	if len(t.replies[op]) > 0 {
		r = &t.replies[op][0]
		t.replies[op] = t.replies[op][1:]
	} else if t.chance != nil {
		r = t.chance(op, in)
	}
	if r != nil {
		if r.status != 0 {
			trace.Callouts[0].Status = r.status
		}
		if r.acts {
			_, _ = t.act(op, in) // what came of it is what gets lost
		}
		if r.crash {
			panic(crash{})
		}
		if r.out != nil {
			return *r.out, trace, r.err
		}
		if r.err != nil {
			return pdk.Output{}, trace, r.err
		}
	}
	out, err := t.act(op, in)
	return out, trace, err
}

func (t *target) act(op pdk.Operation, in pdk.Input) (pdk.Output, error) {
	name, _ := in.Attributes["userName"].(string)
	var a *targetAccount
	if op != pdk.OpCreate && in.UserProvAccount != nil && in.UserProvAccount.ExternalUserId != "" {
		a = t.accounts[in.UserProvAccount.ExternalUserId]
	} else {
		for _, one := range t.accounts {
			if one.UserName == name {
				a = one
			}
		}
	}
	switch {
	case op == pdk.OpCreate && a != nil:
		return pdk.Output{}, host.Errorf(host.AlreadyExists, "there is an account %q", name)
	case op == pdk.OpCreate:
		t.made++
		a = &targetAccount{ID: fmt.Sprintf("ext-%d", t.made), Person: in.UserId, Active: true}
		t.accounts[a.ID] = a
	case a == nil:
		return pdk.Output{}, host.Errorf(host.NotFound, "there is no such account")
	}
	switch op {
	case pdk.OpCreate:
		a.UserName, a.Attributes = name, maps.Clone(in.Attributes)
	case pdk.OpUpdate: // nothing but what is said to have changed
		a.Attributes = maps.Clone(a.Attributes)
		for _, path := range in.ChangedAttributes {
			a.Attributes[path] = in.Attributes[path]
		}
		a.UserName, _ = a.Attributes["userName"].(string)
	case pdk.OpActivate:
		a.Active = true
	case pdk.OpDeactivate:
		a.Active = false
	case pdk.OpFreeze:
		a.Frozen = true
	case pdk.OpUnfreeze:
		a.Frozen = false
	case pdk.OpDelete:
		delete(t.accounts, a.ID)
	}
	email, _ := a.Attributes["email"].(string)
	return pdk.Output{ExternalUserId: a.ID, ExternalUsername: a.UserName, ExternalEmail: email, Attributes: a.Attributes}, nil
}

func TestAPersonsAccountFollowsFromEventToTarget(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme")
		ada := w.user("ada", []string{"acme"})
		w.run()
		require.Equal(t, []string{"ada"}, w.target.names())
		require.Equal(t, "ext-1", w.account(ada.Id, "acme").ExternalUserId)
		w.target.next(pdk.OpUpdate, lost())
		require.Equal(t, 1, w.change(ada.Id, func(u *host.User) { u.Title = "Countess" }))
		w.settle()
		w.change(ada.Id, func(u *host.User) { u.IsActive = false })
		w.run()
		require.Equal(t, []string{"Create Completed", "Update Completed", "Deactivate Completed"}, w.outline())
		require.Equal(t, []string{"create ada", "update ada", "update ada", "deactivate ada"}, w.target.done())
		require.Equal(t, []string{"(ada)"}, w.target.names())
		require.Zero(t, w.jobs())
	})
}

func TestARefusedRequestFailsAndSaysWhy(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.app("acme")
		ada := w.user("ada", nil)
		w.assign(ada.Id, "acme", true)
		w.target.next(pdk.OpCreate, fails(host.InvalidInput))
		w.run()
		r := w.request(w.last().Id)
		require.Equal(t, host.StateFailed, r.State)
		require.Equal(t, host.InvalidInput, r.ErrorCode)
		logs := w.logs(r.Id)
		require.Equal(t, "failed", logs[len(logs)-1].Status)
		require.Equal(t, host.Ourselves, logs[len(logs)-1].Actor)
		require.Empty(t, w.target.names())
	})
}
