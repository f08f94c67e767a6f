package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/pdk"
)

// known is a service with one user, and what calls with a key have answered.
type known struct {
	api.Service
	mu    sync.Mutex
	user  host.User
	made  int
	told  map[string]*api.Told
	sent  map[string]string
	calls []string
}

func newKnown() *known {
	return &known{user: host.User{User: pdk.User{Id: "u1", Username: "grace", LastName: "Hopper", Custom: map[string]any{"badge": "7", "desk": "1"}}, Apps: []string{"acme"}},
		told: map[string]*api.Told{}, sent: map[string]string{}}
}

func (k *known) User(context.Context, string) (*host.User, error) { u := k.user; return &u, nil }

func (k *known) Users(_ context.Context, f api.UserFilter) (l api.Listing[*host.User], _ error) {
	for i := range f.Limit {
		l.Rows = append(l.Rows, &host.User{User: pdk.User{Id: fmt.Sprintf("u%d", i), Username: "grace<&>", LastName: strings.Repeat("x", 50)}})
	}
	l.Next = "CURSOR"
	return l, nil
}

func (k *known) CountUsers(context.Context, api.UserFilter) (api.Count, error) {
	return api.Count{N: api.MostCounted, More: true}, nil
}

func (k *known) PutUser(ctx context.Context, u *host.User) (*host.User, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.made++
	k.calls = append(k.calls, host.CallOf(ctx))
	return u, nil
}

func (k *known) ChangeUser(_ context.Context, _, match string, change func(u *host.User) error) (*host.User, error) {
	u := k.user
	if match != "" && !api.Matches(match, api.UserETag(&u)) {
		return nil, host.Errorf(host.Changed, "it was changed")
	}
	if err := change(&u); err != nil {
		return nil, err
	}
	k.user = u
	return &u, nil
}

func (k *known) BeginOnce(_ context.Context, o api.Once) (*api.Told, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	sent, there := k.sent[o.Key]
	switch {
	case !there:
		k.sent[o.Key] = o.Body
		return nil, nil
	case sent != o.Body:
		return nil, host.Errorf(host.InvalidInput, "another body")
	case k.told[o.Key] == nil:
		return nil, host.Errorf(host.Conflict, "under way")
	}
	return k.told[o.Key], nil
}

func (k *known) EndOnce(_ context.Context, o api.Once, told *api.Told) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if told == nil {
		delete(k.sent, o.Key)
		return nil
	}
	k.told[o.Key] = told
	return nil
}

