package pdk

import (
	"errors"
	"fmt"
)

// The interfaces of a connector: one an operation. A connector implements
// those that its target has; [Register] finds out which.
type (
	// Creator makes an account from in.Attributes.
	Creator interface {
		Create(ctx *Context, in Input) (Account, error)
	}
	// Reader finds one account, by in.UserProvAccount.ExternalUserId or, where
	// that is empty, by what identifies it in in.UserProvAccount and
	// in.Attributes. No such account is [NotFound].
	Reader interface {
		Read(ctx *Context, in Input) (Account, error)
	}
	// Updater changes what in.ChangedAttributes names.
	Updater interface {
		Update(ctx *Context, in Input) (Account, error)
	}
	// Deactivator disables an account that can be enabled again.
	Deactivator interface {
		Deactivate(ctx *Context, in Input) (Account, error)
	}
	// Activator enables an account.
	Activator interface {
		Activate(ctx *Context, in Input) (Account, error)
	}
	// Freezer keeps a person from signing in for a while.
	Freezer interface {
		Freeze(ctx *Context, in Input) (Account, error)
	}
	// Unfreezer lets a frozen person sign in again.
	Unfreezer interface {
		Unfreeze(ctx *Context, in Input) (Account, error)
	}
	// Deleter takes the account away. One that is gone already is done.
	Deleter interface {
		Delete(ctx *Context, in Input) (Account, error)
	}
	// Checker asks what came of an answer that was pending.
	Checker interface {
		Check(ctx *Context, in Input) (Account, error)
	}
	// Reconciler returns one page of accounts.
	Reconciler interface {
		Reconcile(ctx *Context, in Input) (Page, error)
	}
	// Discoverer asks the target what it has and can do.
	Discoverer interface {
		Discover(ctx *Context, in Input) (Discovery, error)
	}
	// Tester tries the connection and the sign-in, and changes nothing.
	Tester interface {
		TestConnection(ctx *Context, in Input) error
	}
)

// Page is one page of a reconcile.
type Page struct {
	Accounts []Account
	// Next is where the next page begins; empty completes the collecting.
	Next string
	// State is handed to the next page as in.ReconState.
	State string
	// Token is kept after the last page and begins the next delta, as ReconState.
	// Where the target does not know it any more, the delta answers NotFound, and
	// the host collects everything.
	Token string
	// TotalEstimate is about how many accounts there are in all; 0 is unknown.
	TotalEstimate int64
}

// Add puts an account on the page.
func (p *Page) Add(a Account) { p.Accounts = append(p.Accounts, a) }

// registered is the connector of this module.
var registered struct {
	value       any
	description Description
}

// Register makes v the connector of this module. It is called once, from an
// init function. Operations and ContractVersion of d are filled in.
func Register(v any, d Description) {
	if registered.value != nil {
		panic("pdk.Register: called twice; a module is one connector")
	}
	registered.value, registered.description = v, Describe(v, d)
}

// Registered returns what [Register] was given, nil before.
func Registered() (any, Description) { return registered.value, registered.description }

// Describe completes d with the contract's version and with the operations
// whose interfaces v implements.
func Describe(v any, d Description) Description {
	d.ContractVersion = ContractVersion
	d.Operations = nil
	for _, op := range Operations {
		if op == OpDescribe || implements(v, op) {
			d.Operations = append(d.Operations, op)
		}
	}
	return d
}

func implements(v any, op Operation) bool {
	if call := accountCall(v, op); call != nil {
		return true
	}
	var ok bool
	switch op {
	case OpReconcile:
		_, ok = v.(Reconciler)
	case OpDiscover:
		_, ok = v.(Discoverer)
	case OpTestConnection:
		_, ok = v.(Tester)
	}
	return ok
}

// accountCall returns the method of v for an operation that answers with one
// account, nil if v has none.
func accountCall(v any, op Operation) func(*Context, Input) (Account, error) {
	switch op {
	case OpCreate:
		if c, ok := v.(Creator); ok {
			return c.Create
		}
	case OpRead:
		if c, ok := v.(Reader); ok {
			return c.Read
		}
	case OpUpdate:
		if c, ok := v.(Updater); ok {
			return c.Update
		}
	case OpDeactivate:
		if c, ok := v.(Deactivator); ok {
			return c.Deactivate
		}
	case OpActivate:
		if c, ok := v.(Activator); ok {
			return c.Activate
		}
	case OpFreeze:
		if c, ok := v.(Freezer); ok {
			return c.Freeze
		}
	case OpUnfreeze:
		if c, ok := v.(Unfreezer); ok {
			return c.Unfreeze
		}
	case OpDelete:
		if c, ok := v.(Deleter); ok {
			return c.Delete
		}
	case OpCheck:
		if c, ok := v.(Checker); ok {
			return c.Check
		}
	}
	return nil
}

