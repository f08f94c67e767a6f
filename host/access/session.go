package access

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
)

// grace is how long a secret that was given up still counts once the browser has
// used the next: requests of one page are under way together.
const grace = 30 * time.Second

// UnattendedHeader says that a page asks by itself, which is no use of a
// session: nobody need be there.
const UnattendedHeader = "Provost-Unattended"

func isUnattended(r *http.Request) bool { return r.Header.Get(UnattendedHeader) != "" }

// standing is how a secret stands to its session.
type standing int

const (
	// present is the one of now, former the one before while it still counts.
	present standing = iota
	former
	// stolen was given up: two have the session, and one of them is a thief.
	stolen
)

func (s *Session) standing(secret string, now time.Time) standing {
	is := func(stored string) bool {
		return subtle.ConstantTimeCompare([]byte(digest(secret)), []byte(stored)) == 1
	}
	switch {
	case is(s.Digest):
		return present
	case is(s.Former) && (s.SeenDate == nil || now.Sub(*s.SeenDate) <= grace):
		return former
	default:
		return stolen
	}
}

// after is the secret after another. Who has the seed alone, as it is stored,
// can't make it, nor who has a secret of longer ago.
func after(seed, secret string) string {
	mac := hmac.New(sha256.New, []byte(seed))
	mac.Write([]byte(secret))
	return hex.EncodeToString(mac.Sum(nil))
}

func cookieOf(handle, secret string) string { return handle + "." + secret }

// bySession finds whose session a browser has, with what that person may do now,
// and gives the browser the next secret when it is time.
func (g *Gate) bySession(w http.ResponseWriter, r *http.Request) (s *Subject, err error) {
	ctx, now := r.Context(), g.Now().UTC()
	handle, secret, _ := strings.Cut(g.cookie(r, sessionCookie), ".")
	if handle == "" || secret == "" {
		return nil, nil
	}
	var session *Session
	err = g.Store.View(ctx, func(tx Tx) error {
		if session, err = tx.Session(ctx, digest(handle)); err != nil {
			return err
		}
		s, err = g.lasting(ctx, tx, session, now)
		return err
	})
	if host.CodeOf(err) == host.NotFound || err == nil && (s == nil || session.Handle != digest(handle)) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	stands := session.standing(secret, now)
	if stands == stolen {
		g.setCookie(w, r, sessionCookie, "", 0)
		return nil, g.endStolen(r, session)
	}
	g.used(r, session, stands, now)
	// Only what is quickly answered brings the next secret: it must not come late.
	if r.Method != http.MethodGet {
		return s, nil
	}
	age := now.Sub(session.RenewedDate)
	due := age >= g.settings.Load().Renew || age > grace && session.Might != mightOf(s.Rights)
	// Where the answer that brought the next was lost there comes another: whoever
	// has that one has stolen it.
	lost := stands == former && session.SeenDate == nil && age > grace
	if stands == present && due || lost {
		g.renew(w, r, session, handle, secret, s.Rights)
	}
	return s, nil
}

// lasting is the person of a session; nil where it is over.
func (g *Gate) lasting(ctx context.Context, tx Tx, session *Session, now time.Time) (*Subject, error) {
	if !now.Before(session.ExpiresDate) || now.Sub(session.LastDate) > g.settings.Load().Idle {
		return nil, nil
	}
	s, err := g.person(ctx, tx, session.Identity, session.Name, session.Groups)
	if s != nil {
		s.SessionId = session.Id
	}
	return s, err
}

// used notes a use, and that the browser has the secret of now.
func (g *Gate) used(r *http.Request, session *Session, stands standing, now time.Time) {
	ctx := r.Context()
	touch := now.Sub(session.LastDate) >= touchEvery && !isUnattended(r)
	see := stands == present && session.SeenDate == nil
	if !touch && !see {
		return
	}
	g.touch(ctx, func(tx Tx) error {
		if see {
			if err := tx.SeeSession(ctx, session.Id, session.Digest, now); err != nil || !touch {
				return err
			}
		}
		return tx.TouchSession(ctx, session.Id, now)
	})
}

