package access

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/provosthq/provost/host"
)

// OpenIDConfig says how people sign in at an OpenID provider.
type OpenIDConfig struct {
	// Label is what the provider is called on the sign-in page.
	Label    string
	Issuer   string
	ClientID string
	// Secret is the client's; nil for a client without.
	Secret func(context.Context) (string, error)
	Scopes []string
	// GroupsClaim has the names of a person's groups, UserClaim the username of
	// the user that the person is.
	GroupsClaim, UserClaim string
	// Client calls the provider.
	Client *http.Client
}

// OpenID is a provider, which is asked for its keys and addresses when the first
// person signs in. It is for many goroutines.
type OpenID struct {
	config OpenIDConfig

	mu       sync.Mutex
	provider *oidc.Provider
}

// NewOpenID makes a provider; it asks nobody yet.
func NewOpenID(c OpenIDConfig) *OpenID { return &OpenID{config: c} }

// Issuer is the provider's name.
func (o *OpenID) Issuer() string { return o.config.Issuer }

// Label is what people call it.
func (o *OpenID) Label() string { return o.config.Label }

// signingIn is what a browser keeps while its person is at the provider.
type signingIn struct {
	State, Nonce, Verifier, Next string
}

const (
	// signingInLasts is how long a person may be at the provider.
	signingInLasts = 10 * time.Minute
	// mostGroups are taken from a provider, each of longestGroup bytes at most.
	mostGroups, longestGroup = 1000, 256
	// OpenIDCallback is where a provider sends people back to.
	OpenIDCallback = "/console/sign-in/callback"
)

// OpenID is the provider that people sign in at; nil for none.
func (g *Gate) OpenID() *OpenID { return g.settings.Load().OpenID }

// BeginOpenID returns the provider's URL that the browser goes to, and gives the
// browser what belongs to it. Afterwards it goes to next, a path of the console.
func (g *Gate) BeginOpenID(w http.ResponseWriter, r *http.Request, then string) (string, error) {
	o := g.OpenID()
	if o == nil {
		return "", host.Errorf(host.NotFound, "nobody signs in at an OpenID provider here; set access.oidc")
	}
	_, client, err := o.client(r.Context(), g.openIDRedirect(r))
	if err != nil {
		return "", err
	}
	in := signingIn{newSecret(), newSecret(), oauth2.GenerateVerifier(), Next(then)}
	b, err := json.Marshal(in)
	if err != nil {
		return "", err
	}
	g.setCookie(w, r, openIDCookie, base64.RawURLEncoding.EncodeToString(b), signingInLasts)
	return client.AuthCodeURL(in.State, oidc.Nonce(in.Nonce), oauth2.S256ChallengeOption(in.Verifier)), nil
}

func (g *Gate) openIDRedirect(r *http.Request) string {
	base := strings.TrimSuffix(g.settings.Load().PublicURL, "/")
	if base == "" || IsLoopback(r.Host) && !g.IsSecure(r) {
		base = "http://" + r.Host
	}
	return base + OpenIDCallback
}

// EndOpenID takes what a browser brings back from the provider, begins a
// session, and returns where to go.
func (g *Gate) EndOpenID(w http.ResponseWriter, r *http.Request) (then string, err error) {
	o, q := g.OpenID(), r.URL.Query()
	var in signingIn
	b, err := base64.RawURLEncoding.DecodeString(g.cookie(r, openIDCookie))
	if err == nil {
		err = json.Unmarshal(b, &in)
	}
	g.setCookie(w, r, openIDCookie, "", 0)
	switch {
	case o == nil:
		return "", host.Errorf(host.NotFound, "nobody signs in at an OpenID provider here; set access.oidc")
	case err != nil || in.State == "" || subtle.ConstantTimeCompare([]byte(in.State), []byte(q.Get("state"))) != 1:
		return "", host.Errorf(host.Unauthorized, "this sign-in was not begun at this browser, or took too long; sign in again")
	case q.Has("iss") && q.Get("iss") != o.config.Issuer: // RFC 9207
		return "", host.Errorf(host.Unauthorized, "another provider answered than was asked; sign in again")
	case q.Get("error") != "":
		return "", host.Errorf(host.Unauthorized, "the provider did not sign you in (%.60q)", q.Get("error"))
	}
	who, err := o.person(r.Context(), g.openIDRedirect(r), q.Get("code"), in)
	if err != nil {
		g.Logger.WarnContext(r.Context(), "a sign-in was refused", "address", r.RemoteAddr, "error", err)
		return "", err
	}
	s := &Session{Identity: Identity{Issuer: o.config.Issuer, Subject: who.subject, Groups: who.groups}, Name: who.name}
	if who.name != "" {
		if err := g.Store.View(r.Context(), func(tx Tx) error {
			u, err := tx.UserByUsername(r.Context(), who.name)
			if err == nil {
				s.UserId, s.Name = u.Id, u.Username
			} else if host.CodeOf(err) == host.NotFound {
				return nil
			}
			return err
		}); err != nil {
			return "", err
		}
	}
	return Next(in.Next), g.begin(w, r, s, func(tx Tx) error { return tx.TellAPITokens(r.Context(), s.Identity, g.Now().UTC()) })
}

