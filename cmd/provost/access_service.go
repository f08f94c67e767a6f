package main

import (
	"context"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

func (s service) Me(ctx context.Context) (api.Me, error) {
	who := access.SubjectOf(ctx)
	me := api.Me{Kind: who.Kind, Name: who.Name, UserId: who.UserId, Roles: who.Roles(), Apps: who.Apps(), Permissions: []access.Permission{}}
	if me.Roles == nil {
		me.Roles = []string{}
	}
	for _, p := range access.Permissions {
		if who.May(p) {
			me.Permissions = append(me.Permissions, p)
		}
	}
	return me, nil
}

func (s service) Tokens(ctx context.Context) ([]*access.APIToken, error) { return s.gate.Tokens(ctx) }

func (s service) CreateToken(ctx context.Context, spec access.TokenSpec) (api.NewToken, error) {
	t, text, err := s.gate.CreateToken(ctx, spec)
	s.refusedAccess(ctx, host.AuditTokenCreate, "token", spec.Name, err)
	return api.NewToken{APIToken: t, Token: text}, err
}

// refusedAccess notes who tried to give more than he has.
func (s service) refusedAccess(ctx context.Context, action host.AuditAction, kind, name string, err error) {
	if host.CodeOf(err) == host.PermissionDenied {
		s.auditRefused(ctx, action, host.AuditObject{Kind: kind, Name: name}, err, nil)
	}
}

func (s service) RevokeToken(ctx context.Context, name string) error {
	return s.gate.RevokeToken(ctx, name, false)
}

func (s service) OwnTokens(ctx context.Context) ([]*access.APIToken, error) {
	return s.gate.OwnTokens(ctx)
}

func (s service) CreateOwnToken(ctx context.Context, spec access.TokenSpec) (api.NewToken, error) {
	t, text, err := s.gate.CreateOwnToken(ctx, spec)
	s.refusedAccess(ctx, host.AuditTokenCreate, "token", spec.Name, err)
	return api.NewToken{APIToken: t, Token: text}, err
}

func (s service) RevokeOwnToken(ctx context.Context, name string) error {
	return s.gate.RevokeToken(ctx, name, true)
}

func shownAdministrator(a *access.LocalAdministrator) api.Administrator {
	return api.Administrator{LocalAdministrator: a, TOTP: a != nil && a.TOTP != ""}
}

func (s service) Administrators(ctx context.Context) ([]api.Administrator, error) {
	list, err := s.gate.Administrators(ctx)
	shown := make([]api.Administrator, len(list))
	for i, a := range list {
		shown[i] = shownAdministrator(a)
	}
	return shown, err
}

func (s service) CreateAdministrator(ctx context.Context, name, password string) (api.Administrator, error) {
	a, err := s.gate.CreateAdministrator(ctx, name, password)
	s.refusedAccess(ctx, host.AuditAdministratorCreate, "administrator", "new", err)
	return shownAdministrator(a), err
}

func (s service) DeleteAdministrator(ctx context.Context, name string) error {
	return s.gate.DeleteAdministrator(ctx, name)
}

func (s service) ResetPassword(ctx context.Context, name, password string) error {
	return s.gate.ResetPassword(ctx, name, password)
}

func (s service) ResetTOTP(ctx context.Context, name string) error {
	return s.gate.ResetTOTP(ctx, name)
}

func (s service) Sessions(ctx context.Context) ([]api.Session, error) {
	me := access.SubjectOf(ctx)
	list, err := s.gate.Sessions(ctx, !me.MayAt(access.ManageAccess, ""))
	shown := make([]api.Session, len(list))
	for i, one := range list {
		shown[i] = api.Session{Session: one, Own: me.Owns(one.Identity), Current: one.Id == me.SessionId}
	}
	return shown, err
}

func (s service) EndSession(ctx context.Context, id string) error { return s.gate.EndSession(ctx, id) }

func (s service) Assignments(ctx context.Context) ([]*access.Assignment, error) {
	return s.gate.Assignments(ctx)
}

func (s service) AssignRole(ctx context.Context, a access.Assignment) (*access.Assignment, error) {
	made, err := s.gate.AssignRole(ctx, a)
	s.refusedAccess(ctx, host.AuditRoleAssign, "role", a.Role, err)
	return made, err
}

func (s service) UnassignRole(ctx context.Context, id string) error {
	return s.gate.UnassignRole(ctx, id)
}
