package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const filesOnly = `plugins:
- {name: mock, source: "builtin:mock"}
credentials:
- {name: In_File, endpoint: "https://target.example.com", anonymous: true}
apps:
- {name: filed, plugin: mock, credential: In_File}
`

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "provost.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestStoredEntriesJoinThoseOfTheFiles(t *testing.T) {
	path := writeConfig(t, filesOnly)
	files, err := Load(path)
	require.NoError(t, err)
	cfg, err := LoadStored(path, []Stored{
		{"apps", "made", []byte(`{"name":"made","plugin":"mock","credential":"Made","approval":"manager","reconcile":{"thresholds":{"deactivate":"5%"}}}`)},
		{"credentials", "Made", []byte(`{"name":"Made","endpoint":"https://made.example.com","bearer":{"token":{"sealed":"x"}}}`)},
	})
	require.NoError(t, err)
	require.Equal(t, files.Digest(), cfg.Digest(), "the digest is that of the files")
	require.Len(t, cfg.Apps, 2)
	require.Equal(t, "manager", cfg.Apps[1].Approval)
	require.Equal(t, []string{"Create", "Update", "EnableAndDisable"}, cfg.Apps[1].Operations, "defaults as in a file")
	require.True(t, IsStored(cfg.DeclaredIn("apps", "made")))
	require.False(t, IsStored(cfg.DeclaredIn("apps", "filed")))
}

func TestAStoredEntryIsBadByItself(t *testing.T) {
	path := writeConfig(t, filesOnly)
	for name, test := range map[string]struct {
		stored Stored
		says   string
	}{
		"of the name of one in a file": {Stored{"apps", "filed", []byte(`{"name":"filed","plugin":"mock"}`)}, "names are unique"},
		"a credential that is nowhere": {Stored{"apps", "a", []byte(`{"name":"a","plugin":"mock","credential":"None"}`)}, `no credential named "None"`},
		"an unknown key":               {Stored{"apps", "a", []byte(`{"name":"a","plugin":"mock","credential":"In_File","aproval":"none"}`)}, `did you mean "approval"`},
		"a file of the machine":        {Stored{"credentials", "A", []byte(`{"name":"A","endpoint":"https://x.example.com","bearer":{"token":{"file":"/etc/shadow"}}}`)}, "bearer.token.file: is of the machine"},
		"a program of the machine":     {Stored{"credentials", "A", []byte(`{"name":"A","endpoint":"https://x.example.com","basic":{"username":"u","password":{"previous":{"command":["id"]}}}}`)}, "basic.password.previous.command: is of the machine"},
		"a variable of the machine":    {Stored{"credentials", "A", []byte(`{"name":"A","endpoint":"https://x.example.com","headers":[{"name":"X","secret":{"env":"HOME"}}]}`)}, "headers.X.secret.env: is of the machine"},
		"a certificate of the machine": {Stored{"credentials", "A", []byte(`{"name":"A","endpoint":"https://x.example.com","anonymous":true,"tls":{"ca":"/etc/x.pem"}}`)}, "tls.ca: is of the machine"},
		"what the machine signs with":  {Stored{"credentials", "A", []byte(`{"name":"A","endpoint":"https://x.example.com","aws":{"region":"r","service":"s"}}`)}, "aws.access_key_id: is missing"},
		"a module of the machine":      {Stored{"plugins", "a", []byte(`{"name":"a","source":"/tmp/a.wasm"}`)}, "must begin with builtin:"},
		"no digest of an upload":       {Stored{"plugins", "a", []byte(`{"name":"a","source":"uploaded:../x"}`)}, "64 hex digits"},
		"no JSON":                      {Stored{"apps", "a", []byte(`{"name":"a"`)}, "is no JSON"},
		"no object":                    {Stored{"apps", "a", []byte(`[]`)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := LoadStored(path, []Stored{test.stored})
			require.Contains(t, BadStored(err)[test.stored.Place()], test.says)
			require.NotEmpty(t, BadStored(err))
		})
	}
}

func TestFilesNeedNothingOfTheDatabase(t *testing.T) {
	path := writeConfig(t, "plugins:\n- {name: mock, source: \"builtin:mock\"}\napps:\n- {name: filed, plugin: mock, credential: Made}\n")
	_, err := LoadStored(path, []Stored{{"credentials", "Made", []byte(`{"name":"Made","endpoint":"https://made.example.com","anonymous":true}`)}})
	require.ErrorContains(t, err, `no credential named "Made"`)
	require.Empty(t, BadStored(err))
}

