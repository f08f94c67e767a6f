package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/provosthq/provost/host"
)

const (
	// scrapeTimeout bounds one scrape.
	scrapeTimeout = 8 * time.Second
	// share: what is counted in the database is counted again when so many times
	// the time has passed that it took, at most mostOld later.
	share   = 10
	mostOld = 5 * time.Minute
)

// stored reads what there is when it is scraped, so that no count can drift from
// what is stored.
type stored struct {
	Options
	counted cached
	descs   []*prometheus.Desc

	instances, waiting, waits, refusals, resets, resetTime, memory *prometheus.Desc
	info, loadedAt, refused, state, stale, dropped                 *prometheus.Desc
	poolOpen, poolBusy, poolMost, poolWaits, poolWaited            *prometheus.Desc

	up, countedAt, countTime, databaseBytes  *prometheus.Desc
	queueDepth, queueAge                     *prometheus.Desc
	requests, open, openAge                  *prometheus.Desc
	runs, runPages, runAccounts, runExpected *prometheus.Desc
	accounts, drifted, undecided             *prometheus.Desc
	breakers, held, down, authorized         *prometheus.Desc
	quarantined, reconciled                  *prometheus.Desc
}

func newStored(f *registrar, o Options) {
	gauge := func(name, help string, labels ...string) *prometheus.Desc {
		return f.read("gauge", OfProcess, name, help, labels...)
	}
	counter := func(name, help string, labels ...string) *prometheus.Desc {
		return f.read("counter", OfProcess, name, help, labels...)
	}
	kept := func(name, help string, labels ...string) *prometheus.Desc {
		return f.read("gauge", OfDatabase, name, help, labels...)
	}
	s := &stored{Options: o,
		instances: gauge("provost_connector_instances", "Instances of connectors, by state: busy or idle.", "connector", "state"),
		waiting:   gauge("provost_connector_waiting_calls", "Calls that wait for an instance.", "connector"),
		waits:     counter("provost_connector_waits_total", "Calls that had to wait for an instance.", "connector"),
		refusals:  counter("provost_connector_wait_refusals_total", "Calls that waited for an instance in vain.", "connector"),
		resets:    counter("provost_connector_resets_total", "Times that an instance was put back into its pristine state.", "connector"),
		resetTime: counter("provost_connector_reset_seconds_total", "Time that putting instances back into their pristine state took.", "connector"),
		memory:    gauge("provost_sandbox_memory_bytes", "Memory of all instances of connectors."),
		info:      gauge("provost_connector_info", "1, with the version that runs and the SHA-256 of its file.", "connector", "version", "digest"),
		loadedAt:  gauge("provost_connector_loaded_timestamp_seconds", "When the version that runs was loaded.", "connector"),
		dropped:   counter("provost_connector_log_lines_dropped_total", "Lines of connectors that were dropped because they logged more than they may.", "connector"),
		stale:     gauge("provost_connector_source_stale", "1 while a connector's source could not be asked when it was last looked at, and what was fetched before is used.", "connector"),
		refused:   gauge("provost_connector_load_refused", "1 while the newest version of a connector has been refused; the one before goes on, if there was one.", "connector"),

		state: gauge("provost_connector_state", "1 for the state of a connector: serving, loading, quarantined or failed (none of its builds could be loaded).", "connector", "state"),

		poolOpen:   gauge("provost_database_connections", "Connections to the database, by pool (read, write; one for both on PostgreSQL).", "pool"),
		poolBusy:   gauge("provost_database_connections_in_use", "Connections to the database that are in use.", "pool"),
		poolMost:   gauge("provost_database_connections_max", "Most connections to the database that there may be.", "pool"),
		poolWaits:  counter("provost_database_connection_waits_total", "Times that a connection to the database was waited for.", "pool"),
		poolWaited: counter("provost_database_connection_wait_seconds_total", "Time that connections to the database were waited for.", "pool"),

		up:            gauge("provost_database_up", "Whether the database answered when it was last asked: 1, or 0. While it is 0 nothing is shown that is counted there."),
		countedAt:     gauge("provost_counted_timestamp_seconds", "When what is counted in the database was last counted."),
		countTime:     gauge("provost_count_duration_seconds", "Time that counting in the database took; it is done a tenth of the time at most."),
		databaseBytes: kept("provost_database_size_bytes", "Size of the database."),

		queueDepth: kept("provost_queue_depth", "Jobs that wait or run, by queue.", "queue"),
		queueAge:   kept("provost_queue_oldest_job_age_seconds", "How long the oldest job that could run has waited, by queue; 0 where none waits.", "queue"),

		requests: kept("provost_requests", "Requests, by app and state; those that were pruned count.", "app", "state"),
		open: kept("provost_requests_open", "Requests that have not ended, by what they wait for: worker (their turn), later (a time), target (one that is down or busy), authorization, approval, review, resume (all four for a person), or nothing.",
			"app", "waits_for"),
		openAge: kept("provost_requests_oldest_age_seconds", "Age of the oldest request that has not ended, by what it waits for, from when it was made or was due; 0 where there is none.", "app", "waits_for"),

		runs:        kept("provost_reconcile_runs", "Reconciliations under way, by state.", "app", "state"),
		runPages:    kept("provost_reconcile_run_pages", "Pages that the reconciliations under way have collected.", "app"),
		runAccounts: kept("provost_reconcile_run_accounts", "Accounts that the reconciliations under way have collected.", "app"),
		runExpected: kept("provost_reconcile_run_expected_accounts", "Accounts that the targets of the reconciliations under way said there are; 0 where they did not.", "app"),
		reconciled:  kept("provost_reconcile_last_commit_timestamp_seconds", "When a run of an app was last committed.", "app"),

		accounts:    kept("provost_accounts", "Known accounts, by app and link state.", "app", "link_state"),
		drifted:     kept("provost_accounts_drifted", "Accounts whose values in the target were found to be others than they should be.", "app"),
		undecided:   kept("provost_accounts_undecided", "Accounts that may be somebody's; a person must decide.", "app"),
		quarantined: kept("provost_plans_quarantined", "Plans that passed a threshold and wait for a person, by app (empty for imports of users).", "app"),

		breakers: kept("provost_target_breaker_state", "1 for the state of the circuit breaker of a target: closed, open or half-open.", "credential", "state"),
		held:     kept("provost_target_waiting_requests", "Requests that wait for a target.", "credential"),
		down:     kept("provost_target_failing_seconds", "How long a target has given no answer of its own; 0 while it answers.", "credential"),
		authorized: kept("provost_credential_authorized", "Whether a named credential that people authorize can be used: 1, or 0 while somebody must authorize it.",
			"credential"),
	}
	s.descs = f.descs
	f.register(s)
}

