package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/artifact"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/notice"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/pdk"
)

// A configuration is taken whole: everything that can fail is done first, off
// the path of calls, and nobody sees any of it before all of it is ready. Only
// a connector whose entry is as it was, and whose new build is bad, is left out
// by itself: the build that serves goes on, and the rest is taken.

// change is another configuration, made ready beside the one that runs.
type change struct {
	d        *daemon
	old      *running // nil at the start
	next     *running
	prepared []*prepared
	// builds are those that served before a start.
	builds []*host.ConnectorVersion
	// refused are the builds that can't be taken, by connector.
	refused map[string]error
	// coming are builds that have served before: at a start they are made while
	// the daemon serves already.
	coming []coming
	// channels are how people are told of what they must do.
	channels []*notice.Channel
	// fronts are listened at and not answered yet.
	fronts []*door
	// traces are where traces go.
	traces *traced
	// access says who may do what.
	access access.Settings
}

// coming is a build that is made while the daemon serves already, of what its
// source had.
type coming struct {
	plugin   config.Plugin
	artifact artifact.Artifact
	spec     connector.Spec
}

// applyWith makes a configuration the one that runs, or changes nothing. It returns
// the builds that were left out.
//
// stored is what the settings of the configuration are, and with, where it is
// given, is done in the transaction that stores what follows from it.
func (d *daemon) applyWith(ctx context.Context, cfg *config.Config, stored settings, with func(*store.Tx) error) (refused map[string]error, err error) {
	d.reload.Lock()
	defer d.reload.Unlock()
	c := d.newChange(cfg)
	c.next.generation, c.next.unused = stored.generation, stored.unused
	defer c.drop()
	if problems, err := c.prepare(ctx); err != nil || len(problems) > 0 {
		if err == nil {
			err = cfg.Locate(problems)
		}
		return nil, err
	}
	back, err := c.credentials(ctx)
	if err != nil {
		return nil, err
	}
	if problems := c.checkHealth(ctx); len(problems) > 0 {
		back()
		return nil, cfg.Locate(problems)
	}
	opened, err := d.fronts.open(cfg)
	if err != nil {
		back()
		return nil, cfg.Locate(config.Problems{{Key: "listen", Message: err.Error()}})
	}
	c.fronts = opened
	if err := d.store.Update(ctx, func(t *store.Tx) error {
		if with == nil {
			with = stored.unchanged(ctx)
		}
		if err := with(t); err != nil {
			return err
		}
		if err := d.mirror(ctx, t, cfg); err != nil {
			return err
		}
		return d.took(ctx, t, c.prepared)
	}); err != nil {
		back()
		return nil, err
	}
	return c.refused, c.take(ctx)
}

func (d *daemon) newChange(cfg *config.Config) *change {
	return &change{d: d, old: d.current.Load(), next: &running{config: cfg, rules: map[string]*rules{}, sources: map[string]string{}, stale: map[string]string{}}, refused: map[string]error{}}
}

// drop throws away what was not taken.
func (c *change) drop() {
	closeFronts(c.fronts)
	for _, p := range c.prepared {
		p.candidate.Drop()
	}
	c.d.dropTracing(context.Background(), c.traces)
}

// prepare makes the builds and the rules.
func (c *change) prepare(ctx context.Context) (config.Problems, error) {
	cfg := c.next.config
	problems := config.Problems(checkGrants(cfg))
	if c.old != nil {
		problems = append(problems, config.RestartNeeded(c.old.config, cfg)...)
	}
	var states map[string]*host.ConnectorState
	if err := c.d.store.View(ctx, func(t *store.Tx) (err error) {
		if states, err = t.ConnectorStates(ctx); err == nil && c.old == nil {
			c.builds, err = t.ConnectorVersions(ctx, "")
		}
		return err
	}); err != nil {
		return nil, err
	}
	made := make([]making, len(cfg.Plugins))
	var group errgroup.Group
	group.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for i, p := range cfg.Plugins {
		group.Go(func() error {
			made[i] = c.makeBuild(ctx, p, stateOf(states, p.Name), c.builds)
			return nil
		})
	}
	_ = group.Wait() // each failure stands in made
	for i, p := range cfg.Plugins {
		c.next.sources[p.Name] = made[i].source
		if why := made[i].stale; why != "" {
			c.next.stale[p.Name] = why
			c.d.log.WarnContext(ctx, "a connector's source can't be asked, and what was fetched before is used", "connector", p.Name, "error", why)
		}
		if v := made[i].known; v != nil {
			c.coming = append(c.coming, coming{p, made[i].artifact, made[i].spec})
			problems = append(problems, c.compile(p, describedBy(v))...)
			continue
		}
		problems = append(problems, c.consider(ctx, p, made[i].prepared, made[i].err, stateOf(states, p.Name), c.builds)...)
	}
	if len(problems) == 0 {
		for i, p := range cfg.Plugins {
			if v := made[i].known; v != nil {
				c.d.catalogue.Expect(p.Name, p.Source, describedBy(v))
			}
		}
	}
	return append(problems, c.credentialsOf(states)...), nil
}

