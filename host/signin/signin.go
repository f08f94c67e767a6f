package signin

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/sync/singleflight"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/secret"
)

// Options are for [New].
type Options struct {
	// Client goes to token endpoints and sign-in pages; it must not follow
	// redirects.
	Client *http.Client
	// Base is the credential's endpoint.
	Base *url.URL
	// Sealer seals what is stored; without it tokens stay in this process, and
	// nobody can authorize.
	Sealer *secret.Sealer
	// Store has the authorizations; nil for none.
	Store Store
	// Unread: secrets need not be there, only be named as they must.
	Unread bool
	// Observe is told how each fetch of tokens ended; may be nil.
	Observe func(Outcome)
	// Busy has the fetches under way; may be nil.
	Busy   *Busy
	Logger *slog.Logger
	Now    func() time.Time
}

// SignIn signs the requests of one named credential in. It may be used from
// many goroutines.
type SignIn struct {
	Config
	options Options
	store   Store
	sealer  *secret.Sealer

	secret, keySecret, keyPassword, subject, actor, sessionToken *secret.Source
	headers, tokenParams, tokenHeaders                           []*secret.Source
	aws                                                          *awsSigner

	flight  singleflight.Group
	mu      sync.Mutex
	held    map[string]holding // by user
	unsaved map[string]*renewed
	// ahead is how much the clock of all machines is ahead of ours.
	ahead atomic.Int64
	// old is set while the target takes only the secret before the newest.
	old bool
	// challenge is Digest's last one, answers how often it was answered.
	challenge string
	answers   int
	provider  provider
}

// New makes a SignIn. The error joins an error for each mistake, with its Field.
func New(c Config, o Options) (*SignIn, error) {
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(Outcome) {}
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &SignIn{Config: c, options: o, store: o.Store, sealer: o.Sealer, held: map[string]holding{}, unsaved: map[string]*renewed{}}
	if s.store == nil || s.sealer == nil {
		if c.Interactive() && o.Store != nil {
			e := host.Errorf(host.InvalidInput, "what people authorize is stored sealed, and there is no key: set secrets.identity_file (provost credential identity makes one)")
			e.Field = "credentials." + c.Name
			return nil, e
		}
		s.store, s.sealer = newMemoryStore(o.Now), nil
	}
	var errs []error
	open := func(one Secret) *secret.Source {
		if !one.Ref.IsSet() || o.Unread && o.Sealer == nil && one.Ref.Sealed != "" {
			return nil
		}
		source, err := secret.Open(one.Ref, secret.Options{Sealer: o.Sealer, Binding: Binding(c.Name, one.Path), Logger: o.Logger})
		if err != nil {
			wrong := host.Errorf(host.CodeOf(err), "%w", err)
			wrong.Field = "credentials." + c.Name + "." + one.Path
			errs = append(errs, wrong)
		}
		return source
	}
	s.sessionToken = open(c.SessionToken)
	s.secret, s.keySecret, s.keyPassword = open(c.Secret), open(c.Key.Secret), open(c.Key.Password)
	s.subject, s.actor = open(c.OAuth2.SubjectToken), open(c.OAuth2.ActorToken)
	for _, h := range c.Headers {
		s.headers = append(s.headers, open(h.Secret))
	}
	for _, h := range c.OAuth2.SecretParams {
		s.tokenParams = append(s.tokenParams, open(h.Secret))
	}
	for _, h := range c.OAuth2.SecretHeaders {
		s.tokenHeaders = append(s.tokenHeaders, open(h.Secret))
	}
	if c.Protocol == AWS && len(errs) == 0 {
		var err error
		if s.aws, err = newAWS(c.AWS, s.staticKeys(), o.Client); err != nil {
			wrong := host.Errorf(host.CodeOf(err), "%w", err)
			wrong.Field = "credentials." + c.Name + ".aws"
			errs = append(errs, wrong)
		}
	}
	return s, errors.Join(errs...)
}

// staticKeys are the AWS keys of the credential, nil where the environment has
// them.
func (s *SignIn) staticKeys() aws.CredentialsProvider {
	if s.AWS.AccessKeyID == "" {
		return nil
	}
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		key, err := s.value(ctx, s.secret, s.usesOld())
		if err != nil {
			return aws.Credentials{}, err
		}
		token, err := s.value(ctx, s.sessionToken, false)
		return aws.Credentials{AccessKeyID: s.AWS.AccessKeyID, SecretAccessKey: key.Reveal(), SessionToken: token.Reveal(), Source: "provost"}, err
	})
}

