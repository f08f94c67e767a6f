package access

import (
	"context"
	"slices"

	"github.com/provosthq/provost/host"
)

// Kind says what a subject is.
type Kind string

const (
	// Owner asks on the socket, or in the daemon's own process: whoever may read
	// the data may do all, and says who it is.
	Owner Kind = "owner"
	// Open asks at a loopback address while nobody can sign in yet.
	Open Kind = "open"
	// Person has signed in.
	Person Kind = "person"
	// Token is a program: for the host, or in the name of a person.
	Token Kind = "token"
)

// Right is a role, or permissions, for some apps or for the whole host.
type Right struct {
	// Role is a name of [Roles]; empty where Permissions are given themselves.
	Role        string       `json:"role,omitempty"`
	Permissions []Permission `json:"permissions,omitempty"`
	// Apps are names of apps; nil is the whole host, with what belongs to no app.
	Apps []string `json:"apps,omitempty"`
}

// has tells whether the right has a permission.
func (g Right) has(p Permission) bool {
	r, _ := RoleNamed(g.Role)
	return slices.Contains(g.Permissions, p) || slices.Contains(r.Permissions, p)
}

// covers tells whether the right is for an app; the empty app is the whole host.
func (g Right) covers(app string) bool {
	return g.Apps == nil || app != "" && slices.Contains(g.Apps, app)
}

// common are what both of two lists of rights give.
func common(some, others []Right) (both []Right) {
	for _, a := range some {
		for _, b := range others {
			r := Right{Apps: a.Apps}
			switch {
			case a.Apps == nil:
				r.Apps = b.Apps
			case b.Apps != nil:
				r.Apps = slices.DeleteFunc(slices.Clone(a.Apps), func(app string) bool { return !slices.Contains(b.Apps, app) })
			}
			for _, p := range Permissions {
				if a.has(p) && b.has(p) {
					r.Permissions = append(r.Permissions, p)
				}
			}
			if role, ok := RoleNamed(a.Role); ok && len(role.Permissions) == len(r.Permissions) {
				r.Role, r.Permissions = a.Role, nil // all of it
			}
			if (r.Role != "" || r.Permissions != nil) && (r.Apps == nil || len(r.Apps) > 0) {
				both = append(both, r)
			}
		}
	}
	return both
}

// Subject is who asks. It is never changed once it is in a context.
type Subject struct {
	Kind Kind
	// Name is for people to read: a username, a token's name.
	Name string
	// UserId is of the user that a person is; empty for none.
	UserId string
	// SessionId is of the session of a person, TokenId of the token of a program;
	// each is empty for others.
	SessionId, TokenId string
	// AdministratorId is of a local administrator, Subject what an OpenID provider
	// calls a person; each is empty for others.
	AdministratorId, Subject string
	Rights                   []Right
}

// Everything is a subject that may all.
func Everything(kind Kind, name string) *Subject {
	return &Subject{Kind: kind, Name: name, Rights: []Right{{Role: Administrator}}}
}

// May tells whether s has a permission, be it for a single app: what is shown
// depends on it. A nil subject may nothing.
func (s *Subject) May(p Permission) bool {
	return s != nil && slices.ContainsFunc(s.Rights, func(g Right) bool { return g.has(p) })
}

// MayAt tells whether s has a permission for an app, or with "" for the whole
// host.
func (s *Subject) MayAt(p Permission, app string) bool {
	return s != nil && slices.ContainsFunc(s.Rights, func(g Right) bool { return g.has(p) && g.covers(app) })
}

// MayApp tells whether s may do anything at all with an app.
func (s *Subject) MayApp(app string) bool {
	return s != nil && slices.ContainsFunc(s.Rights, func(g Right) bool { return g.covers(app) })
}

// Covers tells whether s has all that a right gives: nobody gives more than he
// has.
func (s *Subject) Covers(g Right) bool {
	apps := g.Apps
	if apps == nil {
		apps = []string{""}
	}
	for _, p := range Permissions {
		if g.has(p) && slices.ContainsFunc(apps, func(app string) bool { return !s.MayAt(p, app) }) {
			return false
		}
	}
	return true
}

// Roles are the names of the roles that s has, each once.
func (s *Subject) Roles() (names []string) {
	if s == nil {
		return nil
	}
	for _, g := range s.Rights {
		if g.Role != "" && !slices.Contains(names, g.Role) {
			names = append(names, g.Role)
		}
	}
	return names
}

// Apps are the only apps that s may do something with; nil for all.
func (s *Subject) Apps() []string {
	apps := []string{}
	if s == nil {
		return apps
	}
	for _, g := range s.Rights {
		if g.Apps == nil {
			return nil
		}
		apps = append(apps, g.Apps...)
	}
	slices.Sort(apps)
	return slices.Compact(apps)
}

// Actor is who s is in the logs and the audit trail (see [host.ActorOf]): a
// user by name, another who may all as an administrator.
func (s *Subject) Actor() string {
	switch {
	case s.UserId != "" && (host.IsAdministrator(s.Name) || host.IsOutsider(s.Name)):
		return s.UserId // a name that says what its bearer is not
	case s.UserId != "":
		return s.Name
	case s.Kind == Token && s.MayAt(ModifyAllData, ""):
		return host.Administrator("token " + s.Name)
	case s.Kind == Token:
		return host.Outsider(string(s.Kind), s.Name)
	case s.Subject != "" && s.MayAt(ModifyAllData, ""):
		return host.Administrator("person " + s.Subject) // no name, which could not be erased
	case s.MayAt(ModifyAllData, ""):
		return host.Administrator(s.Name)
	case s.Subject != "":
		return host.Outsider(string(s.Kind), s.Subject)
	default:
		return host.Outsider(string(s.Kind), s.Name)
	}
}

type subjectKey struct{}

// WithSubject says who asks for what is done with ctx; it is the actor, too.
func WithSubject(ctx context.Context, s *Subject) context.Context {
	return host.WithActor(context.WithValue(ctx, subjectKey{}, s), s.Actor())
}

// SubjectOf is who asks; nil where nobody said, who may nothing.
func SubjectOf(ctx context.Context) *Subject {
	s, _ := ctx.Value(subjectKey{}).(*Subject)
	return s
}

// AppsWith are the apps that s has a permission for; nil is the whole host.
func (s *Subject) AppsWith(p Permission) []string {
	apps := []string{}
	if s == nil {
		return apps
	}
	for _, r := range s.Rights {
		if !r.has(p) {
			continue
		}
		if r.Apps == nil {
			return nil
		}
		apps = append(apps, r.Apps...)
	}
	slices.Sort(apps)
	return slices.Compact(apps)
}
