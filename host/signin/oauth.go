package signin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/secret"
)

// mostAnswered bounds what an authorization server may answer.
const mostAnswered = 1 << 20

// fetch asks for tokens, with those before them where there are any: with the
// newest of what is shown for them, then with the one before it.
func (s *SignIn) fetch(ctx context.Context, mine *leased) (*tokens, error) {
	old := s.usesOld()
	next, err := s.fetchWith(ctx, mine, old)
	if code := host.CodeOf(err); err == nil || s.Interactive() || code != host.Unauthorized {
		return next, err
	}
	shown := map[Grant]*secret.Source{JWTBearer: s.keySecret, Password: s.subject, TokenExchange: s.subject}[s.OAuth2.Grant]
	if s.Protocol == Session {
		shown = s.secret
	}
	if shown == nil {
		return nil, err
	}
	if values, cause := shown.Values(ctx); cause != nil || len(values) < 2 {
		return nil, err
	}
	next, again := s.fetchWith(ctx, mine, !old)
	if again != nil {
		return nil, err
	}
	s.settle(&Auth{old: !old})
	return next, nil
}

func (s *SignIn) fetchWith(ctx context.Context, mine *leased, old bool) (*tokens, error) {
	if s.Protocol == Session {
		return s.beginSession(ctx, old)
	}
	o := &s.OAuth2
	form := url.Values{}
	before := mine.tokens
	switch o.Grant {
	case AuthorizationCode, DeviceCode:
		form.Set("grant_type", "refresh_token")
		form.Set("refresh_token", before.Refresh)
	case ClientCredentials:
		form.Set("grant_type", "client_credentials")
		s.ask(form)
	case JWTBearer:
		endpoint, err := s.endpoint(ctx, "token")
		if err != nil {
			return nil, err
		}
		signed, err := s.assert(ctx, s.Assertion, endpoint, old)
		if err != nil {
			return nil, s.unavailable(err)
		}
		form.Set("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
		form.Set("assertion", signed)
		s.ask(form)
	case TokenExchange:
		form.Set("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
		for _, one := range []struct {
			name, kind string
			source     *secret.Source
		}{{"subject_token", o.SubjectTokenType, s.subject}, {"actor_token", o.ActorTokenType, s.actor}} {
			if one.source == nil {
				continue
			}
			v, err := s.value(ctx, one.source, old)
			if err != nil {
				return nil, s.unavailable(err)
			}
			form.Set(one.name, v.Reveal())
			form.Set(one.name+"_type", orElse(one.kind, "urn:ietf:params:oauth:token-type:access_token"))
		}
		if o.RequestedType != "" {
			form.Set("requested_token_type", o.RequestedType)
		}
		s.ask(form)
	case Password:
		v, err := s.value(ctx, s.subject, old)
		if err != nil {
			return nil, s.unavailable(err)
		}
		form.Set("grant_type", "password")
		form.Set("username", s.Username)
		form.Set("password", v.Reveal())
		s.ask(form)
	}
	style := AuthStyle("")
	if before != nil {
		style = before.Style
	}
	next, err := s.token(ctx, form, style)
	if err != nil || before == nil {
		return next, err
	}
	next.Kept = next.Refresh == "" || next.Refresh == before.Refresh
	if next.Refresh == "" {
		next.Refresh = before.Refresh
	}
	for name, value := range before.Values {
		if _, ok := next.Values[name]; !ok {
			next.Values[name] = value
		}
	}
	if err := s.carried(next); err != nil { // what it gave is lost, and what it was given may be used
		return nil, &fetchError{uncertain: true, err: err}
	}
	return next, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// ask adds what a token is wanted for.
func (s *SignIn) ask(form url.Values) {
	if len(s.OAuth2.Scopes) > 0 {
		form.Set("scope", strings.Join(s.OAuth2.Scopes, " "))
	}
	if s.OAuth2.Audience != "" {
		form.Set("audience", s.OAuth2.Audience)
	}
	if s.OAuth2.Resource != "" { // RFC 8707
		form.Set("resource", s.OAuth2.Resource)
	}
}

// carried tells whether all is there that later requests carry.
func (s *SignIn) carried(t *tokens) error {
	for _, k := range s.OAuth2.Carry {
		value, ok := t.Values[k.From]
		if !ok {
			return host.Errorf(host.Unauthorized, "the token endpoint of %s answered without %s, which requests are to carry", s.Name, k.From)
		}
		if k.Endpoint {
			if _, err := k.origin(value); err != nil {
				return err
			}
		}
	}
	return nil
}

// token asks the token endpoint. The error is a *fetchError.
func (s *SignIn) token(ctx context.Context, form url.Values, known AuthStyle) (*tokens, error) {
	body, style, err := s.exchange(ctx, "token", form, known)
	if err != nil {
		return nil, err
	}
	t, err := s.read(body)
	if err != nil { // it said yes, and to what nobody knows
		return nil, &fetchError{uncertain: true, err: err}
	}
	t.Style = style
	return t, nil
}

// exchange posts a form to one of the server's endpoints, showing who we are in
// the style that the server takes, and returns its answer. The error is a
// *fetchError.
func (s *SignIn) exchange(ctx context.Context, which string, form url.Values, known AuthStyle) (any, AuthStyle, error) {
	endpoint, err := s.endpoint(ctx, which)
	if err != nil {
		return nil, "", &fetchError{err: err}
	}
	var first error
	for _, try := range s.tries(ctx, known) {
		body, err := s.post(ctx, which+" endpoint", endpoint, form, try.style, try.old)
		if err == nil {
			s.settle(&Auth{old: try.old})
			return body, try.style, nil
		}
		if first == nil {
			first = err // the header is what every endpoint must know: its answer says most
		}
		var refused *refusedError
		if !errors.As(err, &refused) || refused.code != "" && refused.code != "invalid_client" && refused.code != "unauthorized_client" && refused.code != "invalid_request" {
			break
		}
	}
	return nil, "", first
}

type try struct {
	style AuthStyle
	old   bool
}

// tries are the ways to show who we are, the likeliest first.
func (s *SignIn) tries(ctx context.Context, known AuthStyle) []try {
	styles := []AuthStyle{s.OAuth2.AuthStyle}
	if styles[0] == "" || styles[0] == AuthAuto {
		switch {
		case s.secret == nil:
			styles = []AuthStyle{AuthNone}
		case known != "" && known != AuthNone:
			styles = []AuthStyle{known}
		default:
			styles = []AuthStyle{AuthHeader, AuthParams}
		}
	}
	var list []try
	old := s.usesOld()
	for _, style := range styles {
		list = append(list, try{style, old})
	}
	if s.hasTwo(ctx) {
		for _, style := range styles {
			list = append(list, try{style, !old})
		}
	}
	return list
}

// refusedError is an error answer of an authorization server (RFC 6749, 5.2).
type refusedError struct {
	status int
	code   string
	err    error
}

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// post sends a form to one of the server's endpoints and returns its answer,
// decoded. The error is a *fetchError, which never has the answer's body in it:
// that could repeat what was sent.
func (s *SignIn) post(ctx context.Context, what, endpoint string, form url.Values, style AuthStyle, old bool) (any, error) {
	form = maps.Clone(form)
	for name, value := range s.OAuth2.Params {
		if !form.Has(name) {
			form.Set(name, value)
		}
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}, "User-Agent": {"provost"}}
	for name, value := range s.OAuth2.Headers {
		header.Set(name, value)
	}
	err := s.show(ctx, form, header, endpoint, style, old)
	for i, h := range s.OAuth2.SecretParams {
		v, cause := s.value(ctx, s.tokenParams[i], old)
		if cause != nil && err == nil {
			err = s.unavailable(cause)
		}
		form.Set(h.Name, h.Value+v.Reveal())
	}
	for i, h := range s.OAuth2.SecretHeaders {
		v, cause := s.value(ctx, s.tokenHeaders[i], old)
		if cause != nil && err == nil {
			err = s.unavailable(cause)
		}
		header.Set(h.Name, h.Value+v.Reveal())
	}
	if err != nil {
		return nil, &fetchError{err: err}
	}
	var wrote atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { wrote.Store(true) }})
	r, err := http.NewRequestWithContext(traced, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, &fetchError{err: host.Errorf(host.InvalidInput, "the %s of %s is no URL", what, s.Name)}
	}
	r.Header = header
	r.GetBody = nil // a form that may have been taken is not sent again
	answer, err := s.options.Client.Do(r)
	if err != nil {
		return nil, &fetchError{uncertain: wrote.Load(), err: s.silent(what, err)}
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, mostAnswered+1))
	switch {
	case err != nil:
		return nil, &fetchError{uncertain: answer.StatusCode < 300, err: s.silent(what, err)}
	case len(raw) > mostAnswered:
		return nil, &fetchError{uncertain: answer.StatusCode < 300, err: host.Errorf(host.Unauthorized, "the %s of %s answered more than %d bytes", what, s.Name, mostAnswered)}
	}
	var body any
	if len(raw) > 0 {
		body, err = DecodeAnswer(raw)
	}
	code, _ := Lookup(body, "error")
	if _, ok := s.lookToken(body); code != "" && ok {
		code = ""
	}
	status := answer.StatusCode
	switch {
	case status >= 500 || status == http.StatusTooManyRequests:
		e := host.Errorf(host.Unavailable, "the %s of %s answered %d", what, s.Name, status)
		e.HTTPStatus = status
		return nil, &fetchError{uncertain: status >= 500 && status != http.StatusServiceUnavailable, err: e}
	case status >= 300 || code != "": // some answer 200 with an error in it
		e := host.Errorf(host.Unauthorized, "the %s of %s answered %d", what, s.Name, status)
		e.HTTPStatus = status
		switch {
		case status < 400 && status >= 300:
			e.Message += ", a redirect, which is not followed with a secret"
		case code == "invalid_grant":
			e.Message += " (invalid_grant): what it was asked with is worth nothing any more"
		case code != "":
			e.Message += " (" + printable(code, 60) + "); check its client id and secret"
		default:
			e.Message += "; check its client id and secret"
		}
		return nil, &fetchError{ended: code == "invalid_grant", err: &refusedError{status, code, e}}
	case err != nil:
		return nil, &fetchError{uncertain: true, err: host.Errorf(host.Unavailable, "the %s of %s answered what is neither JSON nor a form", what, s.Name)}
	}
	return body, nil
}

