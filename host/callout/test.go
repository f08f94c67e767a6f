package callout

import (
	"context"
	"crypto/tls"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/provosthq/provost/host"
)

// Step is one of what a test of a credential tried.
type Step struct {
	// Name is secret, resolve, connect, tls, clock, sign in or probe.
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Unsure: it did not fail, and does not tell whether the sign-in works. Such a
	// step is not OK.
	Unsure bool          `json:"unsure"`
	Detail string        `json:"detail"`
	Took   time.Duration `json:"tookNanoseconds"`
}

// Test tries a credential step by step, up to a GET of path (of its probe, where
// that is ""), over a connection of its own. Nothing that it tells has a secret
// in it.
func (e *Egress) Test(ctx context.Context, name, userID, path string) ([]Step, error) {
	c, err := e.named(name)
	if err != nil {
		return nil, err
	}
	return e.Try(ctx, c.Credential, userID, path)
}

// Try is Test of a credential that need not be in use.
func (e *Egress) Try(ctx context.Context, given Credential, userID, path string) ([]Step, error) {
	began := time.Now()
	e.apply.Lock()
	c, err := e.newCredential(given)
	e.apply.Unlock()
	if err != nil {
		return []Step{{"secret", false, false, err.Error(), time.Since(began)}}, nil
	}
	defer c.client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 2*c.Timeout)
	defer cancel()
	steps := []Step{}
	if c.signIn.SecretSet() {
		steps = append(steps, Step{"secret", true, false, "there", time.Since(began)})
	}
	resolved, err := e.resolve(ctx, c)
	if steps = append(steps, resolved); err != nil {
		return steps, nil
	}
	reached, ok := c.reach(ctx)
	if steps = append(steps, reached...); !ok {
		return steps, nil
	}
	if path == "" {
		path = c.Probe
	}
	p, query, _ := strings.Cut(path, "?")
	u, wrong := join(c.base, p, query)
	if wrong != nil {
		return nil, host.Errorf(host.InvalidInput, "%s", wrong.Message)
	}
	began = time.Now()
	auth, err := c.signIn.Get(ctx, userID)
	took := time.Since(began)
	if err != nil {
		answer := c.notSignedIn(Caller{}, err)
		return append(steps, Step{"sign in", false, false, answer.Err.Message, took}), nil
	}
	seen := &connection{}
	caller := Caller{Connector: "test", Credential: c.Name, UserID: userID}
	probe := func() (Response, time.Duration) {
		began := time.Now()
		answer := c.send(httptrace.WithClientTrace(ctx, seen.trace()), caller, Request{Method: http.MethodGet}, u, http.Header{"User-Agent": {"provost"}}, auth)
		return answer, time.Since(began)
	}
	answer, probed := probe()
	if next, err := c.signIn.Again(ctx, auth, answer.Status, answer.header, answer.Body); err == nil && next != nil {
		auth = next
		answer, probed = probe()
	}
	if c.proxied() {
		steps = append(steps, seen.steps()...)
	}
	detail := c.SignIn.Kind()
	if end := auth.Expires(); !end.IsZero() {
		detail += ", until " + end.Local().Format(time.DateTime)
	}
	if answer.Err != nil {
		return append(steps, Step{"probe", false, false, answer.withoutSecrets(c.masks.of(auth)).Err.Message, probed}), nil
	}
	if clock := clockStep(answer.header.Get("Date"), time.Now()); clock != nil {
		steps = append(steps, *clock)
	}
	signedIn := Step{"sign in", answer.Status != http.StatusUnauthorized, false, detail, took}
	read := probeStep(u, answer, probed)
	if !signedIn.OK {
		signedIn.Detail += ": the target answers 401 to it"
	} else if !read.OK {
		signedIn.Detail += ", as far as can be told"
	}
	return append(steps, signedIn, read), nil
}

// probeStep says what the answer to a probe means for the sign-in, and what to
// do: only what was read is proof that it works.
func probeStep(u *url.URL, answer Response, took time.Duration) Step {
	seen := fmt.Sprintf("GET %s answered %d %s", clip("/"+strings.TrimPrefix(u.EscapedPath(), "/"), 200), answer.Status, http.StatusText(answer.Status))
	step := func(ok, unsure bool, means string) Step {
		if means != "" {
			seen += ": " + means
		}
		return Step{"probe", ok, unsure, seen, took}
	}
	switch status := answer.Status; {
	case status == http.StatusUnauthorized:
		return step(false, false, "the target does not take this sign-in; look whether the secret is right, and not expired or revoked")
	case status == http.StatusForbidden:
		return step(false, false, "the target does not let this sign-in read that; give it the right in the app, or another scope, or test a path that it may read")
	case status == http.StatusNotFound || status == http.StatusGone:
		return step(false, true, "there is nothing at this address, so it does not tell whether the sign-in works; look at the endpoint and the path, and test one that is there, such as Users")
	case status == http.StatusMethodNotAllowed:
		return step(false, true, "this path can't be read, so it does not tell whether the sign-in works; test one that can, such as Users")
	case status == http.StatusTooManyRequests:
		return step(false, true, "the target is asked too often just now; test again later")
	case status >= 500:
		return step(false, false, "the target is not well; whether the sign-in works is seen when it is back")
	case status >= 400:
		return step(false, true, "the target does not understand the question, so it does not tell whether the sign-in works; test another path")
	case status >= 300:
		return step(false, true, "the target leads elsewhere, as one does that wants a person to sign in; look at the endpoint, and test a path that answers itself")
	case isWebPage(answer.header.Get("Content-Type")):
		return step(false, true, "but with a web page, as one does that wants a person to sign in; look at the endpoint, and test a path of its API")
	default:
		return step(true, false, "")
	}
}

