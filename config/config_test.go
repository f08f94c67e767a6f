package config

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, file, text string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	return file
}

func TestEveryProblemIsReportedAtOnce(t *testing.T) {
	lowr := func(c *Config) []Problem {
		for _, a := range c.Apps {
			if len(a.Mapping) > 1 {
				return []Problem{{Key: "apps." + a.Name + ".mapping[1]", Message: `emails.work: unknown function "lowr"; did you mean "lower"?`}}
			}
		}
		return nil
	}
	files, err := filepath.Glob("testdata/bad/*.*")
	require.NoError(t, err)
	for _, file := range files {
		if filepath.Ext(file) == ".golden" {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, err := Load(file, lowr)
			var problems *Problems
			require.True(t, errors.As(err, &problems), "%v", err)
			require.NotContains(t, err.Error(), "hunter")
			require.NotContains(t, err.Error(), "12345")
			if *update {
				write(t, file+".golden", err.Error()+"\n")
			}
			want, readErr := os.ReadFile(file + ".golden")
			require.NoError(t, readErr)
			require.Equal(t, string(want), err.Error()+"\n")
		})
	}
}

func TestTheExampleIsValidAndFitsTheSchema(t *testing.T) {
	cfg, err := Load("provost.example.yaml")
	require.NoError(t, err)
	require.Equal(t, Size(64<<20), cfg.Plugins[1].Limits.Memory)
	require.Equal(t, 10*time.Second, cfg.Plugins[1].Limits.Time)
	require.Len(t, cfg.Files(), 1)
	require.True(t, filepath.IsAbs(cfg.Files()[0]))

	b, err := Schema()
	require.NoError(t, err)
	have, err := os.ReadFile("provost.schema.json")
	require.NoError(t, err)
	require.Equal(t, string(have), string(b), "run make generate")
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("provost.schema.json", doc))
	schema, err := compiler.Compile("provost.schema.json")
	require.NoError(t, err)
	require.NoError(t, schema.Validate(yamlAsJSON(t, "provost.example.yaml")))
	require.Error(t, schema.Validate(yamlAsJSON(t, "testdata/bad/everything.yaml")))
}

func yamlAsJSON(t *testing.T, file string) any {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	if strings.Contains(file, "everything") {
		b = []byte("{workers: many}")
	}
	var v any
	require.NoError(t, yaml.Unmarshal(b, &v))
	b, err = json.Marshal(v)
	require.NoError(t, err)
	v, err = jsonschema.UnmarshalJSON(bytes.NewReader(b))
	require.NoError(t, err)
	return v
}

func TestDefaultsAreFilledIn(t *testing.T) {
	dir := t.TempDir()
	cfg, err := Load(write(t, filepath.Join(dir, "provost.yaml"), `
plugins: [{name: mock, source: builtin:mock}]
credentials: [{name: A, endpoint: "http://a", api_key: {value: {env: A}}}]
apps: [{name: a, plugin: mock}, {name: b, plugin: mock, enabled: false, operations: [Delete]}]
`))
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "data"), cfg.DataDir)
	require.Equal(t, "sqlite://"+filepath.Join(dir, "data", "provost.db"), cfg.Database.URL)
	require.Equal(t, filepath.Join(dir, "data", "provost.sock"), cfg.Listen.Socket)
	require.Equal(t, "127.0.0.1:8080", cfg.Listen.API)
	require.Equal(t, 8, cfg.Workers)
	require.Equal(t, "X-API-Key", cfg.Credentials[0].APIKey.Header)
	require.Equal(t, 30*time.Second, cfg.Credentials[0].Timeout)
	require.Equal(t, Size(16<<20), cfg.Credentials[0].Limits.MaxResponse)
	require.True(t, cfg.Apps[0].Enabled)
	require.Equal(t, "a", cfg.Apps[0].Label)
	require.Equal(t, 5, cfg.Apps[0].MaxAttempts)
	require.Equal(t, "none", cfg.Apps[0].Approval)
	require.Equal(t, []string{"Create", "Update", "EnableAndDisable"}, cfg.Apps[0].Operations)
	require.False(t, cfg.Apps[1].Enabled)
	require.Equal(t, []string{"Delete"}, cfg.Apps[1].Operations)

	cfg, err = Load(write(t, filepath.Join(dir, "empty.yaml"), ""))
	require.NoError(t, err)
	require.Equal(t, "info", cfg.Log.Level)
}

