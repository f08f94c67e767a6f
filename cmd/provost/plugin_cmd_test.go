package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/store/storetest"
	"github.com/provosthq/provost/plugins"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == compileCommand { // the compiler of a test's daemon is this program
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	if text := os.Getenv(callersVariable); text != "" {
		os.Exit(playCallers(text))
	}
	dir, err := os.MkdirTemp("", "provost")
	if err == nil {
		guests.dir = dir
		err = ownCache(dir)
	}
	code := 1
	if err == nil {
		code = m.Run()
		storetest.Stop()
		err = os.RemoveAll(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// shareCompiled lets the daemon of a data_dir have what others have compiled:
// to compile a module takes seconds, and under the race detector a minute.
func shareCompiled(t *testing.T, dataDir string) {
	t.Helper()
	compiled := filepath.Join(guests.dir, "compiled")
	require.NoError(t, os.MkdirAll(compiled, 0o700))
	require.NoError(t, os.MkdirAll(dataDir, 0o700))
	require.NoError(t, os.Symlink(compiled, filepath.Join(dataDir, "compiled")))
}

// ownCache keeps compiled modules in a folder of the tests, and Go's own build
// cache where it is.
func ownCache(dir string) error {
	goCache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	return errors.Join(os.Setenv("GOCACHE", strings.TrimSpace(string(goCache))), os.Setenv("XDG_CACHE_HOME", dir))
}

// guests are the connectors that tests have built, by folder.
var guests struct {
	sync.Mutex
	dir   string
	built map[string]string
}

// guest builds the connector of a folder, once, and returns the file.
func guest(t *testing.T, folder string) string {
	guests.Lock()
	defer guests.Unlock()
	if file, ok := guests.built[folder]; ok {
		return file
	}
	file := filepath.Join(guests.dir, filepath.Base(folder)+".wasm")
	build := exec.Command("go", "build", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o", file, folder)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	if guests.built == nil {
		guests.built = map[string]string{}
	}
	guests.built[folder] = file
	return file
}

const (
	tinyGuest = "./testdata/tiny"
	oddGuest  = "../../host/connector/testdata/odd"
)

// result is what a command left.
type result struct {
	code        int
	out, errors string
}

// provost runs one command in this process.
func provost(args ...string) result { return provostWith("", args...) }

func provostWith(stdin string, args ...string) result {
	var out, errs bytes.Buffer
	code := run(context.Background(), args, strings.NewReader(stdin), &out, &errs)
	return result{code, out.String(), errs.String()}
}

func TestExitCodesAndOneLineOfError(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"version", 0, ""},
		{"plugin", 0, ""},
		{"completion bash", 0, ""},
		{"plugin inspect nowhere.wasm", 1, "there is no such file"},
		{"plugin inspect builtin:nobody", 1, "builtin:nobody"},
		{"plugin inspect testdata", 1, "plugin build testdata"},
		{"plugin build nowhere", 1, "plugin new"},
		{"plugni", 2, `did you mean "plugin"?`},
		{"plugin cal", 2, `did you mean "call"?`},
		{"plugin call", 2, "plugin call --help"},
		{"plugin call a.wasm", 2, "plugin call --help"},
		{"plugin call a.wasm make", 2, "there is describe, discover"},
		{"plugin build --loud", 2, "unknown flag: --loud"},
		{"plugin inspect a.wasm -o xml", 2, "table, json, yaml"},
		{"version now", 2, "provost version"},
	} {
		t.Run(c.args, func(t *testing.T) {
			got := provost(strings.Fields(c.args)...)
			require.Equal(t, c.code, got.code, "%s", got.errors)
			if c.code == 0 {
				require.Empty(t, got.errors)
				require.NotEmpty(t, got.out)
				return
			}
			require.Contains(t, got.errors, c.says)
			require.Equal(t, 1, strings.Count(got.errors, "\n"))
			require.Empty(t, got.out)
		})
	}
}

func TestBadFilesAreRefused(t *testing.T) {
	odd, err := os.ReadFile(guest(t, oddGuest))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		wasm []byte
		says string
	}{
		"no wasm":        {[]byte("hello"), "no"},
		"contract 99":    {bytes.Replace(odd, []byte(`"contractVersion": 1`), []byte(`"contractVersion":99`), 1), "version 99 of the contract"},
		"missing export": {bytes.Replace(odd, []byte(`"discover"`), []byte(`"activate"`), 1), "not exported: activate"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "bad.wasm")
			require.NoError(t, os.WriteFile(file, c.wasm, 0o600))
			for _, args := range [][]string{{"plugin", "inspect", file}, {"plugin", "call", file, "create"}, {"plugin", "call", file, "describe"}} {
				got := provost(args...)
				require.Equal(t, 1, got.code)
				require.Contains(t, got.errors, c.says)
				require.Contains(t, got.errors, "bad")
				require.Equal(t, 1, strings.Count(got.errors, "\n"))
			}
			got := provost("plugin", "test", file)
			require.Equal(t, 1, got.code)
			require.Contains(t, got.out, "failed   loads")
			require.Contains(t, got.out, c.says)
		})
	}
}

