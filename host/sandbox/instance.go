package sandbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/provosthq/provost/host/sandbox/rewrite"
)

const (
	chunkBytes = rewrite.ChunkBytes
	// mostGrown is how many bytes beyond the pristine size are made zero by
	// hand; more are given back to the system.
	mostGrown  = 256 << 10
	cheapReset = 40 * time.Microsecond
)

// instance is one instance of a module. One goroutine has it at a time.
type instance struct {
	owner   *Module
	module  api.Module
	kernel  *kernel
	ctx     context.Context // carries the kernel to the host functions
	memory  *linear         // nil for a module without one
	fuel    api.MutableGlobal
	stale   api.MutableGlobal
	hidden  api.MutableGlobal
	refused api.MutableGlobal
	arm     api.Function
	collect api.Function
	exports map[string]api.Function
	globals []api.MutableGlobal
	pristine
	own bool // the image is this instance's alone

	// written has a bit for each chunk that the host wrote since the last
	// reset, and while resetting for those that the guest marked.
	written []uint64
	stack   [1]uint64
	freed   bool
	// cheap tells that its last reset was quicker than moving the memory of
	// another instance into this core's caches.
	cheap bool
	// pure tells that it is in its pristine state.
	pure bool
	// idleSince is when it came to rest in the pool.
	idleSince time.Time
}

// pristine is the state that every call begins with.
type pristine struct {
	image  *image
	values []uint64 // of the mutable globals
	pages  uint32
}

// linear is a guest's linear memory.
type linear struct {
	runtime *Runtime
	mapping *mapping
	size    int
	err     error
}

// Allocate implements experimental.MemoryAllocator, for one memory.
func (l *linear) Allocate(_, most uint64) experimental.LinearMemory {
	l.mapping, l.err = newMapping(int(most))
	if l.err != nil {
		l.mapping = &mapping{}
	}
	return l
}

// Reallocate implements experimental.LinearMemory. It returns nil where all
// sandboxes together would have more memory than they may.
func (l *linear) Reallocate(size uint64) []byte {
	if int(size) > len(l.mapping.b) || !l.runtime.takeMemory(int64(size)-int64(l.size)) {
		if l.size == 0 { // the first: wazero does not expect it to fail
			if l.err == nil {
				l.err = errMemory
			}
			return make([]byte, size)
		}
		return nil
	}
	l.size = int(size)
	return l.mapping.b[:size]
}

// Free implements experimental.LinearMemory.
func (l *linear) Free() {
	l.runtime.takeMemory(-int64(l.size))
	l.size = 0
	if l.mapping != nil {
		l.mapping.free()
	}
}

func (i *instance) bytes() []byte {
	if i.memory == nil {
		return nil
	}
	return i.memory.mapping.b[:i.memory.size]
}

// visible is the size of the memory as the guest sees it.
func (i *instance) visible() int64 {
	if i.memory == nil {
		return 0
	}
	return int64(i.memory.size) - int64(i.hidden.Get())*pageBytes
}

// refusedGrowth is by how many bytes the guest last asked to grow its memory
// and could not.
func (i *instance) refusedGrowth() int64 {
	if i.memory == nil || i.refused == nil { // it ended before it began
		return 0
	}
	return int64(uint32(i.refused.Get())) * pageBytes
}

// makeInstance is newInstance that, where all sandboxes together have no room
// for another, takes the instances away that are at rest.
func (m *Module) makeInstance(ctx context.Context) (*instance, error) {
	i, err := m.newInstance(ctx)
	if errors.Is(err, errMemory) && m.runtime.reclaim() > 0 {
		i, err = m.newInstance(ctx)
	}
	return i, err
}

// newInstance makes an instance in the pristine state: a copy of the module's
// first one, or by running its start-up where that can't be copied.
func (m *Module) newInstance(ctx context.Context) (_ *instance, err error) {
	m.template.mu.Lock()
	defer m.template.mu.Unlock()
	t := &m.template
	if t.frozen && t.forkable {
		i, err := m.instantiate(ctx)
		if err != nil {
			return nil, err
		}
		i.pristine = t.pristine
		if i.memory != nil {
			if grow := int64(t.pages) - int64(i.memory.size/pageBytes); grow > 0 {
				if _, ok := i.module.Memory().Grow(uint32(grow)); !ok {
					i.close()
					return nil, errMemory
				}
			}
			i.image.over(i.memory.mapping)
		}
		i.setGlobals()
		i.clean()
		return i, nil
	}
	i, err := m.instantiate(ctx)
	if err != nil {
		return nil, err
	}
	if err := i.startUp(ctx); err != nil {
		i.close()
		return nil, err
	}
	if warm := m.runtime.options.Warm; warm != "" && m.exported(warm) == nil {
		if err := i.run(ctx, warm, nil, Env{}); err != nil {
			// It may not work without the world: then without.
			i.close()
			if i, err = m.instantiate(ctx); err != nil {
				return nil, err
			}
			if err := i.startUp(ctx); err != nil {
				i.close()
				return nil, err
			}
		}
	}
	i.freeze()
	if !t.frozen {
		t.frozen = true
		if t.forkable = m.resettable && i.stale.Get() == 0 && !m.references; t.forkable {
			t.pristine = i.pristine
			i.own = false
		}
	}
	i.stale.Set(0)
	i.clean()
	return i, nil
}

