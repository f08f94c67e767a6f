package signin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/secret"
)

// Protocol is the way to sign in.
type Protocol string

// The protocols.
const (
	Anonymous Protocol = "anonymous"
	Basic     Protocol = "basic"
	Digest    Protocol = "digest"
	Bearer    Protocol = "bearer"
	APIKey    Protocol = "api_key"
	OAuth2    Protocol = "oauth2"
	JWT       Protocol = "jwt"
	AWS       Protocol = "aws"
	HMAC      Protocol = "hmac"
	Session   Protocol = "session"
	// Headers: nothing but headers of the operator's own.
	Headers Protocol = "headers"
	// MutualTLS: nothing but the client certificate of the connection.
	MutualTLS Protocol = "mutual_tls"
)

// Protocols lists every one.
var Protocols = []Protocol{Anonymous, Basic, Digest, Bearer, APIKey, OAuth2, JWT, AWS, HMAC, Session, Headers, MutualTLS}

// Grant is how OAuth 2.0 comes to a token.
type Grant string

// The grants.
const (
	ClientCredentials Grant = "client_credentials" // RFC 6749, 4.4
	AuthorizationCode Grant = "authorization_code" // RFC 6749, 4.1, with PKCE (RFC 7636)
	DeviceCode        Grant = "device_code"        // RFC 8628
	JWTBearer         Grant = "jwt_bearer"         // RFC 7523, 2.1
	TokenExchange     Grant = "token_exchange"     // RFC 8693
	Password          Grant = "password"           // RFC 6749, 4.3; for servers that have nothing else
)

// Grants lists every one.
var Grants = []Grant{ClientCredentials, AuthorizationCode, DeviceCode, JWTBearer, TokenExchange, Password}

// AuthStyle is how a client shows a token endpoint who it is.
type AuthStyle string

// The styles. Auto tries the header, then the form where the header is refused,
// and stays with what worked.
const (
	AuthAuto          AuthStyle = "auto"
	AuthHeader        AuthStyle = "header"          // RFC 6749, 2.3.1
	AuthParams        AuthStyle = "params"          // RFC 6749, 2.3.1
	AuthPrivateKeyJWT AuthStyle = "private_key_jwt" // RFC 7523, 2.2
	AuthTLS           AuthStyle = "tls"             // RFC 8705: the client certificate
	AuthNone          AuthStyle = "none"            // a public client
)

// AuthStyles lists every one.
var AuthStyles = []AuthStyle{AuthAuto, AuthHeader, AuthParams, AuthPrivateKeyJWT, AuthTLS, AuthNone}

// Secret is a secret of a credential: where it comes from, and its path within
// the credential, such as basic.password, which it is sealed for.
type Secret struct {
	Ref  secret.Ref
	Path string
}

// Place is where a token stands in a request: in a header after a prefix, or in
// the query. The zero Place is "Authorization: Bearer …".
type Place struct {
	Header, Prefix, Query string
}

// Header is a header of the operator's own; its value may be a secret.
type Header struct {
	Name   string
	Value  string
	Secret Secret
}

// Key is a private key: PEM, DER, PKCS#12 or JWK ([ParseKey]).
type Key struct {
	Secret   Secret
	Password Secret
	// ID goes into the header of what is signed, "" for none.
	ID string
}

// Carry is a value of the token's answer that later requests carry.
type Carry struct {
	// From is where it stands in the answer, such as tenant.id.
	From string
	// Header or Query is where it goes; with Endpoint it is the origin that
	// requests go to, one of Hosts (example.com or *.example.com).
	Header, Query string
	Endpoint      bool
	Hosts         []string
}

