package signin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/secret"
)

// authorizing is how long a person has to authorize in the browser.
const authorizing = 15 * time.Minute

// begun is what belongs to an authorization that was begun.
type begun struct {
	Verifier string `json:"verifier"`
	Nonce    string `json:"nonce"`
	Redirect string `json:"redirect"`
	// Client is the digest of whom it was begun for.
	Client string `json:"client"`
}

// Begin begins an authorization with a code (RFC 6749, 4.1; PKCE by RFC 7636):
// it returns the URL that the person must open, who is sent back to redirect.
func (s *SignIn) Begin(ctx context.Context, userID, redirect string) (string, error) {
	if s.Protocol != OAuth2 || s.OAuth2.Grant != AuthorizationCode {
		return "", host.Errorf(host.Conflict, "%s signs in by %s: there is nothing to authorize in a browser", s.Name, s.Kind())
	}
	if err := s.checkUser(userID); err != nil {
		return "", err
	}
	endpoint, err := s.endpoint(ctx, "authorization")
	if err != nil {
		return "", err
	}
	state := rand.Text() + rand.Text()
	b := begun{Verifier: oauth2.GenerateVerifier(), Nonce: rand.Text(), Redirect: redirect, Client: s.client()}
	id := stateID(state)
	plain, err := json.Marshal(b)
	if err != nil {
		return "", err
	}
	sealed, err := s.sealer.Seal(secret.New(string(plain)), "authorization request/"+id)
	if err != nil {
		return "", err
	}
	now := s.options.Now().UTC()
	err = s.store.Update(ctx, func(tx Tx) error {
		return tx.InsertAuthorizationRequest(ctx, &host.AuthorizationRequest{Id: id, Credential: s.Name, UserId: userID, Sealed: sealed,
			Actor: host.ActorOf(ctx), CreatedDate: now, ExpiresDate: now.Add(authorizing)})
	})
	if err != nil {
		return "", err
	}
	c := oauth2.Config{ClientID: s.OAuth2.ClientID, Endpoint: oauth2.Endpoint{AuthURL: endpoint}, RedirectURL: redirect, Scopes: s.OAuth2.Scopes}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(b.Verifier)}
	if s.wantsIDToken() {
		options = append(options, oauth2.SetAuthURLParam("nonce", b.Nonce))
	}
	for name, value := range map[string]string{"audience": s.OAuth2.Audience, "resource": s.OAuth2.Resource} {
		if value != "" {
			options = append(options, oauth2.SetAuthURLParam(name, value))
		}
	}
	for name, value := range s.OAuth2.AuthorizationParams {
		options = append(options, oauth2.SetAuthURLParam(name, value))
	}
	return c.AuthCodeURL(state, options...), nil
}

// checkUser tells whether an authorization may be of a user.
func (s *SignIn) checkUser(userID string) error {
	switch {
	case s.PerUser && userID == "":
		return host.Errorf(host.Usage, "%s is authorized by each person: say which (--user)", s.Name)
	case !s.PerUser && userID != "":
		return host.Errorf(host.Usage, "%s has one named principal for all: it is authorized for no user", s.Name)
	case s.sealer == nil:
		return errNoKey
	}
	return nil
}

func (s *SignIn) wantsIDToken() bool {
	for _, scope := range s.OAuth2.Scopes {
		if scope == "openid" {
			return true
		}
	}
	return false
}

func stateID(state string) string {
	sum := sha256.Sum256([]byte(state))
	return hex.EncodeToString(sum[:])
}

// TakeRequest returns the authorization that was begun with a state, once.
func TakeRequest(ctx context.Context, store Store, state string, now time.Time) (*host.AuthorizationRequest, error) {
	if state == "" || len(state) > 200 {
		return nil, host.Errorf(host.NotFound, "the answer belongs to no authorization that was begun here")
	}
	var r *host.AuthorizationRequest
	err := store.Update(ctx, func(tx Tx) (err error) {
		r, err = tx.TakeAuthorizationRequest(ctx, stateID(state), now)
		return err
	})
	if host.CodeOf(err) == host.NotFound {
		return nil, host.Errorf(host.NotFound, "this authorization was not begun here, has been taken already, or its time is over; begin it again")
	}
	return r, err
}