// Describe lists what may be there.
func (s *stored) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range s.descs {
		ch <- d
	}
}

// Collect is called on each scrape.
func (s *stored) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	if s.State != nil {
		if now, err := s.State(ctx); err != nil {
			s.Logger.ErrorContext(ctx, "what there is can't be told to Prometheus", "error", err)
		} else {
			s.collectState(ch, now)
		}
	}
	if s.Options.Counts == nil {
		return
	}
	up := 1.0
	counts, err := s.counted.get(ctx, s.Now, s.Options.Counts)
	if err != nil {
		s.Logger.ErrorContext(ctx, "the database does not answer Prometheus", "error", err)
		up = 0
	}
	gauge(ch, s.up, up)
	if err == nil {
		s.collectCounts(ch, counts)
	}
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func (s *stored) collectState(ch chan<- prometheus.Metric, now State) {
	gauge(ch, s.memory, float64(now.SandboxBytes))
	for connector, n := range now.Instances {
		gauge(ch, s.instances, float64(n.All-n.Idle), connector, "busy")
		gauge(ch, s.instances, float64(n.Idle), connector, "idle")
		gauge(ch, s.waiting, float64(n.Waiting), connector)
		counter(ch, s.waits, float64(n.Waits), connector)
		counter(ch, s.refusals, float64(n.Refusals), connector)
		counter(ch, s.resets, float64(n.Resets), connector)
		counter(ch, s.resetTime, n.ResetTime.Seconds(), connector)
	}
	for _, l := range now.Loaded {
		gauge(ch, s.refused, number(l.Refused), l.Connector)
		gauge(ch, s.stale, number(l.Stale), l.Connector)
		for _, st := range ConnectorStates {
			gauge(ch, s.state, number(l.State == st), l.Connector, st)
		}
		if !l.At.IsZero() {
			gauge(ch, s.info, 1, l.Connector, clean(l.Version), clean(l.Digest))
			gauge(ch, s.loadedAt, timestamp(l.At), l.Connector)
		}
	}
	for connector, n := range now.DroppedLines {
		counter(ch, s.dropped, float64(n), connector)
	}
	for name, p := range now.Pools {
		gauge(ch, s.poolOpen, float64(p.Open), name)
		gauge(ch, s.poolBusy, float64(p.InUse), name)
		gauge(ch, s.poolMost, float64(p.Most), name)
		counter(ch, s.poolWaits, float64(p.Waits), name)
		counter(ch, s.poolWaited, p.Waited.Seconds(), name)
	}
}

