package api

import (
	"context"
	"html/template"
	"net/http"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/provosthq/provost/host"
)

// Credential is what may be known of a named credential: never its secret.
type Credential struct {
	Name      string   `json:"name"`
	Endpoint  string   `json:"endpoint"`
	Protocol  string   `json:"protocol"`
	Identity  string   `json:"identity"`
	SecretSet bool     `json:"secretSet"`
	Apps      []string `json:"apps"`
	// Secrets are the paths of the secrets that can be rotated, such as
	// basic.password; Rotating those of them that have another one beside them.
	Secrets  []string `json:"secrets,omitempty"`
	Rotating []string `json:"rotating,omitempty"`
	// Uses are its apps with their connectors.
	Uses []CredentialUse `json:"uses,omitempty"`
	// Authorizations are those that people have given it.
	Authorizations []*host.Authorization `json:"authorizations,omitempty"`
	// Wants is what a person must do before it can be used.
	Wants string `json:"wants,omitempty"`
	// Waiting counts the requests that wait for that.
	Waiting int64 `json:"waiting,omitempty"`
}

// CredentialUse is an app that uses a credential, through a connector.
type CredentialUse struct {
	App       string `json:"app"`
	Connector string `json:"connector"`
}

// TestStep is one of what a test of a credential tried.
type TestStep struct {
	Name   string        `json:"name" doc:"secret, resolve, connect, tls, clock, sign in or probe"`
	OK     bool          `json:"ok"`
	Unsure bool          `json:"unsure" doc:"It did not fail, and does not tell whether the sign-in works; it is not ok then."`
	Detail string        `json:"detail"`
	Took   time.Duration `json:"tookNanoseconds"`
}

// Works says in a sentence what came of a test of a credential, and how far that
// can be told: good, warn or bad.
func Works(name string, steps []TestStep) (tone, text string) {
	for _, s := range steps {
		switch {
		case s.Unsure:
			return "warn", name + " was not refused, and whether it works is not known yet: " + s.Detail + "."
		case !s.OK:
			return "bad", name + " does not work: " + s.Name + " failed: " + s.Detail + "."
		}
	}
	return "good", name + " works."
}

// Authorizing is an authorization that was begun: a person opens URL, and types
// UserCode there where there is one.
type Authorizing struct {
	URL      string    `json:"url"`
	UserCode string    `json:"userCode,omitempty"`
	Expires  time.Time `json:"expires"`
	// Generation is that of the authorization before; a greater one is the new.
	Generation int64 `json:"generation"`
}

// AuthorizeOptions says for whom a credential is authorized, and with what where
// that is no token.
type AuthorizeOptions struct {
	User     string `json:"user,omitempty" doc:"Id or username, where each person authorizes."`
	Username string `json:"username,omitempty" doc:"The person's name in the target, where no token is fetched."`
	Secret   string `json:"secret,omitempty" doc:"The person's password or token, where no token is fetched."`
}

// Rotation changes a secret of a credential that is stored, or ends such a
// change.
type Rotation struct {
	Secret string `json:"secret,omitempty" doc:"The new secret; it is tried before it counts, and the one before counts beside it until the rotation is ended"`
	Field  string `json:"field,omitempty" doc:"Which secret, where there are several, such as oauth2.password"`
	Path   string `json:"path,omitempty" doc:"Path to try it with; without it the credential's probe, else its endpoint"`
	Force  bool   `json:"force,omitempty" doc:"Although a test does not show that the target takes it"`
	Finish bool   `json:"finish,omitempty" doc:"In place of a new secret: drop the one before"`
}

// Rotated is what came of a rotation.
type Rotated struct {
	// Steps are what was tried; empty where nothing was.
	Steps []TestStep `json:"steps"`
	// Done: the change counts; else the new secret was not shown to work, and
	// nothing was changed.
	Done bool `json:"done"`
}

