package rewrite_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/provosthq/provost/host/sandbox/rewrite"
)

// Whatever the bytes are, where they are a module its functions do the same
// metered and tracked as they do without, as far as a bound of fuel lets them.
func FuzzExecution(f *testing.F) {
	for _, wasm := range smallModules(f) {
		f.Add(wasm)
	}
	for seed := range uint64(40) {
		f.Add(generate(seed).wasm)
	}
	f.Fuzz(func(t *testing.T, wasm []byte) {
		// With as little memory as a fuzzer can have.
		bounds := rewrite.Options{MaxPages: 16, MaxTable: 1000}
		if _, err := rewrite.Rewrite(wasm, bounds); err != nil {
			return
		}
		metered, tracked := bounds, bounds
		metered.Meter = true
		tracked.Meter, tracked.Track, tracked.DetachData = true, true, true
		var want *execution
		// The metered ones come first: those that don't end are not run without.
		for _, o := range []rewrite.Options{metered, tracked, bounds} {
			most := math.MaxInt
			if want != nil {
				most = len(want.steps)
			}
			got, err := execute(wasm, o, most)
			require.NoError(t, err, "%+v", o)
			if len(got.steps) == 0 {
				return
			}
			if want == nil {
				want = got
			}
			both := min(len(want.steps), len(got.steps))
			require.Equal(t, want.steps[:both], got.steps[:both], "%+v", o)
			if want.cut || got.cut {
				continue
			}
			if o.Meter {
				require.Equal(t, want.fuel, got.fuel, "%+v", o)
			}
			require.True(t, bytes.Equal(want.memory, got.memory), "%+v: the memory differs", o)
		}
	})
}

// execution is what the exported functions of a module did, until one did not
// end, or needed more stack than there is.
type execution struct {
	steps  []string
	cut    bool
	fuel   int64
	memory []byte
}

// execute calls the exported functions of a module, rewritten, for so many
// steps.
func execute(wasm []byte, o rewrite.Options, most int) (*execution, error) {
	config := wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features).WithCloseOnContextDone(!o.Meter)
	w, err := newWorld(config, &o)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if w.slice, w.most = 500, 20; !o.Meter {
		ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
		defer cancel()
		w.ctx = ctx
	}
	if err := w.offerStep(); err != nil {
		return nil, err
	}
	e := &execution{}
	note := func(format string, args ...any) { e.steps = append(e.steps, fmt.Sprintf(format, args...)) }
	bounded := func(err error) bool {
		return err != nil && (strings.Contains(err.Error(), errFuel.Error()) || strings.Contains(err.Error(), "stack overflow"))
	}
	g, err := w.instantiate(wasm, "")
	if err != nil && (bounded(err) || !strings.HasPrefix(trapKind(err), "wasm error")) {
		e.cut = true // or it is not valid, or imports what is not there
		return e, nil
	}
	note("instantiated: %s", trapKind(err))
	if err != nil {
		return e, nil
	}
	exported := g.module.ExportedFunctionDefinitions()
	random := rand.New(rand.NewPCG(1, 2))
	for _, name := range slices.Sorted(maps.Keys(exported)) {
		params := exported[name].ParamTypes()
		if strings.HasPrefix(name, rewrite.Reserved) || slices.ContainsFunc(params, func(t api.ValueType) bool { return t == funcref || t == externref }) {
			continue
		}
		if len(e.steps) >= most {
			e.cut = true
			return e, nil
		}
		results, err := g.module.ExportedFunction(name).Call(w.ctx, arguments(random, params)...)
		if bounded(err) {
			e.cut = true
			return e, nil
		}
		if errors.Is(w.ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("%s ends metered, and not without", name)
		}
		words := results
		for _, t := range exported[name].ResultTypes() {
			switch {
			case err != nil:
			case t == v128:
				words = words[2:]
			default:
				if (t == funcref || t == externref) && words[0] != 0 {
					words[0] = 1 // a pointer of the engine's
				}
				words = words[1:]
			}
		}
		note("%s: %x %s", name, results, trapKind(err))
		if err := w.checkMarks(); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if g.info.HasMemory {
		e.memory = bytes.Clone(contents(g.module.Memory()))
	}
	if o.Meter {
		e.fuel = w.granted - int64(g.module.ExportedGlobal(rewrite.Fuel).Get())
	}
	return e, nil
}
