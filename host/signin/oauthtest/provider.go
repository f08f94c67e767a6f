// Package oauthtest is an authorization server for tests: zitadel/oidc as it is,
// with pages to sign in and to consent, refresh tokens that rotate and whose
// second use revokes the whole family, and a resource that wants its tokens.
package oauthtest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// The one client and the one person that there are.
const (
	ClientID     = "provost"
	ClientSecret = "canary-client-secret"
	Username     = "maria@example.com"
	Password     = "canary-person-password"
)

// Options are for [Start].
type Options struct {
	// Redirects are where people may be sent back to.
	Redirects []string
	// Lifetime is that of an access token; 0 is an hour.
	Lifetime time.Duration
	// AfterToken is called when new tokens are stored, before they are answered.
	AfterToken func(grant string)
	// Break, where it returns a status, answers a token request with it.
	Break func() int
	// Resource is what a valid token opens, below /api; nil echoes the path.
	Resource http.Handler
}

// Provider is a running authorization server.
type Provider struct {
	URL string

	options Options
	server  *httptest.Server
	store   *rotating
}

// Start starts a server, which ends with the test.
func Start(t testing.TB, o Options) *Provider {
	t.Helper()
	if o.Lifetime == 0 {
		o.Lifetime = time.Hour
	}
	p := &Provider{options: o}
	mux := http.NewServeMux()
	p.server = httptest.NewServer(mux)
	t.Cleanup(p.server.Close)
	p.URL = p.server.URL
	people := users{&storage.User{ID: "id-of-maria", Username: Username, Password: Password, Email: Username, EmailVerified: true, FirstName: "Maria", LastName: "Santos", IsAdmin: true}}
	clients := map[string]*storage.Client{ClientID: storage.WebClient(ClientID, ClientSecret, o.Redirects...)}
	p.store = &rotating{Storage: storage.NewStorageWithClients(people, clients), provider: p, families: map[string]string{}, used: map[string]bool{},
		revoked: map[string]bool{}, issued: map[string]access{}, secret: ClientSecret}
	provider, err := op.NewProvider(&op.Config{CryptoKey: sha256.Sum256([]byte("of a test")), CodeMethodS256: true, AuthMethodPost: true, GrantTypeRefreshToken: true,
		AuthMethodPrivateKeyJWT: true,
		DeviceAuthorization:     op.DeviceAuthorizationConfig{Lifetime: 5 * time.Minute, PollInterval: time.Second, UserFormPath: "/device", UserCode: op.UserCodeBase20}},
		p.store, op.StaticIssuer(p.URL), op.WithAllowInsecure(), op.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	back := op.AuthCallbackURL(provider)
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) { show(w, "login", r.FormValue("id")) })
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if p.store.CheckUsernamePasswordSimple(r.FormValue("username"), r.FormValue("password")) != nil {
			http.Error(w, "wrong user name or password", http.StatusForbidden)
			return
		}
		show(w, "consent", r.FormValue("id"))
	})
	mux.HandleFunc("POST /consent", func(w http.ResponseWriter, r *http.Request) {
		id := r.FormValue("id")
		if r.FormValue("answer") == "allow" {
			if err := p.store.CheckUsernamePassword(Username, Password, id); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			http.Redirect(w, r, back(op.ContextWithIssuer(r.Context(), p.URL), id), http.StatusFound)
			return
		}
		request, err := p.store.AuthRequestByID(r.Context(), id)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		http.Redirect(w, r, request.GetRedirectURI()+"?"+url.Values{"error": {"access_denied"}, "state": {request.GetState()}, "iss": {p.URL}}.Encode(), http.StatusFound)
	})
	mux.HandleFunc("GET /device", func(w http.ResponseWriter, r *http.Request) { show(w, "device", r.FormValue("user_code")) })
	mux.HandleFunc("POST /device", func(w http.ResponseWriter, r *http.Request) {
		if err := p.store.CompleteDeviceAuthorization(r.Context(), r.FormValue("user_code"), "id-of-maria"); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, "done")
	})
	mux.HandleFunc("/api/", p.resource)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/oauth/token" {
			p.store.asked()
			if o.Break != nil {
				if status := o.Break(); status != 0 {
					w.WriteHeader(status)
					return
				}
			}
		}
		whole := httptest.NewRecorder()
		provider.ServeHTTP(whole, r)
		p.named(whole, r)
		for name, values := range whole.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(whole.Code)
		_, _ = w.Write(whole.Body.Bytes())
	})
	return p
}

