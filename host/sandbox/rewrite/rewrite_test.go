package rewrite_test

import (
	"bytes"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/provosthq/provost/host/sandbox/rewrite"
)

var everything = rewrite.Options{Meter: true, Track: true, DetachData: true}

// run instantiates a module, rewritten.
func run(t *testing.T, wasm []byte, o rewrite.Options) *guest {
	t.Helper()
	w, err := newWorld(wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features), &o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.close()) })
	g, err := w.instantiate(wasm, "")
	require.NoError(t, err)
	return g
}

func (g *guest) call(t *testing.T, name string, args ...uint64) []uint64 {
	t.Helper()
	results, err := g.module.ExportedFunction(name).Call(g.world.ctx, args...)
	require.NoError(t, err)
	return results
}

func (g *guest) global(name string) api.MutableGlobal {
	return g.module.ExportedGlobal(name).(api.MutableGlobal)
}

// fuel is what a call uses up.
func (g *guest) fuel(t *testing.T, name string, args ...uint64) int64 {
	t.Helper()
	f := g.global(rewrite.Fuel)
	f.Set(1 << 40)
	g.call(t, name, args...)
	return 1<<40 - int64(f.Get())
}

func TestATrapNamesTheGuestsFunctions(t *testing.T) {
	b := &build{}
	b.host("provost:test", "nothing", nil, nil)
	inner := b.function(nil, nil, nil, *new(code).op(0x00))
	outer := b.function(nil, nil, nil, *new(code).call(inner))
	b.memory(1, 1)
	b.export("run", 0, outer)
	b.names = map[uint32]string{0: "nothing", inner: "goes_wrong", outer: "asks_for_it"}
	o := rewrite.Options{Meter: true, Track: true}
	w, err := newWorld(wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features), &o)
	require.NoError(t, err)
	defer w.close()
	_, err = w.runtime.NewHostModuleBuilder("provost:test").NewFunctionBuilder().WithFunc(func() {}).Export("nothing").Instantiate(w.ctx)
	require.NoError(t, err)
	g, err := w.instantiate(b.wasm(), "")
	require.NoError(t, err)
	_, err = g.module.ExportedFunction("run").Call(w.ctx)
	require.ErrorContains(t, err, "goes_wrong")
	require.ErrorContains(t, err, "asks_for_it")
	require.Less(t, strings.Index(err.Error(), "goes_wrong"), strings.Index(err.Error(), "asks_for_it"))
}

func TestNamesThatCannotBeReadAreDropped(t *testing.T) {
	with := func(subsections ...code) []byte {
		b := &build{}
		b.memory(1, 1)
		b.export("run", 0, b.function(nil, nil, nil, nil))
		b.tail.op(0).bytes(*new(code).name("name").join(subsections))
		return b.wasm()
	}
	good := *new(code).op(0).bytes(*new(code).name("the module"))
	functions := func(list ...code) code { return *new(code).op(1).bytes(*new(code).list(list)) }
	for name, names := range map[string][]code{
		"a function that is none":   {good, functions(*new(code).u32(1).name("dropped"))},
		"an index beyond all":       {good, functions(*new(code).u32(1<<32 - 1).name("dropped"))},
		"no UTF-8":                  {good, functions(*new(code).u32(0).name("dropped\xff"))},
		"more than it says":         {good, append(functions(), 0)},
		"twice":                     {good, *new(code).op(0).bytes(*new(code).name("dropped"))},
		"a name longer than it can": {good, *new(code).op(1).bytes(code{1, 0, 200, 1, 'd'})},
		"something behind it":       {good, *new(code).op(1).bytes(append(*new(code).list(nil), "dropped"...))},
	} {
		t.Run(name, func(t *testing.T) {
			g := run(t, with(names...), everything)
			g.call(t, "run")
			require.Contains(t, string(g.info.Wasm), "the module")
			require.NotContains(t, string(g.info.Wasm), "dropped")
		})
	}
}

