package host

import "time"

// StagedConflict is a user that several staged accounts of a run are linked
// to. Number and ExternalUserId are of the surest of the Accounts; Surest
// counts those that are as sure as it.
type StagedConflict struct {
	UserId           string
	Number           int64
	ExternalUserId   string
	Accounts, Surest int
	// Reason is what all but Number are told; with Number 0 all of them.
	Reason string `bun:"-"`
}

// StagingFilter chooses staged accounts of a run, ordered by Number.
type StagingFilter struct {
	RequestId string
	LinkState LinkState
	Drifted   bool
	// Candidates chooses those that have candidates.
	Candidates bool
	// DecisionId chooses those whose last decision it is.
	DecisionId string
	// Query is part of an id, a username or an e-mail, or all of one with * for
	// anything.
	Query string
	// Begins is how an id, a username or an e-mail begins. It is found by an index,
	// where Query reads all.
	Begins string
	After  int64
	Limit  int
}

// GoneFilter chooses the accounts of an app that a whole run did not find and
// that nobody has changed since it began, ordered by Number.
type GoneFilter struct {
	AppName, RequestId string
	Since              time.Time
	After              int64
	Limit              int
}

// MissingFilter chooses the users of a run who should have an account, ordered
// by id. Run is the Number of its request. Whole says that the run saw all
// accounts that there are; Undecided chooses those who may have one, which a
// person must say first, instead of those who have none.
type MissingFilter struct {
	AppName, RequestId string
	Run                int64
	Whole, Undecided   bool
	Since              time.Time
	After              string
	Limit              int
}
