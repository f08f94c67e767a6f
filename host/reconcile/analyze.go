package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

// AnalysisTx is what analyzing does within one transaction, always with many
// rows at once.
type AnalysisTx interface {
	// AdvanceRun moves the run's cursor; it is a Conflict when somebody else has
	// moved it or the run is no longer in the state.
	AdvanceRun(ctx context.Context, requestID string, state host.RequestState, from, to string) error
	FreshStatistics(ctx context.Context) error

	UsersAfter(ctx context.Context, after string, limit int) ([]*host.User, error)
	UsersById(ctx context.Context, ids []string) (map[string]*host.User, error)
	PutUserKeys(ctx context.Context, run int64, keys []host.UserKey, should []string) error
	ThinUserKeys(ctx context.Context, run int64, rule, most, keep int) error
	UsersByKeys(ctx context.Context, run int64, rule int, keys []string) (map[string][]host.UserKey, error)
	DropUserKeys(ctx context.Context, run int64, limit int) (done bool, err error)
	DropReconUsers(ctx context.Context, run int64, limit int) (done bool, err error)
	MarkCandidates(ctx context.Context, run int64, users []string) error

	KnownAccounts(ctx context.Context, app string, externalIDs []string, lock bool) ([]*host.UserProvAccount, error)
	LinkedAccounts(ctx context.Context, app string, users []string) ([]*host.UserProvAccount, error)
	Staging(ctx context.Context, requestID string, after int64, limit int) ([]*host.UserProvAccountStaging, error)
	StagedAmong(ctx context.Context, requestID string, externalIDs []string) (map[string]string, error)
	UpdateStaging(ctx context.Context, list []*host.UserProvAccountStaging) error
	StagedConflicts(ctx context.Context, requestID, after string, limit int) ([]host.StagedConflict, error)
	ResolveStaged(ctx context.Context, requestID string, resolved []host.StagedConflict) error

	StagingCounts(ctx context.Context, requestID string) (map[host.LinkState]int64, error)
	DriftCounts(ctx context.Context, requestID string) (map[string]int64, error)
	NoteGone(ctx context.Context, f host.GoneFilter) (next int64, err error)
	CountGone(ctx context.Context, f host.GoneFilter) (int64, error)
	CountMissing(ctx context.Context, f host.MissingFilter) (int64, error)
}

const (
	// mostCandidates is how many users a person is shown for one account.
	mostCandidates = 10
	// mostAlike bounds how many users of one block a fuzzy rule compares.
	mostAlike = 100
	// dropped is how many rows one transaction removes.
	dropped = 5000
)

// How sure a link is; the rules follow in their order. Of several accounts of
// one user the surest is linked, and where two are as sure none is.
const (
	rankDecided = iota // a person said so in this run
	rankByHand         // a person said so before
	rankKnown          // it was linked before
	rankRevived        // it was linked, and gone for a while
	rankRules
)

// The phases of analyzing. The cursor of a run is its phase, a digest of the
// rules, and how far the phase has come; it is stored with each batch, so a
// crash costs at most one.
const (
	phaseUsers    = "users"    // keys of users are stored
	phaseThin     = "thin"     // keys that say too little are removed
	phaseAccounts = "accounts" // each account is decided on
	phaseConflict = "conflict" // of several accounts of one user one is linked, or none
	phaseTidy     = "tidy"     // keys are removed
	phaseMissed   = "missed"   // accounts that were not found are kept
	phaseCount    = "count"
	phaseAgain    = "again" // the rules have changed: keys are removed, and it begins anew
)

