package console

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/a-h/templ"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

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
	if form == nil {
		form = url.Values{"name": {developerName(v.App)}}
	}
	view.Fields = view.New.fields(form, problem)
	return wizardCredential(view), nil
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
	name, document := k.document(r.PostForm, nil)
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

// credentialAuthorize begins an authorization, in a window of its own: the page
// says where it leads, and goes there.
func (c *console) credentialAuthorize(w http.ResponseWriter, r *http.Request) error {
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
		return c.done(w, r, wizardPath(v.App, v.At), Flash{Tone: "good", Text: name + " is authorized."})
	}
	at, err := url.Parse(begun.URL)
	if err != nil || at.Scheme != "https" && at.Scheme != "http" {
		return host.Errorf(host.Unavailable, "%s gives no address to sign in at", name)
	}
	return c.show(w, r, Page{Title: "Authorize " + name, Sub: Text("You leave Provost, and sign in at " + at.Host + ".")}, authorizing(*begun, at.Host))
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
		return c.part(w, r, credentialAuthorized(v, credentialChoice{one, true}))
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

// principal is as whom a credential was authorized, "" where nobody has.
func principal(c api.Credential) string {
	for _, a := range c.Authorizations {
		if a.UserId == "" {
			return a.Principal
		}
	}
	return ""
}

// interactive tells whether a person authorizes the credential.
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

// protocolLabel is a sign-in in the words of its form.
func protocolLabel(protocol string) string {
	for _, k := range signInKinds {
		if k.Name == protocol {
			return k.Label
		}
	}
	return strings.ReplaceAll(strings.ReplaceAll(protocol, "oauth2", "OAuth 2.0"), "_", " ")
}
