package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/tracing"
	"github.com/provosthq/provost/pdk"
)

// attempt is one attempt at a request, between the transaction that begins it
// and the one that stores its end.
type attempt struct {
	request *host.UserProvisioningRequest
	app     *host.UserProvisioningConfig
	user    *host.User            // nil for an account of nobody
	account *host.UserProvAccount // nil if the user has none
	limits  []TargetLimits
	// left are earlier requests of which nobody knows whether they made an
	// account; none where the user has one.
	left []*host.UserProvisioningRequest
	// at is when its turn comes; before is when the attempt before this one
	// began.
	at     time.Time
	before *time.Time
}

// withTurn tells who sends its first request that it has its turn already.
func (a *attempt) withTurn(ctx context.Context) context.Context {
	if a.at.IsZero() { // it was taken over from another worker
		return ctx
	}
	return host.WithTurn(ctx)
}

// copy is an attempt whose records may be changed without changing a's.
func (a *attempt) copy() *attempt {
	b, r := *a, *a.request
	b.request = &r
	if a.account != nil {
		account := *a.account
		b.account = &account
	}
	return &b
}

// Work makes one attempt at a request. Its result, the account, the log, the
// state and the job that follows are stored in one transaction. An error means
// that nothing was stored and the job must run again.
func (e *Engine) Work(ctx context.Context, id string) error {
	a, err := e.begin(ctx, id)
	if err != nil || a == nil {
		return err
	}
	if wait := a.at.Sub(e.Now()); wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	began := e.Now()
	ctx, span := tracing.Start(ctx, "attempt "+string(a.request.Operation), trace.SpanKindConsumer, append(tracing.OfRequest(a.request), tracing.Attempt.Int(a.request.Attempt))...)
	defer span.End()
	answer := e.perform(a.withTurn(ctx), a)
	if ctx.Err() != nil && answer.err != nil {
		// The daemon stops: the attempt stays in flight, and whoever goes on
		// takes it for uncertain.
		return ctx.Err()
	}
	// The target may have acted: the end is stored even while stopping.
	store, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var ended *attempt
	err = e.Store.Update(store, func(tx Tx) error {
		ended = a.copy() // it may run again
		if err := e.finish(store, tx, ended, answer); err != nil {
			return err
		}
		return tx.CompleteJob(store)
	})
	if host.CodeOf(err) == host.Conflict {
		return e.fenced(store, a, err)
	}
	if err == nil {
		span.SetAttributes(tracing.State.String(string(ended.request.State)))
		tracing.Fail(span, string(ended.request.ErrorCode))
		e.tell(ctx, ended.request, &answer.trace, e.Now().Sub(began))
	}
	if err == nil && e.Attempted != nil {
		e.Attempted(ended.request, outcome(ended.request))
	}
	return err
}

// outcome is how the last attempt at a request ended.
func outcome(r *host.UserProvisioningRequest) string {
	switch {
	case r.State == host.StateCompleted:
		return "ok"
	case r.PendingToken != "":
		return "pending"
	default:
		return string(r.ErrorCode)
	}
}

// fenced ends the job of a worker that was thought dead: another has begun the
// next attempt, and its result is the one that counts.
func (e *Engine) fenced(ctx context.Context, a *attempt, cause error) error {
	return e.Store.Update(ctx, func(tx Tx) error {
		now, err := tx.Request(ctx, a.request.Id)
		if err != nil {
			return err
		}
		if now.Attempt == a.request.Attempt && !now.State.Ended() {
			return cause // it is no other worker's doing
		}
		if err := e.log(ctx, tx, now, "overtaken", fmt.Sprintf("the end of attempt %d came too late and was dropped", a.request.Attempt), nil); err != nil {
			return err
		}
		return tx.CompleteJob(ctx)
	})
}