func TestSecretsAreHiddenAndKept(t *testing.T) {
	parse := func(document string) *Entry {
		e, err := ParseEntry("credentials", "", []byte(document))
		require.NoError(t, err)
		return e
	}
	before := parse(`{"name":"A","oauth2":{"client_secret":{"sealed":"S1","previous":{"sealed":"S0"}},"key":{"secret":{"vault":{"url":"https://v.example.com"}}}}}`)
	shown := parse(`{"name":"A","oauth2":{"client_secret":{"sealed":"S1","previous":{"sealed":"S0"}},"key":{"secret":{"vault":{"url":"https://v.example.com"}}}}}`)
	shown.Hide()
	text, err := shown.JSON()
	require.NoError(t, err)
	require.JSONEq(t, `{"name":"A","oauth2":{"client_secret":{"stored":true},"key":{"secret":{"vault":{"url":"https://v.example.com"}}}}}`, string(text))

	require.NoError(t, shown.Keep(before))
	text, err = shown.JSON()
	require.NoError(t, err)
	require.JSONEq(t, `{"name":"A","oauth2":{"client_secret":{"sealed":"S1","previous":{"sealed":"S0"}},"key":{"secret":{"vault":{"url":"https://v.example.com"}}}}}`, string(text))

	lost := parse(`{"name":"A","basic":{"username":"u","password":{"stored":true}}}`)
	require.ErrorContains(t, lost.Keep(before), "credentials.A.basic.password: nothing is stored that could be kept")
	require.False(t, lost.HasSecret())
	require.True(t, parse(`{"name":"A","basic":{"password":{"value":"x"}}}`).HasSecret())
}

func TestASecretIsNotKeptForAnotherAddress(t *testing.T) {
	const stored = `{"name":"A","endpoint":"https://a.example.com","oauth2":{"token_url":"https://a.example.com/token","client_secret":{"sealed":"S"}}}`
	before, err := ParseEntry("credentials", "", []byte(stored))
	require.NoError(t, err)
	for document, keeps := range map[string]bool{
		`{"name":"A","timeout":"3s","endpoint":"https://a.example.com","oauth2":{"token_url":"https://a.example.com/token","client_secret":{"stored":true}}}`:             true,
		`{"name":"A","endpoint":"https://b.example.com","oauth2":{"token_url":"https://a.example.com/token","client_secret":{"stored":true}}}`:                            false,
		`{"name":"A","endpoint":"https://a.example.com","oauth2":{"token_url":"https://b.example.com/token","client_secret":{"stored":true}}}`:                            false,
		`{"name":"A","endpoint":"https://a.example.com","proxy":{"url":"http://b"},"oauth2":{"token_url":"https://a.example.com/token","client_secret":{"stored":true}}}`: false,
	} {
		e, err := ParseEntry("credentials", "", []byte(document))
		require.NoError(t, err)
		if err = e.Keep(before); keeps {
			require.NoError(t, err, document)
		} else {
			require.ErrorContains(t, err, "can't be kept for another address", document)
		}
	}
}

// What is shown of an entry can be sent back and means the same.
func TestADocumentMeansTheEntry(t *testing.T) {
	text, err := os.ReadFile("provost.example.yaml")
	require.NoError(t, err)
	cfg, err := LoadText("provost.yaml", text, nil)
	require.NoError(t, err)
	require.NotEmpty(t, cfg.Apps)
	for _, app := range cfg.Apps {
		document, ok := cfg.Document("apps", app.Name)
		require.True(t, ok)
		document["name"] = "again"
		b, err := json.Marshal(document)
		require.NoError(t, err)
		got, err := load([]source{{file: "provost.yaml", text: text}, {file: "database:apps.again", text: b, list: "apps"}}, nil)
		require.NoError(t, err)
		app.Name = "again"
		require.Equal(t, app, got.Apps[len(got.Apps)-1])
	}
	for _, c := range cfg.Credentials {
		document, ok := cfg.Document("credentials", c.Name)
		require.True(t, ok)
		b, err := json.Marshal(document)
		require.NoError(t, err)
		e, err := ParseEntry("credentials", "", b)
		require.NoError(t, err)
		require.False(t, e.HasSecret(), "%s shows a secret", c.Name)
	}
}
