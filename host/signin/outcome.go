package signin

import (
	"fmt"

	"github.com/provosthq/provost/host"
)

// Outcome is how a fetch of tokens ended.
type Outcome string

// The outcomes.
const (
	Fetched Outcome = "ok"
	// Refused: the server takes neither the client nor what it was asked with.
	Refused Outcome = "refused"
	// InvalidGrant: the server says that the grant is worth nothing any more.
	InvalidGrant Outcome = "invalid_grant"
	// Uncertain: nobody knows whether the server has given tokens.
	Uncertain Outcome = "uncertain"
	// Failed: there was no answer, and the server has done nothing.
	Failed Outcome = "failed"
	// NotStored: tokens came and could not be stored yet; nobody uses them.
	NotStored Outcome = "not_stored"
	// CutOff: whoever fetched them died at it.
	CutOff Outcome = "cut_off"
)

// fetchError is a token request that failed.
type fetchError struct {
	err error
	// ended: the server says that the grant is worth nothing any more.
	ended bool
	// uncertain: the server may have given tokens that we did not get.
	uncertain bool
}

func (e *fetchError) Error() string { return e.err.Error() }
func (e *fetchError) Unwrap() error { return e.err }

func (e *fetchError) reason() string {
	if e.uncertain {
		return fmt.Sprintf("a refresh got no answer, and nobody knows whether the server has given other tokens (%v)", e.err)
	}
	return e.err.Error()
}

func (e *fetchError) outcome() Outcome {
	switch code := host.CodeOf(e.err); {
	case e.ended:
		return InvalidGrant
	case e.uncertain:
		return Uncertain
	case code == host.Unauthorized, code == host.PermissionDenied, code == host.InvalidInput:
		return Refused
	default:
		return Failed
	}
}
