package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"github.com/tetratelabs/wazero/sys"
)

// Env is what one call may use of the world.
type Env struct {
	// Tenant is whose call it is: where instances are scarce, tenants take
	// turns.
	Tenant string
	// Config is what config_get reads.
	Config map[string]string
	// HTTP performs a request; nil refuses every one. It never returns nil,
	// and leaves the answer's Body to the guest.
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
	// Duration is the call's from when it had an instance; HTTPDuration the
	// part of it spent in Env.HTTP. Waited is how long it had none.
	Duration, HTTPDuration, Waited time.Duration
	// MemoryBytes is the guest's linear memory at the end.
	MemoryBytes int64
	HTTPCalls   int
	// HTTPBytesOut and HTTPBytesIn are bodies.
	HTTPBytesOut, HTTPBytesIn int64
	LogLines                  int
	// Fuel is the work that the guest did, in instructions. A branch that was
	// not taken may count too, always in the same way.
	Fuel int64
}

// Call runs an export with an input and returns its output. It begins from the
// module's pristine state. Every error is an *[Error]; usage is right in any
// case. The input is not changed.
func (m *Module) Call(ctx context.Context, export string, input []byte, env Env) (output []byte, usage Usage, err error) {
	m.calls.Add(1)
	defer m.calls.Done()
	fail := func(kind Kind, format string, args ...any) *Error {
		return &Error{Kind: kind, Module: m.name, Export: export, Message: clip(fmt.Sprintf(format, args...), mostMessage)}
	}
	cancelled := func(when string) *Error {
		e := fail(KindCancelled, "cancelled %s", when)
		e.Err = ctx.Err()
		return e
	}
	if ctx.Err() != nil {
		return nil, usage, cancelled("before it began")
	}
	if err := m.exported(export); err != nil {
		return nil, usage, fail(KindInvalid, "%v", err)
	}
	if len(input) > m.limits.Input {
		e := fail(KindLimit, "the input has %d bytes; the limit is %d", len(input), m.limits.Input)
		e.Limit = "input"
		return nil, usage, e
	}
	begin := time.Now()
	i, err := m.pool.acquire(ctx, env.Tenant)
	usage.Waited = time.Since(begin)
	if err != nil {
		var e *Error
		switch {
		case ctx.Err() != nil:
			return nil, usage, cancelled("while it waited for an instance")
		case errors.As(err, &e):
			own := *e // others that waited get the same
			own.Export, own.Message = export, clip("its start-up: "+e.Message, mostMessage)
			return nil, usage, &own
		case errors.Is(err, errBusy):
			return nil, usage, fail(KindBusy, "waited %s for one of its %d instances; all are busy", m.limits.Wait, m.limits.Instances)
		case errors.Is(err, errClosed):
			return nil, usage, fail(KindCancelled, "the module is closed")
		case errors.Is(err, errMemory):
			return nil, usage, fail(KindBusy, "no memory for another instance: all sandboxes together may have %d bytes", m.runtime.options.MemoryBytes)
		}
		return nil, usage, fail(KindTrap, "its start-up failed: %v", err)
	}
	k := i.kernel
	begin = time.Now()
	runErr := i.run(ctx, export, input, env)
	k.printed.flush()
	usage.Waited += k.waited
	usage.Duration, usage.HTTPDuration, usage.Fuel = time.Since(begin)-k.waited, k.httpDuration, k.meter.used
	usage.HTTPCalls, usage.HTTPBytesOut, usage.HTTPBytesIn, usage.LogLines = k.httpCalls, k.httpOut, k.httpIn, k.logLines
	usage.MemoryBytes = i.visible()
	if result := int32(i.stack[0]); runErr == nil && result == 0 && k.failure == nil {
		output = k.output
	} else {
		err = m.explain(ctx, export, i, result, runErr)
	}
	m.pool.release(i)
	return output, usage, err
}

// explain makes the error of a call that did not end well.
func (m *Module) explain(ctx context.Context, export string, i *instance, result int32, runErr error) *Error {
	k := i.kernel
	e := &Error{Kind: KindTrap, Module: m.name, Export: export, Logs: k.recent, Err: runErr}
	var exit *sys.ExitError
	switch {
	case k.ending == endTime:
		e.Kind, e.Limit, e.Message = KindTime, "time", fmt.Sprintf("ran longer than %s (time in HTTP not counted) and was stopped", m.limits.Time)
	case k.ending == endLimit:
		e.Kind, e.Limit, e.Message = KindLimit, k.limit, k.exceeded
	case k.ending == endCancelled || runErr != nil && ctx.Err() != nil:
		e.Kind, e.Message, e.Err = KindCancelled, "cancelled", ctx.Err()
	case k.failure != nil:
		e.Kind, e.Payload, e.Message = KindGuest, k.failure, "failed: "+clip(string(k.failure), 200)
	case runErr == nil:
		e.Kind, e.Message = KindGuest, fmt.Sprintf("returned %d and set no error", result)
	case i.refusedGrowth() > 0:
		e.Kind, e.Limit, e.Message = KindLimit, "memory", fmt.Sprintf("asked for %d bytes of memory beyond its %d, was refused (the limit is %d), and trapped: %s%s",
			i.refusedGrowth(), i.visible(), m.limits.MemoryBytes, firstLine(runErr), said(e.Logs))
	case errors.As(runErr, &exit):
		e.Message = fmt.Sprintf("ended the program with code %d%s", exit.ExitCode(), said(e.Logs))
	default:
		e.Message = "trapped: " + firstLine(runErr) + said(e.Logs)
	}
	e.Message = clip(e.Message, mostMessage)
	return e
}

// said quotes the guest's last words: what it panicked with, or its last line.
func said(logs []string) string {
	if len(logs) == 0 {
		return ""
	}
	last := logs[len(logs)-1]
	for _, line := range logs {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			last = line
		}
	}
	return "; its last words: " + clip(last, 200)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return strings.TrimSuffix(line, " (recovered by wazero)")
}

// mostMessage bounds what an error says: a module's names and errors are its
// author's.
const mostMessage = 2 << 10

// clip returns one line of text of at most n bytes and an ellipsis.
func clip(s string, n int) string {
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
}

// lineWriter turns what a guest prints into lines.
type lineWriter struct {
	buf   []byte
	write func(line string)
}

const longestLine = 4 << 10

func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		line, rest, ended := bytes.Cut(p, []byte("\n"))
		if room := longestLine - len(w.buf); len(line) > room {
			line, rest, ended = p[:room], p[room:], true
		}
		w.buf = append(w.buf, line...)
		if p = rest; ended {
			w.flush()
		}
	}
	return n, nil
}

func (w *lineWriter) flush() {
	if len(w.buf) > 0 {
		w.write(string(w.buf))
		w.buf = w.buf[:0]
	}
}
