package main

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/host/store"
)

// Credentials lists the named credentials, with who uses them and what people
// have authorized.
func (s service) Credentials(ctx context.Context) ([]api.Credential, error) {
	var all []*host.Authorization
	var waiting map[string]int64
	err := s.store.View(ctx, func(t *store.Tx) (err error) {
		if all, err = t.Authorizations(ctx); err == nil {
			waiting, err = t.CountWaiting(ctx)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var list []api.Credential
	for _, c := range s.egress.List() {
		shown := api.Credential{Name: c.Name, Endpoint: c.Endpoint, Protocol: c.Protocol, Identity: "named principal", SecretSet: c.SecretSet}
		switch {
		case c.PerUser:
			shown.Identity = "per user"
		case c.Protocol == string(signin.Anonymous):
			shown.Identity = "anonymous"
		}
		shown.Secrets, shown.Rotating = s.rotatable(c.Name)
		for _, a := range s.current.Load().config.Apps {
			if a.Credential != c.Name {
				continue
			}
			shown.Apps = append(shown.Apps, a.Name)
			shown.Uses = append(shown.Uses, api.CredentialUse{App: a.Name, Connector: a.Plugin})
		}
		own := &host.Authorization{Credential: c.Name}
		for _, a := range all {
			if a.Credential == c.Name && a.State != "" {
				shown.Authorizations = append(shown.Authorizations, a)
				if a.UserId == "" {
					own = a
				}
			}
		}
		for target, n := range waiting {
			if name, _, ok := host.AuthorizationOfTarget(target); ok && name == c.Name {
				shown.Waiting += n
			}
		}
		if c.Interactive && !c.PerUser {
			shown.Wants = own.Wants(now)
		}
		list = append(list, shown)
	}
	return list, nil
}

// userID is the id of a user given by id or username; "" for "".
func (s service) userID(ctx context.Context, idOrName string) (string, error) {
	if idOrName == "" {
		return "", nil
	}
	u, err := s.User(ctx, idOrName)
	if err != nil {
		return "", err
	}
	return u.Id, nil
}

// TestCredential tries a credential step by step.
func (s service) TestCredential(ctx context.Context, name, user, path string) ([]api.TestStep, error) {
	id, err := s.userID(ctx, user)
	if err != nil {
		return nil, err
	}
	steps, err := s.egress.Test(ctx, name, id, path)
	return testSteps(steps), err
}

// Authorize begins an authorization. On another device the daemon itself asks
// whether it was given.
func (s service) Authorize(ctx context.Context, name string, o api.AuthorizeOptions) (*api.Authorizing, error) {
	id, err := s.userID(ctx, o.User)
	if err != nil {
		return nil, err
	}
	begun := &api.Authorizing{}
	err = s.store.View(ctx, func(t *store.Tx) error {
		a, err := t.Authorization(ctx, name, id, false)
		begun.Generation = a.Generation
		return err
	})
	if err != nil {
		return nil, err
	}
	cfg := s.current.Load().config
	i := slices.IndexFunc(cfg.Credentials, func(c config.Credential) bool { return c.Name == name })
	if i < 0 {
		return nil, host.Errorf(host.NotFound, "no credential named %q   -> provost credential list", name)
	}
	grant := signInOf(cfg.Credentials[i]).OAuth2.Grant
	switch {
	case o.Secret != "":
		return nil, s.egress.GrantSecret(ctx, name, id, o.Username, secret.New(o.Secret))
	case grant == signin.DeviceCode:
		device, err := s.egress.BeginDevice(ctx, name, id)
		if err != nil {
			return nil, err
		}
		begun.URL, begun.UserCode, begun.Expires = device.VerificationURL, device.UserCode, device.Expires
		if device.Complete != "" {
			begun.URL = device.Complete
		}
		s.background(ctx, func(ctx context.Context) {
			if _, err := device.Wait(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "not authorized", "credential", name, "error", err)
			}
		})
		return begun, nil
	default:
		if u, err := url.Parse(cfg.Listen.PublicURL); err != nil || u.Port() == "0" {
			return nil, host.Errorf(host.InvalidInput, "browsers must find the way back: set listen.public_url, or a port in listen.api")
		}
		begun.Expires = time.Now().Add(15 * time.Minute)
		begun.URL, err = s.egress.Begin(ctx, name, id, cfg.Listen.PublicURL+api.CallbackPath)
		return begun, err
	}
}

// CompleteAuthorization ends an authorization in the browser.
func (s service) CompleteAuthorization(ctx context.Context, answer url.Values) (credential, principal string, err error) {
	credential, principal, err = s.egress.Complete(ctx, answer)
	if err != nil {
		s.log.WarnContext(ctx, "not authorized", "credential", credential, "error", err)
	}
	if err != nil && credential != "" { // it was begun here; anybody can send what was not
		s.auditRefused(auditedAs(ctx, "browser"), host.AuditCredentialAuthorize, host.AuditObject{Kind: "credential", Name: credential}, err, nil)
	}
	return credential, principal, err
}

// RevokeCredential takes an authorization back.
func (s service) RevokeCredential(ctx context.Context, name, user string) (string, error) {
	id, err := s.userID(ctx, user)
	if err != nil {
		return "", err
	}
	told, err := s.egress.Revoke(ctx, name, id)
	switch {
	case host.CodeOf(err) == host.NotFound:
		return "", err
	case err != nil:
		return "", host.Errorf(host.CodeOf(err), "the authorization of %s is gone here, but its server could not be told: %w; revoke it there too", name, err)
	case told:
		return "revoked, here and at its server", nil
	default:
		return "revoked here; its server has no way to be told, so take the grant back there too", nil
	}
}

// ForgetCredential takes back all that people have authorized for a credential,
// at its server where that can be, and drops it.
func (s service) ForgetCredential(ctx context.Context, name string) error {
	var all []*host.Authorization
	if err := s.store.View(ctx, func(t *store.Tx) (err error) {
		all, err = t.Authorizations(ctx)
		return err
	}); err != nil {
		return err
	}
	for _, a := range all {
		if a.Credential != name || a.Sealed == "" {
			continue
		}
		if _, err := s.egress.Revoke(ctx, name, a.UserId); err != nil {
			s.log.WarnContext(ctx, "the server could not be told that an authorization is taken back", "credential", name, "user", a.UserId, "error", err)
		}
	}
	return s.store.Update(ctx, func(t *store.Tx) error {
		if err := t.DeleteAuthorizations(ctx, name); err != nil {
			return err
		}
		return s.audit(ctx, t, host.AuditCredentialForget, host.AuditObject{Kind: "credential", Name: name}, nil)
	})
}

// authorized tells of each credential that one person authorizes whether it can
// be used.
func (d *daemon) authorized(ctx context.Context, t *store.Tx) (map[string]bool, error) {
	out := map[string]bool{}
	for _, c := range d.egress.List() {
		if !c.Interactive || c.PerUser {
			continue
		}
		a, err := t.Authorization(ctx, c.Name, "", false)
		if err != nil {
			return nil, err
		}
		out[c.Name] = a.Usable(time.Now())
	}
	return out, nil
}

// background does something that outlives the call that began it, until the
// daemon stops.
func (d *daemon) background(ctx context.Context, do func(context.Context)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(d.life, cancel)
	d.chores.Go(func() {
		defer cancel()
		defer stop()
		do(ctx)
	})
}

// settleEvery is how often it is looked whether a refresh was cut off.
const settleEvery = 5 * time.Second

// settle tells of what became of authorizations, although nobody asks for them.
func (d *daemon) settle(ctx context.Context) error {
	var list []*host.Authorization
	if err := d.store.View(ctx, func(t *store.Tx) (err error) {
		list, err = t.Authorizations(ctx)
		return err
	}); err != nil {
		return err
	}
	var errs []error
	for _, a := range list {
		if err := d.egress.Settle(ctx, a); err != nil {
			errs = append(errs, host.Errorf(host.CodeOf(err), "the authorization of %s: %w", a.Credential, err))
		}
	}
	return errors.Join(errs...)
}

// resealEvery is how often it is looked whether a secret is sealed with an old
// key.
const resealEvery = 10 * time.Minute

// reseal seals with the present key what is stored and sealed with an older one.
func (d *daemon) reseal(ctx context.Context) error {
	sealer := d.sealer.Load()
	if sealer == nil {
		return nil
	}
	var list []*host.Authorization
	if err := d.store.View(ctx, func(t *store.Tx) (err error) {
		list, err = t.Authorizations(ctx)
		return err
	}); err != nil {
		return err
	}
	n := 0
	for _, old := range list {
		if old.Sealed == "" || old.SealedWith == sealer.KeyID() {
			continue
		}
		err := d.store.Update(ctx, func(t *store.Tx) error {
			a, err := t.Authorization(ctx, old.Credential, old.UserId, true)
			if err != nil || a.Sealed == "" {
				return err
			}
			next, same, err := sealer.Reseal(a.Sealed, signin.AuthorizationBinding(a))
			if err != nil || same {
				return err
			}
			a.Sealed, a.SealedWith = next, sealer.KeyID()
			if err := t.PutAuthorization(ctx, a); err != nil {
				return err
			}
			return d.audit(ctx, t, host.AuditCredentialReseal, host.AuditObject{Kind: "credential", Name: a.Credential}, map[string]string{"user": a.UserId})
		})
		if err != nil {
			return host.Errorf(host.CodeOf(err), "the authorization of %s: %w", old.Credential, err)
		}
		n++
	}
	if n > 0 {
		d.log.InfoContext(ctx, "sealed anew with the present key", "authorizations", n, "key", sealer.KeyID())
	}
	return d.resealSettings(ctx, sealer)
}

// resealSettings seals anew what stands in stored credentials. What they say is
// the same, so their revisions stay.
func (d *daemon) resealSettings(ctx context.Context, sealer *secret.Sealer) error {
	return d.store.Update(ctx, func(t *store.Tx) error {
		if _, err := t.HoldSettings(ctx); err != nil {
			return err
		}
		list, _, err := t.Settings(ctx)
		if err != nil {
			return err
		}
		for _, one := range list {
			entry, err := config.ParseEntry(one.List, "", []byte(one.Document))
			if err != nil {
				return err
			}
			changed := false
			if err := entry.Reseal(func(path, sealed string) (string, error) {
				next, same, err := sealer.Reseal(sealed, signin.Binding(one.Name, path))
				changed = changed || !same
				return next, err
			}); err != nil {
				return host.Errorf(host.CodeOf(err), "the %s %s: %w", nouns[one.List], one.Name, err)
			}
			if !changed {
				continue
			}
			text, err := entry.JSON()
			if err != nil {
				return err
			}
			one.Document = string(text)
			if err := t.PutSetting(ctx, one); err != nil {
				return err
			}
			if err := d.audit(ctx, t, host.AuditCredentialReseal, host.AuditObject{Kind: nouns[one.List], Name: one.Name}, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// checkKeys tells whether all that is stored can be opened: without its key it
// is better not to begin.
func (d *daemon) checkKeys(ctx context.Context, sealer *secret.Sealer) error {
	var missing []string
	err := d.store.View(ctx, func(t *store.Tx) error {
		list, err := t.Authorizations(ctx)
		missing = nil
		for _, a := range list {
			if a.Sealed != "" && (sealer == nil || !sealer.Knows(a.SealedWith)) && !slices.Contains(missing, a.SealedWith) {
				missing = append(missing, a.SealedWith)
			}
		}
		return err
	})
	if err == nil && len(missing) > 0 {
		e := host.Errorf(host.InvalidInput, "the database has authorizations that are sealed with the key %s, which is not here: give that key back (an identity file may have several, the newest first), or drop them: provost credential forget --lost-keys", strings.Join(missing, ", "))
		e.Field = "secrets"
		return e
	}
	return err
}
