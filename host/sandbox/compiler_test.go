package sandbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/provosthq/provost/host/sandbox"
)

// bomb is a module of one function that the compiler needs much memory and time
// for, each about as the product of depth and locals: every block that ends
// joins two values of every local.
func bomb(depth, locals int) []byte {
	get, set := func(n int) []byte { return append([]byte{0x20}, leb(uint64(n))...) }, func(n int) []byte { return append([]byte{0x21}, leb(uint64(n))...) }
	body := bytes.NewBuffer(slices.Concat([]byte{1}, leb(uint64(locals)), []byte{0x7e}))
	for n := range depth {
		body.Write(append(get(n%locals), 0x50, 0x04, 0x40)) // if it is zero
	}
	for n := range locals {
		body.Write(append([]byte{0x42, 1}, set(n)...))
	}
	body.Write(bytes.Repeat([]byte{0x0b}, depth))
	body.Write([]byte{0x42, 0})
	for n := range locals {
		body.Write(append(get(n), 0x7c))
	}
	body.Write([]byte{0x1a, 0x0b})
	return generated([]string{"run"}, [][]byte{body.Bytes()})
}

// minutes is a bomb that takes the compiler minutes and gigabytes.
func minutes() []byte { return bomb(4000, 4000) }

// compiling makes a runtime whose modules are compiled in another process.
func compiling(t *testing.T, o sandbox.Options) *sandbox.Runtime {
	t.Helper()
	before := goleak.IgnoreCurrent()
	if o.Compiler == nil {
		o.Compiler = sandbox.CompilerProgram
	}
	r, err := sandbox.New(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, r.Close(context.Background()))
		goleak.VerifyNone(t, before)
	})
	return r
}

// loadsGood loads a module and calls it.
func loadsGood(t *testing.T, r *sandbox.Runtime) {
	t.Helper()
	m, err := r.Load(t.Context(), "hostile/keeper", readHostile(t, "keeper").wasm, sandbox.Limits{})
	require.NoError(t, err)
	callGood(t, m)
	require.NoError(t, m.Close(t.Context()))
}

// files are all below a folder, but for the cache's own folders.
func files(t *testing.T, dir string) (list []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, path)
		}
		return err
	}))
	return list
}

func requireShell(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("/bin/sh"); err != nil {
		t.Skip("there is no /bin/sh")
	}
}

func TestCompilerThatTakesTooLongIsEnded(t *testing.T) {
	dir := t.TempDir()
	r := compiling(t, sandbox.Options{CacheDir: dir})
	_, err := r.Load(t.Context(), "hostile", minutes(), sandbox.Limits{CompileTime: 200 * time.Millisecond})
	e := failure(t, err)
	require.Equal(t, sandbox.KindLimit, e.Kind, "%v", e)
	require.Equal(t, "compile_time", e.Limit)
	require.Contains(t, e.Message, "takes longer than 200ms to compile")
	require.Empty(t, files(t, dir))
	loadsGood(t, r)
}

func TestCompilerThatTakesTooMuchMemoryIsEnded(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the memory of another process is looked at on Linux")
	}
	dir := t.TempDir()
	r := compiling(t, sandbox.Options{CacheDir: dir})
	_, err := r.Load(t.Context(), "hostile", bomb(400, 2000), sandbox.Limits{CompileMemoryBytes: 160 << 20})
	e := failure(t, err)
	require.Equal(t, sandbox.KindLimit, e.Kind, "%v", e)
	require.Equal(t, "compile_memory", e.Limit)
	require.Contains(t, e.Message, "takes more than 167772160 bytes of memory to compile")
	require.Empty(t, files(t, dir))
	loadsGood(t, r)
}

