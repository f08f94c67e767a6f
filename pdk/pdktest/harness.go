// Package pdktest plays the host for a connector in an ordinary Go test: it
// serves the connector's callouts from an http.Handler in process, owns its
// clock, shows its log and its callouts in the test's log, and checks its
// answers as the host would.
package pdktest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/provosthq/provost/pdk"
)

// DefaultCredential is the named credential of a harness that is given none.
const DefaultCredential = "Test_Target"

// Option sets one thing of a harness.
type Option func(*Harness)

// Handler serves the callouts of the connector; the endpoint of its credential
// is the handler's root. Without it every callout fails.
func Handler(h http.Handler) Option { return func(t *Harness) { t.handler = h } }

// NamedCredential is the name of the credential that calls may use;
// [DefaultCredential] unless said otherwise.
func NamedCredential(name string) Option { return func(t *Harness) { t.credential = name } }

// Now stops the connector's clock at a time; 2026-01-02 03:04:05 UTC unless
// said otherwise.
func Now(now time.Time) Option { return func(t *Harness) { t.now = now } }

// Settings are handed to every call whose input has none.
func Settings(settings map[string]any) Option { return func(t *Harness) { t.settings = settings } }

// Description is what [Run] takes instead of what [pdk.Register] was given.
func Description(d pdk.Description) Option { return func(t *Harness) { t.description = d } }

// Sample lets [Run] make an account of these attributes in the target, look at
// it, and take it away again with whatever operations the connector has.
func Sample(attributes map[string]any) Option { return func(t *Harness) { t.sample = attributes } }

// Callout is one HTTP request of the connector and how it ended.
type Callout struct {
	Operation   pdk.Operation
	Method, URL string
	// Status is 0 where the callout failed.
	Status int
}

// Harness plays the host for one connector. It is for one goroutine.
type Harness struct {
	t           testing.TB
	connector   any
	description pdk.Description
	handler     http.Handler
	credential  string
	now         time.Time
	settings    map[string]any
	sample      map[string]any
	callouts    []Callout
}

// New makes a harness for a connector, described as [pdk.Register] would have
// it.
func New(t testing.TB, connector any, d pdk.Description, options ...Option) *Harness {
	h := &Harness{
		t: t, connector: connector, description: d, credential: DefaultCredential,
		now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	for _, o := range options {
		o(h)
	}
	h.description = pdk.Describe(connector, h.description)
	return h
}

// Callouts lists the callouts so far, the oldest first.
func (h *Harness) Callouts() []Callout { return slices.Clone(h.callouts) }

// Call runs an operation that answers with an output. The operation, the named
// credential and the settings of in are filled in where they are empty. An
// error is the connector's, an *[pdk.Error].
func (h *Harness) Call(op pdk.Operation, in pdk.Input) (pdk.Output, error) {
	b, err := h.handle(op, in)
	if err != nil {
		return pdk.Output{}, err
	}
	return pdk.DecodeOutput(b)
}

// Describe returns what the connector says of itself.
func (h *Harness) Describe() (pdk.Description, error) {
	b, err := h.handle(pdk.OpDescribe, pdk.Input{})
	if err != nil {
		return pdk.Description{}, err
	}
	return pdk.DecodeDescription(b)
}

// Discover returns what the connector finds in the target.
func (h *Harness) Discover(in pdk.Input) (pdk.Discovery, error) {
	b, err := h.handle(pdk.OpDiscover, in)
	if err != nil {
		return pdk.Discovery{}, err
	}
	return pdk.DecodeDiscovery(b)
}

// Collected is what a whole reconcile brought.
type Collected struct {
	Accounts []pdk.Account
	Pages    int
	// Token begins the next delta.
	Token string
}

// Reconcile collects every page from in on. A page that repeats an offset, or
// that ends without saying so, is an error, as it is for the host.
func (h *Harness) Reconcile(in pdk.Input) (Collected, error) {
	var all Collected
	seen := map[string]bool{in.ReconOffset: true}
	for {
		page, err := h.Call(pdk.OpReconcile, in)
		if err != nil {
			return all, fmt.Errorf("page %d, offset %q: %w", all.Pages+1, in.ReconOffset, err)
		}
		all.Pages++
		all.Accounts = append(all.Accounts, page.Accounts...)
		if ended, token := pdk.ReconEnded(page.ReconState); ended {
			all.Token = token
			return all, nil
		}
		switch next := page.NextReconOffset; {
		case next == "":
			return all, fmt.Errorf("page %d, offset %q: has neither nextReconOffset nor the reconState complete", all.Pages, in.ReconOffset)
		case seen[next]:
			return all, fmt.Errorf("page %d, offset %q: nextReconOffset %q was there before", all.Pages, in.ReconOffset, next)
		default:
			seen[next] = true
			in.ReconOffset, in.ReconState = next, page.ReconState
		}
	}
}

func (h *Harness) handle(op pdk.Operation, in pdk.Input) ([]byte, error) {
	in.Operation = op
	if in.NamedCredDevName == "" {
		in.NamedCredDevName = h.credential
	}
	if in.Settings == nil {
		in.Settings = h.settings
	}
	b, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("the input can't be written as JSON: %w", err)
	}
	return h.raw(op, b)
}

