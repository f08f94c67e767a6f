package callout_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/pdk"
)

// names is a DNS server that answers each question for a name with the next of
// its lists of addresses, and the last one from then on.
type names struct {
	mu    sync.Mutex
	lists map[string][][]string
	asked atomic.Int64
}

func (n *names) next(name string) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	lists := n.lists[strings.TrimSuffix(name, ".")]
	if len(lists) == 0 {
		return nil
	}
	if len(lists) > 1 {
		n.lists[strings.TrimSuffix(name, ".")] = lists[1:]
	}
	return lists[0]
}

// resolver serves the names until the test ends.
func (n *names) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	var done sync.WaitGroup
	done.Go(func() {
		in := make([]byte, 1500)
		for {
			size, from, err := c.ReadFrom(in)
			if err != nil {
				return
			}
			var q dnsmessage.Message
			if q.Unpack(in[:size]) != nil || len(q.Questions) != 1 {
				continue
			}
			question := q.Questions[0]
			m := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, Authoritative: true}, Questions: q.Questions}
			if question.Type == dnsmessage.TypeA { // so that a name is asked for once a dial
				n.asked.Add(1)
				for _, text := range n.next(question.Name.String()) {
					h := dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET}
					if a := netip.MustParseAddr(text); a.Is4() {
						m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
					}
				}
			}
			if out, err := m.Pack(); err == nil {
				_, _ = c.WriteTo(out, from) // who is gone needs no answer
			}
		}
	})
	t.Cleanup(func() { _ = c.Close(); done.Wait() })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", c.LocalAddr().String())
	}}
}

func portOf(s *httptest.Server) string { return s.URL[strings.LastIndexByte(s.URL, ':')+1:] }

func TestANameThatLeadsToWhereNobodyMayGoIsRefusedWhenItIsDialled(t *testing.T) {
	var reached atomic.Int64
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer inside.Close()
	for name, c := range map[string]struct {
		answers  [][]string
		networks []string
		says     string
	}{
		"loopback":                       {[][]string{{"127.0.0.1"}}, nil, "networks: [loopback]"},
		"all of loopback":                {[][]string{{"127.1.2.3"}}, nil, "networks: [loopback]"},
		"a private network":              {[][]string{{"10.1.2.3"}}, nil, "networks: [private]"},
		"a private network, loopback ok": {[][]string{{"192.168.7.7"}}, []string{"loopback"}, "networks: [private]"},
		"loopback, private ok":           {[][]string{{"127.0.0.1"}}, []string{"private"}, "networks: [loopback]"},
		"outside the prefix":             {[][]string{{"10.2.0.1"}}, []string{"10.1.0.0/16"}, "networks: [private]"},
		"the metadata service":           {[][]string{{"169.254.169.254"}}, []string{"private", "loopback"}, "metadata service"},
		"link-local":                     {[][]string{{"169.254.3.4"}}, []string{"private", "loopback"}, "link-local"},
		"unspecified":                    {[][]string{{"0.0.0.0"}}, []string{"private", "loopback"}, "unspecified"},
		"multicast":                      {[][]string{{"224.0.0.1"}}, []string{"private", "loopback"}, "multicast"},
		"broadcast":                      {[][]string{{"255.255.255.255"}}, []string{"private", "loopback"}, "broadcast"},
		"every answer":                   {[][]string{{"10.1.2.3", "127.0.0.1"}}, nil, "networks:"},
	} {
		t.Run(name, func(t *testing.T) {
			dns := &names{lists: map[string][][]string{"target.example": c.answers}}
			e := callout.New(callout.Options{Resolver: dns.resolver(t)})
			defer e.Close()
			require.NoError(t, e.Apply([]callout.Credential{{Name: "Acme", Endpoint: "http://target.example:" + portOf(inside), SignIn: signin.Config{Protocol: signin.Bearer, Secret: signin.Secret{Ref: secret.Ref{Value: canary}, Path: "bearer.token"}}, Networks: c.networks}}))
			answer := get(e, "callout:Acme/x")
			require.NotNil(t, answer.Err)
			require.Equal(t, pdk.PermissionDenied, answer.Err.Type)
			require.Contains(t, answer.Err.Message, c.says)
			require.False(t, answer.Err.Uncertain)
			require.Positive(t, dns.asked.Load())
		})
	}
	require.Zero(t, reached.Load())
}

