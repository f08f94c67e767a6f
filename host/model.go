package host

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/provosthq/provost/pdk"
)

// NewID returns a new UUIDv7, the form of every id here.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }

// User is a person of the organisation. The attributes are those that
// connectors see ([pdk.User]); Custom has the organisation's own.
type User struct {
	pdk.User

	// Apps holds the names of the apps that the user is assigned directly.
	Apps []string `json:"Apps,omitempty" bun:"-"`

	CreatedDate      time.Time `json:"CreatedDate"`
	LastModifiedDate time.Time `json:"LastModifiedDate"`
	// DeletedDate is when the person left for good. The record stays, so that
	// who comes back under the same name finds the old accounts.
	DeletedDate *time.Time `json:"DeletedDate,omitempty"`
}

// DisplayName is what a person is called in a listing.
func (u *User) DisplayName() string {
	switch {
	case u.FirstName == "" && u.LastName == "":
		return u.Username
	case u.FirstName == "":
		return u.LastName
	case u.LastName == "":
		return u.FirstName
	default:
		return u.FirstName + " " + u.LastName
	}
}

// ConnectedApp is a third-party app that people have accounts in.
type ConnectedApp struct {
	Id    string `json:"Id"`
	Name  string `json:"Name"`
	Label string `json:"Label"`
}

// UserProvisioningConfig says how one app is provisioned. It is declared in
// the configuration file and mirrored in the store.
type UserProvisioningConfig struct {
	Id                 string             `json:"Id"`
	ConnectedAppId     string             `json:"ConnectedAppId"`
	AppName            string             `json:"AppName"`
	DeveloperName      string             `json:"DeveloperName"`
	MasterLabel        string             `json:"MasterLabel"`
	Notes              string             `json:"Notes,omitempty"`
	Enabled            bool               `json:"Enabled"`
	ApprovalRequired   string             `json:"ApprovalRequired,omitempty"`
	EnabledOperations  []EnabledOperation `json:"EnabledOperations" bun:"type:json"`
	NamedCredentialId  string             `json:"NamedCredentialId,omitempty"`
	OnUpdateAttributes []string           `json:"OnUpdateAttributes,omitempty" bun:"type:json"`
	ReconFilter        string             `json:"ReconFilter,omitempty"`
	LastReconDateTime  *time.Time         `json:"LastReconDateTime,omitempty"`
	// LastWholeReconDateTime is when a run over all accounts was last committed.
	LastWholeReconDateTime *time.Time `json:"LastWholeReconDateTime,omitempty"`
	// LastReconToken is what the last full or delta run left for the next
	// delta.
	LastReconToken string `json:"LastReconToken,omitempty"`

	// Connector is the name of the connector that serves the app.
	Connector string `json:"Connector"`
	// UserAccountMapping are the rules that make the target's attributes of a
	// user: "userName = user.Username".
	UserAccountMapping []string `json:"UserAccountMapping" bun:"type:json"`
	// LinkRules find the user of an account while analyzing:
	// "account.ExternalUsername = user.Username".
	LinkRules []string `json:"LinkRules" bun:"type:json"`
	// Scope is an expression over the user; empty means that only assigned
	// users have accounts.
	Scope string `json:"Scope,omitempty"`
	// Profiles are the profiles that grant the app.
	Profiles []string `json:"Profiles,omitempty" bun:"type:json"`
	// Parameters are the connector's own inputs.
	Parameters map[string]any `json:"Parameters,omitempty" bun:"type:json"`
	// MaxAttempts is how often one request is tried; 0 means the default.
	MaxAttempts int `json:"MaxAttempts,omitempty"`

	// Mode says whether the app is live; PreviewOperations are in preview while
	// the others are live.
	Mode              Mode        `json:"Mode,omitempty"`
	PreviewOperations []Operation `json:"PreviewOperations,omitempty" bun:"type:json"`
	// PermissionSets grant the app, as Profiles do.
	PermissionSets []string `json:"PermissionSets,omitempty" bun:"type:json"`
	// OnUnassign, OnDisable and OnDelete say what follows; a delete that follows
	// waits for DeleteAfter.
	OnUnassign  Consequence   `json:"OnUnassign,omitempty"`
	OnDisable   Consequence   `json:"OnDisable,omitempty"`
	OnDelete    Consequence   `json:"OnDelete,omitempty"`
	DeleteAfter time.Duration `json:"DeleteAfterNanoseconds,omitempty"`
	// Fallback names what is done for an operation that the connector lacks or
	// the app does not allow.
	Fallback map[Operation]Operation `json:"Fallback,omitempty" bun:"type:json"`

	// Of approvals. ApprovalRequired is manager, group or expression.
	ApprovalGroup      string        `json:"ApprovalGroup,omitempty"`
	ApprovalRule       string        `json:"ApprovalRule,omitempty"`
	ApprovalOperations []Operation   `json:"ApprovalOperations,omitempty" bun:"type:json"`
	ApprovalExpires    time.Duration `json:"ApprovalExpiresNanoseconds,omitempty"`

	Reconcile ReconcilePolicy `json:"Reconcile"`
}

