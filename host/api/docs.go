package api

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/provosthq/provost/host"
)

// DocsPath is a page that describes the API, made of its OpenAPI document: it
// needs no script, and nothing from elsewhere.
const DocsPath = "/api/docs"

var problemType = reflect.TypeFor[Problem]()

//go:embed docs.html
var docsText string

//go:embed docs.css
var docsStyle []byte

var docsPage = template.Must(template.New("docs").Parse(docsText))

type docsGroup struct {
	Name       string
	Operations []docsOperation
}

type docsOperation struct {
	Method, Path, Anchor, Summary, Need string
	Parameters                          []docsMember
	Body, Answer                        []docsMember
	BodyType, AnswerType, Example       string
}

type docsMember struct {
	Name, In, Type, Doc string
	Required            bool
}

// docs serves the page. The document is whole when it is first asked for.
func docs(a huma.API) (page, style http.HandlerFunc) {
	page = func(w http.ResponseWriter, _ *http.Request) {
		var out bytes.Buffer
		doc := a.OpenAPI()
		if err := docsPage.Execute(&out, struct {
			Version string
			Groups  []docsGroup
			Codes   []docsCode
			Topics  []string
		}{doc.Info.Version, docsGroups(doc), docsCodes, Topics}); err != nil {
			problem(host.Errorf(host.Internal, "%w", err)).write(w)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		_, _ = w.Write(out.Bytes()) // who asked may be gone
	}
	style = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		_, _ = w.Write(docsStyle) // who asked may be gone
	}
	return page, style
}

type docsCode struct {
	Code    host.Code
	Status  int
	Meaning string
}

var docsCodes = func() (list []docsCode) {
	for _, c := range []struct {
		code    host.Code
		meaning string
	}{
		{host.InvalidInput, "What was sent is not as it must be; field says where."},
		{host.Unauthorized, "Nobody has signed in, or the token is not known or not good any more."},
		{host.PermissionDenied, "Whoever asks may not; detail names the permission."},
		{host.NotFound, "There is no such object, or whoever asks may not know of it."},
		{host.AlreadyExists, "There is one already."},
		{host.Conflict, "It can't be done as things stand now."},
		{host.Changed, "It has another ETag than If-Match says: somebody changed it. Read it again."},
		{host.RateLimited, "Too many calls; Retry-After says when to go on."},
		{host.Unsupported, "The connector or this host can't do that, or the path not with this method."},
		{host.Unavailable, "The database, a target or this host does not answer now; try again later."},
		{host.LimitExceeded, "Something is larger, or takes longer, than is allowed."},
		{host.ConnectorFault, "The connector did what the contract does not allow."},
		{host.Internal, "A fault of ours; the log has more, under the Request-Id of the answer."},
	} {
		list = append(list, docsCode{c.code, c.code.HTTPStatus(), c.meaning})
	}
	return list
}()

func docsGroups(doc *huma.OpenAPI) (groups []docsGroup) {
	for path, item := range doc.Paths {
		for _, o := range methodsOf(item) {
			i := slices.IndexFunc(groups, func(g docsGroup) bool { return g.Name == o.Tags[0] })
			if i < 0 {
				groups = append(groups, docsGroup{Name: o.Tags[0]})
				i = len(groups) - 1
			}
			groups[i].Operations = append(groups[i].Operations, docsOf(doc, path, o))
		}
	}
	slices.SortFunc(groups, func(a, b docsGroup) int { return strings.Compare(a.Name, b.Name) })
	for _, g := range groups {
		slices.SortFunc(g.Operations, func(a, b docsOperation) int { return strings.Compare(a.Path+a.Method, b.Path+b.Method) })
	}
	return groups
}

func docsOf(doc *huma.OpenAPI, path string, o *huma.Operation) docsOperation {
	shown := docsOperation{Method: o.Method, Path: path, Anchor: o.OperationID, Summary: o.Summary}
	for _, rule := range Rules {
		if rule.Route == o.Method+" "+path {
			shown.Need = rule.Need.String()
		}
	}
	for _, p := range o.Parameters {
		shown.Parameters = append(shown.Parameters, docsMember{Name: p.Name, In: p.In, Type: docsType(p.Schema), Doc: p.Description, Required: p.Required})
	}
	if o.RequestBody != nil {
		for name, media := range o.RequestBody.Content {
			shown.BodyType, shown.Body = name, docsMembers(doc, media.Schema)
			if media.Example != nil {
				text, _ := json.MarshalIndent(media.Example, "", "  ") // it is JSON in the document, too
				shown.Example = string(text)
			}
		}
	}
	for _, status := range []string{"200", "201"} {
		ok := o.Responses[status]
		if ok == nil {
			continue
		}
		for name, media := range ok.Content {
			shown.AnswerType, shown.Answer = name, docsMembers(doc, media.Schema)
		}
	}
	return shown
}

// docsMembers are the members of an object, or of each in a list.
func docsMembers(doc *huma.OpenAPI, s *huma.Schema) (list []docsMember) {
	for s != nil && (s.Ref != "" || s.Items != nil) {
		if s.Ref != "" {
			s = doc.Components.Schemas.SchemaFromRef(s.Ref)
		} else {
			s = s.Items
		}
	}
	if s == nil {
		return nil
	}
	for name, member := range s.Properties {
		list = append(list, docsMember{Name: name, Type: docsType(member), Doc: member.Description, Required: slices.Contains(s.Required, name)})
	}
	slices.SortFunc(list, func(a, b docsMember) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func docsType(s *huma.Schema) string {
	switch {
	case s == nil:
		return ""
	case s.Ref != "":
		return s.Ref[strings.LastIndex(s.Ref, "/")+1:]
	case s.Items != nil:
		return "list of " + docsType(s.Items)
	case len(s.Enum) > 0:
		var words []string
		for _, v := range s.Enum {
			if text, ok := v.(string); ok {
				words = append(words, text)
			}
		}
		return strings.Join(words, ", ")
	case s.Format != "":
		return s.Type + ", " + s.Format
	default:
		return s.Type
	}
}
