package pdk

import "strings"

// ContractVersion is the version of the contract that this package speaks. A
// connector names it in its [Description]; a host refuses a connector that
// names a version it does not know.
const ContractVersion = 1

// Operation is the name of one export of a connector. The words are those of
// the contract, in lower case; a [UserProvisioningRequest] carries the model's
// word for the same thing ("Create").
type Operation string

// The operations of contract version 1. Only [OpDescribe] is required.
const (
	OpDescribe       Operation = "describe"
	OpDiscover       Operation = "discover"
	OpTestConnection Operation = "test_connection"
	OpCreate         Operation = "create"
	OpRead           Operation = "read"
	OpUpdate         Operation = "update"
	OpDeactivate     Operation = "deactivate"
	OpActivate       Operation = "activate"
	OpFreeze         Operation = "freeze"
	OpUnfreeze       Operation = "unfreeze"
	OpDelete         Operation = "delete"
	OpReconcile      Operation = "reconcile"
	OpCheck          Operation = "check"
)

// Operations lists every operation of contract version 1, in the order in
// which documents and commands show them.
var Operations = []Operation{
	OpDescribe, OpDiscover, OpTestConnection, OpCreate, OpRead, OpUpdate, OpDeactivate,
	OpActivate, OpFreeze, OpUnfreeze, OpDelete, OpReconcile, OpCheck,
}

// ObjectClassAccount is the object class of a person's account, and the one
// that is meant where a document names none.
const ObjectClassAccount = "account"

// The modes of a reconcile.
const (
	ModeFull  = "full"  // every account that the filter lets through
	ModeDelta = "delta" // what has changed since ReconState
)

// ReconStateComplete is the reconState that ends the collecting. "Completed"
// is taken too. "complete:TOKEN" ends it as well, and the host hands TOKEN to
// the next delta as its reconState.
const ReconStateComplete = "complete"

// ReconEnded tells whether a reconState ends the collecting, and the token
// that it leaves for the next delta ("" for none).
func ReconEnded(reconState string) (ended bool, token string) {
	word, token, _ := strings.Cut(reconState, ":")
	if strings.EqualFold(word, ReconStateComplete) || strings.EqualFold(word, "completed") {
		return true, token
	}
	return false, ""
}

// Input is what the host hands to every operation except describe.
type Input struct {
	UserProvisioningRequestId string    `json:"userProvisioningRequestId,omitempty" jsonschema_description:"Id of the request that this call serves; empty in a trial call."`
	UserId                    string    `json:"userId,omitempty" jsonschema_description:"Id of the user whom the request is about; empty for reconcile, discover and test_connection."`
	NamedCredDevName          string    `json:"namedCredDevName,omitempty" jsonschema_description:"Developer name of the named credential that this call may use: callout:NAME/path."`
	ReconFilter               string    `json:"reconFilter,omitempty" jsonschema_description:"The filter that an administrator has set for collecting, in the target's own language."`
	ReconOffset               string    `json:"reconOffset,omitempty" jsonschema_description:"Where this page begins: the last call's nextReconOffset; empty for the first page."`
	ReconState                string    `json:"reconState,omitempty" jsonschema_description:"As the connector last returned it; at the start of a delta, the token that the last run ended with."`
	Operation                 Operation `json:"operation" jsonschema_description:"The operation that is called: the export's own name."`
	ObjectClass               string    `json:"objectClass,omitempty" jsonschema_description:"account unless said otherwise."`

	User                    *User                    `json:"User,omitempty"`
	UserProvisioningRequest *UserProvisioningRequest `json:"UserProvisioningRequest,omitempty"`
	UserProvAccount         *UserProvAccount         `json:"UserProvAccount,omitempty"`

	Attributes        map[string]any `json:"attributes,omitempty" jsonschema_description:"The mapped attributes, by the target's own names, nested as the target nests them."`
	ChangedAttributes []string       `json:"changedAttributes,omitempty" jsonschema_description:"Paths into attributes that this update changes, such as userName, name.givenName, emails[work].value or urn:…:User:department. A path that attributes has no value for is to be removed."`
	AttributesWanted  []string       `json:"attributesWanted,omitempty" jsonschema_description:"Paths that the host will use of the answer; empty: all."`

	Secrets    map[string]string `json:"secrets,omitempty" jsonschema_description:"Secrets for the account itself, such as an initial password. Never log or return them."`
	Parameters map[string]any    `json:"parameters,omitempty" jsonschema_description:"Values for the inputs that the connector declares in describe."`
	Settings   map[string]any    `json:"settings,omitempty" jsonschema_description:"The operator's settings, checked against the connector's settingsSchema."`

	Mode           string `json:"mode,omitempty" jsonschema:"enum=full,enum=delta" jsonschema_description:"full or delta; only reconcile reads it."`
	Attempt        int    `json:"attempt,omitempty" jsonschema_description:"1 for the first attempt at this request."`
	IdempotencyKey string `json:"idempotencyKey,omitempty" jsonschema_description:"The same for every attempt at this request."`
	PendingToken   string `json:"pendingToken,omitempty" jsonschema_description:"check only: the token of the pending answer."`
}

