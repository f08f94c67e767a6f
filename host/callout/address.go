package callout

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// Where a request may go is decided when its connection is dialled, by the
// address that the name stood for at that moment: a name that is resolved
// another way the next time gains nothing.

// The words for networks that are allowed by their kind.
const (
	Loopback = "loopback"
	Private  = "private"
)

// kind is what sort of network an address is of.
type kind int

const (
	public kind = iota
	loopback
	private
	never // of no use to any target
)

// kinds are the networks that are not public, the most special first: those of
// IANA's registries of special-purpose addresses (RFC 6890) that are not
// globally reachable, and where clouds tell secrets to whoever asks.
var kinds = []struct {
	prefix netip.Prefix
	kind   kind
	what   string
}{
	{netip.MustParsePrefix("169.254.169.254/32"), never, "the metadata service of a cloud"},
	{netip.MustParsePrefix("169.254.170.0/24"), never, "the metadata service of a cloud"},
	{netip.MustParsePrefix("100.100.100.200/32"), never, "the metadata service of a cloud"},
	{netip.MustParsePrefix("168.63.129.16/32"), never, "the metadata service of a cloud"},
	{netip.MustParsePrefix("192.0.0.192/32"), never, "the metadata service of a cloud"},
	{netip.MustParsePrefix("fd00:ec2::/32"), never, "the metadata service of a cloud"},
	{netip.MustParsePrefix("fd20:ce::254/128"), never, "the metadata service of a cloud"},
	{netip.MustParsePrefix("0.0.0.0/8"), never, "an unspecified address"},
	{netip.MustParsePrefix("169.254.0.0/16"), never, "a link-local address"},
	{netip.MustParsePrefix("224.0.0.0/4"), never, "a multicast address"},
	{netip.MustParsePrefix("240.0.0.0/4"), never, "a reserved or broadcast address"},
	{netip.MustParsePrefix("192.0.0.0/24"), never, "a reserved address"},
	{netip.MustParsePrefix("192.0.2.0/24"), never, "an address for documentation"},
	{netip.MustParsePrefix("198.51.100.0/24"), never, "an address for documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), never, "an address for documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), never, "a reserved address"},
	{netip.MustParsePrefix("::/128"), never, "an unspecified address"},
	{netip.MustParsePrefix("fe80::/10"), never, "a link-local address"},
	{netip.MustParsePrefix("fec0::/10"), never, "a site-local address"},
	{netip.MustParsePrefix("ff00::/8"), never, "a multicast address"},
	{netip.MustParsePrefix("100::/64"), never, "a reserved address"},
	{netip.MustParsePrefix("2001:db8::/32"), never, "an address for documentation"},
	{netip.MustParsePrefix("3fff::/20"), never, "an address for documentation"},
	{netip.MustParsePrefix("2001::/32"), never, "an address in a tunnel"},
	{netip.MustParsePrefix("2001:2::/48"), never, "a reserved address"},
	{netip.MustParsePrefix("5f00::/16"), never, "a reserved address"},

	{netip.MustParsePrefix("127.0.0.0/8"), loopback, "a loopback address"},
	{netip.MustParsePrefix("::1/128"), loopback, "a loopback address"},

	{netip.MustParsePrefix("10.0.0.0/8"), private, "a private address"},
	{netip.MustParsePrefix("172.16.0.0/12"), private, "a private address"},
	{netip.MustParsePrefix("192.168.0.0/16"), private, "a private address"},
	{netip.MustParsePrefix("100.64.0.0/10"), private, "an address shared behind a provider"},
	{netip.MustParsePrefix("198.18.0.0/15"), private, "an address for benchmarks"},
	{netip.MustParsePrefix("fc00::/7"), private, "a private address"},
}

// embedded are the IPv6 networks that have an IPv4 address in them, which is
// where a packet ends: from which byte.
var embedded = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},  // NAT64 (RFC 6052)
	{netip.MustParsePrefix("64:ff9b:1::/48"), 6}, // NAT64 of one's own (RFC 8215); see inside
	{netip.MustParsePrefix("2002::/16"), 2},      // 6to4 (RFC 3056)
	{netip.MustParsePrefix("::/96"), 12},         // compatible (RFC 4291, 2.5.5.1)
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12},
}

// kindOf says what sort of network an address is of, and what it is called. An
// address within another counts as the worse of the two.
func kindOf(a netip.Addr) (kind, string) {
	a = a.Unmap().WithZone("")
	for _, k := range kinds {
		if k.prefix.Contains(a) {
			return k.kind, k.what
		}
	}
	for _, e := range embedded {
		if !e.prefix.Contains(a) {
			continue
		}
		if e.at == 6 {
			return never, "an address that is translated to another one" // by whom, nobody here knows
		}
		b := a.As16()
		if inner, what := kindOf(netip.AddrFrom4([4]byte(b[e.at : e.at+4]))); inner != public {
			return never, what + ", written as another one"
		}
		return public, ""
	}
	return public, ""
}

