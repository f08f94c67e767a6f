package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// summaries say in a line what each route does. A route without one fails a
// test.
var summaries = map[string]string{
	"GET /api/v1/status":                "Look at the whole host",
	"GET /api/v1/system":                "Show the daemon that is asked, and what it runs on",
	"GET /api/v1/readiness":             "Tell whether it can serve, with each check",
	"GET /api/v1/failures":              "Count what failed, by app, operation and error",
	"GET /api/v1/waits":                 "Count what waits, by app and for what",
	"GET /api/v1/targets":               "List targets: breakers, limits, what waits for them",
	"GET /api/v1/notices":               "List what people must do or know",
	"GET /api/v1/notices/{id}":          "Show a notice",
	"POST /api/v1/channels/{name}/test": "Send a test over a channel",
	"POST /api/v1/doctor":               "Look at everything; it calls targets, and takes its time",
	"GET /api/v1/support-bundle":        "Take what helps others to find out what is wrong, without secrets",
	"POST /api/v1/config/reload":        "Take the configuration anew",
	"POST /api/v1/config/diff":          "Show what a reload would change",
	"POST /api/v1/backup":               "Back up the database and the configuration; on the socket only",
	"POST /api/v1/retention/run":        "Prune what has ended long ago",
	"GET /api/v1/erasures":              "List erasures of people",
	"GET /api/v1/profiles":              "List profiles",
	"GET /api/v1/permission-sets":       "List permission sets",
	"GET /api/v1/groups":                "List groups of people who approve",
	"GET /api/v1/logs":                  "List lines of the logs of requests",
	"GET /api/v1/events":                "Listen to what changes, as server-sent events",

	"GET /api/v1/users":                      "List users",
	"POST /api/v1/users":                     "Make a user, or change the one of the same username or id",
	"POST /api/v1/users/import":              "Import users from CSV, JSON or JSON Lines",
	"GET /api/v1/users/{user}":               "Show a user",
	"PUT /api/v1/users/{user}":               "Replace a user",
	"PATCH /api/v1/users/{user}":             "Change members of a user",
	"DELETE /api/v1/users/{user}":            "Note that a person left for good",
	"GET /api/v1/users/{user}/memberships":   "Show what a user has that apps come of",
	"POST /api/v1/users/{user}/erase":        "Erase all that is known of a person",
	"PUT /api/v1/users/{user}/apps/{app}":    "Assign an app to a user",
	"DELETE /api/v1/users/{user}/apps/{app}": "Take an app from a user",

	"GET /api/v1/apps":                        "List connected apps",
	"GET /api/v1/apps/{app}":                  "Show a connected app with its provisioning config",
	"POST /api/v1/apps/{app}/reconcile":       "Collect and analyze the accounts of an app: starts a run",
	"POST /api/v1/apps/{app}/process":         "Process all accounts of an app: makes a plan",
	"POST /api/v1/apps/{app}/accounts/import": "Start a run whose accounts come from a file",
	"GET /api/v1/apps/{app}/mapping":          "Show the mapping of an app, and what it makes of a user",
	"POST /api/v1/apps/{app}/mapping":         "Try other rules of a mapping",
	"POST /api/v1/apps/{app}/preview":         "Show what other rules of an app would do",

	"GET /api/v1/requests":                "List user provisioning requests",
	"POST /api/v1/requests":               "Make a request",
	"GET /api/v1/requests/{id}":           "Show a request with its log",
	"POST /api/v1/requests/{id}/retry":    "Try a failed request again",
	"POST /api/v1/requests/{id}/again":    "Make a new request of what one that has ended did",
	"GET /api/v1/requests/{id}/test":      "Show a request as a test for the author of its connector",
	"POST /api/v1/requests/{id}/cancel":   "Cancel a request that has not begun, or a run",
	"POST /api/v1/requests/{id}/complete": "Note that a person has done it by hand",
	"POST /api/v1/requests/{id}/approve":  "Approve a request",
	"POST /api/v1/requests/{id}/deny":     "Deny a request",
	"POST /api/v1/requests/{id}/delegate": "Let another approve a request",
	"POST /api/v1/requests/retry":         "Try many failed requests again",
	"POST /api/v1/requests/cancel":        "Cancel many requests",
	"POST /api/v1/requests/approve":       "Approve many requests",
	"POST /api/v1/requests/deny":          "Deny many requests",
	"POST /api/v1/requests/delegate":      "Let another approve many requests",

	"GET /api/v1/runs":                       "List reconciliations",
	"GET /api/v1/runs/{id}":                  "Show a reconciliation with its log",
	"POST /api/v1/requests/{id}/commit":      "Commit a run that has been reviewed",
	"POST /api/v1/requests/{id}/pause":       "Stop a run for a while",
	"POST /api/v1/requests/{id}/resume":      "Let a run go on",
	"POST /api/v1/requests/{id}/allow":       "Let a run pass that a threshold has stopped",
	"POST /api/v1/requests/{id}/reject":      "Reject a run that a threshold has stopped",
	"GET /api/v1/requests/{id}/accounts":     "List the accounts that a run has found",
	"GET /api/v1/requests/{id}/missing":      "List the users who should have an account and have none",
	"GET /api/v1/requests/{id}/gone":         "List the linked accounts that a run did not find",
	"POST /api/v1/requests/{id}/review":      "Link, unlink or ignore accounts of a run",
	"POST /api/v1/requests/{id}/review/undo": "Take a decision about accounts of a run back",

	"GET /api/v1/plans":              "List plans",
	"GET /api/v1/plans/{id}":         "Show a plan",
	"GET /api/v1/plans/{id}/changes": "List the changes of a plan",
	"POST /api/v1/plans/{id}/allow":  "Release a plan",
	"POST /api/v1/plans/{id}/reject": "Reject a plan",

	"GET /api/v1/accounts":                  "List accounts",
	"GET /api/v1/accounts/{id}":             "Show an account",
	"POST /api/v1/accounts/{id}/link":       "Link an account to a user",
	"POST /api/v1/accounts/{id}/unlink":     "Say that an account is nobody's",
	"POST /api/v1/accounts/{id}/ignore":     "Leave an account alone",
	"POST /api/v1/accounts/{id}/read":       "Read an account from its target",
	"POST /api/v1/accounts/{id}/update":     "Update an account now",
	"POST /api/v1/accounts/{id}/freeze":     "Freeze an account",
	"POST /api/v1/accounts/{id}/unfreeze":   "Unfreeze an account",
	"POST /api/v1/accounts/{id}/deactivate": "Deactivate an account",
	"POST /api/v1/accounts/{id}/reactivate": "Reactivate an account",

	"GET /api/v1/plugins":                  "List connectors",
	"GET /api/v1/plugins/{name}":           "Show a connector",
	"GET /api/v1/plugins/{name}/builds":    "List the builds of a connector that have served",
	"POST /api/v1/plugins/{name}/rollback": "Let an earlier build of a connector serve",
	"POST /api/v1/plugins/{name}/release":  "Let a build back that was taken out",
	"POST /api/v1/plugins/{name}/grant":    "Let a connector do what it wants",
	"POST /api/v1/plugins/upload":          "Upload a connector",

	"GET /api/v1/credentials":                          "List named credentials, without their secrets",
	"GET /api/v1/credentials/{name}":                   "Show a named credential, without its secret",
	"POST /api/v1/credentials/{name}/test":             "Try a named credential step by step",
	"POST /api/v1/credentials/{name}/rotate":           "Change a secret of a named credential: the new one is tried before the old one goes",
	"POST /api/v1/credentials/{name}/authorize":        "Begin the authorization of a named credential",
	"POST /api/v1/credentials/{name}/revoke":           "Take an authorization back",
	"DELETE /api/v1/credentials/{name}/authorizations": "Take all authorizations of a named credential back, and drop them",

	"GET /api/v1/wizards":                    "List the drafts of the wizard",
	"GET /api/v1/apps/{app}/wizard":          "Show the draft of an app",
	"PUT /api/v1/apps/{app}/wizard/{step}":   "Store a step of the draft of an app",
	"DELETE /api/v1/apps/{app}/wizard":       "Drop the draft of an app",
	"POST /api/v1/apps/{app}/wizard/preview": "Show what the mapping of a draft makes of a user",
	"POST /api/v1/apps/{app}/wizard/suggest": "Suggest a mapping from the connector's schema",
	"POST /api/v1/apps/{app}/wizard/collect": "Store the app of a draft in preview, and collect and analyze",
	"POST /api/v1/apps/{app}/wizard/commit":  "Commit the run of a draft, and let the app go live",
	"GET /api/v1/requests/{id}/following":    "Show what would follow from a run",
	"GET /api/v1/plugins/{name}/description": "Show what a connector says of itself",

	"GET /api/v1/activity":                                     "Count what happened, by hour",
	"GET /api/v1/trends":                                       "Show what the daemon measures of itself, as it was of late",
	"GET /api/v1/plugins/{name}/use":                           "Show the calls, errors and costs of a connector",
	"GET /api/v1/plugins/{name}/log":                           "List what a connector has logged of late",
	"POST /api/v1/apps/{app}/accounts/links":                   "Link, unlink or ignore many accounts",
	"POST /api/v1/apps/{app}/accounts/undo":                    "Take back what was said of many accounts",
	"GET /api/v1/apps/{app}/accounts/export":                   "Export accounts as CSV or JSON Lines",
	"GET /api/v1/access/me":                                    "Show who asks",
	"GET /api/v1/access/roles":                                 "List roles and their permissions",
	"GET /api/v1/access/tokens":                                "List tokens, without their texts",
	"POST /api/v1/access/tokens":                               "Make a token",
	"DELETE /api/v1/access/tokens/{name}":                      "Revoke a token",
	"GET /api/v1/access/me/tokens":                             "List your own tokens, without their texts",
	"POST /api/v1/access/me/tokens":                            "Make a token of your own, which may no more than you may when it is used",
	"DELETE /api/v1/access/me/tokens/{name}":                   "Revoke a token of your own",
	"GET /api/v1/access/administrators":                        "List local administrators",
	"POST /api/v1/access/administrators":                       "Make a local administrator",
	"DELETE /api/v1/access/administrators/{name}":              "Delete a local administrator",
	"POST /api/v1/access/administrators/{name}/reset-password": "Give a local administrator another password",
	"POST /api/v1/access/administrators/{name}/reset-totp":     "Let a local administrator set up one-time codes anew",
	"GET /api/v1/access/sessions":                              "List sessions",
	"DELETE /api/v1/access/sessions/{id}":                      "End a session",
	"GET /api/v1/access/assignments":                           "List who has which role",
	"POST /api/v1/access/assignments":                          "Give somebody a role",
	"DELETE /api/v1/access/assignments/{id}":                   "Take a role from somebody",

	"GET /api/v1/settings": "List all entries of the configuration",

	"GET /api/v1/audit":               "List entries of the audit trail",
	"GET /api/v1/audit/verify":        "Verify the whole audit trail",
	"GET /api/v1/audit/export":        "Export the audit trail as JSON Lines",
	"POST /api/v1/audit/declarations": "Note what a command has changed in the files of the configuration",
}

