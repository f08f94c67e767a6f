package access_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/signin/oauthtest"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/pdk"
)

const callback = "http://127.0.0.1:8080" + access.OpenIDCallback

// openID lets people sign in at a provider; who is in the group that the e-mail
// is taken for is an auditor.
func (p *place) openID(issuer string, assigned ...*access.Assignment) {
	p.now = time.Now() // the provider's
	p.Use(access.Settings{Idle: time.Hour, Lifetime: 12 * time.Hour, Renew: 15 * time.Minute, TokenLifetime: 90 * 24 * time.Hour, ToldFor: 30 * 24 * time.Hour, Assigned: assigned, OpenID: access.NewOpenID(access.OpenIDConfig{
		Label: "Example", Issuer: issuer, ClientID: oauthtest.ClientID, Secret: func(context.Context) (string, error) { return oauthtest.ClientSecret, nil },
		Scopes: []string{"openid", "profile", "email"}, GroupsClaim: "email", UserClaim: "preferred_username", Client: http.DefaultClient})})
}

// begin is where the browser is sent.
func (p *place) begin(next string) (at string) {
	p.t.Helper()
	require.NoError(p.t, p.ask(func(w http.ResponseWriter, r *http.Request) (err error) {
		at, err = p.BeginOpenID(w, r, next)
		return err
	}))
	return at
}

// end is what comes back at the browser.
func (p *place) end(answer map[string][]string) (next string, err error) {
	err = p.ask(func(w http.ResponseWriter, r *http.Request) (err error) {
		r.URL.RawQuery = url.Values(answer).Encode()
		next, err = p.EndOpenID(w, r)
		return err
	})
	return next, err
}

func (p *place) user(name string, active bool) *host.User {
	p.t.Helper()
	u := &host.User{User: pdk.User{Id: host.NewID(), Username: name, IsActive: active}, CreatedDate: p.now, LastModifiedDate: p.now}
	require.NoError(p.t, p.store.Store.Update(p.t.Context(), func(tx *store.Tx) error { return tx.PutUser(p.t.Context(), u) }))
	return u
}

func TestPeopleSignInAtAnOpenIDProvider(t *testing.T) {
	provider := oauthtest.Start(t, oauthtest.Options{Redirects: []string{callback}})
	p := newPlace(t, "sqlite://"+filepath.Join(t.TempDir(), "a.db"))
	signIn := func(next string) (to string, err error) {
		provider.Authorize(t, callback, func(context.Context) (string, error) { return p.begin(next), nil },
			func(_ context.Context, answer map[string][]string) error {
				to, err = p.end(answer)
				return nil
			})
		return to, err
	}
	p.openID(provider.URL)
	_, err := signIn("/console")
	require.Equal(t, host.PermissionDenied, host.CodeOf(err), "nobody gave her a role, and she is no user")
	require.Nil(t, p.me())

	p.openID(provider.URL, &access.Assignment{Role: access.Auditor, OIDCGroup: oauthtest.Username})
	to, err := signIn("/console/apps/acme")
	require.NoError(t, err)
	require.Equal(t, "/console/apps/acme", to)
	require.True(t, p.me().May(access.ViewAudit))
	require.False(t, p.me().May(access.ManageUsers) || p.me().May(access.ApproveRequests))
	require.Equal(t, "person (id-of-maria)", p.me().Actor(), "her name could not be erased")
	p.openID(provider.URL)
	require.Nil(t, p.me(), "what was taken back, is so at once")

	maria := p.user(oauthtest.Username, true)
	to, err = signIn("https://evil.example")
	require.NoError(t, err)
	require.Equal(t, "/console", to)
	require.Equal(t, maria.Id, p.me().UserId)
	require.Equal(t, []string{access.Approver}, p.me().Roles(), "what is a user's to decide, the user may decide")
	_, err = p.AssignRole(p.owner(), access.Assignment{Role: access.AppOwner, Apps: []string{"acme"}, User: oauthtest.Username})
	require.NoError(t, err)
	require.True(t, p.me().MayAt(access.ManageUsers, "acme"))
	require.False(t, p.me().MayAt(access.ManageUsers, "other"))
	maria.IsActive = false
	require.NoError(t, p.store.Store.Update(t.Context(), func(tx *store.Tx) error { return tx.PutUser(t.Context(), maria) }))
	require.Nil(t, p.me(), "who is disabled, is out at once")
	_, err = signIn("/console")
	require.Equal(t, host.PermissionDenied, host.CodeOf(err))
}