// Binding is what a secret of a credential is sealed for.
func Binding(credential, path string) string { return "credential/" + credential + "/" + path }

// Check reads every secret once, so that what is missing is said before the
// first request.
func (s *SignIn) Check(ctx context.Context) error {
	var errs []error
	look := func(source *secret.Source, path string) {
		if source == nil {
			return
		}
		values, err := source.Values(ctx)
		for _, v := range values {
			if err == nil && s.Protocol != HMAC && path != s.Key.Secret.Path && strings.ContainsAny(v.Reveal(), "\r\n\x00") {
				err = host.Errorf(host.InvalidInput, "the secret holds a line break")
			}
		}
		for i := range values {
			if err == nil && source == s.keySecret {
				_, _, err = s.key(ctx, i > 0)
			}
		}
		if err != nil {
			wrong := host.Errorf(host.CodeOf(err), "%w", err)
			wrong.Field = "credentials." + s.Name + "." + path
			errs = append(errs, wrong)
		}
	}
	look(s.secret, s.Secret.Path)
	look(s.keySecret, s.Key.Secret.Path)
	look(s.subject, s.OAuth2.SubjectToken.Path)
	look(s.actor, s.OAuth2.ActorToken.Path)
	for i, source := range s.headers {
		look(source, s.Headers[i].Secret.Path)
	}
	for i, source := range s.tokenParams {
		look(source, s.OAuth2.SecretParams[i].Secret.Path)
	}
	for i, source := range s.tokenHeaders {
		look(source, s.OAuth2.SecretHeaders[i].Secret.Path)
	}
	return errors.Join(errs...)
}

// client is that of the configuration, with the endpoint's origin: what was given
// for one origin is sent to no other.
func (s *SignIn) client() string {
	origin := ""
	if s.options.Base != nil {
		origin = s.options.Base.Scheme + "://" + s.options.Base.Host
	}
	return s.Config.client(origin)
}

// SecretSet tells whether there is a secret at all.
func (s *SignIn) SecretSet() bool { return s.secret != nil || s.keySecret != nil || s.subject != nil }

// value is the secret to use: the newest, or the one before it while the target
// takes only that.
func (s *SignIn) value(ctx context.Context, source *secret.Source, old bool) (secret.Value, error) {
	if source == nil {
		return secret.Value{}, nil
	}
	values, err := source.Values(ctx)
	if err != nil {
		return secret.Value{}, err
	}
	if old && len(values) > 1 {
		return values[1], nil
	}
	return values[0], nil
}

func (s *SignIn) key(ctx context.Context, old bool) (crypto.Signer, []*x509.Certificate, error) {
	v, err := s.value(ctx, s.keySecret, old)
	if err != nil {
		return nil, nil, err
	}
	password, err := s.value(ctx, s.keyPassword, old)
	if err != nil {
		return nil, nil, err
	}
	return ParseKey([]byte(v.Reveal()), password.Reveal())
}

func (s *SignIn) usesOld() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.old
}

// Auth is what one request is signed in with.
type Auth struct {
	signIn    *SignIn
	user      string
	username  string
	secret    secret.Value
	tokens    *tokens
	old       bool // signed with the secret before the newest
	again     bool // made after a refusal: there is no third
	jwt       string
	headers   []secret.Value
	challenge string
	count     int // Digest: how often the challenge was answered
	// shown is what the last request was signed with that is no secret itself and
	// lets one be guessed, or used for a while.
	shown []string
}

// Get returns what a request of a user is signed in with (of anybody, where the
// credential is not per user). It may fetch a token first, or wait for somebody
// who does. The error is a *[host.Error], or a *[NotAuthorizedError] where a
// person must act.
func (s *SignIn) Get(ctx context.Context, userID string) (*Auth, error) {
	return s.get(ctx, userID, "", s.usesOld())
}

