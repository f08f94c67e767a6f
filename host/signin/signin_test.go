package signin_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/icholy/digest"
	"github.com/stretchr/testify/require"
	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
)

const canary = "canary-0123456789"

func value(s string) signin.Secret {
	return signin.Secret{Ref: secret.Ref{Value: s}, Path: "the.secret"}
}

func open(t testing.TB, c signin.Config, base string, now func() time.Time) *signin.SignIn {
	t.Helper()
	c.Name = "Acme"
	u, err := url.Parse(base)
	require.NoError(t, err)
	s, err := signin.New(c, signin.Options{Client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, Base: u, Now: now})
	require.NoError(t, err)
	return s
}

// signed is a request as it would be sent.
func signed(t testing.TB, s *signin.SignIn, method, at string, body []byte, header ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, at, strings.NewReader(string(body)))
	require.NoError(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	a, err := s.Get(t.Context(), "")
	require.NoError(t, err)
	require.NoError(t, a.Sign(t.Context(), r, body))
	return r
}

func TestSimpleWaysPutTheSecretWhereItBelongs(t *testing.T) {
	for name, c := range map[string]struct {
		config       signin.Config
		header, want string
	}{
		"basic":         {signin.Config{Protocol: signin.Basic, Username: "ada", Secret: value("s")}, "Authorization", "Basic YWRhOnM="},
		"bearer":        {signin.Config{Protocol: signin.Bearer, Secret: value("s")}, "Authorization", "Bearer s"},
		"a prefix":      {signin.Config{Protocol: signin.Bearer, Secret: value("s"), Send: signin.Place{Header: "Authorization", Prefix: "token "}}, "Authorization", "token s"},
		"another":       {signin.Config{Protocol: signin.Bearer, Secret: value("s"), Send: signin.Place{Header: "X-Auth-Token"}}, "X-Auth-Token", "s"},
		"a key":         {signin.Config{Protocol: signin.APIKey, Secret: value("s"), Send: signin.Place{Header: "X-API-Key"}}, "X-Api-Key", "s"},
		"beside":        {signin.Config{Protocol: signin.Anonymous, Headers: []signin.Header{{Name: "X-Org", Value: "7"}}}, "X-Org", "7"},
		"beside secret": {signin.Config{Protocol: signin.Headers, Headers: []signin.Header{{Name: "X-Key", Value: "k=", Secret: value("s")}}}, "X-Key", "k=s"},
	} {
		t.Run(name, func(t *testing.T) {
			r := signed(t, open(t, c.config, "https://x.example", nil), "GET", "https://x.example/a", nil)
			require.Equal(t, c.want, r.Header.Get(c.header))
		})
	}
	r := signed(t, open(t, signin.Config{Protocol: signin.APIKey, Secret: value("a b&c"), Send: signin.Place{Query: "key"}}, "https://x.example", nil), "GET", "https://x.example/a?key=mine&x=1&%6bey=2", nil)
	require.Equal(t, url.Values{"key": {"a b&c"}, "x": {"1"}}, r.URL.Query(), "nobody sends one of his own beside it")
}