// Complete ends an authorization with what the server sent back: the code is
// exchanged, and the tokens are stored. It returns who has signed in, "" where
// the server did not tell.
func (s *SignIn) Complete(ctx context.Context, r *host.AuthorizationRequest, answer url.Values) (principal string, err error) {
	v, err := s.sealer.Open(r.Sealed, "authorization request/"+r.Id)
	if err != nil {
		return "", err
	}
	var b begun
	if err := json.Unmarshal([]byte(v.Reveal()), &b); err != nil {
		return "", host.Errorf(host.Internal, "what belongs to the authorization can't be read")
	}
	if b.Client != s.client() {
		return "", host.Errorf(host.Conflict, "%s names another client or another server since this was begun; begin it again", s.Name)
	}
	m, _, err := s.discover(ctx)
	if err != nil {
		return "", err
	}
	if err := s.checkIssuer(m, answer.Get("iss")); err != nil {
		return "", err
	}
	if code := answer.Get("error"); code != "" {
		why := printable(code, 60)
		if text := answer.Get("error_description"); text != "" {
			why += ": " + printable(text, 200)
		}
		return "", host.Errorf(host.PermissionDenied, "the authorization server refused: %s", why)
	}
	if answer.Get("code") == "" {
		return "", host.Errorf(host.InvalidInput, "the authorization server sent no code")
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {answer.Get("code")}, "redirect_uri": {b.Redirect}, "code_verifier": {b.Verifier}}
	body, style, err := s.exchange(ctx, "token", form, "")
	if err != nil {
		return "", err
	}
	t, err := s.read(body)
	if err == nil {
		err = s.carried(t)
	}
	if err != nil {
		return "", err
	}
	t.Style = style
	nonce := ""
	if s.wantsIDToken() {
		nonce = b.Nonce
	}
	if err := s.identify(ctx, t, body, nonce); err != nil {
		return "", err
	}
	return t.Principal, s.grant(ctx, r.UserId, r.Actor, t)
}

// checkIssuer tells whether who answers is who was asked (RFC 9207), even with an
// error.
func (s *SignIn) checkIssuer(m *metadata, iss string) error {
	want := orElse(m.Issuer, s.OAuth2.Issuer)
	wrong := (iss != "" || m.NamesItself) && subtle.ConstantTimeCompare([]byte(iss), []byte(want)) == 0
	if want == "" && iss != "" { // nobody has said who it is: at least it is where the person was sent
		u, err := url.Parse(iss)
		asked, err2 := url.Parse(s.OAuth2.AuthorizationURL)
		if wrong = err != nil || err2 != nil || !strings.EqualFold(u.Host, asked.Host); wrong {
			return host.Errorf(host.PermissionDenied, "the answer says that it is of %q, and %s asked %q; nothing was stored. If they are one, set oauth2.issuer", printable(iss, 100), s.Name, asked.Host)
		}
	}
	if wrong {
		return host.Errorf(host.PermissionDenied, "the answer came from another authorization server (%q) than the one that was asked (%q); nothing was stored", printable(iss, 100), want)
	}
	return nil
}

// identify takes from an answer's ID token, where there is one, who has signed
// in; nonce must stand in it, unless it is "".
func (s *SignIn) identify(ctx context.Context, t *tokens, body any, nonce string) error {
	raw, ok := Lookup(body, "id_token")
	if !ok {
		return nil
	}
	_, provider, err := s.discover(ctx)
	if err != nil || provider == nil { // without an issuer nobody can tell whose it is
		return err
	}
	token, err := provider.VerifierContext(oidc.ClientContext(ctx, s.bounded()), &oidc.Config{ClientID: s.OAuth2.ClientID, Now: s.options.Now}).Verify(ctx, raw)
	if err != nil {
		return host.Errorf(host.PermissionDenied, "the ID token of the authorization server is not valid: %s", printable(err.Error(), 200))
	}
	if nonce != "" && subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(nonce)) == 0 {
		return host.Errorf(host.PermissionDenied, "the ID token belongs to another authorization than the one that was begun")
	}
	var claims struct {
		Email string `json:"email"`
		Name  string `json:"preferred_username"`
	}
	if err := token.Claims(&claims); err == nil {
		t.Principal = printable(orElse(claims.Name, orElse(claims.Email, token.Subject)), 200)
	}
	return nil
}

