package access

import (
	"context"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
)

// Attempt is what a local administrator signs in with.
type Attempt struct {
	Name, Password string
	// Code is a one-time or a recovery code; empty where there is none.
	Code string
}

const (
	// deviceLasts is how long a browser is known that somebody has signed in at.
	deviceLasts = 180 * 24 * time.Hour
)

// SignIn begins a session for a local administrator at the browser that sent r,
// and ends the one that it had. Whatever of an attempt is wrong, the error is
// the same [host.Unauthorized]; one who tries too often is told to wait
// ([host.RateLimited]).
func (g *Gate) SignIn(w http.ResponseWriter, r *http.Request, a Attempt) error {
	if !g.isPrivate(r) {
		return host.Errorf(host.InvalidInput, "a password may be sent over https only: let a proxy with a certificate stand before Provost and set listen.public_url, or sign in on the machine itself")
	}
	ctx := r.Context()
	known, err := g.knownDevice(ctx, g.cookie(r, deviceCookie))
	if err != nil {
		return err
	}
	paces := g.paces(r, a.Name, known)
	if err := g.try(ctx, paces...); err != nil {
		return err
	}
	admin, err := g.check(ctx, a, known != nil)
	if err != nil {
		if host.CodeOf(err) == host.Unauthorized {
			g.Logger.WarnContext(ctx, "a sign-in was refused", "address", r.RemoteAddr)
		}
		return err
	}
	g.succeeded(ctx, paces...)
	session := &Session{Identity: Identity{AdministratorId: admin.Id}, Name: admin.Name}
	if known != nil && known.AdministratorId == admin.Id {
		return g.begin(w, r, session, nil)
	}
	device := newSecret()
	if err := g.begin(w, r, session, func(tx Tx) error {
		return tx.InsertDevice(ctx, &Device{digest(device), admin.Id, g.Now().UTC().Add(deviceLasts)}, g.Now().UTC())
	}); err != nil {
		return err
	}
	g.setCookie(w, r, deviceCookie, device, deviceLasts)
	return nil
}

// knownDevice is the browser of a cookie; nil for one that nobody has signed in
// at.
func (g *Gate) knownDevice(ctx context.Context, secret string) (known *Device, err error) {
	if secret == "" {
		return nil, nil
	}
	err = g.Store.View(ctx, func(tx Tx) error {
		known, err = tx.Device(ctx, digest(secret))
		return err
	})
	if host.CodeOf(err) == host.NotFound || err == nil && !g.Now().Before(known.ExpiresDate) {
		return nil, nil
	}
	return known, err
}

// paces are what slows an attempt down: who fails from one address at one name,
// at many names, and from many addresses at one name. What others do does not
// slow down a browser that somebody has signed in at.
func (g *Gate) paces(r *http.Request, name string, known *Device) []pace {
	if known != nil {
		return []pace{{key: "device " + known.Digest, free: 5, longest: time.Minute}}
	}
	// Enough of a digest to tell names apart, and not enough to guess by it what
	// somebody typed into the wrong field.
	name, from := digest(NameKey(name))[:6], networkOf(g.peer(r))
	return []pace{
		{key: "both " + name + " " + from, free: 5, longest: time.Minute},
		{key: "address " + from, free: 50, longest: 30 * time.Second, shared: true},
		{key: "name " + name, free: 50, longest: 10 * time.Second, shared: true},
	}
}

// peer is who sent a request: through proxies of ours, the last address that is
// none of theirs. What others write into the header counts for nothing.
func (g *Gate) peer(r *http.Request) netip.Addr {
	at, _ := netip.ParseAddrPort(r.RemoteAddr)
	ip := at.Addr().Unmap().WithZone("")
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !slices.ContainsFunc(g.settings.Load().Proxies, func(p netip.Prefix) bool { return p.Contains(ip) }) {
			break
		}
		before, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		ip = before.Unmap().WithZone("")
	}
	return ip
}

// networkOf is an address, or the network of one person's where it is IPv6.
func networkOf(ip netip.Addr) string {
	if p, err := ip.Prefix(64); err == nil && ip.Is6() {
		return p.String()
	}
	return ip.String()
}

