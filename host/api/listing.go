package api

import (
	"strconv"
	"time"

	"github.com/provosthq/provost/host"
)

// Listing is one page of a listing.
type Listing[T any] struct {
	Rows []T
	// Next is the cursor of the page after it; empty where there is none.
	Next string
}

// Paging says which page of a listing is wanted. A listing without a sort is in
// the order in which its rows were made. What comes or goes meanwhile moves no
// row to another page.
type Paging struct {
	// Sort is one of the listing's, with - before it for the other way.
	Sort string
	// Cursor is Next of the page before, of the same sort; empty for the first.
	Cursor string
	Limit  int
}

// MostCounted is the largest [Count] that is exact.
const MostCounted = 10_000

// Count is how many rows there are: [MostCounted], and More, where there are
// more.
type Count struct {
	N    int64
	More bool
}

// String is 42 or 10000+.
func (c Count) String() string {
	if c.More {
		return strconv.FormatInt(c.N, 10) + "+"
	}
	return strconv.FormatInt(c.N, 10)
}

// UserFilter chooses users; empty fields choose all.
type UserFilter struct {
	// Query are beginnings of words of a username, a name or an e-mail.
	Query  string
	Active *bool
	// App: assigned directly.
	App string
	// After is the id of the last user of the page before.
	After string
	Paging
}

// UserSorts are the sorts of users.
var UserSorts = []string{"created", "username"}

// RequestFilter chooses requests; empty fields choose all. After is the Number
// of the last request of the page before.
type RequestFilter struct {
	App string
	// Apps: only of these; nil for all.
	Apps      []string
	User      string
	State     []host.RequestState
	Operation host.Operation
	// Approval is an ApprovalStatus; Approver is a user: only what is for them,
	// or for a group of theirs.
	Approval host.ApprovalStatus
	Approver string
	Error    host.Code
	// Since: ended, or else made, then or after.
	Since time.Time
	// MadeSince and MadeBefore are of when they were made.
	MadeSince, MadeBefore time.Time
	After                 int64
	Paging
}

// RequestSorts are the sorts of requests: a number is given when one is made.
var RequestSorts = []string{"number"}

// AccountFilter chooses accounts; empty fields choose all.
type AccountFilter struct {
	App string
	// Apps: only of these; nil for all.
	Apps    []string
	User    string
	State   host.LinkState
	Drifted bool
	// Undecided: a person must say whose they are.
	Undecided bool
	// Query are beginnings of words of an id, a username, a name or an e-mail.
	Query string
	After int64
	Paging
}

// AccountSorts are the sorts of accounts. But for number they are for those of
// one app.
var AccountSorts = []string{"number", "username", "modified"}

// LogFilter chooses lines of the logs of requests; empty fields choose all.
type LogFilter struct {
	// Request is an id, a name (UPR-000042) or a number; User an id or a username.
	Request, User, Actor string
	// Apps: only of these; nil for all.
	Apps []string
	Paging
}