func TestTheEnvironmentComesFirst(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "provost.yaml"), "workers: 3\nlog: {level: debug}\n")
	t.Setenv("PROVOST_DATABASE_URL", "postgres://provost@db/provost")
	t.Setenv("PROVOST_WORKERS", "5")
	t.Setenv("PROVOST_DATA_DIR", "elsewhere")
	cfg, err := Load(file)
	require.NoError(t, err)
	require.Equal(t, "postgres://provost@db/provost", cfg.Database.URL)
	require.Equal(t, 5, cfg.Workers)
	require.Equal(t, "debug", cfg.Log.Level)
	require.Equal(t, filepath.Join(filepath.Dir(file), "elsewhere"), cfg.DataDir)

	t.Setenv("PROVOST_WORKERS", "none")
	t.Setenv("PROVOST_LISTEN_API", "nowhere")
	_, err = Load(file)
	require.EqualError(t, err, `PROVOST_LISTEN_API  listen.api: "nowhere" is no host:port, such as 127.0.0.1:8080
PROVOST_WORKERS     workers: must be a whole number, not "none"
2 problems; nothing was changed.`)
}

func TestSettingsKeepTheirCase(t *testing.T) {
	want := map[string]any{"pageSize": int64(100), "Nested.Key": map[string]any{"X": []any{true, "2026-01-01", nil}}}
	for name, text := range map[string]string{
		"provost.yaml": "plugins:\n- {name: scim, source: 'builtin:scim', settings: {pageSize: 100, Nested.Key: {X: [true, 2026-01-01, null]}}}\n",
		"provost.json": `{"plugins": [{"name": "scim", "source": "builtin:scim", "settings": {"pageSize": 100, "Nested.Key": {"X": [true, "2026-01-01", null]}}}]}`,
	} {
		cfg, err := Load(write(t, filepath.Join(t.TempDir(), name), text))
		require.NoError(t, err)
		require.EqualValues(t, asJSON(t, want), asJSON(t, cfg.Plugins[0].Settings))
	}
	cfg, err := Load(write(t, filepath.Join(t.TempDir(), "provost.toml"), "workers = 2\n[[plugins]]\nname = 'scim'\nsource = 'builtin:scim'\n[plugins.settings]\npageSize = 100\n"))
	require.NoError(t, err)
	require.Equal(t, 2, cfg.Workers)
	require.EqualValues(t, 100, cfg.Plugins[0].Settings["pageSize"])
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

func TestConfDIsMerged(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "provost.yaml"), "workers: 3\nplugins:\n- {name: mock, source: builtin:mock}\napps:\n- {name: a, plugin: mock}\n")
	write(t, filepath.Join(dir, "conf.d", "b.yaml"), "apps:\n- {name: b, plugin: mock}\n")
	own := write(t, filepath.Join(dir, "conf.d", "c.yaml"), "plugins:\n- {name: own, source: own.wasm}\n")
	cfg, err := Load(file)
	require.NoError(t, err)
	require.Len(t, cfg.Apps, 2)
	require.Equal(t, []string{filepath.Join(filepath.Dir(own), "own.wasm")}, cfg.Files())

	again := write(t, filepath.Join(dir, "conf.d", "d.yaml"), "workers: 4\napps:\n- {name: a, plugin: mock}\n- {name: e, plugin: mok}\n")
	_, err = Load(file)
	var problems *Problems
	require.ErrorAs(t, err, &problems)
	require.Equal(t, Problems{
		{File: again, Line: 1, Key: "workers", Message: "is set already, in " + file + ":1"},
		{File: again, Line: 3, Key: "apps.a", Message: "the name is taken by " + file + ":5; names are unique"},
		{File: again, Line: 4, Key: "apps.e.plugin", Message: `no plugin named "mok"; did you mean "mock"?`},
	}, *problems)
}

