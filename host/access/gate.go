package access

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/provosthq/provost/host"
)

// Tx is what the gate needs of a transaction of the store. What is not there is
// a [host.NotFound].
type Tx interface {
	Administrators(ctx context.Context) ([]*LocalAdministrator, error)
	// Administrator finds one by id, or by name, whose case does not matter.
	Administrator(ctx context.Context, idOrName string) (*LocalAdministrator, error)
	// InsertAdministrator is a [host.AlreadyExists] where the name is taken.
	InsertAdministrator(ctx context.Context, a *LocalAdministrator) error
	UpdateAdministrator(ctx context.Context, a *LocalAdministrator) error
	// DeleteAdministrator drops the sessions, devices and tokens, too.
	DeleteAdministrator(ctx context.Context, id string) error

	APITokens(ctx context.Context) ([]*APIToken, error)
	// APIToken finds one by id or prefix.
	APIToken(ctx context.Context, idOrPrefix string) (*APIToken, error)
	InsertAPIToken(ctx context.Context, t *APIToken) error
	DeleteAPITokensOf(ctx context.Context, administratorOrSession string) error
	// DeleteAPIToken drops those that were made with it, too.
	DeleteAPIToken(ctx context.Context, id string) error
	// TellAPITokens notes what a provider says of a person on the person's tokens.
	TellAPITokens(ctx context.Context, i Identity, at time.Time) error
	TouchAPIToken(ctx context.Context, id string, at time.Time) error

	Sessions(ctx context.Context) ([]*Session, error)
	// Session finds one by id, or by the digest of its handle.
	Session(ctx context.Context, idOrHandle string) (*Session, error)
	// InsertSession drops those that are over.
	InsertSession(ctx context.Context, s *Session) error
	DeleteSession(ctx context.Context, id string) error
	TouchSession(ctx context.Context, id string, at time.Time) error
	// RenewSession stores one unless its secret is not the one of digest before any
	// more; SeeSession notes that the browser has the one of digest.
	RenewSession(ctx context.Context, s *Session, before string) (bool, error)
	SeeSession(ctx context.Context, id, digest string, at time.Time) error

	Assignments(ctx context.Context) ([]*Assignment, error)
	InsertAssignment(ctx context.Context, a *Assignment) error
	DeleteAssignment(ctx context.Context, id string) error

	Device(ctx context.Context, digest string) (*Device, error)
	// InsertDevice drops those that are over now.
	InsertDevice(ctx context.Context, d *Device, now time.Time) error

	// LockGuesses lets one transaction at a time count guesses.
	LockGuesses(ctx context.Context) error
	Guesses(ctx context.Context, keys []string) ([]*Guesses, error)
	PutGuesses(ctx context.Context, g *Guesses) error
	DeleteGuesses(ctx context.Context, key string) error
	// PruneGuesses forgets what is older than before, and all but the newest.
	PruneGuesses(ctx context.Context, before time.Time, most int) error

	// LockAccess lets one transaction at a time change who may what.
	LockAccess(ctx context.Context) error
	User(ctx context.Context, id string) (*host.User, error)
	UserByUsername(ctx context.Context, name string) (*host.User, error)
	// Audit notes what the actor of ctx does.
	Audit(ctx context.Context, action host.AuditAction, object host.AuditObject, details any) error
}

// Store is the store as the gate sees it.
type Store interface {
	Update(ctx context.Context, fn func(Tx) error) error
	View(ctx context.Context, fn func(Tx) error) error
}

// Settings are what a configuration says of the gate.
type Settings struct {
	// Idle and Lifetime bound a session: since its last use, and since the sign-in.
	Idle, Lifetime time.Duration
	// Renew is how long a session has one secret.
	Renew time.Duration
	// TokenLifetime is how long a token may last. ToldFor is how long in a person's
	// tokens the groups count that a provider told of, from the last sign-in on.
	TokenLifetime, ToldFor time.Duration
	// Assigned are the roles that the configuration gives.
	Assigned []*Assignment
	// Groups are users' ids or usernames by the name of the group.
	Groups map[string][]string
	// PublicURL is what browsers reach us at; https makes cookies secure there.
	PublicURL string
	// Proxies stand before us, and say who asks.
	Proxies []netip.Prefix
	// OpenID is how people sign in at a provider; nil for none.
	OpenID *OpenID
}