func TestConnectorsAreCalledWhileAnotherIsCompiled(t *testing.T) {
	dir := t.TempDir()
	r := compiling(t, sandbox.Options{CacheDir: dir})
	m, err := r.Load(t.Context(), "hostile/keeper", readHostile(t, "keeper").wasm, sandbox.Limits{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	loaded := make(chan error, 1)
	go func() {
		_, err := r.Load(ctx, "hostile", minutes(), sandbox.Limits{CompileTime: time.Hour, CompileMemoryBytes: 1 << 40})
		loaded <- err
	}()
	waitFor(t, func() bool {
		folders, err := os.ReadDir(filepath.Join(dir, "compiling"))
		return err == nil && len(folders) == 1
	})
	for range 200 {
		callGood(t, m)
	}
	select {
	case err := <-loaded:
		t.Fatalf("it was loaded: %v", err)
	default:
	}
	cancel()
	require.Equal(t, sandbox.KindCancelled, failure(t, <-loaded).Kind)
	require.NoError(t, m.Close(t.Context()))
	folders, err := os.ReadDir(filepath.Join(dir, "compiling"))
	require.NoError(t, err)
	require.Empty(t, folders)
}

// waitFor returns when it is so; the test's own deadline ends it otherwise.
func waitFor(t *testing.T, is func() bool) {
	t.Helper()
	for !is() {
		require.NoError(t, t.Context().Err())
		runtime.Gosched()
	}
}

func TestCompilerThatIsKilledLeavesTheCacheAsItWas(t *testing.T) {
	requireShell(t)
	dir := t.TempDir()
	pidFile := filepath.Join(t.TempDir(), "pid")
	r := compiling(t, sandbox.Options{CacheDir: dir, Compiler: append([]string{"/bin/sh", "-c", `echo $$ >` + pidFile + `; exec "$0" "$1"`}, sandbox.CompilerProgram...)})
	loadsGood(t, r)
	before := files(t, dir)
	require.NoError(t, os.Remove(pidFile))
	loaded := make(chan error, 1)
	go func() {
		_, err := r.Load(t.Context(), "hostile", minutes(), sandbox.Limits{CompileTime: time.Hour, CompileMemoryBytes: 1 << 40})
		loaded <- err
	}()
	process, err := os.FindProcess(pidIn(t, pidFile))
	require.NoError(t, err)
	require.NoError(t, process.Kill())
	err = <-loaded
	require.ErrorContains(t, err, "ended before it was done (signal: killed)")
	require.False(t, errors.As(err, new(*sandbox.Error)), "it is not the module's fault")
	require.Equal(t, before, files(t, dir))
	loadsGood(t, r)
}

func TestCompilerEndsWithWhoeverWantsItsCode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "code")
	require.NoError(t, os.Mkdir(dir, 0o700))
	wasm := minutes()
	order, err := json.Marshal(map[string]any{"Dir": dir, "Rewriter": sandbox.RewriterVersion, "Size": len(wasm), "Memory": 1 << 40, "Options": map[string]any{"Meter": true, "Track": true}})
	require.NoError(t, err)
	c := exec.CommandContext(t.Context(), sandbox.CompilerProgram[0], sandbox.CompilerProgram[1:]...)
	in, err := c.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	_, err = io.Copy(in, io.MultiReader(bytes.NewReader(order), strings.NewReader("\n"), bytes.NewReader(wasm)))
	require.NoError(t, err)
	require.NoError(t, in.Close())
	require.ErrorContains(t, c.Wait(), "exit status 1")
	require.NoDirExists(t, dir)
}

func TestCompilerThatFailsIsNamedAndTheModuleIsNotBlamed(t *testing.T) {
	requireShell(t)
	for name, c := range map[string]struct{ script, says string }{
		"says nothing":               {`exit 0`, "ended before it was done (without an answer)"},
		"says nonsense":              {`echo hello`, "ended before it was done (without an answer)"},
		"says too much":              {`yes '{"Done":true}' | head -c 3000000`, "ended before it was done (without an answer)"},
		"says what it does not do":   {`echo '{"Done":true}'`, "compilation cache: "},
		"does not know its task":     {`echo 'unknown command "compile" for "provost"' >&2; exit 2`, `(exit status 2; it said: unknown command "compile" for "provost")`},
		"complains without an end":   {`yes complaint | head -c 3000000 >&2; exit 1`, "exit status 1; it said: complaint complaint"},
		"waits for a module no more": {`exec <&-; exit 3`, "(exit status 3)"},
		"kills itself":               {`kill -9 $$`, "(signal: killed)"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := compiling(t, sandbox.Options{CacheDir: dir, Compiler: []string{"/bin/sh", "-c", c.script}})
			_, err := r.Load(t.Context(), "connector", minutes(), sandbox.Limits{})
			require.ErrorContains(t, err, c.says)
			require.False(t, errors.As(err, new(*sandbox.Error)))
			require.Less(t, len(err.Error()), 2<<10)
			require.Empty(t, files(t, dir))
		})
	}
	t.Run("is not there", func(t *testing.T) {
		_, err := sandbox.New(t.Context(), sandbox.Options{Compiler: []string{"/nowhere/compiler"}})
		require.ErrorContains(t, err, "the program that compiles modules")
	})
	t.Run("has been replaced", func(t *testing.T) {
		c := exec.CommandContext(t.Context(), sandbox.CompilerProgram[0], sandbox.CompilerProgram[1:]...)
		c.Stdin = strings.NewReader(`{"Rewriter":-1}` + "\n")
		said, err := c.CombinedOutput()
		require.ErrorContains(t, err, "exit status 1")
		require.Contains(t, string(said), "the program has been replaced")
	})
	t.Run("is used by hand", func(t *testing.T) {
		c := exec.CommandContext(t.Context(), sandbox.CompilerProgram[0], sandbox.CompilerProgram[1:]...)
		said, err := c.CombinedOutput()
		require.ErrorContains(t, err, "exit status 1")
		require.Contains(t, string(said), "it can't be used by hand")
	})
}

