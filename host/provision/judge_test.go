package provision

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
)

func TestATargetIsJudgedByWhatItDidItself(t *testing.T) {
	failed := host.Errorf(host.Unavailable, "no")
	of := func(list ...host.Callout) verdict { return judge(&host.CallTrace{Callouts: list}, failed) }
	require.True(t, of(host.Callout{URL: "callout:Acme/x", Error: "Unavailable: no connection"}).down)
	require.True(t, of(host.Callout{URL: "callout:Acme/x", Status: 503}).down)
	require.False(t, of(host.Callout{URL: "callout:Acme/x", Status: 400}).down)
	for name, c := range map[string]host.Callout{
		"what was refused here":            {URL: "callout:Acme/../x", Error: "PermissionDenied: a dot segment", Refused: true},
		"an answer that was too large":     {URL: "callout:Acme/x", Error: "Unsupported: larger", Refused: true},
		"a host that was granted beside":   {URL: "https://files.example.com/x", Status: 503},
		"the same, in capitals":            {URL: "HTTPS://files.example.com/x", Error: "Unavailable: no connection"},
		"what nobody has authorized":       {URL: "callout:Acme/x", Error: "Unauthorized", WaitsFor: "authorization:Acme"},
		"a host beside, that asks to wait": {URL: "https://files.example.com/x", Status: 429, RetryAfter: time.Hour},
	} {
		v := of(c)
		require.True(t, v.silent, name)
		require.False(t, v.down, name)
		require.Zero(t, v.retryAfter, name)
	}
	v := of(host.Callout{URL: "callout:Acme/x", Status: 429, RetryAfter: time.Minute})
	require.Equal(t, time.Minute, v.retryAfter, "though the connector's error has lost it")
	require.True(t, of(host.Callout{URL: "callout:Acme/x", Status: 503}, host.Callout{URL: "callout:Acme/../x", Refused: true, Error: "x"}).down, "what is refused afterwards changes nothing")
}
