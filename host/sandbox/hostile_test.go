package sandbox_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/provosthq/provost/host/sandbox"
)

const hostileDir = "../../testdata/hostile"

// hostile is a module of testdata/hostile and what must become of it, which
// stands in the comments that begin its source:
//
//	;; @limits time=150ms memory=1MiB      its limits
//	;; @load KIND "regexp"                 it can't be loaded
//	;; @begin KIND "regexp"                it can't be loaded, or no call of it can begin
//	;; @may-refuse KIND "regexp"           it may be refused; if not, all that follows holds
//	;; @call EXPORT ["input"] => KIND "regexp"
//	;; @call EXPORT ["input"] => output "bytes"
//
// An input of "\x00*1000" is a thousand zeros.
// KIND may be several, as in limit|trap. After every call the export "good",
// which returns its input, must work as ever.
type hostile struct {
	name   string
	wasm   []byte
	limits sandbox.Limits
	load   *outcome
	begin  *outcome
	refuse *outcome
	calls  []hostileCall
}

type hostileCall struct {
	export string
	input  []byte
	want   outcome
}

// outcome is an error, or an output if there are no kinds.
type outcome struct {
	kinds  []sandbox.Kind
	says   *regexp.Regexp
	output []byte
}

func (o outcome) check(t *testing.T, output []byte, err error) {
	t.Helper()
	if o.kinds == nil {
		require.NoError(t, err)
		require.Equal(t, string(o.output), string(output))
		return
	}
	e := failure(t, err)
	require.Contains(t, o.kinds, e.Kind, "%v", e)
	require.Regexp(t, o.says, e.Error())
	require.Nil(t, output)
}

// failure returns the error, which must be one that a person can read.
func failure(t *testing.T, err error) *sandbox.Error {
	t.Helper()
	var e *sandbox.Error
	require.ErrorAs(t, err, &e)
	require.NotEmpty(t, e.Message)
	require.LessOrEqual(t, len(e.Error()), 4<<10, "the message must stay readable")
	require.True(t, utf8.ValidString(e.Error()), "%q", e.Error())
	require.False(t, strings.ContainsFunc(e.Error(), unicode.IsControl), "%q", e.Error())
	require.NotContains(t, e.Error(), "goroutine ")
	require.LessOrEqual(t, len(e.Payload), 64<<10)
	return e
}

// directive is "@call name "input" => trap "what it says"" and the like.
var (
	callDirective    = regexp.MustCompile(`^(\w+)(?: ("(?:[^"\\]|\\.)*"))? => (.*)$`)
	outcomeDirective = regexp.MustCompile(`^([a-z|]+) (".*")$`)
)

func parseOutcome(t *testing.T, s string) outcome {
	t.Helper()
	m := outcomeDirective.FindStringSubmatch(s)
	require.NotNil(t, m, "%q is no outcome", s)
	if m[1] == "output" {
		output, err := strconv.Unquote(m[2])
		require.NoError(t, err, s)
		return outcome{output: []byte(output)}
	}
	o := outcome{says: regexp.MustCompile(strings.ReplaceAll(m[2][1:len(m[2])-1], `\"`, `"`))}
	for _, kind := range strings.Split(m[1], "|") {
		require.Contains(t, []string{"invalid", "trap", "time", "limit", "guest", "cancelled"}, kind)
		o.kinds = append(o.kinds, sandbox.Kind(kind))
	}
	return o
}

func parseBytes(t *testing.T, s string) int64 {
	t.Helper()
	unit := int64(1)
	for suffix, u := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20} {
		if n, ok := strings.CutSuffix(s, suffix); ok {
			s, unit = n, u
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	require.NoError(t, err)
	return n * unit
}

func parseLimits(t *testing.T, s string) (l sandbox.Limits) {
	t.Helper()
	for field := range strings.FieldsSeq(s) {
		key, value, _ := strings.Cut(field, "=")
		if key == "time" {
			var err error
			l.Time, err = time.ParseDuration(value)
			require.NoError(t, err)
			continue
		}
		n := parseBytes(t, value)
		switch key {
		case "memory":
			l.MemoryBytes = n
		case "input":
			l.Input = int(n)
		case "output":
			l.Output = int(n)
		case "vars":
			l.VarBytes = int(n)
		case "log_lines":
			l.LogLines = int(n)
		case "http_calls":
			l.HTTPCalls = int(n)
		case "http_out":
			l.HTTPRequestBytes = n
		case "http_in":
			l.HTTPResponseBytes = n
		case "table":
			l.TableEntries = int(n)
		default:
			t.Fatalf("there is no limit %q", key)
		}
	}
	return l
}

func readHostile(t *testing.T, name string) hostile {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(hostileDir, name+".wat"))
	require.NoError(t, err)
	h := hostile{name: name}
	h.wasm, err = os.ReadFile(filepath.Join(hostileDir, name+".wasm"))
	require.NoError(t, err, "run testdata/hostile/assemble")
	for line := range strings.Lines(string(source)) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), ";; @")
		if !ok {
			continue
		}
		directive, rest, _ := strings.Cut(line, " ")
		switch directive {
		case "limits":
			h.limits = parseLimits(t, rest)
		case "load":
			o := parseOutcome(t, rest)
			h.load = &o
		case "begin":
			o := parseOutcome(t, rest)
			h.begin = &o
		case "may-refuse":
			o := parseOutcome(t, rest)
			h.refuse = &o
		case "call":
			m := callDirective.FindStringSubmatch(rest)
			require.NotNil(t, m, "%q is no call", rest)
			c := hostileCall{export: m[1], want: parseOutcome(t, m[3])}
			if m[2] != "" {
				input, err := strconv.Unquote(m[2])
				require.NoError(t, err, rest)
				c.input = []byte(input)
				if n, ok := strings.CutPrefix(input, "\x00*"); ok {
					zeros, err := strconv.Atoi(n)
					require.NoError(t, err, rest)
					c.input = make([]byte, zeros)
				}
			}
			h.calls = append(h.calls, c)
		default:
			t.Fatalf("there is no directive @%s", directive)
		}
	}
	return h
}

