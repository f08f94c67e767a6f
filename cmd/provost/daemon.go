package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/artifact"
	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/console"
	"github.com/provosthq/provost/host/metrics"
	"github.com/provosthq/provost/host/notice"
	"github.com/provosthq/provost/host/pace"
	"github.com/provosthq/provost/host/plan"
	"github.com/provosthq/provost/host/provision"
	"github.com/provosthq/provost/host/queue"
	"github.com/provosthq/provost/host/reconcile"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/tracing"
	"github.com/provosthq/provost/pdk"
)

// daemon is the whole host: the value that serve runs, that a command runs for
// itself where no daemon does, and that the end-to-end tests start.
type daemon struct {
	log       *slog.Logger
	started   time.Time
	sandbox   *sandbox.Runtime
	egress    egress
	artifacts *artifact.Store
	pace      *pace.Pace
	catalogue *connector.Catalogue
	store     *store.Store
	queue     *queue.Queue
	provision *provision.Engine
	reconcile *reconcile.Engine
	plan      *plan.Engine
	notices   *notice.Board
	gate      *access.Gate
	tracing   atomic.Pointer[traced]
	metrics   *metrics.Metrics
	registry  *prometheus.Registry

	fronts *fronts
	// listeners are the addresses that we listen on.
	listeners atomic.Pointer[[]netip.AddrPort]

	// events tells who listens what changes.
	events *api.Events

	// current is replaced as a whole by a reload.
	current atomic.Pointer[running]
	// chores are what is done from time to time, until halt.
	chores sync.WaitGroup
	halt   context.CancelFunc
	// barred are the builds that a stored quarantine keeps out, by connector.
	barred map[string]string
	// unconnected are the builds that serve although they have not connected.
	unconnected unconnected
	// deniedAt is when it was last noted that a connector tried something.
	deniedAt sync.Map
	// discoveries are what targets have said of themselves lately.
	discoveries sync.Map
	// path is the file of the configuration that a daemon serves.
	path string
	// life ends when the daemon closes.
	life context.Context
	end  context.CancelFunc
	// sealer seals what is stored; nil without a key.
	sealer atomic.Pointer[secret.Sealer]
	reload sync.Mutex
	// triedSettings is the generation of settings that was tried last.
	triedSettings atomic.Int64
	// backingUp lets one backup be made at a time.
	backingUp sync.Mutex
	// trailTold is the head of the audit trail that the log was told last.
	trailTold atomic.Pointer[host.AuditLink]
	// supervisor is told how the daemon is.
	supervisor *supervisor
	// samples are what it has measured of itself.
	samples samples
}

// running is the configuration that runs.
type running struct {
	config *config.Config
	rules  map[string]*rules
	// refused is why the configuration in the file is not the one that runs.
	refused, refusedDigest string
	// sources are the digests of what the connectors' sources had, by name.
	sources map[string]string
	// stale is why what was fetched before is used, by connector whose source could
	// not be asked.
	stale map[string]string
	// generation is that of the settings, and unused are those of them that can't
	// be used beside the files, with why, by place.
	generation int64
	unused     map[string]string
}

