package console

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/a-h/templ"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

// signInKind is a way to sign in, with the inputs that it has. Keys are those of
// a credential in the configuration.
type signInKind struct {
	Name, Label, Hint string
	// At is the key of the sign-in; Fixed is what of it needs no question.
	At     string
	Fixed  map[string]any
	Inputs []signInInput
}

// signInInput is one input of a sign-in: where it stands below its key.
type signInInput struct {
	Path        string
	Label, Hint string
	// Secret: it is sealed, and shown nowhere.
	Secret, Required, Lines, List bool
	Options                       []Option
}

var oauthClient = []signInInput{
	{Path: "issuer", Label: "Issuer", Hint: "URL whose /.well-known/openid-configuration says the rest. Without it, give the URLs below."},
	{Path: "token_url", Label: "Token URL"},
	{Path: "client_id", Label: "Client id", Required: true},
	{Path: "client_secret", Label: "Client secret", Secret: true},
	{Path: "scopes", Label: "Scopes", Hint: "With spaces between them.", List: true},
}

// signInKinds are the sign-ins that have a form here; those that need files or
// programs of the machine are declared in its configuration.
var signInKinds = []signInKind{
	{Name: "oauth2_client_credentials", Label: "OAuth 2.0, client credentials", Hint: "Provost signs in for itself, with a client id and a secret.", At: "oauth2", Fixed: map[string]any{"grant": "client_credentials"},
		Inputs: append(slices.Clone(oauthClient), signInInput{Path: "audience", Label: "Audience"})},
	{Name: "oauth2_authorization_code", Label: "OAuth 2.0, a person authorises", Hint: "Somebody signs in at the provider once; from then on it is refreshed.", At: "oauth2", Fixed: map[string]any{"grant": "authorization_code"},
		Inputs: append(slices.Clone(oauthClient), signInInput{Path: "authorization_url", Label: "Authorization URL"})},
	{Name: "oauth2_device_code", Label: "OAuth 2.0, on another device", Hint: "Somebody types a code at the provider.", At: "oauth2", Fixed: map[string]any{"grant": "device_code"},
		Inputs: append(slices.Clone(oauthClient), signInInput{Path: "device_url", Label: "Device authorization URL"})},
	{Name: "oauth2_jwt_bearer", Label: "OAuth 2.0, signed assertion", Hint: "Provost signs with a private key whose public half the provider has.", At: "oauth2", Fixed: map[string]any{"grant": "jwt_bearer", "auth_style": "none"},
		Inputs: []signInInput{{Path: "token_url", Label: "Token URL", Required: true}, {Path: "client_id", Label: "Client id", Required: true},
			{Path: "key.secret", Label: "Private key", Hint: "PEM, PKCS#8 or JWK.", Secret: true, Required: true, Lines: true}, {Path: "key.id", Label: "Key id"},
			{Path: "assertion.subject", Label: "Subject", Hint: "On whose behalf."}, {Path: "assertion.audience", Label: "Audience"}, {Path: "scopes", Label: "Scopes", List: true}}},
	{Name: "bearer", Label: "Bearer token", Hint: "A fixed token, in the Authorization header.", At: "bearer",
		Inputs: []signInInput{{Path: "token", Label: "Token", Secret: true, Required: true}}},
	{Name: "api_key", Label: "API key", Hint: "In a header of its own.", At: "api_key",
		Inputs: []signInInput{{Path: "value", Label: "Key", Secret: true, Required: true}, {Path: "header", Label: "Header", Hint: "Without it: X-API-Key."}, {Path: "prefix", Label: "Prefix", Hint: "What stands before the key."}}},
	{Name: "basic", Label: "Name and password", Hint: "HTTP Basic.", At: "basic",
		Inputs: []signInInput{{Path: "username", Label: "User name", Required: true}, {Path: "password", Label: "Password", Secret: true, Required: true}}},
	{Name: "digest", Label: "Name and password, HTTP Digest", At: "digest",
		Inputs: []signInInput{{Path: "username", Label: "User name", Required: true}, {Path: "password", Label: "Password", Secret: true, Required: true}}},
	{Name: "jwt", Label: "Signed token", Hint: "Provost signs a token for each request.", At: "jwt",
		Inputs: []signInInput{{Path: "key.secret", Label: "Private key", Hint: "PEM, PKCS#8 or JWK.", Secret: true, Required: true, Lines: true}, {Path: "key.id", Label: "Key id"},
			{Path: "assertion.issuer", Label: "Issuer"}, {Path: "assertion.subject", Label: "Subject"}, {Path: "assertion.audience", Label: "Audience"}}},
	{Name: "aws", Label: "AWS Signature Version 4", At: "aws",
		Inputs: []signInInput{{Path: "region", Label: "Region", Required: true}, {Path: "service", Label: "Service", Required: true, Hint: "Such as identitystore."},
			{Path: "access_key_id", Label: "Access key id", Required: true}, {Path: "secret_access_key", Label: "Secret access key", Secret: true, Required: true}, {Path: "role_arn", Label: "Role to assume"}}},
	{Name: "hmac", Label: "Keyed digest (HMAC)", At: "hmac",
		Inputs: []signInInput{{Path: "key", Label: "Key", Secret: true, Required: true}, {Path: "key_id", Label: "Key id"}, {Path: "header", Label: "Header", Hint: "Without it: Authorization."},
			{Path: "algorithm", Label: "Digest", Options: []Option{{"", "sha256"}, {"sha1", "sha1"}, {"sha512", "sha512"}}}}},
	{Name: "session", Label: "Session", Hint: "A request of its own begins a session.", At: "session",
		Inputs: []signInInput{{Path: "path", Label: "Path", Required: true, Hint: "Of the request that signs in, such as /login."}, {Path: "username", Label: "User name"}, {Path: "password", Label: "Password", Secret: true, Required: true}}},
	{Name: "anonymous", Label: "No sign-in", At: "anonymous"},
}