// newSandbox makes a runtime that must leave no goroutine behind.
func newSandbox(t *testing.T) *sandbox.Runtime {
	t.Helper()
	before := goleak.IgnoreCurrent()
	r, err := sandbox.New(t.Context(), sandbox.Options{CacheDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, r.Close(context.Background()))
		goleak.VerifyNone(t, before)
	})
	return r
}

// hostileWorld is what a hostile module may use. What it gets to log must be
// bounded text in lines.
func hostileWorld(t *testing.T, limits sandbox.Limits) sandbox.Env {
	lines, size := 0, 0
	mostLines, mostBytes := limits.LogLines, limits.LogBytes
	if mostLines == 0 {
		mostLines = sandbox.DefaultLimits().LogLines
	}
	if mostBytes == 0 {
		mostBytes = sandbox.DefaultLimits().LogBytes
	}
	config := map[string]string{"large": strings.Repeat("c", 64<<10)}
	for n := range 20 {
		config[fmt.Sprintf("key%d", n)] = "value"
	}
	return sandbox.Env{
		Config: config,
		HTTP: func(_ context.Context, r *sandbox.HTTPRequest) *sandbox.HTTPResponse {
			if strings.HasSuffix(r.URL, "/large") {
				return &sandbox.HTTPResponse{Status: 200, Body: make([]byte, 300<<10)}
			}
			return &sandbox.HTTPResponse{Status: 200, Header: map[string]string{"large": strings.Repeat("h", 64<<10)}, Body: []byte("answer")}
		},
		Log: func(_ slog.Level, line string) {
			lines++
			size += len(line)
			if lines > mostLines || size > mostBytes {
				t.Errorf("%d lines, %d bytes logged: more than the limits", lines, size)
			}
			if !utf8.ValidString(line) || strings.ContainsFunc(line, unicode.IsControl) {
				t.Errorf("a log line with control characters: %.100q", line)
			}
		},
	}
}

// callGood calls the export that returns its input.
func callGood(t *testing.T, m *sandbox.Module) {
	t.Helper()
	output, _, err := m.Call(t.Context(), "good", []byte("still here"), sandbox.Env{})
	require.NoError(t, err, "after it the module can't be called any more")
	require.Equal(t, "still here", string(output))
}

// heap is what the Go heap holds once nothing is left to collect.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what finalizers gave free in the first
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// mostKept is how much larger the heap may be after a module has gone.
const mostKept = 4 << 20

func TestHostileModuleHarmsOnlyItsOwnCall(t *testing.T) {
	if testing.Short() {
		t.Skip("long; run without -short")
	}
	sources, err := filepath.Glob(filepath.Join(hostileDir, "*.wat"))
	require.NoError(t, err)
	require.Greater(t, len(sources), 40)
	r := newSandbox(t)
	for _, source := range sources {
		name := strings.TrimSuffix(filepath.Base(source), ".wat")
		if strings.HasPrefix(name, "keeper") || name == "kernel" { // they have tests of their own
			continue
		}
		t.Run(name, func(t *testing.T) {
			h := readHostile(t, name)
			before := heap()
			h.run(t, r)
			require.Less(t, heap()-before, int64(mostKept), "the host's memory must come back")
		})
	}
}

func (h hostile) run(t *testing.T, r *sandbox.Runtime) {
	require.True(t, h.load != nil || h.begin != nil || len(h.calls) > 0, "a hostile module says what must become of it")
	m, err := r.Load(t.Context(), "hostile/"+h.name, h.wasm, h.limits)
	switch {
	case h.load != nil:
		h.load.check(t, nil, err)
		return
	case h.begin != nil && err != nil:
		h.begin.check(t, nil, err)
		return
	case h.refuse != nil && err != nil:
		h.refuse.check(t, nil, err)
		return
	}
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close(context.Background())) }()
	if h.begin != nil {
		for range 2 {
			output, _, err := m.Call(t.Context(), "good", []byte("input"), hostileWorld(t, h.limits))
			h.begin.check(t, output, err)
		}
		return
	}
	good := slices.Contains(m.Exports(), "good")
	for _, c := range h.calls {
		t.Run(c.export, func(t *testing.T) {
			output, usage, err := m.Call(t.Context(), c.export, c.input, hostileWorld(t, h.limits))
			c.want.check(t, output, err)
			if err != nil && failure(t, err).Kind != sandbox.KindInvalid {
				require.Positive(t, usage.Duration, "usage is told of a call that failed, too")
			}
			if good {
				callGood(t, m)
			}
		})
	}
}