// The signatures are those of AWS's published test suite for Signature Version 4
// (aws-sig-v4-test-suite), of those cases that need
// nothing but a request and that say the same of today's services, which encode a
// path twice.
func TestAWSSignaturesAreThoseOfThePublishedVectors(t *testing.T) {
	now := func() time.Time { return time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC) }
	c := signin.Config{Protocol: signin.AWS, Secret: value("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), AWS: signin.AWSConfig{Region: "us-east-1", Service: "service", AccessKeyID: "AKIDEXAMPLE"}}
	for name, v := range map[string]struct {
		method, path string
		header       []string
		headers      string
		signature    string
	}{
		"get-vanilla":                      {"GET", "/", nil, "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		"get-vanilla-query-order-key-case": {"GET", "/?Param2=value2&Param1=value1", nil, "host;x-amz-date", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		"post-vanilla":                     {"POST", "/", nil, "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		"post-vanilla-query":               {"POST", "/?Param1=value1", nil, "host;x-amz-date", "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
		"get-header-value-trim":            {"GET", "/", []string{"My-Header1", " value1", "My-Header2", ` "a   b   c"`}, "host;my-header1;my-header2;x-amz-date", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
	} {
		t.Run(name, func(t *testing.T) {
			r := signed(t, open(t, c, "https://example.amazonaws.com", now), v.method, "https://example.amazonaws.com"+v.path, nil, v.header...)
			require.Equal(t, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders="+v.headers+", Signature="+v.signature, r.Header.Get("Authorization"))
		})
	}
}

func TestAnAssumedRoleIsUsedAndFetchedOnce(t *testing.T) {
	var asked atomic.Int64
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if err := r.ParseForm(); err != nil || r.Form.Get("RoleArn") != "arn:aws:iam::1:role/provost" || r.Form.Get("ExternalId") != "ours" || !strings.Contains(r.Header.Get("Authorization"), "AKIDEXAMPLE") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>
<SecretAccessKey>role-secret</SecretAccessKey><SessionToken>role-session</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	defer sts.Close()
	s := open(t, signin.Config{Protocol: signin.AWS, Secret: value("key"), AWS: signin.AWSConfig{Region: "eu-central-1", Service: "execute-api", AccessKeyID: "AKIDEXAMPLE",
		RoleARN: "arn:aws:iam::1:role/provost", ExternalID: "ours", STSEndpoint: sts.URL}}, "https://x.example", nil)
	for range 3 {
		r := signed(t, s, "GET", "https://x.example/a", nil)
		require.Contains(t, r.Header.Get("Authorization"), "ASIAROLE")
		require.Equal(t, "role-session", r.Header.Get("X-Amz-Security-Token"))
	}
	require.EqualValues(t, 1, asked.Load())

	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDOFENV")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "of the environment")
	r := signed(t, open(t, signin.Config{Protocol: signin.AWS, AWS: signin.AWSConfig{Region: "r", Service: "s"}}, "https://x.example", nil), "GET", "https://x.example/a", nil)
	require.Contains(t, r.Header.Get("Authorization"), "AKIDOFENV")
}

func pemOf(kind string, der []byte, err error) []byte {
	if err != nil {
		panic(err) // of a key that was just made
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestKeysOfEachKindAndFormAreRead(t *testing.T) {
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	ec := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	odd := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: must(rand.Int(rand.Reader, rsaKey.N))}
	certificate := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, &rsaKey.PublicKey, rsaKey))))
	p12 := must(pkcs12.Modern.Encode(rsaKey, certificate, nil, canary))
	pkcs8Of := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return pemOf("PRIVATE KEY", der, err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	sec1PEM := pemOf("EC PRIVATE KEY", sec1, err)
	sealedDER, err := pkcs8.MarshalPrivateKey(ec, []byte(canary), nil)
	sealed := pemOf("ENCRYPTED PRIVATE KEY", sealedDER, err)
	for name, c := range map[string]struct {
		data     []byte
		password string
		certs    int
	}{
		"RSA, PKCS#1":      {pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil), "", 0},
		"RSA, PKCS#8":      {pkcs8Of(rsaKey), "", 0},
		"EC, SEC 1":        {sec1PEM, "", 0},
		"EC, PKCS#8":       {pkcs8Of(ec), "", 0},
		"EC, encrypted":    {sealed, canary, 0},
		"Ed25519":          {pkcs8Of(ed), "", 0},
		"with certificate": {append(pkcs8Of(rsaKey), pemOf("CERTIFICATE", certificate.Raw, nil)...), "", 1},
		"PKCS#12":          {p12, canary, 1},
		"DER":              {must(x509.MarshalPKCS8PrivateKey(ed)), "", 0},
		"JWK":              {must(json.Marshal(jose.JSONWebKey{Key: ec})), "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			key, certs, err := signin.ParseKey(c.data, c.password)
			require.NoError(t, err)
			require.Len(t, certs, c.certs)
			token, err := signin.Assertion{Issuer: "me", Subject: "you", Audience: []string{"there"}, KeyID: "k1", Claims: map[string]any{"tenant": "7"}}.Sign(key, time.Now())
			require.NoError(t, err)
			parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA})
			require.NoError(t, err)
			var claims jwt.Claims
			var more map[string]any
			require.NoError(t, parsed.Claims(key.Public(), &claims, &more))
			require.NoError(t, claims.Validate(jwt.Expected{Issuer: "me", Subject: "you", AnyAudience: jwt.Audience{"there"}, Time: time.Now()}))
			require.Equal(t, "k1", parsed.Headers[0].KeyID)
			require.Equal(t, "7", more["tenant"])
			require.NotEmpty(t, claims.ID)
		})
	}
	for says, data := range map[string][]byte{"2048": pkcs8Of(small), "curve": pkcs8Of(odd), "no key": nil, "no private key": pemOf("CERTIFICATE", certificate.Raw, nil), "password": sealed,
		"larger": make([]byte, 100_000), "none of": []byte("garbage"), "damaged": pemOf("PRIVATE KEY", []byte("x"), nil), "JWK": []byte(`{"kty":"oct"}`)} {
		_, _, err := signin.ParseKey(data, "")
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), canary)
	}
	_, _, err = signin.ParseKey(p12, "wrong")
	require.ErrorContains(t, err, "password")
}