func TestModuleThatCrashesTheCompilerIsRefused(t *testing.T) {
	requireShell(t)
	r := compiling(t, sandbox.Options{CacheDir: t.TempDir(), Compiler: []string{"/bin/sh", "-c", `printf 'panic: no such register\n\ngoroutine 7 [running]:\nmain.main()\n' >&2; exit 2`}})
	_, err := r.Load(t.Context(), "hostile", minutes(), sandbox.Limits{})
	e := failure(t, err)
	require.Equal(t, sandbox.KindInvalid, e.Kind)
	require.Equal(t, "can't be compiled; the compiler crashed: panic: no such register", e.Message)
}

func TestCompilerHasNoneOfOurSecrets(t *testing.T) {
	requireShell(t)
	t.Setenv("PROVOST_TEST_TOKEN", "s3cret")
	seen := filepath.Join(t.TempDir(), "seen")
	r := compiling(t, sandbox.Options{CacheDir: t.TempDir(), Compiler: []string{"/bin/sh", "-c", "/usr/bin/env >" + seen}})
	_, err := r.Load(t.Context(), "connector", minutes(), sandbox.Limits{})
	require.Error(t, err)
	b, err := os.ReadFile(seen)
	require.NoError(t, err)
	require.Contains(t, string(b), "PWD=", "it was looked")
	require.NotContains(t, string(b), "s3cret")
}

func TestCompilerClosesTheFilesThatItWasStartedWith(t *testing.T) {
	requireShell(t)
	if runtime.GOOS != "linux" {
		t.Skip("open files are listed in /proc")
	}
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, nil, 0o600))
	r := compiling(t, sandbox.Options{CacheDir: t.TempDir(), Compiler: append([]string{"/bin/sh", "-c", `exec 7<` + secret + ` && echo $$ >` + secret + `.pid && exec "$0" "$1"`}, sandbox.CompilerProgram...)})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	loaded := make(chan error, 1)
	go func() {
		_, err := r.Load(ctx, "hostile", minutes(), sandbox.Limits{CompileTime: time.Hour, CompileMemoryBytes: 1 << 40})
		loaded <- err
	}()
	fds := filepath.Join("/proc", strconv.Itoa(pidIn(t, secret+".pid")), "fd")
	waitFor(t, func() bool {
		_, err := os.Readlink(filepath.Join(fds, "7"))
		return errors.Is(err, os.ErrNotExist)
	})
	_, err := os.Readlink(filepath.Join(fds, "0"))
	require.NoError(t, err, "it goes on")
	cancel()
	require.Error(t, <-loaded)
}

// pidIn waits for a file that says which process a compiler is.
func pidIn(t *testing.T, file string) (pid int) {
	t.Helper()
	waitFor(t, func() bool {
		b, _ := os.ReadFile(file) // not there yet
		var err error
		pid, err = strconv.Atoi(strings.TrimSuffix(string(b), "\n"))
		return err == nil && bytes.HasSuffix(b, []byte("\n"))
	})
	return pid
}

