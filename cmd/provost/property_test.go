package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store/storetest"
)

// described is what the OpenAPI document says of one operation.
type described struct {
	method, path string
	Parameters   []struct {
		Name, In string
		Required bool
		Schema   map[string]any
	}
	RequestBody struct {
		Content map[string]struct{ Schema map[string]any }
	}
	Responses map[string]json.RawMessage
}

// document is the OpenAPI document of a host, to ask by and to judge by.
type document struct {
	operations []*described
	schemas    map[string]any
	compiler   *jsonschema.Compiler
}

const documentURL = "https://provost.invalid/openapi.json"

func readOpenAPI(t *testing.T, h http.Handler) *document {
	r := httptest.NewRequestWithContext(access.WithSubject(t.Context(), access.Everything(access.Owner, "test")), http.MethodGet, "/api/openapi.json", nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code)
	var doc struct {
		Paths      map[string]map[string]*described
		Components struct{ Schemas map[string]any }
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &doc))
	d := &document{schemas: doc.Components.Schemas, compiler: jsonschema.NewCompiler()}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(doc.Paths[path])) {
			o := doc.Paths[path][method]
			o.method, o.path = strings.ToUpper(method), path
			d.operations = append(d.operations, o)
		}
	}
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(w.Body.Bytes()))
	require.NoError(t, err)
	require.NoError(t, d.compiler.AddResource(documentURL, whole))
	return d
}

// answers compiles the schema of what an operation answers; nil for none.
func (d *document) answers(o *described, status int) (*jsonschema.Schema, error) {
	var r struct {
		Content map[string]struct{ Schema map[string]any }
	}
	if json.Unmarshal(o.Responses[fmt.Sprint(status)], &r) != nil || r.Content["application/json"].Schema == nil {
		return nil, nil
	}
	escape := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D")
	return d.compiler.Compile(fmt.Sprintf("%s#/paths/%s/%s/responses/%d/content/application~1json/schema", documentURL, escape.Replace(o.path), strings.ToLower(o.method), status))
}

// nasty are texts that somebody may send instead of what is wanted.
var nasty = []string{"", " ", "0", "-1", "9223372036854775808", "1e999", "../../etc/passwd", "..%2f..%2fetc", "a/b", "%00", "\x00", "\u202e", "é", "日本", "'; DROP TABLE users; --", "<script>alert(1)</script>",
	"${jndi:ldap://x}", "{{7*7}}", "null", "true", "UPR-000001", "UPR-", "UPA-99999999999999999999", "PLN-000001", "-number", "username", "*", "%", "_", "[]", strings.Repeat("x", 5000)}

// value makes something that a schema allows, or now and then does not.
func (d *document) value(t *rapid.T, schema map[string]any, depth int) any {
	if ref, ok := schema["$ref"].(string); ok {
		next, _ := d.schemas[ref[strings.LastIndex(ref, "/")+1:]].(map[string]any)
		return d.value(t, next, depth)
	}
	if depth > 5 || rapid.IntRange(0, 19).Draw(t, "wrong") == 0 {
		return rapid.SampledFrom([]any{nil, true, -1, 1e300, "x", []any{}, map[string]any{"unknown": 1}, []any{nil, map[string]any{}}}).Draw(t, "other")
	}
	if enum, ok := schema["enum"].([]any); ok && len(enum) > 0 {
		return rapid.SampledFrom(enum).Draw(t, "enum")
	}
	kind, _ := schema["type"].(string)
	if list, ok := schema["type"].([]any); ok && len(list) > 0 {
		kind, _ = rapid.SampledFrom(list).Draw(t, "type").(string)
	}
	switch kind {
	case "boolean":
		return rapid.Bool().Draw(t, "bool")
	case "integer":
		return rapid.SampledFrom([]any{0, 1, -1, 100, 1 << 40, json.Number("99999999999999999999")}).Draw(t, "integer")
	case "number":
		return rapid.SampledFrom([]any{0, 0.5, -1, 1e300}).Draw(t, "number")
	case "array":
		items, _ := schema["items"].(map[string]any)
		list := make([]any, rapid.IntRange(0, 3).Draw(t, "items"))
		for i := range list {
			list[i] = d.value(t, items, depth+1)
		}
		return list
	case "object":
		object := map[string]any{}
		properties, _ := schema["properties"].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			if member, _ := properties[name].(map[string]any); rapid.IntRange(0, 3).Draw(t, name) > 0 {
				object[name] = d.value(t, member, depth+1)
			}
		}
		if schema["additionalProperties"] != nil && schema["additionalProperties"] != false {
			object[rapid.SampledFrom(nasty[2:]).Draw(t, "name")] = rapid.SampledFrom(nasty).Draw(t, "member")
		}
		return object
	default:
		if schema["format"] == "date-time" && rapid.Bool().Draw(t, "date") {
			return "2026-01-02T03:04:05Z"
		}
		return rapid.OneOf(rapid.SampledFrom(nasty), rapid.SampledFrom([]string{"kestrel.ann", "ours", "theirs", "Ours", "mock"}), rapid.String()).Draw(t, "text")
	}
}

