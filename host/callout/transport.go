package callout

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/provosthq/provost/host/secret"
)

// Timeouts bound the phases of one request; Credential.Timeout bounds them all
// together. 0 is the default.
type Timeouts struct {
	Connect time.Duration // 10 s: until there is a connection
	TLS     time.Duration // 10 s: until it is secured
	Headers time.Duration // until an answer begins; without a bound of its own
	Idle    time.Duration // 90 s: how long a connection is kept that nobody uses
}

func (t Timeouts) filled() Timeouts {
	or := func(d *time.Duration, other time.Duration) {
		if *d <= 0 {
			*d = other
		}
	}
	or(&t.Connect, 10*time.Second)
	or(&t.TLS, 10*time.Second)
	or(&t.Idle, 90*time.Second)
	return t
}

// Proxy is what requests go through. It resolves the names of targets itself;
// what they stand for here is looked at first.
type Proxy struct {
	// URL is http://, https:// or socks5://host:port; "" is none.
	URL      string
	Username string
	// Password is sealed for Binding.
	Password secret.Ref
	Binding  string
	// Except are hosts that are called without it: example.com, *.example.com.
	Except []string
}

func (p Proxy) url() (*url.URL, error) {
	u, err := url.Parse(p.URL)
	switch {
	case err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("%q is no proxy; write http://host:port or socks5://host:port", clip(p.URL, 100))
	case u.User != nil:
		return nil, errors.New("holds a user; give it as username and password")
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5":
		return nil, fmt.Errorf("%q has the scheme %q; there is http, https and socks5", clip(p.URL, 100), u.Scheme)
	}
	return u, nil
}

// excepts tells whether a host is called without the proxy.
func (p Proxy) excepts(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return slices.ContainsFunc(p.Except, func(e string) bool {
		if suffix, wide := strings.CutPrefix(strings.ToLower(e), "*"); wide {
			return strings.HasSuffix(host, suffix)
		}
		return strings.EqualFold(e, host)
	})
}

// mostConnections bounds those to one host that one credential has at once.
const mostConnections = 256

// transport dials only where it may. What it returns with it are the secrets of
// the proxy.
func (e *Egress) transport(r reach, t Timeouts, p Proxy) (*http.Transport, []string, error) {
	t = t.filled()
	transport := &http.Transport{
		ForceAttemptHTTP2: true, MaxIdleConns: 256, MaxIdleConnsPerHost: 64, MaxConnsPerHost: mostConnections, IdleConnTimeout: t.Idle, TLSHandshakeTimeout: t.TLS,
		ResponseHeaderTimeout: t.Headers, ExpectContinueTimeout: time.Second, MaxResponseHeaderBytes: 256 << 10,
		DisableCompression: true, // unpacked here, with a bound
		Proxy:              nil,  // nothing of the environment changes where a secret goes
	}
	direct := func(ctx context.Context, network, address string) (net.Conn, error) {
		return r.dial(ctx, e.options.Resolver, network, address, t.Connect)
	}
	transport.DialContext = direct
	if p.URL == "" {
		return transport, nil, nil
	}
	through, err := p.url()
	if err != nil {
		return nil, nil, err
	}
	var secrets []string
	if p.Username != "" {
		password := ""
		if p.Password.IsSet() && !e.options.Unread {
			source, err := secret.Open(p.Password, secret.Options{Sealer: e.options.Sealer, Binding: p.Binding})
			if err != nil {
				return nil, nil, err
			}
			values, err := source.Values(context.Background())
			if err != nil {
				return nil, nil, err
			}
			password = values[0].Reveal()
			secrets = append(secrets, password, base64.StdEncoding.EncodeToString([]byte(p.Username+":"+password)))
		}
		through.User = url.UserPassword(p.Username, password)
	}
	known := &resolved{}
	transport.Proxy = func(q *http.Request) (*url.URL, error) {
		if p.excepts(q.URL.Hostname()) {
			return nil, nil
		}
		if err := e.mayProxy(q.Context(), r, q.URL, known); err != nil {
			return nil, err
		}
		return through, nil
	}
	at := net.JoinHostPort(through.Hostname(), proxyPort(through))
	to := reach{kinds: map[kind]bool{loopback: true, private: true}, own: r.own}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == at { // the operator's word
			return to.dial(ctx, e.options.Resolver, network, address, t.Connect)
		}
		return direct(ctx, network, address)
	}
	return transport, secrets, nil
}