// analyze takes analyzing one batch further. What comes out depends only on
// what was collected, on the users, the accounts and the rules: not on the size
// of a batch, nor on where it was cut off.
func (e *Engine) analyze(ctx context.Context, r *host.UserProvisioningRequest, rules Rules) error {
	phase, rest, _ := strings.Cut(r.ReconOffset, " ")
	digest, at, _ := strings.Cut(rest, " ")
	now := digestOf(rules)
	if phase == "" {
		phase, digest = phaseUsers, now
	}
	if digest != now && phase != phaseAgain {
		return e.advance(ctx, r, phaseAgain+" "+now, nil)
	}
	to := func(phase, at string) string { return phase + " " + now + " " + at }
	switch phase {
	case phaseUsers:
		return e.indexUsers(ctx, r, rules, at, to)
	case phaseThin:
		return e.thin(ctx, r, rules, to)
	case phaseAccounts:
		return e.linkBatch(ctx, r, rules, at, to)
	case phaseConflict:
		return e.resolve(ctx, r, at, to)
	case phaseTidy:
		return e.drop(ctx, r, to(phaseMissed, ""), Tx.DropUserKeys)
	case phaseMissed:
		return e.missed(ctx, r, at, to)
	case phaseAgain:
		if at != "keys" {
			return e.drop(ctx, r, to(phaseAgain, "keys"), Tx.DropUserKeys)
		}
		return e.drop(ctx, r, "", Tx.DropReconUsers)
	default:
		return e.count(ctx, r)
	}
}

// advance does something and moves the cursor, both or neither.
func (e *Engine) advance(ctx context.Context, r *host.UserProvisioningRequest, to string, do func(tx Tx) error) error {
	return e.Store.Update(ctx, func(tx Tx) error {
		if err := tx.AdvanceRun(ctx, r.Id, r.State, r.ReconOffset, to); err != nil || do == nil {
			return err
		}
		return do(tx)
	})
}

// drop removes rows of a run, so many at a time that nobody waits long.
func (e *Engine) drop(ctx context.Context, r *host.UserProvisioningRequest, to string, some func(Tx, context.Context, int64, int) (bool, error)) error {
	for {
		done := false
		err := e.Store.Update(ctx, func(tx Tx) error {
			var err error
			if done, err = some(tx, ctx, r.Number, dropped); err != nil || !done {
				return err
			}
			return tx.AdvanceRun(ctx, r.Id, r.State, r.ReconOffset, to)
		})
		if err != nil || done {
			return err
		}
	}
}

func digestOf(rules Rules) string {
	h := fnv.New64a()
	for i := range rules.Len() {
		_, _ = fmt.Fprintf(h, "%s\n", rules.Rule(i)) // a hash never fails
	}
	return strconv.FormatUint(h.Sum64(), 36)
}

// whole tells whether a run saw all that there is, so that what it did not
// find is gone.
func whole(r *host.UserProvisioningRequest) bool {
	return r.ReconMode != pdk.ModeDelta && r.ReconFilter == ""
}

// since is when the run was made, before the first page was asked for: an
// account that was changed later may be newer than what was collected of it.
func since(r *host.UserProvisioningRequest) time.Time { return r.CreatedDate }

// indexUsers stores what the link rules make of a batch of users, and which of
// them should have an account.
func (e *Engine) indexUsers(ctx context.Context, r *host.UserProvisioningRequest, rules Rules, after string, to func(phase, at string) string) error {
	var users []*host.User
	err := e.Store.View(ctx, func(tx Tx) error {
		var err error
		users, err = tx.UsersAfter(ctx, after, e.Batch)
		return err
	})
	if err != nil {
		return err
	}
	var keys []host.UserKey
	var should []string
	for _, u := range users {
		found, err := rules.UserKeys(u)
		if err != nil {
			e.Logger.DebugContext(ctx, "a link rule makes nothing of a user", "request", r.Name(), "user", u.Username, "error", err)
		}
		keys = append(keys, found...)
		if !u.IsActive {
			continue
		}
		in, err := rules.Granted(u)
		if err != nil {
			return err
		}
		if in {
			should = append(should, u.Id)
		}
	}
	next := to(phaseThin, "")
	if len(users) == e.Batch {
		next = to(phaseUsers, users[len(users)-1].Id)
	}
	return e.advance(ctx, r, next, func(tx Tx) error { return tx.PutUserKeys(ctx, r.Number, keys, should) })
}

