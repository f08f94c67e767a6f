package access_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// stored is a store as the gate sees it, which notes what is audited.
type stored struct {
	*store.Store
	mu      sync.Mutex
	audited []string
}

type txn struct {
	*store.Tx
	s *stored
}

func (t txn) Audit(ctx context.Context, action host.AuditAction, _ host.AuditObject, _ any) error {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.s.audited = append(t.s.audited, string(action)+" by "+host.ActorOf(ctx))
	return nil
}

func (s *stored) Update(ctx context.Context, fn func(access.Tx) error) error {
	return s.Store.Update(ctx, func(t *store.Tx) error { return fn(txn{t, s}) })
}

func (s *stored) View(ctx context.Context, fn func(access.Tx) error) error {
	return s.Store.View(ctx, func(t *store.Tx) error { return fn(txn{t, s}) })
}

// place is a gate with its clock and a browser.
type place struct {
	*access.Gate
	t       *testing.T
	store   *stored
	now     time.Time
	cookies map[string]*http.Cookie
	// from is the address of the browser, at the one that it asks, forwarded what a
	// proxy says.
	from, at, forwarded string
}

const password = "correct horse battery"

func newPlace(t *testing.T, url string) *place {
	t.Helper()
	s, err := store.Open(t.Context(), url, store.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	p := &place{t: t, store: &stored{Store: s}, now: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC), from: "127.0.0.1:5000", at: "127.0.0.1:8080"}
	p.Gate = access.New(access.Options{Store: p.store, Logger: slog.New(slog.DiscardHandler), Bootstrap: filepath.Join(t.TempDir(), "bootstrap.token"), Now: func() time.Time { return p.now }})
	p.Cheap()
	p.leave()
	return p
}

// leave is another browser.
func (p *place) leave() { p.cookies = map[string]*http.Cookie{} }

func (p *place) request() *http.Request {
	r := httptest.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://"+p.at+"/console", nil)
	r.RemoteAddr = p.from
	if p.forwarded != "" {
		r.Header.Set("X-Forwarded-For", p.forwarded)
	}
	for _, c := range p.cookies {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	return r
}

// ask does something at the browser, which keeps the cookies that it is given.
func (p *place) ask(do func(w http.ResponseWriter, r *http.Request) error) error {
	w := httptest.NewRecorder()
	err := do(w, p.request())
	for _, c := range w.Result().Cookies() { //nolint:bodyclose // a recorder's
		if p.cookies[c.Name] = c; c.MaxAge < 0 {
			delete(p.cookies, c.Name)
		}
	}
	return err
}

func (p *place) signIn(name, password, code string) error {
	return p.ask(func(w http.ResponseWriter, r *http.Request) error {
		return p.SignIn(w, r, access.Attempt{Name: name, Password: password, Code: code})
	})
}

// me is who the browser's requests are from.
func (p *place) me() *access.Subject {
	p.t.Helper()
	var s *access.Subject
	require.NoError(p.t, p.ask(func(w http.ResponseWriter, r *http.Request) (err error) {
		s, err = p.Identify(w, r)
		return err
	}))
	return s
}

// own does something for the person at the browser.
func (p *place) own(do func(w http.ResponseWriter, r *http.Request) error) error {
	me := p.me()
	return p.ask(func(w http.ResponseWriter, r *http.Request) error {
		return do(w, r.WithContext(access.WithSubject(r.Context(), me)))
	})
}

func (p *place) owner() context.Context {
	return access.WithSubject(p.t.Context(), access.Everything(access.Owner, "api"))
}

func (p *place) administrator(name string) {
	p.t.Helper()
	_, err := p.CreateAdministrator(p.owner(), name, password)
	require.NoError(p.t, err)
}

func TestASessionBeginsWithASignInAndEndsWhenItIsOver(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPlace(t, url)
		require.Nil(t, p.me())
		p.administrator("Ada")
		require.Equal(t, host.Unauthorized, host.CodeOf(p.signIn("ada", "wrong", "")))
		require.Equal(t, host.Unauthorized, host.CodeOf(p.signIn("nobody", password, "")))
		require.Nil(t, p.me())
		require.NoError(t, p.signIn("ada", password, ""))
		require.Equal(t, "Ada", p.me().Name)
		require.True(t, p.me().MayAt(access.ManageAccess, ""))
		p.now = p.now.Add(59 * time.Minute)
		require.NotNil(t, p.me(), "it is used")
		p.now = p.now.Add(59 * time.Minute)
		require.NotNil(t, p.me())
		p.now = p.now.Add(62 * time.Minute)
		require.Nil(t, p.me(), "nobody used it for an hour")
		require.NoError(t, p.signIn("ada", password, ""))
		for range 13 {
			p.now = p.now.Add(55 * time.Minute)
			require.NotNil(t, p.me())
		}
		p.now = p.now.Add(10 * time.Minute)
		require.Nil(t, p.me(), "the sign-in is twelve hours ago")
		require.Contains(t, p.store.audited, "session.begin by administrator (Ada)")
	})
}

