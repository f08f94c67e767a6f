package rewrite_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/provosthq/provost/host/sandbox/rewrite"
)

// features are those of the sandbox.
const features = api.CoreFeaturesV2 | experimental.CoreFeaturesTailCall | experimental.CoreFeaturesExtendedConst

const pageBytes = 64 << 10

// world is a runtime whose modules are all rewritten in the same way, or not
// at all.
type world struct {
	ctx     context.Context
	runtime wazero.Runtime
	options *rewrite.Options // nil: modules stay as they are
	// slice is what refill grants; granted and refills are what guests got so
	// far, changed is how many chunks checkMarks found changed.
	slice            int64
	most             int // refills; 0 is no limit
	granted          int64
	refills, changed int

	memories map[api.Memory]*tracked
	order    []*tracked
}

// tracked is a memory as it was at the last look, and the instances that mark
// what they write there.
type tracked struct {
	memory  api.Memory
	before  []byte
	writers []writer
}

type writer struct {
	collect api.Function
	chunks  uint32
}

func newWorld(config wazero.RuntimeConfig, options *rewrite.Options) (*world, error) {
	w := &world{ctx: context.Background(), options: options, slice: 1 << 40, memories: map[api.Memory]*tracked{}}
	w.runtime = wazero.NewRuntimeWithConfig(w.ctx, config)
	refill := func(_ context.Context, stack []uint64) { stack[0] = uint64(w.refill(int64(stack[0]))) }
	_, err := w.runtime.NewHostModuleBuilder(rewrite.Module).NewFunctionBuilder().
		WithGoFunction(api.GoFunc(refill), []api.ValueType{api.ValueTypeI64}, []api.ValueType{api.ValueTypeI64}).
		Export(rewrite.Refill).Instantiate(w.ctx)
	return w, err
}

func (w *world) refill(fuel int64) int64 {
	w.refills++
	w.granted += w.slice
	if w.most > 0 && w.refills > w.most {
		panic(errFuel)
	}
	return fuel + w.slice
}

// offerStep offers the function that generated modules import.
func (w *world) offerStep() error {
	step := func(_ context.Context, stack []uint64) { stack[0] = uint64(uint32(stack[0])*31 + 7) }
	_, err := w.runtime.NewHostModuleBuilder("env").NewFunctionBuilder().
		WithGoFunction(api.GoFunc(step), []api.ValueType{api.ValueTypeI32}, []api.ValueType{api.ValueTypeI32}).
		Export("step").Instantiate(w.ctx)
	return err
}

func (w *world) close() error { return w.runtime.Close(w.ctx) }

// guest is an instance.
type guest struct {
	world  *world
	module api.Module
	info   *rewrite.Result // nil where it was not rewritten
}

var errFuel = errors.New("the fuel is used up")

var errDataOutOfBounds = errors.New("a data segment is out of bounds")

// instantiate rewrites and instantiates a module, and does what a host has to
// do then: apply detached data, and take the first marks away.
func (w *world) instantiate(wasm []byte, name string) (*guest, error) {
	g := &guest{world: w}
	if w.options != nil {
		var err error
		if g.info, err = rewrite.Rewrite(wasm, *w.options); err != nil {
			return nil, err
		}
		wasm = g.info.Wasm
	}
	var err error
	g.module, err = w.runtime.InstantiateWithConfig(w.ctx, wasm, wazero.NewModuleConfig().WithName(name).WithStartFunctions())
	w.see() // a failed one may have written to a memory of others
	if err != nil {
		return nil, err
	}
	if g.info == nil {
		return g, nil
	}
	for _, s := range g.info.Data {
		if uint64(s.Offset)+uint64(len(s.Bytes)) > uint64(len(contents(g.module.Memory()))) {
			return nil, errors.Join(errDataOutOfBounds, g.module.Close(w.ctx))
		}
		copy(contents(g.module.Memory())[s.Offset:], s.Bytes)
	}
	if arm := g.module.ExportedFunction(rewrite.Arm); arm != nil {
		if _, err := arm.Call(w.ctx); err != nil {
			return nil, err
		}
		memory := g.module.Memory()
		m := w.memories[memory]
		if m == nil {
			m = &tracked{memory: memory}
			w.memories[memory] = m
			w.order = append(w.order, m)
		}
		m.before = bytes.Clone(contents(memory))
		m.writers = append(m.writers, writer{g.module.ExportedFunction(rewrite.Collect), g.info.Chunks})
	}
	return g, nil
}

