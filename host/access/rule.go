package access

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/provosthq/provost/host"
)

// Need is what a subject must have: all permissions of one of the lists. An
// empty list asks only for somebody who is known; no list at all for nobody.
type Need [][]Permission

// All asks for each of some permissions; without any, only for a subject.
func All(list ...Permission) Need { return Need{list} }

// Public asks for nothing: what it guards is for whoever can reach us.
var Public = Need{}

// Or asks for all of another list instead.
func (n Need) Or(list ...Permission) Need { return append(slices.Clone(n), list) }

// heldBy tells whether has is true for all permissions of a list.
func (n Need) heldBy(has func(Permission) bool) bool {
	return len(n) == 0 || slices.ContainsFunc(n, func(list []Permission) bool {
		return !slices.ContainsFunc(list, func(p Permission) bool { return !has(p) })
	})
}

func (n Need) String() string {
	var ways []string
	for _, list := range n {
		var words []string
		for _, p := range list {
			words = append(words, string(p))
		}
		ways = append(ways, strings.Join(words, " and "))
	}
	return strings.Join(ways, ", or ")
}

// Over says what a subject's permissions must be for.
type Over int

const (
	// Host: the whole host.
	Host Over = iota
	// App: the app that the path names as {app}.
	App
	// Objects: some app; which objects of it, is asked of each with [At].
	Objects
)

// Rule says what a route asks for.
type Rule struct {
	// Route is a pattern of [http.ServeMux] with its method: GET /api/v1/apps/{app}.
	Route string
	Need  Need
	Over  Over
}

// Allows tells whether s may come in; app is the one of the path.
func (r Rule) Allows(s *Subject, app string) bool {
	switch {
	case len(r.Need) == 0:
		return true
	case s == nil:
		return false
	case r.Over == Objects:
		return r.Need.heldBy(s.May)
	default:
		if r.Over == Host {
			app = ""
		}
		return r.Need.heldBy(func(p Permission) bool { return s.MayAt(p, app) })
	}
}

// Rules are the one table of routes. What no rule is for is not there.
type Rules []Rule

// Refuse answers one who may not come in, or who asked for what is not there.
type Refuse func(w http.ResponseWriter, r *http.Request, err *host.Error)

// Guard lets through to next what the rules allow, and hands each refusal to
// refuse: [host.Unauthorized] where nobody has signed in, [host.PermissionDenied]
// where one may not, [host.NotFound] for a path without a rule. It panics on
// patterns that clash.
func (list Rules) Guard(next http.Handler, refuse Refuse) http.Handler {
	mux := http.NewServeMux()
	for _, rule := range list {
		mux.HandleFunc(rule.Route, func(w http.ResponseWriter, r *http.Request) {
			s := SubjectOf(r.Context())
			if !rule.Allows(s, r.PathValue("app")) {
				refuse(w, r, refusal(s, rule))
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), needKey{}, rule.Need)))
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		var allowed []string
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			other := r.Clone(r.Context())
			other.Method = method
			if _, pattern := mux.Handler(other); pattern != "/" {
				allowed = append(allowed, method)
			}
		}
		if len(allowed) > 0 {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			refuse(w, r, host.Errorf(host.Unsupported, "%s is not for this path; %s is", r.Method, strings.Join(allowed, ", ")))
			return
		}
		refuse(w, r, host.Errorf(host.NotFound, "there is nothing at %s", r.URL.Path))
	})
	return mux
}

func refusal(s *Subject, rule Rule) *host.Error {
	if s == nil {
		return host.Errorf(host.Unauthorized, "sign in first, or send a token (Authorization: Bearer …)")
	}
	return host.Errorf(host.PermissionDenied, "this needs %s%s", rule.Need, map[Over]string{Host: " for the whole host", App: " for this app"}[rule.Over])
}

type needKey struct{}

// At tells whether who asks has, for an app, what the route of ctx asks for;
// "" is the whole host. Without a route it is for who may all, and for the host
// itself.
func At(ctx context.Context, app string) bool {
	need, routed := ctx.Value(needKey{}).(Need)
	s := SubjectOf(ctx)
	if !routed {
		return s == nil || s.MayAt(ModifyAllData, "")
	}
	return need.heldBy(func(p Permission) bool { return s.MayAt(p, app) })
}