// resolved remembers for a moment what a look at a name led to.
type resolved struct {
	mu   sync.Mutex
	host string
	at   time.Time
	err  error
}

const (
	resolvedFor  = 10 * time.Second
	mostResolved = 2 * time.Second
)

// mayProxy tells whether a request may be given to a proxy, which resolves names
// by itself: what a name stands for here is looked at as if we dialled it. One
// that stands for nothing here is the proxy's to judge, often the only one that
// knows.
func (e *Egress) mayProxy(ctx context.Context, r reach, u *url.URL, known *resolved) error {
	name := strings.ToLower(u.Hostname())
	port, err := strconv.ParseUint(portWith(u), 10, 16)
	if err != nil {
		return &refusedAddress{fmt.Sprintf("%q is no port", clip(u.Port(), 20))}
	}
	if a, err := netip.ParseAddr(name); err == nil {
		return r.check(name, netip.AddrPortFrom(a, uint16(port)))
	}
	if why := wrongHost(name); why != "" {
		return &refusedAddress{why}
	}
	known.mu.Lock()
	defer known.mu.Unlock()
	at := net.JoinHostPort(name, portWith(u))
	if known.host == at && time.Since(known.at) < resolvedFor {
		return known.err
	}
	ctx, cancel := context.WithTimeout(ctx, mostResolved)
	defer cancel()
	resolver := e.options.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	addresses, _ := resolver.LookupNetIP(ctx, "ip", name) // none: it is the proxy's to judge
	known.host, known.at, known.err = at, time.Now(), nil
	for _, a := range addresses {
		if known.err = r.check(name, netip.AddrPortFrom(a, uint16(port))); known.err != nil {
			break
		}
	}
	return known.err
}

func proxyPort(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "socks5":
		return "1080"
	default:
		return portWith(u)
	}
}

// pinned checks that one certificate of the verified chain has one of the keys,
// each sha256/BASE64 of its SubjectPublicKeyInfo.
func pinned(pins []string) (func(tls.ConnectionState) error, error) {
	if len(pins) == 0 {
		return nil, nil
	}
	want := map[[sha256.Size]byte]bool{}
	for _, pin := range pins {
		text, ok := strings.CutPrefix(pin, "sha256/")
		sum, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil || len(sum) != sha256.Size {
			return nil, fmt.Errorf("%q is no pin; write sha256/ and the base64 of a key's SHA-256", clip(pin, 80))
		}
		want[[sha256.Size]byte(sum)] = true
	}
	return func(s tls.ConnectionState) error {
		for _, chain := range s.VerifiedChains {
			for _, c := range chain {
				if want[sha256.Sum256(c.RawSubjectPublicKeyInfo)] {
					return nil
				}
			}
		}
		return errWrongPin
	}, nil
}

var errWrongPin = errors.New("its key is none of those that are pinned")

// unpack returns the body of an answer as it was before it was packed, at most
// so much of it.
func unpack(answer *http.Response) (io.ReadCloser, error) {
	switch encoding := strings.ToLower(strings.TrimSpace(answer.Header.Get("Content-Encoding"))); encoding {
	case "", "identity":
		return answer.Body, nil
	case "gzip", "x-gzip":
		if answer.ContentLength == 0 || answer.StatusCode == http.StatusNoContent || answer.StatusCode == http.StatusNotModified || answer.Request != nil && answer.Request.Method == http.MethodHead {
			return answer.Body, nil
		}
		z, err := gzip.NewReader(answer.Body)
		if err != nil {
			return nil, errors.New("it is no gzip, though it says so")
		}
		answer.Header.Del("Content-Encoding")
		answer.Header.Del("Content-Length")
		return z, nil
	default:
		// Packed, a secret in it could not be found.
		return nil, fmt.Errorf("it is packed in a way that was not asked for (%q)", clip(encoding, 40))
	}
}