// call asks h as somebody who may all.
func call(t *testing.T, h http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(access.WithSubject(t.Context(), access.Everything(access.Person, "all")), method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func problemOf(t *testing.T, w *httptest.ResponseRecorder) (p api.Problem) {
	t.Helper()
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"), w.Body)
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
	require.Equal(t, w.Code, p.Status)
	require.NotEmpty(t, p.Detail)
	require.Equal(t, api.DocsPath+"#"+string(p.Code), p.Type)
	return p
}

func TestEveryErrorIsAProblemThatNamesWhatIsAtFault(t *testing.T) {
	h := api.Handler(newKnown(), api.Options{Version: "test"})
	for _, c := range []struct {
		method, path, body string
		header             []string
		status             int
		code               host.Code
		field              string
	}{
		{"GET", "/api/v1/nothing", "", nil, 404, host.NotFound, ""},
		{"PUT", "/api/v1/users", "", nil, 405, host.Unsupported, ""},
		{"GET", "/api/v1/users?limit=0", "", nil, 422, host.InvalidInput, "query limit"},
		{"GET", "/api/v1/users?active=perhaps", "", nil, 422, host.InvalidInput, "query active"},
		{"POST", "/api/v1/requests", `{"user":"grace","app":7,"operation":"Create"}`, nil, 422, host.InvalidInput, "/app"},
		{"POST", "/api/v1/requests", `{"user":"grace","app":"acme","operation":"Create","State":"Completed"}`, nil, 422, host.InvalidInput, "/State"},
		{"POST", "/api/v1/requests", `{"user":`, nil, 400, host.InvalidInput, ""},
		{"POST", "/api/v1/requests", `a`, []string{"Content-Type", "text/csv"}, 415, host.Unsupported, ""},
		{"POST", "/api/v1/requests", `{"user":"` + strings.Repeat("x", 2<<20) + `"}`, nil, 413, host.LimitExceeded, ""},
		{"POST", "/api/v1/requests/retry", `{"ids":["a", 7]}`, nil, 422, host.InvalidInput, "/ids/1"},
		{"POST", "/api/v1/users", `{"Username":"x","Admin":true}`, nil, 422, host.InvalidInput, "/Admin"},
		{"POST", "/api/v1/users", `{"Username":7}`, nil, 422, host.InvalidInput, "/Username"},
		{"POST", "/api/v1/users", `{"Username":"x"} {}`, nil, 400, host.InvalidInput, ""},
		{"POST", "/api/v1/users", strings.Repeat(`{"Custom":`, 100_000), nil, 400, host.InvalidInput, ""},
		{"PATCH", "/api/v1/users/grace", `{"Custom":` + strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 101), nil, 422, host.InvalidInput, ""},
		{"PUT", "/api/v1/users/grace", `{"Id":"another","Username":"grace"}`, nil, 422, host.InvalidInput, "/Id"},
		{"PATCH", "/api/v1/users/grace", `{}`, []string{"If-Match", `"old"`}, 412, host.Changed, ""},
		{"GET", "/api/v1/users?limt=3", "", nil, 422, host.InvalidInput, "query limt"},
		{"GET", "/api/v1/users?limit=3&limit=4", "", nil, 422, host.InvalidInput, "query limit"},
		{"GET", "/api/v1/users?query=%ff", "", nil, 422, host.InvalidInput, "query query"},
		{"GET", "/api/v1/users?query=a%00", "", nil, 422, host.InvalidInput, "query query"},
		{"GET", "/api/v1/users?fields=Id,Password", "", nil, 422, host.InvalidInput, "query fields"},
		{"GET", "/api/v1/users?a;b", "", nil, 422, host.InvalidInput, "query"},
		{"GET", "/api/v1/users/%ff", "", nil, 404, host.NotFound, ""},
		{"GET", "/api/v1/users/a%00", "", nil, 404, host.NotFound, ""},
		{"GET", "/api/v1/requests?state=failed", "", nil, 422, host.InvalidInput, "query state[0]"},
		{"GET", "/api/v1/requests?state=Failed&state=gone", "", nil, 422, host.InvalidInput, "query state[1]"},
		{"GET", "/api/v1/requests?made_since=", "", nil, 422, host.InvalidInput, "query made_since"},
		{"GET", "/api/v1/requests?made_since=2026-02-30", "", nil, 422, host.InvalidInput, "query made_since"},
		{"GET", "/api/v1/accounts?state=Linked", "", nil, 422, host.InvalidInput, "query state"},
		{"GET", "/api/v1/plans?state=done", "", nil, 422, host.InvalidInput, "query state[0]"},
		{"POST", "/api/v1/users/import?prune=perhaps", "x", nil, 422, host.InvalidInput, "query prune"},
		{"POST", "/api/v1/users/import?format=xml", "x", nil, 422, host.InvalidInput, "query format"},
		{"POST", "/api/v1/users", `{"Username":"x","Username":"y"}`, nil, 422, host.InvalidInput, "/Username"},
		{"POST", "/api/v1/users", `{"Username":"x","Custom":{"a/b":[1,{"c":1,"c":2}]}}`, nil, 422, host.InvalidInput, "/Custom/a~1b/1/c"},
		{"POST", "/api/v1/users", `{"Username":"x\u0000"}`, nil, 422, host.InvalidInput, "/Username"},
		{"POST", "/api/v1/users", `{"Username":"x","Custom":{"n":9007199254740993}}`, nil, 422, host.InvalidInput, "/Custom/n"},
		{"POST", "/api/v1/users", `{"Username":"x","Custom":{"n":1e400}}`, nil, 422, host.InvalidInput, "/Custom/n"},
		{"POST", "/api/v1/users", `{"Username":"\ud800x"}`, nil, 422, host.InvalidInput, ""},
		{"POST", "/api/v1/users", "{\"Username\":\"\xff\"}", nil, 400, host.InvalidInput, ""},
		{"POST", "/api/v1/users", `{"Username":NaN}`, nil, 400, host.InvalidInput, ""},
		{"POST", "/api/v1/users", strings.Repeat(" ", 2<<20), nil, 413, host.LimitExceeded, ""},
		{"POST", "/api/v1/users", `{"Username":"x"}`, []string{"Content-Encoding", "gzip"}, 415, host.Unsupported, ""},
		{"PUT", "/api/v1/apps/acme/wizard/collect", `{}`, nil, 405, host.Unsupported, ""},
		{"POST", "/api/v1/users", `{"Username":"x"}`, []string{api.KeyHeader, strings.Repeat("k", 300)}, 422, host.InvalidInput, api.KeyHeader},
	} {
		w := call(t, h, c.method, c.path, c.body, c.header...)
		require.Equal(t, c.status, w.Code, "%s %s: %s", c.method, c.path, w.Body)
		p := problemOf(t, w)
		require.Equal(t, c.code, p.Code, "%s %s", c.method, c.path)
		require.Equal(t, c.field, p.Field, "%s %s %.80s: %s", c.method, c.path, c.body, w.Body)
	}
}

func TestWhatIsReadHasAnETagAndFieldsAndIsShortened(t *testing.T) {
	h := api.Handler(newKnown(), api.Options{Version: "test"})
	w := call(t, h, "GET", "/api/v1/users?limit=3&count=true", "")
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "10000+", w.Header().Get("Total-Count"))
	require.Equal(t, `</api/v1/users?count=true&cursor=CURSOR&limit=3>; rel="next"`, w.Header().Get("Link"))
	etag := w.Header().Get("ETag")
	require.NotEmpty(t, etag)
	require.Equal(t, http.StatusNotModified, call(t, h, "GET", "/api/v1/users?limit=3&count=true", "", "If-None-Match", `"x", W/`+etag).Code)
	require.Equal(t, http.StatusOK, call(t, h, "GET", "/api/v1/users?limit=2", "", "If-None-Match", etag).Code)

	w = call(t, h, "GET", "/api/v1/users?limit=1&fields=Id,Username", "")
	require.JSONEq(t, `[{"Id":"u0","Username":"grace<&>"}]`, w.Body.String())
	require.Contains(t, w.Body.String(), "<&>")
	w = call(t, h, "GET", "/api/v1/users/grace?fields=LastName", "")
	require.JSONEq(t, `{"LastName":"Hopper"}`, w.Body.String())

	w = call(t, h, "GET", "/api/v1/users?limit=1000", "", "Accept-Encoding", "gzip")
	require.Equal(t, "gzip", w.Header().Get("Content-Encoding"))
	z, err := gzip.NewReader(w.Body)
	require.NoError(t, err)
	text, err := io.ReadAll(z)
	require.NoError(t, err)
	require.True(t, json.Valid(text))

	w = call(t, h, "HEAD", "/api/v1/users/grace", "")
	require.Equal(t, http.StatusOK, w.Code)
	require.NotEmpty(t, w.Header().Get("ETag"))
	require.Empty(t, w.Header().Get("Access-Control-Allow-Origin"))
}

