package main

import (
	"context"
	"time"

	"github.com/provosthq/provost/host/provision"
	"github.com/provosthq/provost/host/queue"
	"github.com/provosthq/provost/host/reconcile"
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

type txStore struct{ d *daemon }

type provisionStore struct{ txStore }

// Update inserts the jobs of a transaction all at once: an import makes a
// thousand of them.
func (s provisionStore) Update(ctx context.Context, fn func(provision.Tx) error) error {
	return s.d.store.Update(ctx, func(t *store.Tx) error {
		var jobs []queue.Entry // fn may run again
		if err := fn(tx{t, s.d, &jobs}); err != nil {
			return err
		}
		return s.d.queue.Enqueue(ctx, t.SQL(), jobs...)
	})
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
