package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/provosthq/provost/host"
)

// Bounds of a body that is JSON: bytes, how deep it may go, and how long its
// sender may take.
const (
	maxBody     = 1 << 20
	deepestBody = 200
	bodyTimeout = 30 * time.Second
)

// wellFormed refuses what nobody could read as it was meant, before anybody
// reads it: parameters that the route does not have, or that are given twice,
// text that is no UTF-8 or has U+0000 in it, a body that is compressed, too
// large or no JSON, or in which an object has a member twice.
func wellFormed(operations map[string]*operation, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := operations[r.Pattern]
		if o == nil {
			next.ServeHTTP(w, r)
			return
		}
		if !readable(r.URL.Path) {
			refuse(w, r, host.Errorf(host.NotFound, "nothing has such a name: the path has bytes in it that are no UTF-8, or U+0000"))
			return
		}
		if e := r.Header.Get("Content-Encoding"); r.Method != http.MethodGet && e != "" && !strings.EqualFold(e, "identity") {
			w.Header().Set("Accept-Encoding", "identity")
			newProblem(http.StatusUnsupportedMediaType, host.Unsupported, fmt.Sprintf("a body with Content-Encoding %.40q is not taken; send it as it is", e)).write(w)
			return
		}
		query, err := o.query(r.URL.RawQuery)
		if err != nil {
			problem(err).write(w)
			return
		}
		r.URL.RawQuery = query.Encode()
		if o.json {
			if p := readBody(w, r); p != nil {
				p.write(w)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func readable(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }

// operation is what is asked of the calls of a route.
type operation struct {
	params map[string]*huma.Param
	// members are those of what is answered, which fields may name; nil where they
	// are not known before.
	members map[string]bool
	// json tells that the body is.
	json bool
}

// operations are those that the document describes, by their routes.
func operations(doc *huma.OpenAPI) map[string]*operation {
	all := map[string]*operation{}
	for path, item := range doc.Paths {
		for _, described := range methodsOf(item) {
			o := &operation{params: map[string]*huma.Param{}}
			for _, p := range described.Parameters {
				if p.In == "query" {
					o.params[p.Name] = p
				}
			}
			if described.RequestBody != nil {
				_, o.json = described.RequestBody.Content["application/json"]
			}
			o.members = answered(doc, described)
			all[described.Method+" "+path] = o
		}
	}
	return all
}

func methodsOf(item *huma.PathItem) []*huma.Operation {
	return slices.DeleteFunc([]*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete}, func(o *huma.Operation) bool { return o == nil })
}

// answered are the members of the object that an operation answers, or of each
// in its list.
func answered(doc *huma.OpenAPI, o *huma.Operation) map[string]bool {
	ok := o.Responses["200"]
	if ok == nil || ok.Content["application/json"] == nil {
		return nil
	}
	s := ok.Content["application/json"].Schema
	for s != nil && (s.Ref != "" || s.Items != nil) {
		if s.Ref != "" {
			s = doc.Components.Schemas.SchemaFromRef(s.Ref)
		} else {
			s = s.Items
		}
	}
	if s == nil || len(s.Properties) == 0 {
		return nil
	}
	members := map[string]bool{}
	for name := range s.Properties {
		members[name] = true
	}
	return members
}

// query reads a query. What is given twice of a list is all of the list.
func (o *operation) query(raw string) (url.Values, error) {
	wrong := func(name, format string, args ...any) error {
		return &host.Error{Code: host.InvalidInput, Field: fmt.Sprintf("query %.100s", name), Message: fmt.Sprintf("query %.100s: ", name) + fmt.Sprintf(format, args...)}
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, &host.Error{Code: host.InvalidInput, Field: "query", Message: "the query can't be read: " + err.Error()}
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		values, p := query[name], o.params[name]
		switch {
		case p == nil && len(o.params) == 0:
			return nil, wrong(name, "this path has no parameters")
		case p == nil:
			return nil, wrong(name, "there is no such parameter here; there is %s", strings.Join(slices.Sorted(maps.Keys(o.params)), ", "))
		case !slices.ContainsFunc(values, func(v string) bool { return !readable(v) }):
		default:
			return nil, wrong(name, "it has bytes in it that are no UTF-8, or U+0000")
		}
		list, plain := p.Schema.Type == huma.TypeArray, p.Schema.Type == huma.TypeString && p.Schema.Format == "" && len(p.Schema.Enum) == 0
		switch {
		case list && (p.Explode == nil || !*p.Explode):
			query.Set(name, strings.Join(values, ","))
		case !list && len(values) > 1:
			return nil, wrong(name, "is given %d times; give it once", len(values))
		case !list && !plain && values[0] == "":
			return nil, wrong(name, "is empty; leave it out, or give it a value")
		}
		if err := fits(p.Schema, values[0]); err != "" {
			return nil, wrong(name, "%s", err)
		}
	}
	if names := query.Get("fields"); names != "" && o.members != nil {
		for name := range strings.SplitSeq(names, ",") {
			if name = strings.TrimSpace(name); name != "" && !o.members[name] {
				return nil, wrong("fields", "there is no member %.60q; there is %s", name, strings.Join(slices.Sorted(maps.Keys(o.members)), ", "))
			}
		}
	}
	return query, nil
}

// fits tells what is wrong with a value of a parameter; "" for nothing.
func fits(s *huma.Schema, text string) string {
	switch _, isBool := strconv.ParseBool(text); {
	case s.Type == huma.TypeBoolean && isBool != nil:
		return fmt.Sprintf("%.40q is neither true nor false", text)
	case s.Format == "date-time":
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			return fmt.Sprintf("%.40q is no date and time such as 2026-01-31T15:04:05Z", text)
		}
	case len(s.Enum) > 0 && !slices.Contains(s.Enum, any(text)):
		return fmt.Sprintf("%.40q is none of %s", text, docsType(s))
	}
	return ""
}

// readBody reads a body that is JSON, and gives it back to r. Where its type
// says that it is something else, that is refused later.
func readBody(w http.ResponseWriter, r *http.Request) *Problem {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout)) // not every writer knows it
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	_ = rc.SetReadDeadline(time.Time{})
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return problem(err)
	case err != nil:
		return newProblem(http.StatusBadRequest, host.InvalidInput, "the body did not come whole: "+err.Error())
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
	if !strings.Contains(r.Header.Get("Content-Type"), "json") && r.Header.Get("Content-Type") != "" || len(text) == 0 {
		return nil
	}
	return checkJSON(text)
}

