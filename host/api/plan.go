package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/provosthq/provost/host"
)

// Plan is a plan as the API shows it: with its name.
type Plan struct {
	Name string `json:"Name"`
	*host.Plan
}

// ProcessOptions say what is planned for an app; what is left out is as its
// configuration has it.
type ProcessOptions struct {
	Missing    string `json:"missing,omitempty" enum:"nothing,create"`
	Drift      string `json:"drift,omitempty" enum:"nothing,update,accept"`
	Orphaned   string `json:"orphaned,omitempty" enum:"nothing,deactivate,delete"`
	Unassigned string `json:"unassigned,omitempty" enum:"nothing,deactivate,delete"`
	DryRun     bool   `json:"dryRun,omitempty" doc:"Only make the plan."`
}

// PlanService is what the API needs to make, show and decide about plans. A
// plan is named by id, name (PLN-000042) or number.
type PlanService interface {
	Process(ctx context.Context, app string, o ProcessOptions) (*host.Plan, error)
	Plans(ctx context.Context, app string, states []host.PlanState, limit int) ([]*host.Plan, error)
	Plan(ctx context.Context, id string) (*host.Plan, error)
	PlannedChanges(ctx context.Context, id string, after int64, limit int) ([]*host.PlannedChange, error)
	// AllowPlan releases a plan; with a digest only if it has that one.
	AllowPlan(ctx context.Context, id, digest, reason string) (*host.Plan, error)
	RejectPlan(ctx context.Context, id, reason string) (*host.Plan, error)

	// AllowRun and RejectRun decide about a run in quarantine.
	AllowRun(ctx context.Context, requestID, reason string) (*host.UserProvisioningRequest, error)
	// PauseRun and ResumeRun stop a run for a while.
	PauseRun(ctx context.Context, requestID string) (*host.UserProvisioningRequest, error)
	ResumeRun(ctx context.Context, requestID string) (*host.UserProvisioningRequest, error)
	// ImportAccounts starts a run whose accounts come from a file; it begins at
	// Analyzing.
	ImportAccounts(ctx context.Context, app string, in io.Reader, name, format string, commit bool) (*host.UserProvisioningRequest, error)
	RejectRun(ctx context.Context, requestID, reason string) (*host.UserProvisioningRequest, error)
}

func shownPlan(p *host.Plan, err error) (*body[*Plan], error) {
	if err != nil {
		return nil, problem(err)
	}
	return &body[*Plan]{&Plan{p.Name(), p}}, nil
}

func plans(a huma.API, s PlanService) {
	type ByID struct {
		ID string `path:"id" doc:"Id, name (PLN-000042) or number"`
	}
	huma.Post(a, "/api/v1/apps/{app}/process", func(ctx context.Context, in *struct {
		App  string `path:"app"`
		Body ProcessOptions
	}) (*body[*Plan], error) {
		return shownPlan(s.Process(ctx, in.App, in.Body))
	})
	huma.Get(a, "/api/v1/plans", func(ctx context.Context, in *struct {
		App   string   `query:"app"`
		State []string `query:"state" enum:"Making,Planned,Quarantined,Released,Done,Rejected,Stale,Failed" doc:"In any of these states"`
		Limit int      `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	}) (*body[[]*Plan], error) {
		var states []host.PlanState
		for _, st := range in.State {
			states = append(states, host.PlanState(st))
		}
		list, err := s.Plans(ctx, in.App, states, in.Limit)
		shown := make([]*Plan, len(list))
		for i, p := range list {
			shown[i] = &Plan{p.Name(), p}
		}
		return answer(shown, err)
	})
	huma.Get(a, "/api/v1/plans/{id}", func(ctx context.Context, in *ByID) (*body[*Plan], error) { return shownPlan(s.Plan(ctx, in.ID)) })
	huma.Get(a, "/api/v1/plans/{id}/changes", func(ctx context.Context, in *struct {
		ID string `path:"id"`
		Page
		After int64 `query:"after" doc:"Number of the last change of the page before"`
	}) (*page[[]*host.PlannedChange], error) {
		list, err := s.PlannedChanges(ctx, in.ID, in.After, in.Limit)
		return following(&in.Page, list, err, "after", func(c *host.PlannedChange) any { return c.Number })
	})
	type decision struct {
		ByID
		Body struct {
			Reason string `json:"reason,omitempty"`
			Digest string `json:"digest,omitempty" doc:"Only if the plan has this one"`
		}
	}
	huma.Post(a, "/api/v1/plans/{id}/allow", func(ctx context.Context, in *decision) (*body[*Plan], error) {
		return shownPlan(s.AllowPlan(ctx, in.ID, in.Body.Digest, in.Body.Reason))
	})
	huma.Post(a, "/api/v1/plans/{id}/reject", func(ctx context.Context, in *decision) (*body[*Plan], error) {
		return shownPlan(s.RejectPlan(ctx, in.ID, in.Body.Reason))
	})
	for verb, do := range map[string]func(context.Context, string) (*host.UserProvisioningRequest, error){"pause": s.PauseRun, "resume": s.ResumeRun} {
		huma.Post(a, "/api/v1/requests/{id}/"+verb, func(ctx context.Context, in *ByID) (*body[*Request], error) {
			r, err := do(ctx, in.ID)
			return answer(named(r), err)
		})
	}
	for verb, do := range map[string]func(context.Context, string, string) (*host.UserProvisioningRequest, error){"allow": s.AllowRun, "reject": s.RejectRun} {
		huma.Post(a, "/api/v1/requests/{id}/"+verb, func(ctx context.Context, in *struct {
			ByID
			Body struct {
				Reason string `json:"reason,omitempty"`
			}
		}) (*body[*Request], error) {
			r, err := do(ctx, in.ID, in.Body.Reason)
			return answer(named(r), err)
		})
	}
}

// importAccounts takes a file of accounts of an app, as the body.
func importAccounts(s PlanService) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		commit, _ := strconv.ParseBool(q.Get("commit"))
		run, err := s.ImportAccounts(r.Context(), r.PathValue("app"), http.MaxBytesReader(w, r.Body, maxImportBytes), q.Get("name"), q.Get("format"), commit)
		if err != nil {
			problem(err).write(w)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(named(run))
	}
}
