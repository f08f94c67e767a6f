package console

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

// credentialPath is the page of a named credential, or what stands below it.
func credentialPath(name string, below ...string) string {
	return strings.Join(append([]string{Path + "/credentials/" + url.PathEscape(name)}, below...), "/")
}

func (c *console) credentials(w http.ResponseWriter, r *http.Request) error {
	list, err := c.Service.Credentials(r.Context())
	if err != nil {
		return err
	}
	return c.show(w, r, Page{Title: "Credentials", Sub: Text("How Provost signs in to apps. Connectors never see a secret, and no page shows one."), Current: "credentials"}, credentialsPage(list))
}

// credentialPage is one named credential.
type credentialPage struct {
	api.Credential
	Target  *api.Target
	People  map[string]api.Person
	Setting *api.Setting
	Manage  bool
	// Tested is what came of a test; nil where none was made.
	Tested []api.TestStep
	// Failed is why a test could not be made.
	Failed string
}

func (c *console) credential(w http.ResponseWriter, r *http.Request) error {
	p, err := c.credentialPage(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	return c.showCredential(w, r, p)
}

func (c *console) showCredential(w http.ResponseWriter, r *http.Request, p credentialPage) error {
	return c.show(w, r, Page{Title: p.Name, Sub: credentialSub(p), Current: "credentials", Actions: credentialActions(p),
		Crumbs: []Crumb{{"Credentials", Path + "/credentials"}, {Label: p.Name}}}, credentialBody(p))
}

func (c *console) credentialPage(ctx context.Context, name string) (p credentialPage, err error) {
	if p.Credential, err = c.Service.Credential(ctx, name); err != nil {
		return p, err
	}
	p.Manage = may(ctx, access.CustomizeApplication)
	targets, err := c.Service.Targets(ctx)
	if err != nil {
		return p, err
	}
	if i := slices.IndexFunc(targets, func(t api.Target) bool { return t.Name == name }); i >= 0 {
		p.Target = &targets[i]
	}
	setting, err := c.Service.Setting(ctx, "credentials", name)
	if unlessHidden(err) != nil {
		return p, err
	}
	if err == nil {
		p.Setting = &setting
	}
	var ids []string
	for _, a := range p.Authorizations {
		if a.UserId != "" {
			ids = append(ids, a.UserId)
		}
	}
	p.People, err = c.Service.People(ctx, ids)
	return p, err
}

// Interactive tells whether a person authorizes it.
func (p credentialPage) Interactive() bool {
	return p.Credential.Wants != "" || len(p.Authorizations) > 0 || strings.Contains(p.Protocol, "authorization_code") || strings.Contains(p.Protocol, "device")
}

// PerUser tells whether each person authorizes it for himself.
func (p credentialPage) PerUser() bool { return p.Identity == "per_user" || p.Identity == "per user" }

// Principal is its authorization as the one for all; nil for none.
func (p credentialPage) Principal() *host.Authorization {
	for _, a := range p.Authorizations {
		if a.UserId == "" {
			return a
		}
	}
	return nil
}

// tryCredential tries a credential, step by step.
func (c *console) tryCredential(w http.ResponseWriter, r *http.Request) error {
	ctx, name := r.Context(), r.PathValue("name")
	p, err := c.credentialPage(ctx, name)
	if err != nil {
		return err
	}
	path := strings.TrimSpace(r.PostFormValue("path"))
	if path != "" && !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	if p.Tested, err = c.Service.TestCredential(ctx, name, "", path); err != nil {
		if host.CodeOf(err) == host.Internal || host.CodeOf(err) == host.PermissionDenied {
			return err
		}
		p.Failed = capital(message(err))
	}
	if isPart(r) {
		return c.part(w, r, triedCredential(p))
	}
	return c.showCredential(w, r, p)
}

// authorizingPage is an authorization that was begun.
type authorizingPage struct {
	api.Authorizing
	// Name is the credential's, At the host that it leads to.
	Name, At string
}

// authorizeCredential begins an authorization, in a window of its own: the page
// says where it leads.
func (c *console) authorizeCredential(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	begun, err := c.Service.Authorize(r.Context(), name, api.AuthorizeOptions{User: r.PostFormValue("user")})
	if err != nil {
		return c.refused(w, r, credentialPath(name), err)
	}
	if begun == nil {
		return c.done(w, r, credentialPath(name), Flash{Tone: "good", Text: name + " is authorised."})
	}
	at, err := url.Parse(begun.URL)
	if err != nil || at.Scheme != "https" && at.Scheme != "http" {
		return host.Errorf(host.Unavailable, "%s gives no address to sign in at", name)
	}
	return c.show(w, r, Page{Title: "Authorise " + name, Sub: Text("You leave Provost, and sign in at " + at.Host + "."), Current: "credentials",
		Crumbs: []Crumb{{"Credentials", Path + "/credentials"}, {name, credentialPath(name)}, {Label: "Authorise"}}}, authorizeBody(authorizingPage{*begun, name, at.Host}))
}

// authorizedCredential tells whether an authorization that was begun has come to
// its end: its generation is greater than the one of before.
func (c *console) authorizedCredential(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	credential, err := c.Service.Credential(r.Context(), name)
	if err != nil {
		return err
	}
	before, _ := strconv.ParseInt(r.FormValue("generation"), 10, 64) // 0 for none
	for _, a := range credential.Authorizations {
		if a.Generation > before && a.State == host.Authorized {
			return c.done(w, r, credentialPath(name), Flash{Tone: "good", Text: name + " is authorised" + asWhom(a) + ". Requests that waited for it go on."})
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func asWhom(a *host.Authorization) string {
	if a.Principal == "" {
		return ""
	}
	return " as " + a.Principal
}

// revokeCredential takes an authorization back.
func (c *console) revokeCredential(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	said, err := c.Service.RevokeCredential(r.Context(), name, r.PostFormValue("user"))
	if err != nil {
		return c.refused(w, r, credentialPath(name), err)
	}
	return c.done(w, r, credentialPath(name), Flash{Tone: "good", Text: capital(said) + "."})
}

// credentialState is how a credential is, in a word.
func credentialState(k api.Credential) (tone, word string) {
	switch {
	case k.Wants != "":
		return "bad", "Sign-in needed"
	case !k.SecretSet && k.Protocol != "anonymous" && len(k.Authorizations) == 0:
		return "warn", "No secret"
	case len(k.Authorizations) > 0:
		return "good", "Authorised"
	default:
		return "good", "Ready"
	}
}

// lastSignIn is the newest of the authorizations of a credential; nil for none.
func lastSignIn(k api.Credential) (last *host.Authorization) {
	for _, a := range k.Authorizations {
		if a.RefreshedDate != nil && (last == nil || a.RefreshedDate.After(*last.RefreshedDate)) {
			last = a
		}
	}
	return last
}

func protocolText(protocol string) string {
	return capital(strings.ReplaceAll(strings.Replace(protocol, "oauth2", "OAuth 2.0", 1), "_", " "))
}

// testText says in a sentence what came of a test.
func testText(p credentialPage) string {
	if p.Failed != "" {
		return p.Failed
	}
	for _, s := range p.Tested {
		if !s.OK {
			return p.Name + " does not work: " + s.Name + " failed."
		}
	}
	return p.Name + " works."
}

func triedClass(ok bool) string {
	if ok {
		return "ok"
	}
	return "no"
}