// silent is the error of an endpoint that does not answer.
func (s *SignIn) silent(what string, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // the URL may have what nobody is to see
	}
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		err = errors.New("time is up")
	case errors.As(err, &certificate):
		err = fmt.Errorf("its certificate is not trusted: %w", certificate.Err)
	}
	return host.Errorf(host.Unavailable, "the %s of %s does not answer: %w", what, s.Name, err)
}

// printable is a word of a server's for a person to see.
func printable(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	if len(text) > most {
		text = text[:most]
	}
	return text
}

// show adds to a form or its header what shows who we are.
func (s *SignIn) show(ctx context.Context, form url.Values, header http.Header, endpoint string, style AuthStyle, old bool) error {
	id := s.OAuth2.ClientID
	v, err := s.value(ctx, s.secret, old)
	if err != nil {
		return s.unavailable(err)
	}
	switch style {
	case AuthHeader:
		r := http.Request{Header: header}
		r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(v.Reveal()))
	case AuthParams:
		form.Set("client_id", id)
		form.Set("client_secret", v.Reveal())
	case AuthPrivateKeyJWT:
		mine := Assertion{Issuer: id, Subject: id, Algorithm: s.Assertion.Algorithm, KeyID: s.Assertion.KeyID}
		if s.OAuth2.Grant != JWTBearer { // whose own assertion it is then
			mine.Audience, mine.Lifetime = s.Assertion.Audience, s.Assertion.Lifetime
		}
		signed, err := s.assert(ctx, mine, endpoint, old)
		if err != nil {
			return s.unavailable(err)
		}
		form.Set("client_id", id)
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", signed)
	default:
		if id != "" {
			form.Set("client_id", id)
		}
	}
	return nil
}