// Handle runs one operation of v from the bytes of its input to those of its
// output. It is what an export of the module does, and what a test harness
// calls natively. A failure is an *[Error].
func Handle(ctx *Context, v any, d Description, op Operation, input []byte) (output []byte, failure *Error) {
	if op == OpDescribe {
		return encode(d)
	}
	in, err := DecodeInput(input)
	if err != nil {
		return nil, asError(err)
	}
	if in.Operation != op {
		return nil, Errorf(InvalidInput, "$.operation: is %q, but the export that was called is %q", in.Operation, op)
	}
	ctx.credential = in.NamedCredDevName
	if in.ObjectClass == "" {
		in.ObjectClass = ObjectClassAccount
	}
	if call := accountCall(v, op); call != nil {
		a, err := call(ctx, in)
		if err != nil {
			return nil, asError(err)
		}
		return encode(a.output())
	}
	if c, ok := v.(Reconciler); ok && op == OpReconcile {
		p, err := c.Reconcile(ctx, in)
		if err != nil {
			return nil, asError(err)
		}
		return encode(p.output())
	}
	if c, ok := v.(Discoverer); ok && op == OpDiscover {
		found, err := c.Discover(ctx, in)
		if err != nil {
			return nil, asError(err)
		}
		return encode(withLists(found))
	}
	if c, ok := v.(Tester); ok && op == OpTestConnection {
		if err := c.TestConnection(ctx, in); err != nil {
			return nil, asError(err)
		}
		return encode(Output{Status: "ok"})
	}
	return nil, Errorf(Unsupported, "%s has no operation %q", d.Name, op)
}

// withLists makes the required lists of d empty instead of null.
func withLists(d Discovery) Discovery {
	d.ObjectClasses = append([]ObjectClass{}, d.ObjectClasses...)
	for i := range d.ObjectClasses {
		if d.ObjectClasses[i].Attributes == nil {
			d.ObjectClasses[i].Attributes = []Attribute{}
		}
	}
	if d.Capabilities.Operations == nil {
		d.Capabilities.Operations = []Operation{}
	}
	return d
}

func encode(v any) ([]byte, *Error) {
	b, err := Marshal(v)
	if err != nil {
		return nil, Errorf(Internal, "the answer can't be written as JSON: %v", err)
	}
	return b, nil
}

func (a Account) output() Output {
	return Output{
		ExternalUserId: a.ExternalUserId, ExternalUsername: a.ExternalUsername,
		ExternalFirstName: a.ExternalFirstName, ExternalLastName: a.ExternalLastName, ExternalEmail: a.ExternalEmail,
		Status: a.Status, Details: a.Details, Attributes: a.Attributes, Version: a.Version,
		Pending: a.Pending, Outputs: a.Outputs,
	}
}

// Account returns the account of an answer about one.
func (o Output) Account() Account {
	return Account{
		ExternalUserId: o.ExternalUserId, ExternalUsername: o.ExternalUsername,
		ExternalFirstName: o.ExternalFirstName, ExternalLastName: o.ExternalLastName, ExternalEmail: o.ExternalEmail,
		Status: o.Status, Details: o.Details, Attributes: o.Attributes, Version: o.Version,
		Pending: o.Pending, Outputs: o.Outputs,
	}
}

func (p Page) output() Output {
	o := Output{Accounts: p.Accounts, NextReconOffset: p.Next, ReconState: p.State}
	if p.TotalEstimate > 0 {
		o.TotalEstimate = &p.TotalEstimate
	}
	if p.Next == "" {
		o.ReconState = ReconStateComplete
		if p.Token != "" {
			o.ReconState += ":" + p.Token
		}
	}
	return o
}

func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		if error(e) == err {
			return e
		}
		wrapped := *e
		wrapped.Message = err.Error()
		return &wrapped
	}
	return &Error{Type: Internal, Message: fmt.Sprint(err)}
}