func TestAStartFunctionFindsItsDataInPlace(t *testing.T) {
	b := &build{}
	b.memory(1, 1)
	seen := b.global(i32, true, *new(code).i32(0))
	start := b.function(nil, nil, nil, *new(code).i32(8).u(0x28, 2, 0).u(0x24, seen))
	b.start = &start
	b.data(8, []byte{1, 2, 3, 4})
	g := run(t, b.wasm(), everything)
	require.Equal(t, uint64(0x04030201), g.global(rewrite.GlobalName(seen)).Get())
	require.False(t, g.info.Detached)
	require.Empty(t, g.info.Data)
}

func TestDetachedDataIsNoLongerInTheModule(t *testing.T) {
	b := &build{dataCount: true}
	b.memory(1, 1)
	b.data(8, []byte("active data"))
	b.passiveData([]byte("passive data"))
	b.data(9, []byte("over it"))
	b.export("run", 0, b.function(nil, nil, nil, *new(code).i32(100).i32(0).i32(12).x(0xfc, 8, 1, 0)))
	r, err := rewrite.Rewrite(b.wasm(), everything)
	require.NoError(t, err)
	require.True(t, r.Detached)
	require.Equal(t, []rewrite.Segment{{Offset: 8, Bytes: []byte("active data")}, {Offset: 9, Bytes: []byte("over it")}}, r.Data)
	require.False(t, bytes.Contains(r.Wasm, []byte("active data")))
	g := run(t, b.wasm(), everything)
	g.call(t, "run")
	require.Equal(t, "aover itata", string(contents(g.module.Memory())[8:19]))
	require.Equal(t, "passive data", string(contents(g.module.Memory())[100:112]), "the indexes of segments stay")
}

func TestReservedNamesAreRefused(t *testing.T) {
	for name, build := range map[string]func(b *build){
		"export":        func(b *build) { b.export("provost:fuel", 0, b.function(nil, nil, nil, nil)) },
		"any export":    func(b *build) { b.export("provost:anything", 2, 0) },
		"import module": func(b *build) { b.host(rewrite.Module, "anything", nil, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			b := buildWithMemory()
			build(b)
			_, err := rewrite.Rewrite(b.wasm(), rewrite.Options{})
			var e *rewrite.Error
			require.ErrorAs(t, err, &e)
			require.Contains(t, e.Message, "reserved")
			require.Empty(t, e.Limit)
		})
	}
}

func buildWithMemory() *build {
	b := &build{}
	b.memory(1, 4)
	return b
}

func TestLimitsAreRefusedByName(t *testing.T) {
	for _, c := range []struct {
		limit  string
		at     rewrite.Options // is enough
		above  rewrite.Options // is not
		module func(b *build)
	}{
		{"memory", rewrite.Options{MaxPages: 3}, rewrite.Options{MaxPages: 2}, func(b *build) { b.memory(3, -1) }},
		{"table_entries", rewrite.Options{MaxTable: 10}, rewrite.Options{MaxTable: 9}, func(b *build) { b.table(funcref, 10, -1) }},
		{"functions", rewrite.Options{MaxFunctions: 2}, rewrite.Options{MaxFunctions: 1}, func(b *build) {
			b.function(nil, nil, nil, nil)
			b.function(nil, nil, nil, nil)
		}},
		{"function", rewrite.Options{MaxBody: 4}, rewrite.Options{MaxBody: 3}, func(b *build) { b.function(nil, nil, nil, code{0x01, 0x01}) }},
		{"targets", rewrite.Options{MaxTargets: 2}, rewrite.Options{MaxTargets: 1}, func(b *build) {
			b.function(nil, nil, nil, *new(code).i32(0).u(0x0e, 2, 0, 0, 0))
		}},
	} {
		t.Run(c.limit, func(t *testing.T) {
			b := &build{}
			c.module(b)
			_, err := rewrite.Rewrite(b.wasm(), c.at)
			require.NoError(t, err)
			_, err = rewrite.Rewrite(b.wasm(), c.above)
			var e *rewrite.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, c.limit, e.Limit)
		})
	}
	for name, locals := range map[string][]byte{
		"one group":                bytes.Repeat([]byte{i32}, 50_001),
		"with what would be added": bytes.Repeat([]byte{i64}, 50_000),
	} {
		t.Run("locals in "+name, func(t *testing.T) {
			b := buildWithMemory()
			b.function(nil, nil, locals, *new(code).i32(0).i32(0).i32(9).x(0xfc, 11, 0))
			_, err := rewrite.Rewrite(b.wasm(), everything)
			var e *rewrite.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, "locals", e.Limit)
		})
	}
}

