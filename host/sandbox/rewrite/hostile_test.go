package rewrite_test

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tetratelabs/wazero"

	"github.com/provosthq/provost/host/sandbox/rewrite"
)

// What rewriting takes is bounded by the size of the module, whatever its
// blocks and locals are: it happens before any limit of time.
func TestRewritingTakesMemoryInProportionToTheModule(t *testing.T) {
	const many, locals = 20_000, 40_000
	number := func(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }
	sized := func(b []byte) []byte { return slices.Concat(number(len(b)), b) }
	each := func(n int, instructions func(i int) []byte) (all []byte) {
		for i := range n {
			all = append(all, instructions(i)...)
		}
		return all
	}
	// As many assignments as given, in as many blocks as given.
	within := func(blocks, assigned int, open ...byte) []byte {
		assignments := each(assigned, func(i int) []byte { return slices.Concat([]byte{0x41, 0, 0x21}, number(i)) })
		return slices.Concat(bytes.Repeat(open, blocks), assignments, bytes.Repeat([]byte{0x0b}, blocks))
	}
	for name, body := range map[string][]byte{
		"assignments within nested loops":  within(990, locals, 0x03, 0x40),
		"assignments within nested blocks": within(9900, 300, 0x02, 0x40),
		"assignments within nested ifs":    within(9900, 300, 0x41, 1, 0x04, 0x40),
		"loops one after the other":        bytes.Repeat([]byte{0x03, 0x40, 0x41, 0, 0x21, 0, 0x0b}, many),
		"branches":                         bytes.Repeat([]byte{0x41, 0, 0x0d, 0}, many),
		"stores to addresses of all kinds": each(many, func(i int) []byte {
			return slices.Concat([]byte{0x20}, number(i), []byte{0x42, 0, 0x37, 3}, number(i))
		}),
	} {
		t.Run(name, func(t *testing.T) {
			function := slices.Concat([]byte{1}, number(locals), []byte{0x7f}, body, []byte{0x0b})
			wasm := slices.Concat([]byte("\x00asm\x01\x00\x00\x00"), []byte{
				1, 4, 1, 0x60, 0, 0, // a type
				3, 2, 1, 0, // a function
				5, 4, 1, 1, 1, 16, // a memory
				10}, sized(slices.Concat([]byte{1}, sized(function))))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err := rewrite.Rewrite(wasm, rewrite.Options{Meter: true, Track: true})
			runtime.ReadMemStats(&after)
			require.NoError(t, err)
			taken := after.TotalAlloc - before.TotalAlloc
			t.Logf("%d bytes, rewritten %d, took %d", len(wasm), len(r.Wasm), taken)
			require.Less(t, taken, uint64(400*len(wasm)))
		})
	}
}

// A section of many small entries takes an engine a hundred times its size.
func TestSectionsHaveABoundedNumberOfEntries(t *testing.T) {
	const most = 100_000
	for name, c := range map[string]struct {
		id   byte
		item code
	}{
		"type":    {1, code{0x60, 0, 0}},
		"import":  {2, code{1, 'm', 0, 3, i32, 0}},
		"table":   {4, code{funcref, 0, 0}},
		"global":  {6, code{i32, 0, 0x41, 0, 0x0b}},
		"element": {9, code{1, 0, 0}},
		"data":    {11, code{1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			rewritten := func(n int) error {
				section := new(code).u32(uint32(n)).op(bytes.Repeat(c.item, n)...)
				_, err := rewrite.Rewrite(*new(code).op([]byte("\x00asm\x01\x00\x00\x00")...).op(c.id).bytes(*section), everything)
				return err
			}
			require.NoError(t, rewritten(most))
			var e *rewrite.Error
			require.ErrorAs(t, rewritten(most+1), &e)
			require.Equal(t, "entries", e.Limit)
			require.Contains(t, e.Message, "the "+name+" section has 100001 entries; the limit is 100000")
		})
	}
	t.Run("export", func(t *testing.T) {
		rewritten := func(n int) error {
			b := buildWithMemory()
			for i := range n {
				b.export(strconv.Itoa(i), 2, 0)
			}
			_, err := rewrite.Rewrite(b.wasm(), everything)
			return err
		}
		require.NoError(t, rewritten(most))
		var e *rewrite.Error
		require.ErrorAs(t, rewritten(most+1), &e)
		require.Equal(t, "entries", e.Limit)
	})
}

// Two bytes of code can hand on as many values as their type has. A compiler
// has to make something of each: 16 KB took it a gigabyte.
func TestValuesHandedOnAtOnceAreBounded(t *testing.T) {
	const wide, most = 1000, 1_000_000
	values := bytes.Repeat([]byte{i32}, wide)
	constants := new(code)
	for range wide {
		constants.i32(0)
	}
	for name, body := range map[string]func(n int) code{
		"results of calls": func(n int) code {
			return bytes.Repeat(*new(code).block(0x02, void).call(0).u(0x0c, 0).end(), n)
		},
		"results of indirect calls": func(n int) code {
			return bytes.Repeat(*new(code).block(0x02, void).i32(0).u(0x11, 0, 0).u(0x0c, 0).end(), n)
		},
		"operands of blocks": func(n int) code {
			return *new(code).op(*constants...).op(bytes.Repeat(code{0x02, 1, 0x0b}, n/2)...).op(0x00)
		},
		"operands of branches": func(n int) code {
			return *new(code).op(0x02, 0).op(*constants...).op(bytes.Repeat(code{0x41, 0, 0x0d, 0}, n)...).end().op(0x00)
		},
		"operands of branches to a loop": func(n int) code {
			return *new(code).op(*constants...).op(0x03, 1).op(bytes.Repeat(code{0x41, 0, 0x0d, 0}, n)...).end().op(0x00)
		},
		"operands of branches out of the function": func(n int) code {
			return *new(code).op(*constants...).op(bytes.Repeat(code{0x41, 0, 0x0d, 0}, n)...)
		},
		"operands of the targets of a table": func(n int) code {
			return *new(code).op(0x02, 0).op(*constants...).i32(0).u(0x0e, uint32(n-1)).op(make([]byte, n)...).end().op(0x00)
		},
	} {
		t.Run(name, func(t *testing.T) {
			rewritten := func(n int) error {
				b := buildWithMemory()
				b.typed(nil, values)
				b.typed(values, values)
				b.table(funcref, 1, 1)
				b.function(nil, values, nil, code{0x00})
				b.function(nil, values, nil, append(body(n), 0x00))
				wasm := b.wasm()
				r, err := rewrite.Rewrite(wasm, everything)
				if err == nil {
					w, failed := newWorld(wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features), nil)
					require.NoError(t, failed)
					defer w.close()
					_, failed = w.runtime.CompileModule(w.ctx, r.Wasm)
					require.NoError(t, failed)
				}
				return err
			}
			require.NoError(t, rewritten(most/wide/10))
			var e *rewrite.Error
			require.ErrorAs(t, rewritten(most/wide+100), &e)
			require.Equal(t, "values", e.Limit)
		})
	}
	single := buildWithMemory()
	single.function(nil, []byte{i32}, nil, *new(code).op(bytes.Repeat(*new(code).call(0).op(0x1a), most+1)...).i32(0))
	_, err := rewrite.Rewrite(single.wasm(), everything)
	require.NoError(t, err, "one value for each instruction is what code is made of")
}
