package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/provosthq/provost/host/access"
)

// AccessService is what the API needs to say who may do what.
type AccessService interface {
	// Me is who asks.
	Me(ctx context.Context) (Me, error)
	Tokens(ctx context.Context) ([]*access.APIToken, error)
	// CreateToken makes a token, whose text is told this once.
	CreateToken(ctx context.Context, spec access.TokenSpec) (NewToken, error)
	// RevokeToken names a token by id, prefix or name.
	RevokeToken(ctx context.Context, name string) error
	// OwnTokens and the two after it are of the person who asks: such a token may
	// no more than the person may whenever it is used.
	OwnTokens(ctx context.Context) ([]*access.APIToken, error)
	CreateOwnToken(ctx context.Context, spec access.TokenSpec) (NewToken, error)
	RevokeOwnToken(ctx context.Context, name string) error
	Administrators(ctx context.Context) ([]Administrator, error)
	CreateAdministrator(ctx context.Context, name, password string) (Administrator, error)
	// DeleteAdministrator and the two after it name one by id or name.
	DeleteAdministrator(ctx context.Context, name string) error
	ResetPassword(ctx context.Context, name, password string) error
	ResetTOTP(ctx context.Context, name string) error
	// Sessions are those of others, too, where who asks may manage access.
	Sessions(ctx context.Context) ([]Session, error)
	EndSession(ctx context.Context, id string) error
	Assignments(ctx context.Context) ([]*access.Assignment, error)
	AssignRole(ctx context.Context, a access.Assignment) (*access.Assignment, error)
	UnassignRole(ctx context.Context, id string) error
}

// Me is who asks.
type Me struct {
	Kind access.Kind `json:"kind" doc:"owner: on the machine itself; open: nobody can sign in yet; person; token"`
	Name string      `json:"name"`
	// UserId is of the user that a person is.
	UserId      string              `json:"userId,omitempty"`
	Roles       []string            `json:"roles"`
	Permissions []access.Permission `json:"permissions" doc:"Those that it has for at least one app"`
	// Apps are the only ones; without any, all.
	Apps []string `json:"apps,omitempty"`
}

// NewToken is a token with its text.
type NewToken struct {
	*access.APIToken
	Token string `json:"token" doc:"Send it as Authorization: Bearer …; it is told this once"`
}

// Administrator is a local administrator as the API shows it.
type Administrator struct {
	*access.LocalAdministrator
	TOTP bool `json:"totp" doc:"One-time codes are asked for"`
}

// Session is a session as the API shows it.
type Session struct {
	*access.Session
	Own     bool `json:"own" doc:"It is of who asks"`
	Current bool `json:"current" doc:"It is the one that asks"`
}

