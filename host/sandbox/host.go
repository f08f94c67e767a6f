package sandbox

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/provosthq/provost/host/sandbox/rewrite"
)

// userModule is where Extism looks for functions of the host's own.
const userModule = "extism:host/user"

// hostFunction is one that guests may import.
type hostFunction struct {
	signature
	call func(k *kernel, stack []uint64)
}

// hostModules are all that a guest may import from.
var hostModules = func() map[string]map[string]hostFunction {
	modules := map[string]map[string]hostFunction{kernelModule: {}, userModule: {
		// Bytes in bulk, beside the ABI's eight at a time.
		"provost_load": {sig([]api.ValueType{i64, i32, i32}), func(k *kernel, s []uint64) {
			n := uint32(s[2])
			to := k.guestTo(uint32(s[1]), n)
			if to == nil {
				trap("provost_load: %d bytes at %d lie outside of the memory", n, uint32(s[1]))
			}
			if n > 0 {
				k.spend(uint64(n))
				copy(to, k.at(s[0], uint64(n)))
			}
		}},
		"provost_store": {sig([]api.ValueType{i32, i32, i64}), func(k *kernel, s []uint64) {
			n := uint32(s[1])
			from := k.guest(uint32(s[0]), n)
			if from == nil {
				trap("provost_store: %d bytes at %d lie outside of the memory", n, uint32(s[0]))
			}
			if n > 0 {
				k.spend(uint64(n))
				copy(k.change(s[2], uint64(n)), from)
			}
		}},
	}, wasiModule: wasiFunctions}
	for name, s := range kernelSignatures {
		modules[kernelModule][name] = hostFunction{s, kernelFunctions[name]}
	}
	return modules
}()

// instantiateHost makes the host modules once for a runtime: the state of a
// call comes with its context.
func instantiateHost(ctx context.Context, r wazero.Runtime) error {
	for module, functions := range hostModules {
		b := r.NewHostModuleBuilder(module)
		for name, f := range functions {
			b = b.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(ctx context.Context, stack []uint64) {
				k := kernelOf(ctx)
				k.spend(hostCallUnits)
				f.call(k, stack)
			}), f.params, f.results).Export(name)
		}
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("%s: %w", module, err)
		}
	}
	_, err := r.NewHostModuleBuilder(rewrite.Module).
		NewFunctionBuilder().WithGoFunction(api.GoFunc(func(ctx context.Context, s []uint64) {
		s[0] = uint64(kernelOf(ctx).refill(int64(s[0])))
	}), one, []api.ValueType{i64}).Export(rewrite.Refill).Instantiate(ctx)
	return err
}

// checkImports refuses a module that imports what is not offered, and names
// all of it.
func checkImports(m wazero.CompiledModule) error {
	var unknown []string
	for _, f := range m.ImportedFunctions() {
		module, name, _ := f.Import()
		if module == rewrite.Module {
			continue
		}
		want, ok := hostModules[module][name]
		if !ok {
			unknown = append(unknown, module+" "+name)
		} else if !slices.Equal(f.ParamTypes(), want.params) || !slices.Equal(f.ResultTypes(), want.results) {
			return fmt.Errorf("imports %s %s with another signature than there is", module, name)
		}
	}
	for _, mem := range m.ImportedMemories() {
		module, name, _ := mem.Import()
		unknown = append(unknown, module+" "+name+" (memory)")
	}
	if len(unknown) > 0 {
		return fmt.Errorf("imports what is not offered: %s; there is %s and %s", strings.Join(unknown, ", "), kernelModule, wasiModule)
	}
	return nil
}
