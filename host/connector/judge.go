package connector

import (
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/provosthq/provost/host"
)

// Rollout is how another build of a connector takes over. The zero value: at
// once, and nothing is compared.
type Rollout struct {
	// Canary is the share of the requests that the build gets first, for CanaryTime;
	// 0 is all at once.
	Canary     float64
	CanaryTime time.Duration
	// For Within after it has taken over, the build goes back when the share of its
	// calls that fail is Above more than that of the build before, looked at from
	// Calls calls on. Within 0: never.
	Within time.Duration
	Above  float64
	Calls  int
}

// takes tells whether the new build gets the requests of a key.
func (r Rollout) takes(key string) bool {
	if key == "" {
		return false
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // a hash takes everything
	return float64(h.Sum32()%10_000) < r.Canary*10_000
}

// Quarantine is when a connector is taken out: after so many calls within
// Window that trapped, ran out of time, or broke a limit or the contract.
// Faults 0: never.
type Quarantine struct {
	Faults int
	Window time.Duration
}

// Decision is what the catalogue has decided about a build.
type Decision string

// The decisions.
const (
	// RolledBack: the build failed more than the one before, which is to serve
	// again.
	RolledBack Decision = "rolled back"
	// TakenOut: the build is in quarantine, and no call gets it.
	TakenOut Decision = "quarantined"
	// Promoted: a build that had a share of the calls has all of them.
	Promoted Decision = "promoted"
)

// Verdict is a decision with what it rests on.
type Verdict struct {
	Connector, Version string
	// Digest is the build that it is about, Before the one that served before it,
	// "" for none.
	Digest, Before string
	Decision       Decision
	Reason         string
}

// trial is the time in which a new build is compared with the one before it.
type trial struct {
	began   time.Time
	against string // digest
	before  float64
	// share: the build has only a share of the calls, and the other goes on beside
	// it.
	share bool
}

// ring remembers how the last calls ended. It is guarded by the catalogue's
// mutex.
type ring struct {
	failed [256]bool
	n      int
}

func (r *ring) add(failed bool) {
	r.failed[r.n%len(r.failed)] = failed
	r.n++
}

// failing is the share of the last calls that failed, and of how many.
func (r *ring) failing() (share float64, calls int) {
	calls = min(r.n, len(r.failed))
	for _, f := range r.failed[:calls] {
		if f {
			share++
		}
	}
	if calls > 0 {
		share /= float64(calls)
	}
	return share, calls
}

// blameless are errors that say nothing of the build: the target or the host
// could not be asked.
var blameless = []host.Code{host.Unavailable, host.RateLimited, host.Cancelled, host.Unauthorized}

// faults are errors that no connector should have.
var faults = []host.Code{host.ConnectorFault, host.LimitExceeded}

// judge takes the end of a call into account.
func (c *Catalogue) judge(k *Connector, err error) {
	code := host.CodeOf(err)
	if err != nil && slices.Contains(blameless, code) {
		return
	}
	now := c.options.Now()
	c.mu.Lock()
	k.recent.add(err != nil)
	e := c.entries[k.name]
	if e == nil || k.judged || k != e.current && k != e.next {
		c.mu.Unlock()
		return
	}
	v := e.faultLocked(k, err, now)
	if v == nil {
		v = e.compareLocked(k, now)
	}
	var shut []func()
	if v != nil {
		shut = c.decideLocked(e, k, v)
	}
	c.mu.Unlock()
	for _, do := range shut {
		do()
	}
}

// faultLocked counts a fault, and says whether it is one too many.
func (e *entry) faultLocked(k *Connector, err error, now time.Time) *Verdict {
	if e.quarantine.Faults <= 0 || err == nil || !slices.Contains(faults, host.CodeOf(err)) || e.outOf != "" {
		return nil
	}
	k.faults = slices.DeleteFunc(k.faults, func(at time.Time) bool { return now.Sub(at) > e.quarantine.Window })
	if k.faults = append(k.faults, now); len(k.faults) < e.quarantine.Faults {
		return nil
	}
	return &Verdict{Decision: TakenOut, Reason: fmt.Sprintf("%d calls within %s trapped or broke a limit; the last: %s", len(k.faults), e.quarantine.Window, oneLine(err.Error()))}
}

// compareLocked compares a build on trial with the one before it.
func (e *entry) compareLocked(k *Connector, now time.Time) *Verdict {
	t := e.trial
	if t == nil || t.share != (k == e.next) || e.rollout.Within <= 0 && !t.share || !t.share && now.Sub(t.began) > e.rollout.Within {
		return nil
	}
	failing, calls := k.recent.failing()
	if calls < max(1, e.rollout.Calls) {
		return nil
	}
	before := t.before
	if t.share {
		before, _ = e.current.recent.failing()
	}
	if failing <= before+e.rollout.Above {
		return nil
	}
	return &Verdict{Decision: RolledBack, Reason: fmt.Sprintf("%.0f %% of its %d calls failed, %.0f %% of those of the build before", 100*failing, calls, 100*before)}
}

// decideLocked carries out a verdict on k as far as the catalogue can by
// itself, and tells of it.
func (c *Catalogue) decideLocked(e *entry, k *Connector, v *Verdict) (shut []func()) {
	k.judged = true
	v.Connector, v.Version, v.Digest = k.name, k.description.Version, k.Digest()
	if e.trial != nil {
		v.Before = e.trial.against
		if v.Decision == TakenOut { // there is one to go back to
			v.Decision = RolledBack
		}
	}
	switch {
	case k == e.next:
		shut = append(shut, c.retireLocked(e.next))
		e.next, e.trial = nil, nil
	case v.Decision == TakenOut:
		e.outOf = v.Reason
	default: // whoever is told opens the other one
		e.trial = nil
	}
	c.tellLocked(*v)
	return shut
}

// dueLocked ends what is over.
func (c *Catalogue) dueLocked(name string, e *entry, now time.Time) (shut []func()) {
	t := e.trial
	switch {
	case t == nil:
	case t.share && now.Sub(t.began) >= e.rollout.CanaryTime:
		made, before := e.next, e.current
		failing, _ := before.recent.failing()
		e.current, e.next, e.trial = made, nil, nil
		if e.rollout.Within > 0 {
			e.trial = &trial{began: now, against: before.Digest(), before: failing}
		}
		shut = append(shut, c.retireLocked(before))
		_, calls := made.recent.failing()
		c.tellLocked(Verdict{Connector: name, Version: made.description.Version, Digest: made.Digest(), Before: t.against, Decision: Promoted,
			Reason: fmt.Sprintf("%d calls in %s went well", calls, e.rollout.CanaryTime)})
	case !t.share && now.Sub(t.began) > e.rollout.Within:
		e.trial = nil
	}
	return shut
}

func (c *Catalogue) tellLocked(v Verdict) {
	if c.options.Judged == nil || c.closed {
		return
	}
	c.judging.Add(1)
	go func() {
		defer c.judging.Done()
		c.options.Judged(v)
	}()
}

// Bar takes a build out of service, or lets it back where reason is empty.
// Another build is not concerned.
func (c *Catalogue) Bar(name, digest, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[name]
	if e == nil || e.current == nil || e.current.Digest() != digest {
		return
	}
	if e.outOf != "" && reason == "" {
		e.current.faults, e.current.judged = nil, false
	}
	e.outOf = reason
}
