package console

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

// connectorPath is the page of a connector, or what stands below it.
func connectorPath(name string, below ...string) string {
	return strings.Join(append([]string{Path + "/connectors/" + url.PathEscape(name)}, below...), "/")
}

// connectors is the list of them.
func (c *console) connectors(w http.ResponseWriter, r *http.Request) error {
	list, err := c.Service.Plugins(r.Context())
	if err != nil {
		return err
	}
	return c.showConnectors(w, r, http.StatusOK, connectorList{Plugins: list})
}

// connectorList are the connectors, with a form for another.
type connectorList struct {
	Plugins []api.Plugin
	// Name and Problem are of an upload that was refused.
	Name, Problem string
	// Pulled is what was given to pull one, with what is wrong with it.
	Pulled added
}

func (c *console) showConnectors(w http.ResponseWriter, r *http.Request, status int, list connectorList) error {
	return c.showWith(w, r, status, Page{Title: "Connectors", Sub: Text("The code that knows an app. Each runs in a sandbox, and reaches what it is granted."), Current: "connectors"}, connectorsPage(list))
}

// connectorPage is one connector.
type connectorPage struct {
	api.Plugin
	Builds []api.Build
	Use    api.ConnectorUse
	// Log has the newest lines first; NoLog says why there is none.
	Log     []map[string]any
	NoLog   string
	Setting *api.Setting
	Install bool
}

// mostLogLines are shown of a connector.
const mostLogLines = 40

func (c *console) connector(w http.ResponseWriter, r *http.Request) error {
	ctx, name := r.Context(), r.PathValue("name")
	p := connectorPage{Install: mayAt(ctx, "", access.CustomizeApplication, access.ModifyAllData, access.DownloadPackages)}
	var err error
	if p.Plugin, err = c.Service.Plugin(ctx, name); err != nil {
		return err
	}
	if p.Builds, err = c.Service.Builds(ctx, name); err != nil {
		return err
	}
	if p.Use, err = c.Service.ConnectorUse(ctx, name); err != nil {
		return err
	}
	if mayAt(ctx, "", access.ViewSetup, access.OperateHost) {
		if p.Log, err = c.Service.ConnectorLog(ctx, name, mostLogLines); err != nil {
			p.NoLog = capital(message(err)) + "."
		}
	} else {
		p.NoLog = "The log is for who operates the host."
	}
	setting, err := c.Service.Setting(ctx, "plugins", name)
	if unlessHidden(err) != nil {
		return err
	}
	if err == nil {
		p.Setting = &setting
	}
	return c.show(w, r, Page{Title: name, Sub: connectorSub(p), Current: "connectors", Actions: connectorActions(p),
		Crumbs: []Crumb{{"Connectors", Path + "/connectors"}, {Label: name}}}, connectorBody(p))
}

// totals are the calls of all operations.
func (p connectorPage) totals() (t api.OperationUse) {
	for _, u := range p.Use.Operations {
		t.Calls, t.Failed, t.Fuel, t.Took = t.Calls+u.Calls, t.Failed+u.Failed, t.Fuel+u.Fuel, t.Took+u.Took
	}
	return t
}

// Asked is what it wants and may not, of the build that waits, too.
func (p connectorPage) Asked() host.Reach {
	if p.Waiting != nil {
		return p.Wants.With(p.Waiting.Wants)
	}
	return p.Wants
}

// onConnector does something with a connector, and goes back to its page, or to
// that of the app that it was pressed on.
func (c *console) onConnector(done string, do func(ctx context.Context, name string, r *http.Request) (api.Plugin, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		name := r.PathValue("name")
		to := connectorPath(name)
		if app := r.PostFormValue("app"); app != "" {
			to = appPath(app)
		}
		p, err := do(r.Context(), name, r)
		if err != nil {
			return c.refused(w, r, to, err)
		}
		return c.done(w, r, to, Flash{Tone: "good", Text: fmt.Sprintf(done, name+" "+p.Version)})
	}
}

// connectorUploadRoute takes a connector.
const connectorUploadRoute = "POST " + Path + "/connectors/upload"

// uploadConnector takes a file with a connector, and its signature, and lets it
// serve under a name.
func (c *console) uploadConnector(w http.ResponseWriter, r *http.Request) error {
	name, module, signature, err := uploadedConnector(r)
	if err != nil {
		return err
	}
	name, err = c.installConnector(r.Context(), name, module, signature)
	if err == nil {
		return c.done(w, r, connectorPath(name), Flash{Tone: "good", Text: name + " serves from now on."})
	}
	if code := host.CodeOf(err); code == host.Internal || code == host.PermissionDenied {
		return err
	}
	list, listErr := c.Service.Plugins(r.Context())
	if listErr != nil {
		return listErr
	}
	return c.showConnectors(w, r, http.StatusUnprocessableEntity, connectorList{Plugins: list, Name: name, Problem: capital(settingProblem("plugins", name, err))})
}

// installConnector stores a module, and has an entry of the configuration name
// it: that of the name where there is one, a new build of it then.
func (c *console) installConnector(ctx context.Context, name string, module, signature []byte) (string, error) {
	if len(module) == 0 {
		return name, host.Errorf(host.InvalidInput, "choose the file of the connector, which ends with .wasm")
	}
	got, err := c.Service.UploadConnector(ctx, bytes.NewReader(module), signature)
	if err != nil {
		return name, err
	}
	name = cmp.Or(name, got.Description.Name)
	return name, c.putConnector(ctx, name, got.Source, "", got.Unsigned != "")
}

