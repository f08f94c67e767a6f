package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/provosthq/provost/pdk"
	"github.com/provosthq/provost/plugins/scim/scimtarget"
)

func serverOf(t *testing.T, h http.HandlerFunc) *world {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return &world{t: t, base: s.URL}
}
func show(t *testing.T, w *world) {
	for _, s := range w.sent {
		t.Log(s)
	}
}

// 1 no totalResults, server caps at 2 of 5 while 100 were asked
func TestCollectingGoesOnToAnEmptyPageWithoutATotal(t *testing.T) {
	w := serverOf(t, func(w http.ResponseWriter, r *http.Request) {
		i := 1
		fmt.Sscan(r.URL.Query().Get("startIndex"), &i)
		list := ""
		for k := i; k < i+2 && k <= 5; k++ {
			if list != "" {
				list += ","
			}
			list += fmt.Sprintf(`{"id":"%d"}`, k)
		}
		fmt.Fprintf(w, `{"startIndex":%d,"itemsPerPage":2,"Resources":[%s]}`, i, list)
	})
	seen, off := 0, ""
	for range 10 {
		out, err := w.call(pdk.OpReconcile, pdk.Input{ReconOffset: off})
		if err != nil {
			t.Fatal(err)
		}
		seen += len(out.Accounts)
		if e, _ := pdk.ReconEnded(out.ReconState); e {
			break
		}
		off = out.NextReconOffset
	}
	if seen != 5 {
		t.Errorf("reported complete after %d of 5", seen)
	}
}

// 2 HTML or a wrong type at /ServiceProviderConfig
func TestDiscoverTakesWrongPartsForWarnings(t *testing.T) {
	for _, body := range []string{`<html>app</html>`, `{"patch":true,"filter":{"supported":"true","maxResults":"200"}}`, `{"patch":{"supported":true},"filter":{"supported":true,"maxResults":"200"}}`} {
		w := serverOf(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/ServiceProviderConfig" {
				io.WriteString(w, body)
				return
			}
			w.WriteHeader(404)
		})
		raw, _ := jsonOf(pdk.Input{Operation: pdk.OpDiscover, NamedCredDevName: "X"})
		ctx := pdk.NewContext(w.http, func() (z timeT) { return }, func(string, string) {})
		out, f := pdk.Handle(ctx, scim{}, pdk.Describe(scim{}, description), pdk.OpDiscover, raw)
		if f != nil {
			t.Errorf("%s: discover failed: %v", body, f)
			continue
		}
		d, _ := pdk.DecodeDiscovery(out)
		t.Logf("%s -> limits %+v, warnings %v", body, d.Limits, d.Warnings)
	}
}