func TestAFileThatIsNotThere(t *testing.T) {
	_, err := Load("testdata/none.yaml")
	require.EqualError(t, err, "testdata/none.yaml  can't be read: no such file or directory\n1 problem; nothing was changed.")
	_, err = Load(write(t, filepath.Join(t.TempDir(), "x.ini"), ""))
	require.ErrorContains(t, err, "must end with .yaml, .yml, .toml or .json")
}

func TestAnchorsAreFollowedWithinBounds(t *testing.T) {
	cfg, err := Load(write(t, filepath.Join(t.TempDir(), "provost.yaml"), `
plugins:
- &p {name: one, source: builtin:mock, limits: {time: 3s}}
- {<<: *p, name: two}
`))
	require.NoError(t, err)
	require.Equal(t, "two", cfg.Plugins[1].Name)
	require.Equal(t, 3*time.Second, cfg.Plugins[1].Limits.Time)

	bomb := "plugins:\n- name: one\n  source: builtin:mock\n  settings:\n    a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
	for i := range 8 {
		n, m := string(rune('0'+i)), string(rune('1'+i))
		bomb += "    a" + m + ": &a" + m + " [*a" + n + strings.Repeat(", *a"+n, 9) + "]\n"
	}
	_, err = Load(write(t, filepath.Join(t.TempDir(), "provost.yaml"), bomb))
	require.ErrorContains(t, err, "too large or too deep")
}

func TestMergesOfMergesDontMultiply(t *testing.T) {
	text := "plugins:\n- &a0 {name: p0, source: 'builtin:mock'}\n"
	for i := range 20 {
		last, this := fmt.Sprint("a", i), fmt.Sprint("a", i+1)
		text += "- &" + this + " {name: p" + fmt.Sprint(i+1) + ", <<: [*" + last + strings.Repeat(", *"+last, 20) + "]}\n"
	}
	cfg, err := load([]source{{file: "provost.yaml", text: []byte(text + "- &self {name: self, source: x.wasm, <<: *self}\n")}}, nil)
	require.NoError(t, err)
	require.Len(t, cfg.Plugins, 22)
}

func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.*")
	require.NoError(f, err)
	for i, file := range append(files, "provost.example.yaml") {
		b, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(i%3, b)
	}
	f.Fuzz(func(t *testing.T, kind int, text []byte) {
		name := "provost" + []string{".yaml", ".json", ".toml"}[uint(kind)%3]
		cfg, err := load([]source{{file: name, text: text}}, nil)
		require.True(t, (cfg == nil) != (err == nil))
		if err != nil {
			require.NotEmpty(t, err.Error())
		}
	})
}

func TestWatchSeesEveryWayAFileChanges(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "provost.yaml"), "a")
	plugin := filepath.Join(t.TempDir(), "acme.wasm")
	target := write(t, filepath.Join(t.TempDir(), "v1", "acme.wasm"), "1")
	require.NoError(t, os.Symlink(target, plugin))

	ctx, cancel := context.WithCancel(t.Context())
	changes, ready, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		ended <- Watch(ctx, file, func() []string { return []string{plugin} }, func() {
			select {
			case changes <- struct{}{}:
			case <-ctx.Done():
			}
		}, WatchOptions{Debounce: time.Millisecond, Ready: func() { close(ready) }})
	}()
	<-ready
	// Each step waits for its own change; one that is never seen ends with the
	// test's deadline.
	step := func(do func()) { do(); <-changes }
	step(func() { write(t, file+".new", "b"); require.NoError(t, os.Rename(file+".new", file)) })
	step(func() {
		require.NoError(t, os.Mkdir(filepath.Join(dir, "conf.d"), 0o755))
		atomically(t, filepath.Join(dir, "conf.d", "x.yaml"), "x")
	})
	step(func() { atomically(t, filepath.Join(dir, "conf.d", "x.yaml"), "y") })
	step(func() { atomically(t, target, "2") })
	next := write(t, filepath.Join(t.TempDir(), "v2", "acme.wasm"), "3")
	step(func() {
		require.NoError(t, os.Symlink(next, plugin+".new"))
		require.NoError(t, os.Rename(plugin+".new", plugin))
	})
	step(func() { atomically(t, next, "4") })
	cancel()
	require.NoError(t, <-ended)
}