// instantiate makes an instance that has not run its start-up.
func (m *Module) instantiate(ctx context.Context) (_ *instance, err error) {
	i := &instance{owner: m, kernel: newKernel(m.limits, m.runtime.turns), exports: map[string]api.Function{}}
	i.kernel.instance = i
	i.ctx = context.WithValue(context.Background(), kernelKey{}, i.kernel)
	create := context.WithValue(ctx, kernelKey{}, i.kernel)
	if m.info.HasMemory {
		i.memory = &linear{runtime: m.runtime}
		create = experimental.WithMemoryAllocator(create, i.memory)
		i.written = make([]uint64, (m.info.Chunks+63)/64)
	}
	i.kernel.begin(ctx, nil, Env{})
	defer func() {
		i.kernel.rest()
		if p := recover(); p != nil { // a fault of the engine must stay in the call
			err = fmt.Errorf("the engine failed: %v", p)
		}
		if err != nil && i.module == nil && i.memory != nil && i.memory.mapping != nil {
			i.memory.Free()
		}
	}()
	i.module, err = m.runtime.wazero.InstantiateModule(create, m.compiled.module, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		if i.memory != nil && i.memory.err != nil {
			return nil, i.memory.err
		}
		return nil, m.explain(ctx, "", i, 0, err)
	}
	global := func(name string) api.MutableGlobal {
		g, _ := i.module.ExportedGlobal(name).(api.MutableGlobal)
		return g
	}
	i.fuel, i.stale, i.hidden, i.refused = global(rewrite.Fuel), global(rewrite.Stale), global(rewrite.Hidden), global(rewrite.Refused)
	for _, g := range m.info.Globals {
		i.globals = append(i.globals, global(rewrite.GlobalName(g.Index)))
	}
	if i.memory != nil {
		if i.memory.err != nil {
			i.close()
			return nil, i.memory.err
		}
		i.arm, i.collect = i.module.ExportedFunction(rewrite.Arm), i.module.ExportedFunction(rewrite.Collect)
		if !m.template.frozen || !m.template.forkable {
			for _, s := range m.info.Data {
				if uint64(s.Offset)+uint64(len(s.Bytes)) > uint64(i.memory.size) {
					i.close()
					return nil, fmt.Errorf("a data segment of %d bytes at %d lies outside of the memory of %d bytes", len(s.Bytes), s.Offset, i.memory.size)
				}
				copy(i.bytes()[s.Offset:], s.Bytes)
			}
		}
	}
	return i, nil
}

// startUp runs the module's start-up: its start function has run where it has
// one, now what a reactor exports for it.
func (i *instance) startUp(ctx context.Context) error {
	if i.module.ExportedFunction("_initialize") == nil {
		return nil
	}
	if err := i.run(ctx, "_initialize", nil, Env{}); err != nil {
		i.kernel.printed.flush()
		return i.owner.explain(ctx, "", i, 0, err)
	}
	return nil
}

// run calls an export that has no parameters. The result is in i.stack.
func (i *instance) run(ctx context.Context, export string, input []byte, env Env) (err error) {
	f := i.exports[export]
	if f == nil {
		f = i.module.ExportedFunction(export)
		i.exports[export] = f
	}
	k := i.kernel
	k.begin(ctx, input, env)
	i.fuel.Set(uint64(k.firstSlice()))
	defer func() {
		if p := recover(); p != nil { // a fault of the engine must stay in the call
			err = fmt.Errorf("the engine failed: %v", p)
		}
		k.rest()
		k.ended(int64(i.fuel.Get()))
	}()
	i.stack[0] = 0
	err = f.CallWithStack(i.ctx, i.stack[:])
	if err != nil && strings.HasPrefix(err.Error(), "stack overflow") || err != nil && strings.Contains(err.Error(), "wasm error: stack overflow") {
		k.overflowed = true // its stack has grown; the next call shall not keep it
	}
	return err
}

