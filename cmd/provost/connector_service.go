package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/artifact"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/store"
)

func (s service) Plugins(ctx context.Context) (list []api.Plugin, err error) {
	var states map[string]*host.ConnectorState
	if err := s.store.View(ctx, func(t *store.Tx) (err error) {
		states, err = t.ConnectorStates(ctx)
		return err
	}); err != nil {
		return nil, err
	}
	now := s.current.Load()
	for _, info := range s.catalogue.List() {
		p := s.shownPlugin(now.config, info, states[info.Name])
		p.Stale, p.Unconnected = now.stale[p.Name], s.unconnected.why(p.Name, p.Digest)
		list = append(list, p)
	}
	return list, nil
}

func (s service) shownPlugin(cfg *config.Config, info connector.Info, state *host.ConnectorState) api.Plugin {
	p := api.Plugin{Name: info.Name, State: string(info.State), Reason: info.Reason, Version: info.Version, Vendor: info.Vendor, Source: info.Source,
		Digest: info.Digest, Signer: info.Signer, Size: int64(info.Size), LoadedAt: info.LoadedAt, Apps: []string{}, LastError: info.LastError,
		Failing: info.Failing, Calls: info.Calls}
	for _, a := range cfg.Apps {
		if a.Plugin == info.Name {
			p.Apps = append(p.Apps, a.Name)
		}
	}
	if state == nil {
		state = &host.ConnectorState{}
	}
	if configured, err := configuredPlugin(cfg, info.Name); err == nil {
		p.Granted = granted(configured, state)
		if said := s.catalogue.Describe(info.Name); said != nil && info.State != connector.Loading {
			p.Wants = wanted(*said, configured, state)
		}
	}
	if n := info.Next; n != nil {
		p.Next = &api.NextBuild{Version: n.Version, Digest: n.Digest, Share: n.Share, Since: n.Since, Failing: n.Failing, Calls: n.Calls}
	}
	if w := info.Waiting; w != nil {
		p.Waiting = &api.WaitingBuild{Version: w.Version, Digest: w.Digest, Wants: w.Wants}
	}
	return p
}

func (s service) plugin(ctx context.Context, name string) (api.Plugin, error) {
	list, err := s.Plugins(ctx)
	if err != nil {
		return api.Plugin{}, err
	}
	i := slices.IndexFunc(list, func(p api.Plugin) bool { return p.Name == name })
	if i < 0 {
		_, err := configuredPlugin(s.current.Load().config, name)
		return api.Plugin{Name: name}, err
	}
	return list[i], nil
}

func (s service) Builds(ctx context.Context, name string) (list []api.Build, err error) {
	if _, err := configuredPlugin(s.current.Load().config, name); err != nil {
		return nil, err
	}
	err = s.store.View(ctx, func(t *store.Tx) error {
		versions, err := t.ConnectorVersions(ctx, name)
		if err != nil {
			return err
		}
		state, err := t.ConnectorState(ctx, name, false)
		if err != nil {
			return err
		}
		serving := s.catalogue.Digest(name)
		for _, v := range versions {
			b := api.Build{ConnectorVersion: v, Serving: v.Digest == serving}
			if _, err := s.artifacts.Kept(v.Digest, artifact.Options{}); err == nil {
				b.Kept = true
			}
			if v.Digest == state.RejectedDigest {
				b.TakenOut = state.Reason
			}
			list = append(list, b)
		}
		return nil
	})
	return list, err
}

