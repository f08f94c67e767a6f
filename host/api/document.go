package api

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// document says of the whole API what no single operation does.
func document(doc *huma.OpenAPI) {
	doc.Info.Description = "Makes, updates, freezes, removes and reconciles people's accounts in other apps. " +
		"Errors are problem documents (RFC 9457) with a code and the field at fault; " + DocsPath + " of each daemon has the manners and all routes to read."
	doc.Info.License = &huma.License{Name: "Apache 2.0", Identifier: "Apache-2.0"}
	doc.Servers = []*huma.Server{{URL: "/", Description: "The daemon that this document comes from"}}
	doc.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token":   {Type: "http", Scheme: "bearer", Description: "A token, made by POST /api/v1/access/tokens or provost token create. At a loopback address none is needed until somebody can sign in."},
		"session": {Type: "apiKey", In: "cookie", Name: "__Host-provost-session", Description: "The console's sign-in; without the prefix __Host- where it came by plain HTTP from this machine."},
	}
	doc.Security = []map[string][]string{{"token": {}}, {"session": {}}}
	for _, name := range slices.Sorted(maps.Keys(tagTexts)) {
		doc.Tags = append(doc.Tags, &huma.Tag{Name: name, Description: tagTexts[name]})
	}
}

var tagTexts = map[string]string{
	"Access":      "Who may do what: roles, tokens, local administrators, sessions.",
	"Accounts":    "Accounts in the apps, and whose they are.",
	"Apps":        "Connected apps with their provisioning configs, and the wizard that makes them.",
	"Audit":       "Who changed what: a trail that can't be changed unseen.",
	"Connectors":  "Connectors, their builds, what they may do and what they cost.",
	"Credentials": "Named credentials, without their secrets, and the targets behind them.",
	"People":      "Users with their profiles, permission sets and groups.",
	"Requests":    "User provisioning requests, their approvals and logs.",
	"Runs":        "Reconciliations: collect, analyze, review, commit.",
	"Plans":       "Sets of changes that are looked at, or held back by a threshold.",
	"Settings":    "Apps, credentials and plugins that are stored in the database, beside those of the files.",
	"System":      "The daemon: how it does, what it must be told, its configuration.",
}

// acts are last parts of paths of GET that say what is done.
var acts = []string{"verify", "export"}

// kinds are last parts of paths of POST that say of what one is made.
var kinds = []string{"users", "requests", "tokens", "administrators", "assignments", "declarations", "links"}

// operationName names an operation for clients that are made of the document:
// list-users, get-user, retry-request, retry-requests.
func operationName(method, path string, list bool) string {
	parts := strings.Split(strings.TrimPrefix(path, "/api/v1/"), "/")
	last := parts[len(parts)-1]
	var nouns []string
	for i, part := range parts {
		switch {
		case strings.HasPrefix(part, "{") || part == "access":
		case i+1 < len(parts) && strings.HasPrefix(parts[i+1], "{"):
			nouns = append(nouns, strings.TrimSuffix(part, "s"))
		default:
			nouns = append(nouns, part)
		}
	}
	verb := map[string]string{http.MethodGet: "get", http.MethodPut: "put", http.MethodPatch: "change", http.MethodDelete: "delete", http.MethodPost: "create"}[method]
	switch {
	case method == http.MethodGet && list:
		verb = "list"
	case method == http.MethodGet && slices.Contains(acts, last), method == http.MethodPost && !slices.Contains(kinds, last):
		verb, nouns = last, nouns[:len(nouns)-1]
	case method == http.MethodPost:
		nouns[len(nouns)-1] = strings.TrimSuffix(last, "s")
	}
	return strings.Join(append([]string{verb}, nouns...), "-")
}

// examples are bodies as somebody would send them.
var examples = map[string]any{
	"POST /api/v1/requests":                  map[string]any{"user": "grace", "app": "acme", "operation": "Create"},
	"POST /api/v1/requests/{id}/complete":    map[string]any{"note": "made by hand, ticket 4711"},
	"POST /api/v1/requests/retry":            map[string]any{"all": true, "app": "acme", "error": "Unavailable"},
	"POST /api/v1/requests/cancel":           map[string]any{"ids": []any{"UPR-000042"}, "reason": "not needed any more"},
	"POST /api/v1/requests/approve":          map[string]any{"ids": []any{"UPR-000042"}, "reason": "as agreed"},
	"POST /api/v1/requests/deny":             map[string]any{"ids": []any{"UPR-000042"}, "reason": "ask again in March"},
	"POST /api/v1/requests/delegate":         map[string]any{"ids": []any{"UPR-000042"}, "to": "ada"},
	"POST /api/v1/requests/{id}/approve":     map[string]any{"reason": "as agreed"},
	"POST /api/v1/requests/{id}/deny":        map[string]any{"reason": "ask again in March"},
	"POST /api/v1/requests/{id}/delegate":    map[string]any{"to": "ada"},
	"POST /api/v1/requests/{id}/allow":       map[string]any{"reason": "the department was closed"},
	"POST /api/v1/requests/{id}/reject":      map[string]any{"reason": "the list was cut off"},
	"POST /api/v1/requests/{id}/review":      map[string]any{"verb": "link", "accounts": []any{"00u1"}, "user": "grace"},
	"POST /api/v1/apps/{app}/reconcile":      map[string]any{"mode": "full", "commit": false},
	"POST /api/v1/apps/{app}/process":        map[string]any{"drift": "update", "dryRun": true},
	"POST /api/v1/apps/{app}/accounts/links": map[string]any{"verb": "ignore", "accounts": []any{"UPA-000042"}},
	"POST /api/v1/accounts/{id}/link":        map[string]any{"user": "grace"},
	"POST /api/v1/plans/{id}/allow":          map[string]any{"reason": "the department was closed"},
	"POST /api/v1/plans/{id}/reject":         map[string]any{"reason": "the list was cut off"},
	"POST /api/v1/plugins/{name}/rollback":   map[string]any{"digest": "411228df680e"},
	"POST /api/v1/plugins/{name}/grant":      map[string]any{},
	"POST /api/v1/credentials/{name}/test":   map[string]any{"path": "/Users?count=1"},
	"POST /api/v1/access/administrators":     map[string]any{"name": "ada", "password": "correct horse battery staple"},
	"PUT /api/v1/settings/apps/{app}":        map[string]any{"label": "Acme", "plugin": "scim", "credential": "Acme_SCIM", "operations": []any{"Create", "Update", "EnableAndDisable"}},
	"PUT /api/v1/settings/credentials/{name}": map[string]any{"endpoint": "https://acme.example.com/scim/v2",
		"bearer": map[string]any{"token": map[string]any{"value": "the token"}}},
	"PUT /api/v1/settings/plugins/{name}": map[string]any{"source": "builtin:scim"},
}
