package main

import (
	"context"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store"
)

func pageOf(p api.Paging) store.Page {
	return store.Page{Sort: p.Sort, Cursor: p.Cursor, Limit: p.Limit}
}

func userFilter(f api.UserFilter) store.UserListFilter {
	return store.UserListFilter{Query: f.Query, Active: f.Active, AppName: f.App, AfterId: f.After}
}

func (s service) Users(ctx context.Context, f api.UserFilter) (l api.Listing[*host.User], err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		l.Rows, l.Next, err = t.ListUsers(ctx, userFilter(f), pageOf(f.Paging))
		return err
	})
	return l, err
}

func (s service) CountUsers(ctx context.Context, f api.UserFilter) (api.Count, error) {
	return s.count(ctx, func(t *store.Tx) (store.Counted, error) { return t.CountListedUsers(ctx, userFilter(f)) })
}

func (s service) count(ctx context.Context, count func(*store.Tx) (store.Counted, error)) (api.Count, error) {
	var c store.Counted
	err := s.store.View(ctx, func(t *store.Tx) (err error) {
		c, err = count(t)
		return err
	})
	return api.Count{N: c.N, More: c.More}, err
}

// requestFilter says the same to the store.
func (s service) requestFilter(ctx context.Context, t *store.Tx, f api.RequestFilter) (store.RequestFilter, error) {
	q := store.RequestFilter{AppName: f.App, Apps: f.Apps, States: f.State, Operation: f.Operation, Approval: f.Approval, ErrorCode: f.Error,
		Since: f.Since, MadeSince: f.MadeSince, MadeBefore: f.MadeBefore, After: f.After}
	if err := s.forApprover(ctx, t, f.Approver, &q); err != nil {
		return q, err
	}
	if f.User != "" {
		u, err := findUser(ctx, t, f.User)
		if err != nil {
			return q, err
		}
		q.UserId = u.Id
	}
	return q, nil
}

func (s service) Requests(ctx context.Context, f api.RequestFilter) (l api.Listing[*host.UserProvisioningRequest], err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		q, err := s.requestFilter(ctx, t, f)
		if err != nil {
			return err
		}
		l.Rows, l.Next, err = t.ListRequests(ctx, q, pageOf(f.Paging))
		return err
	})
	return l, err
}

func (s service) CountRequests(ctx context.Context, f api.RequestFilter) (api.Count, error) {
	return s.count(ctx, func(t *store.Tx) (store.Counted, error) {
		q, err := s.requestFilter(ctx, t, f)
		if err != nil {
			return store.Counted{}, err
		}
		return t.CountListedRequests(ctx, q)
	})
}

// accountFilter says the same to the store.
func accountFilter(ctx context.Context, t *store.Tx, f api.AccountFilter) (store.AccountFilter, error) {
	q := store.AccountFilter{AppName: f.App, Apps: f.Apps, LinkState: f.State, Drifted: f.Drifted, Undecided: f.Undecided, Query: f.Query, After: f.After}
	if f.User != "" {
		u, err := findUser(ctx, t, f.User)
		if err != nil {
			return q, err
		}
		q.UserId = u.Id
	}
	if f.App != "" {
		if _, err := t.Config(ctx, f.App); err != nil {
			return q, err
		}
	}
	return q, nil
}

func (s service) Accounts(ctx context.Context, f api.AccountFilter) (l api.Listing[*host.UserProvAccount], err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		q, err := accountFilter(ctx, t, f)
		if err != nil {
			return err
		}
		l.Rows, l.Next, err = t.ListAccounts(ctx, q, pageOf(f.Paging))
		return err
	})
	return l, err
}

func (s service) CountAccounts(ctx context.Context, f api.AccountFilter) (api.Count, error) {
	return s.count(ctx, func(t *store.Tx) (store.Counted, error) {
		q, err := accountFilter(ctx, t, f)
		if err != nil {
			return store.Counted{}, err
		}
		return t.CountListedAccounts(ctx, q)
	})
}

func (s service) Logs(ctx context.Context, f api.LogFilter) (l api.Listing[*host.UserProvisioningLog], err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		q := store.LogFilter{Actor: f.Actor, Apps: f.Apps}
		if f.Request != "" {
			r, err := findRequest(ctx, t, f.Request)
			if err != nil {
				return err
			}
			q.RequestId = r.Id
		}
		if f.User != "" {
			u, err := findUser(ctx, t, f.User)
			if err != nil {
				return err
			}
			q.UserId = u.Id
		}
		l.Rows, l.Next, err = t.ListLogs(ctx, q, pageOf(f.Paging))
		return err
	})
	return l, err
}