// The .wasm files are committed, so that no user needs an assembler; they must
// be what the sources say.
func TestHostileModuleIsWhatItsSourceSays(t *testing.T) {
	if _, err := exec.LookPath("wat2wasm"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("needs wat2wasm: %v", err)
		}
		t.Skipf("needs wat2wasm, of wabt: %v", err)
	}
	out := t.TempDir()
	assemble := exec.Command(filepath.Join(hostileDir, "assemble"))
	assemble.Env = append(os.Environ(), "OUT="+out)
	said, err := assemble.CombinedOutput()
	require.NoError(t, err, "%s", said)
	built, err := filepath.Glob(filepath.Join(out, "*.wasm"))
	require.NoError(t, err)
	committed, err := filepath.Glob(filepath.Join(hostileDir, "*.wasm"))
	require.NoError(t, err)
	require.Len(t, committed, len(built), "a .wasm without a source, or the other way round")
	for _, file := range built {
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		have, err := os.ReadFile(filepath.Join(hostileDir, filepath.Base(file)))
		require.NoError(t, err, "run testdata/hostile/assemble")
		require.True(t, bytes.Equal(want, have), "%s is not what its source says: run testdata/hostile/assemble", filepath.Base(file))
	}
}

// Sleeping takes no time, or the call's, but never the hour that the guest asks
// for.
func TestHostileSleepEndsWithTheCall(t *testing.T) {
	r := newSandbox(t)
	h := readHostile(t, "wasi")
	m, err := r.Load(t.Context(), "hostile/wasi", h.wasm, sandbox.Limits{Time: 200 * time.Millisecond})
	require.NoError(t, err)
	for _, export := range []string{"sleep", "sleep_flood"} {
		output, _, err := m.Call(t.Context(), export, nil, sandbox.Env{})
		if export == "sleep" && err == nil {
			require.Empty(t, output)
			continue
		}
		require.Equal(t, sandbox.KindTime, failure(t, err).Kind, "%v", err)
		callGood(t, m)
	}
	require.NoError(t, m.Close(t.Context()))
}

// Calls that spin on every core must not keep the daemon from anything: others
// go on, and all of them end.
func TestHostileSpinningOnEveryCoreLeavesRoomForOthers(t *testing.T) {
	r := newSandbox(t)
	m, err := r.Load(t.Context(), "hostile/spin", readHostile(t, "spin").wasm, sandbox.Limits{Time: 500 * time.Millisecond})
	require.NoError(t, err)
	var spinning sync.WaitGroup
	for range 4 * runtime.GOMAXPROCS(0) {
		spinning.Go(func() {
			_, _, err := m.Call(t.Context(), "counting", nil, sandbox.Env{})
			var e *sandbox.Error
			if !errors.As(err, &e) || e.Kind != sandbox.KindTime {
				t.Errorf("a spinning call ended with %v", err)
			}
		})
	}
	runtime.GC() // needs every goroutine to stop for it
	callGood(t, m)
	spinning.Wait()
	require.NoError(t, m.Close(t.Context()))
}

func TestHostileSpinningEndsWithTheCaller(t *testing.T) {
	r := newSandbox(t)
	m, err := r.Load(t.Context(), "hostile/spin", readHostile(t, "spin").wasm, sandbox.Limits{Time: time.Hour})
	require.NoError(t, err)
	for _, export := range []string{"empty", "conditional", "by_table"} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, _, err = m.Call(ctx, export, nil, sandbox.Env{})
		cancel()
		require.Equal(t, sandbox.KindCancelled, failure(t, err).Kind, "%v", err)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	callGood(t, m)
	require.NoError(t, m.Close(t.Context()))
}

// Who waits for the start-up that another call began does not give up with it.
func TestHostileStartUpOutlivesTheCallThatBeganIt(t *testing.T) {
	r := newSandbox(t)
	m, err := r.Load(t.Context(), "hostile/initialize_spins", readHostile(t, "initialize_spins").wasm, sandbox.Limits{Time: 300 * time.Millisecond, Instances: 1})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var calls sync.WaitGroup
	call := func(ctx context.Context, want sandbox.Kind) {
		calls.Go(func() {
			_, _, err := m.Call(ctx, "good", nil, sandbox.Env{})
			var e *sandbox.Error
			if !errors.As(err, &e) || e.Kind != want {
				t.Errorf("want %s, have %v", want, err)
			}
		})
	}
	call(ctx, sandbox.KindCancelled)
	for m.Pool().Instances == 0 {
		runtime.Gosched()
	}
	call(t.Context(), sandbox.KindTime)
	call(t.Context(), sandbox.KindTime)
	for m.Pool().Waiting < 2 {
		runtime.Gosched()
	}
	cancel()
	calls.Wait()
	require.NoError(t, m.Close(t.Context()))
}

