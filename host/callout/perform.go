package callout

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/pdk"
)

// Record is what is known of one request that went out: where its time went,
// and over which connection. The phases are those of the last attempt; a phase
// that there was not is 0.
type Record struct {
	// Turn is how long it waited for its turn ([Pacer]), SignIn what it took to
	// have something to sign in with.
	Turn, SignIn, Resolve, Connect, TLS time.Duration
	// Wait is from the request's end to the answer's beginning, Read to its end.
	Wait, Read time.Duration
	// Address is who answered, Protocol how: HTTP/1.1 or HTTP/2.0.
	Address, Protocol string
	// Reused: the connection was there already.
	Reused  bool
	Retries int
	// RetryAfter is how long the target asked to be left alone, 0 if it did not.
	RetryAfter time.Duration
}

// watch fills a Record while a request is on its way. A connection may be made
// by another goroutine, even after the request has ended: hence the lock.
type watch struct {
	mu sync.Mutex
	Record
	resolving, connecting, securing, wrote, begun time.Time
	reached                                       bool
}

func (w *watch) trace() *httptrace.ClientTrace {
	at := func(t *time.Time) {
		w.mu.Lock()
		*t = time.Now()
		w.mu.Unlock()
	}
	since := func(d *time.Duration, t *time.Time) {
		w.mu.Lock()
		*d = time.Since(*t)
		w.mu.Unlock()
	}
	return &httptrace.ClientTrace{
		DNSStart:          func(httptrace.DNSStartInfo) { at(&w.resolving) },
		DNSDone:           func(httptrace.DNSDoneInfo) { since(&w.Resolve, &w.resolving) },
		ConnectStart:      func(string, string) { at(&w.connecting) },
		ConnectDone:       func(string, string, error) { since(&w.Connect, &w.connecting) },
		TLSHandshakeStart: func() { at(&w.securing) },
		TLSHandshakeDone:  func(tls.ConnectionState, error) { since(&w.TLS, &w.securing) },
		GotConn: func(got httptrace.GotConnInfo) {
			w.mu.Lock()
			w.Reused, w.Address = got.Reused, got.Conn.RemoteAddr().String()
			w.mu.Unlock()
		},
		WroteHeaders: func() {
			w.mu.Lock()
			w.reached = true
			w.mu.Unlock()
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { at(&w.wrote) },
		GotFirstResponseByte: func() { since(&w.Wait, &w.wrote); at(&w.begun) },
	}
}

// end is the record, and whether the request may have reached the target.
func (w *watch) end() (Record, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.begun.IsZero() {
		w.Read = time.Since(w.begun)
	}
	return w.Record, w.reached
}

// perform sends one request, signed in with auth where that is not nil.
func perform(ctx context.Context, client *http.Client, r Request, u *url.URL, header http.Header, most int64, auth *signin.Auth) (out Response) {
	w := &watch{}
	ctx = httptrace.WithClientTrace(ctx, w.trace())
	req := (&http.Request{Method: r.Method, URL: u, Host: u.Host, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	if len(r.Body) > 0 {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(r.Body)), int64(len(r.Body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(r.Body)), nil }
	}
	if auth != nil {
		if err := auth.Sign(ctx, req, r.Body); err != nil {
			return failed(pdk.Errorf(pdk.Unauthorized, "the request can't be signed in: %s", reason(err)))
		}
	}
	if req.Method != http.MethodHead {
		header.Set("Accept-Encoding", "gzip")
	}
	unsafe := r.Method != http.MethodGet && r.Method != http.MethodHead
	answer, err := client.Do(req)
	defer func() { out.Record, _ = w.end() }()
	if to := refusal(err); to != nil {
		return refused(pdk.Errorf(pdk.PermissionDenied, "%s", to.why))
	}
	var known *host.Error
	if errors.As(err, &known) && known.Code == host.RateLimited { // a redirect that had no turn
		return refused(unpaced(err))
	}
	if err != nil {
		_, reached := w.end()
		e := pdk.Errorf(pdk.Unavailable, "the target did not answer: %s", reason(err))
		e.Uncertain = unsafe && reached
		return failed(e)
	}
	defer answer.Body.Close()
	w.Protocol, w.RetryAfter = answer.Proto, retryAfter(answer.Header, time.Now())
	broken := func(kind pdk.ErrorType, format string, args ...any) Response {
		e := pdk.Errorf(kind, format, args...)
		e.HTTPStatus, e.Uncertain = answer.StatusCode, unsafe
		return failed(e)
	}
	plain, err := unpack(answer)
	if err != nil {
		return broken(pdk.Unavailable, "the target's answer (%d) can't be read: %v", answer.StatusCode, err)
	}
	body, err := readAll(plain, answer.ContentLength, most)
	switch {
	case errors.Is(err, errTooLarge):
		large := broken(pdk.Unsupported, "the target's answer is larger than %d bytes; ask for smaller pages, or raise limits.max_response of the credential", most)
		large.Refused = true
		return large
	case err != nil:
		return broken(pdk.Unavailable, "the target's answer (%d) broke off: %s", answer.StatusCode, reason(err))
	}
	return Response{Status: answer.StatusCode, Header: answerHeader(answer.Header), Body: body, header: answer.Header}
}

var errTooLarge = errors.New("too large")

// readAll reads at most so many bytes; size is how many there may be, -1 where
// nobody knows.
func readAll(r io.Reader, size, most int64) ([]byte, error) {
	if size > most {
		return nil, errTooLarge
	}
	var b bytes.Buffer
	if size > 0 {
		b.Grow(int(size) + bytes.MinRead)
	}
	n, err := b.ReadFrom(io.LimitReader(r, most+1))
	if n > most {
		return nil, errTooLarge
	}
	return b.Bytes(), err
}

// mostRetries is how often a read is tried again at most.
const mostRetries = 2

// budget keeps retries from becoming a storm: each request earns a fifth of one,
// so that a target that is down gets no more than a fifth on top.
type budget struct {
	mu   sync.Mutex
	left float64
	set  bool
}

const mostBudget = 10

func (b *budget) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.set {
		b.set, b.left = true, mostBudget/2
	}
	b.left = min(mostBudget, b.left+0.2)
}

func (b *budget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// again tells whether a request is tried once more, after which wait. Only what
// changes nothing is, and only where the target gave no answer of its own.
func (c *credential) again(r Request, answer Response, tries int) (wait time.Duration, ok bool) {
	if c.NoRetries || tries >= mostRetries || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return 0, false
	}
	switch {
	case answer.Err != nil:
		if answer.Err.Type != pdk.Unavailable || answer.WaitsFor != "" {
			return 0, false
		}
	case answer.Status == http.StatusBadGateway, answer.Status == http.StatusServiceUnavailable, answer.Status == http.StatusGatewayTimeout:
	default:
		return 0, false
	}
	wait = time.Duration(rand.Int64N(int64(50*time.Millisecond))) + 50*time.Millisecond<<tries
	if answer.Record.RetryAfter > time.Second { // longer than a connector is let wait; the engine does
		return 0, false
	}
	wait += answer.Record.RetryAfter
	return wait, c.budget.take()
}
