package access

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"image/png"
	"net/http"
	"slices"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/provosthq/provost/host"
)

// CreateAdministrator makes a local administrator.
func (g *Gate) CreateAdministrator(ctx context.Context, name, password string) (*LocalAdministrator, error) {
	if err := mayGive(ctx, Right{Role: Administrator}); err != nil {
		return nil, err
	}
	a, err := g.newAdministrator(ctx, name, password)
	if err != nil {
		return nil, err
	}
	err = g.Store.Update(ctx, func(tx Tx) error { return g.insertAdministrator(ctx, tx, a) })
	if err == nil {
		err = g.dropBootstrap()
	}
	return a, err
}

// mayGive refuses to let somebody give more than he has.
func mayGive(ctx context.Context, rights ...Right) error {
	s := SubjectOf(ctx)
	for _, g := range rights {
		if !s.Covers(g) {
			return host.Errorf(host.PermissionDenied, "nobody gives more than he may himself")
		}
	}
	return nil
}

// Administrators are the local ones, by name.
func (g *Gate) Administrators(ctx context.Context) (list []*LocalAdministrator, err error) {
	err = g.Store.View(ctx, func(tx Tx) error {
		list, err = tx.Administrators(ctx)
		return err
	})
	return list, err
}

// DeleteAdministrator takes a local administrator away, with all sessions. The
// last one stays where nobody else could sign in.
func (g *Gate) DeleteAdministrator(ctx context.Context, idOrName string) error {
	return g.changeAdministrator(ctx, idOrName, host.AuditAdministratorDelete, func(tx Tx, a *LocalAdministrator) error {
		list, err := tx.Administrators(ctx)
		if err != nil {
			return err
		}
		if len(list) == 1 && g.settings.Load().OpenID == nil {
			return host.Errorf(host.Conflict, "%s is the last who can sign in; make another first", a.Name)
		}
		return tx.DeleteAdministrator(ctx, a.Id)
	})
}

// ResetPassword gives a local administrator another password. All sessions end,
// and the administrator's tokens; and one-time codes are not asked for any more:
// their secret is sealed with the password.
func (g *Gate) ResetPassword(ctx context.Context, idOrName, password string) error {
	if err := checkNewPassword(idOrName, password); err != nil {
		return err
	}
	hash, _, err := g.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	return g.changeAdministrator(ctx, idOrName, host.AuditAdministratorPassword, func(tx Tx, a *LocalAdministrator) error {
		a.Password, a.TOTP, a.TOTPUsed, a.Recovery = hash, "", 0, nil
		if err := tx.UpdateAdministrator(ctx, a); err != nil {
			return err
		}
		return errors.Join(tx.DeleteAPITokensOf(ctx, a.Id), g.endSessionsOf(ctx, tx, a.Id))
	})
}

// ResetTOTP stops asking a local administrator for one-time codes. All sessions
// end.
func (g *Gate) ResetTOTP(ctx context.Context, idOrName string) error {
	return g.changeAdministrator(ctx, idOrName, host.AuditAdministratorTOTP, func(tx Tx, a *LocalAdministrator) error {
		a.TOTP, a.TOTPUsed, a.Recovery = "", 0, nil
		if err := tx.UpdateAdministrator(ctx, a); err != nil {
			return err
		}
		return g.endSessionsOf(ctx, tx, a.Id)
	})
}

func (g *Gate) changeAdministrator(ctx context.Context, idOrName string, action host.AuditAction, do func(Tx, *LocalAdministrator) error) error {
	if err := mayGive(ctx, Right{Role: Administrator}); err != nil {
		return err
	}
	return g.Store.Update(ctx, func(tx Tx) error {
		if err := tx.LockAccess(ctx); err != nil {
			return err
		}
		a, err := tx.Administrator(ctx, idOrName)
		if err != nil {
			return err
		}
		if err := do(tx, a); err != nil {
			return err
		}
		return tx.Audit(ctx, action, administratorObject(a), nil)
	})
}

func (g *Gate) endSessionsOf(ctx context.Context, tx Tx, administratorID string) error {
	list, err := tx.Sessions(ctx)
	for _, s := range list {
		if err == nil && s.AdministratorId == administratorID && s.Id != SubjectOf(ctx).session() {
			err = g.endSession(ctx, tx, s, "")
		}
	}
	return err
}

// session is that of s; it stays where the person changes something of himself.
func (s *Subject) session() string {
	if s == nil {
		return ""
	}
	return s.SessionId
}

