package main

import (
	"cmp"
	"context"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/metrics"
	"github.com/provosthq/provost/host/reconcile"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/host/store"
)

// What the daemon's parts tell Prometheus. What happens inside a transaction is
// told when it is committed.

// measure makes the metrics, before the parts that they are of.
func (d *daemon) measure() (err error) {
	if d.metrics, err = metrics.New(d.registry, metrics.Options{Build: build(), State: d.metricState, Counts: d.metricCounts, Logger: d.log}); err != nil {
		return err
	}
	d.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return nil
}

// build says what this binary was built of.
func build() metrics.Build {
	b := metrics.Build{Version: version, Revision: "unknown", GoVersion: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Revision = s.Value
			}
		}
	}
	return b
}

func (d *daemon) observeTransaction(t store.Transaction) {
	d.metrics.Transaction(t.Writes, t.Committed, t.Took, t.Again)
}

func (d *daemon) observeCall(o connector.Observation) {
	d.metrics.Call(metrics.Call{Connector: o.Connector, Version: o.Version, Operation: o.Operation, Outcome: o.Outcome, Limit: o.Limit, RequestID: o.RequestId,
		Took: o.Duration, HTTP: o.HTTPDuration, Waited: o.Waited, MemoryBytes: o.MemoryBytes, Fuel: o.Fuel})
}

func (d *daemon) observeLoad(name string, took, compiling time.Duration, err error) {
	d.metrics.Load(name, outcomeOf(err), took, compiling)
}

func (d *daemon) observeCallout(o callout.Observation) {
	p := o.Record
	d.metrics.Callout(metrics.Callout{Credential: o.Credential, Method: o.Method, Status: o.Status, Refused: o.Refused, RequestID: o.RequestID, Took: o.Took,
		SignIn: p.SignIn, Resolve: p.Resolve, Connect: p.Connect, TLS: p.TLS, Wait: p.Wait, Read: p.Read, Retries: p.Retries, Sent: o.Sent, Received: o.Received})
}

func (d *daemon) observeToken(credential string, o signin.Outcome) {
	d.metrics.TokenRefresh(credential, string(o))
}

func (d *daemon) observeAttempt(r *host.UserProvisioningRequest, outcome string) {
	d.metrics.Attempt(r.AppName, r.Operation, outcome, r.Id)
}

// outcomeOf is "ok" or an error's code.
func outcomeOf(err error) string { return cmp.Or(string(host.CodeOf(err)), "ok") }

// UpdateRequest stores a request, and tells of its end.
func (t tx) UpdateRequest(ctx context.Context, r *host.UserProvisioningRequest, expectAttempt int) error {
	if err := t.Tx.UpdateRequest(ctx, r, expectAttempt); err != nil {
		return err
	}
	// One that had ended before may be stored again.
	if r.State.Ended() && r.CompletedDate != nil && !r.CompletedDate.Before(t.Began()) {
		ended := *r
		t.AfterCommit(func() { t.d.metrics.RequestEnded(&ended) })
	}
	return nil
}

// InsertPlan and UpdatePlan tell of plans that go into quarantine.
func (t tx) InsertPlan(ctx context.Context, p *host.Plan) error {
	if err := t.Tx.InsertPlan(ctx, p); err != nil {
		return err
	}
	t.observePlan(p, "")
	return nil
}

func (t tx) UpdatePlan(ctx context.Context, p *host.Plan, still host.PlanState) error {
	if err := t.Tx.UpdatePlan(ctx, p, still); err != nil {
		return err
	}
	t.observePlan(p, still)
	return nil
}

func (t tx) observePlan(p *host.Plan, before host.PlanState) {
	if p.State == host.PlanQuarantined && before != host.PlanQuarantined {
		app, kind := p.AppName, p.Kind
		t.AfterCommit(func() { t.d.metrics.ThresholdHit(app, kind) })
	}
}

// runObserver tells of reconciliations. It implements [reconcile.Observer].
type runObserver struct{ d *daemon }

func (o runObserver) Page(t reconcile.Tx, r *host.UserProvisioningRequest, outcome string, accounts int) {
	app, id := r.AppName, r.Id
	t.(tx).AfterCommit(func() { o.d.metrics.Page(app, outcome, accounts, id) })
}

func (o runObserver) Held(t reconcile.Tx, r *host.UserProvisioningRequest) {
	app := r.AppName
	t.(tx).AfterCommit(func() { o.d.metrics.ThresholdHit(app, "run") })
}

