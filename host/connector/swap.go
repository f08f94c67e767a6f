package connector

import (
	"context"
	"reflect"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

// Candidate is a build that is compiled, described and checked, and takes over
// when it is told to: until then nobody else knows of it.
type Candidate struct {
	catalogue *Catalogue
	spec      Spec
	made      *Connector
	// same: it is what calls get already.
	same bool
}

// Prepare makes a candidate: the module is compiled off the path of calls,
// describes itself, and is looked at beside the build that serves now. On any
// failure nothing has changed. A candidate is to be taken or dropped.
func (c *Catalogue) Prepare(ctx context.Context, s Spec) (*Candidate, error) {
	p := &Candidate{catalogue: c, spec: s}
	c.mu.Lock()
	var before *Connector
	if e := c.entries[s.Name]; e != nil {
		before = e.current
		for _, k := range []*Connector{e.next, e.current} { // the newest
			if k != nil {
				p.same = k.isMadeOf(s)
				break
			}
		}
	}
	var served pdk.Description
	if before != nil {
		served = before.description
	}
	c.mu.Unlock()
	if p.same {
		return p, nil
	}
	made, err := c.open(ctx, s)
	if err != nil {
		return nil, err
	}
	p.made = made
	if before != nil {
		if err := compatible(served, made.description, s); err != nil {
			p.Drop()
			return nil, err
		}
	}
	return p, nil
}

// isMadeOf tells whether another spec would make the same connector.
func (k *Connector) isMadeOf(other Spec) bool {
	if other.Sum == "" || !strings.EqualFold(other.Sum, k.Digest()) {
		return false
	}
	for _, op := range k.description.Operations {
		if k.spec.grants(op) != other.grants(op) {
			return false
		}
	}
	s := k.spec
	for _, one := range []*Spec{&s, &other} { // what is compared already, or makes no other connector
		one.Wasm, one.Source, one.Digest, one.Sum, one.Signer, one.SignedAs, one.Granted = nil, "", "", "", "", "", nil
		one.Incompatible, one.Rollout, one.Quarantine = false, Rollout{}, Quarantine{}
	}
	return reflect.DeepEqual(s, other)
}

// compatible tells whether a build can take the place of another.
func compatible(before, after pdk.Description, s Spec) error {
	if s.Incompatible {
		return nil
	}
	if before.Name != after.Name {
		return host.Errorf(host.Conflict, "connector %s: %s %s is another connector than %s %s, which serves; it stays. If that is meant, set plugins.%s.incompatible: true",
			s.Name, after.Name, after.Version, before.Name, before.Version, s.Name)
	}
	var gone []pdk.Operation
	for _, op := range before.Operations {
		found := false
		for _, other := range after.Operations {
			found = found || op == other
		}
		if !found {
			gone = append(gone, op)
		}
	}
	if len(gone) > 0 {
		return host.Errorf(host.Conflict, "connector %s: %s %s can't do any more what %s does: %s; %s stays. If that is meant, set plugins.%s.incompatible: true",
			s.Name, after.Name, after.Version, before.Version, words(gone), before.Version, s.Name)
	}
	return nil
}

// Changed tells whether it is another build, or the same with other settings,
// than the one that calls get.
func (p *Candidate) Changed() bool { return !p.same }

// Describe is what the candidate says of itself.
func (p *Candidate) Describe() pdk.Description {
	if p.made != nil {
		return p.made.description
	}
	if d := p.catalogue.Describe(p.spec.Name); d != nil {
		return *d
	}
	return pdk.Description{}
}

// Connector is the candidate's own, for a trial call before it takes over; nil
// where it is not Changed, and afterwards.
func (p *Candidate) Connector() *Connector { return p.made }

// Take puts the candidate in its place in one step: at once, or for a share of
// the requests first. Calls under way end on the build of before, which closes
// when the last of them is back.
func (p *Candidate) Take() error {
	c := p.catalogue
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		made := p.made
		if p.made = nil; made == nil {
			return nil
		}
		return c.discard(context.Background(), made)
	}
	e := c.entryLocked(p.spec)
	e.lastError, e.waiting, e.source = "", nil, p.spec.Source
	e.rollout, e.quarantine = p.spec.Rollout, p.spec.Quarantine
	if p.same {
		for _, k := range []*Connector{e.current, e.next} {
			if k != nil {
				k.spec.Rollout, k.spec.Quarantine = p.spec.Rollout, p.spec.Quarantine
			}
		}
		c.mu.Unlock()
		return nil
	}
	c.live[p.made] = struct{}{}
	shut := c.takeLocked(e, p.made)
	p.made = nil
	c.mu.Unlock()
	for _, do := range shut {
		do()
	}
	return nil
}