func (s service) RollBack(ctx context.Context, name, digest string) (api.Plugin, error) {
	builds, err := s.Builds(ctx, name)
	if err != nil {
		return api.Plugin{}, err
	}
	serving := s.catalogue.Digest(name)
	var to *api.Build
	for _, b := range builds { // the newest first
		switch {
		case b.Digest == serving || digest == "" && (!b.Kept || b.TakenOut != "") || !strings.HasPrefix(b.Digest, digest):
		case to == nil:
			to = &b
		case digest != "" && to.Digest != b.Digest:
			return api.Plugin{}, host.Errorf(host.InvalidInput, "%s names more than one build of %s   -> provost plugin versions %s", digest, name, name)
		}
	}
	switch {
	case to == nil && digest != "" && strings.HasPrefix(serving, digest):
		return api.Plugin{}, host.Errorf(host.Conflict, "%s is the build of %s that serves", short(digest), name)
	case to == nil && digest != "":
		return api.Plugin{}, host.Errorf(host.NotFound, "no build of %s has a digest that begins with %s   -> provost plugin versions %s", name, digest, name)
	case to == nil:
		return api.Plugin{}, host.Errorf(host.Conflict, "%s has no earlier build that can be had   -> provost plugin versions %s", name, name)
	case !to.Kept:
		return api.Plugin{}, host.Errorf(host.Unavailable, "the module of %s %s is not kept on this machine", name, to.Version)
	}
	if err := s.reject(ctx, name, serving, to.Digest, "rolled back by "+host.ActorOf(ctx)); err != nil {
		return api.Plugin{}, err
	}
	return s.plugin(ctx, name)
}

func (s service) Release(ctx context.Context, name string) (api.Plugin, error) {
	if _, err := configuredPlugin(s.current.Load().config, name); err != nil {
		return api.Plugin{}, err
	}
	if err := s.store.Update(ctx, func(t *store.Tx) error {
		state, err := t.ConnectorState(ctx, name, true)
		if err != nil {
			return err
		}
		if state.RejectedDigest == "" {
			return host.Errorf(host.Conflict, "no build of %s was taken out", name)
		}
		was := state.RejectedDigest
		now := time.Now().UTC()
		state.RejectedDigest, state.ServingDigest, state.Reason, state.Actor, state.ChangedDate = "", "", "", host.ActorOf(ctx), &now
		if err := t.PutConnectorState(ctx, state); err != nil {
			return err
		}
		return s.audit(ctx, t, host.AuditPluginRelease, connectorObject(name), map[string]string{"digest": was})
	}); err != nil {
		return api.Plugin{}, err
	}
	s.resolve(ctx, host.NoticeConnector, name)
	if err := s.followStates(ctx); err != nil {
		return api.Plugin{}, err
	}
	return s.takeAgain(ctx, name)
}

func (s service) Grant(ctx context.Context, name string, reach *host.Reach) (api.Plugin, error) {
	p, err := s.plugin(ctx, name)
	if err != nil {
		return p, err
	}
	wants := p.Wants
	if p.Waiting != nil {
		wants = wants.With(p.Waiting.Wants)
	}
	if reach == nil {
		reach = &wants
	}
	if more := reach.Beyond(wants); !more.Empty() {
		return p, host.Errorf(host.InvalidInput, "%s does not ask for %s; it asks for %s", name, more, wants)
	}
	if reach.Empty() {
		return p, host.Errorf(host.Conflict, "%s asks for nothing that it is not granted", name)
	}
	configured, err := configuredPlugin(s.current.Load().config, name)
	if err != nil {
		return p, err
	}
	if g := configured.Grants; g != nil && (len(g.Operations) > 0 && len(reach.Operations) > 0 || len(g.Protocols) > 0 && len(reach.Protocols) > 0) {
		return p, host.Errorf(host.Conflict, "plugins.%s.grants of the configuration says which operations and sign-ins %s may have; add them there", name, name)
	}
	if err := s.store.Update(ctx, func(t *store.Tx) error {
		state, err := t.ConnectorState(ctx, name, true)
		if err != nil {
			return err
		}
		var before host.Reach
		if state.Granted != nil {
			before = *state.Granted
		}
		after := before.With(*reach)
		state.Granted = &after
		if err := t.PutConnectorState(ctx, state); err != nil {
			return err
		}
		return s.audit(ctx, t, host.AuditPluginGrant, connectorObject(name), map[string]any{"granted": reach})
	}); err != nil {
		return p, err
	}
	return s.takeAgain(ctx, name)
}

