package host_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
)

func TestReachSaysWhatIsMoreThanWasGranted(t *testing.T) {
	granted := host.Reach{Operations: []string{"create", "read"}, Protocols: []string{"bearer"}, Hosts: []string{"a.example.com"}, MemoryMiB: 64}
	require.True(t, granted.Beyond(granted).Empty())
	wants := host.Reach{Operations: []string{"read", "delete"}, Protocols: []string{"bearer", "basic"}, Hosts: []string{"b.example.com"}, MemoryMiB: 64, HTTPCalls: 500}
	more := wants.Beyond(granted)
	require.Equal(t, host.Reach{Operations: []string{"delete"}, Protocols: []string{"basic"}, Hosts: []string{"b.example.com"}, HTTPCalls: 500}, more)
	require.Equal(t, "operations delete; sign-ins basic; hosts b.example.com; 500 HTTP requests a call", more.String())
	require.True(t, wants.Beyond(granted.With(more)).Empty())
	require.True(t, wants.Beyond(host.Reach{Operations: wants.Operations, Protocols: []string{host.AnyProtocol}, Hosts: wants.Hosts, MemoryMiB: 64, HTTPCalls: 500}).Empty())
	require.Equal(t, "nothing", host.Reach{}.String())
}

func TestAQuarantineIsOfOneBuild(t *testing.T) {
	s := host.ConnectorState{Connector: "acme", RejectedDigest: "aa"}
	require.True(t, s.Quarantined("aa"))
	require.False(t, s.Quarantined("bb"))
	s.ServingDigest = "bb"
	require.False(t, s.Quarantined("aa"))
	require.False(t, new(host.ConnectorState).Quarantined(""))
}
