package reconcile

import (
	"context"
	"fmt"
	"strings"

	"github.com/provosthq/provost/host"
)

// batch is how many rows one transaction takes.
const batch = 500

// analyze says of each staged account whose it is. It begins anew when it was
// cut off: what it writes depends only on what was collected and on the users.
func (e *Engine) analyze(ctx context.Context, r *host.UserProvisioningRequest, rules Rules) error {
	missing, err := e.indexUsers(ctx, r, rules)
	if err != nil {
		return err
	}
	summary := map[string]int64{"linked": 0, "duplicate": 0, "orphaned": 0, "ignored": 0, "drifted": 0, "gone": 0}
	// Users that an account of this run has been linked to, so that a second
	// account of the same user is a duplicate.
	taken := map[string]string{}
	for after := int64(0); ; {
		var list []*host.UserProvAccountStaging
		err := e.Store.Update(ctx, func(tx Tx) error {
			var err error
			if list, err = tx.Staging(ctx, r.Id, after, batch); err != nil {
				return err
			}
			if err := e.link(ctx, tx, r, rules, list, taken); err != nil {
				return err
			}
			return tx.UpdateStaging(ctx, list)
		})
		if err != nil {
			return err
		}
		for _, s := range list {
			summary[string(s.LinkState)]++
			if len(s.Drift) > 0 {
				summary["drifted"]++
			}
			after = s.Number
		}
		if len(list) < batch {
			break
		}
	}
	if whole(r) {
		if summary["gone"], err = e.countGone(ctx, r); err != nil {
			return err
		}
	}
	for user := range taken {
		delete(missing, user)
	}
	summary["missing"] = int64(len(missing))
	return e.Store.Update(ctx, func(tx Tx) error {
		next := *r
		next.State, next.Summary = host.StateAnalyzed, summary
		if err := tx.UpdateRequest(ctx, &next, r.Attempt); err != nil {
			return err
		}
		return e.log(ctx, tx, &next, "analyzed", fmt.Sprintf("%d linked, %d duplicate, %d orphaned, %d drifted, %d gone, %d people without an account",
			summary["linked"], summary["duplicate"], summary["orphaned"], summary["drifted"], summary["gone"], summary["missing"]), nil)
	})
}

// whole tells whether a run saw all that there is, so that what it did not
// find is gone.
func whole(r *host.UserProvisioningRequest) bool {
	return r.ReconMode != "delta" && r.ReconFilter == ""
}

// indexUsers stores what each link rule makes of each user, and returns the
// users who should have an account.
func (e *Engine) indexUsers(ctx context.Context, r *host.UserProvisioningRequest, rules Rules) (map[string]bool, error) {
	if err := e.Store.Update(ctx, func(tx Tx) error { return tx.DeleteUserKeys(ctx, r.Id) }); err != nil {
		return nil, err
	}
	should := map[string]bool{}
	for after := ""; ; {
		var users []*host.User
		err := e.Store.Update(ctx, func(tx Tx) error {
			page, err := tx.UsersAfter(ctx, after, batch)
			if err != nil {
				return err
			}
			users = users[:0]
			var keys []host.UserKey
			for _, bare := range page {
				u, err := tx.User(ctx, bare.Id) // with its apps
				if err != nil {
					return err
				}
				users = append(users, u)
				for i := range rules.Len() {
					key, err := rules.UserKey(i, u)
					if err != nil {
						return err
					}
					if key != "" {
						keys = append(keys, host.UserKey{Rule: i, Key: key, UserId: u.Id})
					}
				}
			}
			return tx.PutUserKeys(ctx, r.Id, keys)
		})
		if err != nil {
			return nil, err
		}
		for _, u := range users {
			if in, err := rules.Granted(u); err != nil {
				return nil, err
			} else if in && u.IsActive {
				should[u.Id] = true
			}
			after = u.Id
		}
		if len(users) < batch {
			return should, nil
		}
	}
}