func TestModuleInTheCacheNeedsNoCompiler(t *testing.T) {
	requireShell(t)
	dir := t.TempDir()
	loadsGood(t, compiling(t, sandbox.Options{CacheDir: dir}))
	none := sandbox.Options{CacheDir: dir, Compiler: []string{"/bin/sh", "-c", "exit 1"}}
	loadsGood(t, compiling(t, none))
	for _, damage := range []string{"rewritten/*", "wazero-*/*"} {
		damaged, err := filepath.Glob(filepath.Join(dir, damage))
		require.NoError(t, err)
		require.Len(t, damaged, 1)
		whole, err := os.ReadFile(damaged[0])
		require.NoError(t, err)
		for _, bytes := range [][]byte{whole[:len(whole)/2], nil} {
			require.NoError(t, os.WriteFile(damaged[0], bytes, 0o600))
			_, err = compiling(t, none).Load(t.Context(), "hostile/keeper", readHostile(t, "keeper").wasm, sandbox.Limits{})
			require.ErrorContains(t, err, "ended before it was done", "a damaged %s is not compiled in this process", damage)
			loadsGood(t, compiling(t, sandbox.Options{CacheDir: dir}))
			again, err := os.ReadFile(damaged[0])
			require.NoError(t, err)
			require.Equal(t, whole, again, "it is made again")
		}
	}
}

// Where the cache has been taken to another kind of machine, or wazero is
// another, there is only what was rewritten.
func TestModuleWhoseCodeIsNotInTheCacheIsCompiledAgain(t *testing.T) {
	dir := t.TempDir()
	loadsGood(t, compiling(t, sandbox.Options{CacheDir: dir}))
	code, err := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
	require.NoError(t, err)
	require.Len(t, code, 1)
	require.NoError(t, os.Remove(code[0]))
	loadsGood(t, compiling(t, sandbox.Options{CacheDir: dir}))
	require.FileExists(t, code[0])
}

func TestOneModuleIsCompiledByManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	a, b := compiling(t, sandbox.Options{CacheDir: dir}), compiling(t, sandbox.Options{CacheDir: dir})
	errs := make([]error, 6)
	var all sync.WaitGroup
	wasm := readHostile(t, "keeper").wasm
	for n := range errs {
		all.Go(func() {
			_, errs[n] = []*sandbox.Runtime{a, b}[n%2].Load(t.Context(), "hostile/keeper", wasm, sandbox.Limits{})
		})
	}
	all.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Len(t, files(t, dir), 2, "one rewritten, one compiled")
	loadsGood(t, a)
	loadsGood(t, b)
}

func TestCompilerWithoutACacheHasOneForTheTime(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir)
	t.Run("used", func(t *testing.T) {
		loadsGood(t, compiling(t, sandbox.Options{}))
		require.NotEmpty(t, files(t, dir))
	})
	require.Empty(t, files(t, dir))
}

func TestWhatACompilerLeftIsRemovedADayLater(t *testing.T) {
	dir := t.TempDir()
	old, young := filepath.Join(dir, "compiling", "1"), filepath.Join(dir, "compiling", "2")
	require.NoError(t, os.MkdirAll(filepath.Join(old, "wazero-v1"), 0o700))
	require.NoError(t, os.MkdirAll(young, 0o700))
	then := time.Now().Add(-25 * time.Hour)
	require.NoError(t, os.Chtimes(old, then, then))
	compiling(t, sandbox.Options{CacheDir: dir})
	require.NoDirExists(t, old)
	require.DirExists(t, young, "somebody may be at it")
}

func TestHostileModuleIsRefusedByTheCompilerAsInThisProcess(t *testing.T) {
	sources, err := filepath.Glob(filepath.Join(hostileDir, "*.wat"))
	require.NoError(t, err)
	require.NotEmpty(t, sources)
	here, apart := newSandbox(t), compiling(t, sandbox.Options{CacheDir: t.TempDir()})
	modules := map[string][]byte{"truncated": readHostile(t, "keeper").wasm[:100], "nests": generated([]string{"run"}, [][]byte{slices.Concat([]byte{0}, bytes.Repeat([]byte{0x03, 0x40}, 2000), bytes.Repeat([]byte{0x0b}, 2001))})}
	for _, source := range sources {
		name := strings.TrimSuffix(filepath.Base(source), ".wat")
		modules[name] = readHostile(t, name).wasm
	}
	refused := 0
	for name, wasm := range modules {
		_, want := here.Load(t.Context(), name, wasm, sandbox.Limits{})
		m, err := apart.Load(t.Context(), name, wasm, sandbox.Limits{})
		require.Equal(t, want, err, name)
		if err != nil {
			refused++
			continue
		}
		require.NoError(t, m.Close(t.Context()))
	}
	require.Greater(t, refused, 10)
}