func (c *Catalogue) entryLocked(s Spec) *entry {
	e := c.entries[s.Name]
	if e == nil {
		e = &entry{source: s.Source}
		c.entries[s.Name] = e
	}
	return e
}

// takeLocked is Take with the mutex.
func (c *Catalogue) takeLocked(e *entry, made *Connector) (shut []func()) {
	now := c.options.Now()
	replaced := e.current
	made.loadedAt = now
	shut = append(shut, c.retireLocked(e.next))
	e.next, e.trial = nil, nil
	another := replaced != nil && replaced.Digest() != made.Digest()
	switch {
	case another && e.outOf == "" && e.rollout.Canary > 0 && e.rollout.Canary < 1:
		e.next = made
		e.trial = &trial{began: now, against: replaced.Digest(), share: true}
		return shut
	case another && e.outOf == "" && e.rollout.Within > 0:
		failing, _ := replaced.recent.failing()
		e.trial = &trial{began: now, against: replaced.Digest(), before: failing}
	}
	e.current, e.outOf = made, ""
	if e.coming != nil {
		close(e.coming.done)
		e.coming = nil
	}
	return append(shut, c.retireLocked(replaced))
}

// Drop throws the candidate away.
func (p *Candidate) Drop() {
	if p.made != nil {
		if err := p.made.module.Close(context.Background()); err != nil {
			p.catalogue.options.Logger.Warn("a connector's module did not close", "connector", p.made.label(), "error", err)
		}
		p.made = nil
	}
}

// Hold drops the candidate and keeps in mind what it waits to be granted.
func (p *Candidate) Hold(wants host.Reach) {
	c := p.catalogue
	c.mu.Lock()
	e := c.entryLocked(p.spec)
	if p.made != nil {
		e.waiting = &Waiting{Version: p.made.description.Version, Digest: p.made.Digest(), Wants: wants}
	}
	c.mu.Unlock()
	p.Drop()
}

// Refuse keeps in mind why the newest build of a connector could not be taken;
// the one of before, if there was one, goes on.
func (c *Catalogue) Refuse(name, source string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entryLocked(Spec{Name: name, Source: source})
	e.lastError = err.Error()
	if e.coming != nil {
		close(e.coming.done)
		e.coming = nil
	}
}

// Expect says that a build is being loaded which will say this of itself:
// calls wait for it. [Candidate.Take] and [Catalogue.Refuse] end it.
func (c *Catalogue) Expect(name, source string, d pdk.Description) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entryLocked(Spec{Name: name, Source: source}); e.current == nil && e.coming == nil {
		e.coming = &coming{description: d, done: make(chan struct{})}
	}
}

// Load is Prepare and Take. On any failure the build of before goes on, and
// [Catalogue.List] says why the new one was refused.
func (c *Catalogue) Load(ctx context.Context, s Spec) error {
	p, err := c.Prepare(ctx, s)
	if err != nil {
		c.Refuse(s.Name, s.Source, err)
		return err
	}
	return p.Take()
}

// ReachOf is what a connector's description says that it wants.
func ReachOf(d pdk.Description) host.Reach {
	r := host.Reach{Protocols: d.CredentialProtocols, Hosts: d.Hosts}
	for _, op := range d.Operations {
		if op != pdk.OpDescribe {
			r.Operations = append(r.Operations, string(op))
		}
	}
	if len(r.Protocols) == 0 {
		r.Protocols = []string{host.AnyProtocol}
	}
	if l := d.Limits; l != nil {
		r.MemoryMiB, r.TimeSeconds, r.HTTPCalls = l.MemoryMiB, l.TimeSeconds, l.HTTPCalls
	}
	return r
}