// link decides for a batch of staged accounts.
func (e *Engine) link(ctx context.Context, tx Tx, r *host.UserProvisioningRequest, rules Rules, list []*host.UserProvAccountStaging, taken map[string]string) error {
	candidates := make([]map[string][]string, rules.Len())
	keys := make([][]string, rules.Len())
	for i := range candidates {
		var wanted []string
		keys[i] = make([]string, len(list))
		for j, s := range list {
			key, err := rules.AccountKey(i, s)
			if err != nil {
				return err
			}
			if keys[i][j] = key; key != "" {
				wanted = append(wanted, key)
			}
		}
		var err error
		if candidates[i], err = tx.UsersByKeys(ctx, r.Id, i, wanted); err != nil {
			return err
		}
	}
	for j, s := range list {
		s.LinkState, s.LinkReason, s.UserId, s.Drift = host.Orphaned, "no user matches", "", nil
		known, err := tx.AccountByExternalId(ctx, r.AppName, s.ExternalUserId)
		if err != nil && host.CodeOf(err) != host.NotFound {
			return err
		}
		switch {
		case err == nil && known.LinkState == host.Ignored:
			s.LinkState, s.LinkReason, s.UserId = host.Ignored, "an administrator ignores it", known.UserId
		case err == nil && known.UserId != "" && (known.IsKnownLink || known.LinkState == host.Linked):
			s.LinkState, s.LinkReason, s.UserId = known.LinkState, "known link "+known.Name(), known.UserId
		default:
			for i := range candidates {
				users := candidates[i][keys[i][j]]
				if keys[i][j] == "" || len(users) == 0 {
					continue
				}
				if len(users) > 1 {
					s.LinkState, s.LinkReason = host.Duplicate, fmt.Sprintf("%d users match by %s", len(users), rules.Rule(i))
				} else {
					s.LinkState, s.LinkReason, s.UserId = host.Linked, "by "+rules.Rule(i), users[0]
				}
				break
			}
		}
		if s.LinkState != host.Linked {
			continue
		}
		if err := e.onlyOne(ctx, tx, r, s, taken); err != nil {
			return err
		}
		if s.LinkState == host.Linked && !strings.EqualFold(s.Change, "deleted") {
			if err := e.drift(ctx, tx, rules, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// onlyOne makes an account a duplicate whose user has another one.
func (e *Engine) onlyOne(ctx context.Context, tx Tx, r *host.UserProvisioningRequest, s *host.UserProvAccountStaging, taken map[string]string) error {
	if first, twice := taken[s.UserId]; twice && first != s.ExternalUserId {
		s.LinkState, s.LinkReason = host.Duplicate, "its user has account "+first
		return nil
	}
	other, err := tx.AccountByUser(ctx, r.AppName, s.UserId)
	if err != nil && host.CodeOf(err) != host.NotFound {
		return err
	}
	if err == nil && other.ExternalUserId != s.ExternalUserId {
		s.LinkState, s.LinkReason = host.Duplicate, "its user has account "+other.ExternalUserId
		return nil
	}
	taken[s.UserId] = s.ExternalUserId
	return nil
}

func (e *Engine) drift(ctx context.Context, tx Tx, rules Rules, s *host.UserProvAccountStaging) error {
	u, err := tx.User(ctx, s.UserId)
	if err != nil {
		return err
	}
	want, err := rules.Apply(u)
	if err != nil {
		return err
	}
	s.Drift = rules.Drift(want, s.Attributes, s.Partial)
	return nil
}

func (e *Engine) countGone(ctx context.Context, r *host.UserProvisioningRequest) (int64, error) {
	var n int64
	for after := int64(0); ; {
		var list []*host.UserProvAccount
		err := e.Store.View(ctx, func(tx Tx) error {
			var err error
			list, err = tx.AccountsNotStaged(ctx, r.AppName, r.Id, after, batch)
			return err
		})
		if err != nil {
			return 0, err
		}
		n += int64(len(list))
		if len(list) < batch {
			return n, nil
		}
		after = list[len(list)-1].Number
	}
}
