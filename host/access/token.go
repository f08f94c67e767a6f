package access

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
)

// TokenSpec says what token is wanted.
type TokenSpec struct {
	Name   string    `json:"name" minLength:"1" maxLength:"100"`
	Rights []Right   `json:"rights" minItems:"1" maxItems:"50"`
	Until  time.Time `json:"until" doc:"When it expires; access.tokens.lifetime of the configuration bounds it, a year without"`
}

// mostTokens is how many a person may have.
const mostTokens = 100

// CreateToken makes a token for the host, which outlasts who makes it, but not a
// person's token that it is made with. The text is shown this once.
func (g *Gate) CreateToken(ctx context.Context, spec TokenSpec) (*APIToken, string, error) {
	me := SubjectOf(ctx)
	return g.newToken(ctx, spec, func(tx Tx, t *APIToken) error {
		if !me.isPerson() || me.TokenId == "" {
			return nil
		}
		parent, err := tx.APIToken(ctx, me.TokenId)
		if err != nil {
			return err
		}
		return lastsWith(parent, t)
	})
}

// CreateOwnToken makes a token of the person who asks, which may no more than
// that person may whenever it is used. One that is made with another token of
// the person ends with it, and makes none.
func (g *Gate) CreateOwnToken(ctx context.Context, spec TokenSpec) (*APIToken, string, error) {
	me := SubjectOf(ctx)
	if !me.isPerson() {
		return nil, "", host.Errorf(host.Unsupported, "this is for people who have signed in: who asks is no person; make a token for the host")
	}
	return g.newToken(ctx, spec, func(tx Tx, t *APIToken) error {
		if me.SessionId != "" {
			session, err := tx.Session(ctx, me.SessionId)
			if err != nil {
				return err
			}
			t.Identity, t.ToldDate, t.SessionId = session.Identity, &session.CreatedDate, session.Id
		} else {
			parent, err := tx.APIToken(ctx, me.TokenId)
			if err != nil {
				return err
			}
			if parent.ParentId != "" {
				return host.Errorf(host.PermissionDenied, "a token that was made with a token makes none; use the one that it was made with")
			}
			if err := lastsWith(parent, t); err != nil {
				return err
			}
			t.Identity, t.ToldDate, t.SessionId, t.ParentId = parent.Identity, parent.ToldDate, parent.SessionId, parent.Id
		}
		list, err := tx.APITokens(ctx)
		if err != nil {
			return err
		}
		lasting := slices.DeleteFunc(ownTokens(list, me), func(t *APIToken) bool { return !g.Now().Before(t.ExpiresDate) })
		if len(lasting) >= mostTokens {
			return host.Errorf(host.Conflict, "you have %d tokens already; revoke some", len(lasting))
		}
		return nil
	})
}

// lastsWith refuses a token that would outlast the one that it is made with.
func lastsWith(parent, t *APIToken) error {
	if t.ExpiresDate.After(parent.ExpiresDate) {
		return &host.Error{Code: host.InvalidInput, Field: "until", Message: "it can't last longer than the token that it is made with: " + parent.ExpiresDate.Format(time.RFC3339)}
	}
	return nil
}

// isPerson tells whether it is a person who asks, or a token of one.
func (s *Subject) isPerson() bool {
	return s != nil && (s.Kind == Person || s.Kind == Token) && (s.AdministratorId != "" || s.Subject != "")
}

func ownTokens(list []*APIToken, me *Subject) []*APIToken {
	return slices.DeleteFunc(slices.Clone(list), func(t *APIToken) bool { return !t.IsSet() || !me.Owns(t.Identity) })
}

// revocable are those of a person's tokens that who asks may revoke: all of them,
// or, with a token, it and those that were made with it.
func revocable(list []*APIToken, me *Subject) []*APIToken {
	return slices.DeleteFunc(ownTokens(list, me), func(t *APIToken) bool { return me.TokenId != "" && t.Id != me.TokenId && t.ParentId != me.TokenId })
}