// metricState is what is cheap to know.
func (d *daemon) metricState(context.Context) (metrics.State, error) {
	s := metrics.State{SandboxBytes: d.sandbox.MemoryBytes(), Instances: map[string]metrics.Instances{}, Pools: map[string]metrics.Pool{}}
	for name, p := range d.catalogue.Pools() {
		s.Instances[name] = metrics.Instances{All: p.Instances, Idle: p.Idle, Waiting: p.Waiting, Waits: p.Waits, Refusals: p.Refusals, Resets: p.Resets, ResetTime: p.ResetTime}
	}
	s.DroppedLines = d.catalogue.Dropped()
	var stale map[string]string
	if now := d.current.Load(); now != nil { // the first is being taken
		stale = now.stale
	}
	for _, c := range d.catalogue.List() {
		s.Loaded = append(s.Loaded, metrics.Loaded{Connector: c.Name, Version: c.Version, Digest: c.Digest, State: string(c.State), At: c.LoadedAt, Refused: c.LastError != "", Stale: stale[c.Name] != ""})
	}
	for name, p := range d.store.Pools() {
		s.Pools[name] = metrics.Pool{Open: p.OpenConnections, InUse: p.InUse, Most: p.MaxOpenConnections, Waits: p.WaitCount, Waited: p.WaitDuration}
	}
	return s, nil
}

// metricCounts asks the database.
func (d *daemon) metricCounts(ctx context.Context) (c metrics.Counts, err error) {
	c = metrics.Counts{Queues: map[string]metrics.Queue{}, Requests: map[string]map[host.RequestState]int64{}, Open: map[string]map[string]metrics.Open{},
		Runs: map[string]metrics.Run{}, Accounts: map[string]map[host.LinkState]int64{}, Reconciled: map[string]time.Time{}}
	now := time.Now()
	if c.DatabaseBytes, err = d.store.Bytes(ctx); err != nil {
		return c, err
	}
	err = d.store.View(ctx, func(t *store.Tx) error {
		queues, err := d.queue.Waiting(ctx, t.SQL(), now)
		if err != nil {
			return err
		}
		for name, q := range queues {
			c.Queues[name] = metrics.Queue(q)
		}
		if err := d.countTargets(ctx, t, &c); err != nil {
			return err
		}
		if err := countRequests(ctx, t, &c, now); err != nil {
			return err
		}
		return countApps(ctx, t, &c)
	})
	for app := range c.Requests {
		d.metrics.App(app)
	}
	for _, app := range d.current.Load().config.Apps {
		d.metrics.AppRequests(app.Name, operationsOf(app)...)
	}
	return c, err
}

// operationsOf are those that requests of an app can have.
func operationsOf(app config.App) (list []host.Operation) {
	for _, op := range host.Operations {
		if by := op.EnabledBy(); by == "" && op != host.Read || slices.Contains(app.Operations, string(by)) {
			list = append(list, op)
		}
	}
	return list
}

func (d *daemon) countTargets(ctx context.Context, t *store.Tx, c *metrics.Counts) error {
	list, err := d.targets(ctx, t)
	if err != nil {
		return err
	}
	c.Targets = targetMetrics(list)
	c.Authorized, err = d.authorized(ctx, t)
	return err
}

func countRequests(ctx context.Context, t *store.Tx, c *metrics.Counts, now time.Time) error {
	open, err := t.CountOpen(ctx, now)
	if err != nil {
		return err
	}
	for _, o := range open {
		if c.Open[o.AppName] == nil {
			c.Open[o.AppName] = map[string]metrics.Open{}
		}
		c.Open[o.AppName][o.WaitsFor] = metrics.Open{Requests: o.Requests, Since: o.Since}
	}
	runs, err := t.CountRuns(ctx)
	if err != nil {
		return err
	}
	for _, r := range runs {
		run := c.Runs[r.AppName]
		if run.States == nil {
			run.States = map[host.RequestState]int64{}
		}
		run.States[r.State] += r.Runs
		run.Pages, run.Accounts, run.Expected = run.Pages+r.Pages, run.Accounts+r.Accounts, run.Expected+r.Expected
		c.Runs[r.AppName] = run
	}
	return nil
}

func countApps(ctx context.Context, t *store.Tx, c *metrics.Counts) (err error) {
	quarantined, err := t.CountPlans(ctx, host.PlanQuarantined)
	if err != nil {
		return err
	}
	if c.Drifted, err = t.CountDrifted(ctx); err != nil {
		return err
	}
	if c.Undecided, err = t.CountUndecided(ctx); err != nil {
		return err
	}
	apps, err := t.Configs(ctx)
	if err != nil {
		return err
	}
	c.Quarantined = map[string]int64{"": quarantined[""]}
	for _, app := range apps {
		c.Quarantined[app.AppName] = quarantined[app.AppName]
		if app.LastReconDateTime != nil {
			c.Reconciled[app.AppName] = *app.LastReconDateTime
		}
		if c.Requests[app.AppName], err = t.CountRequestsByState(ctx, app.AppName); err != nil {
			return err
		}
		if c.Accounts[app.AppName], err = t.CountAccountsByLinkState(ctx, app.AppName); err != nil {
			return err
		}
	}
	return nil
}