// MayHaveMore tells whether the app may have accounts that a database that was
// restored then (the zero time: never) does not know: no run over all of them
// has been committed since.
func (c *UserProvisioningConfig) MayHaveMore(restored time.Time) bool {
	return !restored.IsZero() && (c.LastWholeReconDateTime == nil || c.LastWholeReconDateTime.Before(restored))
}

// Mode says whether requests of an app reach the target.
type Mode string

// An app in preview collects, analyzes and maps, and shows what it would do.
const (
	Live    Mode = "live"
	Preview Mode = "preview"
)

// InPreview tells whether an operation must not reach the target.
func (c *UserProvisioningConfig) InPreview(op Operation) bool {
	if op == Read || op == Reconcile {
		return false
	}
	return c.Mode == Preview || slices.Contains(c.PreviewOperations, op)
}

// Consequence is what follows when a person loses an app.
type Consequence string

// The consequences.
const (
	DoNothing    Consequence = "nothing"
	DoDeactivate Consequence = "deactivate"
	DoFreeze     Consequence = "freeze"
	DoDelete     Consequence = "delete"
)

// ReconcilePolicy says when an app is reconciled and what comes of it.
type ReconcilePolicy struct {
	Schedule  string        `json:"Schedule,omitempty"` // cron; "" for none
	Jitter    time.Duration `json:"JitterNanoseconds,omitempty"`
	Delta     bool          `json:"Delta,omitempty"`
	FullEvery int           `json:"FullEvery,omitempty"`
	Commit    bool          `json:"Commit,omitempty"`
	Process   bool          `json:"Process,omitempty"`
	// What follows for people without an account (nothing, create), for drift
	// (nothing, update, accept), for accounts of nobody, and for active accounts
	// of people who should have none (nothing, deactivate, delete).
	Missing    string     `json:"Missing,omitempty"`
	Drift      string     `json:"Drift,omitempty"`
	Orphaned   string     `json:"Orphaned,omitempty"`
	Unassigned string     `json:"Unassigned,omitempty"`
	Thresholds Thresholds `json:"Thresholds"`
}

// Thresholds stop a batch of changes before the first.
type Thresholds struct {
	Deactivate Threshold `json:"Deactivate"`
	Delete     Threshold `json:"Delete"`
	// Found is the least share of what the run before found.
	Found Threshold `json:"Found"`
	// Smallest: a share stops no batch of so few changes or fewer.
	Smallest int64 `json:"Smallest"`
}

// Threshold is a number of accounts, or where Share is set a percentage of
// them. The zero value is no threshold.
type Threshold struct {
	Set     bool    `json:"Set"`
	Share   bool    `json:"Share"`
	Count   int64   `json:"Count,omitempty"`
	Percent float64 `json:"Percent,omitempty"`
}

// String is as an administrator writes it: 20 or 5%.
func (t Threshold) String() string {
	switch {
	case !t.Set:
		return "none"
	case t.Share:
		return strconv.FormatFloat(t.Percent, 'f', -1, 64) + "%"
	default:
		return strconv.FormatInt(t.Count, 10)
	}
}

