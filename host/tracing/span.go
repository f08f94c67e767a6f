// Package tracing makes one trace of the way of a request, from the event that
// made it to each HTTP request to its target, over processes and machines, and
// sends it to an OpenTelemetry collector. It is off unless a [Provider] is made;
// whoever makes spans need not know. A span names requests, apps, connectors
// and credentials; no person, no path and no text of a target.
package tracing

import (
	"context"
	"crypto/sha256"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/provosthq/provost/host"
)

// The keys of attributes that OpenTelemetry has no word for.
const (
	RequestID   = attribute.Key("provost.request.id")
	RequestName = attribute.Key("provost.request.name")
	App         = attribute.Key("provost.app")
	Operation   = attribute.Key("provost.operation")
	Attempt     = attribute.Key("provost.attempt")
	State       = attribute.Key("provost.state")
	Page        = attribute.Key("provost.page")
	Accounts    = attribute.Key("provost.accounts")
	Connector   = attribute.Key("provost.connector.name")
	Version     = attribute.Key("provost.connector.version")
	Fuel        = attribute.Key("provost.connector.fuel")
	Memory      = attribute.Key("provost.connector.memory")
	Credential  = attribute.Key("provost.credential")
)

type tracerKey struct{}

// Start begins a span below the one in ctx, where that comes from
// [Provider.Request]; elsewhere the span is none, and costs next to nothing. The
// caller must end it.
func Start(ctx context.Context, name string, kind trace.SpanKind, attrs ...attribute.KeyValue) (context.Context, trace.Span) {
	tracer, ok := ctx.Value(tracerKey{}).(trace.Tracer)
	if !ok {
		return ctx, noop.Span{}
	}
	return tracer.Start(ctx, name, trace.WithSpanKind(kind), trace.WithAttributes(attrs...))
}

// OfRequest are the attributes of a request.
func OfRequest(r *host.UserProvisioningRequest) []attribute.KeyValue {
	return []attribute.KeyValue{RequestID.String(r.Id), RequestName.String(r.Name()), App.String(r.AppName), Operation.String(string(r.Operation))}
}

// Fail marks a span as failed. The kind of failure is all that is said of it:
// the text may name a person. "" is none.
func Fail(span trace.Span, kind string) {
	if kind == "" {
		return
	}
	span.SetAttributes(attribute.String("error.type", kind))
	span.SetStatus(codes.Error, kind)
}

// Inject sets the headers that carry the trace on (W3C Trace Context), where
// ctx has one.
func Inject(ctx context.Context, header http.Header) {
	if _, ok := ctx.Value(tracerKey{}).(trace.Tracer); ok {
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(header))
	}
}

// Incoming takes note of the trace that a caller's request belongs to: the
// traces of what it makes link to it.
func Incoming(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Traceparent") != "" {
			r = r.WithContext(propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header)))
		}
		next.ServeHTTP(w, r)
	})
}

// contextOf is where the trace of a request begins. It follows from the
// request's id, so that attempts on other machines, and days later, belong to
// the same trace and nothing has to be stored. It is a digest, since a sampler
// looks at bits of it, and those of an id are not all random.
func contextOf(requestID string) trace.SpanContextConfig {
	sum := sha256.Sum256([]byte("provost request " + requestID))
	return trace.SpanContextConfig{TraceID: trace.TraceID(sum[:16]), SpanID: trace.SpanID(sum[16:24]), TraceFlags: trace.FlagsSampled, Remote: true}
}