// OAuth2Config is for [OAuth2].
type OAuth2Config struct {
	Grant Grant
	// Issuer has its endpoints at /.well-known/openid-configuration; what is
	// given here goes before what stands there.
	Issuer                                           string
	AuthorizationURL, TokenURL, DeviceURL, RevokeURL string
	ClientID                                         string
	AuthStyle                                        AuthStyle
	Scopes                                           []string
	AuthorizationParams                              map[string]string // at the authorization endpoint
	Params                                           map[string]string // fields of the form at the token endpoint
	Headers                                          map[string]string // at the token endpoint
	// SecretParams and SecretHeaders are further ones of both that nobody may see.
	SecretParams, SecretHeaders                     []Header
	SubjectToken, ActorToken                        Secret // TokenExchange
	SubjectTokenType, ActorTokenType, RequestedType string
	Audience, Resource                              string
	// TokenField and ExpiresField are where an answer has them; "" is
	// access_token and expires_in.
	TokenField, ExpiresField string
	// Lifetime is that of a token whose answer does not say; 0: until the target
	// refuses it.
	Lifetime time.Duration
	Carry    []Carry
}

// Config is how one named credential signs in.
type Config struct {
	Name     string
	Protocol Protocol
	// PerUser: each person signs in with an authorization of his own.
	PerUser  bool
	Username string
	Secret   Secret // password, token, key, client secret
	Send     Place
	Headers  []Header // beside any protocol
	Key      Key      // JWT, JWTBearer, AuthPrivateKeyJWT
	// Assertion is what is signed with Key; AssertionClaims of the grant.
	Assertion Assertion
	OAuth2    OAuth2Config
	AWS       AWSConfig
	// SessionToken goes with AWS keys that end.
	SessionToken Secret
	HMAC         HMACConfig
	Session      SessionConfig
	// WithoutHeader: no Authorization header is made; the connector's request has
	// what is needed as merge fields.
	WithoutHeader bool
	// Timeout bounds one request to a token endpoint; 0 is 30 s.
	Timeout time.Duration
}

// Kind is the protocol as it is shown: oauth2 with its grant.
func (c *Config) Kind() string {
	if c.Protocol == OAuth2 {
		return "oauth2_" + string(c.OAuth2.Grant)
	}
	return string(c.Protocol)
}

// Interactive tells whether a person must authorize it before it can be used.
func (c *Config) Interactive() bool {
	return c.PerUser || c.Protocol == OAuth2 && (c.OAuth2.Grant == AuthorizationCode || c.OAuth2.Grant == DeviceCode)
}

// SignsURL tells whether what shows who we are is made for one URL, so that no
// redirect can be followed with it.
func (c *Config) SignsURL() bool {
	return c.Protocol == AWS || c.Protocol == HMAC || c.Protocol == Digest || c.Send.Query != "" || c.Session.Send.Query != ""
}

// byToken tells whether what signs requests in is fetched, and ends.
func (c *Config) byToken() bool { return c.Protocol == OAuth2 || c.Protocol == Session }

// URLs are those that sign-in goes to, by field.
func (c *Config) URLs() map[string]string {
	o, all := c.OAuth2, map[string]string{}
	for field, text := range map[string]string{"oauth2.issuer": o.Issuer, "oauth2.authorization_url": o.AuthorizationURL, "oauth2.token_url": o.TokenURL,
		"oauth2.device_url": o.DeviceURL, "oauth2.revocation_url": o.RevokeURL, "aws.sts_endpoint": c.AWS.STSEndpoint} {
		if text != "" {
			all[field] = text
		}
	}
	return all
}