// grant stores what a person has authorized.
func (s *SignIn) grant(ctx context.Context, userID, actor string, t *tokens) error {
	err := s.store.Update(ctx, func(tx Tx) error {
		a, err := tx.Authorization(ctx, s.Name, userID, true)
		if err != nil {
			return err
		}
		a.Principal, a.Scopes = "", nil
		if err := s.fill(a, t); err != nil {
			return err
		}
		now := s.now().UTC()
		a.State, a.Reason, a.GrantedBy, a.GrantedDate = host.Authorized, "", actor, &now
		return tx.PutAuthorization(ctx, a)
	})
	if err == nil {
		s.forget(userID)
		s.options.Logger.InfoContext(ctx, "authorized", "credential", s.Name, "user", userID, "principal", t.Principal, "actor", actor)
	}
	return err
}

// Device is an authorization that a person gives on another device (RFC 8628).
type Device struct {
	signIn   *SignIn
	user     string
	actor    string
	code     string
	interval time.Duration

	// UserCode is what the person types at VerificationURL; Complete has the code
	// in it, "" where the server gives none.
	UserCode, VerificationURL, Complete string
	Expires                             time.Time
}

// BeginDevice begins an authorization on another device. [Device.Wait] ends it.
func (s *SignIn) BeginDevice(ctx context.Context, userID string) (*Device, error) {
	if s.Protocol != OAuth2 || s.OAuth2.Grant != DeviceCode {
		return nil, host.Errorf(host.Conflict, "%s signs in by %s, not with a device code", s.Name, s.Kind())
	}
	if err := s.checkUser(userID); err != nil {
		return nil, err
	}
	form := url.Values{"client_id": {s.OAuth2.ClientID}}
	s.ask(form)
	body, _, err := s.exchange(ctx, "device", form, "")
	if err != nil {
		return nil, err
	}
	d := &Device{signIn: s, user: userID, actor: host.ActorOf(ctx), interval: 5 * time.Second}
	d.code, _ = Lookup(body, "device_code")
	d.UserCode, _ = Lookup(body, "user_code")
	d.VerificationURL, _ = Lookup(body, "verification_uri")
	if d.VerificationURL == "" {
		d.VerificationURL, _ = Lookup(body, "verification_url") // as some write it
	}
	d.Complete, _ = Lookup(body, "verification_uri_complete")
	if d.code == "" || d.UserCode == "" || !isLink(d.VerificationURL) {
		return nil, host.Errorf(host.Unauthorized, "the device endpoint of %s answered without device_code, user_code or verification_uri", s.Name)
	}
	d.UserCode = printable(d.UserCode, 60)
	if !isLink(d.Complete) {
		d.Complete = ""
	}
	if text, ok := Lookup(body, "interval"); ok {
		if n, err := strconv.Atoi(text); err == nil && n >= 0 {
			d.interval = min(time.Duration(n)*time.Second, time.Minute)
		}
	}
	lifetime := authorizing
	if text, ok := Lookup(body, "expires_in"); ok {
		if n, err := strconv.Atoi(text); err == nil && n > 0 {
			lifetime = min(time.Duration(n)*time.Second, time.Hour)
		}
	}
	d.Expires = s.options.Now().UTC().Add(lifetime)
	return d, nil
}