// openDaemon makes a host of a configuration, without working any job yet.
func openDaemon(ctx context.Context, cfg *config.Config, log *slog.Logger) (_ *daemon, err error) {
	d := &daemon{log: log, started: time.Now(), registry: prometheus.NewRegistry(), supervisor: &supervisor{log: log}}
	d.fronts = &fronts{d: d, guard: &scrapeGuard{d: d}}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close(context.WithoutCancel(ctx)))
		}
	}()
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, host.Errorf(host.InvalidInput, "data_dir: %w", err)
	}
	if d.sandbox, err = sandbox.New(ctx, sandbox.Options{CacheDir: filepath.Join(cfg.DataDir, "compiled"), Compiler: moduleCompiler(), Warm: string(pdk.OpDescribe), Logger: log}); err != nil {
		return nil, err
	}
	sources := artifactSources(artifactCache(cfg), log)
	sources.Uploaded = d.uploaded
	d.artifacts = artifact.NewStore(sources)
	d.life, d.end = context.WithCancel(context.WithoutCancel(ctx))
	if err := d.measure(); err != nil {
		return nil, err
	}
	if d.store, err = store.Open(ctx, cfg.Database.URL, store.Options{Logger: log, Copies: cfg.Database.Copies, Observe: d.observeTransaction}); err != nil {
		return nil, err
	}
	d.pace = pace.New(pace.Options{Store: store.Pace{Store: d.store}, Logger: log})
	d.egress = egress{rules: func() []string { return d.current.Load().config.Trace.Mask }, Egress: callout.New(callout.Options{Logger: log, Observe: d.observeCallout, Own: d.isListener, Pacer: pacer{d},
		Store: signInStore{d.store}, TokenFetched: d.observeToken, Propagate: d.propagates})}
	d.catalogue = connector.New(connector.Options{Sandbox: d.sandbox, Egress: d.egress, Logger: log, Foreign: callout.Mergeable, Observe: d.observeCall, Loaded: d.observeLoad,
		Judged: d.judged, Denied: d.denied, Build: d.buildOf})
	s := txStore{d}
	d.provision = provision.New(provision.Options{Store: provisionStore{s}, Connectors: d, Logger: log,
		Rules: func(app string) (provision.Rules, error) { return d.rulesOf(app) }, Limits: d.targetLimits,
		Quarantine: func(ctx context.Context, t provision.Tx, users []*host.User, active int64, why string) (*host.Plan, error) {
			return d.plan.Quarantine(ctx, t.(tx), users, active, why)
		}, Attempted: d.observeAttempt, ApprovalRule: d.approvalRule, Groups: d.approvalGroup})
	d.reconcile = reconcile.New(reconcile.Options{Store: reconcileStore{s}, Connectors: d, Logger: log,
		Rules: func(app string) (reconcile.Rules, error) { return d.rulesOf(app) }, Targets: targets{d}, Observe: runObserver{d}})
	d.plan = plan.New(plan.Options{Store: planStore{s}, Logger: log, Rules: func(app string) (plan.Rules, error) { return d.rulesOf(app) }})
	d.gate = d.newGate(cfg)
	d.notices = notice.New(notice.Options{Store: noticeStore{d.store}, Logger: log, Sent: func(kind string, err error) { d.metrics.Sent(kind, outcomeOf(err)) }})
	d.events = api.NewEvents(&changes{d: d})
	if d.queue, err = queue.New(ctx, d.store.DB(), d.store.Dialect(), cfg.Database.URL, queue.Options{Workers: cfg.Workers, ReconcileWorkers: 2, Logger: log}, d.work); err != nil {
		return nil, err
	}
	_, _, err = d.applyStored(ctx, cfg.File, func() (*config.Config, error) { return cfg, nil })
	return d, err
}

// start begins to work jobs, and what is to be done from time to time.
func (d *daemon) start(ctx context.Context) error {
	if err := d.queue.Start(ctx); err != nil {
		return err
	}
	ctx, d.halt = context.WithCancel(context.WithoutCancel(ctx))
	d.every(ctx, time.Second, "requests that wait for their targets", d.provision.Sweep)
	d.every(ctx, 5*time.Second, "runs by schedule", d.reconcile.Schedule)
	d.every(ctx, 15*time.Second, "approvals whose time is up", d.expireApprovals)
	d.every(ctx, pruneEvery, "what ended long ago", d.prune)
	d.every(ctx, pruneEvery, "connectors that nothing names", d.pruneArtifacts)
	d.every(ctx, trailEvery, "the head of the audit trail", d.tellTrail)
	d.every(ctx, settleEvery, "authorizations that nobody asked for", d.settle)
	d.every(ctx, 5*time.Second, "notices", d.watchNotices)
	d.every(ctx, 2*time.Second, "telling people", d.notices.Deliver)
	d.every(ctx, time.Second, "connectors that take over or go back", d.tendConnectors)
	d.every(ctx, time.Second, "connectors that do not connect yet", d.tendUnconnected)
	d.every(ctx, time.Second, "settings that another machine has changed", d.tendSettings)
	d.every(ctx, time.Second, "settings that this machine can't use", d.tellUnused())
	d.every(ctx, sampleEvery, "measuring how it does", d.sample)
	d.every(ctx, 2*time.Second, "apps that go live after the wizard", d.finishWizards)
	d.every(ctx, time.Second, "what changes, for those who listen", d.events.Poll)
	d.every(ctx, resealEvery, "secrets that are sealed with an old key", d.reseal)
	d.every(ctx, time.Minute, "counts that are kept", d.store.FoldCounts)
	return nil
}

