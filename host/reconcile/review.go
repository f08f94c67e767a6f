package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/provosthq/provost/host"
)

// ReviewTx is what a review does within one transaction.
type ReviewTx interface {
	StagedByExternalId(ctx context.Context, requestID, externalID string) (*host.UserProvAccountStaging, error)
	StagedWhere(ctx context.Context, f host.StagingFilter) ([]*host.UserProvAccountStaging, error)
	StagedOfUsers(ctx context.Context, requestID string, users []string) ([]*host.UserProvAccountStaging, error)
	// SettleCandidates has nobody be a candidate any more but those of accounts
	// that nobody has decided about.
	SettleCandidates(ctx context.Context, run int64, requestID string) error
}

// The verbs of a [Decision].
const (
	Link   = "link"
	Unlink = "unlink"
	Ignore = "ignore"
)

// Decision is what a person says of accounts of a run that has been analyzed.
// It counts with the commit, and later runs keep it.
type Decision struct {
	// Id names it, for [Engine.Undo].
	Id   string
	Verb string
	// Accounts are ids of the target; without any, Filter chooses.
	Accounts []string
	Filter   host.StagingFilter
	// UserId is whose the account is, of a Link. Without one each account goes
	// to its best candidate, if that is alone and has at least Score.
	UserId string
	Score  float64
}

