package rewrite_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/provosthq/provost/host/sandbox/rewrite"
)

// Generated modules do the same before and after rewriting: results, traps,
// memory and globals. Fuel depends on nothing but the module and its input:
// not on tracking, nor on how it is granted. All that was written is marked.
// PROVOST_GENERATED_MODULES is how many are made, PROVOST_GENERATED_FROM the
// seed of the first.
func TestGeneratedModulesAreEquivalent(t *testing.T) {
	number := func(name string, otherwise int) int {
		if s := os.Getenv(name); s != "" {
			n, err := strconv.Atoi(s)
			require.NoError(t, err, name)
			return n
		}
		return otherwise
	}
	count := 2000
	if testing.Short() {
		count = 200
	}
	count, from := number("PROVOST_GENERATED_MODULES", count), number("PROVOST_GENERATED_FROM", 1)
	var next atomic.Int64
	next.Store(int64(from))
	var total equivalence
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 4) {
		workers.Go(func() {
			c, err := newComparison()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.close()
			for !t.Failed() {
				seed := next.Add(1) - 1
				if seed >= int64(from+count) {
					break
				}
				g := generate(uint64(seed))
				if err := c.compare(uint64(seed), g); err != nil {
					t.Errorf("seed %d: %v", seed, err)
					if dir := os.Getenv("PROVOST_GENERATED_KEEP"); dir != "" {
						t.Error(os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.wasm", seed)), g.wasm, 0o600))
					}
				}
			}
			mu.Lock()
			total.add(&c.equivalence)
			mu.Unlock()
		})
	}
	workers.Wait()
	t.Logf("%d modules of %d bytes: %d calls, %d trapped, %d chunks changed, %d refills, %d units of fuel", total.modules, total.bytes, total.calls, total.traps, total.changed, total.refills, total.fuel)
	require.Equal(t, count, total.modules)
	// The modules must do something, or nothing is compared.
	require.Greater(t, total.calls, total.modules)
	require.Less(t, total.traps, total.calls*3/4)
	require.Greater(t, total.changed, total.modules)
}

// equivalence counts what was compared.
type equivalence struct{ modules, bytes, calls, traps, changed, refills, fuel int }

func (e *equivalence) add(o *equivalence) {
	e.modules += o.modules
	e.bytes += o.bytes
	e.calls += o.calls
	e.traps += o.traps
	e.changed += o.changed
	e.refills += o.refills
	e.fuel += o.fuel
}

// comparison has a world for modules as they are and some for rewritten ones.
type comparison struct {
	equivalence
	engines [][]*world
}

var comparedOptions = []*rewrite.Options{
	nil,
	{Meter: true, Track: true},
	{Meter: true, Track: true, DetachData: true, MaxPages: 65536, MaxTable: 64},
	{Meter: true},
}

func newComparison() (*comparison, error) {
	c := &comparison{}
	for _, config := range []wazero.RuntimeConfig{wazero.NewRuntimeConfigCompiler(), wazero.NewRuntimeConfigInterpreter()} {
		var worlds []*world
		for i, o := range comparedOptions {
			w, err := newWorld(config.WithCoreFeatures(features), o)
			if err != nil {
				return nil, err
			}
			if i == 1 {
				w.slice = 300
			}
			if err := w.offerStep(); err != nil {
				return nil, err
			}
			worlds = append(worlds, w)
		}
		c.engines = append(c.engines, worlds)
	}
	return c, nil
}

func (c *comparison) close() {
	for _, worlds := range c.engines {
		for _, w := range worlds {
			_ = w.close()
		}
	}
}

// compare runs a module in all worlds of an engine.
func (c *comparison) compare(seed uint64, g *generated) (err error) {
	worlds := c.engines[1]
	if compiled(seed) {
		worlds = c.engines[0]
	}
	c.modules++
	c.bytes += len(g.wasm)
	var guests []*guest
	defer func() {
		for _, g := range guests {
			g.close()
		}
	}()
	random := rand.New(rand.NewPCG(seed, 2))
	var first string
	for i, w := range worlds {
		w.granted, w.refills = 0, 0
		guest, err := w.instantiate(g.wasm, "")
		if i == 0 {
			first = trapKind(err)
		} else if now := trapKind(err); now != first {
			return fmt.Errorf("instantiated with %+v: %q, as it is: %q\n%v", *w.options, now, first, err)
		}
		if guest != nil {
			guests = append(guests, guest)
		}
	}
	if first != "" {
		if first[0] != 'w' {
			return fmt.Errorf("is not valid: %s", first)
		}
		c.traps++
		return nil
	}
	for n := range 2 * len(g.functions) {
		f := n % len(g.functions)
		args := arguments(random, g.functions[f].params)
		if err := c.call(guests, g, f, args); err != nil {
			return fmt.Errorf("call %d, f%d%x: %w", n, f, args, err)
		}
	}
	return nil
}