// 3 externalId is case exact
func TestExternalIdIsCaseExact(t *testing.T) {
	w := serverOf(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"totalResults":1,"Resources":[{"id":"other","userName":"o","externalId":"ABC"}]}`)
	})
	out, err := w.call(pdk.OpRead, pdk.Input{Attributes: map[string]any{"externalId": "abc"}})
	if err == nil {
		t.Errorf("externalId abc found account %s of ABC", out.ExternalUserId)
	}
}

// 4 two members of one element that is not there; 5 only 400, not noTarget
func TestAMissingElementIsAddedWhole(t *testing.T) {
	target, _ := scimtarget.New(scimtarget.Options{})
	id, _ := target.Add(map[string]any{"userName": "x"})
	w := serverOf(t, target.ServeHTTP)
	w.settings = map[string]any{"update": "patch"}
	_, err := w.call(pdk.OpUpdate, pdk.Input{UserProvAccount: known(id),
		Attributes:        map[string]any{"addresses": []any{map[string]any{"type": "work", "locality": "Bonn", "country": "DE"}}},
		ChangedAttributes: []string{"addresses[work].locality", "addresses[work].country"}})
	t.Log(err)
	a := target.Accounts()[0].Attributes["addresses"]
	t.Logf("%v", a)
	if l, _ := a.([]any); len(l) != 1 {
		t.Errorf("%d elements instead of 1", len(l))
		show(t, w)
	}
}
func TestAnInvalidPathIsNoMissingElement(t *testing.T) {
	w := serverOf(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.Method == "PATCH" && !contains(string(b), `"add"`) {
			w.WriteHeader(400)
			io.WriteString(w, `{"status":"400","scimType":"invalidPath","detail":"value filters are not supported"}`)
			return
		}
		io.WriteString(w, `{"id":"x","userName":"x"}`)
	})
	w.settings = map[string]any{"update": "patch"}
	_, err := w.call(pdk.OpUpdate, pdk.Input{UserProvAccount: known("x"), Attributes: person(1), ChangedAttributes: []string{"emails[work].value"}})
	if err == nil {
		t.Errorf("invalidPath was answered with an add: a second work e-mail")
		show(t, w)
	}
}

// 6 nested removes on PUT
func TestRemovingInsideElementsAndExtensions(t *testing.T) {
	r := resource{enterpriseSchema: map[string]any{"manager": map[string]any{"value": "7"}},
		"addresses": []any{map[string]any{"type": "work", "locality": "Bonn", "country": "DE"}}}
	remove(r, enterpriseSchema+":manager.value")
	remove(r, "addresses[work].country")
	if _, ok := pdk.GetPath(r, enterpriseSchema+":manager.value"); ok {
		t.Errorf("manager.value is still there")
	}
	if _, ok := pdk.GetPath(r, "addresses[work].locality"); !ok {
		t.Errorf("removing the country took the whole address: %v", r)
	}
}

// 7 a null value; 8 removal of the only e-mail on a PUT-only server
func TestANullValueRemoves(t *testing.T) {
	for _, c := range changes(pdk.Input{Attributes: map[string]any{"title": nil}, ChangedAttributes: []string{"title"}}) {
		b, _ := jsonOf(c)
		if contains(string(b), "replace") {
			t.Errorf("%s", b)
		}
	}
}
func TestRemovingTheLastEmailByPut(t *testing.T) {
	target, _ := scimtarget.New(scimtarget.Options{NoPatch: true})
	id, _ := target.Add(map[string]any{"userName": "x", "emails": []any{map[string]any{"type": "work", "value": "a@b"}}})
	w := serverOf(t, target.ServeHTTP)
	_, err := w.call(pdk.OpUpdate, pdk.Input{UserProvAccount: known(id), Attributes: map[string]any{}, ChangedAttributes: []string{"emails[work].value"}})
	if err != nil {
		t.Errorf("%v", err)
		show(t, w)
	}
}

// 9 PATCH 404 for the method; 10 204; 11 cursor, set and announced
func TestAPatchThatIsNotFoundIsPut(t *testing.T) {
	w := serverOf(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PATCH" || r.URL.Path == "/ServiceProviderConfig" {
			w.WriteHeader(404)
			return
		}
		io.WriteString(w, `{"id":"x","userName":"x","active":false}`)
	})
	_, err := w.call(pdk.OpDeactivate, pdk.Input{UserProvAccount: known("x")})
	if err != nil {
		t.Errorf("no PUT after a 404 for the method: %v", err)
	}
}
func TestAnAnswerWithoutContentIsReadBack(t *testing.T) {
	w := serverOf(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PATCH" {
			w.WriteHeader(204)
			return
		}
		io.WriteString(w, `{"id":"x","userName":"x","active":false}`)
	})
	w.settings = map[string]any{"update": "patch"}
	out, err := w.call(pdk.OpDeactivate, pdk.Input{UserProvAccount: known("x")})
	if err != nil || out.Status != "inactive" {
		t.Errorf("%v %v", out, err)
	}
}
func TestCollectingByCursor(t *testing.T) {
	for _, set := range []bool{true, false} {
		w := serverOf(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/ServiceProviderConfig":
				io.WriteString(w, `{"pagination":{"cursor":true,"index":false}}`)
			case !r.URL.Query().Has("cursor"):
				w.WriteHeader(400)
			case r.URL.Query().Get("cursor") == "":
				io.WriteString(w, `{"totalResults":2,"nextCursor":"c/2","Resources":[{"id":"1"}]}`)
			default:
				io.WriteString(w, `{"totalResults":2,"Resources":[{"id":"2"}]}`)
			}
		})
		if set {
			w.settings = map[string]any{"paging": "cursor"}
		}
		n, off := 0, ""
		for range 4 {
			out, err := w.call(pdk.OpReconcile, pdk.Input{ReconOffset: off, ReconFilter: `userName sw "a b&c"`})
			if err != nil {
				t.Errorf("setting given: %v: %v", set, err)
				break
			}
			n += len(out.Accounts)
			if off = out.NextReconOffset; off == "" {
				break
			}
		}
		if n != 2 {
			t.Errorf("setting given: %v: %d of 2", set, n)
		}
		show(t, w)
	}
}

type timeT = time.Time

func contains(s, sub string) bool { return strings.Contains(s, sub) }

func TestADeleteThatIsAnsweredWithAPageForPeopleIsNotDone(t *testing.T) {
	w := serverOf(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>Sign in</html>") })
	_, err := w.call(pdk.OpDelete, pdk.Input{UserProvAccount: known("1")})
	if pdk.TypeOf(err) != pdk.Unavailable {
		t.Errorf("deleted, by an answer that is a sign-in page: %v", err)
	}
	w = serverOf(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
	if _, err := w.call(pdk.OpDelete, pdk.Input{UserProvAccount: known("1")}); err != nil {
		t.Error(err)
	}
}

func TestAnAccountIsFoundByTheIdWeGaveItBeforeAStrangersByItsName(t *testing.T) {
	target, _ := scimtarget.New(scimtarget.Options{})
	_, _ = target.Add(map[string]any{"userName": "kim"})
	mine, _ := target.Add(map[string]any{"userName": "kim2", "externalId": "u-1"})
	w := serverOf(t, target.ServeHTTP)
	out, err := w.call(pdk.OpRead, pdk.Input{Attributes: map[string]any{"userName": "kim", "externalId": "u-1"}})
	if err != nil || out.ExternalUserId != mine {
		t.Errorf("found %q, not %q: %v", out.ExternalUserId, mine, err)
	}
}

// An initial password goes into the new account's body, and is no part of what
// is told of the account.
func TestAnInitialPasswordIsSentOnCreate(t *testing.T) {
	body := ""
	w := serverOf(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		body = string(b)
		w.WriteHeader(201)
		fmt.Fprint(w, `{"id":"7",`+strings.TrimPrefix(body, "{"))
	})
	out, err := w.call(pdk.OpCreate, pdk.Input{Attributes: map[string]any{"userName": "jdoe"}, Secrets: map[string]string{"password": "hunter22"}})
	if err != nil || !strings.Contains(body, `"password":"hunter22"`) {
		t.Fatalf("%v, sent %s", err, body)
	}
	if _, there := out.Attributes["password"]; there || out.ExternalUserId != "7" {
		t.Errorf("the answer is %+v", out)
	}
}
