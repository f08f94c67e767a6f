package config

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatChangedIsListedByKeyAndWithoutValues(t *testing.T) {
	const text = `
database: {url: "sqlite://x.db"}
plugins: [{name: scim, source: "builtin:scim"}, {name: mock, source: "builtin:mock"}]
credentials:
  - name: Acme
    endpoint: https://acme.example.com
    basic: {username: u, password: {value: hunter2}}
apps:
  - {name: acme, plugin: scim, credential: Acme, operations: [Create], mapping: ["userName = user.Username"]}
`
	load := func(edits ...string) *Config {
		cfg, err := Load(write(t, filepath.Join(t.TempDir(), "provost.yaml"), strings.NewReplacer(edits...).Replace(text)))
		require.NoError(t, err)
		return cfg
	}
	before := load()
	for _, one := range []struct {
		edits []string
		want  []string
	}{
		{nil, nil},
		{[]string{"hunter2", "other"}, []string{"credentials.Acme.basic.password"}},
		{[]string{"user.Username", "user.Email"}, []string{"apps.acme.mapping"}},
		{[]string{"[Create]", "[Create, Update]", "name: mock", "name: other"}, []string{"-plugins.mock", "+plugins.other", "apps.acme.operations"}},
		{[]string{"basic: {username: u, password: {value: hunter2}}", "bearer: {token: {env: T}}"}, []string{"credentials.Acme.basic", "credentials.Acme.bearer"}},
		{[]string{"plugins:", "log: {level: debug}\nplugins:"}, []string{"log.level"}},
		{[]string{`{name: scim, source: "builtin:scim"}, {name: mock, source: "builtin:mock"}`, `{name: mock, source: "builtin:mock"}, {name: scim, source: "builtin:scim"}`}, nil},
	} {
		require.Equal(t, one.want, withoutFiles(Changed(before, load(one.edits...))), "%v", one.edits)
	}
	require.Contains(t, Changed(nil, before), "+apps.acme")
}

// withoutFiles leaves out what differs because each file of the test lies in a
// folder of its own.
func withoutFiles(list []string) (rest []string) {
	for _, key := range list {
		if key != "database.url" && key != "data_dir" && key != "listen.socket" {
			rest = append(rest, key)
		}
	}
	return rest
}