// newToken makes a token; of says whose it is.
func (g *Gate) newToken(ctx context.Context, spec TokenSpec, of func(Tx, *APIToken) error) (t *APIToken, text string, err error) {
	now := g.Now().UTC()
	name, err := checkedName(spec.Name)
	if err != nil {
		return nil, "", err
	}
	field := func(field, format string, args ...any) error {
		return &host.Error{Code: host.InvalidInput, Field: field, Message: fmt.Sprintf(format, args...)}
	}
	switch longest := g.settings.Load().TokenLifetime; {
	case !spec.Until.After(now):
		return nil, "", field("until", "the token would have expired already")
	case spec.Until.After(now.Add(longest + time.Minute)): // whose clock is a little ahead
		return nil, "", field("until", "a token lasts for %s at most", daysOf(longest))
	case len(spec.Rights) == 0:
		return nil, "", field("rights", "the token would be for nothing; give a role or permissions")
	}
	for i, right := range spec.Rights {
		if err := checkRight(right); err != nil {
			return nil, "", field(fmt.Sprintf("rights[%d]", i), "%s", err)
		}
	}
	if err := mayGive(ctx, spec.Rights...); err != nil {
		return nil, "", err
	}
	prefix, secret := newSecret()[:prefixLength], newSecret()
	t = &APIToken{Id: host.NewID(), Name: name, Prefix: prefix, Digest: digest(secret), Rights: spec.Rights,
		CreatedBy: host.ActorOf(ctx), CreatedDate: now, ExpiresDate: spec.Until.UTC().Truncate(time.Second)}
	err = g.Store.Update(ctx, func(tx Tx) error {
		if err := tx.LockAccess(ctx); err != nil {
			return err
		}
		if err := of(tx, t); err != nil {
			return err
		}
		if err := tx.InsertAPIToken(ctx, t); err != nil {
			return err
		}
		return tx.Audit(ctx, host.AuditTokenCreate, host.AuditObject{Kind: "token", Name: t.Prefix}, map[string]any{"rights": t.Rights, "until": t.ExpiresDate, "own": t.IsSet()})
	})
	if err != nil {
		return nil, "", err
	}
	return t, tokenStart + prefix + "_" + secret, nil
}

// daysOf is a time as people say it.
func daysOf(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.String()
}

// Bounds of the apps of a right: how many, and the bytes of each name.
const (
	mostApps   = 1000
	longestApp = 200
)

// checkRight refuses what is no right.
func checkRight(g Right) error {
	role, ok := RoleNamed(g.Role)
	for i, p := range g.Permissions {
		switch {
		case !IsPermission(p):
			return fmt.Errorf("there is no permission %.60q", p)
		case slices.Contains(g.Permissions[:i], p):
			return fmt.Errorf("the permission %q stands there twice", p)
		}
	}
	if len(g.Apps) > mostApps {
		return fmt.Errorf("names more than %d apps", mostApps)
	}
	if i := slices.IndexFunc(g.Apps, func(app string) bool { return app == "" || len(app) > longestApp }); i >= 0 {
		return fmt.Errorf("there is no app %.60q", g.Apps[i])
	}
	switch {
	case g.Role != "" && !ok:
		return fmt.Errorf("there is no role %q", g.Role)
	case (g.Role == "") == (len(g.Permissions) == 0):
		return fmt.Errorf("give a role or permissions, and not both")
	case role.ByApp && len(g.Apps) == 0:
		return fmt.Errorf("the role %s is for apps; name them", g.Role)
	case g.Apps != nil && len(g.Apps) == 0:
		return fmt.Errorf("names no app; leave apps out for all")
	}
	return nil
}

// Tokens are all of them, the newest first.
func (g *Gate) Tokens(ctx context.Context) (list []*APIToken, err error) {
	err = g.Store.View(ctx, func(tx Tx) error {
		list, err = tx.APITokens(ctx)
		return err
	})
	return list, err
}

// OwnTokens are those of the person who asks, the newest first.
func (g *Gate) OwnTokens(ctx context.Context) ([]*APIToken, error) {
	list, err := g.Tokens(ctx)
	return ownTokens(list, SubjectOf(ctx)), err
}

// RevokeToken ends a token, which is named by id, prefix or name, and those that
// were made with it; with own only one of the person who asks.
func (g *Gate) RevokeToken(ctx context.Context, name string, own bool) error {
	return g.Store.Update(ctx, func(tx Tx) error {
		if err := tx.LockAccess(ctx); err != nil { // nobody makes another with it meanwhile
			return err
		}
		list, err := tx.APITokens(ctx)
		if err != nil {
			return err
		}
		if own {
			list = revocable(list, SubjectOf(ctx))
		}
		is := func(t *APIToken) bool { return t.Id == name || t.Prefix == strings.TrimPrefix(name, tokenStart) }
		i := slices.IndexFunc(list, is)
		if i < 0 {
			named := slices.DeleteFunc(slices.Clone(list), func(t *APIToken) bool { return t.Name != name })
			switch len(named) {
			case 0:
				return host.Errorf(host.NotFound, "there is no token %q", name)
			case 1:
				i = slices.Index(list, named[0])
			default:
				return host.Errorf(host.Conflict, "%d tokens are named %q; name the prefix", len(named), name)
			}
		}
		if err := tx.DeleteAPIToken(ctx, list[i].Id); err != nil {
			return err
		}
		return tx.Audit(ctx, host.AuditTokenRevoke, host.AuditObject{Kind: "token", Name: list[i].Prefix}, nil)
	})
}