// Instances are reset some time after their calls, and a module may be closed
// in the midst of that: its memory must not go away under the reset.
func TestHostileMemoryOutlivesItsReset(t *testing.T) {
	if testing.Short() {
		t.Skip("long; run without -short")
	}
	r := newSandbox(t)
	wasm := readHostile(t, "bulk").wasm // 8 MiB, of which the call writes all
	other, err := r.Load(t.Context(), "hostile/spin", readHostile(t, "spin").wasm, sandbox.Limits{})
	require.NoError(t, err)
	for n := range 60 {
		m, err := r.Load(t.Context(), "hostile/bulk", wasm, sandbox.Limits{})
		require.NoError(t, err)
		var calls sync.WaitGroup
		for range 4 {
			calls.Go(func() {
				if _, _, err := m.Call(t.Context(), "fill_once", nil, sandbox.Env{}); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		for begin := time.Now(); time.Since(begin) < time.Duration(n)*400*time.Microsecond; { // closed ever later
			callGood(t, other)
		}
		require.NoError(t, m.Close(t.Context()))
	}
	require.NoError(t, other.Close(t.Context()))
	require.Zero(t, r.MemoryBytes())
}

// A host function that calls the module again is how a call comes to wait for
// itself. It gets an error then, and the calls that it is nested in go on.
func TestHostileReentranceEndsWhereTheInstancesDo(t *testing.T) {
	r := newSandbox(t)
	const instances = 5
	m, err := r.Load(t.Context(), "hostile/http", readHostile(t, "http").wasm, sandbox.Limits{Instances: instances, Wait: 50 * time.Millisecond})
	require.NoError(t, err)
	request := []byte(`{"url":"http://app/"}`)
	deepest := 0
	var nest func(depth int) sandbox.Env
	nest = func(depth int) sandbox.Env {
		return sandbox.Env{HTTP: func(ctx context.Context, _ *sandbox.HTTPRequest) *sandbox.HTTPResponse {
			deepest = max(deepest, depth)
			_, _, err := m.Call(ctx, "request", request, nest(depth+1))
			var e *sandbox.Error
			if depth == instances && (!errors.As(err, &e) || e.Kind != sandbox.KindBusy) || depth < instances && err != nil {
				t.Errorf("%d deep: %v", depth, err)
			}
			return &sandbox.HTTPResponse{Status: 200}
		}}
	}
	for range 2 {
		_, _, err = m.Call(t.Context(), "request", request, nest(1))
		require.NoError(t, err)
	}
	require.Equal(t, instances, deepest)
	require.NoError(t, m.Close(t.Context()))
}

// The caller's input and the outputs already handed out are the caller's.
func TestHostileGuestReachesNeitherTheCallersInputNorEarlierOutputs(t *testing.T) {
	r := newSandbox(t)
	m, err := r.Load(t.Context(), "hostile/kernel", readHostile(t, "kernel").wasm, sandbox.Limits{})
	require.NoError(t, err)
	overwrite := kernelProgram(
		kernelStep{op: "input_offset"},
		kernelStep{op: "store_u64", b: 0xdeadbeefdeadbeef, ref: 1},
		kernelStep{op: "load_u64", ref: 1},
	)
	kept := bytes.Clone(overwrite)
	first, _, err := m.Call(t.Context(), "run", overwrite, sandbox.Env{})
	require.NoError(t, err)
	require.Equal(t, kept, overwrite, "the guest wrote to the caller's input")
	require.Equal(t, uint64(0xdeadbeefdeadbeef), binary.LittleEndian.Uint64(first[16:]))
	snapshot := bytes.Clone(first)
	second, _, err := m.Call(t.Context(), "good", []byte("another output, just as long"), sandbox.Env{})
	require.NoError(t, err)
	require.Equal(t, snapshot, first, "a later call changed an earlier output")
	clear(second)
	callGood(t, m)
	require.NoError(t, m.Close(t.Context()))
}

var kernelOps = []string{"alloc", "free", "length", "length_unsafe", "load_u8", "load_u64", "store_u8", "store_u64", "input_length", "input_offset",
	"input_load_u8", "input_load_u64", "output_set", "error_set", "error_get", "config_get", "var_get", "var_set", "http_request",
	"http_status_code", "http_headers", "log_trace", "log_debug", "log_info", "log_warn", "log_error"}

// kernelStep is one host call of the module kernel: op(a + the result of step
// ref, b). Steps count from 1; ref 0 is none.
type kernelStep struct {
	op   string
	a, b uint64
	ref  int
}

func kernelProgram(steps ...kernelStep) []byte {
	var b []byte
	for _, s := range steps {
		b = binary.LittleEndian.AppendUint64(b, uint64(slices.Index(kernelOps, s.op)))
		b = binary.LittleEndian.AppendUint64(b, s.a)
		b = binary.LittleEndian.AppendUint64(b, s.b)
		b = binary.LittleEndian.AppendUint64(b, uint64(int64(s.ref-1)))
	}
	return b
}

func TestForgedOffsetReachesNothing(t *testing.T) {
	r := newSandbox(t)
	m, err := r.Load(t.Context(), "hostile/kernel", readHostile(t, "kernel").wasm, sandbox.Limits{})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close(context.Background())) }()
	run := func(t *testing.T, steps ...kernelStep) ([]uint64, error) {
		t.Helper()
		output, _, err := m.Call(t.Context(), "run", kernelProgram(steps...), hostileWorld(t, sandbox.Limits{}))
		if err != nil {
			return nil, failure(t, err)
		}
		var results []uint64
		for ; len(output) >= 8; output = output[8:] {
			results = append(results, binary.LittleEndian.Uint64(output))
		}
		require.Len(t, results, len(steps))
		return results, nil
	}
	traps := func(t *testing.T, says string, steps ...kernelStep) {
		t.Helper()
		_, err := run(t, steps...)
		e := failure(t, err)
		require.Equal(t, sandbox.KindTrap, e.Kind, "%v", e)
		require.Regexp(t, says, e.Error())
		callGood(t, m)
	}

	alloc := kernelStep{op: "alloc", a: 24}
	places := map[string][]kernelStep{ // the last step makes the offset that the step after it, with ref to it, uses
		"0":                             {{op: "length", a: 0}},
		"1":                             {{op: "length", a: 1 << 62}, {op: "alloc", a: 0}},
		"never allocated":               {alloc, {op: "length", a: 1 << 40}},
		"the largest":                   {alloc, {op: "length"}},
		"freed":                         {alloc, {op: "free", ref: 1}},
		"behind the block":              {alloc},
		"before the block":              {alloc},
		"between a block and the next":  {{op: "alloc", a: 9}, {op: "alloc", a: 9}},
		"half of all":                   {alloc},
		"the input's, before it is one": {},
	}
	offsets := map[string]struct {
		a   uint64
		ref int
	}{
		"0": {0, 0}, "1": {1, 0}, "never allocated": {1 << 40, 0}, "the largest": {^uint64(0), 0}, "freed": {0, 1}, "behind the block": {24, 1},
		"before the block": {^uint64(0), 1}, "between a block and the next": {9, 1}, "half of all": {1 << 63, 0}, "the input's, before it is one": {16, 0},
	}
	reading := map[string]uint64{"load_u8": 0, "load_u64": 0, "store_u8": 7, "store_u64": 7, "output_set": 1}
	whole := []string{"error_set", "config_get", "var_get", "log_trace", "log_debug", "log_info", "log_warn", "log_error", "http_request", "var_set"}
	for place, before := range places {
		at := offsets[place]
		t.Run(place, func(t *testing.T) {
			for op, b := range reading {
				traps(t, `offset \d+ is in no block`, append(slices.Clone(before), kernelStep{op: op, a: at.a, b: b, ref: at.ref})...)
			}
			for _, op := range whole {
				if place == "0" { // nothing, not a block
					continue
				}
				traps(t, `offset \d+ is not that of a block`, append(slices.Clone(before), kernelStep{op: op, a: at.a, ref: at.ref})...)
			}
			for _, op := range []string{"length", "length_unsafe"} {
				results, err := run(t, append(slices.Clone(before), kernelStep{op: op, a: at.a, ref: at.ref})...)
				require.NoError(t, err)
				require.Zero(t, results[len(results)-1], "%s of what is no block", op)
			}
			_, err := run(t, append(slices.Clone(before), kernelStep{op: "free", a: at.a, ref: at.ref})...)
			require.NoError(t, err, "free of what is no block does nothing")
		})
	}

	t.Run("0 is nothing", func(t *testing.T) {
		for _, op := range whole {
			if op == "http_request" {
				traps(t, "the request is no JSON", kernelStep{op: op})
				continue
			}
			_, err := run(t, kernelStep{op: op})
			require.NoError(t, err, op)
		}
	})
	t.Run("inside a block", func(t *testing.T) {
		for _, op := range whole {
			traps(t, `offset \d+ is not that of a block`, alloc, kernelStep{op: op, a: 8, ref: 1})
		}
		traps(t, `8 bytes from the offset \d+ reach beyond their block`, alloc, kernelStep{op: "store_u64", a: 17, b: 7, ref: 1})
		traps(t, `25 bytes from the offset \d+ reach beyond their block`, alloc, kernelStep{op: "output_set", b: 25, ref: 1})
		traps(t, `2 bytes from the offset \d+ reach beyond their block`, alloc, kernelStep{op: "output_set", a: 23, b: 2, ref: 1})
		results, err := run(t, alloc,
			kernelStep{op: "store_u64", a: 16, b: 0x1122334455667788, ref: 1},
			kernelStep{op: "load_u64", a: 16, ref: 1},
			kernelStep{op: "load_u8", a: 23, ref: 1},
			kernelStep{op: "free", a: 8, ref: 1}, // not where it begins: nothing
			kernelStep{op: "length", a: 8, ref: 1},
			kernelStep{op: "length", ref: 1})
		require.NoError(t, err)
		require.Equal(t, []uint64{0x1122334455667788, 0x11, 0, 0, 24}, results[2:])
	})
	t.Run("freed twice", func(t *testing.T) {
		results, err := run(t, alloc, kernelStep{op: "alloc", a: 8}, kernelStep{op: "free", ref: 1}, kernelStep{op: "free", ref: 1}, kernelStep{op: "length", ref: 2})
		require.NoError(t, err)
		require.Equal(t, uint64(8), results[4], "the second free took another block")
	})
	t.Run("a new block holds zeros", func(t *testing.T) {
		results, err := run(t, kernelStep{op: "alloc", a: 8}, kernelStep{op: "store_u64", b: ^uint64(0), ref: 1}, kernelStep{op: "free", ref: 1},
			kernelStep{op: "alloc", a: 8}, kernelStep{op: "load_u64", ref: 4})
		require.NoError(t, err)
		require.Zero(t, results[4])
	})
	t.Run("input", func(t *testing.T) {
		for _, at := range []uint64{1 << 20, 1 << 63, ^uint64(0)} {
			traps(t, `input_load_u8: the offset \d+ is beyond the input of 32 bytes`, kernelStep{op: "input_load_u8", a: at})
			traps(t, `input_load_u64: the offset \d+ is beyond the input of 32 bytes`, kernelStep{op: "input_load_u64", a: at})
		}
	})
}

// Whatever a guest asks of the kernel, and in whatever order, ends with an
// output or an error, and the next call finds nothing of it.
func TestKernelTakesAnyProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("long; run without -short")
	}
	r := newSandbox(t)
	m, err := r.Load(t.Context(), "hostile/kernel", readHostile(t, "kernel").wasm, sandbox.Limits{Time: 10 * time.Second})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close(context.Background())) }()
	number := rapid.OneOf(rapid.Uint64Range(0, 64), rapid.Uint64(), rapid.SampledFrom([]uint64{1 << 31, 1<<32 - 1, 1 << 32, 1 << 63, ^uint64(0), ^uint64(7), 16, 24, 4096, 1 << 20}))
	step := rapid.Custom(func(t *rapid.T) kernelStep {
		return kernelStep{op: rapid.SampledFrom(kernelOps).Draw(t, "op"), a: number.Draw(t, "a"), b: number.Draw(t, "b"), ref: rapid.IntRange(0, 12).Draw(t, "ref")}
	})
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(step, 1, 40).Draw(rt, "steps")
		output, _, err := m.Call(context.Background(), "run", kernelProgram(steps...), hostileWorld(t, sandbox.Limits{}))
		if err != nil {
			e := failure(t, err)
			require.Contains(rt, []sandbox.Kind{sandbox.KindTrap, sandbox.KindLimit, sandbox.KindGuest}, e.Kind, "%v", e)
		} else {
			require.Len(rt, output, 8*len(steps))
		}
		callGood(t, m)
	})
}

