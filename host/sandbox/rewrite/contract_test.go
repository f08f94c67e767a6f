package rewrite_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/sandbox/rewrite"
)

func TestMutableGlobalsCanBePutBack(t *testing.T) {
	var b build
	b.global(i32, false, *new(code).i32(1))
	b.global(i32, true, *new(code).i32(2))
	b.global(i64, true, *new(code).i64(3))
	b.global(f64, false, *new(code).op(0x44, 0, 0, 0, 0, 0, 0, 0, 0))
	b.global(v128, true, *new(code).x(0xfd, 12).op(make([]byte, 16)...))
	b.global(externref, true, code{0xd0, externref})
	b.export("set", 0, b.function(nil, nil, nil, *new(code).i32(20).u(0x24, 1).i64(30).u(0x24, 2)))
	b.export("get", 0, b.function(nil, []byte{i32, i64}, nil, *new(code).u(0x23, 1).u(0x23, 2)))
	g := run(t, b.wasm(), rewrite.Options{Track: true})
	require.Equal(t, []rewrite.Global{{Index: 1, Type: i32}, {Index: 2, Type: i64}, {Index: 4, Type: v128}, {Index: 5, Type: externref}}, g.info.Globals)
	g.call(t, "set")
	require.Equal(t, []uint64{20, 30}, g.call(t, "get"))
	g.global(rewrite.GlobalName(1)).Set(2)
	g.global(rewrite.GlobalName(2)).Set(3)
	require.Equal(t, []uint64{2, 3}, g.call(t, "get"))
	require.Nil(t, g.module.ExportedGlobal(rewrite.GlobalName(0)))
}

func TestTablesAndGlobalsFromOutsideAreTold(t *testing.T) {
	var b build
	b.imports = append(b.imports,
		*new(code).name("env").name("entries").op(1, funcref, 0, 1),
		*new(code).name("env").name("counter").op(3, i32, 1))
	r, err := rewrite.Rewrite(b.wasm(), rewrite.Options{Meter: true, Track: true})
	require.NoError(t, err)
	require.Equal(t, []string{"env entries (table)", "env counter (global)"}, r.Imports)
	require.Empty(t, r.Globals, "what is another's is not put back")
}

// What the guest wrote before the marks were armed is known to the host; from
// then on, every chunk is marked once.
func TestMarksTellChunks(t *testing.T) {
	var b build
	b.memory(1, 1)
	b.export("store", 0, b.function([]byte{i32}, nil, nil, *new(code).get(0).i32(7).u(0x36, 2, 0)))
	b.export("fill", 0, b.function([]byte{i32, i32}, nil, nil, *new(code).get(0).i32(7).get(1).x(0xfc, 11, 0)))
	g := run(t, b.wasm(), rewrite.Options{Track: true})
	require.EqualValues(t, 16, g.info.Chunks)
	collect := func() (chunks []uint32) {
		n := uint32(g.call(t, rewrite.Collect)[0])
		for i := range n {
			chunk, ok := g.module.Memory().ReadUint32Le(4 * i)
			require.True(t, ok)
			chunks = append(chunks, chunk)
		}
		return chunks
	}
	require.Empty(t, collect())
	g.call(t, "store", 5*rewrite.ChunkBytes+1000)
	require.Equal(t, []uint32{5}, collect())
	require.Empty(t, collect(), "they are taken away")
	g.call(t, "store", 5*rewrite.ChunkBytes+4)
	require.Equal(t, []uint32{4}, collect(), "a mark stands for two")
	g.call(t, "store", 4)
	require.Equal(t, []uint32{15}, collect(), "before the first is the last")
	g.call(t, "fill", 2*rewrite.ChunkBytes, 3*rewrite.ChunkBytes+1)
	require.Equal(t, []uint32{2, 3, 4, 5}, collect())
	g.call(t, "fill", 2*rewrite.ChunkBytes, 0)
	require.Empty(t, collect())
	for _, address := range []uint64{pageBytes - 3, pageBytes, math.MaxUint32} {
		_, err := g.module.ExportedFunction("store").Call(g.world.ctx, address)
		require.Equal(t, "wasm error: out of bounds memory access", trap(err), "%#x", address)
	}
}

