package sandbox_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"

	extism "github.com/extism/go-sdk"
	"github.com/stretchr/testify/require"
	"github.com/tetratelabs/wazero"
	"pgregory.net/rapid"

	"github.com/provosthq/provost/host/sandbox"
)

// reference returns a function that calls a guest in Extism's own host, on an
// instance of its own for each call unless the function says otherwise.
func reference(t *testing.T, wasm []byte) func(export string, input []byte) guestCall {
	t.Helper()
	ctx := context.Background()
	compiled, err := extism.NewCompiledPlugin(ctx, extism.Manifest{
		Wasm: []extism.Wasm{extism.WasmData{Data: wasm}}, Config: guestConfig, AllowedHosts: []string{"127.0.0.1"},
	}, extism.PluginConfig{EnableWasi: true}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, compiled.Close(ctx)) })
	return func(export string, input []byte) guestCall {
		plugin, err := compiled.Instance(ctx, extism.PluginInstanceConfig{ModuleConfig: wazero.NewModuleConfig()})
		require.NoError(t, err)
		defer plugin.Close(ctx)
		return referenceCall(plugin, export, input)
	}
}

func referenceCall(plugin *extism.Plugin, export string, input []byte) guestCall {
	var c guestCall
	plugin.SetLogger(func(level extism.LogLevel, line string) {
		if !strings.HasPrefix(line, "Calling ") && !strings.HasPrefix(line, "Initializing ") && level != extism.LogLevelTrace { // its own
			c.logs = append(c.logs, level.String()+" "+line)
		}
	})
	code, output, err := plugin.Call(export, input)
	c.output, c.failed = string(output), err != nil || code != 0
	if err != nil && code != 0 {
		c.said = plugin.GetError()
	}
	if c.failed {
		c.output = "" // the sandbox gives no output beside an error
	}
	return c
}

