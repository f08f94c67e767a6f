package reconcile

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"
	"go.opentelemetry.io/otel/trace"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/tracing"
	"github.com/provosthq/provost/pdk"
)

const (
	// mostTries is how often one page is tried.
	mostTries   = 8
	leastWait   = time.Second
	mostWait    = 10 * time.Minute
	mostPerPage = 100_000
	// mostEmpty is how many empty pages may follow each other.
	mostEmpty = 100
)

func containsAny(s string, parts ...string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

// page is a page that is asked for, or was.
type page struct {
	// Of the request as it was: who changes it wants another page.
	attempt, retry      int
	offset, state, mode string

	out   pdk.Output
	trace host.CallTrace
	err   error
	ended chan struct{}
	stop  context.CancelFunc
}

// drop ends the asking.
func (p *page) drop() {
	if p != nil {
		p.stop()
		<-p.ended
	}
}

// ask begins to ask for the page at which r stands, at a time.
func (e *Engine) ask(ctx context.Context, r *host.UserProvisioningRequest, app *host.UserProvisioningConfig, at time.Time) *page {
	in := pdk.Input{
		UserProvisioningRequestId: r.Id, NamedCredDevName: app.NamedCredentialId, Operation: pdk.OpReconcile, ObjectClass: pdk.ObjectClassAccount,
		ReconFilter: r.ReconFilter, ReconOffset: r.ReconOffset, ReconState: r.ReconState, Mode: r.ReconMode, Parameters: r.Parameters,
		Attempt: r.RetryCount + 1,
		UserProvisioningRequest: &pdk.UserProvisioningRequest{Id: r.Id, Name: r.Name(), AppName: r.AppName, Operation: string(r.Operation),
			ConnectedAppId: r.ConnectedAppId, State: string(r.State), UserProvConfigId: r.UserProvConfigId},
	}
	p := &page{attempt: r.Attempt, retry: r.RetryCount, offset: r.ReconOffset, state: r.ReconState, mode: r.ReconMode, ended: make(chan struct{})}
	ctx, p.stop = context.WithCancel(ctx)
	pause := at.Sub(e.Now())
	build := ""
	if r.ReconOffset != "" { // in the middle of its pages, it stays with the build that began them
		build = r.ConnectorDigest
	}
	go func() {
		defer close(p.ended)
		if pause > 0 {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				p.err = ctx.Err()
				return
			}
		}
		calling, span := tracing.Start(ctx, "page", trace.SpanKindInternal, append(tracing.OfRequest(r), tracing.Page.Int(r.ReconPages+1))...)
		p.out, p.trace, p.err = e.Connectors.Call(host.WithConnectorBuild(host.WithTurn(calling), build), app, pdk.OpReconcile, in)
		span.SetAttributes(tracing.Accounts.Int(len(p.out.Accounts)))
		tracing.Fail(span, string(host.CodeOf(p.err)))
		span.End()
	}()
	return p
}

// askAhead asks for the page at which r will stand, if its target can be asked
// now; nil if not.
func (e *Engine) askAhead(ctx context.Context, r *host.UserProvisioningRequest, app *host.UserProvisioningConfig) *page {
	var at time.Time
	if e.Targets != nil {
		var waitsFor string
		if err := e.Store.Update(ctx, func(tx Tx) (err error) {
			at, waitsFor, _, err = e.Targets.Admit(ctx, tx, app, r)
			return err
		}); err != nil || waitsFor != "" {
			return nil // when its turn comes, it is seen to
		}
	}
	return e.ask(ctx, r, app, at)
}

