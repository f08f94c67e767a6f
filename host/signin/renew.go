package signin

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/secret"
)

// renewed are tokens that a server gave and that are not stored yet.
type renewed struct {
	tokens     *tokens
	generation int64 // of the tokens that they follow
	holder     string
}

// renew fetches the next tokens with our lease, and stores them before anybody
// uses them.
func (s *SignIn) renew(ctx context.Context, mine *leased, holder, refused string) (*tokens, error) {
	began := s.now().UTC()
	asking, cancel := context.WithTimeout(ctx, s.Timeout)
	next, err := s.fetch(asking, mine)
	cancel()
	if err == nil {
		next.Issued, next.Forced = began, refused != ""
		got := &renewed{tokens: next, generation: mine.Generation, holder: holder}
		if err = s.save(ctx, mine.UserId, got); err == nil {
			s.options.Observe(Fetched)
			s.keep(mine.UserId, next, mine.Generation+1)
			return next, nil
		}
		s.options.Observe(NotStored)
		// They are the only ones that the server takes now: they are stored as soon
		// as that can be done, and nobody uses them before.
		s.mu.Lock()
		s.unsaved[mine.UserId] = got
		s.mu.Unlock()
		return nil, err
	}
	var failed *fetchError
	if !errors.As(err, &failed) {
		failed = &fetchError{err: err}
	}
	s.options.Observe(failed.outcome())
	wants := ""
	storeErr := s.store.Update(ctx, func(tx Tx) error {
		a, err := tx.Authorization(ctx, s.Name, mine.UserId, true)
		if err != nil || a.LeaseHolder != holder || a.Generation != mine.Generation {
			return err
		}
		wants = ""
		a.LeaseHolder, a.LeaseUntil = "", nil
		if s.Interactive() && (failed.ended || failed.uncertain && !mine.tokens.Kept) {
			a.State, a.Reason = host.AuthorizeAgain, failed.reason()
			if refused != "" {
				a.ExpiresDate = nil // whatever it says, the target takes it no more
			}
			wants = a.Wants(s.now())
			s.options.Logger.ErrorContext(ctx, "a person must authorize again", "credential", s.Name, "user", a.UserId, "reason", a.Reason)
		}
		return tx.PutAuthorization(ctx, a)
	})
	if storeErr != nil {
		return nil, errors.Join(host.Errorf(host.Unavailable, "signing in %s: %w", s.Name, storeErr), err)
	}
	if t := mine.tokens; t != nil && t.Access != refused && t.good(s.now()) {
		s.options.Logger.WarnContext(ctx, "the token could not be refreshed; the present one is used until its end", "credential", s.Name, "error", err)
		return t, nil
	}
	if wants != "" {
		return nil, &NotAuthorizedError{Credential: s.Name, UserID: mine.UserId, Why: wants}
	}
	return nil, failed.err
}

// save stores tokens in the place of those that they follow. It tries for as
// long as ctx lets it.
func (s *SignIn) save(ctx context.Context, user string, got *renewed) error {
	var err error
	var revoked bool
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err = s.store.Update(ctx, func(tx Tx) error {
			a, err := tx.Authorization(ctx, s.Name, user, true)
			if err != nil {
				return err
			}
			if revoked = a.State == host.AuthorizationRevoked; revoked || a.Generation != got.generation {
				return errOvertaken // a person has authorized anew meanwhile
			}
			if err := s.fill(a, got.tokens); err != nil {
				return err
			}
			a.State, a.Reason = host.Authorized, ""
			return tx.PutAuthorization(ctx, a)
		})
		if err == nil || errors.Is(err, errOvertaken) {
			break
		}
		select {
		case <-ctx.Done():
			return host.Errorf(host.Unavailable, "the tokens of %s can't be stored: %w", s.Name, err)
		case <-time.After(wait):
		}
	}
	if err != nil && revoked && s.Protocol == OAuth2 {
		// They came after a person had taken the authorization back.
		if _, cause := s.tellRevoked(ctx, got.tokens); cause != nil {
			s.options.Logger.WarnContext(ctx, "the server could not be told that tokens are revoked which came too late", "credential", s.Name, "error", cause)
		}
	}
	if err != nil {
		return host.Errorf(host.Unavailable, "%s: %w", s.Name, err)
	}
	return nil
}

var errOvertaken = errors.New("it was authorized anew meanwhile")

// saveLate stores tokens that could not be stored when they came.
func (s *SignIn) saveLate(ctx context.Context, user string) error {
	s.mu.Lock()
	got := s.unsaved[user]
	s.mu.Unlock()
	if got == nil {
		return nil
	}
	err := s.save(ctx, user, got)
	if err != nil && !errors.Is(err, errOvertaken) {
		return err
	}
	s.mu.Lock()
	delete(s.unsaved, user)
	s.mu.Unlock()
	return nil
}

// fill puts tokens into an authorization.
func (s *SignIn) fill(a *host.Authorization, t *tokens) error {
	sealed, with, err := s.seal(a, t)
	if err != nil {
		return err
	}
	now := s.now().UTC()
	a.Sealed, a.SealedWith, a.Client = sealed, with, s.client()
	a.Generation++
	a.RefreshedDate, a.ExpiresDate = &now, nil
	if !t.Expires.IsZero() {
		a.ExpiresDate = &t.Expires
	}
	a.LeaseHolder, a.LeaseUntil = "", nil
	if t.Principal != "" {
		a.Principal = t.Principal
	}
	if len(t.Scopes) > 0 {
		a.Scopes = t.Scopes
	}
	return nil
}

// AuthorizationBinding is what an authorization's tokens are sealed for: those of
// another row open as little as those of another key.
func AuthorizationBinding(a *host.Authorization) string {
	return "authorization/" + a.Credential + "/" + a.UserId
}

func (s *SignIn) seal(a *host.Authorization, t *tokens) (sealed, with string, err error) {
	plain, err := json.Marshal(t)
	if err != nil {
		return "", "", err
	}
	if s.sealer == nil {
		return string(plain), "", nil // it stays in this process
	}
	sealed, err = s.sealer.Seal(secret.New(string(plain)), AuthorizationBinding(a))
	return sealed, s.sealer.KeyID(), err
}

func (s *SignIn) open(a *host.Authorization) (*tokens, error) {
	plain := a.Sealed
	if s.sealer != nil {
		v, err := s.sealer.Open(a.Sealed, AuthorizationBinding(a))
		if err != nil {
			return nil, host.Errorf(host.Unauthorized, "the tokens of %s: %w", s.Name, err)
		}
		plain = v.Reveal()
	}
	t := new(tokens)
	if err := json.Unmarshal([]byte(plain), t); err != nil {
		return nil, host.Errorf(host.Internal, "the tokens of %s are not what was stored", s.Name)
	}
	return t, nil
}
