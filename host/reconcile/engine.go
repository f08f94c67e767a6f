// Package reconcile is the engine that finds out what is really in a target:
// it collects an app's accounts page after page, analyzes whose they are and
// what has drifted, and commits what it found to the accounts. It knows
// connectors, the store and the queue only through the interfaces below.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/tracing"
	"github.com/provosthq/provost/pdk"
)

// Tx is what the engine does within one transaction. Records that are not
// there are [host.NotFound].
type Tx interface {
	Config(ctx context.Context, app string) (*host.UserProvisioningConfig, error)
	TouchConfig(ctx context.Context, app string, at time.Time, token string) error
	// TouchWholeRun notes that a run over all accounts was committed.
	TouchWholeRun(ctx context.Context, app string, at time.Time) error

	InsertRequest(ctx context.Context, r *host.UserProvisioningRequest) error
	Request(ctx context.Context, id string) (*host.UserProvisioningRequest, error)
	UpdateRequest(ctx context.Context, r *host.UserProvisioningRequest, expectAttempt int) error
	InsertLog(ctx context.Context, l *host.UserProvisioningLog) error

	// InsertReconPage is a Conflict if the run has seen the offset.
	InsertReconPage(ctx context.Context, requestID, offset string, accounts int) error
	PutStaging(ctx context.Context, list []*host.UserProvAccountStaging) error
	// CountStagedOf counts which of some accounts a run has staged already.
	CountStagedOf(ctx context.Context, requestID string, externalIDs []string) (int64, error)
	// ReconSchedule is nil where the schedule of an app has not begun.
	ReconSchedule(ctx context.Context, app string) (*host.ReconSchedule, error)
	OpenRun(ctx context.Context, app string) (bool, error)
	MarkQueued(ctx context.Context, requestID string) (bool, error)
	PutReconSchedule(ctx context.Context, s *host.ReconSchedule) error
	Configs(ctx context.Context) ([]*host.UserProvisioningConfig, error)
	// CountKnown counts the accounts of an app that are not gone.
	CountKnown(ctx context.Context, app string) (int64, error)
	ClearRun(ctx context.Context, requestID string) error

	AccountByExternalId(ctx context.Context, app, externalID string) (*host.UserProvAccount, error)
	PutAccount(ctx context.Context, a *host.UserProvAccount) error
	AccountsNotStaged(ctx context.Context, app, requestID string, after int64, limit int) ([]*host.UserProvAccount, error)
	AnalysisTx
	CommitTx
	ReviewTx

	Enqueue(ctx context.Context, kind, requestID string, at time.Time) error
	CompleteJob(ctx context.Context) error
}

// Store runs transactions. fn may run more than once.
type Store interface {
	Update(ctx context.Context, fn func(Tx) error) error
	View(ctx context.Context, fn func(Tx) error) error
}

// Connectors calls the connector of an app. Errors are *[host.Error].
type Connectors interface {
	Call(ctx context.Context, app *host.UserProvisioningConfig, op pdk.Operation, in pdk.Input) (pdk.Output, host.CallTrace, error)
	Supports(app *host.UserProvisioningConfig, op pdk.Operation) (bool, error)
}

// Rules are the compiled rules of an app.
type Rules interface {
	Apply(u *host.User) (map[string]any, error)
	Drift(want, have map[string]any, partial bool) []host.Difference
	// Granted tells whether the user should have an account.
	Granted(u *host.User) (bool, error)
	// Len is the number of link rules, the surest first; Rule the text of one;
	// Fuzzy tells whether it names candidates only. UserKeys and AccountKeys are
	// what rules make of a user or an account: who shares a key may be meant.
	// Score tells how alike two values are by a fuzzy rule, 0 for not enough.
	Len() int
	Rule(i int) string
	Fuzzy(i int) bool
	UserKeys(u *host.User) ([]host.UserKey, error)
	AccountKeys(i int, a *host.UserProvAccountStaging) (keys []string, value string, err error)
	Score(i int, account, user string) float64
}

// Observer is told of what counts once tx is committed, and only then.
type Observer interface {
	// Page was asked for: outcome is "ok" or a code, accounts how many it had.
	Page(tx Tx, r *host.UserProvisioningRequest, outcome string, accounts int)
	// Held: a threshold holds the run back for a person.
	Held(tx Tx, r *host.UserProvisioningRequest)
}

type noObserver struct{}

func (noObserver) Page(Tx, *host.UserProvisioningRequest, string, int) {}
func (noObserver) Held(Tx, *host.UserProvisioningRequest)              {}

// Options are for [New].
type Options struct {
	Store      Store
	Connectors Connectors
	Rules      func(app string) (Rules, error)
	// Targets says when a target may be asked; nil is always.
	Targets Targets
	// Observe is told what runs collect and what holds them back; nil for none.
	Observe Observer
	Now     func() time.Time
	Logger  *slog.Logger
	// Batch is how many rows one transaction of analyzing and of committing
	// takes; 0 means 500.
	Batch int
}

// Engine reconciles. It may be used from many goroutines and on many machines
// at once.
type Engine struct{ Options }