// begin marks the attempt as in flight. It returns nil when there is nothing
// to do.
func (e *Engine) begin(ctx context.Context, id string) (*attempt, error) {
	var a *attempt
	err := e.Store.Update(ctx, func(tx Tx) error {
		a = nil
		lane, err := tx.LaneOf(ctx, id)
		if err != nil {
			return err
		}
		open, err := lockLane(ctx, tx, lane)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(open, func(o *host.UserProvisioningRequest) bool { return o.Id == id })
		if i < 0 {
			return tx.CompleteJob(ctx) // it has ended
		}
		r := open[i]
		if front(open, e.Now()) != r {
			r.Queued = false // its turn comes with the end of the one before
			if err := tx.UpdateRequest(ctx, r, r.Attempt); err != nil {
				return err
			}
			return tx.CompleteJob(ctx)
		}
		next := &attempt{request: r, before: r.AttemptDate}
		if next.app, err = tx.Config(ctx, r.AppName); err != nil {
			return err
		}
		if r.Attempt == 0 && (r.Preview || next.app.InPreview(r.Operation)) {
			r.Preview = true
			if err := e.end(ctx, tx, r, r.Attempt, host.StateCancelled, "preview", preview(r), nil); err != nil {
				return err
			}
			return tx.CompleteJob(ctx)
		}
		if r.UserId == "" {
			if next.account, err = tx.Account(ctx, r.UserProvAccountId); err != nil {
				return err
			}
		} else {
			if next.user, err = tx.User(ctx, r.UserId); err != nil {
				return err
			}
			if next.account, err = tx.AccountByUser(ctx, r.AppName, r.UserId); host.CodeOf(err) == host.NotFound {
				next.account = nil
				if next.left, err = tx.UncertainRequests(ctx, r.AppName, r.UserId); err != nil {
					return err
				}
				r.Uncertain = r.Uncertain || len(next.left) > 0 || next.app.MayHaveMore(tx.Restored())
			} else if err != nil {
				return err
			}
		}
		if asks, err := e.asksForCreate(ctx, tx, next); err != nil {
			return err
		} else if asks {
			return tx.CompleteJob(ctx)
		}
		next.limits = e.Limits(next.app)
		if !r.InFlight { // who takes over an attempt has its turn already
			turn, err := e.admit(ctx, tx, next.limits, r)
			if err != nil {
				return err
			}
			if turn.waitsFor != "" {
				r.Queued, r.WaitsFor = false, turn.waitsFor
				if err := tx.UpdateRequest(ctx, r, r.Attempt); err != nil {
					return err
				}
				if turn.why != "" {
					if err := e.log(ctx, tx, r, "waits", turn.why, nil); err != nil {
						return err
					}
				}
				return tx.CompleteJob(ctx)
			}
			next.at = turn.at
		}
		if r.InFlight {
			r.Uncertain = true
			if err := e.log(ctx, tx, r, "taken over", fmt.Sprintf("attempt %d was cut off; the target may have acted", r.Attempt), nil); err != nil {
				return err
			}
		}
		before := r.Attempt
		now := e.Now().UTC()
		r.State, r.InFlight, r.NextAttemptDate, r.AttemptDate, r.Queued, r.WaitsFor = host.StateRequested, true, nil, &now, true, ""
		if r.PendingToken == "" {
			r.Attempt++
		}
		if r.StartedDate == nil {
			r.StartedDate = &now
		}
		if err := tx.UpdateRequest(ctx, r, before); err != nil {
			return err
		}
		if r.Urgent && r.Attempt == 1 && before == 0 {
			if err := e.explain(ctx, tx, next); err != nil {
				return err
			}
		}
		a = next
		return nil
	})
	return a, err
}

// explain logs what a request begins from, for the person who asked for it.
func (e *Engine) explain(ctx context.Context, tx Tx, a *attempt) error {
	whose := "nobody"
	if a.user != nil {
		whose = a.user.DisplayName()
	}
	matched := "no account of " + whose + " is known"
	if c := a.account; c != nil {
		matched = fmt.Sprintf("account %s %q of %s (%s)", c.ExternalUserId, c.ExternalUsername, whose, c.Name())
	}
	if err := e.log(ctx, tx, a.request, "matched", matched, nil); err != nil {
		return err
	}
	return e.log(ctx, tx, a.request, "mapped", attributesText(a.request.Attributes, slices.Sorted(maps.Keys(a.request.Attributes))), nil)
}

