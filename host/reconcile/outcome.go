package reconcile

import (
	"context"

	"github.com/provosthq/provost/host"
)

// tell logs how far a run has come when it ends, or waits for a person, in one
// line; the run's own log has the rest.
func (e *Engine) tell(ctx context.Context, r *host.UserProvisioningRequest) {
	attrs := []any{"request", r.Id, "name", r.Name(), "app", r.AppName, "state", r.State, "mode", r.ReconMode, "attempt", r.Attempt,
		"pages", r.ReconPages, "found", r.ReconFound}
	if len(r.Summary) > 0 {
		attrs = append(attrs, "summary", r.Summary)
	}
	if r.StartedDate != nil {
		attrs = append(attrs, "duration", e.Now().Sub(*r.StartedDate))
	}
	if r.Quarantine != "" {
		attrs = append(attrs, "quarantine", r.Quarantine)
	}
	if r.State == host.StateFailed {
		attrs = append(attrs, "code", r.ErrorCode)
	}
	what := "run ended"
	if !r.State.Ended() {
		what = "run waits for a person"
	}
	e.Logger.InfoContext(ctx, what, attrs...)
}
