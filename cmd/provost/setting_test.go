package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/plugins/mock/target"
)

// What is stored is a configuration like that of files: it runs at once, its
// secrets are sealed, and it is there after a restart.
func TestAnAppIsMadeThroughTheAPIAndStaysAfterARestart(t *testing.T) {
	t.Parallel()
	const canary = "c4n4ry-of-the-stored-token"
	s, app := newServed(t), target.New(canary)
	server := httptest.NewServer(app)
	defer server.Close()
	s.configure("")
	s.start()
	up := api.Upload{}
	require.NoError(t, json.Unmarshal([]byte(s.must("", "plugin", "upload", filepath.Join(s.dir, "mock.wasm"), "-o", "json")), &up))
	require.Equal(t, "mock", up.Description.Name)
	require.NotEmpty(t, up.Unsigned)
	s.must(fmt.Sprintf(`{"name":"sent","source":%q}`, up.Source), "setting", "put", "plugins", "-f", "-")
	s.must(fmt.Sprintf(`{"name":"Made","endpoint":%q,"timeout":"2s","bearer":{"token":{"value":%q}}}`, server.URL, canary), "setting", "put", "credentials", "-f", "-")
	s.must("name: made\nlabel: Made here\nplugin: sent\ncredential: Made\n", "setting", "put", "apps", "-f", "-")
	s.add("made", "one", "two")
	s.completed("made", 2)

	require.FileExists(t, filepath.Join(s.dir, "data", "identity.age"), "a key was made to seal with")
	shown := s.must("", "setting", "get", "credentials", "Made", "-o", "json")
	require.JSONEq(t, `{"stored":true}`, string(jsonAt(t, shown, "document", "bearer", "token")))
	require.NotContains(t, shown, canary)
	for _, name := range []string{"provost.db", "provost.db-wal"} {
		b, err := os.ReadFile(filepath.Join(s.dir, "data", name))
		require.NoError(t, err)
		require.NotContains(t, string(b), canary, name)
	}
	require.NotContains(t, s.log.String(), canary)

	var one api.Setting
	require.NoError(t, json.Unmarshal([]byte(shown), &one))
	one.Document["timeout"] = "3s"
	document, err := json.Marshal(one.Document)
	require.NoError(t, err)
	s.must(string(document), "setting", "put", "credentials", "-f", "-", "--revision", fmt.Sprint(one.Revision))
	_, said, err := s.run(string(document), "setting", "put", "credentials", "-f", "-", "--revision", fmt.Sprint(one.Revision))
	require.Error(t, err)
	require.Contains(t, said, "since you read it", "nobody's change is lost")

	one.Document["endpoint"] = "https://elsewhere.example.com"
	document, err = json.Marshal(one.Document)
	require.NoError(t, err)
	_, said, err = s.run(string(document), "setting", "put", "credentials", "-f", "-")
	require.Error(t, err)
	require.Contains(t, said, "credentials.Made.bearer.token: can't be kept for another address", "nobody sends a secret where he likes without knowing it")

	s.terminate()
	s.end()
	s.start()
	s.add("made", "three")
	s.completed("made", 3)
	require.Len(t, usernames(app), 3, "the secret that was kept signs in")
	require.Contains(t, s.must("", "audit", "list"), "credential.apply")

	s.must("", "setting", "delete", "apps", "made")
	s.must("", "setting", "delete", "credentials", "Made")
	s.must("", "setting", "delete", "plugins", "sent")
	require.JSONEq(t, "[]", s.must("", "setting", "list", "-o", "json"))
}

func jsonAt(t *testing.T, text string, path ...string) json.RawMessage {
	t.Helper()
	at := json.RawMessage(text)
	for _, key := range path {
		var object map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(at, &object))
		at = object[key]
	}
	return at
}

