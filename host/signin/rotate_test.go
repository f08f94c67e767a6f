package signin_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/host/signin/oauthtest"
)

func newKey(t *testing.T) (*ecdsa.PrivateKey, string) {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return key, string(pemOf("PRIVATE KEY", der, err))
}

func two(newest, before string) signin.Secret {
	return signin.Secret{Ref: secret.Ref{Value: newest, Previous: &secret.Ref{Value: before}}, Path: "the.secret"}
}

// madeWith tells which of two keys has signed a token.
func madeWith(t *testing.T, token string, keys ...*ecdsa.PrivateKey) int {
	t.Helper()
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(t, err)
	for i, k := range keys {
		if _, err := parsed.Verify(&k.PublicKey); err == nil {
			return i
		}
	}
	return -1
}

func TestTheKeyBeforeSignsWhileTheNewestIsNotKnown(t *testing.T) {
	newest, newPEM := newKey(t)
	before, oldPEM := newKey(t)
	ctx := t.Context()
	t.Run("each request", func(t *testing.T) {
		s := open(t, signin.Config{Protocol: signin.JWT, Key: signin.Key{Secret: two(newPEM, oldPEM)}}, "https://x.example", nil)
		a, err := s.Get(ctx, "")
		require.NoError(t, err)
		jwt := func(a *signin.Auth) string { v, _ := a.Field("OAuthToken"); return v }
		require.Equal(t, 0, madeWith(t, jwt(a), newest, before))
		next, err := s.Again(ctx, a, http.StatusUnauthorized, nil, nil)
		require.NoError(t, err)
		require.Equal(t, 1, madeWith(t, jwt(next), newest, before))
		_, err = s.Again(ctx, next, http.StatusOK, nil, nil)
		require.NoError(t, err)
		a, err = s.Get(ctx, "")
		require.NoError(t, err)
		require.Equal(t, 1, madeWith(t, jwt(a), newest, before), "what the target takes is tried first")
	})
	for _, style := range []signin.AuthStyle{signin.AuthPrivateKeyJWT, ""} {
		t.Run("a token, by "+string(style), func(t *testing.T) {
			e := newEndpoint(t, func(w http.ResponseWriter, form url.Values, _ *http.Request) {
				if madeWith(t, form.Get("client_assertion")+form.Get("assertion"), newest, before) != 1 {
					w.WriteHeader(http.StatusBadRequest)
					code := "invalid_client"
					if form.Has("assertion") {
						code = "invalid_grant"
					}
					_, _ = w.Write([]byte(`{"error":"` + code + `"}`))
					return
				}
				_, _ = w.Write([]byte(`{"access_token":"t"}`))
			})
			c := clientCredentials(e.URL)
			c.Secret, c.OAuth2.AuthStyle, c.Key.Secret = signin.Secret{}, style, two(newPEM, oldPEM)
			if style == "" {
				c.OAuth2.Grant = signin.JWTBearer
			}
			s := open(t, c, "https://x.example", nil)
			signed(t, s, "GET", "https://x.example", nil)
			require.Equal(t, 2, e.asked())
		})
	}
}

func TestThePasswordBeforeIsTriedWhileTheNewestIsNotKnown(t *testing.T) {
	e := newEndpoint(t, func(w http.ResponseWriter, form url.Values, _ *http.Request) {
		switch form.Get("password") {
		case "before":
			_, _ = w.Write([]byte(`{"access_token":"t"}`))
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	c := signin.Config{Protocol: signin.OAuth2, Username: "ada", Timeout: 5 * time.Second, OAuth2: signin.OAuth2Config{Grant: signin.Password, TokenURL: e.URL, SubjectToken: two("newest", "before")}}
	require.Equal(t, "Bearer t", signed(t, open(t, c, "https://x.example", nil), "GET", "https://x.example", nil).Header.Get("Authorization"))

	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("pw") != "before" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "SID", Value: "in", Path: "/"})
	}))
	defer app.Close()
	c = signin.Config{Protocol: signin.Session, Secret: two("newest", "before"), Session: signin.SessionConfig{Path: "/login", Form: map[string]string{"pw": "{!$Credential.Password}"}, Keep: "cookie"}}
	require.Equal(t, "SID=in", signed(t, open(t, c, app.URL, nil), "GET", app.URL+"/", nil).Header.Get("Cookie"))
}

