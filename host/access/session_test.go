package access_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/store/storetest"
)

// secret is what the browser has of its session.
func (p *place) secret() string {
	c := p.cookies["provost-session"]
	if c == nil {
		return ""
	}
	return c.Value
}

// with is who asks with a secret, and what the browser is given.
func (p *place) with(secret string) (s *access.Subject, given string) {
	p.t.Helper()
	r := p.request()
	r.Header.Del("Cookie")
	r.AddCookie(&http.Cookie{Name: "provost-session", Value: secret})
	w := httptest.NewRecorder()
	s, err := p.Identify(w, r)
	require.NoError(p.t, err)
	for _, c := range w.Result().Cookies() { //nolint:bodyclose // a recorder's
		given = c.Value
	}
	return s, given
}

func TestTheSecretOfASessionChangesWhileItLasts(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPlace(t, url)
		p.administrator("ada")
		require.NoError(t, p.signIn("ada", password, ""))
		first := p.secret()
		p.now = p.now.Add(14 * time.Minute)
		_, given := p.with(first)
		require.Empty(t, given, "it is young")
		p.now = p.now.Add(time.Minute)
		var wg sync.WaitGroup
		answers := make([]string, 8)
		for i := range answers {
			wg.Go(func() {
				r, w := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:8080/console", nil), httptest.NewRecorder()
				r.AddCookie(&http.Cookie{Name: "provost-session", Value: first})
				if s, err := p.Identify(w, r); err == nil && s != nil {
					answers[i] = w.Header().Get("Set-Cookie")
				} else {
					answers[i] = "refused"
				}
			})
		}
		wg.Wait()
		second := ""
		for _, answer := range answers {
			require.NotEqual(t, "refused", answer, "requests of one page are under way together")
			if answer != "" {
				require.Empty(t, second, "one of them brings the next")
				c, err := http.ParseSetCookie(answer)
				require.NoError(t, err)
				second = c.Value
			}
		}
		require.NotEmpty(t, second)
		require.NotEqual(t, first, second)
		p.now = p.now.Add(20 * time.Second)
		s, given := p.with(second)
		require.NotNil(t, s)
		require.Empty(t, given)
		p.now = p.now.Add(25 * time.Second)
		s, given = p.with(first)
		require.NotNil(t, s, "a request that was slow")
		require.Empty(t, given, "and is not given the secret of now")
		p.now = p.now.Add(10 * time.Second)
		s, _ = p.with(first)
		require.Nil(t, s, "it was given up")
		s, _ = p.with(second)
		require.Nil(t, s, "two had the session")
		require.Contains(t, p.store.audited, "session.end by provost")
	})
}

func TestASecretThatNeverArrivedIsBroughtAgain(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPlace(t, url)
		p.administrator("ada")
		require.NoError(t, p.signIn("ada", password, ""))
		first := p.secret()
		p.now = p.now.Add(20 * time.Minute)
		_, lost := p.with(first)
		require.NotEmpty(t, lost)
		p.now = p.now.Add(40 * time.Minute)
		s, again := p.with(first)
		require.NotNil(t, s)
		require.NotEmpty(t, again)
		require.NotEqual(t, lost, again, "whoever has the lost one is not the browser that asks")
		s, given := p.with(again)
		require.NotNil(t, s)
		require.NotEqual(t, again, given)
		p.now = p.now.Add(time.Minute)
		s, _ = p.with(lost)
		require.Nil(t, s, "whoever has it has stolen it")
		s, _ = p.with(again)
		require.Nil(t, s)
	})
}

func TestASessionIsRenewedWhenItsPersonIsAnother(t *testing.T) {
	p := newPlace(t, "sqlite://"+t.TempDir()+"/a.db")
	p.administrator("ada")
	require.NoError(t, p.signIn("ada", password, ""))
	first := p.secret()
	require.NoError(t, p.own(func(w http.ResponseWriter, r *http.Request) error { return p.OwnPassword(w, r, password, password+"!") }))
	require.NotEqual(t, first, p.secret())
	require.NotNil(t, p.me())
	p.now = p.now.Add(31 * time.Second)
	s, _ := p.with(first)
	require.Nil(t, s)
	require.Nil(t, p.me(), "somebody had the one from before the change")
}

func TestWhatAPageAsksByItselfIsNoUse(t *testing.T) {
	p := newPlace(t, "sqlite://"+t.TempDir()+"/a.db")
	p.administrator("ada")
	require.NoError(t, p.signIn("ada", password, ""))
	for range 61 {
		p.now = p.now.Add(time.Minute)
		require.NoError(t, p.ask(func(w http.ResponseWriter, r *http.Request) error {
			r.Header.Set(access.UnattendedHeader, "true")
			_, err := p.Identify(w, r)
			return err
		}))
	}
	require.Nil(t, p.me(), "nobody was there for an hour")
}

func TestWhoBeganMayGoOnWhileNothingIsDifferent(t *testing.T) {
	p := newPlace(t, "sqlite://"+t.TempDir()+"/a.db")
	still := func(s *access.Subject) bool {
		ok, err := p.Still(access.WithSubject(t.Context(), s))
		require.NoError(t, err)
		return ok
	}
	require.True(t, still(access.Everything(access.Open, "api")))
	p.administrator("ada")
	p.administrator("bob")
	require.False(t, still(access.Everything(access.Open, "api")), "somebody can sign in now")
	require.NoError(t, p.signIn("ada", password, ""))
	me := p.me()
	require.True(t, still(me))
	require.NoError(t, p.EndSession(p.owner(), me.SessionId))
	require.False(t, still(me))
	_, text, err := p.CreateToken(p.owner(), access.TokenSpec{Name: "n", Until: p.now.Add(time.Hour), Rights: []access.Right{{Role: access.ReadOnly}}})
	require.NoError(t, err)
	token := p.bearer(text)
	require.True(t, still(token))
	p.now = p.now.Add(2 * time.Hour)
	require.False(t, still(token), "it has expired")
}

// bearer is who asks with a token.
func (p *place) bearer(text string) *access.Subject {
	p.t.Helper()
	r := p.request()
	r.Header.Set("Authorization", "Bearer "+text)
	s, err := p.Identify(httptest.NewRecorder(), r)
	if err != nil {
		require.Equal(p.t, host.Unauthorized, host.CodeOf(err))
		return nil
	}
	return s
}