// tags are the groups of the documentation, by the first part of a path.
var tags = map[string]string{
	"users": "People", "profiles": "People", "permission-sets": "People", "groups": "People", "erasures": "People",
	"apps": "Apps", "accounts": "Accounts", "requests": "Requests", "logs": "Requests", "runs": "Runs", "plans": "Plans",
	"plugins": "Connectors", "credentials": "Credentials", "targets": "Credentials", "settings": "Settings", "audit": "Audit", "access": "Access",
}

// describe completes the description of an operation.
func describe(_ *huma.OpenAPI, o *huma.Operation) {
	if s := summaries[o.Method+" "+o.Path]; s != "" {
		o.Summary = s
	}
	if len(o.Tags) == 0 {
		first, _, _ := strings.Cut(strings.TrimPrefix(o.Path, "/api/v1/"), "/")
		tag := tags[first]
		if tag == "" {
			tag = "System"
		}
		o.Tags = []string{tag}
	}
	if o.Responses == nil {
		o.Responses = map[string]*huma.Response{}
	}
	delete(o.Responses, "default")
	codes := []string{"400", "401", "403", "404", "409", "422", "429", "500", "502", "503"}
	if o.Method != http.MethodGet {
		codes = append(codes, "413", "415")
	}
	if slices.ContainsFunc(o.Parameters, func(p *huma.Param) bool { return p.Name == "If-Match" }) {
		codes = append(codes, "412")
	}
	for _, c := range codes {
		if o.Responses[c] == nil {
			o.Responses[c] = &huma.Response{Ref: "#/components/responses/Problem"}
		}
	}
	json := o.Responses["200"] != nil && o.Responses["200"].Content["application/json"] != nil
	text := func(name, in, doc string, example any) {
		o.Parameters = append(o.Parameters, &huma.Param{Name: name, In: in, Description: doc, Schema: &huma.Schema{Type: huma.TypeString}, Example: example})
	}
	if strings.Contains(o.OperationID, "api-v1") { // huma has named it
		o.OperationID = operationName(o.Method, o.Path, json && o.Responses["200"].Content["application/json"].Schema.Type == huma.TypeArray)
	}
	if example := examples[o.Method+" "+o.Path]; example != nil {
		o.RequestBody.Content["application/json"].Example = example
	}
	switch {
	case o.Method == http.MethodGet && json:
		text("fields", "query", "Names of members, with commas between them, such as Id,Username: what is answered has only these, also where the schema requires others", nil)
		text("If-None-Match", "header", "An ETag of before: 304 where it is still so", nil)
		o.Responses["304"] = &huma.Response{Description: "It is as it was"}
	case o.Method == http.MethodPost && !strings.HasSuffix(o.Path, "/import"):
		text(KeyHeader, "header", "With the same key the call is done once within a day, and answered the same", "4f9c2a")
	}
}