// assembler writes modules that are too large for a source.
type assembler struct{ bytes.Buffer }

func leb(n uint64) []byte {
	var b []byte
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

func (a *assembler) section(id byte, parts ...[]byte) {
	body := bytes.Join(parts, nil)
	a.WriteByte(id)
	a.Write(leb(uint64(len(body))))
	a.Write(body)
}

func vector(items ...[]byte) []byte {
	return append(leb(uint64(len(items))), bytes.Join(items, nil)...)
}

func sized(parts ...[]byte) []byte {
	b := bytes.Join(parts, nil)
	return append(leb(uint64(len(b))), b...)
}

func str(s string) []byte { return sized([]byte(s)) }

// generated is a module that imports nothing and exports each of the bodies
// (locals and code), of the type () -> (), under its name; "" is not exported.
func generated(names []string, bodies [][]byte) []byte {
	var a assembler
	a.WriteString("\x00asm\x01\x00\x00\x00")
	a.section(1, vector([]byte{0x60, 0, 0}))
	types := bytes.Repeat([]byte{0}, len(bodies))
	a.section(3, leb(uint64(len(bodies))), types)
	a.section(5, []byte{1, 0, 1})
	var exports [][]byte
	for i, name := range names {
		if name != "" {
			exports = append(exports, append(append(str(name), 0), leb(uint64(i))...))
		}
	}
	a.section(7, vector(exports...))
	sizedBodies := make([][]byte, len(bodies))
	for i, b := range bodies {
		sizedBodies[i] = sized(b)
	}
	a.section(10, vector(sizedBodies...))
	return a.Bytes()
}

// importing is a module that imports functions of a module that nobody offers.
func importing(names ...string) []byte {
	var a assembler
	a.WriteString("\x00asm\x01\x00\x00\x00")
	a.section(1, vector([]byte{0x60, 0, 0}))
	imports := make([][]byte, len(names))
	for i, name := range names {
		imports[i] = slices.Concat(str("nobody"), str(name), []byte{0, 0})
	}
	a.section(2, vector(imports...))
	return a.Bytes()
}

// A module may be refused for its size, in words; one that is not must run.
func TestHostileSizeIsRefusedOrRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("long; run without -short")
	}
	repeat := func(b []byte, n int) []byte { return bytes.Repeat(b, n) }
	body := func(parts ...[]byte) []byte { return append(append([]byte{0}, bytes.Join(parts, nil)...), 0x0b) }
	targets := func(n int) []byte { // br_table with n targets that all leave the block
		return bytes.Join([][]byte{{0x02, 0x40, 0x41, 0, 0x0e}, leb(uint64(n)), repeat([]byte{0}, n+1), {0x0b}}, nil)
	}
	deep := func(block, end []byte, n int) []byte { return append(repeat(block, n), repeat(end, n)...) }
	many := func(n int, b []byte) ([]string, [][]byte) {
		names, bodies := make([]string, n), make([][]byte, n)
		names[0] = "run"
		for i := range bodies {
			bodies[i] = b
		}
		return names, bodies
	}
	one := func(b []byte) []byte { return generated([]string{"run"}, [][]byte{b}) }
	modules := map[string]func() []byte{
		"50,000 functions": func() []byte { return generated(many(50_000, body())) },
		"100,000 exports of one function": func() []byte {
			var a assembler
			a.WriteString("\x00asm\x01\x00\x00\x00")
			a.section(1, vector([]byte{0x60, 0, 0}))
			a.section(3, vector([]byte{0}))
			exports := [][]byte{append(str("run"), 0, 0)}
			for i := range 100_000 {
				exports = append(exports, append(str(fmt.Sprintf("export%d", i)), 0, 0))
			}
			a.section(7, vector(exports...))
			a.section(10, vector(sized(body())))
			return a.Bytes()
		},
		"an export with a name of a megabyte": func() []byte {
			return generated([]string{"run", strings.Repeat("n", 1<<20)}, [][]byte{body(), body()})
		},
		"an import with a name of a megabyte": func() []byte { return importing(strings.Repeat("n", 1<<20)) },
		"an import with a name for terminals": func() []byte { return importing("\x1b[2J\r\n\u0085") },
		"100,000 unknown imports": func() []byte {
			names := make([]string, 100_000)
			for i := range names {
				names[i] = fmt.Sprintf("function%d", i)
			}
			return importing(names...)
		},
		"br_table with a million targets": func() []byte { return one(body(targets(1_000_000))) },
		"50 br_tables with 2,000 targets": func() []byte { return one(body(repeat(targets(2_000), 50))) },
		"blocks 9,900 deep":               func() []byte { return one(body(deep([]byte{0x02, 0x40}, []byte{0x0b}, 9_900))) },
		"loops 500 deep":                  func() []byte { return one(body(deep([]byte{0x03, 0x40}, []byte{0x0b}, 500))) },
		"ifs 3,000 deep":                  func() []byte { return one(body(deep([]byte{0x41, 1, 0x04, 0x40}, []byte{0x0b}, 3_000))) },
		"50,000 locals":                   func() []byte { return one(append(append([]byte{1}, leb(50_000)...), 0x7e, 0x0b)) },
		"50,000 locals, all in use": func() []byte {
			b := append(append([]byte{1}, leb(50_000)...), 0x7e)
			for i := range uint64(50_000) {
				b = append(append(append(append(b, 0x20), leb(i)...), 0x21), leb((i+1)%50_000)...)
			}
			return one(append(b, 0x0b))
		},
		"4,294,967,295 locals": func() []byte { return one(append(append([]byte{1}, leb(1<<32-1)...), 0x7e, 0x0b)) },
		"more locals than fit in 32 bits": func() []byte {
			group := append(leb(1<<32-1), 0x7e)
			return one(append(append(append([]byte{2}, group...), group...), 0x0b))
		},
		"a function of a megabyte": func() []byte { return one(body(repeat([]byte{0x41, 1, 0x1a}, 350_000))) },
		"an expression 10,000 deep": func() []byte {
			return one(body(repeat([]byte{0x41, 1}, 10_000), repeat([]byte{0x6a}, 9_999), []byte{0x1a}))
		},
		"a type with 20,000 parameters": func() []byte {
			var a assembler
			a.WriteString("\x00asm\x01\x00\x00\x00")
			a.section(1, vector([]byte{0x60, 0, 0}, bytes.Join([][]byte{{0x60}, leb(20_000), repeat([]byte{0x7e}, 20_000), {0}}, nil)))
			a.section(3, vector([]byte{0}, []byte{1}))
			a.section(7, vector(append(str("run"), 0, 0)))
			a.section(10, vector(sized(body(repeat([]byte{0x42, 1}, 20_000), []byte{0x10, 1})), sized(body())))
			return a.Bytes()
		},
		"20,000 custom sections": func() []byte {
			return append(one(body()), repeat(append([]byte{0}, sized(str("custom"))...), 20_000)...)
		},
		"a vector that claims 4 billion items": func() []byte {
			return append([]byte("\x00asm\x01\x00\x00\x00"), append([]byte{1}, sized(leb(1<<32-1))...)...)
		},
		"a section that claims 4 gigabytes": func() []byte {
			return append([]byte("\x00asm\x01\x00\x00\x00"), append([]byte{1}, leb(1<<32-1)...)...)
		},
		"a number without an end": func() []byte {
			return append([]byte("\x00asm\x01\x00\x00\x00\x01"), repeat([]byte{0x80}, 1000)...)
		},
		"data segments over all memory, 1,000 times": func() []byte {
			b := one(body())
			segment := append([]byte{0, 0x41, 0, 0x0b}, sized(make([]byte, 60_000))...)
			var a assembler
			a.Write(b)
			a.section(11, vector(slices.Repeat([][]byte{segment}, 1000)...))
			return a.Bytes()
		},
	}
	r := newSandbox(t)
	for name, build := range modules {
		t.Run(name, func(t *testing.T) {
			wasm := build()
			m, err := r.Load(t.Context(), "hostile", wasm, sandbox.Limits{})
			if err != nil {
				e := failure(t, err)
				require.Contains(t, []sandbox.Kind{sandbox.KindInvalid, sandbox.KindLimit}, e.Kind, "%v", e)
				t.Logf("refused: %v", e)
				return
			}
			_, _, err = m.Call(t.Context(), "run", nil, sandbox.Env{})
			require.NoError(t, err)
			_, _, err = m.Call(t.Context(), "absent", nil, sandbox.Env{})
			require.Equal(t, sandbox.KindInvalid, failure(t, err).Kind)
			require.NoError(t, m.Close(t.Context()))
		})
	}
}

