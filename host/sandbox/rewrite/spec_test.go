package rewrite_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/provosthq/provost/host/sandbox/rewrite"
)

// script is a file of the suite, as wast2json writes it.
type script struct {
	Source   string    `json:"source_filename"`
	Commands []command `json:"commands"`
}

type command struct {
	Type       string
	Line       int
	Name       string
	Filename   string
	As         string
	ModuleType string `json:"module_type"`
	Text       string
	Action     struct {
		Type   string
		Field  string
		Module string
		Args   []scriptValue
	}
	Expected []scriptValue
}

type scriptValue struct {
	Type     string
	LaneType string `json:"lane_type"`
	Value    any
}

// outcome is what became of a command. A command without an error passed.
type outcome struct {
	err error
	// message is what a trap said.
	message string
	skipped bool
}

var proposals = []struct {
	dir      string
	features api.CoreFeatures // that it needs beside ours
}{
	{"v1", 0},
	{"v2", 0},
	{"tail-call", 0},
	{"extended-const", 0},
	{"typed-function-references", experimental.CoreFeaturesTypedFunctionReferences},
	{"exception-handling", experimental.CoreFeaturesExceptionHandling | experimental.CoreFeaturesTypedFunctionReferences},
	{"threads", experimental.CoreFeaturesThreads},
}

var rewritings = []struct {
	name    string
	options rewrite.Options
}{
	{"metered", rewrite.Options{Meter: true}},
	{"metered and tracked", rewrite.Options{Meter: true, Track: true}},
	{"metered, tracked, data detached", rewrite.Options{Meter: true, Track: true, DetachData: true}},
}

// The official test suite, every assertion: what passes without rewriting
// passes with it, traps say the same, and whatever is written is marked. With
// -short modules are only rewritten in the way that the sandbox does it;
// PROVOST_SPEC_INTERPRETER adds the engine's interpreter.
func TestSpecificationSuite(t *testing.T) {
	dir := mustSpecDir(t)
	support, err := os.ReadFile(filepath.Join(dir, "testdata/spectest.wasm"))
	require.NoError(t, err)
	engines := map[string]func() wazero.RuntimeConfig{"compiler": wazero.NewRuntimeConfigCompiler}
	if os.Getenv("PROVOST_SPEC_INTERPRETER") != "" {
		engines["interpreter"] = wazero.NewRuntimeConfigInterpreter
	}
	for engine, newConfig := range engines {
		config := newConfig().WithCoreFeatures(features)
		for _, p := range proposals {
			t.Run(engine+"/"+p.dir, func(t *testing.T) {
				t.Parallel()
				scripts := readScripts(t, filepath.Join(dir, p.dir, "testdata"))
				passed, total, all := map[string]int{}, 0, 0
				checks, refused := 0, 0
				for _, s := range scripts {
					plain := play(t, s, config, nil, support)
					for i, r := range rewritings {
						if testing.Short() && i < len(rewritings)-1 {
							continue
						}
						same := play(t, s, config, &r.options, support)
						for i, was := range plain.outcomes {
							c, is := s.Commands[i], same.outcomes[i]
							if is.skipped {
								continue
							}
							all++
							at := fmt.Sprintf("%s:%d %s %s", s.Source, c.Line, c.Type, r.name)
							if p.features != 0 && errors.Is(is.err, errRefused) {
								refused++
							} else if was.err == nil {
								require.NoError(t, is.err, at)
								require.Equal(t, was.message, is.message, at)
								passed[r.name+" "+c.Type]++
								passed[r.name]++
								total++
							} else if c.Type == "module" {
								require.Error(t, is.err, "%s: not rewritten: %v", at, was.err)
							}
						}
						checks += same.marksChecked
					}
				}
				for _, k := range slices.Sorted(maps.Keys(passed)) {
					t.Logf("%-60s %6d", k, passed[k])
				}
				t.Logf("%d scripts, %d of %d assertions and commands passed rewritten, %d looks at marks, %d not done as the proposal is refused", len(scripts), total, all, checks, refused)
				require.NotZero(t, total)
				if p.features == 0 { // what our features allow beside, and linking as it was in version 1
					require.Less(t, all-total, all/100)
				}
			})
		}
	}
}

