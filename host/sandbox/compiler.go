package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/provosthq/provost/host/sandbox/rewrite"
)

const (
	// lookAtMemory is how often the memory of a compiler is looked at.
	lookAtMemory = 10 * time.Millisecond
	// mostAnswer bounds what is read of a compiler's answer and of what it
	// says on stderr.
	mostAnswer = 16 << 10
	// leftBehind is how old the folder of a compiler is that nobody waits for.
	leftBehind = 24 * time.Hour
)

// Why a compiler was stopped.
var (
	errCompileTime   = errors.New("it took too long")
	errCompileMemory = errors.New("it took too much memory")
)

// order is what a compiler is told before it gets the module.
type order struct {
	// Dir is where it leaves what it made: a folder of its own, so that one
	// that is killed leaves nothing in the cache.
	Dir string
	// Rewriter is the version that the rewriting must have.
	Rewriter int
	Options  rewrite.Options
	// Memory is how many bytes it may have.
	Memory int64
	// GiveWay: there are calls, which go first.
	GiveWay bool
	// Size is the number of the module's bytes, which follow.
	Size int
}

// answer is what a compiler says when it is done: that it is, or why it
// refuses the module.
type answer struct {
	Done           bool
	Limit, Refused string
}

// refusal is why a module can't be loaded. Limit is what it passes, if any.
type refusal struct{ limit, message string }

func (r *refusal) Error() string { return r.message }

func refuse(format string, args ...any) *refusal {
	return &refusal{message: fmt.Sprintf(format, args...)}
}

func tookTooLong(l Limits) error {
	return &refusal{"compile_time", fmt.Sprintf("takes longer than %s to compile", l.CompileTime)}
}

// findCompiler looks for the compiler's program, before it is needed, and makes
// a cache where there is none.
func (r *Runtime) findCompiler() (err error) {
	program, err := exec.LookPath(r.options.Compiler[0])
	if err == nil {
		program, err = filepath.Abs(program)
	}
	if err != nil {
		return fmt.Errorf("the program that compiles modules: %w", err)
	}
	r.options.Compiler = append([]string{program}, r.options.Compiler[1:]...)
	if r.cacheDir != "" {
		if r.cacheDir, err = filepath.Abs(r.cacheDir); err != nil {
			return fmt.Errorf("compilation cache: %w", err)
		}
		return r.clearCompiling()
	}
	if r.cacheDir, err = os.MkdirTemp("", "sandbox"); err != nil {
		return fmt.Errorf("compilation cache: %w", err)
	}
	r.temporary = true
	return nil
}

func (r *Runtime) removeTemporary() error {
	if !r.temporary {
		return nil
	}
	return os.RemoveAll(r.cacheDir)
}

// compilingDir is where compilers have their folders.
func (r *Runtime) compilingDir() string { return filepath.Join(r.cacheDir, "compiling") }

// compileApart rewrites and compiles a module in another process, which ends
// when it takes too long or too much memory, and puts what it made into the
// cache.
func (r *Runtime) compileApart(ctx context.Context, key string, wasm []byte, o rewrite.Options, l Limits) (err error) {
	if err := os.MkdirAll(r.compilingDir(), 0o700); err != nil {
		return fmt.Errorf("compilation cache: %w", err)
	}
	dir, err := os.MkdirTemp(r.compilingDir(), "")
	if err != nil {
		return fmt.Errorf("compilation cache: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := r.runCompiler(ctx, order{Dir: dir, Rewriter: rewrite.Version, Options: o, Memory: l.CompileMemoryBytes, GiveWay: r.isCalled(), Size: len(wasm)}, wasm, l); err != nil {
		return err
	}
	// The rewritten module comes last: what is there of it has been compiled.
	code, err := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
	if err != nil {
		return err
	}
	for _, file := range code {
		to := filepath.Join(r.cacheDir, filepath.Base(filepath.Dir(file)))
		if err := os.MkdirAll(to, 0o700); err != nil {
			return fmt.Errorf("compilation cache: %w", err)
		}
		if err := os.Rename(file, filepath.Join(to, filepath.Base(file))); err != nil {
			return fmt.Errorf("compilation cache: %w", err)
		}
	}
	file := r.rewrittenFile(key)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("compilation cache: %w", err)
	}
	if err := os.Rename(filepath.Join(dir, rewrittenName), file); err != nil {
		return fmt.Errorf("compilation cache: %w", err)
	}
	return nil
}