// thin removes the keys that say too little: an account whose key a thousand
// users have belongs to none of them.
func (e *Engine) thin(ctx context.Context, r *host.UserProvisioningRequest, rules Rules, to func(phase, at string) string) error {
	return e.advance(ctx, r, to(phaseAccounts, "0"), func(tx Tx) error {
		if err := tx.FreshStatistics(ctx); err != nil {
			return err
		}
		for i := range rules.Len() {
			keep := mostCandidates + 1
			if rules.Fuzzy(i) {
				keep = mostAlike
			}
			if err := tx.ThinUserKeys(ctx, r.Number, i, keep, keep); err != nil {
				return err
			}
		}
		return nil
	})
}

// linkBatch decides on a batch of accounts.
func (e *Engine) linkBatch(ctx context.Context, r *host.UserProvisioningRequest, rules Rules, at string, to func(phase, at string) string) error {
	after, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return host.Errorf(host.Internal, "the cursor of %s is %q", r.Name(), r.ReconOffset)
	}
	var list []*host.UserProvAccountStaging
	var maybe []string
	err = e.Store.View(ctx, func(tx Tx) error {
		var err error
		if list, err = tx.Staging(ctx, r.Id, after, e.Batch); err != nil {
			return err
		}
		maybe, err = e.link(ctx, tx, r, rules, list)
		return err
	})
	if err != nil {
		return err
	}
	next := to(phaseConflict, "")
	if len(list) == e.Batch {
		next = to(phaseAccounts, strconv.FormatInt(list[len(list)-1].Number, 10))
	}
	return e.advance(ctx, r, next, func(tx Tx) error {
		if err := tx.UpdateStaging(ctx, list); err != nil {
			return err
		}
		if err := tx.MarkCandidates(ctx, r.Number, maybe); err != nil || len(list) == e.Batch {
			return err
		}
		return tx.FreshStatistics(ctx) // all rows are others than they were
	})
}

// link decides on each account by itself, and returns the users who are
// candidates of one.
func (e *Engine) link(ctx context.Context, tx Tx, r *host.UserProvisioningRequest, rules Rules, list []*host.UserProvAccountStaging) (maybe []string, err error) {
	known, err := e.known(ctx, tx, r, list, false)
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for _, a := range known {
		ids[a.UserId] = true
	}
	for _, s := range list {
		ids[s.UserId] = true
	}
	users, err := usersOf(ctx, tx, ids)
	if err != nil {
		return nil, err
	}
	var open []*host.UserProvAccountStaging
	for _, s := range list {
		if !s.Decided && !byItself(s, known[s], users) {
			open = append(open, s)
		}
	}
	if err := e.correlate(ctx, tx, r, rules, open); err != nil {
		return nil, err
	}
	more := map[string]bool{}
	for _, s := range open {
		if s.UserId != "" && users[s.UserId] == nil {
			more[s.UserId] = true
		}
	}
	found, err := usersOf(ctx, tx, more)
	if err != nil {
		return nil, err
	}
	maps.Copy(users, found)
	if err := e.onlyOne(ctx, tx, r, list, known); err != nil {
		return nil, err
	}
	for _, s := range list {
		s.Drift = nil
		if a := known[s]; a != nil && a.ExternalUserId != s.ExternalUserId && !s.Decided {
			s.UserProvAccountId = a.Id
			s.LinkReason += "; its id was " + a.ExternalUserId
		}
		if u := users[s.UserId]; u != nil && s.LinkState == host.Linked && !isDeleted(s) {
			drift(rules, s, known[s], u)
		}
		for _, c := range s.Candidates {
			maybe = append(maybe, c.UserId)
		}
	}
	return maybe, nil
}

func usersOf(ctx context.Context, tx Tx, ids map[string]bool) (map[string]*host.User, error) {
	delete(ids, "")
	return tx.UsersById(ctx, slices.Sorted(maps.Keys(ids)))
}

func isDeleted(s *host.UserProvAccountStaging) bool {
	return strings.EqualFold(s.Change, string(pdk.ChangeDeleted))
}

