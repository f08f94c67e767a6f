// Package plan makes exact sets of changes and has them done: what follows from
// a reconciliation for each account of an app, and what an import would take
// from the organisation. A plan can be looked at before anything happens, stops
// by itself where it passes a threshold, and is done exactly as it was shown or
// not at all. It knows the store, the rules and the engine of provisioning only
// through the interfaces below.
package plan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"log/slog"
	"time"

	"github.com/provosthq/provost/host"
)

// Tx is what the engine does within one transaction. Records that are not
// there are [host.NotFound].
type Tx interface {
	Config(ctx context.Context, app string) (*host.UserProvisioningConfig, error)
	UsersWithApps(ctx context.Context, after string, limit int) ([]*host.User, error)
	UsersByIds(ctx context.Context, ids []string) (map[string]*host.User, error)
	// LinkedUsers tells which users have an account, or soon will.
	LinkedUsers(ctx context.Context, app string, ids []string) (map[string]bool, error)
	AppAccounts(ctx context.Context, app string, after int64, limit int) ([]*host.UserProvAccount, error)
	Account(ctx context.Context, id string) (*host.UserProvAccount, error)
	AccountByUser(ctx context.Context, app, userID string) (*host.UserProvAccount, error)
	CountLinked(ctx context.Context, app string) (int64, error)
	CountUsers(ctx context.Context) (int64, error)

	InsertPlan(ctx context.Context, p *host.Plan) error
	Plan(ctx context.Context, id string) (*host.Plan, error)
	// UpdatePlan is a Conflict where the plan is in that state no more.
	UpdatePlan(ctx context.Context, p *host.Plan, still host.PlanState) error
	InsertChanges(ctx context.Context, list []*host.PlannedChange) error
	Changes(ctx context.Context, planID string, after int64, limit int) ([]*host.PlannedChange, error)
	OpenChanges(ctx context.Context, planID string, limit int) ([]*host.PlannedChange, error)
	UpdateChange(ctx context.Context, c *host.PlannedChange) error
	DeleteChanges(ctx context.Context, planID string) error

	// AddRequest makes the request of a planned change.
	AddRequest(ctx context.Context, r *host.UserProvisioningRequest) error
	// Accept gives a user the values that an account has in the target.
	Accept(ctx context.Context, u *host.User, a *host.UserProvAccount) error
	// Disable makes a user inactive, with what follows from it.
	Disable(ctx context.Context, u *host.User) error

	Enqueue(ctx context.Context, kind, planID string, at time.Time) error
	CompleteJob(ctx context.Context) error
}

// Store runs transactions. fn may run more than once.
type Store interface {
	Update(ctx context.Context, fn func(Tx) error) error
	View(ctx context.Context, fn func(Tx) error) error
}

// Rules are the compiled rules of an app.
type Rules interface {
	Apply(u *host.User) (map[string]any, error)
	Drift(want, have map[string]any, partial bool) []host.Difference
	Changed(before, after map[string]any) []string
	// Initial is what a new account gets.
	Initial(want map[string]any) []host.Difference
	// Granted tells whether the user should have an account.
	Granted(u *host.User) (bool, error)
}

// Options are for [New].
type Options struct {
	Store  Store
	Rules  func(app string) (Rules, error)
	Now    func() time.Time
	Logger *slog.Logger
}

// Engine makes and releases plans. It may be used from many goroutines and on
// many machines at once.
type Engine struct{ Options }

// New makes an engine.
func New(o Options) *Engine {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Engine{o}
}

// JobKind is the kind of the engine's jobs.
const JobKind = "plan"

// batch is how many rows one transaction takes.
const batch = 500

// The kinds of plan.
const (
	Process = "process" // what follows for each account of an app
	Import  = "import"  // the users that an import would disable
)

// ProcessOptions say what is planned for an app. What is left empty is as the
// app's configuration has it.
type ProcessOptions struct {
	Missing, Drift, Orphaned, Unassigned string
	// DryRun: the plan is only to be looked at.
	DryRun bool
}