// spoilt makes of a body what nobody can read as it was meant.
var spoilt = []func([]byte) []byte{
	func(b []byte) []byte { return b[:len(b)/2] },
	func(b []byte) []byte { return append(bytes.Clone(b), b...) },
	func(b []byte) []byte { return append([]byte{0xff}, b...) },
	func(b []byte) []byte { return bytes.Replace(b, []byte(`":"`), []byte(`":"\u0000`), 1) },
	func(b []byte) []byte { return bytes.Replace(b, []byte(`":"`), []byte(`":"\ud800`), 1) },
	func(b []byte) []byte { return bytes.Replace(b, []byte(`{`), []byte(`{"user":"a","user":"b",`), 1) },
	func([]byte) []byte { return []byte("null") },
	func([]byte) []byte { return []byte(strings.Repeat(`[`, 20_000)) },
	func([]byte) []byte { return bytes.Repeat([]byte(" "), 2<<20) },
}

// notAsked are operations that call what is elsewhere, copy all there is, or
// have no end.
var notAsked = []string{"/api/v1/doctor", "/api/v1/backup", "/api/v1/support-bundle", api.EventsPath, "/api/v1/credentials/{name}/test"}

// subjects are one of each role, and one of each way.
func subjects() map[string]*access.Subject {
	all := map[string]*access.Subject{"owner": access.Everything(access.Owner, "owner"), "nobody": {Kind: access.Person, Name: "nobody"}}
	for _, r := range access.Roles {
		right := access.Right{Role: r.Name}
		if r.ByApp {
			right.Apps = []string{"theirs"}
		}
		all[r.Name] = &access.Subject{Kind: access.Token, Name: r.Name, Rights: []access.Right{right}}
	}
	return all
}

// Whatever is sent, by whomever, is answered as the OpenAPI document says, and
// is never a fault of ours.
func TestWhateverIsSentIsAnsweredAsTheDocumentSays(t *testing.T) {
	whateverIsSent(t, newScopedHost(t), 10)
}

// PostgreSQL is stricter about what a text may hold.
func TestWhateverIsSentToPostgreSQLIsAnsweredAsTheDocumentSays(t *testing.T) {
	whateverIsSent(t, newScopedHost(t, fmt.Sprintf("database: {url: %q}\n", storetest.Postgres(t))), 2)
}

