package host

// Effect is what other rules of an app would do to everybody: who would come
// in or leave, whose values would be others, which accounts would be linked
// otherwise. Nothing of it has happened.
type Effect struct {
	AppName string `json:"AppName"`
	// Users and Accounts were looked at.
	Users    int64 `json:"Users"`
	Accounts int64 `json:"Accounts"`
	// Granted users would come in, Withdrawn ones leave.
	Granted   int64 `json:"Granted"`
	Withdrawn int64 `json:"Withdrawn"`
	// Changed users would get other values, by attribute in Paths; of Failing
	// ones nothing could be made.
	Changed int64            `json:"Changed"`
	Paths   map[string]int64 `json:"Paths,omitempty"`
	Failing int64            `json:"Failing"`
	// Linked accounts would be linked that are not; Relinked ones are linked to
	// somebody else than the rules would say. (Those stay as they are: a link
	// that is known is kept.)
	Linked   int64 `json:"Linked"`
	Relinked int64 `json:"Relinked"`
	// Examples are the first of them.
	Examples []EffectExample `json:"Examples,omitempty"`
}

// EffectExample is one thing that would be otherwise.
type EffectExample struct {
	// Subject is a username, or an account's.
	Subject string `json:"Subject"`
	// What is granted, withdrawn, changed, failing, linked or relinked.
	What string `json:"What"`
	Path string `json:"Path,omitempty"`
	Now  any    `json:"Now,omitempty"`
	Then any    `json:"Then,omitempty"`
}