// OwnPassword changes the password of who asks, a local administrator, who must
// know the present one. One-time codes stay; other browsers are signed out, and
// this one gets another secret.
func (g *Gate) OwnPassword(w http.ResponseWriter, r *http.Request, present, next string) error {
	ctx := r.Context()
	if err := checkNewPassword(SubjectOf(ctx).Name, next); err != nil {
		return err
	}
	hash, fresh, err := g.hasher.hash(ctx, next)
	if err != nil {
		return err
	}
	err = g.changeOwn(ctx, present, host.AuditAdministratorPassword, func(tx Tx, a *LocalAdministrator, old derived) error {
		if a.TOTP != "" {
			secret, err := unseal(old.key, a.TOTP, a.Id)
			if err != nil {
				return err
			}
			a.TOTP = seal(fresh.key, secret, a.Id)
		}
		a.Password = hash
		return g.endSessionsOf(ctx, tx, a.Id)
	})
	if err != nil {
		return err
	}
	return g.renewOwn(w, r)
}

// Enrolment is what a person puts into an app that makes one-time codes.
type Enrolment struct {
	// Secret is the text of it, Image the same as the data URL of a picture.
	Secret, Image string
}

// BeginTOTP makes a secret of one-time codes, which counts once [Gate.EnableTOTP]
// has it.
func (g *Gate) BeginTOTP(ctx context.Context) (Enrolment, error) {
	secret := make([]byte, 20)
	_, _ = rand.Read(secret) // it never fails
	return g.DrawTOTP(ctx, base32.StdEncoding.EncodeToString(secret))
}

// DrawTOTP shows a secret of [Gate.BeginTOTP] again.
func (g *Gate) DrawTOTP(ctx context.Context, secret string) (e Enrolment, err error) {
	raw, err := base32.StdEncoding.DecodeString(secret)
	if err != nil || len(raw) != 20 {
		return e, host.Errorf(host.InvalidInput, "this is no secret of one-time codes; begin again")
	}
	key, err := totp.Generate(totp.GenerateOpts{Issuer: "Provost", AccountName: SubjectOf(ctx).Name, Secret: raw})
	if err != nil {
		return e, fmt.Errorf("make a secret of one-time codes: %w", err)
	}
	picture, err := key.Image(240, 240)
	if err != nil {
		return e, fmt.Errorf("draw the secret of one-time codes: %w", err)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		return e, fmt.Errorf("draw the secret of one-time codes: %w", err)
	}
	return Enrolment{Secret: key.Secret(), Image: "data:image/png;base64," + base64.StdEncoding.EncodeToString(b.Bytes())}, nil
}

// EnableTOTP asks for one-time codes of a secret from now on, once code shows
// that the person has it. The recovery codes are shown once. The browser gets
// another secret.
func (g *Gate) EnableTOTP(w http.ResponseWriter, r *http.Request, password, secret, code string) (recovery []string, err error) {
	ctx := r.Context()
	err = g.changeOwn(ctx, password, host.AuditAdministratorTOTP, func(_ Tx, a *LocalAdministrator, d derived) error {
		at, err := codeStep(secret, code, g.Now(), 0)
		if err != nil || at == 0 {
			return &host.Error{Code: host.InvalidInput, Field: "code", Message: "this is not the code that the app shows now; is its clock right?"}
		}
		var digests []string
		recovery, digests = newRecovery()
		a.TOTP, a.TOTPUsed, a.Recovery = seal(d.key, secret, a.Id), at, digests
		return nil
	})
	if err != nil {
		return nil, err
	}
	return recovery, g.renewOwn(w, r)
}

// changeOwn changes the account of who asks, who must know the password: a
// session alone, at a browser that somebody left, is not enough.
func (g *Gate) changeOwn(ctx context.Context, password string, action host.AuditAction, do func(Tx, *LocalAdministrator, derived) error) error {
	s := SubjectOf(ctx)
	if s == nil || s.AdministratorId == "" || s.Kind != Person {
		return host.Errorf(host.Unsupported, "only a local administrator has a password here")
	}
	own := pace{key: "own " + s.AdministratorId, free: 5, longest: time.Minute}
	if err := g.try(ctx, own); err != nil {
		return err
	}
	var a *LocalAdministrator
	if err := g.Store.View(ctx, func(tx Tx) (err error) {
		a, err = tx.Administrator(ctx, s.AdministratorId)
		return err
	}); err != nil {
		return err
	}
	ok, d, err := g.hasher.check(ctx, true, password, a.Password)
	if err != nil {
		return err
	}
	if !ok {
		return &host.Error{Code: host.InvalidInput, Field: "password", Message: "this is not your present password"}
	}
	g.succeeded(ctx, own)
	return g.Store.Update(ctx, func(tx Tx) error {
		if err := tx.LockAccess(ctx); err != nil {
			return err
		}
		fresh, err := tx.Administrator(ctx, a.Id)
		if err != nil {
			return err
		}
		if fresh.Password != a.Password {
			return host.Errorf(host.Conflict, "the password was changed meanwhile; sign in again")
		}
		if err := do(tx, fresh, d); err != nil {
			return err
		}
		if err := tx.UpdateAdministrator(ctx, fresh); err != nil {
			return err
		}
		return tx.Audit(ctx, action, administratorObject(fresh), nil)
	})
}