func TestGrowthIsBounded(t *testing.T) {
	b := &build{}
	b.memory(1, -1)
	b.table(funcref, 1, -1)
	b.export("memory", 0, b.function([]byte{i32}, []byte{i32}, nil, *new(code).get(0).u(0x40, 0)))
	b.export("table", 0, b.function([]byte{i32}, []byte{i32}, nil, *new(code).op(0xd0, funcref).get(0).x(0xfc, 15, 0)))
	o := everything
	o.MaxPages, o.MaxTable = 3, 5
	g := run(t, b.wasm(), o)
	for name, most := range map[string]uint64{"memory": 3, "table": 5} {
		require.Equal(t, uint64(1), g.call(t, name, most-1)[0])
		require.Equal(t, int32(-1), int32(g.call(t, name, 1)[0]))
		require.Equal(t, most, g.call(t, name, 0)[0])
	}
}

// An index one past the end must not be one of what rewriting adds.
func TestAnIndexOnePastTheEndIsRefused(t *testing.T) {
	const functions, globals, tables, types, datas, elements = 3, 2, 2, 2, 1, 1
	body := func(c *code) func(b *build, f uint32) {
		return func(b *build, _ uint32) { b.define([]byte{i32}, *c) }
	}
	for name, c := range map[string]struct {
		last  uint32
		place func(i uint32) func(b *build, f uint32)
	}{
		"call":        {functions - 1, func(i uint32) func(*build, uint32) { return body(new(code).call(i)) }},
		"return_call": {functions - 1, func(i uint32) func(*build, uint32) { return body(new(code).u(0x12, i)) }},
		"ref.func":    {functions - 1, func(i uint32) func(*build, uint32) { return body(new(code).u(0xd2, i).op(0x1a)) }},
		"function export": {functions - 1, func(i uint32) func(*build, uint32) {
			return func(b *build, _ uint32) { b.export("x", 0, i); b.define(nil, nil) }
		}},
		"start": {functions - 1, func(i uint32) func(*build, uint32) {
			return func(b *build, _ uint32) { b.start = &i; b.define(nil, nil) }
		}},
		"element": {functions - 1, func(i uint32) func(*build, uint32) {
			return func(b *build, _ uint32) { b.element(0, i); b.define(nil, nil) }
		}},
		"element expression": {functions - 1, func(i uint32) func(*build, uint32) {
			return func(b *build, _ uint32) {
				b.elements = append(b.elements, *new(code).op(4).i32(0).end().op(1).u(0xd2, i).end())
				b.define(nil, nil)
			}
		}},
		"global's value": {functions - 1, func(i uint32) func(*build, uint32) {
			return func(b *build, _ uint32) { b.global(funcref, false, *new(code).u(0xd2, i)); b.define(nil, nil) }
		}},
		"global.get": {globals - 1, func(i uint32) func(*build, uint32) { return body(new(code).u(0x23, i).op(0x1a)) }},
		"global.set": {globals - 1, func(i uint32) func(*build, uint32) { return body(new(code).i32(0).u(0x24, i)) }},
		"global export": {globals - 1, func(i uint32) func(*build, uint32) {
			return func(b *build, _ uint32) { b.export("x", 3, i); b.define(nil, nil) }
		}},
		"table.get":  {tables - 1, func(i uint32) func(*build, uint32) { return body(new(code).i32(0).u(0x25, i).op(0x1a)) }},
		"table.set":  {tables - 1, func(i uint32) func(*build, uint32) { return body(new(code).i32(0).op(0xd0, funcref).u(0x26, i)) }},
		"table.size": {tables - 1, func(i uint32) func(*build, uint32) { return body(new(code).x(0xfc, 16, i).op(0x1a)) }},
		"table.grow": {tables - 1, func(i uint32) func(*build, uint32) {
			return body(new(code).op(0xd0, funcref).i32(0).x(0xfc, 15, i).op(0x1a))
		}},
		"table.fill": {tables - 1, func(i uint32) func(*build, uint32) {
			return body(new(code).i32(0).op(0xd0, funcref).i32(0).x(0xfc, 17, i))
		}},
		"table.copy to": {tables - 1, func(i uint32) func(*build, uint32) { return body(new(code).i32(0).i32(0).i32(0).x(0xfc, 14, i, 0)) }},
		"table.copy from": {tables - 1, func(i uint32) func(*build, uint32) {
			return body(new(code).i32(0).i32(0).i32(0).x(0xfc, 14, 0, i))
		}},
		"table.init": {tables - 1, func(i uint32) func(*build, uint32) {
			return body(new(code).i32(0).i32(0).i32(0).x(0xfc, 12, 0, i))
		}},
		"table.init's segment": {elements - 1, func(i uint32) func(*build, uint32) {
			return body(new(code).i32(0).i32(0).i32(0).x(0xfc, 12, i, 0))
		}},
		"elem.drop": {elements - 1, func(i uint32) func(*build, uint32) { return body(new(code).x(0xfc, 13, i)) }},
		"data.drop": {datas - 1, func(i uint32) func(*build, uint32) { return body(new(code).x(0xfc, 9, i)) }},
		"memory.init": {datas - 1, func(i uint32) func(*build, uint32) {
			return body(new(code).i32(0).i32(0).i32(0).x(0xfc, 8, i, 0))
		}},
		"call_indirect's table":        {tables - 1, func(i uint32) func(*build, uint32) { return body(new(code).i32(0).u(0x11, 0, i)) }},
		"return_call_indirect's table": {tables - 1, func(i uint32) func(*build, uint32) { return body(new(code).i32(0).u(0x13, 0, i)) }},
		"call_indirect's type":         {types - 1, func(i uint32) func(*build, uint32) { return body(new(code).i32(0).u(0x11, i, 0)) }},
		"block's type":                 {types - 1, func(i uint32) func(*build, uint32) { return body(new(code).op(0x02).u32(i).end()) }},
		"function's type": {types - 1, func(i uint32) func(*build, uint32) {
			return func(b *build, _ uint32) { b.functions[functions-1] = *new(code).u32(i); b.define(nil, nil) }
		}},
		"table export": {tables - 1, func(i uint32) func(*build, uint32) {
			return func(b *build, _ uint32) { b.export("x", 1, i); b.define(nil, nil) }
		}},
		"element's table": {tables - 1, func(i uint32) func(*build, uint32) {
			return func(b *build, _ uint32) {
				b.elements = append(b.elements, *new(code).op(2).u32(i).i32(0).end().op(0).indexes(nil))
				b.define(nil, nil)
			}
		}},
		"local.get": {0, func(i uint32) func(*build, uint32) { return body(new(code).get(i).op(0x1a)) }},
		"local.set": {0, func(i uint32) func(*build, uint32) { return body(new(code).i32(0).set(i)) }},
		"local.tee": {0, func(i uint32) func(*build, uint32) { return body(new(code).i32(0).u(0x22, i).op(0x1a)) }},
	} {
		t.Run(name, func(t *testing.T) {
			try := func(i uint32) error {
				b := &build{dataCount: true}
				b.typed(nil, nil)
				b.types = append(b.types, b.types[0])
				b.table(funcref, 4, 4)
				b.table(funcref, 4, 4)
				b.memory(1, 1)
				b.global(i32, true, *new(code).i32(0))
				b.global(i32, true, *new(code).i32(0))
				for range functions {
					b.declare(0)
				}
				b.define(nil, *new(code).i32(0).i32(0).u(0x36, 2, 0))
				b.define(nil, nil)
				// All functions are declared as referenced.
				b.elements = append(b.elements, *new(code).op(1, 0).indexes([]uint32{0, 1, 2}))
				c.place(i)(b, 2)
				b.passiveData(nil)
				wasm := b.wasm()
				r, err := rewrite.Rewrite(wasm, everything)
				if err != nil {
					return err
				}
				w, err := newWorld(wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features), nil)
				require.NoError(t, err)
				defer w.close()
				_, err = w.runtime.CompileModule(w.ctx, r.Wasm)
				return err
			}
			require.NoError(t, try(c.last), "the last one")
			var e *rewrite.Error
			require.ErrorAs(t, try(c.last+1), &e)
			require.ErrorAs(t, try(1<<32-1), &e)
		})
	}
}