// close ends the instance, and forgets its memory where it is its own.
func (g *guest) close() {
	if memory := g.module.Memory(); memory != nil && g.world.memories[memory] != nil {
		delete(g.world.memories, memory)
		g.world.order = slices.DeleteFunc(g.world.order, func(m *tracked) bool { return m.memory == memory })
	}
	_ = g.module.Close(g.world.ctx)
}

// contents is a view of all of a memory.
func contents(m api.Memory) []byte {
	if m == nil {
		return nil
	}
	pages, ok := m.Grow(0)
	if !ok {
		return nil
	}
	b, ok := m.Read(0, uint32(min(uint64(pages)*pageBytes, math.MaxUint32)))
	if !ok {
		return nil
	}
	return b
}

// see takes the memories as they are for what marks are compared with.
func (w *world) see() {
	for _, m := range w.order {
		if now := contents(m.memory); !bytes.Equal(m.before, now) {
			m.before = bytes.Clone(now)
		}
	}
}

// checkMarks tells whether everything that was written since the last look is
// marked, and takes the marks away.
func (w *world) checkMarks() error {
	for _, m := range w.order {
		changed, err := m.check(w.ctx)
		if err != nil {
			return err
		}
		w.changed += changed
	}
	return nil
}

func (m *tracked) check(ctx context.Context) (changed int, err error) {
	b := contents(m.memory)
	head := bytes.Clone(b[:min(len(b), (len(b)>>rewrite.ChunkBits+1)*4)])
	marked := map[uint32]bool{}
	for _, writer := range m.writers {
		results, err := writer.collect.Call(ctx)
		if err != nil {
			return 0, fmt.Errorf("collect: %w", err)
		}
		n := int(uint32(results[0]))
		if n*4 > len(head) {
			return 0, fmt.Errorf("collect returned %d marks for %d bytes", n, len(b))
		}
		for i := range n {
			chunk := binary.LittleEndian.Uint32(b[4*i:])
			if chunk >= writer.chunks {
				return 0, fmt.Errorf("chunk %d of %d is marked", chunk, writer.chunks)
			}
			marked[chunk] = true
			marked[(chunk+1)%writer.chunks] = true
		}
		copy(b, head)
		if results, err = writer.collect.Call(ctx); err != nil || results[0] != 0 {
			return 0, fmt.Errorf("a second look finds %v marks: %v", results, err)
		}
	}
	var missed []int
	for at := 0; at < len(b); at += rewrite.ChunkBytes {
		now := b[at:min(at+rewrite.ChunkBytes, len(b))]
		was := zeros[:len(now)]
		if at < len(m.before) {
			was = m.before[at : at+len(now)]
		}
		if bytes.Equal(now, was) {
			continue
		}
		changed++
		if !marked[uint32(at>>rewrite.ChunkBits)] {
			missed = append(missed, at>>rewrite.ChunkBits)
		}
		if at < len(m.before) {
			copy(m.before[at:], now)
		}
	}
	if len(m.before) < len(b) {
		m.before = bytes.Clone(b)
	}
	if missed != nil {
		return 0, fmt.Errorf("the chunks %d were written and not marked", missed)
	}
	return changed, nil
}

var zeros [rewrite.ChunkBytes]byte

// trap is the first line of an error of wazero's, which says what it is.
func trap(err error) string {
	if err == nil {
		return ""
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return strings.TrimSuffix(line, " (recovered by wazero)")
}

// specDir is where the official test suite lies: in wazero's own module.
var specDir = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		return "", fmt.Errorf("where the module cache has wazero: %w", err)
	}
	return strings.TrimSpace(string(out)) + "/internal/integration_test/spectest", nil
})

func mustSpecDir(t testing.TB) string {
	dir, err := specDir()
	require.NoError(t, err)
	return dir
}