// making is what became of one plugin's source.
type making struct {
	source   string // digest of what it has
	stale    string // why that is what was fetched before
	prepared *prepared
	// known is a build that has served before: what it says is known, so it can be
	// made later, of artifact and spec.
	known    *host.ConnectorVersion
	artifact artifact.Artifact
	spec     connector.Spec
	err      error
}

func (c *change) makeBuild(ctx context.Context, p config.Plugin, state *host.ConnectorState, builds []*host.ConnectorVersion) (m making) {
	a, spec, err := configuredArtifact(ctx, c.d.artifacts, c.next.config, p)
	if err != nil {
		m.err = err
		return m
	}
	m.source, m.stale = a.Digest, a.Stale
	serves := a.Digest
	if state.RejectedDigest == a.Digest && state.ServingDigest != "" {
		serves = state.ServingDigest
	}
	if c.old == nil {
		for _, v := range builds {
			if v.Connector == p.Name && v.Digest == serves && json.Valid([]byte(v.Description)) {
				m.known, m.artifact, m.spec = v, a, spec
				return m
			}
		}
	}
	m.prepared, m.err = c.d.prepareConnector(ctx, c.next.config, p, state, a, spec)
	return m
}

// stateOf is what was decided about a connector.
func stateOf(states map[string]*host.ConnectorState, name string) *host.ConnectorState {
	if s := states[name]; s != nil {
		return s
	}
	return &host.ConnectorState{Connector: name}
}

func describedBy(v *host.ConnectorVersion) (d pdk.Description) {
	_ = json.Unmarshal([]byte(v.Description), &d) // we wrote it; if it is anything else the build says it soon
	return d
}

// consider decides what becomes of a plugin's build.
func (c *change) consider(ctx context.Context, p config.Plugin, made *prepared, err error, state *host.ConnectorState, builds []*host.ConnectorVersion) (problems config.Problems) {
	var said pdk.Description
	if err == nil {
		c.prepared = append(c.prepared, made)
		if said = made.candidate.Describe(); !made.waits.Empty() {
			said = *c.d.catalogue.Describe(p.Name)
		}
		if problems = c.compile(p, said); len(problems) == 0 {
			return nil
		}
		texts := make([]string, len(problems))
		for i, problem := range problems {
			texts[i] = problem.Key + ": " + problem.Message
		}
		err = host.Errorf(host.InvalidInput, "%s %s: %s", said.Name, said.Version, strings.Join(texts, "; "))
	} else {
		problems = config.Problems{{Key: "plugins." + p.Name, Message: err.Error()}}
	}
	running := c.d.catalogue.Describe(p.Name)
	switch {
	case c.old != nil && running != nil && c.asItWas(p):
		if len(c.compile(p, *running)) > 0 {
			return problems // it is not the build's fault
		}
	case c.old == nil && c.lastGood(ctx, p, state, builds):
	default:
		return problems
	}
	c.leaveOut(p.Name, err)
	return nil
}

// asItWas tells whether the entry of a plugin, and of its apps, is the one that
// runs.
func (c *change) asItWas(p config.Plugin) bool {
	running, err := configuredPlugin(c.old.config, p.Name)
	return err == nil && reflect.DeepEqual(running, p)
}

// lastGood makes, at a start, the build that served last, where the source has
// none that can.
func (c *change) lastGood(ctx context.Context, p config.Plugin, state *host.ConnectorState, builds []*host.ConnectorVersion) bool {
	for _, v := range builds { // the newest first
		if v.Connector != p.Name || state.RejectedDigest == v.Digest {
			continue
		}
		spec, err := c.d.earlierBuild(c.next.config, p, v.Digest)
		if err != nil {
			return false
		}
		grant(&spec, p, state)
		made := &prepared{plugin: p, state: state, instead: "the source has none that can serve"}
		if err := made.make(ctx, c.d, spec); err != nil || len(c.compile(p, made.candidate.Describe())) > 0 {
			return false
		}
		c.prepared = append(c.prepared, made)
		return true
	}
	return false
}

