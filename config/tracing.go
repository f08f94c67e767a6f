package config

import (
	"net/url"
	"reflect"
)

// Tracing says where traces of OpenTelemetry go.
type Tracing struct {
	Endpoint  string     `yaml:"endpoint" doc:"URL of a collector that takes traces by OTLP over HTTP, whole: https://otel.example.com:4318/v1/traces. Without it nothing is traced. It may be of the own network."`
	Protocol  string     `yaml:"protocol" default:"http/protobuf" enum:"http/protobuf,http/json" doc:"What the collector reads."`
	Sample    Threshold  `yaml:"sample" default:"100%" doc:"Share of the requests that are traced; of one that is, all attempts are, on whatever machine."`
	Propagate bool       `yaml:"propagate" doc:"true: requests to targets carry traceparent, so that their own traces go on from ours. A credential can say otherwise. What a connector sets is never sent."`
	Headers   []Header   `yaml:"headers" doc:"Headers for the collector, such as an API key."`
	TLS       TracingTLS `yaml:"tls" doc:"Whom to trust and who we are."`
}

// TracingTLS adds to how the collector is verified.
type TracingTLS struct {
	CA   string `yaml:"ca" path:"file" doc:"PEM file with the authorities to trust, in place of the system's."`
	Cert string `yaml:"cert" path:"file" doc:"PEM file with a client certificate."`
	Key  string `yaml:"key" path:"file" doc:"PEM file with its key."`
}

func (c *Config) checkTracing(k *checker) {
	t := &c.Tracing
	k.link("tracing.endpoint", t.Endpoint)
	if u, err := url.Parse(t.Endpoint); err == nil && t.Endpoint != "" && (u.Path == "" || u.Path == "/") {
		k.fail("tracing.endpoint", "has no path; collectors take traces at %s://%s/v1/traces", u.Scheme, u.Host)
	}
	if _, _, ok := t.Sample.Parse(); t.Sample != "" && (!ok || t.Sample[len(t.Sample)-1] != '%') {
		k.fail("tracing.sample", "%q is no share; write \"10%%\"", short(string(t.Sample)))
	}
	for _, h := range t.Headers {
		if !headerName.MatchString(h.Name) {
			k.fail(join("tracing", "headers."+h.Name), "%q is no name of a header", short(h.Name))
		}
	}
	if (t.TLS.Cert == "") != (t.TLS.Key == "") {
		k.fail("tracing.tls", "has a cert or a key without the other")
	}
	k.secrets("tracing", reflect.ValueOf(t).Elem())
}
