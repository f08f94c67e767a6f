package connector

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.opentelemetry.io/otel/trace"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/host/tracing"
	"github.com/provosthq/provost/pdk"
)

// Connector is one loaded connector. Between [Catalogue.Acquire] and giving it
// back its methods may be called at once from many goroutines.
type Connector struct {
	catalogue   *Catalogue
	name        string
	module      *sandbox.Module
	description pdk.Description
	schema      *jsonschema.Schema
	spec        Spec // without its module
	loadedAt    time.Time

	// Guarded by the catalogue's mutex: calls that hold it, and whether it was
	// replaced. gone is closed when the module is.
	refs    int
	retired bool
	gone    chan struct{}
	// recent is how the last calls ended, faults when some failed as none should.
	recent   ring
	faults   []time.Time
	lastUsed time.Time
	// judged: something was decided about it, and nothing else is.
	judged bool
}

// retire marks k as replaced and tells whether nobody holds it. The caller has
// the catalogue's mutex.
func (k *Connector) retire() (idle bool) {
	k.retired = true
	return k.refs == 0
}

// Name is what the configuration calls the connector.
func (k *Connector) Name() string { return k.name }

// Digest is the SHA-256 of the module, in hex.
func (k *Connector) Digest() string { return k.module.Digest() }

// Describe returns what the connector said of itself when it was loaded.
func (k *Connector) Describe() pdk.Description { return k.description }

// Supports tells whether the connector lists op.
func (k *Connector) Supports(op pdk.Operation) bool {
	return slices.Contains(k.description.Operations, op)
}

// described is the name and version that the connector gives itself.
func (k *Connector) described() string { return k.description.Name + " " + k.description.Version }

// label is the configured name and the version, as traces and logs show it.
func (k *Connector) label() string { return k.name + " " + k.description.Version }

// Call runs one operation. The trace is filled whether or not it failed. The
// error is a *[host.Error]: with the connector's own code where it answered
// with a typed error; [host.LimitExceeded] or [host.ConnectorFault] where it
// did not get that far; [host.Unsupported] for an operation that it does not
// list. It is Uncertain where the target may have acted.
func (k *Connector) Call(ctx context.Context, op pdk.Operation, in pdk.Input) (pdk.Output, host.CallTrace, error) {
	return call(ctx, k, op, in, func(b []byte) (pdk.Output, error) {
		out, err := pdk.DecodeOutput(b)
		if err == nil {
			err = checkOutput(op, out)
		}
		return out, err
	})
}

// Discover asks the target what it has and can do. See [Connector.Call] for
// errors.
func (k *Connector) Discover(ctx context.Context, in pdk.Input) (pdk.Discovery, host.CallTrace, error) {
	return call(ctx, k, pdk.OpDiscover, in, pdk.DecodeDiscovery)
}

// TestConnection tries the connection and the sign-in. See [Connector.Call]
// for errors.
func (k *Connector) TestConnection(ctx context.Context, in pdk.Input) (host.CallTrace, error) {
	_, trace, err := k.Call(ctx, pdk.OpTestConnection, in)
	return trace, err
}

// checkOutput checks what only some operations must answer.
func checkOutput(op pdk.Operation, out pdk.Output) error {
	switch op {
	case pdk.OpCreate:
		if out.Pending == nil && out.ExternalUserId == "" {
			return pdk.Errorf(pdk.InvalidInput, "$.ExternalUserId: is missing; a create that is not pending must give it")
		}
	case pdk.OpReconcile:
		if ended, _ := pdk.ReconEnded(out.ReconState); !ended && out.NextReconOffset == "" {
			return pdk.Errorf(pdk.InvalidInput, `$.nextReconOffset: is missing, and $.reconState is not "complete": there is no next page and no end`)
		}
	}
	return nil
}

// maxLogLines of a call stand in its trace; the logger gets them all.
const maxLogLines = 200