// reach is which networks besides the public Internet the requests of one
// credential may go to.
type reach struct {
	kinds    map[kind]bool
	prefixes []netip.Prefix
	// own tells whether an address is one of the daemon's listeners.
	own func(netip.AddrPort) bool
}

// newReach reads the networks of a credential: loopback, private, or prefixes.
func newReach(networks []string, own func(netip.AddrPort) bool) (reach, error) {
	r := reach{kinds: map[kind]bool{}, own: own}
	for _, n := range networks {
		switch n {
		case Loopback:
			r.kinds[loopback] = true
		case Private:
			r.kinds[private] = true
		default:
			p, err := netip.ParsePrefix(n)
			if err != nil {
				return r, fmt.Errorf("%q is none of %s, %s and a prefix such as 10.1.0.0/16", n, Loopback, Private)
			}
			if p != p.Masked() {
				return r, fmt.Errorf("%q has bits behind its length; is %s meant?", n, p.Masked())
			}
			if k, what := kindOf(p.Addr()); k == never || p.Bits() < 8 {
				return r, fmt.Errorf("%q is not allowed to anybody: it is or holds %s", n, orElse(what, "far too much"))
			}
			r.prefixes = append(r.prefixes, p)
		}
	}
	return r, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// refusedAddress is why no connection was made.
type refusedAddress struct{ why string }

func (e *refusedAddress) Error() string { return e.why }

// check tells whether a connection to an address may be made. host is what was
// asked for: an address that the operator wrote down himself, or localhost, is
// meant.
func (r reach) check(host string, to netip.AddrPort) error {
	a := to.Addr().Unmap()
	k, what := kindOf(a)
	if r.own != nil && r.own(to) {
		return &refusedAddress{fmt.Sprintf("%s is this daemon itself", to)}
	}
	literal, err := netip.ParseAddr(strings.Trim(host, "[]"))
	meant := err == nil && literal.Unmap().WithZone("") == a.WithZone("") || k == loopback && isLocalhost(host)
	for _, p := range r.prefixes {
		meant = meant || p.Contains(a)
	}
	switch {
	case k == public, k != never && (meant || r.kinds[k]):
		return nil
	case k == never:
		return &refusedAddress{fmt.Sprintf("%s is %s, which nobody may call", named(host, a), what)}
	case k == loopback:
		return &refusedAddress{fmt.Sprintf("%s is %s; if it is meant, add networks: [loopback] to the credential", named(host, a), what)}
	default:
		return &refusedAddress{fmt.Sprintf("%s is %s; if it is meant, add networks: [private] or its prefix to the credential", named(host, a), what)}
	}
}

func named(host string, a netip.Addr) string {
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return a.String()
	}
	return fmt.Sprintf("%s (%s)", host, a)
}

func isLocalhost(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// wrongHost says what is wrong with the host of a configured URL, "" for
// nothing: one that no connection would be made to is better said at once.
func wrongHost(host string) string {
	a, err := netip.ParseAddr(host)
	if err == nil {
		if k, what := kindOf(a); k == never {
			return fmt.Sprintf("%s is %s, which nobody may call", host, what)
		}
		return ""
	}
	// What some resolvers take for an address: 2130706433, 0x7f.1, 0177.0.0.1.
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	last := strings.ToLower(labels[len(labels)-1])
	if last != "" && strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return fmt.Sprintf("%q is an address in a form that is read in different ways; write it as 192.0.2.1 or [2001:db8::1]", host)
	}
	return ""
}

// dial connects, to addresses that may be. Each address that a name stands for
// is looked at when its own turn comes.
func (r reach) dial(ctx context.Context, resolver *net.Resolver, network, address string, timeout time.Duration) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: timeout, Resolver: resolver, ControlContext: func(_ context.Context, _, to string, _ syscall.RawConn) error {
		addr, err := netip.ParseAddrPort(to)
		if err != nil {
			return &refusedAddress{fmt.Sprintf("%s is no address", to)}
		}
		return r.check(host, addr)
	}}
	return d.DialContext(ctx, network, address)
}

// refusal is why an address was refused, nil if none was.
func refusal(err error) *refusedAddress {
	var r *refusedAddress
	if errors.As(err, &r) {
		return r
	}
	return nil
}

// OwnListener tells whether an address leads to one of the listeners. One that
// listens on all addresses is reached by every address of this machine.
func OwnListener(listeners []netip.AddrPort, to netip.AddrPort) bool {
	a := to.Addr().Unmap().WithZone("")
	for _, l := range listeners {
		if l.Port() != to.Port() {
			continue
		}
		if own := l.Addr().Unmap(); own == a {
			return true
		} else if own.IsUnspecified() && (a.IsLoopback() || isOfThisMachine(a)) {
			return true
		}
	}
	return false
}

func isOfThisMachine(a netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return true // what can't be told apart is refused
	}
	for _, i := range all {
		if p, err := netip.ParsePrefix(i.String()); err == nil && p.Addr().Unmap().WithZone("") == a {
			return true
		}
	}
	return false
}
