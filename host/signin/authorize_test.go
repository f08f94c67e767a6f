package signin_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/host/signin/oauthtest"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// records is a real store, with the clock of a test; open counts the
// transactions that are not ended.
type records struct {
	*store.Store
	now  func() time.Time
	open *atomic.Int64
}

type clocked struct {
	*store.Tx
	now func() time.Time
}

func (c clocked) Now(context.Context) (time.Time, error) { return c.now(), nil }

func (r records) Update(ctx context.Context, fn func(signin.Tx) error) error {
	r.open.Add(1)
	defer r.open.Add(-1)
	return r.Store.Update(ctx, func(t *store.Tx) error { return fn(clocked{t, r.now}) })
}

func (r records) View(ctx context.Context, fn func(signin.Tx) error) error {
	r.open.Add(1)
	defer r.open.Add(-1)
	return r.Store.View(ctx, func(t *store.Tx) error { return fn(clocked{t, r.now}) })
}

const redirect = "http://127.0.0.1:1/oauth/callback"

// authorizable is a sign-in that people authorize, over a real store.
type authorizable struct {
	*signin.SignIn
	store    records
	sealer   *secret.Sealer
	provider *oauthtest.Provider
	clock    atomic.Int64
	config   signin.Config
}

func (a *authorizable) now() time.Time { return time.Now().Add(time.Duration(a.clock.Load())) }

func newAuthorizable(t *testing.T, database string, o oauthtest.Options, grant signin.Grant) *authorizable {
	t.Helper()
	o.Redirects = []string{redirect}
	identity, err := secret.GenerateIdentity()
	require.NoError(t, err)
	a := &authorizable{provider: oauthtest.Start(t, o)}
	a.sealer, err = secret.NewSealer(identity)
	require.NoError(t, err)
	opened, err := store.Open(t.Context(), database, store.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, opened.Close()) })
	a.store = records{opened, a.now, new(atomic.Int64)}
	a.config = signin.Config{Name: "Acme", Protocol: signin.OAuth2, Secret: value(oauthtest.ClientSecret), Timeout: 2 * time.Second,
		OAuth2: signin.OAuth2Config{Grant: grant, Issuer: a.provider.URL, ClientID: oauthtest.ClientID, Scopes: []string{"openid", "offline_access", "profile"}}}
	a.SignIn = a.another(t)
	return a
}

// another is the sign-in of another process, with nothing in its memory.
func (a *authorizable) another(t *testing.T) *signin.SignIn {
	t.Helper()
	s, err := signin.New(a.config, signin.Options{Client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		Sealer: a.sealer, Store: a.store, Now: a.now})
	require.NoError(t, err)
	return s
}

func (a *authorizable) authorize(t *testing.T) {
	t.Helper()
	a.provider.Authorize(t, redirect, func(ctx context.Context) (string, error) { return a.Begin(ctx, "", redirect) },
		func(ctx context.Context, answer map[string][]string) error {
			r, err := signin.TakeRequest(ctx, a.store, url.Values(answer).Get("state"), a.now())
			if err != nil {
				return err
			}
			_, err = a.Complete(ctx, r, answer)
			return err
		})
}

func (a *authorizable) row(t *testing.T) *host.Authorization {
	t.Helper()
	var row *host.Authorization
	require.NoError(t, a.store.View(t.Context(), func(tx signin.Tx) (err error) {
		row, err = tx.Authorization(t.Context(), "Acme", "", false)
		return err
	}))
	return row
}

func TestAnAnswerThatIsNotTheOneThatWasAskedForIsRefused(t *testing.T) {
	storetest.Each(t, func(t *testing.T, database string) {
		a := newAuthorizable(t, database, oauthtest.Options{}, signin.AuthorizationCode)
		for name, change := range map[string]func(url.Values){
			"another server":     func(q url.Values) { q.Set("iss", "https://evil.example") },
			"no server":          func(q url.Values) { q.Del("iss") },
			"another code":       func(q url.Values) { q.Set("code", "x") },
			"no code":            func(q url.Values) { q.Del("code") },
			"another's verifier": nil,
		} {
			t.Run(name, func(t *testing.T) {
				first := ""
				a.provider.Authorize(t, redirect, func(ctx context.Context) (string, error) {
					at, err := a.Begin(ctx, "", redirect)
					if change != nil {
						return at, err
					}
					// The state of one authorization with the code of another.
					first = must(url.Parse(at)).Query().Get("state")
					return a.Begin(ctx, "", redirect)
				}, func(ctx context.Context, answer map[string][]string) error {
					q := url.Values(answer)
					if change != nil {
						change(q)
					} else {
						q.Set("state", first)
					}
					r, err := signin.TakeRequest(ctx, a.store, q.Get("state"), a.now())
					require.NoError(t, err)
					_, err = a.Complete(ctx, r, q)
					require.Error(t, err)
					_, err = signin.TakeRequest(ctx, a.store, q.Get("state"), a.now())
					require.Error(t, err, "a state is taken once")
					return nil
				})
				require.Empty(t, a.row(t).State)
			})
		}
		at, err := a.Begin(t.Context(), "", redirect)
		require.NoError(t, err)
		a.clock.Store(int64(time.Hour))
		_, err = signin.TakeRequest(t.Context(), a.store, must(url.Parse(at)).Query().Get("state"), a.now())
		require.ErrorContains(t, err, "time is over")
		q := must(url.Parse(at)).Query()
		require.Equal(t, "S256", q.Get("code_challenge_method"))
		require.Equal(t, redirect, q.Get("redirect_uri"))
	})
}

