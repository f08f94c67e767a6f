package main

import (
	"context"
	"time"

	"github.com/provosthq/provost/host/provision"
	"github.com/provosthq/provost/host/reconcile"
	"github.com/provosthq/provost/host/store"
)

// tx is one transaction as the engines want it: the store's records and the
// queue's jobs together.
type tx struct {
	*store.Tx
	d *daemon
}

func (t tx) Enqueue(ctx context.Context, kind, requestID string, at time.Time) error {
	return t.d.queue.Enqueue(ctx, t.SQL(), kind, requestID, at)
}

func (t tx) CompleteJob(ctx context.Context) error { return t.d.queue.Complete(ctx, t.SQL()) }

type txStore struct{ d *daemon }

type provisionStore struct{ txStore }

func (s provisionStore) Update(ctx context.Context, fn func(provision.Tx) error) error {
	return s.d.store.Update(ctx, func(t *store.Tx) error { return fn(tx{t, s.d}) })
}

func (s provisionStore) View(ctx context.Context, fn func(provision.Tx) error) error {
	return s.d.store.View(ctx, func(t *store.Tx) error { return fn(tx{t, s.d}) })
}

type reconcileStore struct{ txStore }

func (s reconcileStore) Update(ctx context.Context, fn func(reconcile.Tx) error) error {
	return s.d.store.Update(ctx, func(t *store.Tx) error { return fn(tx{t, s.d}) })
}

func (s reconcileStore) View(ctx context.Context, fn func(reconcile.Tx) error) error {
	return s.d.store.View(ctx, func(t *store.Tx) error { return fn(tx{t, s.d}) })
}
