package callout_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	gopath "path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/pdk"
)

const canary = "canary-secret-0123456789"

func open(t *testing.T, log *bytes.Buffer, c callout.Credential) *callout.Egress {
	t.Helper()
	e := callout.New(callout.Options{Logger: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	t.Cleanup(e.Close)
	if c.Name == "" {
		c.Name = "Acme"
	}
	require.NoError(t, e.Apply([]callout.Credential{c}))
	return e
}

func get(e *callout.Egress, url string, header ...string) callout.Response {
	h := map[string]string{}
	for i := 0; i+1 < len(header); i += 2 {
		h[header[i]] = header[i+1]
	}
	return e.Do(context.Background(), callout.Caller{Connector: "x", Credential: "Acme", RequestID: "r"}, callout.Request{Method: "GET", URL: url, Header: h})
}

func TestNoRequestLeavesItsCredential(t *testing.T) {
	var forbidden atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { forbidden.Add(1) }))
	defer other.Close()
	var outside atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.EscapedPath(), "/scim/v2") {
			outside.Add(1)
		}
	}))
	defer target.Close()
	e := open(t, new(bytes.Buffer), callout.Credential{Endpoint: target.URL + "/scim/v2/", SignIn: signin.Config{Protocol: signin.Bearer, Secret: signin.Secret{Ref: secret.Ref{Value: canary}, Path: "bearer.token"}}})
	host := strings.TrimPrefix(other.URL, "http://")
	for url, why := range map[string]string{
		"callout:Acme/../admin":             "dot segment",
		"callout:Acme/..":                   "dot segment at the end",
		"callout:Acme/./x":                  "single dot segment",
		"callout:Acme/a/../../x":            "dot segments inside",
		"callout:Acme/%2e%2e/admin":         "encoded dots",
		"callout:Acme/%2E%2e/admin":         "encoded dots, mixed case",
		"callout:Acme/.%2e/admin":           "half encoded dots",
		"callout:Acme/%252e%252e/admin":     "doubly encoded dots",
		"callout:Acme/%25252e%25252e/admin": "three times encoded dots",
		"callout:Acme/..%2fadmin":           "encoded slash after dots",
		"callout:Acme/a%2f..%2f..%2fadmin":  "encoded slashes and dots",
		"callout:Acme/..%5cadmin":           "encoded backslash",
		"callout:Acme/..\\admin":            "backslash",
		"callout:Acme/\\evil":               "backslash",
		"callout:Acme/..;/admin":            "path parameter behind dots",
		"callout:Acme//" + host + "/x":      "two slashes",
		"callout:Acme/x//y":                 "two slashes inside",
		"callout:Acme/x#frag":               "fragment",
		"callout:Acme/x?y#frag":             "fragment in the query",
		"callout:Acme/x y":                  "space",
		"callout:Acme/x\r\nHost: evil":      "line break",
		"callout:Acme/x?a=b\r\nX: y":        "line break in the query",
		"callout:Acme/x%0d%0aHost:%20evil":  "encoded line break",
		"callout:Acme/x%00":                 "encoded NUL",
		"callout:Acme/%zz":                  "broken escape",
		"callout:Acme@" + host + "/x":       "userinfo",
		"callout:Acme:80@" + host + "/":     "userinfo with a port",
		"callout:Acme." + host + "/x":       "another host behind a dot",
		"callout:Other/x":                   "another credential",
		"callout:/x":                        "no credential",
		"callout:":                          "nothing",
		"callout://" + host + "/x":          "an authority",
		"callout:acme/x":                    "the name in another case",
		other.URL + "/x":                    "an absolute URL",
		"http://user:pw@" + host + "/x":     "an absolute URL with userinfo",
		"HTTP://" + host + "/x":             "another case",
		"//" + host + "/x":                  "without a scheme",
		"file:///etc/passwd":                "a file",
		"gopher://" + host + "/":            "another scheme",
		"":                                  "empty",
	} {
		answer := get(e, url)
		require.NotNil(t, answer.Err, "%s: %s", why, url)
		require.Zero(t, answer.Status, "%s: %s", why, url)
		require.False(t, answer.Err.Uncertain, why)
	}
	require.Zero(t, forbidden.Load(), "something reached a host that it must not")
	require.Zero(t, outside.Load(), "something left the endpoint's path")
	for _, url := range []string{"callout:Acme", "callout:Acme/Users", "callout:Acme?x=../..", "callout:Acme/Users/a%2Fb?filter=userName%20eq%20%22x%22", "callout:Acme/Users/..a", "callout:Acme/a...b"} {
		require.Nil(t, get(e, url).Err, url)
	}
}