// collectPage asks for one page and stores it with the offset of the next in
// one transaction: a crash costs at most this page, and the asking for the next
// one, which goes on meanwhile (ahead). done means that the job has ended and
// another goes on later.
func (e *Engine) collectPage(ctx context.Context, r *host.UserProvisioningRequest, app *host.UserProvisioningConfig, ahead **page) (done bool, err error) {
	p := *ahead
	*ahead = nil
	if p != nil && (p.attempt != r.Attempt || p.retry != r.RetryCount || p.offset != r.ReconOffset || p.state != r.ReconState || p.mode != r.ReconMode) {
		p.drop()
		p = nil
	}
	if p == nil {
		if done, err := e.wait(ctx, r, app); done || err != nil {
			return done, err
		}
		p = e.ask(ctx, r, app, e.Now())
	}
	<-p.ended
	p.stop()
	out, trace, callErr := p.out, p.trace, p.err
	if callErr != nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if r.ReconMode == pdk.ModeDelta && host.CodeOf(callErr) == host.NotFound {
			return false, e.restartFull(ctx, r, callErr)
		}
		return e.retryPage(ctx, r, app, callErr, &trace)
	}
	ended, token := pdk.ReconEnded(out.ReconState)
	switch {
	case !ended && out.NextReconOffset == "":
		return false, host.Errorf(host.ConnectorFault, "the page at offset %q has no nextReconOffset and does not end the collecting (reconState %q)", r.ReconOffset, out.ReconState)
	case len(out.Accounts) == 0 && !ended && r.EmptyPages >= mostEmpty:
		return false, host.Errorf(host.ConnectorFault, "%d pages in a row were empty and not the last; the paging does not advance (offset %q)", r.EmptyPages+1, r.ReconOffset)
	case len(out.Accounts) > mostPerPage:
		return false, host.Errorf(host.ConnectorFault, "the page at offset %q has %d accounts; the most is %d", r.ReconOffset, len(out.Accounts), mostPerPage)
	}
	if !ended {
		then := *r
		then.State, then.RetryCount, then.ReconOffset, then.ReconState, then.ConnectorDigest = host.StateCollecting, 0, out.NextReconOffset, out.ReconState, trace.Digest
		*ahead = e.askAhead(ctx, &then, app)
	}
	return false, e.Store.Update(ctx, func(tx Tx) error {
		if e.Targets != nil {
			if _, _, err := e.Targets.Note(ctx, tx, app, r, &trace, nil); err != nil {
				return err
			}
		}
		e.Observe.Page(tx, r, "ok", len(out.Accounts))
		next := *r
		now := e.Now().UTC()
		if next.State == host.StateNew {
			next.State, next.StartedDate = host.StateCollecting, &now
			if err := e.log(ctx, tx, &next, "collecting", "with "+trace.Connector, nil); err != nil {
				return err
			}
			// A state is never jumped over, even by a run of one page.
			if err := tx.UpdateRequest(ctx, &next, r.Attempt); err != nil {
				return err
			}
		}
		if err := tx.InsertReconPage(ctx, r.Id, r.ReconOffset, len(out.Accounts)); err != nil {
			return repeated(err, r.ReconOffset)
		}
		added, err := stageNew(ctx, tx, r.Id, staged(r, out.Accounts))
		if err != nil {
			return err
		}
		found := r.ReconFound + added
		if r.ConnectorDigest != "" && r.ReconOffset != "" && trace.Digest != r.ConnectorDigest {
			if err := e.log(ctx, tx, &next, "collecting", fmt.Sprintf("goes on with %s at offset %q: %s, which began it, can't be had any more", trace.Connector, r.ReconOffset, r.Connector), nil); err != nil {
				return err
			}
		}
		next.ReconPages, next.ReconFound, next.Connector, next.ConnectorDigest = r.ReconPages+1, found, trace.Connector, trace.Digest
		if next.EmptyPages++; len(out.Accounts) > 0 {
			next.EmptyPages = 0
		}
		next.RetryCount, next.ErrorCode, next.ErrorMessage = 0, "", ""
		if out.TotalEstimate != nil {
			next.TotalEstimate = max(0, *out.TotalEstimate)
		}
		if !ended {
			next.ReconOffset, next.ReconState = out.NextReconOffset, out.ReconState
			return tx.UpdateRequest(ctx, &next, r.Attempt)
		}
		next.State, next.ReconOffset, next.ReconState = host.StateCollected, "", token
		if err := tx.UpdateRequest(ctx, &next, r.Attempt); err != nil {
			return err
		}
		return e.log(ctx, tx, &next, "collected", fmt.Sprintf("%s on %s", english.Plural(int(found), "account", ""), english.Plural(int(next.ReconPages), "page", "")), &trace)
	})
}

// repeated makes an offset that comes again the connector's fault.
func repeated(err error, offset string) error {
	if host.CodeOf(err) == host.Conflict {
		return host.Errorf(host.ConnectorFault, "the paging does not advance: the offset %q came again", offset)
	}
	return err
}

