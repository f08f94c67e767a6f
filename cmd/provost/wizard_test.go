package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin/oauthtest"
	"github.com/provosthq/provost/plugins/scim/scimtarget"
)

// wizarding is a daemon that has people and nothing else, and an app that speaks
// SCIM behind an authorization server.
type wizarding struct {
	*served
	provider *oauthtest.Provider
	app      *scimtarget.Target
}

func newWizarding(t *testing.T) *wizarding {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that nobody has now
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	app, err := scimtarget.New(scimtarget.Options{})
	require.NoError(t, err)
	z := &wizarding{served: newServed(t), app: app}
	z.provider = oauthtest.Start(t, oauthtest.Options{Redirects: []string{"http://" + address + api.CallbackPath}, Resource: app})
	identity, err := secret.GenerateIdentity()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(z.dir, "identity"), []byte(identity+"\n"), 0o600))
	require.NoError(t, os.WriteFile(z.file, fmt.Appendf(nil, `
listen: {api: %q, metrics: "127.0.0.1:0"}
log: {level: debug, format: json}
secrets: {identity_file: identity}
trust: {require_signature: false}
groups: [{name: leads, members: [grace]}]
`, address), 0o600))
	for _, a := range []map[string]any{
		{"userName": "ada", "name": map[string]any{"givenName": "Ada", "familyName": "Lovelace"}, "title": "Analyst", "active": true},
		{"userName": "g.hopper", "name": map[string]any{"givenName": "Grace", "familyName": "Hopper"}, "active": true},
		{"userName": "svc-backup", "active": true},
	} {
		_, err := app.Add(a)
		require.NoError(t, err)
	}
	z.start()
	z.must("Username,FirstName,LastName,Email,Title,Department\n"+
		"ada,Ada,Lovelace,ada@example.com,Countess,Research\ngrace,Grace,Hopper,grace@example.com,Admiral,Research\n"+
		"alan,Alan,Turing,alan@example.com,Fellow,Research\nmallory,<script>alert(1)</script>,\"\"\"><img src=x>\",m@example.com,Clerk,Sales\n",
		"user", "import", "-", "--format", "csv")
	return z
}

// fill puts texts into the inputs of a page, by their ids or names.
func (r *reader) fill(values map[string]string) {
	r.t.Helper()
	for name, value := range values {
		r.do(chromedp.SetValue(`[name="`+name+`"]`, value))
	}
}

func (r *reader) ticks(id string) {
	r.t.Helper()
	r.do(chromedp.Click(`[id="`+id+`"]`, chromedp.NodeVisible))
}

// comes waits until the page is another.
func (r *reader) comes(path string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		at, _, _ := strings.Cut(r.at(), "?")
		return at == path
	}, 20*time.Second, 50*time.Millisecond, "it is %s, and not %s", r.at(), path)
	r.do(chromedp.WaitReady("#content"))
}

func (z *wizarding) wizard(app string) (w api.Wizard) {
	z.t.Helper()
	z.ask("/api/v1/apps/"+app+"/wizard", nil, &w)
	return w
}

// first goes through the wizard's first steps, with an OAuth client that may sign
// in for itself.
func (z *wizarding) first(r *reader, at func(string) string) {
	r.open("/console/wizard")
	r.fill(map[string]string{"name": "acme", "label": "Acme", "scope": `user.Department == "Research"`})
	r.pictures("wizard-1-app")
	r.presses("Continue")
	r.comes(at("connector"))
	r.presses("SCIM 2.0")
	r.sees("scim serves")
	r.pictures("wizard-2-connector")
	r.presses("Continue")
	r.comes(at("credential"))
}