func TestAConnectorNeitherSetsNorSeesTheSignIn(t *testing.T) {
	var seen http.Header
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set("X-Echo", r.Header.Get("Authorization"))
		fmt.Fprintf(w, `{"you sent": %q}`, r.Header.Get("Authorization"))
	}))
	defer target.Close()
	var log bytes.Buffer
	e := open(t, &log, callout.Credential{Endpoint: target.URL, SignIn: signin.Config{Protocol: signin.Bearer, Secret: signin.Secret{Ref: secret.Ref{Value: canary}, Path: "bearer.token"}}})
	answer := get(e, "callout:Acme/x?secret=1", "X-Mine", "kept", "content-length", "7")
	require.Nil(t, answer.Err)
	require.Equal(t, "Bearer "+canary, seen.Get("Authorization"))
	require.Equal(t, "kept", seen.Get("X-Mine"))
	require.NotContains(t, string(answer.Body), canary)
	require.NotContains(t, fmt.Sprint(answer.Header), canary)
	require.NotContains(t, answer.Header, "set-cookie")
	require.NotContains(t, log.String(), canary)
	require.NotContains(t, log.String(), "secret=1")
	require.NotNil(t, get(e, "callout:Acme/x", "X-Bad", "a\r\nHost: b").Err)
	for _, c := range e.List() {
		require.NotContains(t, fmt.Sprintf("%+v", c), canary)
	}
}

func TestRedirectsAreFollowedOnlyBelowTheEndpoint(t *testing.T) {
	var leaked atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { leaked.Add(1) }))
	defer other.Close()
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/scim/inside":
			http.Redirect(w, r, "/scim/end", http.StatusFound)
		case "/scim/above":
			http.Redirect(w, r, "/admin", http.StatusFound)
		case "/scim/away":
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		case "/scim/loop":
			http.Redirect(w, r, "/scim/loop", http.StatusFound)
		case "/admin":
			leaked.Add(1)
		}
	}))
	defer target.Close()
	e := open(t, new(bytes.Buffer), callout.Credential{Endpoint: target.URL + "/scim", SignIn: signin.Config{Protocol: signin.Bearer, Secret: signin.Secret{Ref: secret.Ref{Value: canary}, Path: "bearer.token"}}})
	require.Equal(t, 200, get(e, "callout:Acme/inside").Status)
	require.Equal(t, 302, get(e, "callout:Acme/above").Status)
	require.Equal(t, 307, get(e, "callout:Acme/away").Status)
	require.Equal(t, 302, get(e, "callout:Acme/loop").Status)
	require.Zero(t, leaked.Load())
}