// New makes an engine.
func New(o Options) *Engine {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Observe == nil {
		o.Observe = noObserver{}
	}
	if o.Batch == 0 {
		o.Batch = 500
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Engine{o}
}

// JobKind is the kind of the engine's jobs.
const JobKind = "reconcile"

// RunOptions say how an app is reconciled.
type RunOptions struct {
	// Filter is in the target's own language; empty means the app's.
	Filter string
	// Mode is full (or empty) or delta.
	Mode string
	// Commit goes on to the commit without a review.
	Commit bool
	// Reason says what made the run; empty is a person.
	Reason string
}

// Start makes the request of a run. One run of an app is under way at a time.
func (e *Engine) Start(ctx context.Context, tx Tx, appName string, o RunOptions) (*host.UserProvisioningRequest, error) {
	app, err := tx.Config(ctx, appName)
	if err != nil {
		return nil, err
	}
	switch o.Mode {
	case "":
		o.Mode = pdk.ModeFull
	case pdk.ModeFull, pdk.ModeDelta:
	default:
		return nil, host.Errorf(host.InvalidInput, "the mode %q is neither full nor delta", o.Mode)
	}
	if ok, err := e.Connectors.Supports(app, pdk.OpReconcile); err != nil {
		return nil, err
	} else if !ok {
		return nil, host.Errorf(host.Unsupported, "the connector %s of %s can't list accounts", app.Connector, appName)
	}
	if o.Filter == "" {
		o.Filter = app.ReconFilter
	}
	r := &host.UserProvisioningRequest{
		Id: host.NewID(), Operation: host.Reconcile, State: host.StateNew, ApprovalStatus: host.ApprovalNotRequired,
		AppName: appName, ConnectedAppId: app.ConnectedAppId, UserProvConfigId: app.Id,
		ReconFilter: o.Filter, ReconMode: o.Mode, CommitWhenAnalyzed: o.Commit, Parameters: app.Parameters,
		Reason: "a person asked for it", CreatedDate: e.Now().UTC(), Queued: true,
	}
	if o.Reason != "" {
		r.Reason = o.Reason
	}
	if o.Mode == pdk.ModeDelta {
		if app.LastReconToken == "" {
			return nil, host.Errorf(host.Unsupported, "the last run of %s left no token for a delta; run a full one", appName)
		}
		r.ReconState = app.LastReconToken
	}
	if err := e.insertRun(ctx, tx, r); err != nil {
		return nil, err
	}
	return r, tx.Enqueue(ctx, JobKind, r.Id, time.Time{})
}

// isConstraint tells whether the database refused a second open run.
func isConstraint(err error) bool {
	var known *host.Error
	return err != nil && !errors.As(err, &known) && containsAny(err.Error(), "UNIQUE", "one_open_reconcile", "duplicate key")
}

// Commit lets a run that has been analyzed go on.
func (e *Engine) Commit(ctx context.Context, tx Tx, id string) (*host.UserProvisioningRequest, error) {
	r, err := tx.Request(ctx, id)
	if err != nil {
		return nil, err
	}
	if r.Operation != host.Reconcile || r.State != host.StateAnalyzed {
		return nil, host.Errorf(host.Conflict, "%s is %s; only a run that has been analyzed can be committed", r.Name(), r.State)
	}
	if why, err := e.guard(ctx, tx, r); err != nil {
		return nil, err
	} else if why != "" {
		return r, e.quarantine(ctx, tx, r, why)
	}
	r.State, r.CommitWhenAnalyzed, r.Quarantine = host.StateCommitting, true, ""
	if err := tx.UpdateRequest(ctx, r, r.Attempt); err != nil {
		return nil, err
	}
	if err := e.log(ctx, tx, r, "committing", "a person reviewed it", nil); err != nil {
		return nil, err
	}
	return r, tx.Enqueue(ctx, JobKind, r.Id, time.Time{})
}

// Work goes on with a run from where its record says it is. Whoever worked at
// it before stores nothing from now on.
func (e *Engine) Work(ctx context.Context, id string) error {
	attempt, err := e.begin(ctx, id)
	for try := 1; host.CodeOf(err) == host.Conflict && try < mostTries; try++ { // the worker before stored something meanwhile
		attempt, err = e.begin(ctx, id)
	}
	if err != nil {
		return err
	}
	ctx, span := tracing.Start(ctx, "run", trace.SpanKindConsumer, tracing.RequestID.String(id), tracing.Attempt.Int(attempt))
	defer span.End()
	var ahead *page
	defer func() { ahead.drop() }()
	for {
		var r *host.UserProvisioningRequest
		var app *host.UserProvisioningConfig
		err := e.Store.View(ctx, func(tx Tx) error {
			var err error
			if r, err = tx.Request(ctx, id); err != nil {
				return err
			}
			if r.Attempt != attempt {
				return host.Errorf(host.Conflict, "%s: another worker goes on with it", r.Name())
			}
			app, err = tx.Config(ctx, r.AppName)
			return err
		})
		if err != nil {
			return err
		}
		rules, err := e.Rules(r.AppName)
		if err != nil {
			return err
		}
		if r.Paused && r.State != host.StateCommitting {
			if done, err := e.rest(ctx, id); done || err != nil {
				return err
			}
			continue
		}
		done := false
		switch r.State {
		case host.StateNew, host.StateCollecting:
			done, err = e.collectPage(ctx, r, app, &ahead)
		case host.StateCollected:
			if done, err = e.verify(ctx, r, app); err != nil || done {
				break
			}
			err = e.step(ctx, r, host.StateAnalyzing, "analyzing", "")
		case host.StateAnalyzing:
			err = spanned(ctx, "analyze", r, func(ctx context.Context) error { return e.analyze(ctx, r, rules) })
		case host.StateAnalyzed:
			if !r.CommitWhenAnalyzed {
				if err := e.complete(ctx); err != nil {
					return err
				}
				e.tell(ctx, r)
				return nil
			}
			var held bool
			if held, err = e.hold(ctx, r); held || err != nil {
				done = held
				break
			}
			err = e.step(ctx, r, host.StateCommitting, "committing", "without a review, as asked")
		case host.StateCommitting:
			err = spanned(ctx, "commit", r, func(ctx context.Context) error { return e.commit(ctx, r) })
		default:
			return e.complete(ctx)
		}
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if host.CodeOf(err) == host.Conflict { // somebody may have paused or cancelled it
				if done, restErr := e.rest(ctx, id); done || restErr != nil {
					return restErr
				}
			}
			var known *host.Error
			if errors.As(err, &known) && !known.Code.Retryable() && r.State != host.StateCommitting {
				return e.fail(ctx, r, known)
			}
			return err
		}
		if done {
			return nil
		}
	}
}

