package callout_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
)

func TestEachStepOfATestThatFailsIsTheLastAndSaysWhy(t *testing.T) {
	own := newAuthority(t)
	trusted, _ := own.serve(time.Now().Add(time.Hour), nil)
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm() // what can't be read is empty
		switch r.URL.Path {
		case "/token":
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":"invalid_client","error_description":"not with `+r.PostForm.Get("client_secret")+canary+`"}`)
		case "/down":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/hangs up":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, canary)
		case "/nothing":
			w.WriteHeader(http.StatusNotFound)
		case "/forbidden":
			w.WriteHeader(http.StatusForbidden)
		case "/post":
			w.WriteHeader(http.StatusMethodNotAllowed)
		case "/elsewhere":
			http.Redirect(w, r, "https://signin.example/login", http.StatusFound)
		case "/page":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, "<h1>Sign in</h1>")
		case "/in":
			_, _ = io.WriteString(w, r.Header.Get("Authorization"))
		default:
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, "not with "+r.Header.Get("Authorization"))
		}
	}))
	defer target.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that nobody has now
	require.NoError(t, err)
	nobody := "http://" + l.Addr().String()
	require.NoError(t, l.Close())
	dns := &names{lists: map[string][][]string{"inside.example": {{"10.1.2.3"}}}}
	bearer := signin.Config{Protocol: signin.Bearer, Secret: signin.Secret{Ref: secret.Ref{Value: canary}, Path: "bearer.token"}}
	token := func(at string) signin.Config {
		return signin.Config{Protocol: signin.OAuth2, Secret: signin.Secret{Ref: secret.Ref{Value: canary}, Path: "oauth2.client_secret"},
			OAuth2: signin.OAuth2Config{Grant: signin.ClientCredentials, TokenURL: at, ClientID: "me"}}
	}
	for name, c := range map[string]struct {
		credential callout.Credential
		path       string
		steps      []string
		fails      string
		says       string
	}{
		"a path that is not there":      {callout.Credential{Endpoint: target.URL, SignIn: bearer}, "/nothing", []string{"secret", "resolve", "connect", "sign in", "probe"}, "probe", "answered 404 Not Found: there is nothing at this address"},
		"a path that can't be read":     {callout.Credential{Endpoint: target.URL, SignIn: bearer}, "/post", []string{"secret", "resolve", "connect", "sign in", "probe"}, "probe", "answered 405"},
		"what may not be read":          {callout.Credential{Endpoint: target.URL, SignIn: bearer}, "/forbidden", []string{"secret", "resolve", "connect", "sign in", "probe"}, "probe", "does not let this sign-in read that"},
		"a way to somewhere else":       {callout.Credential{Endpoint: target.URL, SignIn: bearer}, "/elsewhere", []string{"secret", "resolve", "connect", "sign in", "probe"}, "probe", "leads elsewhere"},
		"a page for people":             {callout.Credential{Endpoint: target.URL, SignIn: bearer}, "/page", []string{"secret", "resolve", "connect", "sign in", "probe"}, "probe", "with a web page"},
		"a secret that is not there":    {callout.Credential{Endpoint: target.URL, SignIn: signin.Config{Protocol: signin.Bearer, Secret: signin.Secret{Ref: secret.Ref{File: "/nowhere/at/all"}, Path: "bearer.token"}}}, "", []string{"secret"}, "secret", "can't be read"},
		"a name that nobody has":        {callout.Credential{Endpoint: "https://nobody.example", SignIn: bearer}, "", []string{"secret", "resolve"}, "resolve", "can't be resolved"},
		"where nobody may go":           {callout.Credential{Endpoint: "https://inside.example", SignIn: bearer}, "", []string{"secret", "resolve"}, "resolve", "networks: [private]"},
		"nobody listens":                {callout.Credential{Endpoint: nobody, SignIn: bearer}, "", []string{"secret", "resolve", "connect"}, "connect", "connection refused"},
		"a stranger's certificate":      {callout.Credential{Endpoint: trusted, SignIn: bearer}, "", []string{"secret", "resolve", "connect", "tls"}, "tls", "certificate is not trusted"},
		"no TLS at all":                 {callout.Credential{Endpoint: "https" + target.URL[4:], SignIn: bearer}, "", []string{"secret", "resolve", "connect", "tls"}, "tls", ""},
		"a client that is unknown":      {callout.Credential{Endpoint: target.URL, SignIn: token(target.URL + "/token")}, "", []string{"secret", "resolve", "connect", "sign in"}, "sign in", "invalid_client"},
		"a token endpoint that is gone": {callout.Credential{Endpoint: target.URL, SignIn: token(nobody)}, "", []string{"secret", "resolve", "connect", "sign in"}, "sign in", "does not answer"},
		"a token that is refused":       {callout.Credential{Endpoint: target.URL, SignIn: bearer}, "/x", []string{"secret", "resolve", "connect", "sign in", "probe"}, "sign in", "answers 401"},
		"a target that is down":         {callout.Credential{Endpoint: target.URL, SignIn: bearer, Probe: "/down"}, "", []string{"secret", "resolve", "connect", "sign in", "probe"}, "probe", "answered 503"},
		"an answer that breaks off":     {callout.Credential{Endpoint: target.URL, SignIn: bearer}, "/hangs%20up", []string{"secret", "resolve", "connect", "probe"}, "probe", "broke off"},
		"all well":                      {callout.Credential{Endpoint: target.URL, SignIn: bearer}, "/in", []string{"secret", "resolve", "connect", "sign in", "probe"}, "", "answered 200"},
		"all well, secured":             {callout.Credential{Endpoint: trusted, SignIn: bearer, TLS: callout.TLS{CAFile: own.file}}, "", []string{"secret", "resolve", "connect", "tls", "sign in", "probe"}, "", "answered 200"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			e := callout.New(callout.Options{Resolver: dns.resolver(t), Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
			defer e.Close()
			c.credential.Name = "Acme"
			steps, err := e.Try(t.Context(), c.credential, "", c.path)
			require.NoError(t, err)
			var tried []string
			for _, s := range steps {
				tried = append(tried, s.Name)
			}
			require.Equal(t, c.steps, tried)
			last := steps[len(steps)-1]
			if failed := callout.Failed(steps); failed != nil {
				require.Equal(t, c.fails, failed.Name)
				last = *failed
			} else {
				require.Empty(t, c.fails)
			}
			require.Contains(t, last.Detail, c.says)
			unsure := []string{"a path that is not there", "a path that can't be read", "a way to somewhere else", "a page for people"}
			require.Equal(t, slices.Contains(unsure, name), last.Unsure, "what was not refused is not said to be refused")
			shown, err := json.Marshal(steps)
			require.NoError(t, err)
			require.NotContains(t, string(shown)+log.String(), canary)
		})
	}
}

