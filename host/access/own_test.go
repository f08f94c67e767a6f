package access_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/signin/oauthtest"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/pdk"
)

func (p *place) ownToken(s *access.Subject, name string, lasts time.Duration, rights ...access.Right) (string, error) {
	_, text, err := p.CreateOwnToken(access.WithSubject(p.t.Context(), s), access.TokenSpec{Name: name, Until: p.now.Add(lasts), Rights: rights})
	return text, err
}

func TestATokenOfAnAdministratorEndsWithTheAdministrator(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPlace(t, url)
		p.administrator("ada")
		p.administrator("bob")
		require.NoError(t, p.signIn("ada", password, ""))
		me := p.me()
		all, err := p.ownToken(me, "all", time.Hour, access.Right{Role: access.Administrator})
		require.NoError(t, err)
		some, err := p.ownToken(me, "ci", time.Hour, access.Right{Role: access.AppOwner, Apps: []string{"acme"}})
		require.NoError(t, err)
		s := p.bearer(some)
		require.True(t, s.MayAt(access.ManageUsers, "acme"))
		require.False(t, s.MayAt(access.ManageUsers, "other") || s.MayAt(access.ManageUsers, "") || s.May(access.ManageAccess))
		require.Equal(t, "token (ci of ada)", s.Actor(), "it does not decide as an administrator does")
		require.Equal(t, "administrator (token all of ada)", p.bearer(all).Actor())
		_, err = p.ownToken(s, "more", time.Hour, access.Right{Role: access.Administrator})
		require.Equal(t, host.PermissionDenied, host.CodeOf(err), "a token gives no more than it has")
		_, err = p.ownToken(s, "longer", 2*time.Hour, access.Right{Role: access.AppOwner, Apps: []string{"acme"}})
		require.Equal(t, host.InvalidInput, host.CodeOf(err), "nor for longer")
		child, err := p.ownToken(s, "less", time.Hour, access.Right{Permissions: []access.Permission{access.ViewSetup}, Apps: []string{"acme"}})
		require.NoError(t, err)
		_, err = p.ownToken(p.bearer(child), "again", time.Hour, access.Right{Permissions: []access.Permission{access.ViewSetup}, Apps: []string{"acme"}})
		require.Equal(t, host.PermissionDenied, host.CodeOf(err))
		require.Equal(t, host.Unsupported, host.CodeOf(p.own(func(w http.ResponseWriter, r *http.Request) error {
			return p.OwnPassword(w, r.WithContext(access.WithSubject(r.Context(), p.bearer(all))), password, password+"!")
		})), "a token is not who knows the password")

		ctx := access.WithSubject(t.Context(), me)
		list, err := p.OwnTokens(ctx)
		require.NoError(t, err)
		require.Len(t, list, 3)
		require.NoError(t, p.signIn("bob", password, ""))
		bob := access.WithSubject(t.Context(), p.me())
		list, err = p.OwnTokens(bob)
		require.NoError(t, err)
		require.Empty(t, list)
		require.Equal(t, host.NotFound, host.CodeOf(p.RevokeToken(bob, "ci", true)), "another's")
		require.NoError(t, p.RevokeToken(ctx, "ci", true))
		require.Nil(t, p.bearer(some))
		require.Nil(t, p.bearer(child), "it was made with that one")
		require.NotNil(t, p.bearer(all))
		require.NoError(t, p.DeleteAdministrator(p.owner(), "ada"))
		require.Nil(t, p.bearer(all))
		_, err = p.ownToken(access.Everything(access.Owner, "api"), "n", time.Hour, access.Right{Role: access.ReadOnly})
		require.Equal(t, host.Unsupported, host.CodeOf(err), "the machine is no person")
	})
}

