package metrics

import (
	"time"

	"github.com/provosthq/provost/host"
)

// State is what is cheap to know at any moment.
type State struct {
	// Instances are by connector.
	Instances map[string]Instances
	// SandboxBytes is the memory of all instances.
	SandboxBytes int64
	// DroppedLines are those that connectors logged beyond what they may.
	DroppedLines map[string]int64
	Loaded       []Loaded
	// Pools are the database's connections, by what they are for: read or write.
	Pools map[string]Pool
}

// Instances are those of one connector, the calls that wait for one, and how
// often there were either.
type Instances struct {
	All, Idle, Waiting      int
	Waits, Refusals, Resets int64
	ResetTime               time.Duration
}

// Loaded is a connector of the configuration.
type Loaded struct {
	Connector, Version, Digest string
	// State is one of ConnectorStates.
	State string
	// At is when the version that runs was loaded; zero for none.
	At time.Time
	// Refused: the newest attempt to load failed.
	Refused bool
	// Stale: what serves was fetched before, because its source could not be asked.
	Stale bool
}

// ConnectorStates are the states of a connector.
var ConnectorStates = []string{"serving", "loading", "quarantined", "failed"}

// Pool is a pool of connections to the database.
type Pool struct {
	Open, InUse, Most int
	Waits             int64
	Waited            time.Duration
}

// Counts is what the database is asked for.
type Counts struct {
	Queues map[string]Queue // by queue
	// Requests are all that there ever were, Open those that have not ended, Runs
	// the reconciliations under way, Accounts those that are known: by app.
	Requests map[string]map[host.RequestState]int64
	Open     map[string]map[string]Open // and by what they wait for
	Runs     map[string]Run
	Accounts map[string]map[host.LinkState]int64
	// Drifted and Undecided are accounts, by app: whose values are others than they
	// should be, and that a person must decide about.
	Drifted, Undecided map[string]int64
	// Targets are by named credential.
	Targets map[string]Target
	// Quarantined counts the plans that passed a threshold and wait for a person,
	// by app ("" for imports of users); Reconciled is when a run was last
	// committed, by app.
	Quarantined map[string]int64
	Reconciled  map[string]time.Time
	// Authorized tells of each credential that people authorize whether it can be
	// used.
	Authorized map[string]bool
	// DatabaseBytes is the size of the database.
	DatabaseBytes int64
}

// Queue is what waits or runs in one queue.
type Queue struct {
	Depth int64
	// Due is since when the oldest job that could run has waited; zero for none.
	Due time.Time
}

// Open are requests that have not ended and wait for the same.
type Open struct {
	Requests int64
	// Since is when the oldest of them was made, or was due.
	Since time.Time
}

// What open requests wait for.
const (
	WaitsForWorker        = "worker"        // its turn
	WaitsForLater         = "later"         // the time of its schedule, of its next attempt or of asking again
	WaitsForTarget        = "target"        // a target that is down or busy
	WaitsForAuthorization = "authorization" // somebody to authorize its credential
	WaitsForApproval      = "approval"      // somebody to approve it
	WaitsForReview        = "review"        // somebody to look at what a run has found
	WaitsForNothing       = "nothing"       // it is being done
	WaitsForResume        = "resume"        // somebody has paused it
)

// WaitsFor lists what open requests wait for.
var WaitsFor = []string{WaitsForWorker, WaitsForLater, WaitsForTarget, WaitsForAuthorization, WaitsForApproval, WaitsForReview, WaitsForNothing, WaitsForResume}

// Run is how far the reconciliations of an app that are under way have come.
type Run struct {
	// States counts them.
	States map[host.RequestState]int64
	// Pages and Accounts that they have collected, and Expected accounts, where the
	// target said.
	Pages, Accounts, Expected int64
}

// Target is what stands behind a named credential: the state of its circuit
// breaker, since when it has failed (zero: it does not), and the requests that
// wait for it.
type Target struct {
	State   host.Breaker
	Since   time.Time
	Waiting int64
}