// Decide notes what a person says of accounts of a run, all of it or nothing,
// and returns how many it was said of. A decision that would give somebody two
// accounts is a Conflict.
func (e *Engine) Decide(ctx context.Context, tx Tx, id string, d Decision) (*host.UserProvisioningRequest, int64, error) {
	if !slices.Contains([]string{Link, Unlink, Ignore}, d.Verb) {
		return nil, 0, host.Errorf(host.InvalidInput, "%q is neither link nor unlink nor ignore", d.Verb)
	}
	if d.Verb == Link && d.UserId != "" && len(d.Accounts) != 1 {
		return nil, 0, host.Errorf(host.InvalidInput, "a user has one account of an app; name the one that is to be linked")
	}
	r, err := tx.Request(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	if r.Operation != host.Reconcile || r.State != host.StateAnalyzed {
		return nil, 0, host.Errorf(host.Conflict, "%s is %s; only a run that has been analyzed can be reviewed", r.Name(), r.State)
	}
	// Nobody commits it meanwhile.
	if err := tx.AdvanceRun(ctx, r.Id, r.State, r.ReconOffset, r.ReconOffset); err != nil {
		return nil, 0, err
	}
	rules, err := e.Rules(r.AppName)
	if err != nil {
		return nil, 0, err
	}
	v := &review{engine: e, tx: tx, run: r, rules: rules, decision: d}
	if err := v.all(ctx); err != nil {
		return nil, 0, err
	}
	if v.done == 0 {
		return r, 0, nil
	}
	if err := tx.SettleCandidates(ctx, r.Number, r.Id); err != nil {
		return nil, 0, err
	}
	next := *r
	if next.Summary, err = e.counts(ctx, tx, r); err != nil {
		return nil, 0, err
	}
	if err := tx.UpdateRequest(ctx, &next, r.Attempt); err != nil {
		return nil, 0, err
	}
	return &next, v.done, e.log(ctx, tx, &next, "reviewed", v.text(), nil)
}

// Undo takes a decision back, of each account that nobody has decided about
// since, and returns how many they are. It is a Conflict where somebody would
// have two accounts then.
func (e *Engine) Undo(ctx context.Context, tx Tx, id, decisionID string) (*host.UserProvisioningRequest, int64, error) {
	r, err := tx.Request(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	if r.Operation != host.Reconcile || r.State != host.StateAnalyzed {
		return nil, 0, host.Errorf(host.Conflict, "%s is %s; what was decided counts", r.Name(), r.State)
	}
	// Nobody commits it meanwhile.
	if err := tx.AdvanceRun(ctx, r.Id, r.State, r.ReconOffset, r.ReconOffset); err != nil {
		return nil, 0, err
	}
	v := &review{engine: e, tx: tx, run: r, decision: Decision{Verb: "undo"}}
	f := host.StagingFilter{RequestId: r.Id, DecisionId: decisionID, Limit: e.Batch}
	for {
		list, err := tx.StagedWhere(ctx, f)
		if err != nil {
			return nil, 0, err
		}
		if len(list) == 0 {
			break
		}
		f.After = list[len(list)-1].Number
		if err := v.undo(ctx, list); err != nil {
			return nil, 0, err
		}
	}
	if v.done == 0 {
		return nil, 0, host.Errorf(host.Conflict, "there is nothing of that decision left to undo in %s", r.Name())
	}
	next := *r
	if next.Summary, err = e.counts(ctx, tx, r); err != nil {
		return nil, 0, err
	}
	if err := tx.UpdateRequest(ctx, &next, r.Attempt); err != nil {
		return nil, 0, err
	}
	return &next, v.done, e.log(ctx, tx, &next, "reviewed", v.text(), nil)
}

// undo makes some accounts as they were before their last decision.
func (v *review) undo(ctx context.Context, list []*host.UserProvAccountStaging) error {
	ids := map[string]bool{}
	for _, s := range list {
		if s.Undo != nil && s.Undo.LinkState == host.Linked {
			ids[s.Undo.UserId] = true
		}
	}
	users, err := usersOf(ctx, v.tx, ids)
	if err != nil {
		return err
	}
	taken, err := v.taken(ctx, users)
	if err != nil {
		return err
	}
	var maybe []string
	for _, s := range list {
		before := s.Undo
		if before == nil {
			before = &host.StagedUndo{LinkState: host.Orphaned, LinkRank: rankRules}
		}
		if other := taken[before.UserId]; before.LinkState == host.Linked && other != "" && other != s.ExternalUserId {
			return host.Errorf(host.Conflict, "whose %s was has account %s in this run by now; nothing was undone", s.ExternalUserId, other)
		}
		s.UserId, s.LinkState, s.LinkReason, s.LinkRule, s.LinkRank, s.Decided, s.Drift = before.UserId, before.LinkState, before.LinkReason, before.LinkRule, before.LinkRank, before.Decided, before.Drift
		s.DecisionId, s.Undo = "", nil
		if !s.Decided {
			for _, c := range s.Candidates {
				maybe = append(maybe, c.UserId)
			}
		}
		if v.done++; v.done <= 10 {
			v.names = append(v.names, s.ExternalUserId)
		}
	}
	if err := v.tx.UpdateStaging(ctx, list); err != nil {
		return err
	}
	return v.tx.MarkCandidates(ctx, v.run.Number, maybe)
}

// review is one decision while it is noted.
type review struct {
	engine   *Engine
	tx       Tx
	run      *host.UserProvisioningRequest
	rules    Rules
	decision Decision
	done     int64
	names    []string // of the first
}

func (v *review) all(ctx context.Context) error {
	if len(v.decision.Accounts) > 0 {
		for part := range slices.Chunk(v.decision.Accounts, v.engine.Batch) {
			list := make([]*host.UserProvAccountStaging, len(part))
			for i, id := range part {
				s, err := v.tx.StagedByExternalId(ctx, v.run.Id, id)
				if err != nil {
					return err
				}
				list[i] = s
			}
			if err := v.page(ctx, list); err != nil {
				return err
			}
		}
		return nil
	}
	f := v.decision.Filter
	f.RequestId, f.After, f.Limit = v.run.Id, 0, v.engine.Batch
	f.Candidates = f.Candidates || v.decision.Verb == Link
	for {
		list, err := v.tx.StagedWhere(ctx, f)
		if err != nil || len(list) == 0 {
			return err
		}
		f.After = list[len(list)-1].Number
		if err := v.page(ctx, list); err != nil {
			return err
		}
	}
}

// page decides about some accounts.
func (v *review) page(ctx context.Context, list []*host.UserProvAccountStaging) error {
	wanted := map[*host.UserProvAccountStaging]string{} // the user, of a link
	ids := map[string]bool{}
	for _, s := range list {
		if isDeleted(s) {
			if len(v.decision.Accounts) > 0 {
				return host.Errorf(host.Conflict, "the target has deleted %s; there is nothing to decide", s.ExternalUserId)
			}
			continue
		}
		user := v.decision.UserId
		if s.Decided && v.decision.Verb == Link && len(v.decision.Accounts) == 0 {
			continue // a person has said otherwise
		}
		if v.decision.Verb == Link && user == "" {
			if user = alone(s.Candidates, v.decision.Score); user == "" {
				if len(v.decision.Accounts) > 0 {
					return host.Errorf(host.InvalidInput, "%s has no candidate that is alone with a score of %g or more; say whose it is with a user", s.ExternalUserId, v.decision.Score)
				}
				continue
			}
		}
		if user != "" {
			ids[user] = true
		}
		wanted[s] = user
	}
	users, err := usersOf(ctx, v.tx, ids)
	if err != nil {
		return err
	}
	taken, err := v.taken(ctx, users)
	if err != nil {
		return err
	}
	known, err := v.engine.known(ctx, v.tx, v.run, list, false)
	if err != nil {
		return err
	}
	by := host.ActorOf(ctx) + " said so"
	var decided []*host.UserProvAccountStaging
	for _, s := range list {
		id, ok := wanted[s]
		if !ok {
			continue
		}
		before := &host.StagedUndo{UserId: s.UserId, LinkState: s.LinkState, LinkReason: s.LinkReason, LinkRule: s.LinkRule, LinkRank: s.LinkRank, Decided: s.Decided, Drift: s.Drift}
		if v.decision.Verb == Link {
			u := users[id]
			if u == nil {
				return host.Errorf(host.NotFound, "there is no user %s", id)
			}
			if other := taken[id]; other != "" && other != s.ExternalUserId {
				if v.decision.UserId == "" {
					continue // of several accounts that are like one user a person picks one
				}
				return host.Errorf(host.Conflict, "%s has account %s in this run   -> provost reconcile unlink %s %s", u.Username, other, v.run.Name(), other)
			}
			taken[id] = s.ExternalUserId
			s.LinkState, s.UserId, s.Drift = host.Linked, id, nil
			drift(v.rules, s, known[s], u)
		} else if v.decision.Verb == Unlink {
			s.LinkState, s.UserId, s.Drift = host.Orphaned, "", nil
		} else {
			s.LinkState, s.Drift = host.Ignored, nil
		}
		s.LinkReason, s.LinkRule, s.LinkRank, s.Decided = by, "", rankDecided, true
		s.DecisionId, s.Undo = v.decision.Id, before
		decided = append(decided, s)
		if v.done++; v.done <= 10 {
			name := s.ExternalUserId
			if u := users[id]; u != nil {
				name += " to " + u.Username
			}
			v.names = append(v.names, name)
		}
	}
	return v.tx.UpdateStaging(ctx, decided)
}

// alone returns the best of an account's candidates, "" where another is as
// good or none is good enough.
func alone(list []host.Candidate, score float64) string {
	if len(list) == 0 || list[0].Score < score || len(list) > 1 && list[1].Score >= list[0].Score {
		return ""
	}
	return list[0].UserId
}

// taken tells which account each of some users has by what the run says so far.
func (v *review) taken(ctx context.Context, users map[string]*host.User) (map[string]string, error) {
	taken := map[string]string{}
	var ids []string
	for id := range users {
		ids = append(ids, id)
	}
	staged, err := v.tx.StagedOfUsers(ctx, v.run.Id, ids)
	if err != nil {
		return nil, err
	}
	for _, s := range staged {
		if s.LinkState == host.Linked && !isDeleted(s) {
			taken[s.UserId] = s.ExternalUserId
		}
	}
	stored, err := v.tx.LinkedAccounts(ctx, v.run.AppName, ids)
	if err != nil {
		return nil, err
	}
	var external []string
	for _, a := range stored {
		external = append(external, a.ExternalUserId)
	}
	there, err := v.tx.StagedAmong(ctx, v.run.Id, external)
	if err != nil {
		return nil, err
	}
	for _, a := range stored {
		if _, is := there[a.ExternalUserId]; is || taken[a.UserId] != "" {
			continue // what the run says of it counts
		}
		if whole(v.run) && !a.LastModifiedDate.After(since(v.run)) {
			continue // it is gone
		}
		taken[a.UserId] = a.ExternalUserId
	}
	return taken, nil
}

func (v *review) text() string {
	text := fmt.Sprintf("%s %d: %s", v.decision.Verb, v.done, strings.Join(v.names, ", "))
	if int(v.done) > len(v.names) {
		text += ", …"
	}
	return text
}