// Options are for [New].
type Options struct {
	Store  Store
	Logger *slog.Logger
	// Bootstrap is the file that the token of the first administrator goes to.
	Bootstrap string
	// Now is the clock; nil for the machine's.
	Now func() time.Time
}

// Gate knows who asks: by a token, by the session of a person who has signed in.
// It makes both, and says who may do what. It is for many goroutines.
type Gate struct {
	Options
	settings  atomic.Pointer[Settings]
	hasher    *hasher
	throttle  *throttle
	guesses   *rate.Limiter          // that are counted in the store
	pruned    atomic.Int64           // in seconds, when old ones were forgotten
	bootstrap atomic.Pointer[string] // digest
}

// New makes a gate, which lets nobody in before [Gate.Use].
func New(o Options) *Gate {
	if o.Now == nil {
		o.Now = time.Now
	}
	g := &Gate{Options: o, hasher: newHasher(usual), throttle: newThrottle(o.Now, 10_000), guesses: rate.NewLimiter(guessesPerSecond, guessesAtOnce)}
	g.Use(Settings{Idle: time.Hour, Lifetime: 12 * time.Hour, Renew: 15 * time.Minute, TokenLifetime: 366 * 24 * time.Hour, ToldFor: 30 * 24 * time.Hour})
	return g
}

// Use makes other settings those that count, at once.
func (g *Gate) Use(s Settings) { g.settings.Store(&s) }

// IsSetUp tells whether somebody can sign in. Until then who asks at a loopback
// address may all.
func (g *Gate) IsSetUp(ctx context.Context) (set bool, err error) {
	if g.settings.Load().OpenID != nil {
		return true, nil
	}
	err = g.Store.View(ctx, func(tx Tx) error {
		list, err := tx.Administrators(ctx)
		set = len(list) > 0
		return err
	})
	return set, err
}

// Identify is who sends a request: nil where it says nothing of it, or has a
// session that is over. A token that is not good is a [host.Unauthorized]. The
// answer may get a cookie: secrets of sessions change.
func (g *Gate) Identify(w http.ResponseWriter, r *http.Request) (*Subject, error) {
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return nil, host.Errorf(host.Unauthorized, "send a token: Authorization: Bearer …")
		}
		return g.byToken(r.Context(), strings.TrimSpace(token))
	}
	return g.bySession(w, r)
}

const (
	tokenStart   = "pvt_"
	prefixLength = 12
	touchEvery   = time.Minute
)

// byToken finds who has a token. One of an unknown prefix is as much work as
// one of a known.
func (g *Gate) byToken(ctx context.Context, text string) (*Subject, error) {
	prefix, secret, _ := strings.Cut(strings.TrimPrefix(text, tokenStart), "_")
	have := []byte(digest(secret))
	want := []byte(digest("")) // of nobody's
	var found *APIToken
	var s *Subject
	now := g.Now()
	err := g.Store.View(ctx, func(tx Tx) (err error) {
		found, err = tx.APIToken(ctx, prefix)
		if host.CodeOf(err) == host.NotFound || err == nil && found.Prefix != prefix {
			found = nil
			return nil
		} else if err != nil {
			return err
		}
		s, err = g.program(ctx, tx, found)
		return err
	})
	if err != nil {
		return nil, err
	}
	if found != nil {
		want = []byte(found.Digest)
	}
	same := subtle.ConstantTimeCompare(have, want) == 1
	switch {
	case !same || found == nil || secret == "":
		return nil, host.Errorf(host.Unauthorized, "this token is not known; it was revoked, or is not whole")
	case !now.Before(found.ExpiresDate):
		return nil, host.Errorf(host.Unauthorized, "the token %s expired on %s", found.Name, found.ExpiresDate.Format(time.DateOnly))
	case s == nil:
		return nil, host.Errorf(host.Unauthorized, "the token %s is of somebody who may not do any more what it was made for", found.Name)
	}
	if found.LastDate == nil || now.Sub(*found.LastDate) >= touchEvery {
		g.touch(ctx, func(tx Tx) error { return tx.TouchAPIToken(ctx, found.Id, now.UTC()) })
	}
	return s, nil
}

