package main

import (
	"context"
	"fmt"
	"time"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/store"
)

// judged stores what the catalogue has decided about a build, so that the other
// machines and the next start go by it, and puts the build of before in its
// place.
func (d *daemon) judged(v connector.Verdict) {
	ctx := d.life
	log := d.log.With("connector", v.Connector, "version", v.Version, "digest", v.Digest, "reason", v.Reason)
	switch v.Decision {
	case connector.Promoted:
		log.InfoContext(ctx, "a build has taken over")
		return
	case connector.RolledBack:
		log.WarnContext(ctx, "a build goes back to the one before", "before", v.Before)
	case connector.TakenOut:
		log.ErrorContext(ctx, "a connector is in quarantine; its requests wait")
	}
	if err := d.reject(ctx, v.Connector, v.Digest, v.Before, v.Reason); err != nil && ctx.Err() == nil {
		log.ErrorContext(ctx, "that a build was taken out could not be stored; this machine goes by it until it ends", "error", err)
	}
}

// reject takes a build out and puts another in its place, or none: then the
// connector is in quarantine.
func (d *daemon) reject(ctx context.Context, name, digest, instead, reason string) error {
	action := host.AuditPluginRollback
	if instead == "" {
		action = host.AuditPluginQuarantine
	}
	now := time.Now().UTC()
	if err := d.store.Update(ctx, func(t *store.Tx) error {
		s, err := t.ConnectorState(ctx, name, true)
		if err != nil {
			return err
		}
		if s.RejectedDigest == digest && s.ServingDigest == instead {
			return nil // another machine was first
		}
		s.RejectedDigest, s.ServingDigest, s.Reason, s.Actor, s.ChangedDate = digest, instead, reason, host.ActorOf(ctx), &now
		if err := t.PutConnectorState(ctx, s); err != nil {
			return err
		}
		t.AfterCommit(func() {
			switch by := host.ActorOf(ctx); {
			case instead == "":
				d.metrics.Quarantine(name)
			case by == host.Ourselves:
				d.metrics.Rollback(name, "automatic")
			default:
				d.metrics.Rollback(name, "operator")
			}
		})
		return d.audit(ctx, t, action, connectorObject(name), map[string]string{"digest": digest, "instead": instead, "reason": reason})
	}); err != nil {
		return err
	}
	// What the connector said last may be anything, and goes nowhere else.
	text := fmt.Sprintf("connector %s was taken out and is in quarantine; its requests wait   -> provost plugin status", name)
	if instead != "" {
		text = fmt.Sprintf("connector %s went back to the build of before   -> provost plugin versions %s", name, name)
	}
	d.raise(ctx, host.Notice{Kind: host.NoticeConnector, Subject: name, Text: text})
	return d.followStates(ctx)
}

// followStates goes by what was decided about connectors, here or on another
// machine.
func (d *daemon) followStates(ctx context.Context) error {
	var states map[string]*host.ConnectorState
	if err := d.store.View(ctx, func(t *store.Tx) (err error) {
		states, err = t.ConnectorStates(ctx)
		return err
	}); err != nil {
		return err
	}
	d.reload.Lock()
	defer d.reload.Unlock()
	now := d.current.Load()
	if now == nil {
		return nil
	}
	for _, p := range now.config.Plugins {
		s := states[p.Name]
		serves := d.catalogue.Digest(p.Name)
		if s == nil || serves == "" {
			continue
		}
		switch {
		case s.Quarantined(serves):
			d.bar(p.Name, serves, s.Reason)
		case s.RejectedDigest == serves && s.ServingDigest != "" && s.ServingDigest != serves:
			if err := d.putBack(ctx, now.config, p, s); err != nil {
				return err
			}
		case d.barred[p.Name] == serves:
			d.bar(p.Name, serves, "")
		}
	}
	return nil
}

// bar goes by what is stored of a quarantine; reason is empty where it is over.
// What this machine has decided, and is not stored yet, is not touched by it.
// The caller has the mutex of reloads.
func (d *daemon) bar(name, digest, reason string) {
	if d.barred == nil {
		d.barred = map[string]string{}
	}
	if d.barred[name] = digest; reason == "" {
		delete(d.barred, name)
	}
	d.catalogue.Bar(name, digest, reason)
}

// putBack lets an earlier build of a connector serve.
func (d *daemon) putBack(ctx context.Context, cfg *config.Config, p config.Plugin, s *host.ConnectorState) error {
	spec, err := d.earlierBuild(cfg, p, s.ServingDigest)
	if err != nil {
		d.catalogue.Refuse(p.Name, p.Source, err)
		return err
	}
	grant(&spec, p, s)
	spec.Incompatible, spec.Rollout = true, connector.Rollout{} // it is what it was
	if err := d.catalogue.Load(ctx, spec); err != nil {
		return err
	}
	d.catalogue.Refuse(p.Name, p.Source, host.Errorf(host.Conflict, "%s was taken out: %s; the build of before serves   -> provost plugin release %s", short(s.RejectedDigest), s.Reason, p.Name))
	return nil
}

func short(digest string) string { return digest[:min(12, len(digest))] }

// tendConnectors does what is due for connectors, about once a second.
func (d *daemon) tendConnectors(ctx context.Context) error {
	d.catalogue.Tick()
	return d.followStates(ctx)
}

// denied notes that a connector was to do what it is not granted.
func (d *daemon) denied(name, what, requestID string) {
	key := name + " " + what
	if last, ok := d.deniedAt.Load(key); ok && time.Since(last.(time.Time)) < time.Hour {
		return // once an hour is enough for the trail
	}
	d.deniedAt.Store(key, time.Now())
	d.chores.Go(func() {
		d.auditRefused(d.life, host.AuditPluginReach, connectorObject(name), host.Errorf(host.PermissionDenied, "%s is not granted", what),
			map[string]string{"tried": what, "request": requestID})
	})
}
