package sandbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"
)

// Env is what one call may use of the world.
type Env struct {
	// Config is what config_get reads.
	Config map[string]string
	// HTTP performs a request; nil refuses every one. It never returns nil.
	HTTP func(ctx context.Context, r *HTTPRequest) *HTTPResponse
	// Log gets each line that the guest logs, within the limits; may be nil.
	Log func(level slog.Level, line string)
}

// HTTPRequest is what a guest wants sent.
type HTTPRequest struct {
	Method string
	URL    string
	Header map[string]string
	Body   []byte
}

// HTTPResponse is the answer. Status 0 is a request that failed; what the Body
// says then is between the guest and whoever performs the request.
type HTTPResponse struct {
	Status int
	Header map[string]string
	Body   []byte
}

// Usage is what a call cost.
type Usage struct {
	// Duration is the whole call; HTTPDuration the part spent in Env.HTTP.
	Duration, HTTPDuration time.Duration
	// MemoryBytes is the guest's linear memory at the end.
	MemoryBytes int64
	HTTPCalls   int
	// HTTPBytesOut and HTTPBytesIn are bodies.
	HTTPBytesOut, HTTPBytesIn int64
	LogLines                  int
	// Fuel is the work that the guest did; 0 while calls are not metered.
	Fuel int64
}

// Causes for which a call is ended from outside.
var (
	errTime     = errors.New("time is up")
	errCapacity = errors.New("limit")
)

// Call runs an export with an input and returns its output. Every error is an
// *[Error]; usage is right in any case.
func (m *Module) Call(ctx context.Context, export string, input []byte, env Env) (output []byte, usage Usage, err error) {
	m.calls.Add(1)
	defer m.calls.Done()
	fail := func(kind Kind, format string, args ...any) *Error {
		return &Error{Kind: kind, Module: m.name, Export: export, Message: fmt.Sprintf(format, args...)}
	}
	if ctx.Err() != nil {
		e := fail(KindCancelled, "cancelled before it began")
		e.Err = ctx.Err()
		return nil, usage, e
	}
	def, ok := m.compiled.module.ExportedFunctions()[export]
	if !ok {
		return nil, usage, fail(KindInvalid, "the module does not export %q; it exports %s", export, strings.Join(m.Exports(), ", "))
	}
	if !callable(def) {
		return nil, usage, fail(KindInvalid, "the export %q has parameters or a result that is no i32; an operation has none of both or one i32", export)
	}
	if len(input) > m.limits.Input {
		return nil, usage, fail(KindLimit, "the input has %d bytes; the limit is %d", len(input), m.limits.Input)
	}

	callCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	k := newKernel(m.limits, input, env, cancel)
	callCtx = context.WithValue(callCtx, kernelKey{}, k)
	begin := time.Now()
	k.clock.start(m.limits.Time, func() { cancel(errTime) })
	defer k.clock.stop()

	result, memory, runErr := m.run(callCtx, export, k)
	usage = Usage{Duration: time.Since(begin), HTTPDuration: k.httpDuration, MemoryBytes: memory, HTTPCalls: k.httpCalls,
		HTTPBytesOut: k.httpOut, HTTPBytesIn: k.httpIn, LogLines: k.logLines}
	if runErr == nil && result == 0 && k.failure == nil {
		if int64(len(k.output)) > int64(m.limits.Output) {
			return nil, usage, fail(KindLimit, "the output has %d bytes; the limit is %d", len(k.output), m.limits.Output)
		}
		return k.output, usage, nil
	}
	return nil, usage, m.explain(ctx, callCtx, export, k, result, memory, runErr)
}