func (s *stored) collectCounts(ch chan<- prometheus.Metric, c counted) {
	now := s.Now()
	age := func(since time.Time) float64 {
		if since.IsZero() {
			return 0
		}
		return max(0, now.Sub(since).Seconds())
	}
	gauge(ch, s.countedAt, timestamp(c.at))
	gauge(ch, s.countTime, c.took.Seconds())
	gauge(ch, s.databaseBytes, float64(c.DatabaseBytes))
	for queue, q := range c.Queues {
		gauge(ch, s.queueDepth, float64(q.Depth), queue)
		gauge(ch, s.queueAge, age(q.Due), queue)
	}
	for app, byState := range c.Requests {
		for _, st := range host.RequestStates {
			gauge(ch, s.requests, float64(byState[st]), app, string(st))
		}
		for _, what := range WaitsFor {
			o := c.Open[app][what]
			gauge(ch, s.open, float64(o.Requests), app, what)
			gauge(ch, s.openAge, age(o.Since), app, what)
		}
		run := c.Runs[app]
		for _, st := range []host.RequestState{host.StateCollecting, host.StateCollected, host.StateAnalyzing, host.StateAnalyzed, host.StateCommitting} {
			gauge(ch, s.runs, float64(run.States[st]), app, string(st))
		}
		gauge(ch, s.runPages, float64(run.Pages), app)
		gauge(ch, s.runAccounts, float64(run.Accounts), app)
		gauge(ch, s.runExpected, float64(run.Expected), app)
		gauge(ch, s.drifted, float64(c.Drifted[app]), app)
		gauge(ch, s.undecided, float64(c.Undecided[app]), app)
	}
	for app, byState := range c.Accounts {
		for _, st := range host.LinkStates {
			gauge(ch, s.accounts, float64(byState[st]), app, string(st))
		}
	}
	for app, n := range c.Quarantined {
		gauge(ch, s.quarantined, float64(n), app)
	}
	for app, at := range c.Reconciled {
		gauge(ch, s.reconciled, timestamp(at), app)
	}
	for credential, t := range c.Targets {
		for _, st := range []host.Breaker{host.BreakerClosed, host.BreakerOpen, host.BreakerHalfOpen} {
			gauge(ch, s.breakers, number(t.State == st), credential, string(st))
		}
		gauge(ch, s.held, float64(t.Waiting), credential)
		gauge(ch, s.down, age(t.Since), credential)
	}
	for credential, yes := range c.Authorized {
		gauge(ch, s.authorized, number(yes), credential)
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func timestamp(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// counted is what was counted, and when.
type counted struct {
	Counts
	at   time.Time
	took time.Duration
}

// cached keeps counts for as long as counting them again would take too much of
// the database. Who comes while they are counted waits for them.
type cached struct {
	mu   sync.Mutex
	last counted
}

func (c *cached) get(ctx context.Context, now func() time.Time, ask func(context.Context) (Counts, error)) (counted, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	began := now()
	if !c.last.at.IsZero() && began.Sub(c.last.at) < min(mostOld, share*c.last.took) {
		return c.last, nil
	}
	counts, err := ask(ctx)
	if err != nil && ctx.Err() != nil && !c.last.at.IsZero() {
		return c.last, nil // it takes long, and says so by the time of the last
	} else if err != nil {
		return counted{}, err
	}
	c.last = counted{Counts: counts, at: now(), took: now().Sub(began)}
	return c.last, nil
}
