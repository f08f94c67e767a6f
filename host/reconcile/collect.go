package reconcile

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

const (
	// mostTries is how often one page is tried.
	mostTries   = 8
	leastWait   = time.Second
	mostWait    = 10 * time.Minute
	mostPerPage = 100_000
)

func containsAny(s string, parts ...string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

// collectPage asks for one page and stores it with the offset of the next in
// one transaction: a crash costs at most this page. done means that the job
// has ended and another goes on later.
func (e *Engine) collectPage(ctx context.Context, r *host.UserProvisioningRequest, app *host.UserProvisioningConfig) (done bool, err error) {
	in := pdk.Input{
		UserProvisioningRequestId: r.Id, NamedCredDevName: app.NamedCredentialId, Operation: pdk.OpReconcile, ObjectClass: pdk.ObjectClassAccount,
		ReconFilter: r.ReconFilter, ReconOffset: r.ReconOffset, ReconState: r.ReconState, Mode: r.ReconMode, Parameters: r.Parameters,
		Attempt: r.RetryCount + 1,
		UserProvisioningRequest: &pdk.UserProvisioningRequest{Id: r.Id, Name: r.Name(), AppName: r.AppName, Operation: string(r.Operation),
			ConnectedAppId: r.ConnectedAppId, State: string(r.State), UserProvConfigId: r.UserProvConfigId},
	}
	out, trace, callErr := e.Connectors.Call(ctx, app, pdk.OpReconcile, in)
	if callErr != nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		return e.retryPage(ctx, r, callErr, &trace)
	}
	ended, token := pdk.ReconEnded(out.ReconState)
	switch {
	case !ended && out.NextReconOffset == "":
		return false, host.Errorf(host.ConnectorFault, "the page at offset %q has no nextReconOffset and does not end the collecting (reconState %q)", r.ReconOffset, out.ReconState)
	case len(out.Accounts) > mostPerPage:
		return false, host.Errorf(host.ConnectorFault, "the page at offset %q has %d accounts; the most is %d", r.ReconOffset, len(out.Accounts), mostPerPage)
	}
	return false, e.Store.Update(ctx, func(tx Tx) error {
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
		if err := tx.PutStaging(ctx, staged(r, out.Accounts)); err != nil {
			return err
		}
		found, err := tx.CountStaging(ctx, r.Id)
		if err != nil {
			return err
		}
		next.ReconPages, next.ReconFound, next.Connector = r.ReconPages+1, found, trace.Connector
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
		return e.log(ctx, tx, &next, "collected", fmt.Sprintf("%d accounts on %d pages", found, next.ReconPages), &trace)
	})
}

// repeated makes an offset that comes again the connector's fault.
func repeated(err error, offset string) error {
	if host.CodeOf(err) == host.Conflict {
		return host.Errorf(host.ConnectorFault, "the paging does not advance: the offset %q came again", offset)
	}
	return err
}

// retryPage ends the job and lets another try the page later, or ends the run.
func (e *Engine) retryPage(ctx context.Context, r *host.UserProvisioningRequest, cause error, trace *host.CallTrace) (done bool, err error) {
	var known *host.Error
	if !errors.As(cause, &known) {
		known = host.Errorf(host.Internal, "%w", cause)
	}
	if !known.Code.Retryable() {
		return false, known
	}
	if r.RetryCount+1 >= mostTries {
		ended := *known
		ended.Code, ended.Message = host.Internal, fmt.Sprintf("%s: %s; that was try %d of %d at the page at offset %q", known.Code, known.Message, r.RetryCount+1, mostTries, r.ReconOffset)
		return false, &ended
	}
	wait := max(known.RetryAfter, min(mostWait, leastWait<<r.RetryCount))
	return true, e.Store.Update(ctx, func(tx Tx) error {
		at := e.Now().UTC().Add(wait)
		next := *r
		next.RetryCount, next.ErrorCode, next.ErrorMessage, next.NextAttemptDate = r.RetryCount+1, known.Code, known.Error(), &at
		if err := tx.UpdateRequest(ctx, &next, r.Attempt); err != nil {
			return err
		}
		if err := e.log(ctx, tx, &next, "waiting", fmt.Sprintf("page at offset %q: %s: %s; again in %s", r.ReconOffset, known.Code, known.Error(), wait), trace); err != nil {
			return err
		}
		if err := tx.Enqueue(ctx, JobKind, r.Id, at); err != nil {
			return err
		}
		return tx.CompleteJob(ctx)
	})
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
