package callout_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/pdk"
)

// counter is a pacer that counts, and that refuses from a number of turns on.
type counter struct {
	mu          sync.Mutex
	turns, most int
	held        int
	asked       [][2]string
}

func (c *counter) Take(ctx context.Context, credential, app string) (func(), error) {
	if err := c.Turn(ctx, credential, app); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held++
	c.asked = append(c.asked, [2]string{credential, app})
	return func() { c.mu.Lock(); c.held--; c.mu.Unlock() }, nil
}

func (c *counter) Turn(context.Context, string, string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turns >= c.most {
		e := host.Errorf(host.RateLimited, "limits.rate of Acme lets the next request go in 90s")
		e.RetryAfter = 90 * time.Second
		return e
	}
	c.turns++
	return nil
}

func TestEveryHTTPRequestOverACredentialHasATurn(t *testing.T) {
	seen := 0
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen++
		switch r.URL.Path {
		case "/again":
			w.WriteHeader(http.StatusBadGateway)
		case "/moved":
			http.Redirect(w, r, "/here", http.StatusFound)
		case "/new":
			if r.Header.Get("Authorization") != "Bearer old" {
				w.WriteHeader(http.StatusUnauthorized)
			}
		}
	}))
	defer target.Close()
	p := &counter{most: 100}
	e := callout.New(callout.Options{Pacer: p})
	defer e.Close()
	value := func(text string) secret.Ref { return secret.Ref{Value: text} }
	before := value("old")
	token := value("new")
	token.Previous = &before
	require.NoError(t, e.Apply([]callout.Credential{{Name: "Acme", Endpoint: target.URL, SignIn: signin.Config{Protocol: signin.Bearer, Secret: signin.Secret{Ref: token, Path: "bearer.token"}}}}))
	ask := func(method, url string) callout.Response {
		seen = 0
		return e.Do(t.Context(), callout.Caller{Credential: "Acme", App: "acme", Hosts: []string{target.URL}}, callout.Request{Method: method, URL: url})
	}
	for _, c := range []struct {
		method, url string
		turns       int
	}{
		{"GET", "callout:Acme/x", 1}, {"POST", "callout:Acme/x", 1}, {"GET", "callout:Acme/moved", 2}, {"POST", "callout:Acme/again", 1},
		{"GET", "callout:Acme/again", 3}, {"GET", "callout:Acme/new", 2},
		{"GET", "callout:Acme/../x", 0}, {"GET", "callout:Other/x", 0}, {"GET", "http://127.0.0.1:1/", 0},
	} {
		p.turns = 0
		ask(c.method, c.url)
		require.Equal(t, c.turns, seen, "%s %s", c.method, c.url)
		require.Equal(t, c.turns, p.turns, "%s %s", c.method, c.url)
		require.Zero(t, p.held)
	}
	require.Contains(t, p.asked, [2]string{"Acme", "acme"})
	p.turns = 0
	require.Equal(t, 200, ask("GET", target.URL+"/x").Status)
	require.Zero(t, p.turns, "a host beside the credential is none of its target")

	// Without a turn nothing goes out, and the target is not to blame.
	p.turns, p.most = 0, 0
	answer := ask("POST", "callout:Acme/x")
	require.Equal(t, pdk.RateLimited, answer.Err.Type)
	require.Equal(t, 90, answer.Err.RetryAfterSeconds)
	require.True(t, answer.Refused)
	require.False(t, answer.Err.Uncertain)
	require.Zero(t, seen)
	p.turns, p.most = 0, 1
	require.Equal(t, http.StatusBadGateway, ask("GET", "callout:Acme/again").Status, "what there was is the answer")
	p.turns = 0
	answer = ask("GET", "callout:Acme/moved")
	require.Equal(t, pdk.RateLimited, answer.Err.Type, "%+v", answer.Err)
	require.Zero(t, p.held)
}