func TestASessionThatWasThereBeforeTheSignInIsNotTheOneAfterIt(t *testing.T) {
	p := newPlace(t, "sqlite://"+filepath.Join(t.TempDir(), "a.db"))
	p.administrator("ada")
	p.administrator("eve")
	require.NoError(t, p.signIn("eve", password, ""))
	given := *p.cookies["provost-session"]
	require.NoError(t, p.signIn("ada", password, ""))
	require.NotEqual(t, given.Value, p.cookies["provost-session"].Value)
	p.leave()
	p.cookies[given.Name] = &given
	require.Nil(t, p.me(), "who gave the browser that session has none")
	p.cookies[given.Name] = &http.Cookie{Name: given.Name, Value: "chosen"}
	require.NoError(t, p.signIn("ada", password, ""))
	require.NotEqual(t, "chosen", p.cookies[given.Name].Value)
}

func TestSigningOutEverywhereEndsAllSessionsOfOnePerson(t *testing.T) {
	p := newPlace(t, "sqlite://"+filepath.Join(t.TempDir(), "a.db"))
	p.administrator("ada")
	p.administrator("bob")
	browsers := map[string]map[string]*http.Cookie{}
	for _, name := range []string{"ada", "ada 2", "ada 3", "bob"} {
		p.leave()
		require.NoError(t, p.signIn(strings.Fields(name)[0], password, ""))
		browsers[name] = p.cookies
	}
	out := func(name string, everywhere bool) {
		p.cookies = browsers[name]
		me := p.me()
		require.NoError(t, p.ask(func(w http.ResponseWriter, r *http.Request) error {
			return p.SignOut(w, r.WithContext(access.WithSubject(r.Context(), me)), everywhere)
		}))
	}
	alive := func() (names []string) {
		for _, name := range []string{"ada", "ada 2", "ada 3", "bob"} {
			if p.cookies = browsers[name]; p.me() != nil {
				names = append(names, name)
			}
		}
		return names
	}
	out("ada", false)
	require.Equal(t, []string{"ada 2", "ada 3", "bob"}, alive())
	out("ada 2", true)
	require.Equal(t, []string{"bob"}, alive())
	require.NoError(t, p.ResetPassword(p.owner(), "bob", password+"!"))
	require.Empty(t, alive())
}

func TestCookiesAreForUsAlone(t *testing.T) {
	p := newPlace(t, "sqlite://"+filepath.Join(t.TempDir(), "a.db"))
	p.Use(access.Settings{Idle: time.Hour, Lifetime: time.Hour, Renew: time.Hour, PublicURL: "https://provost.example.com"})
	p.administrator("ada")
	require.NoError(t, p.signIn("ada", password, ""))
	for name, c := range p.cookies {
		require.True(t, c.HttpOnly && c.Path == "/" && c.Domain == "" && c.SameSite == http.SameSiteLaxMode && !c.Secure, name)
	}
	p.leave()
	p.at = "provost.example.com"
	require.NoError(t, p.signIn("ada", password, ""))
	require.Len(t, p.cookies, 2)
	for name, c := range p.cookies {
		require.True(t, c.HttpOnly && c.Path == "/" && c.Domain == "" && c.SameSite == http.SameSiteLaxMode && c.Secure, name)
		require.True(t, strings.HasPrefix(name, "__Host-"), name)
	}
	require.NotNil(t, p.me())
	p.at, p.from = "provost.internal:8080", "10.0.0.7:1234"
	require.Equal(t, host.InvalidInput, host.CodeOf(p.signIn("ada", password, "")), "anybody on the way could read it")
}