// attributesText shows attributes as a person reads them.
func attributesText(attributes map[string]any, paths []string) string {
	parts := make([]string, len(paths))
	for i, path := range paths {
		value, ok := attributes[path]
		if !ok {
			value, _ = pdk.GetPath(attributes, path)
		}
		text, err := json.Marshal(value)
		if err != nil {
			text = []byte("?")
		}
		parts[i] = path + " = " + string(text)
	}
	return clip(strings.Join(parts, ", "), 4000)
}

// answer is what came of an attempt.
type answer struct {
	out   pdk.Output
	trace host.CallTrace
	err   error
	// status and details are for the log.
	status, details string
	// asCreate: the operation ended in a new account or a found one.
	asCreate bool
	// nothing: there was no account to do it to.
	nothing bool
	// deletedBy is the name of a Delete that ended without anybody knowing whether
	// it was done, and that has been: the account is gone.
	deletedBy string
}

// input makes the input of a call.
func (a *attempt) input(op pdk.Operation) pdk.Input {
	r, in := a.request, pdk.Input{Operation: op, ObjectClass: pdk.ObjectClassAccount}
	in.UserProvisioningRequestId, in.UserId, in.NamedCredDevName = r.Id, r.UserId, a.app.NamedCredentialId
	in.Attributes, in.ChangedAttributes, in.Parameters = r.Attributes, r.ChangedAttributes, r.Parameters
	in.Attempt, in.IdempotencyKey, in.PendingToken = r.Attempt, r.Id, r.PendingToken
	if a.user != nil {
		u := a.user.User
		in.User = &u
	}
	in.UserProvisioningRequest = &pdk.UserProvisioningRequest{
		Id: r.Id, Name: r.Name(), AppName: r.AppName, ApprovalStatus: string(r.ApprovalStatus), ConnectedAppId: r.ConnectedAppId,
		ExternalUserId: r.ExternalUserId, ManagerId: r.ManagerId, Operation: string(r.Operation), OwnerId: r.OwnerId, ParentId: r.ParentId,
		RetryCount: r.RetryCount, UserId: r.UserId, State: string(r.State), UserProvAccountId: r.UserProvAccountId, UserProvConfigId: r.UserProvConfigId,
	}
	if c := a.account; c != nil {
		in.UserProvAccount = &pdk.UserProvAccount{
			Id: c.Id, Name: c.Name(), ConnectedAppId: c.ConnectedAppId, UserId: c.UserId, ExternalUserId: c.ExternalUserId,
			ExternalUsername: c.ExternalUsername, ExternalFirstName: c.ExternalFirstName, ExternalLastName: c.ExternalLastName,
			ExternalEmail: c.ExternalEmail, Status: c.Status, LinkState: string(c.LinkState), IsKnownLink: c.IsKnownLink,
			Attributes: c.Attributes, Version: c.Version,
		}
	}
	return in
}

func (e *Engine) call(ctx context.Context, a *attempt, op pdk.Operation) answer {
	in, err := e.prepared(a, op)
	if err != nil {
		return answer{err: err}
	}
	if a.request.Urgent { // somebody wants to see what happens
		ctx = host.WithBodies(ctx, slices.Collect(maps.Values(in.Secrets))...)
	}
	out, trace, err := e.Connectors.Call(ctx, a.app, op, in)
	return answer{out: out, trace: trace, err: err}
}