// Modules of proposals that the sandbox does not offer are refused with an
// error that says what they need.
func TestModulesOfOtherProposalsAreRefused(t *testing.T) {
	dir := mustSpecDir(t)
	for _, p := range proposals {
		if p.features == 0 {
			continue
		}
		t.Run(p.dir, func(t *testing.T) {
			w, err := newWorld(wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features|p.features), nil)
			require.NoError(t, err)
			defer w.close()
			ours, err := newWorld(wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features), nil)
			require.NoError(t, err)
			defer ours.close()
			refused := map[string]int{}
			n := 0
			for _, s := range readScripts(t, filepath.Join(dir, p.dir, "testdata")) {
				for _, c := range s.Commands {
					if c.Type != "module" {
						continue
					}
					wasm := s.read(t, c)
					if _, err := w.runtime.CompileModule(w.ctx, wasm); err != nil {
						continue
					}
					if _, err := ours.runtime.CompileModule(w.ctx, wasm); err == nil {
						continue // it does not need the proposal
					}
					_, err := rewrite.Rewrite(wasm, rewrite.Options{Meter: true, Track: true, DetachData: true})
					var e *rewrite.Error
					require.ErrorAs(t, err, &e, "%s:%d", s.Source, c.Line)
					require.NotEmpty(t, e.Message)
					require.Empty(t, e.Limit)
					refused[e.Message]++
					n++
				}
			}
			require.NotZero(t, n)
			for _, k := range slices.Sorted(maps.Keys(refused)) {
				t.Logf("%-60s %4d", k, refused[k])
			}
			t.Logf("%d modules refused", n)
		})
	}
}

type scriptFile struct {
	script
	dir string
}

func (s *scriptFile) read(t testing.TB, c command) []byte {
	b, err := os.ReadFile(filepath.Join(s.dir, c.Filename))
	require.NoError(t, err)
	return b
}

func readScripts(t testing.TB, dir string) (list []*scriptFile) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		s := &scriptFile{dir: dir}
		require.NoError(t, json.Unmarshal(b, &s.script), f)
		s.Source = filepath.Base(s.Source)
		list = append(list, s)
	}
	return list
}

var errRefused = errors.New("the module was refused")

// playing is a script while it runs.
type playing struct {
	*world
	t            testing.TB
	script       *scriptFile
	named        map[string]*guest
	last         *guest
	outcomes     []outcome
	marksChecked int
}

func play(t testing.TB, s *scriptFile, config wazero.RuntimeConfig, options *rewrite.Options, support []byte) *playing {
	w, err := newWorld(config, options)
	require.NoError(t, err)
	defer func() { require.NoError(t, w.close()) }()
	_, err = w.instantiate(support, "spectest")
	require.NoError(t, err)
	p := &playing{world: w, t: t, script: s, named: map[string]*guest{}}
	for i := range s.Commands {
		o := p.do(i)
		if len(w.order) > 0 && s.Commands[i].Action.Type == "invoke" {
			p.marksChecked++
			if err := w.checkMarks(); err != nil {
				o.err = errors.Join(o.err, err)
			}
		}
		p.outcomes = append(p.outcomes, o)
	}
	return p
}

func (p *playing) do(i int) outcome {
	c := &p.script.Commands[i]
	switch c.Type {
	case "module":
		name := ""
		if next := i + 1; next < len(p.script.Commands) && p.script.Commands[next].Type == "register" {
			name = p.script.Commands[next].As
		}
		p.last = nil
		g, err := p.instantiate(p.script.read(p.t, *c), name)
		if e := new(rewrite.Error); errors.As(err, &e) {
			return outcome{err: errors.Join(errRefused, err)}
		} else if err != nil {
			return outcome{err: err}
		}
		p.last = g
		if c.Name != "" {
			p.named[c.Name] = g
		}
		return outcome{}
	case "register":
		if p.last == nil {
			return outcome{err: errRefused}
		}
		return outcome{} // it has got its name already
	case "assert_malformed", "assert_invalid", "assert_unlinkable", "assert_uninstantiable":
		if c.ModuleType == "text" {
			return outcome{skipped: true}
		}
		_, err := p.instantiate(p.script.read(p.t, *c), "")
		// wazero keeps an instance whose element segment does not fit: its
		// functions may be in the tables of others already.
		if kept := c.Type == "assert_uninstantiable" && c.Text == "out of bounds table access"; kept != (err == nil) {
			return outcome{err: fmt.Errorf("%s: %v", c.Text, err)}
		}
		if c.Type == "assert_uninstantiable" {
			return outcome{message: withoutPosition(trap(err))}
		}
		return outcome{}
	case "assert_return", "action", "assert_trap", "assert_exhaustion":
		g := p.last
		if c.Action.Module != "" {
			g = p.named[c.Action.Module]
		}
		if g == nil {
			return outcome{err: errRefused}
		}
		return p.act(c, g)
	}
	return outcome{err: fmt.Errorf("the command %s is not known", c.Type)}
}

// withoutPosition drops what differs between a module and its rewritten form.
func withoutPosition(message string) string {
	if i := strings.Index(message, "wasm error: "); i >= 0 {
		return message[i:]
	}
	return ""
}