func signInKindOf(name string) signInKind {
	for _, k := range signInKinds {
		if k.Name == name {
			return k
		}
	}
	return signInKinds[0]
}

// credentialsView is what the step of the credential shows.
type credentialsView struct {
	wizardView
	Choices []credentialChoice
	Chosen  *credentialChoice
	// Wants are the sign-ins that the connector takes; none: any.
	Wants []string
	// New is the kind of a new one; Fields are its inputs, Problem what is wrong as
	// a whole.
	New     signInKind
	Fields  []Field
	Problem string
	Open    bool
	// MayAnew: the chosen one may be given anew. Anew: the form does that, and
	// makes no other.
	MayAnew, Anew bool
}

type credentialChoice struct {
	api.Credential
	On bool
}

func (c *console) credentialStep(r *http.Request, v wizardView) (templ.Component, error) {
	return c.credentialStepWith(r, v, r.URL.Query().Get("new"), nil, "")
}

func (c *console) credentialStepWith(r *http.Request, v wizardView, kind string, form url.Values, problem string) (templ.Component, error) {
	view := credentialsView{wizardView: v, Problem: problem, Open: kind != ""}
	list, err := c.Service.Credentials(r.Context())
	if err != nil {
		return nil, err
	}
	chosen := text(v.Values, "credential", "")
	for _, one := range list {
		view.Choices = append(view.Choices, credentialChoice{one, one.Name == chosen})
	}
	for i := range view.Choices {
		if view.Choices[i].On {
			view.Chosen = &view.Choices[i]
		}
	}
	said, err := c.describe(r, text(v.Values, "plugin", ""))
	if err != nil {
		return nil, err
	}
	if said != nil {
		view.Wants = said.CredentialProtocols
	}
	view.Open = view.Open || len(view.Choices) == 0
	if kind == "" && len(view.Wants) > 0 && slices.ContainsFunc(signInKinds, func(k signInKind) bool { return k.Name == view.Wants[0] }) {
		kind = view.Wants[0]
	}
	view.New = signInKindOf(kind)
	view.MayAnew = view.Chosen != nil && c.revisionAnew(r.Context(), v, view.Chosen.Credential) > 0
	if form == nil && view.MayAnew && r.URL.Query().Has("anew") {
		view.Anew = true
		form = url.Values{"name": {chosen}, "endpoint": {view.Chosen.Endpoint}}
	}
	view.Fields = credentialInputs(view.New, v.App, form, problem)
	return wizardCredential(view), nil
}

// credentialInputs are the inputs of a new credential, with what was given but
// for secrets.
func credentialInputs(k signInKind, app string, form url.Values, problem string) []Field {
	given := func(name, otherwise string) string {
		if form.Has(name) {
			return form.Get(name)
		}
		return otherwise
	}
	fields := []Field{
		{Name: "name", Label: "Name", Value: given("name", developerName(app)), Required: true, Hint: "Letters, digits and single underscores."},
		{Name: "endpoint", Label: "Endpoint", Value: given("endpoint", ""), Type: "url", Required: true, Hint: "URL that every path of the app is below, such as https://acme.example.com/scim/v2"},
	}
	for _, in := range k.Inputs {
		f := Field{Name: "in." + in.Path, Label: in.Label, Hint: in.Hint, Required: in.Required, Options: in.Options}
		switch {
		case in.Secret && in.Lines:
			f.Lines = 4
		case in.Secret:
			f.Type = "password"
		default:
			f.Value = given(f.Name, "")
		}
		fields = append(fields, f)
	}
	fields = append(fields, Field{Name: "rate", Label: "Most requests", Value: given("rate", ""), Hint: "Such as 20/s or 600/m. Without it, as many as there are."})
	for i := range fields {
		fields[i].Problem = problemAt(problem, fields[i].Name, k)
	}
	return fields
}

