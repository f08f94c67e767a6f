package main

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/artifact"
	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/pdk"
)

// prepared is a build of a configured connector that is ready to take over.
type prepared struct {
	plugin    config.Plugin
	candidate *connector.Candidate
	version   host.ConnectorVersion
	state     *host.ConnectorState
	// instead says that an earlier build serves in the place of what the source
	// has, and why.
	instead string
	// waits: it wants more than it is granted, and the one that serves goes on.
	waits host.Reach
}

// prepareConnector makes a candidate of what a plugin's source has; of the build
// that was put in its place, where that one was taken out.
func (d *daemon) prepareConnector(ctx context.Context, cfg *config.Config, p config.Plugin, state *host.ConnectorState, a artifact.Artifact, spec connector.Spec) (_ *prepared, err error) {
	if err := d.artifacts.Keep(a); err != nil {
		return nil, err
	}
	out := &prepared{plugin: p, state: state}
	if state.RejectedDigest == a.Digest && state.ServingDigest != "" {
		out.instead = state.Reason
		if spec, err = d.earlierBuild(cfg, p, state.ServingDigest); err != nil {
			return nil, host.Errorf(host.Unavailable, "%s was taken out (%s), and the build of before can't be had: %w", p.Name, state.Reason, err)
		}
	}
	grant(&spec, p, state)
	return out, out.make(ctx, d, spec)
}

// make prepares the candidate.
func (p *prepared) make(ctx context.Context, d *daemon, spec connector.Spec) (err error) {
	if p.candidate, err = d.catalogue.Prepare(ctx, spec); err != nil {
		return err
	}
	said := p.candidate.Describe()
	description, err := json.Marshal(said)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	p.version = host.ConnectorVersion{Connector: spec.Name, Digest: spec.Sum, Version: said.Version, Vendor: said.Vendor, Source: spec.Source, Signer: spec.Signer,
		Size: int64(len(spec.Wasm)), Description: string(description), FirstDate: now, LastDate: now, By: host.ActorOf(ctx)}
	if running := d.catalogue.Describe(spec.Name); running != nil && p.candidate.Changed() && p.instead == "" {
		p.waits = wanted(said, p.plugin, p.state).Beyond(wanted(*running, p.plugin, p.state))
	}
	return nil
}

// earlierBuild is how a build is loaded again that served before, with what the
// configuration says now.
func (d *daemon) earlierBuild(cfg *config.Config, p config.Plugin, digest string) (connector.Spec, error) {
	return keptArtifact(d.artifacts, cfg, p, digest)
}

// buildOf is the earlierBuild of a connector that is configured now.
func (d *daemon) buildOf(ctx context.Context, name, digest string) (connector.Spec, error) {
	cfg := d.current.Load().config
	p, err := configuredPlugin(cfg, name)
	if err != nil {
		return connector.Spec{}, err
	}
	spec, err := d.earlierBuild(cfg, p, digest)
	if err != nil {
		return connector.Spec{}, err
	}
	err = d.store.View(ctx, func(t *store.Tx) error {
		state, err := t.ConnectorState(ctx, name, false)
		if err == nil {
			grant(&spec, p, state)
		}
		return err
	})
	return spec, err
}

func configuredPlugin(cfg *config.Config, name string) (config.Plugin, error) {
	i := slices.IndexFunc(cfg.Plugins, func(p config.Plugin) bool { return p.Name == name })
	if i < 0 {
		return config.Plugin{}, host.Errorf(host.NotFound, "no plugin %q is in the configuration   -> provost plugin list", name)
	}
	return cfg.Plugins[i], nil
}

// grant completes a spec by what the operator grants, in the configuration or
// by plugin grant.
func grant(spec *connector.Spec, p config.Plugin, state *host.ConnectorState) {
	if p.Grants != nil && len(p.Grants.Operations) > 0 {
		spec.Granted = &host.Reach{Operations: p.Grants.Operations}
	} else if state.Granted != nil {
		spec.Granted = &host.Reach{Operations: state.Granted.Operations}
	}
	if g := state.Granted; g != nil {
		spec.Hosts = append(slices.Clone(p.Hosts), g.Hosts...)
		spec.Limits.MemoryBytes = cmp.Or(spec.Limits.MemoryBytes, int64(g.MemoryMiB)<<20)
		spec.Limits.Time = cmp.Or(spec.Limits.Time, time.Duration(g.TimeSeconds)*time.Second)
		spec.Limits.HTTPCalls = cmp.Or(spec.Limits.HTTPCalls, g.HTTPCalls)
	}
	r := p.Rollout
	spec.Incompatible = p.Incompatible
	spec.Rollout = connector.Rollout{Canary: r.Canary.Share(), CanaryTime: r.CanaryTime, Within: r.RollbackWithin, Above: r.RollbackAbove.Share(), Calls: r.RollbackCalls}
	spec.Quarantine = connector.Quarantine{Faults: p.Quarantine.Faults, Window: p.Quarantine.Window}
}

