package callout

import (
	"cmp"
	"net/url"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/provosthq/provost/host/tracing"
)

// traced ends the span of a request. It has the server that the configuration
// names; a path may name a person, and a query anything.
func (e *Egress) traced(span trace.Span, r Request, answer Response) {
	defer span.End()
	if !span.IsRecording() {
		return
	}
	attrs := []attribute.KeyValue{semconv.HTTPRequestMethodKey.String(clip(r.Method, 20))}
	name, _, _, ok := split(r.URL)
	var to *url.URL
	if c := (*e.current.Load())[name]; ok && c != nil {
		to = c.base
		attrs = append(attrs, tracing.Credential.String(name))
	} else if u, err := url.Parse(r.URL); err == nil && !ok && !answer.Refused {
		to = u
	}
	if to != nil && to.Hostname() != "" {
		port, err := strconv.Atoi(cmp.Or(to.Port(), map[string]string{"https": "443", "http": "80"}[to.Scheme]))
		attrs = append(attrs, semconv.ServerAddress(clip(to.Hostname(), 253)), semconv.URLScheme(to.Scheme))
		if err == nil {
			attrs = append(attrs, semconv.ServerPort(port))
		}
	}
	if answer.Status > 0 {
		attrs = append(attrs, semconv.HTTPResponseStatusCode(answer.Status), semconv.NetworkProtocolName("http"),
			semconv.NetworkProtocolVersion(strings.TrimSuffix(strings.TrimPrefix(answer.Record.Protocol, "HTTP/"), ".0")))
	}
	if n := answer.Record.Retries; n > 0 {
		attrs = append(attrs, semconv.HTTPRequestResendCount(n))
	}
	span.SetAttributes(attrs...)
	switch {
	case answer.Err != nil:
		tracing.Fail(span, string(answer.Err.Type))
	case answer.Status >= 400:
		tracing.Fail(span, strconv.Itoa(answer.Status))
	}
}