func (p *playing) act(c *command, g *guest) outcome {
	if c.Action.Type == "get" {
		global := g.module.ExportedGlobal(c.Action.Field)
		if global == nil {
			return outcome{err: fmt.Errorf("there is no global %s", c.Action.Field)}
		}
		want, _ := c.Expected[0].bits()
		if got := global.Get(); got != want[0] {
			return outcome{err: fmt.Errorf("the global is %#x, not %#x", got, want[0])}
		}
		return outcome{}
	}
	f := g.module.ExportedFunction(c.Action.Field)
	if f == nil {
		return outcome{err: fmt.Errorf("there is no function %s", c.Action.Field)}
	}
	var args []uint64
	for _, a := range c.Action.Args {
		v, _ := a.bits()
		args = append(args, v...)
	}
	got, err := f.Call(p.ctx, args...)
	switch c.Type {
	case "assert_trap":
		if want := "wasm error: " + trapMessage(c.Text); trap(err) != want {
			return outcome{err: fmt.Errorf("trapped with %v, not with %s", err, want)}
		}
		return outcome{message: trap(err)}
	case "assert_exhaustion":
		// The compiler says so without the prefix.
		if m := strings.TrimPrefix(trap(err), "wasm error: "); m != "stack overflow" {
			return outcome{err: fmt.Errorf("the stack should overflow: %v", err)}
		}
		return outcome{message: trap(err)}
	}
	if err != nil {
		return outcome{err: err}
	}
	n := 0
	for _, e := range c.Expected {
		want, classes := e.bits()
		for k, w := range want {
			if n >= len(got) || !e.matches(got[n], w, classes[k]) {
				return outcome{err: fmt.Errorf("returned %#x, where %v is expected", got, c.Expected)}
			}
			n++
		}
	}
	if n != len(got) {
		return outcome{err: fmt.Errorf("returned %d values, not %d", len(got), n)}
	}
	return outcome{}
}

// trapMessage is how wazero says what the suite expects.
func trapMessage(text string) string {
	switch text {
	case "indirect call":
		return "indirect call type mismatch"
	case "undefined element", "undefined", "out of bounds table access":
		return "invalid table access"
	case "null", "null function reference", "null function":
		return "null reference"
	}
	if strings.HasPrefix(text, "uninitialized") {
		return "invalid table access"
	}
	return text
}

// lane is a part of a value: so many bits, which may be any NaN of a class.
type lane struct {
	width uint
	nan   string
}

// bits returns the value in words of 64 bits, and for each its lanes.
func (v scriptValue) bits() (words []uint64, lanes [][]lane) {
	if v.Type != "v128" {
		s, _ := v.Value.(string)
		width := uint(64)
		if strings.Contains(v.Type, "32") {
			width = 32
		}
		n, nan := parseLane(s, width)
		if v.Type == "externref" && s != "" && s != "null" {
			n++ // 0 is null
		}
		if strings.HasSuffix(v.Type, "ref") && v.Value == nil {
			nan = "any"
		}
		return []uint64{n}, [][]lane{{{width, nan}}}
	}
	width, err := strconv.Atoi(v.LaneType[1:])
	if err != nil {
		panic(err)
	}
	list := v.Value.([]any)
	words, lanes = make([]uint64, 2), make([][]lane, 2)
	for i, s := range list {
		word := i * width / 64
		n, nan := parseLane(s.(string), uint(width))
		words[word] |= n << (i * width % 64)
		lanes[word] = append(lanes[word], lane{uint(width), nan})
	}
	return words, lanes
}

func parseLane(s string, width uint) (n uint64, nan string) {
	switch {
	case s == "" || s == "null":
		return 0, ""
	case strings.HasPrefix(s, "nan:"):
		return 0, s
	case s[0] == '-':
		signed, err := strconv.ParseInt(s, 10, int(width))
		if err != nil {
			panic(err)
		}
		return uint64(signed) & (math.MaxUint64 >> (64 - width)), ""
	}
	n, err := strconv.ParseUint(s, 10, int(width))
	if err != nil {
		panic(err)
	}
	return n, ""
}

func (v scriptValue) matches(got, want uint64, lanes []lane) bool {
	for _, l := range lanes {
		mask := uint64(math.MaxUint64) >> (64 - l.width)
		quiet, sign := uint64(0x7fc00000), uint64(1)<<31
		if l.width == 64 {
			quiet, sign = 0x7ff8<<48, 1<<63
		}
		switch g := got & mask; l.nan {
		case "":
			if g != want&mask {
				return false
			}
		case "nan:canonical":
			if g&^sign != quiet {
				return false
			}
		case "nan:arithmetic":
			if g&quiet != quiet {
				return false
			}
		}
		got, want = got>>(l.width&63), want>>(l.width&63)
	}
	return true
}
