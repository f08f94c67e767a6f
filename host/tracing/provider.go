package tracing

import (
	"context"
	crand "crypto/rand"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/provosthq/provost/host"
)

// Options are for [New].
type Options struct {
	// Endpoint is the URL that takes traces, whole: https://host:4318/v1/traces.
	Endpoint string
	// JSON sends JSON in place of protobuf.
	JSON bool
	// Sample is the share of requests that are traced, from 0 to 1.
	Sample float64
	// Client sends; its redirects are not followed.
	Client *http.Client
	// Version is the daemon's.
	Version string
	Logger  *slog.Logger
}

// Provider sends traces. Its methods may be called at once from many
// goroutines, and on nil, which does nothing.
type Provider struct {
	sdk    *sdk.TracerProvider
	tracer trace.Tracer
}

const (
	// mostQueued spans wait to be sent; what is beyond is dropped: a collector that
	// is away slows nothing down.
	mostQueued = 8192
	sendEvery  = 2 * time.Second
	sendTime   = 10 * time.Second
	// retryTime is how long one batch is tried.
	retryTime = 20 * time.Second
	// tellEvery is how often it is logged that nothing can be sent.
	tellEvery = time.Minute
)

// New makes a provider. The collector need not be there.
func New(ctx context.Context, o Options) (*Provider, error) {
	if u, err := url.Parse(o.Endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, host.Errorf(host.InvalidInput, "the collector's endpoint is no URL; write https://host:4318/v1/traces")
	}
	encoding := otlptracehttp.EncodingProtobuf
	if o.JSON {
		encoding = otlptracehttp.EncodingJSON
	}
	client := *o.Client
	client.Timeout = sendTime
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	out, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(o.Endpoint), otlptracehttp.WithEncoding(encoding), otlptracehttp.WithHTTPClient(&client),
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression), otlptracehttp.WithTimeout(sendTime),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: time.Second, MaxInterval: 5 * time.Second, MaxElapsedTime: retryTime}))
	if err != nil {
		return nil, host.Errorf(host.InvalidInput, "the collector can't be used: %w", err)
	}
	p := sdk.NewTracerProvider(
		sdk.WithBatcher(&told{SpanExporter: out, log: o.Logger}, sdk.WithMaxQueueSize(mostQueued), sdk.WithBatchTimeout(sendEvery), sdk.WithExportTimeout(retryTime+sendTime)),
		// Every machine decides the same of a trace, by its id.
		sdk.WithSampler(sdk.TraceIDRatioBased(o.Sample)), sdk.WithIDGenerator(ids{}),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", "provost"), attribute.String("service.version", o.Version), attribute.String("service.instance.id", host.NewID()))))
	return &Provider{sdk: p, tracer: p.Tracer("github.com/provosthq/provost", trace.WithInstrumentationVersion(o.Version))}, nil
}

// Request is ctx for work at a request: its spans are of the request's trace.
func (p *Provider) Request(ctx context.Context, id string) context.Context {
	if p == nil {
		return ctx
	}
	return context.WithValue(trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(contextOf(id))), tracerKey{}, p.tracer)
}

// Requested makes the first span of a request's trace, when the request is
// stored. Where ctx is of a call that belongs to another trace, it links there.
func (p *Provider) Requested(ctx context.Context, r *host.UserProvisioningRequest) {
	if p == nil {
		return
	}
	at := contextOf(r.Id)
	o := []trace.SpanStartOption{trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindProducer), trace.WithTimestamp(r.CreatedDate), trace.WithAttributes(OfRequest(r)...)}
	if from := trace.SpanContextFromContext(ctx); from.IsValid() && from.TraceID() != at.TraceID {
		o = append(o, trace.WithLinks(trace.Link{SpanContext: from}))
	}
	_, span := p.tracer.Start(context.WithValue(context.Background(), idsKey{}, at), "request "+string(r.Operation), o...)
	span.End()
}

// Shutdown sends what waits to be sent, until ctx ends.
func (p *Provider) Shutdown(ctx context.Context) error {
	if p == nil {
		return nil
	}
	return p.sdk.Shutdown(ctx)
}

type idsKey struct{}

// ids makes random ids, but for the first span of a request's trace.
type ids struct{}

func (ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if at, ok := ctx.Value(idsKey{}).(trace.SpanContextConfig); ok {
		return at.TraceID, at.SpanID
	}
	var t trace.TraceID
	_, _ = crand.Read(t[:]) // never fails
	return t, ids{}.NewSpanID(ctx, t)
}

func (ids) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	for !id.IsValid() {
		_, _ = crand.Read(id[:]) // never fails
	}
	return id
}

// told is an exporter whose failures are logged, now and then, and are nobody
// else's.
type told struct {
	sdk.SpanExporter
	log *slog.Logger

	mu   sync.Mutex
	lost int
	last time.Time
}

func (t *told) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := t.SpanExporter.ExportSpans(ctx, spans)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		if t.lost > 0 {
			t.log.InfoContext(ctx, "traces are sent again", "lost", t.lost)
		}
		t.lost = 0
		return nil
	}
	t.lost += len(spans)
	if time.Since(t.last) >= tellEvery {
		t.last = time.Now()
		t.log.WarnContext(ctx, "traces can't be sent; everything else goes on", "lost", t.lost, "error", err)
	}
	return nil
}