func TestHiddenPagesAreNotThereForTheGuest(t *testing.T) {
	b := &build{}
	b.memory(3, 6)
	b.export("size", 0, b.function(nil, []byte{i32}, nil, *new(code).u(0x3f, 0)))
	b.export("grow", 0, b.function([]byte{i32}, []byte{i32}, nil, *new(code).get(0).u(0x40, 0)))
	g := run(t, b.wasm(), everything)
	hidden, refused := g.global(rewrite.Hidden), g.global(rewrite.Refused)
	real := func() int { return len(contents(g.module.Memory())) / pageBytes }
	size := func() uint64 { return g.call(t, "size")[0] }
	hidden.Set(2)
	require.Equal(t, uint64(1), size())
	require.Equal(t, uint64(1), g.call(t, "grow", 0)[0])
	require.Equal(t, uint64(1), g.call(t, "grow", 1)[0], "shows one of the hidden pages")
	require.Equal(t, uint64(2), size())
	require.Equal(t, uint64(1), hidden.Get())
	require.Equal(t, 3, real())
	require.Equal(t, uint64(2), g.call(t, "grow", 3)[0], "shows the other one, and grows by two")
	require.Equal(t, uint64(5), size())
	require.Equal(t, uint64(0), hidden.Get())
	require.Equal(t, 5, real())
	hidden.Set(1)
	require.Zero(t, refused.Get())
	require.Equal(t, int32(-1), int32(g.call(t, "grow", 3)[0]))
	require.Equal(t, uint64(3), refused.Get())
	require.Equal(t, uint64(1), hidden.Get(), "a growth that fails changes nothing")
	require.Equal(t, uint64(4), size())
	require.Equal(t, int32(-1), int32(g.call(t, "grow", 1<<32-1)[0]))
	require.Equal(t, 5, real())
}

