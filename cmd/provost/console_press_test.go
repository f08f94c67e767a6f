package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

// presses what asks a second time, and then what says yes.
func (r setupReader) confirms(button, yes string) {
	r.t.Helper()
	r.presses(button)
	r.do(chromedp.WaitVisible("dialog[open]"))
	r.presses(yes)
}

// writes replaces what stands in an input.
func (r setupReader) writes(into, text string) {
	r.t.Helper()
	_, err := chromedp.Run(r.ctx, chromedp.Evaluate[bool](`{ document.querySelector('`+into+`').value = ""; true }`))
	require.NoError(r.t, err)
	r.types(into, text)
}

// TestCredentialsConnectorsAndRequestsArePressed goes through what is made and
// taken away on their pages, in one browser.
func TestCredentialsConnectorsAndRequestsArePressed(t *testing.T) {
	s := newScene(t)
	r := newSetupReader(t, s)
	acme, err := s.Credential(t.Context(), "Acme_SCIM")
	require.NoError(t, err)
	document := func() map[string]any {
		setting, err := s.Setting(t.Context(), "credentials", "Mine")
		require.NoError(t, err)
		return setting.Document
	}

	// A credential is made, and a test of it says what it has seen and no more.
	r.open("/console/credentials")
	r.presses("Bearer token")
	r.types("#name", "Mine")
	r.types("#endpoint", acme.Endpoint)
	r.types(`[id="in.token"]`, "canary-first")
	r.presses("Store it")
	r.sees("Mine is stored, with its secret sealed.")
	r.types("#try-path", "Nowhere")
	r.presses("Test")
	r.sees("whether it works is not known yet: GET /Nowhere answered 404")
	require.NotContains(t, r.text(), "Mine works")
	r.writes("#try-path", "Users")
	r.presses("Test")
	r.sees("Mine works.")

	// It is changed with its secret kept; for another address it is asked for again.
	r.presses("Change")
	r.types("#rate", "20/s")
	r.presses("Save")
	r.sees("Mine is changed")
	require.Equal(t, map[string]any{"token": map[string]any{"stored": true}}, document()["bearer"])
	require.Equal(t, map[string]any{"rate": "20/s"}, document()["limits"])
	r.presses("Change")
	r.writes("#endpoint", "https://elsewhere.example.com")
	r.presses("Save")
	r.isTold("give the secret again")
	require.Equal(t, acme.Endpoint, document()["endpoint"])

	// Its secret is rotated, and the rotation ended.
	r.open("/console/credentials/Mine")
	r.types("#secret", "canary-second")
	r.types("#path", "Users")
	r.presses("Try it, and change")
	r.sees("Mine has the new secret.")
	r.presses("End the rotation")
	r.sees("Mine has one secret again.")
	_, err = s.RotateCredential(t.Context(), "Mine", api.Rotation{Finish: true})
	require.Equal(t, host.Conflict, host.CodeOf(err))
	done, err := s.RotateCredential(t.Context(), "Mine", api.Rotation{Secret: "canary-third", Path: "/Nowhere"})
	require.NoError(t, err)
	require.False(t, done.Done, "what was not seen to work changes nothing")

	// While an app uses it, it stays, and it is said by whom.
	_, err = s.PutSetting(t.Context(), "apps", "extra", []byte(`{"name": "extra", "plugin": "scim", "credential": "Mine", "mapping": ["userName = user.Username"]}`), 0)
	require.NoError(t, err)
	r.open("/console/credentials/Mine")
	r.confirms("Delete", "Delete Mine")
	r.sees("the credential Mine is used by the app extra")
	require.NoError(t, s.DeleteSetting(t.Context(), "apps", "extra", api.AnyRevision))
	r.open("/console/credentials/Mine")
	require.NotContains(t, r.text(), "canary")
	r.confirms("Delete", "Delete Mine")
	r.sees("Mine is deleted")

	// A connector is refused, pulled, and taken away.
	file := filepath.Join(t.TempDir(), "none.wasm")
	require.NoError(t, os.WriteFile(file, []byte("none"), 0o600))
	r.open("/console/connectors")
	r.do(chromedp.SetUploadFiles("#module", []string{file}))
	r.presses("Upload and let it serve")
	r.isTold("is no WebAssembly module")
	r.open("/console/connectors")
	r.types("#source", "builtin:scim")
	r.types("#pull-name", "second")
	r.presses("Pull it and let it serve")
	r.sees("second serves.")
	r.confirms("Delete", "Delete second")
	r.sees("second is gone.")
	r.open("/console/connectors/scim")
	require.NotContains(t, r.text(), "Delete", "what a file declares is deleted there")

	// What a request did is done again, and is a test for the connector's author.
	first := s.in("acme", host.StateCompleted)[0]
	page := "/console/requests/" + first.Name()
	r.open(page)
	r.confirms("Run again", "Run it again")
	r.sees("is done again. The new request is UPR-")
	again, err := s.Requests(t.Context(), api.RequestFilter{App: "acme", Paging: api.Paging{Sort: "-number", Limit: 1}})
	require.NoError(t, err)
	next := again.Rows[0]
	require.Equal(t, host.Update, next.Operation, "an account that is there is not made twice")
	s.until("the request", func() bool { return s.state(next.Name()) == host.StateCompleted })
	r.open("/console/requests/" + next.Name())
	r.presses("Copy as test")
	r.sees("func Test" + strings.ReplaceAll(next.Name(), "-", "") + "(t *testing.T)")
	r.presses("Copy")
	r.fine()
}