func TestPluginBuild(t *testing.T) {
	to := filepath.Join(t.TempDir(), "out.wasm")
	got := provost("plugin", "build", tinyGuest, "-o", to)
	require.Equal(t, 0, got.code, got.errors)
	require.Contains(t, got.out, "plugin test "+to)
	require.Equal(t, 0, provost("plugin", "inspect", to).code)

	broken := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(broken, "go.mod"), []byte("module broken\n\ngo 1.26\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(broken, "main.go"), []byte("package main\n\nfunc main() { nothing() }\n"), 0o600))
	none := filepath.Join(broken, "none.wasm")
	got = provost("plugin", "build", broken, "-o", none)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.errors, "undefined: nothing")
	require.Contains(t, got.errors, "does not build")
	require.NoFileExists(t, none)
}

func TestPluginInspect(t *testing.T) {
	got := provost("plugin", "inspect", guest(t, tinyGuest))
	require.Equal(t, 0, got.code, got.errors)
	for _, line := range []string{"tiny 0.1.0 by Example Ltd", "contract 1", "operations   create reconcile\n", "wants        named credential: bearer, OAuth 2.0 · no other hosts\n",
		"settings     region (string)\n", "inputs       costCenter* (text)\n", "attributes   login*! email\n", "mapping      login = user.Username\n"} {
		require.Contains(t, got.out, line)
	}
	got = provost("plugin", "inspect", guest(t, tinyGuest), "-o", "json")
	var doc struct {
		Name       string
		Operations []string
		File       struct {
			SHA256  string
			Exports []string
		}
	}
	require.NoError(t, json.Unmarshal([]byte(got.out), &doc))
	require.Equal(t, "tiny", doc.Name)
	require.Equal(t, []string{"describe", "create", "reconcile"}, doc.Operations)
	require.Len(t, doc.File.SHA256, 64)
	require.Contains(t, doc.File.Exports, "freeze")
}

func TestPluginTestPassesAGoodConnector(t *testing.T) {
	got := provost("plugin", "test", guest(t, tinyGuest))
	require.Equal(t, 0, got.code, "%s%s", got.out, got.errors)
	require.NotContains(t, got.out, "failed")
	require.Contains(t, got.errors, "checks ok")
}

func TestPluginTestNamesWhatIsWrong(t *testing.T) {
	got := provost("plugin", "test", guest(t, oddGuest), "-o", "json")
	require.Equal(t, 1, got.code)
	var results []struct{ Check, Outcome, Detail string }
	require.NoError(t, json.Unmarshal([]byte(got.out), &results))
	failed := map[string]string{}
	for _, r := range results {
		if r.Outcome == "failed" {
			failed[r.Check] = r.Detail
		}
	}
	require.Contains(t, failed["answers Unsupported to what it exports and does not list"], "freeze")
	require.Contains(t, got.errors, "checks failed")
}

func TestPluginCall(t *testing.T) {
	odd := guest(t, oddGuest)
	input := filepath.Join(t.TempDir(), "in.json")
	const answer = `{"attributes":{"do":"{\"ExternalUserId\":\"7\"}"}}`
	require.NoError(t, os.WriteFile(input, []byte(answer), 0o600))
	for name, got := range map[string]result{
		"text":  provost("plugin", "call", odd, "create", "--input", answer),
		"file":  provost("plugin", "call", odd, "create", "--input", "@"+input),
		"stdin": provostWith(answer, "plugin", "call", odd, "create", "--input", "-"),
	} {
		require.Equal(t, 0, got.code, "%s: %s", name, got.errors)
		require.JSONEq(t, `{"ExternalUserId":"7"}`, got.out)
		require.Contains(t, got.errors, "of memory, 0 HTTP calls\n")
	}
	got := provost("plugin", "call", odd, "create", "--settings", `{"region":"eu"}`, "--input", `{"attributes":{"do":"settings"}}`)
	require.JSONEq(t, `{"ExternalUserId":"1","attributes":{"region":"eu"}}`, got.out)
	got = provost("plugin", "call", odd, "describe")
	require.Equal(t, 0, got.code)
	require.Contains(t, got.out, `"name": "odd"`)
}

