package api

import (
	"context"
	"io"
	"time"

	"github.com/provosthq/provost/host"
)

// Service is what the API needs of the running host. Errors are *[host.Error]
// where the caller can do something about them.
type Service interface {
	MappingService
	TargetService
	PlanService
	DryRunService
	ApprovalService
	RetentionService
	ReviewService
	EffectService
	CredentialService
	BackupService
	NoticeService
	AuditService
	ConnectorService
	CheckService
	SettingService
	ObjectService
	AccessService
	ActivityService
	LinkService
	MeasureService
	WizardService
	OnceService

	Status(ctx context.Context) (Status, error)

	Users(ctx context.Context, f UserFilter) (Listing[*host.User], error)
	CountUsers(ctx context.Context, f UserFilter) (Count, error)
	// User finds a user by id or by username.
	User(ctx context.Context, idOrName string) (*host.User, error)
	PutUser(ctx context.Context, u *host.User) (*host.User, error)
	// ChangeUser makes of a user what change makes of it, which may run again. With
	// match it is refused as Changed where the user has another [UserETag].
	ChangeUser(ctx context.Context, idOrName, match string, change func(u *host.User) error) (*host.User, error)
	DeleteUser(ctx context.Context, idOrName, match string) error
	Assign(ctx context.Context, user, app string) error
	Unassign(ctx context.Context, user, app string) error
	ImportUsers(ctx context.Context, in io.Reader, o ImportOptions, progress func(done, total int64)) (ImportResult, error)

	Apps(ctx context.Context) ([]App, error)
	// AppLabels are what Apps are called; nothing is counted for it.
	AppLabels(ctx context.Context) ([]AppLabel, error)

	Requests(ctx context.Context, f RequestFilter) (Listing[*host.UserProvisioningRequest], error)
	CountRequests(ctx context.Context, f RequestFilter) (Count, error)
	// Request finds a request by id, by name (UPR-000042) or by number (42).
	Request(ctx context.Context, id string) (*host.UserProvisioningRequest, []*host.UserProvisioningLog, error)
	CreateRequest(ctx context.Context, user, app string, op host.Operation) (*host.UserProvisioningRequest, error)
	Retry(ctx context.Context, id string) (*host.UserProvisioningRequest, error)
	// RunAgain makes a new request of what one that has ended did, with the values of
	// now, and keeps what is sent and answered in its trace.
	RunAgain(ctx context.Context, id string) (*host.UserProvisioningRequest, error)
	Cancel(ctx context.Context, id string) (*host.UserProvisioningRequest, error)
	Complete(ctx context.Context, id, note string) (*host.UserProvisioningRequest, error)

	Reconcile(ctx context.Context, app string, o ReconcileOptions) (*host.UserProvisioningRequest, error)
	Commit(ctx context.Context, requestID string) (*host.UserProvisioningRequest, error)

	Accounts(ctx context.Context, f AccountFilter) (Listing[*host.UserProvAccount], error)
	CountAccounts(ctx context.Context, f AccountFilter) (Count, error)
	Link(ctx context.Context, accountID, user string) (*host.UserProvAccount, error)
	Unlink(ctx context.Context, accountID string) (*host.UserProvAccount, error)
	Ignore(ctx context.Context, accountID string) (*host.UserProvAccount, error)
}

// Status is a look at the whole host.
type Status struct {
	Version   string      `json:"version"`
	Database  string      `json:"database"`
	StartedAt time.Time   `json:"startedAt"`
	Queue     int64       `json:"queueDepth"`
	Users     int64       `json:"users"`
	Apps      []AppStatus `json:"apps"`
	// LastReloadError is empty while the configuration in the file is the one
	// that runs.
	LastReloadError string `json:"lastReloadError,omitempty"`
	// Config is the digest of the configuration that runs; RefusedConfig that
	// of the newest that was refused, where it could be read.
	Config        string `json:"config"`
	RefusedConfig string `json:"refusedConfig,omitempty"`
}

// AppStatus counts the requests and accounts of one app.
type AppStatus struct {
	Name     string                      `json:"name"`
	Requests map[host.RequestState]int64 `json:"requests"`
	Accounts map[host.LinkState]int64    `json:"accounts"`
	// NextRun is when the schedule next reconciles it; LastRun is when a run was
	// last committed.
	NextRun *time.Time `json:"nextRun,omitempty"`
	LastRun *time.Time `json:"lastRun,omitempty"`
	// Quarantined counts the plans that wait for a person.
	Quarantined int64 `json:"quarantined,omitempty"`
}

// App is a connected app with how it is provisioned.
type App struct {
	Name   string                       `json:"name"`
	Label  string                       `json:"label"`
	Config *host.UserProvisioningConfig `json:"config"`
	AppStatus
}

// AppLabel is what an app is called.
type AppLabel struct{ Name, Label string }

// ImportOptions say how a file of users is taken in.
type ImportOptions struct {
	// Name is the file's name, for messages; Format is csv, json or jsonl.
	Name, Format string
	// Key is the field that tells who is who; Username if empty.
	Key string
	// Prune disables the users that the file does not have.
	Prune bool
	// KeepGoing takes the good rows and reports the bad ones.
	KeepGoing bool
	// Assign names apps that every imported user is assigned.
	Assign []string
}

// ImportResult counts what an import did.
type ImportResult struct {
	Created   int `json:"created"`
	Updated   int `json:"updated"`
	Unchanged int `json:"unchanged"`
	Disabled  int `json:"disabled"`
	Requests  int `json:"requests"`
	Refused   int `json:"refused,omitempty"`
	// Quarantined says why nobody was disabled, QuarantinePlan which plan would.
	Quarantined    string   `json:"quarantined,omitempty"`
	QuarantinePlan string   `json:"quarantinePlan,omitempty"`
	Errors         []string `json:"errors,omitempty"`
}

// ReconcileOptions say how an app is reconciled.
type ReconcileOptions struct {
	Filter string `json:"filter,omitempty" doc:"In the target's own language; empty: the app's ReconFilter."`
	Mode   string `json:"mode,omitempty" enum:"full,delta" doc:"full unless said otherwise."`
	Commit bool   `json:"commit,omitempty" doc:"Commit without a review."`
}