func TestATokenIsFetchedOnceAndAgainAfterA401(t *testing.T) {
	var tokens, calls atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			id, pw, _ := r.BasicAuth()
			require.Equal(t, "me", id)
			require.Equal(t, canary, pw)
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"access_token":"access-token-%d","token_type":"bearer","expires_in":3600}`, tokens.Add(1))
			return
		}
		if calls.Add(1); r.Header.Get("Authorization") != fmt.Sprintf("Bearer access-token-%d", tokens.Load()) || calls.Load() == 3 {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer target.Close()
	e := open(t, new(bytes.Buffer), callout.Credential{Endpoint: target.URL + "/api", SignIn: signin.Config{Protocol: signin.OAuth2, Secret: signin.Secret{Ref: secret.Ref{Value: canary}, Path: "oauth2.client_secret"},
		OAuth2: signin.OAuth2Config{Grant: signin.ClientCredentials, TokenURL: target.URL + "/token", ClientID: "me"}}})
	for range 4 {
		require.Equal(t, 200, get(e, "callout:Acme/x").Status)
	}
	require.EqualValues(t, 2, tokens.Load(), "one at the start, one after the 401")
}

func TestAnAnswerThatBreaksOffIsUncertainOnlyWhereItMayHaveActed(t *testing.T) {
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/cut":
			panic(http.ErrAbortHandler)
		case "/large":
			_, _ = w.Write(make([]byte, 2000))
		case "/hang":
			_, _ = io.Copy(io.Discard, r.Body) // only then the server sees that the client is gone
			<-r.Context().Done()
		}
	}))
	defer target.Close()
	e := open(t, new(bytes.Buffer), callout.Credential{Endpoint: target.URL, SignIn: signin.Config{Protocol: signin.Anonymous}, MaxResponseBytes: 1000, Timeout: 100 * time.Millisecond})
	do := func(method, path string) *pdk.Error {
		return e.Do(context.Background(), callout.Caller{Credential: "Acme"}, callout.Request{Method: method, URL: "callout:Acme" + path, Body: []byte("x")}).Err
	}
	for _, path := range []string{"/cut", "/hang"} {
		require.Equal(t, pdk.Unavailable, do("POST", path).Type)
		require.True(t, do("POST", path).Uncertain, path)
		require.False(t, do("GET", path).Uncertain, path)
	}
	require.Contains(t, do("GET", "/large").Message, "larger than 1000 bytes")
	down := open(t, new(bytes.Buffer), callout.Credential{Endpoint: "http://127.0.0.1:1", SignIn: signin.Config{Protocol: signin.Anonymous}})
	refused := down.Do(context.Background(), callout.Caller{Credential: "Acme"}, callout.Request{Method: "POST", URL: "callout:Acme/x"}).Err
	require.Equal(t, pdk.Unavailable, refused.Type)
	require.False(t, refused.Uncertain, "nothing was sent")
}

func TestAllCredentialsAreTakenOrNone(t *testing.T) {
	e := open(t, new(bytes.Buffer), callout.Credential{Name: "Good", Endpoint: "https://x.example", SignIn: signin.Config{Protocol: signin.Anonymous}})
	err := e.Apply([]callout.Credential{
		{Name: "A", Endpoint: "ftp://x", SignIn: signin.Config{Protocol: signin.Anonymous}},
		{Name: "B", Endpoint: "https://x.example", SignIn: signin.Config{Protocol: signin.Bearer, Secret: signin.Secret{Ref: secret.Ref{Env: "NOT_SET_ANYWHERE"}, Path: "bearer.token"}}},
		{Name: "C", Endpoint: "https://x.example", SignIn: signin.Config{Protocol: signin.Anonymous}, TLS: callout.TLS{CAFile: "missing.pem"}},
	})
	for _, field := range []string{"credentials.A.endpoint", "credentials.B.bearer", "credentials.C.tls"} {
		require.ErrorContains(t, err, field)
	}
	require.Equal(t, "Good", e.List()[0].Name)
}

func TestHeadersThatAreTheHostsAreRefusedAndNothingIsSent(t *testing.T) {
	var reached atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer target.Close()
	e := open(t, new(bytes.Buffer), callout.Credential{Endpoint: target.URL, SignIn: signin.Config{Protocol: signin.Bearer, Secret: signin.Secret{Ref: secret.Ref{Value: canary}, Path: "bearer.token"}}})
	for _, name := range []string{"Authorization", "authorization", "AUTHORIZATION", "Cookie", "Host", "host", "Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Expect",
		"Forwarded", "Via", "Proxy-Authorization", "Proxy-Connection", "proxy-authenticate"} {
		answer := get(e, "callout:Acme/x", name, "x")
		require.NotNil(t, answer.Err, name)
		require.Equal(t, pdk.PermissionDenied, answer.Err.Type, name)
	}
	for name, value := range map[string]string{"X-A": "a\r\nHost: evil", "X-B": "a\nb", "X-C": "a\x00b", "X D": "a", "X-E:": "a", "": "a", "X-F\r\nHost": "a", "Äh": "a", "X-G": "a\x7f"} {
		answer := get(e, "callout:Acme/x", name, value)
		require.NotNil(t, answer.Err, "%q: %q", name, value)
		require.Equal(t, pdk.InvalidInput, answer.Err.Type, "%q", name)
	}
	twice := get(e, "callout:Acme/x", "X-A", "1", "x-a", "2")
	require.NotNil(t, twice.Err, "which of the two would be sent?")
	require.Zero(t, reached.Load())
}

func TestACredentialIsSentTheMethodsThatItAllows(t *testing.T) {
	var seen []string
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = append(seen, r.Method) }))
	defer target.Close()
	e := open(t, new(bytes.Buffer), callout.Credential{Endpoint: target.URL, SignIn: signin.Config{Protocol: signin.Anonymous}, Methods: []string{"GET", "HEAD"}})
	do := func(method string) *pdk.Error {
		return e.Do(context.Background(), callout.Caller{Credential: "Acme"}, callout.Request{Method: method, URL: "callout:Acme/x"}).Err
	}
	for _, m := range []string{"GET", "HEAD"} {
		require.Nil(t, do(m))
	}
	for _, m := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "GET ", ""} {
		require.NotNil(t, do(m), m)
	}
	require.Equal(t, []string{"GET", "HEAD"}, seen)
	require.ErrorContains(t, e.Apply([]callout.Credential{{Name: "A", Endpoint: target.URL, SignIn: signin.Config{Protocol: signin.Anonymous}, Methods: []string{"TRACE"}}}), "credentials.A.methods")
}

func TestAConnectorReachesWhatIsGrantedAndNothingElse(t *testing.T) {
	var reached atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer target.Close()
	e := open(t, new(bytes.Buffer), callout.Credential{Endpoint: target.URL, SignIn: signin.Config{Protocol: signin.Bearer, Secret: signin.Secret{Ref: secret.Ref{Value: canary}, Path: "bearer.token"}}})
	do := func(method, url string, grants ...string) callout.Response {
		return e.Do(context.Background(), callout.Caller{Connector: "x", Credential: "Acme", Hosts: grants}, callout.Request{Method: method, URL: url})
	}
	require.Equal(t, 200, do("GET", target.URL+"/x", target.URL).Status)
	require.Equal(t, 200, do("GET", target.URL+"/x", "files.example.com", "GET,HEAD "+target.URL).Status)
	require.EqualValues(t, 2, reached.Load())
	at := strings.TrimPrefix(target.URL, "http://")
	for name, r := range map[string][]string{
		"no grant":               {"GET", target.URL},
		"https only":             {"GET", target.URL, at},
		"another port":           {"GET", target.URL, "http://127.0.0.1:1"},
		"no port":                {"GET", target.URL, "http://127.0.0.1"},
		"another method":         {"POST", target.URL, "GET " + target.URL},
		"userinfo":               {"GET", "http://127.0.0.1:80@" + at + "/", target.URL},
		"userinfo of the grant":  {"GET", "http://" + at + "@evil.example/", target.URL},
		"backslash":              {"GET", "http://" + at + "\\@evil.example/", target.URL},
		"fragment":               {"GET", target.URL + "/#x", target.URL},
		"the name of a suffix":   {"GET", "https://example.com/", "*.example.com"},
		"an end of a name":       {"GET", "https://evilexample.com/", "*.example.com"},
		"a suffix of the suffix": {"GET", "https://a.example.com.evil.test/", "*.example.com"},
		"an empty label":         {"GET", "https://.example.com/", "*.example.com"},
		"another scheme":         {"GET", "ftp://" + at, target.URL},
		"a grant that is wrong":  {"GET", target.URL, "*", "*." + at, target.URL + "/path"},
	} {
		answer := do(r[0], r[1], r[2:]...)
		require.NotNil(t, answer.Err, name)
		require.Equal(t, pdk.PermissionDenied, answer.Err.Type, name)
	}
	require.EqualValues(t, 2, reached.Load())
}

func TestGrantsThatSayTooMuchAreRefused(t *testing.T) {
	for grant, says := range map[string]string{
		"": "no host", "*": "only *.", "*.com": "too wide", "*.*.example.com": "too wide", "a.*.example.com": "only *.", "*.10.0.0.1": "too wide", "https://x/": "no host", "x/y": "no host",
		"ftp://x": "scheme", "TRACE x.example": "method", "get x.example": "method", "GET, HEAD x.example": "method", "x@y": "no host", "x?y": "no host", "169.254.169.254": "metadata",
		"http://[fe80::1]": "link-local", "2130706433": "read in different ways", "x.example:port": "no host", "*.169.254.169.254": "too wide",
	} {
		require.ErrorContains(t, callout.CheckGrant(grant), says, grant)
	}
	for _, grant := range []string{"x.example", "X.Example:8443", "*.x.example", "https://*.x.example:444", "GET x.example", "GET,HEAD http://127.0.0.1:80", "[2606:4700::1]:443"} {
		require.NoError(t, callout.CheckGrant(grant), grant)
	}
}

// Whatever a connector asks for: what is sent has the credential's origin, and
// a path below its own.
func FuzzAPathStaysBelowTheEndpoint(f *testing.F) {
	for _, path := range []string{"/Users", "/../x", "/%2e%2e/x", "/a%2f..%2fb", "/x?y=/../z", "/..;/x", "//evil", "/\\evil", "/%5c..", "?a", "/a b", "/%00", "/.%2e%2f", "/a/.%252e/b"} {
		f.Add(path)
	}
	type seen struct{ path, host string }
	var last atomic.Pointer[seen]
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		last.Store(&seen{r.RequestURI, r.Host})
	}))
	f.Cleanup(target.Close)
	e := callout.New(callout.Options{})
	f.Cleanup(e.Close)
	require.NoError(f, e.Apply([]callout.Credential{{Name: "Acme", Endpoint: target.URL + "/scim/v2", SignIn: signin.Config{Protocol: signin.Anonymous}}}))
	f.Fuzz(func(t *testing.T, path string) {
		last.Store(nil)
		answer := get(e, "callout:Acme"+path)
		s := last.Load()
		if s == nil {
			require.NotNil(t, answer.Err)
			return
		}
		require.Equal(t, strings.TrimPrefix(target.URL, "http://"), s.host)
		u, err := url.Parse("http://x" + s.path)
		require.NoError(t, err)
		clean := u.JoinPath().EscapedPath() // as a server that cleans paths sees it
		require.True(t, clean == "/scim/v2" || strings.HasPrefix(clean, "/scim/v2/"), "%q became %q", path, s.path)
		decoded := s.path
		for range 4 { // and one that decodes before it cleans
			at, _, _ := strings.Cut(decoded, "?")
			require.True(t, strings.HasPrefix(gopath.Clean(strings.ReplaceAll(at, "\\", "/"))+"/", "/scim/v2/"), "%q became %q", path, decoded)
			next, err := url.PathUnescape(at)
			if err != nil {
				break
			}
			decoded = next
		}
	})
}