// client is a digest of what tokens are given to: with another client or another
// server they are worth nothing. origin is where they are taken.
func (c *Config) client(origin string) string {
	o := c.OAuth2
	o.TokenField, o.ExpiresField, o.Lifetime, o.Carry, o.Headers, o.AuthStyle = "", "", 0, nil, nil, ""
	if c.Interactive() { // what a person gave is the client's, at its token endpoint
		o = OAuth2Config{ClientID: o.ClientID, Issuer: o.Issuer, TokenURL: o.TokenURL}
		if o.TokenURL != "" {
			o.Issuer = ""
		}
	}
	o.SubjectToken, o.ActorToken, o.SecretParams, o.SecretHeaders = Secret{}, Secret{}, nil, nil
	b, err := json.Marshal([]any{c.Protocol, o, c.Username, c.Session, c.Assertion, origin})
	if err != nil {
		return "" // of strings and maps, which always can be written
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// check finds what is wrong with a Config; each error has its field.
func (c *Config) check() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		e := host.Errorf(host.InvalidInput, format, args...)
		e.Field = "credentials." + c.Name + "." + field
		errs = append(errs, e)
	}
	if !slices.Contains(Protocols, c.Protocol) {
		bad("protocol", "%q is none of %v", c.Protocol, Protocols)
	}
	wants := func(s Secret, field string) {
		if !s.Ref.IsSet() && !(c.PerUser && field == string(c.Protocol)) {
			bad(field, "has no secret")
		}
	}
	link := func(field, text string, needed bool) {
		u, err := url.Parse(text)
		switch {
		case text == "" && !needed:
		case text == "":
			bad(field, "is missing")
		case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Fragment != "":
			bad(field, "%q is no http or https URL", text)
		}
	}
	switch c.Protocol {
	case Basic, Digest:
		wants(c.Secret, string(c.Protocol))
		if strings.Contains(c.Username, ":") && c.Protocol == Basic {
			bad("basic.username", "has a colon, which HTTP Basic can't carry (RFC 7617)")
		}
	case Bearer:
		wants(c.Secret, "bearer")
	case APIKey:
		wants(c.Secret, "api_key")
		if c.Send.Query == "" && c.Send.Header == "" {
			bad("api_key.header", "is missing; give header or query")
		}
	case JWT:
		wants(c.Key.Secret, "jwt.key")
	case HMAC:
		wants(c.Secret, "hmac")
	case AWS:
		if c.AWS.AccessKeyID != "" {
			wants(c.Secret, "aws.secret_access_key")
		}
		if c.Secret.Ref.Previous != nil {
			bad("aws.secret_access_key.previous", "can't be: another key has another access_key_id; change both at once")
		}
	case Session:
		wants(c.Secret, "session.password")
		for field, path := range map[string]string{"session.path": c.Session.Path, "session.csrf.path": c.Session.CSRF.Path} {
			if _, err := onOrigin(new(url.URL), path); err != nil && (path != "" || field == "session.path") {
				bad(field, "%q is no path on the endpoint's origin; begin it with /", path)
			}
		}
		if c.Session.Keep == "token" && c.Session.Token == "" {
			bad("session.token", "is missing; say where it stands in the answer")
		}
		if len(c.Session.Form) > 0 && c.Session.JSON != nil {
			bad("session", "has form and json; keep one")
		}
	case OAuth2:
		c.checkOAuth2(bad, wants, link)
	case Headers:
		if len(c.Headers) == 0 {
			bad("headers", "is empty")
		}
	}
	if c.PerUser && !slices.Contains([]Protocol{Basic, Bearer, APIKey}, c.Protocol) && !(c.Protocol == OAuth2 && (c.OAuth2.Grant == AuthorizationCode || c.OAuth2.Grant == DeviceCode)) {
		bad("identity", "per_user needs oauth2 with authorization_code or device_code, basic, bearer or api_key, not %s", c.Kind())
	}
	for i, h := range c.Headers {
		if !httpguts.ValidHeaderFieldName(h.Name) || !httpguts.ValidHeaderFieldValue(h.Value) {
			bad(fmt.Sprintf("headers[%d]", i), "%q is no header", h.Name)
		}
	}
	if p := c.Send; p.Header != "" && !httpguts.ValidHeaderFieldName(p.Header) || !httpguts.ValidHeaderFieldValue(p.Prefix) {
		field := string(c.Protocol)
		if c.Protocol == OAuth2 {
			field = "oauth2.send"
		}
		bad(field+".header", "%q with the prefix %q is no header", p.Header, p.Prefix)
	} else if p.Header != "" && p.Query != "" {
		bad(string(c.Protocol), "has a header and a query; keep one")
	}
	return errors.Join(errs...)
}