// checkJSON tells what is wrong with a text of JSON, in a way that a reader of
// it would not.
func checkJSON(text []byte) *Problem {
	if !utf8.Valid(text) {
		return newProblem(http.StatusBadRequest, host.InvalidInput, "the body is not UTF-8")
	}
	var whole json.RawMessage
	var syntax *json.SyntaxError
	if err := json.Unmarshal(text, &whole); errors.As(err, &syntax) {
		return newProblem(http.StatusBadRequest, host.InvalidInput, fmt.Sprintf("the body is no JSON: %s, at byte %d", syntax, syntax.Offset))
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if hasHalf(text) {
		return problem(host.Errorf(host.InvalidInput, "the body has half of a surrogate pair in it (such as \\ud800), which is no character"))
	}
	if err := checkValue(dec, "", 0); err != nil {
		return problem(err)
	}
	return nil
}

// checkValue reads the next value, which stands at a JSON pointer.
func checkValue(dec *json.Decoder, at string, depth int) error {
	wrong := func(at, message string) error {
		return &host.Error{Code: host.InvalidInput, Field: at, Message: strings.TrimPrefix(at+": ", ": ") + message}
	}
	token, err := dec.Token()
	if err != nil {
		return host.Errorf(host.InvalidInput, "the body is no JSON: %w", err)
	}
	if text, ok := token.(string); ok && strings.Contains(text, "\x00") {
		return wrong(at, "U+0000 can't be in a text")
	}
	if n, ok := token.(json.Number); ok {
		if why := unkeepable(n); why != "" {
			return wrong(at, why)
		}
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if depth >= deepestBody {
		return wrong("", fmt.Sprintf("the body is more than %d levels deep", deepestBody))
	}
	seen := map[string]bool{}
	for i := 0; dec.More(); i++ {
		member := fmt.Sprint(i)
		if delim == '{' {
			name, err := dec.Token()
			if err != nil {
				return host.Errorf(host.InvalidInput, "the body is no JSON: %w", err)
			}
			member, _ = name.(string) // a name is one
			if strings.Contains(member, "\x00") {
				return wrong(at, "U+0000 can't be in a name")
			}
			if seen[member] {
				return wrong(at+"/"+escapePointer(member), "stands there twice; which one counts?")
			}
			seen[member] = true
		}
		if err := checkValue(dec, at+"/"+escapePointer(member), depth+1); err != nil {
			return err
		}
	}
	_, err = dec.Token() // the end
	return err
}

// unkeepable tells why a number would come out as another one (RFC 7493).
func unkeepable(n json.Number) string {
	const most = 1 << 53
	f, err := n.Float64()
	switch {
	case err != nil:
		return "is too large a number"
	case strings.ContainsAny(string(n), ".eE"):
	case f >= most || f <= -most:
		return "has more digits than a number keeps; send it as text"
	}
	return ""
}

// half is the escape of a surrogate, with the one before and the one behind it.
var half = regexp.MustCompile(`\\\\|\\u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}`)

// hasHalf tells whether one half of a surrogate pair stands alone in a text of
// JSON.
func hasHalf(text []byte) bool {
	for _, found := range half.FindAll(text, -1) {
		if len(found) == len(`\ud800`) {
			return true
		}
	}
	return false
}

// escapePointer writes a name as a part of a JSON pointer.
func escapePointer(name string) string {
	if len(name) > 100 {
		name = strings.ToValidUTF8(name[:100], "") + "…"
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}