// wait asks whether the target may be asked now. done means that the run waits
// for it, without a job.
func (e *Engine) wait(ctx context.Context, r *host.UserProvisioningRequest, app *host.UserProvisioningConfig) (done bool, err error) {
	if e.Targets == nil {
		return false, nil
	}
	var at time.Time
	err = e.Store.Update(ctx, func(tx Tx) error {
		var waitsFor, why string
		var err error
		at, waitsFor, why, err = e.Targets.Admit(ctx, tx, app, r)
		if done = waitsFor != ""; err != nil || !done {
			return err
		}
		return e.park(ctx, tx, r, waitsFor, why, nil)
	})
	if pause := at.Sub(e.Now()); err == nil && !done && pause > 0 {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return done, err
}

// park lets a run wait for a target without a job: whoever finds the target
// well gives it one.
func (e *Engine) park(ctx context.Context, tx Tx, r *host.UserProvisioningRequest, waitsFor, why string, trace *host.CallTrace) error {
	next := *r
	next.Queued, next.WaitsFor = false, waitsFor
	if err := tx.UpdateRequest(ctx, &next, r.Attempt); err != nil {
		return err
	}
	if why != "" {
		if err := e.log(ctx, tx, &next, "waits", why, trace); err != nil {
			return err
		}
	}
	return tx.CompleteJob(ctx)
}

// restartFull begins a delta anew as a full run: the target does not know its
// token any more.
func (e *Engine) restartFull(ctx context.Context, r *host.UserProvisioningRequest, cause error) error {
	return e.Store.Update(ctx, func(tx Tx) error {
		next := *r
		next.ReconMode, next.ReconState, next.ReconOffset, next.ReconFound, next.ReconPages, next.RetryCount = pdk.ModeFull, "", "", 0, 0, 0
		next.EmptyPages, next.TotalEstimate = 0, 0
		if err := tx.ClearRun(ctx, r.Id); err != nil {
			return err
		}
		if err := tx.UpdateRequest(ctx, &next, r.Attempt); err != nil {
			return err
		}
		return e.log(ctx, tx, &next, "full", fmt.Sprintf("the delta can't go on (%s); all accounts are collected", cause), nil)
	})
}

// retryPage ends the job and lets another try the page later, or ends the run.
// A target that is down ends no run: it waits.
func (e *Engine) retryPage(ctx context.Context, r *host.UserProvisioningRequest, app *host.UserProvisioningConfig, cause error, trace *host.CallTrace) (done bool, err error) {
	var known *host.Error
	if !errors.As(cause, &known) {
		known = host.Errorf(host.Internal, "%w", cause)
	}
	if !known.Code.Retryable() && (trace == nil || trace.Unauthorized() == "") {
		return false, known
	}
	var end *host.Error
	err = e.Store.Update(ctx, func(tx Tx) error {
		end = nil
		waitsFor, own := "", true
		if e.Targets != nil {
			var err error
			if waitsFor, own, err = e.Targets.Note(ctx, tx, app, r, trace, cause); err != nil {
				return err
			}
		}
		details := fmt.Sprintf("page at offset %q: %s: %s", r.ReconOffset, known.Code, known.Error())
		next := *r
		next.ErrorCode, next.ErrorMessage = known.Code, known.Error()
		if own {
			next.RetryCount++
		}
		if waitsFor != "" || next.RetryCount < mostTries {
			e.Observe.Page(tx, r, string(known.Code), 0) // the last one counts when the run ends
		}
		if waitsFor != "" {
			return e.park(ctx, tx, &next, waitsFor, details+"; goes on when "+waitsFor+" can be asked again", trace)
		}
		if next.RetryCount >= mostTries {
			ended := *known
			ended.Code, ended.Message = host.Internal, fmt.Sprintf("%s; that was try %d of %d", details, next.RetryCount, mostTries)
			end = &ended
			return nil
		}
		wait := max(known.RetryAfter, min(mostWait, leastWait<<min(next.RetryCount, 10)))
		at := e.Now().UTC().Add(wait)
		next.NextAttemptDate = &at
		if err := tx.UpdateRequest(ctx, &next, r.Attempt); err != nil {
			return err
		}
		if err := e.log(ctx, tx, &next, "waiting", fmt.Sprintf("%s; again in %s", details, wait), trace); err != nil {
			return err
		}
		if err := tx.Enqueue(ctx, JobKind, r.Id, at); err != nil {
			return err
		}
		return tx.CompleteJob(ctx)
	})
	if err == nil && end != nil {
		return false, end
	}
	return true, err
}

func staged(r *host.UserProvisioningRequest, accounts []pdk.Account) []*host.UserProvAccountStaging {
	list := make([]*host.UserProvAccountStaging, len(accounts))
	for i, a := range accounts {
		list[i] = &host.UserProvAccountStaging{
			UserProvisioningRequestId: r.Id, ConnectedAppId: r.ConnectedAppId, ExternalUserId: a.ExternalUserId,
			ExternalUsername: a.ExternalUsername, ExternalFirstName: a.ExternalFirstName, ExternalLastName: a.ExternalLastName,
			ExternalEmail: a.ExternalEmail, Status: a.Status, Attributes: a.Attributes, Version: a.Version, Partial: a.Partial, Change: string(a.Change),
		}
	}
	return list
}
