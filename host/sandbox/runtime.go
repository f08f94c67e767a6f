package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/provosthq/provost/host/sandbox/rewrite"
)

// Options are for [New].
type Options struct {
	// CacheDir keeps compiled code between runs; empty keeps none.
	CacheDir string
	// Compiler is the program, with its arguments, that compiles what the cache
	// has not; it does nothing but to call [CompileMain]. Without one modules
	// are compiled in this process: CompileMemoryBytes is no limit then, and
	// CompileTime is looked at only between two functions, one of which may
	// take minutes.
	Compiler []string
	// Warm is an export that is called once before a module's state is frozen,
	// where the module has it. It must depend on nothing but the module.
	Warm string
	// MemoryBytes is what the memories of all sandboxes together may have; the
	// default is 2 GiB.
	MemoryBytes int64
	// IdleTime is after how long an instance at rest is closed; the default is
	// a minute.
	IdleTime time.Duration
	Logger   *slog.Logger
}

// Runtime holds the compiled modules. It may be used from many goroutines.
type Runtime struct {
	options Options
	// cacheDir is where compiled code is kept, if anywhere; temporary tells
	// that it ends with the runtime.
	cacheDir  string
	temporary bool
	cache     wazero.CompilationCache
	wazero    wazero.Runtime

	mu sync.Mutex
	// compiled counts who uses code of the same bytes: closing one compiled
	// module would take the code from all others.
	compiled map[string]*compiled
	modules  map[*Module]bool
	closed   bool
	memory   int64

	turns *turns

	stop chan struct{}
	done chan struct{}
	// wake tells tidy that instances came back from calls; woken that it
	// knows.
	wake  chan struct{}
	woken atomic.Bool
}

type compiled struct {
	module wazero.CompiledModule
	key    string
	users  int
}

// features are what a module may use: WebAssembly 2.0 and two finished
// proposals that cost nothing.
const features = api.CoreFeaturesV2 | experimental.CoreFeaturesTailCall | experimental.CoreFeaturesExtendedConst

// New makes a runtime.
func New(ctx context.Context, o Options) (_ *Runtime, err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 2 << 30
	}
	if o.IdleTime == 0 {
		o.IdleTime = time.Minute
	}
	r := &Runtime{options: o, cacheDir: o.CacheDir, turns: newTurns(), compiled: map[string]*compiled{}, modules: map[*Module]bool{}, stop: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1)}
	if len(o.Compiler) > 0 {
		if err := r.findCompiler(); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, r.removeTemporary())
			}
		}()
	}
	if r.cacheDir == "" {
		r.cache = wazero.NewCompilationCache()
	} else if r.cache, err = wazero.NewCompilationCacheWithDir(r.cacheDir); err != nil {
		return nil, fmt.Errorf("compilation cache %s: %w", r.cacheDir, err)
	}
	r.wazero = newWazero(ctx, r.cache)
	if err := instantiateHost(ctx, r.wazero); err != nil {
		return nil, errors.Join(err, r.wazero.Close(ctx), r.cache.Close(ctx))
	}
	go r.tidy()
	return r, nil
}

// newWazero is the engine, as both the sandbox and its compiler have it.
func newWazero(ctx context.Context, cache wazero.CompilationCache) wazero.Runtime {
	return wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().
		WithCompilationCache(cache).
		WithCoreFeatures(features).
		WithDebugInfoEnabled(true))
}

// tidy resets instances that came back from calls, and closes those that
// nobody has needed for a while.
func (r *Runtime) tidy() {
	defer close(r.done)
	tick := time.NewTicker(max(r.options.IdleTime/4, time.Second))
	defer tick.Stop()
	reset := time.NewTimer(resetAfter)
	defer reset.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-r.wake:
			reset.Reset(resetAfter)
		case <-reset.C:
			r.woken.Store(false)
			for _, m := range r.loaded() {
				m.pool.resetUsed()
			}
		case now := <-tick.C:
			for _, m := range r.loaded() {
				m.pool.trim(now.Add(-r.options.IdleTime), m.limits.IdleInstances)
			}
		}
	}
}

// resetAfter is how long an instance that came back waits for a call that
// takes it as it is.
const resetAfter = 10 * time.Millisecond

// used says that an instance came back.
func (r *Runtime) used() {
	if !r.woken.Swap(true) {
		select {
		case r.wake <- struct{}{}:
		default: // it is on its way
		}
	}
}

// reclaim closes all instances at rest and returns how many.
func (r *Runtime) reclaim() (closed int) {
	for _, m := range r.loaded() {
		m.pool.resetUsed()
		closed += m.pool.trim(time.Now().Add(time.Hour), 0)
	}
	return closed
}

func (r *Runtime) loaded() []*Module {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*Module, 0, len(r.modules))
	for m := range r.modules {
		list = append(list, m)
	}
	return list
}