func TestANameThatIsResolvedAnotherWayTheNextTimeGainsNothing(t *testing.T) {
	var reached atomic.Int64
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer inside.Close()
	// At first an address that may be called (nobody is there), then the inside.
	dns := &names{lists: map[string][][]string{"target.example": {{"127.0.0.9"}, {"127.0.0.1"}}}}
	e := callout.New(callout.Options{Resolver: dns.resolver(t)})
	defer e.Close()
	require.NoError(t, e.Apply([]callout.Credential{{Name: "Acme", Endpoint: "http://target.example:" + portOf(inside), SignIn: signin.Config{Protocol: signin.Anonymous}, Networks: []string{"127.0.0.9/32"}}}))
	// The first try reaches nobody; its second try is dialled, and refused, anew.
	first := get(e, "callout:Acme/x")
	require.Equal(t, pdk.PermissionDenied, first.Err.Type, "%s", first.Err.Message)
	second := get(e, "callout:Acme/x")
	require.Equal(t, pdk.PermissionDenied, second.Err.Type, "%s", second.Err.Message)
	require.Zero(t, reached.Load())
}

func TestWhatTheOperatorWroteDownIsMeant(t *testing.T) {
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer target.Close()
	dns := &names{lists: map[string][][]string{"target.example": {{"127.0.0.1"}}}}
	for name, c := range map[string]callout.Credential{
		"an address":           {Endpoint: target.URL},
		"localhost":            {Endpoint: "http://localhost:" + portOf(target)},
		"loopback":             {Endpoint: "http://target.example:" + portOf(target), Networks: []string{"loopback"}},
		"a prefix":             {Endpoint: "http://target.example:" + portOf(target), Networks: []string{"127.0.0.0/8"}},
		"the address, as IPv6": {Endpoint: "http://[::ffff:127.0.0.1]:" + portOf(target)},
	} {
		t.Run(name, func(t *testing.T) {
			o := callout.Options{Resolver: dns.resolver(t)}
			if name == "localhost" {
				o.Resolver = nil
			}
			e := callout.New(o)
			defer e.Close()
			c.Name, c.SignIn.Protocol = "Acme", signin.Anonymous
			require.NoError(t, e.Apply([]callout.Credential{c}))
			answer := get(e, "callout:Acme/x")
			require.Nil(t, answer.Err)
			require.Equal(t, 200, answer.Status)
		})
	}
}

func TestNoRequestGoesToTheDaemonItself(t *testing.T) {
	var reached atomic.Int64
	own := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer own.Close()
	port, err := strconv.Atoi(portOf(own))
	require.NoError(t, err)
	for _, listener := range []string{"127.0.0.1", "0.0.0.0", "::"} {
		at := []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(listener), uint16(port))}
		e := callout.New(callout.Options{Own: func(to netip.AddrPort) bool { return callout.OwnListener(at, to) }})
		require.NoError(t, e.Apply([]callout.Credential{{Name: "Acme", Endpoint: own.URL, SignIn: signin.Config{Protocol: signin.Anonymous}, Networks: []string{"loopback", "private"}}}))
		answer := get(e, "callout:Acme/api/v1/status")
		require.NotNil(t, answer.Err)
		require.Contains(t, answer.Err.Message, "this daemon itself")
		granted := e.Do(context.Background(), callout.Caller{Connector: "x", Hosts: []string{own.URL}}, callout.Request{Method: "GET", URL: own.URL})
		require.NotNil(t, granted.Err)
		require.Contains(t, granted.Err.Message, "this daemon itself")
		e.Close()
	}
	require.Zero(t, reached.Load())
}