// Sessions are those that last, the last used first; with own only those of who
// asks.
func (g *Gate) Sessions(ctx context.Context, own bool) (list []*Session, err error) {
	err = g.Store.View(ctx, func(tx Tx) error {
		list, err = tx.Sessions(ctx)
		return err
	})
	now, me, idle := g.Now(), SubjectOf(ctx), g.settings.Load().Idle
	return slices.DeleteFunc(list, func(s *Session) bool {
		return !now.Before(s.ExpiresDate) || now.Sub(s.LastDate) > idle || own && !me.Owns(s.Identity)
	}), err
}

// EndSession ends a session: one's own, which a token of one can't, or with
// ManageAccess anybody's.
func (g *Gate) EndSession(ctx context.Context, id string) error {
	me := SubjectOf(ctx)
	return g.Store.Update(ctx, func(tx Tx) error {
		list, err := tx.Sessions(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list, func(s *Session) bool { return s.Id == id })
		if i < 0 || me == nil || !me.MayAt(ManageAccess, "") && (me.TokenId != "" || !me.Owns(list[i].Identity)) {
			return host.Errorf(host.NotFound, "there is no session %q", id)
		}
		return g.endSession(ctx, tx, list[i], "")
	})
}

// Assignments are the roles that people have: those of the configuration, then
// those that are stored.
func (g *Gate) Assignments(ctx context.Context) (list []*Assignment, err error) {
	for _, a := range g.settings.Load().Assigned {
		declared := *a
		declared.Declared = true
		list = append(list, &declared)
	}
	err = g.Store.View(ctx, func(tx Tx) error {
		stored, err := tx.Assignments(ctx)
		list = append(list, stored...)
		return err
	})
	return list, err
}

// AssignRole gives a role. A user may be named by id or username.
func (g *Gate) AssignRole(ctx context.Context, a Assignment) (*Assignment, error) {
	a.Id, a.CreatedBy, a.CreatedDate, a.Declared = host.NewID(), host.ActorOf(ctx), g.Now().UTC(), false
	if err := CheckAssignment(&a); err != nil {
		return nil, err
	}
	if err := mayGive(ctx, Right{Role: a.Role, Apps: a.Apps}); err != nil {
		return nil, err
	}
	return &a, g.Store.Update(ctx, func(tx Tx) error {
		if err := tx.LockAccess(ctx); err != nil {
			return err
		}
		if a.User != "" {
			u, err := tx.User(ctx, a.User)
			if host.CodeOf(err) == host.NotFound {
				u, err = tx.UserByUsername(ctx, a.User)
			}
			if err != nil {
				return err
			}
			a.User = u.Id
		}
		if err := tx.InsertAssignment(ctx, &a); err != nil {
			return err
		}
		return tx.Audit(ctx, host.AuditRoleAssign, host.AuditObject{Kind: "role", Name: a.Role}, a.told())
	})
}

// CheckAssignment refuses what is no assignment.
func CheckAssignment(a *Assignment) error {
	var whom []string
	for _, name := range []string{a.User, a.Group, a.OIDCGroup} {
		if name != "" {
			whom = append(whom, name)
		}
	}
	if len(whom) != 1 {
		return host.Errorf(host.InvalidInput, "a role is given to one of user, group and oidcGroup; here are %d", len(whom))
	}
	if err := checkRight(Right{Role: a.Role, Apps: a.Apps}); err != nil {
		return &host.Error{Code: host.InvalidInput, Field: "role", Message: err.Error()}
	}
	return nil
}

func (a *Assignment) told() map[string]any {
	return map[string]any{"apps": a.Apps, "user": a.User, "group": a.Group, "oidcGroup": a.OIDCGroup}
}

// UnassignRole takes a role back that was given by [Gate.AssignRole].
func (g *Gate) UnassignRole(ctx context.Context, id string) error {
	return g.Store.Update(ctx, func(tx Tx) error {
		list, err := tx.Assignments(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list, func(a *Assignment) bool { return a.Id == id })
		if i < 0 {
			return host.Errorf(host.NotFound, "no such role was given; what the configuration gives is taken back there")
		}
		if err := tx.DeleteAssignment(ctx, id); err != nil {
			return err
		}
		return tx.Audit(ctx, host.AuditRoleUnassign, host.AuditObject{Kind: "role", Name: list[i].Role}, list[i].told())
	})
}