func FuzzParseKeyNeverPanics(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"), "x")
	f.Add([]byte(`{"kty":"EC"}`), "")
	f.Add([]byte{0x30, 0x82}, "")
	f.Fuzz(func(t *testing.T, data []byte, password string) {
		key, _, err := signin.ParseKey(data, password)
		require.Equal(t, err == nil, key != nil)
	})
}

// endpoint is a token endpoint that answers as a test wants.
type endpoint struct {
	*httptest.Server
	mu    sync.Mutex
	forms []url.Values
	auth  []string
}

func newEndpoint(t testing.TB, answer func(w http.ResponseWriter, form url.Values, r *http.Request)) *endpoint {
	e := &endpoint{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm() // what can't be read is empty
		e.mu.Lock()
		e.forms, e.auth = append(e.forms, r.PostForm), append(e.auth, r.Header.Get("Authorization"))
		e.mu.Unlock()
		answer(w, r.PostForm, r)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) asked() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.forms)
}

func clientCredentials(at string) signin.Config {
	return signin.Config{Protocol: signin.OAuth2, Secret: value(canary), Timeout: 5 * time.Second, OAuth2: signin.OAuth2Config{Grant: signin.ClientCredentials, TokenURL: at, ClientID: "me"}}
}

func TestOddTokenEndpointsAreData(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		answer string
		change func(*signin.OAuth2Config)
		lives  time.Duration
	}{
		"as the RFC says":       {`{"access_token": "the-token", "token_type": "bearer", "expires_in": 600}`, nil, 10 * time.Minute},
		"a number as text":      {`{"access_token": "the-token", "expires_in": "600"}`, nil, 10 * time.Minute},
		"another field":         {`{"data": {"token": "the-token"}}`, func(o *signin.OAuth2Config) { o.TokenField = "data.token" }, 0},
		"a form":                {`access_token=the-token&expires_in=600`, nil, 10 * time.Minute},
		"a time":                {fmt.Sprintf(`{"access_token": "the-token", "expires_at": %q}`, now.Add(time.Hour).Format(time.RFC3339)), func(o *signin.OAuth2Config) { o.ExpiresField = "expires_at" }, time.Hour},
		"seconds since 1970":    {fmt.Sprintf(`{"access_token": "the-token", "expires_on": "%d"}`, now.Add(time.Hour).Unix()), func(o *signin.OAuth2Config) { o.ExpiresField = "expires_on" }, time.Hour},
		"a life of our own":     {`{"access_token": "the-token"}`, func(o *signin.OAuth2Config) { o.Lifetime = time.Minute }, time.Minute},
		"an error beside it":    {`{"access_token": "the-token", "error": ""}`, nil, 0},
		"within a list":         {`{"tokens": [{"value": "the-token"}]}`, func(o *signin.OAuth2Config) { o.TokenField = "tokens.0.value" }, 0},
		"a name that has a dot": {`{"access.token": "the-token"}`, func(o *signin.OAuth2Config) { o.TokenField = "access.token" }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t, func(w http.ResponseWriter, form url.Values, r *http.Request) {
				require.Equal(t, "client_credentials", form.Get("grant_type"))
				require.Equal(t, "extra", form.Get("resource_id"))
				require.Equal(t, "yes", r.Header.Get("X-Wanted"))
				_, _ = io.WriteString(w, c.answer)
			})
			config := clientCredentials(e.URL)
			config.OAuth2.Params, config.OAuth2.Headers = map[string]string{"resource_id": "extra"}, map[string]string{"X-Wanted": "yes"}
			if c.change != nil {
				c.change(&config.OAuth2)
			}
			s := open(t, config, "https://x.example", nil)
			r := signed(t, s, "GET", "https://x.example/a", nil)
			require.Equal(t, "Bearer the-token", r.Header.Get("Authorization"))
			a, err := s.Get(t.Context(), "")
			require.NoError(t, err)
			if c.lives == 0 {
				require.True(t, a.Expires().IsZero())
			} else {
				require.WithinDuration(t, now.Add(c.lives), a.Expires(), 10*time.Second)
			}
			require.Equal(t, 1, e.asked())
		})
	}
}