func TestAnAnswerThatWasNotAskedForSignsNobodyIn(t *testing.T) {
	provider := oauthtest.Start(t, oauthtest.Options{Redirects: []string{callback}})
	p := newPlace(t, "sqlite://"+filepath.Join(t.TempDir(), "a.db"))
	p.openID(provider.URL, &access.Assignment{Role: access.Auditor, OIDCGroup: oauthtest.Username})
	var stolen map[string][]string
	provider.Authorize(t, callback, func(context.Context) (string, error) { return p.begin("/console"), nil },
		func(_ context.Context, answer map[string][]string) error { stolen = answer; return nil })
	attacker := p.cookies
	p.leave()
	_, err := p.end(stolen)
	require.Equal(t, host.Unauthorized, host.CodeOf(err), "another's browser never began it")
	p.begin("/console")
	_, err = p.end(stolen)
	require.Equal(t, host.Unauthorized, host.CodeOf(err), "it began another")
	require.Nil(t, p.me())
	for name, answer := range map[string]url.Values{
		"no state": {"code": stolen["code"]}, "nothing": {}, "an error": {"error": {"access_denied"}, "state": stolen["state"]},
		"another issuer": {"code": stolen["code"], "state": stolen["state"], "iss": {"https://evil.example"}},
	} {
		p.cookies = map[string]*http.Cookie{"provost-openid": attacker["provost-openid"]}
		_, err := p.end(answer)
		require.Equal(t, host.Unauthorized, host.CodeOf(err), name)
		require.Nil(t, p.me(), name)
	}
	p.cookies = map[string]*http.Cookie{"provost-openid": attacker["provost-openid"]}
	_, err = p.end(stolen)
	require.NoError(t, err, "in the browser that began it, it holds")
	_, err = p.end(stolen)
	require.Equal(t, host.Unauthorized, host.CodeOf(err), "once")
}

// forger is a provider that signs what it is told to.
type forger struct {
	*httptest.Server
	key    *ecdsa.PrivateKey
	signer *ecdsa.PrivateKey
	claims map[string]any
}

func newForger(t *testing.T) *forger {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	f := &forger{key: key, signer: key}
	mux := http.NewServeMux()
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	answer := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v)
		}
	}
	mux.HandleFunc("/.well-known/openid-configuration", answer(map[string]any{"issuer": f.URL, "authorization_endpoint": f.URL + "/authorize", "token_endpoint": f.URL + "/token", "jwks_uri": f.URL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256"}}))
	mux.HandleFunc("/keys", answer(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}}))
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: f.signer, KeyID: "k"}}, nil)
		require.NoError(t, err)
		text, err := jwt.Signed(s).Claims(f.claims).Serialize()
		require.NoError(t, err)
		answer(map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": text})(w, r)
	})
	return f
}

func TestAnIDTokenMustBeOfThisProviderForUsAndOfThisSignIn(t *testing.T) {
	f := newForger(t)
	p := newPlace(t, "sqlite://"+filepath.Join(t.TempDir(), "a.db"))
	p.openID(f.URL, &access.Assignment{Role: access.Auditor, OIDCGroup: "g"})
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	for name, spoil := range map[string]func(){
		"good":             func() {},
		"another nonce":    func() { f.claims["nonce"] = "another" },
		"no nonce":         func() { delete(f.claims, "nonce") },
		"another audience": func() { f.claims["aud"] = "another" },
		"another issuer":   func() { f.claims["iss"] = "https://evil.example" },
		"expired":          func() { f.claims["exp"] = time.Now().Add(-time.Hour).Unix() },
		"a strange key":    func() { f.signer = stranger },
	} {
		p.leave()
		at, err := url.Parse(p.begin("/console"))
		require.NoError(t, err)
		require.Equal(t, "S256", at.Query().Get("code_challenge_method"))
		f.signer = f.key
		f.claims = map[string]any{"iss": f.URL, "aud": oauthtest.ClientID, "sub": "s", "email": []string{"g"}, "preferred_username": "", "nonce": at.Query().Get("nonce"),
			"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
		spoil()
		_, err = p.end(url.Values{"code": {"c"}, "state": {at.Query().Get("state")}})
		if name == "good" {
			require.NoError(t, err)
			require.NotNil(t, p.me())
			continue
		}
		require.Equal(t, host.Unauthorized, host.CodeOf(err), name)
		require.Nil(t, p.me(), name)
	}
}