// every does something, at once and again and again, until the daemon stops.
func (d *daemon) every(ctx context.Context, interval time.Duration, what string, do func(context.Context) error) {
	d.chores.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			if err := do(ctx); err != nil && ctx.Err() == nil {
				d.log.WarnContext(ctx, "not done; it is tried again", "what", what, "error", err)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}

// stop ends the working of jobs: those under way end, or are handed back when
// ctx ends.
func (d *daemon) stop(ctx context.Context) error {
	if d.halt != nil {
		d.halt()
		d.chores.Wait()
	}
	return errors.Join(d.notices.Leave(ctx), d.queue.Stop(ctx))
}

// close frees everything. The daemon must have stopped.
func (d *daemon) close(ctx context.Context) error {
	var err error
	if d.end != nil {
		d.end()
		d.chores.Wait()
	}
	if d.catalogue != nil {
		err = errors.Join(err, d.catalogue.Close(ctx))
	}
	d.dropTracing(ctx, d.tracing.Swap(nil))
	if d.egress.Egress != nil {
		d.egress.Close()
	}
	if d.pace != nil {
		d.pace.Close()
	}
	if d.sandbox != nil {
		err = errors.Join(err, d.sandbox.Close(ctx))
	}
	if d.store != nil {
		err = errors.Join(err, d.store.Close())
	}
	return err
}

// work makes one attempt at what a job is for.
func (d *daemon) work(ctx context.Context, j queue.Job) error {
	log := d.log.With("request", j.RequestID)
	began := time.Now()
	ctx = d.tracer().Request(ctx, j.RequestID)
	var err error
	switch j.Kind {
	case queue.Provision, queue.Urgent:
		err = d.provision.Work(ctx, j.RequestID)
	case queue.Plan:
		err = d.plan.Work(ctx, j.RequestID)
	case queue.Reconcile:
		err = d.reconcile.Work(ctx, j.RequestID)
	default:
		err = fmt.Errorf("no engine for jobs of kind %q", j.Kind)
	}
	d.metrics.Job(j.Kind, err == nil, time.Since(began), j.RequestID)
	if err != nil {
		log.WarnContext(ctx, "attempt not stored; it is made again", "kind", j.Kind, "error", err)
		return err
	}
	log.DebugContext(ctx, "attempt ended", "kind", j.Kind, "duration", time.Since(began))
	return nil
}

// rulesOf returns the rules of an app as they now are.
func (d *daemon) rulesOf(app string) (*rules, error) {
	r := d.current.Load().rules[app]
	if r == nil {
		return nil, host.Errorf(host.Unavailable, "the app %q is not in the configuration", app)
	}
	return r, nil
}

// Call calls the connector of an app.
func (d *daemon) Call(ctx context.Context, app *host.UserProvisioningConfig, op pdk.Operation, in pdk.Input) (pdk.Output, host.CallTrace, error) {
	return d.callConnector(ctx, app, op, in)
}

// Supports tells whether the connector of an app has an operation.
func (d *daemon) Supports(app *host.UserProvisioningConfig, op pdk.Operation) (bool, error) {
	said := d.catalogue.Describe(app.Connector)
	if said == nil {
		return false, host.Errorf(host.Unavailable, "%s", cmp.Or(d.catalogue.OutOf(app.Connector), "no connector named "+app.Connector+" is loaded"))
	}
	return slices.Contains(said.Operations, op), nil
}

// mirror stores the apps of the configuration, with their configs. An app that
// the configuration no longer has is disabled, and what it had stays.
func (d *daemon) mirror(ctx context.Context, tx *store.Tx, cfg *config.Config) error {
	stored, err := tx.Configs(ctx)
	if err != nil {
		return err
	}
	before := map[string]*host.UserProvisioningConfig{}
	for _, c := range stored {
		before[c.AppName] = c
	}
	for _, app := range cfg.Apps {
		label := app.Label
		if label == "" {
			label = app.Name
		}
		a := &host.ConnectedApp{Name: app.Name, Label: label}
		if err := tx.PutApp(ctx, a); err != nil {
			return err
		}
		c := provisioningConfig(app)
		c.ConnectedAppId, c.MasterLabel = a.Id, label
		if old := before[app.Name]; old != nil {
			c.LastReconDateTime, c.LastReconToken, c.LastWholeReconDateTime = old.LastReconDateTime, old.LastReconToken, old.LastWholeReconDateTime
			delete(before, app.Name)
		}
		if err := tx.PutConfig(ctx, c); err != nil {
			return err
		}
	}
	for _, gone := range before {
		if !gone.Enabled {
			continue
		}
		gone.Enabled = false
		if err := tx.PutConfig(ctx, gone); err != nil {
			return err
		}
	}
	return nil
}

// changed takes the configuration and the connectors as they are now in their
// files. It returns the builds that were left out; an error says that nothing
// was taken. way is how it was asked for where ctx names no actor.
func (d *daemon) changed(ctx context.Context, path, way string) (leftOut map[string]error, err error) {
	d.supervisor.reloading()
	defer func() { d.supervisor.reloaded(serving(d.current.Load().config)) }()
	before := d.current.Load().config
	cfg, leftOut, err := d.applyStored(ctx, path, func() (*config.Config, error) { return config.Load(path) })
	d.metrics.Reload(err == nil && len(leftOut) == 0)
	d.auditReload(ctx, way, before, cfg, leftOut, err)
	if err == nil {
		d.log.Info("the configuration was reloaded", "file", path, "refused", len(leftOut))
		return leftOut, nil
	}
	d.log.Error("the changed configuration is refused; the one before goes on", "file", path, "error", err)
	d.reload.Lock()
	defer d.reload.Unlock()
	refused := *d.current.Load()
	refused.refused, refused.refusedDigest = err.Error(), ""
	if cfg != nil {
		refused.refusedDigest = cfg.Digest()
	}
	d.current.Store(&refused)
	return nil, err
}

// watch takes every change of the configuration and of the connectors' files
// until ctx ends, one that was made since they were read with it.
func (d *daemon) watch(ctx context.Context, path string) error {
	take := func() { _, _ = d.changed(ctx, path, "file") } // it is logged
	return config.Watch(ctx, path, func() []string { return sourceFiles(d.current.Load().config) }, take,
		config.WatchOptions{Ready: func() {
			if d.isStale(ctx, path) {
				take()
			}
		}})
}

// isStale tells whether the files are others than those that run.
func (d *daemon) isStale(ctx context.Context, path string) bool {
	running := d.current.Load()
	cfg, err := config.Load(path)
	if err != nil || cfg.Digest() != running.config.Digest() {
		return true
	}
	for _, p := range cfg.Plugins {
		if p.Path == "" {
			continue // nobody changes it meanwhile, or it is asked for at the next reload
		}
		a, _, err := configuredArtifact(ctx, d.artifacts, cfg, p)
		if err != nil || a.Digest != running.sources[p.Name] {
			return true
		}
	}
	return false
}

// handler serves the API and the probes to the subject of each request's
// context.
func (d *daemon) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/", tracing.Incoming(api.Handler(service{d}, api.Options{Version: version, Logger: d.log, Events: d.events, Bounds: d.callBounds, Still: d.gate.Still})))
	mux.HandleFunc("GET "+api.CallbackPath, api.Callback(service{d}))
	pages := console.Handler(console.Options{Service: api.Scoped(service{d}), Gate: d.gate, Version: version, Logger: d.log})
	mux.Handle(console.Path, pages)
	mux.Handle(console.Path+"/", pages)
	mux.Handle("GET /{$}", http.RedirectHandler(console.Path, http.StatusSeeOther))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if access.SubjectOf(r.Context()) == nil {
			api.ReadinessPage(silent{service{d}})(w, r) // the reasons are for those who are known
			return
		}
		d.ready(w, r)
	})
	return mux
}