// The whole wizard, from a daemon that has nothing but people to an app that is
// live.
func TestTheWizardLeadsFromNothingToAnAppThatIsLive(t *testing.T) {
	t.Parallel()
	z := newWizarding(t)
	r := newReader(t, "http://"+z.api)
	at := func(step string) string { return "/console/apps/acme/wizard/" + step }
	z.first(r, at)
	r.presses("OAuth 2.0, client credentials")
	r.sees("Client secret")
	r.fill(map[string]string{"endpoint": z.provider.URL + "/api", "in.issuer": z.provider.URL, "in.client_id": oauthtest.ClientID, "in.client_secret": "canary-wrong"})
	r.pictures("wizard-3-credential-new")
	r.presses("Store it")
	r.sees("Acme is stored")
	r.presses("Test")
	r.sees("Acme does not work")
	r.pictures("wizard-3-credential-wrong")
	require.NotContains(t, r.html(), "canary", "a secret is shown nowhere")
	r.presses("Give Acme anew")
	r.sees("Acme anew")
	r.fill(map[string]string{"in.issuer": z.provider.URL, "in.client_id": oauthtest.ClientID, "in.client_secret": oauthtest.ClientSecret})
	r.presses("Store it")
	r.sees("Acme is stored")
	r.fill(map[string]string{"path": "/Users"})
	r.presses("Test")
	r.sees("Acme works.")
	r.pictures("wizard-3-credential")
	r.presses("Continue")

	r.comes(at("operations"))
	r.pictures("wizard-4-operations")
	r.presses("Continue")
	r.comes(at("attributes"))
	r.sees("by what the app says it has")
	r.do(chromedp.SendKeys("#person", "turing"))
	r.sees("Alan Turing")
	r.pictures("wizard-5-attributes")
	r.presses("Continue")
	r.comes(at("approval"))
	r.pictures("wizard-6-approval")
	r.presses("Continue")
	r.comes(at("linking"))
	r.pictures("wizard-7-linking")
	r.presses("Collect and analyze")
	r.sees("Nothing in Acme has been changed")
	r.pictures("wizard-7-review")
	require.Equal(t, "preview", z.wizard("acme").Mode, "nothing reaches the app yet")
	require.Zero(t, z.app.Created())

	// Whom no rule has found is linked by hand.
	r.do(chromedp.Click(`[aria-label="Look up a person for g.hopper"]`, chromedp.NodeVisible), chromedp.WaitVisible("#who"), swapped, chromedp.SendKeys("#who", "grace"))
	r.sees("Admiral")
	r.pictures("wizard-7-look-up")
	r.do(chromedp.Click(`[aria-label="Link to Grace Hopper"]`, chromedp.NodeVisible))
	r.sees("1 account is linked")
	r.presses("Dry run")
	r.sees("has no account")
	r.pictures("wizard-7-dry-run")
	r.presses("Commit …")
	r.ticks("process")
	r.pictures("wizard-7-commit")
	r.presses("Commit 2 links")
	z.until("the app to be live, and alan to have an account", func() bool { return z.app.Created() == 1 })
	r.comes("/console/apps/acme")
	for _, a := range z.app.Accounts() {
		if a.Attributes["userName"] == "ada" {
			z.until("ada's title", func() bool { return z.app.Accounts()[0].Attributes["title"] == "Countess" })
		}
	}
	require.Equal(t, "live", z.wizard("acme").Mode)
	var open []*api.Wizard
	z.ask("/api/v1/wizards", nil, &open)
	require.Empty(t, open, "what is done is no draft")
	require.NotContains(t, z.log.String(), "canary")
}

// save is what another administrator does, with a script.
func (z *wizarding) save(app, step string, in api.WizardSave) (w api.Wizard, err error) {
	z.t.Helper()
	c, ok := socketClient(filepath.Join(z.dir, "data", "provost.sock"))
	require.True(z.t, ok)
	defer c.close(z.t.Context())
	return w, c.do(z.t.Context(), http.MethodPut, "/api/v1/apps/"+app+"/wizard/"+step, nil, in, &w)
}