// User is the person whom a request is about.
type User struct {
	Id                   string         `json:"Id"`
	Username             string         `json:"Username"`
	FirstName            string         `json:"FirstName,omitempty"`
	LastName             string         `json:"LastName,omitempty"`
	Email                string         `json:"Email,omitempty"`
	IsActive             bool           `json:"IsActive"`
	IsFrozen             bool           `json:"IsFrozen,omitempty"`
	Alias                string         `json:"Alias,omitempty"`
	Title                string         `json:"Title,omitempty"`
	CompanyName          string         `json:"CompanyName,omitempty"`
	Division             string         `json:"Division,omitempty"`
	Department           string         `json:"Department,omitempty"`
	EmployeeNumber       string         `json:"EmployeeNumber,omitempty"`
	ManagerId            string         `json:"ManagerId,omitempty"`
	Phone                string         `json:"Phone,omitempty"`
	MobilePhone          string         `json:"MobilePhone,omitempty"`
	Street               string         `json:"Street,omitempty"`
	City                 string         `json:"City,omitempty"`
	State                string         `json:"State,omitempty"`
	PostalCode           string         `json:"PostalCode,omitempty"`
	Country              string         `json:"Country,omitempty"`
	TimeZoneSidKey       string         `json:"TimeZoneSidKey,omitempty"`
	LocaleSidKey         string         `json:"LocaleSidKey,omitempty"`
	LanguageLocaleKey    string         `json:"LanguageLocaleKey,omitempty"`
	FederationIdentifier string         `json:"FederationIdentifier,omitempty"`
	Profile              string         `json:"Profile,omitempty"`
	PermissionSets       []string       `json:"PermissionSets,omitempty"`
	Custom               map[string]any `json:"Custom,omitempty" jsonschema_description:"The organisation's own attributes of the user."`
}

// UserProvisioningRequest is the request that a call serves.
type UserProvisioningRequest struct {
	Id                string `json:"Id"`
	Name              string `json:"Name,omitempty"`
	AppName           string `json:"AppName,omitempty"`
	ApprovalStatus    string `json:"ApprovalStatus,omitempty"`
	ConnectedAppId    string `json:"ConnectedAppId,omitempty"`
	ExternalUserId    string `json:"ExternalUserId,omitempty"`
	ManagerId         string `json:"ManagerId,omitempty"`
	Operation         string `json:"Operation" jsonschema_description:"The model's word: Create, Read, Update, Deactivate, Activate, Freeze, Unfreeze, Reactivate, Delete or Reconcile."`
	OwnerId           string `json:"OwnerId,omitempty"`
	ParentId          string `json:"ParentId,omitempty"`
	RetryCount        int    `json:"RetryCount,omitempty"`
	UserId            string `json:"UserId,omitempty"`
	ScheduleDate      string `json:"ScheduleDate,omitempty" jsonschema_description:"RFC 3339."`
	State             string `json:"State,omitempty"`
	UserProvAccountId string `json:"UserProvAccountId,omitempty"`
	UserProvConfigId  string `json:"UserProvConfigId,omitempty"`
}

