package provision

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

// A Create may find that the account is there already: made by an attempt whose
// answer was lost, by an administrator a minute before, by another request, or
// years ago for a person who is back. It is taken, and gets what it should
// have; another one is never made.

// take links an account that was found, and only then gives it what a Create
// wants: by then the database has said that it is nobody else's.
func (e *Engine) take(ctx context.Context, a *attempt, found answer) answer {
	if err := e.link(ctx, a, found); err != nil {
		found.err = err
		return found
	}
	return e.bring(ctx, a, found)
}

// link stores an account that was found as the user's, and makes it that of the
// attempt.
func (e *Engine) link(ctx context.Context, a *attempt, found answer) error {
	var account *host.UserProvAccount
	err := e.Store.Update(ctx, func(tx Tx) error {
		again := a.copy() // fn may run again
		r := again.request
		if err := tx.LockLane(ctx, r.AppName, r.UserId); err != nil {
			return err
		}
		if err := tx.UpdateRequest(ctx, r, r.Attempt); err != nil { // nobody has overtaken us
			return err
		}
		r.Operation = host.Read // nothing is done to it yet
		if err := e.store(ctx, tx, again, found); err != nil {
			return err
		}
		var err error
		account, err = tx.AccountByUser(ctx, r.AppName, r.UserId)
		return err
	})
	if err == nil {
		a.account = account
	}
	return err
}

// lookAround looks for an account that this attempt's request, or one before
// it, may have made: by what was sent then, which may be another name.
func (e *Engine) lookAround(ctx context.Context, a *attempt) answer {
	found := e.lookUp(ctx, a)
	for _, left := range a.left {
		if host.CodeOf(found.err) != host.NotFound {
			return found
		}
		if reflect.DeepEqual(left.Attributes, a.request.Attributes) {
			continue
		}
		b, r := *a, *a.request
		r.Attributes, b.request = left.Attributes, &r
		again := e.lookUp(ctx, &b)
		again.trace.Callouts = append(found.trace.Callouts, again.trace.Callouts...)
		found = again
	}
	return found
}

// freezeToo makes the Freeze of a user who was frozen before there was an
// account to freeze.
func (e *Engine) freezeToo(ctx context.Context, tx Tx, a *attempt) error {
	u, err := tx.User(ctx, a.request.UserId)
	if err != nil || !u.IsFrozen {
		return err
	}
	rules, err := e.Rules(a.app.AppName)
	if err != nil {
		return err
	}
	is, err := standingOf(a.app, rules, u)
	if err != nil || !is.on {
		return err
	}
	open, err := tx.OpenLaneRequests(ctx, a.app.AppName, u.Id)
	if err != nil {
		return err
	}
	attributes, err := rules.Apply(u)
	if err != nil {
		return err
	}
	r := newRequest(a.app, u, host.Freeze, u.DisplayName()+" is frozen", attributes)
	if ok, err := e.resolve(ctx, a.app, r); err != nil || !ok {
		return err
	}
	if slices.ContainsFunc(open, func(w *host.UserProvisioningRequest) bool { return w.Operation == r.Operation }) {
		return nil
	}
	return e.addBehind(ctx, tx, open, r)
}

// bring gives the account that is there what a Create wants. found is how it
// came to be known.
func (e *Engine) bring(ctx context.Context, a *attempt, found answer) answer {
	found.asCreate = true
	rules, err := e.Rules(a.app.AppName)
	if err != nil {
		found.err = err
		return found
	}
	b, r := *a, *a.request
	b.request = &r
	step := func(op host.Operation) bool {
		if ok, err := e.Connectors.Supports(a.app, exportOf(op)); err != nil || !ok || !a.app.Allows(op) {
			found.err = err
			return false
		}
		done := e.call(ctx, &b, exportOf(op))
		done.trace.Callouts = append(found.trace.Callouts, done.trace.Callouts...)
		done.details, done.asCreate = found.details, true
		found = done
		return true
	}
	inactive := !a.account.Active || a.account.Attributes["active"] == false
	if changed := rules.Changed(a.account.Attributes, r.Attributes); len(changed) > 0 {
		before := found
		r.ChangedAttributes = changed
		done := step(host.Update)
		if code := host.CodeOf(found.err); done && (code == host.Conflict || code == host.AlreadyExists) {
			// A name that somebody else has is why the target gave it another.
			isName := func(path string) bool {
				value, _ := pdk.GetPath(a.account.Attributes, path)
				return value == any(a.account.ExternalUsername)
			}
			if others := slices.DeleteFunc(slices.Clone(changed), isName); len(others) < len(changed) {
				before.trace = found.trace
				before.details += fmt.Sprintf("; the target keeps its name %q: %s", a.account.ExternalUsername, found.err)
				found, changed, r.ChangedAttributes = before, others, others
				done = len(others) > 0 && step(host.Update)
			}
		}
		switch {
		case len(changed) == 0 || found.err != nil:
		case done:
			found.details += "; now with " + strings.Join(changed, ", ")
		default:
			found.details += fmt.Sprintf("; it has other values of %s, and they stay", strings.Join(changed, ", "))
		}
	}
	if found.err == nil && found.out.Pending == nil && inactive && found.out.Attributes["active"] != true {
		if step(host.Activate) {
			found.details += "; it is active again"
		} else if found.err == nil {
			found.details += "; it is inactive, and stays so"
		}
	}
	if found.err == nil && found.out.ExternalUserId == "" && found.out.Pending == nil {
		found.out = withIdentity(found.out, a.account)
	}
	return found
}

// withIdentity completes an answer that says nothing of whose account it is.
func withIdentity(o pdk.Output, a *host.UserProvAccount) pdk.Output {
	o.ExternalUserId, o.ExternalUsername = a.ExternalUserId, a.ExternalUsername
	return o
}