// named adds to answers what RFC 9207 wants and the library lacks: who answers.
func (p *Provider) named(w *httptest.ResponseRecorder, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") {
		var document map[string]any
		if json.Unmarshal(w.Body.Bytes(), &document) == nil {
			document["authorization_response_iss_parameter_supported"] = true
			w.Body.Reset()
			_ = json.NewEncoder(w.Body).Encode(document) // into memory
			w.Header().Del("Content-Length")
		}
	}
	if at, err := url.Parse(w.Header().Get("Location")); err == nil && at.Query().Get("code") != "" {
		q := at.Query()
		q.Set("iss", p.URL)
		at.RawQuery = q.Encode()
		w.Header().Set("Location", at.String())
	}
}

// resource is what a valid token opens.
func (p *Provider) resource(w http.ResponseWriter, r *http.Request) {
	ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, p.URL+"/userinfo", nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	ask.Header.Set("Authorization", r.Header.Get("Authorization"))
	answer, err := p.server.Client().Do(ask)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		p.store.refused()
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if p.options.Resource != nil {
		http.StripPrefix("/api", p.options.Resource).ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"path": r.URL.Path})
}

// Counts is what has happened.
type Counts struct {
	// TokenRequests of all kinds; Refreshes that gave tokens; Reuses of a refresh
	// token, each of which revoked a family; Refused requests to the resource.
	TokenRequests, Refreshes, Reuses, Refused int
	// Issued are the times at which refreshes gave tokens.
	Issued []time.Time
}

// Counts tells what has happened until now.
func (p *Provider) Counts() Counts {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	c := p.store.counts
	c.Issued = append([]time.Time(nil), c.Issued...)
	return c
}

// RevokeAll makes every token worthless, as an administrator there would.
func (p *Provider) RevokeAll() {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	for _, family := range p.store.families {
		p.store.revoked[family] = true
	}
}

// SetSecret changes the client's secret.
func (p *Provider) SetSecret(secret string) {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	p.store.secret = secret
}

type access struct {
	family string
	until  time.Time
}

// rotating is the library's storage with families of refresh tokens.
type rotating struct {
	*storage.Storage
	provider *Provider

	mu       sync.Mutex
	families map[string]string // by refresh token
	used     map[string]bool
	revoked  map[string]bool // families
	issued   map[string]access
	counts   Counts
	secret   string
}

func (s *rotating) asked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.TokenRequests++
}

func (s *rotating) refused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Refused++
}

func (s *rotating) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != ClientID || secret != s.secret {
		return errors.New("wrong client id or secret")
	}
	return nil
}

func (s *rotating) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := s.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return client{c}, nil
}

func (s *rotating) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	if err := s.AuthorizeClientIDSecret(ctx, id, secret); err != nil {
		return nil, err
	}
	return s.GetClientByClientID(ctx, id)
}

func (s *rotating) ClientCredentialsTokenRequest(_ context.Context, id string, scopes []string) (op.TokenRequest, error) {
	return &oidc.JWTTokenRequest{Subject: "id-of-maria", Audience: []string{id}, Scopes: append(scopes, oidc.ScopeOpenID)}, nil
}

func (s *rotating) CreateAccessToken(ctx context.Context, r op.TokenRequest) (string, time.Time, error) {
	id, _, err := s.Storage.CreateAccessToken(ctx, r)
	until := time.Now().Add(s.provider.options.Lifetime)
	s.mu.Lock()
	s.issued[id] = access{"", until}
	s.mu.Unlock()
	s.after("other")
	return id, until, err
}

func (s *rotating) after(grant string) {
	if s.provider.options.AfterToken != nil {
		s.provider.options.AfterToken(grant)
	}
}

func (s *rotating) TokenRequestByRefreshToken(ctx context.Context, token string) (op.RefreshTokenRequest, error) {
	s.mu.Lock()
	family := s.families[token]
	if s.used[token] { // whoever has it is a thief, or we have been robbed
		s.counts.Reuses++
		s.revoked[family] = true
	}
	gone := family == "" || s.revoked[family]
	s.mu.Unlock()
	if gone {
		return nil, errors.New("the refresh token is worth nothing")
	}
	return s.Storage.TokenRequestByRefreshToken(ctx, token)
}