func TestATokenOfAPersonMayNoMoreThanThePersonMayNow(t *testing.T) {
	provider := oauthtest.Start(t, oauthtest.Options{Redirects: []string{callback}})
	p := newPlace(t, "sqlite://"+filepath.Join(t.TempDir(), "a.db"))
	owner := &access.Assignment{Role: access.AppOwner, Apps: []string{"acme", "other"}, User: oauthtest.Username}
	auditor := &access.Assignment{Role: access.Auditor, OIDCGroup: oauthtest.Username}
	signIn := func() *access.Subject {
		provider.Authorize(t, callback, func(context.Context) (string, error) { return p.begin("/console"), nil },
			func(_ context.Context, answer map[string][]string) error {
				_, err := p.end(answer)
				require.NoError(t, err)
				return nil
			})
		return p.me()
	}
	p.openID(provider.URL, owner, auditor)
	u := p.user("preferred", true)
	u.Username = oauthtest.Username
	require.NoError(t, p.store.Store.Update(t.Context(), func(tx *store.Tx) error { return tx.PutUser(t.Context(), u) }))
	me := signIn()
	require.NotEmpty(t, me.Rights)
	_, err := p.ownToken(me, "no", time.Hour, access.Right{Role: access.Administrator})
	require.Equal(t, host.PermissionDenied, host.CodeOf(err))
	_, err = p.ownToken(me, "no", 91*24*time.Hour, access.Right{Role: access.Auditor})
	require.Equal(t, host.InvalidInput, host.CodeOf(err), "the configuration bounds it")
	text, err := p.ownToken(me, "mine", 80*24*time.Hour, access.Right{Role: access.Auditor}, access.Right{Permissions: []access.Permission{access.ManageUsers, access.ViewSetup}, Apps: []string{"acme", "other"}})
	require.NoError(t, err)
	s := p.bearer(text)
	require.True(t, s.MayAt(access.ManageUsers, "other") && s.MayAt(access.ViewAudit, ""))
	require.False(t, s.May(access.CustomizeApplication) || s.May(access.ApproveRequests), "it was not made for that")
	require.Equal(t, oauthtest.Username, s.Actor())

	p.openID(provider.URL, &access.Assignment{Role: access.AppOwner, Apps: []string{"acme"}, User: oauthtest.Username}, auditor)
	s = p.bearer(text)
	require.True(t, s.MayAt(access.ManageUsers, "acme") && !s.MayAt(access.ManageUsers, "other"), "an app was taken away")
	p.now = p.now.Add(31 * 24 * time.Hour)
	require.False(t, p.bearer(text).May(access.ViewAudit), "the provider said so a month ago")
	p.now = p.now.Add(-31 * 24 * time.Hour)
	p.openID(provider.URL)
	require.Nil(t, p.bearer(text), "nothing is left")
	p.openID(provider.URL, owner, auditor)
	require.NotNil(t, p.bearer(text))
	u.IsActive = false
	require.NoError(t, p.store.Store.Update(t.Context(), func(tx *store.Tx) error { return tx.PutUser(t.Context(), u) }))
	require.Nil(t, p.bearer(text), "the person was deactivated")
	p.Use(access.Settings{Idle: time.Hour, Lifetime: time.Hour, Renew: time.Hour})
	require.Nil(t, p.bearer(text), "nobody signs in there any more")
}

func TestNamesThatLookAlikeAreOne(t *testing.T) {
	p := newPlace(t, "sqlite://"+filepath.Join(t.TempDir(), "a.db"))
	p.administrator("Ärmel")
	for _, same := range []string{"ärmel", "A\u0308rmel", "ÄRMEL ", "ä\uff52mel"} {
		_, err := p.CreateAdministrator(p.owner(), same, password)
		require.Equal(t, host.AlreadyExists, host.CodeOf(err), "%q", same)
		require.NoError(t, p.signIn(same, password, ""), "%q", same)
	}
	p.administrator("ада") // her own alphabet
	for _, bad := range []string{"\u0430da", "a\u200bda", "ada\u202e", "ad\u00a0a", "a\x00da", "\u03bfmar o"} {
		_, err := p.CreateAdministrator(p.owner(), bad, password)
		require.Equal(t, host.InvalidInput, host.CodeOf(err), "%q", bad)
		_, _, err = p.CreateToken(p.owner(), access.TokenSpec{Name: bad, Until: p.now.Add(time.Hour), Rights: []access.Right{{Role: access.ReadOnly}}})
		require.Equal(t, host.InvalidInput, host.CodeOf(err), "%q", bad)
	}
}