// Allows tells whether EnabledOperations lets op through.
func (c *UserProvisioningConfig) Allows(op Operation) bool {
	by := op.EnabledBy()
	if by == "" {
		return true
	}
	for _, e := range c.EnabledOperations {
		if e == by {
			return true
		}
	}
	return false
}

// UserProvisioningRequest is one thing to be done in one app for one user, or
// the reconciling of one app.
type UserProvisioningRequest struct {
	// Number counts requests; Name is made from it.
	Number int64  `json:"-" bun:",pk,autoincrement"`
	Id     string `json:"Id"`

	Operation      Operation      `json:"Operation"`
	State          RequestState   `json:"State"`
	ApprovalStatus ApprovalStatus `json:"ApprovalStatus"`

	AppName           string     `json:"AppName"`
	ConnectedAppId    string     `json:"ConnectedAppId"`
	UserProvConfigId  string     `json:"UserProvConfigId"`
	UserId            string     `json:"UserId,omitempty" bun:",nullzero"`
	UserProvAccountId string     `json:"UserProvAccountId,omitempty" bun:",nullzero"`
	ExternalUserId    string     `json:"ExternalUserId,omitempty" bun:",nullzero"`
	ManagerId         string     `json:"ManagerId,omitempty" bun:",nullzero"`
	OwnerId           string     `json:"OwnerId,omitempty" bun:",nullzero"`
	ParentId          string     `json:"ParentId,omitempty" bun:",nullzero"`
	RetryCount        int        `json:"RetryCount"`
	ScheduleDate      *time.Time `json:"ScheduleDate,omitempty"`

	// ApproverId is the user who is to approve, ApproverGroup the group any of
	// whose members may; ApprovalExpiresDate is when nobody has.
	ApproverId          string     `json:"ApproverId,omitempty" bun:",nullzero"`
	ApproverGroup       string     `json:"ApproverGroup,omitempty" bun:",nullzero"`
	ApprovalExpiresDate *time.Time `json:"ApprovalExpiresDate,omitempty"`
	// ApprovedBy is who approved or denied, ApprovalReason why.
	ApprovedBy     string `json:"ApprovedBy,omitempty" bun:",nullzero"`
	ApprovalReason string `json:"ApprovalReason,omitempty" bun:",nullzero"`
	// Preview: the request shows what would be done and never reaches the
	// target.
	Preview bool `json:"Preview,omitempty"`
	// Urgent: a person waits for it, so it overtakes the bulk.
	Urgent bool `json:"Urgent,omitempty"`
	// PlanId is the plan that made the request.
	PlanId string `json:"PlanId,omitempty" bun:",nullzero"`

	// Reason says what made the request, for a person.
	Reason string `json:"Reason,omitempty"`
	// Attributes are the mapped attributes as they were when the request was
	// made; ChangedAttributes the paths that an Update changes.
	Attributes        map[string]any `json:"Attributes,omitempty" bun:"type:json,nullzero"`
	ChangedAttributes []string       `json:"ChangedAttributes,omitempty" bun:"type:json,nullzero"`
	Parameters        map[string]any `json:"Parameters,omitempty" bun:"type:json,nullzero"`

	// Attempt counts the attempts that were begun. It is the fencing token too:
	// a worker stores its result only while Attempt is still the one it began.
	Attempt int `json:"Attempt"`
	// InFlight: an attempt has begun and its end is not stored. Who finds it so
	// after a crash must take the attempt for uncertain.
	InFlight bool `json:"InFlight"`
	// Queued: there is a job for it. WaitsFor is the target (a name of
	// [TargetState]) that it waits for without a job.
	Queued   bool   `json:"-"`
	WaitsFor string `json:"WaitsFor,omitempty" bun:",nullzero"`
	// AttemptDate is when the last attempt began.
	AttemptDate *time.Time `json:"AttemptDate,omitempty"`
	// Failures counts the attempts that count against the most that there may
	// be: those that the target or the connector refused for this request's own
	// sake, not those that a target which was down did not answer.
	Failures int `json:"Failures,omitempty"`
	// Uncertain: an earlier attempt may have taken effect in the target.
	Uncertain bool `json:"Uncertain"`
	// NextAttemptDate is when the next attempt or check is due.
	NextAttemptDate *time.Time `json:"NextAttemptDate,omitempty"`
	// PendingToken is set while the target works on it; PendingSince says since
	// when.
	PendingToken string     `json:"PendingToken,omitempty" bun:",nullzero"`
	PendingSince *time.Time `json:"PendingSince,omitempty"`

	// ErrorCode and ErrorMessage are of the last attempt that failed.
	ErrorCode    Code   `json:"ErrorCode,omitempty" bun:",nullzero"`
	ErrorMessage string `json:"ErrorMessage,omitempty" bun:",nullzero"`

	// Connector is the name and version that served the last attempt.
	Connector string `json:"Connector,omitempty" bun:",nullzero"`
	// ConnectorDigest is the build of it. A run that is in the middle of its pages
	// stays with it.
	ConnectorDigest string `json:"ConnectorDigest,omitempty" bun:",nullzero"`

	// Of a Reconcile.
	ReconFilter   string `json:"ReconFilter,omitempty" bun:",nullzero"`
	ReconMode     string `json:"ReconMode,omitempty" bun:",nullzero"`
	ReconOffset   string `json:"ReconOffset,omitempty" bun:",nullzero"`
	ReconState    string `json:"ReconState,omitempty" bun:",nullzero"`
	ReconPages    int    `json:"ReconPages,omitempty"`
	EmptyPages    int    `json:"-"` // in a row, the last ones
	ReconFound    int64  `json:"ReconFound,omitempty"`
	TotalEstimate int64  `json:"TotalEstimate,omitempty"`
	// CommitWhenAnalyzed: go on to the commit without a review.
	CommitWhenAnalyzed bool `json:"CommitWhenAnalyzed,omitempty"`
	// Paused: a person has stopped the run for a while; it goes on where it was.
	Paused bool `json:"Paused,omitempty"`
	// Quarantine says why a run that has been analyzed waits for a person before
	// its commit, QuarantineAllowed that somebody has allowed it.
	Quarantine        string `json:"Quarantine,omitempty" bun:",nullzero"`
	QuarantineAllowed bool   `json:"QuarantineAllowed,omitempty"`
	// Summary counts what analyzing found, by link state, with "drifted",
	// "missing" and "gone" beside them.
	Summary map[string]int64 `json:"Summary,omitempty" bun:"type:json,nullzero"`

	CreatedDate   time.Time  `json:"CreatedDate"`
	StartedDate   *time.Time `json:"StartedDate,omitempty"`
	CompletedDate *time.Time `json:"CompletedDate,omitempty"`
}