// problemAt is the line of a configuration's problems that is about an input.
func problemAt(said, name string, k signInKind) string {
	key := map[string]string{"rate": "limits.rate"}[name]
	if key == "" {
		key = name
	}
	if path, is := strings.CutPrefix(name, "in."); is {
		key = k.At + "." + path
	}
	for line := range strings.Lines(said) {
		if _, why, found := strings.Cut(line, "."+key+": "); found {
			return strings.TrimSpace(why)
		}
	}
	return ""
}

var notDeveloper = regexp.MustCompile(`[^A-Za-z0-9]+`)

// developerName makes the name of a credential of an app's.
func developerName(app string) string {
	parts := notDeveloper.Split(app, -1)
	for i := range parts {
		parts[i] = capital(parts[i])
	}
	return strings.Join(parts, "_")
}

// credentialNew makes a named credential, and lets the draft have it.
func (c *console) credentialNew(w http.ResponseWriter, r *http.Request) error {
	v, err := c.wizardAt(r)
	if err != nil {
		return err
	}
	if err := r.ParseForm(); err != nil {
		return err
	}
	k := signInKindOf(r.PostForm.Get("kind"))
	name, document := credentialDocument(k, r.PostForm)
	revision, err := c.credentialRevision(r.Context(), v, name)
	if err == nil {
		err = c.put(r.Context(), "credentials", name, document, revision)
	}
	switch code := host.CodeOf(err); {
	case code == host.Internal || code == host.PermissionDenied:
		return err
	case err != nil:
		content, shown := c.credentialStepWith(r, v, k.Name, r.PostForm, message(err))
		if shown != nil {
			return shown
		}
		return c.showWizard(w, r, http.StatusUnprocessableEntity, v, content)
	}
	if _, err := c.Service.SaveWizard(r.Context(), v.App, v.At, api.WizardSave{Revision: v.Revision, Values: map[string]any{"credential": name}}); err != nil {
		return c.refused(w, r, wizardPath(v.App, v.At), err)
	}
	return c.done(w, r, wizardPath(v.App, v.At), Flash{Tone: "good", Text: name + " is stored, with its secret sealed. Try it before you continue."})
}

// credentialRevision is the revision of the credential that a new one replaces,
// 0 where none has its name. The one that the draft has may be given anew;
// others are not overwritten.
func (c *console) credentialRevision(ctx context.Context, v wizardView, name string) (int64, error) {
	list, err := c.Service.Credentials(ctx)
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(list, func(one api.Credential) bool { return one.Name == name })
	if i < 0 {
		return 0, nil
	}
	if revision := c.revisionAnew(ctx, v, list[i]); revision > 0 {
		return revision, nil
	}
	return 0, host.Errorf(host.Conflict, "there is a credential %s already: choose another name, or take that one above", name)
}

// revisionAnew is the revision of a credential that the draft has and that may be
// given anew, 0 where that is not for the wizard: a live app uses it, or another,
// or a file declares it.
func (c *console) revisionAnew(ctx context.Context, v wizardView, one api.Credential) int64 {
	others := slices.ContainsFunc(one.Apps, func(app string) bool { return app != v.App || v.Mode == "live" })
	if others || v.ReadOnly() || one.Name != text(v.Values, "credential", "") {
		return 0
	}
	s, err := c.Service.Setting(ctx, "credentials", one.Name)
	if err != nil { // who may not see it may not change it
		return 0
	}
	return s.Revision
}

// credentialDocument is the entry of the configuration that a form makes.
func credentialDocument(k signInKind, form url.Values) (name string, document map[string]any) {
	name = strings.TrimSpace(form.Get("name"))
	document = map[string]any{"name": name, "endpoint": strings.TrimSpace(form.Get("endpoint"))}
	if rate := strings.TrimSpace(form.Get("rate")); rate != "" {
		document["limits"] = map[string]any{"rate": rate}
	}
	if k.At == "anonymous" {
		document["anonymous"] = true
		return name, document
	}
	in := maps.Clone(k.Fixed)
	if in == nil {
		in = map[string]any{}
	}
	for _, one := range k.Inputs {
		given := form.Get("in." + one.Path)
		if strings.TrimSpace(given) == "" {
			continue
		}
		var value any = strings.TrimSpace(given)
		switch {
		case one.Secret:
			value = map[string]any{"value": strings.TrimRight(given, "\r\n")}
		case one.List:
			value = anys(strings.Fields(given))
		}
		put(in, one.Path, value)
	}
	document[k.At] = in
	return name, document
}