// takeAgain takes the configuration that runs anew, since something else counts
// for a connector of it.
func (s service) takeAgain(ctx context.Context, name string) (api.Plugin, error) {
	leftOut, err := s.apply(ctx, s.current.Load().config)
	if err == nil && leftOut[name] != nil {
		err = leftOut[name]
	}
	if err != nil {
		return api.Plugin{}, fmt.Errorf("it is stored, but %s can't take over: %w", name, err)
	}
	return s.plugin(ctx, name)
}

func (s service) Reload(ctx context.Context) (api.Reloaded, error) {
	if s.path == "" {
		return api.Reloaded{}, host.Errorf(host.Unsupported, "no daemon serves that could reload; a command reads the configuration anew by itself")
	}
	leftOut, err := s.changed(ctx, s.path, "api")
	if err != nil {
		return api.Reloaded{}, asInvalid(err)
	}
	out := api.Reloaded{Config: s.current.Load().config.Digest()}
	for name, err := range leftOut {
		if out.Refused == nil {
			out.Refused = map[string]string{}
		}
		out.Refused[name] = err.Error()
	}
	return out, nil
}

// asInvalid makes the problems of a configuration an error with a code.
func asInvalid(err error) error {
	var problems *config.Problems
	if errors.As(err, &problems) {
		return host.Errorf(host.InvalidInput, "%w", err)
	}
	return err
}

// Diff makes everything that a reload would take, and throws it away.
func (s service) Diff(ctx context.Context) (api.ConfigDiff, error) {
	out := api.ConfigDiff{Keys: []string{}, Builds: []api.BuildChange{}}
	if s.path == "" {
		return out, host.Errorf(host.Unsupported, "no daemon serves whose configuration could differ")
	}
	_, stored, err := s.readSettings(ctx)
	if err != nil {
		return out, err
	}
	cfg, err := config.LoadStored(s.path, stored.inUse())
	if err != nil {
		out.Problems = strings.Split(err.Error(), "\n")
		return out, nil
	}
	s.daemon.reload.Lock()
	defer s.daemon.reload.Unlock()
	c := s.newChange(cfg)
	defer c.drop()
	running := c.old.config
	out.Keys = append(out.Keys, config.Changed(running, cfg)...)
	problems, err := c.prepare(ctx)
	if err != nil {
		return out, err
	}
	problems = append(problems, checkCredentials(cfg)...)
	if len(problems) > 0 {
		out.Problems = strings.Split(cfg.Locate(problems).Error(), "\n")
	}
	now := map[string]connector.Info{}
	for _, info := range s.catalogue.List() {
		now[info.Name] = info
	}
	for _, p := range c.prepared {
		b := api.BuildChange{Connector: p.plugin.Name, From: buildName(now[p.plugin.Name]), To: p.version.Version + " " + short(p.version.Digest), Effect: "takes over"}
		switch canary := p.plugin.Rollout.Canary.Share(); {
		case !p.candidate.Changed():
			continue
		case !p.waits.Empty():
			b.Effect, b.Wants = "waits for a grant", p.waits
		case canary > 0 && now[p.plugin.Name].Digest != "" && now[p.plugin.Name].Digest != p.version.Digest:
			b.Effect = fmt.Sprintf("takes over by %g%%", 100*canary)
		}
		out.Builds = append(out.Builds, b)
	}
	for _, name := range sortedKeys(c.refused) {
		out.Builds = append(out.Builds, api.BuildChange{Connector: name, From: buildName(now[name]), Effect: "refused", Error: c.refused[name].Error()})
	}
	for _, p := range running.Plugins {
		if _, err := configuredPlugin(cfg, p.Name); err != nil {
			out.Builds = append(out.Builds, api.BuildChange{Connector: p.Name, From: buildName(now[p.Name]), Effect: "goes"})
		}
	}
	return out, nil
}

func buildName(info connector.Info) string {
	if info.Digest == "" {
		return ""
	}
	return info.Version + " " + short(info.Digest)
}