// raw describes a route that is served by hand; answer has the types of what it
// answers.
func raw(a huma.API, pattern, answer, body string, params ...*huma.Param) {
	method, path, _ := strings.Cut(pattern, " ")
	answers := map[string]*huma.MediaType{}
	for _, kind := range strings.Fields(answer) {
		answers[kind] = &huma.MediaType{}
	}
	o := &huma.Operation{Method: method, Path: path, OperationID: operationName(method, path, false), Parameters: params,
		Responses: map[string]*huma.Response{"200": {Description: "OK", Content: answers}}}
	for part := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			o.Parameters = append(o.Parameters, &huma.Param{Name: strings.TrimSuffix(name, "}"), In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
		}
	}
	if body != "" {
		o.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{body: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}
	}
	a.OpenAPI().AddOperation(o)
}

// param is one of the query of a route that is served by hand.
func param(name, doc string) *huma.Param {
	return &huma.Param{Name: name, In: "query", Description: doc, Schema: &huma.Schema{Type: huma.TypeString}}
}

// boolean is a parameter that is true or false.
func boolean(name, doc string) *huma.Param {
	return &huma.Param{Name: name, In: "query", Description: doc, Schema: &huma.Schema{Type: huma.TypeBoolean}}
}

// number is a parameter that is the number of something.
func number(name, doc string) *huma.Param {
	least := 0.0
	return &huma.Param{Name: name, In: "query", Description: doc, Schema: &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: &least}}
}

// choice is a parameter that is one of some words.
func choice(name, doc string, words ...any) *huma.Param {
	return &huma.Param{Name: name, In: "query", Description: doc, Schema: &huma.Schema{Type: huma.TypeString, Enum: words}}
}

// several is a parameter that may be given again.
func several(name, doc string) *huma.Param {
	again := true
	return &huma.Param{Name: name, In: "query", Description: doc, Explode: &again, Schema: &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString}}}
}

// problems describes the answer of every error.
func problems(a huma.API) {
	schema := a.OpenAPI().Components.Schemas.Schema(problemType, true, "Problem")
	a.OpenAPI().Components.Responses = map[string]*huma.Response{"Problem": {Description: "What is wrong, and what to do (RFC 9457)",
		Content: map[string]*huma.MediaType{"application/problem+json": {Schema: schema}}}}
}