// Start makes the plan of an app, which is then made by a job.
func (e *Engine) Start(ctx context.Context, tx Tx, appName string, o ProcessOptions) (*host.Plan, error) {
	app, err := tx.Config(ctx, appName)
	if err != nil {
		return nil, err
	}
	policy := app.Reconcile
	for _, choice := range []struct {
		name, given string
		into        *string
		words       []string
	}{
		{"missing", o.Missing, &policy.Missing, []string{"nothing", "create"}},
		{"drift", o.Drift, &policy.Drift, []string{"nothing", "update", "accept"}},
		{"orphaned", o.Orphaned, &policy.Orphaned, []string{"nothing", "deactivate", "delete"}},
		{"unassigned", o.Unassigned, &policy.Unassigned, []string{"nothing", "deactivate", "delete"}},
	} {
		if choice.given == "" {
			continue
		}
		known := false
		for _, w := range choice.words {
			known = known || w == choice.given
		}
		if !known {
			return nil, &host.Error{Code: host.InvalidInput, Field: choice.name, Message: fmt.Sprintf("%q is not among %v", choice.given, choice.words)}
		}
		*choice.into = choice.given
	}
	p := &host.Plan{Id: host.NewID(), Kind: Process, State: host.PlanMaking, AppName: appName, DryRun: o.DryRun, Policy: policy,
		Actor: host.ActorOf(ctx), CreatedDate: e.Now().UTC()}
	if err := tx.InsertPlan(ctx, p); err != nil {
		return nil, err
	}
	return p, tx.Enqueue(ctx, JobKind, p.Id, time.Time{})
}