// check finds the administrator of an attempt; known is whether somebody has
// signed in at that browser before.
func (g *Gate) check(ctx context.Context, a Attempt, known bool) (admin *LocalAdministrator, err error) {
	wrong := host.Errorf(host.Unauthorized, "the name, the password or the code is wrong")
	if len(a.Password) > LongestPassword || len(a.Code) > 100 {
		return nil, wrong
	}
	if err := g.Store.View(ctx, func(tx Tx) error {
		admin, err = tx.Administrator(ctx, a.Name)
		return err
	}); host.CodeOf(err) == host.NotFound {
		admin = new(LocalAdministrator)
	} else if err != nil {
		return nil, err
	}
	ok, d, err := g.hasher.check(ctx, known, a.Password, admin.Password)
	if err != nil {
		return nil, err
	}
	if !ok || NameKey(a.Name) != NameKey(admin.Name) {
		return nil, wrong
	}
	// What is used up is stored before anything is given for it.
	err = g.Store.Update(ctx, func(tx Tx) error {
		now := g.Now().UTC()
		if err := tx.LockAccess(ctx); err != nil {
			return err
		}
		fresh, err := tx.Administrator(ctx, admin.Id)
		if err != nil {
			return err
		}
		if fresh.Password != admin.Password {
			return wrong
		}
		if err := useCode(fresh, d.key, a.Code, now); err != nil {
			return err
		}
		fresh.LastDate, admin = &now, fresh
		return tx.UpdateAdministrator(ctx, fresh)
	})
	return admin, err
}

// useCode takes the code that an administrator must give.
func useCode(admin *LocalAdministrator, key []byte, code string, now time.Time) error {
	if admin.TOTP == "" {
		return nil
	}
	secret, err := unseal(key, admin.TOTP, admin.Id)
	if err != nil {
		return err
	}
	at, err := codeStep(secret, code, now, admin.TOTPUsed)
	if err != nil {
		return err
	}
	if at > 0 {
		admin.TOTPUsed = at
		return nil
	}
	left, ok := withoutRecovery(admin.Recovery, code)
	if !ok {
		return host.Errorf(host.Unauthorized, "the name, the password or the code is wrong")
	}
	admin.Recovery = left
	return nil
}

// begin stores a session and gives it to the browser, whose last one ends.
func (g *Gate) begin(w http.ResponseWriter, r *http.Request, s *Session, also func(Tx) error) error {
	ctx, now, handle, secret := r.Context(), g.Now().UTC(), newSecret(), newSecret()
	lifetime := g.settings.Load().Lifetime
	s.Id, s.Handle, s.Digest = host.NewID(), digest(handle), digest(secret)
	s.CreatedDate, s.LastDate, s.RenewedDate, s.SeenDate, s.ExpiresDate = now, now, now, &now, now.Add(lifetime)
	before, _, _ := strings.Cut(g.cookie(r, sessionCookie), ".")
	err := g.Store.Update(ctx, func(tx Tx) error {
		if before != "" {
			if old, err := tx.Session(ctx, digest(before)); err == nil {
				if err := tx.DeleteSession(ctx, old.Id); err != nil {
					return err
				}
			} else if host.CodeOf(err) != host.NotFound {
				return err
			}
		}
		who, err := g.person(ctx, tx, s.Identity, s.Name, s.Groups)
		if err != nil {
			return err
		}
		if who == nil {
			return host.Errorf(host.PermissionDenied, "you have no role here; somebody who manages access must give you one")
		}
		s.Might = mightOf(who.Rights)
		if err := tx.InsertSession(ctx, s); err != nil {
			return err
		}
		if also != nil {
			if err := also(tx); err != nil {
				return err
			}
		}
		return tx.Audit(WithSubject(ctx, who), host.AuditSessionBegin, host.AuditObject{Kind: "session", Name: s.Id}, nil)
	})
	if err == nil {
		g.setCookie(w, r, sessionCookie, cookieOf(handle, secret), lifetime)
	}
	return err
}

// SignOut ends the session of the browser that sent r, or with everywhere all of
// that person.
func (g *Gate) SignOut(w http.ResponseWriter, r *http.Request, everywhere bool) error {
	ctx, s := r.Context(), SubjectOf(r.Context())
	g.setCookie(w, r, sessionCookie, "", 0)
	if s == nil || s.SessionId == "" {
		return nil
	}
	return g.Store.Update(ctx, func(tx Tx) error {
		list, err := tx.Sessions(ctx)
		if err != nil {
			return err
		}
		for _, one := range list {
			if one.Id != s.SessionId && !(everywhere && s.Owns(one.Identity)) {
				continue
			}
			if err := g.endSession(ctx, tx, one, ""); err != nil {
				return err
			}
		}
		return nil
	})
}

// Owns tells whether a session, or a token, is of the same person.
func (s *Subject) Owns(one Identity) bool {
	switch {
	case s == nil:
		return false
	case s.AdministratorId != "":
		return s.AdministratorId == one.AdministratorId
	case s.UserId != "":
		return s.UserId == one.UserId && one.AdministratorId == ""
	default:
		return s.Subject != "" && s.Subject == one.Subject && one.AdministratorId == ""
	}
}

