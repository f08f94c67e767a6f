package connector

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/pdk"
)

// asHostError says what a failure of the sandbox means. label is the
// connector's name, with its version where it is known; op is empty while a
// module is being loaded; logs are the lines of the call.
func asHostError(err error, label string, op pdk.Operation, logs []string) *host.Error {
	where := "connector " + label
	if op != "" {
		where += ": " + string(op)
	}
	var e *sandbox.Error
	if !errors.As(err, &e) {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return host.Errorf(host.Cancelled, "%s: %w", where, err)
		}
		return host.Errorf(host.Internal, "%s: %w", where, err)
	}
	code := host.ConnectorFault
	switch e.Kind {
	case sandbox.KindGuest:
		return typed(pdk.DecodeError(e.Payload))
	case sandbox.KindInvalid:
		code = host.InvalidInput
	case sandbox.KindTime, sandbox.KindLimit:
		code = host.LimitExceeded
	case sandbox.KindBusy:
		code = host.Unavailable
	case sandbox.KindCancelled:
		code = host.Cancelled
	}
	return host.Errorf(code, "%s: %s%s", where, e.Message, lastLines(logs))
}

// typed turns the contract's error into the host's.
func typed(e *pdk.Error) *host.Error {
	return &host.Error{
		Code: host.Code(e.Type), Message: e.Message, Field: e.Attribute, Details: e.Details, HTTPStatus: e.HTTPStatus,
		RetryAfter: time.Duration(e.RetryAfterSeconds) * time.Second, Uncertain: e.Uncertain, Err: e,
	}
}

// textOf is the message of a contract error, without its type.
func textOf(err error) string {
	var e *pdk.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

// shownLogLines of a failed call stand in its message.
const shownLogLines = 3

// lastLines are the end of a connector's log, for a message. Of a Go panic it
// is the panic's own line and what came before it, not the stack.
func lastLines(logs []string) string {
	if stack := slices.IndexFunc(logs, func(l string) bool { return strings.Contains(l, " goroutine ") }); stack > 0 {
		logs = logs[:stack]
	}
	if len(logs) == 0 {
		return ""
	}
	logs = logs[max(0, len(logs)-shownLogLines):]
	parts := make([]string, len(logs))
	for i, l := range logs {
		parts[i] = oneLine(l)
	}
	return " (it last logged: " + strings.Join(parts, " | ") + ")"
}