// known finds the stored accounts that staged ones are: those with the same
// ExternalUserId, or with one that differs only in case, where the username or
// the e-mail says the same and the run has found no account with the stored id
// itself. Some targets' ids are others in another case; some change the case of
// theirs from one release to the next.
func (e *Engine) known(ctx context.Context, tx Tx, r *host.UserProvisioningRequest, list []*host.UserProvAccountStaging, lock bool) (map[*host.UserProvAccountStaging]*host.UserProvAccount, error) {
	ids := make([]string, len(list))
	for i, s := range list {
		ids[i] = s.ExternalUserId
	}
	stored, err := tx.KnownAccounts(ctx, r.AppName, ids, lock)
	if err != nil {
		return nil, err
	}
	exact, folded := make(map[string]*host.UserProvAccount, len(stored)), make(map[string][]*host.UserProvAccount, len(stored))
	for _, a := range stored {
		exact[a.ExternalUserId] = a
		key := strings.ToLower(a.ExternalUserId)
		folded[key] = append(folded[key], a)
	}
	known := make(map[*host.UserProvAccountStaging]*host.UserProvAccount, len(list))
	renamed := map[string]*host.UserProvAccountStaging{}
	for _, s := range list {
		if a := exact[s.ExternalUserId]; a != nil {
			known[s] = a
			continue
		}
		same := folded[strings.ToLower(s.ExternalUserId)]
		if len(same) == 1 && (alike(same[0].ExternalUsername, s.ExternalUsername) || alike(same[0].ExternalEmail, s.ExternalEmail)) {
			known[s], renamed[same[0].ExternalUserId] = same[0], s
		}
	}
	there, err := tx.StagedAmong(ctx, r.Id, slices.Sorted(maps.Keys(renamed)))
	if err != nil {
		return nil, err
	}
	for id := range there {
		delete(known, renamed[id])
	}
	return known, nil
}

func alike(a, b string) bool { return a != "" && strings.EqualFold(a, b) }

// byItself decides where what is stored of an account says enough.
func byItself(s *host.UserProvAccountStaging, a *host.UserProvAccount, users map[string]*host.User) bool {
	s.LinkState, s.LinkReason, s.LinkRule, s.LinkRank, s.UserId, s.Candidates, s.UserProvAccountId = host.Orphaned, "no user matches", "", rankRules, "", nil, ""
	switch {
	case isDeleted(s) && a == nil:
		s.LinkReason = "the target has deleted it"
	case isDeleted(s):
		s.LinkState, s.UserId, s.LinkReason = a.LinkState, a.UserId, "the target has deleted it"
	case a == nil:
		return false
	case a.IsKnownLink:
		s.LinkState, s.UserId, s.LinkRank, s.LinkReason = a.LinkState, a.UserId, rankByHand, "an administrator said so of "+a.Name()
	case a.LinkState == host.Ignored:
		s.LinkState, s.UserId, s.LinkReason = host.Ignored, a.UserId, "an administrator ignores "+a.Name()
	case a.LinkState == host.Linked && users[a.UserId] != nil && a.DeletedDate == nil:
		s.LinkState, s.UserId, s.LinkRank, s.LinkReason = host.Linked, a.UserId, rankKnown, "known link "+a.Name()
	case a.LinkState == host.Linked && users[a.UserId] != nil:
		s.LinkState, s.UserId, s.LinkRank, s.LinkReason = host.Linked, a.UserId, rankRevived, "known link "+a.Name()+", which was gone"
	default:
		return false
	}
	return true
}

// correlate asks the link rules, in their order.
func (e *Engine) correlate(ctx context.Context, tx Tx, r *host.UserProvisioningRequest, rules Rules, list []*host.UserProvAccountStaging) error {
	matches := make([][][]host.UserKey, len(list)) // by account, then by rule
	for j := range list {
		matches[j] = make([][]host.UserKey, rules.Len())
	}
	unsure := make([]string, len(list))
	for i := range rules.Len() {
		if rules.Fuzzy(i) {
			continue
		}
		found, err := lookUp(ctx, tx, r, rules, i, list, unsure)
		if err != nil {
			return err
		}
		for j := range list {
			matches[j][i] = found[j].users
		}
	}
	var nobody []*host.UserProvAccountStaging
	var notes []string
	for j, s := range list {
		s.LinkReason += unsure[j]
		if !decide(s, rules, matches[j]) {
			nobody, notes = append(nobody, s), append(notes, unsure[j])
		}
	}
	return e.compare(ctx, tx, r, rules, nobody, notes)
}

