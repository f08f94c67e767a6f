package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// Options are for [New].
type Options struct {
	// CacheDir keeps compiled code between runs; empty keeps none.
	CacheDir string
	Logger   *slog.Logger
}

// Runtime holds the compiled modules. It may be used from many goroutines.
type Runtime struct {
	options Options
	cache   wazero.CompilationCache

	mu sync.Mutex
	// engines has one wazero runtime for each memory limit: wazero bounds
	// memory per runtime. They share the compilation cache.
	engines map[uint32]*engine
	closed  bool
}

type engine struct {
	wazero wazero.Runtime
	// compiled counts who uses code of the same bytes: closing one compiled
	// module would take the code from all others.
	compiled map[string]*compiled
}

type compiled struct {
	module wazero.CompiledModule
	users  int
}

// New makes a runtime.
func New(_ context.Context, o Options) (*Runtime, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Runtime{options: o, engines: map[uint32]*engine{}}
	if o.CacheDir == "" {
		r.cache = wazero.NewCompilationCache()
		return r, nil
	}
	var err error
	if r.cache, err = wazero.NewCompilationCacheWithDir(o.CacheDir); err != nil {
		return nil, fmt.Errorf("compilation cache %s: %w", o.CacheDir, err)
	}
	return r, nil
}

// Close frees all compiled code. Modules should be closed before.
func (r *Runtime) Close(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	var first error
	for _, e := range r.engines {
		if err := e.wazero.Close(ctx); err != nil && first == nil {
			first = err
		}
	}
	if err := r.cache.Close(ctx); err != nil && first == nil {
		first = err
	}
	return first
}

// engine returns the runtime for a memory limit; r.mu is held.
func (r *Runtime) engine(ctx context.Context, pages uint32) (*engine, error) {
	if e := r.engines[pages]; e != nil {
		return e, nil
	}
	config := wazero.NewRuntimeConfig().
		WithCompilationCache(r.cache).
		WithMemoryLimitPages(pages).
		WithCloseOnContextDone(true).
		WithCustomSections(false).
		WithDebugInfoEnabled(true)
	e := &engine{wazero: wazero.NewRuntimeWithConfig(ctx, config), compiled: map[string]*compiled{}}
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, e.wazero); err != nil {
		return nil, fmt.Errorf("wasi: %w", err)
	}
	if err := instantiateKernel(ctx, e.wazero); err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	r.engines[pages] = e
	return e, nil
}

var magic = []byte("\x00asm\x01\x00\x00\x00")

// Load checks and compiles a module. name is for messages.
func (r *Runtime) Load(ctx context.Context, name string, wasm []byte, limits Limits) (_ *Module, err error) {
	limits = limits.withDefaults()
	invalid := func(format string, args ...any) error {
		return &Error{Kind: KindInvalid, Module: name, Message: fmt.Sprintf(format, args...)}
	}
	if len(wasm) > limits.ModuleBytes {
		return nil, &Error{Kind: KindLimit, Module: name, Message: fmt.Sprintf("the module has %d bytes; the limit is %d", len(wasm), limits.ModuleBytes)}
	}
	if len(wasm) < len(magic) || !slices.Equal(wasm[:4], magic[:4]) {
		return nil, invalid("is no WebAssembly: it does not begin with \\0asm; build it with GOOS=wasip1 GOARCH=wasm or your language's wasm target")
	}
	if !slices.Equal(wasm[:8], magic) {
		return nil, invalid("is WebAssembly of another version or a component; a core module of version 1 is needed")
	}
	defer func() { // a compiler must not take the daemon down, whatever it is fed
		if p := recover(); p != nil {
			err = invalid("can't be compiled: %v", p)
		}
	}()

	sum := sha256.Sum256(wasm)
	digest := hex.EncodeToString(sum[:])
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, &Error{Kind: KindCancelled, Module: name, Message: "the sandbox is closed"}
	}
	e, err := r.engine(ctx, limits.pages())
	if err != nil {
		return nil, err
	}
	c := e.compiled[digest]
	if c == nil {
		m, err := e.wazero.CompileModule(ctx, wasm)
		if err != nil {
			return nil, invalid("is no valid WebAssembly: %v", err)
		}
		if err := checkImports(m); err != nil {
			_ = m.Close(ctx) // the refusal is what counts
			return nil, invalid("%v", err)
		}
		c = &compiled{module: m}
		e.compiled[digest] = c
	}
	c.users++
	return &Module{runtime: r, engine: e, compiled: c, name: name, digest: digest, size: len(wasm), limits: limits}, nil
}