// Name is the model's autonumber: UPR-000042.
func (r *UserProvisioningRequest) Name() string { return fmt.Sprintf("UPR-%06d", r.Number) }

// UserProvAccount links a user with an account in the target. ExternalUserId
// is unique per app; so is UserId among accounts that are linked.
type UserProvAccount struct {
	Number int64  `json:"-" bun:",pk,autoincrement"`
	Id     string `json:"Id"`

	AppName           string     `json:"AppName"`
	ConnectedAppId    string     `json:"ConnectedAppId"`
	UserId            string     `json:"UserId,omitempty" bun:",nullzero"`
	OwnerId           string     `json:"OwnerId,omitempty" bun:",nullzero"`
	ExternalUserId    string     `json:"ExternalUserId" bun:",nullzero"`
	ExternalUsername  string     `json:"ExternalUsername,omitempty"`
	ExternalFirstName string     `json:"ExternalFirstName,omitempty"`
	ExternalLastName  string     `json:"ExternalLastName,omitempty"`
	ExternalEmail     string     `json:"ExternalEmail,omitempty"`
	Status            string     `json:"Status,omitempty"`
	LinkState         LinkState  `json:"LinkState"`
	IsKnownLink       bool       `json:"IsKnownLink"`
	DeletedDate       *time.Time `json:"DeletedDate,omitempty"`

	// Active is what we last asked of the target or found there: false after
	// Deactivate.
	Active  bool   `json:"Active"`
	Frozen  bool   `json:"Frozen,omitempty"`
	Details string `json:"Details,omitempty"`
	// Attributes are as the target last showed them; Version is its ETag.
	Attributes map[string]any `json:"Attributes,omitempty" bun:"type:json,nullzero"`
	Version    string         `json:"Version,omitempty"`
	// Drift holds, per mapped path, what we want and what the target has, as
	// the last analyzed run found it.
	Drift []Difference `json:"Drift,omitempty" bun:"type:json,nullzero"`
	// Candidates are users whose it may be, as the last run that saw it found
	// them: a person must say. No account is made for them until then.
	Candidates []Candidate `json:"Candidates,omitempty" bun:"type:json,nullzero"`

	CreatedDate      time.Time `json:"CreatedDate"`
	LastModifiedDate time.Time `json:"LastModifiedDate"`
}

