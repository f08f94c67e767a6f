package provision

import (
	"context"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

// prepared is the input of a call with what it is to have of the attributes:
// what is for new accounts goes to new accounts, a name that is not chosen yet
// to nobody, and a password is made for the one call that makes the account.
func (e *Engine) prepared(a *attempt, op pdk.Operation) (pdk.Input, error) {
	in := a.input(op)
	if in.Attributes == nil {
		return in, nil
	}
	rules, err := e.Rules(a.app.AppName)
	if err != nil {
		if op != pdk.OpCreate { // an app that is no longer configured is left all the same
			return in, nil
		}
		return in, err
	}
	switch {
	case op == pdk.OpCreate && a.user != nil:
		in.Secrets, err = rules.Secrets(a.user)
	case a.account != nil:
		in.Attributes = rules.OfAccount(in.Attributes)
	default:
		in.Attributes = rules.Known(in.Attributes)
	}
	return in, err
}

// naming chooses the names of a new account that must be unique, such as jdoe2,
// and keeps them for its user before the target hears of them, so that whatever
// becomes of the attempt, the next one looks for the same account.
type naming struct {
	engine  *Engine
	attempt *attempt
	canRead bool
	// refused are names that the target has said no to.
	refused map[string]bool
	// trace is what was asked of the target.
	trace host.CallTrace
}

// mostNamings is how often a name is chosen anew because somebody else was
// faster.
const mostNamings = 5

// begin chooses the names, if there are any to choose. Where the user turns out
// to have an account under another name, what came of taking it is returned.
func (n *naming) begin(ctx context.Context) (*answer, error) {
	rules, err := n.engine.Rules(n.attempt.app.AppName)
	if err != nil {
		return nil, err
	}
	_, paths, err := rules.Resolve(n.attempt.request.Attributes, func(string, string) (bool, error) { return false, nil })
	if err != nil || len(paths) == 0 {
		return nil, err
	}
	if found, err := n.underAnotherName(ctx, rules, paths); err != nil || found != nil {
		return found, err
	}
	return nil, n.choose(ctx, rules)
}

// another goes on after the target has said that there is such an account
// already: if it is the user's, it is taken; if another has been faster with
// the name, another name is chosen. It returns nil where the names are not
// ours to choose.
func (n *naming) another(ctx context.Context, made answer) (*answer, error) {
	rules, err := n.engine.Rules(n.attempt.app.AppName)
	if err != nil {
		return nil, err
	}
	r := n.attempt.request
	for range mostNamings {
		marked, has, err := rules.Unresolve(r.Attributes, n.attempt.user)
		if err != nil || !has {
			return nil, err
		}
		n.trace = made.trace
		_, paths, err := rules.Resolve(marked, func(string, string) (bool, error) { return false, nil })
		if err != nil {
			return nil, err
		}
		if found, err := n.underAnotherName(ctx, rules, paths); err != nil || found != nil {
			return found, err
		}
		for _, path := range paths { // which of several names it was that is taken, nobody says
			name, _ := pdk.GetPath(r.Attributes, path)
			n.refuse(path, name)
		}
		r.Attributes = marked
		if err := n.choose(ctx, rules); err != nil {
			return nil, err
		}
		made = n.engine.call(ctx, n.attempt, pdk.OpCreate)
		made.asCreate = true
		made.trace.Callouts = append(n.trace.Callouts, made.trace.Callouts...)
		if host.CodeOf(made.err) != host.AlreadyExists {
			break
		}
	}
	if made.err == nil && made.out.Pending == nil && made.out.ExternalUserId == "" {
		made.err = noIdentity()
	}
	return &made, nil
}

// saw adds what a call has asked.
func (n *naming) saw(trace host.CallTrace) {
	trace.Callouts = append(n.trace.Callouts, trace.Callouts...)
	n.trace = trace
}

func (n *naming) refuse(path string, name any) {
	if n.refused == nil {
		n.refused = map[string]bool{}
	}
	if text, ok := name.(string); ok {
		n.refused[path+" "+strings.ToLower(text)] = true
	}
}

// underAnotherName looks for an account of the user by what else identifies it,
// and takes it unless it is another's; nil where there is none. paths are those
// of the names.
func (n *naming) underAnotherName(ctx context.Context, rules Rules, paths []string) (*answer, error) {
	if !n.canRead {
		return nil, nil
	}
	b, r := *n.attempt, *n.attempt.request
	r.Attributes, b.request = rules.Nameless(r.Attributes), &r
	found := n.engine.lookUp(ctx, &b)
	n.saw(found.trace)
	found.trace = n.trace
	switch host.CodeOf(found.err) {
	case "":
	case host.NotFound, host.InvalidInput, host.Unsupported:
		return nil, nil // the names are all that it can be found by
	default:
		return &found, nil
	}
	// People may share what it was found by, such as an e-mail address; a name
	// that is kept for another is an account that is just being made.
	reserved := false
	err := n.engine.Store.View(ctx, func(tx Tx) error {
		reserved = false
		for _, path := range paths {
			name, ok := pdk.GetPath(found.out.Attributes, path)
			if !ok {
				name = found.out.ExternalUsername
			}
			text, _ := name.(string)
			is, err := tx.NameReserved(ctx, r.AppName, path, text, r.UserId)
			if err != nil {
				return err
			}
			reserved = reserved || is
		}
		return nil
	})
	if err != nil || reserved {
		return nil, err
	}
	switch err := n.engine.link(ctx, n.attempt, found); host.CodeOf(err) {
	case "":
		done := n.engine.bring(ctx, n.attempt, found)
		return &done, nil
	case host.AlreadyExists, host.ConnectorFault:
		return nil, nil // it is somebody else's
	default:
		return nil, err
	}
}

// choose chooses the names that only have marks, and stores them with the
// request.
func (n *naming) choose(ctx context.Context, rules Rules) error {
	e, a := n.engine, n.attempt
	for range mostNamings {
		named, paths, err := rules.Resolve(a.request.Attributes, func(path, name string) (bool, error) { return n.taken(ctx, path, name) })
		if err != nil {
			return err
		}
		kept := true
		r := *a.request
		err = e.Store.Update(ctx, func(tx Tx) error {
			r, kept = *a.request, true // fn may run again
			if err := tx.LockLane(ctx, r.AppName, r.UserId); err != nil {
				return err
			}
			for _, path := range paths {
				name, _ := pdk.GetPath(named, path)
				ok, err := tx.ReserveName(ctx, r.AppName, path, name.(string), r.UserId)
				if err != nil {
					return err
				}
				if kept = kept && ok; !kept {
					return nil // somebody was faster
				}
			}
			r.Attributes = named
			if err := tx.UpdateRequest(ctx, &r, r.Attempt); err != nil {
				return err
			}
			chosen := map[string]any{}
			for _, path := range paths {
				chosen[path], _ = pdk.GetPath(named, path)
			}
			return e.log(ctx, tx, &r, "named", attributesText(chosen, paths), nil)
		})
		if err != nil {
			return err
		}
		if kept {
			*a.request = r
			return nil
		}
	}
	return host.Errorf(host.Conflict, "others were faster with %d names in a row; it is tried again", mostNamings)
}

// taken tells whether anybody has a name: by what we know, then by what the
// target says.
func (n *naming) taken(ctx context.Context, path, name string) (is bool, err error) {
	if n.refused[path+" "+strings.ToLower(name)] {
		return true, nil
	}
	e, a := n.engine, n.attempt
	err = e.Store.View(ctx, func(tx Tx) error {
		is, err = tx.NameTaken(ctx, a.request.AppName, path, name, a.request.UserId)
		return err
	})
	if err != nil || is || !n.canRead {
		return is, err
	}
	in := a.input(pdk.OpRead)
	in.User, in.UserProvAccount, in.Attributes = nil, nil, map[string]any{}
	pdk.SetPath(in.Attributes, path, name)
	_, trace, err := e.Connectors.Call(ctx, a.app, pdk.OpRead, in)
	n.saw(trace)
	switch host.CodeOf(err) {
	case "":
		return true, nil
	case host.NotFound, host.InvalidInput, host.Unsupported: // what it can't be asked, it will say when the account is made
		return false, nil
	}
	return false, err
}