func TestTheStaleFlagTellsOfTablesAndDroppedSegments(t *testing.T) {
	null := func() *code { return new(code).op(0xd0, funcref) }
	for name, c := range map[string]struct {
		stale bool
		body  *code
	}{
		"table.set":   {true, new(code).i32(0).op(0xd0, funcref).u(0x26, 0)},
		"table.fill":  {true, new(code).i32(0).op(0xd0, funcref).i32(1).x(0xfc, 17, 0)},
		"table.grow":  {true, null().i32(1).x(0xfc, 15, 0).op(0x1a)},
		"table.copy":  {true, new(code).i32(0).i32(1).i32(1).x(0xfc, 14, 0, 0)},
		"table.init":  {true, new(code).i32(0).i32(0).i32(1).x(0xfc, 12, 0, 0)},
		"elem.drop":   {true, new(code).x(0xfc, 13, 0)},
		"data.drop":   {true, new(code).x(0xfc, 9, 0)},
		"table.get":   {false, new(code).i32(0).u(0x25, 0).op(0x1a)},
		"table.size":  {false, new(code).x(0xfc, 16, 0).op(0x1a)},
		"memory.init": {false, new(code).i32(0).i32(0).i32(1).x(0xfc, 8, 0, 0)},
		"memory.fill": {false, new(code).i32(0).i32(0).i32(1).x(0xfc, 11, 0)},
		"memory.grow": {false, new(code).i32(1).u(0x40, 0).op(0x1a)},
		"a store":     {false, new(code).i32(0).i32(0).u(0x36, 2, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			b := &build{dataCount: true}
			b.table(funcref, 4, 8)
			b.memory(1, 2)
			b.passiveElement(0)
			b.passiveData([]byte{1})
			b.export("run", 0, b.function(nil, nil, nil, *c.body))
			g := run(t, b.wasm(), everything)
			require.Zero(t, g.global(rewrite.Stale).Get())
			g.call(t, "run")
			require.Equal(t, c.stale, g.global(rewrite.Stale).Get() != 0)
			require.NoError(t, g.world.checkMarks())
		})
	}
}