// isWebPage tells whether an answer is for people, not programs.
func isWebPage(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == "text/html" || kind == "application/xhtml+xml")
}

// clockStep tells of a target whose clock is another than ours: signatures and
// tokens that hold a time are then refused, or end at once. nil where it is not.
func clockStep(date string, now time.Time) *Step {
	at, err := http.ParseTime(date)
	if err != nil {
		return nil
	}
	skew := at.Sub(now).Round(time.Second)
	way := "ahead of"
	if skew < 0 {
		skew, way = -skew, "behind"
	}
	if skew < mostSkew {
		return nil
	}
	return &Step{"clock", true, false, fmt.Sprintf("the target's clock is %s %s ours", skew, way), 0}
}

// mostSkew is by how much clocks may differ before it is told: a Date has whole
// seconds, and an answer is on its way for some.
const mostSkew = 15 * time.Second

// resolve looks up the endpoint's name, and whether its addresses may be called.
func (e *Egress) resolve(ctx context.Context, c *credential) (Step, error) {
	began := time.Now()
	name := c.base.Hostname()
	if c.proxied() {
		return Step{"resolve", true, false, name + " is for the proxy to resolve", 0}, nil
	}
	within, err := newReach(c.Networks, e.options.Own)
	if err != nil {
		return Step{"resolve", false, false, err.Error(), 0}, err
	}
	resolver := e.options.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	addresses, err := resolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return Step{"resolve", false, false, name + " can't be resolved", time.Since(began)}, err
	}
	port, _ := strconv.Atoi(portWith(c.base)) // of a URL that was checked
	var shown []string
	for _, a := range addresses {
		if err = within.check(name, netip.AddrPortFrom(a, uint16(port))); err != nil {
			return Step{"resolve", false, false, err.Error(), time.Since(began)}, err
		}
		shown = append(shown, a.Unmap().String())
	}
	return Step{"resolve", true, false, name + " is " + strings.Join(shown, ", "), time.Since(began)}, nil
}

// proxied tells whether the endpoint is called through a proxy.
func (c *credential) proxied() bool { return c.Proxy.URL != "" && !c.Proxy.excepts(c.base.Hostname()) }

// reach connects to the endpoint, and secures it, so that these steps are told
// apart from what a sign-in elsewhere needs. A proxy is asked by the probe alone.
func (c *credential) reach(ctx context.Context) (steps []Step, ok bool) {
	transport, known := c.client.Transport.(*http.Transport)
	if c.proxied() || !known {
		return nil, true
	}
	made := &connection{}
	began := time.Now()
	conn, err := transport.DialContext(ctx, "tcp", net.JoinHostPort(c.base.Hostname(), portWith(c.base)))
	if err != nil {
		made.add("connect", began, "", err)
		return made.list, false
	}
	defer func() { _ = conn.Close() }() // nothing was sent
	made.add("connect", began, conn.RemoteAddr().String(), nil)
	if c.base.Scheme != "https" {
		return made.list, true
	}
	config := transport.TLSClientConfig.Clone()
	config.ServerName, config.NextProtos = c.base.Hostname(), []string{"h2", "http/1.1"}
	ctx, cancel := context.WithTimeout(ctx, transport.TLSHandshakeTimeout)
	defer cancel()
	began = time.Now()
	secured := tls.Client(conn, config)
	err = secured.HandshakeContext(ctx)
	made.secured(began, secured.ConnectionState(), err)
	return made.list, err == nil
}

// connection is what one connection did.
type connection struct {
	mu             sync.Mutex
	dialled, shook time.Time
	list           []Step
}

func (c *connection) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		ConnectStart: func(string, string) { c.mu.Lock(); c.dialled = time.Now(); c.mu.Unlock() },
		ConnectDone: func(_, address string, err error) {
			c.add("connect", c.dialled, address, err)
		},
		TLSHandshakeStart: func() { c.mu.Lock(); c.shook = time.Now(); c.mu.Unlock() },
		TLSHandshakeDone: func(s tls.ConnectionState, err error) {
			c.secured(c.shook, s, err)
		},
	}
}

func (c *connection) secured(began time.Time, s tls.ConnectionState, err error) {
	detail := tls.VersionName(s.Version)
	if len(s.PeerCertificates) > 0 {
		leaf := s.PeerCertificates[0]
		// The name is the other side's to choose, and a terminal's to show.
		detail += fmt.Sprintf(", %s, valid until %s", printable(leaf.Subject.String()), leaf.NotAfter.Local().Format(time.DateOnly))
	}
	c.add("tls", began, detail, err)
}

// printable is a text of the other side's for a person to see.
func printable(text string) string {
	return clip(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text), 200)
}

func (c *connection) add(name string, began time.Time, detail string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		detail = reason(err)
		if r := refusal(err); r != nil {
			detail = r.why
		}
	}
	c.list = append(c.list, Step{name, err == nil, false, detail, time.Since(began)})
}

func (c *connection) steps() []Step {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.list
}

// Failed is the first step that failed, nil where all is well.
func Failed(steps []Step) *Step {
	for i := range steps {
		if !steps[i].OK {
			return &steps[i]
		}
	}
	return nil
}
