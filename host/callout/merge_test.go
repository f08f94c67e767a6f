package callout_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/pdk"
)

// odd is a password that no place takes as it is.
const odd = `c@n"ary <&> \ +ö`

func basic(password string) signin.Config {
	return signin.Config{Protocol: signin.Basic, Username: "ada", Secret: signin.Secret{Ref: secret.Ref{Value: password}, Path: "basic.password"}}
}

func TestMergeFieldsAreFilledInAsTheyMustStandThere(t *testing.T) {
	var body []byte
	var header http.Header
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body) // looked at below
		header = r.Header
	}))
	defer target.Close()
	e := open(t, new(bytes.Buffer), callout.Credential{Endpoint: target.URL, SignIn: basic(odd), MergeHeaders: true, MergeBody: true})
	post := func(kind, text string) callout.Response {
		return e.Do(t.Context(), callout.Caller{Credential: "Acme"}, callout.Request{Method: "POST", URL: "callout:Acme/x", Header: map[string]string{"Content-Type": kind}, Body: []byte(text)})
	}
	require.Nil(t, post("application/json", `{"user": "{!$Credential.Username}", "password": "{!$Credential.Password}"}`).Err)
	var document map[string]string
	require.NoError(t, json.Unmarshal(body, &document), "%s", body)
	require.Equal(t, map[string]string{"user": "ada", "password": odd}, document)
	for _, form := range []string{"p={!$Credential.Password}&q=1", url.Values{"p": {"{!$Credential.Password}"}, "q": {"1"}}.Encode()} {
		require.Nil(t, post("application/x-www-form-urlencoded", form).Err)
		got, err := url.ParseQuery(string(body))
		require.NoError(t, err)
		require.Equal(t, url.Values{"p": {odd}, "q": {"1"}}, got)
	}
	require.Nil(t, post("text/xml; charset=utf-8", `<p>{!$Credential.Password}</p>`).Err)
	require.Equal(t, `<p>c@n&#34;ary &lt;&amp;&gt; \ +ö</p>`, string(body))
	require.Contains(t, post("application/octet-stream", "{!$Credential.Password}").Err.Message, "Content-Type")
	require.Equal(t, pdk.InvalidInput, post("application/json", "{!$Credential.OAuthToken}").Err.Type)
	require.Equal(t, pdk.InvalidInput, post("application/json", "{!$Credential.Nothing}").Err.Type)

	got := get(e, "callout:Acme/x", "X-User", "{!$Credential.Username}", "X-Method", "{!$Credential.AuthorizationMethod}", "X-Value", "v={!$Credential.AuthorizationHeaderValue}")
	require.Nil(t, got.Err)
	require.Equal(t, "ada", header.Get("X-User"))
	require.Equal(t, "Basic", header.Get("X-Method"))
	require.Equal(t, "v="+header.Get("Authorization"), header.Get("X-Value"))

	// The host makes no Authorization header: the connector's has the fields.
	c := basic("plain-password")
	c.WithoutHeader = true
	e = open(t, new(bytes.Buffer), callout.Credential{Endpoint: target.URL, SignIn: c, MergeHeaders: true})
	require.Nil(t, get(e, "callout:Acme/x", "Authorization", "Custom {!$Credential.Password}").Err)
	require.Equal(t, "Custom plain-password", header.Get("Authorization"))
	require.NotNil(t, get(e, "callout:Acme/x", "Authorization", "Custom mine").Err, "and nothing without one")
	e = open(t, new(bytes.Buffer), callout.Credential{Endpoint: target.URL, SignIn: basic("a\tb"), MergeHeaders: true})
	require.Nil(t, get(e, "callout:Acme/x", "X-P", "{!$Credential.Password}").Err)
}

func TestMergeFieldsThatAreNotAllowedAreRefusedAndNothingIsSent(t *testing.T) {
	reached := 0
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ }))
	defer target.Close()
	send := func(c callout.Credential, caller callout.Caller) *pdk.Error {
		c.Endpoint, c.SignIn, caller.Credential = target.URL, basic(odd), "Acme"
		e := open(t, new(bytes.Buffer), c)
		got := e.Do(t.Context(), caller, callout.Request{Method: "POST", URL: "callout:Acme/x", Header: map[string]string{"X-P": "{!$Credential.Username}"}})
		require.NotNil(t, got.Err)
		require.Equal(t, pdk.PermissionDenied, got.Err.Type)
		got = e.Do(t.Context(), caller, callout.Request{Method: "POST", URL: "callout:Acme/x", Header: map[string]string{"Content-Type": "application/json"}, Body: []byte(`"{!$Credential.Password}"`)})
		require.NotNil(t, got.Err)
		require.Equal(t, pdk.PermissionDenied, got.Err.Type)
		return got.Err
	}
	send(callout.Credential{}, callout.Caller{})
	// What a person may have written into his own name.
	require.Contains(t, send(callout.Credential{MergeHeaders: true, MergeBody: true}, callout.Caller{NoMerge: true}).Message, "somebody else's")
	require.Zero(t, reached)
	for _, text := range []string{`{"LastName":"{!$Credential.Password}"}`, `\u007b!$`, `%7B%21`, `&#123;&#33;`, "{!"} {
		require.True(t, callout.Mergeable([]byte(text)), text)
	}
	require.False(t, callout.Mergeable([]byte(`{"a":"!","b":{}}`)))
}