// program is who asks with a token; nil where it is a person's who may nothing
// any more of what it was made for.
func (g *Gate) program(ctx context.Context, tx Tx, t *APIToken) (*Subject, error) {
	if !t.IsSet() {
		return &Subject{Kind: Token, Name: t.Name, TokenId: t.Id, Rights: t.Rights}, nil
	}
	var told []string
	if t.ToldDate != nil && g.Now().Sub(*t.ToldDate) < g.settings.Load().ToldFor {
		told = t.Groups
	}
	s, err := g.person(ctx, tx, t.Identity, t.Name, told)
	if host.CodeOf(err) == host.NotFound || err == nil && s == nil {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if s.UserId == "" {
		s.Name = t.Name + " of " + cmp.Or(s.Subject, s.Name)
	}
	s.Kind, s.TokenId, s.Rights = Token, t.Id, common(t.Rights, s.Rights)
	if len(s.Rights) == 0 {
		return nil, nil
	}
	return s, nil
}

// touch notes a use; where that can't be, it is used all the same.
func (g *Gate) touch(ctx context.Context, note func(Tx) error) {
	if err := g.Store.Update(ctx, note); err != nil && ctx.Err() == nil {
		g.Logger.WarnContext(ctx, "a last use is not noted", "error", err)
	}
}

// person is somebody with what that person may do now; nil for one who may
// nothing. A local administrator or a user who is not there any more is a
// [host.NotFound].
func (g *Gate) person(ctx context.Context, tx Tx, i Identity, name string, told []string) (*Subject, error) {
	s := &Subject{Kind: Person, Name: name, UserId: i.UserId}
	if i.AdministratorId != "" {
		a, err := tx.Administrator(ctx, i.AdministratorId)
		if err != nil {
			return nil, err
		}
		s.Name, s.AdministratorId, s.Rights = a.Name, a.Id, []Right{{Role: Administrator}}
		return s, nil
	}
	settings := g.settings.Load()
	if settings.OpenID == nil || settings.OpenID.Issuer() != i.Issuer {
		return nil, nil
	}
	var u *host.User
	if i.UserId != "" {
		var err error
		if u, err = tx.User(ctx, i.UserId); err != nil {
			return nil, err
		}
		if !u.IsActive {
			return nil, nil
		}
		s.Name = u.Username
	}
	stored, err := tx.Assignments(ctx)
	if err != nil {
		return nil, err
	}
	s.Subject, s.Rights = i.Subject, rightsOf(u, told, settings.Groups, append(slices.Clone(settings.Assigned), stored...))
	if len(s.Rights) == 0 {
		return nil, nil
	}
	return s, nil
}

// rightsOf are the roles of a person: of the user, nil for none, and of the
// groups that the provider tells of. A user may always decide what is the
// user's to decide.
func rightsOf(u *host.User, told []string, groups map[string][]string, all []*Assignment) (rights []Right) {
	is := func(name string) bool {
		return u != nil && name != "" && (name == u.Id || usernameKey(name) == usernameKey(u.Username))
	}
	for _, a := range all {
		// What is stored names a user by id alone; a username may look like one.
		user := a.Id == "" && is(a.User) || u != nil && a.User == u.Id
		if user || a.Group != "" && slices.ContainsFunc(groups[a.Group], is) || a.OIDCGroup != "" && slices.Contains(told, a.OIDCGroup) {
			rights = append(rights, Right{Role: a.Role, Apps: a.Apps})
		}
	}
	if u != nil && !slices.ContainsFunc(rights, func(g Right) bool { return g.Role == Approver && g.Apps == nil }) {
		rights = append(rights, Right{Role: Approver})
	}
	return rights
}

// newSecret makes a secret of 256 random bits.
func newSecret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}