func (c *change) leaveOut(name string, err error) {
	c.refused[name] = err
	c.prepared = slices.DeleteFunc(c.prepared, func(p *prepared) bool {
		if p.plugin.Name != name || p.instead != "" {
			return false
		}
		p.candidate.Drop()
		return true
	})
}

// compile makes the rules of the apps of a plugin.
func (c *change) compile(p config.Plugin, said pdk.Description) (problems config.Problems) {
	cfg := c.next.config
	for _, app := range cfg.Apps {
		if app.Plugin != p.Name {
			continue
		}
		r, wrong := compileRules(app, tablesOf(cfg), cfg.Users.Attributes, said)
		problems = append(append(problems, wrong...), checkApprovalGroups(cfg, app, r)...)
		c.next.rules[app.Name] = r
	}
	return problems
}

// credentialsOf looks whether connectors are given credentials whose sign-in
// they are not granted.
func (c *change) credentialsOf(states map[string]*host.ConnectorState) (problems config.Problems) {
	cfg := c.next.config
	for _, app := range cfg.Apps {
		p, err := configuredPlugin(cfg, app.Plugin)
		if err != nil || p.Grants == nil || len(p.Grants.Protocols) == 0 {
			continue
		}
		for _, cred := range cfg.Credentials {
			in := signInOf(cred)
			if kind := in.Kind(); cred.Name == app.Credential && !slices.Contains(p.Grants.Protocols, kind) && !slices.Contains(p.Grants.Protocols, host.AnyProtocol) {
				problems = append(problems, config.Problem{Key: "apps." + app.Name + ".credential",
					Message: fmt.Sprintf("%s signs in by %s, and plugins.%s.grants.protocols has %s", cred.Name, kind, p.Name, strings.Join(p.Grants.Protocols, ", "))})
			}
		}
	}
	return problems
}

// credentials makes the credentials those of the new configuration; what it
// returns makes them the old ones again.
func (c *change) credentials(ctx context.Context) (back func(), err error) {
	cfg := c.next.config
	sealer, err := newSealer(cfg.Secrets)
	if err == nil {
		err = c.d.checkKeys(ctx, sealer)
	}
	var known *host.Error
	if errors.As(err, &known) {
		return nil, cfg.Locate(config.Problems{{Key: known.Field, Message: known.Message}})
	} else if err != nil {
		return nil, err
	}
	channels, problems := c.d.channels(cfg, sealer)
	traces, wrong := c.d.newTracing(cfg, sealer, c.d.tracing.Load())
	settings, refused := c.d.accessSettings(cfg, sealer)
	c.channels, c.traces, c.access = channels, traces, settings
	if problems = append(append(problems, wrong...), refused...); len(problems) > 0 {
		return nil, cfg.Locate(problems)
	}
	before := c.d.sealer.Swap(sealer)
	c.d.egress.UseSealer(sealer)
	back = func() {
		c.d.sealer.Store(before)
		c.d.egress.UseSealer(before)
		if c.old == nil {
			return
		}
		if err := c.d.egress.Apply(namedCredentials(c.old.config.Credentials, c.old.config.Proxy)); err != nil {
			c.d.log.Error("the credentials of before can't be had again", "error", err)
		}
	}
	if err := c.d.egress.Apply(namedCredentials(cfg.Credentials, cfg.Proxy)); err != nil {
		c.d.sealer.Store(before)
		c.d.egress.UseSealer(before)
		var problems config.Problems
		for _, e := range unjoin(err) {
			p := config.Problem{Message: e.Error()}
			var known *host.Error
			if errors.As(e, &known) {
				p.Key, p.Message = known.Field, known.Message
			}
			problems = append(problems, p)
		}
		return nil, cfg.Locate(problems)
	}
	return back, nil
}

