package target_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/plugins/mock/target"
)

func do(t *testing.T, app http.Handler, method, path, body string, header ...string) (int, map[string]any) {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	app.ServeHTTP(w, r)
	var got map[string]any
	if w.Body.Len() > 0 && strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
	}
	return w.Code, got
}

func TestAnswers(t *testing.T) {
	app := target.New("")
	require.Equal(t, "acc-00000001", app.Add(target.Account{"username": "ada"}))
	require.Empty(t, app.Add(target.Account{"username": "ADA"}), "taken")
	require.Equal(t, "acc-00000002", app.Add(target.Account{"username": "bob"}))
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		want                     int
	}{
		{"the root", "GET", "/", "", nil, 200},
		{"no such path", "GET", "/x", "", nil, 404},
		{"one", "GET", "/accounts/acc-00000001", "", nil, 200},
		{"none", "GET", "/accounts/acc-9", "", nil, 404},
		{"a taken name", "POST", "/accounts", `{"username":"Ada"}`, nil, 409},
		{"a new one", "POST", "/accounts", `{"username":"eve"}`, nil, 201},
		{"no name", "POST", "/accounts", `{}`, nil, 400},
		{"no JSON", "POST", "/accounts", `{`, nil, 400},
		{"a taken name by a change", "PUT", "/accounts/acc-00000002", `{"username":"ada"}`, nil, 409},
		{"its own name", "PUT", "/accounts/acc-00000002", `{"username":"BOB"}`, nil, 200},
		{"an old version", "PUT", "/accounts/acc-00000002", `{"username":"bob"}`, []string{"If-Match", "1"}, 412},
		{"the version", "PUT", "/accounts/acc-00000002", `{"username":"bob"}`, []string{"If-Match", "2"}, 200},
		{"a bad limit", "GET", "/accounts?limit=x", "", nil, 400},
		{"a delete", "DELETE", "/accounts/acc-00000002", "", nil, 204},
		{"a delete again", "DELETE", "/accounts/acc-00000002", "", nil, 404},
	} {
		status, _ := do(t, app, c.method, c.path, c.body, c.header...)
		assert.Equal(t, c.want, status, c.name)
	}
}

func TestPages(t *testing.T) {
	app := target.New("")
	for _, name := range []string{"a", "b", "c"} {
		require.NotEmpty(t, app.Add(target.Account{"username": name}))
	}
	_, page := do(t, app, "GET", "/accounts?limit=2", "")
	assert.Len(t, page["accounts"], 2)
	assert.Equal(t, "acc-00000002", page["next"])
	_, page = do(t, app, "GET", "/accounts?limit=2&after=acc-00000002", "")
	assert.Len(t, page["accounts"], 1)
	assert.Equal(t, "", page["next"])
	_, page = do(t, app, "GET", "/accounts?username=B", "")
	assert.Len(t, page["accounts"], 1)
}

func TestAClientThatGoesAwayIsNotWaitedFor(t *testing.T) {
	app := target.New("")
	begun, ended := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		app.ServeHTTP(w, r)
		close(ended)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/accounts?delay=60000", strings.NewReader(`{"username": "ada"}`))
	require.NoError(t, err)
	go func() {
		<-begun
		cancel()
	}()
	_, err = http.DefaultClient.Do(r)
	require.ErrorIs(t, err, context.Canceled)
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the target goes on waiting for nobody")
	}
	server.Close()
	require.Empty(t, app.Accounts())
}

func TestChangesSinceAMoment(t *testing.T) {
	app := target.New("")
	for _, name := range []string{"a", "b", "c"} {
		require.NotEmpty(t, app.Add(target.Account{"username": name}))
	}
	_, page := do(t, app, "GET", "/accounts", "")
	token, is := page["token"].(string)
	require.True(t, is)
	since := func(token, more string) (int, []string, map[string]any) {
		status, page := do(t, app, "GET", "/changes?since="+token+more, "")
		var said []string
		list, _ := page["changes"].([]any)
		for _, c := range list {
			c := c.(map[string]any)
			said = append(said, c["change"].(string)+" "+c["account"].(map[string]any)["id"].(string))
		}
		return status, said, page
	}
	_, said, _ := since(token, "")
	require.Empty(t, said)

	require.True(t, app.Put("acc-00000002", target.Account{"username": "bob"}))
	require.True(t, app.Put("acc-00000001", nil))
	require.False(t, app.Put("acc-9", nil))
	status, _ := do(t, app, "POST", "/accounts", `{"username":"eve"}`)
	require.Equal(t, 201, status)
	status, _ = do(t, app, "PUT", "/accounts/acc-00000004", `{"username":"eva"}`)
	require.Equal(t, 200, status)
	_, said, page = since(token, "")
	require.Equal(t, []string{"changed acc-00000002", "deleted acc-00000001", "created acc-00000004"}, said)
	after := page["token"].(string)

	// Page by page, with a change in between: nothing is left out.
	_, said, page = since(token, "&limit=2")
	require.Equal(t, []string{"changed acc-00000002", "deleted acc-00000001"}, said)
	require.True(t, app.Put("acc-00000002", target.Account{"username": "bert"}))
	_, said, page = since(page["next"].(string), "&limit=2")
	require.Equal(t, []string{"created acc-00000004", "changed acc-00000002"}, said)
	require.Empty(t, page["next"])
	_, said, _ = since(after, "")
	require.Equal(t, []string{"changed acc-00000002"}, said)

	app.Forget()
	for _, old := range []string{token, after, "999"} {
		status, _, _ = since(old, "")
		require.Equal(t, 410, status, old)
	}
	for _, wrong := range []string{"", "x", "-1"} {
		status, _, _ = since(wrong, "")
		require.Equal(t, 400, status, wrong)
	}
	_, page = do(t, app, "GET", "/accounts", "")
	_, said, _ = since(page["token"].(string), "")
	require.Empty(t, said)
}