func TestASettingThatCannotRunIsRefusedWithItsFieldAndNothingChanges(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	s.configure("plugins: [{name: mock, source: mock.wasm}]\ncredentials: [{name: Mock, endpoint: \"http://127.0.0.1:9\", anonymous: true}]\napps: [{name: filed, plugin: mock, credential: Mock}]\n")
	s.start()
	for list, tests := range map[string]map[string]string{
		"apps": {
			`{"name":"a","plugin":"mock","credential":"Mokc"}`:                                    `apps.a.credential: no credential named "Mokc"; did you mean "Mock"?`,
			`{"name":"a","plugin":"mock","credential":"Mock","mapping":["x = lowr(user.Email)"]}`: `apps.a.mapping`,
			`{"name":"a","plugin":"mock","credential":"Mock","zone":"x"}`:                         `unknown key`,
			`{"name":"filed","plugin":"mock","credential":"Mock"}`:                                `is declared in`,
			`{"name":"A b","plugin":"mock"}`:                                                      `is no name`,
		},
		"credentials": {
			`{"name":"C","endpoint":"https://c.example.com","bearer":{"token":{"file":"/etc/passwd"}}}`: `only a configuration file may say it`,
			`{"name":"C","endpoint":"https://c.example.com","bearer":{"token":{"stored":true}}}`:        `nothing is stored that could be kept`,
			`{"name":"C","endpoint":"file:///etc","anonymous":true}`:                                    `endpoint`,
			`{"name":"C","endpoint":"https://c.example.com","oauth2":{"grant":"client_credentials"}}`:   `token_url`,
		},
		"plugins": {
			`{"name":"p","source":"/etc/passwd"}`:                                   `only a configuration file`,
			`{"name":"p","source":"uploaded:` + strings.Repeat("0", 64) + `"}`:      `was uploaded`,
			`{"name":"p","source":"builtin:none"}`:                                  `no connector "none" is built in`,
			`{"name":"p","source":"builtin:mock","settings":{"latency":"yes, do"}}`: `settings`,
		},
	} {
		for document, says := range tests {
			_, said, err := s.run(document, "setting", "put", list, "-f", "-")
			require.Error(t, err, document)
			require.Contains(t, said, says, document)
		}
	}
	var all []api.Setting
	require.NoError(t, json.Unmarshal([]byte(s.must("", "setting", "list", "-o", "json")), &all))
	require.Len(t, all, 3, "what the file declares")
	for _, one := range all {
		require.Equal(t, s.file, one.File)
		require.Zero(t, one.Revision)
	}
	var status api.Status
	s.ask("/api/v1/status", nil, &status)
	require.Empty(t, status.LastReloadError)
}

// The files come first: a stored entry that does not fit them any more is left
// out and told, and is used again when it fits.
func TestASettingThatNoLongerFitsTheFilesKeepsNoDaemonFromStarting(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	files := "plugins: [{name: mock, source: mock.wasm}]\ncredentials: [{name: Mock, endpoint: \"http://127.0.0.1:9\", anonymous: true}]\n"
	s.configure(files)
	s.start()
	s.must(`{"name":"made","plugin":"mock","credential":"Mock"}`, "setting", "put", "apps", "-f", "-")
	s.terminate()
	s.end()

	s.configure("plugins: [{name: mock, source: mock.wasm}]\n")
	s.start()
	require.Contains(t, s.must("", "setting", "list", "apps"), "not used: apps.made.credential: no credential")
	_, ready := s.http(s.api, "/readyz")
	require.Contains(t, ready, "1 stored settings are not used")
	require.NotContains(t, s.must("", "app", "list"), "in use")

	s.configure(files)
	s.until("its use", func() bool { return strings.Contains(s.must("", "setting", "list", "apps"), "in use") })
	// Now a file declares it.
	s.configure(files + "apps: [{name: made, label: Of the file, plugin: mock, credential: Mock}]\n")
	s.until("the file's", func() bool { return strings.Contains(s.must("", "app", "list"), "Of the file") })
	require.Contains(t, s.must("", "setting", "list", "apps"), "the name is taken by")
}

