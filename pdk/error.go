package pdk

import (
	"errors"
	"fmt"
)

// ErrorType is one of the contract's closed list of what can go wrong. A host
// takes a type that it does not know for [Internal].
type ErrorType string

// The error types of contract version 1, and what a host does about each.
const (
	NotFound         ErrorType = "NotFound"         // the account is not there; a delete counts it as done
	AlreadyExists    ErrorType = "AlreadyExists"    // the host looks the account up and links it
	InvalidInput     ErrorType = "InvalidInput"     // a person must change the value or the mapping
	Unauthorized     ErrorType = "Unauthorized"     // the credential is wrong or not authorised yet
	PermissionDenied ErrorType = "PermissionDenied" // the credential may not do this
	RateLimited      ErrorType = "RateLimited"      // try again after RetryAfterSeconds
	Unavailable      ErrorType = "Unavailable"      // try again later
	Conflict         ErrorType = "Conflict"         // somebody else changed it: read again, then try again
	Unsupported      ErrorType = "Unsupported"      // the target or the connector can't do this
	Internal         ErrorType = "Internal"         // a fault of the connector or an unknown one
)

// ErrorTypes lists the error types of contract version 1.
var ErrorTypes = []ErrorType{
	NotFound, AlreadyExists, InvalidInput, Unauthorized, PermissionDenied,
	RateLimited, Unavailable, Conflict, Unsupported, Internal,
}

// Error is the contract's error. As JSON it is what a connector passes to
// Extism's error_set before it returns a value other than 0, and the body of
// a callout's answer that has the status 0.
type Error struct {
	Type              ErrorType `json:"type" jsonschema:"enum=NotFound,enum=AlreadyExists,enum=InvalidInput,enum=Unauthorized,enum=PermissionDenied,enum=RateLimited,enum=Unavailable,enum=Conflict,enum=Unsupported,enum=Internal"`
	Message           string    `json:"message" jsonschema_description:"For the administrator: what is wrong and what to do."`
	RetryAfterSeconds int       `json:"retryAfterSeconds,omitempty" jsonschema:"minimum=0"`
	HTTPStatus        int       `json:"httpStatus,omitempty" jsonschema_description:"Of the answer that led to this, if there was one."`
	Attribute         string    `json:"attribute,omitempty" jsonschema_description:"Path of the attribute at fault."`
	Uncertain         bool      `json:"uncertain,omitempty" jsonschema_description:"The request may have reached the target before it failed: nobody knows whether it took effect."`
	Details           string    `json:"details,omitempty" jsonschema_description:"The vendor's own words."`
}

// Errorf makes an error of the given type.
func Errorf(t ErrorType, format string, args ...any) *Error {
	return &Error{Type: t, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	s := string(e.Type) + ": " + e.Message
	if e.Attribute != "" {
		s += " (attribute " + e.Attribute + ")"
	}
	if e.HTTPStatus != 0 {
		s += fmt.Sprintf(" (HTTP %d)", e.HTTPStatus)
	}
	return s
}

// Is makes errors.Is(err, &Error{Type: NotFound}) true for every NotFound.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Type == e.Type
}

// TypeOf returns the type of err: that of the *[Error] in its chain, [Internal]
// for any other error, "" for nil.
func TypeOf(err error) ErrorType {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Type
	}
	return Internal
}
