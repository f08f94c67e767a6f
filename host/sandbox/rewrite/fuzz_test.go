package rewrite_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tetratelabs/wazero"

	"github.com/provosthq/provost/host/sandbox/rewrite"
)

// Whatever the bytes are, Rewrite does not panic, and the engine takes what it
// returns exactly where it takes the bytes themselves.
func FuzzRewrite(f *testing.F) {
	for _, wasm := range smallModules(f) {
		f.Add(wasm, uint8(3))
	}
	for seed := range uint64(40) {
		if g := generate(seed); len(g.wasm) < 1200 {
			f.Add(g.wasm, uint8(seed))
		}
	}
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features))
	f.Cleanup(func() { _ = r.Close(ctx) })
	f.Fuzz(func(t *testing.T, wasm []byte, bits uint8) {
		o := rewrite.Options{Meter: bits&1 != 0, Track: bits&2 != 0, DetachData: bits&4 != 0}
		result, err := rewrite.Rewrite(wasm, o)
		if (err != nil || bytes.Contains(wasm, []byte("\x04name"))) && largeNumber(wasm) {
			return // the engine trusts counts, and might take all memory
		}
		before := compiles(ctx, r, wasm)
		if err != nil {
			var e *rewrite.Error
			require.ErrorAs(t, err, &e)
			require.NotEmpty(t, e.Message)
			require.True(t, before != nil || deliberate(e, wasm), "the engine takes it, and it is refused: %v", err)
			return
		}
		after := compiles(ctx, r, result.Wasm)
		if before != nil && after == nil {
			// What custom sections say does not count.
			before = compiles(ctx, r, withoutCustomSections(wasm))
		}
		require.Equal(t, before == nil, after == nil, "before: %v, after: %v", before, after)
	})
}

// deliberate tells errors about what the engine would take: it reads types of
// another proposal without being told to, some malformed ones, and knows nothing of what is
// reserved here.
func deliberate(e *rewrite.Error, wasm []byte) bool {
	if bytes.HasSuffix(wasm[:e.Offset], []byte{12, 0}) {
		return true // a data count section without a count
	}
	if e.Limit != "" || strings.Contains(e.Message, "reserved") {
		return true
	}
	for _, begin := range []string{"the value type ", "a table of the type ", "a null of the type "} {
		if strings.HasPrefix(e.Message, begin) {
			return true
		}
	}
	return false
}

// largeNumber tells whether there may be a number above 2^21.
func largeNumber(wasm []byte) bool {
	run := 0
	for _, b := range wasm {
		if run++; b < 0x80 {
			run = 0
		}
		if run == 3 {
			return true
		}
	}
	return false
}

func compiles(ctx context.Context, r wazero.Runtime, wasm []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the engine panics: %v", p)
		}
	}()
	c, err := r.CompileModule(ctx, wasm)
	if err != nil {
		return err
	}
	return c.Close(ctx)
}

func withoutCustomSections(wasm []byte) []byte {
	out := append([]byte{}, wasm[:8]...)
	for rest := wasm[8:]; len(rest) > 0; {
		size, n := binary.Uvarint(rest[1:])
		end := 1 + n + int(size)
		if rest[0] != 0 {
			out = append(out, rest[:end]...)
		}
		rest = rest[end:]
	}
	return out
}

// smallModules are some of the official test suite.
func smallModules(t testing.TB) (list [][]byte) {
	files, err := filepath.Glob(filepath.Join(mustSpecDir(t), "*/testdata/*.wasm"))
	require.NoError(t, err)
	for i, f := range files {
		if i%20 != 0 {
			continue
		}
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		if len(b) < 600 {
			list = append(list, b)
		}
	}
	require.NotEmpty(t, list)
	return list
}
