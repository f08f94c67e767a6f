package sandbox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/provosthq/provost/host/sandbox/rewrite"
)

// CompileMain is the program of [Options.Compiler]: it compiles the module that
// in brings, says on out how that went, and returns the exit code. It is for a
// process that does nothing else: it sets the garbage collector, closes the
// descriptors that the process was started with, lets calls go first where it is
// told to, and ends it when in ends, for then nobody waits for it any more.
func CompileMain(in io.Reader, out io.Writer) (code int) {
	closeInherited()
	r := bufio.NewReaderSize(in, mostAnswer)
	var o order
	head, err := r.ReadSlice('\n')
	if err == nil {
		err = json.Unmarshal(head, &o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "this compiles modules for a sandbox, which says what and where; it can't be used by hand:", err)
		return 1
	}
	if o.Rewriter != rewrite.Version {
		fmt.Fprintf(os.Stderr, "it rewrites modules in version %d; wanted is %d: the program has been replaced since the sandbox was started; start that again\n", rewrite.Version, o.Rewriter)
		return 1
	}
	if o.GiveWay {
		giveWay()
	}
	// Near the limit the collector does what it can, and soon no more: what a
	// process has besides its heap is beyond it. Most modules never come there,
	// and are compiled faster with more garbage around.
	debug.SetMemoryLimit(max(o.Memory-besides, o.Memory/2))
	debug.SetGCPercent(400)
	wasm := make([]byte, o.Size)
	if _, err := io.ReadFull(r, wasm); err != nil {
		fmt.Fprintln(os.Stderr, "the module ends too soon:", err)
		return 1
	}
	cache, err := wazero.NewCompilationCacheWithDir(o.Dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() { // from now on nothing is made in the folder before the module is compiled
		_, _ = io.Copy(io.Discard, r)
		_ = os.RemoveAll(o.Dir) // the cache is cleared of it in time otherwise
		os.Exit(1)
	}()
	a := answer{Done: true}
	if err := compileInto(o, wasm, cache); err != nil {
		a = answer{Refused: err.Error()}
		if no := new(refusal); errors.As(err, &no) {
			a.Limit = no.limit
		} else {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if err := json.NewEncoder(out).Encode(a); err != nil {
		return 1
	}
	return 0
}

// besides is what the compiler's process has besides what Go counts: its
// program.
const besides = 24 << 20

// compileInto leaves a module rewritten and compiled in the order's folder. An
// error that is no refusal is not the module's.
func compileInto(o order, wasm []byte, cache wazero.CompilationCache) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = refuse("can't be compiled: %v", clip(fmt.Sprint(p), mostMessage))
		}
	}()
	info, err := rewriteModule(wasm, o.Options)
	if err != nil {
		return err
	}
	if len(info.Imports) == 0 {
		ctx := context.Background()
		// Nothing is closed: the process ends.
		if _, err := newWazero(ctx, cache).CompileModule(experimental.WithCompilationWorkers(ctx, compileWorkers), info.Wasm); err != nil {
			return refuse("is no valid WebAssembly: %s", clip(err.Error(), mostMessage))
		}
	}
	return keepRewritten(filepath.Join(o.Dir, rewrittenName), info)
}