// take lets everything take over: nothing of it fails any more, but for a
// daemon that ends.
func (c *change) take(ctx context.Context) error {
	d := c.d
	for _, p := range c.prepared {
		log := d.log.With("connector", p.plugin.Name, "version", p.version.Version, "digest", short(p.version.Digest))
		switch {
		case !p.waits.Empty():
			p.candidate.Hold(p.waits)
			d.metrics.Swap(p.plugin.Name, "waits")
			log.WarnContext(ctx, "a build wants more than it is granted and waits; the one of before goes on", "wants", p.waits.String())
			d.raise(ctx, host.Notice{Kind: host.NoticeConnector, Subject: p.plugin.Name,
				Text: fmt.Sprintf("another build of connector %s waits for a grant   -> provost plugin grant %s", p.plugin.Name, p.plugin.Name)})
		case p.candidate.Changed():
			served := d.catalogue.Digest(p.plugin.Name)
			if err := p.candidate.Take(); err != nil {
				return err
			}
			if served != "" {
				d.metrics.Swap(p.plugin.Name, "ok")
			}
			log.InfoContext(ctx, "a build takes over", "source", p.version.Source)
			if p.instead == "" && c.old != nil {
				d.resolve(ctx, host.NoticeConnector, p.plugin.Name)
			}
		default:
			if err := p.candidate.Take(); err != nil {
				return err
			}
		}
		if c.old == nil {
			d.unconnected.ask(p.plugin.Name, p.version.Digest)
		}
		if p.state.Quarantined(p.version.Digest) {
			d.bar(p.plugin.Name, p.version.Digest, p.state.Reason)
		}
	}
	for name, err := range c.refused {
		p, _ := configuredPlugin(c.next.config, name)
		d.catalogue.Refuse(name, p.Source, err)
		d.metrics.Swap(name, outcomeOf(err))
		d.log.ErrorContext(ctx, "a connector's build is refused; the one of before goes on", "connector", name, "error", err)
	}
	c.prepared = nil
	c.next.refused = refusedBuilds(c.refused)
	d.notices.Use(c.channels)
	for _, channel := range c.channels {
		d.metrics.Channel(channel.Kind)
	}
	d.gate.Use(c.access)
	d.useTracing(ctx, c.traces)
	d.useLog(c.next.config.Log)
	d.current.Store(c.next)
	d.fronts.use(c.next.config, c.fronts)
	c.fronts = nil
	if c.old != nil {
		for _, p := range c.old.config.Plugins {
			if _, err := configuredPlugin(c.next.config, p.Name); err != nil {
				d.catalogue.Remove(p.Name)
			}
		}
	}
	d.chores.Go(func() { d.comeAll(d.life, c.next.config, c.coming) })
	return nil
}

// comeAll makes builds as many at once as there are processors, so that the
// first serves while the others are still being made.
func (d *daemon) comeAll(ctx context.Context, cfg *config.Config, list []coming) {
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, one := range list {
		group.Go(func() error {
			d.come(ctx, cfg, one)
			return nil
		})
	}
	_ = group.Wait() // each says itself what is wrong
}

// come makes, while the daemon serves already, a build that served before.
func (d *daemon) come(ctx context.Context, cfg *config.Config, one coming) {
	p := one.plugin
	err := func() error {
		var state *host.ConnectorState
		if err := d.store.View(ctx, func(t *store.Tx) (err error) {
			state, err = t.ConnectorState(ctx, p.Name, false)
			return err
		}); err != nil {
			return err
		}
		made, err := d.prepareConnector(ctx, cfg, p, state, one.artifact, one.spec)
		if err != nil {
			return err
		}
		defer made.candidate.Drop()
		if err := d.store.Update(ctx, func(t *store.Tx) error { return d.took(ctx, t, []*prepared{made}) }); err != nil {
			return err
		}
		d.reload.Lock()
		defer d.reload.Unlock()
		if now, err := configuredPlugin(d.current.Load().config, p.Name); err != nil || !reflect.DeepEqual(now, p) || d.catalogue.Digest(p.Name) != "" {
			return nil // a reload was first
		}
		if err := made.candidate.Take(); err != nil {
			return err
		}
		d.unconnected.ask(p.Name, made.version.Digest)
		if state.Quarantined(made.version.Digest) {
			d.bar(p.Name, made.version.Digest, state.Reason)
		}
		return nil
	}()
	if err != nil && ctx.Err() == nil {
		d.catalogue.Refuse(p.Name, p.Source, err)
		d.log.ErrorContext(ctx, "a connector can't be loaded; its requests wait", "connector", p.Name, "error", err)
	}
}

// refusedBuilds is what an operator reads of builds that were left out.
func refusedBuilds(refused map[string]error) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		lines = append(lines, "plugins."+name+": "+refused[name].Error())
	}
	return strings.Join(lines, "\n")
}

// onHangup takes the configuration anew at each SIGHUP, until ctx ends.
func (d *daemon) onHangup(ctx context.Context, path string) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGHUP)
	defer signal.Stop(asked)
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
			_, _ = d.changed(host.WithActor(ctx, host.Administrator("SIGHUP")), path, "signal") // it is logged
		}
	}
}
