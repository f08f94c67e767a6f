package callout_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/pdk"
)

// A proxy that resolves names by itself is no way to where nobody may go.
func TestANameIsLookedAtBeforeAProxyResolvesIt(t *testing.T) {
	var reached atomic.Int64
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer inside.Close()
	var asked atomic.Int64
	through := callout.Proxy{URL: connectProxy(t, &asked), Username: "me", Password: secret.Ref{Value: canary}}
	for name, c := range map[string]struct {
		answers  []string
		networks []string
		refused  bool
	}{
		"the metadata service":        {[]string{"169.254.169.254"}, []string{"private", "loopback"}, true},
		"a private network":           {[]string{"10.1.2.3"}, nil, true},
		"one of several":              {[]string{"192.0.2.1", "127.0.0.1"}, nil, true},
		"one that is allowed":         {[]string{"127.0.0.1"}, []string{"loopback"}, false},
		"one that nobody here knows":  {nil, nil, false},
		"its own address, but nobody": {[]string{"0.0.0.0"}, []string{"loopback"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			dns := &names{lists: map[string][][]string{"target.example": {c.answers}}}
			e := callout.New(callout.Options{Resolver: dns.resolver(t)})
			defer e.Close()
			require.NoError(t, e.Apply([]callout.Credential{{Name: "Acme", Endpoint: "http://target.example:" + portOf(inside), SignIn: anonymous, Networks: c.networks, Proxy: through, NoRetries: true}}))
			asked.Store(0)
			answer := get(e, "callout:Acme/x")
			if !c.refused {
				require.EqualValues(t, 1, asked.Load(), "%+v", answer.Err)
				return
			}
			require.Equal(t, pdk.PermissionDenied, answer.Err.Type, "%+v", answer.Err)
			require.True(t, answer.Refused)
			require.Zero(t, asked.Load())
		})
	}
	require.Zero(t, reached.Load())
}
