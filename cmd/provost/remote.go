package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
)

// remote is a daemon on another machine, or at an address of this one.
type remote struct {
	server, tokenFile, ca string
}

// flags are those that say which.
func (r *remote) flags(f *pflag.FlagSet) {
	f.StringVar(&r.server, "server", "", "URL of a daemon elsewhere (default: PROVOST_SERVER, else this machine's)")
	f.StringVar(&r.tokenFile, "token-file", "", "with --server: file with the token (default: PROVOST_TOKEN)")
	f.StringVar(&r.ca, "ca", "", "with --server: PEM file with the authorities to trust, in place of the system's")
}

// address is the daemon's URL; "" where the commands speak to this machine's.
func (r remote) address() string {
	if r.server != "" {
		return r.server
	}
	return os.Getenv("PROVOST_SERVER")
}

// client connects with a token: that of the file, else of PROVOST_TOKEN.
func (r remote) client() (*client, error) {
	base, err := url.Parse(strings.TrimSuffix(r.address(), "/"))
	switch {
	case err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.RawQuery != "" || base.Fragment != "":
		return nil, host.Errorf(host.Usage, "--server is no URL; write https://provost.example.com")
	case base.User != nil:
		return nil, host.Errorf(host.Usage, "--server must not hold a name or a password; the token says who you are")
	case base.Scheme == "http" && !access.IsLoopback(base.Host):
		return nil, host.Errorf(host.Usage, "--server must be https://: anybody on the way could read the token")
	}
	token := os.Getenv("PROVOST_TOKEN")
	if r.tokenFile != "" {
		b, err := os.ReadFile(r.tokenFile)
		if err != nil {
			return nil, host.Errorf(host.InvalidInput, "--token-file: %w", err)
		}
		token = string(b)
	}
	if token = strings.TrimSpace(token); token == "" || strings.ContainsAny(token, " \n") {
		return nil, host.Errorf(host.Usage, "there is no token for %s; give --token-file or set PROVOST_TOKEN (provost token create makes one there)", base.Host)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	if r.ca != "" {
		roots := x509.NewCertPool()
		pem, err := os.ReadFile(r.ca)
		if err != nil {
			return nil, host.Errorf(host.InvalidInput, "--ca: %w", err)
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, host.Errorf(host.InvalidInput, "--ca: %s has no certificate", r.ca)
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	// The token goes nowhere but to the server that was named.
	return &client{base: base, token: token,
		http:  &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		close: func(context.Context) error { transport.CloseIdleConnections(); return nil }}, nil
}