// checkImports refuses a module that imports what is not offered, and names
// all of it.
func checkImports(m wazero.CompiledModule) error {
	var unknown []string
	for _, f := range m.ImportedFunctions() {
		module, name, _ := f.Import()
		switch module {
		case wasi_snapshot_preview1.ModuleName:
			if !slices.Contains(wasiFunctions, name) {
				unknown = append(unknown, module+" "+name)
			}
		case kernelModule:
			want, ok := kernelSignatures[name]
			if !ok {
				unknown = append(unknown, module+" "+name)
			} else if !slices.Equal(f.ParamTypes(), want.params) || !slices.Equal(f.ResultTypes(), want.results) {
				return fmt.Errorf("imports %s %s with another signature than the Extism ABI has", module, name)
			}
		default:
			unknown = append(unknown, module+" "+name)
		}
	}
	for _, mem := range m.ImportedMemories() {
		module, name, _ := mem.Import()
		unknown = append(unknown, module+" "+name+" (memory)")
	}
	if len(unknown) > 0 {
		return fmt.Errorf("imports what is not offered: %s; there is %s and %s", strings.Join(unknown, ", "), kernelModule, wasi_snapshot_preview1.ModuleName)
	}
	return nil
}

// wasiFunctions are those of WASI preview 1. Files, sockets, environment and
// arguments are there and empty.
var wasiFunctions = []string{
	"args_get", "args_sizes_get", "environ_get", "environ_sizes_get", "clock_res_get", "clock_time_get",
	"fd_advise", "fd_allocate", "fd_close", "fd_datasync", "fd_fdstat_get", "fd_fdstat_set_flags", "fd_fdstat_set_rights",
	"fd_filestat_get", "fd_filestat_set_size", "fd_filestat_set_times", "fd_pread", "fd_prestat_get", "fd_prestat_dir_name",
	"fd_pwrite", "fd_read", "fd_readdir", "fd_renumber", "fd_seek", "fd_sync", "fd_tell", "fd_write",
	"path_create_directory", "path_filestat_get", "path_filestat_set_times", "path_link", "path_open", "path_readlink",
	"path_remove_directory", "path_rename", "path_symlink", "path_unlink_file", "poll_oneoff", "proc_exit", "proc_raise",
	"random_get", "sched_yield", "sock_accept", "sock_recv", "sock_send", "sock_shutdown",
}

// Module is a compiled module. It may be called from many goroutines at once.
type Module struct {
	runtime  *Runtime
	engine   *engine
	compiled *compiled
	name     string
	digest   string
	size     int
	limits   Limits

	calls sync.WaitGroup
	once  sync.Once
}

// Exports lists the exported functions that can be called: those without
// parameters and with at most one i32 as result.
func (m *Module) Exports() []string {
	var names []string
	for name, f := range m.compiled.module.ExportedFunctions() {
		if callable(f) && name != "_initialize" && name != "_start" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func callable(f api.FunctionDefinition) bool {
	r := f.ResultTypes()
	return len(f.ParamTypes()) == 0 && (len(r) == 0 || len(r) == 1 && r[0] == api.ValueTypeI32)
}

// Digest is the SHA-256 of the module's bytes, in hex.
func (m *Module) Digest() string { return m.digest }

// Size is the number of the module's bytes.
func (m *Module) Size() int { return m.size }

// Close waits for the calls under way and frees the code if nobody else uses
// the same bytes. The module can't be called afterwards.
func (m *Module) Close(ctx context.Context) error {
	var err error
	m.once.Do(func() {
		m.calls.Wait()
		m.runtime.mu.Lock()
		defer m.runtime.mu.Unlock()
		m.compiled.users--
		if m.compiled.users == 0 && !m.runtime.closed {
			delete(m.engine.compiled, m.digest)
			err = m.compiled.module.Close(ctx)
		}
	})
	return err
}