// perform does the work of an attempt in the target.
func (e *Engine) perform(ctx context.Context, a *attempt) answer {
	r := a.request
	if r.PendingToken != "" {
		done := e.call(ctx, a, pdk.OpCheck)
		done.asCreate = r.Operation == host.Create
		return done
	}
	if r.Operation == host.Create && a.account != nil {
		found := answer{details: "the account was there already"}
		if e.deletedAfterAll(ctx, a, &found); found.deletedBy != "" {
			found.err = host.Errorf(host.NotFound, "account %s is gone", a.account.ExternalUserId)
			return found
		}
		return e.bring(ctx, a, found)
	}
	if r.Operation == host.Create || r.Operation == host.Update && a.account == nil {
		if r.Operation == host.Update && !a.app.Allows(host.Create) {
			return answer{err: host.Errorf(host.NotFound, "the user has no account to update, and Create is not among the app's operations")}
		}
		return e.create(ctx, a)
	}
	if a.account == nil {
		switch r.Operation {
		case host.Deactivate, host.Freeze, host.Delete:
			nothing := answer{nothing: true, status: "completed", details: "there was no account"}
			if canRead, err := e.Connectors.Supports(a.app, pdk.OpRead); len(a.left) == 0 || err != nil || !canRead {
				nothing.err = err
				return nothing
			}
			found := e.lookAround(ctx, a)
			switch {
			case host.CodeOf(found.err) == host.NotFound:
				nothing.trace = found.trace
				return nothing
			case found.err != nil:
				return found
			}
			if found.err = e.link(ctx, a, found); found.err != nil {
				return found
			}
			done := e.call(ctx, a, exportOf(r.Operation))
			done.trace.Callouts = append(found.trace.Callouts, done.trace.Callouts...)
			return done
		case host.Read:
			return e.lookUp(ctx, a)
		case host.Activate, host.Reactivate:
			return e.create(ctx, a)
		}
		return answer{err: host.Errorf(host.NotFound, "the user has no account in %s", a.app.AppName)}
	}
	done := e.call(ctx, a, exportOf(r.Operation))
	switch {
	case host.CodeOf(done.err) == host.NotFound && r.Operation == host.Delete:
		done.err, done.details = nil, "it was gone already"
	case host.CodeOf(done.err) == host.NotFound:
		e.deletedAfterAll(ctx, a, &done)
	case host.CodeOf(done.err) == host.Conflict:
		// Somebody else changed it: take its present version to the next try.
		if now := e.call(ctx, a, pdk.OpRead); now.err == nil {
			done.out.Version, done.out.Attributes = now.out.Version, now.out.Attributes
		}
	}
	return done
}

// deletedAfterAll tells whether an account that the target may not have was
// deleted by a request of ours that did not hear of it. Where there is none, a
// NotFound may be the target's mistake, and is for a person or a reconciliation
// to see.
func (e *Engine) deletedAfterAll(ctx context.Context, a *attempt, done *answer) {
	var by string
	err := e.Store.View(ctx, func(tx Tx) (err error) {
		by, err = tx.UncertainDelete(ctx, a.request.AppName, a.request.UserId)
		return err
	})
	if err != nil || by == "" {
		return // the NotFound stands
	}
	canRead, err := e.Connectors.Supports(a.app, pdk.OpRead)
	if err != nil || !canRead && done.err == nil {
		return
	}
	if canRead && a.request.Operation != host.Read {
		again := e.call(ctx, a, pdk.OpRead)
		done.trace.Callouts = append(done.trace.Callouts, again.trace.Callouts...)
		if host.CodeOf(again.err) != host.NotFound {
			return
		}
	}
	done.deletedBy = by
}

// lookUp asks the target for the account of a user that we know of no account
// of.
func (e *Engine) lookUp(ctx context.Context, a *attempt) answer {
	found := e.call(ctx, a, pdk.OpRead)
	found.asCreate = true
	if found.err == nil && found.out.ExternalUserId == "" {
		found.err = host.Errorf(host.ConnectorFault, "read returned no ExternalUserId; it must answer NotFound where there is no account")
	}
	found.details = "the account was there already"
	return found
}

