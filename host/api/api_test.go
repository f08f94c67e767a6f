package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

// recorded is a service that notes what it was asked.
type recorded struct {
	api.Service
	limit  int
	id     string
	states []host.RequestState
}

func (r *recorded) Requests(_ context.Context, f api.RequestFilter) (l api.Listing[*host.UserProvisioningRequest], _ error) {
	r.limit, r.states = f.Limit, f.State
	return l, nil
}

func (r *recorded) Complete(_ context.Context, id, note string) (*host.UserProvisioningRequest, error) {
	r.id = id + " " + note
	return &host.UserProvisioningRequest{}, nil
}

// served serves to whoever owns the machine.
func served(s api.Service) http.Handler {
	h := api.Handler(s, api.Options{Version: "test"})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(access.WithSubject(r.Context(), access.Everything(access.Owner, "api"))))
	})
}

func TestListingsKeepToTheirLimit(t *testing.T) {
	s := &recorded{}
	h := served(s)
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/requests?limit=7", nil))
	require.Equal(t, 7, s.limit)
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/requests", nil))
	require.Equal(t, 100, s.limit)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/requests?limit=1001", nil))
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
}

func TestAnActionIsDoneToTheRequestThatThePathNames(t *testing.T) {
	s := &recorded{}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/requests/42/complete", strings.NewReader(`{"note":"by hand"}`))
	r.Header.Set("Content-Type", "application/json")
	served(s).ServeHTTP(httptest.NewRecorder(), r)
	require.Equal(t, "42 by hand", s.id)
}

func TestEveryPathParameterIsDescribed(t *testing.T) {
	w := httptest.NewRecorder()
	served(&recorded{}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/openapi.json", nil))
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
		}
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &doc))
	require.NotEmpty(t, doc.Paths)
	names := regexp.MustCompile(`\{(\w+)\}`)
	for path, methods := range doc.Paths {
		for method, op := range methods {
			var have []string
			for _, p := range op.Parameters {
				if p.In == "path" {
					have = append(have, p.Name)
				}
			}
			for _, m := range names.FindAllStringSubmatch(path, -1) {
				require.Contains(t, have, m[1], fmt.Sprintf("%s %s: a parameter that nobody reads", method, path))
			}
		}
	}
}

// said is a service that notes who asked.
type said struct {
	api.Service
	actor string
}

func (s *said) Status(ctx context.Context) (api.Status, error) {
	s.actor = host.ActorOf(ctx)
	return api.Status{}, nil
}

func TestWhoAsksIsSaidByAHeader(t *testing.T) {
	s := &said{}
	ask := func(header string) int {
		s.actor = ""
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/status", nil)
		r.Header.Set(api.ActorHeader, header)
		w := httptest.NewRecorder()
		served(s).ServeHTTP(w, r)
		return w.Code
	}
	for header, actor := range map[string]string{"grace": "grace", "J%C3%BCrgen": "Jürgen", "": "administrator (api)", "administrator (root)": "administrator (root)"} {
		require.Equal(t, http.StatusOK, ask(header))
		require.Equal(t, actor, s.actor)
	}
	for _, header := range []string{"a%0ab", "%zz", host.Ourselves, strings.Repeat("x", 300)} {
		require.Equal(t, http.StatusUnprocessableEntity, ask(header), header)
		require.Empty(t, s.actor)
	}
}
