package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/config"
)

// applied is a configuration in a folder of its own.
func applied(t *testing.T) (file string) {
	dir := t.TempDir()
	shareCompiled(t, filepath.Join(dir, "data"))
	identity := provost("credential", "identity")
	require.Zero(t, identity.code)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "id"), []byte(identity.out), 0o600))
	file = filepath.Join(dir, "provost.yaml")
	require.NoError(t, os.WriteFile(file, []byte("secrets: {identity_file: id}\nplugins: [{name: scim, source: \"builtin:scim\"}]\ncredentials: [{name: Written, endpoint: \"http://127.0.0.1:1/\", anonymous: true}]\n"), 0o600))
	return file
}

func TestAnAppAndItsCredentialAreAppliedAndDeleted(t *testing.T) {
	if testing.Short() {
		t.Skip("one command after the other, each of which compiles: under the race detector a minute")
	}
	file := applied(t)
	r := provostWith("name: Acme\nendpoint: http://127.0.0.1:1/\nbearer: {token: {value: canary-0123}}\n", "credential", "apply", "-f", "-", "-c", file)
	require.Zero(t, r.code, r.errors)
	r = provostWith(`{"name": "acme", "plugin": "scim", "credential": "Acme"}`, "app", "apply", "-f", "-", "-c", file)
	require.Zero(t, r.code, r.errors)

	r = provost("credential", "list", "-c", file)
	require.Contains(t, r.out, "Acme")
	require.Contains(t, r.out, "set")
	require.NoError(t, filepath.WalkDir(filepath.Dir(file), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		require.NotContains(t, string(b), "canary-0123", "%s has the secret", path)
		return err
	}))
	r = provost("app", "get", "acme", "-c", file)
	require.Zero(t, r.code, r.errors)

	r = provost("credential", "delete", "Acme", "-c", file)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.errors, "the credential Acme is used by the app acme: give it another first")
	require.Zero(t, provost("app", "delete", "acme", "-c", file).code)
	require.Zero(t, provost("credential", "delete", "Acme", "-c", file).code)
	r = provost("app", "list", "-c", file)
	require.NotContains(t, r.out, "acme")
	entries, err := os.ReadDir(filepath.Join(filepath.Dir(file), "conf.d"))
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestWhatIsAppliedIsCheckedWholeAndNothingIsHalfDone(t *testing.T) {
	file := applied(t)
	for name, c := range map[string]struct{ noun, doc, want string }{
		"two mistakes, both told":      {"app", `{"name": "acme", "plugin": "nope", "bogus": 1}`, "2 problems"},
		"a rule that does not compile": {"app", `{"name": "acme", "plugin": "scim", "credential": "Written", "mapping": ["userName = user.Nope("]}`, "mapping"},
		"declared elsewhere":           {"credential", "name: Written\nendpoint: http://127.0.0.1:2/\nanonymous: true\n", "change it there"},
		"no name":                      {"app", "plugin: scim", "has no name"},
		"a name that leaves conf.d":    {"app", "name: ../x", "is no name"},
		"a list":                       {"app", "[1]", "is no object"},
		"nothing":                      {"app", "", "is empty"},
		"no YAML":                      {"app", "{", "is no YAML"},
		"too large":                    {"app", strings.Repeat("# \n", longestDocument), "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			r := provostWith(c.doc, c.noun, "apply", "-f", "-", "-c", file)
			require.Equal(t, 1, r.code)
			require.Contains(t, r.errors, c.want)
			require.NoDirExists(t, filepath.Join(filepath.Dir(file), "conf.d"))
		})
	}
	r := provost("app", "delete", "nobody", "-c", file)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.errors, "provost app list")
}

func TestASecretIsNotKeptWithoutAnIdentity(t *testing.T) {
	file := filepath.Join(t.TempDir(), "provost.yaml")
	require.NoError(t, os.WriteFile(file, []byte("plugins: []\n"), 0o600))
	r := provostWith("name: Acme\nendpoint: http://127.0.0.1:1/\nbearer: {token: {value: canary-0123}}\n", "credential", "apply", "-f", "-", "-c", file)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.errors, "secrets.identity_file")
	require.NotContains(t, r.errors, "canary")
}

func TestHelpForNoCommandIsWrongUsage(t *testing.T) {
	require.Equal(t, 2, provost("help", "nothing").code)
	require.Zero(t, provost("help", "user", "import").code)
}

func TestTheSocketIsFoundInAFileThatIsBroken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "provost.yaml")
	want := filepath.Join(filepath.Dir(file), "here", "provost.sock")
	for _, text := range []string{"data_dir: here\n", "data_dir: here\nbogus: 1\n", "data_dir: here\napps: [{name: \n", "workers: many\ndata_dir: here\n"} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		require.Equal(t, want, config.Socket(file), text)
	}
}

// Wherever a secret stands in a document, it is sealed, and opens where it is
// used.
func TestEverySecretOfADocumentIsSealedForItsPlace(t *testing.T) {
	file := applied(t)
	r := provostWith(`name: Deep
endpoint: http://127.0.0.1:1
headers: [{name: X-Org, value: "org ", secret: {value: canary-header}}]
oauth2:
  token_url: http://127.0.0.1:1/token
  client_id: p
  auth_style: private_key_jwt
  client_secret: {value: canary-client, previous: {value: canary-before}}
  key: {secret: {value: '{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'}}
proxy: {url: "http://127.0.0.1:1", username: p, password: {value: canary-proxy}}
`, "credential", "apply", "-f", "-", "-c", file)
	require.Zero(t, r.code, r.errors)
	text := string(mustRead(t, filepath.Join(filepath.Dir(file), "conf.d", "credentials.Deep.yaml")))
	require.NotContains(t, text, "canary")
	require.NotContains(t, text, "nWGxne")
	require.Equal(t, 5, strings.Count(text, "sealed: "))
	r = provost("credential", "test", "Deep", "-c", file)
	require.Contains(t, r.out, "sign in", "all of them could be opened: %s", r.errors)
	require.NotContains(t, r.out+r.errors, "canary")
}