func (s *SignIn) lookToken(body any) (string, bool) {
	return Lookup(body, orElse(s.OAuth2.TokenField, "access_token"))
}

// longestToken bounds one token.
const longestToken = 64 << 10

// read takes tokens out of an answer.
func (s *SignIn) read(body any) (*tokens, error) {
	o := &s.OAuth2
	access, ok := s.lookToken(body)
	if !ok || access == "" {
		return nil, host.Errorf(host.Unauthorized, "the token endpoint of %s answered without %s", s.Name, orElse(o.TokenField, "access_token"))
	}
	t := &tokens{Access: access, Issued: s.now().UTC(), Values: map[string]string{}}
	t.Refresh, _ = Lookup(body, "refresh_token")
	t.Type, _ = Lookup(body, "token_type")
	if scope, _ := Lookup(body, "scope"); scope != "" {
		t.Scopes = strings.Fields(printable(scope, 2000))
	}
	for _, text := range []string{t.Access, t.Refresh} {
		if len(text) > longestToken || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, host.Errorf(host.Unauthorized, "the token endpoint of %s answered what can be no token: it is too long, or has control characters", s.Name)
		}
	}
	lifetime := o.Lifetime
	if text, ok := Lookup(body, orElse(o.ExpiresField, "expires_in")); ok {
		if got, ok := lifetimeOf(text, t.Issued); ok {
			lifetime = got
		}
	}
	if lifetime > 0 {
		t.Expires = t.Issued.Add(lifetime)
	}
	for _, k := range o.Carry {
		if value, ok := Lookup(body, k.From); ok && value != "" {
			if len(value) > 2000 || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				return nil, host.Errorf(host.Unauthorized, "the token endpoint of %s answered with %s that no request can carry", s.Name, k.From)
			}
			t.Values[k.From] = value
		}
	}
	return t, nil
}