func TestATokenEndpointGetsWhatElseItWantsThatNobodyMaySee(t *testing.T) {
	e := newEndpoint(t, func(w http.ResponseWriter, form url.Values, r *http.Request) {
		if form.Get("api_key") != "before" || r.Header.Get("X-Gate") != "key=of the gate" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte(`{"access_token":"t"}`))
	})
	c := clientCredentials(e.URL)
	c.OAuth2.SecretParams = []signin.Header{{Name: "api_key", Secret: two("newest", "before")}}
	c.OAuth2.SecretHeaders = []signin.Header{{Name: "X-Gate", Value: "key=", Secret: value("of the gate")}}
	require.Equal(t, "Bearer t", signed(t, open(t, c, "https://x.example", nil), "GET", "https://x.example", nil).Header.Get("Authorization"))
	for _, wrong := range []signin.OAuth2Config{{SecretParams: []signin.Header{{Name: "code", Secret: value("x")}}}, {SecretHeaders: []signin.Header{{Name: "no name", Secret: value("x")}}}, {SecretHeaders: []signin.Header{{Name: "X-Empty"}}}} {
		wrong.Grant, wrong.ClientID, wrong.TokenURL = signin.ClientCredentials, "me", e.URL
		c.OAuth2, c.Name = wrong, "Acme"
		_, err := signin.New(c, signin.Options{Client: http.DefaultClient})
		require.ErrorContains(t, err, "credentials.Acme.oauth2.")
	}
}

func TestAKeyThatIsAnsweredWith403IsOneThatIsNotKnownWhileThereAreTwo(t *testing.T) {
	header := signin.Config{Protocol: signin.APIKey, Secret: two("newest", "before"), Send: signin.Place{Header: "X-API-Key"}}
	s := open(t, header, "https://x.example", nil)
	a, err := s.Get(t.Context(), "")
	require.NoError(t, err)
	next, err := s.Again(t.Context(), a, http.StatusForbidden, nil, nil)
	require.NoError(t, err)
	require.NotNil(t, next)
	r := must(http.NewRequest("GET", "https://x.example", nil))
	require.NoError(t, next.Sign(t.Context(), r, nil))
	require.Equal(t, "before", r.Header.Get("X-API-Key"))
	third, err := s.Again(t.Context(), next, http.StatusForbidden, nil, nil)
	require.NoError(t, err)
	require.Nil(t, third, "it is not allowed, with either")
	header.Secret = value("only")
	s = open(t, header, "https://x.example", nil)
	a, err = s.Get(t.Context(), "")
	require.NoError(t, err)
	next, err = s.Again(t.Context(), a, http.StatusForbidden, nil, nil)
	require.NoError(t, err)
	require.Nil(t, next)
}

func TestTheCertificateBesideAKeyIsNamed(t *testing.T) {
	key, private := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	s := open(t, signin.Config{Protocol: signin.JWT, Key: signin.Key{Secret: value(private + string(pemOf("CERTIFICATE", der, nil)))}}, "https://x.example", nil)
	a, err := s.Get(t.Context(), "")
	require.NoError(t, err)
	token, _ := a.Field("OAuthToken")
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(t, err)
	sum := sha256.Sum256(der)
	require.Equal(t, base64.RawURLEncoding.EncodeToString(sum[:]), parsed.Signatures[0].Header.ExtraHeaders["x5t#S256"])
}

