// Package tracingtest is an OpenTelemetry collector for tests: it takes traces by
// OTLP over HTTP and keeps them.
package tracingtest

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Span is one that came, with ids in hex.
type Span struct {
	Name, Trace, ID, Parent string
	Kind                    otlp.Span_SpanKind
	Failed                  bool
	Attributes              map[string]string
	Links                   []string // trace ids
}

// Collector is a server that is open until the test ends.
type Collector struct {
	URL string

	mu     sync.Mutex
	spans  []Span
	raw    []byte
	header http.Header
}

// Start starts one.
func Start(t *testing.T) *Collector {
	t.Helper()
	c := &Collector{}
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	c.URL = s.URL + "/v1/traces"
	return c
}

// ServeHTTP takes one export.
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = unpacked
	}
	b, err := io.ReadAll(body)
	in := new(collector.ExportTraceServiceRequest)
	if err == nil && r.Header.Get("Content-Type") == "application/x-protobuf" {
		err = proto.Unmarshal(b, in)
	} else if err == nil {
		err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, in)
	}
	if err != nil || r.URL.Path != "/v1/traces" || r.Method != http.MethodPost {
		http.Error(w, "no traces", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.header, c.raw = r.Header, append(c.raw, b...)
	id := hex.EncodeToString
	if r.Header.Get("Content-Type") != "application/x-protobuf" {
		// OTLP's JSON has ids in hex, which protojson takes for base64.
		id = func(b []byte) string { return strings.ToLower(base64.StdEncoding.EncodeToString(b)) }
	}
	for _, resource := range in.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, s := range scope.Spans {
				one := Span{Name: s.Name, Trace: id(s.TraceId), ID: id(s.SpanId), Parent: id(s.ParentSpanId),
					Kind: s.Kind, Failed: s.GetStatus().GetCode() == otlp.Status_STATUS_CODE_ERROR, Attributes: map[string]string{}}
				for _, a := range s.Attributes {
					one.Attributes[a.Key] = a.GetValue().GetStringValue()
					if n := a.GetValue().GetIntValue(); n != 0 {
						one.Attributes[a.Key] = strconv.FormatInt(n, 10)
					}
				}
				for _, l := range s.Links {
					one.Links = append(one.Links, id(l.TraceId))
				}
				c.spans = append(c.spans, one)
			}
		}
	}
	if r.Header.Get("Content-Type") == "application/x-protobuf" {
		w.Header().Set("Content-Type", "application/x-protobuf")
		return // an empty message
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, "{}")
}

// Spans are those that have come.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Span{}, c.spans...)
}

// Raw is all that has come, unpacked.
func (c *Collector) Raw() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.raw)
}

// Header is that of the last export.
func (c *Collector) Header() http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.header.Clone()
}
