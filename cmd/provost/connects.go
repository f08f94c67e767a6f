package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/pdk"
)

// connects tells whether a build of a connector connects with the credential of
// each of its apps, where the operator wants it to (health_check).
func connects(ctx context.Context, cfg *config.Config, p config.Plugin, k *connector.Connector) error {
	if !p.HealthCheck || !k.Supports(pdk.OpTestConnection) {
		return nil
	}
	for _, app := range cfg.Apps {
		if app.Plugin != p.Name {
			continue
		}
		if _, err := k.TestConnection(ctx, pdk.Input{NamedCredDevName: app.Credential, Parameters: app.Parameters}); err != nil {
			return host.Errorf(host.CodeOf(err), "%s %s does not connect for %s: %w", p.Name, k.Describe().Version, app.Name, err)
		}
	}
	return nil
}

// unconnected are builds that serve since the start and have not connected yet:
// a target may have been away, and then there was nothing better to do.
type unconnected struct {
	mu    sync.Mutex
	asked map[string]*asked // by connector
}

// asked is a build that is asked whether it connects, until it does or another
// serves.
type asked struct {
	digest string
	// why it did not when it was last asked, "" before the first time.
	why  string
	next time.Time
	wait time.Duration
}

const (
	firstAskedAgain = time.Second
	lastAskedAgain  = time.Minute
)

// ask has a build asked.
func (u *unconnected) ask(name, digest string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.asked == nil {
		u.asked = map[string]*asked{}
	}
	u.asked[name] = &asked{digest: digest, wait: firstAskedAgain}
}

// why is empty for a build that connects, or is not asked.
func (u *unconnected) why(name, digest string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if a := u.asked[name]; a != nil && a.digest == digest {
		return a.why
	}
	return ""
}

// due are the digests of those that are to be asked now, by connector.
func (u *unconnected) due(now time.Time) map[string]string {
	u.mu.Lock()
	defer u.mu.Unlock()
	list := map[string]string{}
	for name, a := range u.asked {
		if !a.next.After(now) {
			list[name] = a.digest
		}
	}
	return list
}

// answered keeps in mind what came of it, and returns what came of it before. One
// without an error is not asked again.
func (u *unconnected) answered(name string, err error) (before string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	a := u.asked[name]
	before = a.why
	if err == nil {
		delete(u.asked, name)
		return before
	}
	a.why, a.next = err.Error(), time.Now().Add(a.wait)
	a.wait = min(2*a.wait, lastAskedAgain)
	return before
}

// tendUnconnected asks those that are due whether they connect.
func (d *daemon) tendUnconnected(ctx context.Context) error {
	for name, digest := range d.unconnected.due(time.Now()) {
		cfg := d.current.Load().config
		p, err := configuredPlugin(cfg, name)
		if err != nil || d.catalogue.Digest(name) != digest {
			d.unconnected.answered(name, nil) // it has been swapped or is gone
			continue
		}
		k, release, err := d.catalogue.AcquireBuild(ctx, name, digest)
		if err == nil {
			err = connects(ctx, cfg, p, k)
			release()
		}
		if ctx.Err() != nil {
			return nil
		}
		switch before := d.unconnected.answered(name, err); {
		case err != nil && before == "":
			d.log.WarnContext(ctx, "a connector serves, but does not connect; it is asked again", "connector", name, "error", err)
		case err == nil && before != "":
			d.log.InfoContext(ctx, "a connector connects", "connector", name)
		}
	}
	return nil
}

// checkHealth lets new builds connect before they take over. At a start the
// build that served last goes on in the place of one that does not; where there
// is none, the one serves that there is, for a target that is away must not keep
// a daemon from starting.
func (c *change) checkHealth(ctx context.Context) (problems config.Problems) {
	for _, p := range slices.Clone(c.prepared) {
		k := p.candidate.Connector()
		if k == nil || p.instead != "" || !p.waits.Empty() {
			continue
		}
		err := connects(ctx, c.next.config, p.plugin, k)
		switch {
		case err == nil:
		case c.old == nil:
			if c.lastGood(ctx, p.plugin, p.state, c.builds) {
				c.leaveOut(p.plugin.Name, err)
			}
		case !c.asItWas(p.plugin) || c.d.catalogue.Describe(p.plugin.Name) == nil:
			problems = append(problems, config.Problem{Key: "plugins." + p.plugin.Name, Message: err.Error()})
		default:
			c.leaveOut(p.plugin.Name, err)
		}
	}
	return problems
}