func TestAnEndpointThatNobodyMayCallIsRefusedAtOnce(t *testing.T) {
	for endpoint, says := range map[string]string{
		"http://169.254.169.254/latest":     "metadata service",
		"http://[fd00:ec2::254]/":           "metadata service",
		"http://100.100.100.200/":           "metadata service",
		"http://0.0.0.0:80/":                "unspecified",
		"http://[::]/":                      "unspecified",
		"http://[fe80::1]/":                 "link-local",
		"http://224.0.0.1/":                 "multicast",
		"http://[ff02::1]/":                 "multicast",
		"http://255.255.255.255/":           "broadcast",
		"http://[::ffff:169.254.169.254]/":  "metadata service",
		"http://[64:ff9b::a9fe:a9fe]/":      "metadata service",
		"http://[64:ff9b::7f00:1]/":         "loopback",
		"http://[64:ff9b:1::a00:1]/":        "translated",
		"http://[2002:7f00:1::]/":           "loopback",
		"http://[2002:a00:1::]/":            "private",
		"http://[::7f00:1]/":                "loopback",
		"http://[::ffff:0:7f00:1]/":         "loopback",
		"http://[2001:0:1::1]/":             "tunnel",
		"http://2130706433/":                "read in different ways",
		"http://0x7f000001/":                "read in different ways",
		"http://0177.0.0.1/":                "read in different ways",
		"http://127.1/":                     "read in different ways",
		"http://0x7f.0.0.1/":                "read in different ways",
		"http://127.0.0.0x1/":               "read in different ways",
		"http://00000000000000000000.1/":    "read in different ways",
		"http://[64:ff9b::ffff:ffff]:8080/": "broadcast",
	} {
		e := callout.New(callout.Options{})
		err := e.Apply([]callout.Credential{{Name: "Acme", Endpoint: endpoint, SignIn: signin.Config{Protocol: signin.Anonymous}}})
		require.ErrorContains(t, err, says, endpoint)
		require.ErrorContains(t, err, "endpoint", endpoint)
		err = e.Apply([]callout.Credential{{Name: "Acme", Endpoint: "https://x.example", SignIn: signin.Config{Protocol: signin.OAuth2, Secret: signin.Secret{Ref: secret.Ref{Value: "x"}, Path: "oauth2.client_secret"},
			OAuth2: signin.OAuth2Config{Grant: signin.ClientCredentials, TokenURL: endpoint}}}})
		require.ErrorContains(t, err, says, endpoint)
	}
}

func TestNetworksThatNobodyMayHaveAreRefused(t *testing.T) {
	for network, says := range map[string]string{
		"intern": "is none of", "10.0.0.1/8": "10.0.0.0/8 meant", "0.0.0.0/0": "not allowed", "::/0": "not allowed", "128.0.0.0/1": "too much",
		"169.254.0.0/16": "link-local", "169.254.169.254/32": "metadata", "224.0.0.0/4": "not allowed", "fe80::/10": "link-local", "10.0.0.0": "is none of",
	} {
		err := callout.New(callout.Options{}).Apply([]callout.Credential{{Name: "Acme", Endpoint: "https://x.example", SignIn: signin.Config{Protocol: signin.Anonymous}, Networks: []string{network}}})
		require.ErrorContains(t, err, says, network)
		require.ErrorContains(t, err, "credentials.Acme.networks", network)
	}
	require.NoError(t, callout.New(callout.Options{}).Apply([]callout.Credential{{Name: "Acme", Endpoint: "https://x.example", SignIn: signin.Config{Protocol: signin.Anonymous},
		Networks: []string{"loopback", "private", "10.0.0.0/8", "fd00:1234::/32", "192.168.1.5/32", "8.8.8.0/24"}}}))
}

// A granted host is a name for the public Internet, or an address that the
// operator wrote down.
func TestAGrantedNameIsNoWayInside(t *testing.T) {
	var reached atomic.Int64
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer inside.Close()
	dns := &names{lists: map[string][][]string{"files.example": {{"127.0.0.1"}}}}
	e := callout.New(callout.Options{Resolver: dns.resolver(t)})
	defer e.Close()
	at := "files.example:" + portOf(inside)
	answer := e.Do(context.Background(), callout.Caller{Connector: "x", Hosts: []string{"http://" + at}}, callout.Request{Method: "GET", URL: "http://" + at + "/x"})
	require.NotNil(t, answer.Err)
	require.Equal(t, pdk.PermissionDenied, answer.Err.Type)
	require.Zero(t, reached.Load())
}
