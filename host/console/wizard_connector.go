package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/a-h/templ"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/pdk"
)

// connectorChoice is a connector that is there, with what it says of itself.
type connectorChoice struct {
	api.Plugin
	Said *pdk.Description // nil where it does not serve
	On   bool
}

// connectorsView is what the step of the connector shows.
type connectorsView struct {
	wizardView
	Choices []connectorChoice
	// Chosen is the one that the draft has.
	Chosen *connectorChoice
	// Settings are those of the chosen one; SettingsFile is the file that declares
	// it, SettingsRevision else the revision.
	Settings         []schemaField
	SettingsFile     string
	SettingsRevision int64
	// Builtin are those that come with Provost and are not there yet.
	Builtin []string
	// Added is what was given to add one, with what is wrong with it.
	Added added
}

// added is a connector that is to be added.
type added struct{ Name, Source, Digest, Problem string }

func (c *console) connectorStep(r *http.Request, v wizardView) (templ.Component, error) {
	return c.connectorStepWith(r, v, added{}, nil, nil)
}

func (c *console) connectorStepWith(r *http.Request, v wizardView, a added, problems map[string]string, form map[string][]string) (templ.Component, error) {
	view := connectorsView{wizardView: v, Added: a}
	plugins, err := c.Service.Plugins(r.Context())
	if err != nil {
		return nil, err
	}
	chosen := text(v.Values, "plugin", "")
	for _, p := range plugins {
		said, err := c.describe(r, p.Name)
		if err != nil {
			return nil, err
		}
		view.Choices = append(view.Choices, connectorChoice{p, said, p.Name == chosen})
	}
	for i := range view.Choices {
		if view.Choices[i].On {
			view.Chosen = &view.Choices[i]
		}
	}
	for _, name := range []string{"scim", "mock"} {
		if !slices.ContainsFunc(plugins, func(p api.Plugin) bool { return p.Source == "builtin:"+name || p.Name == name }) {
			view.Builtin = append(view.Builtin, name)
		}
	}
	if view.Chosen != nil && view.Chosen.Said != nil && len(view.Chosen.Said.SettingsSchema) > 0 {
		stored, err := c.Service.Setting(r.Context(), "plugins", chosen)
		if err != nil {
			return nil, err
		}
		view.SettingsFile, view.SettingsRevision = stored.File, stored.Revision
		view.Settings = withProblems(schemaFields(view.Chosen.Said.SettingsSchema, object(stored.Document, "settings"), "settings"), problems, form)
		for i := range view.Settings {
			view.Settings[i].Off = stored.File != ""
		}
	}
	return wizardConnector(view), nil
}

// connectorSettings stores other settings of the connector of a draft.
func (c *console) connectorSettings(w http.ResponseWriter, r *http.Request) error {
	v, err := c.wizardAt(r)
	if err != nil {
		return err
	}
	if err := r.ParseForm(); err != nil {
		return err
	}
	name := text(v.Values, "plugin", "")
	said, err := c.describe(r, name)
	if err != nil || said == nil {
		return errors.Join(err, host.Errorf(host.Conflict, "choose a connector first"))
	}
	stored, err := c.Service.Setting(r.Context(), "plugins", name)
	if err != nil {
		return err
	}
	before := object(stored.Document, "settings")
	values, problems := schemaValues(schemaFields(said.SettingsSchema, before, "settings"), r.PostForm, before)
	if len(problems) == 0 {
		document := clone(stored.Document)
		delete(document, "settings")
		if len(values) > 0 {
			document["settings"] = values
		}
		err := c.put(r.Context(), "plugins", name, document, formNumber(r, "revision"))
		if err == nil {
			return c.done(w, r, wizardPath(v.App, v.At), Flash{Tone: "good", Text: "The settings of " + name + " count from now on."})
		}
		if host.CodeOf(err) != host.InvalidInput {
			return c.refused(w, r, wizardPath(v.App, v.At), err)
		}
		problems = problemsBySetting(message(err))
	}
	content, err := c.connectorStepWith(r, v, added{}, problems, r.PostForm)
	if err != nil {
		return err
	}
	return c.showWizard(w, r, http.StatusUnprocessableEntity, v, content)
}

// problemsBySetting puts what a connector's schema says of settings at each.
func problemsBySetting(said string) map[string]string {
	problems := map[string]string{}
	for part := range strings.SplitSeq(said, ";") {
		_, rest, is := strings.Cut(part, "settings.")
		if name, why, ok := strings.Cut(rest, ": "); is && ok && !strings.ContainsAny(name, " \t\n") {
			problems["settings."+name] = strings.TrimSpace(why)
		}
	}
	if len(problems) == 0 {
		problems["settings"] = said
	}
	return problems
}

func (c *console) put(ctx context.Context, list, name string, document map[string]any, revision int64) error {
	b, err := json.Marshal(document)
	if err != nil {
		return err
	}
	_, err = c.Service.PutSetting(ctx, list, name, b, revision)
	return err
}