func TestFuelIsLinear(t *testing.T) {
	b := &build{}
	b.memory(4, 64)
	count := new(code).block(0x03, void).get(0).get(0).u(0x36, 2, 0).get(0).i32(1).op(0x6b).u(0x22, 0).u(0x0d, 0).end()
	b.export("loop", 0, b.function([]byte{i32}, nil, nil, *count))
	b.export("fill", 0, b.function([]byte{i32}, nil, nil, *new(code).i32(0).i32(7).get(0).x(0xfc, 11, 0)))
	b.export("copy", 0, b.function([]byte{i32}, nil, nil, *new(code).i32(0).i32(9).get(0).x(0xfc, 10, 0, 0)))
	again := b.importedFunctions + uint32(len(b.functions))
	b.export("tail", 0, b.function([]byte{i32}, []byte{i32}, nil, *new(code).
		get(0).op(0x45).block(0x04, void).i32(5).op(0x0f).end().get(0).i32(1).op(0x6b).u(0x12, again)))
	b.export("grow", 0, b.function([]byte{i32}, nil, nil, *new(code).get(0).u(0x40, 0).op(0x1a)))
	g := run(t, b.wasm(), everything)
	for name, unit := range map[string]uint64{"loop": 1, "tail": 1, "fill": 16, "copy": 16} {
		one, two, three := g.fuel(t, name, 1000*unit), g.fuel(t, name, 2000*unit), g.fuel(t, name, 3000*unit)
		require.Equal(t, two-one, three-two, name)
		each := (two - one) / 1000
		require.Equal(t, 1000*each, two-one, name)
		require.Positive(t, each, name)
		require.Less(t, each, int64(20), name)
		require.Equal(t, two, g.fuel(t, name, 2000*unit), "%s: the same again", name)
		require.NoError(t, g.world.checkMarks())
	}
	none := g.fuel(t, "grow", 0)
	require.Equal(t, int64(1024), g.fuel(t, "grow", 1)-none)
	require.Equal(t, int64(2048), g.fuel(t, "grow", 2)-none)
	require.Equal(t, none, g.fuel(t, "grow", 1<<32-1), "what can only fail costs nothing")
}

