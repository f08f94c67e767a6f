package signin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/secret"
)

// Store keeps authorizations, shared by all machines. A transaction may run
// again.
type Store interface {
	View(ctx context.Context, do func(Tx) error) error
	Update(ctx context.Context, do func(Tx) error) error
}

// Tx is one transaction of a [Store].
type Tx interface {
	// Authorization is a new one where there is none. With lock no other
	// transaction gets it until this one ends.
	Authorization(ctx context.Context, credential, userID string, lock bool) (*host.Authorization, error)
	PutAuthorization(ctx context.Context, a *host.Authorization) error
	InsertAuthorizationRequest(ctx context.Context, r *host.AuthorizationRequest) error
	// TakeAuthorizationRequest returns one once; NotFound for any other.
	TakeAuthorizationRequest(ctx context.Context, id string, now time.Time) (*host.AuthorizationRequest, error)
}

// tokens are what a sign-in yielded. They are never changed once they are made.
type tokens struct {
	Access  string            `json:"access"`
	Refresh string            `json:"refresh,omitempty"`
	Type    string            `json:"type,omitempty"`
	Values  map[string]string `json:"values,omitempty"` // what later requests carry
	Session *session          `json:"session,omitempty"`
	// Username is that of a person who signs in with a secret of his own, which
	// is Access.
	Username  string    `json:"username,omitempty"`
	Principal string    `json:"principal,omitempty"`
	Scopes    []string  `json:"scopes,omitempty"`
	Issued    time.Time `json:"issued"`
	Expires   time.Time `json:"expires"` // zero: until the target refuses it
	// Kept: the last refresh gave no other refresh token, so the server does not
	// rotate them and one may be used twice.
	Kept bool `json:"kept,omitempty"`
	// Style is how the client showed the token endpoint who it is.
	Style AuthStyle `json:"style,omitempty"`
	// Forced: it was fetched because the target refused the one before.
	Forced bool `json:"forced,omitempty"`
}

// soon is how long before its end a token is replaced: a fifth of its life, a
// minute at most.
func (t *tokens) soon() time.Duration { return min(time.Minute, t.Expires.Sub(t.Issued)/5) }

func (t *tokens) fresh(now time.Time) bool {
	return t.Expires.IsZero() || now.Before(t.Expires.Add(-t.soon()))
}

// good tells whether the target still takes it, with a margin for the way there.
func (t *tokens) good(now time.Time) bool {
	return t.Expires.IsZero() || now.Before(t.Expires.Add(-min(2*time.Second, t.soon()/4)))
}

// errNoBetter: the refused token was fetched a moment ago because another was
// refused; a third would be refused too.
var errNoBetter = errors.New("there is no better token")

// storing is how long a lease lasts beyond the request that it is for.
const storing = 20 * time.Second

// leaseTime is how long nobody else fetches tokens. Where that does no harm, the
// others do not wait long for one that has died.
func (s *SignIn) leaseTime() time.Duration {
	if s.Interactive() {
		return s.Timeout + min(storing, 5*s.Timeout)
	}
	return min(s.Timeout, 5*time.Second)
}

// obtain returns tokens of a user. refused is a token that the target does not
// take, "" for none.
func (s *SignIn) obtain(ctx context.Context, user, refused string) (*tokens, error) {
	s.mu.Lock()
	t, unsaved := s.held[user], s.unsaved[user]
	s.mu.Unlock()
	if t != nil && t.Access != refused && t.fresh(s.options.Now()) && unsaved == nil {
		return t, nil
	}
	// Whoever asks first must not take the others down with it: the flight has a
	// time of its own.
	done := s.flight.DoChan(user+"\x00"+refused, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*s.Timeout+storing)
		defer cancel()
		return s.settleTokens(ctx, user, refused)
	})
	select {
	case got := <-done:
		if got.Err != nil {
			return nil, got.Err
		}
		return got.Val.(*tokens), nil
	case <-ctx.Done():
		return nil, host.Errorf(host.Unavailable, "signing in %s took too long", s.Name)
	}
}

// settleTokens fetches the next tokens, or waits for the machine that does.
func (s *SignIn) settleTokens(ctx context.Context, user, refused string) (*tokens, error) {
	if err := s.saveLate(ctx, user); err != nil {
		return nil, err
	}
	holder := uuid.NewString()
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		t, leased, err := s.lease(ctx, user, holder, refused)
		switch {
		case err != nil:
			return nil, err
		case t != nil:
			s.keep(user, t)
			return t, nil
		case leased != nil:
			return s.renew(ctx, leased, holder, refused)
		}
		select { // another is at it
		case <-ctx.Done():
			return nil, host.Errorf(host.Unavailable, "signing in %s took too long: another has been at it all the time", s.Name)
		case <-time.After(wait):
		}
	}
}

func (s *SignIn) keep(user string, t *tokens) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[user] = t
}