func TestWhoGuessesIsSlowedDownAndNobodyIsLockedOut(t *testing.T) {
	p := newPlace(t, "sqlite://"+filepath.Join(t.TempDir(), "a.db"))
	p.administrator("ada")
	require.NoError(t, p.signIn("ada", password, ""))
	known := p.cookies
	p.leave()
	p.from = "127.0.0.9:1"
	tries := 0
	for range 600 { // one a second
		if host.CodeOf(p.signIn("ada", "guess", "")) == host.Unauthorized {
			tries++
		}
		p.now = p.now.Add(time.Second)
	}
	require.Less(t, tries, 25, "ten minutes of guessing")
	err := p.signIn("ada", password, "")
	require.Equal(t, host.RateLimited, host.CodeOf(err), "not even the right one")
	var limited *host.Error
	require.ErrorAs(t, err, &limited)
	require.LessOrEqual(t, limited.RetryAfter, time.Minute, "there is a bound")
	p.from = "127.0.0.10:1"
	require.NoError(t, p.signIn("ada", password, ""), "who asks from elsewhere is not slowed down")
	for n := range 2000 { // from many addresses
		p.leave()
		p.from = fmt.Sprintf("10.1.%d.%d:1", n/250, n%250)
		_ = p.signIn("ada", "guess", "")
	}
	p.leave()
	p.from = "127.0.0.11:1"
	err = p.signIn("ada", password, "")
	require.ErrorAs(t, err, &limited)
	require.LessOrEqual(t, limited.RetryAfter, 10*time.Second, "a browser that nobody knows waits a little")
	p.cookies, p.from = known, "127.0.0.9:1"
	require.NoError(t, p.signIn("ada", password, ""), "at a browser that is known nobody waits for what others do")
	p.leave()
	p.Use(access.Settings{Idle: time.Hour, Lifetime: time.Hour, Renew: time.Hour, Proxies: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}})
	p.now, p.from = p.now.Add(2*time.Hour), "10.9.0.1:1"
	for range 20 {
		p.forwarded = "198.51.100.1, 203.0.113.1" // the first is what the guesser wrote
		_ = p.signIn("ada", "guess", "")
	}
	p.forwarded = "198.51.100.2, 203.0.113.1"
	require.Equal(t, host.RateLimited, host.CodeOf(p.signIn("ada", password, "")), "it is the same guesser")
	p.forwarded = "203.0.113.2"
	require.NoError(t, p.signIn("ada", password, ""), "another comes through the same proxy")
	p.from, p.forwarded = "203.0.113.1:1", "203.0.113.2"
	require.Equal(t, host.RateLimited, host.CodeOf(func() error { p.leave(); return p.signIn("ada", password, "") }()), "who is no proxy of ours is not believed")
	p.forwarded = ""
	for n := range 12_000 {
		p.leave()
		p.from = fmt.Sprintf("10.%d.%d.1:1", 2+n/250, n%250)
		_ = p.signIn(fmt.Sprintf("name%d", n), strings.Repeat("x", access.LongestPassword+1), "") // no work
	}
	require.LessOrEqual(t, p.Remembered(), p.MostRemembered())
}

func TestAOneTimeCodeIsAskedForAndTakenOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPlace(t, url)
		p.administrator("ada")
		require.NoError(t, p.signIn("ada", password, ""))
		me := access.WithSubject(t.Context(), p.me())
		e, err := p.BeginTOTP(me)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(e.Image, "data:image/png;base64,"))
		code := func(after time.Duration) string {
			c, err := totp.GenerateCode(e.Secret, p.now.Add(after))
			require.NoError(t, err)
			return c
		}
		var recovery []string
		enable := func(password, code string) error {
			return p.own(func(w http.ResponseWriter, r *http.Request) (err error) {
				recovery, err = p.EnableTOTP(w, r, password, e.Secret, code)
				return err
			})
		}
		require.Equal(t, host.InvalidInput, host.CodeOf(enable("wrong", code(0))), "a session alone is not enough")
		require.Equal(t, host.InvalidInput, host.CodeOf(enable(password, "000000")))
		require.NoError(t, enable(password, code(0)))
		require.Len(t, recovery, 10)
		require.Error(t, p.signIn("ada", password, ""))
		require.Error(t, p.signIn("ada", password, code(0)), "it was used when it was set up")
		p.now = p.now.Add(time.Minute)
		used := code(0)
		require.NoError(t, p.signIn("ada", password, used))
		require.Error(t, p.signIn("ada", password, used), "it is taken once")
		require.Error(t, p.signIn("ada", password, code(-30*time.Second)), "one from before is over")
		require.NoError(t, p.signIn("ada", password, code(30*time.Second)), "clocks differ")
		require.NoError(t, p.signIn("ada", password, recovery[3]))
		require.Error(t, p.signIn("ada", password, recovery[3]), "it is taken once, too")
		require.NoError(t, p.own(func(w http.ResponseWriter, r *http.Request) error {
			return p.OwnPassword(w, r, password, "another horse battery")
		}))
		p.now = p.now.Add(time.Hour)
		require.Error(t, p.signIn("ada", "another horse battery", ""), "codes are asked for as before")
		p.now = p.now.Add(time.Hour)
		require.NoError(t, p.signIn("ada", "another horse battery", code(0)))
		require.NoError(t, p.ResetTOTP(p.owner(), "ada"))
		require.NoError(t, p.signIn("ada", "another horse battery", ""))
		p.store.Store.View(t.Context(), func(tx *store.Tx) error { //nolint:errcheck // looked at below
			a, err := tx.Administrator(t.Context(), "ada")
			require.NoError(t, err)
			require.NotContains(t, fmt.Sprint(*a), e.Secret)
			return nil
		})
	})
}