// Fuel is never less than the instructions that ran, and not much more: a dear
// branch counts when it is taken.
func TestFuelCountsWhatRuns(t *testing.T) {
	pad := func(instructions int) []code { return slices.Repeat([]code{{0x41, 0, 0x1a}}, instructions/2) }
	times := func(n int32, counter uint32, body ...code) *code {
		return new(code).i32(n).set(counter).block(0x03, void).join(body).get(counter).i32(1).op(0x6b).u(0x22, counter).u(0x0d, 0).end()
	}
	branches := func() *code { // the parameter chooses where to go on
		return new(code).block(0x02, void).block(0x02, void).block(0x02, void).get(0).u(0x0e, 2, 0, 1, 2).
			end().join(pad(100)).u(0x0c, 1).end().join(pad(1000)).end()
	}
	for name, c := range map[string]struct {
		body *code
		arg  uint64
		ran  int64
	}{
		"a straight way":         {new(code).join(pad(100)), 0, 100},
		"if, taken":              {new(code).get(0).block(0x04, void).join(pad(100)).end(), 1, 100},
		"if, not taken":          {new(code).get(0).block(0x04, void).join(pad(100)).end(), 0, 2},
		"else, taken":            {new(code).get(0).block(0x04, void).op(0x05).join(pad(100)).end(), 0, 100},
		"else, not taken":        {new(code).get(0).block(0x04, void).op(0x05).join(pad(100)).end(), 1, 2},
		"behind an if":           {new(code).get(0).block(0x04, void).end().join(pad(100)), 0, 100},
		"br_if, taken":           {new(code).block(0x02, void).get(0).u(0x0d, 0).join(pad(100)).end(), 1, 2},
		"br_if, not taken":       {new(code).block(0x02, void).get(0).u(0x0d, 0).join(pad(100)).end(), 0, 100},
		"behind a block":         {new(code).block(0x02, void).get(0).u(0x0d, 0).join(pad(100)).end().join(pad(100)), 1, 100},
		"br_table, first":        {branches(), 0, 103},
		"br_table, second":       {branches(), 1, 1002},
		"br_table, last":         {branches(), 2, 2},
		"return":                 {new(code).get(0).block(0x04, void).op(0x0f).end().join(pad(100)), 1, 3},
		"a loop":                 {times(10, 1, pad(100)...), 0, 1000},
		"nested loops":           {times(10, 1, *times(10, 2, pad(10)...)), 0, 1000},
		"behind a loop":          {times(2, 1).join(pad(100)), 0, 100},
		"a branch in a loop":     {times(10, 1, *new(code).get(0).block(0x04, void).join(pad(100)).end()), 1, 1000},
		"a cheap one in a loop":  {times(100, 1, *new(code).get(0).block(0x04, void).join(pad(2)).end()), 1, 900},
		"a cheap else in a loop": {times(100, 1, *new(code).get(0).block(0x04, void).op(0x05).join(pad(2)).end()), 0, 900},
		"straight into a loop":   {new(code).join(pad(20)).op(*times(1, 1)...), 0, 27},
		"calls":                  {new(code).call(0).call(0), 0, 200},
		"calls in a loop":        {times(10, 1, *new(code).call(0)), 0, 1000},
		"an indirect call":       {new(code).i32(0).u(0x11, 0, 0), 0, 100},
	} {
		t.Run(name, func(t *testing.T) {
			b := &build{}
			b.table(funcref, 1, 1)
			b.element(0, 0)
			b.function(nil, nil, nil, *new(code).join(pad(100)))
			b.export("run", 0, b.function([]byte{i32}, nil, []byte{i32, i32}, *c.body))
			fuel := run(t, b.wasm(), everything).fuel(t, "run", c.arg)
			require.GreaterOrEqual(t, fuel, c.ran)
			require.LessOrEqual(t, fuel, c.ran*2+20)
		})
	}
}

// A tail call leaves no frame behind, metered or not.
func TestTailCallsDoNotFillTheStack(t *testing.T) {
	b := &build{}
	b.memory(1, 1)
	b.table(funcref, 1, 1)
	b.element(0, 1)
	one := []byte{i32}
	next := new(code).get(0).op(0x45).block(0x04, void).i32(5).op(0x0f).end().i32(0).get(0).u(0x36, 2, 0).get(0).i32(1).op(0x6b)
	direct, indirect := append(code{}, *next...), append(code{}, *next...)
	b.export("run", 0, b.function(one, one, nil, *direct.u(0x12, 1)))
	b.function(one, one, nil, *indirect.i32(0).u(0x13, b.typed(one, one), 0))
	for name, config := range map[string]wazero.RuntimeConfig{"compiler": wazero.NewRuntimeConfigCompiler(), "interpreter": wazero.NewRuntimeConfigInterpreter()} {
		t.Run(name, func(t *testing.T) {
			w, err := newWorld(config.WithCoreFeatures(features), &everything)
			require.NoError(t, err)
			defer w.close()
			w.slice = 1000
			g, err := w.instantiate(b.wasm(), "")
			require.NoError(t, err)
			require.Equal(t, uint64(5), g.call(t, "run", 1_000_000)[0])
			require.Greater(t, w.refills, 1000)
		})
	}
}