func TestATokenEndpointThatDoesNotGiveOneSaysWhy(t *testing.T) {
	for says, answer := range map[string]func(w http.ResponseWriter){
		"answered 401": func(w http.ResponseWriter) {
			w.WriteHeader(401)
			_, _ = io.WriteString(w, `{"error":"invalid_client"}`)
		},
		"answered 200 (bad_verification_code)": func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"error":"bad_verification_code"}`) },
		"answered 302, a redirect":             func(w http.ResponseWriter) { w.Header().Set("Location", "http://127.0.0.1:1/"); w.WriteHeader(302) },
		"answered 503":                         func(w http.ResponseWriter) { w.WriteHeader(503) },
		"neither JSON":                         func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html>"+canary) },
		"without access_token":                 func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"token":"`+canary+`"}`) },
		"can be no token":                      func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"access_token":"a\r\nb"}`) },
		"more than":                            func(w http.ResponseWriter) { _, _ = io.WriteString(w, strings.Repeat("x", 2<<20)) },
	} {
		t.Run(says, func(t *testing.T) {
			e := newEndpoint(t, func(w http.ResponseWriter, _ url.Values, _ *http.Request) { answer(w) })
			_, err := open(t, clientCredentials(e.URL), "https://x.example", nil).Get(t.Context(), "")
			require.ErrorContains(t, err, says)
			require.NotContains(t, err.Error(), canary)
		})
	}
}

func TestAClientShowsItselfAsTheServerWantsIt(t *testing.T) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der, err := x509.MarshalPKCS8PrivateKey(key)
	private := string(pemOf("PRIVATE KEY", der, err))
	give := func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"access_token":"t"}`) }
	e := newEndpoint(t, func(w http.ResponseWriter, form url.Values, r *http.Request) {
		switch user, password, ok := r.BasicAuth(); {
		case ok && user == "me" && password == url.QueryEscape("canary+/ 0"):
			give(w)
		case form.Get("client_id") == "params" && form.Get("client_secret") == "canary+/ 0":
			give(w)
		case form.Get("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
			parsed, err := jwt.ParseSigned(form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
			require.NoError(t, err)
			var claims jwt.Claims
			require.NoError(t, parsed.Claims(key.Public(), &claims))
			require.NoError(t, claims.Validate(jwt.Expected{Issuer: "signer", Subject: "signer", AnyAudience: jwt.Audience{"http://" + r.Host}, Time: time.Now()}))
			give(w)
		case form.Get("client_id") == "public":
			give(w)
		case form.Get("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer":
			parsed, err := jwt.ParseSigned(form.Get("assertion"), []jose.SignatureAlgorithm{jose.ES256})
			require.NoError(t, err)
			var claims jwt.Claims
			require.NoError(t, parsed.Claims(key.Public(), &claims))
			require.Equal(t, "admin@example.com", claims.Subject)
			give(w)
		case form.Get("grant_type") == "urn:ietf:params:oauth:grant-type:token-exchange":
			require.Equal(t, "subject", form.Get("subject_token"))
			require.Equal(t, "urn:ietf:params:oauth:token-type:jwt", form.Get("subject_token_type"))
			give(w)
		case form.Get("grant_type") == "password":
			require.Equal(t, url.Values{"grant_type": {"password"}, "username": {"ada"}, "password": {"pw"}}, form)
			give(w)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	base := func(change func(*signin.Config)) signin.Config {
		c := clientCredentials(e.URL)
		c.Secret = value("canary+/ 0")
		change(&c)
		return c
	}
	for name, c := range map[string]signin.Config{
		"header": base(func(c *signin.Config) { c.OAuth2.AuthStyle = signin.AuthHeader }),
		"auto":   base(func(c *signin.Config) { c.OAuth2.ClientID = "params" }),
		"params": base(func(c *signin.Config) { c.OAuth2.ClientID, c.OAuth2.AuthStyle = "params", signin.AuthParams }),
		"private key": base(func(c *signin.Config) {
			c.OAuth2.ClientID, c.OAuth2.AuthStyle, c.Key.Secret = "signer", signin.AuthPrivateKeyJWT, value(private)
		}),
		"public": base(func(c *signin.Config) { c.OAuth2.ClientID, c.OAuth2.AuthStyle = "public", signin.AuthNone }),
		"JWT bearer": base(func(c *signin.Config) {
			c.Secret, c.OAuth2.ClientID, c.OAuth2.Grant, c.Key.Secret, c.Assertion = signin.Secret{}, "", signin.JWTBearer, value(private), signin.Assertion{Issuer: "me", Subject: "admin@example.com"}
		}),
		"exchange": base(func(c *signin.Config) {
			c.Secret, c.OAuth2.ClientID, c.OAuth2.Grant, c.OAuth2.SubjectToken, c.OAuth2.SubjectTokenType = signin.Secret{}, "", signin.TokenExchange, value("subject"), "urn:ietf:params:oauth:token-type:jwt"
		}),
		"password": base(func(c *signin.Config) {
			c.Secret, c.OAuth2.ClientID, c.OAuth2.Grant, c.Username, c.OAuth2.SubjectToken = signin.Secret{}, "", signin.Password, "ada", value("pw")
		}),
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, "Bearer t", signed(t, open(t, c, "https://x.example", nil), "GET", "https://x.example/", nil).Header.Get("Authorization"))
		})
	}
}

func TestATokenIsFetchedOnceForAllAndAgainBeforeItsEnd(t *testing.T) {
	var n atomic.Int64
	e := newEndpoint(t, func(w http.ResponseWriter, _ url.Values, _ *http.Request) {
		fmt.Fprintf(w, `{"access_token":"t%d","expires_in":600}`, n.Add(1))
	})
	var clock atomic.Int64
	begin := time.Now()
	s := open(t, clientCredentials(e.URL), "https://x.example", func() time.Time { return begin.Add(time.Duration(clock.Load())) })
	all := func() {
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				if _, err := s.Get(context.Background(), ""); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	}
	all()
	require.Equal(t, 1, e.asked())
	clock.Store(int64(530 * time.Second))
	all()
	require.Equal(t, 1, e.asked(), "it is good for a while")
	clock.Store(int64(545 * time.Second))
	all()
	require.Equal(t, 2, e.asked(), "a minute before its end there is another")

	// A target that takes none of them costs one more, not one for each request.
	clock.Store(int64(700 * time.Second))
	for range 50 {
		a, err := s.Get(t.Context(), "")
		require.NoError(t, err)
		next, err := s.Again(t.Context(), a, http.StatusUnauthorized, nil, nil)
		require.NoError(t, err)
		if next != nil {
			again, err := s.Again(t.Context(), next, http.StatusUnauthorized, nil, nil)
			require.NoError(t, err)
			require.Nil(t, again)
		}
	}
	require.Equal(t, 3, e.asked())
}

func TestTheSecretBeforeIsTriedWhileBothAreValid(t *testing.T) {
	both := secret.Ref{Value: "newest", Previous: &secret.Ref{Value: "before"}}
	s := open(t, signin.Config{Protocol: signin.Bearer, Secret: signin.Secret{Ref: both, Path: "bearer.token"}}, "https://x.example", nil)
	a, err := s.Get(t.Context(), "")
	require.NoError(t, err)
	next, err := s.Again(t.Context(), a, http.StatusUnauthorized, nil, nil)
	require.NoError(t, err)
	r := must(http.NewRequest("GET", "https://x.example", nil))
	require.NoError(t, next.Sign(t.Context(), r, nil))
	require.Equal(t, "Bearer before", r.Header.Get("Authorization"))
	_, err = s.Again(t.Context(), next, http.StatusOK, nil, nil)
	require.NoError(t, err)
	require.Equal(t, "Bearer before", signed(t, s, "GET", "https://x.example", nil).Header.Get("Authorization"), "what the target takes is tried first")

	e := newEndpoint(t, func(w http.ResponseWriter, form url.Values, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "before" && form.Get("client_secret") != "before" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{"access_token":"t"}`)
	})
	c := clientCredentials(e.URL)
	c.Secret.Ref = both
	require.Equal(t, "Bearer t", signed(t, open(t, c, "https://x.example", nil), "GET", "https://x.example", nil).Header.Get("Authorization"))
}

func TestWhatTheAnswerCarriesGoesWhereItIsWantedAndNowhereElse(t *testing.T) {
	instance := "https://eu1.acme.example"
	e := newEndpoint(t, func(w http.ResponseWriter, _ url.Values, _ *http.Request) {
		fmt.Fprintf(w, `{"access_token":"t","tenant":{"id":"t-7"},"shard":"3 & 4","instance_url":%q}`, instance)
	})
	c := clientCredentials(e.URL)
	c.OAuth2.Carry = []signin.Carry{{From: "tenant.id", Header: "X-Tenant"}, {From: "shard", Query: "shard"}, {From: "instance_url", Endpoint: true, Hosts: []string{"*.acme.example"}}}
	s := open(t, c, "https://x.example", nil)
	r := signed(t, s, "GET", "https://x.example/a?shard=9", nil)
	require.Equal(t, "t-7", r.Header.Get("X-Tenant"))
	require.Equal(t, []string{"3 & 4"}, r.URL.Query()["shard"])
	a, err := s.Get(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, "https://eu1.acme.example", a.Origin().String())
	for _, evil := range []string{"https://evil.example", "http://eu1.acme.example", "https://acme.example.evil.example", "https://eu1.acme.example@evil.example", "https://eu1.acme.example/path", "https://169.254.169.254", "eu1.acme.example:9999"} {
		instance = evil
		a, err := open(t, c, "https://x.example", nil).Get(t.Context(), "")
		if err == nil { // it is refused, or is not where the answer wants it
			require.Nil(t, a.Origin(), evil)
		}
	}
}

func TestDigestAnswersItsChallenge(t *testing.T) {
	// The values of RFC 7616, 3.9.1, with the library that answers.
	for algorithm, want := range map[string]string{"MD5": "8ca523f5e9506fed4657c9700eebdbec", "SHA-256": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"} {
		c, err := digest.ParseChallenge(`Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=` + algorithm + `, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`)
		require.NoError(t, err)
		got, err := digest.Digest(c, digest.Options{Method: "GET", URI: "/dir/index.html", Username: "Mufasa", Password: "Circle of Life", Cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", Count: 1})
		require.NoError(t, err)
		require.Equal(t, want, got.Response, algorithm)
	}
	s := open(t, signin.Config{Protocol: signin.Digest, Username: "ada", Secret: value(canary)}, "https://x.example", nil)
	a, err := s.Get(t.Context(), "")
	require.NoError(t, err)
	challenge := http.Header{"Www-Authenticate": {`Digest realm="r", qop="auth", algorithm=SHA-256, nonce="n1"`}}
	next, err := s.Again(t.Context(), a, http.StatusUnauthorized, challenge, nil)
	require.NoError(t, err)
	for _, count := range []string{"nc=00000001", "nc=00000002"} {
		r := must(http.NewRequest("GET", "https://x.example/a?b", nil))
		require.NoError(t, next.Sign(t.Context(), r, nil))
		require.Contains(t, r.Header.Get("Authorization"), count)
		require.Contains(t, r.Header.Get("Authorization"), `uri="/a?b"`)
		require.NotContains(t, r.Header.Get("Authorization"), canary)
		next, err = s.Get(t.Context(), "")
		require.NoError(t, err)
	}
	none, err := s.Again(t.Context(), next, http.StatusUnauthorized, challenge, nil)
	require.NoError(t, err)
	require.Nil(t, none, "the same challenge again means that the password is wrong")
}

func TestAKeyedDigestIsOfWhatTheTemplateSays(t *testing.T) {
	now := func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	// printf 'POST\n/a\nFri, 02 Jan 2026 03:04:05 GMT\n44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a' | openssl dgst -sha256 -hmac key
	const want = "783510808cf1b3bc3b12e0ba7ff9d42f42866f815181d00178caff459fd7442d"
	c := signin.Config{Protocol: signin.HMAC, Secret: value("key"), HMAC: signin.HMACConfig{Header: "X-Signature", Prefix: "{key_id}:", KeyID: "k1", Algorithm: "sha256",
		Template: `{method}\n{path}\n{date}\n{body_sha256}`, DateHeader: "X-Date"}}
	r := signed(t, open(t, c, "https://x.example", now), "POST", "https://x.example/a", []byte("{}"))
	require.Equal(t, "k1:"+want, r.Header.Get("X-Signature"))
	require.Equal(t, "Fri, 02 Jan 2026 03:04:05 GMT", r.Header.Get("X-Date"))
}

func FuzzLookupNeverPanics(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,"x"]}}`), "a.b.1")
	f.Add([]byte("a=b&c=d"), "a")
	f.Add([]byte("[[[["), "0.0.0")
	f.Fuzz(func(t *testing.T, raw []byte, path string) {
		if v, err := signin.DecodeAnswer(raw); err == nil {
			_, _ = signin.Lookup(v, path)
		}
	})
}

func TestWhatIsWrongInACredentialIsSaidWithItsField(t *testing.T) {
	for field, c := range map[string]signin.Config{
		"credentials.Acme.protocol":             {Protocol: "x"},
		"credentials.Acme.basic":                {Protocol: signin.Basic},
		"credentials.Acme.basic.username":       {Protocol: signin.Basic, Username: "a:b", Secret: value("x")},
		"credentials.Acme.oauth2.grant":         {Protocol: signin.OAuth2, OAuth2: signin.OAuth2Config{Grant: "implicit", TokenURL: "https://x.example"}},
		"credentials.Acme.oauth2.token_url":     {Protocol: signin.OAuth2, Secret: value("x"), OAuth2: signin.OAuth2Config{Grant: signin.ClientCredentials, ClientID: "x"}},
		"credentials.Acme.oauth2.key":           {Protocol: signin.OAuth2, OAuth2: signin.OAuth2Config{Grant: signin.JWTBearer, TokenURL: "https://x.example"}},
		"credentials.Acme.oauth2.subject_token": {Protocol: signin.OAuth2, OAuth2: signin.OAuth2Config{Grant: signin.TokenExchange, TokenURL: "https://x.example"}},
		"credentials.Acme.identity":             {Protocol: signin.JWT, PerUser: true, Key: signin.Key{Secret: value("x")}},
		"credentials.Acme.session.path":         {Protocol: signin.Session, Secret: value("x"), Session: signin.SessionConfig{Path: "//evil.example/x"}},
		"credentials.Acme.headers[0]":           {Protocol: signin.Anonymous, Headers: []signin.Header{{Name: "bad name"}}},
		"credentials.Acme.aws":                  {Protocol: signin.AWS},
	} {
		c.Name = "Acme"
		_, err := signin.New(c, signin.Options{Client: http.DefaultClient})
		var known *host.Error
		require.ErrorAs(t, err, &known, field)
		require.Equal(t, field, known.Field)
	}
}
