package api

import (
	"cmp"
	"context"
	"slices"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
)

func (s scoped) Process(ctx context.Context, app string, o ProcessOptions) (*host.Plan, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	return shownPlans(ctx)(s.Service.Process(ctx, app, o))
}

// shownPlans hides what of a plan is not for the subject.
func shownPlans(ctx context.Context) func(*host.Plan, error) (*host.Plan, error) {
	return func(p *host.Plan, err error) (*host.Plan, error) {
		if err == nil && p != nil && !readsOf(ctx, p.AppName) {
			maskPlan(p)
		}
		return p, err
	}
}

func (s scoped) Plans(ctx context.Context, app string, states []host.PlanState, limit int) (list []*host.Plan, err error) {
	apps := within(ctx)
	switch {
	case apps == nil:
		list, err = s.Service.Plans(ctx, app, states, limit)
	case app != "" && sees(ctx, app):
		list, err = s.Service.Plans(ctx, app, states, limit)
	case app == "":
		for _, one := range apps {
			more, moreErr := s.Service.Plans(ctx, one, states, limit)
			if moreErr != nil && host.CodeOf(moreErr) != host.NotFound {
				return nil, moreErr
			}
			list = append(list, more...)
		}
		slices.SortFunc(list, func(a, b *host.Plan) int { return cmp.Compare(b.Number, a.Number) })
		list = list[:min(len(list), limit)]
	}
	for _, p := range list {
		_, _ = shownPlans(ctx)(p, nil)
	}
	return list, err
}

func (s scoped) plan(ctx context.Context, id string) (*host.Plan, error) {
	p, err := s.Service.Plan(ctx, id)
	if err == nil && (!access.At(ctx, p.AppName) || !sees(ctx, p.AppName)) {
		return nil, host.Errorf(host.NotFound, "there is no plan %q", id)
	}
	return p, err
}

func (s scoped) Plan(ctx context.Context, id string) (*host.Plan, error) {
	return shownPlans(ctx)(s.plan(ctx, id))
}

func (s scoped) PlannedChanges(ctx context.Context, id string, after int64, limit int) ([]*host.PlannedChange, error) {
	p, err := s.plan(ctx, id)
	if err != nil {
		return nil, err
	}
	list, err := s.Service.PlannedChanges(ctx, id, after, limit)
	if !readsOf(ctx, p.AppName) {
		maskChanges(list)
	}
	return list, err
}

func (s scoped) AllowPlan(ctx context.Context, id, digest, reason string) (*host.Plan, error) {
	if _, err := s.plan(ctx, id); err != nil {
		return nil, err
	}
	return shownPlans(ctx)(s.Service.AllowPlan(ctx, id, digest, reason))
}

func (s scoped) RejectPlan(ctx context.Context, id, reason string) (*host.Plan, error) {
	if _, err := s.plan(ctx, id); err != nil {
		return nil, err
	}
	return shownPlans(ctx)(s.Service.RejectPlan(ctx, id, reason))
}

func (s scoped) WouldChange(ctx context.Context, list []*host.UserProvisioningRequest) ([]*host.PlannedChange, error) {
	changes, err := s.Service.WouldChange(ctx, list)
	if !reads(ctx) {
		maskChanges(changes)
	}
	return changes, err
}