func TestAClientShowsItsCertificateToTheTokenEndpointThatIsForThat(t *testing.T) {
	own, clients := newAuthority(t), newAuthority(t)
	certFile, keyFile := own.pair("server", time.Now().Add(time.Hour))
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	require.NoError(t, err)
	serve := func(auth tls.ClientAuthType, h http.HandlerFunc) string {
		s := httptest.NewUnstartedServer(h)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: auth, ClientCAs: x509.NewCertPool()}
		s.TLS.ClientCAs.AddCert(clients.cert)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL
	}
	byTLS := serve(tls.RequireAndVerifyClientCert, func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); ok || r.PostFormValue("client_secret") != "" || r.PostFormValue("client_id") != "me" || r.TLS.PeerCertificates[0].Subject.CommonName != "provost" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{"access_token":"bound-to-the-certificate"}`)
	})
	var issuer string
	issuer = serve(tls.NoClientCert, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			require.NoError(t, json.NewEncoder(w).Encode(map[string]any{"issuer": issuer, "token_endpoint": issuer + "/token", "authorization_endpoint": issuer + "/a", "jwks_uri": issuer + "/k",
				"mtls_endpoint_aliases": map[string]string{"token_endpoint": byTLS + "/token"}}))
		case "/token":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			if r.Header.Get("Authorization") != "Bearer bound-to-the-certificate" {
				w.WriteHeader(http.StatusUnauthorized)
			}
		}
	})
	cert, key := clients.pair("provost", time.Now().Add(time.Hour))
	c := callout.Credential{Endpoint: issuer + "/api", TLS: callout.TLS{CAFile: own.file, CertFile: cert, KeyFile: key},
		SignIn: signin.Config{Protocol: signin.OAuth2, OAuth2: signin.OAuth2Config{Grant: signin.ClientCredentials, Issuer: issuer, ClientID: "me", AuthStyle: signin.AuthTLS}}}
	answer := get(open(t, new(bytes.Buffer), c), "callout:Acme/x")
	require.Nil(t, answer.Err)
	require.Equal(t, http.StatusOK, answer.Status)
}

func TestAClientCertificateComesFromOneSecret(t *testing.T) {
	own, clients := newAuthority(t), newAuthority(t)
	url, _ := own.serve(time.Now().Add(time.Hour), clients)
	both := func(name string) []byte {
		cert, key := clients.pair(name, time.Now().Add(time.Hour))
		c, err := os.ReadFile(cert)
		require.NoError(t, err)
		k, err := os.ReadFile(key)
		require.NoError(t, err)
		return append(k, c...)
	}
	file := filepath.Join(t.TempDir(), "identity.pem")
	require.NoError(t, os.WriteFile(file, both("first"), 0o600))
	from := func(r secret.Ref) callout.TLS {
		return callout.TLS{CAFile: own.file, Identity: signin.Key{Secret: signin.Secret{Ref: r, Path: "tls.identity.secret"}, Password: signin.Secret{Ref: secret.Ref{Value: canary}, Path: "tls.identity.password"}}}
	}
	e := open(t, new(bytes.Buffer), own.credential(url, from(secret.Ref{File: file})))
	require.Equal(t, "first", string(get(e, "callout:Acme/x").Body))
	require.NoError(t, os.WriteFile(file+".new", both("the next one"), 0o600))
	require.NoError(t, os.Rename(file+".new", file))
	require.Eventually(t, func() bool { // a file is looked at once a second, a connection that is there is used
		e.Close()
		return string(get(e, "callout:Acme/x").Body) == "the next one"
	}, 5*time.Second, 100*time.Millisecond)

	// As an authority's tools hand it out.
	text := both("of PKCS 12")
	pair, err := tls.X509KeyPair(text, text)
	require.NoError(t, err)
	p12, err := pkcs12.Modern.Encode(pair.PrivateKey, pair.Leaf, []*x509.Certificate{clients.cert}, canary)
	require.NoError(t, err)
	identity, err := secret.GenerateIdentity()
	require.NoError(t, err)
	sealer, err := secret.NewSealer(identity)
	require.NoError(t, err)
	sealed, err := sealer.Seal(secret.New(base64.StdEncoding.EncodeToString(p12)), signin.Binding("Acme", "tls.identity.secret"))
	require.NoError(t, err)
	e = callout.New(callout.Options{Sealer: sealer})
	defer e.Close()
	c := own.credential(url, from(secret.Ref{Sealed: sealed}))
	c.Name = "Acme"
	require.NoError(t, e.Apply([]callout.Credential{c}))
	require.Equal(t, "of PKCS 12", string(get(e, "callout:Acme/x").Body))

	for says, text := range map[string]string{"no certificate of it": string(text[:bytes.Index(text, []byte("-----BEGIN CERT"))]), "none of PEM": "garbage"} {
		c.TLS = from(secret.Ref{Value: text})
		err := e.Apply([]callout.Credential{c})
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, "client certificate")
		require.NotContains(t, err.Error(), canary)
	}
}