// renew gives the browser the next secret. Of requests at once one does; where
// that can't be stored, the secret of now goes on.
func (g *Gate) renew(w http.ResponseWriter, r *http.Request, session *Session, handle, secret string, rights []Right) {
	ctx, now, next := r.Context(), g.Now().UTC(), *session
	next.Seed = newSecret()
	fresh := after(next.Seed, secret)
	next.Former, next.Digest, next.RenewedDate, next.SeenDate, next.Might = digest(secret), digest(fresh), now, nil, mightOf(rights)
	if !isUnattended(r) {
		next.LastDate = now
	}
	first := false
	err := g.Store.Update(ctx, func(tx Tx) (err error) {
		first, err = tx.RenewSession(ctx, &next, session.Digest)
		return err
	})
	switch {
	case err != nil && ctx.Err() == nil:
		g.Logger.WarnContext(ctx, "a session is not renewed", "error", err)
	case err == nil && first:
		g.setCookie(w, r, sessionCookie, cookieOf(handle, fresh), session.ExpiresDate.Sub(now))
	}
}

// renewOwn gives the browser that sent r the next secret at once.
func (g *Gate) renewOwn(w http.ResponseWriter, r *http.Request) error {
	ctx, s := r.Context(), SubjectOf(r.Context())
	handle, secret, _ := strings.Cut(g.cookie(r, sessionCookie), ".")
	if s == nil || s.SessionId == "" || handle == "" {
		return nil
	}
	var session *Session
	err := g.Store.View(ctx, func(tx Tx) (err error) {
		session, err = tx.Session(ctx, s.SessionId)
		return err
	})
	if host.CodeOf(err) == host.NotFound || err == nil && session.standing(secret, g.Now()) != present {
		return nil
	} else if err != nil {
		return err
	}
	g.renew(w, r, session, handle, secret, s.Rights)
	return nil
}

// endStolen ends a session that two have, with the tokens that were made in it.
func (g *Gate) endStolen(r *http.Request, session *Session) error {
	ctx := host.WithActor(r.Context(), host.Ourselves)
	g.Logger.WarnContext(ctx, "a session has ended: somebody had a secret of it that was given up, so two had the session", "session", session.Id, "address", r.RemoteAddr)
	return g.Store.Update(ctx, func(tx Tx) error {
		if _, err := tx.Session(ctx, session.Id); host.CodeOf(err) == host.NotFound {
			return nil
		} else if err != nil {
			return err
		}
		if err := tx.DeleteAPITokensOf(ctx, session.Id); err != nil {
			return err
		}
		return g.endSession(ctx, tx, session, "a secret of it that was given up came back")
	})
}

// mightOf is a digest of what a person may do.
func mightOf(rights []Right) string {
	text, _ := json.Marshal(rights) // it can be written
	return digest(string(text))
}

// Still tells whether who began to ask may go on: the session or the token
// lasts, and gives what it gave. It is no use of either.
func (g *Gate) Still(ctx context.Context) (bool, error) {
	s := SubjectOf(ctx)
	switch {
	case s == nil:
		return false, nil
	case s.Kind == Owner:
		return true, nil
	case s.Kind == Open:
		set, err := g.IsSetUp(ctx)
		return !set, err
	}
	var fresh *Subject
	err := g.Store.View(ctx, func(tx Tx) error {
		if s.TokenId != "" {
			t, err := tx.APIToken(ctx, s.TokenId)
			if err == nil && g.Now().Before(t.ExpiresDate) {
				fresh, err = g.program(ctx, tx, t)
			}
			return err
		}
		session, err := tx.Session(ctx, s.SessionId)
		if err == nil {
			fresh, err = g.lasting(ctx, tx, session, g.Now())
		}
		return err
	})
	if host.CodeOf(err) == host.NotFound {
		return false, nil
	}
	return err == nil && fresh != nil && mightOf(fresh.Rights) == mightOf(s.Rights), err
}