// rewrittenName is the rewritten module in a compiler's folder.
const rewrittenName = "rewritten"

// runCompiler runs the compiler until it has answered.
func (r *Runtime) runCompiler(ctx context.Context, o order, wasm []byte, l Limits) error {
	head, err := json.Marshal(o)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ctx, cancel := context.WithTimeoutCause(ctx, l.CompileTime, errCompileTime)
	defer cancel()
	var out, said beginning
	c := exec.CommandContext(ctx, r.options.Compiler[0], r.options.Compiler[1:]...)
	c.Dir = o.Dir
	c.Env = []string{} // what is in ours is none of its business: secrets may be
	c.Stdout, c.Stderr = &out, &said
	c.WaitDelay = time.Second // for whoever else it gave its output to
	in, err := c.StdinPipe()
	if err != nil {
		return fmt.Errorf("the compiler can't be started: %w", err)
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("the compiler can't be started: %w", err)
	}
	// Its input stays open until it has ended: where it ends before, we have.
	fed, watched, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(fed)
		_, _ = io.Copy(in, io.MultiReader(bytes.NewReader(head), strings.NewReader("\n"), bytes.NewReader(wasm))) // if it does not read, it has an answer or has ended
	}()
	go func() {
		defer close(watched)
		tick := time.NewTicker(lookAtMemory)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
				if residentBytes(c.Process.Pid) > o.Memory {
					stop(errCompileMemory)
					return
				}
			}
		}
	}()
	err = c.Wait() // closes its input
	close(over)
	<-watched
	<-fed
	var a answer
	if err == nil && json.Unmarshal(out.b.Bytes(), &a) == nil {
		switch {
		case a.Refused != "":
			return &refusal{a.Limit, a.Refused}
		case a.Done:
			return nil
		}
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errCompileTime):
		return tookTooLong(l)
	case errors.Is(cause, errCompileMemory):
		return &refusal{"compile_memory", fmt.Sprintf("takes more than %d bytes of memory to compile", o.Memory)}
	case cause != nil:
		return ctx.Err()
	}
	text, _, _ := strings.Cut(said.b.String(), "\n\ngoroutine ") // of a crash, the stacks
	text = clip(strings.Join(strings.Fields(text), " "), 500)
	if strings.HasPrefix(text, "panic: ") || strings.Contains(text, "fatal error: stack overflow") {
		return refuse("can't be compiled; the compiler crashed: %s", text)
	}
	why := "without an answer"
	if err != nil {
		why = err.Error()
	}
	if text != "" {
		why += "; it said: " + text
	}
	return fmt.Errorf("the compiler %s ended before it was done (%s)", strings.Join(r.options.Compiler, " "), why)
}

// beginning keeps the first of what is written.
type beginning struct{ b bytes.Buffer }

func (w *beginning) Write(p []byte) (int, error) {
	w.b.Write(p[:min(len(p), mostAnswer-w.b.Len())])
	return len(p), nil
}

// clearCompiling removes what compilers left that nobody waited for.
func (r *Runtime) clearCompiling() error {
	entries, err := os.ReadDir(r.compilingDir())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if info, statErr := e.Info(); statErr == nil && time.Since(info.ModTime()) > leftBehind {
			err = errors.Join(err, os.RemoveAll(filepath.Join(r.compilingDir(), e.Name())))
		}
	}
	return err
}
