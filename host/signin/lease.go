package signin

import (
	"context"
	"errors"
	"time"

	"github.com/provosthq/provost/host"
)

// errNoBetter: the refused token was fetched a moment ago because another was
// refused; a third would be refused too.
var errNoBetter = errors.New("there is no better token")

// storing is how long a lease lasts beyond the request that it is for: in that
// time what came is stored.
func (s *SignIn) storing() time.Duration { return min(20*time.Second, 5*s.Timeout) }

// leaseTime is how long nobody else fetches tokens. Where that does no harm, the
// others do not wait long for one that has died.
func (s *SignIn) leaseTime() time.Duration {
	if s.Interactive() {
		return s.Timeout + s.storing()
	}
	return min(s.Timeout, 5*time.Second)
}

// leased is an authorization whose lease is ours, with its tokens.
type leased struct {
	*host.Authorization
	tokens *tokens
}

// lease returns stored tokens that are good for a while, or takes the lease to
// fetch the next; neither where another has the lease.
func (s *SignIn) lease(ctx context.Context, user, holder, refused string) (good *tokens, mine *leased, err error) {
	var refusal error
	var cut bool
	var generation int64
	err = s.store.Update(ctx, func(tx Tx) error {
		good, mine, refusal, cut = nil, nil, nil, false
		a, err := tx.Authorization(ctx, s.Name, user, true)
		if err != nil {
			return err
		}
		generation = a.Generation
		now, err := s.sharedNow(ctx, tx)
		if err != nil {
			return err
		}
		t, err := s.stored(a)
		if err != nil {
			return err
		}
		usable := t != nil && t.Access != refused
		if usable && t.fresh(now) && (a.State == host.Authorized || a.Usable(now)) {
			good = t
			return nil
		}
		if t != nil && t.Access == refused && t.Forced && now.Sub(t.Issued) < time.Minute {
			refusal = errNoBetter
			return nil
		}
		if a.LeaseHolder != "" && a.LeaseUntil != nil && now.Before(*a.LeaseUntil) {
			if usable && t.good(now) {
				good = t
			}
			return nil
		}
		if s.Interactive() {
			cut = s.judge(a, t, refused, now)
			if a.State != host.Authorized || s.grantless() || t.Refresh == "" {
				if usable && t.good(now) && a.State != host.AuthorizationRevoked {
					good = t
				} else {
					refusal = &NotAuthorizedError{Credential: s.Name, UserID: user, Why: a.Wants(now)}
					if a.State == host.Authorized {
						refusal = errNoBetter
					}
				}
				return tx.PutAuthorization(ctx, a)
			}
		}
		until := now.Add(s.leaseTime())
		a.LeaseHolder, a.LeaseUntil = holder, &until
		if err := tx.PutAuthorization(ctx, a); err != nil {
			return err
		}
		mine = &leased{a, t}
		return nil
	})
	if cut && err == nil {
		s.options.Observe(CutOff)
	}
	if err == nil {
		err = refusal
	}
	if good != nil && err == nil {
		s.keep(user, good, generation)
	}
	return good, mine, err
}

// sharedNow is the time by the clock that all machines share, and remembers how
// far ours is from it.
func (s *SignIn) sharedNow(ctx context.Context, tx Tx) (time.Time, error) {
	now, err := tx.Now(ctx)
	if err == nil {
		s.ahead.Store(int64(now.Sub(s.options.Now())))
	}
	return now.UTC(), err
}

// now is the time by the clock that all machines share: what one has stored of a
// token's end means the same to another whose own clock is wrong.
func (s *SignIn) now() time.Time { return s.options.Now().Add(time.Duration(s.ahead.Load())) }

// grantless tells whether there is nothing that a token could be fetched with: a
// person gave his secret.
func (s *SignIn) grantless() bool { return s.PerUser && !s.byToken() }

// judge looks at an authorization of a person before it is refreshed: one that
// belongs to another client, that can't be refreshed, or whose refresh died on
// its way is to be given again. cut tells of the last.
func (s *SignIn) judge(a *host.Authorization, t *tokens, refused string, now time.Time) (cut bool) {
	if a.State == host.AuthorizeAgain && a.Reason == otherClient && t != nil { // the configuration names it again
		a.State, a.Reason = host.Authorized, ""
	}
	again := func(reason string) {
		if t == nil || t.Access == refused {
			a.ExpiresDate = nil // whatever it says, the target takes it no more
		}
		a.State, a.Reason, a.LeaseHolder, a.LeaseUntil = host.AuthorizeAgain, reason, "", nil
		s.options.Logger.Error("a person must authorize again", "credential", s.Name, "user", a.UserId, "reason", reason)
	}
	if a.State != host.Authorized {
		return false
	}
	switch {
	case t == nil:
		again(otherClient)
	case s.grantless():
		if t.Access == refused {
			again("the target does not take the secret any more")
		}
	case t.Refresh == "" && !t.good(now):
		again("its token has ended, and the server gave none to refresh it with")
	case a.LeaseHolder != "" && !t.Kept:
		// Who had the lease died between the question and the answer. A refresh
		// token that may have been used is not used again: the server would take
		// us for a thief and revoke everything.
		if a.LeaseHolder == host.LeaseOfRestored {
			again("the database was restored from a backup, and the server may have given other tokens since")
			break
		}
		again("a refresh was cut off, and nobody knows whether the server has given other tokens")
		return true
	}
	return false
}

const otherClient = "it was authorized for another client or another server than the configuration names now"

// Settle looks at an authorization that nobody may ask for in a while: tokens
// that could not be stored when they came are stored, a refresh that was cut off
// is told, and one that the configuration names again counts again.
func (s *SignIn) Settle(ctx context.Context, seen *host.Authorization) error {
	if err := s.saveLate(ctx, seen.UserId); err != nil || !s.unsettled(seen) {
		return err
	}
	var cut bool
	err := s.store.Update(ctx, func(tx Tx) error {
		cut = false
		a, err := tx.Authorization(ctx, s.Name, seen.UserId, true)
		if err != nil || !s.unsettled(a) {
			return err
		}
		now, err := s.sharedNow(ctx, tx)
		if err != nil || a.LeaseUntil != nil && now.Before(*a.LeaseUntil) {
			return err
		}
		before := a.State
		t, err := s.stored(a)
		if err != nil {
			return err
		}
		if cut = s.judge(a, t, "", now); a.State == before {
			return nil // the next who asks goes on with it
		}
		return tx.PutAuthorization(ctx, a)
	})
	if cut && err == nil {
		s.options.Observe(CutOff)
	}
	return err
}

func (s *SignIn) unsettled(a *host.Authorization) bool {
	return s.Interactive() && s.sealer != nil && (a.State == host.Authorized && a.LeaseHolder != "" ||
		a.State == host.AuthorizeAgain && a.Reason == otherClient && a.Client == s.client())
}

// Adopt takes over what another sign-in of the same credential could not store
// yet, when the configuration is read anew.
func (s *SignIn) Adopt(before *SignIn) {
	if s.client() != before.client() {
		return
	}
	before.mu.Lock()
	defer before.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for user, got := range before.unsaved {
		s.unsaved[user] = got
	}
}

// stored are the tokens of an authorization, nil where they are of another
// client.
func (s *SignIn) stored(a *host.Authorization) (*tokens, error) {
	if a.Sealed == "" || a.Client != s.client() {
		return nil, nil
	}
	return s.open(a)
}
