package tracing_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/tracing"
	"github.com/provosthq/provost/host/tracing/tracingtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// machine is a process that traces.
func machine(t *testing.T, o tracing.Options) *tracing.Provider {
	t.Helper()
	if o.Client == nil {
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		o.Client = &http.Client{Transport: transport}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	p, err := tracing.New(t.Context(), o)
	require.NoError(t, err)
	return p
}

func request(id string) *host.UserProvisioningRequest {
	return &host.UserProvisioningRequest{Number: 42, Id: id, AppName: "acme", Operation: host.Create, UserId: "u-canary", Reason: "Ada canary was hired", CreatedDate: time.Now()}
}

func TestARequestHasOneTraceOnAllMachines(t *testing.T) {
	for _, json := range []bool{false, true} {
		t.Run(fmt.Sprintf("json %v", json), func(t *testing.T) {
			c := tracingtest.Start(t)
			a, b := machine(t, tracing.Options{Endpoint: c.URL, JSON: json, Sample: 1}), machine(t, tracing.Options{Endpoint: c.URL, JSON: json, Sample: 1})

			// It is made by a call that belongs to a trace of somebody else.
			caller := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, Remote: true})
			a.Requested(trace.ContextWithRemoteSpanContext(t.Context(), caller), request("request-1"))
			// Another machine works at it.
			ctx, attempt := tracing.Start(b.Request(t.Context(), "request-1"), "attempt", trace.SpanKindConsumer)
			_, call := tracing.Start(ctx, "call", trace.SpanKindInternal)
			header := http.Header{}
			tracing.Inject(ctx, header)
			tracing.Fail(call, "Unavailable")
			tracing.Fail(attempt, "")
			call.End()
			attempt.End()
			for _, p := range []*tracing.Provider{a, b} {
				require.NoError(t, p.Shutdown(t.Context()))
			}

			spans := map[string]tracingtest.Span{}
			for _, s := range c.Spans() {
				spans[s.Name] = s
			}
			require.Len(t, spans, 3)
			first := spans["request Create"]
			require.Equal(t, otlp.Span_SPAN_KIND_PRODUCER, first.Kind)
			require.Empty(t, first.Parent)
			require.Equal(t, []string{caller.TraceID().String()}, first.Links)
			require.Equal(t, "UPR-000042", first.Attributes["provost.request.name"])
			require.Equal(t, first.ID, spans["attempt"].Parent)
			require.Equal(t, otlp.Span_SPAN_KIND_CONSUMER, spans["attempt"].Kind)
			require.False(t, spans["attempt"].Failed)
			require.Equal(t, spans["attempt"].ID, spans["call"].Parent)
			require.True(t, spans["call"].Failed)
			require.Equal(t, "Unavailable", spans["call"].Attributes["error.type"])
			for _, s := range spans {
				require.Equal(t, first.Trace, s.Trace)
			}
			require.Equal(t, "00-"+first.Trace+"-"+spans["attempt"].ID+"-01", header.Get("Traceparent"))
			require.NotContains(t, c.Raw(), "canary")
			require.Contains(t, c.Raw(), "provost")
		})
	}
}

func TestEveryMachineDecidesTheSameOfATrace(t *testing.T) {
	a, b := machine(t, tracing.Options{Endpoint: "http://127.0.0.1:1/v1/traces", Sample: 0.3}), machine(t, tracing.Options{Endpoint: "http://127.0.0.1:1/v1/traces", Sample: 0.3})
	sampled := 0
	for i := range 2000 {
		id := fmt.Sprintf("0199e6a2-0000-7000-8000-%012d", i) // what of the id is random must not matter
		_, one := tracing.Start(a.Request(t.Context(), id), "attempt", trace.SpanKindConsumer)
		_, two := tracing.Start(b.Request(t.Context(), id), "attempt", trace.SpanKindConsumer)
		require.Equal(t, one.SpanContext().IsSampled(), two.SpanContext().IsSampled())
		if one.SpanContext().IsSampled() {
			sampled++
		}
	}
	require.InDelta(t, 600, sampled, 100)
	require.NoError(t, a.Shutdown(t.Context()), "there is nothing to send")
	require.NoError(t, b.Shutdown(t.Context()))
}

func TestACollectorThatIsAwayKeepsNobodyWaiting(t *testing.T) {
	release := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	for _, endpoint := range []string{"http://127.0.0.1:1/v1/traces", hanging.URL + "/v1/traces"} {
		var out bytes.Buffer
		p := machine(t, tracing.Options{Endpoint: endpoint, Sample: 1, Logger: slog.New(slog.NewTextHandler(&out, nil))})
		for i := range 20_000 { // more than are kept
			_, s := tracing.Start(p.Request(t.Context(), fmt.Sprint(i)), "attempt", trace.SpanKindConsumer)
			s.End()
		}
		ctx, cancel := context.WithCancel(t.Context())
		if endpoint[len("http://"):] == hanging.Listener.Addr().String()+"/v1/traces" {
			ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
		}
		err := p.Shutdown(ctx)
		if ctx.Err() != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded, "it ends with its time at the latest")
		} else {
			require.NoError(t, err)
			require.Equal(t, 1, strings.Count(out.String(), "can't be sent"))
		}
		cancel()
	}
	close(release) // what the second still tries comes to its end
	require.Eventually(t, func() bool {
		stacks := make([]byte, 1<<20)
		return !bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("batchSpanProcessor"))
	}, time.Minute, 20*time.Millisecond)
	hanging.Close()
}

func TestWithoutAProviderThereAreNoTraces(t *testing.T) {
	var p *tracing.Provider
	ctx := p.Request(t.Context(), "request-1")
	p.Requested(ctx, request("request-1"))
	inner, span := tracing.Start(ctx, "attempt", trace.SpanKindConsumer)
	require.False(t, span.IsRecording())
	header := http.Header{}
	tracing.Inject(inner, header)
	require.Empty(t, header)
	require.NoError(t, p.Shutdown(ctx))

	// A caller's trace is no reason to send anything on.
	served := false
	tracing.Incoming(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		served = true
		require.True(t, trace.SpanContextFromContext(r.Context()).IsValid())
		tracing.Inject(r.Context(), header)
	})).ServeHTTP(nil, (&http.Request{Header: http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}}).WithContext(ctx))
	require.True(t, served)
	require.Empty(t, header)
}