func (s *SignIn) get(ctx context.Context, userID, refused string, old bool) (*Auth, error) {
	if !s.PerUser {
		userID = ""
	} else if userID == "" {
		return nil, host.Errorf(host.Unauthorized, "%s signs every person in with an authorization of his own, and this is done for nobody; reconcile with a credential that has a named principal", s.Name)
	}
	a := &Auth{signIn: s, user: userID, username: s.Username, old: old}
	for _, source := range s.headers {
		v, err := s.value(ctx, source, old)
		if err != nil {
			return nil, s.unavailable(err)
		}
		a.headers = append(a.headers, v)
	}
	var err error
	switch {
	case s.byToken() || s.PerUser:
		if a.tokens, err = s.obtain(ctx, userID, refused); err != nil {
			return nil, err
		}
		if s.PerUser && !s.byToken() {
			a.username, a.secret = a.tokens.Username, secret.New(a.tokens.Access)
		}
	case s.Protocol == JWT:
		if a.jwt, err = s.assert(ctx, s.Assertion, "", old); err != nil {
			return nil, s.unavailable(err)
		}
	default:
		if a.secret, err = s.value(ctx, s.secret, old); err != nil {
			return nil, s.unavailable(err)
		}
		s.mu.Lock()
		if a.challenge = s.challenge; a.challenge != "" {
			s.answers++
			a.count = s.answers
		}
		s.mu.Unlock()
	}
	return a, nil
}

// unavailable is the error of a secret that can't be had.
func (s *SignIn) unavailable(err error) error {
	return host.Errorf(host.CodeOf(err), "the secret of %s: %w", s.Name, err)
}

// assert signs an assertion with the key, and names the key; audience is who it
// is for where the configuration does not say.
func (s *SignIn) assert(ctx context.Context, a Assertion, audience string, old bool) (string, error) {
	key, certificates, err := s.key(ctx, old)
	if err != nil {
		return "", err
	}
	if a.KeyID == "" {
		a.KeyID = s.Key.ID
	}
	if len(a.Audience) == 0 && audience != "" {
		a.Audience = []string{audience}
	}
	if len(certificates) > 0 {
		a.Certificate = certificates[0]
	}
	return a.Sign(key, s.options.Now())
}

// Again returns what to sign with once more after the target has refused a
// request, nil where there is nothing better. A token is fetched anew once, a
// session is begun again, the secret before the newest is tried while both are
// valid, a challenge is answered.
func (s *SignIn) Again(ctx context.Context, a *Auth, status int, header http.Header, body []byte) (*Auth, error) {
	ended := status == http.StatusUnauthorized || status == http.StatusForbidden && !a.again && s.fixed() && s.hasTwo(ctx)
	if s.Protocol == Session {
		ended = s.Session.ended(status, header, body)
	}
	if !ended {
		if a.old != s.usesOld() && status < 400 {
			s.settle(a)
		}
		return nil, nil
	}
	if a.again {
		return nil, nil
	}
	var next *Auth
	var err error
	switch {
	case s.byToken() || s.grantless(): // what a person gave and the target refuses is to be given again
		if next, err = s.get(ctx, a.user, a.tokens.Access, a.old); errors.Is(err, errNoBetter) {
			return nil, nil
		}
	case s.Protocol == Digest:
		challenge := digestChallenge(header)
		if challenge == "" || a.challenge != "" && !strings.Contains(strings.ToLower(challenge), "stale=true") && challenge == a.challenge {
			return nil, nil
		}
		s.mu.Lock()
		s.challenge, s.answers = challenge, 0
		s.mu.Unlock()
		next, err = s.get(ctx, a.user, "", a.old)
	default:
		if !s.hasTwo(ctx) {
			return nil, nil
		}
		next, err = s.get(ctx, a.user, "", !a.old)
	}
	if next != nil {
		next.again = true
	}
	return next, err
}

// fixed tells whether requests show a secret as it is, which many targets that
// do not know it answer with 403.
func (s *SignIn) fixed() bool {
	return !s.byToken() && !s.grantless() && s.Protocol != Digest
}

func digestChallenge(h http.Header) string {
	for _, v := range h.Values("WWW-Authenticate") {
		if len(v) > 7 && strings.EqualFold(v[:7], "digest ") {
			return v
		}
	}
	return ""
}

