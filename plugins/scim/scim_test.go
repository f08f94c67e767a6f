package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/pdk"
	"github.com/provosthq/provost/plugins/scim/scimtarget"
	"github.com/provosthq/provost/testdata/scimmy"
)

// world plays the host over a real server.
type world struct {
	t        *testing.T
	base     string
	token    string
	settings map[string]any
	sent     []string
}

func (w *world) http(method, target string, header map[string]string, body []byte) *pdk.Response {
	path := strings.TrimPrefix(target, "callout:X")
	r, err := http.NewRequest(method, w.base+path, strings.NewReader(string(body)))
	require.NoError(w.t, err)
	for k, v := range header {
		r.Header.Set(k, v)
	}
	r.Header.Set("Authorization", "Bearer "+w.token)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(w.t, err)
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	require.NoError(w.t, err)
	h := map[string]string{}
	for k := range answer.Header {
		h[strings.ToLower(k)] = answer.Header.Get(k)
	}
	w.sent = append(w.sent, fmt.Sprintf("%s %s %s -> %d", method, path, body, answer.StatusCode))
	return &pdk.Response{Status: answer.StatusCode, Header: h, Body: b}
}

func (w *world) call(op pdk.Operation, in pdk.Input) (pdk.Output, error) {
	w.t.Helper()
	in.Operation, in.NamedCredDevName, in.Settings = op, "X", w.settings
	raw, err := jsonOf(in)
	require.NoError(w.t, err)
	ctx := pdk.NewContext(w.http, time.Now, func(string, string) {})
	out, failure := pdk.Handle(ctx, scim{}, pdk.Describe(scim{}, description), op, raw)
	if failure != nil {
		return pdk.Output{}, failure
	}
	o, err := pdk.DecodeOutput(out)
	require.NoError(w.t, err)
	return o, nil
}