// Name is the model's autonumber: UPA-000042.
func (a *UserProvAccount) Name() string { return fmt.Sprintf("UPA-%06d", a.Number) }

// Difference is one attribute that is not in the target as the mapping wants
// it. A nil side means that the attribute is absent there.
type Difference struct {
	Path string `json:"Path"`
	Want any    `json:"Want"`
	Have any    `json:"Have"`
}

// UserProvAccountStaging is an account as one Reconcile request collected it,
// with what analyzing says of it. ExternalUserId is unique per request: an
// account that moved between two pages is staged once, as it was last seen.
type UserProvAccountStaging struct {
	Number                    int64     `json:"-" bun:",pk,autoincrement"`
	UserProvisioningRequestId string    `json:"UserProvisioningRequestId"`
	ConnectedAppId            string    `json:"ConnectedAppId"`
	UserId                    string    `json:"UserId,omitempty" bun:",nullzero"`
	ExternalUserId            string    `json:"ExternalUserId"`
	ExternalUsername          string    `json:"ExternalUsername,omitempty"`
	ExternalFirstName         string    `json:"ExternalFirstName,omitempty"`
	ExternalLastName          string    `json:"ExternalLastName,omitempty"`
	ExternalEmail             string    `json:"ExternalEmail,omitempty"`
	Status                    string    `json:"Status,omitempty"`
	LinkState                 LinkState `json:"LinkState,omitempty" bun:",nullzero"`
	// LinkReason names the rule that decided, for the person who reviews.
	LinkReason string `json:"LinkReason,omitempty"`
	// LinkRule is the text of that rule, where one decided; LinkRank says how
	// sure it is, 0 the surest, to decide between accounts that have the same
	// user.
	LinkRule string `json:"LinkRule,omitempty"`
	LinkRank int    `json:"-"`
	// UserProvAccountId is the stored account that this one is taken for though
	// the target now writes its id in another case.
	UserProvAccountId string `json:"UserProvAccountId,omitempty" bun:",nullzero"`
	// Candidates are users that may be meant, best first; a guess is never made.
	Candidates []Candidate `json:"Candidates,omitempty" bun:"type:json,nullzero"`
	// Decided: a person has said what the account is; analyzing again keeps it.
	Decided    bool           `json:"Decided,omitempty"`
	Attributes map[string]any `json:"Attributes,omitempty" bun:"type:json,nullzero"`
	Version    string         `json:"Version,omitempty"`
	Partial    bool           `json:"Partial,omitempty"`
	Change     string         `json:"Change,omitempty"`
	Drift      []Difference   `json:"Drift,omitempty" bun:"type:json,nullzero"`
	// DecisionId is of the last decision of a person, Undo how the account was before
	// it.
	DecisionId string      `json:"-" bun:",nullzero"`
	Undo       *StagedUndo `json:"-" bun:"type:json,nullzero"`
}