// looked is what one rule finds for an account.
type looked struct {
	users []host.UserKey
	value string
}

// lookUp asks one rule for all accounts at once. What a rule could not make
// anything of is noted.
func lookUp(ctx context.Context, tx Tx, r *host.UserProvisioningRequest, rules Rules, i int, list []*host.UserProvAccountStaging, notes []string) ([]looked, error) {
	keys := make([][]string, len(list))
	out := make([]looked, len(list))
	wanted := map[string]bool{}
	for j, s := range list {
		var err error
		if keys[j], out[j].value, err = rules.AccountKeys(i, s); err != nil {
			notes[j] += fmt.Sprintf("; %s can't be worked out for it: %v", rules.Rule(i), err)
		}
		for _, key := range keys[j] {
			wanted[key] = true
		}
	}
	found, err := tx.UsersByKeys(ctx, r.Number, i, slices.Sorted(maps.Keys(wanted)))
	if err != nil {
		return nil, err
	}
	for j := range list {
		for _, key := range keys[j] {
			out[j].users = append(out[j].users, found[key]...) // of several keys a user may come more than once
		}
	}
	return out, nil
}

// decide takes the first rule that finds somebody. Where it finds several
// users, those of the later rules that find one of them alone confirm it;
// otherwise a person must decide.
func decide(s *host.UserProvAccountStaging, rules Rules, matches [][]host.UserKey) bool {
	first := slices.IndexFunc(matches, func(users []host.UserKey) bool { return len(users) > 0 })
	if first < 0 {
		return false
	}
	s.LinkRule, s.LinkRank = rules.Rule(first), rankRules+first
	users := matches[first]
	if len(users) == 1 {
		s.LinkState, s.UserId, s.LinkReason = host.Linked, users[0].UserId, "by "+s.LinkRule
		return true
	}
	if len(users) > mostCandidates {
		s.LinkState, s.LinkReason = host.Duplicate, fmt.Sprintf("more than %d users match by %s", mostCandidates, s.LinkRule)
		users = users[:mostCandidates]
	} else {
		s.LinkState, s.LinkReason = host.Duplicate, fmt.Sprintf("%d users match by %s", len(users), s.LinkRule)
		for i := first + 1; i < len(matches); i++ {
			both := slices.DeleteFunc(slices.Clone(users), func(u host.UserKey) bool {
				return !slices.ContainsFunc(matches[i], func(k host.UserKey) bool { return k.UserId == u.UserId })
			})
			if len(both) == 1 {
				s.LinkState, s.UserId = host.Linked, both[0].UserId
				s.LinkReason = fmt.Sprintf("of %d users by %s the one by %s", len(users), s.LinkRule, rules.Rule(i))
				return true
			}
			if len(both) > 1 {
				users = both
			}
		}
	}
	for _, u := range users {
		s.Candidates = append(s.Candidates, host.Candidate{UserId: u.UserId, Rule: s.LinkRule, Score: 1})
	}
	return true
}

// compare names users that accounts of nobody are like. It links nothing.
func (e *Engine) compare(ctx context.Context, tx Tx, r *host.UserProvisioningRequest, rules Rules, list []*host.UserProvAccountStaging, notes []string) error {
	if len(list) == 0 {
		return nil
	}
	best := make([]map[string]host.Candidate, len(list))
	for i := range rules.Len() {
		if !rules.Fuzzy(i) {
			continue
		}
		more := make([]string, len(list))
		found, err := lookUp(ctx, tx, r, rules, i, list, more)
		if err != nil {
			return err
		}
		for j := range list {
			list[j].LinkReason += more[j]
			for _, u := range found[j].users {
				score := rules.Score(i, found[j].value, u.Value)
				if score == 0 || best[j] != nil && best[j][u.UserId].Score >= score {
					continue
				}
				if best[j] == nil {
					best[j] = map[string]host.Candidate{}
				}
				best[j][u.UserId] = host.Candidate{UserId: u.UserId, Rule: rules.Rule(i), Score: score}
			}
		}
	}
	for j, s := range list {
		if len(best[j]) == 0 {
			continue
		}
		s.Candidates = slices.SortedFunc(maps.Values(best[j]), func(a, b host.Candidate) int {
			return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.UserId, b.UserId))
		})
		s.Candidates = s.Candidates[:min(mostCandidates, len(s.Candidates))]
		s.LinkReason = fmt.Sprintf("no user matches; %d like it%s", len(s.Candidates), notes[j])
	}
	return nil
}