func (c *Config) checkOAuth2(bad func(field, format string, args ...any), wants func(Secret, string), link func(string, string, bool)) {
	o := &c.OAuth2
	if !slices.Contains(Grants, o.Grant) {
		bad("oauth2.grant", "%q is none of %v", o.Grant, Grants)
	}
	if o.AuthStyle != "" && !slices.Contains(AuthStyles, o.AuthStyle) {
		bad("oauth2.auth_style", "%q is none of %v", o.AuthStyle, AuthStyles)
	}
	link("oauth2.issuer", o.Issuer, false)
	link("oauth2.token_url", o.TokenURL, o.Issuer == "")
	link("oauth2.authorization_url", o.AuthorizationURL, o.Issuer == "" && o.Grant == AuthorizationCode)
	link("oauth2.device_url", o.DeviceURL, o.Issuer == "" && o.Grant == DeviceCode)
	link("oauth2.revocation_url", o.RevokeURL, false)
	if o.ClientID == "" && o.Grant != JWTBearer && o.Grant != TokenExchange && o.Grant != Password {
		bad("oauth2.client_id", "is missing")
	}
	switch o.AuthStyle {
	case AuthPrivateKeyJWT:
		wants(c.Key.Secret, "oauth2.key")
	case AuthHeader, AuthParams:
		wants(c.Secret, "oauth2.client_secret")
	case "", AuthAuto:
		if o.Grant == ClientCredentials {
			wants(c.Secret, "oauth2.client_secret")
		}
	}
	switch o.Grant {
	case JWTBearer:
		wants(c.Key.Secret, "oauth2.key")
	case TokenExchange:
		wants(o.SubjectToken, "oauth2.subject_token")
	case Password:
		wants(o.SubjectToken, "oauth2.password")
		if c.Username == "" {
			bad("oauth2.username", "is missing")
		}
	}
	for _, name := range []string{"response_type", "client_id", "redirect_uri", "state", "nonce", "code_challenge", "code_challenge_method", "request", "request_uri"} {
		if _, ok := o.AuthorizationParams[name]; ok {
			bad("oauth2.authorization_params", "%s is not for the configuration to say", name)
		}
	}
	for _, name := range []string{"grant_type", "code", "code_verifier", "refresh_token", "client_assertion", "client_assertion_type"} {
		if _, ok := o.Params[name]; ok || slices.ContainsFunc(o.SecretParams, func(h Header) bool { return h.Name == name }) {
			bad("oauth2.params", "%s is not for the configuration to say", name)
		}
	}
	for _, h := range o.SecretParams {
		wants(h.Secret, "oauth2.secret_params."+h.Name)
	}
	for _, h := range o.SecretHeaders {
		wants(h.Secret, "oauth2.secret_headers."+h.Name)
		if !httpguts.ValidHeaderFieldName(h.Name) || !httpguts.ValidHeaderFieldValue(h.Value) {
			bad("oauth2.secret_headers", "%q is no header", h.Name)
		}
	}
	for name, value := range o.Headers {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			bad("oauth2.headers", "%q is no header", name)
		}
	}
	for i, k := range o.Carry {
		places := 0
		for _, set := range []bool{k.Header != "", k.Query != "", k.Endpoint} {
			if set {
				places++
			}
		}
		field := fmt.Sprintf("oauth2.carry[%d]", i)
		switch {
		case k.From == "":
			bad(field+".from", "is missing")
		case places != 1:
			bad(field, "goes to %d places; give one of header, query, endpoint: true", places)
		case k.Endpoint && len(k.Hosts) == 0:
			bad(field+".hosts", "is missing: say which hosts the answer may name, such as *.example.com")
		case k.Header != "" && !httpguts.ValidHeaderFieldName(k.Header):
			bad(field+".header", "%q is no header", k.Header)
		}
	}
}
