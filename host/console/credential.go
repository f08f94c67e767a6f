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

// credentialList are the credentials, with a form for another.
type credentialList struct {
	Credentials []api.Credential
	// New is the kind of another, Fields its inputs; Open: the form is shown.
	// Problem is what is wrong with what was given.
	New     signInKind
	Fields  []Field
	Open    bool
	Problem string
}

func (c *console) credentials(w http.ResponseWriter, r *http.Request) error {
	kind := r.URL.Query().Get("new")
	k := signInKindOf(kind)
	return c.showCredentials(w, r, http.StatusOK, credentialList{New: k, Open: kind != "", Fields: k.fields(nil, "")})
}

func (c *console) showCredentials(w http.ResponseWriter, r *http.Request, status int, page credentialList) (err error) {
	if page.Credentials, err = c.Service.Credentials(r.Context()); err != nil {
		return err
	}
	return c.showWith(w, r, status, Page{Title: "Credentials", Sub: Text("How Provost signs in to apps. Connectors never see a secret, and no page shows one."), Current: "credentials"}, credentialsPage(page))
}

// newCredentialRoute stores a named credential; who may, may change them all.
const newCredentialRoute = "POST " + Path + "/credentials"

// newCredential stores a named credential.
func (c *console) newCredential(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return err
	}
	k := signInKindOf(r.PostForm.Get("kind"))
	name, document := k.document(r.PostForm, nil)
	err := c.putDocument(r.Context(), "credentials", name, document, 0)
	switch code := host.CodeOf(err); {
	case err == nil:
		return c.done(w, r, credentialPath(name), Flash{Tone: "good", Text: name + " is stored, with its secret sealed. Test it before an app uses it."})
	case code == host.Internal || code == host.PermissionDenied:
		return err
	case code == host.Changed:
		err = host.Errorf(code, "there is a credential %s already: choose another name, or change that one on its page", name)
	}
	problem := capital(message(err))
	return c.showCredentials(w, r, http.StatusUnprocessableEntity, credentialList{New: k, Open: true, Fields: k.fields(r.PostForm, problem), Problem: problem})
}

// changeCredential stores what a form says of a credential that there is.
func (c *console) changeCredential(w http.ResponseWriter, r *http.Request) error {
	ctx, name := r.Context(), r.PathValue("name")
	p, err := c.credentialPage(ctx, name)
	if err != nil {
		return err
	}
	if err := r.ParseForm(); err != nil {
		return err
	}
	if p.Setting == nil || !p.Changeable {
		return host.Errorf(host.Conflict, "%s can't be changed here", name)
	}
	_, document := p.Kind.document(r.PostForm, p.Setting.Document)
	err = c.putDocument(ctx, "credentials", name, document, formNumber(r, "revision"))
	switch code := host.CodeOf(err); {
	case err == nil:
		return c.done(w, r, credentialPath(name), Flash{Tone: "good", Text: name + " is changed, and counts as it is now."})
	case code == host.Internal || code == host.PermissionDenied:
		return err
	case code == host.Changed:
		return c.refused(w, r, credentialPath(name)+"?change", err)
	}
	p.Problem = capital(message(err))
	p.Fields = p.Kind.changed(r.PostForm, p.Setting.Document, p.Problem)
	return c.showCredential(w, r, http.StatusUnprocessableEntity, p)
}

// rotateCredential changes a secret of a credential, or ends that.
func (c *console) rotateCredential(w http.ResponseWriter, r *http.Request) error {
	ctx, name := r.Context(), r.PathValue("name")
	done, err := c.Service.RotateCredential(ctx, name, api.Rotation{Secret: r.PostFormValue("secret"), Field: r.PostFormValue("field"), Path: testPath(r),
		Force: r.PostFormValue("force") != "", Finish: r.PostFormValue("finish") != ""})
	switch {
	case err != nil:
		return c.refused(w, r, credentialPath(name), err)
	case done.Done && r.PostFormValue("finish") != "":
		return c.done(w, r, credentialPath(name), Flash{Tone: "good", Text: name + " has one secret again."})
	case done.Done:
		return c.done(w, r, credentialPath(name), Flash{Tone: "good", Text: name + " has the new secret. The one before counts beside it, until you end the rotation."})
	}
	p, err := c.credentialPage(ctx, name)
	if err != nil {
		return err
	}
	p.Rotated = done
	return c.showCredential(w, r, http.StatusUnprocessableEntity, p)
}

// deleteCredential drops a credential that no app uses.
func (c *console) deleteCredential(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if err := c.Service.DeleteSetting(r.Context(), "credentials", name, formNumber(r, "revision")); err != nil {
		return c.refused(w, r, credentialPath(name), err)
	}
	return c.done(w, r, Path+"/credentials", Flash{Tone: "good", Text: name + " is deleted, and its secret with it."})
}

