package provision

import (
	"context"
	"time"

	"github.com/provosthq/provost/host"
)

// tell logs how an attempt ended, in one line; the request's own log has the
// details. It names no person.
func (e *Engine) tell(ctx context.Context, r *host.UserProvisioningRequest, trace *host.CallTrace, took time.Duration) {
	attrs := []any{"request", r.Id, "name", r.Name(), "app", r.AppName, "operation", r.Operation, "attempt", r.Attempt, "state", r.State,
		"duration", took, "callouts", len(trace.Callouts)}
	if r.Connector != "" {
		attrs = append(attrs, "connector", r.Connector)
	}
	if r.ErrorCode != "" {
		attrs = append(attrs, "code", r.ErrorCode)
	}
	if r.Uncertain && !r.State.Ended() {
		attrs = append(attrs, "uncertain", true)
	}
	if r.PendingToken != "" {
		attrs = append(attrs, "pending", true)
	}
	if r.WaitsFor != "" {
		attrs = append(attrs, "waits_for", r.WaitsFor)
	}
	if r.NextAttemptDate != nil {
		attrs = append(attrs, "again", *r.NextAttemptDate)
	}
	e.Logger.InfoContext(ctx, "attempt ended", attrs...)
}