// granted is what a connector may do.
func granted(p config.Plugin, state *host.ConnectorState) host.Reach {
	var r host.Reach
	if state.Granted != nil {
		r = *state.Granted
	}
	r.Hosts = slices.Concat(p.Hosts, r.Hosts)
	if g := p.Grants; g != nil {
		if len(g.Operations) > 0 {
			r.Operations = g.Operations
		}
		if len(g.Protocols) > 0 {
			r.Protocols = g.Protocols
		}
	}
	least := sandbox.DefaultLimits()
	r.MemoryMiB = max(r.MemoryMiB, int(cmp.Or(int64(p.Limits.Memory), least.MemoryBytes)>>20))
	r.TimeSeconds = max(r.TimeSeconds, int(cmp.Or(p.Limits.Time, least.Time)/time.Second))
	r.HTTPCalls = max(r.HTTPCalls, cmp.Or(p.Limits.HTTPCalls, least.HTTPCalls))
	return r
}

// wanted is what a connector wants and is not granted.
func wanted(said pdk.Description, p config.Plugin, state *host.ConnectorState) host.Reach {
	have := granted(p, state)
	more := connector.ReachOf(said).Beyond(have)
	more.Hosts = slices.DeleteFunc(more.Hosts, func(h string) bool { return callout.Covers(have.Hosts, h) })
	return more
}

// took stores that builds have taken over, and what the first of each may do.
func (d *daemon) took(ctx context.Context, t *store.Tx, list []*prepared) error {
	for _, p := range list {
		if !p.candidate.Changed() || !p.waits.Empty() {
			continue
		}
		before := ""
		if list, err := t.ConnectorVersions(ctx, p.plugin.Name); err != nil {
			return err
		} else if len(list) > 0 {
			before = list[0].Digest
		}
		if err := t.PutConnectorVersion(ctx, &p.version); err != nil {
			return err
		}
		if err := d.forgetBuilds(ctx, t, p.plugin.Name, p.version.Digest); err != nil {
			return err
		}
		if p.state.Granted == nil {
			state, err := t.ConnectorState(ctx, p.plugin.Name, true)
			if err != nil {
				return err
			}
			if state.Granted == nil {
				// What the operator named is what he takes; hosts and limits he grants.
				reach := connector.ReachOf(p.candidate.Describe())
				state.Granted = &host.Reach{Operations: reach.Operations, Protocols: reach.Protocols}
				if err := t.PutConnectorState(ctx, state); err != nil {
					return err
				}
			}
		}
		if before == "" || before == p.version.Digest {
			continue // the first, after a start, with other settings, or another machine was first
		}
		if err := d.audit(ctx, t, host.AuditPluginSwap, connectorObject(p.plugin.Name),
			map[string]string{"version": p.version.Version, "digest": p.version.Digest, "before": before, "source": p.version.Source, "signer": p.version.Signer}); err != nil {
			return err
		}
	}
	return nil
}

func connectorObject(name string) host.AuditObject {
	return host.AuditObject{Kind: "plugin", Name: name}
}

// mostBuilds of a connector are kept.
const mostBuilds = 10

// forgetBuilds forgets the oldest builds of a connector, but for one that is to
// stay and those that runs are in the middle of.
func (d *daemon) forgetBuilds(ctx context.Context, t *store.Tx, name, stays string) error {
	list, err := t.ConnectorVersions(ctx, name)
	if err != nil || len(list) <= mostBuilds {
		return err
	}
	pinned, err := t.PinnedConnectorVersions(ctx)
	if err != nil {
		return err
	}
	state, err := t.ConnectorState(ctx, name, false)
	if err != nil {
		return err
	}
	for _, v := range list[mostBuilds:] {
		if v.Digest == stays || pinned[v.Digest] || v.Digest == state.ServingDigest || v.Digest == state.RejectedDigest {
			continue
		}
		if err := t.DeleteConnectorVersion(ctx, name, v.Digest); err != nil {
			return err
		}
	}
	return nil
}

// callConnector makes one call: on the build that a run began with, where ctx
// says so and it can be had, else on the one that serves.
func (d *daemon) callConnector(ctx context.Context, app *host.UserProvisioningConfig, op pdk.Operation, in pdk.Input) (pdk.Output, host.CallTrace, error) {
	if digest := host.ConnectorBuild(ctx); digest != "" && digest != d.catalogue.Digest(app.Connector) {
		c, release, err := d.catalogue.AcquireBuild(ctx, app.Connector, digest)
		if err == nil {
			defer release()
			return c.Call(ctx, op, in)
		}
		d.log.WarnContext(ctx, "a run goes on with another build than it began with", "connector", app.Connector, "request", in.UserProvisioningRequestId, "error", err)
	}
	c, release, err := d.catalogue.Acquire(ctx, app.Connector, in.UserProvisioningRequestId)
	if err != nil {
		return pdk.Output{}, host.CallTrace{}, err
	}
	defer release()
	return c.Call(ctx, op, in)
}