// create makes the account, unless an earlier attempt may have: then it looks
// first.
func (e *Engine) create(ctx context.Context, a *attempt) answer {
	canRead, err := e.Connectors.Supports(a.app, pdk.OpRead)
	if err != nil {
		return answer{err: err}
	}
	var looked host.CallTrace
	if a.request.Uncertain && canRead {
		found := e.lookAround(ctx, a)
		if found.err == nil {
			return e.take(ctx, a, found)
		}
		if host.CodeOf(found.err) != host.NotFound {
			return found
		}
		looked = found.trace
	}
	n := &naming{engine: e, attempt: a, canRead: canRead}
	if found, err := n.begin(ctx); err != nil || found != nil {
		if found == nil {
			found = &answer{err: err, trace: n.trace}
		}
		found.trace.Callouts = append(looked.Callouts, found.trace.Callouts...)
		return *found
	}
	made := e.call(ctx, a, pdk.OpCreate)
	made.asCreate = true
	made.trace.Callouts = append(append(looked.Callouts, n.trace.Callouts...), made.trace.Callouts...)
	if host.CodeOf(made.err) == host.AlreadyExists && !a.request.Uncertain && a.user != nil {
		if again, err := n.another(ctx, made); err != nil || again != nil {
			if again == nil {
				again = &answer{err: err, trace: n.trace}
			}
			return *again
		}
	}
	if host.CodeOf(made.err) == host.AlreadyExists && canRead {
		found := e.lookUp(ctx, a)
		found.trace.Callouts = append(made.trace.Callouts, found.trace.Callouts...)
		if found.err == nil {
			return e.take(ctx, a, found)
		}
		if host.CodeOf(found.err) != host.NotFound {
			return found
		}
		made.err = host.Errorf(host.AlreadyExists, "%s — and no such account is found by what identifies it; a person must look", made.err)
	}
	if made.err == nil && made.out.Pending == nil && made.out.ExternalUserId == "" {
		made.err = noIdentity()
	}
	return made
}

func noIdentity() error {
	err := host.Errorf(host.ConnectorFault, "create returned no ExternalUserId and is not pending")
	err.Uncertain = true
	return err
}

// finish stores what came of an attempt.
func (e *Engine) finish(ctx context.Context, tx Tx, a *attempt, got answer) error {
	r := a.request
	if err := tx.LockLane(ctx, r.AppName, laneOf(r)); err != nil {
		return err
	}
	r.Connector, r.ConnectorDigest = got.trace.Connector, got.trace.Digest
	r.InFlight = false
	var trace *host.CallTrace
	if got.trace.Connector != "" {
		trace = &got.trace
	}
	if got.err == nil && !got.nothing && got.out.Pending == nil {
		// Whether the account may be this user's, the database decides now.
		got.err = e.store(ctx, tx, a, got)
		var known *host.Error
		if got.err != nil && !errors.As(got.err, &known) {
			return got.err
		}
	}
	own, waitsFor, err := e.noteTargets(ctx, tx, a.limits, r, a.before, judge(&got.trace, got.err))
	if err != nil {
		return err
	}
	for _, l := range a.limits {
		if l.Concurrency > 0 && waitsFor == "" { // one place is free again
			if _, err := e.release(ctx, tx, l.Name, 1); err != nil {
				return err
			}
		}
	}
	if got.err != nil {
		return e.failed(ctx, tx, a, got, trace, own, waitsFor)
	}
	if got.asCreate && got.out.Pending == nil && r.Operation != host.Read {
		if err := e.freezeToo(ctx, tx, a); err != nil {
			return err
		}
	}
	if p := got.out.Pending; p != nil {
		return e.pending(ctx, tx, a, p, trace)
	}
	r.ErrorCode, r.ErrorMessage, r.Uncertain = "", "", false
	details := got.details
	if got.out.Details != "" {
		details += " " + got.out.Details
	}
	status := got.status
	if status == "" {
		status = "completed"
		if got.asCreate {
			status = "linked"
			details = fmt.Sprintf("account %s %q %s", r.ExternalUserId, got.out.ExternalUsername, details)
		}
	}
	return e.end(ctx, tx, r, r.Attempt, host.StateCompleted, status, details, trace)
}