// isCalled tells whether a call is under way.
func (r *Runtime) isCalled() bool {
	return slices.ContainsFunc(r.loaded(), func(m *Module) bool {
		s := m.Pool()
		return s.Instances > s.Idle
	})
}

// takeMemory counts n bytes more, or fewer, and tells whether there is room.
func (r *Runtime) takeMemory(n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n > 0 && r.memory+n > r.options.MemoryBytes {
		return false
	}
	r.memory += n
	return true
}

// MemoryBytes is what the memories of all instances have now.
func (r *Runtime) MemoryBytes() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.memory
}

// Close frees all compiled code. Modules should be closed before.
func (r *Runtime) Close(ctx context.Context) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.mu.Unlock()
	close(r.stop)
	<-r.done
	return errors.Join(r.wazero.Close(ctx), r.cache.Close(ctx), r.removeTemporary())
}

// Load checks, rewrites and compiles a module. name is for messages. An error
// that is no [Error] is the host's, not the module's.
func (r *Runtime) Load(ctx context.Context, name string, wasm []byte, limits Limits) (_ *Module, err error) {
	limits = limits.withDefaults()
	invalid := func(format string, args ...any) error {
		return &Error{Kind: KindInvalid, Module: name, Message: clip(fmt.Sprintf(format, args...), mostMessage)}
	}
	over := func(limit, format string, args ...any) error {
		return &Error{Kind: KindLimit, Limit: limit, Module: name, Message: clip(fmt.Sprintf(format, args...), mostMessage)}
	}
	if len(wasm) > limits.ModuleBytes {
		return nil, over("module", "the module has %d bytes; the limit is %d", len(wasm), limits.ModuleBytes)
	}
	if len(wasm) < 8 || string(wasm[:4]) != "\x00asm" {
		return nil, invalid("is no WebAssembly: it does not begin with \\0asm; build it with GOOS=wasip1 GOARCH=wasm or your language's wasm target")
	}
	if string(wasm[4:8]) != "\x01\x00\x00\x00" {
		return nil, invalid("is WebAssembly of another version or a component; a core module of version 1 is needed")
	}
	defer func() { // a compiler must not take the daemon down, whatever it is fed
		if p := recover(); p != nil {
			err = invalid("can't be compiled: %v", p)
		}
	}()
	sum := sha256.Sum256(wasm)
	digest := hex.EncodeToString(sum[:])
	info, code, compiling, err := r.build(ctx, digest, wasm, limits)
	if no := new(refusal); errors.As(err, &no) {
		if no.limit != "" {
			return nil, over(no.limit, "%s", no.message)
		}
		return nil, invalid("%s", no.message)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, &Error{Kind: KindCancelled, Module: name, Message: "was not loaded: " + ctx.Err().Error(), Err: ctx.Err()}
		}
		return nil, err
	}
	m := &Module{runtime: r, info: info, compiled: code, name: name, digest: digest, size: len(wasm), compiling: compiling, limits: limits}
	m.pool.module = m
	m.resettable = true
	for _, g := range info.Globals {
		switch g.Type {
		case 0x7b: // the API can't set all of it
			m.resettable = false
		case 0x70, 0x6f:
			m.references = true
		}
	}
	info.Wasm = nil
	m.exports = map[string]bool{}
	for name, f := range m.compiled.module.ExportedFunctions() {
		if !strings.HasPrefix(name, rewrite.Reserved) {
			m.exports[name] = callable(f)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.modules[m] = true
	return m, nil
}

// mostTargets bounds the br_tables of a function.
const mostTargets = 20_000

// build rewrites and compiles a module, or takes it from the cache. A refusal
// is the module's error, any other the host's. compiling is what compiling took,
// 0 where the code was there.
func (r *Runtime) build(ctx context.Context, digest string, wasm []byte, l Limits) (info *rewrite.Result, c *compiled, compiling time.Duration, err error) {
	o := rewrite.Options{
		Meter: true, Track: true, DetachData: true, MaxPages: l.pages(), MaxTable: uint32(l.TableEntries),
		MaxFunctions: l.Functions, MaxBody: l.FunctionBytes, MaxTargets: mostTargets,
	}
	key := rewrittenKey(digest, o)
	if len(r.options.Compiler) == 0 {
		if info, err = r.rewritten(key, wasm, o); err != nil {
			return nil, nil, 0, err
		}
		if err := offered(info); err != nil {
			return nil, nil, 0, err
		}
		bounded, cancel := context.WithTimeoutCause(ctx, l.CompileTime, errCompileTime)
		defer cancel()
		began := time.Now()
		c, err = r.compile(bounded, info.Wasm)
		compiling = time.Since(began)
		if err != nil && errors.Is(context.Cause(bounded), errCompileTime) {
			err = tookTooLong(l)
		}
		return info, c, compiling, err
	}
	// The compiler looks at its context before each function, so one that is
	// over already leaves only what the cache has.
	over, cancel := context.WithCancel(ctx)
	cancel()
	info, c, err = r.cached(over, key)
	if no := new(refusal); err == nil || errors.As(err, &no) || errors.Is(err, errSandboxClosed) {
		return info, c, 0, err
	}
	began := time.Now()
	if err := r.compileApart(ctx, key, wasm, o, l); err != nil {
		return nil, nil, 0, err
	}
	compiling = time.Since(began)
	if info, c, err = r.cached(over, key); err != nil && !errors.Is(err, errSandboxClosed) {
		if no := new(refusal); !errors.As(err, &no) {
			err = fmt.Errorf("what the compiler %s made can't be used (%w): is it of another version than this process?", r.options.Compiler[0], err)
		}
	}
	return info, c, compiling, err
}

// cached takes a module from the cache on disk.
func (r *Runtime) cached(over context.Context, key string) (*rewrite.Result, *compiled, error) {
	info := r.kept(r.rewrittenFile(key))
	if info == nil {
		return nil, nil, errNotCached
	}
	if err := offered(info); err != nil {
		return nil, nil, err
	}
	c, err := r.compile(over, info.Wasm)
	return info, c, err
}

var (
	errNotCached     = errors.New("it is not in the cache")
	errSandboxClosed = errors.New("the sandbox is closed")
)

func offered(info *rewrite.Result) error {
	if len(info.Imports) > 0 {
		return refuse("imports what is not offered: %s", strings.Join(info.Imports, ", "))
	}
	return nil
}

// compile returns the code of rewritten bytes, compiled once for all who use
// the same.
func (r *Runtime) compile(ctx context.Context, wasm []byte) (*compiled, error) {
	sum := sha256.Sum256(wasm)
	key := hex.EncodeToString(sum[:])
	if c, err := r.known(key); c != nil || err != nil {
		return c, err
	}
	// With workers the compiler looks at the context between functions.
	module, err := r.wazero.CompileModule(experimental.WithCompilationWorkers(ctx, compileWorkers), wasm)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		return nil, refuse("is no valid WebAssembly: %v", err)
	}
	if err := checkImports(module); err != nil {
		return nil, errors.Join(refuse("%v", err), r.drop(ctx, key, module))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.compiled[key]; c != nil { // somebody was faster; both share the code
		c.users++
		return c, nil
	}
	c := &compiled{module, key, 1}
	r.compiled[key] = c
	return c, nil
}

const compileWorkers = 2

func (r *Runtime) known(key string) (*compiled, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errSandboxClosed
	}
	c := r.compiled[key]
	if c != nil {
		c.users++
	}
	return c, nil
}

