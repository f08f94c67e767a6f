package sandbox

import "fmt"

// Kind says how a load or a call failed.
type Kind string

// The kinds of failure.
const (
	// KindInvalid: the bytes are no module that can be run here.
	KindInvalid Kind = "invalid"
	// KindTrap: the guest trapped or panicked.
	KindTrap Kind = "trap"
	// KindTime: the guest used up its time.
	KindTime Kind = "time"
	// KindLimit: the guest used up something else; the message says what.
	KindLimit Kind = "limit"
	// KindGuest: the guest ended with an error of its own, in Payload.
	KindGuest Kind = "guest"
	// KindBusy: there was no instance for the call in time. It may be tried
	// again.
	KindBusy Kind = "busy"
	// KindCancelled: the caller gave up.
	KindCancelled Kind = "cancelled"
)

// Error is a failure of a module. It names the module and the export, and
// carries the last lines that the guest logged.
type Error struct {
	Kind Kind
	// Limit is which limit was passed, by its name in a configuration, for
	// KindLimit and KindTime.
	Limit   string
	Module  string
	Export  string
	Message string
	// Payload is what the guest passed to error_set, for KindGuest.
	Payload []byte
	// Logs are the last lines that the guest logged.
	Logs []string
	Err  error
}

func (e *Error) Error() string {
	where := e.Module
	if e.Export != "" {
		where += " " + e.Export
	}
	return fmt.Sprintf("%s: %s", where, e.Message)
}

func (e *Error) Unwrap() error { return e.Err }