func call[T any](ctx context.Context, k *Connector, op pdk.Operation, in pdk.Input, decode func([]byte) (T, error)) (T, host.CallTrace, error) {
	var none T
	o := &k.catalogue.options
	started := o.Now()
	r := &recorder{connector: k, in: in, mask: masker(in.Secrets)}
	r.trace = host.CallTrace{Connector: k.label(), Digest: k.Digest(), Operation: string(op)}
	r.log = o.Logger.With("connector", k.name, "version", k.description.Version, "operation", string(op), "request", in.UserProvisioningRequestId)
	r.lines = k.catalogue.linesOf(k.name)

	ctx, span := tracing.Start(ctx, string(op)+" "+k.name, trace.SpanKindInternal, tracing.Connector.String(k.name), tracing.Version.String(k.description.Version), tracing.Operation.String(string(op)))
	defer span.End()

	var usage sandbox.Usage
	limit, called := "", false
	out, err := func() (T, error) {
		if !k.Supports(op) {
			return none, host.Errorf(host.Unsupported, "connector %s can't %s; it can: %s", k.label(), op, words(k.description.Operations))
		}
		if !k.spec.grants(op) {
			if o.Denied != nil {
				o.Denied(k.name, string(op), in.UserProvisioningRequestId)
			}
			return none, host.Errorf(host.PermissionDenied, "connector %s is not granted to %s   -> provost plugin grant %s", k.label(), op, k.name)
		}
		input, err := k.encode(op, in)
		if err != nil {
			return none, err
		}
		if o.Foreign != nil {
			r.tainted = o.Foreign(input)
		}
		called = true
		var b []byte
		b, usage, err = k.module.Call(ctx, string(op), input, sandbox.Env{Tenant: r.tenant(), Config: k.spec.Config, HTTP: r.http, Log: r.line})
		r.trace.Duration, r.trace.HTTPDuration = usage.Duration, usage.HTTPDuration
		r.trace.MemoryBytes, r.trace.Fuel = usage.MemoryBytes, usage.Fuel
		if err != nil {
			if e := new(sandbox.Error); errors.As(err, &e) {
				limit = e.Limit
			}
			return none, r.judge(asHostError(err, k.label(), op, r.trace.Logs))
		}
		v, err := decode(b)
		if err != nil {
			return none, r.judge(host.Errorf(host.ConnectorFault, "connector %s: %s: its answer is not what the contract allows: %s%s",
				k.label(), op, textOf(err), lastLines(r.trace.Logs)))
		}
		return v, nil
	}()
	r.lines.told(r.log, o.Now(), time.Second)
	span.SetAttributes(tracing.Fuel.Int64(r.trace.Fuel), tracing.Memory.Int64(r.trace.MemoryBytes))
	tracing.Fail(span, string(host.CodeOf(err)))
	if o.Observe != nil {
		o.Observe(Observation{
			Connector: k.name, Version: k.description.Version, Operation: string(op),
			Outcome: cmp.Or(string(host.CodeOf(err)), "ok"), Duration: cmp.Or(r.trace.Duration, o.Now().Sub(started)),
			HTTPDuration: r.trace.HTTPDuration, Waited: usage.Waited, Limit: limit, MemoryBytes: r.trace.MemoryBytes, Fuel: r.trace.Fuel, HTTPCalls: len(r.trace.Callouts),
			RequestId: in.UserProvisioningRequestId,
		})
	}
	if called {
		if op == pdk.OpRead && host.CodeOf(err) == host.NotFound {
			k.catalogue.judge(k, nil) // that nobody is there is an answer
		} else {
			k.catalogue.judge(k, err)
		}
	}
	return out, r.trace, err
}

// grants tells whether the operator lets the connector do op. What it says of
// itself and of the connection needs no grant.
func (s Spec) grants(op pdk.Operation) bool {
	return s.Granted == nil || op == pdk.OpDescribe || op == pdk.OpTestConnection || op == pdk.OpDiscover ||
		slices.Contains(s.Granted.Operations, string(op))
}

// encode is the input's document.
func (k *Connector) encode(op pdk.Operation, in pdk.Input) ([]byte, error) {
	in.Operation = op
	in.ObjectClass = cmp.Or(in.ObjectClass, pdk.ObjectClassAccount)
	if in.Settings == nil {
		in.Settings = k.spec.Settings
	}
	b, err := pdk.Marshal(in)
	if err != nil {
		return nil, host.Errorf(host.InvalidInput, "the input of %s can't be written as JSON: %w", op, err)
	}
	return b, nil
}