// StagedUndo is what was said of a staged account before a person decided.
type StagedUndo struct {
	UserId     string       `json:",omitempty"`
	LinkState  LinkState    `json:",omitempty"`
	LinkReason string       `json:",omitempty"`
	LinkRule   string       `json:",omitempty"`
	LinkRank   int          `json:",omitempty"`
	Decided    bool         `json:",omitempty"`
	Drift      []Difference `json:",omitempty"`
}

// Candidate is a user whom an account may belong to.
type Candidate struct {
	UserId string `json:"UserId"`
	// Username is filled where candidates are shown.
	Username string `json:"Username,omitempty"`
	// Rule is the text of the rule that found the user; Score says how alike the
	// two are, from 0 to 1.
	Rule  string  `json:"Rule"`
	Score float64 `json:"Score"`
}

// UserProvisioningLog is one line of what happened to a request, for the
// administrator who looks for the reason of something.
type UserProvisioningLog struct {
	Number                    int64  `json:"-" bun:",pk,autoincrement"`
	Id                        string `json:"Id"`
	UserProvisioningRequestId string `json:"UserProvisioningRequestId"`
	UserId                    string `json:"UserId,omitempty" bun:",nullzero"`
	ExternalUserId            string `json:"ExternalUserId,omitempty" bun:",nullzero"`
	ExternalUsername          string `json:"ExternalUsername,omitempty" bun:",nullzero"`
	Status                    string `json:"Status"`
	Details                   string `json:"Details,omitempty"`
	Attempt                   int    `json:"Attempt,omitempty"`
	// Actor is who did it: a person's username, or provost itself.
	Actor       string    `json:"Actor,omitempty"`
	CreatedDate time.Time `json:"CreatedDate"`
	// Trace is what the attempt cost and sent, for request get --trace.
	Trace *CallTrace `json:"Trace,omitempty" bun:"type:json,nullzero"`
}

// Name is the model's autonumber: UPL-000042.
func (l *UserProvisioningLog) Name() string { return fmt.Sprintf("UPL-%06d", l.Number) }

// CallTrace is what one call of a connector did, without a secret or a body.
type CallTrace struct {
	Connector string `json:"Connector"` // name and version
	Digest    string `json:"Digest,omitempty"`
	Operation string `json:"Operation"`
	// Duration is the whole call; HTTPDuration the part that it waited for the
	// target.
	Duration     time.Duration `json:"DurationNanoseconds"`
	HTTPDuration time.Duration `json:"HTTPDurationNanoseconds"`
	MemoryBytes  int64         `json:"MemoryBytes"`
	Fuel         int64         `json:"Fuel,omitempty"`
	Callouts     []Callout     `json:"Callouts,omitempty"`
	Logs         []string      `json:"Logs,omitempty"`
}

// Callout is one HTTP request that the host made for a connector.
type Callout struct {
	Credential    string        `json:"Credential,omitempty"`
	Method        string        `json:"Method"`
	URL           string        `json:"URL"` // callout:Name/path, as the connector wrote it
	Status        int           `json:"Status,omitempty"`
	Duration      time.Duration `json:"DurationNanoseconds"`
	RequestBytes  int64         `json:"RequestBytes"`
	ResponseBytes int64         `json:"ResponseBytes"`
	Error         string        `json:"Error,omitempty"`
	// WaitsFor is the authorization that was missing ([AuthorizationTarget]): the
	// request did not go out.
	WaitsFor string `json:"WaitsFor,omitempty"`
	// Refused: the host did not send it, or did not take its answer, by its own
	// rules; it says nothing of the target.
	Refused bool `json:"Refused,omitempty"`
	// RetryAfter is how long the target asked to be left alone.
	RetryAfter time.Duration `json:"RetryAfterNanoseconds,omitempty"`
	// Phases say where the time went, in the last of its tries.
	Phases Phases `json:"Phases,omitzero"`
	// Retries counts the tries after the first; Reused tells that the connection
	// was there already.
	Retries  int    `json:"Retries,omitempty"`
	Protocol string `json:"Protocol,omitempty"`
	Address  string `json:"Address,omitempty"`
	Reused   bool   `json:"Reused,omitempty"`
	// The headers and bodies, without secrets, where a person asked for the request
	// ([WithBodies]).
	RequestHeader  map[string]string `json:"RequestHeader,omitempty"`
	ResponseHeader map[string]string `json:"ResponseHeader,omitempty"`
	RequestBody    string            `json:"RequestBody,omitempty"`
	ResponseBody   string            `json:"ResponseBody,omitempty"`
}