func TestTwoWhoChangeTheSameUserLoseNothing(t *testing.T) {
	k := newKnown()
	h := api.Handler(k, api.Options{Version: "test"})
	etag := call(t, h, "GET", "/api/v1/users/grace", "").Header().Get("ETag")
	w := call(t, h, "PATCH", "/api/v1/users/grace", `{"LastName":"Murray","Custom":{"badge":null,"desk":"2"},"Apps":["root"],"CreatedDate":"2001-01-01T00:00:00Z"}`, "If-Match", etag, "Content-Type", "application/merge-patch+json")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.NotEqual(t, etag, w.Header().Get("ETag"))
	require.Equal(t, "Murray", k.user.LastName)
	require.Equal(t, "grace", k.user.Username)
	require.Equal(t, map[string]any{"desk": "2"}, k.user.Custom)
	require.Equal(t, []string{"acme"}, k.user.Apps, "what is assigned is not changed so")
	require.Zero(t, k.user.CreatedDate)
	require.Equal(t, http.StatusPreconditionFailed, call(t, h, "PUT", "/api/v1/users/grace", `{"Username":"grace"}`, "If-Match", etag).Code)
	require.Equal(t, "Murray", k.user.LastName)
	w = call(t, h, "PUT", "/api/v1/users/grace", `{"Username":"grace","IsActive":true}`, "If-Match", w.Header().Get("ETag"))
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Empty(t, k.user.LastName)
	require.Equal(t, "u1", k.user.Id)
}