// callBounds are what one subject may call of the API.
func (d *daemon) callBounds() (perSecond float64, burst int) {
	l := d.current.Load().config.Listen
	return l.Rate.PerSecond(), l.Burst
}

// serve runs a daemon until ctx ends, then drains it.
func serve(ctx context.Context, path string, stderr io.Writer) (err error) {
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	log := newLogger(cfg.Log, stderr)
	d, err := openDaemon(ctx, cfg, log)
	if err != nil {
		return err
	}
	d.path = path
	defer func() { err = errors.Join(err, d.close(context.WithoutCancel(ctx))) }()
	d.dropUnfinishedBackups(cfg.DataDir)
	if err := errors.Join(d.auditRun(ctx, host.AuditDaemonStart), d.offerSetup(ctx), d.start(ctx)); err != nil {
		return err
	}
	var tasks sync.WaitGroup
	watchCtx, stopWatching := context.WithCancel(ctx)
	tasks.Go(func() {
		if err := d.watch(watchCtx, path); err != nil {
			log.Error("the configuration is not watched", "error", err)
		}
	})
	tasks.Go(func() { d.onHangup(watchCtx, path) })
	tasks.Go(func() { d.supervisor.watchdog(watchCtx, cfg.Listen.Socket) })
	listenErr := d.listen(ctx, cfg)
	stopWatching()
	tasks.Wait()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	log.Info("draining")
	return errors.Join(listenErr, d.stop(drain), d.auditRun(drain, host.AuditDaemonStop))
}

