package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	extism "github.com/extism/go-sdk"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/provosthq/provost/cmd/provostbench/work"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/host/sandbox/rewrite"
	"github.com/provosthq/provost/pdk"
)

// guest builds the module that is measured.
func guest(ctx context.Context, tags string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "provostbench")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary folder
	file := filepath.Join(dir, "guest.wasm")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-tags", tags, "-o", file, "./cmd/provostbench/guest")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("the guest: %w: %s", err, out)
	}
	return os.ReadFile(file)
}

// samples are the durations of calls, sorted.
type samples []time.Duration

func (s samples) at(percent int) time.Duration { return s[len(s)*percent/100] }

func sample(n int, do func() error) (samples, error) {
	all := make(samples, n)
	for i := range all {
		begin := time.Now()
		if err := do(); err != nil {
			return nil, err
		}
		all[i] = time.Since(begin)
	}
	slices.Sort(all)
	return all, nil
}

const sandboxCalls = 5000

// calls measures one call in the sandbox, metered, with a deadline, from the
// pristine state, against native Go and against go-sdk.
func calls(ctx context.Context) ([]figure, error) {
	wasm, err := guest(ctx, "")
	if err != nil {
		return nil, err
	}
	sb, err := sandbox.New(ctx, sandbox.Options{Warm: "describe"})
	if err != nil {
		return nil, err
	}
	defer sb.Close(ctx)
	m, err := sb.Load(ctx, "guest", wasm, sandbox.Limits{})
	if err != nil {
		return nil, err
	}
	defer m.Close(ctx)
	in := work.Input()
	answer := &sandbox.HTTPResponse{Status: 201, Body: work.Answer}
	env := sandbox.Env{HTTP: func(context.Context, *sandbox.HTTPRequest) *sandbox.HTTPResponse { return answer }}
	create := func() error { _, _, err := m.Call(ctx, "create", in, env); return err }
	if _, err := sample(200, create); err != nil { // warm
		return nil, err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ours, err := sample(sandboxCalls, create)
	if err != nil {
		return nil, err
	}
	runtime.ReadMemStats(&after)
	native := pdk.NewContext(func(string, string, map[string]string, []byte) *pdk.Response {
		return &pdk.Response{Status: 201, Body: work.Answer}
	}, time.Now, func(string, string) {})
	d := pdk.Describe(work.Connector{}, work.Description)
	base, err := sample(sandboxCalls, func() error {
		if _, e := pdk.Handle(native, work.Connector{}, d, pdk.OpCreate, in); e != nil {
			return e
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	plainJSON, err := sample(sandboxCalls, func() error { _, err := work.PlainJSON(in, work.Answer); return err })
	if err != nil {
		return nil, err
	}
	figures := []figure{
		{Name: "call", Ours: us(ours.at(50)), Baseline: us(base.at(50)), BaselineName: "the same connector in native Go", Unit: "µs"},
		{Name: "call_p99_over_p50", Ours: us(ours.at(99)), Baseline: us(ours.at(50)), BaselineName: "our own p50", Unit: "µs"},
		{Name: "host_garbage", Ours: float64(after.TotalAlloc-before.TotalAlloc) / sandboxCalls, Baseline: 347 << 10, BaselineName: "go-sdk, as the findings have it", Unit: "bytes"},
	}

	config := map[string]string{"answer": string(work.Answer)}
	plain, err := sample(sandboxCalls, func() error {
		_, _, err := m.Call(ctx, "plain", in, sandbox.Env{Config: config})
		return err
	})
	if err != nil {
		return nil, err
	}
	figures = append(figures, figure{Name: "call_plain", Ours: us(plain.at(50)), Baseline: us(plainJSON.at(50)), BaselineName: "the same work natively with encoding/json", Unit: "µs"})
	theirs, err := goSDK(ctx, in, config)
	if err != nil {
		return nil, err
	}
	for _, t := range theirs {
		figures = append(figures, figure{Name: "call_plain_" + t.name, Ours: us(plain.at(50)), Baseline: us(t.took), BaselineName: t.what, Unit: "µs"})
	}

	// One caller against eight, in calls per second.
	one, err := throughput(1, create)
	if err != nil {
		return nil, err
	}
	eight, err := throughput(8, create)
	if err != nil {
		return nil, err
	}
	return append(figures, figure{Name: "parallel", Ours: eight, Baseline: one, BaselineName: fmt.Sprintf("one caller (8 callers, %d cores)", runtime.NumCPU()), Unit: "calls/s"}), nil
}

func throughput(callers int, do func() error) (float64, error) {
	const total = 8000
	var all sync.WaitGroup
	errs := make([]error, callers)
	begin := time.Now()
	for c := range callers {
		all.Go(func() {
			for range total / callers {
				if err := do(); err != nil {
					errs[c] = err
					return
				}
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return total / time.Since(begin).Seconds(), nil
}

type theirs struct {
	name, what string
	took       time.Duration
}

// goSDK measures the same plain guest on the reference host.
func goSDK(ctx context.Context, in []byte, config map[string]string) ([]theirs, error) {
	wasm, err := guest(ctx, "plainextism")
	if err != nil {
		return nil, err
	}
	var list []theirs
	for _, way := range []struct {
		name, what string
		timeout    uint64
		fresh      bool
		calls      int
	}{
		{"gosdk_reused", "go-sdk, one instance, no deadline", 0, false, 3000},
		{"gosdk_deadline", "go-sdk, one instance, with a deadline", 10_000, false, 1000},
		{"gosdk_fresh", "go-sdk, a fresh instance each call, no deadline", 0, true, 50},
	} {
		manifest := extism.Manifest{Wasm: []extism.Wasm{extism.WasmData{Data: wasm}}, Config: config, Timeout: way.timeout}
		compiled, err := extism.NewCompiledPlugin(ctx, manifest, extism.PluginConfig{EnableWasi: true}, nil)
		if err != nil {
			return nil, err
		}
		instance := func() (*extism.Plugin, error) {
			return compiled.Instance(ctx, extism.PluginInstanceConfig{ModuleConfig: wazero.NewModuleConfig().WithSysWalltime().WithSysNanotime()})
		}
		call := func(p *extism.Plugin) error {
			code, _, err := p.Call("plain", in)
			if err == nil && code != 0 {
				err = fmt.Errorf("go-sdk: the guest returned %d", code)
			}
			return err
		}
		reused, err := instance()
		if err != nil {
			return nil, err
		}
		got, err := sample(way.calls, func() error {
			if !way.fresh {
				return call(reused)
			}
			p, err := instance()
			if err != nil {
				return err
			}
			if err := call(p); err != nil {
				return err
			}
			return p.Close(ctx)
		})
		if err != nil {
			return nil, err
		}
		list = append(list, theirs{way.name, way.what, got.at(50)})
		if err := reused.Close(ctx); err != nil {
			return nil, err
		}
		if err := compiled.Close(ctx); err != nil {
			return nil, err
		}
	}
	return list, nil
}

//go:embed loops.wasm
var loops []byte

// metering measures what the fuel costs: the same module as it is and with
// fuel alone, each without a reset.
func metering(ctx context.Context) ([]figure, error) {
	goGuest, err := guest(ctx, "plainextism")
	if err != nil {
		return nil, err
	}
	var figures []figure
	for _, c := range []struct {
		name, export string
		wasm         []byte
		params       []uint64
		calls        int
	}{
		{"metering_loop", "arithmetic", loops, []uint64{2_000_000}, 60},
		{"metering_simd", "simd", loops, []uint64{20_000}, 60},
		{"metering_go", "spin", goGuest, nil, 60},
	} {
		with, without, err := meteredPair(ctx, c.wasm, c.export, c.params, c.calls)
		if err != nil {
			return nil, err
		}
		figures = append(figures, figure{Name: c.name, Ours: us(with), Baseline: us(without), BaselineName: "the same without fuel", Unit: "µs"})
	}
	return figures, nil
}

// meteredPair times an export with and without fuel, in turns.
func meteredPair(ctx context.Context, wasm []byte, export string, params []uint64, calls int) (with, without time.Duration, err error) {
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r); err != nil {
		return 0, 0, err
	}
	if err := stubKernel(ctx, r); err != nil {
		return 0, 0, err
	}
	const slice = 1_000_000
	_, err = r.NewHostModuleBuilder(rewrite.Module).NewFunctionBuilder().WithGoFunction(api.GoFunc(func(_ context.Context, s []uint64) { s[0] = slice }),
		[]api.ValueType{api.ValueTypeI64}, []api.ValueType{api.ValueTypeI64}).Export(rewrite.Refill).Instantiate(ctx)
	if err != nil {
		return 0, 0, err
	}
	var run [2]func() error
	for i, o := range []rewrite.Options{{}, {Meter: true}} {
		changed, err := rewrite.Rewrite(wasm, o)
		if err != nil {
			return 0, 0, err
		}
		module, err := r.InstantiateWithConfig(ctx, changed.Wasm, wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize"))
		if err != nil {
			return 0, 0, err
		}
		f := module.ExportedFunction(export)
		run[i] = func() error { _, err := f.Call(ctx, params...); return err }
	}
	var all [2]samples
	for range calls {
		for i := range run {
			begin := time.Now()
			if err := run[i](); err != nil {
				return 0, 0, err
			}
			all[i] = append(all[i], time.Since(begin))
		}
	}
	slices.Sort(all[0])
	slices.Sort(all[1])
	return all[1].at(50), all[0].at(50), nil
}

// stubKernel offers as much of the Extism ABI as spin needs: an input of 2,000
// bytes.
func stubKernel(ctx context.Context, r wazero.Runtime) error {
	i32, i64 := api.ValueTypeI32, api.ValueTypeI64
	b := r.NewHostModuleBuilder("extism:host/env")
	add := func(name string, result uint64, params, results []api.ValueType) {
		b = b.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(_ context.Context, s []uint64) {
			if len(results) > 0 {
				s[0] = result
			}
		}), params, results).Export(name)
	}
	none, one, two := []api.ValueType{}, []api.ValueType{i64}, []api.ValueType{i64, i64}
	for _, name := range strings.Fields("alloc length length_unsafe config_get var_get load_u64 input_load_u64") {
		add(name, 0, one, one)
	}
	for _, name := range strings.Fields("load_u8 input_load_u8") {
		add(name, 0, one, []api.ValueType{i32})
	}
	for _, name := range strings.Fields("free error_set log_debug log_info log_warn log_error log_trace") {
		add(name, 0, one, nil)
	}
	for _, name := range strings.Fields("store_u64 output_set var_set") {
		add(name, 0, two, nil)
	}
	add("store_u8", 0, []api.ValueType{i64, i32}, nil)
	add("http_request", 0, two, one)
	add("http_status_code", 0, none, []api.ValueType{i32})
	add("http_headers", 0, none, one)
	add("get_log_level", 0, none, []api.ValueType{i32})
	add("input_length", 2000, none, one)
	add("input_offset", 0, none, one)
	_, err := b.Instantiate(ctx)
	return err
}

//go:embed writer_small.wasm
var writerSmall []byte

//go:embed writer_large.wasm
var writerLarge []byte

// reset measures what it costs to put back 200 KB, in memories of 3.4 MB and
// of 64 MB, against a copy of the whole.
func reset(ctx context.Context) ([]figure, error) {
	sb, err := sandbox.New(ctx, sandbox.Options{})
	if err != nil {
		return nil, err
	}
	defer sb.Close(ctx)
	var figures []figure
	for _, c := range []struct {
		name  string
		wasm  []byte
		bytes int
	}{{"reset", writerSmall, 54 << 16}, {"reset_64MB", writerLarge, 1024 << 16}} {
		m, err := sb.Load(ctx, "writer", c.wasm, sandbox.Limits{Instances: 1})
		if err != nil {
			return nil, err
		}
		const n = 2000
		for range n {
			if _, _, err := m.Call(ctx, "write", nil, sandbox.Env{}); err != nil {
				return nil, err
			}
		}
		stats := m.Pool()
		from, to := make([]byte, c.bytes), make([]byte, c.bytes)
		copied, err := sample(50, func() error { copy(to, from); return nil })
		if err != nil {
			return nil, err
		}
		figures = append(figures, figure{Name: c.name, Ours: us(stats.ResetTime / time.Duration(max(1, stats.Resets))), Baseline: us(copied.at(50)), BaselineName: fmt.Sprintf("a copy of all %.1f MB", float64(c.bytes)/1e6), Unit: "µs"})
		if err := m.Close(ctx); err != nil {
			return nil, err
		}
	}
	return figures, nil
}

// memory measures what ten connectors with eight instances each take, at rest.
func memory(ctx context.Context) ([]figure, error) {
	wasm, err := guest(ctx, "")
	if err != nil {
		return nil, err
	}
	sb, err := sandbox.New(ctx, sandbox.Options{Warm: "describe", MemoryBytes: 8 << 30})
	if err != nil {
		return nil, err
	}
	defer sb.Close(ctx)
	const connectors, instances = 10, 8
	in := work.Input()
	var modules []*sandbox.Module
	for i := range connectors {
		// An own custom section makes each a module of its own.
		tag := []byte(fmt.Sprintf("bench%d", i))
		m, err := sb.Load(ctx, "guest", append(slices.Clone(wasm), append([]byte{0, byte(len(tag) + 1), byte(len(tag))}, tag...)...), sandbox.Limits{Instances: instances, IdleInstances: instances})
		if err != nil {
			return nil, err
		}
		defer m.Close(ctx)
		modules = append(modules, m)
	}
	before := resident()
	for _, m := range modules {
		var all sync.WaitGroup
		meet := make(chan struct{})
		var here sync.WaitGroup
		here.Add(instances)
		errs := make([]error, instances)
		for n := range instances {
			all.Go(func() {
				met := false
				_, _, errs[n] = m.Call(ctx, "create", in, sandbox.Env{HTTP: func(context.Context, *sandbox.HTTPRequest) *sandbox.HTTPResponse {
					if !met {
						met = true
						here.Done()
						<-meet // all instances are in a call at once
					}
					return &sandbox.HTTPResponse{Status: 201, Body: work.Answer}
				}})
			})
		}
		here.Wait()
		close(meet)
		all.Wait()
		for _, err := range errs {
			if err != nil {
				return nil, err
			}
		}
	}
	runtime.GC()
	after := resident()
	return []figure{{Name: "instance_memory", Ours: float64(after-before) / (connectors * instances) / (1 << 20), Baseline: 3.9, BaselineName: "an instance of go-sdk, as the findings have it", Unit: "MiB"}}, nil
}

// resident is the process's memory that is its own or mapped, without the
// pages of files and images that are shared.
func resident() int64 {
	b, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "Pss: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}