func person(n int) map[string]any {
	return map[string]any{
		"userName": fmt.Sprintf("o'brien.%d@example.com", n), "externalId": fmt.Sprintf("ext-%d", n), "active": true,
		"name":           map[string]any{"givenName": "Zoë", "familyName": `O"Brien\`},
		"emails":         []any{map[string]any{"type": "work", "value": fmt.Sprintf("zoe.%d@example.com", n)}},
		enterpriseSchema: map[string]any{"department": "研究"},
	}
}

func known(id string) *pdk.UserProvAccount { return &pdk.UserProvAccount{ExternalUserId: id} }

// servers are the real ones: one in Go, one in JavaScript, one without PATCH.
func servers(t *testing.T, do func(t *testing.T, w *world)) {
	start := func(o scimtarget.Options) func(t *testing.T) string {
		return func(t *testing.T) string {
			o.Token = "secret"
			target, err := scimtarget.New(o)
			require.NoError(t, err)
			s := httptest.NewServer(target)
			t.Cleanup(s.Close)
			return s.URL
		}
	}
	for name, base := range map[string]func(t *testing.T) string{
		"elimity":           start(scimtarget.Options{}),
		"elimity, PUT only": start(scimtarget.Options{NoPatch: true}),
		"scimmy":            func(t *testing.T) string { return scimmy.Start(t, "secret") },
	} {
		t.Run(name, func(t *testing.T) { do(t, &world{t: t, base: base(t), token: "secret"}) })
	}
}

func TestAnAccountLivesAndEndsOnRealServers(t *testing.T) {
	servers(t, func(t *testing.T, w *world) {
		made, err := w.call(pdk.OpCreate, pdk.Input{Attributes: person(1)})
		require.NoError(t, err)
		require.NotEmpty(t, made.ExternalUserId)
		require.Equal(t, "o'brien.1@example.com", made.ExternalUsername)
		require.Equal(t, "zoe.1@example.com", made.ExternalEmail)

		_, err = w.call(pdk.OpCreate, pdk.Input{Attributes: person(1)})
		require.Equal(t, pdk.AlreadyExists, pdk.TypeOf(err))

		for name, in := range map[string]pdk.Input{
			"id":         {UserProvAccount: known(made.ExternalUserId)},
			"userName":   {Attributes: map[string]any{"userName": "o'brien.1@example.com"}},
			"externalId": {Attributes: map[string]any{"externalId": "ext-1"}},
			"e-mail":     {Attributes: map[string]any{"emails": []any{map[string]any{"type": "work", "value": "zoe.1@example.com"}}}},
		} {
			found, err := w.call(pdk.OpRead, in)
			require.NoError(t, err, name)
			require.Equal(t, made.ExternalUserId, found.ExternalUserId, name)
		}
		_, err = w.call(pdk.OpRead, pdk.Input{Attributes: map[string]any{"userName": `no"body\`}})
		require.Equal(t, pdk.NotFound, pdk.TypeOf(err))

		changed := person(1)
		changed["name"] = map[string]any{"givenName": "Zoë", "familyName": "Łukasz"}
		changed[enterpriseSchema] = map[string]any{"department": "Finance"}
		changed["emails"] = []any{map[string]any{"type": "work", "value": "new@example.com"}}
		after, err := w.call(pdk.OpUpdate, pdk.Input{UserProvAccount: known(made.ExternalUserId), Attributes: changed,
			ChangedAttributes: []string{"name.familyName", enterpriseSchema + ":department", "emails[work].value", "externalId"}})
		require.NoError(t, err)
		require.Equal(t, "Łukasz", after.ExternalLastName)
		require.Equal(t, "new@example.com", after.ExternalEmail)
		department, _ := pdk.GetPath(after.Attributes, enterpriseSchema+":department")
		require.Equal(t, "Finance", department)

		off, err := w.call(pdk.OpDeactivate, pdk.Input{UserProvAccount: known(made.ExternalUserId)})
		require.NoError(t, err)
		require.Equal(t, "inactive", off.Status)
		require.Equal(t, "Łukasz", off.ExternalLastName, "nothing else changes")
		on, err := w.call(pdk.OpActivate, pdk.Input{UserProvAccount: known(made.ExternalUserId)})
		require.NoError(t, err)
		require.Equal(t, "active", on.Status)

		for range 2 { // what is gone is gone
			_, err = w.call(pdk.OpDelete, pdk.Input{UserProvAccount: known(made.ExternalUserId)})
			require.NoError(t, err)
		}
		_, err = w.call(pdk.OpRead, pdk.Input{UserProvAccount: known(made.ExternalUserId)})
		require.Equal(t, pdk.NotFound, pdk.TypeOf(err))
	})
}

func TestCollectingFindsEverybodyOnceOnRealServers(t *testing.T) {
	servers(t, func(t *testing.T, w *world) {
		w.settings = map[string]any{"pageSize": 7}
		for i := range 25 {
			_, err := w.call(pdk.OpCreate, pdk.Input{Attributes: person(i)})
			require.NoError(t, err)
		}
		seen, offset := map[string]int{}, ""
		for range 10 {
			out, err := w.call(pdk.OpReconcile, pdk.Input{ReconOffset: offset})
			require.NoError(t, err)
			for _, a := range out.Accounts {
				seen[a.ExternalUserId]++
			}
			if ended, _ := pdk.ReconEnded(out.ReconState); ended {
				break
			}
			offset = out.NextReconOffset
		}
		require.Len(t, seen, 25)
		for id, n := range seen {
			require.Equal(t, 1, n, id)
		}
		out, err := w.call(pdk.OpReconcile, pdk.Input{ReconFilter: `userName eq "o'brien.3@example.com"`})
		require.NoError(t, err)
		require.Len(t, out.Accounts, 1)
	})
}

