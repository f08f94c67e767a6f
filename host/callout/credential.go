package callout

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
)

// Credential is a named credential: an endpoint and its sign-in.
type Credential struct {
	// Name is the developer name: callout:Name/path.
	Name string
	// Endpoint is the base URL that every path is kept below.
	Endpoint string
	SignIn   signin.Config
	// MergeHeaders and MergeBody are the places where merge fields are filled in.
	MergeHeaders, MergeBody bool

	TLS TLS
	// Methods are those that may be sent; nil for all.
	Methods []string
	// Networks are those besides the public Internet in which the endpoint may
	// be: Loopback, Private, or prefixes.
	Networks []string
	// Probe is the path that a test asks for.
	Probe string
	// Timeout bounds one request; 0 is 30 s.
	Timeout  time.Duration
	Timeouts Timeouts
	Proxy    Proxy
	// NoRetries: what got no answer is not asked again.
	NoRetries bool
	// MaxResponseBytes bounds one answer; 0 is 16 MiB.
	MaxResponseBytes int64
}

// TLS says whom to trust and who we are.
type TLS struct {
	// CAFile has the authorities to trust in place of the system's.
	CAFile            string
	CertFile, KeyFile string
	// Identity has a client certificate and its key together, in place of the two
	// files.
	Identity signin.Key
	// Pins are keys of which the target's chain must have one: sha256/BASE64.
	Pins []string
}

const (
	defaultTimeout          = 30 * time.Second
	defaultMaxResponseBytes = 16 << 20
)

// credential is a Credential that is ready for use.
type credential struct {
	Credential
	base   *url.URL
	client *http.Client
	signIn *signin.SignIn
	budget budget
	masks  masks
}

func (e *Egress) newCredential(c Credential) (*credential, error) {
	field := func(name string) string { return "credentials." + c.Name + "." + name }
	bad := func(name, format string, args ...any) error {
		wrong := host.Errorf(host.InvalidInput, format, args...)
		wrong.Field = field(name)
		return wrong
	}
	var errs []error
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	if c.MaxResponseBytes <= 0 {
		c.MaxResponseBytes = defaultMaxResponseBytes
	}
	base, err := url.Parse(c.Endpoint)
	switch {
	case err != nil:
		errs = append(errs, bad("endpoint", "is no URL: %w", err))
	case base.Scheme != "https" && base.Scheme != "http" || base.Host == "":
		errs = append(errs, bad("endpoint", "%q is no http or https URL", c.Endpoint))
	case base.User != nil:
		errs = append(errs, bad("endpoint", "holds a user; give it in basic"))
	case base.RawQuery != "" || base.Fragment != "":
		errs = append(errs, bad("endpoint", "has a query or a fragment; give the base URL alone"))
	default:
		if why := wrongHost(base.Hostname()); why != "" {
			errs = append(errs, bad("endpoint", "%s", why))
		}
	}
	for _, m := range c.Methods {
		if !slices.Contains(methods, m) {
			errs = append(errs, bad("methods", "%q is none of %s", m, strings.Join(methods, ", ")))
		}
	}
	within, err := newReach(c.Networks, e.options.Own)
	if err != nil {
		errs = append(errs, bad("networks", "%w", err))
	}
	for name, text := range c.SignIn.URLs() {
		if u, err := url.Parse(text); err == nil { // else signin says so
			if why := wrongHost(u.Hostname()); why != "" {
				errs = append(errs, bad(name, "%s", why))
			}
		}
	}
	out := &credential{Credential: c, base: base}
	tlsConfig, err := c.TLS.config()
	if err != nil {
		errs = append(errs, bad("tls", "%w", err))
	} else if c.TLS.Identity.Secret.Ref.IsSet() {
		who, err := newIdentity(c.Name, c.TLS.Identity, secret.Options{Sealer: e.options.Sealer, Logger: e.options.Logger}, !e.options.Unread)
		if err != nil {
			errs = append(errs, bad("tls.identity", "%w", err))
		} else {
			tlsConfig.GetClientCertificate = who.get
		}
	}
	transport, proxySecrets, err := e.transport(within, c.Timeouts, c.Proxy)
	if err != nil {
		errs = append(errs, bad("proxy", "%w", err))
		return nil, errors.Join(errs...)
	}
	transport.TLSClientConfig, out.masks.more = tlsConfig, proxySecrets
	out.client = &http.Client{Transport: transport, CheckRedirect: out.checkRedirect}
	c.SignIn.Name, c.SignIn.Timeout = c.Name, c.Timeout
	out.signIn, err = signin.New(c.SignIn, signin.Options{
		// The same TLS, but no redirect: a token endpoint that moves is a mistake.
		Client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		Base:   base, Sealer: e.options.Sealer, Store: e.options.Store, Unread: e.options.Unread, Logger: e.options.Logger,
		Busy: &e.busy, Observe: func(o signin.Outcome) { e.options.TokenFetched(c.Name, o) },
	})
	if err == nil && !e.options.Unread {
		err = out.signIn.Check(context.Background())
	}
	if errs = append(errs, err); errors.Join(errs...) != nil {
		return nil, errors.Join(errs...)
	}
	return out, nil
}

func (t TLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	var err error
	if c.VerifyConnection, err = pinned(t.Pins); err != nil {
		return nil, err
	}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("own CA: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("own CA: %s holds no certificate", t.CAFile)
		}
	}
	if t.CertFile != "" || t.KeyFile != "" {
		pair, err := newPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, err
		}
		c.GetClientCertificate = pair.get
	}
	return c, nil
}

// pair is a client certificate that is read again when its file changes.
type pair struct {
	certFile, keyFile string

	mu       sync.Mutex
	modified time.Time
	current  *tls.Certificate
}

func newPair(certFile, keyFile string) (*pair, error) {
	p := &pair{certFile: certFile, keyFile: keyFile}
	_, err := p.get(nil)
	return p, err
}

func (p *pair) get(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	info, err := os.Stat(p.certFile)
	if err == nil && p.current != nil && info.ModTime().Equal(p.modified) {
		return p.current, nil
	}
	var next tls.Certificate
	if err == nil {
		next, err = tls.LoadX509KeyPair(p.certFile, p.keyFile)
	}
	switch {
	case err == nil:
		p.current, p.modified = &next, info.ModTime()
	case p.current == nil:
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	return p.current, nil // the one before, while its files are replaced
}
