package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/provosthq/provost/host/sandbox/rewrite"
	"github.com/provosthq/provost/plugins"
)

// cacheDir keeps what was compiled for all tests of the package.
var cacheDir string

// RewriterVersion is what a compiler is told.
const RewriterVersion = rewrite.Version

// CompilerProgram makes this program the sandbox's compiler.
var CompilerProgram []string

func TestMain(m *testing.M) {
	const compile = "compile"
	if len(os.Args) == 2 && os.Args[1] == compile {
		os.Exit(CompileMain(os.Stdin, os.Stdout))
	}
	program, err := os.Executable()
	if err != nil {
		panic(err)
	}
	CompilerProgram = []string{program, compile}
	if cacheDir, err = os.MkdirTemp("", "sandbox"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(cacheDir) // a temporary folder
		os.Exit(code)
	}))
}

// connector loads the connector scim, a real Go guest.
func connector(t testing.TB, o Options, l Limits) *Module {
	wasm, ok := plugins.Builtin("scim")
	if !ok {
		t.Fatal("the connector scim is not built; run make build")
	}
	return load(t, o, l, wasm)
}

// connectorIn loads the connector scim into a runtime; the test closes both.
func connectorIn(t testing.TB, r *Runtime, l Limits) *Module {
	wasm, ok := plugins.Builtin("scim")
	require.True(t, ok, "the connector scim is not built; run make build")
	m, err := r.Load(t.Context(), "guest", wasm, l)
	require.NoError(t, err)
	return m
}

func load(t testing.TB, o Options, l Limits, wasm []byte) *Module {
	o.CacheDir = cacheDir
	r, err := New(t.Context(), o)
	require.NoError(t, err)
	m, err := r.Load(t.Context(), "guest", wasm, l)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, m.Close(context.Background()))
		require.Zero(t, r.MemoryBytes(), "memory was not given back")
		require.NoError(t, r.Close(context.Background()))
	})
	return m
}

// create is the input of a create, some 1 KB.
func create(n int) []byte {
	b, err := json.Marshal(map[string]any{
		"operation": "create", "objectClass": "account", "userProvisioningRequestId": fmt.Sprint("r", n), "namedCredDevName": "Acme",
		"attributes": map[string]any{"userName": fmt.Sprintf("user%d", n), "displayName": strings.Repeat("Ä ", n%300), "active": true},
	})
	if err != nil {
		panic(err)
	}
	return b
}

func created(n int) Env {
	return Env{HTTP: func(context.Context, *HTTPRequest) *HTTPResponse {
		return &HTTPResponse{Status: 201, Body: []byte(fmt.Sprintf(`{"id":"id%d","userName":"user%d","displayName":%q}`, n, n, strings.Repeat("x", n)))}
	}}
}

func TestEveryCallBeginsFromThePristineState(t *testing.T) {
	m := connector(t, Options{Warm: "describe"}, Limits{Instances: 1})
	i, err := m.pool.acquire(t.Context(), "")
	require.NoError(t, err)
	require.True(t, m.template.forkable)
	check := func(when string) {
		b := i.bytes()
		require.True(t, bytes.Equal(i.image.b, b[:len(i.image.b)]), "%s: the memory is not as it was", when)
		require.True(t, bytes.Count(b[len(i.image.b):], []byte{0}) == len(b)-len(i.image.b), "%s: what has grown is not zero", when)
		for n, g := range i.globals {
			require.Equal(t, i.values[n], g.Get(), when)
		}
	}
	check("at the beginning")
	for n := range 300 {
		require.NoError(t, i.run(t.Context(), "create", create(n), created(n)), "%d %q", n, i.kernel.recent)
		require.Contains(t, string(i.kernel.output), fmt.Sprintf("user%d", n))
		require.True(t, i.reset())
		check(fmt.Sprint("after call ", n))
	}
	t.Logf("%d bytes of memory", len(i.bytes()))
	m.pool.release(i)
}

func BenchmarkCall(b *testing.B) {
	m := connector(b, Options{Warm: "describe"}, Limits{})
	in, env := create(10), created(10)
	b.ReportAllocs()
	var fuel int64
	for b.Loop() {
		_, u, err := m.Call(b.Context(), "create", in, env)
		if err != nil {
			b.Fatal(err)
		}
		fuel = u.Fuel
	}
	b.ReportMetric(float64(fuel), "fuel")
}

func BenchmarkReset(b *testing.B) {
	m := connector(b, Options{Warm: "describe"}, Limits{})
	i, err := m.pool.acquire(b.Context(), "")
	require.NoError(b, err)
	in, env := create(10), created(10)
	for b.Loop() {
		b.StopTimer()
		if err := i.run(b.Context(), "create", in, env); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		i.reset()
	}
	m.pool.release(i)
}

func BenchmarkFork(b *testing.B) {
	m := connector(b, Options{Warm: "describe"}, Limits{})
	i, err := m.pool.acquire(b.Context(), "")
	require.NoError(b, err)
	for b.Loop() {
		n, err := m.newInstance(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		n.close()
	}
	m.pool.release(i)
}

func TestARewrittenModuleInTheCacheIsTakenAndADamagedOneIsNot(t *testing.T) {
	dir := t.TempDir()
	call := func() []byte {
		r, err := New(t.Context(), Options{CacheDir: dir})
		require.NoError(t, err)
		m := connectorIn(t, r, Limits{})
		out, _, err := m.Call(t.Context(), "create", create(1), created(1))
		require.NoError(t, err)
		require.NoError(t, m.Close(context.Background()))
		require.NoError(t, r.Close(context.Background()))
		return out
	}
	want := call()
	files, err := filepath.Glob(filepath.Join(dir, "rewritten", "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	whole, err := os.ReadFile(files[0])
	require.NoError(t, err)
	require.Equal(t, want, call())
	for _, damaged := range [][]byte{whole[:len(whole)/2], nil, append(bytes.Clone(whole[:len(whole)-9]), "damaged.."...)} {
		require.NoError(t, os.WriteFile(files[0], damaged, 0o600))
		require.Equal(t, want, call())
		again, err := os.ReadFile(files[0])
		require.NoError(t, err)
		require.Equal(t, whole, again, "it is made again")
	}
}
