package callout

import (
	"context"
	"net/url"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
)

func (e *Egress) named(name string) (*credential, error) {
	if c := (*e.current.Load())[name]; c != nil {
		return c, nil
	}
	return nil, host.Errorf(host.NotFound, "no credential named %q   -> provost credential list", clip(name, 80))
}

// Begin begins an authorization in a browser, and returns the URL to open; the
// answer goes to redirect. userID is given where the credential is per user.
func (e *Egress) Begin(ctx context.Context, name, userID, redirect string) (string, error) {
	c, err := e.named(name)
	if err != nil {
		return "", err
	}
	return c.signIn.Begin(ctx, userID, redirect)
}

// Complete ends the authorization that an answer belongs to, and tells of which
// credential it is and who has signed in.
func (e *Egress) Complete(ctx context.Context, answer url.Values) (name, principal string, err error) {
	if e.options.Store == nil {
		return "", "", host.Errorf(host.NotFound, "no authorization was begun here")
	}
	r, err := signin.TakeRequest(ctx, e.options.Store, answer.Get("state"), time.Now())
	if err != nil {
		return "", "", err
	}
	c, err := e.named(r.Credential)
	if err != nil {
		return r.Credential, "", err
	}
	principal, err = c.signIn.Complete(ctx, r, answer)
	return r.Credential, principal, err
}

// Settle looks at a stored authorization that nobody may ask for in a while: see
// [signin.SignIn.Settle]. One of a credential that there is not is left alone.
func (e *Egress) Settle(ctx context.Context, a *host.Authorization) error {
	c, err := e.named(a.Credential)
	if err != nil {
		return nil //nolint:nilerr // it was deleted a moment ago
	}
	return c.signIn.Settle(ctx, a)
}

// Disown tells the server of an authorization that is stored no more; told tells
// whether it knows.
func (e *Egress) Disown(ctx context.Context, a *host.Authorization) (told bool, err error) {
	c, err := e.named(a.Credential)
	if err != nil {
		return false, err
	}
	return c.signIn.Disown(ctx, a)
}

// BeginDevice begins an authorization on another device.
func (e *Egress) BeginDevice(ctx context.Context, name, userID string) (*signin.Device, error) {
	c, err := e.named(name)
	if err != nil {
		return nil, err
	}
	return c.signIn.BeginDevice(ctx, userID)
}

// GrantSecret stores what one user signs in with, where that is no token.
func (e *Egress) GrantSecret(ctx context.Context, name, userID, username string, v secret.Value) error {
	c, err := e.named(name)
	if err != nil {
		return err
	}
	return c.signIn.GrantSecret(ctx, userID, username, v)
}

// Revoke takes an authorization back; told tells whether the server knows.
func (e *Egress) Revoke(ctx context.Context, name, userID string) (told bool, err error) {
	c, err := e.named(name)
	if err != nil {
		return false, err
	}
	return c.signIn.Revoke(ctx, userID, "by "+host.ActorOf(ctx))
}