// person is who a provider says somebody is.
type person struct {
	subject, name string
	groups        []string
}

// client is the provider, and what we are to it.
func (o *OpenID) client(ctx context.Context, redirect string) (*oidc.Provider, *oauth2.Config, error) {
	provider, err := o.discovered(ctx)
	if err != nil {
		return nil, nil, host.Errorf(host.Unavailable, "the OpenID provider %s can't be asked: %w", o.config.Issuer, err)
	}
	c := &oauth2.Config{ClientID: o.config.ClientID, Endpoint: provider.Endpoint(), RedirectURL: redirect, Scopes: o.config.Scopes}
	if o.config.Secret != nil {
		if c.ClientSecret, err = o.config.Secret(ctx); err != nil {
			return nil, nil, err
		}
	}
	return provider, c, nil
}

func (o *OpenID) discovered(ctx context.Context) (*oidc.Provider, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.provider != nil {
		return o.provider, nil
	}
	// The provider keeps the client of this context for its keys.
	ctx, cancel := context.WithTimeout(oidc.ClientContext(context.WithoutCancel(ctx), o.config.Client), 10*time.Second)
	defer cancel()
	p, err := oidc.NewProvider(ctx, o.config.Issuer)
	if err == nil {
		o.provider = p
	}
	return p, err
}

// person changes a code into who it is of. Whatever is wrong with what the
// provider sends is [host.Unauthorized].
func (o *OpenID) person(ctx context.Context, redirect, code string, in signingIn) (who person, err error) {
	ctx = oidc.ClientContext(ctx, o.config.Client)
	provider, client, err := o.client(ctx, redirect)
	if err != nil {
		return who, err
	}
	refused := func(what string, err error) error {
		return &host.Error{Code: host.Unauthorized, Message: "the provider's answer is not good: " + what + "; sign in again", Err: err}
	}
	token, err := client.Exchange(ctx, code, oauth2.VerifierOption(in.Verifier))
	if err != nil {
		return who, refused("it gives no token", err)
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: o.config.ClientID}).Verify(ctx, raw)
	if err != nil {
		return who, refused("its ID token does not hold", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(in.Nonce)) != 1 {
		return who, refused("its ID token is of another sign-in", nil)
	}
	claims := map[string]any{}
	if err := id.Claims(&claims); err != nil {
		return who, refused("its claims can't be read", err)
	}
	_, named := claims[o.config.UserClaim]
	_, grouped := claims[o.config.GroupsClaim]
	if !named || !grouped {
		// Providers may leave out of the token what they tell when asked.
		if info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(token)); err == nil && info.Subject == id.Subject {
			more := map[string]any{}
			if info.Claims(&more) == nil {
				for name, value := range more {
					if _, there := claims[name]; !there {
						claims[name] = value
					}
				}
			}
		}
	}
	who.subject = id.Subject
	who.name, _ = claims[o.config.UserClaim].(string)
	if o.config.UserClaim == "email" && claims["email_verified"] != true {
		who.name = "" // anybody may say so
	}
	who.groups = texts(claims[o.config.GroupsClaim])
	return who, nil
}

// texts are those of a claim that is a text or a list of texts.
func texts(claim any) (list []string) {
	if text, ok := claim.(string); ok {
		claim = []any{text}
	}
	all, _ := claim.([]any)
	for _, one := range all {
		if text, ok := one.(string); ok && text != "" && len(text) <= longestGroup && len(list) < mostGroups {
			list = append(list, text)
		}
	}
	return list
}