// lifetimeOf reads how long a token lives: seconds, or a time, as a number or as
// text.
func lifetimeOf(text string, now time.Time) (time.Duration, bool) {
	if n, err := strconv.ParseFloat(text, 64); err == nil && n > 0 {
		switch {
		case n > 1e12: // milliseconds since 1970
			return max(time.Second, time.UnixMilli(int64(min(n, 9e15))).Sub(now)), true
		case n > 1e9: // seconds since 1970
			return max(time.Second, time.Unix(int64(n), 0).Sub(now)), true
		default:
			return time.Duration(min(n, 10*365*24*3600) * float64(time.Second)), true
		}
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return max(time.Second, at.Sub(now)), true
	}
	return 0, false
}

// provider is what an issuer says of itself, once it was asked.
type provider struct {
	mu        sync.Mutex
	oidc      *oidc.Provider
	endpoints metadata
}

// metadata are what we use of an issuer's (OpenID Connect Discovery 1.0, 3; RFC
// 8414, 2).
type metadata struct {
	Issuer      string `json:"issuer"`
	Authorize   string `json:"authorization_endpoint"`
	Token       string `json:"token_endpoint"`
	Device      string `json:"device_authorization_endpoint"`
	Revocation  string `json:"revocation_endpoint"`
	NamesItself bool   `json:"authorization_response_iss_parameter_supported"` // RFC 9207
	// ByTLS are for clients that show a certificate (RFC 8705, 5).
	ByTLS struct {
		Token      string `json:"token_endpoint"`
		Device     string `json:"device_authorization_endpoint"`
		Revocation string `json:"revocation_endpoint"`
	} `json:"mtls_endpoint_aliases"`
}

// discover asks the issuer for its endpoints, once.
func (s *SignIn) discover(ctx context.Context) (*metadata, *oidc.Provider, error) {
	p := &s.provider
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.endpoints.Issuer != "" || s.OAuth2.Issuer == "" {
		return &p.endpoints, p.oidc, nil
	}
	// What it keeps for its keys must outlive this call.
	asking := oidc.ClientContext(context.WithoutCancel(ctx), s.bounded())
	got, err := oidc.NewProvider(asking, s.OAuth2.Issuer)
	if err == nil {
		err = got.Claims(&p.endpoints)
	}
	if err != nil && strings.HasPrefix(err.Error(), "404 ") && s.OAuth2.TokenURL != "" && s.OAuth2.AuthorizationURL != "" {
		p.endpoints = metadata{Issuer: s.OAuth2.Issuer} // it only says who must answer
		return &p.endpoints, nil, nil
	}
	if err != nil {
		why := s.silent("issuer", err)
		var known *host.Error
		if errors.As(why, &known) {
			known.Message = "the issuer of " + s.Name + " did not say its endpoints at /.well-known/openid-configuration: " + printable(known.Message, 300)
		}
		return nil, nil, why
	}
	p.oidc = got
	return &p.endpoints, got, nil
}

// bounded is the client, with answers that are bounded.
func (s *SignIn) bounded() *http.Client {
	c := *s.options.Client
	next := c.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	c.Transport = boundedTransport{next}
	c.Timeout = s.Timeout
	return &c
}

type boundedTransport struct{ next http.RoundTripper }

func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.next.RoundTrip(r)
	if err == nil {
		answer.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(answer.Body, mostAnswered), answer.Body}
	}
	return answer, err
}

// endpoint is one of the server's: what the credential says, else what its
// issuer does.
func (s *SignIn) endpoint(ctx context.Context, which string) (string, error) {
	o := &s.OAuth2
	given := map[string]string{"token": o.TokenURL, "authorization": o.AuthorizationURL, "device": o.DeviceURL, "revocation": o.RevokeURL}[which]
	if given != "" || o.Issuer == "" {
		return given, nil
	}
	m, _, err := s.discover(ctx)
	if err != nil {
		return "", err
	}
	found := map[string]string{"token": m.Token, "authorization": m.Authorize, "device": m.Device, "revocation": m.Revocation}[which]
	if o.AuthStyle == AuthTLS {
		found = orElse(map[string]string{"token": m.ByTLS.Token, "device": m.ByTLS.Device, "revocation": m.ByTLS.Revocation}[which], found)
	}
	if found == "" && which != "revocation" {
		return "", host.Errorf(host.Unsupported, "the issuer of %s names no %s endpoint; give oauth2.%s_url", s.Name, which, which)
	}
	u, err := url.Parse(found)
	if found != "" && (err != nil || u.Scheme != "https" && !(u.Scheme == "http" && strings.HasPrefix(o.Issuer, "http:")) || u.Host == "") {
		return "", host.Errorf(host.PermissionDenied, "the issuer of %s names a %s endpoint that is no https URL", s.Name, which)
	}
	return found, nil
}