// putConnector has an entry of the configuration name a source: that of the name
// where there is one, which gets another build then.
func (c *console) putConnector(ctx context.Context, name, source, digest string, unsigned bool) error {
	document, revision := map[string]any{"name": name}, int64(0)
	switch before, err := c.Service.Setting(ctx, "plugins", name); {
	case err == nil && before.File != "":
		return host.Errorf(host.Conflict, "%s is declared in %s: change its source there, or give this one another name", name, fileName(before.File))
	case err == nil:
		document, revision = before.Document, before.Revision
	case host.CodeOf(err) != host.NotFound:
		return err
	}
	document["source"] = source
	delete(document, "digest")
	delete(document, "unsigned")
	if digest != "" {
		document["digest"] = strings.TrimPrefix(digest, "sha256:")
	}
	if unsigned {
		document["unsigned"] = true
	}
	return c.putDocument(ctx, "plugins", name, document, revision)
}

// connectorPullRoute takes a connector from where it is kept.
const connectorPullRoute = "POST " + Path + "/connectors"

// pullConnector takes a connector from a registry or a server, and lets it serve.
func (c *console) pullConnector(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	a := added{Name: strings.TrimSpace(r.PostFormValue("name")), Source: strings.TrimSpace(r.PostFormValue("source")), Digest: strings.TrimSpace(r.PostFormValue("digest"))}
	if builtin, is := strings.CutPrefix(a.Source, "builtin:"); is && a.Name == "" {
		a.Name = builtin
	}
	var err error
	if a.Name == "" {
		err = host.Errorf(host.InvalidInput, "the name is missing; it is what the connector is called here, such as acme")
	} else {
		err = c.putConnector(ctx, a.Name, a.Source, a.Digest, false)
	}
	if err == nil {
		return c.done(w, r, connectorPath(a.Name), Flash{Tone: "good", Text: a.Name + " serves. Look at what it may do before an app uses it."})
	}
	if code := host.CodeOf(err); code == host.Internal || code == host.PermissionDenied {
		return err
	}
	a.Problem = capital(settingProblem("plugins", a.Name, err))
	list, listErr := c.Service.Plugins(ctx)
	if listErr != nil {
		return listErr
	}
	return c.showConnectors(w, r, http.StatusUnprocessableEntity, connectorList{Plugins: list, Pulled: a})
}

// deleteConnector takes a connector out of the host, unless an app needs it.
func (c *console) deleteConnector(w http.ResponseWriter, r *http.Request) error {
	ctx, name := r.Context(), r.PathValue("name")
	if err := c.Service.DeleteSetting(ctx, "plugins", name, formNumber(r, "revision")); err != nil {
		return c.refused(w, r, connectorPath(name), err)
	}
	return c.done(w, r, Path+"/connectors", Flash{Tone: "good", Text: name + " is gone. A module that was uploaded is kept, and can be named again."})
}

// uploadedConnector reads the form. The names of the files mean nothing to us.
func uploadedConnector(r *http.Request) (name string, module, signature []byte, err error) {
	parts, err := r.MultipartReader()
	if err != nil {
		return "", nil, nil, host.Errorf(host.InvalidInput, "the form can't be read: %w", err)
	}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return name, module, signature, nil
		}
		if err != nil {
			return "", nil, nil, err
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return "", nil, nil, err
		}
		switch part.FormName() {
		case "name":
			name = strings.TrimSpace(string(content))
		case "module":
			module = content
		case "signature":
			if len(content) > 0 {
				signature = content
			}
		}
	}
}

// logText is a line of the log as a person reads it: what it says, and what it
// says it of.
func logText(line map[string]any) (text string, of []string) {
	text, _ = line["msg"].(string)
	for _, key := range slices.Sorted(maps.Keys(line)) {
		switch key {
		case "msg", "time", "level", "connector", "leftOut":
		default:
			of = append(of, fmt.Sprintf("%s %v", key, line[key]))
		}
	}
	return text, of
}

func logTime(line map[string]any) time.Time {
	text, _ := line["time"].(string)
	at, _ := time.Parse(time.RFC3339Nano, text) // zero for none
	return at
}

func toneOfLevel(line map[string]any) string {
	switch line["level"] {
	case "ERROR":
		return "bad"
	case "WARN":
		return "warn"
	default:
		return "plain"
	}
}

// sizeText is so many bytes: 3.1 MB.
func sizeText[T ~int64 | ~uint64 | ~float64](n T) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.0f KB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
}

// perCall is a mean.
func perCall(total time.Duration, calls int64) string {
	if calls == 0 {
		return "—"
	}
	return took(total / time.Duration(calls))
}

// connectorDeleteText says what a deletion takes away.
func connectorDeleteText(p connectorPage) string {
	if len(p.Apps) > 0 {
		return listed(p.Apps) + " " + map[bool]string{true: "uses", false: "use"}[len(p.Apps) == 1] + " it, so it can't be deleted before another takes its place there."
	}
	return "It serves no more. No app uses it."
}

// settingProblem is what is wrong with an entry, without the place that its form
// is of.
func settingProblem(list, name string, err error) string {
	said := message(err)
	if rest, is := strings.CutPrefix(said, list+"."+name); is {
		return strings.TrimLeft(rest, ".: ")
	}
	return said
}