// UserProvAccount is the account as the host knows it, with every identifier
// that it has been told.
type UserProvAccount struct {
	Id                string            `json:"Id,omitempty"`
	Name              string            `json:"Name,omitempty"`
	ConnectedAppId    string            `json:"ConnectedAppId,omitempty"`
	UserId            string            `json:"UserId,omitempty"`
	ExternalUserId    string            `json:"ExternalUserId,omitempty"`
	ExternalUsername  string            `json:"ExternalUsername,omitempty"`
	ExternalFirstName string            `json:"ExternalFirstName,omitempty"`
	ExternalLastName  string            `json:"ExternalLastName,omitempty"`
	ExternalEmail     string            `json:"ExternalEmail,omitempty"`
	Status            string            `json:"Status,omitempty"`
	LinkState         string            `json:"LinkState,omitempty"`
	IsKnownLink       bool              `json:"IsKnownLink,omitempty"`
	DeletedDate       string            `json:"DeletedDate,omitempty"`
	Identifiers       map[string]string `json:"Identifiers,omitempty" jsonschema_description:"Further identifiers: the attributes that the schema marks unique."`
	Attributes        map[string]any    `json:"Attributes,omitempty" jsonschema_description:"The attributes as the target last showed them."`
	Version           string            `json:"Version,omitempty" jsonschema_description:"The target's version of the account (an ETag), for a conditional update."`
}

// Output is the answer of every operation except describe and discover.
type Output struct {
	ExternalUserId    string `json:"ExternalUserId,omitempty" jsonschema_description:"The target's own id of the account. A create that is not pending must give it."`
	ExternalUsername  string `json:"ExternalUsername,omitempty"`
	ExternalFirstName string `json:"ExternalFirstName,omitempty"`
	ExternalLastName  string `json:"ExternalLastName,omitempty"`
	ExternalEmail     string `json:"ExternalEmail,omitempty"`
	Status            string `json:"Status,omitempty" jsonschema_description:"The vendor's own status of the account."`
	Details           string `json:"Details,omitempty" jsonschema_description:"The vendor's message, for the administrator."`

	Attributes map[string]any `json:"attributes,omitempty" jsonschema_description:"The attributes as they now are in the target; the host stores them and sees no false drift."`
	Version    string         `json:"version,omitempty"`

	ReconState      string    `json:"reconState,omitempty" jsonschema_description:"complete ends the collecting; complete:TOKEN keeps TOKEN for the next delta; anything else is handed to the next page."`
	NextReconOffset string    `json:"nextReconOffset,omitempty" jsonschema_description:"Where the next page begins. It must differ from every offset of this run."`
	Accounts        []Account `json:"accounts,omitempty" jsonschema_description:"A page of accounts."`
	TotalEstimate   *int64    `json:"totalEstimate,omitempty" jsonschema_description:"About how many accounts there are in all."`

	Pending *Pending       `json:"pending,omitempty" jsonschema_description:"The work goes on in the target; ask with check."`
	Outputs map[string]any `json:"outputs,omitempty" jsonschema_description:"Values for the outputs that the connector declares in describe."`
}

