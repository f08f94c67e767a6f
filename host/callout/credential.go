package callout

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/secret"
)

// Protocol is how a credential signs in.
type Protocol string

// The protocols.
const (
	Anonymous Protocol = "anonymous"
	Basic     Protocol = "basic"
	Bearer    Protocol = "bearer"
	APIKey    Protocol = "api_key"
	OAuth2    Protocol = "oauth2_client_credentials"
)

// Credential is a named credential: an endpoint and its sign-in.
type Credential struct {
	// Name is the developer name: callout:Name/path.
	Name string
	// Endpoint is the base URL that every path is kept below.
	Endpoint string
	Protocol Protocol

	Username string     // Basic
	Secret   secret.Ref // password, token, key or client secret
	Header   string     // APIKey: the header's name
	OAuth2   OAuth2Config

	TLS TLS
	// Methods are those that may be sent; nil for all.
	Methods []string
	// Networks are those besides the public Internet in which the endpoint may
	// be: Loopback, Private, or prefixes.
	Networks []string
	// Timeout bounds one request; 0 is 30 s.
	Timeout time.Duration
	// MaxResponseBytes bounds one answer; 0 is 16 MiB.
	MaxResponseBytes int64
}

// OAuth2Config is for client credentials (RFC 6749, 4.4).
type OAuth2Config struct {
	TokenURL string
	ClientID string
	Scopes   []string
	// AuthStyle is how the client's id and secret are sent; "" is AuthAuto.
	AuthStyle AuthStyle
	// Params are further fields of the form.
	Params map[string]string
}

// AuthStyle is how a client shows a token endpoint who it is (RFC 6749, 2.3.1).
type AuthStyle string

// The styles. Auto tries the header, then the form where the header is
// refused, and stays with what worked.
const (
	AuthAuto   AuthStyle = "auto"
	AuthHeader AuthStyle = "header"
	AuthParams AuthStyle = "params"
)

// TLS says whom to trust and who we are.
type TLS struct {
	// CAFile has the authorities to trust in place of the system's.
	CAFile            string
	CertFile, KeyFile string
}

const (
	defaultTimeout          = 30 * time.Second
	defaultMaxResponseBytes = 16 << 20
)

// credential is a Credential that is ready for use.
type credential struct {
	Credential
	base   *url.URL
	secret secret.Value
	client *http.Client
	token  tokenSource // OAuth2
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
	out := &credential{Credential: c, base: base}
	if c.Protocol != Anonymous {
		if !c.Secret.IsSet() {
			errs = append(errs, bad(string(c.Protocol), "has no secret"))
		} else if out.secret, err = secret.Resolve(c.Secret, e.options.Sealer); err != nil {
			wrong := host.Errorf(host.CodeOf(err), "%w", err)
			wrong.Field = field(string(c.Protocol))
			errs = append(errs, wrong)
		} else if strings.ContainsAny(out.secret.Reveal(), "\r\n\x00") {
			errs = append(errs, bad(string(c.Protocol), "the secret holds a line break"))
		}
	}
	switch c.Protocol {
	case Anonymous, Basic, Bearer:
	case APIKey:
		if !httpguts.ValidHeaderFieldName(c.Header) {
			errs = append(errs, bad("api_key.header", "%q is no name of a header", c.Header))
		}
	case OAuth2:
		if u, err := url.Parse(c.OAuth2.TokenURL); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			errs = append(errs, bad("oauth2.token_url", "%q is no http or https URL", c.OAuth2.TokenURL))
		} else if why := wrongHost(u.Hostname()); why != "" {
			errs = append(errs, bad("oauth2.token_url", "%s", why))
		}
		if s := c.OAuth2.AuthStyle; s != "" && s != AuthAuto && s != AuthHeader && s != AuthParams {
			errs = append(errs, bad("oauth2.auth_style", "%q is none of %s, %s, %s", s, AuthAuto, AuthHeader, AuthParams))
		}
	default:
		errs = append(errs, bad("protocol", "%q is none of %s, %s, %s, %s, %s", c.Protocol, Anonymous, Basic, Bearer, APIKey, OAuth2))
	}
	tlsConfig, err := c.TLS.config()
	if err != nil {
		errs = append(errs, bad("tls", "%w", err))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	transport := e.transport(within)
	transport.TLSClientConfig = tlsConfig
	transport.MaxIdleConnsPerHost = 16
	transport.MaxResponseHeaderBytes = 256 << 10
	out.client = &http.Client{Transport: transport, CheckRedirect: out.checkRedirect}
	out.token = tokenSource{c: out}
	return out, nil
}

func (t TLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
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
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// secrets are the values that must not come back to a connector.
func (c *credential) secrets() []string {
	var all []string
	if c.secret.IsSet() {
		all = append(all, c.secret.Reveal())
	}
	if t := c.token.current(); t.IsSet() {
		all = append(all, t.Reveal())
	}
	return all
}
