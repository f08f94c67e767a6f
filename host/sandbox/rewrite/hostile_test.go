package rewrite_test

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

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