// What takes the compiler minutes is refused: it can't be stopped within a
// function.
func TestHostileCompileTimeIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("long; run without -short")
	}
	deep := func(block, end []byte, n int) []byte { return append(bytes.Repeat(block, n), bytes.Repeat(end, n)...) }
	table := slices.Concat([]byte{0x02, 0x40, 0x41, 0, 0x0e}, leb(5000), make([]byte, 5001), []byte{0x0b})
	r := newSandbox(t)
	for name, code := range map[string][]byte{
		"nests more than 10000 blocks or 1000 loops":                    deep([]byte{0x03, 0x40}, []byte{0x0b}, 10_000),
		"function nests more than 10000 blocks":                         deep([]byte{0x41, 1, 0x04, 0x40}, []byte{0x0b}, 20_000),
		"the br_tables of a function have 25000 targets; the limit is ": bytes.Repeat(table, 200),
	} {
		wasm := generated([]string{"run"}, [][]byte{slices.Concat([]byte{0}, code, []byte{0x0b})})
		_, err := r.Load(t.Context(), "hostile", wasm, sandbox.Limits{})
		e := failure(t, err)
		require.Equal(t, sandbox.KindLimit, e.Kind, "%v", e)
		require.Contains(t, e.Message, name)
	}
}

func TestDamagedModuleIsRefusedOrRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("long; run without -short")
	}
	r := newSandbox(t)
	try := func(t *testing.T, wasm []byte) (loaded bool) {
		m, err := r.Load(t.Context(), "hostile", wasm, sandbox.Limits{Time: 20 * time.Millisecond, MemoryBytes: 1 << 20})
		if err != nil {
			e := failure(t, err)
			require.Contains(t, []sandbox.Kind{sandbox.KindInvalid, sandbox.KindLimit}, e.Kind, "%v", e)
			return false
		}
		for _, export := range m.Exports() {
			if _, _, err := m.Call(t.Context(), export, []byte("some input"), sandbox.Env{}); err != nil {
				failure(t, err)
			}
		}
		require.NoError(t, m.Close(t.Context()))
		return true
	}
	for _, name := range []string{"kernel", "keeper", "traps", "vars"} {
		wasm := readHostile(t, name).wasm
		t.Run(name+" truncated", func(t *testing.T) {
			loaded := 0
			for n := 0; n < len(wasm); n += max(1, len(wasm)/100) {
				if try(t, wasm[:n]) {
					loaded++
				}
			}
			require.LessOrEqual(t, loaded, 3, "a module that ends between two sections may be one")
		})
		t.Run(name+" with bits flipped", func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			for range 150 {
				damaged := bytes.Clone(wasm)
				for range 1 + random.IntN(3) {
					damaged[random.IntN(len(damaged))] ^= 1 << random.IntN(8)
				}
				try(t, damaged)
			}
		})
	}
	t.Run("no module at all", func(t *testing.T) {
		for _, wasm := range []string{"", "\x00", "\x00asm", "\x00asm\x02\x00\x00\x00", "\x00asm\x0d\x00\x01\x00", "\x7fELF", "#!/bin/sh\n", "PK\x03\x04", "<html>"} {
			require.False(t, try(t, []byte(wasm)), "%q", wasm)
		}
	})
	t.Run("only its header", func(t *testing.T) {
		_, err := r.Load(t.Context(), "hostile", []byte("\x00asm\x01\x00\x00\x00"), sandbox.Limits{})
		require.NoError(t, err, "a module may be empty")
	})
}