func TestACallWithAKeyIsDoneOnce(t *testing.T) {
	k := newKnown()
	h := api.Handler(k, api.Options{Version: "test"})
	first := call(t, h, "POST", "/api/v1/users", `{"Username":"ada"}`, api.KeyHeader, "k1")
	require.Equal(t, http.StatusOK, first.Code)
	again := call(t, h, "POST", "/api/v1/users", `{"Username":"ada"}`, api.KeyHeader, "k1")
	require.Equal(t, first.Body.String(), again.Body.String())
	require.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
	require.Equal(t, 1, k.made)
	require.Equal(t, http.StatusUnprocessableEntity, call(t, h, "POST", "/api/v1/users", `{"Username":"bob"}`, api.KeyHeader, "k1").Code)
	require.Equal(t, 1, k.made)
	require.Equal(t, http.StatusOK, call(t, h, "POST", "/api/v1/users", `{"Username":"ada"}`, api.KeyHeader, "k2").Code)
	require.Equal(t, 2, k.made)
	for key := range k.sent { // as if the first were under way
		delete(k.told, key)
	}
	w := call(t, h, "POST", "/api/v1/users", `{"Username":"ada"}`, api.KeyHeader, "k1")
	require.Equal(t, http.StatusConflict, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	other := httptest.NewRequestWithContext(access.WithSubject(t.Context(), access.Everything(access.Token, "another")), "POST", "/api/v1/users", strings.NewReader(`{"Username":"bob"}`))
	other.Header.Set(api.KeyHeader, "k1")
	other.Header.Set("Content-Type", "application/json")
	w = httptest.NewRecorder()
	h.ServeHTTP(w, other)
	require.Equal(t, http.StatusOK, w.Code, "a key is of who sends it")
}

func TestACallHasANameAndBounds(t *testing.T) {
	k := newKnown()
	h := api.Handler(k, api.Options{Version: "test", Bounds: func() (float64, int) { return 0.001, 4 }})
	w := call(t, h, "POST", "/api/v1/users", `{"Username":"ada"}`, "X-Request-Id", "abc-1")
	require.Equal(t, "abc-1", w.Header().Get(api.CallHeader))
	require.Equal(t, []string{"abc-1"}, k.calls)
	require.Equal(t, `"subject";r=3;t=1000`, w.Header().Get("RateLimit"))
	w = call(t, h, "GET", "/api/v1/users/grace", "", api.CallHeader, "a\nb")
	require.NotContains(t, w.Header().Get(api.CallHeader), "\n")
	require.Len(t, w.Header().Get(api.CallHeader), 36)
	call(t, h, "GET", "/api/v1/users/grace", "")
	call(t, h, "GET", "/api/v1/users/grace", "")
	w = call(t, h, "GET", "/api/v1/users/grace", "")
	require.Equal(t, http.StatusTooManyRequests, w.Code)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
	require.Equal(t, host.RateLimited, problemOf(t, w).Code)
	r := httptest.NewRequestWithContext(access.WithSubject(t.Context(), access.Everything(access.Owner, "api")), "GET", "/api/v1/users/grace", nil)
	w = httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code, "who owns the machine is not bound")
}

// fed is a source of events that tells what it is fed.
type fed chan []api.Event

func (f fed) Begin(context.Context) error { return nil }

func (f fed) Next(context.Context) ([]api.Event, error) {
	select {
	case list := <-f:
		return list, nil
	default:
		return nil, nil
	}
}

// heard is what somebody who listens has got so far.
type heard struct {
	http.ResponseWriter
	mu   sync.Mutex
	text strings.Builder
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(p)
}
func (h *heard) Flush() {}
func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