// drop closes a module that was refused, unless its code is in use.
func (r *Runtime) drop(ctx context.Context, key string, m wazero.CompiledModule) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.compiled[key] != nil {
		return nil
	}
	return m.Close(ctx)
}

// Module is a compiled module. It may be called from many goroutines at once.
type Module struct {
	runtime  *Runtime
	info     *rewrite.Result
	compiled *compiled
	name     string
	digest   string
	size     int
	// compiling is what compiling took, 0 where it was in the cache.
	compiling time.Duration
	limits    Limits
	pool      pool
	template  template
	// exports are the exported functions, and whether each can be called.
	exports map[string]bool
	// resettable tells that all of an instance's state can be put back;
	// references that some of it can't be copied to another instance.
	resettable, references bool

	calls sync.WaitGroup
	once  sync.Once
}

// template is the pristine state that new instances are made with.
type template struct {
	mu               sync.Mutex
	frozen, forkable bool
	pristine
}

// CompileTime is what it took to compile the module, 0 where its code was in the
// cache.
func (m *Module) CompileTime() time.Duration { return m.compiling }

// Exports lists the exported functions that can be called: those without
// parameters and with at most one i32 as result.
func (m *Module) Exports() []string {
	var names []string
	for name, can := range m.exports {
		if can && name != "_initialize" && name != "_start" {
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

// Pool tells how the module's instances are doing.
func (m *Module) Pool() PoolStats { return m.pool.stats() }

// Close waits for the calls under way, closes the instances and frees the code
// if nobody else uses the same bytes. The module can't be called afterwards.
func (m *Module) Close(ctx context.Context) error {
	var err error
	m.once.Do(func() {
		m.calls.Wait()
		m.pool.close()
		if t := &m.template; t.forkable && t.image != nil {
			t.image.free()
		}
		r := m.runtime
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.modules, m)
		m.compiled.users--
		if m.compiled.users == 0 && !r.closed {
			delete(r.compiled, m.compiled.key)
			err = m.compiled.module.Close(ctx)
		}
	})
	return err
}