func TestATokenIsForWhatItWasGivenForUntilItExpires(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPlace(t, url)
		spec := access.TokenSpec{Name: "nightly", Until: p.now.Add(24 * time.Hour), Rights: []access.Right{{Role: access.AppOwner, Apps: []string{"acme"}}}}
		made, text, err := p.CreateToken(p.owner(), spec)
		require.NoError(t, err)
		ask := func(text string) (*access.Subject, error) {
			r := p.request()
			r.Header.Set("Authorization", "Bearer "+text)
			return p.Identify(httptest.NewRecorder(), r)
		}
		s, err := ask(text)
		require.NoError(t, err)
		require.True(t, s.MayAt(access.ManageUsers, "acme"))
		require.False(t, s.MayAt(access.ManageUsers, "other") || s.MayAt(access.ManageUsers, "") || s.May(access.ManageAccess))
		require.Equal(t, "token (nightly)", s.Actor())
		list, err := p.Tokens(p.owner())
		require.NoError(t, err)
		require.NotNil(t, list[0].LastDate, "the last use is noted")
		for _, bad := range []string{"", "pvt_", text[:len(text)-1], text + "0", "pvt_000000000000_" + text[len(text)-64:], text[:17], strings.ToUpper(text), made.Digest} {
			_, err := ask(bad)
			require.Equal(t, host.Unauthorized, host.CodeOf(err), bad)
		}
		p.now = p.now.Add(25 * time.Hour)
		_, err = ask(text)
		require.Equal(t, host.Unauthorized, host.CodeOf(err), "it has expired")
		p.now = p.now.Add(-2 * time.Hour)
		require.NoError(t, p.RevokeToken(p.owner(), "nightly", false))
		_, err = ask(text)
		require.Equal(t, host.Unauthorized, host.CodeOf(err), "it was revoked")
		for _, bad := range []access.TokenSpec{
			{Name: "", Until: spec.Until, Rights: spec.Rights}, {Name: "a", Until: p.now, Rights: spec.Rights}, {Name: "a", Until: p.now.AddDate(2, 0, 0), Rights: spec.Rights},
			{Name: "a", Until: spec.Until}, {Name: "a", Until: spec.Until, Rights: []access.Right{{Role: "king"}}}, {Name: "a", Until: spec.Until, Rights: []access.Right{{Role: access.AppOwner}}},
			{Name: "a", Until: spec.Until, Rights: []access.Right{{Role: access.Auditor, Apps: []string{}}}}, {Name: "administrator (x)", Until: spec.Until, Rights: spec.Rights},
		} {
			_, _, err := p.CreateToken(p.owner(), bad)
			require.Equal(t, host.InvalidInput, host.CodeOf(err), bad)
		}
	})
}