// OfTarget tells whether it says something of the target behind the call's
// credential: it went there, and not to a host that was granted beside it.
func (c Callout) OfTarget() bool {
	return c.WaitsFor == "" && !c.Refused && (len(c.URL) < 4 || !strings.EqualFold(c.URL[:4], "http"))
}

// Phases are the times of one HTTP request: how long it waited for its turn by
// the limits of the target, what it took to have something to sign in with, to resolve, to connect, to secure the connection, until the
// answer began, and until it ended.
type Phases struct {
	Turn    time.Duration `json:"TurnNanoseconds,omitempty"`
	SignIn  time.Duration `json:"SignInNanoseconds,omitempty"`
	Resolve time.Duration `json:"ResolveNanoseconds,omitempty"`
	Connect time.Duration `json:"ConnectNanoseconds,omitempty"`
	TLS     time.Duration `json:"TLSNanoseconds,omitempty"`
	Wait    time.Duration `json:"WaitNanoseconds,omitempty"`
	Read    time.Duration `json:"ReadNanoseconds,omitempty"`
}

// UserKey is what one link rule (by its index) makes of a user, to find the
// user of an account by. Value is what a rule of likeness compares.
type UserKey struct {
	Rule   int
	Key    string
	UserId string
	Value  string
}

// TargetState is what is known of the target behind a named credential (or of
// one app, as "app:NAME", where the app has limits of its own). All workers on
// all machines share it.
type TargetState struct {
	Name string `json:"Name" bun:",pk"`
	// Failures of the target in a row, with Since the time of the first. While
	// RestUntil is in the future nothing is sent (the breaker is open); after it
	// one attempt, ProbeId, asks whether the target is back (half-open).
	Failures  int        `json:"Failures"`
	Since     *time.Time `json:"Since,omitempty"`
	RestUntil *time.Time `json:"RestUntil,omitempty"`
	ProbeId   string     `json:"ProbeId,omitempty" bun:",nullzero"`
	// RetryAfter is until when the target asked to be left alone (429, 503).
	RetryAfter *time.Time `json:"RetryAfter,omitempty"`
	// Answered is when the target last did what it was asked.
	Answered *time.Time `json:"Answered,omitempty"`
	// NextDate is when the next attempt is due by the rate: the bucket of the
	// generic cell rate algorithm.
	NextDate *time.Time `json:"NextDate,omitempty"`
	// LastError is what the target last failed with.
	LastError string `json:"LastError,omitempty"`
}

// Breaker is the state of the circuit breaker of a target.
type Breaker string

// The states of a breaker.
const (
	BreakerClosed   Breaker = "closed"
	BreakerOpen     Breaker = "open"
	BreakerHalfOpen Breaker = "half-open"
)

// Breaker tells the state of the breaker at a time.
func (t *TargetState) Breaker(now time.Time) Breaker {
	switch {
	case t.RestUntil == nil:
		return BreakerClosed
	case now.Before(*t.RestUntil):
		return BreakerOpen
	default:
		return BreakerHalfOpen
	}
}

// PlanState is the State of a [Plan].
type PlanState string

// A plan is made, and then waits for a person: because it is only to be looked
// at (Planned) or because it passes a threshold (Quarantined). Released, its
// changes become requests, one after the other, until it is Done. Rejected and
// Stale (the world is another than it was made for) end it before the first.
const (
	PlanMaking      PlanState = "Making"
	PlanPlanned     PlanState = "Planned"
	PlanQuarantined PlanState = "Quarantined"
	PlanReleased    PlanState = "Released"
	PlanDone        PlanState = "Done"
	PlanRejected    PlanState = "Rejected"
	PlanStale       PlanState = "Stale"
	PlanFailed      PlanState = "Failed"
)

