package api

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/access"
)

var update = flag.Bool("update", false, "write testdata anew")

func TestEveryRouteHasOneRule(t *testing.T) {
	routes := slices.Clone(handlers(struct{ Service }{}, Options{Version: "test"}).patterns)
	var ruled []string
	for _, r := range Rules {
		ruled = append(ruled, r.Route)
	}
	slices.Sort(routes)
	slices.Sort(ruled)
	require.Equal(t, routes, ruled, "a route needs its rule in rules.go, and a rule its route")
}

// let is a request to a route, whose app is ours, through the rules.
func let(t *testing.T, route string, s *access.Subject) int {
	t.Helper()
	guard := Rules.Guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }), refuse)
	method, path, _ := strings.Cut(route, " ")
	path = regexp.MustCompile(`\{\w+\}`).ReplaceAllString(strings.ReplaceAll(path, "{app}", "ours"), "x")
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	if s != nil {
		r = r.WithContext(access.WithSubject(r.Context(), s))
	}
	w := httptest.NewRecorder()
	guard.ServeHTTP(w, r)
	return w.Code
}

func TestEveryRouteForEverySetOfPermissions(t *testing.T) {
	var may strings.Builder
	for _, rule := range Rules {
		require.NotEmpty(t, rule.Need, "%s: nothing of the API is for those who are not known", rule.Route)
		require.Equal(t, http.StatusUnauthorized, let(t, rule.Route, nil), rule.Route)
		nobody := &access.Subject{Kind: access.Person, Name: "nobody"}
		require.Equal(t, len(rule.Need[0]) == 0, let(t, rule.Route, nobody) == http.StatusNoContent, rule.Route)
		require.Equal(t, http.StatusNoContent, let(t, rule.Route, access.Everything(access.Person, "all")), rule.Route)
		if strings.Contains(rule.Route, "{app}") {
			require.Equal(t, access.App, rule.Over, "%s names an app", rule.Route)
		}
		var names []string
		try := func(name string, g access.Right) {
			code := let(t, rule.Route, &access.Subject{Kind: access.Token, Name: name, Rights: []access.Right{g}})
			require.Contains(t, []int{http.StatusNoContent, http.StatusForbidden}, code, "%s as %s", rule.Route, name)
			if code == http.StatusNoContent {
				names = append(names, name)
			}
		}
		for _, role := range access.Roles {
			if !role.ByApp {
				try(role.Name, access.Right{Role: role.Name})
				continue
			}
			try(role.Name, access.Right{Role: role.Name, Apps: []string{"ours"}})
			try(role.Name+" of another", access.Right{Role: role.Name, Apps: []string{"theirs"}})
		}
		for _, p := range access.Permissions {
			try(string(p), access.Right{Permissions: []access.Permission{p}})
		}
		if len(rule.Need[0]) == 0 {
			names = []string{"whoever is known"}
		}
		fmt.Fprintf(&may, "%s: %s\n", rule.Route, strings.Join(names, ", "))
	}
	golden := filepath.Join("testdata", "may.txt")
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(may.String()), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), may.String(), "who may what has changed: look at it, then go test ./host/api -run EverySet -update")
}

func TestAnOwnerOfAnotherAppIsKeptOutOfOurs(t *testing.T) {
	theirs := &access.Subject{Kind: access.Person, Name: "owner", Rights: []access.Right{{Role: access.AppOwner, Apps: []string{"theirs"}}}}
	for _, rule := range Rules {
		if rule.Over != access.Objects && len(rule.Need[0]) > 0 {
			require.Equal(t, http.StatusForbidden, let(t, rule.Route, theirs), rule.Route)
		}
	}
}

func TestWhatIsNotThereIsNotThere(t *testing.T) {
	all := access.Everything(access.Person, "all")
	require.Equal(t, http.StatusNotFound, let(t, "GET /api/v1/nothing", all))
	require.Equal(t, http.StatusNotFound, let(t, "GET /api/v1/nothing", nil))
	require.Equal(t, http.StatusMethodNotAllowed, let(t, "DELETE /api/v1/requests/x", all))
	require.Equal(t, http.StatusNoContent, let(t, "HEAD /api/v1/status", all))
}