func (s *rotating) CreateAccessAndRefreshTokens(ctx context.Context, r op.TokenRequest, current string) (string, string, time.Time, error) {
	id, refresh, _, err := s.Storage.CreateAccessAndRefreshTokens(ctx, r, current)
	if err != nil {
		return "", "", time.Time{}, err
	}
	until := time.Now().Add(s.provider.options.Lifetime)
	s.mu.Lock()
	family, grant := refresh, "authorization_code"
	if current != "" {
		grant, family = "refresh_token", s.families[current]
		s.used[current] = true
		s.counts.Refreshes++
		s.counts.Issued = append(s.counts.Issued, time.Now())
	}
	s.families[refresh], s.issued[id] = family, access{family, until}
	s.mu.Unlock()
	s.after(grant)
	return id, refresh, until, nil
}

func (s *rotating) GetRefreshTokenInfo(ctx context.Context, clientID, token string) (string, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Storage.GetRefreshTokenInfo(ctx, clientID, token)
}

func (s *rotating) RevokeToken(ctx context.Context, id, userID, clientID string) *oidc.Error {
	s.mu.Lock()
	if family := s.families[id]; family != "" {
		s.revoked[family] = true
	}
	delete(s.issued, id)
	s.mu.Unlock()
	return s.Storage.RevokeToken(ctx, id, userID, clientID)
}

func (s *rotating) SetUserinfoFromToken(_ context.Context, info *oidc.UserInfo, id, subject, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.issued[id]
	if !ok || s.revoked[a.family] || time.Now().After(a.until) {
		return errors.New("the token is not valid any more")
	}
	info.Subject = subject
	return nil
}

// client is the library's, with our pages and all grants.
type client struct{ op.Client }

func (c client) LoginURL(id string) string { return "/login?id=" + url.QueryEscape(id) }

func (c client) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken, oidc.GrantTypeClientCredentials, oidc.GrantTypeDeviceCode, oidc.GrantTypeTokenExchange}
}

func (c client) IDTokenUserinfoClaimsAssertion() bool { return true }

// AuthMethod is both: in the header and in the form.
func (c client) AuthMethod() oidc.AuthMethod { return oidc.AuthMethodBasic }

type users []*storage.User

func (u users) ExampleClientID() string { return "" }

func (u users) GetUserByID(id string) *storage.User {
	for _, one := range u {
		if one.ID == id {
			return one
		}
	}
	return nil
}

func (u users) GetUserByUsername(name string) *storage.User {
	for _, one := range u {
		if one.Username == name {
			return one
		}
	}
	return nil
}

func show(w http.ResponseWriter, page, id string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = pages.ExecuteTemplate(w, page, id) // the browser may be gone
}

var pages = template.Must(template.New("").Parse(`
{{define "login"}}<!doctype html><title>Sign in</title><form method="post" action="/login"><input type="hidden" name="id" value="{{.}}">
<input id="username" name="username"><input id="password" name="password" type="password"><button id="sign-in">Sign in</button></form>{{end}}
{{define "consent"}}<!doctype html><title>Consent</title><p>Provost wants to manage accounts on your behalf.</p>
<form method="post" action="/consent"><input type="hidden" name="id" value="{{.}}">
<button id="allow" name="answer" value="allow">Allow</button><button id="deny" name="answer" value="deny">Deny</button></form>{{end}}
{{define "device"}}<!doctype html><title>Device</title><form method="post" action="/device"><input name="user_code" value="{{.}}"><button id="allow">Allow</button></form>{{end}}
`))

// Authorize plays the person and his browser, without pages: it follows what
// begin returns, signs in, allows it, and hands what comes back to end.
func (p *Provider) Authorize(t testing.TB, redirect string, begin func(context.Context) (string, error), end func(ctx context.Context, answer map[string][]string) error) {
	t.Helper()
	ctx := context.Background()
	at, err := begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var back *url.URL
	client := &http.Client{CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), redirect) {
			back = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}}
	answer, err := client.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	id := answer.Request.URL.Query().Get("id")
	if answer, err = client.PostForm(p.URL+"/consent", url.Values{"id": {id}, "answer": {"allow"}}); err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if back == nil {
		t.Fatalf("the server sent nobody back: %d", answer.StatusCode)
	}
	if err := end(ctx, back.Query()); err != nil {
		t.Fatal(err)
	}
}
