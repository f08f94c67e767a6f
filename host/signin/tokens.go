package signin

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/provosthq/provost/host"
)

// Store keeps authorizations, shared by all machines. A transaction may run
// again.
type Store interface {
	View(ctx context.Context, do func(Tx) error) error
	Update(ctx context.Context, do func(Tx) error) error
}

// Tx is one transaction of a [Store].
type Tx interface {
	// Now is by the clock that all machines share.
	Now(ctx context.Context) (time.Time, error)
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

// obtain returns tokens of a user. refused is a token that the target does not
// take, "" for none.
func (s *SignIn) obtain(ctx context.Context, user, refused string) (*tokens, error) {
	s.mu.Lock()
	h, unsaved := s.held[user], s.unsaved[user]
	s.mu.Unlock()
	if t := h.tokens; t != nil && t.Access != refused && t.fresh(s.now()) && unsaved == nil && s.stands(ctx, user, h) {
		return t, nil
	}
	// Whoever asks first must not take the others down with it: the flight has a
	// time of its own.
	done := s.flight.DoChan(user+"\x00"+refused, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*s.Timeout+s.storing())
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
		if t, err := s.leaseAndRenew(ctx, user, holder, refused); t != nil || err != nil {
			return t, err
		}
		select { // another is at it
		case <-ctx.Done():
			return nil, host.Errorf(host.Unavailable, "signing in %s took too long: another has been at it all the time", s.Name)
		case <-time.After(wait):
		}
	}
}

// leaseAndRenew returns tokens that are good, stored or new; nil where another
// fetches them.
func (s *SignIn) leaseAndRenew(ctx context.Context, user, holder, refused string) (*tokens, error) {
	if !s.options.Busy.begin() {
		return nil, host.Errorf(host.Unavailable, "%s is not signed in any more: the daemon stops", s.Name)
	}
	defer s.options.Busy.end()
	t, leased, err := s.lease(ctx, user, holder, refused)
	if err != nil || leased == nil {
		return t, err
	}
	return s.renew(ctx, leased, holder, refused)
}

// holding are tokens that this process has in its memory.
type holding struct {
	tokens     *tokens
	generation int64
	// looked is when it was last known that they are the ones that are stored.
	looked time.Time
}

// looking is how long tokens are used without a look at what is stored: so long
// after another machine has revoked or authorized anew, the old ones may be used.
const looking = 5 * time.Second

// stands tells whether tokens that are held are still the ones that are stored.
func (s *SignIn) stands(ctx context.Context, user string, h holding) bool {
	now := s.options.Now()
	if s.sealer == nil || now.Sub(h.looked).Abs() < looking {
		return true
	}
	s.mu.Lock()
	if is := s.held[user]; is.tokens == h.tokens { // the others go on meanwhile
		s.held[user] = holding{h.tokens, h.generation, now}
	}
	s.mu.Unlock()
	generation := h.generation
	err := s.store.View(ctx, func(tx Tx) error {
		a, err := tx.Authorization(ctx, s.Name, user, false)
		generation = a.Generation
		return err
	})
	if err != nil {
		s.options.Logger.DebugContext(ctx, "what is authorized can't be looked at; the token is used", "credential", s.Name, "error", err)
		return true
	}
	return generation == h.generation
}

// unused is how long tokens stay in memory that nobody asks for: where each
// person has some, there are many.
const unused = 10 * time.Minute

// keep has tokens at hand, unless there are newer ones, and drops those that
// nobody asked for in a while.
func (s *SignIn) keep(user string, t *tokens, generation int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.options.Now()
	for other, h := range s.held {
		if now.Sub(h.looked).Abs() > unused {
			delete(s.held, other)
		}
	}
	if s.held[user].generation <= generation {
		s.held[user] = holding{t, generation, now}
	}
}

// forget drops what this process holds.
func (s *SignIn) forget(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, user)
	delete(s.unsaved, user)
}
