package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/pdk"
)

// The methods as the Extism PDK numbers them.
const (
	probeGET, probePOST, probeCONNECT, probeOPTIONS, probeTRACE = 0, 2, 6, 7, 8
)

// probe is a request that a connector tries, and why it must not be sent.
type probe struct {
	Why    string            `json:"-"`
	Method int               `json:"method"`
	URL    string            `json:"url"`
	Header map[string]string `json:"header,omitempty"`
}

// counted listens and counts who comes.
func counted(t *testing.T, address string, n *atomic.Int64) string {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("this machine can't listen on %s: %v", address, err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { n.Add(1) })}}
	s.Start()
	t.Cleanup(s.Close)
	return l.Addr().String()
}

// A connector tries every way out that is known to have worked somewhere. What
// it must not reach has a listener behind it, which counts: nobody comes.
func TestNoConnectorReachesWhatItWasNotGiven(t *testing.T) {
	const canary = "canary-secret-0123456789"
	var outside, forbidden, own atomic.Int64
	var inside atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.RequestURI, "/scim/v2") {
			outside.Add(1)
		}
		inside.Add(1)
		switch r.URL.Path {
		case "/scim/v2/away":
			http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
		case "/scim/v2/echo":
			fmt.Fprintf(w, "%v", r.Header)
		}
	}))
	defer target.Close()
	at := strings.TrimPrefix(target.URL, "http://")
	other := counted(t, "127.0.0.1:0", &forbidden)
	_, port, err := net.SplitHostPort(other)
	require.NoError(t, err)
	// The same port on every address of loopback, and of IPv6.
	counted(t, net.JoinHostPort("127.0.0.2", port), &forbidden)
	self := counted(t, "127.0.0.1:0", &own)
	listener := netip.MustParseAddrPort(self)

	out := callout.New(callout.Options{Own: func(to netip.AddrPort) bool { return callout.OwnListener([]netip.AddrPort{listener}, to) }})
	defer out.Close()
	require.NoError(t, out.Apply([]callout.Credential{
		{Name: "Acme", Endpoint: target.URL + "/scim/v2", SignIn: signin.Config{Protocol: signin.Bearer, Secret: signin.Secret{Ref: secret.Ref{Value: canary}, Path: "bearer.token"}}},
		{Name: "Other", Endpoint: "http://" + other, SignIn: signin.Config{Protocol: signin.Bearer, Secret: signin.Secret{Ref: secret.Ref{Value: canary}, Path: "bearer.token"}}},
	}))

	var probes []probe
	try := func(why, url string, header ...string) {
		p := probe{Why: why, URL: url}
		for i := 0; i+1 < len(header); i += 2 {
			if p.Header == nil {
				p.Header = map[string]string{}
			}
			p.Header[header[i]] = header[i+1]
		}
		probes = append(probes, p)
	}
	for path, why := range map[string]string{
		"/../admin": "a dot segment", "/..": "a dot segment at the end", "/.": "a single dot", "/./x": "a single dot segment", "/a/../../x": "dot segments inside",
		"/a/..": "a dot segment behind a good one", "/%2e%2e/admin": "encoded dots", "/%2E%2e/admin": "encoded dots, mixed case", "/.%2e/admin": "half encoded dots", "/%2e": "one encoded dot",
		"/%2e%2e%3fx": "dots before an encoded query", "/%2e%2e%23x": "dots before an encoded fragment",
		"/%c0%ae%c0%ae/admin": "overlong dots", "/..%c0%af/admin": "an overlong slash", "/\uff0e\uff0e/admin": "wide dots", "/%ef%bc%8e%ef%bc%8e/admin": "encoded wide dots", "/..%ef%bc%8fadmin": "a wide slash", "/\u2025/admin": "two dots in one sign",
		"/%252e%252e/admin": "doubly encoded dots", "/%25252e%25252e/admin": "three times encoded dots", "/%2525252e%2525252e/admin": "four times encoded dots",
		"/..%2fadmin": "an encoded slash behind dots", "/a%2f..%2f..%2fadmin": "encoded slashes and dots", "/%2f..%2fadmin": "an encoded slash at the front", "/a%252f..%252fadmin": "doubly encoded slashes",
		"/..%5cadmin": "an encoded backslash", "/a%5c..%5cadmin": "encoded backslashes", "/..%255cadmin": "a doubly encoded backslash", "/..\\admin": "a backslash", "/\\evil": "a backslash at the front", "\\..\\admin": "a backslash in the place of the slash",
		"/..;/admin": "a parameter behind dots", "/..;a=b/admin": "a parameter with a value behind dots", "/%2e%2e;/admin": "a parameter behind encoded dots", "/.;/admin": "a parameter behind a dot",
		"//" + other + "/x": "two slashes and a host", "//evil": "two slashes", "/x//y": "two slashes inside", "/x//": "two slashes at the end", "///": "three slashes",
		"/x#frag": "a fragment", "/x?y#frag": "a fragment behind the query", "#": "a fragment alone",
		"/x y": "a space", "/x\ty": "a tab", "/x\r\nHost: evil": "a line break", "/x\nX: y": "a line feed", "/x?a=b\r\nX: y": "a line break in the query", "/x?a b": "a space in the query",
		"/x%0d%0aHost:%20evil": "an encoded line break", "/x%00": "an encoded NUL", "/x%250a": "a doubly encoded line feed", "/x\x7f": "DEL", "/x%7f": "an encoded DEL", "/x\x00": "a NUL",
		"/%zz": "a broken escape", "/%": "half an escape", "/%2": "an escape that ends",
		"@" + other + "/x": "userinfo", ":80@" + other + "/": "userinfo with a port", "." + other + "/x": "a host behind a dot", ":" + port + "/x": "a port behind the name", "%2f..": "an escape behind the name",
	} {
		try(why, "callout:Acme"+path)
	}
	for u, why := range map[string]string{
		"callout:Other/x": "another connector's credential", "callout:Nobody/x": "no credential", "callout:/x": "no name", "callout:": "nothing", "callout://" + other + "/x": "an authority",
		"callout:acme/x": "the name in another case", "CALLOUT:Acme/x": "the scheme in another case", " callout:Acme/x": "a space before it", "callout: Acme/x": "a space in it", "callout%3AAcme/x": "an encoded colon",
		"": "an empty URL", "/x": "a path", "x": "a word", "//" + other + "/x": "no scheme", "?x": "a query",
		"http://" + other + "/x": "an address that was not granted", "HTTP://" + other + "/x": "another case", "http://" + other: "no path", "http:" + other: "no slashes", "http:/" + other + "/x": "one slash",
		"http://user:pw@" + other + "/x": "userinfo", "http://127.0.0.1:80@" + other + "/": "userinfo that looks like a host", "http://" + at + "@" + other + "/": "the target as userinfo", "http://" + other + "#@" + at + "/": "the target in the fragment",
		"http://" + other + "\\@" + at + "/": "a backslash", "http://" + at + "\\@" + other + "/": "a backslash behind the target", "http://" + other + "?@" + at + "/": "the target in the query",
		"http://localhost:" + port + "/": "localhost", "http://LOCALHOST:" + port + "/": "localhost in capitals", "http://localhost.:" + port + "/": "localhost with a dot", "http://x.localhost:" + port + "/": "a name below localhost",
		"http://127.0.0.2:" + port + "/": "another address of loopback", "http://127.1:" + port + "/": "a short form", "http://2130706433:" + port + "/": "a decimal address", "http://0x7f000001:" + port + "/": "a hexadecimal address",
		"http://0177.0.0.1:" + port + "/": "an octal address", "http://0x7f.0.0.1:" + port + "/": "a hexadecimal byte", "http://127.0.1:" + port + "/": "three bytes", "http://0:" + port + "/": "zero", "http://0.0.0.0:" + port + "/": "unspecified",
		"http://[::1]:" + port + "/": "IPv6 loopback", "http://[::]:" + port + "/": "IPv6 unspecified", "http://[::ffff:127.0.0.1]:" + port + "/": "a mapped address", "http://[::ffff:7f00:1]:" + port + "/": "a mapped address in hex",
		"http://[64:ff9b::7f00:1]:" + port + "/": "NAT64", "http://[2002:7f00:1::]:" + port + "/": "6to4", "http://[::7f00:1]:" + port + "/": "a compatible address", "http://[fe80::1%25lo]:" + port + "/": "a zone",
		"http://169.254.169.254/latest/meta-data/": "a cloud's metadata", "http://[fd00:ec2::254]/latest/": "a cloud's metadata, IPv6", "http://metadata.google.internal/": "a cloud's metadata by name", "http://100.100.100.200/": "another cloud's metadata",
		"http://10.0.0.1/": "a private address", "http://192.168.0.1/": "a private address", "http://172.16.0.1/": "a private address", "http://100.64.0.1/": "a shared address", "http://224.0.0.1/": "multicast", "http://255.255.255.255/": "broadcast",
		"https://" + other + "/x": "https", "ftp://" + other + "/": "ftp", "gopher://" + other + "/_x": "gopher", "file:///etc/passwd": "a file", "unix:///var/run/docker.sock": "a socket", "data:text/plain,x": "data", "javascript:alert(1)": "a script", "ws://" + other + "/": "a web socket",
		"http://" + self + "/api/v1/status": "the daemon itself", "http://127.0.0.1:" + fmt.Sprint(listener.Port()) + "/metrics": "the daemon's metrics",
	} {
		try(why, u)
	}
	for _, name := range []string{"Authorization", "authorization", "AUTHORIZATION", "Cookie", "Host", "Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Expect", "Forwarded", "Via",
		"Proxy-Authorization", "Proxy-Connection", "proxy-authenticate", "Proxy-Anything"} {
		try("the header "+name, "callout:Acme/x", name, "x")
	}
	for name, value := range map[string]string{"X-A": "a\r\nHost: evil", "X-B": "a\nb", "X-C": "a\x00b", "X-D": "a\rb", "X E": "a", "X-F:": "a", "X-G\r\nHost": "a", "": "a", "X-\x00": "a", "X-(H)": "a", "Hôst": "a"} {
		try(fmt.Sprintf("the header %q: %q", name, value), "callout:Acme/x", name, value)
	}
	for method, why := range map[int]string{probeCONNECT: "CONNECT", probeOPTIONS: "OPTIONS", probeTRACE: "TRACE"} {
		probes = append(probes, probe{Why: why, Method: method, URL: "callout:Acme/x"})
	}
	require.Greater(t, len(probes), 150)

	wasm, err := os.ReadFile(guest(t, "./testdata/prober"))
	require.NoError(t, err)
	require.NoError(t, withSandbox(t.Context(), func(sb *sandbox.Runtime) error {
		catalogue := connector.New(connector.Options{Sandbox: sb, Egress: egress{Egress: out}})
		defer func() { require.NoError(t, catalogue.Close(context.Background())) }()
		// Some of it has been granted, so that what is refused is not so for want of any grant.
		grants := []string{"https://files.example.com", "*.example.com", "http://" + self, "POST http://" + other}
		require.NoError(t, catalogue.Load(t.Context(), connector.Spec{Name: "prober", Wasm: wasm, Hosts: grants, Limits: sandbox.Limits{HTTPCalls: 1000}}))
		c, release, err := catalogue.Acquire(context.Background(), "prober", "")
		require.NoError(t, err)
		defer release()
		send := func(list ...probe) (answers []struct {
			Status int
			Body   string
		}) {
			t.Helper()
			o, _, err := c.Call(t.Context(), pdk.OpCreate, pdk.Input{NamedCredDevName: "Acme", Parameters: map[string]any{"requests": list}})
			require.NoError(t, err)
			raw, err := json.Marshal(o.Attributes["answers"])
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(raw, &answers))
			require.Len(t, answers, len(list))
			return answers
		}
		for i, a := range send(probes...) {
			p := probes[i]
			require.Zero(t, a.Status, "%s: %q", p.Why, p.URL)
			var e pdk.Error
			require.NoError(t, json.Unmarshal([]byte(a.Body), &e), "%s: %q", p.Why, p.URL)
			require.Contains(t, []pdk.ErrorType{pdk.PermissionDenied, pdk.InvalidInput, pdk.Unsupported, pdk.Unauthorized}, e.Type, "%s: %q: %s", p.Why, p.URL, e.Message)
			require.False(t, e.Uncertain, p.Why)
			require.NotContains(t, a.Body, canary)
		}
		require.Zero(t, inside.Load(), "something was sent that should not be")

		// What is allowed goes, and brings no secret back.
		good := send(probe{URL: "callout:Acme/Users?x=../..&y=%2e%2e"}, probe{URL: "callout:Acme"}, probe{URL: "callout:Acme/Users/a%2Fb"}, probe{URL: "callout:Acme/echo"}, probe{Method: probePOST, URL: "http://" + other})
		for _, a := range good {
			require.Equal(t, 200, a.Status, a.Body)
			require.NotContains(t, a.Body, canary)
		}
		require.Contains(t, good[3].Body, "Bearer ***")
		require.EqualValues(t, 1, forbidden.Swap(0), "the one that was granted")

		// Redirects to everywhere are the connector's to see, and not followed.
		var away []probe
		for _, to := range []string{"http://" + other + "/", "//" + other + "/", "/admin", "/scim/v2/../../admin", "/scim/v2x", "http://" + at + "/admin", "http://user@" + at + "/scim/v2/x", "https://" + at + "/scim/v2/x",
			"http://" + self + "/", "http://169.254.169.254/", "file:///etc/passwd", "http://localhost:" + port + "/", "/scim/v2/%2e%2e/admin", "\\\\" + other + "\\x", "http:\\\\" + other} {
			away = append(away, probe{URL: "callout:Acme/away?to=" + url.QueryEscape(to)})
		}
		for i, a := range send(away...) {
			require.Contains(t, []int{0, 302}, a.Status, away[i].URL)
			require.NotContains(t, a.Body, canary)
		}
		return nil
	}))
	require.Zero(t, forbidden.Load(), "somebody came where nobody may")
	require.Zero(t, own.Load(), "somebody called the daemon itself")
	require.Zero(t, outside.Load(), "something left the endpoint's path")
}
