package callout

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// OperatorDial connects to what the operator has written down for the host's
// own use, such as a webhook: it may be of the own machine or network, but what
// nobody may call is refused, and so are the daemon's own listeners.
func OperatorDial(own func(netip.AddrPort) bool) func(ctx context.Context, network, address string) (net.Conn, error) {
	r := reach{kinds: map[kind]bool{loopback: true, private: true}, own: own}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return r.dial(ctx, net.DefaultResolver, network, address, 10*time.Second)
	}
}