// CredentialService is what the API needs for named credentials.
type CredentialService interface {
	Credentials(ctx context.Context) ([]Credential, error)
	// TestCredential tries it step by step, for a user where it is per user.
	TestCredential(ctx context.Context, name, user, path string) ([]TestStep, error)
	// RotateCredential changes a secret of a credential that is stored.
	RotateCredential(ctx context.Context, name string, r Rotation) (*Rotated, error)
	// Authorize begins an authorization; nil where it is done already.
	Authorize(ctx context.Context, name string, o AuthorizeOptions) (*Authorizing, error)
	// CompleteAuthorization ends it with what the authorization server sent.
	CompleteAuthorization(ctx context.Context, answer url.Values) (credential, principal string, err error)
	// RevokeCredential takes an authorization back; the text says what was done.
	RevokeCredential(ctx context.Context, name, user string) (string, error)
	// ForgetCredential takes back and drops all that people have authorized.
	ForgetCredential(ctx context.Context, name string) error
}

func credentials(a huma.API, s CredentialService) {
	type ByName struct {
		Name string `path:"name"`
	}
	huma.Get(a, "/api/v1/credentials", func(ctx context.Context, _ *struct{}) (*body[[]Credential], error) {
		return listed(s.Credentials(ctx))
	})
	huma.Post(a, "/api/v1/credentials/{name}/test", func(ctx context.Context, in *struct {
		ByName
		Body struct {
			User string `json:"user,omitempty"`
			Path string `json:"path,omitempty"`
		}
	}) (*body[[]TestStep], error) {
		return listed(s.TestCredential(ctx, in.Name, in.Body.User, in.Body.Path))
	})
	huma.Post(a, "/api/v1/credentials/{name}/rotate", func(ctx context.Context, in *struct {
		ByName
		Body Rotation
	}) (*body[*Rotated], error) {
		return answer(s.RotateCredential(ctx, in.Name, in.Body))
	})
	huma.Post(a, "/api/v1/credentials/{name}/authorize", func(ctx context.Context, in *struct {
		ByName
		Body AuthorizeOptions
	}) (*body[*Authorizing], error) {
		return answer(s.Authorize(ctx, in.Name, in.Body))
	})
	huma.Post(a, "/api/v1/credentials/{name}/revoke", func(ctx context.Context, in *struct {
		ByName
		Body struct {
			User string `json:"user,omitempty"`
		}
	}) (*body[string], error) {
		return answer(s.RevokeCredential(ctx, in.Name, in.Body.User))
	})
	forgetting(a, s)
}

// forgetting is the route of ForgetCredential.
func forgetting(a huma.API, s CredentialService) {
	huma.Delete(a, "/api/v1/credentials/{name}/authorizations", func(ctx context.Context, in *struct {
		Name string `path:"name"`
	}) (*struct{}, error) {
		if err := s.ForgetCredential(ctx, in.Name); err != nil {
			return nil, problem(err)
		}
		return nil, nil
	})
}

// CallbackPath is where authorization servers send people back to.
const CallbackPath = "/oauth/callback"

// Callback serves [CallbackPath]: the end of an authorization in a browser.
func Callback(s CredentialService) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("Referrer-Policy", "no-referrer") // the code stands in the URL
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		var page struct {
			OK                           bool
			Credential, Principal, Error string
		}
		name, principal, err := s.CompleteAuthorization(r.Context(), r.URL.Query())
		page.OK, page.Credential, page.Principal = err == nil, name, principal
		if err != nil {
			page.Error = err.Error()
			w.WriteHeader(host.CodeOf(err).HTTPStatus())
		}
		_ = callbackPage.Execute(w, page) // the browser may be gone
	}
}

var callbackPage = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{if .OK}}Authorized{{else}}Not authorized{{end}} – Provost</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem;color:#1a1a1a;background:#fff}
@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}}h1{font-size:1.4rem}code{font-size:.95em}</style>
{{if .OK}}<h1 id="done">{{.Credential}} is authorized{{with .Principal}} as {{.}}{{end}}</h1>
<p>Requests that waited for it go on. You can close this page.</p>
{{else}}<h1 id="failed">{{with .Credential}}{{.}} is{{else}}This is{{end}} not authorized</h1>
<p>{{.Error}}</p><p>Nothing was changed. To try again: <code>provost credential authorize {{.Credential}}</code></p>{{end}}
</html>
`))