// Account is one account of the target: what an operation made of it, or one
// row of a page.
type Account struct {
	ExternalUserId    string         `json:"ExternalUserId" jsonschema_description:"The target's own id; required in a page."`
	ExternalUsername  string         `json:"ExternalUsername,omitempty"`
	ExternalFirstName string         `json:"ExternalFirstName,omitempty"`
	ExternalLastName  string         `json:"ExternalLastName,omitempty"`
	ExternalEmail     string         `json:"ExternalEmail,omitempty"`
	Status            string         `json:"Status,omitempty"`
	Details           string         `json:"Details,omitempty"`
	Attributes        map[string]any `json:"attributes,omitempty"`
	Version           string         `json:"version,omitempty"`
	Partial           bool           `json:"partial,omitempty" jsonschema_description:"The list gave only some attributes; what is missing is unknown, not empty."`
	Change            Change         `json:"change,omitempty" jsonschema:"enum=created,enum=changed,enum=present,enum=deleted" jsonschema_description:"In a delta: created, changed (only those attributes), present (whole) or deleted (identifiers suffice)."`

	// Pending and Outputs are for an operation's answer; a page has neither.
	Pending *Pending       `json:"-"`
	Outputs map[string]any `json:"-"`
}

// Change says what a delta knows of an account.
type Change string

// The changes of a delta.
const (
	ChangeCreated Change = "created"
	ChangeChanged Change = "changed"
	ChangePresent Change = "present"
	ChangeDeleted Change = "deleted"
)

// Pending is the answer of an operation that goes on in the target.
type Pending struct {
	Token             string `json:"token" jsonschema_description:"Handed to check as pendingToken."`
	CheckAfterSeconds int    `json:"checkAfterSeconds,omitempty" jsonschema:"minimum=0" jsonschema_description:"How long to wait before the next check."`
}

// Description is what describe returns: what the connector is, whatever the
// target. It is static and is made without HTTP.
type Description struct {
	Name            string      `json:"name" jsonschema_description:"Lower-case letters, digits and hyphens."`
	Version         string      `json:"version" jsonschema_description:"Semantic version."`
	Vendor          string      `json:"vendor,omitempty"`
	Summary         string      `json:"summary,omitempty" jsonschema_description:"One sentence for the operator."`
	ContractVersion int         `json:"contractVersion"`
	Operations      []Operation `json:"operations" jsonschema_description:"Every one must be exported."`

	SettingsSchema  map[string]any `json:"settingsSchema,omitempty" jsonschema_description:"JSON Schema (2020-12) of settings."`
	SettingsVersion int            `json:"settingsVersion,omitempty"`
	Inputs          []Parameter    `json:"inputs,omitempty"`
	Outputs         []Parameter    `json:"outputs,omitempty"`

	CredentialProtocols []string    `json:"credentialProtocols,omitempty" jsonschema_description:"Sign-ins that the target takes: anonymous, basic, bearer, api_key, oauth2_client_credentials. Empty: any."`
	RateHints           *RateHints  `json:"rateHints,omitempty"`
	Hosts               []string    `json:"hosts,omitempty" jsonschema_description:"Hosts that it wants to call besides the credential's endpoint, without a sign-in, as an operator would grant them: files.example.com, *.example.com:8443, GET,HEAD files.example.com. Without the grant a call is refused."`
	Limits              *LimitHints `json:"limits,omitempty"`

	Attributes     []Attribute `json:"attributes,omitempty" jsonschema_description:"Attributes of an account that every target of this connector has."`
	DefaultMapping []string    `json:"defaultMapping,omitempty" jsonschema_description:"Rules (target = expression) used where an app has no mapping."`
	DefaultLink    []string    `json:"defaultLink,omitempty" jsonschema_description:"Rules (account expression = user expression) used where an app has none."`
}

// Parameter is an input or an output that a connector declares of its own.
type Parameter struct {
	Name        string `json:"name"`
	Label       string `json:"label,omitempty"`
	Type        string `json:"type,omitempty" jsonschema:"enum=text,enum=number,enum=boolean,enum=date,enum=json"`
	Required    bool   `json:"required,omitempty"`
	Description string `json:"description,omitempty"`
}