func TestARoleOfTheConfigurationIsOfOneUsername(t *testing.T) {
	for name, want := range map[string]bool{"sam": true, "SAM ": true, "ſam": false} {
		u := &host.User{User: pdk.User{Id: "x", Username: name}}
		require.Equal(t, want, access.Holds(u, &access.Assignment{Role: access.Auditor, User: "sam"}), "%q", name)
	}
	u := &host.User{User: pdk.User{Id: "x", Username: "id-of-another"}}
	require.False(t, access.Holds(u, &access.Assignment{Id: "stored", Role: access.Auditor, User: "id-of-another"}), "what is stored names an id")
}

func TestACodeIsTakenOnceOfManyAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPlace(t, url)
		p.administrator("ada")
		require.NoError(t, p.signIn("ada", password, ""))
		e, err := p.BeginTOTP(access.WithSubject(t.Context(), p.me()))
		require.NoError(t, err)
		code, err := totp.GenerateCode(e.Secret, p.now)
		require.NoError(t, err)
		var recovery []string
		require.NoError(t, p.own(func(w http.ResponseWriter, r *http.Request) (err error) {
			recovery, err = p.EnableTOTP(w, r, password, e.Secret, code)
			return err
		}))
		p.now = p.now.Add(time.Minute)
		code, err = totp.GenerateCode(e.Secret, p.now)
		require.NoError(t, err)
		for _, once := range []string{recovery[0], code} {
			var wg sync.WaitGroup
			errs := make([]error, 4)
			for i := range errs {
				wg.Go(func() {
					errs[i] = p.SignIn(httptest.NewRecorder(), p.request(), access.Attempt{Name: "ada", Password: password, Code: once})
				})
			}
			wg.Wait()
			in := 0
			for _, err := range errs {
				if err == nil {
					in++
				}
			}
			require.Equal(t, 1, in, "%v", errs)
		}
	})
}

func TestManyMachinesAreNotAsManyGuesses(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPlace(t, url)
		p.administrator("ada")
		require.NoError(t, p.signIn("ada", password, ""))
		known := p.cookies
		p.leave()
		first, tries := p.Gate, 0
		machines := []*access.Gate{first}
		for range 3 {
			g := access.New(access.Options{Store: p.store, Logger: slog.New(slog.DiscardHandler), Bootstrap: p.Bootstrap, Now: func() time.Time { return p.now }})
			g.Cheap()
			machines = append(machines, g)
		}
		p.from = "127.0.0.9:1"
		for range 300 { // one a second at each, for five minutes
			for _, p.Gate = range machines {
				if host.CodeOf(p.signIn("ada", "guess", "")) == host.Unauthorized {
					tries++
				}
			}
			p.now = p.now.Add(time.Second)
		}
		require.Less(t, tries, 20)
		p.Gate = machines[2]
		require.Equal(t, host.RateLimited, host.CodeOf(p.signIn("ada", password, "")))
		p.cookies = known
		require.NoError(t, p.signIn("ada", password, ""), "where she has signed in before nobody's guesses count")
	})
}

func TestAFloodOfGuessesIsNoneForTheDatabase(t *testing.T) {
	p := newPlace(t, "sqlite://"+filepath.Join(t.TempDir(), "a.db"))
	for n := range 3000 {
		p.leave()
		p.from = "10.1." + string(rune('0'+n%10)) + ".1:1"
		_ = p.signIn(http.StatusText(n)+time.Duration(n).String(), "guess", "")
	}
	stored := 0
	count := func() {
		require.NoError(t, p.store.Store.View(t.Context(), func(tx *store.Tx) error {
			list, err := tx.Guesses(t.Context(), nil)
			stored = len(list)
			return err
		}))
	}
	count()
	require.Positive(t, stored)
	require.Less(t, stored, 200, "what is beyond is counted by the machine itself")
	require.NoError(t, p.store.Store.Update(t.Context(), func(tx *store.Tx) error { return tx.PruneGuesses(t.Context(), p.now.Add(-time.Hour), 10) }))
	count()
	require.Equal(t, 10, stored, "the newest stay")
}