// explain makes the error of a call that did not end well.
func (m *Module) explain(ctx, callCtx context.Context, export string, k *kernel, result uint32, memory int64, runErr error) *Error {
	e := &Error{Kind: KindTrap, Module: m.name, Export: export, Logs: k.lastLogs(), Err: runErr}
	cause := context.Cause(callCtx)
	var exit *sys.ExitError
	switch {
	case errors.Is(cause, errTime):
		e.Kind, e.Message = KindTime, fmt.Sprintf("ran longer than %s (time in HTTP not counted) and was stopped", m.limits.Time)
	case errors.Is(cause, errCapacity):
		e.Kind, e.Message = KindLimit, k.exceeded
	case ctx.Err() != nil:
		e.Kind, e.Message, e.Err = KindCancelled, "cancelled", ctx.Err()
	case k.failure != nil:
		e.Kind, e.Payload, e.Message = KindGuest, k.failure, "failed: "+clip(string(k.failure), 200)
	case runErr == nil:
		e.Kind, e.Message = KindGuest, fmt.Sprintf("returned %d and set no error", int32(result))
	case memory >= int64(m.limits.pages())*pageBytes:
		e.Kind, e.Message = KindLimit, fmt.Sprintf("used up its memory (%d bytes) and trapped: %s", memory, firstLine(runErr))
	case errors.As(runErr, &exit):
		e.Message = fmt.Sprintf("ended the program with code %d%s", exit.ExitCode(), said(e.Logs))
	default:
		e.Message = "trapped: " + firstLine(runErr) + said(e.Logs)
	}
	return e
}

func said(logs []string) string {
	if len(logs) == 0 {
		return ""
	}
	return "; its last words: " + clip(logs[len(logs)-1], 200)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return strings.TrimSuffix(line, " (recovered by wazero)")
}

func clip(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}

// run makes an instance, calls the export and takes the instance away.
func (m *Module) run(ctx context.Context, export string, k *kernel) (result uint32, memory int64, err error) {
	defer func() {
		if p := recover(); p != nil { // a fault of the engine must stay in the call
			err = fmt.Errorf("the engine failed: %v", p)
		}
	}()
	out := &lineWriter{write: func(line string) { k.log(slog.LevelInfo, line) }}
	config := wazero.NewModuleConfig().
		WithName("").
		WithStartFunctions().
		WithRandSource(rand.Reader).
		WithSysWalltime().
		WithSysNanotime().
		WithStdout(out).
		WithStderr(out)
	instance, err := m.engine.wazero.InstantiateModule(ctx, m.compiled.module, config)
	if err != nil {
		return 0, 0, err
	}
	size := func() int64 {
		if mem := instance.Memory(); mem != nil {
			return int64(mem.Size())
		}
		return 0
	}
	defer func() {
		memory = size()
		out.flush()
		_ = instance.Close(context.WithoutCancel(ctx)) // it has no more to say
	}()
	if init := instance.ExportedFunction("_initialize"); init != nil {
		if _, err := init.Call(ctx); err != nil {
			return 0, 0, err
		}
	}
	results, err := instance.ExportedFunction(export).Call(ctx)
	if err != nil {
		return 0, 0, err
	}
	if len(results) == 1 {
		result = api.DecodeU32(results[0])
	}
	return result, 0, nil
}

// lineWriter turns what a guest prints into lines.
type lineWriter struct {
	buf   []byte
	write func(line string)
}

const longestLine = 4 << 10

func (w *lineWriter) Write(p []byte) (int, error) {
	for _, b := range p {
		if b == '\n' || len(w.buf) >= longestLine {
			w.flush()
		}
		if b != '\n' {
			w.buf = append(w.buf, b)
		}
	}
	return len(p), nil
}

func (w *lineWriter) flush() {
	if len(w.buf) > 0 {
		w.write(string(w.buf))
		w.buf = w.buf[:0]
	}
}

// stopwatch ends a call after a time that can be paused.
type stopwatch struct {
	timer *time.Timer
	left  time.Duration
	since time.Time
}

func (s *stopwatch) start(d time.Duration, end func()) {
	s.left, s.since = d, time.Now()
	s.timer = time.AfterFunc(d, end)
}

func (s *stopwatch) stop() { s.timer.Stop() }

// pause stops the clock and returns what starts it again.
func (s *stopwatch) pause() (resume func()) {
	s.timer.Stop()
	s.left -= time.Since(s.since)
	return func() {
		s.since = time.Now()
		s.timer.Reset(max(0, s.left))
	}
}
