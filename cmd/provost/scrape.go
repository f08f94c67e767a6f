package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/secret"
)

// scrapeGuard is the listener of the metrics: with TLS and a token where the
// configuration that runs says so.
type scrapeGuard struct {
	d *daemon

	mu    sync.Mutex
	of    *config.Config // what token and pair are of
	token *secret.Source // nil for none
	pair  *serverPair    // nil for none
}

// tokenBinding is what a sealed token is sealed for.
const tokenBinding = "metrics.token"

// now is the token and the certificate of the configuration that runs.
func (g *scrapeGuard) now() (*secret.Source, *serverPair, error) {
	cfg := g.d.current.Load().config
	g.mu.Lock()
	defer g.mu.Unlock()
	if cfg == g.of {
		return g.token, g.pair, nil
	}
	var token *secret.Source
	if m := cfg.Metrics; m.Token.IsSet() {
		var err error
		if token, err = secret.Open(secretRef(m.Token), secret.Options{Sealer: g.d.sealer.Load(), Binding: tokenBinding, Logger: g.d.log}); err != nil {
			return nil, nil, &host.Error{Code: host.InvalidInput, Field: tokenBinding, Message: err.Error(), Err: err}
		}
	}
	var pair *serverPair
	if t := cfg.Metrics.TLS; t.Cert != "" {
		if pair = g.pair; pair == nil || pair.files != t {
			pair = &serverPair{files: t, warn: func(err error) {
				g.d.log.Warn("the new certificate of the metrics can't be used; the one before goes on", "error", err)
			}}
		}
	}
	g.of, g.token, g.pair = cfg, token, pair
	return token, pair, nil
}

// listener makes connections of l secure where that is wanted. It fails where
// the configuration's token or certificate can't be had.
func (g *scrapeGuard) listener(ctx context.Context, l net.Listener) (net.Listener, error) {
	token, pair, err := g.now()
	if err == nil && token != nil {
		if _, err = token.Values(ctx); err != nil {
			err = &host.Error{Code: host.InvalidInput, Field: tokenBinding, Message: err.Error(), Err: err}
		}
	}
	if err == nil && pair != nil {
		if _, err = pair.certificate(); err != nil {
			err = &host.Error{Code: host.InvalidInput, Field: "metrics.tls", Message: err.Error(), Err: err}
		}
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if own, ok := l.Addr().(*net.TCPAddr); ok && !own.IP.IsLoopback() {
		switch {
		case token == nil:
			g.d.log.Warn("anybody who reaches the metrics may read them: set metrics.token, or listen on 127.0.0.1", "address", l.Addr().String())
		case pair == nil:
			g.d.log.Warn("the token of the metrics goes over the network as it is: set metrics.tls", "address", l.Addr().String())
		}
	}
	return secureListener{l, g}, nil
}

// secureListener decides for each connection.
type secureListener struct {
	net.Listener
	guard *scrapeGuard
}

func (l secureListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	_, pair, err := l.guard.now()
	if err != nil { // nobody is let in while it is not known whom to let in
		l.guard.d.log.Error("the metrics can't be scraped", "error", err)
		return c, nil // and is told so by the handler
	}
	if pair == nil {
		return c, nil
	}
	return tls.Server(c, &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.certificate() }}), nil
}

// handler serves the metrics to who has the token, and the probes to anybody:
// without the token they say no reasons.
func (g *scrapeGuard) handler() http.Handler {
	mux := http.NewServeMux()
	scraped := promhttp.HandlerFor(g.d.registry, promhttp.HandlerOpts{EnableOpenMetrics: true, ErrorHandling: promhttp.ContinueOnError,
		ErrorLog: slog.NewLogLogger(g.d.log.Handler(), slog.LevelError), MaxRequestsInFlight: mostScrapes})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if err := g.allows(r); err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="metrics"`)
			http.Error(w, messageOf(err), host.CodeOf(err).HTTPStatus())
			return
		}
		scraped.ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if g.allows(r) == nil {
			g.d.ready(w, r)
			return
		}
		api.ReadinessPage(silent{service{g.d}})(w, r)
	})
	return mux
}

// mostScrapes at once: each asks the database.
const mostScrapes = 4

// allows tells whether a request has the token.
func (g *scrapeGuard) allows(r *http.Request) error {
	token, _, err := g.now()
	var values []secret.Value
	if err == nil && token != nil {
		values, err = token.Values(r.Context())
	}
	if err != nil {
		g.d.log.Error("the metrics can't be scraped: their token can't be read", "error", err)
		return host.Errorf(host.Unavailable, "the token of the metrics can't be read; the daemon's log says why")
	}
	if token == nil {
		return nil
	}
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	have, ok := sha256.Sum256([]byte(strings.TrimSpace(given))), 0
	for _, v := range values {
		want := sha256.Sum256([]byte(v.Reveal()))
		if v.IsSet() {
			ok |= subtle.ConstantTimeCompare(have[:], want[:])
		}
	}
	if ok != 1 || !strings.EqualFold(scheme, "Bearer") {
		return host.Errorf(host.Unauthorized, "the metrics want a bearer token, that of metrics.token")
	}
	return nil
}

// serverPair is a certificate that is read again when its files change.
type serverPair struct {
	files config.ServerTLS
	warn  func(error)

	mu      sync.Mutex
	seen    [2]time.Time
	current *tls.Certificate
}

// certificate is the one of the files, or the last that could be read.
func (p *serverPair) certificate() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen, err := modified(p.files.Cert, p.files.Key)
	if err == nil && p.current != nil && seen == p.seen {
		return p.current, nil
	}
	var next tls.Certificate
	if err == nil {
		next, err = tls.LoadX509KeyPair(p.files.Cert, p.files.Key)
	}
	switch {
	case err == nil:
		p.current, p.seen = &next, seen
	case p.current == nil:
		return nil, err
	default:
		p.seen = seen // said once, until they change again
		p.warn(err)
	}
	return p.current, nil
}

func modified(names ...string) (at [2]time.Time, err error) {
	for i, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return at, err
		}
		at[i] = info.ModTime()
	}
	return at, nil
}
