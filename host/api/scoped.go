package api

import (
	"context"
	"io"
	"slices"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
)

// Scoped is s as the subject of each call's context may have it: of apps, and of
// what belongs to them, those that the route lets it see ([access.At]), of
// requests those, too, that are its to decide, and of people what is no personal
// data where it need not see that. What is not for it is not there. A context
// without a subject is the host's own.
func Scoped(s Service) Service { return scoped{s} }

type scoped struct{ Service }

// within are the apps whose setup the subject may view; nil is the whole host.
func within(ctx context.Context) []string {
	who := access.SubjectOf(ctx)
	if who == nil {
		return nil
	}
	return who.AppsWith(access.ViewSetup)
}

// limited tells whether the subject sees some apps only, or none.
func limited(ctx context.Context) bool { return within(ctx) != nil }

// sees tells whether the subject may view what belongs to an app; "" is the
// whole host.
func sees(ctx context.Context, app string) bool {
	who := access.SubjectOf(ctx)
	return who == nil || who.MayAt(access.ViewSetup, app)
}

func noApp(name string) error {
	return host.Errorf(host.NotFound, "there is no app %q", name)
}

// at refuses what is done to an app that the route is not for.
func at(ctx context.Context, app string) error {
	if access.At(ctx, app) {
		return nil
	}
	return noApp(app)
}

// seen leaves of names those of apps that the subject sees.
func seen(ctx context.Context, apps []string) []string {
	if !limited(ctx) {
		return apps
	}
	return slices.DeleteFunc(slices.Clone(apps), func(app string) bool { return !sees(ctx, app) })
}

// kept leaves those of a list whose app the subject sees.
func kept[T any](ctx context.Context, list []T, err error, app func(T) string) ([]T, error) {
	if err != nil || !limited(ctx) {
		return list, err
	}
	return slices.DeleteFunc(list, func(one T) bool { return !sees(ctx, app(one)) }), nil
}

func (s scoped) Status(ctx context.Context) (Status, error) {
	st, err := s.Service.Status(ctx)
	if limited(ctx) {
		st.LastReloadError = "" // it may be of others' apps
	}
	st.Apps, err = kept(ctx, st.Apps, err, func(a AppStatus) string { return a.Name })
	return st, err
}

func (s scoped) Readiness(ctx context.Context) Readiness {
	r := s.Service.Readiness(ctx)
	if limited(ctx) {
		r.Checks = []Check{} // they are of others' connectors and credentials, too
	}
	return r
}

func (s scoped) Failures(ctx context.Context, since time.Time) ([]Failure, error) {
	list, err := s.Service.Failures(ctx, since)
	return kept(ctx, list, err, func(f Failure) string { return f.App })
}

func (s scoped) Activity(ctx context.Context, since time.Time) ([]Activity, error) {
	list, err := s.Service.Activity(ctx, since)
	return kept(ctx, list, err, func(a Activity) string { return a.App })
}

// Waits are of approval, for one who sees no app, what waits for that one.
func (s scoped) Waits(ctx context.Context) ([]Wait, error) {
	if apps := within(ctx); apps != nil && len(apps) == 0 {
		n, err := s.CountRequests(ctx, RequestFilter{Approval: host.ApprovalRequired})
		if err != nil || n.N == 0 {
			return nil, err
		}
		return []Wait{{For: "approval", Requests: n.N}}, nil
	}
	list, err := s.Service.Waits(ctx)
	return kept(ctx, list, err, func(w Wait) string { return w.App })
}

func (s scoped) Targets(ctx context.Context) ([]Target, error) {
	list, err := s.Service.Targets(ctx)
	if err != nil || !limited(ctx) {
		return list, err
	}
	for i := range list {
		list[i].Apps = seen(ctx, list[i].Apps)
	}
	return slices.DeleteFunc(list, func(t Target) bool { return len(t.Apps) == 0 }), nil
}

func (s scoped) Apps(ctx context.Context) ([]App, error) {
	list, err := s.Service.Apps(ctx)
	return kept(ctx, list, err, func(a App) string { return a.Name })
}

func (s scoped) AppLabels(ctx context.Context) ([]AppLabel, error) {
	list, err := s.Service.AppLabels(ctx)
	return kept(ctx, list, err, func(a AppLabel) string { return a.Name })
}

func (s scoped) App(ctx context.Context, name string) (App, error) {
	if !sees(ctx, name) {
		return App{}, noApp(name)
	}
	return s.Service.App(ctx, name)
}

func (s scoped) Mapping(ctx context.Context, app string, t MappingTrial) (*Mapping, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	m, err := s.Service.Mapping(ctx, app, t)
	if err == nil && !readsOf(ctx, app) {
		maskMapping(m)
	}
	return m, err
}

func (s scoped) Effect(ctx context.Context, app string, t RulesTrial) (*host.Effect, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	e, err := s.Service.Effect(ctx, app, t)
	if err == nil && !readsOf(ctx, app) {
		for i := range e.Examples {
			maskTexts(&e.Examples[i].Subject)
			e.Examples[i].Now, e.Examples[i].Then = masked(e.Examples[i].Now), masked(e.Examples[i].Then)
		}
	}
	return e, err
}

func (s scoped) Reconcile(ctx context.Context, app string, o ReconcileOptions) (*host.UserProvisioningRequest, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	return s.Service.Reconcile(ctx, app, o)
}

func (s scoped) ImportAccounts(ctx context.Context, app string, in io.Reader, name, format string, commit bool) (*host.UserProvisioningRequest, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	return s.Service.ImportAccounts(ctx, app, in, name, format, commit)
}

func (s scoped) Assign(ctx context.Context, user, app string) error {
	if err := at(ctx, app); err != nil {
		return err
	}
	return s.Service.Assign(ctx, user, app)
}

func (s scoped) Unassign(ctx context.Context, user, app string) error {
	if err := at(ctx, app); err != nil {
		return err
	}
	return s.Service.Unassign(ctx, user, app)
}