// RateHints say what the target bears; zero means unknown.
type RateHints struct {
	RequestsPerSecond float64 `json:"requestsPerSecond,omitempty" jsonschema:"minimum=0"`
	Concurrency       int     `json:"concurrency,omitempty" jsonschema:"minimum=0"`
}

// LimitHints say what a call of the connector needs where the host's own
// limits are too small for it; zero: they do. The operator grants them or not.
type LimitHints struct {
	MemoryMiB   int `json:"memoryMiB,omitempty" jsonschema:"minimum=0"`
	TimeSeconds int `json:"timeSeconds,omitempty" jsonschema:"minimum=0"`
	HTTPCalls   int `json:"httpCalls,omitempty" jsonschema:"minimum=0"`
}

// Attribute is one attribute of an object class, by the target's own name.
type Attribute struct {
	Name          string      `json:"name"`
	Type          string      `json:"type,omitempty" jsonschema:"enum=string,enum=integer,enum=decimal,enum=boolean,enum=dateTime,enum=binary,enum=reference,enum=complex" jsonschema_description:"string unless said otherwise."`
	MultiValued   bool        `json:"multiValued,omitempty" jsonschema_description:"A list; a list of complex values is addressed by their type: emails[work].value."`
	Required      bool        `json:"required,omitempty"`
	Unique        bool        `json:"unique,omitempty"`
	ReadOnly      bool        `json:"readOnly,omitempty"`
	Immutable     bool        `json:"immutable,omitempty" jsonschema_description:"Can be set on create only."`
	CaseExact     bool        `json:"caseExact,omitempty"`
	Reference     string      `json:"reference,omitempty" jsonschema_description:"The object class that it refers to."`
	Values        []string    `json:"values,omitempty" jsonschema_description:"The values that the target suggests or allows."`
	Description   string      `json:"description,omitempty"`
	SubAttributes []Attribute `json:"subAttributes,omitempty"`
}

// Discovery is what discover returns: what this target has and can do.
type Discovery struct {
	ObjectClasses []ObjectClass `json:"objectClasses"`
	Capabilities  Capabilities  `json:"capabilities"`
	Limits        Limits        `json:"limits"`
	Warnings      []string      `json:"warnings,omitempty" jsonschema_description:"What the target left out or got wrong, and what was assumed instead."`
}

// ObjectClass is one kind of object in the target.
type ObjectClass struct {
	Name       string      `json:"name" jsonschema_description:"account for people's accounts."`
	Label      string      `json:"label,omitempty"`
	Attributes []Attribute `json:"attributes"`
}

// Capabilities say which operations work on this target, and how.
type Capabilities struct {
	Operations           []Operation `json:"operations"`
	PartialUpdate        bool        `json:"partialUpdate,omitempty"`
	Filter               bool        `json:"filter,omitempty"`
	FilterableAttributes []string    `json:"filterableAttributes,omitempty" jsonschema_description:"Empty: any, where filter is true."`
	ConditionalUpdate    bool        `json:"conditionalUpdate,omitempty" jsonschema_description:"Accounts carry a version that an update can demand."`
	Delta                bool        `json:"delta,omitempty"`
	CursorPaging         bool        `json:"cursorPaging,omitempty"`
	DeactivateDestroys   bool        `json:"deactivateDestroys,omitempty" jsonschema_description:"Deactivating loses data in the target."`
	IdsCanChange         bool        `json:"idsCanChange,omitempty"`
}

// Limits of the target; zero means unknown or none.
type Limits struct {
	MaxPageSize         int   `json:"maxPageSize,omitempty" jsonschema:"minimum=0"`
	MaxChangesPerUpdate int   `json:"maxChangesPerUpdate,omitempty" jsonschema:"minimum=0"`
	MaxPayloadBytes     int64 `json:"maxPayloadBytes,omitempty" jsonschema:"minimum=0"`
}