// PlanStates lists every state.
var PlanStates = []PlanState{PlanMaking, PlanPlanned, PlanQuarantined, PlanReleased, PlanDone, PlanRejected, PlanStale, PlanFailed}

// Plan is an exact set of changes that somebody wants made in one app, or to
// the organisation's users (AppName is empty).
type Plan struct {
	Number int64     `json:"-" bun:",pk,autoincrement"`
	Id     string    `json:"Id"`
	Kind   string    `json:"Kind"` // process or import
	State  PlanState `json:"State"`
	// AppName is empty where the changes are to users.
	AppName string `json:"AppName,omitempty"`
	// DryRun: it is only to be looked at, until somebody runs it.
	DryRun bool `json:"DryRun,omitempty"`
	// Policy is what is to follow for what, as it was when the plan was made.
	Policy ReconcilePolicy `json:"Policy" bun:"type:json"`
	// Reason says why it was made or what stopped it, for a person.
	Reason string `json:"Reason,omitempty"`
	// Counts are the changes by operation; Accounts is how many accounts the app
	// has (or users there are), for the thresholds.
	Counts   map[string]int64 `json:"Counts,omitempty" bun:"type:json,nullzero"`
	Accounts int64            `json:"Accounts"`
	// Made counts the changes that have become requests, Refused those that
	// could not.
	Made    int64 `json:"Made"`
	Refused int64 `json:"Refused,omitempty"`
	// Digest is over all changes: the same set has the same.
	Digest string `json:"Digest,omitempty"`
	// Actor made it; DecidedBy released or rejected it, with DecisionReason.
	Actor          string     `json:"Actor"`
	DecidedBy      string     `json:"DecidedBy,omitempty"`
	DecisionReason string     `json:"DecisionReason,omitempty"`
	CreatedDate    time.Time  `json:"CreatedDate"`
	DecidedDate    *time.Time `json:"DecidedDate,omitempty"`
	CompletedDate  *time.Time `json:"CompletedDate,omitempty"`
}

// Name is the plan's autonumber: PLN-000042.
func (p *Plan) Name() string { return fmt.Sprintf("PLN-%06d", p.Number) }

// The operations of a planned change that are none of a request: Accept takes
// the target's values for ours, Disable makes a user inactive.
const (
	PlanAccept  Operation = "Accept"
	PlanDisable Operation = "Disable"
)

// PlannedChange is one change of a plan.
type PlannedChange struct {
	Number            int64     `json:"Number" bun:",pk,autoincrement"`
	PlanId            string    `json:"-"`
	Operation         Operation `json:"Operation"`
	UserId            string    `json:"UserId,omitempty" bun:",nullzero"`
	UserProvAccountId string    `json:"UserProvAccountId,omitempty" bun:",nullzero"`
	// Subject is what a person calls it: a username, or the account's.
	Subject     string       `json:"Subject"`
	Differences []Difference `json:"Differences,omitempty" bun:"type:json,nullzero"`
	Reason      string       `json:"Reason"`
	// Fingerprint is of everything that the change rests on.
	Fingerprint string `json:"Fingerprint"`
	// RequestId is the request that it became; Error why it became none.
	RequestId string `json:"RequestId,omitempty" bun:",nullzero"`
	Error     string `json:"Error,omitempty" bun:",nullzero"`
}

// ReconSchedule is how far the schedule of an app has come. All machines share
// it, so that each occurrence makes one run.
type ReconSchedule struct {
	AppName string `json:"AppName" bun:",pk"`
	// Schedule is the cron expression that LastDate is of: another one begins
	// anew.
	Schedule string `json:"Schedule"`
	// LastDate is the last occurrence that was seen to.
	LastDate time.Time `json:"LastDate"`
	// DeltaRuns counts the deltas since the last full run.
	DeltaRuns int `json:"DeltaRuns"`
}