func TestPluginCallThatFails(t *testing.T) {
	odd := guest(t, oddGuest)
	for name, c := range map[string]struct {
		op, do, code, says string
	}{
		"typed error":      {"create", `error:{"type":"NotFound","message":"no such person"}`, "NotFound", "no such person"},
		"no JSON":          {"create", "made it", "ConnectorFault", "odd 1.0.0: create"},
		"wrong type":       {"create", `{"ExternalUserId":7}`, "ConnectorFault", "$.ExternalUserId: must be a string"},
		"trap":             {"create", "trap", "ConnectorFault", "about to fall"},
		"unsupported":      {"delete", "", "Unsupported", "can't delete"},
		"no way out":       {"create", `error:{"type":"Unauthorized","message":"\u001b[31mred"}`, "Unauthorized", "red"},
		"plain text error": {"create", "error:oh no", "Internal", "oh no"},
	} {
		t.Run(name, func(t *testing.T) {
			input, err := json.Marshal(map[string]any{"attributes": map[string]string{"do": c.do}})
			require.NoError(t, err)
			got := provost("plugin", "call", odd, c.op, "--input", string(input))
			require.Equal(t, 1, got.code)
			require.Empty(t, got.out)
			require.Contains(t, got.errors, "provost: "+c.code+": ")
			require.Contains(t, got.errors, c.says)
			require.NotContains(t, got.errors, "\x1b")

			got = provost("plugin", "call", odd, c.op, "--input", string(input), "-o", "json")
			require.Equal(t, 1, got.code)
			var doc struct {
				Output any
				Usage  map[string]any
				Logs   []string
				Error  struct{ Type, Message string }
			}
			require.NoError(t, json.Unmarshal([]byte(got.out), &doc))
			require.Nil(t, doc.Output)
			require.Equal(t, c.code, doc.Error.Type)
			require.NotNil(t, doc.Usage["memoryBytes"])
		})
	}
	for _, input := range []string{"{", "[]", "null", `{"attempt":"first"}`, "@" + filepath.Join(t.TempDir(), "none")} {
		got := provost("plugin", "call", odd, "create", "--input", input)
		require.Equal(t, 1, got.code, input)
		require.Contains(t, got.errors, "--input", input)
	}
	got := provost("plugin", "call", odd, "create", "--settings", `{"region":1}`)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.errors, "settings.region")
}

func TestMessageOfIsOneLine(t *testing.T) {
	require.Equal(t, "interrupted", messageOf(fmt.Errorf("a call: %w", context.Canceled)))
	require.Equal(t, "a\ufffdb", messageOf(errors.New("a\x1bb")))
}

func TestPluginCallOverANamedCredential(t *testing.T) {
	var asked []string
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization"))
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"ID":"42","Login":"ada"}`) // the caller sees a short answer
	}))
	defer target.Close()
	dir := t.TempDir()
	cfg := filepath.Join(dir, "provost.yaml")
	require.NoError(t, os.WriteFile(cfg, fmt.Appendf(nil, `
plugins:
  - {name: acme, source: %q, unsigned: true, settings: {region: eu}}
credentials:
  - {name: Acme, endpoint: %q, bearer: {token: {value: s3cret}}}
  - {name: Other, endpoint: "https://other.example.com", bearer: {token: {env: NOBODY_SETS_THIS}}}
`, mustAbs(t, guest(t, tinyGuest)), target.URL+"/base"), 0o600))

	for _, source := range []string{guest(t, tinyGuest), "acme"} {
		asked = nil
		got := provost("plugin", "call", source, "create", "--config", cfg, "--credential", "Acme", "--input", `{"attributes":{"login":"ada"}}`)
		require.Equal(t, 0, got.code, got.errors)
		require.JSONEq(t, `{"ExternalUserId":"42","ExternalUsername":"ada"}`, got.out)
		require.Equal(t, []string{"POST /base/v1/users Bearer s3cret"}, asked)
		require.Contains(t, got.errors, "http  POST callout:Acme/v1/users  200 in ")
		require.Contains(t, got.errors, "region=eu")
		require.Contains(t, got.errors, "1 HTTP calls")
		require.NotContains(t, got.errors, "s3cret")
	}
	got := provost("plugin", "call", "acme", "create", "--config", cfg, "--credential", "Acne")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.errors, `no credential named "Acne"; it has Acme, Other`)
	got = provost("plugin", "call", "acme", "create", "--config", cfg, "--credential", "Other")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.errors, "NOBODY_SETS_THIS")

	got = provost("plugin", "list", "--config", cfg, "-o", "json")
	require.Equal(t, 0, got.code, got.errors)
	var list []listedPlugin
	require.NoError(t, json.Unmarshal([]byte(got.out), &list))
	last := list[len(list)-1]
	require.Equal(t, "acme", last.Name)
	require.Equal(t, "0.1.0", last.Version)

	require.NoError(t, os.WriteFile(cfg, []byte("plugin: []\nworkers: many\n"), 0o600))
	got = provost("plugin", "call", "acme", "create", "--config", cfg)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.errors, "provost.yaml:1")
	require.Contains(t, got.errors, "provost.yaml:2")
	require.Contains(t, got.errors, "2 problems")
}

func mustAbs(t *testing.T, file string) string {
	abs, err := filepath.Abs(file)
	require.NoError(t, err)
	return abs
}

func TestEveryBuiltinPassesTheChecks(t *testing.T) {
	if len(plugins.Names()) == 0 {
		t.Skip("no connectors are embedded: make build compiles them")
	}
	for _, name := range plugins.Names() {
		got := provost("plugin", "test", "builtin:"+name)
		require.Equal(t, 0, got.code, "%s: %s%s", name, got.out, got.errors)
	}
}