// hasTwo tells whether two secrets are valid at once.
func (s *SignIn) hasTwo(ctx context.Context) bool {
	for _, source := range slices.Concat([]*secret.Source{s.secret, s.keySecret}, s.headers, s.tokenParams, s.tokenHeaders) {
		if source == nil {
			continue
		}
		if values, err := source.Values(ctx); err == nil && len(values) > 1 {
			return true
		}
	}
	return false
}

// settle remembers which of two secrets the target takes.
func (s *SignIn) settle(a *Auth) {
	s.mu.Lock()
	changed := s.old != a.old
	s.old = a.old
	s.mu.Unlock()
	if changed && a.old {
		s.options.Logger.Warn("the target refuses the newest secret and takes the one before it", "credential", s.Name)
	}
}

// Sign puts into a request what shows who we are. It is called by one goroutine
// at a time.
func (a *Auth) Sign(ctx context.Context, r *http.Request, body []byte) error {
	s := a.signIn
	for i, h := range s.Headers {
		value := h.Value
		if a.headers[i].IsSet() {
			value += a.headers[i].Reveal()
		}
		r.Header.Set(h.Name, value)
	}
	if s.WithoutHeader {
		return nil
	}
	switch s.Protocol {
	case Basic:
		r.SetBasicAuth(a.username, a.secret.Reveal())
	case Digest:
		if a.challenge == "" {
			return nil // the target says what it wants first
		}
		value, err := digestAuthorize(a.challenge, r, body, a.username, a.secret, a.count)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", value)
		a.shown = []string{value, digestResponse(value)}
	case Bearer, APIKey:
		s.Send.put(r, a.secret.Reveal())
	case JWT:
		s.Send.put(r, a.jwt)
	case OAuth2:
		a.carry(r)
		s.Send.put(r, a.tokens.Access)
	case Session:
		a.tokens.Session.apply(r, s.Session.Send)
	case HMAC:
		if err := s.HMAC.Sign(r, body, a.secret, s.options.Now()); err != nil {
			return err
		}
		value := r.Header.Get(orElse(s.HMAC.Header, "Authorization"))
		a.shown = []string{value, strings.TrimPrefix(value, strings.ReplaceAll(s.HMAC.Prefix, "{key_id}", s.HMAC.KeyID))}
	case AWS:
		if err := s.aws.sign(ctx, r, body, s.options.Now()); err != nil {
			return err
		}
		value := r.Header.Get("Authorization")
		_, signature, _ := strings.Cut(value, "Signature=")
		a.shown = []string{value, signature, r.Header.Get("X-Amz-Security-Token")}
	}
	return nil
}

func (p Place) put(r *http.Request, token string) {
	switch {
	case p.Query != "":
		q := url.QueryEscape(p.Query) + "=" + url.QueryEscape(token)
		if r.URL.RawQuery != "" {
			q = withoutParameter(r.URL.RawQuery, p.Query) + q
		}
		r.URL.RawQuery = q
	case p.Header == "":
		r.Header.Set("Authorization", "Bearer "+token)
	default:
		r.Header.Set(p.Header, p.Prefix+token)
	}
}

// withoutParameter takes a parameter out of a query, so that nobody sends one of
// his own beside ours; what is left ends with & unless it is empty.
func withoutParameter(query, name string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(query, "&") {
		key, _, _ := strings.Cut(part, "=")
		if plain, err := url.QueryUnescape(key); err == nil && plain == name || part == "" {
			continue
		}
		b.WriteString(part + "&")
	}
	return b.String()
}

// carry puts values of the token's answer where requests carry them.
func (a *Auth) carry(r *http.Request) {
	for _, k := range a.signIn.OAuth2.Carry {
		value, ok := a.tokens.Values[k.From]
		if !ok {
			continue
		}
		switch {
		case k.Header != "":
			r.Header.Set(k.Header, value)
		case k.Query != "":
			Place{Query: k.Query}.put(r, value)
		}
	}
}

// Origin is the origin that the token's answer named for requests, nil where the
// endpoint's own holds.
func (a *Auth) Origin() *url.URL {
	if a.tokens == nil {
		return nil
	}
	for _, k := range a.signIn.OAuth2.Carry {
		if k.Endpoint && a.tokens.Values[k.From] != "" {
			if u, err := k.origin(a.tokens.Values[k.From]); err == nil {
				return u
			}
		}
	}
	return nil
}

