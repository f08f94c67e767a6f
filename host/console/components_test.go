package console

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/a-h/templ"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
)

var inputs = regexp.MustCompile(`<(?:input|textarea|select)\b[^>]*>`)

// inputsIn are the inputs of a form by their name, but for hidden ones.
func inputsIn(t *testing.T, form templ.Component) map[string]string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, form.Render(t.Context(), &b))
	found := map[string]string{}
	for _, one := range inputs.FindAllString(b.String(), -1) {
		if _, name, named := strings.Cut(one, ` name="`); named && !strings.Contains(one, `type="hidden"`) {
			name, _, _ = strings.Cut(name, `"`)
			found[name] = one
		}
	}
	return found
}

// TestASecretIsMarkedWhereItIsTyped is for console.js: it keeps in the browser
// what a form sends but for what is marked.
func TestASecretIsMarkedWhereItIsTyped(t *testing.T) {
	script, err := os.ReadFile("assets/console.js")
	require.NoError(t, err)
	require.Contains(t, string(script), `el.hasAttribute("data-secret")`)
	check := func(t *testing.T, input string, secret bool) {
		t.Helper()
		require.NotEmpty(t, input)
		require.Equal(t, secret, strings.Contains(input, " data-secret"), input)
	}
	for _, k := range signInKinds {
		t.Run(k.Name, func(t *testing.T) {
			form := inputsIn(t, kindForm("/", k, k.fields(nil, ""), "Store it", ""))
			check(t, form["name"], false)
			for _, in := range k.Inputs {
				check(t, form["in."+in.Path], in.Secret)
				require.True(t, len(in.Options) > 0 || strings.Contains(form["in."+in.Path], ` autocomplete="off"`))
			}
			rotate := inputsIn(t, rotateCard(credentialPage{Kind: k}))
			check(t, rotate["secret"], true)
			require.Contains(t, rotate["secret"], ` autocomplete="off"`)
			check(t, rotate["path"], false)
		})
	}
	t.Run("setup", func(t *testing.T) {
		form := inputsIn(t, setupForm(way{WantsToken: true, assets: embedded()}))
		for _, name := range []string{"token", "password", "again"} {
			check(t, form[name], true)
		}
		check(t, form["name"], false)
	})
	t.Run("sign-in", func(t *testing.T) {
		form := inputsIn(t, signInForm(way{Local: true, assets: embedded()}))
		check(t, form["password"], true)
		check(t, form["code"], true)
		check(t, form["name"], false)
	})
	t.Run("settings of a connector", func(t *testing.T) {
		form := inputsIn(t, SchemaForm(schemaFields(map[string]any{"properties": map[string]any{
			"key":   map[string]any{"type": "string", "writeOnly": true},
			"keys":  map[string]any{"type": "array", "items": map[string]any{"type": "string", "format": "password"}},
			"more":  map[string]any{"type": "array", "writeOnly": true, "items": map[string]any{"type": "string"}},
			"names": map[string]any{"type": "array", "items": map[string]any{"type": "string"}},
		}}, nil, "s")))
		for name, secret := range map[string]bool{"s.key": true, "s.keys": true, "s.more": true, "s.names": false} {
			check(t, form[name], secret)
		}
	})
}

func TestWhatAPolicyAllowsCanBeChosen(t *testing.T) {
	v := reviewView{At: "/run", Following: &api.Following{Counts: map[string]int64{"Create": 3}}, Run: &host.UserProvisioningRequest{},
		Policy: host.ReconcilePolicy{Missing: "create", Unassigned: "delete"}}
	var b strings.Builder
	require.NoError(t, followingChips(v).Render(t.Context(), &b))
	require.Contains(t, b.String(), "operation="+string(host.Delete), "how many there are is not known")
	require.NotContains(t, b.String(), "operation="+string(host.Deactivate))
	require.NotContains(t, b.String(), "operation="+string(host.Update))
	require.Equal(t, 2, strings.Count(b.String(), `class="num"`), "of those that are made, and of those that are linked")
}

func TestHomeSaysWhereNotAllWasCounted(t *testing.T) {
	require.Equal(t, "3 more approvals", moreApprovals(api.Count{N: 3}))
	require.Equal(t, "More than 9,996 more approvals", moreApprovals(api.Count{N: 9996, More: true}))
	require.Equal(t, "More than 9,996 things need a person", homeTitle(home{More: api.Count{N: 9996, More: true}}))
	require.Equal(t, "Three things need a person", homeTitle(home{More: api.Count{N: 3}}))
}