// freeze makes the state as it is now the pristine one.
func (i *instance) freeze() {
	i.own = true
	i.values = make([]uint64, len(i.globals))
	for n, g := range i.globals {
		i.values[n] = g.Get()
	}
	if i.memory == nil {
		i.image = &image{}
		return
	}
	i.pages = uint32(i.memory.size / pageBytes)
	i.image = newImage(i.bytes())
	i.image.over(i.memory.mapping)
}

// clean forgets what was written: the state is the pristine one.
func (i *instance) clean() {
	clear(i.written)
	if i.memory != nil {
		if err := i.arm.CallWithStack(i.ctx, i.stack[:]); err != nil {
			panic(fmt.Sprintf("sandbox: %s: the marks can't be taken away: %v", i.owner.name, err))
		}
		i.refused.Set(0)
	}
	i.kernel.end()
	i.pure = true
}

func (i *instance) setGlobals() {
	for n, g := range i.globals {
		if g.Get() != i.values[n] {
			g.Set(i.values[n])
		}
	}
}

// wrote notes the chunk n as written by the host.
func (i *instance) wrote(n uint32) {
	if n/64 < uint32(len(i.written)) {
		i.written[n/64] |= 1 << (n % 64)
	}
}

// marks takes the guest's marks over into written. They come at the beginning
// of the memory, which so counts as written. A mark stands for its chunk and
// the next, modulo their number.
func (i *instance) marks() {
	if err := i.collect.CallWithStack(i.ctx, i.stack[:]); err != nil {
		panic(fmt.Sprintf("the marks can't be read: %v", err))
	}
	list := i.bytes()[:4*uint32(i.stack[0])]
	for n := 0; n < len(list); n += chunkBytes {
		i.wrote(uint32(n / chunkBytes))
	}
	last := i.owner.info.Chunks - 1
	for ; len(list) > 0; list = list[4:] {
		n := binary.LittleEndian.Uint32(list)
		i.wrote(n)
		i.wrote((n + 1) & last)
	}
}

// unfit tells that the instance can't be reset: the guest changed a table,
// dropped a segment, or grew its stack to the end.
func (i *instance) unfit() bool {
	return !i.owner.resettable || i.stale.Get() != 0 || i.kernel.overflowed
}

// reset puts the instance back into the pristine state. It is false where that
// can't be done, and the instance has to be closed.
func (i *instance) reset() (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			i.owner.runtime.options.Logger.Error("sandbox: an instance can't be reset", "module", i.owner.name, "error", fmt.Sprint(p))
			ok = false
		}
	}()
	if i.unfit() {
		return false
	}
	begin := time.Now()
	defer func() {
		i.owner.pool.resets.Add(1)
		took := time.Since(begin)
		i.cheap = took < cheapReset
		i.owner.pool.resetTime.Add(int64(took))
	}()
	i.setGlobals()
	if i.memory != nil {
		i.marks()
		i.restore()
		i.hidden.Set(uint64(uint32(i.memory.size/pageBytes) - i.pages))
		i.refused.Set(0)
	}
	i.kernel.end()
	return true
}

// restore copies the pristine bytes over the chunks that were written.
func (i *instance) restore() {
	b := i.bytes()
	pristineChunks := len(i.image.b) / chunkBytes
	grown := 0
	for w, set := range i.written {
		if set == 0 {
			continue
		}
		i.written[w] = 0
		for ; set != 0; set &= set - 1 {
			c := w*64 + bits.TrailingZeros64(set)
			from := c * chunkBytes
			switch {
			case c < pristineChunks:
				copy(b[from:from+chunkBytes], i.image.b[from:])
			case from < len(b):
				if grown += chunkBytes; grown <= mostGrown {
					clear(b[from : from+chunkBytes])
				}
			}
		}
	}
	if grown > mostGrown {
		i.memory.mapping.discard(len(i.image.b), len(b))
	}
}

// close gives everything back.
func (i *instance) close() {
	if i.freed {
		return
	}
	i.freed = true
	if i.module != nil {
		_ = i.module.Close(context.Background()) // it has no more to say
	}
	if i.memory != nil {
		i.memory.Free()
	}
	if i.own && i.image != nil {
		i.image.free()
	}
}

// exported tells why an export can't be called; nil if it can.
func (m *Module) exported(export string) error {
	switch can, there := m.exports[export]; {
	case can:
		return nil
	case there:
		return fmt.Errorf("the export %q has parameters or a result that is no i32; an operation has none of both or one i32", export)
	default:
		return fmt.Errorf("the module does not export %q; it exports %s", export, strings.Join(m.Exports(), ", "))
	}
}