func whateverIsSent(t *testing.T, h *scopedHost, rounds int) {
	d := readOpenAPI(t, h.handler)
	who := subjects()
	names := slices.Sorted(maps.Keys(who))
	var ids []string
	for _, id := range h.names {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	answered := map[int]int{}
	ask := func(rt *rapid.T) {
		o := rapid.SampledFrom(d.operations).Filter(func(o *described) bool { return !slices.Contains(notAsked, o.path) }).Draw(rt, "operation")
		path, query := o.path, url.Values{}
		header := http.Header{}
		for _, p := range o.Parameters {
			text := fmt.Sprint(d.value(rt, p.Schema, 0))
			switch p.In {
			case "path":
				text = rapid.OneOf(rapid.SampledFrom(ids), rapid.SampledFrom(nasty[1:])).Draw(rt, p.Name)
				path = strings.ReplaceAll(path, "{"+p.Name+"}", url.PathEscape(text))
			case "query":
				if rapid.IntRange(0, 2).Draw(rt, "query") == 0 {
					query.Set(p.Name, text)
				}
			case "header":
				if rapid.IntRange(0, 3).Draw(rt, "header") == 0 {
					header.Set(p.Name, strings.Map(func(c rune) rune {
						if c < ' ' || c > '~' {
							return -1
						}
						return c
					}, text))
				}
			}
		}
		var body []byte
		for kind, media := range o.RequestBody.Content {
			header.Set("Content-Type", kind)
			if strings.Contains(kind, "json") {
				body, _ = json.Marshal(d.value(rt, media.Schema, 0))
			} else {
				body = []byte(rapid.SampledFrom([]string{"Username,LastName\nx,y\n", "\x00asm\x01\x00\x00\x00", "{", `{"Username":"z"}` + "\n"}).Draw(rt, "file"))
			}
			break
		}
		if rapid.IntRange(0, 9).Draw(rt, "unknown") == 0 {
			query.Set("x-unknown", "42")
		}
		for name := range query {
			if rapid.IntRange(0, 9).Draw(rt, "again") == 0 {
				query.Add(name, query.Get(name))
			}
		}
		if rapid.IntRange(0, 9).Draw(rt, "spoil") == 0 {
			body = rapid.SampledFrom(spoilt).Draw(rt, "spoilt")(body)
		}
		if rapid.IntRange(0, 19).Draw(rt, "type") == 0 {
			header.Set("Content-Type", rapid.SampledFrom([]string{"text/plain", "application/xml", "multipart/form-data", "application/json; charset=latin1", ""}).Draw(rt, "kind"))
		}
		if rapid.IntRange(0, 19).Draw(rt, "packed") == 0 {
			header.Set("Content-Encoding", "gzip")
		}
		role := rapid.SampledFrom(names).Draw(rt, "role")
		target := url.URL{Path: "/", RawQuery: query.Encode()}
		r := httptest.NewRequestWithContext(access.WithSubject(t.Context(), who[role]), o.method, target.String(), bytes.NewReader(body))
		parsed, err := url.Parse(path)
		if err != nil {
			return // no client can send it
		}
		r.URL.Path, r.URL.RawPath, r.Header = parsed.Path, parsed.RawPath, header
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, r)
		answered[w.Code/100]++
		said := fmt.Sprintf("%s %s %.2000s as %s: HTTP %d %.500s", o.method, r.URL, body, role, w.Code, w.Body)
		if w.Code == http.StatusTemporaryRedirect || w.Code == http.StatusMovedPermanently {
			return // another way to write the path
		}
		require.NotEqual(rt, http.StatusInternalServerError, w.Code, said)
		if w.Code >= 400 {
			var p api.Problem
			require.Equal(rt, "application/problem+json", w.Header().Get("Content-Type"), said)
			require.NoError(rt, json.Unmarshal(w.Body.Bytes(), &p), said)
			require.Equal(rt, w.Code, p.Status, said)
			require.NotEmpty(rt, p.Code, said)
			require.True(rt, o.Responses[fmt.Sprint(w.Code)] != nil || w.Code == http.StatusMethodNotAllowed, said)
			return
		}
		require.Contains(rt, o.Responses, fmt.Sprint(w.Code), said)
		schema, err := d.answers(o, w.Code)
		require.NoError(rt, err, said)
		if schema == nil || header.Get(api.DryRunHeader) != "" || query.Get("fields") != "" {
			return
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(w.Body.Bytes()))
		require.NoError(rt, err, said)
		require.NoError(rt, schema.Validate(value), said)
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) { rapid.Check(t, ask) })
	}
	t.Logf("answers by hundred: %v", answered)
	require.Positive(t, answered[2], "nothing was answered well: %v", answered)
	require.Positive(t, answered[4], "nothing was refused: %v", answered)
}