// Work goes on with a plan from where its record says it is.
func (e *Engine) Work(ctx context.Context, id string) error {
	for {
		var p *host.Plan
		if err := e.Store.View(ctx, func(tx Tx) (err error) { p, err = tx.Plan(ctx, id); return err }); err != nil {
			return err
		}
		var done bool
		var err error
		switch p.State {
		case host.PlanMaking:
			err = e.make(ctx, p)
		case host.PlanReleased:
			done, err = e.release(ctx, p)
		default:
			return e.Store.Update(ctx, func(tx Tx) error { return tx.CompleteJob(ctx) })
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if code := host.CodeOf(err); err != nil && (code == host.NotFound || code == host.InvalidInput || code == host.Unsupported) {
			err = e.end(ctx, p, host.PlanFailed, err.Error())
		}
		if err != nil || done {
			return err
		}
	}
}

func (e *Engine) end(ctx context.Context, p *host.Plan, state host.PlanState, reason string) error {
	return e.Store.Update(ctx, func(tx Tx) error {
		next, now := *p, e.Now().UTC()
		next.State, next.Reason, next.CompletedDate = state, reason, &now
		return tx.UpdatePlan(ctx, &next, p.State)
	})
}

// make finds the changes. It begins anew where it was cut off.
func (e *Engine) make(ctx context.Context, p *host.Plan) error {
	rules, err := e.Rules(p.AppName)
	if err != nil {
		return err
	}
	if err := e.Store.Update(ctx, func(tx Tx) error { return tx.DeleteChanges(ctx, p.Id) }); err != nil {
		return err
	}
	next := *p
	next.Counts = map[string]int64{}
	sum := sha256.New()
	store := func(find func(tx Tx) ([]*host.PlannedChange, error)) error {
		var list []*host.PlannedChange
		if err := e.Store.Update(ctx, func(tx Tx) (err error) {
			if list, err = find(tx); err != nil {
				return err
			}
			return tx.InsertChanges(ctx, list)
		}); err != nil {
			return err
		}
		for _, c := range list {
			next.Counts[string(c.Operation)]++
			digest(sum, c)
		}
		return ctx.Err()
	}
	if p.Policy.Missing == "create" {
		if err := e.eachUserPage(func(after *string) (n int, err error) {
			from := *after
			err = store(func(tx Tx) (list []*host.PlannedChange, err error) {
				list, n, *after, err = e.missing(ctx, tx, p, rules, from)
				return list, err
			})
			return n, err
		}); err != nil {
			return err
		}
	}
	for after, n := int64(0), batch; n == batch; {
		last := after
		if err := store(func(tx Tx) (list []*host.PlannedChange, err error) {
			list, n, last, err = e.accounts(ctx, tx, p, rules, after)
			return list, err
		}); err != nil {
			return err
		}
		after = last
	}
	next.Digest = hex.EncodeToString(sum.Sum(nil))
	return e.Store.Update(ctx, func(tx Tx) error {
		made := next
		var err error
		if made.Accounts, err = tx.CountLinked(ctx, p.AppName); err != nil {
			return err
		}
		app, err := tx.Config(ctx, p.AppName)
		if err != nil {
			return err
		}
		e.judge(&made, app.Mode == host.Preview)
		return tx.UpdatePlan(ctx, &made, host.PlanMaking)
	})
}

// judge gives a plan that has been made its next state.
func (e *Engine) judge(p *host.Plan, preview bool) {
	now := e.Now().UTC()
	stopped := Exceeds(p.Policy.Thresholds, p.Counts, p.Accounts)
	switch {
	case stopped != "":
		p.State, p.Reason = host.PlanQuarantined, stopped
		if p.DryRun {
			p.State = host.PlanPlanned
		}
	case p.DryRun:
		p.State = host.PlanPlanned
	case preview:
		p.State, p.Reason = host.PlanPlanned, "the app is in preview: nothing reaches it"
	case len(p.Counts) == 0:
		p.State, p.CompletedDate = host.PlanDone, &now
	default:
		p.State, p.DecidedBy, p.DecidedDate = host.PlanReleased, p.Actor, &now
	}
}

// Exceeds says which threshold a set of changes passes, "" for none. accounts
// is how many there are.
func Exceeds(t host.Thresholds, counts map[string]int64, accounts int64) string {
	for _, one := range []struct {
		verb  string
		n     int64
		limit host.Threshold
	}{
		{"deactivate", counts[string(host.Deactivate)] + counts[string(host.Freeze)] + counts[string(host.PlanDisable)], t.Deactivate},
		{"delete", counts[string(host.Delete)], t.Delete},
	} {
		if !one.limit.Set || one.n == 0 {
			continue
		}
		share := 100 * float64(one.n) / float64(max(1, accounts))
		over := one.n > one.limit.Count
		if one.limit.Share {
			over = one.n > t.Smallest && share > one.limit.Percent
		}
		if over {
			return fmt.Sprintf("would %s %d of %d (%.0f %%); the threshold is %s", one.verb, one.n, accounts, share, one.limit)
		}
	}
	return ""
}

func (e *Engine) eachUserPage(page func(after *string) (int, error)) error {
	for after := ""; ; {
		n, err := page(&after)
		if err != nil || n < batch {
			return err
		}
	}
}

// missing plans the accounts of a page of people who should have one.
func (e *Engine) missing(ctx context.Context, tx Tx, p *host.Plan, rules Rules, after string) (list []*host.PlannedChange, n int, last string, err error) {
	users, err := tx.UsersWithApps(ctx, after, batch)
	if err != nil || len(users) == 0 {
		return nil, 0, after, err
	}
	last = users[len(users)-1].Id
	var wanted []*host.User
	var ids []string
	for _, u := range users {
		in, err := should(rules, u)
		if err != nil {
			return nil, 0, after, err
		}
		if in {
			wanted, ids = append(wanted, u), append(ids, u.Id)
		}
	}
	has, err := tx.LinkedUsers(ctx, p.AppName, ids)
	if err != nil {
		return nil, 0, after, err
	}
	for _, u := range wanted {
		if has[u.Id] {
			continue
		}
		c, err := create(p, rules, u)
		if err != nil {
			return nil, 0, after, err
		}
		list = append(list, c)
	}
	return list, len(users), last, nil
}

// should tells whether a user should have an active account.
func should(rules Rules, u *host.User) (bool, error) {
	if !u.IsActive || u.DeletedDate != nil {
		return false, nil
	}
	return rules.Granted(u)
}

func create(p *host.Plan, rules Rules, u *host.User) (*host.PlannedChange, error) {
	want, err := rules.Apply(u)
	if err != nil {
		return nil, err
	}
	c := &host.PlannedChange{PlanId: p.Id, Operation: host.Create, UserId: u.Id, Subject: u.Username, Reason: "has no account",
		Differences: rules.Initial(want)}
	c.Fingerprint = fingerprint(c.Operation, want, nil)
	return c, nil
}

// NewAccount is what follows for a user who should have an account and has none.
func NewAccount(rules Rules, u *host.User) (*host.PlannedChange, error) {
	return create(&host.Plan{}, rules, u)
}

// Follows is what follows for one account by a policy, nil for nothing. u is
// whose it is.
func Follows(policy host.ReconcilePolicy, rules Rules, a *host.UserProvAccount, u *host.User) (*host.PlannedChange, error) {
	return change(&host.Plan{Policy: policy}, rules, a, u)
}

// accounts plans what follows for a page of accounts.
func (e *Engine) accounts(ctx context.Context, tx Tx, p *host.Plan, rules Rules, after int64) (list []*host.PlannedChange, n int, last int64, err error) {
	page, err := tx.AppAccounts(ctx, p.AppName, after, batch)
	if err != nil || len(page) == 0 {
		return nil, 0, after, err
	}
	last = page[len(page)-1].Number
	var ids []string
	for _, a := range page {
		if a.UserId != "" {
			ids = append(ids, a.UserId)
		}
	}
	users, err := tx.UsersByIds(ctx, ids)
	if err != nil {
		return nil, 0, after, err
	}
	for _, a := range page {
		c, err := change(p, rules, a, users[a.UserId])
		if err != nil {
			return nil, 0, after, err
		}
		if c != nil {
			list = append(list, c)
		}
	}
	return list, len(page), last, nil
}

// change plans what follows for one account, nil for nothing. u is whose it is.
func change(p *host.Plan, rules Rules, a *host.UserProvAccount, u *host.User) (*host.PlannedChange, error) {
	if a.DeletedDate != nil || a.LinkState == host.Ignored || a.LinkState == host.Duplicate {
		return nil, nil
	}
	c := &host.PlannedChange{PlanId: p.Id, UserProvAccountId: a.Id, Subject: a.ExternalUsername}
	if c.Subject == "" {
		c.Subject = a.ExternalUserId
	}
	word := map[string]host.Operation{"deactivate": host.Deactivate, "delete": host.Delete, "update": host.Update, "accept": host.PlanAccept}
	if a.LinkState == host.Orphaned || u == nil {
		if len(a.Candidates) > 0 {
			return nil, nil // it may be somebody's: a person must say first
		}
		c.Operation, c.Reason = word[p.Policy.Orphaned], "belongs to nobody"
		if c.Operation == "" || c.Operation == host.Deactivate && !a.Active {
			return nil, nil
		}
		c.Fingerprint = fingerprint(c.Operation, nil, a)
		return c, nil
	}
	c.UserId, c.Subject = u.Id, u.Username
	in, err := should(rules, u)
	if err != nil {
		return nil, err
	}
	if !in {
		c.Operation, c.Reason = word[p.Policy.Unassigned], "should have no account"
		if c.Operation == "" || c.Operation == host.Deactivate && !a.Active {
			return nil, nil
		}
		c.Fingerprint = fingerprint(c.Operation, nil, a)
		return c, nil
	}
	if c.Operation = word[p.Policy.Drift]; c.Operation == "" || len(a.Drift) == 0 {
		return nil, nil
	}
	want, err := rules.Apply(u)
	if err != nil {
		return nil, err
	}
	c.Reason, c.Differences = "has other values than the mapping wants", a.Drift
	c.Fingerprint = fingerprint(c.Operation, want, a)
	return c, nil
}

// fingerprint is of all that a change rests on.
func fingerprint(op host.Operation, want map[string]any, a *host.UserProvAccount) string {
	what := struct {
		Op   host.Operation
		Want map[string]any
		Have any
	}{Op: op, Want: want}
	if a != nil {
		what.Have = []any{a.Id, a.UserId, a.LinkState, a.Active, a.Frozen, a.DeletedDate != nil, a.Attributes, a.Drift}
	}
	text, err := json.Marshal(what)
	if err != nil {
		text = []byte(err.Error()) // attributes come from JSON
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// digest adds a change, as it is shown.
func digest(sum hash.Hash, c *host.PlannedChange) {
	text, err := json.Marshal([]any{c.Operation, c.UserId, c.UserProvAccountId, c.Subject, c.Reason, c.Differences, c.Fingerprint})
	if err != nil {
		text = []byte(err.Error()) // differences come from JSON
	}
	sum.Write(append(text, '\n'))
}

// Digest is over a set of changes: the same set has the same.
func Digest(list []*host.PlannedChange) string {
	sum := sha256.New()
	for _, c := range list {
		digest(sum, c)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