func TestASessionOfOneHostIsNotShownToAnother(t *testing.T) {
	a := newAuthorizable(t, "sqlite://"+t.TempDir()+"/test.db", oauthtest.Options{}, signin.AuthorizationCode)
	signedIn := 0
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		signedIn++
		http.SetCookie(w, &http.Cookie{Name: "SID", Value: "in", Path: "/"})
	}))
	defer app.Close()
	at := func(base string) *signin.SignIn {
		s, err := signin.New(signin.Config{Name: "Old", Protocol: signin.Session, Secret: value("pw"), Session: signin.SessionConfig{Path: "/login", Form: map[string]string{"pw": "{!$Credential.Password}"}, Keep: "cookie"}},
			signin.Options{Client: http.DefaultClient, Base: must(url.Parse(base)), Sealer: a.sealer, Store: a.store})
		require.NoError(t, err)
		return s
	}
	for range 2 {
		_, err := at(app.URL).Get(t.Context(), "")
		require.NoError(t, err)
	}
	require.Equal(t, 1, signedIn, "all share it")
	_, err := at("http://127.0.0.1:1").Get(t.Context(), "")
	require.Equal(t, host.Unavailable, host.CodeOf(err), "it signs in there, and shows nothing of here")
}

func TestACodeGoesOnlyToWhomItWasAskedOf(t *testing.T) {
	a := newAuthorizable(t, "sqlite://"+t.TempDir()+"/test.db", oauthtest.Options{}, signin.AuthorizationCode)
	// Endpoints without an issuer: at least the host must be the one that was asked.
	o := &a.config.OAuth2
	o.AuthorizationURL, o.TokenURL, o.Issuer = a.provider.URL+"/authorize", a.provider.URL+"/oauth/token", ""
	for name, c := range map[string]struct {
		change func(url.Values)
		says   string
	}{
		"as it came":     {func(url.Values) {}, ""},
		"nobody named":   {func(q url.Values) { q.Del("iss") }, ""},
		"another server": {func(q url.Values) { q.Set("iss", "https://evil.example") }, "oauth2.issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			s := a.another(t)
			a.provider.Authorize(t, redirect, func(ctx context.Context) (string, error) { return s.Begin(ctx, "", redirect) }, func(ctx context.Context, answer map[string][]string) error {
				q := url.Values(answer)
				c.change(q)
				r, err := signin.TakeRequest(ctx, a.store, q.Get("state"), a.now())
				require.NoError(t, err)
				_, err = s.Complete(ctx, r, q)
				if c.says == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, c.says)
				}
				return nil
			})
		})
	}

	// The configuration names another token endpoint by the time that the code comes.
	asked := newEndpoint(t, func(http.ResponseWriter, url.Values, *http.Request) {})
	begun := a.another(t)
	o.TokenURL = asked.URL
	now := a.another(t)
	a.provider.Authorize(t, redirect, func(ctx context.Context) (string, error) { return begun.Begin(ctx, "", redirect) }, func(ctx context.Context, answer map[string][]string) error {
		r, err := signin.TakeRequest(ctx, a.store, url.Values(answer).Get("state"), a.now())
		require.NoError(t, err)
		_, err = now.Complete(ctx, r, answer)
		require.ErrorContains(t, err, "begin it again")
		return nil
	})
	require.Zero(t, asked.asked())

	o.AuthorizationParams = map[string]string{"redirect_uri": "https://evil.example"}
	_, err := signin.New(a.config, signin.Options{Client: http.DefaultClient, Sealer: a.sealer, Store: a.store})
	require.ErrorContains(t, err, "redirect_uri is not for the configuration to say")
	o.AuthorizationParams, o.Params = nil, map[string]string{"code_verifier": "x"}
	_, err = signin.New(a.config, signin.Options{Client: http.DefaultClient, Sealer: a.sealer, Store: a.store})
	require.ErrorContains(t, err, "code_verifier is not for the configuration to say")
}
