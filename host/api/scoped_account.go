package api

import (
	"context"
	"slices"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
)

// mayAskOf is mayAsk about an app's accounts.
func mayAskOf(ctx context.Context, app, question string) error {
	if question == "" || readsOf(ctx, app) {
		return nil
	}
	return mayAsk(ctx, question)
}

func shownAccounts(ctx context.Context, list []*host.UserProvAccount) []*host.UserProvAccount {
	for _, a := range list {
		if a != nil && !readsOf(ctx, a.AppName) {
			maskAccount(a)
		}
	}
	return list
}

// narrowAccounts makes a filter one of the accounts that the subject sees.
func narrowAccounts(ctx context.Context, f *AccountFilter) (none bool) {
	apps := within(ctx)
	switch {
	case apps == nil:
		return false
	case f.App != "":
		return !slices.Contains(apps, f.App)
	case f.Apps != nil:
		apps = slices.DeleteFunc(apps, func(app string) bool { return !slices.Contains(f.Apps, app) })
	}
	f.Apps = apps
	return len(apps) == 0
}

func (s scoped) Accounts(ctx context.Context, f AccountFilter) (l Listing[*host.UserProvAccount], err error) {
	if err := mayAskOf(ctx, f.App, f.Query); err != nil {
		return l, err
	}
	if f.User != "" && !reads(ctx) {
		if _, err := s.User(ctx, f.User); err != nil {
			return l, err
		}
	}
	if narrowAccounts(ctx, &f) {
		return l, nil
	}
	l, err = s.Service.Accounts(ctx, f)
	shownAccounts(ctx, l.Rows)
	return l, err
}

func (s scoped) CountAccounts(ctx context.Context, f AccountFilter) (Count, error) {
	if err := mayAskOf(ctx, f.App, f.Query+f.User); err != nil {
		return Count{}, err
	}
	if narrowAccounts(ctx, &f) {
		return Count{}, nil
	}
	return s.Service.CountAccounts(ctx, f)
}

// account is one that the route lets the subject do something with.
func (s scoped) account(ctx context.Context, id string) (*host.UserProvAccount, error) {
	a, err := s.Service.Account(ctx, id)
	if err == nil && (!access.At(ctx, a.AppName) || !sees(ctx, a.AppName)) {
		return nil, host.Errorf(host.NotFound, "there is no account %q", id)
	}
	return a, err
}

func (s scoped) Account(ctx context.Context, id string) (*host.UserProvAccount, error) {
	a, err := s.account(ctx, id)
	if err == nil {
		shownAccounts(ctx, []*host.UserProvAccount{a})
	}
	return a, err
}

func (s scoped) changing(ctx context.Context, id string, do func() (*host.UserProvAccount, error)) (*host.UserProvAccount, error) {
	if unbounded(ctx) {
		return do()
	}
	if _, err := s.account(ctx, id); err != nil {
		return nil, err
	}
	a, err := do()
	shownAccounts(ctx, []*host.UserProvAccount{a})
	return a, err
}

func (s scoped) Link(ctx context.Context, id, user string) (*host.UserProvAccount, error) {
	return s.changing(ctx, id, func() (*host.UserProvAccount, error) { return s.Service.Link(ctx, id, user) })
}

func (s scoped) Unlink(ctx context.Context, id string) (*host.UserProvAccount, error) {
	return s.changing(ctx, id, func() (*host.UserProvAccount, error) { return s.Service.Unlink(ctx, id) })
}

func (s scoped) Ignore(ctx context.Context, id string) (*host.UserProvAccount, error) {
	return s.changing(ctx, id, func() (*host.UserProvAccount, error) { return s.Service.Ignore(ctx, id) })
}

func (s scoped) RequestForAccount(ctx context.Context, id string, op host.Operation) (*host.UserProvisioningRequest, error) {
	if _, err := s.account(ctx, id); err != nil {
		return nil, err
	}
	r, err := s.Service.RequestForAccount(ctx, id, op)
	s.shownRequest(ctx, r)
	return r, err
}

func (s scoped) Relink(ctx context.Context, app string, c LinkChange) (Relinked, error) {
	if err := at(ctx, app); err != nil {
		return Relinked{}, err
	}
	return s.Service.Relink(ctx, app, c)
}

func (s scoped) UndoRelink(ctx context.Context, app, undo string) (int64, error) {
	if err := at(ctx, app); err != nil {
		return 0, err
	}
	return s.Service.UndoRelink(ctx, app, undo)
}