// However a guest goes on without end, it asks for fuel again and again.
func TestEveryEndlessGuestIsStopped(t *testing.T) {
	const self, other = 0, 1 // functions, and their entries in the table
	for name, body := range map[string]*code{
		"br":                      new(code).block(0x03, void).u(0x0c, 0).end(),
		"br_if":                   new(code).block(0x03, void).i32(1).u(0x0d, 0).end(),
		"br_table":                new(code).block(0x03, void).i32(9).u(0x0e, 2, 0, 0, 0).end(),
		"out of a block":          new(code).block(0x03, void).block(0x02, void).i32(1).u(0x0d, 1).end().end(),
		"out of an if":            new(code).block(0x03, void).i32(1).block(0x04, void).u(0x0c, 1).end().end(),
		"out of an else":          new(code).block(0x03, void).i32(0).block(0x04, void).op(0x05).u(0x0c, 1).end().end(),
		"an outer loop":           new(code).block(0x03, void).block(0x03, void).u(0x0c, 1).end().end(),
		"a loop behind another":   new(code).block(0x03, void).end().block(0x03, void).u(0x0c, 0).end(),
		"a loop with operands":    new(code).i32(1).op(0x03, 1).op(0x1a).i32(1).u(0x0c, 0).end(),
		"within a block":          new(code).block(0x02, void).block(0x03, void).i32(0).u(0x0d, 1).u(0x0c, 0).end().end(),
		"a straight way before":   new(code).i32(0).i32(0).u(0x36, 2, 0).block(0x02, void).block(0x03, void).u(0x0c, 0).end().end(),
		"a long way before":       new(code).join(slices.Repeat([]code{*new(code).i32(0).i32(0).u(0x36, 2, 0)}, 50)).block(0x03, void).u(0x0c, 0).end(),
		"return_call":             new(code).u(0x12, self),
		"return_call_indirect":    new(code).i32(self).u(0x13, 0, 0),
		"return_call in an if":    new(code).i32(1).block(0x04, void).u(0x12, self).end(),
		"return_call to and fro":  new(code).u(0x12, other),
		"a loop that calls":       new(code).block(0x03, void).call(2).u(0x0c, 0).end(),
		"a loop that fills":       new(code).block(0x03, void).i32(0).i32(0).i32(65536).x(0xfc, 11, 0).u(0x0c, 0).end(),
		"a loop that cannot grow": new(code).block(0x03, void).i32(-1).u(0x40, 0).op(0x1a).u(0x0c, 0).end(),
	} {
		t.Run(name, func(t *testing.T) {
			b := &build{}
			b.memory(1, 1)
			b.table(funcref, 2, 2)
			b.element(0, self, other)
			b.export("run", 0, b.function(nil, nil, nil, *body))
			b.typed([]byte{i32}, nil) // the type 1
			b.function(nil, nil, nil, *new(code).u(0x12, self))
			b.function(nil, nil, nil, nil)
			for kind, config := range map[string]wazero.RuntimeConfig{"compiler": wazero.NewRuntimeConfigCompiler(), "interpreter": wazero.NewRuntimeConfigInterpreter()} {
				w, err := newWorld(config.WithCoreFeatures(features), &everything)
				require.NoError(t, err)
				w.slice, w.most = 100, 50
				g, err := w.instantiate(b.wasm(), "")
				require.NoError(t, err)
				_, err = g.module.ExportedFunction("run").Call(w.ctx)
				require.ErrorContains(t, err, errFuel.Error(), kind)
				require.Equal(t, 51, w.refills, kind)
				require.NoError(t, w.checkMarks())
				require.NoError(t, w.close())
			}
		})
	}
	t.Run("a start function", func(t *testing.T) {
		b := &build{}
		start := b.function(nil, nil, nil, *new(code).block(0x03, void).u(0x0c, 0).end())
		b.start = &start
		w, err := newWorld(wazero.NewRuntimeConfigCompiler().WithCoreFeatures(features), &everything)
		require.NoError(t, err)
		defer w.close()
		w.most = 3
		w.slice = 100
		_, err = w.instantiate(b.wasm(), "")
		require.ErrorContains(t, err, errFuel.Error())
	})
}

// What a call returns is only counted: a type with many results must not take
// memory for each call of it.
func TestCallsWithManyResultsTakeLittleMemory(t *testing.T) {
	b := &build{}
	b.memory(1, 1)
	results := bytes.Repeat([]byte{i32}, 1000)
	f := b.declare(b.typed(nil, results))
	b.define(nil, *new(code).op(0x00))
	calls := new(code)
	for range 1000 { // as many as there may be
		calls.call(f)
	}
	b.function(nil, nil, nil, *calls.op(0x00))
	wasm := b.wasm()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := rewrite.Rewrite(wasm, everything)
	runtime.ReadMemStats(&after)
	require.NoError(t, err)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(200*len(wasm)))
}
