package host

import "time"

// NoticeKind says what a [Notice] is about.
type NoticeKind string

// The kinds of notice.
const (
	// NoticeConnector: a connector is in quarantine; the subject is its name.
	NoticeConnector NoticeKind = "connector"
	// NoticeThreshold: a plan or a run passed a threshold and waits for a person;
	// the subject is its name.
	NoticeThreshold NoticeKind = "threshold"
	// NoticeCredential: a person must authorize a named credential; the subject is
	// its name, with /userId where it is one user's.
	NoticeCredential NoticeKind = "credential"
	// NoticeTarget: the breaker of a target has been open for long; the subject is
	// the target's name.
	NoticeTarget NoticeKind = "target"
	// NoticeApproval: requests have waited for approval for long; the subject is
	// the app.
	NoticeApproval NoticeKind = "approval"
	// NoticeReview: a run of a reconciliation has waited for its review for long;
	// the subject is its name.
	NoticeReview NoticeKind = "review"
	// NoticeConfiguration: a changed configuration is refused. Each machine has its
	// own, so it is shown there and not sent.
	NoticeConfiguration NoticeKind = "configuration"
	// NoticeSetting: a machine can't use a stored setting, as its own files say
	// otherwise; the subject is the setting, the machine and its file.
	NoticeSetting NoticeKind = "setting"
	// NoticeTest is for trying a channel; it is stored nowhere.
	NoticeTest NoticeKind = "test"
)

// NoticeKinds are those that are sent.
var NoticeKinds = []NoticeKind{NoticeConnector, NoticeThreshold, NoticeCredential, NoticeTarget, NoticeApproval, NoticeReview, NoticeSetting}

// Notice is something that a person must do, or know. It is raised once while
// it lasts, whichever machine sees it, and resolved when it is over; of one
// kind and subject there is one at a time.
type Notice struct {
	Number  int64      `json:"-" bun:",pk,autoincrement"`
	Id      string     `json:"Id"`
	Kind    NoticeKind `json:"Kind"`
	Subject string     `json:"Subject"`
	// Text says what is so, and after "->" the command that goes on from there. It
	// leaves the host: it has ids and names of the configuration in it, never a
	// person's name nor what a target said.
	Text string `json:"Text"`
	// Waiting counts what waits for it, 0 for nothing.
	Waiting int64 `json:"Waiting,omitempty"`
	// FirstRaised is when it began to be so, LastRaised when Text or Waiting last
	// changed, ResolvedDate when it was over.
	FirstRaised  time.Time  `json:"FirstRaised"`
	LastRaised   time.Time  `json:"LastRaised"`
	ResolvedDate *time.Time `json:"ResolvedDate,omitempty"`
}

// NoticeEvent is what of a notice is told.
type NoticeEvent string

// A notice is told when it is raised and when it is over.
const (
	NoticeRaised   NoticeEvent = "raised"
	NoticeResolved NoticeEvent = "resolved"
)

// DeliveryState is the State of a [NoticeDelivery].
type DeliveryState string

// A delivery waits until it is sent, or given up after days.
const (
	DeliveryWaiting DeliveryState = "waiting"
	DeliverySent    DeliveryState = "sent"
	DeliveryGivenUp DeliveryState = "given up"
)

// NoticeDelivery is the telling of one event of a notice over one channel. One
// machine sends it; should that die meanwhile, another sends it again with the
// same id.
type NoticeDelivery struct {
	Number   int64         `json:"-" bun:",pk,autoincrement"`
	Id       string        `json:"Id"`
	NoticeId string        `json:"NoticeId"`
	Event    NoticeEvent   `json:"Event"`
	Channel  string        `json:"Channel"`
	State    DeliveryState `json:"State"`
	// Batch names the message that it is sent in together with others, "" where it
	// has been in none.
	Batch    string `json:"Batch,omitempty"`
	Attempts int    `json:"Attempts"`
	// NextDate is when it is due, or due again.
	NextDate  time.Time `json:"NextDate"`
	LastError string    `json:"LastError,omitempty"`
	// CreatedDate is when it was to be told, SentDate when it was.
	CreatedDate time.Time  `json:"CreatedDate"`
	SentDate    *time.Time `json:"SentDate,omitempty"`
	// LeaseHolder sends it until LeaseUntil, in seconds of the database's clock.
	LeaseHolder string `json:"-"`
	LeaseUntil  int64  `json:"-"`
}