func TestWhoListensHearsWhatChangesAndGoesOnAfterABreak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := make(fed, 1)
		events := api.NewEvents(source)
		h := api.Handler(newKnown(), api.Options{Version: "test", Events: events})
		listen := func(s *access.Subject, query, after string) (*heard, func()) {
			end := make(chan struct{})
			out := &heard{ResponseWriter: httptest.NewRecorder()}
			r := httptest.NewRequestWithContext(api.WithEnd(access.WithSubject(t.Context(), s), end), "GET", api.EventsPath+query, nil)
			r.Header.Set("Last-Event-ID", after)
			done := make(chan struct{})
			go func() { defer close(done); h.ServeHTTP(out, r) }()
			synctest.Wait()
			return out, func() { close(end); <-done }
		}
		tell := func(list ...api.Event) {
			if list != nil {
				source <- list
			}
			require.NoError(t, events.Poll(t.Context()))
			synctest.Wait()
		}
		all, stopAll := listen(access.Everything(access.Person, "all"), "", "")
		own, stopOwn := listen(&access.Subject{Kind: access.Person, Name: "owner", Rights: []access.Right{{Role: access.AppOwner, Apps: []string{"acme"}}}}, "?topics=requests,runs", "")
		require.Empty(t, all.String(), "what changes now would not be told yet")
		tell() // it begins
		require.Contains(t, all.String(), "retry: ")
		tell(api.Event{Topic: "requests", App: "acme", Id: "r1", State: "Completed"}, api.Event{Topic: "requests", App: "other", Id: "r2"}, api.Event{Topic: "accounts", App: "acme", Id: "a1"})
		require.Contains(t, all.String(), "event: requests\ndata: {\"app\":\"acme\",\"id\":\"r1\",\"state\":\"Completed\"}\n\n")
		require.Contains(t, all.String(), "r2")
		require.Contains(t, all.String(), "event: accounts\n")
		require.Contains(t, own.String(), "r1")
		require.NotContains(t, own.String(), "r2", "another app's")
		require.NotContains(t, own.String(), "accounts", "not asked for")
		require.NotContains(t, all.String(), "missed")
		lines := strings.Split(all.String(), "\n")
		var ids []string
		for _, l := range lines {
			if id, ok := strings.CutPrefix(l, "id: "); ok {
				ids = append(ids, id)
			}
		}
		require.Len(t, ids, 3)
		stopOwn()
		back, stopBack := listen(access.Everything(access.Person, "back"), "", ids[0])
		require.NotContains(t, back.String(), "r1")
		require.Contains(t, back.String(), "r2")
		require.NotContains(t, back.String(), "missed")
		lost, stopLost := listen(access.Everything(access.Person, "lost"), "", "0123-7")
		require.Contains(t, lost.String(), "event: missed\n")
		stopAll()
		stopBack()
		stopLost()
	})
}

func TestTheDocumentationNeedsNothingFromElsewhere(t *testing.T) {
	h := api.Handler(newKnown(), api.Options{Version: "test"})
	w := call(t, h, "GET", api.DocsPath, "")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.NotContains(t, w.Body.String(), "<script")
	require.NotContains(t, w.Body.String(), "style=")
	require.Regexp(t, `href="/api/docs\.css"`, w.Body.String())
	require.Contains(t, w.Body.String(), "/api/v1/accounts/{id}/freeze")
	require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
	require.Equal(t, "text/css; charset=utf-8", call(t, h, "GET", api.DocsPath+".css", "").Header().Get("Content-Type"))
}

func TestEveryOperationIsDescribed(t *testing.T) {
	w := call(t, api.Handler(newKnown(), api.Options{Version: "test"}), "GET", "/api/openapi.json", "")
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID, Summary string
			Tags                 []string
			Responses            map[string]any
		}
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &doc))
	seen := map[string]string{}
	for path, methods := range doc.Paths {
		for method, o := range methods {
			name := strings.ToUpper(method) + " " + path
			require.Empty(t, seen[o.OperationID], "%s has the id of another", name)
			seen[o.OperationID] = name
			require.NotRegexp(t, `^(Get|List|Post|Put|Patch|Delete) .*(by|api|v1)|^$`, o.Summary, "%s: say what it does in describe.go", name)
			require.Len(t, o.Tags, 1, name)
			require.Contains(t, o.Responses, "422", name)
			require.NotContains(t, o.Responses, "default", name)
		}
	}
}

func TestWhatIsGivenTwiceOfAListIsAllOfTheList(t *testing.T) {
	s := &recorded{}
	h := served(s)
	for _, query := range []string{"state=Failed&state=New", "state=Failed,New"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/requests?"+query, nil))
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.Equal(t, []host.RequestState{host.StateFailed, host.StateNew}, s.states, query)
	}
}