// errPanic is what a panic of the connector is: in the sandbox it would be a
// trap, which is no answer.
var errPanic = errors.New("the connector panicked")

// raw runs one operation with these bytes as its input.
func (h *Harness) raw(op pdk.Operation, input []byte) (output []byte, err error) {
	h.t.Helper()
	defer func() {
		if p := recover(); p != nil {
			output, err = nil, fmt.Errorf("%s: %w: %v", op, errPanic, p)
		}
	}()
	ctx := pdk.NewContext(
		func(method, url string, header map[string]string, body []byte) *pdk.Response {
			answer := h.callout(op, method, url, header, body)
			h.callouts = append(h.callouts, Callout{op, method, url, answer.Status})
			h.t.Logf("%-15s %s %s  %s", op, method, url, outcome(answer))
			return answer
		},
		func() time.Time { return h.now },
		func(level, line string) { h.t.Logf("%-15s %s: %s", op, level, line) },
	)
	output, failure := pdk.Handle(ctx, h.connector, h.description, op, input)
	if failure != nil {
		return nil, failure
	}
	return output, nil
}

func outcome(r *pdk.Response) string {
	if r.Status == 0 {
		return "failed: " + pdk.DecodeError(r.Body).Error()
	}
	return fmt.Sprintf("%d, %d bytes", r.Status, len(r.Body))
}

// callout serves one request of the connector as the host would.
func (h *Harness) callout(_ pdk.Operation, method, target string, header map[string]string, body []byte) (answer *pdk.Response) {
	rest, is := strings.CutPrefix(target, "callout:")
	name, rest, _ := strings.Cut(rest, "/")
	if !is || name != h.credential {
		return failed(pdk.Errorf(pdk.PermissionDenied, "%s: the call may use callout:%s/ only", target, h.credential))
	}
	u, err := url.Parse("http://" + strings.ToLower(strings.ReplaceAll(name, "_", "-")) + ".test/" + rest)
	if err != nil {
		return failed(pdk.Errorf(pdk.InvalidInput, "%s: %v", target, err))
	}
	if slices.Contains(strings.Split(u.Path, "/"), "..") {
		return failed(pdk.Errorf(pdk.PermissionDenied, "%s: leaves the credential's endpoint", target))
	}
	if !slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}, method) {
		return failed(pdk.Errorf(pdk.Unsupported, "the method %q is none of GET, HEAD, POST, PUT, PATCH, DELETE", method))
	}
	if h.handler == nil {
		return failed(pdk.Errorf(pdk.Unavailable, "%s: the harness has no pdktest.Handler", target))
	}
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler {
				panic(p) // a fault of the test's own handler
			}
			cut := pdk.Errorf(pdk.Unavailable, "%s: the connection was cut", target)
			cut.Uncertain = method != "GET" && method != "HEAD"
			answer = failed(cut)
		}
	}()
	r := httptest.NewRequest(method, u.String(), bytes.NewReader(body))
	for name, value := range header {
		if strings.EqualFold(name, "authorization") {
			h.t.Logf("%s sets the header %s, which the host drops: it signs in itself", target, name)
			continue
		}
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	answer = &pdk.Response{Status: w.Code, Header: map[string]string{}, Body: w.Body.Bytes()}
	for name, values := range w.Result().Header {
		answer.Header[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return answer
}

// failed is the answer to a callout that failed: the status 0 and the error as
// its body.
func failed(e *pdk.Error) *pdk.Response {
	b, err := json.Marshal(e)
	if err != nil {
		b = []byte(e.Message)
	}
	return &pdk.Response{Header: map[string]string{}, Body: b}
}