// credentialPage is one named credential.
type credentialPage struct {
	api.Credential
	Target  *api.Target
	People  map[string]api.Person
	Setting *api.Setting
	Manage  bool
	// Changeable: it is stored, of a kind that has a form, and who looks may change
	// it.
	Changeable bool
	Kind       signInKind
	// Fields are the inputs to change it, nil where that is not shown; Problem is
	// what is wrong with what was given.
	Fields  []Field
	Problem string
	// Rotated is what came of a rotation that changed nothing; nil for none.
	Rotated *api.Rotated
	Tried   tried
}

// tried is what came of a test of a credential.
type tried struct {
	Name string
	// Steps are nil where no test was made; Failed is why it could not be.
	Steps  []api.TestStep
	Failed string
}

// works says in a sentence what came of it.
func (t tried) works() (tone, text string) {
	if t.Failed != "" {
		return "bad", t.Failed
	}
	return api.Works(t.Name, t.Steps)
}

func (c *console) credential(w http.ResponseWriter, r *http.Request) error {
	p, err := c.credentialPage(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	if p.Changeable && r.URL.Query().Has("change") {
		p.Fields = p.Kind.changed(p.Kind.form(p.Setting.Document), p.Setting.Document, "")
	}
	return c.showCredential(w, r, http.StatusOK, p)
}

func (c *console) showCredential(w http.ResponseWriter, r *http.Request, status int, p credentialPage) error {
	return c.showWith(w, r, status, Page{Title: p.Name, Sub: credentialSub(p), Current: "credentials", Actions: credentialActions(p),
		Crumbs: []Crumb{{"Credentials", Path + "/credentials"}, {Label: p.Name}}}, credentialBody(p))
}

func (c *console) credentialPage(ctx context.Context, name string) (p credentialPage, err error) {
	if p.Credential, err = c.Service.Credential(ctx, name); err != nil {
		return p, err
	}
	p.Manage, p.Tried.Name = may(ctx, access.CustomizeApplication), name
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
		kind, known := signInKindIn(setting.Document)
		p.Kind, p.Changeable = kind, known && setting.File == "" && mayOpen(ctx, newCredentialRoute)
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

// tryCredential tries a credential, step by step. It is pressed on its own page,
// and in the wizard of an app.
func (c *console) tryCredential(w http.ResponseWriter, r *http.Request) error {
	ctx, name := r.Context(), r.PathValue("name")
	t := tried{Name: name}
	var err error
	if t.Steps, err = c.Service.TestCredential(ctx, name, "", testPath(r)); err != nil {
		if host.CodeOf(err) == host.Internal || host.CodeOf(err) == host.PermissionDenied || host.CodeOf(err) == host.NotFound {
			return err
		}
		t.Failed = capital(message(err)) + "."
	}
	if isPart(r) {
		return c.part(w, r, triedCredential(t))
	}
	p, err := c.credentialPage(ctx, name)
	if err != nil {
		return err
	}
	p.Tried = t
	return c.showCredential(w, r, http.StatusOK, p)
}

// testPath is the path that a form asks a test to read, "" for none.
func testPath(r *http.Request) string {
	path := strings.TrimSpace(r.PostFormValue("path"))
	if path != "" && !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return path
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
		return c.done(w, r, credentialPath(name), Flash{Tone: "good", Text: name + " is authorized."})
	}
	at, err := url.Parse(begun.URL)
	if err != nil || at.Scheme != "https" && at.Scheme != "http" {
		return host.Errorf(host.Unavailable, "%s gives no address to sign in at", name)
	}
	return c.show(w, r, Page{Title: "Authorize " + name, Sub: Text("You leave Provost, and sign in at " + at.Host + "."), Current: "credentials",
		Crumbs: []Crumb{{"Credentials", Path + "/credentials"}, {name, credentialPath(name)}, {Label: "Authorize"}}}, authorizeBody(authorizingPage{*begun, name, at.Host}))
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
			return c.done(w, r, credentialPath(name), Flash{Tone: "good", Text: name + " is authorized" + asWhom(a) + ". Requests that waited for it go on."})
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
		return "good", "Authorized"
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

func triedClass(s api.TestStep) string {
	switch {
	case s.OK:
		return "ok"
	case s.Unsure:
		return "ko"
	default:
		return "no"
	}
}

// deleteText says what a deletion takes away.
func deleteText(p credentialPage) string {
	if len(p.Apps) > 0 {
		return listed(p.Apps) + " " + map[bool]string{true: "uses", false: "use"}[len(p.Apps) == 1] + " it, so it can't be deleted before another takes its place there."
	}
	return "Its secret goes with it, and what people have authorized is taken back. It can't be had again."
}

// secretOptions are the secrets to rotate one of.
func secretOptions(p credentialPage) (list []Option) {
	for _, path := range p.Secrets {
		list = append(list, Option{path, path})
	}
	return list
}

// secretLines is how many lines the input of a new secret has, 0 for one.
func secretLines(p credentialPage) int {
	for _, in := range p.Kind.Inputs {
		if in.Secret && in.Lines {
			return 4
		}
	}
	return 0
}
