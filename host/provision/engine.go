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
	// LaneOf is a request of which only AppName, UserId and UserProvAccountId are
	// filled in: where it stands.
	LaneOf(ctx context.Context, id string) (*host.UserProvisioningRequest, error)
	UpdateRequest(ctx context.Context, r *host.UserProvisioningRequest, expectAttempt int) error
	LockLane(ctx context.Context, app, userID string) error
	OpenLaneRequests(ctx context.Context, app, userID string) ([]*host.UserProvisioningRequest, error)
	// OpenAccountRequests are those of an account of nobody.
	OpenAccountRequests(ctx context.Context, accountID string) ([]*host.UserProvisioningRequest, error)
	// UncertainRequests returns the requests of a lane that ended without anybody
	// knowing whether they made an account, newest first.
	UncertainRequests(ctx context.Context, app, userID string) ([]*host.UserProvisioningRequest, error)
	// UncertainDelete names a Delete of a lane that ended without anybody knowing
	// whether it was done; "" for none.
	UncertainDelete(ctx context.Context, app, userID string) (string, error)
	// Restored is when the database was last restored from a backup, the zero time
	// for never.
	Restored() time.Time
	InsertLog(ctx context.Context, l *host.UserProvisioningLog) error

	Account(ctx context.Context, id string) (*host.UserProvAccount, error)
	AccountByExternalId(ctx context.Context, app, externalID string) (*host.UserProvAccount, error)
	AccountByUser(ctx context.Context, app, userID string) (*host.UserProvAccount, error)
	PutAccount(ctx context.Context, a *host.UserProvAccount) error

	// NameTaken tells whether an account of the app that is not the user's, or
	// what is chosen for another user, has a name.
	NameTaken(ctx context.Context, app, path, name, userID string) (bool, error)
	// NameReserved tells whether a name is kept for another user.
	NameReserved(ctx context.Context, app, path, name, userID string) (bool, error)
	// ReserveName keeps a name for a user; false if another has it.
	ReserveName(ctx context.Context, app, path, name, userID string) (bool, error)

	// TargetState is what is known of a target; one that is not there yet is
	// new. With lock no other transaction gets it until this one ends.
	TargetState(ctx context.Context, name string, lock bool) (*host.TargetState, error)
	PutTargetState(ctx context.Context, t *host.TargetState) error
	// Authorization is that of a named credential, of one user where userID is
	// given; one that is not there yet is new.
	Authorization(ctx context.Context, credential, userID string, lock bool) (*host.Authorization, error)
	// CountInFlight counts the attempts that are under way in some apps.
	CountInFlight(ctx context.Context, apps []string) (int, error)
	// Waiting returns requests that wait for a target, those that a person waits
	// for first, then the oldest; WaitedFor names the targets.
	Waiting(ctx context.Context, target string, limit int) ([]*host.UserProvisioningRequest, error)
	WaitedFor(ctx context.Context) ([]string, error)
	// MarkQueued notes that a request has a job; false if it has one already.
	MarkQueued(ctx context.Context, requestID string) (bool, error)

	// ExpiredApprovals returns the ids of requests that wait for approval and
	// could be approved until now or before, longest first.
	ExpiredApprovals(ctx context.Context, now time.Time, limit int) ([]string, error)

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

	// OfAccount is what of a user's attributes is sent for an account that is
	// there, Known what of them can be told, Nameless what an account of another
	// name can be found by.
	OfAccount(attributes map[string]any) map[string]any
	Known(attributes map[string]any) map[string]any
	Nameless(attributes map[string]any) map[string]any
	// Resolve chooses the names that are chosen when an account is made, and
	// tells their paths; Unresolve takes the choice back, false where there is
	// none.
	Resolve(attributes map[string]any, taken func(path, name string) (bool, error)) (map[string]any, []string, error)
	Unresolve(attributes map[string]any, u *host.User) (map[string]any, bool, error)
	// Secrets makes the passwords of a new account, others with each call.
	Secrets(u *host.User) (map[string]string, error)
}

// Options are for [New].
type Options struct {
	Store      Store
	Connectors Connectors
	// Rules returns the rules of an app.
	Rules func(app string) (Rules, error)
	// Quarantine stores the disabling of users that an import must not do by
	// itself; nil stores nothing.
	Quarantine func(ctx context.Context, tx Tx, users []*host.User, active int64, why string) (*host.Plan, error)
	// Limits are those of the targets behind an app; nil for none.
	Limits func(app *host.UserProvisioningConfig) []TargetLimits
	// ApprovalRule says who must approve a request by the rule of an app whose
	// approvals go by expression; nil where no app's do.
	ApprovalRule func(app string, u *host.User, r *host.UserProvisioningRequest) (host.Approver, error)
	// Groups returns the members of a group of people who approve: usernames or
	// ids. nil: there are no groups.
	Groups func(name string) []string
	// Attempted is told of each attempt whose end is stored: outcome is "ok",
	// "pending" or a code; nil for none.
	Attempted func(r *host.UserProvisioningRequest, outcome string)
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
	if o.Limits == nil {
		o.Limits = func(*host.UserProvisioningConfig) []TargetLimits { return nil }
	}
	if o.ApprovalRule == nil {
		o.ApprovalRule = func(app string, _ *host.User, _ *host.UserProvisioningRequest) (host.Approver, error) {
			return host.Approver{}, host.Errorf(host.Unavailable, "the app %q has no approval rule", app)
		}
	}
	if o.Groups == nil {
		o.Groups = func(string) []string { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Engine{o}
}

// The kinds of the engine's jobs: those of requests that a person waits for
// overtake the others.
const (
	JobKind       = "provision"
	UrgentJobKind = "urgent"
)

const (
	defaultMaxAttempts = 8
	leastBackoff       = time.Second
	mostBackoff        = time.Hour
	defaultCheckAfter  = 30 * time.Second
	mostPending        = 7 * 24 * time.Hour
	// mostDown is how long a request waits for a target that is down.
	mostDown = 30 * 24 * time.Hour
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