func accessRoutes(a huma.API, s AccessService) {
	type none struct{}
	type named struct {
		Name string `path:"name" doc:"Id or name"`
	}
	type byID struct {
		ID string `path:"id"`
	}
	done := func(err error) (*none, error) {
		if err != nil {
			return nil, problem(err)
		}
		return nil, nil
	}
	huma.Get(a, "/api/v1/access/me", func(ctx context.Context, _ *none) (*body[Me], error) { return answer(s.Me(ctx)) })
	huma.Get(a, "/api/v1/access/roles", func(context.Context, *none) (*body[[]access.Role], error) { return listed(access.Roles, nil) })

	huma.Get(a, "/api/v1/access/tokens", func(ctx context.Context, _ *none) (*body[[]*access.APIToken], error) { return listed(s.Tokens(ctx)) })
	huma.Post(a, "/api/v1/access/tokens", func(ctx context.Context, in *struct{ Body access.TokenSpec }) (*body[NewToken], error) {
		return answer(s.CreateToken(ctx, in.Body))
	}, created)
	huma.Delete(a, "/api/v1/access/tokens/{name}", func(ctx context.Context, in *named) (*none, error) { return done(s.RevokeToken(ctx, in.Name)) })
	huma.Get(a, "/api/v1/access/me/tokens", func(ctx context.Context, _ *none) (*body[[]*access.APIToken], error) {
		return listed(s.OwnTokens(ctx))
	})
	huma.Post(a, "/api/v1/access/me/tokens", func(ctx context.Context, in *struct{ Body access.TokenSpec }) (*body[NewToken], error) {
		return answer(s.CreateOwnToken(ctx, in.Body))
	}, created)
	huma.Delete(a, "/api/v1/access/me/tokens/{name}", func(ctx context.Context, in *named) (*none, error) { return done(s.RevokeOwnToken(ctx, in.Name)) })

	huma.Get(a, "/api/v1/access/administrators", func(ctx context.Context, _ *none) (*body[[]Administrator], error) {
		return listed(s.Administrators(ctx))
	})
	huma.Post(a, "/api/v1/access/administrators", func(ctx context.Context, in *struct {
		Body struct {
			Name     string `json:"name" minLength:"1" maxLength:"100"`
			Password string `json:"password" format:"password" maxLength:"1024"`
		}
	}) (*body[Administrator], error) {
		return answer(s.CreateAdministrator(ctx, in.Body.Name, in.Body.Password))
	}, created)
	huma.Delete(a, "/api/v1/access/administrators/{name}", func(ctx context.Context, in *named) (*none, error) { return done(s.DeleteAdministrator(ctx, in.Name)) })
	huma.Post(a, "/api/v1/access/administrators/{name}/reset-password", func(ctx context.Context, in *struct {
		named
		Name string `path:"name" doc:"Id or name"`
		Body struct {
			Password string `json:"password" format:"password" maxLength:"1024"`
		}
	}) (*none, error) {
		return done(s.ResetPassword(ctx, in.Name, in.Body.Password))
	})
	huma.Post(a, "/api/v1/access/administrators/{name}/reset-totp", func(ctx context.Context, in *named) (*none, error) { return done(s.ResetTOTP(ctx, in.Name)) })

	huma.Get(a, "/api/v1/access/sessions", func(ctx context.Context, _ *none) (*body[[]Session], error) { return listed(s.Sessions(ctx)) })
	huma.Delete(a, "/api/v1/access/sessions/{id}", func(ctx context.Context, in *byID) (*none, error) { return done(s.EndSession(ctx, in.ID)) })

	huma.Get(a, "/api/v1/access/assignments", func(ctx context.Context, _ *none) (*body[[]*access.Assignment], error) {
		return listed(s.Assignments(ctx))
	})
	huma.Post(a, "/api/v1/access/assignments", func(ctx context.Context, in *struct{ Body NewAssignment }) (*body[*access.Assignment], error) {
		return answer(s.AssignRole(ctx, access.Assignment{Role: in.Body.Role, Apps: in.Body.Apps, User: in.Body.User, Group: in.Body.Group, OIDCGroup: in.Body.OIDCGroup}))
	}, created)
	huma.Delete(a, "/api/v1/access/assignments/{id}", func(ctx context.Context, in *byID) (*none, error) { return done(s.UnassignRole(ctx, in.ID)) })
}

func created(o *huma.Operation) { o.DefaultStatus = http.StatusCreated }

// NewAssignment gives a role to one of User, Group and OIDCGroup.
type NewAssignment struct {
	Role      string   `json:"role" enum:"administrator,app-owner,approver,auditor,operator,read-only"`
	Apps      []string `json:"apps,omitempty" maxItems:"1000" doc:"Only for these apps; an app owner has some"`
	User      string   `json:"user,omitempty" maxLength:"512" doc:"Id or username"`
	Group     string   `json:"group,omitempty" maxLength:"512" doc:"Of the configuration"`
	OIDCGroup string   `json:"oidcGroup,omitempty" maxLength:"256" doc:"That the OpenID provider tells of"`
}
