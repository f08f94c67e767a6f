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
// where one may not, [host.NotFound] for a path without a rule, and
// [host.Unsupported], with the header Allow, for a method that its path has no
// rule for. OPTIONS is answered with Allow. It panics on patterns that clash.
func (list Rules) Guard(next http.Handler, refuse Refuse) http.Handler {
	mux := http.NewServeMux()
	paths := map[string]map[string]Rule{}
	for _, rule := range list {
		method, path, _ := strings.Cut(rule.Route, " ")
		if paths[path] == nil {
			paths[path] = map[string]Rule{}
		}
		paths[path][method] = rule
	}
	for path, methods := range paths {
		allow := allowed(methods)
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			method := r.Method
			if method == http.MethodHead {
				method = http.MethodGet
			}
			rule, ruled := methods[method]
			switch s := SubjectOf(r.Context()); {
			case !ruled && method == http.MethodOptions:
				w.Header().Set("Allow", allow)
				w.WriteHeader(http.StatusNoContent)
			case !ruled:
				w.Header().Set("Allow", allow)
				refuse(w, r, host.Errorf(host.Unsupported, "%.20s is not for this path; %s is", r.Method, allow))
			case !rule.Allows(s, r.PathValue("app")):
				refuse(w, r, refusal(s, rule))
			default:
				r.Pattern = rule.Route
				next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), needKey{}, rule.Need)))
			}
		})
	}
	if paths["/"] == nil {
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			refuse(w, r, host.Errorf(host.NotFound, "there is nothing at %.200s", r.URL.Path))
		})
	}
	return mux
}

// allowed is what Allow says of a path.
func allowed(methods map[string]Rule) string {
	list := []string{http.MethodOptions}
	for method := range methods {
		list = append(list, method)
		if method == http.MethodGet {
			list = append(list, http.MethodHead)
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
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