// connectorAdd adds a connector from where it is kept, or one that is built in.
func (c *console) connectorAdd(w http.ResponseWriter, r *http.Request) error {
	v, err := c.wizardAt(r)
	if err != nil {
		return err
	}
	a := added{Name: strings.TrimSpace(r.FormValue("name")), Source: strings.TrimSpace(r.FormValue("source")), Digest: strings.TrimSpace(r.FormValue("digest"))}
	if builtin, is := strings.CutPrefix(a.Source, "builtin:"); is && a.Name == "" {
		a.Name = builtin
	}
	document := map[string]any{"name": a.Name, "source": a.Source}
	if a.Digest != "" {
		document["digest"] = strings.TrimPrefix(a.Digest, "sha256:")
	}
	return c.addConnector(w, r, v, a, document)
}

// addConnector stores a connector and lets the draft have it.
func (c *console) addConnector(w http.ResponseWriter, r *http.Request, v wizardView, a added, document map[string]any) error {
	again := func(err error) error {
		a.Problem = capital(message(err))
		content, err := c.connectorStepWith(r, v, a, nil, nil)
		if err != nil {
			return err
		}
		return c.showWizard(w, r, http.StatusUnprocessableEntity, v, content)
	}
	if a.Name == "" {
		return again(host.Errorf(host.InvalidInput, "the name is missing; it is what the connector is called here, such as acme"))
	}
	if err := c.put(r.Context(), "plugins", a.Name, document, 0); err != nil {
		if host.CodeOf(err) == host.Internal || host.CodeOf(err) == host.PermissionDenied {
			return err
		}
		return again(err)
	}
	if _, err := c.Service.SaveWizard(r.Context(), v.App, v.At, api.WizardSave{Revision: v.Revision, Values: map[string]any{"plugin": a.Name}}); err != nil {
		return c.refused(w, r, wizardPath(v.App, v.At), err)
	}
	return c.done(w, r, wizardPath(v.App, v.At), Flash{Tone: "good", Text: a.Name + " serves. Look at what it may do, then continue."})
}

// uploadRoute takes a connector; mostUploadBytes bounds it, with the form around
// it.
const (
	uploadRoute     = "POST " + Path + "/apps/{app}/wizard/connector/upload"
	mostUploadBytes = 64<<20 + 128<<10
)

// connectorUpload takes a file with a connector, and its signature.
func (c *console) connectorUpload(w http.ResponseWriter, r *http.Request) error {
	v, err := c.wizardAt(r)
	if err != nil {
		return err
	}
	parts, err := r.MultipartReader()
	if err != nil {
		return host.Errorf(host.InvalidInput, "the form can't be read: %v", err)
	}
	var module, signature []byte
	a := added{}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		b, err := io.ReadAll(part)
		if err != nil {
			return err
		}
		switch part.FormName() {
		case "name":
			a.Name = strings.TrimSpace(string(b))
		case "module":
			module = b
		case "signature":
			signature = b
		}
	}
	if len(signature) == 0 {
		signature = nil
	}
	got, err := c.Service.UploadConnector(r.Context(), bytes.NewReader(module), signature)
	if err != nil {
		if code := host.CodeOf(err); code == host.Internal || code == host.PermissionDenied {
			return err
		}
		a.Problem = capital(message(err))
		content, err := c.connectorStepWith(r, v, a, nil, nil)
		if err != nil {
			return err
		}
		return c.showWizard(w, r, http.StatusUnprocessableEntity, v, content)
	}
	if a.Name == "" {
		a.Name = got.Description.Name
	}
	a.Source = got.Source
	document := map[string]any{"name": a.Name, "source": got.Source}
	if got.Unsigned != "" {
		document["unsigned"] = true
	}
	return c.addConnector(w, r, v, a, document)
}

// connectorGrant lets the connector of a draft do what it asks for.
func (c *console) connectorGrant(w http.ResponseWriter, r *http.Request) error {
	v, err := c.wizardAt(r)
	if err != nil {
		return err
	}
	name := text(v.Values, "plugin", "")
	if _, err := c.Service.Grant(r.Context(), name, nil); err != nil {
		return c.refused(w, r, wizardPath(v.App, v.At), err)
	}
	return c.done(w, r, wizardPath(v.App, v.At), Flash{Tone: "good", Text: name + " may do what it asks for."})
}

// signedBy says whose signature counted.
func signedBy(p api.Plugin) string {
	switch {
	case strings.HasPrefix(p.Source, "builtin:"):
		return "built in"
	case p.Signer != "":
		return "signed by " + p.Signer
	default:
		return "not signed"
	}
}

// operationsOf are what a connector can do to accounts.
func operationsOf(d *pdk.Description) string {
	var words []string
	for _, op := range d.Operations {
		switch op {
		case pdk.OpDescribe, pdk.OpDiscover, pdk.OpTestConnection, pdk.OpCheck:
		default:
			words = append(words, string(op))
		}
	}
	return strings.Join(words, ", ")
}

func builtinLabel(name string) string {
	return map[string]string{"scim": "SCIM 2.0", "mock": "Mock, to try"}[name]
}