func isLink(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

// Wait asks, as often as the server allows, whether the person has authorized,
// and stores the tokens when so.
func (d *Device) Wait(ctx context.Context) (principal string, err error) {
	s := d.signIn
	ctx, cancel := context.WithDeadline(ctx, d.Expires)
	defer cancel()
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {d.code}}
	for interval := max(d.interval, time.Second); ; {
		select {
		case <-ctx.Done():
			return "", host.Errorf(host.Unavailable, "nobody has authorized %s in time", s.Name)
		case <-time.After(interval):
		}
		body, style, err := s.exchange(ctx, "token", form, "")
		var refused *refusedError
		switch {
		case err == nil:
			t, err := s.read(body)
			if err == nil {
				err = s.carried(t)
			}
			if err == nil {
				err = s.identify(ctx, t, body, "")
			}
			if err != nil {
				return "", err
			}
			t.Style = style
			return t.Principal, s.grant(ctx, d.user, d.actor, t)
		case errors.As(err, &refused) && refused.code == "authorization_pending":
		case errors.As(err, &refused) && refused.code == "slow_down":
			interval += 5 * time.Second
		case errors.As(err, &refused):
			return "", err
		default: // the server does not answer: less often (RFC 8628, 3.5)
			interval = min(2*interval, time.Minute)
		}
	}
}

// GrantSecret stores what one person signs in with, where that is no token.
func (s *SignIn) GrantSecret(ctx context.Context, userID, username string, v secret.Value) error {
	if !s.grantless() {
		return host.Errorf(host.Conflict, "%s signs in by %s: nobody gives it a secret", s.Name, s.Kind())
	}
	if err := s.checkUser(userID); err != nil {
		return err
	}
	if !v.IsSet() || strings.ContainsAny(v.Reveal(), "\r\n\x00") {
		return host.Errorf(host.InvalidInput, "the secret is empty, or holds a line break")
	}
	return s.grant(ctx, userID, host.ActorOf(ctx), &tokens{Access: v.Reveal(), Username: username, Issued: s.now().UTC(), Principal: username})
}

// Revoke takes an authorization back: at the server, where it has an endpoint
// for that (RFC 7009), and here. told tells whether the server was told.
func (s *SignIn) Revoke(ctx context.Context, userID, reason string) (told bool, err error) {
	var t *tokens
	err = s.store.Update(ctx, func(tx Tx) error {
		t = nil
		a, err := tx.Authorization(ctx, s.Name, userID, true)
		if err != nil {
			return err
		}
		if a.Sealed == "" && a.State == "" {
			return host.Errorf(host.NotFound, "%s has no authorization to revoke", s.Name)
		}
		if a.Sealed != "" && a.Client == s.client() {
			if t, err = s.open(a); err != nil {
				t = nil // what can't be opened can be taken away all the same
			}
		}
		a.State, a.Reason, a.Sealed, a.SealedWith, a.ExpiresDate, a.LeaseHolder, a.LeaseUntil = host.AuthorizationRevoked, reason, "", "", nil, "", nil
		a.Generation++
		return tx.PutAuthorization(ctx, a)
	})
	s.forget(userID)
	if err != nil || t == nil || s.Protocol != OAuth2 {
		return false, err
	}
	return s.tellRevoked(ctx, t)
}

// Disown tells the server that an authorization is taken back which is stored no
// more. told tells whether it knows.
func (s *SignIn) Disown(ctx context.Context, a *host.Authorization) (told bool, err error) {
	s.forget(a.UserId)
	t, err := s.stored(a)
	if err != nil || t == nil || s.Protocol != OAuth2 {
		return false, err
	}
	return s.tellRevoked(ctx, t)
}

// tellRevoked tells the server, where it has an endpoint for that, that nobody
// may use tokens any more.
func (s *SignIn) tellRevoked(ctx context.Context, t *tokens) (told bool, err error) {
	endpoint, err := s.endpoint(ctx, "revocation")
	if err != nil || endpoint == "" {
		return false, err
	}
	for _, one := range [][2]string{{t.Refresh, "refresh_token"}, {t.Access, "access_token"}} {
		if one[0] == "" {
			continue
		}
		form := url.Values{"token": {one[0]}, "token_type_hint": {one[1]}}
		if _, _, err := s.exchange(ctx, "revocation", form, t.Style); err != nil {
			return told, err
		}
		told = true
	}
	return told, nil
}