// endSession ends a session; why is for the audit trail, empty where somebody
// wanted it.
func (g *Gate) endSession(ctx context.Context, tx Tx, s *Session, why string) error {
	if err := tx.DeleteSession(ctx, s.Id); err != nil {
		return err
	}
	var details any
	if why != "" {
		details = map[string]string{"why": why}
	}
	return tx.Audit(ctx, host.AuditSessionEnd, host.AuditObject{Kind: "session", Name: s.Id}, details)
}

// OfferSetup writes the token that the first administrator is made with, while
// nobody can sign in; it says whether it did. At an address other than a
// loopback one nothing else is answered until then.
func (g *Gate) OfferSetup(ctx context.Context) (bool, error) {
	set, err := g.IsSetUp(ctx)
	if err != nil {
		return false, err
	}
	if set {
		return false, g.dropBootstrap()
	}
	secret := newSecret()
	if err := g.dropBootstrap(); err != nil {
		return false, err
	}
	f, err := os.OpenFile(g.Bootstrap, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false, host.Errorf(host.Unavailable, "the token of the first administrator can't be written: %w", err)
	}
	if _, err := f.WriteString(secret + "\n"); err != nil {
		_ = f.Close() // the first error is told
		return false, host.Errorf(host.Unavailable, "the token of the first administrator can't be written: %w", err)
	}
	d := digest(secret)
	g.bootstrap.Store(&d)
	return true, f.Close()
}

func (g *Gate) dropBootstrap() error {
	g.bootstrap.Store(nil)
	if err := os.Remove(g.Bootstrap); err != nil && !os.IsNotExist(err) {
		return host.Errorf(host.Unavailable, "the token of the first administrator can't be removed: %w", err)
	}
	return nil
}

// mayBegin tells whether somebody may make the first administrator: with the
// token, or on this machine, where all is allowed until then.
func (g *Gate) mayBegin(ctx context.Context, token string) bool {
	if s := SubjectOf(ctx); s != nil && s.Kind == Open {
		return true
	}
	want := digest("") // nobody's
	if d := g.bootstrap.Load(); d != nil {
		want = *d
	}
	token = strings.TrimSpace(token)
	return subtle.ConstantTimeCompare([]byte(digest(token)), []byte(want)) == 1 && token != ""
}

// SetUp makes the first administrator, with the token of [Gate.OfferSetup], and
// begins a session. On this machine the token is not needed.
func (g *Gate) SetUp(w http.ResponseWriter, r *http.Request, token, name, password string) error {
	if !g.isPrivate(r) {
		return host.Errorf(host.InvalidInput, "a password may be sent over https only: let a proxy with a certificate stand before Provost and set listen.public_url, or run provost admin create on the machine itself")
	}
	if !g.mayBegin(r.Context(), token) {
		return &host.Error{Code: host.Unauthorized, Field: "token", Message: "this is not the token that stands in bootstrap.token, in the data directory"}
	}
	ctx := r.Context()
	a, err := g.newAdministrator(ctx, name, password)
	if err != nil {
		return err
	}
	signedIn := g.Now().UTC()
	a.LastDate = &signedIn
	me := &Subject{Kind: Person, Name: a.Name, AdministratorId: a.Id, Rights: []Right{{Role: Administrator}}}
	err = g.Store.Update(ctx, func(tx Tx) error {
		if err := tx.LockAccess(ctx); err != nil {
			return err
		}
		if list, err := tx.Administrators(ctx); err != nil || len(list) > 0 {
			if err == nil {
				err = host.Errorf(host.Conflict, "there is an administrator already; sign in")
			}
			return err
		}
		return g.insertAdministrator(WithSubject(ctx, me), tx, a)
	})
	if err == nil {
		err = g.dropBootstrap()
	}
	if err == nil {
		err = g.begin(w, r, &Session{Identity: Identity{AdministratorId: a.Id}, Name: a.Name}, nil)
	}
	return err
}

// newAdministrator checks the name and the password of one who is to be.
func (g *Gate) newAdministrator(ctx context.Context, name, password string) (*LocalAdministrator, error) {
	name, err := checkedName(name)
	if err != nil {
		return nil, err
	}
	if err := checkNewPassword(name, password); err != nil {
		return nil, err
	}
	hash, _, err := g.hasher.hash(ctx, password)
	return &LocalAdministrator{Id: host.NewID(), Name: name, Password: hash}, err
}

func (g *Gate) insertAdministrator(ctx context.Context, tx Tx, a *LocalAdministrator) error {
	a.CreatedBy, a.CreatedDate = host.ActorOf(ctx), g.Now().UTC()
	if err := tx.InsertAdministrator(ctx, a); err != nil {
		return err
	}
	return tx.Audit(ctx, host.AuditAdministratorCreate, administratorObject(a), nil)
}

func administratorObject(a *LocalAdministrator) host.AuditObject {
	return host.AuditObject{Kind: "administrator", Name: a.Id}
}
