package host

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/provosthq/provost/pdk"
)

// Code says what kind of failure an [Error] is. The words are those of the
// connector contract, and a few for what only the host can know. The exit code
// of a command, the status of an HTTP answer and the decision to try again are
// all read from it.
type Code string

// The contract's codes (see [pdk.ErrorType]) and the host's own.
const (
	NotFound         = Code(pdk.NotFound)
	AlreadyExists    = Code(pdk.AlreadyExists)
	InvalidInput     = Code(pdk.InvalidInput)
	Unauthorized     = Code(pdk.Unauthorized)
	PermissionDenied = Code(pdk.PermissionDenied)
	RateLimited      = Code(pdk.RateLimited)
	Unavailable      = Code(pdk.Unavailable)
	Conflict         = Code(pdk.Conflict)
	Unsupported      = Code(pdk.Unsupported)
	Internal         = Code(pdk.Internal)

	// LimitExceeded: a connector used more than it is given (time, memory,
	// calls, bytes).
	LimitExceeded Code = "LimitExceeded"
	// ConnectorFault: a connector trapped, or answered with what the contract
	// does not allow.
	ConnectorFault Code = "ConnectorFault"
	// Changed: it is not any more what the caller says that it was.
	Changed Code = "Changed"
	// Usage: the command line or the call is not of the form it must have.
	Usage Code = "Usage"
	// Cancelled: the caller gave up, or the daemon is stopping. It says nothing
	// about the work.
	Cancelled Code = "Cancelled"
)

// Error is the one error type of the host. Message is for a person and says
// what to do next; it never holds a secret.
type Error struct {
	Code    Code
	Message string
	// Field is the path of the value at fault, such as apps.acme.credential.
	Field string
	// Details are the target's or the vendor's own words.
	Details string
	// HTTPStatus is the status of the target's answer, 0 if there was none.
	HTTPStatus int
	// RetryAfter is how long the target asked us to wait, 0 if it did not.
	RetryAfter time.Duration
	// Uncertain: the target may have acted before this failed.
	Uncertain bool
	// Err is the cause, for errors.Is and the log.
	Err error
}

// Errorf makes an error with a code. As in [fmt.Errorf], %w keeps the cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

func (e *Error) Error() string {
	if e.Field != "" {
		return e.Field + ": " + e.Message
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, &Error{Code: NotFound}) true for every NotFound.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Message == ""
}

// CodeOf returns the code of the first *[Error] in the chain of err, the
// contract's type of a *[pdk.Error], Internal for any other, "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Code(pdk.TypeOf(err))
}

// ExitCode is what a command ends with: 0 done, 1 failed, 2 wrong usage.
func (c Code) ExitCode() int {
	switch c {
	case "":
		return 0
	case Usage:
		return 2
	default:
		return 1
	}
}

// HTTPStatus is what an API answer has for this code.
func (c Code) HTTPStatus() int {
	switch c {
	case "":
		return http.StatusOK
	case NotFound:
		return http.StatusNotFound
	case AlreadyExists, Conflict:
		return http.StatusConflict
	case Changed:
		return http.StatusPreconditionFailed
	case InvalidInput, Usage, Unsupported:
		return http.StatusUnprocessableEntity
	case Unauthorized:
		return http.StatusUnauthorized
	case PermissionDenied:
		return http.StatusForbidden
	case RateLimited:
		return http.StatusTooManyRequests
	case Unavailable, Cancelled:
		return http.StatusServiceUnavailable
	case ConnectorFault, LimitExceeded:
		return http.StatusBadGateway
	default:
		return http.StatusInternalServerError
	}
}

// Retryable tells whether the same request may succeed later with nobody
// changing anything.
func (c Code) Retryable() bool {
	switch c {
	case RateLimited, Unavailable, Conflict, LimitExceeded, Cancelled:
		return true
	default:
		return false
	}
}
