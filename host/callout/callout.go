// Package callout is the way out: HTTP that the host performs for connectors
// over named credentials. It keeps every request below its credential's
// endpoint, signs it in, bounds it, and logs it. A secret never reaches a
// connector, a log or an error.
package callout

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/net/http/httpguts"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/host/tracing"
	"github.com/provosthq/provost/pdk"
)

// Options are for [New].
type Options struct {
	Logger *slog.Logger
	// Sealer opens sealed secrets; nil where there are none. [Egress.UseSealer]
	// changes it.
	Sealer *secret.Sealer
	// Observe is told of each request when it has ended, from many goroutines at
	// once. May be nil.
	Observe func(Observation)
	// Pacer holds requests over a credential to what their target may be asked; nil
	// for no bound.
	Pacer Pacer
	// Own tells whether an address is one of the daemon's own listeners, which no
	// request may go to; nil for none.
	Own func(netip.AddrPort) bool
	// Resolver resolves names; nil is the system's.
	Resolver *net.Resolver
	// Store keeps what people authorize; nil for none.
	Store signin.Store
	// TokenFetched is told how each fetch of a credential's tokens ended. May be
	// nil.
	TokenFetched func(credential string, outcome signin.Outcome)
	// Propagate tells whether requests with a credential carry on the trace that
	// they belong to; nil: none does.
	Propagate func(credential string) bool
	// Unread: secrets need not be there, only be named as they must.
	Unread bool
}

// Egress performs callouts. It may be used from many goroutines.
type Egress struct {
	options Options
	// current is replaced as a whole when the configuration changes; requests
	// under way end with the credential that they began with.
	current atomic.Pointer[map[string]*credential]
	granted *http.Client
	apply   sync.Mutex
	// busy has the fetches of tokens under way, those of credentials of before too.
	busy signin.Busy
}

// New makes an Egress without credentials.
func New(o Options) *Egress {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(Observation) {}
	}
	if o.TokenFetched == nil {
		o.TokenFetched = func(string, signin.Outcome) {}
	}
	e := &Egress{options: o}
	transport, _, err := e.transport(reach{own: o.Own}, Timeouts{}, Proxy{})
	if err != nil {
		panic(err) // there is no proxy to be wrong
	}
	e.granted = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	e.current.Store(&map[string]*credential{})
	return e
}

// UseSealer opens what is sealed with another set of keys, from the next Apply
// on.
func (e *Egress) UseSealer(s *secret.Sealer) {
	e.apply.Lock()
	defer e.apply.Unlock()
	e.options.Sealer = s
}