// failed stores a failure: another attempt, or the end. own says that it counts
// against the request; waitsFor is the target that must first be back.
func (e *Engine) failed(ctx context.Context, tx Tx, a *attempt, got answer, trace *host.CallTrace, own bool, waitsFor string) error {
	r := a.request
	code := host.CodeOf(got.err)
	r.ErrorCode, r.ErrorMessage = code, got.err.Error()
	var known *host.Error
	uncertain := errors.As(got.err, &known) && known.Uncertain
	// What was pending may go on in the target, whatever came of asking.
	r.Uncertain = r.Uncertain || uncertain || r.PendingToken != ""
	most := a.app.MaxAttempts
	if most == 0 {
		most = defaultMaxAttempts
	}
	another := got.deletedBy != "" && makes(r.Operation) // the next attempt makes another account
	if own = own && !another; own {
		r.Failures++
	}
	if code == host.Conflict && a.account != nil && got.out.Version != "" {
		a.account.Version, a.account.Attributes = got.out.Version, got.out.Attributes
		if err := tx.PutAccount(ctx, a.account); err != nil {
			return err
		}
	}
	details := fmt.Sprintf("%s: %s", code, r.ErrorMessage)
	now := e.Now().UTC()
	if got.deletedBy != "" {
		a.account.DeletedDate, a.account.Active, a.account.LastModifiedDate = &now, false, now
		if err := tx.PutAccount(ctx, a.account); err != nil {
			return err
		}
		details += "; " + got.deletedBy + " has deleted it after all"
	}
	switch {
	case !code.Retryable() && !uncertain && !another && got.trace.Unauthorized() == "":
		return e.end(ctx, tx, r, r.Attempt, host.StateFailed, "failed", details, trace)
	case own && r.Failures >= most:
		return e.end(ctx, tx, r, r.Attempt, host.StateFailed, "failed", fmt.Sprintf("%s; that was failure %d of %d, a person must look", details, r.Failures, most), trace)
	case r.StartedDate != nil && now.Sub(*r.StartedDate) > mostDown:
		return e.end(ctx, tx, r, r.Attempt, host.StateFailed, "failed", fmt.Sprintf("%s; the target has been down for more than %s", details, mostDown), trace)
	}
	status := fmt.Sprintf("attempt %d", r.Attempt)
	if waitsFor != "" {
		r.Queued, r.WaitsFor = false, waitsFor
		if err := tx.UpdateRequest(ctx, r, r.Attempt); err != nil {
			return err
		}
		return e.log(ctx, tx, r, status, fmt.Sprintf("%s; goes on when %s can be asked again", details, waitsFor), trace)
	}
	wait := max(retryAfterOf(got.err), backoff(r.Attempt))
	at := now.Add(wait)
	r.NextAttemptDate = &at
	if err := tx.UpdateRequest(ctx, r, r.Attempt); err != nil {
		return err
	}
	if err := e.log(ctx, tx, r, status, fmt.Sprintf("%s; the next in %s", details, wait.Round(100*time.Millisecond)), trace); err != nil {
		return err
	}
	return tx.Enqueue(ctx, kindOf(r), r.Id, at)
}

// retryAfterOf is how long the target asked us to wait.
func retryAfterOf(err error) time.Duration {
	var known *host.Error
	if errors.As(err, &known) {
		return known.RetryAfter
	}
	return 0
}

// preview says what a request in preview would have done.
func preview(r *host.UserProvisioningRequest) string {
	paths := r.ChangedAttributes
	if r.Operation == host.Create {
		paths = slices.Sorted(maps.Keys(r.Attributes))
	}
	return strings.TrimSpace("the app is in preview; nothing was sent. Would be: " + string(r.Operation) + " " + attributesText(r.Attributes, paths))
}

