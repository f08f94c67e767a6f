// Package provision is the engine that turns changes of users into requests
// and requests into accounts. It decides what is asked of a connector and what
// an answer means; it knows connectors, the store and the queue only through
// the interfaces below.
package provision

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

// Tx is what the engine does within one transaction. Records that are not
// there are [host.NotFound].
type Tx interface {
	User(ctx context.Context, id string) (*host.User, error)
	UserByUsername(ctx context.Context, name string) (*host.User, error)
	UsersAfter(ctx context.Context, after string, limit int) ([]*host.User, error)
	PutUser(ctx context.Context, u *host.User) error
	SetUserApp(ctx context.Context, userID, app string, assigned bool) error

	Config(ctx context.Context, app string) (*host.UserProvisioningConfig, error)
	Configs(ctx context.Context) ([]*host.UserProvisioningConfig, error)

	InsertRequest(ctx context.Context, r *host.UserProvisioningRequest) error
	Request(ctx context.Context, id string) (*host.UserProvisioningRequest, error)
	UpdateRequest(ctx context.Context, r *host.UserProvisioningRequest, expectAttempt int) error
	LockLane(ctx context.Context, app, userID string) error
	OpenLaneRequests(ctx context.Context, app, userID string) ([]*host.UserProvisioningRequest, error)
	InsertLog(ctx context.Context, l *host.UserProvisioningLog) error

	AccountByExternalId(ctx context.Context, app, externalID string) (*host.UserProvAccount, error)
	AccountByUser(ctx context.Context, app, userID string) (*host.UserProvAccount, error)
	PutAccount(ctx context.Context, a *host.UserProvAccount) error

	// Enqueue gives a request a job, due at a time (the zero time: now).
	Enqueue(ctx context.Context, kind, requestID string, at time.Time) error
	// CompleteJob ends the job that ctx belongs to.
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
	// Supports tells whether the app's connector has an operation.
	Supports(app *host.UserProvisioningConfig, op pdk.Operation) (bool, error)
}

// Rules are the compiled rules of an app.
type Rules interface {
	// Apply makes the target's attributes of a user.
	Apply(u *host.User) (map[string]any, error)
	// Changed names the paths that differ.
	Changed(before, after map[string]any) []string
	// InScope tells whether the app's scope has the user; false without one.
	InScope(u *host.User) (bool, error)
}

// Options are for [New].
type Options struct {
	Store      Store
	Connectors Connectors
	// Rules returns the rules of an app.
	Rules func(app string) (Rules, error)
	// Now is the clock; nil is the real one.
	Now    func() time.Time
	Logger *slog.Logger
}

// Engine provisions. It may be used from many goroutines and on many machines
// at once.
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
const JobKind = "provision"

const (
	defaultMaxAttempts = 8
	leastBackoff       = time.Second
	mostBackoff        = time.Hour
	defaultCheckAfter  = 30 * time.Second
	mostPending        = 7 * 24 * time.Hour
)

// backoff is how long to wait before attempt n+1: doubling, with jitter.
func backoff(n int) time.Duration {
	d := min(mostBackoff, leastBackoff<<min(max(0, n-1), 12))
	return d/2 + rand.N(d/2+1)
}

func (e *Engine) log(ctx context.Context, tx Tx, r *host.UserProvisioningRequest, status, details string, trace *host.CallTrace) error {
	return tx.InsertLog(ctx, &host.UserProvisioningLog{
		Id: host.NewID(), UserProvisioningRequestId: r.Id, UserId: r.UserId, ExternalUserId: r.ExternalUserId,
		Status: status, Details: details, Attempt: r.Attempt, Actor: host.ActorOf(ctx), CreatedDate: e.Now().UTC(), Trace: trace,
	})
}

// add stores a request and, if its lane is free, its job.
func (e *Engine) add(ctx context.Context, tx Tx, r *host.UserProvisioningRequest) error {
	if err := tx.LockLane(ctx, r.AppName, r.UserId); err != nil {
		return err
	}
	open, err := tx.OpenLaneRequests(ctx, r.AppName, r.UserId)
	if err != nil {
		return err
	}
	r.Id, r.State, r.CreatedDate = host.NewID(), host.StateNew, e.Now().UTC()
	if r.ApprovalStatus == "" {
		r.ApprovalStatus = host.ApprovalNotRequired
	}
	if err := tx.InsertRequest(ctx, r); err != nil {
		return err
	}
	details := r.Reason
	if len(open) > 0 {
		details += "; waits for " + open[len(open)-1].Name()
	}
	if err := e.log(ctx, tx, r, "requested", details, nil); err != nil {
		return err
	}
	if len(open) > 0 {
		return nil // the end of the one before gives it its job
	}
	return tx.Enqueue(ctx, JobKind, r.Id, time.Time{})
}

// next gives a job to the request that waited for one that has ended.
func (e *Engine) next(ctx context.Context, tx Tx, app, userID string) error {
	open, err := tx.OpenLaneRequests(ctx, app, userID)
	if err != nil || len(open) == 0 {
		return err
	}
	return tx.Enqueue(ctx, JobKind, open[0].Id, time.Time{})
}
