package api

import (
	"context"

	"github.com/danielgtaylor/huma/v2"

	"github.com/provosthq/provost/host"
)

// ReviewService is what the API needs for the review of a run that has been
// analyzed, before its commit.
type ReviewService interface {
	// Staged lists the accounts that a run has found, with what it says of each.
	Staged(ctx context.Context, requestID string, f StagedFilter) ([]*Staged, error)
	// Missing lists the users who should have an account and have none, or with
	// undecided those who may have one.
	Missing(ctx context.Context, requestID string, undecided bool, after string, limit int) ([]*host.User, error)
	// Gone lists the accounts that are linked and that the run did not find.
	Gone(ctx context.Context, requestID string, after int64, limit int) ([]*host.UserProvAccount, error)
	// Decide notes what a person says of accounts of the run, all of it or
	// nothing.
	Decide(ctx context.Context, requestID string, d Decision) (*Decided, error)
	// UndoDecide takes a decision back, of each account that nobody has decided about
	// since.
	UndoDecide(ctx context.Context, requestID, undo string) (*Decided, error)
	// Account finds an account by id or name (UPA-000042).
	Account(ctx context.Context, id string) (*host.UserProvAccount, error)
	// UsersWhere lists the users for whom an expression holds.
	UsersWhere(ctx context.Context, where, after string, limit int) ([]*host.User, error)
}

// StagedFilter chooses accounts of a run; empty fields choose all. After is the
// AfterNumber of the last account of the page before.
type StagedFilter struct {
	State      host.LinkState
	Drifted    bool
	Candidates bool
	Query      string
	After      int64
	Limit      int
}

// Staged is an account of a run as the API shows it.
type Staged struct {
	*host.UserProvAccountStaging
	Username    string `json:"Username,omitempty" doc:"Of the user that it is linked to"`
	AfterNumber int64  `json:"AfterNumber"`
}

// Decision is what a person says of accounts of a run.
type Decision struct {
	Verb     string   `json:"verb" enum:"link,unlink,ignore"`
	Accounts []string `json:"accounts,omitempty" doc:"Ids of the target; without any, what the filter chooses" maxItems:"10000"`
	User     string   `json:"user,omitempty" doc:"Whose the account is: id or username"`
	Score    float64  `json:"score,omitempty" minimum:"0" maximum:"1" doc:"Link each account to its best candidate, if that is alone and has at least this score"`
	State    string   `json:"state,omitempty" enum:"linked,duplicate,orphaned,ignored"`
	Drifted  bool     `json:"drifted,omitempty"`
	Query    string   `json:"query,omitempty" doc:"How an id, a username or an e-mail begins, or all of one with * for anything"`
	All      bool     `json:"all,omitempty" doc:"All accounts of the run"`
}

// Decided says what came of a [Decision].
type Decided struct {
	Accounts int64    `json:"accounts"`
	Request  *Request `json:"request"`
	// Undo takes it back until the run is committed.
	Undo string `json:"undo,omitempty" doc:"What takes it back, until the run is committed"`
}

func reviews(a huma.API, s ReviewService) {
	type ByRun struct {
		ID string `path:"id" doc:"Id, name (UPR-000042) or number"`
	}
	huma.Get(a, "/api/v1/requests/{id}/accounts", func(ctx context.Context, in *struct {
		ByRun
		Page
		State      string `query:"state" enum:"linked,duplicate,orphaned,ignored"`
		Drifted    bool   `query:"drifted"`
		Candidates bool   `query:"candidates" doc:"Only those that a person must decide about"`
		Query      string `query:"query" doc:"How an id, a username or an e-mail begins, or all of one with * for anything"`
		After      int64  `query:"after"`
	}) (*page[[]*Staged], error) {
		list, err := s.Staged(ctx, in.ID, StagedFilter{State: host.LinkState(in.State), Drifted: in.Drifted, Candidates: in.Candidates, Query: in.Query, After: in.After, Limit: in.Limit})
		return following(&in.Page, list, err, "after", func(a *Staged) any { return a.AfterNumber })
	})
	huma.Get(a, "/api/v1/requests/{id}/missing", func(ctx context.Context, in *struct {
		ByRun
		Page
		Undecided bool   `query:"undecided" doc:"Those who may have an account: a person must say"`
		After     string `query:"after" doc:"Id of the last user of the page before"`
	}) (*page[[]*host.User], error) {
		list, err := s.Missing(ctx, in.ID, in.Undecided, in.After, in.Limit)
		return following(&in.Page, list, err, "after", func(u *host.User) any { return u.Id })
	})
	huma.Get(a, "/api/v1/requests/{id}/gone", func(ctx context.Context, in *struct {
		ByRun
		Page
		After int64 `query:"after"`
	}) (*page[[]*Account], error) {
		list, err := s.Gone(ctx, in.ID, in.After, in.Limit)
		shown := make([]*Account, len(list))
		for i, u := range list {
			shown[i] = shownAccount(u)
		}
		return following(&in.Page, shown, err, "after", func(a *Account) any { return a.AfterNumber })
	})
	huma.Post(a, "/api/v1/requests/{id}/review", func(ctx context.Context, in *struct {
		ByRun
		Body Decision
	}) (*body[*Decided], error) {
		return answer(s.Decide(ctx, in.ID, in.Body))
	})
	huma.Post(a, "/api/v1/requests/{id}/review/undo", func(ctx context.Context, in *struct {
		ByRun
		Body struct {
			Undo string `json:"undo" minLength:"1" maxLength:"64" doc:"As it was answered to the decision"`
		}
	}) (*body[*Decided], error) {
		return answer(s.UndoDecide(ctx, in.ID, in.Body.Undo))
	})
	huma.Get(a, "/api/v1/accounts/{id}", func(ctx context.Context, in *struct {
		ID string `path:"id" doc:"Id or name (UPA-000042)"`
	}) (*body[*Account], error) {
		u, err := s.Account(ctx, in.ID)
		return answer(shownAccount(u), err)
	})
}

// Named is a request as the API shows it, with its name.
func Named(r *host.UserProvisioningRequest) *Request { return named(r) }
