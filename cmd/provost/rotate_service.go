package main

import (
	"context"
	"slices"
	"strings"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
)

// RotateCredential changes a secret of a stored credential. The new one is tried
// first; the one before is kept beside it, until the rotation is ended.
func (s service) RotateCredential(ctx context.Context, name string, r api.Rotation) (*api.Rotated, error) {
	done, err := s.rotateCredential(ctx, name, r)
	if err != nil {
		s.auditRefused(ctx, host.AuditCredentialRotate, host.AuditObject{Kind: "credential", Name: name}, err, nil)
	}
	return done, err
}

func (s service) rotateCredential(ctx context.Context, name string, r api.Rotation) (*api.Rotated, error) {
	value := strings.TrimRight(r.Secret, "\r\n")
	if (value == "") == !r.Finish {
		return nil, &host.Error{Code: host.InvalidInput, Field: "secret", Message: "give the new secret, or finish"}
	}
	cfg := s.current.Load().config
	i := slices.IndexFunc(cfg.Credentials, func(c config.Credential) bool { return c.Name == name })
	if i < 0 {
		return nil, host.Errorf(host.NotFound, "no credential named %q   -> provost credential list", name)
	}
	if in := cfg.DeclaredIn("credentials", name); !config.IsStored(in) {
		return nil, host.Errorf(host.Conflict, "the credential %s is declared in %s: rotate it there   -> provost credential rotate %s --secret-file FILE", name, in, name)
	}
	_, before, err := s.settingsWith(ctx, "credentials", name)
	if err != nil {
		return nil, err
	}
	if before == nil {
		return nil, host.Errorf(host.NotFound, "no credential named %q is stored", name)
	}
	entry, err := config.ParseEntry("credentials", "", []byte(before.Document))
	if err != nil {
		return nil, err
	}
	next := namedCredentials(cfg.Credentials[i:i+1], cfg.Proxy)[0]
	at, err := secretToRotate(&next.SignIn, r.Field)
	if err != nil {
		return nil, err
	}
	out := &api.Rotated{Steps: []api.TestStep{}}
	if r.Finish {
		if !entry.EndRotation(at.Path) {
			return nil, host.Errorf(host.Conflict, "%s is in no rotation: it has one secret", name)
		}
	} else {
		if err := s.rotateEntry(ctx, entry, name, at.Path, value); err != nil {
			return nil, err
		}
		at.Ref = secret.Ref{Value: value}
		if shown, err := s.shows(ctx, next, r.Path, out); err != nil || !shown && !r.Force {
			return out, err
		}
	}
	document, err := entry.JSON()
	if err != nil {
		return nil, err
	}
	out.Done = true
	return out, s.putSetting(ctx, host.AuditCredentialRotate, "credentials", name, document, before.Revision)
}

// rotateEntry seals a new secret of an entry, and keeps the one before beside it.
func (s service) rotateEntry(ctx context.Context, entry *config.Entry, name, path, value string) error {
	sealer, err := s.sealerForSettings(ctx)
	if err != nil {
		return err
	}
	binding := signin.Binding(name, path)
	sealed, err := sealer.Seal(secret.New(value), binding)
	if err != nil {
		return err
	}
	return entry.Rotate(path, sealed, func(old string) (string, error) {
		v, err := sealer.Open(old, binding)
		if err != nil {
			return "", err
		}
		return sealer.Seal(v, binding+".previous")
	})
}

// shows tries a credential that does not count yet, and tells whether it is seen
// to work. One that a person authorizes can't be tried without using what he has
// authorized: the next refresh tells.
func (s service) shows(ctx context.Context, next callout.Credential, path string, out *api.Rotated) (bool, error) {
	if next.SignIn.Interactive() {
		return true, nil
	}
	steps, err := s.egress.Try(ctx, next, "", path)
	if err != nil {
		return false, err
	}
	out.Steps = testSteps(steps)
	return callout.Failed(steps) == nil, nil
}

// rotatable are the paths of the secrets of a credential that can be rotated, and
// those of them that are in a rotation.
func (s service) rotatable(name string) (all, rotating []string) {
	cfg := s.current.Load().config
	i := slices.IndexFunc(cfg.Credentials, func(c config.Credential) bool { return c.Name == name })
	if i < 0 {
		return nil, nil
	}
	c := signInOf(cfg.Credentials[i])
	if c.Protocol == signin.AWS { // another key has another id, too
		return nil, nil
	}
	for _, one := range secretsOf(&c) {
		all = append(all, one.Path)
		if one.Ref.Previous != nil {
			rotating = append(rotating, one.Path)
		}
	}
	return all, rotating
}