// put puts a value at a path of keys.
func put(m map[string]any, path string, value any) {
	for {
		key, rest, more := strings.Cut(path, ".")
		if !more {
			m[key] = value
			return
		}
		inner, ok := m[key].(map[string]any)
		if !ok {
			inner = map[string]any{}
			m[key] = inner
		}
		m, path = inner, rest
	}
}

// credentialAuthorise begins an authorization, in a window of its own: the page
// says where it leads, and goes there.
func (c *console) credentialAuthorise(w http.ResponseWriter, r *http.Request) error {
	v, err := c.wizardAt(r)
	if err != nil {
		return err
	}
	name := text(v.Values, "credential", "")
	begun, err := c.Service.Authorize(r.Context(), name, api.AuthorizeOptions{})
	if err != nil {
		return err
	}
	if begun == nil {
		return c.done(w, r, wizardPath(v.App, v.At), Flash{Tone: "good", Text: name + " is authorised."})
	}
	at, err := url.Parse(begun.URL)
	if err != nil || at.Scheme != "https" && at.Scheme != "http" {
		return host.Errorf(host.Unavailable, "%s gives no address to sign in at", name)
	}
	return c.show(w, r, Page{Title: "Authorise " + name, Sub: Text("You leave Provost, and sign in at " + at.Host + ".")}, authorising(*begun, at.Host))
}

// credentialTest tries the credential of a draft.
func (c *console) credentialTest(w http.ResponseWriter, r *http.Request) error {
	v, err := c.wizardAt(r)
	if err != nil {
		return err
	}
	name := text(v.Values, "credential", "")
	steps, err := c.Service.TestCredential(r.Context(), name, "", strings.TrimSpace(r.FormValue("probe")))
	if err != nil && len(steps) == 0 {
		return err
	}
	if isPart(r) {
		return c.part(w, r, testSteps(name, steps))
	}
	content := testSteps(name, steps)
	return c.showWizard(w, r, http.StatusOK, v, content)
}

// credentialState tells whether the credential of a draft can be used by now.
func (c *console) credentialState(w http.ResponseWriter, r *http.Request) error {
	v, err := c.wizardAt(r)
	if err != nil {
		return err
	}
	list, err := c.Service.Credentials(r.Context())
	if err != nil {
		return err
	}
	for _, one := range list {
		if one.Name != text(v.Values, "credential", "") {
			continue
		}
		if one.Wants != "" { // what is shown stays, and the focus where it is
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		return c.part(w, r, credentialAuthorised(v, credentialChoice{one, true}))
	}
	return host.Errorf(host.NotFound, "the credential is gone")
}

// takes tells whether a connector takes the sign-in of a credential, as far as
// it says.
func (v credentialsView) takes(protocol string) bool {
	return len(v.Wants) == 0 || slices.ContainsFunc(v.Wants, func(w string) bool {
		return w == protocol || strings.HasPrefix(w, "oauth2") && strings.HasPrefix(protocol, "oauth2")
	})
}

// principal is as whom a credential was authorised, "" where nobody has.
func principal(c api.Credential) string {
	for _, a := range c.Authorizations {
		if a.UserId == "" {
			return a.Principal
		}
	}
	return ""
}

// interactive tells whether a person authorises the credential.
func interactive(c api.Credential) bool {
	return c.Wants != "" || len(c.Authorizations) > 0 || strings.Contains(c.Protocol, "authorization_code") || strings.Contains(c.Protocol, "device_code")
}

// anewHref leads to the form that gives the chosen credential anew.
func (v credentialsView) anewHref() string {
	return wizardPath(v.App, v.At) + "?anew&new=" + url.QueryEscape(v.Chosen.Protocol) + "#new"
}

func newCredentialTitle(v credentialsView) string {
	switch {
	case v.Anew:
		return v.Chosen.Name + " anew"
	case len(v.Choices) == 0:
		return "A named credential"
	default:
		return "Another named credential"
	}
}

// signInLabels are the sign-ins by the words of their forms.
func signInLabels(names []string) []string {
	var list []string
	for _, name := range names {
		list = append(list, protocolLabel(name))
	}
	return list
}

func testClass(s api.TestStep) string {
	if s.OK {
		return "ok"
	}
	return "no"
}

// testSummary says in a sentence what came of a test.
func testSummary(name string, steps []api.TestStep) string {
	for _, s := range steps {
		if !s.OK {
			return name + " does not work yet: " + s.Name + " failed."
		}
	}
	return name + " works."
}

// protocolLabel is a sign-in in the words of its form.
func protocolLabel(protocol string) string {
	for _, k := range signInKinds {
		if k.Name == protocol {
			return k.Label
		}
	}
	return strings.ReplaceAll(strings.ReplaceAll(protocol, "oauth2", "OAuth 2.0"), "_", " ")
}