// onlyOne makes accounts duplicates whose user has another account that this
// run leaves alone: one that it has not looked at, or that was made since it
// began. Those that it has staged are decided on together, see resolve.
func (e *Engine) onlyOne(ctx context.Context, tx Tx, r *host.UserProvisioningRequest, list []*host.UserProvAccountStaging, known map[*host.UserProvAccountStaging]*host.UserProvAccount) error {
	ids := map[string]bool{}
	for _, s := range list {
		if s.LinkState == host.Linked && !s.Decided && !isDeleted(s) {
			ids[s.UserId] = true
		}
	}
	others, err := tx.LinkedAccounts(ctx, r.AppName, slices.Sorted(maps.Keys(ids)))
	if err != nil {
		return err
	}
	byUser := make(map[string]*host.UserProvAccount, len(others))
	var external []string
	for _, a := range others {
		byUser[a.UserId] = a
		external = append(external, a.ExternalUserId)
	}
	there, err := tx.StagedAmong(ctx, r.Id, external)
	if err != nil {
		return err
	}
	for _, s := range list {
		other := byUser[s.UserId]
		if other == nil || s.LinkState != host.Linked || s.Decided || isDeleted(s) || known[s] != nil && known[s].Id == other.Id {
			continue
		}
		if _, staged := there[other.ExternalUserId]; staged {
			continue
		}
		if whole(r) && !other.LastModifiedDate.After(since(r)) {
			s.LinkReason += fmt.Sprintf("; its account %s is gone", other.ExternalUserId)
			continue
		}
		s.LinkState, s.LinkReason = host.Duplicate, "its user has account "+other.ExternalUserId
	}
	return nil
}

// drift compares what the target has with what the mapping wants. Of an
// account that was shown in part, what was known of it before counts too.
func drift(rules Rules, s *host.UserProvAccountStaging, a *host.UserProvAccount, u *host.User) {
	want, err := rules.Apply(u)
	if err != nil {
		s.LinkReason += fmt.Sprintf("; what it should be can't be worked out: %v", err)
		return
	}
	s.Drift = rules.Drift(want, attributesOf(s, a), inPart(s))
}

// inPart tells whether only some of an account's attributes were shown.
func inPart(s *host.UserProvAccountStaging) bool {
	return s.Partial || strings.EqualFold(s.Change, string(pdk.ChangeChanged))
}

// attributesOf are an account's attributes, as far as they are known.
func attributesOf(s *host.UserProvAccountStaging, a *host.UserProvAccount) map[string]any {
	if !inPart(s) || a == nil || a.Attributes == nil {
		return s.Attributes
	}
	merged := maps.Clone(a.Attributes)
	maps.Copy(merged, s.Attributes)
	return merged
}

// resolve decides between the accounts of one user.
func (e *Engine) resolve(ctx context.Context, r *host.UserProvisioningRequest, after string, to func(phase, at string) string) error {
	var list []host.StagedConflict
	err := e.Store.View(ctx, func(tx Tx) error {
		var err error
		list, err = tx.StagedConflicts(ctx, r.Id, after, e.Batch)
		return err
	})
	if err != nil {
		return err
	}
	for i := range list {
		c := &list[i]
		if c.Surest == 1 {
			c.Reason = "its user has account " + c.ExternalUserId
			continue
		}
		c.Number = 0
		c.Reason = fmt.Sprintf("%d accounts match its user", c.Accounts)
	}
	next := to(phaseTidy, "")
	if len(list) == e.Batch {
		next = to(phaseConflict, list[len(list)-1].UserId)
	}
	return e.advance(ctx, r, next, func(tx Tx) error { return tx.ResolveStaged(ctx, r.Id, list) })
}

