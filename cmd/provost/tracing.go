package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"reflect"
	"slices"
	"time"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/tracing"
)

// traced is where traces go, and by what configuration.
type traced struct {
	*tracing.Provider
	config config.Tracing
}

// flushTime is how long a daemon that ends, or traces to elsewhere from now on,
// waits for the collector.
const flushTime = 3 * time.Second

// newTracing makes what a configuration says of traces; before is what there is
// already, which goes on where nothing has changed.
func (d *daemon) newTracing(cfg *config.Config, sealer *secret.Sealer, before *traced) (*traced, config.Problems) {
	c := cfg.Tracing
	if before != nil && reflect.DeepEqual(before.config, c) {
		return before, nil
	}
	next := &traced{config: c}
	if c.Endpoint == "" {
		return next, nil
	}
	var problems config.Problems
	wrong := func(key string, err error) {
		problems = append(problems, config.Problem{Key: key, Message: err.Error()})
	}
	secured, err := tracingTLS(c.TLS)
	if err != nil {
		wrong("tracing.tls", err)
	}
	sent := &collectorHeaders{next: &http.Transport{DialContext: callout.OperatorDial(d.isListener), TLSClientConfig: secured, TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: time.Minute}}
	for _, h := range c.Headers {
		one := collectorHeader{name: h.Name, value: h.Value}
		if h.Secret.IsSet() {
			if one.secret, err = secret.Open(secretRef(h.Secret), secret.Options{Sealer: sealer, Binding: "tracing/headers." + h.Name, Logger: d.log}); err == nil {
				_, err = one.secret.Values(d.life)
			}
			if err != nil {
				wrong("tracing.headers."+h.Name, err)
			}
		}
		sent.headers = append(sent.headers, one)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	_, percent, _ := c.Sample.Parse()
	if next.Provider, err = tracing.New(d.life, tracing.Options{Endpoint: c.Endpoint, JSON: c.Protocol == "http/json", Sample: percent / 100,
		Client: &http.Client{Transport: sent}, Version: version, Logger: d.log}); err != nil {
		wrong("tracing.endpoint", err)
		return nil, problems
	}
	return next, nil
}

// useTracing traces to where next says from now on; what waits to be sent to
// where it went before still goes there.
func (d *daemon) useTracing(ctx context.Context, next *traced) {
	if before := d.tracing.Swap(next); before != nil && before != next && before.Provider != nil {
		d.background(ctx, func(ctx context.Context) { d.flush(ctx, before) })
	}
}

func (d *daemon) flush(ctx context.Context, t *traced) {
	// One that has ended would stop nothing.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	if err := t.Shutdown(ctx); err != nil {
		d.log.WarnContext(ctx, "the last traces were not sent", "error", err)
	}
}

// dropTracing ends what is not in use, or not any more.
func (d *daemon) dropTracing(ctx context.Context, t *traced) {
	if t != nil && t.Provider != nil && t != d.tracing.Load() {
		d.flush(ctx, t)
	}
}

// tracer is where traces go now; nil for nowhere.
func (d *daemon) tracer() *tracing.Provider {
	if t := d.tracing.Load(); t != nil {
		return t.Provider
	}
	return nil
}

// propagates tells whether the requests of a credential carry their trace on.
func (d *daemon) propagates(credential string) bool {
	now := d.current.Load()
	if now == nil || d.tracer() == nil {
		return false
	}
	i := slices.IndexFunc(now.config.Credentials, func(c config.Credential) bool { return c.Name == credential })
	if i >= 0 && now.config.Credentials[i].Propagate != "" {
		return now.config.Credentials[i].Propagate == "always"
	}
	return now.config.Tracing.Propagate
}

// InsertRequest stores a request, and begins its trace.
func (t tx) InsertRequest(ctx context.Context, r *host.UserProvisioningRequest) error {
	if err := t.Tx.InsertRequest(ctx, r); err != nil {
		return err
	}
	if p := t.d.tracer(); p != nil {
		made := *r
		t.AfterCommit(func() { p.Requested(ctx, &made) })
	}
	return nil
}

func tracingTLS(c config.TracingTLS) (*tls.Config, error) {
	secured := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		b, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, host.Errorf(host.InvalidInput, "the authorities to trust can't be read: %w", err)
		}
		secured.RootCAs = x509.NewCertPool()
		if !secured.RootCAs.AppendCertsFromPEM(b) {
			return nil, host.Errorf(host.InvalidInput, "%s has no certificate in PEM", c.CA)
		}
	}
	if c.Cert != "" {
		if _, err := tls.LoadX509KeyPair(c.Cert, c.Key); err != nil {
			return nil, host.Errorf(host.InvalidInput, "the client certificate can't be used: %w", err)
		}
		// Read again for each connection: it may have been renewed.
		secured.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
			return &pair, err
		}
	}
	return secured, nil
}

type collectorHeader struct {
	name, value string
	secret      *secret.Source
}

// collectorHeaders sets the headers of the configuration, with secrets as they
// are when a request is sent.
type collectorHeaders struct {
	next    *http.Transport
	headers []collectorHeader
}

// RoundTrip implements [http.RoundTripper].
func (c *collectorHeaders) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for _, h := range c.headers {
		value := h.value
		if h.secret != nil {
			values, err := h.secret.Values(r.Context())
			if err != nil {
				return nil, err
			}
			value += values[0].Reveal()
		}
		r.Header.Set(h.name, value)
	}
	return c.next.RoundTrip(r)
}

// CloseIdleConnections lets go of what is open.
func (c *collectorHeaders) CloseIdleConnections() { c.next.CloseIdleConnections() }