// recorder plays the host for one call and keeps what it did.
type recorder struct {
	connector *Connector
	in        pdk.Input
	mask      *strings.Replacer
	log       *slog.Logger
	lines     *lines

	mu    sync.Mutex
	trace host.CallTrace
	// sent: a request that is not GET or HEAD may have reached the target;
	// acted: it answered one of them with 2xx.
	sent, acted bool
	tainted     bool
}

// tenant is whose call it is when apps share a connector's instances.
func (r *recorder) tenant() string { return cmp.Or(r.app(), r.in.NamedCredDevName) }

func (r *recorder) app() string {
	if q := r.in.UserProvisioningRequest; q != nil {
		return q.AppName
	}
	return ""
}

func (r *recorder) http(ctx context.Context, q *sandbox.HTTPRequest) *sandbox.HTTPResponse {
	egress := r.connector.catalogue.options.Egress
	if egress == nil {
		e := pdk.Errorf(pdk.Unauthorized, "no named credential is configured for this call, so it can reach nothing")
		r.record(q.Method, refusal(e), host.Callout{Method: q.Method, URL: r.mask.Replace(q.URL), Error: e.Message})
		return refusal(e)
	}
	answer, callout := egress.Do(ctx, Caller{
		Connector: r.connector.name, Version: r.connector.description.Version, Credential: r.in.NamedCredDevName,
		RequestId: r.in.UserProvisioningRequestId, Hosts: r.connector.spec.Hosts,
		UserId: r.in.UserId, App: r.app(), Foreign: r.foreign(),
	}, q)
	r.saw(answer)
	callout.URL, callout.Error = r.mask.Replace(callout.URL), r.mask.Replace(callout.Error)
	r.record(q.Method, answer, callout)
	return answer
}

// foreign tells whether what the connector makes its requests of could have a
// merge field in it that is not the connector's own.
func (r *recorder) foreign() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tainted
}

func (r *recorder) saw(answer *sandbox.HTTPResponse) {
	if test := r.connector.catalogue.options.Foreign; test != nil && answer != nil && test(answer.Body) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.tainted = true
	}
}

func (r *recorder) record(method string, answer *sandbox.HTTPResponse, callout host.Callout) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trace.Callouts = append(r.trace.Callouts, callout)
	switch strings.ToUpper(method) {
	case "GET", "HEAD":
		return
	}
	r.sent = r.sent || answer.Status != 0 || pdk.DecodeError(answer.Body).Uncertain
	r.acted = r.acted || answer.Status >= 200 && answer.Status < 300
}

func (r *recorder) line(level slog.Level, line string) {
	// What is taken out could have parted a secret.
	line = r.mask.Replace(cleanLine(r.mask.Replace(line)))
	r.mu.Lock()
	if len(r.trace.Logs) < maxLogLines {
		r.trace.Logs = append(r.trace.Logs, logLine(level, line))
	}
	r.mu.Unlock()
	r.lines.log(r.log, r.connector.catalogue.options.Now(), level, line)
}

func logLine(level slog.Level, line string) string { return level.String() + " " + line }

// judge decides whether the target may have acted before e, and keeps the
// account's secrets out of its texts.
func (r *recorder) judge(e *host.Error) *host.Error {
	switch e.Code {
	case host.LimitExceeded, host.ConnectorFault, host.Cancelled, host.Internal:
		e.Uncertain = e.Uncertain || r.sent
	default:
		e.Uncertain = e.Uncertain || r.acted
	}
	e.Message, e.Details = r.mask.Replace(e.Message), r.mask.Replace(e.Details)
	if len(r.in.Secrets) > 0 {
		e.Err = nil // its text may hold what was masked
	}
	return e
}

// masker hides the values of secrets.
func masker(secrets map[string]string) *strings.Replacer {
	var pairs []string
	for _, v := range secrets {
		if v != "" {
			pairs = append(pairs, v, "***")
		}
	}
	return strings.NewReplacer(pairs...)
}

// refusal is the answer to an HTTP request that was not made.
func refusal(e *pdk.Error) *sandbox.HTTPResponse {
	b, err := pdk.Marshal(e)
	if err != nil {
		b = []byte(e.Message)
	}
	return &sandbox.HTTPResponse{Body: b}
}