func TestAnEchoNeverShowsASecretInWhateverForm(t *testing.T) {
	const password = `hunter2 & "co"`
	forms := map[string]func(string) string{
		"plain": func(s string) string { return s }, "query": url.QueryEscape, "path": url.PathEscape,
		"hex": func(s string) string { return hex.EncodeToString([]byte(s)) }, "base64": func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		"base64url": func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
		"json":      func(s string) string { b, _ := json.Marshal(s); return string(b) },
		"basic":     func(s string) string { return base64.StdEncoding.EncodeToString([]byte("ada:" + s)) },
	}
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, sent, _ := r.BasicAuth()
		echo := forms[r.URL.Query().Get("form")](sent)
		w.Header().Set("X-Echo", url.PathEscape(echo))
		w.Header().Set("X-Auth", r.Header.Get("Authorization"))
		_, _ = io.WriteString(w, "you sent "+echo+", really")
	}))
	defer target.Close()
	e := open(t, new(bytes.Buffer), callout.Credential{Endpoint: target.URL, SignIn: basic(password)})
	for name, form := range forms {
		got := get(e, "callout:Acme/x?form="+name)
		require.Equal(t, 200, got.Status)
		require.NotContains(t, string(got.Body), form(password), name)
		require.Contains(t, string(got.Body), "***", name)
		for header, v := range got.Header {
			require.NotContains(t, v, form(password), header)
			require.NotContains(t, v, base64.StdEncoding.EncodeToString([]byte("ada:"+password)), header)
		}
	}
}

// A digest of a password lets it be guessed, and a session's token is as good as
// the key while it lasts: an answer that repeats them has them masked as well.
func TestWhatARequestWasSignedWithDoesNotComeBack(t *testing.T) {
	var seen http.Header
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", `Digest realm="r", qop="auth", algorithm=SHA-256, nonce="n1"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		seen = r.Header.Clone()
		w.Header().Set("X-Was", r.Header.Get("Authorization"))
		_ = json.NewEncoder(w).Encode(r.Header) // the test reads it
	}))
	defer echo.Close()
	keys := signin.Secret{Ref: secret.Ref{Value: canary}, Path: "x"}
	for name, c := range map[string]struct {
		signIn signin.Config
		secret func() []string
	}{
		"digest": {signin.Config{Protocol: signin.Digest, Username: "ada", Secret: keys}, func() []string {
			_, rest, _ := strings.Cut(seen.Get("Authorization"), `response="`)
			return []string{rest[:64]}
		}},
		"aws": {signin.Config{Protocol: signin.AWS, Secret: keys, SessionToken: signin.Secret{Ref: secret.Ref{Value: "the-session-token"}, Path: "y"}, AWS: signin.AWSConfig{Region: "r", Service: "s", AccessKeyID: "AKID"}},
			func() []string {
				_, signature, _ := strings.Cut(seen.Get("Authorization"), "Signature=")
				return []string{signature, "the-session-token"}
			}},
		"hmac": {signin.Config{Protocol: signin.HMAC, Secret: keys, HMAC: signin.HMACConfig{Prefix: "HMAC ", Template: "{method}{date}"}},
			func() []string { return []string{strings.TrimPrefix(seen.Get("Authorization"), "HMAC ")} }},
	} {
		t.Run(name, func(t *testing.T) {
			answer := get(open(t, new(bytes.Buffer), callout.Credential{Endpoint: echo.URL, SignIn: c.signIn}), "callout:Acme/x")
			require.Nil(t, answer.Err)
			require.Equal(t, http.StatusOK, answer.Status)
			for _, text := range c.secret() {
				require.NotEmpty(t, text)
				require.NotContains(t, string(answer.Body), text)
				require.NotContains(t, answer.Header["x-was"], text)
			}
			require.Contains(t, string(answer.Body), "***")
		})
	}
}