func TestARefreshThatGetsNoAnswerIsNotTriedAgainAndOneThatIsRefusedForNowIs(t *testing.T) {
	storetest.Each(t, func(t *testing.T, database string) {
		status := 0
		a := newAuthorizable(t, database, oauthtest.Options{Break: func() int { return status }}, signin.AuthorizationCode)
		a.authorize(t)
		a.clock.Store(int64(2 * time.Hour))
		status = http.StatusServiceUnavailable
		_, err := a.Get(t.Context(), "")
		require.Equal(t, host.Unavailable, host.CodeOf(err), "%v", err)
		require.Equal(t, host.Authorized, a.row(t).State, "the server said itself that it did nothing")
		status = http.StatusBadGateway // and here nobody knows
		_, err = a.Get(t.Context(), "")
		var missing *signin.NotAuthorizedError
		require.ErrorAs(t, err, &missing)
		require.Equal(t, host.AuthorizeAgain, a.row(t).State)
		asked := a.provider.Counts().TokenRequests
		status = 0
		_, err = a.another(t).Get(t.Context(), "")
		require.ErrorAs(t, err, &missing)
		require.Equal(t, asked, a.provider.Counts().TokenRequests, "what may have been used is not used again")
		a.clock.Store(0)
		a.authorize(t)
		_, err = a.another(t).Get(t.Context(), "")
		require.NoError(t, err)
		require.Zero(t, a.provider.Counts().Reuses)
	})
}

func TestWhoeverIsLateWithTokensStoresThemAllTheSame(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{}, 1)
	var armed atomic.Bool
	a := newAuthorizable(t, "sqlite://"+t.TempDir()+"/test.db", oauthtest.Options{AfterToken: func(string) {
		if armed.CompareAndSwap(true, false) {
			held <- struct{}{}
			<-hold
		}
	}}, signin.AuthorizationCode)
	a.authorize(t)
	a.clock.Store(int64(2 * time.Hour))
	armed.Store(true)
	done := make(chan error, 1)
	go func() { _, err := a.Get(context.Background(), ""); done <- err }()
	<-held
	a.clock.Store(int64(3 * time.Hour)) // its lease is over: it is thought dead
	_, err := a.another(t).Get(t.Context(), "")
	var missing *signin.NotAuthorizedError
	require.ErrorAs(t, err, &missing)
	require.Contains(t, missing.Why, "cut off")
	close(hold)
	require.NoError(t, <-done)
	require.Equal(t, host.Authorized, a.row(t).State, "they are the newest that there are")
	require.Zero(t, a.provider.Counts().Reuses)
}

func TestTokensOfOneClientAreWorthNothingToAnother(t *testing.T) {
	a := newAuthorizable(t, "sqlite://"+t.TempDir()+"/test.db", oauthtest.Options{}, signin.AuthorizationCode)
	a.authorize(t)
	a.config.OAuth2.ClientID = "somebody else"
	_, err := a.another(t).Get(t.Context(), "")
	require.ErrorContains(t, err, "another client")
}

// Whoever changes where a credential leads gets nothing of what was given for
// where it led.
func TestTokensForOneOriginAreSentToNoOther(t *testing.T) {
	a := newAuthorizable(t, "sqlite://"+t.TempDir()+"/test.db", oauthtest.Options{}, signin.AuthorizationCode)
	a.authorize(t)
	of := func(base string) error {
		s, err := signin.New(a.config, signin.Options{Client: http.DefaultClient, Base: must(url.Parse(base)), Sealer: a.sealer, Store: a.store})
		require.NoError(t, err)
		_, err = s.Get(t.Context(), "")
		return err
	}
	require.ErrorContains(t, of("https://elsewhere.example.com/api"), "another server")
}

func TestADeviceIsAuthorizedOnAnother(t *testing.T) {
	a := newAuthorizable(t, "sqlite://"+t.TempDir()+"/test.db", oauthtest.Options{}, signin.DeviceCode)
	d, err := a.BeginDevice(t.Context(), "")
	require.NoError(t, err)
	require.NotEmpty(t, d.UserCode)
	require.True(t, strings.HasPrefix(d.VerificationURL, a.provider.URL))
	answer, err := http.PostForm(d.VerificationURL, url.Values{"user_code": {d.UserCode}})
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusOK, answer.StatusCode)
	_, err = d.Wait(t.Context())
	require.NoError(t, err)
	_, err = a.another(t).Get(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, host.Authorized, a.row(t).State)
}
