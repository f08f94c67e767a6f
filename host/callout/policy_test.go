package callout_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/secret"
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
	e := open(t, new(bytes.Buffer), callout.Credential{Endpoint: target.URL + "/scim/v2/", Protocol: callout.Bearer, Secret: secret.Ref{Value: canary}})
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
	e := open(t, &log, callout.Credential{Endpoint: target.URL, Protocol: callout.Bearer, Secret: secret.Ref{Value: canary}})
	answer := get(e, "callout:Acme/x?secret=1", "authorization", "Bearer mine", "Cookie", "a", "Proxy-Authorization", "p", "Connection", "close", "X-Mine", "kept")
	require.Nil(t, answer.Err)
	require.Equal(t, "Bearer "+canary, seen.Get("Authorization"))
	require.Equal(t, "kept", seen.Get("X-Mine"))
	require.Empty(t, seen.Get("Cookie"))
	require.Empty(t, seen.Get("Proxy-Authorization"))
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
	e := open(t, new(bytes.Buffer), callout.Credential{Endpoint: target.URL + "/scim", Protocol: callout.Bearer, Secret: secret.Ref{Value: canary}})
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
	e := open(t, new(bytes.Buffer), callout.Credential{Endpoint: target.URL + "/api", Protocol: callout.OAuth2, Secret: secret.Ref{Value: canary},
		OAuth2: callout.OAuth2Config{TokenURL: target.URL + "/token", ClientID: "me"}})
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
	e := open(t, new(bytes.Buffer), callout.Credential{Endpoint: target.URL, Protocol: callout.Anonymous, MaxResponseBytes: 1000, Timeout: 100 * time.Millisecond})
	do := func(method, path string) *pdk.Error {
		return e.Do(context.Background(), callout.Caller{Credential: "Acme"}, callout.Request{Method: method, URL: "callout:Acme" + path, Body: []byte("x")}).Err
	}
	for _, path := range []string{"/cut", "/hang"} {
		require.Equal(t, pdk.Unavailable, do("POST", path).Type)
		require.True(t, do("POST", path).Uncertain, path)
		require.False(t, do("GET", path).Uncertain, path)
	}
	require.Contains(t, do("GET", "/large").Message, "larger than 1000 bytes")
	down := open(t, new(bytes.Buffer), callout.Credential{Endpoint: "http://127.0.0.1:1", Protocol: callout.Anonymous})
	refused := down.Do(context.Background(), callout.Caller{Credential: "Acme"}, callout.Request{Method: "POST", URL: "callout:Acme/x"}).Err
	require.Equal(t, pdk.Unavailable, refused.Type)
	require.False(t, refused.Uncertain, "nothing was sent")
}

func TestAllCredentialsAreTakenOrNone(t *testing.T) {
	e := open(t, new(bytes.Buffer), callout.Credential{Name: "Good", Endpoint: "https://x.example", Protocol: callout.Anonymous})
	err := e.Apply([]callout.Credential{
		{Name: "A", Endpoint: "ftp://x", Protocol: callout.Anonymous},
		{Name: "B", Endpoint: "https://x.example", Protocol: callout.Bearer, Secret: secret.Ref{Env: "NOT_SET_ANYWHERE"}},
		{Name: "C", Endpoint: "https://x.example", Protocol: callout.Anonymous, TLS: callout.TLS{CAFile: "missing.pem"}},
	})
	for _, field := range []string{"credentials.A.endpoint", "credentials.B.bearer", "credentials.C.tls"} {
		require.ErrorContains(t, err, field)
	}
	require.Equal(t, "Good", e.List()[0].Name)
}