func referenceLogs(t *testing.T) {
	extism.SetLogLevel(extism.LogLevelDebug)
	t.Cleanup(func() {
		extism.SetLogLevel(extism.LogLevelOff)
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
}

func TestGuestDoesAsInExtismsOwnHost(t *testing.T) {
	if testing.Short() {
		t.Skip("long; run without -short")
	}
	r := newSandbox(t) // first, so that it ends last
	server := newTarget(t)
	referenceLogs(t)
	for _, name := range guests {
		t.Run(name, func(t *testing.T) {
			ours, theirs := sandboxed(t, r, name), reference(t, readGuest(t, name))
			same := func(t require.TestingT, export string, input []byte) {
				want := theirs(export, input)
				wanted := server.requests()
				have := ours(export, input)
				require.Equal(t, want, have, "%s %s(%.60q)", name, export, input)
				require.Equal(t, wanted, server.requests(), "%s %s(%.60q)", name, export, input)
			}
			for _, input := range []string{"", "a", "1234567", "12345678", "123456789", "hällo wörld ✓", strings.Repeat("0123456789abcdef", 20_000)} {
				for _, export := range []string{"echo", "shout", "vars", "fail", "log"} {
					if len(input) > 4<<10 && (export == "log" || export == "fail") {
						continue // deliberately cut: see below
					}
					same(t, export, []byte(input))
				}
			}
			for key := range guestConfig {
				same(t, "config", []byte(key))
			}
			same(t, "config", []byte("absent"))
			same(t, "config", []byte(""))
			for _, path := range []string{"/Users", "/Users?filter=userName%20eq%20%22a%22", "/teapot", "/empty", "/large"} {
				same(t, "http", []byte(server.URL+path))
			}
			panicked := ours("panic", nil)
			panicked.logs = nil // what it prints is logged: see below
			require.Equal(t, theirs("panic", nil), panicked)
			rapid.Check(t, func(rt *rapid.T) {
				same(rt, rapid.SampledFrom([]string{"echo", "shout", "vars"}).Draw(rt, "export"), rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(rt, "input"))
			})
		})
	}
}

// The differences that are meant. RATIONALE.md says why.
func TestSandboxDiffersFromExtismsOwnHostWhereItIsMeantTo(t *testing.T) {
	if testing.Short() {
		t.Skip("long; run without -short")
	}
	r := newSandbox(t) // first, so that it ends last
	server := newTarget(t)
	referenceLogs(t)
	ctx := t.Context()
	c := readGuest(t, "c")
	ours, theirs := sandboxed(t, r, "c"), reference(t, c)

	t.Run("vars do not live on", func(t *testing.T) {
		plugin, err := extism.NewPlugin(ctx, extism.Manifest{Wasm: []extism.Wasm{extism.WasmData{Data: c}}}, extism.PluginConfig{EnableWasi: true}, nil)
		require.NoError(t, err)
		defer plugin.Close(ctx)
		require.Equal(t, "+one", referenceCall(plugin, "vars", []byte("one")).output)
		require.Equal(t, "+one+two", referenceCall(plugin, "vars", []byte("two")).output, "Extism keeps them while an instance lives")
		require.Equal(t, "+one", ours("vars", []byte("one")).output)
		require.Equal(t, "+two", ours("vars", []byte("two")).output)
	})
	t.Run("a request that fails is an answer", func(t *testing.T) {
		gone := newTarget(t)
		gone.Close()
		for _, url := range []string{gone.URL, "http://elsewhere.invalid/", "no url: at all", "callout:Acme/Users"} {
			require.True(t, theirs("http", []byte(url)).failed, "Extism traps")
			have := ours("http", []byte(url))
			require.False(t, have.failed)
			require.Regexp(t, "^0 .+", have.output)
		}
		require.Empty(t, server.requests())
	})
	t.Run("URLs with other schemes reach whoever performs the request", func(t *testing.T) {
		m, err := r.Load(ctx, "c", c, sandbox.Limits{})
		require.NoError(t, err)
		defer m.Close(context.Background())
		var url string
		output, _, err := m.Call(ctx, "http", []byte("callout:Acme/Users"), sandbox.Env{HTTP: func(_ context.Context, q *sandbox.HTTPRequest) *sandbox.HTTPResponse {
			url = q.URL
			return &sandbox.HTTPResponse{Status: 200, Body: []byte("ok")}
		}})
		require.NoError(t, err)
		require.Equal(t, "200 ok", string(output))
		require.Equal(t, "callout:Acme/Users", url)
	})
	t.Run("a log line is one line of bounded text", func(t *testing.T) {
		line := "one\ntwo\x1b[2J"
		require.Equal(t, "INFO "+line, theirs("log", []byte(line)).logs[1])
		require.Equal(t, "INFO one two [2J", ours("log", []byte(line)).logs[1])
		long := strings.Repeat("l", 10_000)
		require.Equal(t, "INFO "+long, theirs("log", []byte(long)).logs[1])
		require.Less(t, len(ours("log", []byte(long)).logs[1]), 5000)
	})
	t.Run("what a guest prints is logged", func(t *testing.T) {
		wasm := readGuest(t, "go")
		require.Empty(t, reference(t, wasm)("panic", nil).logs)
		require.Equal(t, "INFO panic: boom", sandboxed(t, r, "go")("panic", nil).logs[0])
	})
	t.Run("an error's text is bounded", func(t *testing.T) {
		long := bytes.Repeat([]byte("e"), 100<<10)
		require.Len(t, theirs("fail", long).said, len("it failed: ")+len(long))
		require.Len(t, ours("fail", long).said, 64<<10)
	})
	t.Run("a code other than 0 is an error even if none was set", func(t *testing.T) {
		wasm := readHostile(t, "failure").wasm
		plugin, err := extism.NewPlugin(ctx, extism.Manifest{Wasm: []extism.Wasm{extism.WasmData{Data: wasm}}}, extism.PluginConfig{EnableWasi: true}, nil)
		require.NoError(t, err)
		defer plugin.Close(ctx)
		code, _, err := plugin.Call("code", nil)
		require.NoError(t, err)
		require.Equal(t, uint32(7), code)
		m, err := r.Load(ctx, "failure", wasm, sandbox.Limits{})
		require.NoError(t, err)
		defer m.Close(context.Background())
		_, _, err = m.Call(ctx, "code", nil, sandbox.Env{})
		require.Equal(t, sandbox.KindGuest, failure(t, err).Kind)
	})
	t.Run("to exit with 0 is no success", func(t *testing.T) {
		wasm := readHostile(t, "wasi").wasm
		plugin, err := extism.NewPlugin(ctx, extism.Manifest{Wasm: []extism.Wasm{extism.WasmData{Data: wasm}}}, extism.PluginConfig{EnableWasi: true}, nil)
		require.NoError(t, err)
		defer plugin.Close(ctx)
		_, _, err = plugin.Call("exit_0", nil)
		require.NoError(t, err)
		m, err := r.Load(ctx, "wasi", wasm, sandbox.Limits{})
		require.NoError(t, err)
		defer m.Close(context.Background())
		_, _, err = m.Call(ctx, "exit_0", nil, sandbox.Env{})
		require.Equal(t, sandbox.KindTrap, failure(t, err).Kind)
	})
	t.Run("an offset that was never allocated traps", func(t *testing.T) {
		program := kernelProgram(kernelStep{op: "load_u8", a: 40_000})
		require.False(t, reference(t, readHostile(t, "kernel").wasm)("run", program).failed, "Extism reads any byte of its kernel's memory")
		m, err := r.Load(ctx, "kernel", readHostile(t, "kernel").wasm, sandbox.Limits{})
		require.NoError(t, err)
		defer m.Close(context.Background())
		_, _, err = m.Call(ctx, "run", program, sandbox.Env{})
		require.Equal(t, sandbox.KindTrap, failure(t, err).Kind)
	})
	t.Run("only what the sandbox offers can be imported", func(t *testing.T) {
		wasm := importing("anything")
		_, err := r.Load(ctx, "imports", wasm, sandbox.Limits{})
		require.Equal(t, sandbox.KindInvalid, failure(t, err).Kind)
		_, err = extism.NewPlugin(ctx, extism.Manifest{Wasm: []extism.Wasm{extism.WasmData{Data: wasm}}}, extism.PluginConfig{}, nil)
		require.Error(t, err, "Extism says so only when it makes an instance")
	})
}