// All machines of a database have what is stored, and two people who change the
// same thing on two machines lose nothing.
func TestSettingsReachTheOtherMachines(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t)
	a, b := newServed(t), newServed(t)
	for _, s := range []*served{a, b} {
		s.configure(fmt.Sprintf("database: {url: %q}\nplugins: [{name: mock, source: mock.wasm}]\ncredentials: [{name: Mock, endpoint: \"http://127.0.0.1:9\", anonymous: true}]\n", url))
		s.start()
	}
	a.must(`{"name":"made","plugin":"mock","credential":"Mock"}`, "setting", "put", "apps", "-f", "-")
	b.until("the other machine", func() bool { return strings.Contains(b.must("", "setting", "list", "apps"), "in use") })
	b.until("its app", func() bool {
		var list []api.App
		b.ask("/api/v1/apps", nil, &list)
		return len(list) == 1 && list[0].Config.Enabled
	})
	_, said, err := b.run(`{"name":"C","endpoint":"https://c.example.com","bearer":{"token":{"value":"x"}}}`, "setting", "put", "credentials", "-f", "-")
	require.Error(t, err)
	require.Contains(t, said, "the same on every machine", "no machine makes a key for itself alone")

	b.must(`{"name":"made","plugin":"mock","credential":"Mock","label":"From b"}`, "setting", "put", "apps", "-f", "-", "--revision", "1")
	_, said, err = a.run(`{"name":"made","plugin":"mock","credential":"Mock","label":"From a"}`, "setting", "put", "apps", "-f", "-", "--revision", "1")
	require.Error(t, err)
	require.Contains(t, said, "since you read it")
	a.until("what b stored", func() bool { return strings.Contains(a.must("", "app", "list"), "From b") })

	// Whoever listens at one hears of what was done at the other, of which nothing
	// is heard any more once it was killed.
	heard := listen(t, b)
	told := func(id string) func() bool { return func() bool { return strings.Contains(heard.String(), id) } }
	a.must("Username,LastName\ngrace,Hopper\n", "user", "import", "-", "--format", "csv", "--assign", "made")
	list := a.requests("made")
	require.NotEmpty(t, list)
	b.until("the event of what a made", told(list[0].Id))

	// What b's file says otherwise is told at a, too.
	b.configure(fmt.Sprintf("database: {url: %q}\nplugins: [{name: mock, source: mock.wasm}]\ncredentials: [{name: Mock, endpoint: \"http://127.0.0.1:9\", anonymous: true}]\napps: [{name: made, label: The file's, plugin: mock, credential: Mock}]\n", url))
	a.until("the notice", func() bool {
		said := a.must("", "notice", "list", "-o", "json")
		return strings.Contains(said, "apps.made on "+machine()+" ("+b.file+")")
	})
	b.configure(fmt.Sprintf("database: {url: %q}\nplugins: [{name: mock, source: mock.wasm}]\ncredentials: [{name: Mock, endpoint: \"http://127.0.0.1:9\", anonymous: true}]\n", url))
	a.until("its end", func() bool { return !strings.Contains(a.must("", "notice", "list", "-o", "json"), "apps.made on ") })

	require.NoError(t, a.process.Process.Kill())
	<-a.ended
	a.process = nil
	b.add("made", "ada")
	list = b.requests("made")
	require.Len(t, list, 2)
	b.until("the event of what b made", told(list[1].Id))
}

// listen takes down the live events of a daemon.
func listen(t *testing.T, s *served) *logBuffer {
	heard := new(logBuffer)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.api+api.EventsPath, nil)
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode)
	var done sync.WaitGroup
	done.Go(func() { _, _ = io.Copy(heard, answer.Body) }) // until the end of the test
	t.Cleanup(func() { _ = answer.Body.Close(); done.Wait() })
	s.until("what was before", func() bool { return strings.Contains(heard.String(), "retry:") })
	return heard
}

// A stop while the key is made leaves none or a whole one, and of many who make
// it at once one is first.
func TestAFileIsWrittenOnceAndWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity.age")
	var first atomic.Int64
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			made, err := writeOnce(path, []byte(strings.Repeat(fmt.Sprint(i%10), 1000)))
			assert.NoError(t, err)
			if made {
				first.Add(1)
			}
			b, err := os.ReadFile(path) // it is there whole for whoever was second, too
			assert.NoError(t, err)
			assert.Len(t, b, 1000)
		})
	}
	all.Wait()
	require.EqualValues(t, 1, first.Load())
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, left, 1, "nothing else is left")
}