// begin makes this worker the run's only one: its Attempt is the fencing token.
func (e *Engine) begin(ctx context.Context, id string) (attempt int, err error) {
	err = e.Store.Update(ctx, func(tx Tx) error {
		r, err := tx.Request(ctx, id)
		if err != nil {
			return err
		}
		attempt = r.Attempt
		if r.State.Ended() {
			return nil
		}
		next := *r
		next.Attempt++
		attempt = next.Attempt
		if err := tx.UpdateRequest(ctx, &next, r.Attempt); err != nil {
			return err
		}
		if next.Attempt == 1 {
			return e.log(ctx, tx, &next, "begun", "", nil)
		}
		return e.log(ctx, tx, &next, "resumed", fmt.Sprintf("attempt %d goes on from where the last one ended: %s, %d pages", next.Attempt, next.State, next.ReconPages), nil)
	})
	return attempt, err
}

// spanned does something within a span of its own.
func spanned(ctx context.Context, name string, r *host.UserProvisioningRequest, do func(context.Context) error) error {
	ctx, span := tracing.Start(ctx, name, trace.SpanKindInternal, tracing.OfRequest(r)...)
	defer span.End()
	err := do(ctx)
	tracing.Fail(span, string(host.CodeOf(err)))
	return err
}

func (e *Engine) complete(ctx context.Context) error {
	return e.Store.Update(ctx, func(tx Tx) error { return tx.CompleteJob(ctx) })
}

// step moves a run on to its next state.
func (e *Engine) step(ctx context.Context, r *host.UserProvisioningRequest, to host.RequestState, status, details string) error {
	return e.Store.Update(ctx, func(tx Tx) error {
		next := *r
		next.State = to
		if err := tx.UpdateRequest(ctx, &next, r.Attempt); err != nil {
			return err
		}
		return e.log(ctx, tx, &next, status, details, nil)
	})
}

// fail ends a run that can't go on.
func (e *Engine) fail(ctx context.Context, r *host.UserProvisioningRequest, cause *host.Error) error {
	var ended host.UserProvisioningRequest
	err := e.Store.Update(ctx, func(tx Tx) error {
		now := e.Now().UTC()
		next := *r
		next.State, next.CompletedDate, next.ErrorCode, next.ErrorMessage = host.StateFailed, &now, cause.Code, cause.Error()
		ended = next
		if err := tx.UpdateRequest(ctx, &next, r.Attempt); err != nil {
			return err
		}
		if r.State == host.StateNew || r.State == host.StateCollecting {
			e.Observe.Page(tx, r, string(cause.Code), 0)
		}
		if err := e.log(ctx, tx, &next, "failed", fmt.Sprintf("%s: %s", cause.Code, cause.Error()), nil); err != nil {
			return err
		}
		if err := tx.ClearRun(ctx, r.Id); err != nil {
			return err
		}
		return tx.CompleteJob(ctx)
	})
	if err == nil {
		e.tell(ctx, &ended)
	}
	return err
}

func (e *Engine) log(ctx context.Context, tx Tx, r *host.UserProvisioningRequest, status, details string, trace *host.CallTrace) error {
	return tx.InsertLog(ctx, &host.UserProvisioningLog{Id: host.NewID(), UserProvisioningRequestId: r.Id, Status: status,
		Details: details, Attempt: r.Attempt, Actor: host.ActorOf(ctx), CreatedDate: e.Now().UTC(), Trace: trace})
}