// pending stores that the target goes on with it, and when to ask.
func (e *Engine) pending(ctx context.Context, tx Tx, a *attempt, p *pdk.Pending, trace *host.CallTrace) error {
	r := a.request
	now := e.Now().UTC()
	if r.PendingSince == nil {
		r.PendingSince = &now
	}
	if now.Sub(*r.PendingSince) > mostPending {
		r.ErrorCode, r.ErrorMessage, r.Uncertain = host.Unavailable, "the target did not finish it in time", true
		return e.end(ctx, tx, r, r.Attempt, host.StateFailed, "failed", fmt.Sprintf("pending for more than %s; do it by hand   -> provost request complete %s", mostPending, r.Name()), trace)
	}
	wait := defaultCheckAfter
	if p.CheckAfterSeconds > 0 {
		wait = min(time.Duration(p.CheckAfterSeconds)*time.Second, 24*time.Hour)
	}
	at := now.Add(wait)
	r.PendingToken, r.NextAttemptDate = p.Token, &at
	if err := tx.UpdateRequest(ctx, r, r.Attempt); err != nil {
		return err
	}
	if err := e.log(ctx, tx, r, "pending", fmt.Sprintf("the target goes on with it; asked again in %s", wait), trace); err != nil {
		return err
	}
	return tx.Enqueue(ctx, kindOf(r), r.Id, at)
}

// store writes what an answer says of the account. An answer that claims
// another person's account is refused, and nothing of it is stored.
func (e *Engine) store(ctx context.Context, tx Tx, a *attempt, got answer) error {
	r, o, now := a.request, got.out, e.Now().UTC()
	account := a.account
	if account != nil && o.ExternalUserId != "" && o.ExternalUserId != account.ExternalUserId || account == nil {
		if o.ExternalUserId == "" {
			return nil
		}
		other, err := tx.AccountByExternalId(ctx, r.AppName, o.ExternalUserId)
		if err != nil && host.CodeOf(err) != host.NotFound {
			return err
		}
		if err == nil && other.UserId != "" && other.UserId != r.UserId && other.LinkState == host.Linked {
			if got.asCreate && got.details != "" { // found by looking it up
				return host.Errorf(host.AlreadyExists, "the target has account %s (%s) for it, which is linked to another user; a person must decide", other.ExternalUserId, other.ExternalUsername)
			}
			return host.Errorf(host.ConnectorFault, "the connector's answer claims account %s, which is another user's (%s); nothing of it was stored", other.ExternalUserId, other.Name())
		}
		if err == nil && account == nil {
			account = other
		} else if err == nil {
			return host.Errorf(host.ConnectorFault, "the connector's answer claims account %s, which is another account of ours (%s)", other.ExternalUserId, other.Name())
		}
	}
	if account == nil {
		account = &host.UserProvAccount{Id: host.NewID(), AppName: r.AppName, ConnectedAppId: r.ConnectedAppId, CreatedDate: now, Active: true}
	}
	if account.LastModifiedDate = now; r.UserId != "" {
		account.UserId, account.LinkState, account.Candidates = r.UserId, host.Linked, nil
	}
	keep(&account.ExternalUserId, o.ExternalUserId)
	keep(&account.ExternalUsername, o.ExternalUsername)
	keep(&account.ExternalFirstName, o.ExternalFirstName)
	keep(&account.ExternalLastName, o.ExternalLastName)
	keep(&account.ExternalEmail, o.ExternalEmail)
	keep(&account.Status, o.Status)
	keep(&account.Version, o.Version)
	keep(&account.Details, o.Details)
	if o.Attributes != nil {
		account.Attributes = o.Attributes
	}
	switch r.Operation {
	case host.Create, host.Activate, host.Reactivate:
		account.Active, account.DeletedDate = true, nil
	case host.Deactivate:
		account.Active = false
	case host.Freeze:
		account.Frozen = true
	case host.Unfreeze:
		account.Frozen = false
	case host.Delete:
		account.Active, account.DeletedDate = false, &now
	}
	if r.Operation == host.Create || r.Operation == host.Update {
		account.Drift = nil
	}
	if err := tx.PutAccount(ctx, account); err != nil {
		return err
	}
	r.UserProvAccountId, r.ExternalUserId = account.Id, account.ExternalUserId
	return nil
}

// keep overwrites a value with one that the target gave.
func keep(old *string, now string) {
	if now != "" {
		*old = now
	}
}