func TestDiscoverSaysWhatTheServerHas(t *testing.T) {
	servers(t, func(t *testing.T, w *world) {
		raw, err := jsonOf(pdk.Input{Operation: pdk.OpDiscover, NamedCredDevName: "X"})
		require.NoError(t, err)
		out, failure := pdk.Handle(pdk.NewContext(w.http, time.Now, func(string, string) {}), scim{}, pdk.Describe(scim{}, description), pdk.OpDiscover, raw)
		require.Nil(t, failure)
		d, err := pdk.DecodeDiscovery(out)
		require.NoError(t, err)
		names := map[string]bool{}
		for _, a := range d.ObjectClasses[0].Attributes {
			names[a.Name] = true
		}
		require.True(t, names["userName"] && names["emails"] && names[enterpriseSchema+":department"], "%v", names)
		require.True(t, d.Capabilities.Filter)
		require.Equal(t, !strings.Contains(t.Name(), "PUT_only"), d.Capabilities.PartialUpdate)
	})
}

func TestQuirksOfServersSeenInTheWild(t *testing.T) {
	serve := func(t *testing.T, answers map[string]string) *world {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			key := r.Method + " " + r.URL.EscapedPath()
			if q := r.URL.Query().Get("startIndex"); q != "" {
				key += " " + q
			}
			answer, ok := answers[key]
			if !ok {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			status, body, _ := strings.Cut(answer, " ")
			if status == "429" {
				w.Header().Set("Retry-After", "7")
			}
			w.Header().Set("Content-Type", "application/json")
			var code int
			_, err := fmt.Sscan(status, &code)
			require.NoError(t, err)
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}))
		t.Cleanup(s.Close)
		return &world{t: t, base: s.URL + "/base/scim"}
	}
	t.Run("active as a string, numbers as strings, an id that needs escaping", func(t *testing.T) {
		w := serve(t, map[string]string{
			"GET /base/scim/Users/a%2Fb%20c": `200 {"id":"a/b c","userName":"x","active":"False"}`,
			"GET /base/scim/Users 1":         `200 {"totalResults":"3","Resources":[{"id":17,"userName":"n","active":"True"}]}`,
		})
		got, err := w.call(pdk.OpRead, pdk.Input{UserProvAccount: known("a/b c")})
		require.NoError(t, err)
		require.Equal(t, "inactive", got.Status)
		require.Equal(t, false, got.Attributes["active"])
		page, err := w.call(pdk.OpReconcile, pdk.Input{})
		require.NoError(t, err)
		require.Equal(t, "17", page.Accounts[0].ExternalUserId)
		require.Equal(t, "2", page.NextReconOffset, "a page smaller than asked is no end")
	})
	t.Run("a server that does not page is found out", func(t *testing.T) {
		w := serve(t, map[string]string{"GET /base/scim/Users 21": `200 {"totalResults":25,"startIndex":1,"Resources":[{"id":"1"}]}`})
		_, err := w.call(pdk.OpReconcile, pdk.Input{ReconOffset: "21"})
		require.Equal(t, pdk.Unsupported, pdk.TypeOf(err))
	})
	t.Run("an empty page ends the collecting, without Resources too", func(t *testing.T) {
		w := serve(t, map[string]string{"GET /base/scim/Users 4": `200 {"totalResults":3}`})
		page, err := w.call(pdk.OpReconcile, pdk.Input{ReconOffset: "4"})
		require.NoError(t, err)
		require.Equal(t, pdk.ReconStateComplete, page.ReconState)
	})
	t.Run("a server that counts accounts that it does not list is believed at the third time, at the end of the list", func(t *testing.T) {
		w := serve(t, map[string]string{"GET /base/scim/Users 4": `200 {"totalResults":90}`, "GET /base/scim/Users 5": `200 {"totalResults":900,"Resources":[]}`})
		for attempt, want := range []pdk.ErrorType{1: pdk.Unavailable, 2: pdk.Unavailable, 3: ""} {
			_, err := w.call(pdk.OpReconcile, pdk.Input{ReconOffset: "4", Attempt: attempt})
			if attempt > 0 {
				require.Equal(t, want, pdk.TypeOf(err), "attempt %d", attempt)
			}
			_, err = w.call(pdk.OpReconcile, pdk.Input{ReconOffset: "5", Attempt: attempt})
			require.ErrorContains(t, err, "there are 900 accounts, and gives none from 5 on")
		}
	})
	t.Run("JSON that is no list, or nothing at all, does not end the collecting", func(t *testing.T) {
		for _, body := range []string{`200 {}`, `200 {"ok":true}`, `200 `} {
			w := serve(t, map[string]string{"GET /base/scim/Users 4": body})
			_, err := w.call(pdk.OpReconcile, pdk.Input{ReconOffset: "4"})
			require.Equal(t, pdk.Unavailable, pdk.TypeOf(err), body)
		}
	})
	t.Run("errors are typed, with the server's words", func(t *testing.T) {
		w := serve(t, map[string]string{
			"POST /base/scim/Users":     `400 {"status":"400","scimType":"invalidValue","detail":"userName is too long"}`,
			"GET /base/scim/Users/x":    `429 {}`,
			"GET /base/scim/Users/y":    `503 <html>later</html>`,
			"GET /base/scim/Users/z":    `200 <html>sign in</html>`,
			"DELETE /base/scim/Users/x": `404 {}`,
		})
		_, err := w.call(pdk.OpCreate, pdk.Input{Attributes: person(1)})
		var e *pdk.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, pdk.InvalidInput, e.Type)
		require.Equal(t, "invalidValue: userName is too long", e.Details)
		_, err = w.call(pdk.OpRead, pdk.Input{UserProvAccount: known("x")})
		require.ErrorAs(t, err, &e)
		require.Equal(t, pdk.RateLimited, e.Type)
		require.Equal(t, 7, e.RetryAfterSeconds)
		for _, id := range []string{"y", "z"} {
			_, err = w.call(pdk.OpRead, pdk.Input{UserProvAccount: known(id)})
			require.Equal(t, pdk.Unavailable, pdk.TypeOf(err))
		}
		_, err = w.call(pdk.OpDelete, pdk.Input{UserProvAccount: known("x")})
		require.NoError(t, err)
	})
	t.Run("a server without PATCH that does not say so is given the whole account", func(t *testing.T) {
		w := serve(t, map[string]string{
			"GET /base/scim/Users/x": `200 {"id":"x","userName":"x","kept":1,"meta":{"version":"W/1"}}`,
			"PUT /base/scim/Users/x": `200 {"id":"x","userName":"x","kept":1,"active":false}`,
		})
		got, err := w.call(pdk.OpDeactivate, pdk.Input{UserProvAccount: known("x")})
		require.NoError(t, err)
		require.Equal(t, "inactive", got.Status)
		require.Contains(t, w.sent[len(w.sent)-1], `"kept":1`)
	})
	t.Run("a preset sends one change at a time", func(t *testing.T) {
		w := serve(t, map[string]string{"PATCH /base/scim/Users/x": `200 {"id":"x","userName":"y"}`})
		w.settings = map[string]any{"preset": "aws-identity-center"}
		_, err := w.call(pdk.OpUpdate, pdk.Input{UserProvAccount: known("x"), Attributes: person(1), ChangedAttributes: []string{"userName", "active"}})
		require.NoError(t, err)
		require.Len(t, w.sent, 2)
	})
	t.Run("a server that ignores filters is not believed", func(t *testing.T) {
		w := serve(t, map[string]string{"GET /base/scim/Users": `200 {"totalResults":1,"Resources":[{"id":"other","userName":"somebody else"}]}`})
		_, err := w.call(pdk.OpRead, pdk.Input{Attributes: map[string]any{"userName": "me"}})
		require.Equal(t, pdk.NotFound, pdk.TypeOf(err))
	})
}

func TestFilterValuesAreEscaped(t *testing.T) {
	for in, want := range map[string]string{`a"b`: `"a\"b"`, `a\b`: `"a\\b"`, "x<&>": `"x<&>"`, "é": `"é"`} {
		require.Equal(t, want, quote(in))
	}
	require.Equal(t, `emails[type eq "work"].value`, scimPath("emails[work].value"))
}

func jsonOf(v any) ([]byte, error) { return json.Marshal(v) }