func TestNothingIsAddedThatWasNotAskedFor(t *testing.T) {
	var b build
	b.memory(1, 2)
	b.export("nothing", 0, b.function(nil, nil, nil, nil))
	for _, o := range []rewrite.Options{{}, {Meter: true}, {Track: true}} {
		g := run(t, b.wasm(), o)
		for _, name := range []string{rewrite.Fuel, rewrite.Stale, rewrite.Hidden, rewrite.Refused} {
			require.Equal(t, name == rewrite.Fuel && o.Meter || name != rewrite.Fuel && o.Track, g.module.ExportedGlobal(name) != nil, "%s %+v", name, o)
		}
		for _, name := range []string{rewrite.Arm, rewrite.Collect} {
			require.Equal(t, o.Track, g.module.ExportedFunction(name) != nil, "%s %+v", name, o)
		}
	}
	r, err := rewrite.Rewrite(b.wasm(), rewrite.Options{})
	require.NoError(t, err)
	require.Equal(t, b.wasm(), r.Wasm)
}

// What is malformed is told with its place.
func TestMalformedModulesAreRefusedWithTheirPlace(t *testing.T) {
	const header = "\x00asm\x01\x00\x00\x00"
	for name, c := range map[string]struct {
		wasm    string
		offset  int
		message string
	}{
		"nothing":                     {"", 0, "begin with"},
		"text":                        {"(module)", 0, "begin with"},
		"component":                   {"\x00asm\x0d\x00\x01\x00", 0, "a component"},
		"section longer than it":      {header + "\x01\x05\x00", 10, "the module ends before"},
		"section twice":               {header + "\x01\x01\x00\x01\x01\x00", 14, "wrong place, or twice"},
		"sections in disorder":        {header + "\x03\x01\x00\x01\x01\x00", 14, "wrong place, or twice"},
		"section of no kind":          {header + "\x0e\x01\x00", 11, "no section 14"},
		"section with more in it":     {header + "\x01\x02\x00\x00", 11, "does not end where it says"},
		"list longer than the module": {header + "\x01\x05\xff\xff\xff\xff\x0f", 15, "does not fit"},
		"number of 33 bits":           {header + "\x01\x05\xff\xff\xff\xff\x1f", 15, "too large"},
		"number of 6 bytes":           {header + "\x01\x06\x80\x80\x80\x80\x80\x00", 15, "too large"},
		"function without a body":     {header + "\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00", 18, "1 functions are declared and 0 have a body"},
		"body without an end":         {header + "\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x04\x01\x02\x00\x01", 24, "ends too early"},
		"body with more in it":        {header + "\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x05\x01\x03\x00\x0b\x01", 24, "does not end where it says"},
		"exception tags":              {header + "\x0d\x01\x00", 11, "exception handling is not supported"},
		"two memories":                {header + "\x05\x05\x02\x00\x00\x00\x00", 15, "more than one memory"},
		"shared memory":               {header + "\x05\x04\x01\x03\x01\x01", 14, "a shared or a 64-bit memory"},
		"memory of 64 bits":           {header + "\x05\x03\x01\x04\x01", 12, "64-bit limits"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := rewrite.Rewrite([]byte(c.wasm), rewrite.Options{Meter: true, Track: true})
			var e *rewrite.Error
			require.ErrorAs(t, err, &e)
			require.Contains(t, e.Message, c.message)
			require.Equal(t, c.offset, e.Offset)
			require.Equal(t, fmt.Sprintf("at byte %d: %s", e.Offset, e.Message), err.Error())
		})
	}
}