// post is what a script asks for.
func (z *wizarding) post(path string, in any) error {
	z.t.Helper()
	c, ok := socketClient(filepath.Join(z.dir, "data", "provost.sock"))
	require.True(z.t, ok)
	defer c.close(z.t.Context())
	return c.do(z.t.Context(), http.MethodPost, path, nil, in, &struct{}{})
}

func (z *wizarding) restart() {
	z.t.Helper()
	z.terminate()
	z.end()
	z.start()
}

// The wizard with all that happens on the way: somebody authorizes it in a window
// of its own, goes back, gives what is wrong, loads the page anew, the daemon
// restarts, another administrator changes the same thing, a threshold stops the
// commit.
func TestTheWizardGoesOnWhereItWasWhateverHappens(t *testing.T) {
	t.Parallel()
	z := newWizarding(t)
	r := newReader(t, "http://"+z.api)
	at := func(step string) string { return "/console/apps/acme/wizard/" + step }
	z.first(r, at)
	r.presses("OAuth 2.0, a person authorizes")
	r.sees("Authorization URL")
	r.fill(map[string]string{"endpoint": z.provider.URL + "/api", "in.issuer": z.provider.URL, "in.client_id": oauthtest.ClientID, "in.client_secret": oauthtest.ClientSecret,
		"in.scopes": "openid offline_access profile"})
	r.presses("Store it")
	r.sees("is not authorized yet")
	r.pictures("wizard-3-credential-authorize")
	r.presses("Continue")
	r.seesNoMore("is stored")
	r.sees("is not authorized yet")
	require.Equal(t, at("credential"), r.at(), "each step is checked before the next")

	popup := chromedp.WaitNewTarget(r.ctx, func(*target.Info) bool { return true })
	r.presses("Authorize")
	ctx, cancel := chromedp.NewContext(r.ctx, chromedp.WithTargetID(<-popup))
	defer cancel()
	require.NoError(t, oauthtest.SignIn(ctx, "", "#allow"))
	r.sees("Acme is authorized")
	r.presses("Continue")
	r.comes(at("operations"))

	r.ticks("operations-SuspendAndRestore")
	r.presses("Continue")
	r.sees("can't freeze")
	require.Equal(t, at("operations"), r.at())
	r.pictures("wizard-4-operations-wrong")
	r.presses("Back")
	r.comes(at("credential"))
	r.presses("Continue")
	r.comes(at("operations"))
	r.sees("can't freeze")
	r.ticks("operations-SuspendAndRestore") // it was still ticked
	r.presses("Continue")
	r.comes(at("attributes"))

	r.presses("Add a rule")
	last := func(name string) string { return `.rule:last-of-type input[name="` + name + `"]` }
	r.do(chromedp.WaitVisible(`.rule input[name="path"][value=""]`), chromedp.SetValue(last("path"), "nickName"), chromedp.SetValue(last("expression"), "lowr(user.Alias)"))
	r.presses("Continue")
	r.sees(`did you mean "lower"?`)
	r.pictures("wizard-5-attributes-wrong")
	r.open(at("attributes"))
	r.sees(`did you mean "lower"?`)
	z.restart()
	r.open("/console/apps/acme/wizard")
	require.Equal(t, at("attributes"), r.at(), "it is resumed where something is to be done")
	r.do(chromedp.SetValue(last("expression"), "lower(user.Alias)"))
	r.presses("Continue")
	r.comes(at("approval"))

	// Another administrator is at the same step.
	before := z.wizard("acme")
	_, err := z.save("acme", "approval", api.WizardSave{Revision: before.Revision, Values: map[string]any{"approval": "manager"}})
	require.NoError(t, err)
	_, err = z.save("acme", "approval", api.WizardSave{Revision: before.Revision, Values: map[string]any{"approval": "none"}})
	require.ErrorContains(t, err, `has changed approval from nothing to "manager"`)
	r.ticks("approval-group")
	r.fill(map[string]string{"approval_group": "leads"})
	r.presses("Continue")
	r.isTold("has changed this step meanwhile")
	r.pictures("wizard-6-approval-theirs")
	require.Equal(t, "manager", z.wizard("acme").Values["approval"], "nothing is lost without being told")
	r.presses("Continue")
	r.comes(at("linking"))
	require.Equal(t, "group", z.wizard("acme").Values["approval"])
	require.Equal(t, "leads", z.wizard("acme").Values["approval_group"])

	// Elsewhere in the draft they may both work.
	before = z.wizard("acme")
	_, err = z.save("acme", "app", api.WizardSave{Revision: before.Revision, Values: map[string]any{"label": "Acme Ltd", "scope": "user.Department == \"Research\""}})
	require.NoError(t, err)
	r.fill(map[string]string{"threshold.found": "5"})
	r.presses("Collect and analyze")
	r.sees("Nothing in Acme Ltd has been changed")
	z.restart()
	r.open("/console/apps/acme/wizard")
	r.sees("Nothing in Acme Ltd has been changed")

	// What was reviewed is what is committed: a draft that was changed since is
	// collected again.
	scoped := map[string]any{"label": "Acme Ltd", "scope": `user.Department == "Research"`}
	_, err = z.save("acme", "app", api.WizardSave{Revision: z.wizard("acme").Revision, Values: map[string]any{"label": "Acme Ltd", "scope": nil}})
	require.NoError(t, err)
	require.ErrorContains(t, z.post("/api/v1/apps/acme/wizard/commit", api.WizardCommit{}), "was changed since it was collected")
	r.open("/console/apps/acme/wizard")
	r.sees("Something was changed since these accounts were collected")
	r.presses("Collect and analyze")
	r.sees("Nobody gets an account here but whom you assign the app")
	r.sees("Nothing would be changed in the app.") // though values differ: it is nobody's business
	_, err = z.save("acme", "app", api.WizardSave{Revision: z.wizard("acme").Revision, Values: scoped})
	require.NoError(t, err)
	r.open("/console/apps/acme/wizard")
	r.presses("Collect and analyze")
	r.seesNoMore("Something was changed since")
	r.sees("Nothing in Acme Ltd has been changed")
	r.presses("Commit …")
	r.presses("Commit 1 link")
	r.sees("A threshold has stopped it")
	r.pictures("wizard-7-threshold")
	z.until("the end of the commit that was stopped", func() bool { return !z.wizard("acme").Committing })
	r.presses("Allow it …")
	r.do(chromedp.SendKeys("#allow-note", "it is a small app"))
	r.presses("Allow these 3")
	r.sees("It may be committed")
	r.presses("Commit …")
	r.presses("Commit 1 link")
	z.until("the commit to begin", func() bool { return z.wizard("acme").Committing || z.wizard("acme").Mode == "live" })
	require.NoError(t, z.process.Process.Kill()) // at no good moment
	<-z.ended
	z.start()
	z.until("the app to be live", func() bool { return z.wizard("acme").Mode == "live" })
	require.Zero(t, z.app.Created(), "it was not asked to do what follows")
	for _, secret := range []string{oauthtest.ClientSecret, oauthtest.Password} {
		require.NotContains(t, z.log.String(), secret)
	}
}

// seesNoMore waits until something is not to be read any more: the page is
// another.
func (r *reader) seesNoMore(what string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		text, err := chromedp.Run(r.ctx, chromedp.Text("body"))
		return err == nil && !strings.Contains(text, what)
	}, 20*time.Second, 50*time.Millisecond, "%q is still to be read", what)
}

// isTold is sees on a page that tells of what was refused: the browser's console
// says so, too.
func (r *reader) isTold(what string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		text, err := chromedp.Run(r.ctx, chromedp.Text("body"))
		return err == nil && strings.Contains(text, what)
	}, 20*time.Second, 50*time.Millisecond, "%q is not to be read", what)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = nil
}

func (r *reader) html() string {
	r.t.Helper()
	html, err := chromedp.Run(r.ctx, chromedp.OuterHTML("html"))
	require.NoError(r.t, err)
	return html
}