// missed keeps which linked accounts a whole run has not found.
func (e *Engine) missed(ctx context.Context, r *host.UserProvisioningRequest, at string, to func(phase, at string) string) error {
	if !whole(r) {
		return e.advance(ctx, r, to(phaseCount, ""), nil)
	}
	f := GoneOf(r)
	f.After, _ = strconv.ParseInt(at, 10, 64) // "" at first
	f.Limit = 4 * e.Batch                     // few of them are gone
	return e.Store.Update(ctx, func(tx Tx) error {
		next, err := tx.NoteGone(ctx, f)
		if err != nil {
			return err
		}
		cursor := to(phaseCount, "")
		if next > 0 {
			cursor = to(phaseMissed, strconv.FormatInt(next, 10))
		}
		return tx.AdvanceRun(ctx, r.Id, r.State, r.ReconOffset, cursor)
	})
}

// count ends the analyzing.
func (e *Engine) count(ctx context.Context, r *host.UserProvisioningRequest) error {
	summary, err := e.Counts(ctx, r)
	if err != nil {
		return err
	}
	return e.Store.Update(ctx, func(tx Tx) error {
		if err := tx.AdvanceRun(ctx, r.Id, r.State, r.ReconOffset, ""); err != nil {
			return err
		}
		next := *r
		next.State, next.Summary, next.ReconOffset = host.StateAnalyzed, summary, ""
		if err := tx.UpdateRequest(ctx, &next, r.Attempt); err != nil {
			return err
		}
		details := fmt.Sprintf("%d linked, %d duplicate, %d orphaned, %d drifted, %d gone, %d people without an account",
			summary["linked"], summary["duplicate"], summary["orphaned"], summary["drifted"], summary["gone"], summary["missing"])
		if n := summary["undecided"]; n > 0 {
			details += fmt.Sprintf(", %d who may have one: a person must say", n)
		}
		return e.log(ctx, tx, &next, "analyzed", details, nil)
	})
}

// Counts counts what a run has found: its accounts by link state; those that
// have "drifted", and by attribute; linked accounts that are "gone"; users who
// should have an account and are "missing" one, or are "undecided": a person
// must say first whether an account that is like them is theirs.
func (e *Engine) Counts(ctx context.Context, r *host.UserProvisioningRequest) (summary map[string]int64, err error) {
	err = e.Store.View(ctx, func(tx Tx) error { summary, err = e.counts(ctx, tx, r); return err })
	return summary, err
}

func (e *Engine) counts(ctx context.Context, tx Tx, r *host.UserProvisioningRequest) (map[string]int64, error) {
	summary := map[string]int64{"drifted": 0, "gone": 0}
	for _, state := range host.LinkStates {
		summary[string(state)] = 0
	}
	states, err := tx.StagingCounts(ctx, r.Id)
	if err != nil {
		return nil, err
	}
	for state, n := range states {
		summary[string(state)] = n
	}
	drifted, err := tx.DriftCounts(ctx, r.Id)
	if err != nil {
		return nil, err
	}
	for path, n := range drifted {
		summary[strings.TrimSuffix("drifted."+path, ".")] = n
	}
	if whole(r) {
		if summary["gone"], err = tx.CountGone(ctx, GoneOf(r)); err != nil {
			return nil, err
		}
	}
	f := MissingOf(r)
	if summary["missing"], err = tx.CountMissing(ctx, f); err != nil {
		return nil, err
	}
	f.Undecided = true
	n, err := tx.CountMissing(ctx, f)
	if n > 0 {
		summary["undecided"] = n
	}
	return summary, err
}

// GoneOf chooses the accounts that a run counts as gone.
func GoneOf(r *host.UserProvisioningRequest) host.GoneFilter {
	return host.GoneFilter{AppName: r.AppName, RequestId: r.Id, Since: since(r)}
}

// MissingOf chooses the users that a run counts as missing an account.
func MissingOf(r *host.UserProvisioningRequest) host.MissingFilter {
	return host.MissingFilter{AppName: r.AppName, RequestId: r.Id, Run: r.Number, Whole: whole(r), Since: since(r)}
}

// Whole tells whether a run saw all that there is, so that what it did not find
// is gone.
func Whole(r *host.UserProvisioningRequest) bool { return whole(r) }
