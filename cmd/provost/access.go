package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/store"
)

// accessStore is the store as the gate sees it.
type accessStore struct{ d *daemon }

func (s accessStore) Update(ctx context.Context, fn func(access.Tx) error) error {
	return s.d.store.Update(ctx, func(t *store.Tx) error { return fn(accessTx{t, s.d}) })
}

func (s accessStore) View(ctx context.Context, fn func(access.Tx) error) error {
	return s.d.store.View(ctx, func(t *store.Tx) error { return fn(accessTx{t, s.d}) })
}

type accessTx struct {
	*store.Tx
	d *daemon
}

func (t accessTx) Audit(ctx context.Context, action host.AuditAction, object host.AuditObject, details any) error {
	return t.d.audit(ctx, t.Tx, action, object, details)
}

func (d *daemon) newGate(cfg *config.Config) *access.Gate {
	return access.New(access.Options{Store: accessStore{d}, Logger: d.log, Bootstrap: filepath.Join(cfg.DataDir, "bootstrap.token")})
}

// offerSetup makes the way in of the first administrator, while there is none.
func (d *daemon) offerSetup(ctx context.Context) error {
	offered, err := d.gate.OfferSetup(ctx)
	if offered {
		d.log.WarnContext(ctx, "nobody can sign in yet: whoever asks at a loopback address may all, others get in with the token in a file",
			"page", d.current.Load().config.Listen.PublicURL+"/console/setup", "token", d.gate.Bootstrap)
	}
	return err
}

// accessSettings are what a configuration says of who may do what.
func (d *daemon) accessSettings(cfg *config.Config, sealer *secret.Sealer) (s access.Settings, problems config.Problems) {
	s = access.Settings{Idle: cfg.Access.Sessions.Idle, Lifetime: cfg.Access.Sessions.Lifetime, Renew: cfg.Access.Sessions.Renew,
		TokenLifetime: cfg.Access.Tokens.Lifetime, ToldFor: cfg.Access.Tokens.Groups, PublicURL: cfg.Listen.PublicURL, Groups: map[string][]string{}}
	for _, text := range cfg.Listen.Proxies {
		if p, err := config.ParseNetwork(text); err == nil { // checked when it was loaded
			s.Proxies = append(s.Proxies, p)
		}
	}
	for _, g := range cfg.Groups {
		s.Groups[g.Name] = g.Members
	}
	for _, r := range cfg.Access.Roles {
		give := func(names []string, to func(*access.Assignment, string)) {
			for _, name := range names {
				a := &access.Assignment{Role: r.Role, Apps: r.Apps}
				to(a, name)
				s.Assigned = append(s.Assigned, a)
			}
		}
		give(r.Users, func(a *access.Assignment, name string) { a.User = name })
		give(r.Groups, func(a *access.Assignment, name string) { a.Group = name })
		give(r.OIDCGroups, func(a *access.Assignment, name string) { a.OIDCGroup = name })
	}
	o := cfg.Access.OIDC
	if o == nil {
		return s, nil
	}
	c := access.OpenIDConfig{Label: o.Label, Issuer: o.Issuer, ClientID: o.ClientID, Scopes: o.Scopes, GroupsClaim: o.GroupsClaim, UserClaim: o.UserClaim}
	if issuer, err := url.Parse(o.Issuer); err == nil && c.Label == "" {
		c.Label = issuer.Host
	}
	if len(c.Scopes) == 0 {
		c.Scopes = []string{"openid", "profile", "email", "groups"}
	}
	if o.ClientSecret.IsSet() {
		source, err := secret.Open(secretRef(o.ClientSecret), secret.Options{Sealer: sealer, Binding: "access/oidc.client_secret", Logger: d.log})
		if err == nil {
			_, err = source.Values(d.life)
		}
		if err != nil {
			problems = append(problems, config.Problem{Key: "access.oidc.client_secret", Message: err.Error()})
		}
		c.Secret = func(ctx context.Context) (string, error) {
			values, err := source.Values(ctx)
			if err != nil || len(values) == 0 {
				return "", host.Errorf(host.Unavailable, "the client secret of access.oidc can't be read; the daemon's log says why: %w", err)
			}
			return values[0].Reveal(), nil
		}
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: callout.OperatorDial(d.isListener), TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: time.Minute}
	if o.CA != "" {
		roots := x509.NewCertPool()
		if pem, err := os.ReadFile(o.CA); err != nil || !roots.AppendCertsFromPEM(pem) {
			problems = append(problems, config.Problem{Key: "access.oidc.ca", Message: "has no certificate that can be read"})
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	c.Client = &http.Client{Transport: transport, Timeout: 10 * time.Second}
	s.OpenID = access.NewOpenID(c)
	return s, problems
}

// identified says who asks at an address. Until somebody can sign in it is
// whoever asks from this machine; others find only the way to the first
// administrator.
func (d *daemon) identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := d.gate.Identify(w, r)
		set := true
		if err == nil && s == nil {
			set, err = d.gate.IsSetUp(r.Context())
		}
		switch {
		case err != nil && isProbe(r.URL.Path): // how we are is told without the database, too
		case err != nil:
			api.Refuse(w, r, err)
			return
		case s != nil:
			r = r.WithContext(access.WithSubject(r.Context(), s))
		case set || isWayIn(r.URL.Path):
		case !fromThisMachine(r):
			closed(w, r)
			return
		}
		if s == nil && !set && fromThisMachine(r) {
			r = r.WithContext(access.WithSubject(r.Context(), access.Everything(access.Open, "api")))
		}
		next.ServeHTTP(w, r)
	})
}

// closed refuses who comes from elsewhere while nobody can sign in.
func closed(w http.ResponseWriter, r *http.Request) {
	const why = "nobody can sign in yet, so this is for the machine itself alone: use 127.0.0.1 or the socket, or make the first administrator at /console/setup"
	if strings.HasPrefix(r.URL.Path, "/api/") {
		api.Refuse(w, r, host.Errorf(host.PermissionDenied, "%s", why))
		return
	}
	http.Error(w, why, http.StatusForbidden)
}

func isProbe(path string) bool { return path == "/healthz" || path == "/readyz" }

// isWayIn tells whether a path is there for those who can't sign in yet.
func isWayIn(path string) bool {
	return isProbe(path) || path == "/console/setup" || strings.HasPrefix(path, "/console/assets/")
}

// fromThisMachine tells whether a request comes from this machine and was meant
// for it: not from a page of elsewhere whose name leads here, nor through
// something that stands before us for others.
func fromThisMachine(r *http.Request) bool {
	peer, _, _ := net.SplitHostPort(r.RemoteAddr)
	from := net.ParseIP(peer)
	for _, header := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		if r.Header.Get(header) != "" {
			return false
		}
	}
	// A proxy that nobody has set up speaks HTTP/1.0 and says no more.
	return r.ProtoAtLeast(1, 1) && access.IsLoopback(r.Host) && from != nil && from.IsLoopback() && ownOrigin(r)
}