// PutSetting notes the document that it was given.
func (k *known) PutSetting(_ context.Context, list, name string, document []byte, _ int64) (api.Setting, error) {
	k.calls = append(k.calls, string(document))
	return api.Setting{List: list, Name: name, Revision: 1}, nil
}

func TestASettingHasTheNameOfItsPath(t *testing.T) {
	k := newKnown()
	h := api.Handler(k, api.Options{Version: "test"})
	require.Equal(t, http.StatusOK, call(t, h, "PUT", "/api/v1/settings/plugins/scim", `{"source":"builtin:scim"}`).Code)
	require.Equal(t, http.StatusOK, call(t, h, "PUT", "/api/v1/settings/plugins/scim", `{"name":"another"}`).Code, "which is for the service to refuse")
	require.Equal(t, []string{`{"name":"scim","source":"builtin:scim"}`, `{"name":"another"}`}, k.calls)
}

func TestACharacterOutsideTheFirstPlaneIsOne(t *testing.T) {
	h := api.Handler(newKnown(), api.Options{Version: "test"})
	w := call(t, h, "POST", "/api/v1/users", `{"Username":"x","LastName":"\ud83d\ude00 \\ud800"}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Contains(t, w.Body.String(), `😀 \\ud800`)
}

// Bulk refuses what names nothing.
func (k *known) Bulk(_ context.Context, _ string, c api.RequestChoice, progress func(done, skipped int64)) (r api.BulkResult, _ error) {
	if c.All {
		progress(1, 0)
	}
	if len(c.Ids) == 0 {
		return r, &host.Error{Code: host.InvalidInput, Field: "/ids", Message: "name requests"}
	}
	return r, nil
}

func TestWhatIsWrongFromTheStartIsAProblemThoughTheAnswerWouldStream(t *testing.T) {
	h := api.Handler(newKnown(), api.Options{Version: "test"})
	w := call(t, h, "POST", "/api/v1/requests/deny", `{}`)
	require.Equal(t, http.StatusUnprocessableEntity, w.Code, w.Body)
	require.Equal(t, "/ids", problemOf(t, w).Field)
	w = call(t, h, "POST", "/api/v1/requests/deny", `{"all":true}`)
	require.Equal(t, http.StatusOK, w.Code, "it had begun")
	require.Contains(t, w.Body.String(), `"code":"InvalidInput"`)
	w = call(t, h, "POST", "/api/v1/requests/deny", `{"ids":["1"]}`)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "application/jsonl", w.Header().Get("Content-Type"))
}

// AuditEntries are as many as are wanted, the newest first.
func (k *known) AuditEntries(_ context.Context, f api.AuditFilter) (list []*api.AuditEntry, _ error) {
	for i := range f.Limit {
		if n := f.Before - int64(i) - 1; n > 0 {
			list = append(list, &api.AuditEntry{AuditEntry: &host.AuditEntry{Number: n}})
		}
	}
	return list, nil
}

func TestEveryListingLeadsToItsNextPage(t *testing.T) {
	h := api.Handler(newKnown(), api.Options{Version: "test"})
	seen, pages := 0, 0
	for path := "/api/v1/audit?before=8&limit=3&action=plan"; path != ""; pages++ {
		w := call(t, h, "GET", path, "")
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		var list []struct{ Number int64 }
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &list))
		seen += len(list)
		path, _, _ = strings.Cut(strings.TrimPrefix(w.Header().Get("Link"), "<"), ">")
		if path != "" {
			require.Contains(t, path, "action=plan")
		}
	}
	require.Equal(t, 7, seen)
	require.Equal(t, 3, pages)
}

func TestTheMethodsOfAPathAreTold(t *testing.T) {
	h := api.Handler(newKnown(), api.Options{Version: "test"})
	for path, allow := range map[string]string{"/api/v1/users": "GET, HEAD, OPTIONS, POST", "/api/v1/apps/acme/wizard/collect": "OPTIONS, POST", "/api/v1/apps/acme/wizard/app": "OPTIONS, PUT"} {
		w := call(t, h, http.MethodOptions, path, "")
		require.Equal(t, http.StatusNoContent, w.Code)
		require.Equal(t, allow, w.Header().Get("Allow"))
		w = call(t, h, http.MethodTrace, path, "")
		require.Equal(t, http.StatusMethodNotAllowed, w.Code)
		require.Equal(t, allow, w.Header().Get("Allow"))
	}
}

// What the OpenAPI document lets through are all words that there are.
func TestTheWordsOfTheDocumentAreTheModels(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct {
				Name, In string
				Schema   struct {
					Enum  []string
					Items struct{ Enum []string }
				}
			}
		}
	}
	w := call(t, api.Handler(newKnown(), api.Options{Version: "test"}), "GET", "/api/openapi.json", "")
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &doc))
	for _, p := range doc.Paths["/api/v1/requests"]["get"].Parameters {
		switch p.Name {
		case "state":
			require.Equal(t, words(host.RequestStates), p.Schema.Items.Enum)
		case "operation":
			require.Equal(t, words(host.Operations), p.Schema.Enum)
		}
	}
	for _, p := range doc.Paths["/api/v1/accounts"]["get"].Parameters {
		if p.Name == "state" {
			require.Equal(t, words(host.LinkStates), p.Schema.Enum)
		}
	}
	for _, p := range doc.Paths["/api/v1/plans"]["get"].Parameters {
		if p.Name == "state" {
			require.Equal(t, words(host.PlanStates), p.Schema.Items.Enum)
		}
	}
}

func words[T ~string](list []T) (words []string) {
	for _, w := range list {
		words = append(words, string(w))
	}
	return words
}

// A client that is made of the document has names that a person would give, and
// what stands there as an example is let in.
func TestTheDocumentIsFitForAClientToBeMadeOf(t *testing.T) {
	w := call(t, api.Handler(newKnown(), api.Options{Version: "test"}), "GET", "/api/openapi.json", "")
	var doc struct {
		OpenAPI string
		Info    struct {
			Description string
			License     struct{ Identifier string }
		}
		Servers  []struct{ URL string }
		Security []map[string][]string
		Tags     []struct{ Name, Description string }
		Paths    map[string]map[string]struct {
			OperationId, Summary string
			Tags                 []string
			RequestBody          struct {
				Content map[string]struct{ Schema, Example any }
			}
		}
		Components struct {
			SecuritySchemes map[string]struct{ Type, Scheme string }
		}
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &doc))
	require.Equal(t, "3.1.0", doc.OpenAPI)
	require.NotEmpty(t, doc.Info.Description)
	require.Equal(t, "Apache-2.0", doc.Info.License.Identifier)
	require.NotEmpty(t, doc.Servers)
	require.Equal(t, "bearer", doc.Components.SecuritySchemes["token"].Scheme)
	for _, way := range doc.Security {
		for name := range way {
			require.Contains(t, doc.Components.SecuritySchemes, name)
		}
	}
	tags := map[string]bool{}
	for _, tag := range doc.Tags {
		require.NotEmpty(t, tag.Description)
		tags[tag.Name] = true
	}
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(w.Body.Bytes()))
	require.NoError(t, err)
	schemas := jsonschema.NewCompiler()
	require.NoError(t, schemas.AddResource("https://provost.invalid/openapi.json", whole))
	escape := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D")
	names, shown := map[string]string{}, 0
	for path, methods := range doc.Paths {
		for method, o := range methods {
			route := method + " " + path
			require.Regexp(t, `^[a-z]+(-[a-z]+)*$`, o.OperationId, route)
			require.NotContains(t, o.OperationId, "api", route)
			require.NotContains(t, names, o.OperationId, "%s and %s", route, names[o.OperationId])
			names[o.OperationId] = route
			require.NotEmpty(t, o.Summary, route)
			require.Len(t, o.Tags, 1, route)
			require.True(t, tags[o.Tags[0]], o.Tags[0])
			for kind, media := range o.RequestBody.Content {
				if media.Example == nil {
					continue
				}
				shown++
				s, err := schemas.Compile(fmt.Sprintf("https://provost.invalid/openapi.json#/paths/%s/%s/requestBody/content/%s/schema", escape.Replace(path), method, escape.Replace(kind)))
				require.NoError(t, err, route)
				require.NoError(t, s.Validate(media.Example), route)
			}
		}
	}
	require.Greater(t, shown, 25)
	for _, name := range []string{"list-users", "get-user", "change-user", "create-request", "retry-request", "retry-requests", "commit-request", "reconcile-app", "test-credential", "rollback-plugin", "put-app-setting", "verify-audit", "import-users"} {
		require.Contains(t, names, name)
	}
}
