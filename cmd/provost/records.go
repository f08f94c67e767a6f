package main

import (
	"context"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/plan"
	"github.com/provosthq/provost/host/provision"
	"github.com/provosthq/provost/host/queue"
	"github.com/provosthq/provost/host/reconcile"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/host/store"
)

// tx is one transaction as the engines want it: the store's records and the
// queue's jobs together.
type tx struct {
	*store.Tx
	d *daemon
	// jobs, where set, are inserted together at the end.
	jobs *[]queue.Entry
}

func (t tx) Enqueue(ctx context.Context, kind, requestID string, at time.Time) error {
	e := queue.Entry{Job: queue.Job{Kind: kind, RequestID: requestID}, At: at}
	if t.jobs != nil {
		*t.jobs = append(*t.jobs, e)
		return nil
	}
	return t.d.queue.Enqueue(ctx, t.SQL(), e)
}

func (t tx) CompleteJob(ctx context.Context) error { return t.d.queue.Complete(ctx, t.SQL()) }

// TouchConfig notes the end of a run, with which begins what the app's policy
// has follow from it.
func (t tx) TouchConfig(ctx context.Context, app string, at time.Time, token string) error {
	if err := t.Tx.TouchConfig(ctx, app, at, token); err != nil {
		return err
	}
	c, err := t.Config(ctx, app)
	if err != nil || !c.Reconcile.Process {
		return err
	}
	_, err = t.d.plan.Start(ctx, t, app, plan.ProcessOptions{})
	return err
}

// AddRequest, Accept and Disable are what plans have done.
func (t tx) AddRequest(ctx context.Context, r *host.UserProvisioningRequest) error {
	return t.d.provision.AddPlanned(ctx, t, r)
}

func (t tx) Accept(ctx context.Context, u *host.User, a *host.UserProvAccount) error {
	rules, err := t.d.rulesOf(a.AppName)
	if err != nil {
		return err
	}
	after, err := rules.Accept(u, a)
	if err != nil {
		return err
	}
	_, err = t.d.provision.SaveUser(ctx, t, u, after)
	return err
}

func (t tx) Disable(ctx context.Context, u *host.User) error {
	_, err := t.d.provision.Disable(ctx, t, u)
	return err
}

type txStore struct{ d *daemon }

// update runs fn in a transaction whose jobs are inserted all at once at its
// end: an import makes a thousand of them.
func (s txStore) update(ctx context.Context, fn func(tx) error) error {
	return s.d.store.Update(ctx, func(t *store.Tx) error {
		var jobs []queue.Entry // fn may run again
		if err := fn(tx{t, s.d, &jobs}); err != nil {
			return err
		}
		return s.d.queue.Enqueue(ctx, t.SQL(), jobs...)
	})
}

type planStore struct{ txStore }

func (s planStore) Update(ctx context.Context, fn func(plan.Tx) error) error {
	return s.update(ctx, func(t tx) error { return fn(t) })
}

func (s planStore) View(ctx context.Context, fn func(plan.Tx) error) error {
	return s.d.store.View(ctx, func(t *store.Tx) error { return fn(tx{Tx: t, d: s.d}) })
}

type provisionStore struct{ txStore }

func (s provisionStore) Update(ctx context.Context, fn func(provision.Tx) error) error {
	return s.update(ctx, func(t tx) error { return fn(t) })
}

func (s provisionStore) View(ctx context.Context, fn func(provision.Tx) error) error {
	return s.d.store.View(ctx, func(t *store.Tx) error { return fn(tx{Tx: t, d: s.d}) })
}

type reconcileStore struct{ txStore }

func (s reconcileStore) Update(ctx context.Context, fn func(reconcile.Tx) error) error {
	return s.d.store.Update(ctx, func(t *store.Tx) error { return fn(tx{Tx: t, d: s.d}) })
}

func (s reconcileStore) View(ctx context.Context, fn func(reconcile.Tx) error) error {
	return s.d.store.View(ctx, func(t *store.Tx) error { return fn(tx{Tx: t, d: s.d}) })
}

// signInStore keeps what people authorize. Its transactions make no jobs.
type signInStore struct{ *store.Store }

func (s signInStore) Update(ctx context.Context, fn func(signin.Tx) error) error {
	return s.Store.Update(ctx, func(t *store.Tx) error { return fn(signInTx{t}) })
}

func (s signInStore) View(ctx context.Context, fn func(signin.Tx) error) error {
	return s.Store.View(ctx, func(t *store.Tx) error { return fn(signInTx{t}) })
}

// signInTx notes in the audit trail what people authorize and take back.
type signInTx struct{ *store.Tx }

// PutAuthorization stores an authorization.
func (t signInTx) PutAuthorization(ctx context.Context, a *host.Authorization) error {
	before, err := t.Authorization(ctx, a.Credential, a.UserId, false)
	if err != nil {
		return err
	}
	if err := t.Tx.PutAuthorization(ctx, a); err != nil {
		return err
	}
	return auditAuthorization(ctx, t.Tx, before, a)
}

// targets lets the engine of reconciliation ask that of provisioning, which
// knows all targets.
type targets struct{ d *daemon }

func (t targets) Admit(ctx context.Context, in reconcile.Tx, app *host.UserProvisioningConfig, r *host.UserProvisioningRequest) (time.Time, string, string, error) {
	return t.d.provision.Admit(ctx, in.(tx), app, r)
}

func (t targets) Note(ctx context.Context, in reconcile.Tx, app *host.UserProvisioningConfig, r *host.UserProvisioningRequest, trace *host.CallTrace, err error) (string, bool, error) {
	return t.d.provision.Note(ctx, in.(tx), app, r, trace, err)
}