func TestNobodyGivesMoreThanHeHas(t *testing.T) {
	p := newPlace(t, "sqlite://"+filepath.Join(t.TempDir(), "a.db"))
	p.administrator("ada")
	some := access.WithSubject(t.Context(), &access.Subject{Kind: access.Token, Name: "some", Rights: []access.Right{
		{Permissions: []access.Permission{access.ManageAccess, access.ViewSetup}}, {Role: access.AppOwner, Apps: []string{"acme"}}}})
	token := func(g access.Right) error {
		_, _, err := p.CreateToken(some, access.TokenSpec{Name: "n", Until: p.now.Add(time.Hour), Rights: []access.Right{g}})
		return err
	}
	require.NoError(t, token(access.Right{Role: access.ReadOnly}))
	require.NoError(t, token(access.Right{Role: access.AppOwner, Apps: []string{"acme"}}))
	require.Equal(t, host.PermissionDenied, host.CodeOf(token(access.Right{Role: access.AppOwner, Apps: []string{"acme", "other"}})))
	require.Equal(t, host.PermissionDenied, host.CodeOf(token(access.Right{Role: access.Administrator})))
	require.Equal(t, host.PermissionDenied, host.CodeOf(token(access.Right{Permissions: []access.Permission{access.OperateHost}})))
	_, err := p.AssignRole(some, access.Assignment{Role: access.Administrator, OIDCGroup: "all"})
	require.Equal(t, host.PermissionDenied, host.CodeOf(err))
	_, err = p.CreateAdministrator(some, "eve", password)
	require.Equal(t, host.PermissionDenied, host.CodeOf(err))
	require.Equal(t, host.PermissionDenied, host.CodeOf(p.ResetPassword(some, "ada", password+"!")))
	require.Equal(t, host.PermissionDenied, host.CodeOf(p.ResetTOTP(some, "ada")))
	require.Equal(t, host.PermissionDenied, host.CodeOf(p.DeleteAdministrator(some, "ada")))
	require.Equal(t, host.Conflict, host.CodeOf(p.DeleteAdministrator(p.owner(), "ada")), "nobody could sign in any more")
	p.administrator("bob")
	require.NoError(t, p.DeleteAdministrator(p.owner(), "ADA"))
	_, err = p.CreateAdministrator(p.owner(), "Bob ", password)
	require.Equal(t, host.AlreadyExists, host.CodeOf(err))
}

func TestTheFirstAdministratorIsMadeWithTheTokenOnce(t *testing.T) {
	p := newPlace(t, "sqlite://"+filepath.Join(t.TempDir(), "a.db"))
	setUp := func(token, name, password string) error {
		return p.ask(func(w http.ResponseWriter, r *http.Request) error { return p.SetUp(w, r, token, name, password) })
	}
	require.Equal(t, host.Unauthorized, host.CodeOf(setUp("", "ada", password)), "nothing was offered")
	offered, err := p.OfferSetup(t.Context())
	require.NoError(t, err)
	require.True(t, offered)
	info, err := os.Stat(p.Bootstrap)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	text, err := os.ReadFile(p.Bootstrap)
	require.NoError(t, err)
	require.Equal(t, host.Unauthorized, host.CodeOf(setUp("x"+string(text)[1:64], "ada", password+"0")))
	require.Equal(t, host.InvalidInput, host.CodeOf(setUp(string(text), "ada", "short")))
	require.Equal(t, host.InvalidInput, host.CodeOf(setUp(string(text), "administrator (x)", password)))
	set, err := p.IsSetUp(t.Context())
	require.NoError(t, err)
	require.False(t, set)
	var wg sync.WaitGroup
	results := make([]error, 4)
	for i := range results {
		wg.Go(func() {
			results[i] = p.SetUp(httptest.NewRecorder(), p.request(), string(text), fmt.Sprintf("ada%d", i), password)
		})
	}
	wg.Wait()
	made := 0
	for _, err := range results {
		if err == nil {
			made++
		}
	}
	require.Equal(t, 1, made, "one of many at once")
	require.NoFileExists(t, p.Bootstrap)
	require.Error(t, setUp(string(text), "eve", password), "it is over")
	set, err = p.IsSetUp(t.Context())
	require.NoError(t, err)
	require.True(t, set)
	offered, err = p.OfferSetup(t.Context())
	require.NoError(t, err)
	require.False(t, offered)
}

func TestAfterTheSignInOneStaysHere(t *testing.T) {
	for to, want := range map[string]string{
		"/console/apps/acme": "/console/apps/acme", "/console": "/console", "/console/requests?state=Failed": "/console/requests?state=Failed",
		"": "/console", "https://evil.example": "/console", "//evil.example": "/console", "///evil.example": "/console", "/\\evil.example": "/console",
		"/console/../api": "/console", "/console//evil.example": "/console", "javascript:alert(1)": "/console", "/consoleevil": "/console", "/api/v1/users": "/console",
		"/console/sign-in?next=/console": "/console", "/console\r\nSet-Cookie: a=b": "/console", "http:/console": "/console", "/%2f/evil.example": "/console", "\t//evil.example": "/console",
	} {
		require.Equal(t, want, access.Next(to), "%q", to)
	}
}

func TestPasswordsThatAreEasilyGuessedAreRefused(t *testing.T) {
	p := newPlace(t, "sqlite://"+filepath.Join(t.TempDir(), "a.db"))
	for _, bad := range []string{"", "short", strings.Repeat("a", 20), strings.Repeat("ab", 600), "administrator", "\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6\xf5\xf4\xf3"} {
		_, err := p.CreateAdministrator(p.owner(), "administrator", bad)
		require.Equal(t, host.InvalidInput, host.CodeOf(err), "%q", bad)
	}
}