func TestASessionThatTwoHadTakesItsTokensAlong(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPlace(t, url)
		p.administrator("ada")
		token := func(name string) string {
			text, err := p.ownToken(p.me(), name, 24*time.Hour, access.Right{Role: access.ReadOnly})
			require.NoError(t, err)
			return text
		}
		require.NoError(t, p.signIn("ada", password, ""))
		first := p.secret()
		taken := token("made by whoever it was")
		_, err := p.ownToken(p.bearer(taken), "made with it", time.Hour, access.Right{Role: access.ReadOnly})
		require.NoError(t, err)
		p.leave()
		require.NoError(t, p.signIn("ada", password, ""))
		elsewhere := token("made elsewhere")

		p.now = p.now.Add(20 * time.Minute)
		_, second := p.with(first)
		_, _ = p.with(second)
		p.now = p.now.Add(time.Minute)
		s, _ := p.with(first)
		require.Nil(t, s, "it was given up")
		require.Nil(t, p.bearer(taken))
		require.NotNil(t, p.bearer(elsewhere))
		list, err := p.Tokens(t.Context())
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.NoError(t, p.ResetPassword(p.owner(), "ada", password+" anew"))
		require.Nil(t, p.bearer(elsewhere))
	})
}

func TestATokenEndsItselfAndItsOwnAndGivesNothingThatLastsLonger(t *testing.T) {
	p := newPlace(t, "sqlite://"+filepath.Join(t.TempDir(), "a.db"))
	p.administrator("ada")
	require.NoError(t, p.signIn("ada", password, ""))
	me := p.me()
	all := access.Right{Role: access.Administrator}
	other, err := p.ownToken(me, "other", time.Hour, all)
	require.NoError(t, err)
	text, err := p.ownToken(me, "ci", time.Hour, all)
	require.NoError(t, err)
	s := p.bearer(text)
	with := access.WithSubject(t.Context(), s)
	child, err := p.ownToken(s, "child", time.Hour, all)
	require.NoError(t, err)
	few := p.bearer(child)
	few.Rights = []access.Right{{Role: access.ReadOnly}}
	require.Equal(t, host.NotFound, host.CodeOf(p.EndSession(access.WithSubject(t.Context(), few), me.SessionId)), "a program ends no session of its person")
	require.NotNil(t, p.me())
	_, _, err = p.CreateToken(with, access.TokenSpec{Name: "host", Until: p.now.Add(2 * time.Hour), Rights: []access.Right{all}})
	require.Equal(t, host.InvalidInput, host.CodeOf(err))
	require.Equal(t, host.NotFound, host.CodeOf(p.RevokeToken(with, "other", true)))
	require.NoError(t, p.RevokeToken(with, "child", true))
	require.NoError(t, p.RevokeToken(with, "ci", true))
	require.Nil(t, p.bearer(text))
	require.NotNil(t, p.bearer(other))
}

func TestATokenNamesEachThingOnceAndNotTooMany(t *testing.T) {
	p := newPlace(t, "sqlite://"+filepath.Join(t.TempDir(), "a.db"))
	p.administrator("ada")
	require.NoError(t, p.signIn("ada", password, ""))
	for _, right := range []access.Right{
		{Permissions: []access.Permission{access.ViewSetup, access.ViewSetup}},
		{Role: access.AppOwner, Apps: make([]string, 1001)},
		{Role: access.AppOwner, Apps: []string{""}},
		{Role: access.AppOwner, Apps: []string{strings.Repeat("a", 201)}},
	} {
		_, err := p.ownToken(p.me(), "n", time.Hour, right)
		require.Equal(t, host.InvalidInput, host.CodeOf(err), "%.60v", right)
	}
	for i := range 101 { // what has expired counts no more
		if i == 100 {
			p.now = p.now.Add(2 * time.Minute)
		}
		_, err := p.ownToken(p.me(), "n", time.Minute, access.Right{Role: access.ReadOnly})
		require.NoError(t, err)
	}
}