func (c *comparison) call(guests []*guest, g *generated, f int, args []uint64) error {
	var results []uint64
	var failure, state string
	var memory []byte
	fuel := int64(-1)
	for i, guest := range guests {
		w := guest.world
		guest.module.ExportedGlobal("g0").(api.MutableGlobal).Set(budgetOfACall)
		got, err := guest.module.ExportedFunction(fmt.Sprintf("f%d", f)).Call(w.ctx, args...)
		clean(got, g.functions[f].results)
		failed := trapKind(err)
		now := guest.state(g)
		if i == 0 {
			results, failure, state, memory = got, failed, now, contents(guest.module.Memory())
			c.calls++
			if failed != "" {
				c.traps++
			}
			continue
		}
		differ := func(format string, args ...any) error {
			return fmt.Errorf("with %+v: %s", *w.options, fmt.Sprintf(format, args...))
		}
		if failed != failure {
			return differ("it ended with %q, as it is with %q", failed, failure)
		}
		if !slices.Equal(got, results) {
			return differ("it returned %x, as it is %x", got, results)
		}
		if now != state {
			return differ("its globals are %s, as it is %s", now, state)
		}
		if m := contents(guest.module.Memory()); !bytes.Equal(m, memory) {
			at := 0
			for at < len(m) && at < len(memory) && m[at] == memory[at] {
				at++
			}
			return differ("its memory of %d bytes, as it is %d, differs at %#x", len(m), len(memory), at)
		}
		if err := w.checkMarks(); err != nil {
			return differ("%v", err)
		}
		used := w.granted - int64(guest.module.ExportedGlobal(rewrite.Fuel).Get())
		if fuel < 0 {
			fuel = used
		} else if used != fuel {
			return differ("it used %d units of fuel so far, with %+v %d", used, *guests[1].world.options, fuel)
		}
		c.changed += w.changed
		c.refills += w.refills
		w.changed, w.refills = 0, 0
	}
	c.fuel += int(fuel)
	return nil
}

// budgetOfACall is how many calls may be made within one.
const budgetOfACall = 60

// clean takes away what stands beside values of 32 bits.
func clean(values []uint64, types []byte) {
	for _, t := range types {
		if len(values) == 0 {
			return
		}
		switch t {
		case i32, f32:
			values[0] &= 1<<32 - 1
		case v128:
			values = values[1:]
		}
		values = values[1:]
	}
}

// trapKind is what a trap says, without where it was.
func trapKind(err error) string {
	if err == nil {
		return ""
	}
	if strings.HasSuffix(trap(err), "]: out of bounds memory access") || errors.Is(err, errDataOutOfBounds) {
		return "wasm error: a data segment is out of bounds"
	}
	if m := withoutPosition(trap(err)); m != "" {
		return m
	}
	return trap(err)
}

// state are the globals.
func (g *guest) state(of *generated) string {
	var b []byte
	for _, name := range of.globals {
		b = fmt.Appendf(b, "%x ", g.module.ExportedGlobal(name).Get())
	}
	return string(b)
}

// arguments are values for parameters: small, large, addresses.
func arguments(r *rand.Rand, params []byte) (list []uint64) {
	for _, t := range params {
		n := r.Uint64() >> r.IntN(64)
		if r.IntN(2) == 0 {
			n = uint64(4096*(1+r.IntN(15)) + r.IntN(40) - 20)
		}
		switch t {
		case i32:
			list = append(list, uint64(uint32(n)))
		case i64:
			list = append(list, n)
		case f32:
			list = append(list, api.EncodeF32(float32(r.IntN(1000))/8))
		case f64:
			list = append(list, api.EncodeF64(float64(r.IntN(1000))/8))
		case v128:
			list = append(list, n, r.Uint64())
		}
	}
	return list
}

// The generator is only worth what it covers.
func TestGeneratedModulesCoverTheRewriter(t *testing.T) {
	seen := map[uint64]bool{}
	for seed := range uint64(50) {
		g := generate(seed)
		again := generate(seed)
		require.Equal(t, hex.EncodeToString(g.wasm), hex.EncodeToString(again.wasm), "the same seed leads to the same module")
		r, err := rewrite.Rewrite(g.wasm, rewrite.Options{Meter: true, Track: true})
		require.NoError(t, err)
		require.NotZero(t, r.Charges)
		seen[uint64(r.Marks)] = true
	}
	require.Greater(t, len(seen), 10)
}
