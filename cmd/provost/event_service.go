package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store"
)

const (
	// mostChanges are told one by one, of each topic, in one look.
	mostChanges = 200
	// lateBy is how much later than others a transaction may be seen that has
	// taken its number, or its time, before them.
	lateBy = 10 * time.Second
)

// changes looks for what has changed in the database, by whichever machine.
type changes struct {
	d *daemon

	// logs are the numbers of lines that were seen lately, with when; those at or
	// below low are all known.
	logs map[int64]time.Time
	low  int64
	runs map[string]store.RequestState
	// accounts are those that were seen lately, as they were.
	accounts map[int64]time.Time
	since    time.Time
	notices  map[string]time.Time
}

func (c *changes) Begin(ctx context.Context) error {
	c.logs, c.runs, c.accounts, c.notices = map[int64]time.Time{}, map[string]store.RequestState{}, map[int64]time.Time{}, map[string]time.Time{}
	if err := c.d.store.View(ctx, func(t *store.Tx) (err error) {
		c.low, err = t.LastLog(ctx)
		return err
	}); err != nil {
		return err
	}
	c.since = time.Now()
	_, err := c.Next(ctx)
	return err
}

func (c *changes) Next(ctx context.Context) (all []api.Event, err error) {
	err = c.d.store.View(ctx, func(t *store.Tx) error {
		all = nil
		for _, look := range []func(context.Context, *store.Tx) ([]api.Event, error){c.requests, c.reconciliations, c.linked, c.told} {
			list, err := look(ctx, t)
			if err != nil {
				return err
			}
			all = append(all, list...)
		}
		return nil
	})
	return all, err
}

// requests are those whose logs have a new line.
func (c *changes) requests(ctx context.Context, t *store.Tx) ([]api.Event, error) {
	const most = 1000
	now := time.Now()
	lines, err := t.LogsAfter(ctx, c.low, most)
	if err != nil {
		return nil, err
	}
	touched := map[string]bool{}
	for _, l := range lines {
		if _, known := c.logs[l.Number]; !known {
			c.logs[l.Number] = now
			touched[l.RequestId] = true
		}
	}
	for _, n := range slices.Sorted(maps.Keys(c.logs)) {
		if now.Sub(c.logs[n]) > lateBy {
			c.low = n
			delete(c.logs, n)
		}
	}
	if len(lines) == most { // too many to be looked at again and again
		c.low, c.logs = lines[most-1].Number, map[int64]time.Time{}
	}
	ids := slices.Sorted(maps.Keys(touched))
	states, err := t.StatesOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	var list []api.Event
	for _, r := range states {
		e := api.Event{Topic: "requests", App: r.AppName, Id: r.Id, Name: requestName(r.Number), State: string(r.State)}
		if r.Operation == host.Reconcile {
			continue // it is told of as a run
		}
		list = append(list, e)
	}
	return together(list), nil
}

func requestName(n int64) string { return fmt.Sprintf("UPR-%06d", n) }

// reconciliations are those that have come further, or have ended.
func (c *changes) reconciliations(ctx context.Context, t *store.Tx) ([]api.Event, error) {
	open, err := t.OpenRuns(ctx)
	if err != nil {
		return nil, err
	}
	now := map[string]store.RequestState{}
	var changed []store.RequestState
	for _, r := range open {
		now[r.Id] = r
		if c.runs[r.Id] != r {
			changed = append(changed, r)
		}
	}
	var gone []string
	for id := range c.runs {
		if _, still := now[id]; !still {
			gone = append(gone, id)
		}
	}
	over, err := t.StatesOf(ctx, gone)
	if err != nil {
		return nil, err
	}
	c.runs = now
	var list []api.Event
	for _, r := range append(changed, over...) {
		list = append(list, api.Event{Topic: "runs", App: r.AppName, Id: r.Id, Name: requestName(r.Number), State: string(r.State), Pages: r.ReconPages, Found: r.ReconFound, Expected: r.TotalEstimate})
	}
	return together(list), nil
}

// linked are the accounts that have changed.
func (c *changes) linked(ctx context.Context, t *store.Tx) ([]api.Event, error) {
	const most = 1000
	found, err := t.AccountsSince(ctx, c.since.Add(-lateBy), most)
	if err != nil {
		return nil, err
	}
	seen := map[int64]time.Time{}
	var list []api.Event
	for _, a := range found {
		seen[a.Number] = a.LastModifiedDate
		if at, known := c.accounts[a.Number]; !known || !at.Equal(a.LastModifiedDate) {
			list = append(list, api.Event{Topic: "accounts", App: a.AppName, Id: a.Id, Name: fmt.Sprintf("UPA-%06d", a.Number), State: string(a.LinkState)})
		}
	}
	c.accounts = seen
	if len(found) == most {
		// There may be many more at the same time: it goes on behind them.
		c.since, c.accounts = found[most-1].LastModifiedDate.Add(lateBy+time.Microsecond), map[int64]time.Time{}
	} else if len(found) > 0 && found[len(found)-1].LastModifiedDate.After(c.since) {
		c.since = found[len(found)-1].LastModifiedDate
	}
	return together(list), nil
}

// told are notices that are raised, changed or resolved.
func (c *changes) told(ctx context.Context, t *store.Tx) ([]api.Event, error) {
	open, err := t.Notices(ctx, time.Time{})
	if err != nil {
		return nil, err
	}
	now := map[string]time.Time{}
	var list []api.Event
	for _, n := range open {
		now[n.Id] = n.LastRaised
		if at, known := c.notices[n.Id]; !known || !at.Equal(n.LastRaised) {
			list = append(list, api.Event{Topic: "notices", Id: n.Id, Name: string(n.Kind), State: "open"})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.notices)) {
		if _, still := now[id]; !still {
			list = append(list, api.Event{Topic: "notices", Id: id, State: "resolved"})
		}
	}
	c.notices = now
	return together(list), nil
}

// together tells many of one app as one.
func together(list []api.Event) []api.Event {
	if len(list) <= mostChanges {
		return list
	}
	apps := map[string]bool{}
	for _, e := range list {
		apps[e.App] = true
	}
	topic := list[0].Topic
	list = nil
	for _, app := range slices.Sorted(maps.Keys(apps)) {
		list = append(list, api.Event{Topic: topic, App: app, Many: true})
	}
	return list
}
