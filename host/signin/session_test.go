package signin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/signin"
)

// older is an app of before there were tokens.
type older struct {
	mu       sync.Mutex
	sessions map[string]bool
	signIns  int
}

const awkward = `pa"ss&wörd=1 \`

func (o *older) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	begin := func() string {
		o.signIns++
		id := fmt.Sprintf("session-number-%d", o.signIns)
		o.sessions[id] = true
		return id
	}
	switch r.URL.Path {
	case "/app/login":
		if r.Method == http.MethodGet {
			http.SetCookie(w, &http.Cookie{Name: "csrf", Value: "csrf-of-cookie"})
			w.Header().Set("X-CSRF", "csrf-of-header")
			_, _ = io.WriteString(w, `<html><meta name="csrf-meta" content="csrf-of-meta"><form><input type=hidden name="csrf_token" value="csrf-of-field"></form>`)
			return
		}
		if r.FormValue("user") != "ada" || r.FormValue("pass") != awkward || r.FormValue("csrf_token") != "csrf-of-field" && r.Header.Get("X-CSRF-Token") != "csrf-of-cookie" {
			http.Redirect(w, r, "/app/login?failed", http.StatusFound)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "SID", Value: begin(), HttpOnly: true, Path: "/app"})
		http.SetCookie(w, &http.Cookie{Name: "elsewhere", Value: "not-for-us", Path: "/other"})
		http.SetCookie(w, &http.Cookie{Name: "foreign", Value: "not-for-us", Domain: "example.org"})
		http.Redirect(w, r, "/app/home", http.StatusFound)
	case "/app/api/session":
		var in struct {
			Login struct{ Name, Password string }
		}
		if json.NewDecoder(r.Body).Decode(&in) != nil || in.Login.Name != "ada" || in.Login.Password != awkward {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		id := begin()
		w.Header().Set("X-Session", id)
		fmt.Fprintf(w, `{"data": {"token": %q}}`, id)
	default:
		id := r.Header.Get("X-Auth-Token")
		if c, err := r.Cookie("SID"); err == nil {
			id = c.Value
		}
		if strings.Contains(r.Header.Get("Cookie"), "not-for-us") {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		switch {
		case o.sessions[id]:
			_, _ = io.WriteString(w, "in")
		case r.URL.Path == "/app/redirects":
			http.Redirect(w, r, "/app/login", http.StatusFound)
		case r.URL.Path == "/app/pages":
			_, _ = io.WriteString(w, "<h1>Please sign in</h1>")
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	}
}

func (o *older) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sessions = map[string]bool{}
}

func TestAnOlderAppIsSignedInToByWhatIsWritten(t *testing.T) {
	form := map[string]string{"user": "{!$Credential.Username}", "pass": "{!$Credential.Password}"}
	for name, c := range map[string]signin.SessionConfig{
		"a form, a cookie, a hidden field": {Path: "/app/login", Form: form, Keep: "cookie", CSRF: signin.CSRF{Path: "/app/login", Field: "csrf_token", SendAs: "field:csrf_token"},
			EndedWhen: signin.Ended{RedirectTo: "/app/login", BodyContains: "Please sign in"}},
		"a token of a cookie": {Path: "/app/login", Form: form, Keep: "cookie", CSRF: signin.CSRF{Path: "/app/login", Cookie: "csrf", SendAs: "header:X-CSRF-Token"},
			EndedWhen: signin.Ended{RedirectTo: "/app/login", BodyContains: "Please sign in"}},
		"JSON, a token": {Path: "/app/api/session", JSON: map[string]any{"Login": map[string]any{"Name": "{!$Credential.Username}", "Password": "{!$Credential.Password}"}}, Keep: "token",
			Token: "data.token", Send: signin.Place{Header: "X-Auth-Token"}, EndedWhen: signin.Ended{RedirectTo: "/app/login", BodyContains: "Please sign in"}},
		"a token of a header": {Path: "/app/api/session", JSON: map[string]any{"Login": map[string]any{"Name": "{!$Credential.Username}", "Password": "{!$Credential.Password}"}}, Keep: "token",
			Token: "header:X-Session", Send: signin.Place{Header: "X-Auth-Token"}, EndedWhen: signin.Ended{RedirectTo: "/app/login", BodyContains: "Please sign in"}},
	} {
		t.Run(name, func(t *testing.T) {
			app := &older{sessions: map[string]bool{}}
			server := httptest.NewServer(app)
			defer server.Close()
			client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			s := open(t, signin.Config{Protocol: signin.Session, Username: "ada", Secret: value(awkward), Session: c}, server.URL+"/app", nil)
			for i, path := range []string{"/app/x", "/app/redirects", "/app/pages"} {
				var group sync.WaitGroup
				for range 20 { // many at once begin one session
					group.Go(func() {
						a, err := s.Get(context.Background(), "")
						for err == nil && a != nil {
							r := must(http.NewRequest("GET", server.URL+path, nil))
							if err = a.Sign(context.Background(), r, nil); err != nil {
								break
							}
							var answer *http.Response
							if answer, err = client.Do(r); err != nil {
								break
							}
							body, _ := io.ReadAll(answer.Body) // it is looked at below
							_ = answer.Body.Close()
							if string(body) == "in" {
								return
							}
							a, err = s.Again(context.Background(), a, answer.StatusCode, answer.Header, body)
						}
						t.Errorf("%s: not in: %v", path, err)
					})
				}
				group.Wait()
				app.mu.Lock()
				require.Equal(t, i+1, app.signIns, path)
				app.mu.Unlock()
				if i < 2 { // a session that was begun because another had ended is not doubted at once
					app.end()
					s = open(t, signin.Config{Protocol: signin.Session, Username: "ada", Secret: value(awkward), Session: c}, server.URL+"/app", nil)
				}
			}
			wrong := open(t, signin.Config{Protocol: signin.Session, Username: "ada", Secret: value(canary), Session: c}, server.URL+"/app", nil)
			_, err := wrong.Get(t.Context(), "")
			require.Equal(t, host.Unauthorized, host.CodeOf(err), "%v", err)
			require.ErrorContains(t, err, "refused")
			require.NotContains(t, err.Error(), canary)
		})
	}
}

func TestASessionThatHasEndedIsBegunAgainOnce(t *testing.T) {
	app := &older{sessions: map[string]bool{}}
	server := httptest.NewServer(app)
	defer server.Close()
	s := open(t, signin.Config{Protocol: signin.Session, Username: "ada", Secret: value(awkward), Session: signin.SessionConfig{Path: "/app/api/session", Keep: "token", Token: "data.token",
		JSON: map[string]any{"Login": map[string]any{"Name": "ada", "Password": "{!$Credential.Password}"}}, Send: signin.Place{Header: "X-Auth-Token"}}}, server.URL, nil)
	first, err := s.Get(t.Context(), "")
	require.NoError(t, err)
	app.end()
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			next, err := s.Again(context.Background(), first, http.StatusUnauthorized, nil, nil)
			if err != nil || next == nil {
				t.Errorf("%v %v", next, err)
			}
		})
	}
	group.Wait()
	require.Equal(t, 2, app.signIns)
}
