package sandbox

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/provosthq/provost/host/sandbox/rewrite"
	"github.com/provosthq/provost/plugins"
)

// BenchmarkOverhead calls the same guest again and again without a reset:
// as it is, metered, and metered with marks.
func BenchmarkOverhead(b *testing.B) {
	wasm, ok := plugins.Builtin("scim")
	require.True(b, ok)
	for name, o := range map[string]rewrite.Options{"plain": {}, "metered": {Meter: true}, "tracked": {Track: true, MaxPages: 1024}, "both": {Meter: true, Track: true, MaxPages: 1024}} {
		b.Run(name, func(b *testing.B) {
			ctx := context.Background()
			r, err := New(ctx, Options{})
			require.NoError(b, err)
			defer r.Close(ctx)
			info, err := rewrite.Rewrite(wasm, o)
			require.NoError(b, err)
			c, err := r.wazero.CompileModule(ctx, info.Wasm)
			require.NoError(b, err)
			i := &instance{owner: &Module{runtime: r}, kernel: newKernel(DefaultLimits())}
			i.kernel.instance = i
			i.ctx = context.WithValue(ctx, kernelKey{}, i.kernel)
			i.kernel.begin(ctx, nil, Env{})
			i.memory = &linear{runtime: r}
			i.module, err = r.wazero.InstantiateModule(experimental.WithMemoryAllocator(i.ctx, i.memory), c, wazero.NewModuleConfig().WithName("").WithStartFunctions())
			require.NoError(b, err)
			if g, ok := i.module.ExportedGlobal(rewrite.Fuel).(api.MutableGlobal); ok {
				i.fuel = g
			}
			call := func(export string, in []byte, env Env) {
				i.kernel.begin(ctx, in, env)
				if i.fuel != nil {
					i.fuel.Set(1_000_000)
				}
				_, err := i.module.ExportedFunction(export).Call(i.ctx)
				require.NoError(b, err)
			}
			call("_initialize", nil, Env{})
			in, env := create(10), created(10)
			for range 20 {
				call("create", in, env)
			}
			for b.Loop() {
				call("create", in, env)
			}
		})
	}
}