// atomically keeps a step to one change.
func atomically(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.Rename(write(t, file+".new", text), file))
}

func TestAFileThatComesOrGoesDuringACallIsAnotherChange(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "provost.yaml"), "a")
	late := filepath.Join(dir, "conf.d", "late.yaml")
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended, calls := make(chan struct{}), make(chan error), 0
	go func() {
		ended <- Watch(ctx, file, func() []string { return nil }, func() {
			switch calls++; calls {
			case 1:
				assert.NoError(t, os.Mkdir(filepath.Dir(late), 0o755))
				assert.NoError(t, os.WriteFile(late, []byte("x"), 0o600))
			case 2:
				assert.NoError(t, os.Remove(late))
			case 3:
				cancel()
			}
		}, WatchOptions{Debounce: time.Millisecond, Ready: func() { close(ready) }})
	}()
	<-ready
	atomically(t, file, "b")
	require.NoError(t, <-ended) // with the test's deadline, if a change is lost
}

// Beside the files there may be others that are never at rest, such as a
// database or a log: they keep nobody from seeing a change.
func TestAChangeIsSeenBesideFilesThatAreNeverAtRest(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "provost.yaml"), "a")
	busy, err := os.Create(filepath.Join(dir, "busy.log"))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ready, changes, ended, rest := make(chan struct{}), make(chan struct{}, 1), make(chan error), make(chan struct{})
	go func() {
		defer close(rest)
		for ctx.Err() == nil {
			_, err := busy.WriteString("line\n")
			assert.NoError(t, err)
		}
	}()
	go func() {
		ended <- Watch(ctx, path, func() []string { return nil }, func() { changes <- struct{}{} },
			WatchOptions{Debounce: 50 * time.Millisecond, Ready: func() { close(ready) }})
	}()
	<-ready
	atomically(t, path, "b")
	<-changes // with the test's deadline, if it is never seen
	require.NoError(t, os.Mkdir(filepath.Join(dir, "conf.d"), 0o755))
	atomically(t, filepath.Join(dir, "conf.d", "x.yaml"), "x")
	<-changes
	cancel()
	require.NoError(t, <-ended)
	<-rest
	require.NoError(t, busy.Close())
}

// A file that somebody still writes to is not read, however long it takes.
func TestWatchWaitsForWhoWrites(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells who has a file open")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "provost.yaml")
	require.NoError(t, os.WriteFile(path, []byte("workers: 1\n"), 0o600))
	ready, seen := make(chan struct{}), make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- Watch(ctx, path, func() []string { return nil }, func() {
			b, _ := os.ReadFile(path)
			seen <- string(b)
		}, WatchOptions{Debounce: 5 * time.Millisecond, Ready: func() { close(ready) }})
	}()
	<-ready
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	require.NoError(t, err)
	for _, part := range []string{"workers: 2\n", "data_dir: a\n", "log: {level: debug}\n"} {
		_, err = f.WriteString(part)
		require.NoError(t, err)
		select {
		case got := <-seen:
			t.Fatalf("half of it was read: %q", got)
		case <-time.After(50 * time.Millisecond): // ten times as long as nothing may happen
		}
	}
	require.NoError(t, f.Close())
	require.Equal(t, "workers: 2\ndata_dir: a\nlog: {level: debug}\n", <-seen)
	cancel()
	require.NoError(t, <-ended)
}
