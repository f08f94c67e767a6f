package host

import "slices"

// Operation is the model's word for what a request does.
type Operation string

// The operations of a UserProvisioningRequest.
const (
	Create     Operation = "Create"
	Read       Operation = "Read"
	Update     Operation = "Update"
	Deactivate Operation = "Deactivate"
	Activate   Operation = "Activate"
	Freeze     Operation = "Freeze"
	Unfreeze   Operation = "Unfreeze"
	Reactivate Operation = "Reactivate"
	Delete     Operation = "Delete"
	Reconcile  Operation = "Reconcile"
)

// Operations lists every operation of a request.
var Operations = []Operation{Create, Read, Update, Deactivate, Activate, Freeze, Unfreeze, Reactivate, Delete, Reconcile}

// EnabledOperation is a choice of UserProvisioningConfig.EnabledOperations: it
// lets one or two operations through.
type EnabledOperation string

// The choices of the model, and Delete, which it lacks.
const (
	EnableCreate            EnabledOperation = "Create"
	EnableUpdate            EnabledOperation = "Update"
	EnableEnableAndDisable  EnabledOperation = "EnableAndDisable"  // Activate, Deactivate, Reactivate
	EnableSuspendAndRestore EnabledOperation = "SuspendAndRestore" // Freeze, Unfreeze
	EnableDelete            EnabledOperation = "Delete"
)

// EnabledOperations lists every choice.
var EnabledOperations = []EnabledOperation{EnableCreate, EnableUpdate, EnableEnableAndDisable, EnableSuspendAndRestore, EnableDelete}

// EnabledBy returns the choice that lets o through; "" means that it always is
// (Read and Reconcile change nothing).
func (o Operation) EnabledBy() EnabledOperation {
	switch o {
	case Create:
		return EnableCreate
	case Update:
		return EnableUpdate
	case Activate, Deactivate, Reactivate:
		return EnableEnableAndDisable
	case Freeze, Unfreeze:
		return EnableSuspendAndRestore
	case Delete:
		return EnableDelete
	default:
		return ""
	}
}

// RequestState is the State of a UserProvisioningRequest.
type RequestState string

// The states of the model.
const (
	StateNew               RequestState = "New"
	StateRequested         RequestState = "Requested"
	StateCompleted         RequestState = "Completed"
	StateFailed            RequestState = "Failed"
	StateCollecting        RequestState = "Collecting"
	StateCollected         RequestState = "Collected"
	StateAnalyzing         RequestState = "Analyzing"
	StateAnalyzed          RequestState = "Analyzed"
	StateCommitting        RequestState = "Committing"
	StateRetried           RequestState = "Retried"
	StateManuallyCompleted RequestState = "Manually Completed"
	// StateCancelled is ours: a request that a person withdrew before it ran.
	StateCancelled RequestState = "Cancelled"
)

// RequestStates lists every state.
var RequestStates = []RequestState{
	StateNew, StateRequested, StateCompleted, StateFailed, StateCollecting, StateCollected, StateAnalyzing,
	StateAnalyzed, StateCommitting, StateRetried, StateManuallyCompleted, StateCancelled,
}

// transitions is the one table of what may follow what. Requests of accounts
// go New, Requested, then an end; a Reconcile goes New, Collecting, Collected,
// Analyzing, Analyzed, Committing, Completed and may start at Analyzing when
// staged accounts were put in by other means. An active task never goes back.
var transitions = map[RequestState][]RequestState{
	StateNew:        {StateRequested, StateCollecting, StateAnalyzing, StateFailed, StateManuallyCompleted, StateCancelled, StateCompleted},
	StateRequested:  {StateCompleted, StateFailed, StateManuallyCompleted},
	StateCollecting: {StateCollected, StateFailed, StateCancelled},
	StateCollected:  {StateAnalyzing, StateFailed, StateCancelled},
	StateAnalyzing:  {StateAnalyzed, StateFailed, StateCancelled},
	StateAnalyzed:   {StateCommitting, StateFailed, StateCancelled},
	StateCommitting: {StateCompleted, StateFailed},
	StateFailed:     {StateRetried, StateManuallyCompleted},
}

// Transition is a step that a request may take.
type Transition struct{ From, To RequestState }

// Transitions lists every step that there is. The database refuses all others.
func Transitions() []Transition {
	var list []Transition
	for _, from := range RequestStates {
		for _, to := range transitions[from] {
			list = append(list, Transition{from, to})
		}
	}
	return list
}

// MayBecome tells whether the table of transitions lets s become next.
func (s RequestState) MayBecome(next RequestState) bool {
	return slices.Contains(transitions[s], next)
}

// Ended tells whether nothing more happens to a request in this state by
// itself.
func (s RequestState) Ended() bool {
	switch s {
	case StateCompleted, StateFailed, StateRetried, StateManuallyCompleted, StateCancelled:
		return true
	default:
		return false
	}
}

// ApprovalStatus says whether a request waits for a person.
type ApprovalStatus string

// The model's approval states.
const (
	ApprovalRequired    ApprovalStatus = "Required"
	ApprovalNotRequired ApprovalStatus = "Not Required"
	ApprovalApproved    ApprovalStatus = "Approved"
	ApprovalDenied      ApprovalStatus = "Denied"
)

// LinkState says how an account in the target stands to our users.
type LinkState string

// The model's link states.
const (
	Linked    LinkState = "linked"    // a user matches the account
	Duplicate LinkState = "duplicate" // its user has another account, or several users match
	Orphaned  LinkState = "orphaned"  // no user matches
	Ignored   LinkState = "ignored"   // changes to the user have no effect on it
)

// LinkStates lists every link state.
var LinkStates = []LinkState{Linked, Duplicate, Orphaned, Ignored}