// origin reads an origin that an answer names.
func (k Carry) origin(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, host.Errorf(host.PermissionDenied, "the token endpoint's answer names no origin in %s", k.From)
	}
	for _, pattern := range k.Hosts {
		scheme, pattern, ok := strings.Cut(pattern, "://")
		if !ok {
			scheme, pattern = "https", scheme
		}
		suffix, wide := strings.CutPrefix(pattern, "*")
		name := strings.ToLower(u.Host)
		if u.Scheme == scheme && (name == strings.ToLower(pattern) || wide && strings.HasPrefix(suffix, ".") && strings.HasSuffix(name, strings.ToLower(suffix))) {
			return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
		}
	}
	return nil, host.Errorf(host.PermissionDenied, "the token endpoint's answer names %q in %s, which is none of the hosts that it may name (%s)", u.Host, k.From, strings.Join(k.Hosts, ", "))
}

// Secrets are the values that must not come back to a connector, in every form
// that they are sent in.
func (a *Auth) Secrets() []string {
	var all []string
	add := func(text string) {
		if text != "" {
			all = append(all, text)
		}
	}
	if a.secret.IsSet() {
		add(a.secret.Reveal())
		if a.signIn.Protocol == Basic {
			add(base64.StdEncoding.EncodeToString([]byte(a.username + ":" + a.secret.Reveal())))
		}
	}
	add(a.jwt)
	for _, text := range a.shown {
		add(text)
	}
	for _, h := range a.headers {
		if h.IsSet() {
			add(h.Reveal())
		}
	}
	if a.tokens != nil {
		add(a.tokens.Access)
		add(a.tokens.Refresh)
		if a.tokens.Session != nil {
			for _, v := range a.tokens.Session.secrets() {
				add(v)
			}
		}
	}
	return all
}

// Field is a merge field's value: Username, Password, OAuthToken,
// AuthorizationMethod, AuthorizationHeaderValue, OAuthConsumerKey. ok is false
// for a field that the protocol does not have.
func (a *Auth) Field(name string) (value string, ok bool) {
	s := a.signIn
	switch name {
	case "Username":
		return a.username, a.username != ""
	case "Password":
		return a.secret.Reveal(), a.secret.IsSet() && s.Protocol != OAuth2
	case "OAuthToken":
		if s.Protocol == JWT {
			return a.jwt, true
		}
		if s.Protocol == OAuth2 {
			return a.tokens.Access, true
		}
		return a.secret.Reveal(), s.Protocol == Bearer
	case "OAuthConsumerKey":
		return s.OAuth2.ClientID, s.OAuth2.ClientID != ""
	case "AuthorizationMethod", "AuthorizationHeaderValue":
		value := a.header()
		if name == "AuthorizationHeaderValue" {
			return value, value != ""
		}
		method, _, found := strings.Cut(value, " ")
		return method, found
	default:
		return "", false
	}
}

// header is the value that the Authorization header has or would have.
func (a *Auth) header() string {
	s := a.signIn
	prefix := "Bearer "
	if strings.EqualFold(s.Send.Header, "Authorization") {
		prefix = s.Send.Prefix
	}
	switch s.Protocol {
	case Basic:
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(a.username+":"+a.secret.Reveal()))
	case Bearer:
		return prefix + a.secret.Reveal()
	case JWT:
		return prefix + a.jwt
	case OAuth2:
		return prefix + a.tokens.Access
	default:
		return ""
	}
}

// NotAuthorizedError: nobody has authorized the credential, or somebody must do
// so again.
type NotAuthorizedError struct {
	Credential, UserID string
	// Why says what to do.
	Why string
}

func (e *NotAuthorizedError) Error() string { return e.Why }

// As makes it a [host.Unauthorized] to who asks for a [host.Error].
func (e *NotAuthorizedError) As(target any) bool {
	if t, ok := target.(**host.Error); ok {
		*t = &host.Error{Code: host.Unauthorized, Message: e.Why, Err: e}
		return true
	}
	return false
}

// Expires is when what it signs in with ends; zero where that is not known.
func (a *Auth) Expires() time.Time {
	if a.tokens == nil {
		return time.Time{}
	}
	return a.tokens.Expires
}