// drainTime is how long calls under way may take to end.
const drainTime = 20 * time.Second

// listen serves the API on the socket and on loopback, and the metrics, until
// ctx ends.
func (d *daemon) listen(ctx context.Context, cfg *config.Config) error {
	if err := os.Remove(cfg.Listen.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return host.Errorf(host.Unavailable, "the socket of a daemon that is gone can't be removed: %w", err)
	}
	socket, err := net.Listen("unix", cfg.Listen.Socket)
	if err != nil {
		return host.Errorf(host.Unavailable, "listen.socket: %w", err)
	}
	if err := os.Chmod(cfg.Listen.Socket, 0o600); err != nil {
		return errors.Join(err, socket.Close())
	}
	server := d.newServer(context.WithoutCancel(ctx), as(access.Everything(access.Owner, "api"), d.handler()))
	var tasks sync.WaitGroup
	tasks.Go(func() { d.answer(server, "socket", socket) })
	err = d.fronts.serve(ctx, cfg)
	if err == nil {
		d.supervisor.ready(serving(cfg))
		<-ctx.Done()
		d.supervisor.stopping()
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	d.fronts.stop(stop)
	err = errors.Join(err, server.Shutdown(stop))
	tasks.Wait()
	return err
}

// isListener tells whether an address is one that we listen on, which no
// connector may call.
func (d *daemon) isListener(to netip.AddrPort) bool {
	list := d.listeners.Load()
	return list != nil && callout.OwnListener(*list, to)
}

// as says who asks.
func as(s *access.Subject, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(access.WithSubject(r.Context(), s)))
	})
}

// loopbackOnly refuses what a web page of elsewhere could send to a loopback
// address.
func loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !fromThisMachine(r) {
			http.Error(w, "this is for this machine only: use 127.0.0.1", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ownOrigin tells whether a request is of no page of a browser, or of one of
// ours.
func ownOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	return origin == "" || origin == "http://"+r.Host
}