// forget drops what this process holds.
func (s *SignIn) forget(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, user)
	delete(s.unsaved, user)
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
	err = s.store.Update(ctx, func(tx Tx) error {
		good, mine, refusal = nil, nil, nil
		a, err := tx.Authorization(ctx, s.Name, user, true)
		if err != nil {
			return err
		}
		now := s.options.Now().UTC()
		var t *tokens
		if a.Sealed != "" && a.Client == s.client() {
			if t, err = s.open(a); err != nil {
				return err
			}
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
			s.judge(a, t, refused)
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
	if err == nil {
		err = refusal
	}
	return good, mine, err
}

// grantless tells whether there is nothing that a token could be fetched with: a
// person gave his secret.
func (s *SignIn) grantless() bool { return s.PerUser && !s.byToken() }

// judge looks at an authorization of a person before it is refreshed: one that
// belongs to another client, that can't be refreshed, or whose refresh died on
// its way is to be given again.
func (s *SignIn) judge(a *host.Authorization, t *tokens, refused string) {
	again := func(reason string) {
		if t == nil || t.Access == refused {
			a.ExpiresDate = nil // whatever it says, the target takes it no more
		}
		a.State, a.Reason, a.LeaseHolder, a.LeaseUntil = host.AuthorizeAgain, reason, "", nil
		s.options.Logger.Error("a person must authorize again", "credential", s.Name, "user", a.UserId, "reason", reason)
	}
	if a.State != host.Authorized {
		return
	}
	switch {
	case t == nil:
		again("it was authorized for another client or another server than the configuration names now")
	case s.grantless():
		if t.Access == refused {
			again("the target does not take the secret any more")
		}
	case t.Refresh == "" && !t.good(s.options.Now()):
		again("its token has ended, and the server gave none to refresh it with")
	case a.LeaseHolder != "" && !t.Kept:
		// Who had the lease died between the question and the answer. A refresh
		// token that may have been used is not used again: the server would take
		// us for a thief and revoke everything.
		again("a refresh was cut off, and nobody knows whether the server has given other tokens")
	}
}

// renewed are tokens that a server gave and that are not stored yet.
type renewed struct {
	tokens     *tokens
	generation int64 // of the tokens that they follow
	holder     string
}

// renew fetches the next tokens with our lease, and stores them before anybody
// uses them.
func (s *SignIn) renew(ctx context.Context, mine *leased, holder, refused string) (*tokens, error) {
	began := s.options.Now().UTC()
	asking, cancel := context.WithTimeout(ctx, s.Timeout)
	next, err := s.fetch(asking, mine)
	cancel()
	if err == nil {
		next.Issued, next.Forced = began, refused != ""
		got := &renewed{tokens: next, generation: mine.Generation, holder: holder}
		if err = s.save(ctx, mine.UserId, got); err == nil {
			s.keep(mine.UserId, next)
			return next, nil
		}
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
			wants = a.Wants(s.options.Now())
			s.options.Logger.ErrorContext(ctx, "a person must authorize again", "credential", s.Name, "user", a.UserId, "reason", a.Reason)
		}
		return tx.PutAuthorization(ctx, a)
	})
	if storeErr != nil {
		return nil, errors.Join(host.Errorf(host.Unavailable, "signing in %s: %w", s.Name, storeErr), err)
	}
	if t := mine.tokens; t != nil && t.Access != refused && t.good(s.options.Now()) {
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
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err = s.store.Update(ctx, func(tx Tx) error {
			a, err := tx.Authorization(ctx, s.Name, user, true)
			if err != nil {
				return err
			}
			if a.Generation != got.generation || a.State == host.AuthorizationRevoked {
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
	now := s.options.Now().UTC()
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

// fetchError is a token request that failed.
type fetchError struct {
	err error
	// ended: the server says that the grant is worth nothing any more.
	ended bool
	// uncertain: the server may have given tokens that we did not get.
	uncertain bool
}

func (e *fetchError) Error() string { return e.err.Error() }
func (e *fetchError) Unwrap() error { return e.err }

func (e *fetchError) reason() string {
	if e.uncertain {
		return fmt.Sprintf("a refresh got no answer, and nobody knows whether the server has given other tokens (%v)", e.err)
	}
	return e.err.Error()
}

// memoryStore keeps authorizations of one process.
type memoryStore struct {
	mu   sync.Mutex
	rows map[string]host.Authorization
}

func newMemoryStore() *memoryStore { return &memoryStore{rows: map[string]host.Authorization{}} }

func (m *memoryStore) View(ctx context.Context, do func(Tx) error) error { return m.Update(ctx, do) }

func (m *memoryStore) Update(_ context.Context, do func(Tx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return do(m)
}

func (m *memoryStore) Authorization(_ context.Context, credential, userID string, _ bool) (*host.Authorization, error) {
	if a, ok := m.rows[userID]; ok {
		return &a, nil
	}
	return &host.Authorization{Credential: credential, UserId: userID}, nil
}

func (m *memoryStore) PutAuthorization(_ context.Context, a *host.Authorization) error {
	m.rows[a.UserId] = *a
	return nil
}

func (m *memoryStore) InsertAuthorizationRequest(context.Context, *host.AuthorizationRequest) error {
	return errNoKey
}

func (m *memoryStore) TakeAuthorizationRequest(context.Context, string, time.Time) (*host.AuthorizationRequest, error) {
	return nil, errNoKey
}

var errNoKey = host.Errorf(host.InvalidInput, "nobody can authorize without a key to seal the tokens with: set secrets.identity_file")