// Apply replaces all credentials, or none if any is wrong: the error joins an
// error for each mistake, with its Field.
func (e *Egress) Apply(credentials []Credential) error {
	e.apply.Lock()
	defer e.apply.Unlock()
	next := make(map[string]*credential, len(credentials))
	var errs []error
	for _, c := range credentials {
		ready, err := e.newCredential(c)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		next[c.Name] = ready
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	old := e.current.Swap(&next)
	for name, c := range *old {
		if ready := next[name]; ready != nil {
			ready.signIn.Adopt(c.signIn)
		}
		c.client.CloseIdleConnections()
	}
	return nil
}

// Close ends the fetches of tokens that are under way, with what they bring
// stored, and closes the idle connections. The Store must be open still.
func (e *Egress) Close() {
	e.busy.Close()
	for _, c := range *e.current.Load() {
		c.client.CloseIdleConnections()
	}
	e.granted.CloseIdleConnections()
}

// Info is what may be known of a credential.
type Info struct {
	Name     string
	Endpoint string
	// Protocol is the way to sign in, as it is shown: oauth2_client_credentials.
	Protocol string
	// Interactive: a person must authorize it; PerUser: each person.
	Interactive, PerUser bool
	SecretSet            bool
}

// List returns the credentials by name.
func (e *Egress) List() []Info {
	var list []Info
	for _, c := range *e.current.Load() {
		list = append(list, Info{c.Name, c.Endpoint, c.SignIn.Kind(), c.signIn.Interactive(), c.signIn.PerUser, c.signIn.SecretSet()})
	}
	slices.SortFunc(list, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Caller is on whose behalf a request is made.
type Caller struct {
	// Connector is its configured name, Version what it calls its own ("" where
	// nobody knows).
	Connector, Version string
	// Credential is the only one that this call may use.
	Credential string
	RequestID  string
	// Hosts are the operator's grants of further hosts ([CheckGrant]); they get no
	// credential.
	Hosts []string
	// UserID is the user that it is done for, App the app; "" for nobody and none.
	UserID, App string
	// NoMerge: no merge field may be filled in ([Mergeable]).
	NoMerge bool
}

// Request is what a connector wants sent.
type Request struct {
	Method string
	URL    string
	Header map[string]string
	Body   []byte
}

// Response is the answer. Err is set, and Status 0, when there is none.
type Response struct {
	Status int
	Header map[string]string // lower-case names
	Body   []byte
	Err    *pdk.Error
	// WaitsFor is the authorization that was missing ([host.AuthorizationTarget]).
	WaitsFor string
	// Refused: the host did not send it, or did not take the answer. It says
	// nothing of the target.
	Refused bool
	Record  Record

	header http.Header // all of it
}

// Do performs a request. It never panics and never returns a Go error: what
// fails is an answer with Err.
func (e *Egress) Do(ctx context.Context, caller Caller, r Request) Response {
	begin := time.Now()
	ctx, span := tracing.Start(ctx, r.Method, trace.SpanKindClient)
	answer := e.do(ctx, caller, r)
	e.traced(span, r, answer)
	took := time.Since(begin)
	method := r.Method
	seen := Observation{Credential: caller.Credential, RequestID: caller.RequestID, Connector: caller.Connector, Method: method, Status: answer.Status, Refused: answer.Refused, Took: took,
		Sent: int64(len(r.Body)), Received: int64(len(answer.Body)), Record: answer.Record}
	if !strings.HasPrefix(r.URL, scheme) {
		seen.Credential = ""
	}
	e.options.Observe(seen)
	level := slog.LevelDebug // the attempt's line says how it ended
	if answer.Refused {
		level = slog.LevelWarn
	}
	if !e.options.Logger.Enabled(ctx, level) {
		return answer
	}
	path, _, _ := strings.Cut(r.URL, "?")
	attrs := []any{"request", caller.RequestID, "connector", caller.Connector, "credential", caller.Credential,
		"method", clip(method, 20), "url", clip(path, 300), "status", answer.Status, "duration", took,
		"sent", len(r.Body), "received", len(answer.Body), "retries", answer.Record.Retries}
	if caller.Version != "" {
		attrs = append(attrs, "version", caller.Version)
	}
	what := "callout"
	if answer.Err != nil {
		what, attrs = "callout failed", append(attrs, "error", answer.Err.Message)
	}
	e.options.Logger.Log(ctx, level, what, attrs...)
	return answer
}

func failed(err *pdk.Error) Response { return Response{Err: err} }

// refused is the answer to what the host does not send.
func refused(err *pdk.Error) Response { return Response{Err: err, Refused: true} }

func (e *Egress) do(ctx context.Context, caller Caller, r Request) Response {
	if !slices.Contains(methods, r.Method) {
		return refused(pdk.Errorf(pdk.Unsupported, "the method %q is none of %s", clip(r.Method, 20), strings.Join(methods, ", ")))
	}
	name, path, query, ok := split(r.URL)
	c := (*e.current.Load())[name]
	header, err := cleanHeader(r.Header, ok && c != nil && c.SignIn.WithoutHeader && c.MergeHeaders)
	if err != nil {
		return refused(err)
	}
	if !ok {
		return e.toGranted(ctx, caller, r, header)
	}
	if name != caller.Credential || name == "" {
		return refused(pdk.Errorf(pdk.PermissionDenied, "this call may use the named credential %q, not %q", caller.Credential, clip(name, 80)))
	}
	if c == nil {
		return refused(pdk.Errorf(pdk.Unauthorized, "there is no named credential %q; add it to the configuration", name))
	}
	if c.Methods != nil && !slices.Contains(c.Methods, r.Method) {
		return refused(pdk.Errorf(pdk.PermissionDenied, "%s may only be sent %s, not %s", name, strings.Join(c.Methods, ", "), r.Method))
	}
	u, err := join(c.base, path, query)
	if err != nil {
		return refused(err)
	}
	if e.options.Propagate != nil && e.options.Propagate(name) {
		tracing.Inject(ctx, header) // before the request is signed
	}
	ctx, release, waited, err := e.pace(ctx, caller)
	if err != nil {
		return refused(err)
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, c.Timeout) // what it has waited for its turn is not the target's fault
	defer cancel()
	began := time.Now()
	auth, err2 := c.signIn.Get(ctx, caller.UserID)
	if err2 != nil {
		return c.notSignedIn(caller, err2)
	}
	signedIn := time.Since(began)
	answer := c.persist(ctx, caller, r, u, header, auth)
	next, err2 := c.signIn.Again(ctx, auth, answer.Status, answer.header, answer.Body)
	if err2 != nil && answer.Status != 0 {
		return c.notSignedIn(caller, err2)
	}
	if next != nil { // the target has done nothing yet: it did not know us
		if err := turn(ctx); err != nil {
			return refused(unpaced(err))
		}
		again := c.persist(ctx, caller, r, u, header, next)
		if _, err := c.signIn.Again(ctx, next, again.Status, again.header, again.Body); err != nil {
			return c.notSignedIn(caller, err)
		}
		answer = again
	}
	answer.Record.SignIn, answer.Record.Turn = signedIn, waited
	return answer.withoutSecrets(c.masks.of(auth, next))
}

// notSignedIn is the answer where there is nothing to sign in with.
func (c *credential) notSignedIn(caller Caller, err error) Response {
	if r := refusal(err); r != nil {
		return refused(pdk.Errorf(pdk.PermissionDenied, "signing in %s: %s", c.Name, r.why))
	}
	var missing *signin.NotAuthorizedError
	if errors.As(err, &missing) {
		answer := failed(pdk.Errorf(pdk.Unauthorized, "%s", missing.Why))
		answer.WaitsFor = host.AuthorizationTarget(missing.Credential, missing.UserID)
		return answer
	}
	var known *host.Error
	if !errors.As(err, &known) {
		known = host.Errorf(host.Unavailable, "signing in %s: %w", c.Name, err)
	}
	e := pdk.Errorf(pdk.ErrorType(known.Code), "%s", known.Message)
	e.HTTPStatus = known.HTTPStatus
	return failed(e)
}

// persist is send, and send again where the target gave no answer to what
// changes nothing.
func (c *credential) persist(ctx context.Context, caller Caller, r Request, u *url.URL, header http.Header, auth *signin.Auth) Response {
	c.budget.earn()
	for tries := 0; ; tries++ {
		answer := c.send(ctx, caller, r, u, header.Clone(), auth)
		answer.Record.Retries = tries
		wait, again := c.again(r, answer, tries)
		if !again || ctx.Err() != nil {
			return answer
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return answer
		}
		if turn(ctx) != nil {
			return answer
		}
	}
}

// baseKey has the endpoint of a request whose origin the token's answer named.
type baseKey struct{}

// send signs in and performs one request.
func (c *credential) send(ctx context.Context, caller Caller, r Request, u *url.URL, header http.Header, auth *signin.Auth) Response {
	if origin := auth.Origin(); origin != nil {
		moved, there := *u, *c.base
		moved.Scheme, moved.Host, there.Scheme, there.Host = origin.Scheme, origin.Host, origin.Scheme, origin.Host
		u, ctx = &moved, context.WithValue(ctx, baseKey{}, &there)
	}
	body, wrong := c.merge(caller, auth, header, r.Body)
	if wrong != nil {
		return refused(wrong)
	}
	r.Body = body
	return perform(ctx, c.client, r, u, header, c.MaxResponseBytes, auth)
}

// toGranted performs a request outside any credential, to a host that the
// operator granted to this connector.
func (e *Egress) toGranted(ctx context.Context, caller Caller, r Request, header http.Header) Response {
	u, err := url.Parse(r.URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Fragment != "" || strings.ContainsAny(r.URL, "\\ \t\r\n") {
		return refused(pdk.Errorf(pdk.PermissionDenied, "the URL is neither callout:%s/path nor an https URL of a granted host", caller.Credential))
	}
	if !granted(caller.Hosts, r.Method, u) {
		return refused(pdk.Errorf(pdk.PermissionDenied, "%s may not send %s to %s://%s; use callout:%s/path, or let the operator grant it", caller.Connector, r.Method, u.Scheme, clip(u.Host, 100), caller.Credential))
	}
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	return perform(ctx, e.granted, r, u, header, defaultMaxResponseBytes, nil)
}

const mostRedirects = 5

// checkRedirect follows a redirect only where the credential may go anyway;
// any other is the connector's answer.
func (c *credential) checkRedirect(r *http.Request, via []*http.Request) error {
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead
	base, moved := r.Context().Value(baseKey{}).(*url.URL)
	if !moved {
		base = c.base
	}
	if !safe || c.SignIn.SignsURL() || via[0].Method != r.Method || len(via) > mostRedirects || !mayFollow(base, r.URL) {
		return http.ErrUseLastResponse
	}
	return turn(r.Context())
}

// refusedHeaders are those of one connection (RFC 9110, 7.6.1), and what only
// the host may set.
var refusedHeaders = []string{"Authorization", "Cookie", "Cookie2", "Host", "Connection", "Keep-Alive", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Expect", "Forwarded", "Via"}

// dropped are those that the host sets itself, and that say nothing else there.
var dropped = []string{"Content-Length", "Accept-Encoding", "Traceparent", "Tracestate", "Baggage"}

// cleanHeader refuses what is no header and what a connector may not set. The
// length is the host's to say, and says the same.
//
// authorization lets the Authorization header through, where the host makes
// none.
func cleanHeader(in map[string]string, authorization bool) (http.Header, *pdk.Error) {
	out := make(http.Header, len(in)+3)
	for name, value := range in {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, pdk.Errorf(pdk.InvalidInput, "the header %q is not valid", clip(name, 60))
		}
		name = http.CanonicalHeaderKey(name)
		switch {
		case name == "Authorization" && authorization && mergeField.MatchString(value):
		case slices.Contains(refusedHeaders, name), strings.HasPrefix(name, "Proxy-"):
			return nil, pdk.Errorf(pdk.PermissionDenied, "the header %s is not for a connector to set; the host signs in and keeps the connection", name)
		case out[name] != nil:
			return nil, pdk.Errorf(pdk.InvalidInput, "the header %s is there twice, in different cases", name)
		case slices.Contains(dropped, name):
			continue
		}
		out[name] = []string{value}
	}
	if out.Get("User-Agent") == "" {
		out["User-Agent"] = []string{"provost"}
	}
	return out, nil
}

// answerHeader is what a connector sees of an answer's headers.
func answerHeader(h http.Header) map[string]string {
	out := make(map[string]string, len(h))
	for name, values := range h {
		switch name {
		case "Set-Cookie", "Authorization", "Proxy-Authenticate", "Authentication-Info":
			continue
		}
		out[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return out
}

// reason says why a request failed, without the URL that net/http puts before
// it.
func reason(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var certificate *tls.CertificateVerificationError
	var dns *net.DNSError
	var dial *net.OpError
	switch {
	case err == nil:
		return ""
	case errors.Is(err, errWrongPin):
		return errWrongPin.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "time is up"
	case errors.Is(err, context.Canceled):
		return "the call was cancelled"
	case errors.As(err, &certificate):
		return fmt.Sprintf("its certificate is not trusted: %v", certificate.Err)
	case errors.As(err, &dns):
		return "its host name can't be resolved"
	case errors.As(err, &dial) && dial.Op == "dial":
		return fmt.Sprintf("no connection: %v", dial.Err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was cut"
	default:
		return err.Error()
	}
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
